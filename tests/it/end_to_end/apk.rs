//! The real `apk` in an image that keeps its package database.

use std::path::Path;

use leanfs::report::manifest::Manifest;

use super::bench::{Bench, Mirror, full, succeed};
use super::boots::boot_tools;
use super::running::Running;
use crate::repo::{TestRepo, key_file};

/// What the release's `env.sh` does before the emulator starts: everything that a user of `apk` does, on the console.
/// Every line of it that matters begins with a word of its own.
const COMMANDS: &str = r#"#!/bin/sh
apk="apk --no-cache --no-network --no-progress"
say() {
    what=$1
    shift
    "$@" >/tmp/said 2>&1 && ended="ended well" || ended=failed
    sed "s/^/$what: /" /tmp/said
    echo "$what $ended"
}
say info $apk info -v
say audit $apk audit --system
say owner $apk info --who-owns /bin/busybox
say verify $apk verify /srv/repository/x86_64/further-2-r0.apk
say before test -e /usr/bin/further
say add $apk --repositories-file /dev/null -X /srv/repository add further
say after further
say again $apk audit --system
say del $apk del further
say fixed $apk --repositories-file /dev/null -X /srv/repository fix
echo "world: $(tr '\n' ' ' </etc/apk/world)"
"#;

/// Assembles `hello` without an ERTS, so that Erlang's package is in the image and pruned, and boots it.
fn boots_with_apk(level: &str) -> Option<()> {
    boot_tools()?;
    let mirror = Mirror::host()?;
    let bench = Bench::new();
    let project = bench.mix_project("hello", false)?;
    let overlay = bench.path("overlay");
    let releases = project.join("_build/prod/rel/hello/releases");
    let version = fs_err::read_dir(releases).expect("readable").flatten().find(|entry| entry.path().is_dir());
    let below = overlay.join("app/releases").join(version.expect("a version").file_name());
    fs_err::create_dir_all(&below).expect("made");
    fs_err::write(below.join("env.sh"), COMMANDS).expect("written");
    further(&overlay.join("srv/repository"));

    let output = bench.path("out");
    let mut command = bench.leanfs(["assemble", "--initramfs", "--offline", "--compress", "zstd:3", "-o"]);
    command.arg(&output).args(mirror.flags()).arg("--key").arg(key_file()).arg("--overlay").arg(&overlay);
    command.args(["--keep-package-db", "--shell", "--prune", level]);
    command.args(["--package", "apk-tools", "--package", "alpine-baselayout", "--package", "libcurl"]);
    succeed(command.current_dir(&project));

    let mut guest = Running::launch(&bench, &output, ["--memory", "512"]);
    guest.wait_for("hello from hello on OTP");
    check(&guest.console(), &Manifest::read(&output).expect("a manifest"), level);
    Some(())
}

/// A package with a program, a library to want, and a script.
fn further(directory: &Path) {
    TestRepo::new()
        .package("further", "2-r0")
        .depends("so:libcurl.so.4")
        .depends("cmd:sh")
        .program("usr/bin/further", "#!/bin/sh\ncat /tmp/script\n")
        .script(".post-install", "#!/bin/sh\necho its script has run > /tmp/script\n")
        .build(directory);
}

fn check(console: &str, manifest: &Manifest, level: &str) {
    let has = |line: &str| console.lines().any(|there| there.trim_end() == line);
    let begins = |text: &str| console.lines().any(|there| there.starts_with(text));
    for package in &manifest.packages {
        let line = format!("info: {}-{}", package.name, package.version);
        assert!(has(&line), "{line} is not in:\n{console}");
    }
    for word in ["info", "audit", "owner", "verify", "add", "after", "again", "del", "fixed"] {
        assert!(has(&format!("{word} ended well")), "{word}:\n{console}");
    }
    assert!(has("before failed"), "{console}");
    // Nothing wrong: apk says nothing.
    assert!(!begins("audit: ") && !begins("again: "), "{console}");
    assert!(begins("owner: /bin/busybox is owned by busybox-"), "{console}");
    assert!(begins("add: (1/1) Installing further (2-r0)"), "{level}: {console}");
    assert!(has("after: its script has run"), "{console}");
    assert!(begins("world: ") && !console.contains("ERROR"), "{console}");
}

/// Pruned as far as it goes. Without pruning, in the long run.
#[test]
fn apk_works_in_a_booted_image() {
    for level in if full() { &["modules", "none"][..] } else { &["modules"] } {
        let _ = boots_with_apk(level);
    }
}
