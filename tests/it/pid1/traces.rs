//! PID 1 says which files are opened, and `leanfs::vm::verify` makes a trace of it: a shell script opens files that are
//! known, on a console that others write to.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::PoisonError;

use leanfs::layer::init_conf;
use leanfs::recipe::RunSettings;
use leanfs::report::{Silent, trace::Trace};
use leanfs::tree::{Content, Metadata, NodeKind, Tree};
use leanfs::vm::{Accelerator, VerifySettings, VmError, console_regex};

use super::{BOOTING, MOST_WAIT, Machine, QEMU, add, plan};

/// How many files the script opens.
const FILES: usize = 400;

/// Says what it was given, and then opens files while others write pieces of lines to the console. When the last is open
/// it ends: what PID 1 hasn't said by then it must say all the same.
const PROBE: &str = r#"
echo "arguments: $* mode: $RELEASE_MODE"
for writer in 1 2; do
    while :; do printf 'noise %s ' $writer; done &
done
/bin/busybox sleep 0.5
for file in /data/opened/*; do
    case $file in *7.beam) /bin/busybox true ;; esac
    read -r line <"$file"
done
for file in /data/opened/*; do read -r line <"$file"; done
[ -e /data/absent ] || [ -r /data/closed/1 ] && read -r line <"/app/two words/grün \x41"
echo made >/data/opened/later
read -r line </data/opened/later
"#;

/// A tree with the script and its files; `pid1` starts the script.
fn tree(machine: &Machine, pid1: &[u8]) -> Tree {
    let mut tree = machine.base.clone();
    add(&mut tree, "init", Content::from_bytes(pid1), Metadata::PROGRAM);
    add(&mut tree, "app/opens.sh", Content::from_bytes(PROBE.as_bytes()), Metadata::FILE);
    for place in ["app/two words/grün \\x41", "data/closed/1"] {
        add(&mut tree, place, Content::from_bytes(*b"a line\n"), Metadata::FILE);
    }
    for number in 0..FILES {
        let place = format!("data/opened/Elixir.Module{number}.beam");
        add(&mut tree, &place, Content::from_bytes(*b"a line\n"), Metadata::FILE);
    }
    let arguments = ["/app/opens.sh", "-mode", "embedded", "-extra", "-mode", "embedded"];
    let mut plan = plan(&arguments);
    plan.env = vec![("RELEASE_MODE".to_owned(), "embedded".to_owned())];
    let conf = init_conf::render(&plan, &RunSettings::default(), &machine.modules(), None);
    add(&mut tree, init_conf::PATH, Content::from_bytes(conf), Metadata::FILE);
    tree
}

/// Boots a tree and expects the script's first line.
fn trace(machine: &Machine, tree: Tree) -> Result<Trace, VmError> {
    let files: Vec<serde_json::Value> = tree
        .iter()
        .filter(|(_, node)| matches!(node.kind, NodeKind::File(_)))
        .map(|(path, _)| {
            serde_json::json!({
                "path": path.to_string(), "kind": "file", "size": 1, "size_before": 1, "compressed": 1, "layer": "release",
                "part": "", "because": "", "by": null,
            })
        })
        .collect();
    let outputs: Vec<serde_json::Value> = machine
        .write(tree)
        .iter()
        .map(|output| {
            let name = output.file_name().and_then(|name| name.to_str()).expect("one of two");
            let size = fs_err::metadata(output).expect("written").len();
            serde_json::json!({ "name": name, "kind": name, "size": size, "sha256": "" })
        })
        .collect();
    let manifest = serde_json::json!({
        "format": 3, "source_date_epoch": 0, "inputs": [], "applications": [],
        "parameters": { "packages": [], "otp": "automatic", "kernel": "none", "images": [], "keep": [], "shell": false },
        "leanfs": "0.1.0", "arch": "x86_64", "prune": "apps", "unfollowed": [],
        "release": { "name": "a", "version": "1", "erts": "15", "otp_source": "release", "applications": {} },
        "packages": [], "left_out": [], "unknown_scripts": [], "notes": [], "removed": [],
        "files": files, "outputs": outputs,
        "command_line": "console=ttyS0 quiet panic=-1 leanfs.env=RELEASE_MODE=embedded",
    });
    let directory = machine.directory.path();
    fs_err::write(directory.join("manifest.json"), manifest.to_string()).expect("room");

    let mut settings = VerifySettings::new(directory);
    settings.guest.accelerator = Accelerator::Tcg;
    settings.guest.qemu = program(QEMU);
    settings.timeout = MOST_WAIT;
    let expected =
        "^arguments: -mode interactive -extra -mode embedded mode: interactive|^arguments: .*mode: embedded$";
    settings.expect = vec![console_regex(expected).expect("a pattern")];
    settings.trace = true;
    let _one = BOOTING.lock().unwrap_or_else(PoisonError::into_inner);
    let report = leanfs::vm::verify(&settings, &Silent)?;
    assert!(report.met[0].seen.ends_with("mode: interactive"), "{report:?}");
    Ok(report.trace.expect("it was asked for"))
}

fn program(name: &str) -> Option<PathBuf> {
    let directories = std::env::var_os("PATH")?;
    std::env::split_paths(&directories).map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// Every file that was opened and no other, whatever else comes to the console meanwhile.
#[test]
fn the_program_says_what_is_opened() {
    let Some(machine) = Machine::new() else { return };
    let trace = trace(&machine, tree(&machine, super::own())).expect("a trace");
    let modules: BTreeSet<String> = (0..FILES).map(|number| format!("Elixir.Module{number}")).collect();
    assert_eq!(trace.release, "a 1");
    assert_eq!(trace.modules, modules);
    let files = ["/app/opens.sh", "/app/two words/grün \\x41", "/bin/busybox", "/lib/ld-musl-x86_64.so.1"];
    assert_eq!(trace.files, files.map(str::to_owned).into());
}

/// Whoever asks it for a trace is told that there is none.
#[test]
fn the_busybox_script_does_not_trace() {
    let Some(machine) = Machine::new() else { return };
    let error = trace(&machine, tree(&machine, init_conf::BUSYBOX_PID1)).expect_err("no trace");
    assert!(matches!(error, VmError::NotTraced), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("busybox")), "{error}");
}
