//! A repository that the command makes itself: packed, indexed and signed, then assembled from, and what happens
//! when it isn't what it should be.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use leanfs::report::manifest::Manifest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::cli::leanfs;
use super::tiny;

const PRIVATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/leanfs-test.rsa");
const PUBLIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/leanfs-test.rsa.pub");
const PACKAGE: &str = "repo/x86_64/greeting-1.0-r0.apk";
const INDEX: &str = "repo/x86_64/APKINDEX.tar.gz";

/// A directory with a release, and a repository with the package `greeting`.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        tiny::release(&place.path("release"));
        fs_err::create_dir_all(place.path("files/usr/bin")).expect("made");
        fs_err::create_dir_all(place.path("repo/x86_64")).expect("made");
        fs_err::write(place.path("files/usr/bin/greet"), "#!/bin/sh\necho hello\n").expect("written");
        place.pack();
        place.index(&["--key", PRIVATE]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        leanfs(self.0.path(), arguments).output().expect("the binary was built with this test")
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("leanfs prints UTF-8")
    }

    fn pack(&self) {
        let flags = ["--name", "greeting", "--pkgver", "1.0-r0", "--provides", "cmd:greet=1.0-r0"];
        self.succeed(&[&["pack", "files", "--key", PRIVATE, "-o", PACKAGE][..], &flags].concat());
    }

    fn index(&self, signing: &[&str]) {
        self.succeed(&[&["index", PACKAGE, "-o", INDEX][..], signing].concat());
    }

    fn assemble(&self, flags: &[&str]) -> Output {
        let common = [
            "assemble",
            "--release",
            "release",
            "--arch",
            "x86_64",
            "--kernel",
            "none",
            "--compress",
            "none",
        ];
        self.run(&[&common[..], &["--repository", "repo", "--package", "cmd:greet"], flags].concat())
    }

    fn manifest(&self) -> Manifest {
        let text = fs_err::read(self.path("leanfs/manifest.json")).expect("it was written");
        serde_json::from_slice(&text).expect("a manifest")
    }

    /// Changes a byte of the file's second half.
    fn damage(&self, name: &str) {
        let mut bytes = fs_err::read(self.path(name)).expect("it is there");
        let place = bytes.len() * 3 / 4;
        bytes[place] ^= 0x10;
        fs_err::write(self.path(name), bytes).expect("written");
    }
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, holds: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for text in holds {
        assert!(stderr.contains(text), "{text:?} in:\n{stderr}");
    }
}

