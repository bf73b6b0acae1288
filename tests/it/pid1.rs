//! PID 1 boots in QEMU, on `linux-virt` of ../shared/mirror, and a shell script stands in for the BEAM: it says
//! what it finds. The program of `init/` and the busybox script must give it the same.

mod traces;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use leanfs::arch::Arch;
use leanfs::image::ext4;
use leanfs::image::target::Target;
use leanfs::kernel::{self, Kernel};
use leanfs::layer::start::StartPlan;
use leanfs::layer::{init_conf, skeleton};
use leanfs::recipe::{DataSettings, OnExit, RunSettings};
use leanfs::tree::{Content, Metadata, Node, Origin, SpoolWriter, Tree, TreePath};
use leanfs::{archive, image};

use crate::console::{self, End};

const MIRROR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/mirror/v3.23/main/x86_64");
const QEMU: &str = "qemu-system-x86_64";
/// A boot takes 4 s of an idle processor.
const MOST_WAIT: Duration = Duration::from_secs(180);
/// One guest at a time: several on few processors take longer together than one after the other.
static BOOTING: Mutex<()> = Mutex::new(());

/// Says what it was given and what it sees, and sends PID 1 the signals that it must pass on.
const PROBE: &str = r#"
fact() { printf 'fact %s=[%s]\n' "$1" "$(printf %s "$2" | $bb tr '\n' '|')"; }
each() { while read -r line; do fact "$1" "$line"; done; }
bb=/bin/busybox
for word in "$@"; do fact argument "$word"; done
$bb env | $bb sort | each env
fact directory "$($bb pwd)"
fact hostname "$($bb hostname)"
$bb cut -d ' ' -f 2,3 /proc/mounts | each mount
for device in null zero full random urandom tty console ptmx; do [ -c /dev/$device ] && fact device $device; done
echo through >/dev/stdout | each stdout
$bb ip -4 -o addr show | $bb awk '{print $2, $4}' | each address
$bb ip route | $bb awk '{print $1, $2, $3}' | each route
each name-server </etc/resolv.conf
$bb cut -d ' ' -f 1 /proc/modules | each module
echo kept >/data/file && $bb sync && fact data "$($bb cat /data/file)"
fact copy "$($bb cat /run/new/place/copied) $($bb stat -c %a /run/new/place/copied)"
# Its own number, process group, session and terminal.
set -- $($bb cut -d ' ' -f 1,5,6,7 /proc/$$/stat)
[ "$1 $2 $3" = "$$ $$ $$" ] && fact session own
(: </dev/tty) && fact terminal "$([ "$4" != 0 ] && echo yes)"
fact files "$(ulimit -n)"
$bb sh -c "$bb sleep 0.3 &"
$bb sleep 1
fact zombies "$($bb grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null)"
fact helper "$($bb cat /run/helper)"
trap 'fact signal USR1' USR1
trap 'fact signal TERM; exit 7' TERM
kill -USR1 1
$bb sleep 0.3
kill -TERM 1
while :; do $bb sleep 0.1; done
"#;

/// A disk for data; what is there is given to the machine.
const DATA: &str = "data.ext4";

fn path(text: &str) -> TreePath {
    text.parse().expect("a good path")
}

fn add(tree: &mut Tree, place: &str, content: Content, metadata: Metadata) {
    tree.insert_with_parents(path(place), Node::file(content, metadata, Origin::skeleton()));
}

/// What every boot needs: a directory, `linux-virt`, busybox and musl. None when something is missing, which has
/// been said then.
struct Machine {
    directory: tempfile::TempDir,
    kernel: Kernel,
    base: Tree,
}

