//! What leanfs refuses, through the command as a user meets it: the message, the exit code, and that nothing of the
//! output directory has changed. (What goes wrong with signatures and the network is in `own_repository`, with
//! downloads and the cache in `fetch`, with libraries in `libraries`.)

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin};
use tempfile::TempDir;

use super::cli::leanfs;
use super::repo::{TestRepo, key_file};
use super::tiny;

/// A directory with the tiny release, a repository, and what a run before has written.
struct Place(TempDir);

impl Place {
    fn new(repository: &TestRepo) -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        tiny::release(&place.path("release"));
        repository.build(&place.path("repo"));
        fs_err::create_dir(place.path("leanfs")).expect("made");
        fs_err::write(place.path("leanfs/initramfs.cpio"), "before").expect("written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = leanfs(self.0.path(), &["assemble", "--offline", "--repository", "repo"]);
        command.args(["--kernel", "none", "--compress", "none"]).arg("--key").arg(key_file());
        for (flag, value) in [("--release", "release"), ("--arch", "x86_64")] {
            if !flags.contains(&flag) {
                command.args([flag, value]);
            }
        }
        command.args(flags);
        command
    }

    fn run(&self, flags: &[&str]) -> Output {
        self.command(flags).output().expect("the binary was built with this test")
    }

    /// It fails with this code and all of these texts, and the output is as before.
    #[track_caller]
    fn refuses(&self, flags: &[&str], code: i32, texts: &[&str]) {
        let output = self.run(flags);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {stderr}");
        for text in texts {
            assert!(stderr.contains(text), "{flags:?}: {text:?} is not in\n{stderr}");
        }
        assert_eq!(names(&self.path("leanfs")), ["initramfs.cpio"], "{flags:?}");
        let before = fs_err::read_to_string(self.path("leanfs/initramfs.cpio")).expect("it was there");
        assert_eq!(before, "before", "{flags:?}");
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs_err::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn releases_that_can_not_be_used() {
    let place = Place::new(&TestRepo::new());
    place.refuses(&["--release", "nowhere"], 1, &["there is no release at nowhere", "mix release"]);
    place.refuses(&["--release", "repo"], 1, &["repo is not a release", "releases/"]);
    fs_err::write(place.path("text"), "text").expect("written");
    place.refuses(&["--release", "text"], 1, &["text"]);
}

#[test]
fn an_otp_of_another_version_is_told_application_by_application() {
    let otp = TestRepo::new()
        .package("erlang27", "27.1-r0")
        .program("usr/lib/erlang/erts-16.1/bin/beam.smp", tiny::static_elf())
        .file("usr/lib/erlang/lib/kernel-10.1/ebin/kernel.app", "x")
        .file("usr/lib/erlang/lib/stdlib-6.0/ebin/stdlib.app", "x");
    let place = Place::new(&otp);
    for directory in ["erts-15.0", "lib/kernel-10.0", "lib/stdlib-6.0"] {
        fs_err::remove_dir_all(place.path("release").join(directory)).expect("removed");
    }
    place.refuses(
        &[],
        1,
        &["erts 15.0 wanted, 16.1 there", "kernel 10.0 wanted, 10.1 there", "include_erts: true", "--otp"],
    );
    place.refuses(&["--otp", "release"], 1, &["release"]);
}

#[test]
fn a_tarball_that_is_not_the_one_that_was_meant() {
    let place = Place::new(&TestRepo::new());
    fs_err::write(place.path("otp.tar"), "something").expect("written");
    let meant = "0".repeat(64);
    place.refuses(&["--otp", "otp.tar", "--otp-sha256", &meant], 3, &["otp.tar", &meant, "3fc9b689"]);
    place.refuses(&["--otp", "nowhere.tar", "--otp-sha256", &meant], 1, &["nowhere.tar"]);
}

#[test]
fn no_package_brings_the_otp() {
    let place = Place::new(&TestRepo::new().package("other", "1-r0"));
    fs_err::remove_dir_all(place.path("release/erts-15.0")).expect("removed");
    place.refuses(&[], 1, &["looked for erlang27, erlang", "include_erts: true", "--otp"]);
}

#[test]
fn packages_that_contradict_each_other() {
    let repository = TestRepo::new()
        .package("app", "1-r0")
        .depends("library<2")
        .package("library", "2-r0")
        .package("one", "1-r0")
        .file("etc/same", "one")
        .package("two", "1-r0")
        .file("etc/same", "two")
        .package("claims", "1-r0")
        .file("app/releases/1/start.boot", "mine");
    let place = Place::new(&repository);
    place.refuses(
        &["--package", "app"],
        1,
        &["library-2-r0 can't be installed", "ruled out by app → library<2"],
    );
    place.refuses(
        &["--package", "one", "--package", "two"],
        1,
        &["/etc/same belongs to package one-1-r0 and to package two-1-r0", "`replaces`"],
    );
    place.refuses(
        &["--package", "claims"],
        1,
        &["/app/releases/1/start.boot is brought by package claims-1-r0", "and by release"],
    );
}

/// A package whose hashes and signatures are right, and whose files lead out.
#[test]
fn archives_that_lead_out() {
    for (name, kind, link, told) in [
        ("../../etc/passwd", tar::EntryType::Regular, "", "`..`"),
        ("/etc/passwd", tar::EntryType::Regular, "", "absolute"),
        ("link/passwd", tar::EntryType::Regular, "/etc", "symbolic link"),
    ] {
        let mut builder = tar::Builder::new(Vec::new());
        let mut entry = |name: &str, kind: tar::EntryType, link: &str| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            for set in [tar::Header::set_uid, tar::Header::set_gid, tar::Header::set_mtime] {
                set(&mut header, 0);
            }
            header.set_mode(0o644);
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, &[][..]).expect("to memory");
        };
        if !link.is_empty() {
            entry("link", tar::EntryType::Symlink, link);
        }
        entry(name, kind, "");
        let tar = builder.into_inner().expect("to memory");
        let place = Place::new(&TestRepo::new().package("evil", "1-r0").raw_data(tar.clone()));
        let output = place.run(&["--package", "evil"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("evil-1-r0.apk") && stderr.contains(told), "{name}: {stderr}");
        place.refuses(&["--package", "evil"], output.status.code().unwrap_or(-1), &[told]);
        assert!(matches!(output.status.code(), Some(1 | 3)), "{name}: {:?}", output.status);

        fs_err::write(place.path("release.tar"), tar).expect("written");
        place.refuses(&["--release", "release.tar"], 1, &["release.tar", told]);
    }
}

#[test]
fn a_program_for_another_architecture() {
    let place = Place::new(&TestRepo::new());
    let mut program = tiny::static_elf();
    program[18..20].copy_from_slice(&183_u16.to_le_bytes()); // e_machine: EM_AARCH64
    fs_err::write(place.path("release/lib/tiny-1/priv/port"), program).expect("written");
    place.refuses(&[], 1, &["/app/lib/tiny-1/priv/port", "is for aarch64, and the image is for x86_64"]);
}

/// A disk that is full: what was there stays, and the message says which disk.
#[test]
fn a_full_disk_is_told_and_changes_nothing() {
    if !rustix::process::getuid().is_root() {
        println!("SKIP: only root can mount the small disk of this test");
        return;
    }
    let large = TestRepo::new().package("large", "1-r0").file("usr/share/large", vec![7; 3 << 20]);
    let place = Place::new(&large);
    let disk = place.path("disk");
    fs_err::create_dir(&disk).expect("made");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "leanfs"]).arg(&disk).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("SKIP: nothing can be mounted here");
        return;
    }
    fs_err::create_dir(disk.join("out")).expect("made");
    fs_err::write(disk.join("out/initramfs.cpio"), "before").expect("written");
    let output = place.run(&["--package", "large", "-o", "disk/out"]);
    let left = names(&disk.join("out"));
    let before = fs_err::read_to_string(disk.join("out/initramfs.cpio"));
    let unmounted = Command::new("umount").arg(&disk).status().expect("umount runs");
    assert!(unmounted.success());

    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("disk/out/initramfs.cpio can't be written"), "{stderr}");
    assert!(stderr.contains("the disk that holds disk/out/initramfs.cpio is full"), "{stderr}");
    assert_eq!(left, ["initramfs.cpio"]);
    assert_eq!(before.expect("it was there"), "before");
}

