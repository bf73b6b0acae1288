//! PID 1 and its configuration, `/etc/leanfs/init.conf`.
//!
//! The format (version 1) is made of lines `key word…`; lines that are empty or start with `#` say nothing.
//! Words are separated by spaces. In a word `\\` is a backslash, `\n` a line feed, `\s` a space, and `\e`
//! nothing at all, so that an empty word can be written. Every other byte but NUL stands for itself.
//!
//! | line | what PID 1 does |
//! |---|---|
//! | `hostname NAME` | sets the host's name; one without a dot gets `.local` |
//! | `module PATH` | loads an uncompressed kernel module; repeated, in load order |
//! | `env NAME=VALUE` | sets an environment variable of the program and the helpers; repeated |
//! | `copy SOURCE TARGET` | copies a file (with its mode) before the start, making the directories above TARGET; repeated |
//! | `directory PATH` | starts the program there |
//! | `helper PATH ARG0 ARG1…` | starts another program first, in the background; repeated |
//! | `exec PATH` | the program |
//! | `arg VALUE` | one of its arguments, `argv[0]` first; repeated |
//! | `on-exit poweroff\|reboot\|halt` | what happens when the program has ended |
//!
//! A key that PID 1 doesn't know is a warning on the console, and nothing else. The kernel's command line wins
//! over the file: `leanfs.ip=ADDRESS/PREFIX[,gateway=A][,dns=A][,device=NAME]`, `leanfs.hostname=NAME`,
//! `leanfs.env=NAME=VALUE` (repeatable), `leanfs.on-exit=…`.
//!
//! # Tracing
//!
//! With `leanfs.trace=1` on the kernel's command line, PID 1 says on the console which regular files of the image are
//! opened, those below `/proc`, `/sys`, `/dev`, `/run` and `/tmp` apart. It begins when modules are loaded and the network
//! is set, before it copies files and starts anything. The program then loads code when it is first called, so that
//! what is opened is what is needed: in its arguments the word after `-mode` becomes `interactive`, and in its
//! environment `RELEASE_MODE` is `interactive`.
//!
//! | line | meaning |
//! |---|---|
//! | `leanfs-trace: ready` | every directory is watched; comes first |
//! | `leanfs-trace: failed: REASON` | they can't be watched, and nothing else comes; the program runs as it would without a trace |
//! | `leanfs-trace: PATH NUMBER` | a file was opened for the first time, as the NUMBERth, counted from 1 |
//! | `leanfs-trace: lost` | the kernel dropped events: files may be missing |
//!
//! PATH is absolute and names directories by no symbolic link. Bytes in it that are not printable ASCII, and
//! backslashes, are `\xNN`. Each line is one write to the terminal, which takes it as a whole, but it may begin behind
//! the unfinished line of another program, which then goes on behind it. The kernel's own messages are not held back
//! by anything: that one of them fell into a line shows by the NUMBER, which is then missing at its end or in the
//! sequence. The busybox script doesn't trace.
//!
//! PID 1 is `init/` in the sources, built by `build.rs`; `rootfs-skeleton/init.sh` reads the same file and the
//! same command line with busybox where that one isn't there ([`pid1`]).

use crate::arch::Arch;
use crate::layer::start::StartPlan;
use crate::recipe::{OnExit, RunSettings};
use crate::tree::TreePath;

/// Where PID 1 stands in an image, without a leading slash.
pub const PID1_PATH: &str = "init";

/// Where its configuration stands in an image, without a leading slash.
pub const PATH: &str = "etc/leanfs/init.conf";

/// PID 1 for machines that have none of their own here: a script for busybox's shell, `/bin/busybox`, which
/// must be in the image then. It does the same with the same configuration.
pub const BUSYBOX_PID1: &[u8] = include_bytes!("../../rootfs-skeleton/init.sh");

mod built {
    include!(concat!(env!("OUT_DIR"), "/pid1.rs"));
}

/// The static ELF program that is PID 1 on `arch`; none where the machine that built leanfs couldn't make one
/// (the toolchain had no `core` for it), and then [`BUSYBOX_PID1`] does its job.
pub fn pid1(arch: Arch) -> Option<&'static [u8]> {
    match arch {
        Arch::X86_64 => built::X86_64,
        Arch::Aarch64 => built::AARCH64,
        Arch::Riscv64 => built::RISCV64,
    }
}