impl Machine {
    fn new() -> Option<Self> {
        if !Path::new(MIRROR).is_dir() {
            println!("SKIP: ../shared is absent");
            return None;
        }
        if Command::new(QEMU).arg("--version").output().is_err() {
            assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{QEMU} is missing in CI");
            println!("SKIP: {QEMU} is absent");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let unpack = |name: &str| {
            let spool = SpoolWriter::new_in(directory.path()).expect("a spool");
            let tar = archive::open(&package(name)).expect("an .apk");
            archive::read_whole_tar(tar, spool, &Origin::skeleton()).expect("a package")
        };
        let kernel = kernel::from_package(&unpack("linux-virt-"), Arch::X86_64, &["virtio_blk", "ext4"])
            .expect("a kernel package");
        let mut base = Tree::new();
        for (package, file) in [("busybox-1", "bin/busybox"), ("musl-1", "lib/ld-musl-x86_64.so.1")] {
            let tree = unpack(package);
            let (_, content) = tree.file(&path(file)).expect("the package's file");
            add(&mut base, file, content.clone(), Metadata::PROGRAM);
        }
        add(&mut base, "app/probe.sh", Content::from_bytes(PROBE.as_bytes()), Metadata::FILE);
        skeleton::lay(&mut base, 0);
        for (place, content) in &kernel.modules {
            add(&mut base, &place.to_string(), content.clone(), Metadata::FILE);
        }
        Some(Self { directory, kernel, base })
    }

    fn modules(&self) -> Vec<TreePath> {
        self.kernel.modules.iter().map(|(place, _)| place.clone()).collect()
    }

    /// Writes the kernel and an initramfs of the tree, and gives their paths.
    fn write(&self, tree: Tree) -> [PathBuf; 2] {
        let paths = ["kernel", "initramfs"].map(|name| self.directory.path().join(name));
        fs_err::write(&paths[0], self.kernel.image.read(1 << 30).expect("a kernel")).expect("room");
        let mut file = fs_err::File::create(&paths[1]).expect("room");
        image::cpio::write(&tree.validate().expect("a good tree"), &mut file).expect("an archive");
        paths
    }

    /// Boots a tree and gives back what the console said, up to the machine's end or a line that holds `last`.
    fn boot(&self, tree: Tree, network: bool, command_line: &str, last: &str) -> Vec<String> {
        let _one = BOOTING.lock().unwrap_or_else(PoisonError::into_inner);
        let [kernel, initramfs] = self.write(tree);
        let data = self.directory.path().join(DATA);
        let mut qemu = Command::new(QEMU);
        qemu.args(["-accel", "tcg", "-cpu", "max", "-m", "256", "-nographic", "-no-reboot", "-nodefaults"])
            .args(["-serial", "stdio"])
            .args(["-nic", if network { "user,model=virtio-net-pci" } else { "none" }])
            .args(["-kernel".as_ref(), kernel.as_os_str(), "-initrd".as_ref(), initramfs.as_os_str()])
            .args(if data.is_file() { &["-drive"][..] } else { &[] })
            .args(data.is_file().then(|| format!("file={},if=virtio,format=raw", data.display())))
            .args(["-append", &format!("console=ttyS0 quiet panic=-1 no_timer_check {command_line}")]);
        let (console, end) = console::watch(&mut qemu, MOST_WAIT, |line| line.contains(last));
        assert_eq!(end, End::Seen, "the machine's last words are not {last:?}");
        console
    }
}

fn package(prefix: &str) -> PathBuf {
    fs_err::read_dir(MIRROR)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .unwrap_or_else(|| panic!("no package {prefix}"))
}

fn shell(arguments: &[&str]) -> Vec<Vec<u8>> {
    ["busybox", "sh"].iter().chain(arguments).map(|word| word.as_bytes().to_vec()).collect()
}

fn plan(arguments: &[&str]) -> StartPlan {
    StartPlan {
        program: path("bin/busybox"),
        arguments: shell(arguments),
        directory: path("app"),
        ..StartPlan::default()
    }
}

/// The values of a fact, in the order in which the probe said them.
fn facts<'a>(console: &'a [String], key: &str) -> Vec<&'a str> {
    let start = format!("fact {key}=[");
    console.iter().filter_map(|line| line.strip_prefix(start.as_str())?.strip_suffix(']')).collect()
}

#[track_caller]
fn says(console: &[String], text: &str) {
    assert!(console.iter().any(|line| line.contains(text)), "the console doesn't say {text:?}");
}

