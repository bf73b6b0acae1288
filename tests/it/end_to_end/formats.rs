//! One tree in every format: roots on devices, disks, data that stays, and containers.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use leanfs::report::manifest::Manifest;

use super::bench::{Bench, Mirror, full, succeed, tools};
use super::boots::{boot_tools, only_in_full};
use super::running::Running;

/// All formats that QEMU starts.
const BOOTABLE: [&str; 6] = ["initramfs", "ext4", "squashfs", "erofs", "disk", "qcow2"];
const CONTAINERS: [&str; 3] = ["tar", "oci", "oci-archive"];

/// Releases a sample application and assembles it with `formats` and further flags.
fn assemble(bench: &Bench, app: &str, formats: &[&str], flags: &[&str]) -> Option<()> {
    let project = release(bench, app)?;
    assemble_again(bench, &project, "out", formats, flags);
    Some(())
}

/// A project whose release was made, with a `leanfs.toml`.
fn release(bench: &Bench, app: &str) -> Option<PathBuf> {
    let mirror = Mirror::host()?;
    let project = bench.mix_project(app, app == "hello")?;
    let toml = format!("{}[run]\nhostname = \"{app}.test\"\n", mirror.toml());
    fs_err::write(project.join("leanfs.toml"), toml).expect("a leanfs.toml");
    Some(project)
}

fn assemble_again(bench: &Bench, project: &Path, output: &str, formats: &[&str], flags: &[&str]) {
    let formats: Vec<String> = formats.iter().map(|format| format!("--{format}")).collect();
    let mut command = bench.leanfs(["assemble", "-o"]);
    command.arg(bench.path(output)).args(formats).args(flags);
    succeed(command.current_dir(project));
}

/// Each root is mounted by what leads to it, and the application comes up; from disks by way of UEFI firmware.
#[test]
fn hello_boots_from_every_format() {
    let test = || -> Option<()> {
        boot_tools()?;
        let bench = Bench::new();
        assemble(&bench, "hello", &BOOTABLE, &["--data-size", "8MiB", "--compress", "lz4"])?;
        for format in BOOTABLE {
            // The disk as qcow2 is the same disk.
            if full() || format != "qcow2" {
                bench.verify(&bench.path("out"), ["--format", format, "--expect", "hello from hello on OTP"]);
            }
        }
        Some(())
    };
    let _ = test();
}

/// What `web` has answered is on its data, whatever happens to the machine: the kernel replays the journal.
#[test]
fn data_outlives_the_machine() {
    let test = || -> Option<()> {
        boot_tools()?;
        let bench = Bench::new();
        let formats: &[&str] = if full() { &BOOTABLE } else { &["ext4", "disk"] };
        assemble(&bench, "web", formats, &["--data-size", "16MiB", "--compress", "lz4"])?;
        let output = bench.path("out");
        for (place, format) in formats.iter().enumerate() {
            // Those that aren't disks share their data, which is a file of its own.
            let before = if matches!(*format, "disk" | "qcow2") { 0 } else { 2 * place };
            for visit in [1, 2] {
                let mut guest = Running::launch(&bench, &output, ["--format", format]);
                guest.wait_for("web listens on port 80");
                let expected = (200, format!("visits={}\n", before + visit));
                assert_eq!(guest.get("/visits"), expected, "{format}: {}", guest.console());
                guest.kill_emulator();
            }
        }
        Some(())
    };
    let _ = test();
}

/// A machine without its data ends instead of writing to what is lost.
#[test]
fn without_its_data_nothing_starts() {
    let test = || -> Option<()> {
        // It waits for half a minute.
        only_in_full()?;
        boot_tools()?;
        let bench = Bench::new();
        assemble(&bench, "hello", &["squashfs"], &["--data-size", "8MiB", "--compress", "lz4"])?;
        let output = bench.path("out");
        let manifest = output.join("manifest.json");
        let told = fs_err::read_to_string(&manifest).expect("a manifest");
        fs_err::write(&manifest, told.replace("\"kind\": \"data\"", "\"kind\": \"tar\"")).expect("written");
        let guest = Running::launch(&bench, &output, [""; 0]);
        let (status, console) = guest.end();
        assert!(status.success(), "{console}");
        assert!(console.contains("the data (LABEL=leanfs-data) has not appeared within 30 s"), "{console}");
        assert!(!console.contains("hello from"), "{console}");
        Some(())
    };
    let _ = test();
}

