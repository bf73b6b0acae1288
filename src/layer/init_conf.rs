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
//! | `root [DEVICE]` | mounts a root file system and becomes its `/init`, instead of everything below |
//! | `data DEVICE PATH` | mounts a file system there, to be written to (`nosuid`, `nodev`, `noatime`) |
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
//! `leanfs.env=NAME=VALUE` (repeatable), `leanfs.on-exit=…`, `leanfs.data=DEVICE`.
//!
//! Where the command line can't be changed, as in a unified kernel image, further words come from the machine: what
//! follows `leanfs.cmdline=` in SMBIOS's OEM strings (QEMU: `-smbios type=11,value=leanfs.cmdline=WORDS`).
//!
//! # Root file systems and data
//!
//! A root file system on a device is reached through a small initramfs ([`boot_initramfs`]) whose configuration has
//! a `root` line: PID 1 there loads the modules, waits for the device, mounts the root at `/root`, frees what the initramfs
//! holds, makes it the root and executes its `/init`, which is PID 1 again with the configuration that is there. The
//! kernel's own words say which and how: `root=DEVICE`, `rootfstype=` (else what the superblock says: ext4, squashfs or
//! EROFS), `rootflags=`, and `rw`; without that the root is mounted read-only. A kernel that has everything built in
//! needs no initramfs: `root=/dev/vda init=/init`.
//!
//! DEVICE is `/dev/NAME`; `LABEL=` or `UUID=` of an ext4 or EROFS file system; or `PARTLABEL=` or `PARTUUID=` of a
//! partition (the latter from Linux 6.10 on). It may take 30 s to appear. If a root or the data is not there then, or
//! can't be mounted, that is said and the machine ends as `on-exit` says: nothing runs that would write into memory what
//! should be kept.
//!
//! Of a root that is read only, `/run` and `/tmp` are in memory and everything else is as it was assembled. In the
//! end the data is unmounted, and a root that is writable is made read-only, so that no journal has to be replayed.
//!
//! # Containers
//!
//! `/init container` is the first program of a container: it copies files, starts helpers and the program with the
//! environment of the container over that of the configuration, reaps, passes signals on, and exits with the program's
//! status. It mounts, loads and sets nothing.
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
use crate::recipe::{DataSettings, OnExit, RunSettings};
use crate::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath};

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

/// An initramfs that only leads to a root file system: PID 1, these modules in load order, and the places that it mounts
/// on. `on_exit` is what happens when there is no such root. Everything in it has the time `mtime`. None where there
/// is no [`pid1`] for the architecture: busybox would need a package.
pub fn boot_initramfs(
    arch: Arch,
    modules: &[(TreePath, Content)],
    on_exit: OnExit,
    mtime: i64,
) -> Option<Tree> {
    let origin = Origin::skeleton();
    let mut tree = Tree::new();
    let mut put = |path: TreePath, content: Content, metadata: Metadata| {
        let node = Node::file(content, Metadata { mtime, ..metadata }, origin.clone());
        tree.insert_with_parents(path, node);
    };
    let mut conf = b"# leanfs init.conf 1\n".to_vec();
    for (path, content) in modules {
        line(&mut conf, "module", [absolute(path).as_slice()]);
        put(path.clone(), content.clone(), Metadata::FILE);
    }
    line(&mut conf, "root", []);
    line(&mut conf, "on-exit", [self::on_exit(on_exit).as_bytes()]);
    let constant = |path: &str| TreePath::parse(path.as_bytes()).expect("paths in the code are good");
    put(constant(PID1_PATH), Content::from_bytes(pid1(arch)?.to_vec()), Metadata::PROGRAM);
    put(constant(PATH), Content::from_bytes(conf), Metadata::FILE);
    for path in ["dev", "proc", "root", "run", "sys"] {
        let directory = Node::directory(Metadata { mtime, ..Metadata::DIRECTORY }, origin.clone());
        tree.insert(constant(path), directory);
    }
    for (path, minor) in [("dev/console", 1), ("dev/null", 3)] {
        let kind = NodeKind::CharDevice { major: if minor == 1 { 5 } else { 1 }, minor };
        let metadata = Metadata { mode: if minor == 1 { 0o600 } else { 0o666 }, mtime, ..Metadata::FILE };
        tree.insert(constant(path), Node::new(kind, metadata, origin.clone()));
    }
    Some(tree)
}

/// Writes the configuration: the plan's program, environment, copies and helpers, the settings' host name,
/// further environment (the plan's wins: it was made from the settings') and end, `modules`, uncompressed and in load
/// order, and where the data is mounted, if there is some.
pub fn render(
    plan: &StartPlan,
    run: &RunSettings,
    modules: &[TreePath],
    data: Option<&DataSettings>,
) -> Vec<u8> {
    let mut conf = b"# leanfs init.conf 1\n".to_vec();
    line(&mut conf, "hostname", [run.hostname.as_bytes()]);
    for module in modules {
        line(&mut conf, "module", [absolute(module).as_slice()]);
    }
    if let Some(data) = data {
        let label = format!("LABEL={}", DataSettings::LABEL);
        line(&mut conf, "data", [label.as_bytes(), data.mount.as_bytes()]);
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
        let data = DataSettings { size: 1, mount: "/data".to_owned() };
        let modules = [path("lib/modules/6/a.ko"), path("lib/modules/6/b.ko")];
        let conf = render(&plan, &run, &modules, Some(&data));
        let expected = b"# leanfs init.conf 1\n\
            hostname web.local\n\
            module /lib/modules/6/a.ko\n\
            module /lib/modules/6/b.ko\n\
            data LABEL=leanfs-data /data\n\
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