/// An empty file system with a journal, labelled as data is.
fn empty_disk(place: &Path, size: u64) {
    let tree = Tree::new().validate().expect("a root is enough");
    let file = std::fs::File::create(place).expect("room");
    let settings = ext4::Settings {
        size: ext4::Size::Exact(size),
        journal: ext4::Journal::Default,
        label: DataSettings::LABEL.into(),
        ..Default::default()
    };
    ext4::write(&tree, &settings, Target::new(&file)).expect("written");
}

/// Everything that PID 1 does for a program, and what it does with signals and orphans, in one boot.
fn does_its_contract(pid1: &[u8]) {
    let Some(machine) = Machine::new() else { return };
    let mut tree = machine.base.clone();
    add(&mut tree, "init", Content::from_bytes(pid1), Metadata::PROGRAM);
    add(&mut tree, "app/secret", Content::from_bytes(*b"copied"), Metadata { mode: 0o640, ..Metadata::FILE });
    let helper = "printf '%s,' \"$@\" \"$MODE\" >/run/helper; /bin/busybox sleep 1000";
    let mut plan = plan(&["/app/probe.sh", "--", "two words", "back\\slash", "", "line\nfeed", "*"]);
    plan.env = vec![("MODE".to_owned(), "embedded now".to_owned()), ("GONE".to_owned(), "1".to_owned())];
    plan.copies = vec![(path("app/secret"), path("run/new/place/copied"))];
    plan.helpers = vec![(path("bin/busybox"), shell(&["-c", helper, "helper", "", "a b"]))];
    let mut run = RunSettings::default();
    run.hostname = "web.example".to_owned();
    run.env.insert("GONE".to_owned(), "2".to_owned());
    let data = DataSettings { size: 8 << 20, mount: "/data".to_owned() };
    let disk = machine.directory.path().join(DATA);
    empty_disk(&disk, data.size);
    let mut conf = init_conf::render(&plan, &run, &machine.modules(), Some(&data));
    conf.extend_from_slice(b"colour red\nmodule /lib/nothing.ko\n");
    let number = conf.iter().filter(|&&byte| byte == b'\n').count() - 1;
    add(&mut tree, init_conf::PATH, Content::from_bytes(conf), Metadata::FILE);

    let command_line = "leanfs.ip=10.0.2.15/24,gateway=10.0.2.2,dns=10.0.2.3 leanfs.env=GONE=3 \
                        leanfs.env=\"LATE=a b\" leanfs.colour=red";
    let console = machine.boot(tree, true, command_line, "reboot: Power down");

    assert_eq!(facts(&console, "argument"), ["--", "two words", "back\\slash", "", "line|feed", "*"]);
    let env = facts(&console, "env");
    for entry in ["MODE=embedded now", "GONE=3", "LATE=a b", "HOME=/root", "TERM=linux"] {
        assert!(env.contains(&entry), "{entry} in {env:?}");
    }
    assert!(env.iter().any(|entry| entry.starts_with("PATH=/usr/local/sbin:")), "{env:?}");
    assert!(
        !env.iter().any(|entry| entry.starts_with("leanfs") || entry.starts_with("BOOT_IMAGE")),
        "{env:?}"
    );
    assert_eq!(facts(&console, "directory"), ["/app"]);
    assert_eq!(facts(&console, "hostname"), ["web.example"]);
    let mounts = facts(&console, "mount");
    for mount in [
        "/data ext4",
        "/proc proc",
        "/sys sysfs",
        "/dev devtmpfs",
        "/dev/pts devpts",
        "/dev/shm tmpfs",
        "/run tmpfs",
    ] {
        assert!(mounts.contains(&mount), "{mount} in {mounts:?}");
    }
    let devices = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"];
    assert_eq!(facts(&console, "device"), devices);
    says(&console, "through");
    assert_eq!(facts(&console, "address"), ["lo 127.0.0.1/8", "eth0 10.0.2.15/24"]);
    assert_eq!(facts(&console, "route"), ["default via 10.0.2.2", "10.0.2.0/24 dev eth0"]);
    assert_eq!(facts(&console, "name-server"), ["nameserver 10.0.2.3"]);
    let modules = facts(&console, "module");
    assert!(modules.contains(&"virtio_net") && modules.contains(&"virtio_rng"), "{modules:?}");
    assert_eq!(facts(&console, "copy"), ["copied 640"]);
    assert_eq!(facts(&console, "data"), ["kept"]);
    // It was unmounted: nothing has to be replayed.
    let mut head = [0; 2048];
    fs_err::File::open(&disk).and_then(|mut file| file.read_exact(&mut head)).expect("readable");
    let (state, incompatible) = (head[1024 + 58], head[1024 + 96]);
    assert_eq!((state & 1, incompatible & 4), (1, 0), "clean, and no recovery is needed");
    assert_eq!(facts(&console, "session"), ["own"]);
    assert_eq!(facts(&console, "terminal"), ["yes"]);
    assert_eq!(facts(&console, "files"), ["65536"]);
    assert_eq!(facts(&console, "zombies"), [""]);
    assert_eq!(facts(&console, "helper"), [",a b,embedded now,"]);
    assert_eq!(facts(&console, "signal"), ["USR1", "TERM"]);
    says(&console, "leanfs-init: the kernel's command line: this ");
    says(
        &console,
        &format!("leanfs-init: line {number} of /etc/leanfs/init.conf is ignored: its key is not known"),
    );
    says(&console, "leanfs-init: the module /lib/nothing.ko can't be loaded: ");
    says(&console, "leanfs-init: passing SIGTERM on as SIGTERM");
    says(&console, "leanfs-init: /bin/busybox ended with exit status 7");
}

