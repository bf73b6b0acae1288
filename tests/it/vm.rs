//! Launching and verifying with a real emulator: a small guest that is made here from a kernel and busybox.

use std::io::{Read, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use fs_err as fs;
use leanfs::report::{Event, Reporter, Silent};
use leanfs::vm::{
    Accelerator, GuestEnd, GuestSettings, LaunchSettings, Machine, UsedAccelerator, VerifyFailure,
    VerifySettings, VmError, console_regex, launch, verify,
};

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared");

/// What a guest needs, as far as it doesn't depend on the case.
struct Parts {
    _directory: tempfile::TempDir,
    kernel: PathBuf,
    initramfs: PathBuf,
}

/// The guest's first program: `case=` on the kernel's command line says what it does.
const INIT: &str = r#"#!/busybox sh
b=/busybox
$b mkdir -p /proc /dev /www
$b mount -t devtmpfs devtmpfs /dev
$b mount -t proc proc /proc
exec </dev/console >/dev/console 2>&1
for word in $($b cat /proc/cmdline); do
    case $word in
        case=*) case=${word#case=} ;;
        leanfs.ip=*) address=${word#leanfs.ip=}; address=${address%%,*} ;;
    esac
done
case $case in
    line) $b printf '\033[32mhello\033[0m from \377 the guest\n' ;;
    prompt) $b printf 'guest login: ' ;;
    silent) ;;
    poweroff) echo 'that was all'; $b poweroff -f ;;
    reboot) $b reboot -f ;;
    panic) exit 3 ;;
    memory) $b dd if=/dev/zero of=/fill bs=1M; $b poweroff -f ;;
    halt) $b halt -f ;;
    http)
        for module in failover net_failover virtio_net; do $b insmod /$module.ko; done
        $b ip link set lo up
        $b ip link set eth0 up
        $b ip address add $address dev eth0
        $b ip route add default via 10.0.2.2
        echo 'the answer is 42' >/www/answer
        $b sleep 1
        $b httpd -p 8080 -h /www
        echo 'listening' ;;
esac
while :; do $b sleep 1000; done
"#;

/// Where programs are, as the tests' caller has it.
fn program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(name))
        .find(|path| path.exists())
}

/// `None` is a visible skip; tools that are absent in CI are a failure.
fn parts() -> Option<Arc<Parts>> {
    /// Shared by the tests that run at the same time; the last one to end takes the files away.
    static PARTS: Mutex<Weak<Parts>> = Mutex::new(Weak::new());
    let mut shared = PARTS.lock().expect("no panic while it is locked");
    if let Some(parts) = shared.upgrade() {
        return Some(parts);
    }
    for tool in ["qemu-system-x86_64", "busybox", "cpio"] {
        if program(tool).is_none() {
            // Outside the lock, or the other tests would fail for its sake.
            drop(shared);
            assert!(std::env::var_os("CI").is_none(), "{tool} is needed in CI");
            println!("SKIP: {tool} is not installed");
            return None;
        }
    }
    let parts = Arc::new(make_parts(&kernel_package()?));
    *shared = Arc::downgrade(&parts);
    Some(parts)
}

fn kernel_package() -> Option<PathBuf> {
    let repository = Path::new(SHARED).join("mirror/v3.23/main/x86_64");
    if !repository.exists() {
        println!("SKIP: ../shared is absent");
        return None;
    }
    let mut packages =
        fs::read_dir(repository).expect("a directory").map(|entry| entry.expect("an entry").path());
    let package = packages.find(|path| path.to_string_lossy().contains("/linux-virt-"));
    Some(package.expect("the mirror has linux-virt"))
}

