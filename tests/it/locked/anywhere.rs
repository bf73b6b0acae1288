//! The same bytes on any machine: for another user, without a network, at another place, at another time.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::end_to_end::bench::{full, shared, skip, succeed};
use super::super::repo::{TestRepo, key_file};
use super::{Project, with};

/// How a run differs from the first.
struct Elsewhere<'a> {
    name: &'a str,
    flags: &'a [&'a str],
    environment: &'a [(&'a str, &'a str)],
    umask: &'a str,
    /// Whether the cache is empty.
    cold: bool,
}

const HERE: Elsewhere<'_> = Elsewhere { name: "", flags: &[], environment: &[], umask: "022", cold: false };

fn all() -> Vec<Elsewhere<'static>> {
    vec![
        Elsewhere { name: "a full cache", ..HERE },
        Elsewhere { name: "an empty cache", cold: true, ..HERE },
        Elsewhere { name: "one job", flags: &["--jobs", "1"], ..HERE },
        Elsewhere { name: "sixteen jobs", flags: &["--jobs", "16"], cold: true, ..HERE },
        Elsewhere { name: "umask 077", umask: "077", cold: true, ..HERE },
        Elsewhere {
            name: "another environment",
            environment: &[
                ("TZ", "Asia/Tokyo"),
                ("LANG", "tr_TR.UTF-8"),
                ("LC_ALL", "C"),
                ("TMPDIR", "temporary"),
            ],
            ..HERE
        },
    ]
}

/// Runs `assemble --locked --offline` on copies of the project's parts below `place`, as somebody else, without a
/// network if that can be had; gives the image and the manifest.
fn assemble(
    place: &Path,
    how: &Elsewhere<'_>,
    isolate: &[&str],
    release: &Path,
    flags: &[&str],
) -> [Vec<u8>; 2] {
    let output = place.join("out");
    let _ = std::fs::remove_dir_all(&output);
    if how.cold {
        let _ = std::fs::remove_dir_all(place.join("cache"));
    }
    let mut words: Vec<OsString> = isolate.iter().map(OsString::from).collect();
    words.extend(["sh".into(), "-c".into()]);
    words.push(format!("umask {}; exec \"$0\" \"$@\"", how.umask).into());
    words.push(place.join("leanfs").into());
    words.extend(["assemble", "--locked", "--offline", "-o"].map(OsString::from));
    words.push(output.clone().into());
    words.extend(["--release".into(), release.into()]);
    words.extend(flags.iter().chain(how.flags).map(OsString::from));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(place.join("project")).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", place).env("LEANFS_CACHE_DIR", place.join("cache"));
    for (name, value) in how.environment {
        let value = if *name == "TMPDIR" { place.join(value).into_os_string() } else { value.into() };
        command.env(name, value);
    }
    succeed(&mut command);
    ["initramfs.cpio.zst", "manifest.json"].map(|name| fs_err::read(output.join(name)).expect("an output"))
}

