//! `fixtures/apps/web`: HTTP from outside, a report of each kind of crash, TLS, and an orderly end.

use std::path::Path;

use regex::Regex;

use super::super::bench::{Bench, Mirror, full, succeed};
use super::super::boots::boot_tools;
use super::super::running::Running;
use super::{REACHABLE, UNPRUNED, prune, takes_modules};

/// What was seen of one boot of `web`.
#[derive(Debug, PartialEq, Eq)]
struct Observed {
    /// Path, status and body, in the order in which they were asked.
    answers: Vec<(&'static str, u16, String)>,
    /// What was logged from the application's first line on, without what differs from boot to boot. Sorted:
    /// processes that log at the same time do so in any order.
    reports: Vec<String>,
}

/// What `web` answers, one after the other in this order.
const ANSWERS: &[(&str, u16, &str)] = &[
    ("/health", 200, "ok\n"),
    ("/runtime", 200, "greeting=moin read_at=boot host=web root=/app\n"),
    ("/port", 200, "echo says moin, status 0\n"),
    ("/log", 200, "level=notice debug_is_less=lt\n"),
    ("/priv", 200, "a note from priv\n"),
    (
        "/paths",
        200,
        "app_dir=lib/web-0.1.0/ebin priv_dir=lib/web-0.1.0/priv lib_dir=lib/web-0.1.0 crypto=true \
         unknown={:error, :bad_name}\n",
    ),
    (
        "/crypto",
        200,
        // sha256 of "leanfs"
        "sha256(leanfs)=124f67032fa3ea245defd3644ffc768d1328ba6aaae52c6c86f93a9d01931dce random=16\n",
    ),
    (
        "/tls",
        200,
        "friend: tlsv1.3 TLS_AES_256_GCM_SHA384 MOIN {1, 2, 840, 10045, 4, 3, 2}\n\
         stranger: alert unknown_ca\n\
         server: served moin, alert unknown_ca\n",
    ),
    (
        "/protocol",
        200,
        "consolidated=true the integer 7; a list of the integer 1 and the integer 2; something like :atom\n",
    ),
    (
        "/collections",
        200,
        "stream=[1, 2, 8, 16] set=[1, 2, 3, 5, 7, 9] zip=[\"1a\", \"2b\", \"3a\"] map=%{1 => \"a\", 2 => \"b\"} \
         text=xyz chunks=1+2+3|4+5+6|7 lines=[\"one\", \"two\"]\n",
    ),
    (
        "/conversions",
        200,
        "strings=1 2.5 atom text list  2024-02-29 http://web.test lengths=1 4 4\n\
         protocol String.Chars is not for %{}\n\
         protocol String.Chars is not for {1}\n",
    ),
    ("/tables", 200, "even=[4, 16, 36, 64, 100] total=385 term=kept\n"),
    (
        "/unicode",
        200,
        "upcase=STRASSE ÅNGSTRÖM FI 👩‍👩‍👧 E\u{301}\n\
         downcase=σίσυφος\n\
         capitalize=Élan\n\
         graphemes=21 codepoints=26\n\
         nfd=47 nfc=44 nfkc=fi2\n\
         split=one|two\u{a0}three\n\
         whitespace=[\"one\", \"two\", \"three\"]\n\
         reverse=ae\u{301} like=0.8222\n\
         latin1=<<233>> valid=false\n\
         title=ǅ width=4 fold=ss\n",
    ),
    (
        "/regex",
        200,
        "named=%{\"month\" => \"02\", \"year\" => \"2024\"}\n\
         scan=[[\"Älter\"], [\"Größer\"]]\n\
         replace=Über Alles\n\
         split=[\"a\", \"b\", \"c\"] match=true\n\
         wrong=missing )\n",
    ),
    (
        "/inspect",
        200,
        "%Web.Routes.Text.Point{x: 1, y: -2.5}\n\
         #Web.Routes.Text.Secret<name: \"n\", ...>\n\
         %{1 => nil, \"key\" => [a: 1, b: {:c, \"d\"}]}\n\
         MapSet.new([1])\n\
         1..10//3\n\
         ~r/a+/i\n\
         ~D[2024-02-29]\n\
         <<1, 2, 3::size(4)>>\n\
         &String.upcase/1\n\
         [1, 2, 3, 4, 5, ...]\n",
    ),
    (
        "/exceptions",
        200,
        "** (ArgumentError) of our own\n\
         ** (ArgumentError) errors were found at the given arguments:  * 1st argument: not a textual representation \
         of an integer\n\
         ** (ArithmeticError) bad argument in arithmetic expression\n\
         ** (KeyError) key :b not found in: %{a: 1}\n\
         ** (UndefinedFunctionError) function :no_such_module.run/1 is undefined (module :no_such_module is not \
         available)\n\
         ** (FunctionClauseError) no function clause matching in String.at/2\n\
         ** (KeyError) key :field not found in: %{}\n\
         ** (ArgumentError) errors were found at the given arguments:  * 1st argument: the table identifier does not \
         refer to an existing ETS table\n\
         ** (MatchError) no match of right hand side value: :error\n\
         ** (throw) {:a, \"value\"}\n\
         ** (exit) shutdown: :early\n",
    ),
    (
        "/time",
        200,
        "later=2024-03-01 00:30:15.250Z iso=20240301T003015.250Z diff=3600000\n\
         strftime=Friday, 1 March 2024 00:30:15.250 UTC\n\
         berlin=2024-07-01 10:00:00Z offset=7200 unix=1719828000\n\
         utc={:ok, ~U[2024-02-29 23:30:15.250Z]}\n\
         zone={:error, :utc_only_time_zone_database}\n\
         naive=2024-01-30 23:59:59 day=3 leap=true\n\
         week=2024-02-26 range=2024-02-28 2024-02-29 2024-03-01\n\
         time=00:00:01 wrong={:error, :invalid_date}\n\
         erlang=1970-01-01T00:00:00Z now=gt\n",
    ),
    ("/count", 200, "count=1\n"),
    ("/tasks", 200, "squares=[1, 4, 9, 16, 25] slow=[ok: :ok, exit: :timeout] one=done\n"),
    ("/registry", 200, "value=42 active=1 left=[]\n"),
    ("/agent", 200, "held=%{\"a\" => 0, \"b\" => 1, \"c\" => 2} alive=false\n"),
    ("/statem", 200, "before={:closed, 0} push=opened after={:closed, 1}\n"),
    (
        "/call/Elixir.Web.Plugin.Nobody",
        500,
        "function Web.Plugin.Nobody.hello/0 is undefined (module Web.Plugin.Nobody is not available)\n",
    ),
    ("/crash/starts", 200, "starts=1\n"),
    (
        "/crash/server",
        200,
        "exited in: GenServer.call(Web.Fragile, {:break, \"a request\"}, 5000)\n    \
         ** (EXIT) an exception was raised:\n        \
         ** (RuntimeError) a request broke what was whole\n            \
         (web V) lib/web/fragile.ex:L: Web.Fragile.handle_call/3\n            \
         (stdlib V) gen_server.erl:L: :gen_server.try_handle_call/4\n            \
         (stdlib V) gen_server.erl:L: :gen_server.handle_msg/6\n            \
         (stdlib V) proc_lib.erl:L: :proc_lib.init_p_do_apply/3\n\
         anew=true\n",
    ),
    ("/crash/starts", 200, "starts=2\n"),
    (
        "/crash/task",
        200,
        "an exception was raised:\n    \
         ** (ArithmeticError) bad argument in arithmetic expression\n        \
         :erlang.div(1, 0)\n        \
         (web V) lib/web/routes/crash.ex:L: Web.Routes.Crash.divide/2\n        \
         (elixir V) lib/task/supervised.ex:L: Task.Supervised.invoke_mfa/2\n        \
         (elixir V) lib/task/supervised.ex:L: Task.Supervised.reply/4\n        \
         (stdlib V) proc_lib.erl:L: :proc_lib.init_p_do_apply/3\n",
    ),
    (
        "/crash/process",
        200,
        "an exception was raised:\n    \
         ** (ArgumentError) nobody catches this\n        \
         (web V) lib/web/routes/crash.ex:L: anonymous fn/0 in Web.Routes.Crash.process/0\n",
    ),
    (
        "/crash/start",
        200,
        "an exception was raised:\n    \
         ** (RuntimeError) no start\n        \
         (web V) lib/web/routes/crash.ex:L: anonymous fn/0 in Web.Routes.Crash.start/0\n        \
         (elixir V) lib/agent/server.ex:L: Agent.Server.init/1\n        \
         (stdlib V) gen_server.erl:L: :gen_server.init_it/2\n        \
         (stdlib V) gen_server.erl:L: :gen_server.init_it/6\n        \
         (stdlib V) proc_lib.erl:L: :proc_lib.init_p_do_apply/3\n",
    ),
    ("/crash/timeout", 200, "exited in: GenServer.call(Web.Fragile, :wait, 50)\n    ** (EXIT) time out\n"),
    // What is left of it all.
    ("/crash/starts", 200, "starts=2\n"),
    ("/count", 200, "count=2\n"),
    ("/nothing", 404, "nothing is here\n"),
];

/// What the requests bring to the console: how reports begin.
const REPORTS: &[&str] = &[
    "request=log-2 [warning] a message with metadata\n",
    "request=log-3 [error] [what: \"a report\", of: [1, 2.5, :words]]\n",
    "request=log-4 [notice] an Erlang format of 5 words\n",
    "request=log-5 [error] [text: \"as Erlang has it\", what: :map_report]\n",
    "[notice] TLS :client: In state :wait_cert_cr at ssl_handshake.erl:L generated CLIENT ALERT: Fatal - Unknown CA\n",
    "[error] GenServer Web.Fragile terminating\n\
     ** (RuntimeError) a request broke what was whole\n    \
     (web V) lib/web/fragile.ex:L: Web.Fragile.handle_call/3\n    \
     (stdlib V) gen_server.erl:L: :gen_server.try_handle_call/4\n    \
     (stdlib V) gen_server.erl:L: :gen_server.handle_msg/6\n    \
     (stdlib V) proc_lib.erl:L: :proc_lib.init_p_do_apply/3\n\
     Last message (from #PID<>): {:break, \"a request\"}\n",
    "[error] Process Web.Fragile (#PID<>) terminating\n\
     ** (RuntimeError) a request broke what was whole\n    \
     (web V) lib/web/fragile.ex:L: Web.Fragile.handle_call/3\n    \
     (stdlib V) gen_server.erl:L: :gen_server.try_handle_call/4\n    \
     (stdlib V) gen_server.erl:L: :gen_server.handle_msg/6\n    \
     (stdlib V) proc_lib.erl:L: :proc_lib.init_p_do_apply/3\n\
     Initial Call: Web.Fragile.init/1\n\
     Ancestors: [Web.Supervisor, #PID<>]\n",
    "[error] Child Web.Fragile of Supervisor Web.Supervisor terminated\n\
     ** (exit) an exception was raised:\n    \
     ** (RuntimeError) a request broke what was whole\n        \
     (web V) lib/web/fragile.ex:L: Web.Fragile.handle_call/3\n        \
     (stdlib V) gen_server.erl:L: :gen_server.try_handle_call/4\n        \
     (stdlib V) gen_server.erl:L: :gen_server.handle_msg/6\n        \
     (stdlib V) proc_lib.erl:L: :proc_lib.init_p_do_apply/3\n\
     Pid: #PID<>\n\
     Start Call: Web.Fragile.start_link([])\n",
    "[error] Task #PID<> started from #PID<> terminating\n\
     ** (ArithmeticError) bad argument in arithmetic expression\n    \
     :erlang.div(1, 0)\n    \
     (web V) lib/web/routes/crash.ex:L: Web.Routes.Crash.divide/2\n    \
     (elixir V) lib/task/supervised.ex:L: Task.Supervised.invoke_mfa/2\n    \
     (elixir V) lib/task/supervised.ex:L: Task.Supervised.reply/4\n    \
     (stdlib V) proc_lib.erl:L: :proc_lib.init_p_do_apply/3\n\
     Function: &Web.Routes.Crash.divide/2\n    \
     Args: [1, 0]\n",
    "[error] Process #PID<> raised an exception\n\
     ** (ArgumentError) nobody catches this\n    \
     (web V) lib/web/routes/crash.ex:L: anonymous fn/0 in Web.Routes.Crash.process/0\n",
    "[error] Process #PID<> terminating\n\
     ** (RuntimeError) no start\n    \
     (web V) lib/web/routes/crash.ex:L: anonymous fn/0 in Web.Routes.Crash.start/0\n    \
     (elixir V) lib/agent/server.ex:L: Agent.Server.init/1\n",
];

/// The module that only a name from outside leads to.
const PLUGIN: &str = "/call/Elixir.Web.Plugin.Moin";

/// Boots `web` at a level, asks it everything and tells it to stop.
fn observe(project: &Path, bench: &Bench, level: &str, keep: &[&str]) -> Observed {
    let mut assemble = bench.leanfs(["assemble", "--compress", "zstd:3", "--shell"]);
    succeed(assemble.args(prune(level, keep)).current_dir(project));
    // Unpruned, it has twice the files.
    let mut guest = Running::launch(bench, &project.join("leanfs"), ["--memory", "512"]);
    guest.wait_for(r"web listens on port 80\n");
    let mut answers = Vec::new();
    for path in ANSWERS.iter().map(|(path, ..)| *path).chain([PLUGIN]) {
        let (status, body) = guest.get(path);
        answers.push((path, status, without_versions(&body)));
    }
    guest.wait_for("(?s)no start.*Ancestors: .*\n");
    assert_eq!(guest.get("/stop"), (200, "stopping\n".to_owned()));
    let (status, console) = guest.end();
    assert!(status.success(), "{status}\n{console}");
    Observed { answers, reports: reports(&console) }
}

/// Text without versions of applications and without the lines of sources, which differ from machine to machine.
fn without_versions(text: &str) -> String {
    let text = Regex::new(r"\((\w+) [0-9.]+\)").expect("a pattern").replace_all(text, "($1 V)").into_owned();
    Regex::new(r"\.(ex|erl):[0-9]+").expect("a pattern").replace_all(&text, ".$1:L").into_owned()
}

/// What was logged from the application's first line on, without what the kernel said, times and numbers of processes.
fn reports(console: &str) -> Vec<String> {
    let kernel = Regex::new(r"^\[ *[0-9]+\.[0-9]+\]").expect("a pattern");
    let time = Regex::new(r"^[0-9:]{8}\.[0-9]{3} ").expect("a pattern");
    let process = Regex::new(r"#PID<[0-9.]+>").expect("a pattern");
    let mut reports: Vec<String> = Vec::new();
    let lines = console.lines().skip_while(|line| !line.contains("web listens"));
    for line in lines.filter(|line| !kernel.is_match(line)) {
        let line = without_versions(&process.replace_all(line, "#PID<>"));
        match (time.find(&line), reports.last_mut()) {
            (None, Some(report)) => report.extend([line.as_str(), "\n"]),
            (found, _) => reports.push(format!("{}\n", &line[found.map_or(0, |found| found.end())..])),
        }
    }
    reports.sort();
    reports
}

/// Compares what was seen with what stands here.
fn check(observed: &Observed, plugin: (u16, &str)) {
    let expected = ANSWERS.iter().copied().chain([(PLUGIN, plugin.0, plugin.1)]);
    for ((path, status, body), (expected_path, expected_status, expected_body)) in
        observed.answers.iter().zip(expected)
    {
        assert_eq!(*path, expected_path);
        let found = (*status, body.as_str());
        assert_eq!(found, (expected_status, expected_body), "{path}\n{:#?}", observed.reports);
    }
    for expected in REPORTS {
        let found = observed.reports.iter().any(|report| report.starts_with(expected));
        assert!(found, "{expected}\nis not on the console:\n{:#?}", observed.reports);
    }
}

/// What `web` answers and reports is the same whatever was pruned.
#[test]
fn web_is_the_same_when_it_is_pruned() {
    let test = || -> Option<()> {
        boot_tools()?;
        let mirror = Mirror::host()?;
        let bench = Bench::new();
        let project = bench.mix_project("web", true)?;
        let toml =
            format!("{}[run]\nhostname = \"web.test\"\nenv = {{ GREETING = \"moin\" }}\n", mirror.toml());
        fs_err::write(project.join("leanfs.toml"), toml).expect("a leanfs.toml");
        let there = (200, "moin from a plugin\n");
        let gone = (
            500,
            "function Web.Plugin.Moin.hello/0 is undefined (module Web.Plugin.Moin is not available)\n",
        );
        let pruned = observe(&project, &bench, REACHABLE, &[]);
        check(&pruned, if takes_modules(REACHABLE) { gone } else { there });
        if !full() {
            return Some(());
        }
        let unpruned = observe(&project, &bench, UNPRUNED, &[]);
        check(&unpruned, there);
        assert_eq!(pruned.reports, unpruned.reports);
        let kept = observe(&project, &bench, REACHABLE, &["Elixir.Web.Plugin.*"]);
        assert_eq!(kept, unpruned);
        Some(())
    };
    let _ = test();
}
