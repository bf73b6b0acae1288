//! `fixtures/apps/otp_app`: no Elixir, other people's NIFs and drivers, tables, a logger that only the configuration
//! names, and a module whose name is made while it runs.

use super::super::bench::{Bench, Mirror, full, succeed};
use super::super::boots::{assemble_flags, boot_tools};
use super::{REACHABLE, UNPRUNED, prune};

/// The lines of `otp_app` that say what came of each try.
const TRIES: &[&str] = &[
    r#"^jiffy: \{<<"\{\\"b\\":\\"ü\\",\\"a\\":\[1,2\.5,null\]\}">>,\[1,2\.5,null\]\}$"#,
    r#"^fast_xml: \{<<"text">>,<<"<a b='1'><c>text</c></a>">>\}$"#,
    r#"^fast_yaml: \{\[\{<<"list">>,\[1,2\]\},\{<<"word">>,<<"moin">>\}\],<<"\\"x\\": 1">>\}$"#,
    r#"^stringprep: \{<<"strasse">>,<<"é\.test">>\}$"#,
    r#"^sqlite3: \[\{columns,\["name","value \* 21"\]\},\{rows,\[\{<<"two">>,42\}\]\}\]$"#,
    r#"^crypto: \{<<"4C4B4EE2">>,<<"moin">>,true\}$"#,
    r"^zlib: \{true,true,1598549124\}$",
    r"^ets: \{\[\{9,3\},\{16,4\},\{25,5\}\],\[\{9,1\}\]\}$",
    r"^dets: \{\[\{adieu,2\}\],true\}$",
    r"^mnesia: \{\[joe\],\[\{person,ada,36\}\],2\}$",
    r#"^file: \{\[#\{a => 1\},\[b,"c",<<"d">>\]\],<<"a line from priv">>,\{error,enoent\}\}$"#,
    r#"^shell: "moin\\n"$"#,
    r#"^port: <<"round trip">>$"#,
    r#"^tcp: \{<<"moin">>,\{ok,\{127,0,0,1\}\}\}$"#,
    r"^statem: \{opened,opened\}$",
    r"^event: \{hello,1\}$",
    r"^timer: \{3723000,4\}$",
    r"^evaluated: 385$",
    r#"^patterns: \{\["2024","02"\],"a/b/c",1\}$"#,
    r#"^text: \{"     3\.142\|(?-u:[^|]+)\|xxx\|00000000000000ff\|'an atom'","STRASSE",\[101,769\],<<"bW9pbg==">>\}$"#,
    r"^logger: \{1,1\}$",
    r#"^error_logger: \{\{warning_report,old_style,\[\{what,"a warning"\}\]\},ok\}$"#,
    r#"^crash: \[badarg,\{told,\[1,2\.5,"text"\]\}\]$"#,
    r"^restart: \{\{broken_by,moin,whole\},true\}$",
    r#"^plugin: "moin from a plugin"$"#,
    "^tried 25, 25 came to something$",
    // What the formatter that only sys.config names made of what was logged.
    "^log error: an error of 4 words$",
    r#"^log error: what: a_report, words: \["one",<<"two">>,'three four'\]$"#,
    r#"^log error: Error in process <[0-9.]+> with exit value:, \{badarg,\[\{erlang,list_to_integer,\["nothing"\],.*\{otp_app_calls,'-crash/0-fun-0-',0,\[\{file,"otp_app_calls\.erl"\},\{line,[0-9]+\}\]\}\]\}$"#,
    r#"^log error: crasher: initial call: otp_app_calls:'-crash/0-fun-1-'/0, pid: <[0-9.]+>, registered_name: \[\], exit: \{\{told,\[1,2\.5,"text"\]\},.*ancestors: .*neighbours:$"#,
    r"^log error: Generic server otp_app_fragile terminating\. Reason: \{\{broken_by,moin,whole\},.*\}\]\}\. Last message: \{break,moin\}\. State: whole\. Client <[0-9.]+> stacktrace: .*\.$",
    r"^log error: crasher: initial call: otp_app_fragile:init/1, pid: <[0-9.]+>, registered_name: otp_app_fragile, error: \{\{broken_by,moin,whole\},.*neighbours:$",
    r"^log error: Supervisor: \{local,otp_app_sup\}\. Context: child_terminated\. Reason: \{\{broken_by,moin,whole\},.*\}\]\}\. Offender: id=fragile,pid=<[0-9.]+>\.$",
];

/// What `otp_app` says of its tries is the same whatever was pruned.
#[test]
fn an_otp_application_is_the_same_when_it_is_pruned() {
    let test = || -> Option<()> {
        boot_tools()?;
        let mirror = Mirror::host()?;
        let bench = Bench::new();
        let packages = [
            ("erlang-mnesia", "mnesia-"),
            ("erlang-jiffy", "jiffy-"),
            ("erlang-p1-xml", "p1_xml-"),
            ("erlang-p1-yaml", "p1_yaml-"),
            ("erlang-p1-stringprep", "p1_stringprep-"),
            ("erlang-p1-sqlite3", "p1_sqlite3-"),
        ];
        let release = bench.systools_release("otp_app", &packages, true)?;
        for level in if full() { vec![REACHABLE, UNPRUNED] } else { vec![REACHABLE] } {
            let output = bench.path("out");
            let mut flags = assemble_flags(&release, &mirror, &output);
            flags.extend(prune(level, &["plugin_*"]).into_iter().map(Into::into));
            succeed(&mut bench.leanfs(flags));
            bench.verify(&output, TRIES.iter().flat_map(|pattern| ["--expect", pattern]));
        }
        Some(())
    };
    let _ = test();
}
