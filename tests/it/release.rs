//! Opening releases: of each maker, from directories and tarballs, and what is none.

use std::path::{Path, PathBuf};

use leanfs::layer::release::{Lookalike, Release, ReleaseError, ReleaseKind, newest_in_project};
use leanfs::tree::TreePath;

fn shared(path: &str) -> Option<PathBuf> {
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    if !shared.exists() {
        println!("SKIP: ../shared is absent");
        return None;
    }
    Some(shared.join(path))
}

fn open(path: &Path) -> Result<Release, ReleaseError> {
    Release::open(path, &std::env::temp_dir(), 1_000)
}

fn path(text: &str) -> TreePath {
    text.parse().expect("a good path")
}

#[test]
fn a_mix_release_without_erts() {
    let Some(tarball) = shared("releases/hello-otp27-noerts.tar.gz") else { return };
    let release = open(&tarball).expect("a release");
    assert_eq!((release.name.as_str(), release.version.as_str()), ("hello", "0.1.0"));
    assert_eq!((release.erts_version.as_str(), release.own_erts.as_deref()), ("15.2.7", None));
    assert_eq!(release.kind, ReleaseKind::Mix);
    let foreign: Vec<&str> =
        release.applications.iter().filter(|app| !app.own).map(|app| app.name.as_str()).collect();
    assert_eq!(foreign, ["kernel", "stdlib", "sasl", "compiler"]);
    assert_eq!(release.boot.variables().into_iter().collect::<Vec<_>>(), ["RELEASE_LIB", "ROOT"]);
    let node = release.tree.get(&path("lib/hello-0.1.0/ebin/hello.app")).expect("there");
    assert_eq!(node.origin.to_string(), "release hello-0.1.0");
    assert_eq!((node.metadata.mode, node.metadata.mtime), (0o644, 1_000));
    assert_eq!(release.tree.get(&path("bin/hello")).expect("there").metadata.mode, 0o755);
    assert!(release.shell_callers().expect("readable").is_empty());
}

#[test]
fn a_mix_release_with_erts() {
    let Some(tarball) = shared("releases/hello-otp27-musl-erts.tar.gz") else { return };
    let release = open(&tarball).expect("a release");
    assert_eq!(release.own_erts.as_deref(), Some("15.2.7"));
    assert!(release.applications.iter().all(|app| app.own));
}

/// `{script,{"r","1"},[{progress,started}]}`, by hand in the external term format.
fn boot(version: &str) -> Vec<u8> {
    let mut bytes = b"\x83\x68\x03\x77\x06script\x68\x02\x6b\x00\x01r".to_vec();
    bytes.extend([0x6b, 0, version.len() as u8]);
    bytes.extend(version.as_bytes());
    bytes.extend(b"\x6c\x00\x00\x00\x01\x68\x02\x77\x08progress\x77\x07started\x6a");
    bytes
}

fn rel(version: &str) -> String {
    format!("{{release,{{\"r\",\"{version}\"}},{{erts,\"15.0\"}},[{{kernel,\"10.0\"}}]}}.")
}

fn write(root: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        let path = root.join(name);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs_err::write(path, bytes).expect("written");
    }
}

#[test]
fn bare_releases_have_their_rel_file_in_either_place() {
    for rel_path in ["releases/r.rel", "releases/1/r.rel"] {
        for boot_path in ["releases/1/start.boot", "releases/1/r.boot"] {
            let directory = tempfile::tempdir().expect("a directory");
            write(directory.path(), &[(rel_path, rel("1").as_bytes()), (boot_path, &boot("1"))]);
            let release = open(directory.path()).expect(boot_path);
            assert_eq!(release.kind, ReleaseKind::Bare);
            assert_eq!(format!("releases/1/{}.boot", release.boot_name), boot_path);
            assert_eq!(release.version_directory.to_string(), "/releases/1");
        }
    }
}

#[test]
fn of_several_versions_start_erl_data_says_which() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    write(
        root,
        &[
            ("releases/1/r.rel", rel("1").as_bytes()),
            ("releases/1/start.boot", &boot("1")),
            ("releases/2/r.rel", rel("2").as_bytes()),
            ("releases/2/start.boot", &boot("2")),
        ],
    );
    let error = open(root).expect_err("which?");
    assert!(
        matches!(&error, ReleaseError::SeveralVersions { versions, .. } if versions == &["1", "2"]),
        "{error}"
    );
    write(root, &[("releases/start_erl.data", b"15.0 2\n")]);
    assert_eq!(open(root).expect("it says which").version, "2");
    write(root, &[("releases/start_erl.data", b"15.0 3\n")]);
    assert!(open(root).expect_err("not there").to_string().contains("(1, 2)"));
    write(root, &[("releases/start_erl.data", b"15.0")]);
    assert!(matches!(open(root), Err(ReleaseError::Contradiction { .. })));
}

