//! The chain of trust on real packages: `../shared/mirror` and `../shared/real/v2`, where they are there.

use std::path::{Path, PathBuf};

use leanfs::apk::IndexEntry;
use leanfs::arch::Arch;
use leanfs::fetch::{FetchError, FetchErrorKind, FetchSettings, Fetcher, Member, VerifiedIndex, load_keys};
use leanfs::recipe::Repository;
use leanfs::report::Event;
use leanfs::tree::{NodeKind, TreePath};

use super::{Recorder, files_below, quick};
use crate::repo::{public_key, repository_of};
use crate::server::{Fault, Server};

fn shared() -> Option<&'static Path> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    if path.join("mirror").is_dir() {
        return Some(path);
    }
    println!("SKIP: ../shared is absent");
    None
}

fn mirror_settings(cache: &Path, shared: &Path) -> FetchSettings {
    FetchSettings { keys: load_keys(&[shared.join("mirror/keys")]).expect("keys"), ..quick(cache) }
}

fn entry<'a>(index: &'a VerifiedIndex, name: &str) -> &'a IndexEntry {
    index.index().entries.iter().find(|entry| entry.name == name).expect("the index has it")
}

fn everything(_: &IndexEntry, _: &TreePath) -> bool {
    true
}

#[test]
fn every_package_of_the_mirror_verifies() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    let recorder = Recorder::default();
    let fetcher = Fetcher::new(FetchSettings { offline: true, ..mirror_settings(&cache, shared) }, &recorder)
        .expect("a fetcher");
    let repository = Repository::Directory(shared.join("mirror/v3.23/main"));
    let index = fetcher.index(&repository, Arch::X86_64).expect("verified");
    assert_eq!(index.signed_by(), Some("test-mirror.rsa.pub"));
    let wanted: Vec<_> = index.index().entries.iter().map(|entry| (&index, entry)).collect();
    assert_eq!(wanted.len(), 59);
    // Modules and firmware of the kernel are verified like the rest, but take no room on the disk.
    let without_kernel = |entry: &IndexEntry, path: &TreePath| {
        entry.name != "linux-virt" || !path.as_bytes().starts_with(b"lib/")
    };
    let packages = fetcher.packages(&wanted, &without_kernel).expect("verified");
    for (package, (_, entry)) in packages.iter().zip(&wanted) {
        assert_eq!(package.entry(), *entry);
        assert_eq!(package.info().name, entry.name);
    }
    let of = |name: &str| packages.iter().find(|package| package.entry().name == name).expect("it is there");
    let busybox =
        of("busybox").tree().get(&TreePath::parse(b"bin/busybox").expect("a path")).expect("the program");
    assert!(
        matches!(&busybox.kind, NodeKind::File(content) if content.read_head(4).expect("readable") == b"\x7fELF")
    );
    assert_eq!(busybox.origin.to_string(), "package busybox-1.37.0-r30");
    assert!(of("busybox").scripts().iter().any(|(name, _)| name == ".post-install"));
    assert!(of("linux-virt").tree().iter().all(|(path, _)| !path.as_bytes().starts_with(b"lib/")));
    let index = fetcher.index(&Repository::Directory(shared.join("mirror/v3.23/community")), Arch::X86_64);
    let index = index.expect("verified");
    let wanted: Vec<_> = index.index().entries.iter().map(|entry| (&index, entry)).collect();
    let packages = fetcher.packages(&wanted, &everything).expect("verified");
    assert_eq!(packages.len(), 4);
    assert!(packages.iter().any(|package| package.tree().len() > 1000), "Erlang/OTP is large");
    assert_eq!(files_below(&cache), ["CACHEDIR.TAG"], "what is local is not copied, contents have no name");
}

