//! `assemble --locked`: exactly what is locked, from anywhere, or an error that says what differs.

use leanfs::apk::write::PrivateKey;

use super::super::apk_formats::real_apk;
use super::super::repo::{KEY_NAME, TestRepo, key_file};
use super::super::server::Server;
use super::super::tiny;
use super::{Project, with};

/// `app` wants `so:libb.so`, which `b` has; both have a file.
fn repository() -> TestRepo {
    let repository = with(TestRepo::new(), "app", "1-r0").depends("so:libb.so").depends("/bin/sh");
    let repository = with(repository, "b", "1-r0").provides("so:libb.so=1");
    with(repository, "busybox", "1-r0").provides("/bin/sh=1")
}

fn locked_project() -> Project {
    let project = Project::new(&["app"]);
    project.repository(&repository());
    project.succeed(&["lock"]);
    project
}

#[test]
fn what_is_locked_gives_the_same_bytes() {
    let project = locked_project();
    let text = project.lock_text();
    assert_eq!(text.matches("role = \"image\"").count(), 2, "{text}");
    assert_eq!(text.matches("role = \"resolve\"").count(), 1, "a shell for scripts is left out: {text}");
    assert!(
        text.contains("repository = \"repo\"") && !text.contains(&project.path("repo").display().to_string())
    );
    let free = project.image(&["--keep-package-db"]);
    let locked = project.image(&["--locked", "--keep-package-db"]);
    assert!(free == locked, "the manifest too");
    assert!(locked.1.windows(8).any(|part| part == b"left_out"), "it says what was left out");
    // The same lock, made again.
    let said = project.succeed(&["lock"]);
    assert!(said.contains("leanfs.lock is as it was"), "{said}");
    std::fs::remove_file(project.path("leanfs.lock")).expect("there");
    project.succeed(&["lock"]);
    assert_eq!(project.lock_text(), text);
}

#[test]
fn newer_packages_do_not_matter() {
    let project = locked_project();
    let before = project.image(&["--locked"]).0;
    let old = project.read("repo/x86_64/b-1-r0.apk");
    project.repository(&with(repository(), "b", "2-r0").provides("so:libb.so=2"));
    assert!(project.image(&["--locked"]).0 == before);
    assert!(project.image(&[]).0 != before, "without the lock the new one is taken");
    // As on a server where the index names the new one only, and the file of the old one is still there.
    let newer = with(TestRepo::new(), "app", "1-r0").depends("so:libb.so").depends("/bin/sh");
    let newer = with(newer, "b", "2-r0").provides("so:libb.so=2");
    project.repository(&with(newer, "busybox", "1-r0").provides("/bin/sh=1"));
    fs_err::write(project.path("repo/x86_64/b-1-r0.apk"), old).expect("written");
    assert!(project.image(&["--locked"]).0 == before);
    // And as where there is no index at all.
    std::fs::remove_file(project.path("repo/x86_64/APKINDEX.tar.gz")).expect("there");
    assert!(project.image(&["--locked", "--offline"]).0 == before);
}

#[test]
fn other_bytes_under_the_same_name_are_refused() {
    let project = locked_project();
    let other = with(TestRepo::new(), "app", "1-r0").depends("so:libb.so").depends("/bin/sh");
    let other = with(other, "b", "1-r0").file("usr/share/more", "built anew\n").provides("so:libb.so=1");
    project.repository(&with(other, "busybox", "1-r0").provides("/bin/sh=1"));
    project.image(&[]);
    let line = project.lock_text().lines().position(|line| line == "name = \"b\"").expect("there");
    let place = format!("b-1-r0 (leanfs.lock:{line})");
    project.fail(
        &["assemble", "--locked"],
        3,
        &["repo/x86_64/b-1-r0.apk is not ", &place, "leanfs lock --update"],
    );
    // Another one that has it is as good.
    let right = Project::new(&[]);
    right.repository(&repository());
    let right = right.path("repo");
    let flag = ["--repository", "repo", "--repository", right.to_str().expect("UTF-8")];
    project.image(&[&["--locked"][..], &flag].concat());
    std::fs::remove_file(project.path("repo/x86_64/b-1-r0.apk")).expect("there");
    project.fail(&["assemble", "--locked"], 3, &["b-1-r0 (leanfs.lock:", "is nowhere", "--vendor"]);
}