/// SIGKILL at many moments of a run: the output is the one of before or the new one, whole, and the next run
/// clears up and succeeds.
#[test]
fn a_killed_run_leaves_the_old_output_or_the_new_one() {
    let repository = TestRepo::new().package("large", "1-r0").file("usr/share/large", vec![7; 1 << 20]);
    let place = Place::new(&repository);
    let flags = ["--package", "large", "-q"];
    let started = std::time::Instant::now();
    assert!(place.run(&flags).status.success());
    let whole = started.elapsed();
    let new = fs_err::read(place.path("leanfs/initramfs.cpio")).expect("written");
    const MOMENTS: u32 = 24;
    let mut killed = 0;
    for moment in 0..MOMENTS {
        fs_err::write(place.path("leanfs/initramfs.cpio"), "before").expect("written");
        let mut child = place.command(&flags).spawn().expect("the binary was built with this test");
        std::thread::sleep(whole.mul_f64(f64::from(moment) / f64::from(MOMENTS)) + Duration::from_millis(1));
        child.kill().expect("its own child");
        killed += u32::from(!child.wait().expect("it ends").success());
        let image = fs_err::read(place.path("leanfs/initramfs.cpio")).expect("always there");
        assert!(image == b"before" || image == new, "{} bytes after {moment}", image.len());
    }
    assert!(killed > 0, "no run was caught");
    assert!(place.run(&flags).status.success());
    assert_eq!(names(&place.path("leanfs")), ["initramfs.cpio", "manifest.json"], "nothing is left over");
    assert!(fs_err::read(place.path("leanfs/initramfs.cpio")).expect("written") == new);
}