#[test]
fn what_is_no_release_says_what_was_looked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let missing = open(&root.join("nowhere")).expect_err("nothing there");
    assert!(matches!(missing, ReleaseError::Missing { .. }));

    let check = |files: &[(&str, &[u8])], expected: &str, looks_like: Lookalike| {
        let directory = tempfile::tempdir().expect("a directory");
        write(directory.path(), files);
        let error = open(directory.path()).expect_err(expected);
        let ReleaseError::NotARelease { reason, is, .. } = &error else { panic!("{expected}: {error}") };
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(*is, looks_like, "{reason}");
        assert!(error.hint().is_some());
    };
    check(&[("x", b"")], "no directory releases/", Lookalike::Unknown);
    check(&[("mix.exs", b"")], "no directory releases/", Lookalike::MixProject);
    check(&[("rebar.config", b"")], "no directory releases/", Lookalike::RebarProject);
    check(&[("releases/x", b"")], "no releases/VERSION/ with a boot script", Lookalike::Unknown);
    check(&[("releases/1/start.boot", &boot("1"))], "no .rel file in /releases/1", Lookalike::Unknown);

    for (files, expected) in [
        (
            [("releases/1/r.rel", rel("2").as_bytes()), ("releases/1/start.boot", &boot("1")[..])],
            "is for r 2",
        ),
        ([("releases/1/r.rel", b"nonsense"), ("releases/1/start.boot", &boot("1"))], "/releases/1/r.rel of"),
        ([("releases/1/r.rel", rel("1").as_bytes()), ("releases/1/start.boot", b"x")], "start.boot of"),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        write(directory.path(), &files);
        let error = open(directory.path()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }

    let file = root.join("file.tar.gz");
    fs_err::write(&file, b"no archive at all").expect("written");
    assert!(matches!(open(&file), Err(ReleaseError::Archive { .. } | ReleaseError::NotARelease { .. })));
    fs_err::write(&file, b"").expect("written");
    let error = open(&file).expect_err("empty");
    assert!(matches!(error, ReleaseError::NotARelease { is: Lookalike::Archive, .. }), "{error}");
}

#[test]
fn the_maker_leaves_no_trace() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dump = |mode: u32, epoch: i64| {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        write(
            root,
            &[
                ("releases/r.rel", rel("1").as_bytes()),
                ("releases/1/start.boot", &boot("1")),
                ("releases/COOKIE", b"secret"),
                ("bin/tool", b"#!"),
                ("tmp/log", b"left out"),
            ],
        );
        symlink("tool", root.join("bin/link")).expect("a link");
        fs_err::set_permissions(root.join("releases/COOKIE"), PermissionsExt::from_mode(mode)).expect("mode");
        fs_err::set_permissions(root.join("bin/tool"), PermissionsExt::from_mode(mode | 0o100))
            .expect("mode");
        let release = Release::open(root, root, epoch).expect("a release");
        assert_eq!(release.notes.len(), 1, "tmp/ is left out");
        let mut dump = String::new();
        for (path, node) in release.tree.iter() {
            dump.push_str(&format!("{path} {:?} {}\n", node.metadata, node.kind.name()));
        }
        dump
    };
    assert_eq!(dump(0o400, 7), dump(0o664, 7));
    assert!(!dump(0o600, 7).contains("tmp"));
    assert!(dump(0o600, 7).lines().all(|line| line.contains("mtime: 7")));
}

#[test]
fn links_that_the_release_needs_must_lead_to_something_in_it() {
    use std::os::unix::fs::symlink;
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    write(root, &[("releases/r.rel", rel("1").as_bytes()), ("releases/1/start.boot", &boot("1"))]);
    fs_err::create_dir_all(root.join("lib/a-1/priv")).expect("a directory");
    symlink("/var/data", root.join("lib/a-1/priv/data")).expect("a link that is the user's own affair");
    symlink("a-1", root.join("lib/b-1")).expect("a link inside");
    open(root).expect("both are fine");
    symlink("/elsewhere/c", root.join("lib/c-1")).expect("a link");
    let error = open(root).expect_err("it leads out");
    assert!(matches!(&error, ReleaseError::LinkLeadsOut { .. }), "{error}");
    assert!(error.hint().expect("a hint").contains("dev_mode"));
}

#[test]
fn sockets_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    write(root, &[("releases/r.rel", rel("1").as_bytes()), ("releases/1/start.boot", &boot("1"))]);
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).expect("a socket");
    assert!(matches!(open(root), Err(ReleaseError::Unsupported { .. })));
}

#[test]
fn the_newest_release_of_a_project() {
    let directory = tempfile::tempdir().expect("a directory");
    let project = directory.path();
    assert_eq!(newest_in_project(project).expect("readable"), None);
    for (name, seconds) in [("old", 1_000), ("new", 2_000), ("not", 3_000)] {
        let root = project.join("_build/prod/rel").join(name);
        let data = root.join(if name == "not" { "start_erl.data" } else { "releases/start_erl.data" });
        fs_err::create_dir_all(data.parent().expect("a parent")).expect("a directory");
        let file = std::fs::File::create(&data).expect("a file");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(time).expect("a time");
    }
    let newest = newest_in_project(project).expect("readable").expect("one");
    assert!(newest.ends_with("_build/prod/rel/new"), "{newest:?}");
}

#[test]
fn a_tarball_may_hold_one_directory_or_none() {
    for prefix in ["", "./", "r-1/", "./r-1/"] {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in [("releases/r.rel", rel("1").into_bytes()), ("releases/1/start.boot", boot("1"))]
        {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(99);
            header.set_uid(1000);
            header.set_gid(1000);
            header.set_entry_type(tar::EntryType::Regular);
            header.as_mut_bytes()[..prefix.len()].copy_from_slice(prefix.as_bytes());
            header.as_mut_bytes()[prefix.len()..prefix.len() + name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, bytes.as_slice()).expect("written");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("r.tar");
        fs_err::write(&file, builder.into_inner().expect("written")).expect("written");
        let release = open(&file).unwrap_or_else(|error| panic!("{prefix:?}: {error:?}"));
        let node = release.tree.get(&path("releases/1/start.boot")).expect("there");
        assert_eq!((node.metadata.mode, node.metadata.mtime), (0o644, 1_000));
    }
}
