//! Images with the database, unpacked, and looked at by the real `apk`.

use std::path::Path;
use std::process::Command;

use super::oracle::Oracle;
use crate::end_to_end::bench::{Bench, Mirror, succeed, tools};
use crate::repo::{TestRepo, key_file};
use crate::tiny;

/// A root made from an image, with `packages` and further flags, in the place of the oracle's.
fn unpacked(packages: &[&str], flags: &[&str]) -> Option<(Oracle, Bench)> {
    let oracle = Oracle::new()?;
    let mirror = Mirror::host()?;
    tools(&["tar"])?;
    let bench = Bench::new();
    tiny::release(&bench.path("release"));
    let mut command =
        bench.leanfs(["assemble", "--offline", "--release", "release", "--arch", "x86_64", "-q"]);
    command.args(["--tar", "--compress", "none", "-o", "out", "--kernel", "none", "--keep-package-db"]);
    command.args(mirror.flags()).arg("--key").arg(key_file()).args(flags);
    command.args(packages.iter().flat_map(|name| ["--package", name]));
    succeed(&mut command);
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(bench.path("out/rootfs.tar")).arg("--directory");
    tar.arg(oracle.path("root"));
    if !rustix::process::geteuid().is_root() {
        tar.args(["--exclude=./dev/*", "--exclude=dev/*"]);
    }
    succeed(tar.args(["--numeric-owner", "--preserve-permissions", "--warning=no-unknown-keyword"]));
    Some((oracle, bench))
}

/// A repository with a package that wants a library of one that is installed.
fn further(directory: &Path) {
    TestRepo::new()
        .package("further", "2-r0")
        .depends("so:libz.so.1")
        .depends("cmd:apk")
        .file("usr/share/further", "here\n")
        .script(".post-install", "#!/bin/sh\necho post-install > /tmp/further\n")
        .build(directory);
}

/// The options by which `apk` installs from that repository alone.
fn from(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().expect("UTF-8");
    ["--no-cache", "--no-network", "--repositories-file", "/dev/null", "-X", directory]
        .map(str::to_owned)
        .into()
}

fn check(oracle: &Oracle, bench: &Bench) {
    let (succeeded, listed) = oracle.run(&["info", "-v"]);
    assert!(succeeded, "{listed}");
    for name in ["apk-tools-3", "busybox-1", "zlib-1", "libapk-3", "musl-1"] {
        assert!(listed.lines().any(|line| line.starts_with(name)), "{name} in {listed}");
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let audits = [&["audit", "--system"][..], &["audit", "--system", "--check-permissions"]];
        for audit in audits {
            assert_eq!(oracle.run(audit), (true, String::new()), "{audit:?}");
        }
    } else {
        println!("SKIP: apk audits only what root owns");
    }
    let repository = bench.path("further");
    further(&repository);
    let add = |flags: &[&str]| {
        let mut arguments = from(&repository);
        arguments.push("add".to_owned());
        arguments.extend(flags.iter().map(ToString::to_string));
        arguments.push("further".to_owned());
        oracle.run(&arguments)
    };
    let (succeeded, said) = add(&["--simulate"]);
    assert!(succeeded && said.contains("(1/1) Installing further (2-r0)"), "{said}");
    if is_root {
        let (succeeded, said) = add(&["--no-scripts"]);
        assert!(succeeded && said.contains("OK:") && !said.contains("ERROR"), "{said}");
        assert_eq!(oracle.read("usr/share/further"), b"here\n");
        assert_eq!(oracle.run(&["audit", "--system"]), (true, String::new()));
        let (succeeded, said) = oracle.run(&["del", "--no-scripts", "further"]);
        assert!(succeeded && said.contains("Purging further"), "{said}");
    }
}

/// Without pruning, every file is as its package has it, and apk wouldn't do anything that it was not asked for.
#[test]
fn an_image_that_was_not_pruned_is_whole_for_apk() {
    let flags = ["--shell", "--prune", "none"];
    let Some((oracle, bench)) = unpacked(&["apk-tools", "alpine-baselayout", "ca-certificates"], &flags)
    else {
        return;
    };
    check(&oracle, &bench);
    let database = String::from_utf8(oracle.read("lib/apk/db/installed")).expect("text");
    // The emulator's and the release's files are no package's.
    assert!(!database.contains("beam") && database.contains("\nR:apk\n"), "{database}");
    let world = String::from_utf8(oracle.read("etc/apk/world")).expect("text");
    assert_eq!(world, "/bin/sh\nalpine-baselayout\napk-tools\nbusybox\nca-certificates\n");
    assert_eq!(oracle.read("etc/apk/arch"), b"x86_64\n");
    assert!(oracle.path("root/etc/apk/keys/leanfs-test.rsa.pub").is_file());
    assert_eq!(
        oracle.read("etc/apk/repositories"),
        b"",
        "directories of this machine mean nothing in the image"
    );
}

/// With everything that pruning does, an overlay over a file of a package, and a link where a directory might be.
#[test]
fn a_pruned_image_says_what_is_left() {
    let overlay = tempfile::tempdir().expect("a directory");
    for (path, text) in [("usr/share/apk/mine", "x"), ("etc/motd", "mine\n"), ("bin/busybox.note", "x")] {
        let path = overlay.path().join(path);
        fs_err::create_dir_all(path.parent().expect("there")).expect("made");
        fs_err::write(path, text).expect("written");
    }
    let overlay_flag = overlay.path().to_str().expect("UTF-8");
    let flags =
        ["--shell", "--prune", "modules", "--overlay", overlay_flag, "--allow-special", "/usr/bin/sudo"];
    let packages = ["apk-tools", "alpine-baselayout", "kmod", "openrc", "sudo", "curl"];
    let Some((oracle, bench)) = unpacked(&packages, &flags) else { return };
    // Stripped: not the package's bytes any more.
    check(&oracle, &bench);
    if rustix::process::geteuid().is_root() {
        // The overlay's, in a protected place: apk knows that it was changed.
        let (succeeded, changed) = oracle.run(&["audit", "--backup"]);
        assert!(succeeded && changed.lines().any(|line| line == "U etc/motd"), "{changed}");
    }
}

/// What scanners read, without an `apk` in the image: packages of which nothing is left, too.
#[test]
fn what_nothing_is_left_of_is_recorded_without_files() {
    let Some((oracle, _bench)) = unpacked(&["libcurl", "alpine-release"], &["--prune", "modules"]) else {
        return;
    };
    let database = String::from_utf8(oracle.read("lib/apk/db/installed")).expect("text");
    let record = |name: &str| {
        database
            .split("\n\n")
            .find(|record| record.contains(&format!("\nP:{name}\n")))
            .expect(name)
            .to_owned()
    };
    assert!(record("libcurl").contains("\nR:libcurl.so"));
    let (succeeded, listed) = oracle.run(&["info", "-v"]);
    assert!(succeeded && listed.contains("libcurl-8"), "{listed}");
    for line in database.lines().filter_map(|line| line.strip_prefix("F:")) {
        assert!(oracle.path("root").join(line).is_dir(), "{line}");
    }
}