#[test]
fn any_mirror_and_the_cache_will_do() {
    let project = locked_project();
    let before = project.image(&["--locked"]).0;
    let server = Server::http();
    for (path, name) in [("app", "app-1-r0"), ("b", "b-1-r0"), ("busybox", "busybox-1-r0")] {
        // No index: only the packages, as somebody kept them.
        let bytes = project.read(&format!("repo/x86_64/{name}.apk"));
        if path != "b" {
            server.put(&format!("/elsewhere/x86_64/{name}.apk"), &bytes);
        }
        server.put(&format!("/last/x86_64/{name}.apk"), &bytes);
    }
    std::fs::remove_dir_all(project.path("repo")).expect("there");
    let [first, second] = ["/elsewhere", "/last"].map(|path| server.url(path));
    let places = ["--repository", &first, "--repository", &second];
    assert!(project.image(&[&["--locked"][..], &places].concat()).0 == before);
    assert_eq!(server.requests_for("/last/x86_64/b-1-r0.apk").len(), 1);
    assert!(server.requests_for("/last/x86_64/app-1-r0.apk").is_empty(), "the first that has it will do");
    server.forget_requests();
    assert!(project.image(&[&["--locked", "--offline"][..], &places].concat()).0 == before, "from the cache");
    assert!(server.requests().is_empty());
    // A secret in an address is none of the lock's.
    let with_secret = first.replacen("://", "://me:secret@", 1).replace("/elsewhere", "/indexed");
    let indexed = Project::new(&[]);
    indexed.repository(&repository());
    server.put_directory("/indexed", indexed.path("repo"));
    project.succeed(&["lock", "--repository", &with_secret]);
    let text = project.lock_text();
    assert!(text.contains("/indexed\"") && !text.contains("secret") && !text.contains("@127"), "{text}");
    assert!(project.image(&[&["--locked"][..], &places].concat()).0 == before);
    // A server that lies.
    server.put("/last/x86_64/b-1-r0.apk", b"something else");
    std::fs::remove_dir_all(project.path("cache")).expect("there");
    let flags = [&["assemble", "--locked"][..], &places].concat();
    project.fail(&flags, 3, &["/last/x86_64/b-1-r0.apk is not b-1-r0 (leanfs.lock:"]);
    drop(server);
    project.fail(&flags, 4, &["can't be reached"]);
}

#[test]
fn another_recipe_or_release_is_said() {
    let project = locked_project();
    project.recipe(&["app", "b"], "");
    project.fail(
        &["assemble", "--locked"],
        3,
        &[
            "leanfs.lock was made for another recipe: packages: locked with app, now app b",
            "run `leanfs lock`",
        ],
    );
    project.recipe(&["app"], "");
    project.fail(&["assemble", "--locked", "--shell"], 3, &["shell: locked with false, now true"]);
    project.fail(
        &["assemble", "--locked", "--kernel", "package:linux-virt"],
        3,
        &["kernel: locked with none, now package:linux-virt"],
    );
    project.fail(
        &["assemble", "--locked", "--otp", "packages"],
        3,
        &["otp: locked with automatic, now packages"],
    );
    project.fail(
        &["assemble", "--locked", "--arch", "aarch64"],
        3,
        &["has nothing for aarch64", "lock --arch aarch64"],
    );
    project.fail(&["assemble", "--vendor", "."], 2, &["--vendor is for --locked"]);
    project.fail(&["assemble", "--locked", "--vendor", "nowhere"], 2, &["nowhere is no directory"]);

    std::fs::remove_file(project.path("leanfs.lock")).expect("there");
    project.fail(&["assemble", "--locked"], 2, &["leanfs.lock can't be read", "`leanfs lock` makes it"]);
}