/// Each is named with its path, and what to do; at the level that leaves files as they are, modules are no matter.
#[test]
fn damaged_files_of_a_release() {
    let place = Place::new(&TestRepo::new());
    let module = "release/lib/tiny-1/ebin/tiny_damaged.beam";
    fs_err::write(place.path(module), b"FOR1\0\0\0\xffBEAM").expect("written");
    place.refuses(&[], 1, &["/app/lib/tiny-1/ebin/tiny_damaged.beam can't be understood", "--prune apps"]);
    place.refuses(&["--prune", "chunks"], 1, &["tiny_damaged.beam can't be understood"]);
    assert!(place.run(&["--prune", "apps", "-o", "apps"]).status.success());
    fs_err::remove_file(place.path(module)).expect("removed");

    let application = "release/lib/tiny-1/ebin/tiny.app";
    let good = fs_err::read(place.path(application)).expect("it is there");
    fs_err::write(place.path(application), "{application, tiny, [").expect("written");
    place.refuses(&[], 1, &["/app/lib/tiny-1/ebin/tiny.app can't be understood", "line 1"]);
    fs_err::write(place.path(application), good).expect("written");

    for (file, bytes, text) in [
        ("release/releases/1/start.boot", &b"\x83h\x03"[..], "start.boot"),
        ("release/releases/1/tiny.rel", b"{release", "tiny.rel"),
    ] {
        let good = fs_err::read(place.path(file)).expect("it is there");
        fs_err::write(place.path(file), bytes).expect("written");
        place.refuses(&[], 1, &[text]);
        fs_err::write(place.path(file), good).expect("written");
    }

    fs_err::write(place.path("some.trace"), "modules = 1").expect("written");
    place.refuses(&["--trace", "some.trace"], 1, &["some.trace is no trace", "leanfs verify --trace"]);
    place.refuses(&["--trace", "nowhere.trace"], 1, &["nowhere.trace can't be read"]);
    assert!(place.run(&["-o", "whole"]).status.success());
}

#[test]
fn sizes_that_are_too_small() {
    let place = Place::new(&TestRepo::new());
    place.refuses(
        &["--ext4", "--size", "64KiB"],
        1,
        &["rootfs.ext4 can't be written", "its size was set to 65536 bytes", "MiB is enough"],
    );
    place.refuses(
        &["--data-size", "100"],
        1,
        &["data.ext4 can't be written", "ext4 needs 40960 bytes", "a size of 1 MiB is enough"],
    );
}

/// What gives powers comes from packages only where the recipe allows each.
#[test]
fn set_id_programs_and_devices_of_packages() {
    let content = Content::from_bytes(*b"#!/bin/x");
    let mut sudo = Node::file(content, Metadata::PROGRAM, Origin::skeleton());
    sudo.metadata.mode = 0o4755;
    let memory = NodeKind::CharDevice { major: 1, minor: 1 };
    let repository = TestRepo::new()
        .package("sudo", "1-r0")
        .node("usr/bin/sudo", sudo)
        .node("dev/mem", Node::new(memory, Metadata::FILE, Origin::skeleton()));
    let place = Place::new(&repository);
    place.refuses(
        &["--package", "sudo"],
        1,
        &[
            "/dev/mem of the package sudo-1-r0 is a device node; /usr/bin/sudo of the package sudo-1-r0 is a program that \
             runs as its owner",
            "--allow-special /dev/mem --allow-special /usr/bin/sudo",
        ],
    );
    place.refuses(
        &["--package", "sudo", "--allow-special", "/dev/mem"],
        1,
        &["doesn't allow\nCaused by: /usr/bin/sudo of"],
    );
    place.refuses(&["--allow-special", "usr/bin/sudo"], 2, &["no path in the image"]);
    let allowed = ["--package", "sudo", "--allow-special", "/dev/mem", "--allow-special", "/usr/bin/sudo"];
    let output = place.run(&allowed);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