/// Everything that is written is the same again, whoever writes it with however many threads.
#[test]
fn every_format_is_byte_identical() {
    let test = || -> Option<()> {
        let bench = Bench::new();
        let project = release(&bench, "hello")?;
        let mut hashes = Vec::new();
        for jobs in ["1", "3"] {
            let formats = [&BOOTABLE[..], &CONTAINERS, &["firecracker"]].concat();
            // What takes time is the compressors', whose threads have tests of their own.
            let flags = ["--data-size", "8MiB", "--compress", "zstd:3", "--jobs", jobs];
            assemble_again(&bench, &project, jobs, &formats, &flags);
            let manifest = Manifest::read(&bench.path(jobs)).expect("a manifest");
            let outputs = manifest.outputs.into_iter();
            hashes.push(outputs.map(|output| (output.name, output.size, output.sha256)).collect::<Vec<_>>());
        }
        assert!(hashes[0].len() >= 13, "{:?}", hashes[0]);
        assert_eq!(hashes[0], hashes[1]);
        Some(())
    };
    let _ = test();
}

/// The container's own way in: umoci unpacks it, and chroot takes the place of a runtime, which no machine for tests has
/// the rights for.
#[test]
fn a_container_says_hello() {
    let test = || -> Option<()> {
        tools(&["umoci"])?;
        if !rustix::process::geteuid().is_root() {
            return super::bench::skip("only root may change its root");
        }
        let bench = Bench::new();
        assemble(&bench, "hello", &["oci"], &[])?;
        let (layout, bundle) = (bench.path("out/oci"), bench.path("bundle"));
        let manifest = Manifest::read(&bench.path("out")).expect("a manifest");
        assert_eq!(manifest.outputs.len(), 1, "no kernel: {:?}", manifest.outputs);
        let mut umoci = Command::new("umoci");
        let image = format!("{}:{}", layout.display(), manifest.release.version);
        succeed(umoci.args(["unpack", "--image", &image]).arg(&bundle));
        let said = in_container(&bundle);
        assert!(said.contains("hello from hello on OTP"), "{said}");
        Some(())
    };
    let _ = test();
}

/// Starts what a bundle's configuration says, with a variable more, and ends it by SIGTERM once it has spoken; what it
/// said.
fn in_container(bundle: &Path) -> String {
    let configuration = fs_err::read(bundle.join("config.json")).expect("a configuration");
    let configuration: serde_json::Value = serde_json::from_slice(&configuration).expect("JSON");
    let words = configuration["process"]["args"].as_array().expect("arguments").iter();
    let words: Vec<&str> = words.map(|word| word.as_str().expect("text")).collect();
    assert_eq!(words, ["/init", "container"]);
    let variables = configuration["process"]["env"].as_array().expect("variables").iter();
    let variables = variables.filter_map(|entry| entry.as_str()?.split_once('='));
    assert!(variables.clone().all(|(name, _)| name != "RELEASE_COOKIE"), "{configuration}");
    let mut chroot = Command::new("chroot");
    chroot.arg(bundle.join("rootfs")).args(words).env_clear().envs(variables);
    let mut container = chroot.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("chroot");
    let mut said = String::new();
    let mut lines = BufReader::new(container.stdout.take().expect("piped"));
    while !said.contains("hello from") && lines.read_line(&mut said).expect("text") > 0 {}
    let process = rustix::process::Pid::from_child(&container);
    let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
    let _ = lines.read_to_string(&mut said);
    let mut errors = String::new();
    let _ = container.stderr.take().expect("piped").read_to_string(&mut errors);
    let status = container.wait().expect("waited");
    assert_eq!(status.code(), Some(0), "{said}{errors}");
    assert!(errors.contains("passing SIGTERM on"), "{errors}");
    said
}