fn make_parts(package: &Path) -> Parts {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("root");
    fs::create_dir(&root).expect("made");
    let kernel = directory.path().join("kernel");
    let file = fs::File::open(package).expect("readable");
    let mut archive = tar::Archive::new(flate2::bufread::MultiGzDecoder::new(std::io::BufReader::new(file)));
    archive.set_ignore_zeros(true);
    for entry in archive.entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").into_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        match name.as_str() {
            "vmlinuz-virt" => {
                entry.read_to_end(&mut bytes).expect("readable");
                fs::write(&kernel, bytes).expect("written");
            }
            "failover.ko.gz" | "net_failover.ko.gz" | "virtio_net.ko.gz" => {
                flate2::read::GzDecoder::new(entry).read_to_end(&mut bytes).expect("gzip");
                fs::write(root.join(name.trim_end_matches(".gz")), bytes).expect("written");
            }
            _ => {}
        }
    }
    fs::copy(program("busybox").expect("looked for"), root.join("busybox")).expect("copied");
    fs::write(root.join("init"), INIT).expect("written");
    for name in ["busybox", "init"] {
        fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(0o755)).expect("changed");
    }
    let initramfs = directory.path().join("initramfs.cpio");
    let names = fs::read_dir(&root).expect("readable").map(|entry| entry.expect("an entry").file_name());
    let names: Vec<_> = names.map(|name| name.into_string().expect("ASCII")).collect();
    let mut cpio = Command::new("cpio")
        .args(["-o", "-H", "newc", "--quiet"])
        .current_dir(&root)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(&initramfs).expect("made").into_file())
        .spawn()
        .expect("cpio");
    let mut input = cpio.stdin.take().expect("piped");
    input.write_all(names.join("\n").as_bytes()).expect("taken");
    drop(input);
    assert!(cpio.wait().expect("waited").success());
    Parts { _directory: directory, kernel, initramfs }
}

/// An output directory whose guest does what `case` says.
struct Image(tempfile::TempDir);

impl Image {
    fn new(parts: &Parts, case: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let output = |name: &str, kind: &str, from: &Path| {
            std::os::unix::fs::symlink(from, directory.path().join(name)).expect("linked");
            let size = fs::metadata(from).expect("there").len();
            serde_json::json!({ "name": name, "kind": kind, "size": size, "sha256": "0" })
        };
        let outputs = [
            output("kernel", "kernel", &parts.kernel),
            output("initramfs.cpio", "initramfs", &parts.initramfs),
        ];
        let manifest = serde_json::json!({
            "format": 3, "source_date_epoch": 0, "inputs": [], "applications": [],
            "parameters": { "packages": [], "otp": "automatic", "kernel": "none", "images": [], "keep": [], "shell": false },
            "leanfs": "0.1.0", "arch": "x86_64", "prune": "apps", "unfollowed": [],
            "release": { "name": "a", "version": "1", "erts": "15", "otp_source": "release", "applications": {} },
            "packages": [], "left_out": [], "unknown_scripts": [], "notes": [], "files": [], "removed": [],
            "outputs": outputs,
            // As images have it: without `quiet`, a warning of the kernel may come behind a prompt.
            "command_line": format!("console=ttyS0 quiet case={case}"),
        });
        fs::write(directory.path().join("manifest.json"), manifest.to_string()).expect("written");
        Self(directory)
    }

    fn configure(&self, guest: &mut GuestSettings) {
        guest.accelerator = Accelerator::Tcg;
        guest.qemu = program("qemu-system-x86_64");
    }

    fn verify(&self, expect: &str) -> VerifySettings {
        let mut settings = VerifySettings::new(self.0.path());
        self.configure(&mut settings.guest);
        settings.expect = vec![console_regex(expect).expect("a pattern")];
        settings
    }

    /// No emulator of this image runs any more.
    fn is_gone(&self) -> bool {
        let own = self.0.path().to_string_lossy().into_owned();
        let processes = fs::read_dir("/proc").expect("readable").flatten();
        let mut lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        !lines.any(|line| {
            line.starts_with(b"/") && String::from_utf8_lossy(&line).contains(&format!("{own}/kernel"))
        })
    }
}

fn failure(result: Result<leanfs::vm::VerifyReport, VmError>) -> VerifyFailure {
    match result.expect_err("it doesn't come up") {
        VmError::NotUp(failure) => *failure,
        other => panic!("{other}"),
    }
}

#[test]
fn a_line_on_the_console() {
    let Some(parts) = parts() else { return };
    let image = Image::new(&parts, "line");
    let report =
        verify(&image.verify("^hello from . ?the guest$|^hello from"), &Silent).expect("it comes up");
    assert_eq!(report.accelerator, UsedAccelerator::Tcg);
    let [met] = report.met.as_slice() else { panic!("{report:?}") };
    assert_eq!(met.seen, "hello from \\xff the guest");
    assert!(met.after > Duration::ZERO && met.after == report.elapsed, "{report:?}");
    assert!(image.is_gone());
}