#[test]
fn what_is_packed_and_indexed_is_resolved_and_assembled() {
    let place = Place::new();
    let text =
        place.succeed(&["resolve", "cmd:greet", "--repository", "repo", "--key", PUBLIC, "--arch", "x86_64"]);
    assert_eq!(text, "greeting 1.0-r0: cmd:greet\n");

    let output = place.assemble(&["--key", PUBLIC, "--offline"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary = String::from_utf8(output.stdout).expect("leanfs prints UTF-8");
    assert!(summary.contains("\n  leanfs/initramfs.cpio "), "{summary}");
    assert!(summary.contains("\n  package greeting"), "{summary}");
    let manifest = place.manifest();
    assert_eq!(manifest.packages[0].wanted_by, ["cmd:greet"]);
    assert!(manifest.files.iter().any(|file| file.path == "/usr/bin/greet"));

    // The same by leanfs.toml, from another directory, as JSON.
    let key = PUBLIC;
    let settings = format!(
        "[release]\npath = \"release\"\n[base]\narch = \"x86_64\"\nrepositories = [\"repo\"]\nkeys = [{key:?}]\n\
         packages = [\"greeting\"]\n[kernel]\nsource = \"none\"\n[[image]]\nformat = \"initramfs\"\ncompress = \"zstd\"\n"
    );
    fs_err::write(place.path("leanfs.toml"), settings).expect("written");
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let project = place.0.path().to_str().expect("temporary paths are UTF-8");
    let output =
        leanfs(elsewhere.path(), &["assemble", project, "--json", "-o", "out"]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .expect("JSON is UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is one JSON value"))
        .collect();
    assert_eq!(lines[0]["event"], "stage");
    let end = lines.last().expect("there is an end");
    assert_eq!((&end["event"], &end["exit_code"]), (&"result".into(), &0.into()));
    assert_eq!(end["outputs"][0]["name"], "initramfs.cpio.zst");
    assert!(elsewhere.path().join("out/initramfs.cpio.zst").is_file());
}

#[test]
fn equal_directories_make_equal_packages() {
    let [one, other] = [Place::new(), Place::new()];
    for name in [PACKAGE, INDEX] {
        let read = |place: &Place| fs_err::read(place.path(name)).expect("it is there");
        assert_eq!(read(&one), read(&other), "{name}");
    }
}

/// The same in format v3, signed by an EC key; and beside a repository of format v2.
#[test]
fn repositories_of_format_v3_are_assembled_from() {
    let place = Place::new();
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/leanfs-test-ec.pem");
    let public = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/leanfs-test-ec.pub.pem");
    fs_err::create_dir_all(place.path("v3/x86_64")).expect("made");
    let package = "v3/x86_64/welcome-1.0-r0.apk";
    for compression in ["none", "deflate:9", "zstd"] {
        let flags = [
            "--name",
            "welcome",
            "--pkgver",
            "1.0-r0",
            "--arch",
            "x86_64",
            "--depends",
            "cmd:greet",
            "--replaces",
            "greeting",
        ];
        let format = ["--format", "v3", "--compression", compression, "--key", key];
        place.succeed(&[&["pack", "files", "-o", package][..], &flags, &format].concat());
        let bytes = fs_err::read(place.path(package)).expect("written");
        place.succeed(&[&["pack", "files", "-o", package][..], &flags, &format].concat());
        assert!(bytes == fs_err::read(place.path(package)).expect("written"), "the same twice");
        let said =
            place.succeed(&[&["index", package, "-o", "v3/x86_64/Packages.adb"][..], &format].concat());
        assert!(said.contains("signed, leanfs-test-ec.pem.pub verifies it"), "{said}");
        let wanted =
            ["--package", "welcome", "--repository", "v3", "--key", PUBLIC, "--key", public, "--offline"];
        let output = place.assemble(&wanted);
        // Both packages bring the same file, and this one may.
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let names: Vec<String> = place.manifest().packages.into_iter().map(|package| package.name).collect();
        assert_eq!(names, ["greeting", "welcome"], "{compression}");
    }
    let failed =
        place.assemble(&["--package", "welcome", "--repository", "v3", "--key", PUBLIC, "--offline"]);
    assert_fails(&failed, 3, &["which is not trusted"]);
    for (arguments, code, text) in [
        (&["index", package][..], 1, "is a package of format v3"),
        (&["index", PACKAGE, "--pkgname-spec", "${name}-${version}.apk"], 2, "for --format v3"),
        (&["index", PACKAGE, "--format", "v3", "--pkgname-spec", "../x"], 2, "no path of packages"),
        (&["index", PACKAGE, "--compression", "zstd"], 2, "--compression is for --format v3"),
        (&["index", PACKAGE, "--key", key], 1, "an EC key"),
        (&["index", PACKAGE, "--format", "v3", "--compression", "gzip"], 2, "none, deflate"),
    ] {
        assert_fails(&place.run(arguments), code, &[text]);
    }
}

/// Format v3 names owners: they get the numbers that the image's accounts have, those that scripts make included.
#[test]
fn owners_by_name_get_the_numbers_of_the_image() {
    use leanfs::apk::PackageInfo;
    use leanfs::apk::adb::write::{Owners, WriteOptions, index_package, pack, write_index};
    use leanfs::tree::{Content, Metadata, Node, Origin, Tree};

    let place = Place::new();
    fs_err::create_dir_all(place.path("v3/x86_64")).expect("made");
    let mut tree = Tree::new();
    for (path, content, uid) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nlp:x:4:7:lp:/var/spool/lpd:/sbin/nologin\n", 0),
        ("etc/group", "root:x:0:root\nlp:x:7:lp\n", 0),
        ("etc/of-lp", "x", 1),
        ("etc/of-somebody", "x", 2),
    ] {
        let metadata = Metadata { uid, gid: uid, ..Metadata::FILE };
        let content = Content::from_bytes(content.as_bytes().to_vec());
        tree.insert_with_parents(
            path.parse().expect("good"),
            Node::file(content, metadata, Origin::skeleton()),
        );
    }
    let names: std::collections::BTreeMap<u32, String> =
        [(1, "lp".to_owned()), (2, "somebody".to_owned())].into();
    let owners = Owners { users: names.clone(), groups: names };
    let [name, version, arch] = ["owned", "1-r0", "x86_64"].map(str::to_owned);
    let info = PackageInfo { name, version, arch, ..PackageInfo::default() };
    let (options, mut bytes) = (WriteOptions::default(), Vec::new());
    pack(&info, &tree.validate().expect("valid"), &[], &owners, &options, &mut bytes).expect("packed");
    fs_err::write(place.path("v3/x86_64/owned-1-r0.apk"), &bytes).expect("written");
    let entry = index_package(&bytes[..], bytes.len() as u64).expect("whole");
    let pem = fs_err::read(PRIVATE).expect("a key");
    let key = leanfs::apk::write::PrivateKey::from_pem("leanfs-test.rsa.pub", &pem).expect("a good key");
    let (options, mut index) = (WriteOptions { key: Some(&key), ..options }, Vec::new());
    write_index(&[entry], "", None, &options, &mut index).expect("written");
    fs_err::write(place.path("v3/x86_64/Packages.adb"), index).expect("written");

    let flags = ["--package", "owned", "--repository", "v3", "--key", PUBLIC, "--offline"];
    let output = place.assemble(&[&flags[..], &["--prune", "none"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("owned-1-r0 has files of the user \"somebody\", who is not in the image"),
        "{stderr}"
    );
    let cpio = fs_err::read(place.path("leanfs/initramfs.cpio")).expect("written");
    for (path, expected) in
        [("etc/of-lp", (4, 7)), ("etc/of-somebody", (65_534, 65_534)), ("etc/passwd", (0, 0))]
    {
        // newc: the name follows the header of 110 bytes; of its fields c_uid is the third, c_gid the fourth.
        let name = format!("{path}\0");
        let at = cpio.windows(name.len()).position(|window| window == name.as_bytes()).expect("in the image");
        let header = std::str::from_utf8(&cpio[at - 110..at]).expect("hexadecimal digits");
        let field = |start: usize| u32::from_str_radix(&header[start..start + 8], 16).expect("a number");
        assert_eq!((field(22), field(30)), expected, "{path}");
    }
}

#[test]
fn what_is_not_verified_is_3() {
    let place = Place::new();
    let failed = place.assemble(&["--offline"]);
    assert_fails(&failed, 3, &["signed by leanfs-test.rsa.pub, which is not trusted", "Hint: "]);

    place.index(&[]);
    let failed = place.assemble(&["--key", PUBLIC, "--offline"]);
    assert_fails(&failed, 3, &["Error: ", "Caused by: ", "Hint: "]);
    let taken = place.assemble(&["--allow-untrusted", "--offline"]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    let stderr = String::from_utf8_lossy(&taken.stderr);
    assert!(stderr.starts_with("Warning: --allow-untrusted: anyone who can change"), "{stderr}");

    place.index(&["--key", PRIVATE]);
    place.damage(PACKAGE);
    let written = fs_err::read(place.path("leanfs/manifest.json")).expect("the run before wrote it");
    assert_fails(&place.assemble(&["--key", PUBLIC, "--offline"]), 3, &["greeting"]);
    let now = fs_err::read(place.path("leanfs/manifest.json")).expect("it is still there");
    assert!(written == now, "a run that failed has changed the output");

    place.damage(INDEX);
    assert_fails(&place.assemble(&["--key", PUBLIC, "--offline"]), 3, &["APKINDEX.tar.gz"]);
}

#[test]
fn what_is_in_no_repository_is_1_and_says_who_wanted_it() {
    let place = Place::new();
    let failed = place.assemble(&["--key", PUBLIC, "--offline", "--package", "nosuch"]);
    assert_fails(&failed, 1, &["nosuch is in no repository", "wanted by nosuch", "Hint: "]);
}

#[test]
fn a_server_that_is_not_there_is_4() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/main", listener.local_addr().expect("it is bound"));
    drop(listener);
    let failed = place.assemble(&["--key", PUBLIC, "--repository", &address]);
    assert_fails(&failed, 4, &[&address, "Hint: "]);
}

#[test]
fn an_interrupt_leaves_what_was_there() {
    let place = Place::new();
    fs_err::create_dir(place.path("leanfs")).expect("made");
    fs_err::write(place.path("leanfs/initramfs.cpio"), "before").expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/main", listener.local_addr().expect("it is bound"));
    // Where the tests run in the background, interrupts are ignored, and so they would be by leanfs.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_leanfs"), "assemble", "-q"]);
    command.args(["--release", "release", "--package", "greeting", "--repository", &address]);
    command.current_dir(place.0.path()).env("LEANFS_CACHE_DIR", place.path("cache"));
    let mut child = command.spawn().expect("the binary was built with this test");
    // It asks, and gets no answer.
    let _connection = listener.accept().expect("it asks for the index");
    let process = Pid::from_raw(i32::try_from(child.id()).expect("a process number")).expect("not zero");
    kill_process(process, Signal::INT).expect("it is running");
    let status = child.wait().expect("it ends");
    // A shell shows this as 130.
    assert_eq!(status.signal(), Some(2), "{status}");
    let names: Vec<String> = fs_err::read_dir(place.path("leanfs"))
        .expect("it is there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["initramfs.cpio"]);
    let image = fs_err::read_to_string(place.path("leanfs/initramfs.cpio")).expect("it is there");
    assert_eq!(image, "before");
}

#[test]
fn index_says_what_is_odd() {
    let place = Place::new();
    fs_err::copy(place.path(PACKAGE), place.path("other.apk")).expect("copied");
    let output = place.run(&["index", "other.apk", "-o", "x.tar.gz"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("will look for this package as greeting-1.0-r0.apk"), "{stderr}");
    assert!(stderr.contains("the index is not signed"), "{stderr}");
    assert_fails(&place.run(&["index", PACKAGE, PACKAGE]), 2, &["greeting-1.0-r0 is given twice"]);
    place.damage("other.apk");
    assert_fails(&place.run(&["index", "other.apk"]), 1, &["other.apk is no whole package"]);
    assert!(!Path::exists(&place.path("APKINDEX.tar.gz")), "half an index is none");
}