/// Writes the configuration: the plan's program, environment, copies and helpers, the settings' host name,
/// further environment (the plan's wins: it was made from the settings') and end, and `modules`, uncompressed and in load order.
pub fn render(plan: &StartPlan, run: &RunSettings, modules: &[TreePath]) -> Vec<u8> {
    let mut conf = b"# leanfs init.conf 1\n".to_vec();
    line(&mut conf, "hostname", [run.hostname.as_bytes()]);
    for module in modules {
        line(&mut conf, "module", [absolute(module).as_slice()]);
    }
    for (name, value) in &plan.env {
        line(&mut conf, "env", [format!("{name}={value}").as_bytes()]);
    }
    for (name, value) in &run.env {
        if !plan.env.iter().any(|(planned, _)| planned == name) {
            line(&mut conf, "env", [format!("{name}={value}").as_bytes()]);
        }
    }
    for (source, target) in &plan.copies {
        line(&mut conf, "copy", [absolute(source).as_slice(), &absolute(target)]);
    }
    line(&mut conf, "directory", [absolute(&plan.directory).as_slice()]);
    for (program, arguments) in &plan.helpers {
        let program = absolute(program);
        line(
            &mut conf,
            "helper",
            [program.as_slice()].into_iter().chain(arguments.iter().map(Vec::as_slice)),
        );
    }
    line(&mut conf, "exec", [absolute(&plan.program).as_slice()]);
    for argument in &plan.arguments {
        line(&mut conf, "arg", [argument.as_slice()]);
    }
    line(&mut conf, "on-exit", [on_exit(run.on_exit).as_bytes()]);
    conf
}

/// The word for it, in the file and on the kernel's command line.
fn on_exit(on_exit: OnExit) -> &'static str {
    match on_exit {
        OnExit::PowerOff => "poweroff",
        OnExit::Reboot => "reboot",
        OnExit::Halt => "halt",
    }
}

fn absolute(path: &TreePath) -> Vec<u8> {
    [b"/", path.as_bytes()].concat()
}

fn line<'a>(conf: &mut Vec<u8>, key: &str, words: impl IntoIterator<Item = &'a [u8]>) {
    conf.extend_from_slice(key.as_bytes());
    for word in words {
        conf.push(b' ');
        if word.is_empty() {
            conf.extend_from_slice(b"\\e");
        }
        for &byte in word {
            match byte {
                b'\\' => conf.extend_from_slice(b"\\\\"),
                b'\n' => conf.extend_from_slice(b"\\n"),
                b' ' => conf.extend_from_slice(b"\\s"),
                other => conf.push(other),
            }
        }
    }
    conf.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        text.parse().expect("a path")
    }

    #[test]
    fn every_key_is_written() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let plan = StartPlan {
            program: path("usr/lib/erlang/erts-15/bin/beam.smp"),
            arguments: [&b"beam.smp"[..], b"--", b"a b", b"", b"c\\d\ne", b"\xff"].map(<[u8]>::to_vec).into(),
            env: vec![pair("BINDIR", "/usr/lib erlang"), pair("MODE", "plan's")],
            copies: vec![(path("app/sys.config"), path("run/app/sys.config"))],
            directory: path("app"),
            helpers: vec![(path("bin/epmd"), vec![b"epmd".to_vec(), b"-daemon".to_vec()])],
            needs_shell: None,
            notes: Vec::new(),
            ..StartPlan::default()
        };
        let run = RunSettings {
            hostname: "web.local".to_owned(),
            env: [pair("MODE", "user's"), pair("ONLY", "user's")].into(),
            on_exit: OnExit::Reboot,
            ..RunSettings::default()
        };
        let conf = render(&plan, &run, &[path("lib/modules/6/a.ko"), path("lib/modules/6/b.ko")]);
        let expected = b"# leanfs init.conf 1\n\
            hostname web.local\n\
            module /lib/modules/6/a.ko\n\
            module /lib/modules/6/b.ko\n\
            env BINDIR=/usr/lib\\serlang\n\
            env MODE=plan's\n\
            env ONLY=user's\n\
            copy /app/sys.config /run/app/sys.config\n\
            directory /app\n\
            helper /bin/epmd epmd -daemon\n\
            exec /usr/lib/erlang/erts-15/bin/beam.smp\n\
            arg beam.smp\n\
            arg --\n\
            arg a\\sb\n\
            arg \\e\n\
            arg c\\\\d\\ne\n\
            arg \xff\n\
            on-exit reboot\n";
        assert_eq!(String::from_utf8_lossy(&conf), String::from_utf8_lossy(expected));
        assert_eq!(conf, expected);
    }
}