#[test]
fn a_microvm() {
    let Some(parts) = parts() else { return };
    let image = Image::new(&parts, "prompt");
    let mut settings = image.verify("login: $");
    settings.guest.machine = Some(Machine::Microvm);
    verify(&settings, &Silent).expect("it comes up");
    assert!(image.is_gone());
    for (case, end) in
        [("reboot", GuestEnd::Ended), ("poweroff", GuestEnd::Halted), ("halt", GuestEnd::Halted)]
    {
        let image = Image::new(&parts, case);
        let mut settings = image.verify("never said");
        settings.guest.machine = Some(Machine::Microvm);
        let failure = failure(verify(&settings, &Silent));
        assert_eq!(failure.end, end, "{case}: {failure}");
    }
}

#[test]
fn a_line_that_never_comes() {
    let Some(parts) = parts() else { return };
    let image = Image::new(&parts, "silent");
    let mut settings = image.verify("never said");
    settings.timeout = Duration::from_secs(6);
    let failure = failure(verify(&settings, &Silent));
    assert_eq!(failure.end, GuestEnd::TimedOut);
    assert!(failure.elapsed >= settings.timeout);
    assert_eq!(failure.unmet[0].what, "a line on the console that matches /never said/");
    assert!(failure.hint().is_some());
    assert!(image.is_gone());
}

#[test]
fn a_guest_that_ends_early() {
    let Some(parts) = parts() else { return };
    for case in ["poweroff", "reboot"] {
        let image = Image::new(&parts, case);
        let failure = failure(verify(&image.verify("never said"), &Silent));
        assert_eq!(failure.end, GuestEnd::Ended, "{case}: {failure}");
        let said = failure.console.iter().any(|line| line == "that was all");
        assert_eq!(said, case == "poweroff", "{failure}");
        assert!(image.is_gone());
    }
}

#[test]
fn a_kernel_that_panics() {
    let Some(parts) = parts() else { return };
    let image = Image::new(&parts, "panic");
    let failure = failure(verify(&image.verify("never said"), &Silent));
    let GuestEnd::Panicked(line) = &failure.end else { panic!("{failure}") };
    assert!(line.contains("Attempted to kill init! exitcode=0x00000300"), "{line}");
    assert!(
        failure
            .to_string()
            .starts_with("the application did not come up: the guest's kernel panicked after ")
    );
    assert!(image.is_gone());
}

#[test]
fn a_guest_without_memory() {
    let Some(parts) = parts() else { return };
    let image = Image::new(&parts, "memory");
    let mut settings = image.verify("never said");
    settings.guest.memory_mib = NonZeroU32::new(96).expect("not zero");
    let failure = failure(verify(&settings, &Silent));
    assert!(failure.hint().expect("what to do").contains("--memory"), "{failure}");
}

#[test]
fn answers_over_http_and_a_line_in_one_boot() {
    let Some(parts) = parts() else { return };
    let image = Image::new(&parts, "http");
    let mut settings = image.verify("^listening");
    settings.expect_http = [":8080/answer=is 42", ":8080/answer=the answer"]
        .map(|text| text.parse().expect("an expectation"))
        .into();
    let report = verify(&settings, &Silent).expect("it answers");
    assert_eq!(report.met.len(), 3, "{report:?}");
    assert!(report.met.is_sorted_by_key(|met| met.after));

    settings.expect_http = [":8080/absent=is 42", ":8080/answer=is 43", ":9/="]
        .map(|text| text.parse().expect("an expectation"))
        .into();
    settings.timeout = report.elapsed * 2 + Duration::from_secs(2);
    let failure = failure(verify(&settings, &Silent));
    assert_eq!(failure.end, GuestEnd::TimedOut);
    assert_eq!(failure.met.len(), 1, "{failure}");
    let instead: Vec<_> =
        failure.unmet.iter().map(|unmet| unmet.instead.as_deref().unwrap_or_default()).collect();
    assert!(instead[0].starts_with("the last answer was HTTP 404"), "{failure}");
    assert_eq!(instead[1], "the last answer was HTTP 200 with 17 bytes: the answer is 42\\n");
    assert!(instead[2].contains("without an answer") || instead[2] == "no answer", "{failure}");
    assert!(image.is_gone());
}

/// Keeps what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Reporter for Notes {
    fn report(&self, event: Event) {
        if let Event::Note { text } = event {
            self.0.lock().expect("no panic").push(text);
        }
    }
}

