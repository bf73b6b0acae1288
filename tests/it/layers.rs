//! How layers come together, through the command: who has a path that two packages bring, what scripts would have
//! done, and an image for an architecture that PID 1 can't be built for everywhere.

use leanfs::arch::Arch;
use leanfs::report::manifest::Manifest;
use tempfile::TempDir;

use super::cli::leanfs;
use super::repo::{TestRepo, key_file};
use super::tiny;

/// Assembles the tiny release with packages of `repository`; gives the manifest and the image's bytes.
fn assemble(place: &TempDir, repository: &TestRepo, flags: &[&str]) -> (Manifest, Vec<u8>) {
    repository.build(&place.path().join("repo"));
    let mut command = leanfs(place.path(), &["assemble", "--offline", "--repository", "repo", "-q"]);
    command.args(["--release", "release", "--kernel", "none", "--compress", "none"]);
    let output = command.arg("--key").arg(key_file()).args(flags).output().expect("the binary was built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| fs_err::read(place.path().join("leanfs").join(name)).expect("an output");
    (serde_json::from_slice(&read("manifest.json")).expect("a manifest"), read("initramfs.cpio"))
}

fn place() -> TempDir {
    let place = tempfile::tempdir().expect("a temporary directory");
    tiny::release(&place.path().join("release"));
    place
}

fn part<'a>(manifest: &'a Manifest, path: &str) -> Option<&'a str> {
    manifest.files.iter().find(|file| file.path == path).map(|file| file.part.as_str())
}

#[test]
fn replaces_decides_who_has_a_path() {
    let repository = TestRepo::new()
        .package("one", "1-r0")
        .file("etc/same", "one")
        .package("two", "1-r0")
        .replaces("one")
        .file("etc/same", "two");
    for names in [["one", "two"], ["two", "one"]] {
        let place = place();
        let (manifest, _) = assemble(
            &place,
            &repository,
            &["--arch", "x86_64", "--package", names[0], "--package", names[1]],
        );
        assert_eq!(part(&manifest, "/etc/same"), Some("two-1-r0"), "{names:?}");
    }
}

#[test]
fn known_scripts_have_their_effect_and_others_are_named() {
    let repository = TestRepo::new()
        .package("daemon", "1-r0")
        .script(".pre-install", "#!/bin/sh\naddgroup -S daemon 2>/dev/null\nexit 0\n")
        .script(".post-install", "#!/bin/sh\nmake-things-up\n");
    let place = place();
    let (manifest, image) = assemble(&place, &repository, &["--arch", "x86_64", "--package", "daemon"]);
    let unknown: Vec<_> = manifest
        .unknown_scripts
        .iter()
        .map(|script| (script.package.as_str(), script.script.as_str(), script.text.as_str()))
        .collect();
    assert_eq!(unknown, [("daemon-1-r0", "post-install", "#!/bin/sh\nmake-things-up\n")]);
    assert!(manifest.notes.iter().any(|note| note.contains("post-install script of daemon-1-r0")));
    assert!(image.windows(14).any(|bytes| bytes == b"\ndaemon:x:100:"), "the group is in /etc/group");
}

/// What the triggers of busybox and kmod do for modules that no package lists.
#[test]
fn modules_of_the_overlay_are_listed_for_modprobe() {
    let place = place();
    let module = place.path().join("overlay/lib/modules/9/extra/mine.ko");
    fs_err::create_dir_all(module.parent().expect("it has one")).expect("made");
    fs_err::write(&module, tiny::static_elf()).expect("written");
    let overlay = place.path().join("overlay");
    let overlay = overlay.to_str().expect("UTF-8");
    for (name, listed) in [("modprobe", true), ("other", false)] {
        let repository =
            TestRepo::new().package("tools", "1-r0").program(&format!("sbin/{name}"), tiny::static_elf());
        let flags = ["--arch", "x86_64", "--package", "tools", "--overlay", overlay];
        let (manifest, image) = assemble(&place, &repository, &flags);
        let there = manifest.files.iter().any(|file| file.path == "/lib/modules/9/modules.dep.bin");
        assert_eq!((there, holds(&image, b"extra/mine.ko:\n")), (listed, listed), "{name}");
    }
}