#[test]
fn the_mirror_over_http_with_cuts_and_then_from_the_cache() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    let server = Server::http();
    server.put_directory("/alpine", shared.join("mirror"));
    let repository = Repository::Url(server.url("/alpine/v3.23/main"));
    let names = ["musl", "busybox", "libcrypto3", "zlib", "ncurses-terminfo-base"];
    let fetch = |settings: FetchSettings, recorder: &Recorder| {
        let fetcher = Fetcher::new(settings, recorder).expect("a fetcher");
        let index = fetcher.index(&repository, Arch::X86_64).expect("verified");
        let wanted: Vec<_> = names.iter().map(|name| (&index, entry(&index, name))).collect();
        fetcher.packages(&wanted, &everything).map(|packages| packages.len())
    };
    for name in names {
        let settings = mirror_settings(&directory.path().join("throw-away"), shared);
        let recorder = Recorder::default();
        let fetcher = Fetcher::new(settings, &recorder).expect("a fetcher");
        let index = fetcher
            .index(&Repository::Directory(shared.join("mirror/v3.23/main")), Arch::X86_64)
            .expect("verified");
        let path = format!("/alpine/v3.23/main/x86_64/{}", entry(&index, name).file_name());
        server.fault(&path, Fault::CutAfter(10_000));
    }
    assert_eq!(fetch(mirror_settings(&cache, shared), &Recorder::default()).expect("fetched"), names.len());
    let resumed =
        server.requests().iter().filter(|request| request.header("range") == Some("bytes=10000-")).count();
    assert_eq!(resumed, names.len());

    server.forget_requests();
    let recorder = Recorder::default();
    assert_eq!(fetch(mirror_settings(&cache, shared), &recorder).expect("cached"), names.len());
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "only the index is asked for");
    assert!(requests[0].header("if-none-match").is_some());
    assert_eq!(recorder.count(|event| matches!(event, Event::CacheHit { .. })), names.len() + 1);

    server.forget_requests();
    let offline = FetchSettings { offline: true, ..mirror_settings(&cache, shared) };
    assert_eq!(fetch(offline, &Recorder::default()).expect("cached"), names.len());
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn keys_that_do_not_know_the_mirror() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    let repository = Repository::Directory(shared.join("mirror/v3.23/main"));
    let recorder = Recorder::default();
    let settings = FetchSettings { keys: load_keys(&[]).expect("built in"), ..quick(&cache) };
    let fetcher = Fetcher::new(settings.clone(), &recorder).expect("a fetcher");
    let error = fetcher.index(&repository, Arch::X86_64).expect_err("an unknown key");
    assert!(
        matches!(&error, FetchError::IndexUnknownKey { keys, .. } if keys == &["test-mirror.rsa.pub"]),
        "{error}"
    );
    assert_eq!(error.kind(), FetchErrorKind::Unverified);

    let fetcher =
        Fetcher::new(FetchSettings { allow_untrusted: true, ..settings }, &recorder).expect("a fetcher");
    let index = fetcher.index(&repository, Arch::X86_64).expect("taken as it is");
    assert_eq!(index.signed_by(), None);
    assert_eq!(recorder.count(|event| matches!(event, Event::Warning { .. })), 1);
    fetcher.packages(&[(&index, entry(&index, "zlib"))], &everything).expect("the hashes fit");

    let error = fetcher.index(&repository, Arch::Aarch64).expect_err("there is none");
    assert!(matches!(error, FetchError::NoSuchFile { .. }), "{error}");
}

/// A repository of links to files of `../shared/real/v2`.
fn links_to(files: &[(&Path, &str)], arch: Arch) -> (tempfile::TempDir, Repository) {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join(arch.alpine())).expect("made");
    for (file, name) in files {
        let target: PathBuf = std::fs::canonicalize(file).expect("there");
        std::os::unix::fs::symlink(target, directory.path().join(arch.alpine()).join(name)).expect("linked");
    }
    let repository = Repository::Directory(directory.path().to_owned());
    (directory, repository)
}

#[test]
fn indexes_that_alpine_signed() {
    let Some(shared) = shared() else { return };
    let real = shared.join("real/v2");
    let directory = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::default();
    let keys = load_keys(&[]).expect("built in");
    let settings = FetchSettings { keys, ..quick(&directory.path().join("cache")) };
    let fetcher = Fetcher::new(settings, &recorder).expect("a fetcher");
    for (release, arch) in [("alpine-316", Arch::X86_64), ("alpine-317", Arch::Aarch64)] {
        let (_directory, repository) =
            links_to(&[(&real.join(release).join("APKINDEX.tar.gz"), "APKINDEX.tar.gz")], arch);
        let index = fetcher.index(&repository, arch).expect(release);
        assert!(index.signed_by().is_some_and(|key| key.starts_with("alpine-devel@")));
        assert!(index.index().entries.len() > 4000);
    }
}