/// What the release turns out to be linked with is asked of the lock, too.
#[test]
fn a_release_that_wants_more_is_told() {
    let project = Project::new(&["app"]);
    let libraries = |repository: TestRepo| {
        repository
            .package("musl", "1-r0")
            .provides("so:libc.musl-x86_64.so.1=1")
            .program("lib/ld-musl-x86_64.so.1", tiny::dynamic_elf(&[]))
            .symlink("lib/libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1")
            .package("libx", "1-r0")
            .provides("so:libx.so.1=1")
            .program("usr/lib/libx.so.1", tiny::dynamic_elf(&[]))
            .package("liby", "1-r0")
            .provides("so:liby.so.1=1")
            .program("usr/lib/liby.so.1", tiny::dynamic_elf(&[]))
    };
    project.repository(&libraries(repository()));
    let port = project.path("release/lib/tiny-1/priv/port");
    fs_err::write(&port, tiny::dynamic_elf(&["libx.so.1"])).expect("written");
    fs_err::set_permissions(&port, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    project.succeed(&["lock"]);
    let text = project.lock_text();
    assert!(text.contains("name = \"libx\"") && text.contains("name = \"musl\""), "{text}");
    let before = project.image(&["--locked"]);
    assert!(project.image(&[]) == before);
    fs_err::write(&port, tiny::dynamic_elf(&["libx.so.1", "liby.so.1"])).expect("written");
    project.image(&[]);
    project.fail(
        &["assemble", "--locked"],
        3,
        &["leanfs.lock does not have so:liby.so.1", "run `leanfs lock`"],
    );
    // That adds it, and nothing else changes.
    let said = project.succeed(&["lock"]);
    assert!(said.contains("+ liby-1-r0") && !said.contains('~'), "{said}");
    project.image(&["--locked"]);
    // What no repository has is no other error than without a lock, and the lock remembers it.
    fs_err::write(&port, tiny::dynamic_elf(&["libz.so.1"])).expect("written");
    project.fail(&["lock"], 1, &["libz.so.1"]);
}

/// Libraries for glibc are this machine's, or a sysroot's: they are locked like everything else.
#[test]
fn libraries_of_a_sysroot_are_locked_and_vendored() {
    const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
    let project = Project::new(&["app"]);
    project.repository(&repository());
    let program = |name: &str, bytes: Vec<u8>| {
        let path = project.path(name);
        fs_err::create_dir_all(path.parent().expect("below")).expect("made");
        fs_err::write(&path, bytes).expect("written");
        fs_err::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    };
    program("release/lib/tiny-1/priv/port", tiny::elf_for(LOADER, &["libc.so.6", "libm.so.6"]));
    program("root/lib64/ld-linux-x86-64.so.2", tiny::elf_for(LOADER, &[]));
    program("root/lib64/libc.so.6", tiny::elf_for(LOADER, &["ld-linux-x86-64.so.2"]));
    program("root/lib64/libm.so.6", tiny::elf_for(LOADER, &["libc.so.6"]));
    project.recipe(&["app"], "sysroot = \"root\"");
    let said = project.succeed(&["lock"]);
    assert!(said.contains("+ libm.so.6"), "{said}");
    let before = project.image(&[]);
    assert!(project.image(&["--locked"]) == before);
    project.vendor(&[]);
    program("root/lib64/libm.so.6", tiny::elf_for(LOADER, &["libc.so.6", "ld-linux-x86-64.so.2"]));
    assert!(project.image(&[]).0 != before.0);
    project.fail(&["assemble", "--locked"], 3, &["root/lib64/libm.so.6 is not libm.so.6 (leanfs.lock:"]);
    std::fs::remove_dir_all(project.path("root")).expect("there");
    assert!(project.image(&["--locked", "--vendor", "vendored"]) == before);
}

#[test]
fn stubs_of_disks_are_locked() {
    let project = Project::new(&["app"]);
    project.repository(&repository());
    project.write("stub.efi", "no stub, and nothing of it is looked at here");
    let flags = ["--disk", "--efi-stub", "stub.efi"];
    project.succeed(&[&["lock"][..], &flags].concat());
    assert!(project.lock_text().contains("role = \"efi-stub\"\nname = \"stub.efi\"\n"));
    project.succeed(&["lock"]);
    assert!(!project.lock_text().contains("efi-stub"), "the recipe has no disk");
    project.fail(
        &[&["lock"][..], &["--disk", "--efi-stub", "nowhere.efi"]].concat(),
        1,
        &["nowhere.efi can't be read"],
    );
}

/// What nothing wants any more is no error: a release may shrink.
#[test]
fn what_is_locked_and_not_wanted_is_told() {
    let project = Project::new(&["app"]);
    project.repository(&with(repository(), "unused", "1-r0"));
    project.succeed(&["lock", "--package", "unused"]);
    let text = project.lock_text();
    // As if the release had wanted it when the lock was made: the recipe doesn't.
    std::fs::remove_file(project.path("leanfs.lock")).expect("there");
    project.succeed(&["lock"]);
    let plain = project.lock_text();
    let settings = |text: &str| -> String {
        let start = text.find("\nrecipe = ").expect("there");
        text[start..text.find("\nabsent = ").expect("there")].to_owned()
    };
    project.write("leanfs.lock", &text.replacen(&settings(&text), &settings(&plain), 1));
    let said = project.succeed(&["assemble", "--locked"]);
    assert!(said.contains("nothing wants unused-1-r0 any more"), "{said}");
}

#[test]
fn keys_that_were_locked_must_be_at_hand() {
    let project = locked_project();
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/leanfs-test-ec.pub.pem");
    project.fail(
        &["assemble", "--locked", "--key", other],
        3,
        &["signed by a key that is not trusted here: sha256:"],
    );
    // The vendor directory has it.
    project.vendor(&[]);
    project.image(&["--locked", "--key", other, "--vendor", "vendored"]);

    // What nobody signed is locked only if that is asked for, and said each time.
    let project = Project::new(&["a"]);
    project.repository(&with(TestRepo::new().unsigned(), "a", "1-r0").unsigned_package());
    project.fail(&["lock"], 3, &["is not signed"]);
    project.succeed(&["lock", "--allow-untrusted"]);
    let said = project.succeed(&["assemble", "--locked"]);
    assert!(said.contains("no trusted key has signed a-1-r0 or its index"), "{said}");
}

#[test]
fn tarballs_and_kernels_are_locked_and_vendored() {
    let project = Project::new(&["app"]);
    project.repository(&repository());
    // As far as leanfs reads a bzImage.
    let mut kernel = vec![0; 0x1000];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    fs_err::write(project.path("vmlinuz"), &kernel).expect("written");
    project.recipe(&["app"], "[kernel]\nsource = \"vmlinuz\"");
    project.succeed(&["lock"]);
    let text = project.lock_text();
    assert!(text.contains("role = \"kernel\"\nname = \"vmlinuz\"\n"), "{text}");
    let before = project.image(&["--locked"]);
    project.vendor(&[]);
    let mut other = kernel;
    other.push(0);
    fs_err::write(project.path("vmlinuz"), other).expect("written");
    project.fail(&["assemble", "--locked"], 3, &["vmlinuz is not vmlinuz (leanfs.lock:"]);
    assert!(
        project.image(&["--locked", "--vendor", "vendored"]) == before,
        "the vendored one is asked first"
    );
    std::fs::remove_file(project.path("vmlinuz")).expect("there");
    assert!(project.image(&["--locked", "--vendor", "vendored"]) == before);
    project.fail(&["assemble", "--locked"], 3, &["vmlinuz (leanfs.lock:", "is nowhere"]);
}

#[test]
fn tagged_repositories_and_format_v3() {
    let project = Project::new(&["app", "extra@ours"]);
    project.repository(&repository());
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/leanfs-test-ec.pem");
    let public = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/leanfs-test-ec.pub.pem");
    fs_err::create_dir_all(project.path("files/usr/share")).expect("made");
    project.write("files/usr/share/extra", "extra\n");
    fs_err::create_dir_all(project.path("v3/x86_64")).expect("made");
    let package = "v3/x86_64/extra-1-r0.apk";
    let flags = ["--format", "v3", "--key", key];
    let name = ["--name", "extra", "--pkgver", "1-r0", "--arch", "x86_64", "--depends", "b"];
    project.succeed(&[&["pack", "files", "-o", package][..], &name, &flags].concat());
    project.succeed(&[&["index", package, "-o", "v3/x86_64/Packages.adb"][..], &flags].concat());
    let places = ["--repository", "repo", "--repository", "@ours v3", "--key", KEY, "--key", public];
    project.succeed(&[&["lock"][..], &places].concat());
    let text = project.lock_text();
    assert!(text.contains("tag = \"ours\"") && text.contains("repository = \"@ours v3\""), "{text}");
    assert!(text.contains("\nadb = \"sha256:"), "{text}");
    let before = project.image(&places);
    assert!(project.image(&[&["--locked"][..], &places].concat()) == before);
    project.vendor(&places);
    for directory in ["repo", "v3", "cache"] {
        let _ = std::fs::remove_dir_all(project.path(directory));
    }
    let (image, _) = project.image(&["--locked", "--offline", "--vendor", "vendored"]);
    assert!(image == before.0);
    // The index of format v3 names all of them.
    let index =
        ["--repository", "vendored/x86_64/Packages.adb", "--key", "vendored/keys", "--arch", "x86_64"];
    let said = project.succeed(&[&["resolve", "extra", "app"][..], &index].concat());
    assert!(said.contains("extra 1-r0") && said.contains("app 1-r0"), "{said}");
}

/// The file of the key that signs every [`TestRepo`].
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/leanfs-test.rsa.pub");

#[test]
fn the_real_apk_installs_from_a_vendor_directory() {
    let project = locked_project();
    let said = project.succeed(&["vendor", "vendored"]);
    assert!(said.contains("3 packages and 0 files") && said.contains("3 of them are new"), "{said}");
    let index = project.read("vendored/x86_64/APKINDEX.tar.gz");
    let said = project.succeed(&["vendor", "vendored"]);
    assert!(said.contains("0 of them are new"), "{said}");
    assert!(index == project.read("vendored/x86_64/APKINDEX.tar.gz"), "one that fits stays");
    let Some(apk) = real_apk() else { return };
    let add = |keys: &std::path::Path| {
        let root = tempfile::tempdir().expect("a directory");
        let mut command = std::process::Command::new(&apk);
        command.args(["--root".as_ref(), root.path().as_os_str()]);
        command.args(["--keys-dir".as_ref(), keys.as_os_str()]);
        command.args(["--repositories-file", "/dev/null", "--arch", "x86_64", "--no-cache", "--repository"]);
        command.arg(project.path("vendored"));
        let usermode = if rustix::process::geteuid().is_root() { "--progress=no" } else { "--usermode" };
        let output =
            command.args(["add", "--initdb", "--no-scripts", usermode, "app"]).output().expect("it runs");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), text, root)
    };
    let (done, text, root) = add(&project.path("vendored/keys"));
    assert!(done && text.contains("Installing app (1-r0)"), "{text}");
    assert_eq!(fs_err::read_to_string(root.path().join("usr/share/b")).expect("there"), "b 1-r0\n");
    // The key that was made for it is the one that counts.
    let (done, text, _) = add(&project.path("repo"));
    assert!(!done && text.contains("UNTRUSTED"), "{text}");

    // With a key of one's own.
    project.vendor(&[]);
    let own = project.path("own");
    fs_err::create_dir_all(&own).expect("made");
    fs_err::copy(key_file(), own.join(KEY_NAME)).expect("copied");
    let (done, text, _) = add(&own);
    assert!(done, "{text}");
    let pem = fs_err::read(super::SIGN_KEY).expect("a key");
    assert_eq!(
        project.read(&format!("vendored/keys/{KEY_NAME}")),
        PrivateKey::from_pem(KEY_NAME, &pem).expect("a key").public().to_pem().as_bytes()
    );
}

#[test]
fn fetch_fills_the_cache() {
    let project = locked_project();
    let server = Server::http();
    server.put_directory("/mirror", project.path("repo"));
    let place = server.url("/mirror");
    let places = ["--repository", place.as_str()];
    let before = project.image(&[]).0;
    let said = project.succeed(&[&["fetch"][..], &places].concat());
    assert!(said.contains("All 3 packages and files that leanfs.lock names are at hand"), "{said}");
    assert!(server.requests_for("/mirror/x86_64/APKINDEX.tar.gz").is_empty(), "no index is asked for");
    assert_eq!(server.requests().len(), 3);
    assert!(project.image(&[&["--locked", "--offline"][..], &places].concat()).0 == before);

    // Without a lock: what the recipe wants, by the index.
    std::fs::remove_file(project.path("leanfs.lock")).expect("there");
    std::fs::remove_dir_all(project.path("cache")).expect("there");
    let said = project.succeed(&[&["fetch"][..], &places].concat());
    assert!(said.contains("packages and files that the image needs are at hand"), "{said}");
    assert!(!project.path("leanfs.lock").exists());
    server.forget_requests();
    assert!(project.image(&[&["--offline"][..], &places].concat()).0 == before);
    assert!(server.requests().is_empty());
}