/// What can't be done is said, and the machine ends as it was asked to.
fn says_what_goes_wrong(pid1: &[u8]) {
    let Some(machine) = Machine::new() else { return };
    let mut tree = machine.base.clone();
    add(&mut tree, "init", Content::from_bytes(pid1), Metadata::PROGRAM);
    add(&mut tree, "app/lost", Content::from_bytes(*b"#!/lib/ld-elsewhere.so\n"), Metadata::PROGRAM);
    let mut plan = plan(&["-c", "echo name=$(/bin/busybox hostname); /bin/busybox sleep 0.5; kill -KILL $$"]);
    plan.helpers = vec![(path("app/lost"), Vec::new())];
    plan.copies = vec![(path("app/nothing"), path("run/nothing"))];
    plan.directory = path("nowhere");
    let mut run = RunSettings::default();
    run.on_exit = OnExit::Halt;
    add(
        &mut tree,
        init_conf::PATH,
        Content::from_bytes(init_conf::render(&plan, &run, &[], None)),
        Metadata::FILE,
    );
    let command_line = "leanfs.ip=10.0.2.15/24,gateway=10.0.2.2 leanfs.on-exit=reboot leanfs.hostname=plain";
    let console = machine.boot(tree, false, command_line, "reboot: Restarting system");
    says(&console, "name=plain.local");
    says(&console, "leanfs-init: no network device appeared within 5 s");
    says(&console, "leanfs-init: /app/nothing can't be copied to /run/nothing");
    says(&console, "leanfs-init: /bin/busybox isn't started in /nowhere");
    says(&console, "leanfs-init: /bin/busybox was ended by signal 9 (SIGKILL)");
    says(&console, "/app/lost");
}

/// Without a configuration there is nothing to start, and the command line still says how to end.
fn ends_without_a_configuration(pid1: &[u8]) {
    let Some(machine) = Machine::new() else { return };
    let mut tree = Tree::new();
    for place in ["bin/busybox", "lib/ld-musl-x86_64.so.1"] {
        let (node, _) = machine.base.file(&path(place)).expect("the base has it");
        tree.insert_with_parents(path(place), node.clone());
    }
    add(&mut tree, "init", Content::from_bytes(pid1), Metadata::PROGRAM);
    let console = machine.boot(tree, false, "leanfs.on-exit=halt", "reboot: System halted");
    says(&console, "leanfs-init: /etc/leanfs/init.conf can't be read, so there is nothing to start");
}

fn own() -> &'static [u8] {
    let pid1 = init_conf::pid1(Arch::X86_64);
    pid1.expect("a toolchain that builds leanfs on x86_64 builds its PID 1; build.rs warned why it couldn't")
}