#[test]
fn kvm_only_where_a_guest_has_run_in_it() {
    let Some(parts) = parts() else { return };
    let image = Image::new(&parts, "line");
    let cache = tempfile::tempdir().expect("a directory");
    let mut settings = image.verify("hello from");
    settings.guest.cache = Some(cache.path().join("leanfs"));
    settings.guest.accelerator = Accelerator::Auto;
    let notes = Notes::default();
    let report = verify(&settings, &notes).expect("it comes up with the one or the other");
    let notes = notes.0.into_inner().expect("no panic");
    settings.guest.accelerator = Accelerator::Kvm;
    match (report.accelerator, verify(&settings, &Silent)) {
        (UsedAccelerator::Kvm, result) => {
            assert_eq!(notes, [""; 0]);
            assert_eq!(result.expect("it came up before").accelerator, UsedAccelerator::Kvm);
        }
        (UsedAccelerator::Tcg, result) => {
            assert!(notes[0].starts_with("the guest runs without KVM (in TCG, slower): "), "{notes:?}");
            assert!(matches!(result, Err(VmError::Kvm { .. })), "{result:?}");
        }
    }
}

#[test]
fn what_keeps_a_guest_from_starting() {
    let Some(parts) = parts() else { return };
    let image = Image::new(&parts, "line");
    let error = |change: &dyn Fn(&mut VerifySettings)| {
        let mut settings = image.verify("hello");
        change(&mut settings);
        verify(&settings, &Silent).expect_err("it can't start")
    };
    let missing = error(&|settings| {
        settings.guest.qemu = None;
        settings.guest.program_directories = vec!["/nonexistent".into()];
    });
    assert_eq!(missing.to_string(), "qemu-system-x86_64 is not installed: it is not in /nonexistent");
    assert!(missing.hint().expect("the package").contains("qemu-system-x86 on Debian"));
    let nothing = error(&|settings| settings.expect.clear());
    assert!(matches!(nothing, VmError::NothingExpected) && nothing.is_usage());
    let machine = error(&|settings| settings.guest.machine = Some(Machine::Virt));
    assert!(matches!(machine, VmError::MachineMismatch { .. }) && machine.is_usage());
    let memory = error(&|settings| settings.guest.memory_mib = NonZeroU32::MAX);
    assert!(matches!(memory, VmError::QemuFailed { .. }), "{memory}");
    let program = error(&|settings| settings.guest.qemu = program("false"));
    assert!(matches!(program, VmError::QemuFailed { .. }), "{program}");
}

/// [`launch`] has the whole process's standard input and output, so it runs in a process of its own: this test binary
/// once more, with the name of this test and the directory in the environment.
#[test]
fn launched_in_a_process_of_its_own() {
    let Some(directory) = std::env::var_os("LEANFS_TEST_LAUNCH") else { return };
    let mut settings = LaunchSettings::new(PathBuf::from(directory));
    settings.guest.accelerator = Accelerator::Tcg;
    settings.guest.qemu = program("qemu-system-x86_64");
    settings.guest.catch_signals = true;
    match launch(&settings, &Silent) {
        Ok(status) => println!("launch: {status}"),
        Err(error) => println!("launch: {error}"),
    }
}

fn launcher(image: &Image) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .args(["--exact", "vm::launched_in_a_process_of_its_own", "--nocapture"])
        .env("LEANFS_TEST_LAUNCH", image.0.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

#[test]
fn launch_shows_the_console_and_waits_for_the_end() {
    let Some(parts) = parts() else { return };
    let image = Image::new(&parts, "poweroff");
    let output = launcher(&image).output().expect("started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("that was all\r\n"), "{text}");
    assert!(text.contains("launch: exit status: 0\n"), "{text}");
    assert!(image.is_gone());
}

#[test]
fn launch_leaves_nothing_behind_when_it_is_told_to_end() {
    let Some(parts) = parts() else { return };
    let image = Image::new(&parts, "line");
    let mut process = launcher(&image).spawn().expect("started");
    let mut output = process.stdout.take().expect("piped");
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    let says = |seen: &[u8], text: &str| seen.windows(text.len()).any(|window| window == text.as_bytes());
    while !says(&seen, "the guest\r\n") {
        let count = output.read(&mut buffer).expect("readable");
        assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
    let started = Instant::now();
    let number = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(number, rustix::process::Signal::TERM).expect("told");
    output.read_to_end(&mut seen).expect("readable");
    assert!(process.wait().expect("waited").success());
    assert!(says(&seen, "launch: ended by signal 15 while the guest was running\n"), "{started:?}");
    assert!(image.is_gone());
}