/// A script that is not known is a warning, nothing, or an error; and it can be read.
#[test]
fn scripts_are_accepted_or_refused() {
    let repository = TestRepo::new()
        .package("daemon", "1-r0")
        .script(".pre-install", "#!/bin/sh\naddgroup -S daemon\n")
        .script(".post-install", "#!/bin/sh\nmake-things-up\n")
        .script(".post-upgrade", "#!/bin/sh\nnever\n");
    let flags = ["--arch", "x86_64", "--package", "daemon"];
    for (more, warned) in
        [(&["--accept-script", "other"][..], true), (&["--accept-script", "d*:post-install"], false)]
    {
        let place = place();
        let (manifest, _) = assemble(&place, &repository, &[&flags, more].concat());
        let is_warned = manifest.notes.iter().any(|note| note.contains("post-install script of daemon-1-r0"));
        assert_eq!(
            (is_warned, manifest.unknown_scripts[0].accepted),
            (warned, !warned),
            "{:?}",
            manifest.notes
        );
        let [known] = &*manifest.known_scripts else { panic!("{:?}", manifest.known_scripts) };
        assert_eq!((&*known.script, &*known.effects), ("pre-install", &["the group daemon".to_owned()][..]));
        let output = leanfs(place.path(), &["scripts"]).output().expect("the binary was built");
        let fate = if warned { "not known, and not run" } else { "accepted, and not run" };
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!(
                "daemon-1-r0 pre-install: the group daemon\ndaemon-1-r0 post-install: {fate}\n    #!/bin/sh\n    make-things-up\n"
            )
        );
    }
    // In the file, and accepted by a flag again.
    let place = place();
    repository.build(&place.path().join("repo"));
    let toml = format!(
        "[base]\nrepositories = [\"repo\"]\nkeys = [{:?}]\npackages = [\"daemon\"]\narch = \"x86_64\"\n\
         [release]\npath = \"release\"\n[kernel]\nsource = \"none\"\n[scripts]\nrefuse = [\"*\"]\n",
        key_file()
    );
    fs_err::write(place.path().join("leanfs.toml"), toml).expect("written");
    let run = |flags: &[&str]| {
        let output =
            leanfs(place.path(), &[&["assemble", "--compress", "none", "-q"], flags].concat()).output();
        let output = output.expect("the binary was built");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("the post-install script of daemon-1-r0, whose effect leanfs doesn't know, is refused"),
        "{said}"
    );
    assert!(said.contains("make-things-up"), "{said}");
    assert!(!place.path().join("leanfs").exists());
    assert_eq!(run(&["--accept-script", "daemon:post-install"]), (Some(0), String::new()));
}

/// What the overlay says of the release's start counts, and stands in the image.
#[test]
fn an_overlay_may_configure_the_release() {
    let place = place();
    let below = place.path().join("overlay/app/releases/1");
    fs_err::create_dir_all(&below).expect("made");
    fs_err::write(below.join("sys.config"), "[{tiny,[{greeting,hello}]}].\n").expect("written");
    let repository = TestRepo::new();
    let (manifest, image) = assemble(&place, &repository, &["--arch", "x86_64"]);
    assert_eq!(part(&manifest, "/app/releases/1/sys.config"), None);
    assert!(!holds(&image, b"arg -config\n"));
    let (manifest, image) = assemble(&place, &repository, &["--arch", "x86_64", "--overlay", "overlay"]);
    let laid = manifest.files.iter().find(|file| file.path == "/app/releases/1/sys.config").expect("laid");
    assert_eq!(laid.layer, leanfs::tree::LayerKind::Overlay);
    assert!(holds(&image, b"arg -config\narg /app/releases/1/sys\n"));
}

/// A shell comes along where it is asked for, with its applets.
#[test]
fn a_shell_comes_only_when_it_is_asked_for() {
    let repository = TestRepo::new()
        .package("app", "1-r0")
        .depends("/bin/sh")
        .package("busybox", "1-r0")
        .program("bin/busybox", tiny::static_elf())
        .file("etc/busybox-paths.d/busybox", "bin/sh\nbin/ls\n")
        .script(".post-install", "#!/bin/busybox sh\n/bin/busybox --install -s || exit 1\n")
        .package("busybox-binsh", "1-r0")
        .provides("/bin/sh")
        .info(|info| info.provider_priority = Some(60))
        .depends("busybox")
        .symlink("bin/sh", "/bin/busybox");
    let without = place();
    let (manifest, _) = assemble(&without, &repository, &["--arch", "x86_64", "--package", "app"]);
    assert_eq!(part(&manifest, "/bin/sh"), None);
    let left_out: Vec<&str> = manifest.left_out.iter().map(|left| left.name.as_str()).collect();
    assert_eq!(left_out, ["busybox-1-r0", "busybox-binsh-1-r0"]);

    let with = place();
    let (manifest, _) = assemble(&with, &repository, &["--arch", "x86_64", "--package", "app", "--shell"]);
    assert_eq!(part(&manifest, "/bin/sh"), Some("busybox-binsh-1-r0"));
    assert_eq!(part(&manifest, "/bin/ls"), Some("busybox-1-r0"));
    assert!(manifest.left_out.is_empty() && manifest.unknown_scripts.is_empty());
}

/// Nothing of the target is executed: an image for another architecture is assembled like any. Where PID 1 could
/// not be built for it, busybox's script does its job, and busybox comes along.
#[test]
fn another_architecture() {
    let place = place();
    let program = for_aarch64(tiny::static_elf());
    for name in fs_err::read_dir(place.path().join("release/erts-15.0/bin")).expect("programs") {
        fs_err::write(name.expect("an entry").path(), &program).expect("written");
    }
    let repository = TestRepo::new()
        .arch(Arch::Aarch64)
        .package("busybox", "1-r0")
        .program("bin/busybox", program)
        .provides("/bin/sh");
    let (manifest, image) = assemble(&place, &repository, &["--arch", "aarch64"]);
    assert_eq!(manifest.arch, Arch::Aarch64);
    assert!(manifest.command_line.contains("console=ttyAMA0"));
    match leanfs::layer::init_conf::pid1(Arch::Aarch64) {
        Some(pid1) => assert!(holds(&image, pid1)),
        None => {
            assert!(holds(&image, leanfs::layer::init_conf::BUSYBOX_PID1));
            assert!(part(&manifest, "/bin/busybox").is_some());
        }
    }
}

fn for_aarch64(mut elf: Vec<u8>) -> Vec<u8> {
    elf[18..20].copy_from_slice(&183_u16.to_le_bytes()); // e_machine: EM_AARCH64
    elf
}

fn holds(image: &[u8], part: &[u8]) -> bool {
    image.windows(part.len()).any(|bytes| bytes == part)
}