/// What takes away the network and, of root, the powers; nothing where that is not permitted.
fn isolated() -> Vec<&'static str> {
    let is_root = rustix::process::geteuid().is_root();
    let network: &[&str] = if is_root { &["unshare", "-n"] } else { &["unshare", "-rn"] };
    let works = Command::new(network[0]).args(&network[1..]).arg("true").stderr(Stdio::null()).status();
    let mut words = if works.is_ok_and(|status| status.success()) {
        network.to_vec()
    } else {
        let _ = skip::<()>("unshare -n is not permitted: the network is there, and not used");
        Vec::new()
    };
    if is_root {
        words.extend(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    words
}

/// Copies what somebody would carry to another machine, and gives it to somebody else.
fn carry(parts: &[(&Path, &str)]) -> tempfile::TempDir {
    let elsewhere = tempfile::Builder::new().prefix("leanfs-elsewhere").tempdir().expect("a directory");
    fs_err::create_dir_all(elsewhere.path().join("project")).expect("made");
    fs_err::create_dir_all(elsewhere.path().join("temporary")).expect("made");
    fs_err::copy(env!("CARGO_BIN_EXE_leanfs"), elsewhere.path().join("leanfs")).expect("copied");
    for (part, to) in parts {
        succeed(Command::new("cp").arg("-rL").arg(part).arg(elsewhere.path().join(to)));
    }
    if rustix::process::geteuid().is_root() {
        succeed(Command::new("chown").args(["-R", "65534:65534"]).arg(elsewhere.path()));
    }
    fs_err::set_permissions(elsewhere.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    elsewhere
}

#[test]
fn a_carried_project_gives_the_same_bytes() {
    let project = Project::new(&["app"]);
    let repository = with(TestRepo::new(), "app", "1-r0").depends("so:libb.so").depends("/bin/sh");
    let repository = with(repository, "b", "1-r0").provides("so:libb.so=1");
    project.repository(&with(repository, "busybox", "1-r0").provides("/bin/sh=1"));
    fs_err::copy(key_file(), project.path("test.rsa.pub")).expect("copied");
    let toml = fs_err::read_to_string(project.path("leanfs.toml")).expect("there");
    let toml =
        toml.replace(&format!("{:?}", key_file()), "\"test.rsa.pub\"").replace("\"none\"\n[", "\"zstd\"\n[");
    let toml = toml.replace("[base]\n", "[base]\nvendor = \"vendored\"\n");
    project.write("leanfs.toml", &toml);
    // The name of a key's file is what signatures call it by.
    std::fs::rename(project.path("test.rsa.pub"), project.path("leanfs-test.rsa.pub")).expect("renamed");
    project.write("leanfs.toml", &toml.replace("test.rsa.pub", "leanfs-test.rsa.pub"));
    project.succeed(&["lock"]);
    project.vendor(&[]);
    project.succeed(&["assemble", "--keep-package-db"]);
    let expected =
        ["initramfs.cpio.zst", "manifest.json"].map(|name| project.read(&format!("leanfs/{name}")));

    let parts: Vec<(PathBuf, String)> =
        ["leanfs.toml", "leanfs.lock", "leanfs-test.rsa.pub", "release", "vendored"]
            .map(|name| (project.path(name), format!("project/{name}")))
            .into();
    let parts: Vec<(&Path, &str)> = parts.iter().map(|(from, to)| (from.as_path(), to.as_str())).collect();
    let elsewhere = carry(&parts);
    let isolate = isolated();
    for how in all() {
        let found = assemble(elsewhere.path(), &how, &isolate, Path::new("release"), &["--keep-package-db"]);
        assert!(found[0] == expected[0], "{}: the image differs", how.name);
        assert!(found[1] == expected[1], "{}: the manifest differs", how.name);
    }
}

/// With Alpine's own Erlang and kernel.
#[test]
fn a_real_release_gives_the_same_bytes() {
    let Some(shared) = shared() else { return };
    let project = tempfile::tempdir().expect("a directory");
    let path = |name: &str| project.path().join(name);
    let shared = fs_err::canonicalize(shared).expect("there");
    let toml = format!(
        "[base]\narch = \"x86_64\"\nrepositories = [{:?}, {:?}]\nkeys = [{:?}]\nvendor = \"vendored\"\n\
         [[image]]\nformat = \"initramfs\"\ncompress = \"zstd:3\"\n",
        shared.join("mirror/v3.23/main"),
        shared.join("mirror/v3.23/community"),
        "keys",
    );
    fs_err::write(path("leanfs.toml"), toml).expect("written");
    succeed(Command::new("cp").arg("-rL").arg(shared.join("mirror/keys")).arg(path("keys")));
    let release = shared.join("releases/hello-otp27-noerts.tar.gz");
    let run = |words: &[&str]| {
        let mut command = super::super::cli::leanfs(project.path(), words);
        command.env("LEANFS_CACHE_DIR", path("cache"));
        if words[0] != "vendor" {
            command.arg("--release").arg(&release);
        }
        succeed(&mut command);
    };
    run(&["lock"]);
    run(&["vendor", "vendored", "--sign-key", super::SIGN_KEY]);
    run(&["assemble"]);
    let expected = ["initramfs.cpio.zst", "manifest.json"]
        .map(|name| fs_err::read(path("leanfs").join(name)).expect("an output"));
    let names = ["leanfs.toml", "leanfs.lock", "keys", "vendored"];
    let parts = names.map(|name| (path(name), format!("project/{name}")));
    let mut parts: Vec<(&Path, &str)> =
        parts.iter().map(|(from, to)| (from.as_path(), to.as_str())).collect();
    parts.push((&release, "hello-otp27-noerts.tar.gz"));
    let elsewhere = carry(&parts);
    let isolate = isolated();
    let release = elsewhere.path().join("hello-otp27-noerts.tar.gz");
    // Each takes some seconds; the others are seen with a small release above.
    let most = if full() { usize::MAX } else { 1 };
    for how in all().iter().skip(1).take(most) {
        let found = assemble(elsewhere.path(), how, &isolate, &release, &[]);
        assert!(found[0] == expected[0], "{}: the image differs", how.name);
        assert!(found[1] == expected[1], "{}: the manifest differs", how.name);
    }
}