#[test]
fn an_index_with_a_signature_over_sha_256() {
    let Some(shared) = shared() else { return };
    let real = shared.join("real/v2/rsa256-signed");
    let directory = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::default();
    let keys = load_keys(&[real.join("test-rsa256.rsa.pub")]).expect("a key");
    let settings = FetchSettings { keys, ..quick(&directory.path().join("cache")) };
    let fetcher = Fetcher::new(settings, &recorder).expect("a fetcher");
    let (_directory, repository) =
        links_to(&[(&real.join("APKINDEX.tar.gz"), "APKINDEX.tar.gz")], Arch::Aarch64);
    assert_eq!(
        fetcher.index(&repository, Arch::Aarch64).expect("verified").signed_by(),
        Some("test-rsa256.rsa.pub")
    );
}

#[test]
fn a_package_that_alpine_signed_is_refused_if_the_index_does_not_name_it() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    // The real package of aarch64 stands where the index of x86_64 names another of the same name and version.
    let real = shared.join("real/v2/alpine-316");
    let (_directory, repository) = links_to(
        &[
            (&real.join("APKINDEX.tar.gz"), "APKINDEX.tar.gz"),
            (&real.join("alpine-baselayout-3.2.0-r23.apk"), "alpine-baselayout-3.2.0-r23.apk"),
        ],
        Arch::X86_64,
    );
    let recorder = Recorder::default();
    let settings =
        FetchSettings { keys: load_keys(&[]).expect("built in"), ..quick(&directory.path().join("cache")) };
    let fetcher = Fetcher::new(settings, &recorder).expect("a fetcher");
    let index = fetcher.index(&repository, Arch::X86_64).expect("verified");
    let error =
        fetcher.packages(&[(&index, entry(&index, "alpine-baselayout"))], &everything).expect_err("another");
    assert_eq!(error.kind(), FetchErrorKind::Unverified, "{error}");
    assert!(matches!(error, FetchError::NotNamed { .. } | FetchError::WrongSize { .. }), "{error}");
}

#[test]
fn packages_that_alpine_and_wolfi_made() {
    let Some(shared) = shared() else { return };
    let real = shared.join("real/v2");
    let directory = tempfile::tempdir().expect("a directory");
    let files = [
        "alpine-316/alpine-baselayout-3.2.0-r23.apk",
        "alpine-317/alpine-baselayout-3.4.0-r0.apk",
        "hello-wolfi-2.12.1-r0.apk",
    ];
    let files: Vec<PathBuf> = files.iter().map(|file| real.join(file)).collect();
    let repository = repository_of(&files, Arch::Aarch64, &directory.path().join("repository"));
    // Alpine's keys check the packages' own signatures (over SHA-1); Wolfi's key is not known.
    let mut keys = load_keys(&[]).expect("built in");
    keys.push(public_key());
    let settings = FetchSettings { keys, ..quick(&directory.path().join("cache")) };
    let recorder = Recorder::default();
    let fetcher = Fetcher::new(settings, &recorder).expect("a fetcher");
    let index = fetcher.index(&repository, Arch::Aarch64).expect("verified");
    let wanted: Vec<_> = index.index().entries.iter().map(|entry| (&index, entry)).collect();
    let packages = fetcher.packages(&wanted, &everything).expect("verified");
    assert!(packages.iter().all(|package| package.tree().len() > 3));

    // In the middle of Alpine's signature.
    let changed = directory.path().join("repository/aarch64").join(wanted[0].1.file_name());
    let mut bytes = std::fs::read(&changed).expect("readable");
    bytes[300] ^= 1;
    std::fs::write(&changed, bytes).expect("written");
    let error = fetcher.packages(&wanted, &everything).expect_err("changed");
    assert!(matches!(error, FetchError::MemberDamaged { member: Member::Signature, .. }), "{error}");
}