#[test]
fn the_program_does_its_contract() {
    does_its_contract(own());
}

#[test]
fn the_busybox_script_does_its_contract() {
    does_its_contract(init_conf::BUSYBOX_PID1);
}

#[test]
fn the_program_says_what_goes_wrong() {
    says_what_goes_wrong(own());
}

#[test]
fn the_busybox_script_says_what_goes_wrong() {
    says_what_goes_wrong(init_conf::BUSYBOX_PID1);
}

#[test]
fn the_program_ends_without_a_configuration() {
    ends_without_a_configuration(own());
}

#[test]
fn the_busybox_script_ends_without_a_configuration() {
    ends_without_a_configuration(init_conf::BUSYBOX_PID1);
}

/// It needs nothing of the image and knows nothing of the machine that built it.
#[test]
fn the_program_is_small_static_and_anonymous() {
    for arch in Arch::ALL {
        let Some(pid1) = init_conf::pid1(arch) else {
            println!("SKIP: this toolchain has no core for {arch}");
            continue;
        };
        let header: [u8; 20] = *pid1.first_chunk().expect("an ELF header");
        assert_eq!(header[..6], *b"\x7fELF\x02\x01");
        // ET_EXEC, and the machine.
        assert_eq!(u16::from_le_bytes([header[16], header[17]]), 2);
        assert_eq!(u16::from_le_bytes([header[18], header[19]]), arch.elf_machine());
        assert!(pid1.len() < 64 * 1024, "{arch}: {} bytes", pid1.len());
        let holds = |text: &str| pid1.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!holds(env!("CARGO_MANIFEST_DIR")), "{arch}: the place of the sources is in it");
        if Arch::host() == Some(arch) {
            let directory = tempfile::tempdir().expect("a directory");
            let program = directory.path().join("pid1");
            fs_err::write(&program, pid1).expect("room");
            fs_err::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .expect("ours");
            let output = Command::new(&program).output().expect("it runs as any other process");
            assert_eq!(output.status.code(), Some(2));
            assert!(output.stderr.starts_with(b"leanfs-init: this is PID 1"), "{output:?}");
        }
        assert!(!holds("/.cargo/") && !holds("/.rustup/"), "{arch}: the place of the toolchain is in it");
    }
}

/// The published crate is built elsewhere, and its images must be the same.
#[test]
fn the_program_is_the_same_wherever_it_is_built() {
    let directory = tempfile::tempdir().expect("a directory");
    let sources = directory.path().join("elsewhere/deeper");
    let out = directory.path().join("out");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for place in ["init/arch", "../../out"] {
        fs_err::create_dir_all(sources.join(place)).expect("room");
    }
    for place in ["init", "init/arch"] {
        for entry in fs_err::read_dir(root.join(place)).expect("a directory") {
            let file = entry.expect("an entry").path();
            if file.is_file() {
                fs_err::copy(&file, sources.join(place).join(file.file_name().expect("a name")))
                    .expect("room");
            }
        }
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let script = directory.path().join("build");
    let built =
        Command::new(&rustc).args(["--edition=2024", "-o"]).args([&script, &root.join("build.rs")]).status();
    assert!(built.expect("a toolchain built this test").success());
    let version = Command::new(&rustc).arg("-vV").output().expect("rustc").stdout;
    let version = String::from_utf8(version).expect("text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let output = Command::new(&script)
        .env("RUSTC", &rustc)
        .env("HOST", host)
        .env("CARGO_MANIFEST_DIR", &sources)
        .env("OUT_DIR", &out)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("text");
    let usual = ["cargo::rerun-if-changed=", "cargo::rustc-env=LEANFS_RULES="];
    assert!(said.lines().all(|line| usual.iter().any(|word| line.starts_with(word))), "{said}");
    for arch in Arch::ALL {
        let Some(pid1) = init_conf::pid1(arch) else { continue };
        let again = fs_err::read_dir(&out)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(&format!("pid1-{arch}")))
            })
            .unwrap_or_else(|| panic!("no program for {arch}"));
        assert!(fs_err::read(again).expect("readable") == pid1, "{arch}: other bytes");
    }
}
