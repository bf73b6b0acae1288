//! What an application opens while it is verified. The BEAM itself is the oracle: it knows which modules it has loaded.

use std::collections::BTreeSet;

use leanfs::report::manifest::Manifest;
use leanfs::report::trace::Trace;

use super::bench::{Bench, Mirror, succeed, text, tools};

/// Waits until `crypto` is loaded, which a request does, and nothing further has been for two seconds. Then it says how
/// many modules were loaded from files, and the CRC-32 of their names: sorted, each with a line feed. What it calls
/// meanwhile is loaded at its first round.
const LOADED: &str = r"
    spawn(fun() ->
        Loaded = fun() -> lists:sort([Module || {Module, File} <- code:all_loaded(), is_list(File)]) end,
        Wait = fun Wait(Before) ->
            timer:sleep(2000),
            Now = Loaded(),
            case lists:member(crypto, Now) andalso Now =:= Before of
                true -> erlang:display({loaded, length(Now),
                                        erlang:crc32([[atom_to_binary(Module), 10] || Module <- Now])});
                false -> Wait(Now)
            end
        end,
        Wait([])
    end).";

/// Modules that Elixir loads at its start so that others need not ask; it does without them.
const LOOKED_FOR: [&str; 2] = ["Elixir.Macro.Env", "Elixir.String.Tokenizer"];

/// Also what only a request opens. Neither an application that the release has nor what only embedded mode would load is
/// in the trace when nobody calls it.
#[test]
fn a_trace_names_the_modules_that_are_loaded() {
    let test = || -> Option<()> {
        tools(&["qemu-system-x86_64"])?;
        let mirror = Mirror::host()?;
        let bench = Bench::new();
        let project = bench.mix_project("web", false)?;
        let flags = format!("-eval '{}'", LOADED.split_whitespace().collect::<Vec<_>>().join(" "));
        let toml = format!("{}[run]\nenv = {{ ERL_AFLAGS = {flags:?} }}\n", mirror.toml());
        fs_err::write(project.join("leanfs.toml"), toml).expect("a leanfs.toml");
        // A trace of an image without some of its modules would be refused.
        let assemble = ["assemble", "--compress", "zstd:3", "--prune", "apps"];
        succeed(bench.leanfs(assemble).current_dir(&project));

        let output = project.join("leanfs");
        let file = bench.path("web.trace");
        let mut verify = bench.leanfs(["verify", "--json", "--timeout", "300", "--trace"]);
        verify.arg(&file).arg(&output);
        verify.args(["--expect", r"^\{loaded,[0-9]+,[0-9]+\}$"]);
        // sha256 of "leanfs"
        let crypto = ":80/crypto=124f67032fa3ea245defd3644ffc768d1328ba6aaae52c6c86f93a9d01931dce";
        verify.args(["--expect-http", ":80/priv=a note from priv", "--expect-http", crypto]);
        let said = succeed(&mut verify);
        let result: serde_json::Value = String::from_utf8_lossy(&said.stdout)
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_else(|| panic!("no result: {}", text(&said)));

        let written = fs_err::read_to_string(&file).expect("the trace");
        let trace = Trace::parse(&written).expect("what leanfs writes, it reads");
        assert_eq!(trace.to_text(), written);
        assert_eq!(trace.release, "web 0.1.0");
        assert_eq!(result["trace"]["modules"], trace.modules.len());
        assert_eq!(result["trace"]["files"], trace.files.len());
        assert_eq!(result["trace"]["path"], file.to_string_lossy().as_ref());

        let seen = result["met"].as_array().and_then(|met| {
            met.iter().filter_map(|met| met["seen"].as_str()).find(|seen| seen.starts_with("{loaded,"))
        });
        let names: String = trace.modules.iter().map(|name| format!("{name}\n")).collect();
        let mut crc = flate2::Crc::new();
        crc.update(names.as_bytes());
        let expected = format!("{{loaded,{},{}}}", trace.modules.len(), crc.sum());
        assert_eq!(seen, Some(expected.as_str()), "the BEAM has loaded other modules than\n{names}");

        let manifest = fs_err::read(output.join("manifest.json")).expect("a manifest");
        let manifest: Manifest = serde_json::from_slice(&manifest).expect("a manifest of this version");
        let image: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
        let names: BTreeSet<&str> =
            image.iter().filter_map(|path| path.rsplit('/').next()?.strip_suffix(".beam")).collect();
        for module in ["Elixir.Web.Routes", "application_controller", "logger_std_h", "crypto"] {
            assert!(trace.modules.contains(module), "{module}");
        }
        for module in ["Elixir.IEx", "compile", "Elixir.Code.Formatter", "ssl", "dets"] {
            assert!(!trace.modules.contains(module), "{module}");
        }
        for module in ["Elixir.IEx", "compile", "Elixir.Code.Formatter", "dets"] {
            assert!(names.contains(module), "{module} could have been loaded");
        }
        assert!(trace.files.iter().all(|path| image.contains(path.as_str())), "{:?}", trace.files);
        for name in ["/priv/text/note.txt", "/crypto.so", "/beam.smp", "/runtime.exs", "/start.boot"] {
            assert!(trace.files.iter().any(|path| path.ends_with(name)), "{name} in {:?}", trace.files);
        }

        // What was really loaded is what pruning must not take: by itself, but for modules that are only looked for
        // and not missed, and with the trace to the last one.
        let kept = |flags: &[&std::ffi::OsStr]| -> BTreeSet<String> {
            let output = bench.path("pruned");
            let mut command = bench.leanfs(["assemble", "--compress", "zstd:3", "-o"]);
            succeed(command.arg(&output).args(flags).current_dir(&project));
            let manifest = Manifest::read(&output).expect("a manifest");
            let files = manifest.files.iter().filter_map(|file| file.path.rsplit('/').next());
            files.filter_map(|name| name.strip_suffix(".beam")).map(str::to_owned).collect()
        };
        let by_itself = kept(&[]);
        let missing: Vec<&String> = trace.modules.difference(&by_itself).collect();
        assert!(missing.iter().all(|name| LOOKED_FOR.contains(&name.as_str())), "{missing:?}");
        assert!(by_itself.len() < names.len() - 100, "{} of {}", by_itself.len(), names.len());
        let with_trace = kept(&["--trace".as_ref(), file.as_os_str()]);
        assert_eq!(trace.modules.difference(&with_trace).count(), 0);
        Some(())
    };
    let _ = test();
}
