//! The chain of trust, link by link.

use std::ops::Range;
use std::path::{Path, PathBuf};

use leanfs::apk::{IndexEntry, PublicKey, keys};
use leanfs::arch::Arch;
use leanfs::archive::ArchiveErrorKind;
use leanfs::fetch::{FetchError, FetchErrorKind, FetchSettings, Fetcher, Member, VerifiedApk, load_keys};
use leanfs::recipe::Repository;
use leanfs::report::Event;
use leanfs::tree::TreePath;

use super::{Recorder, files_below, noise, quick};
use crate::repo::{KEY_NAME, TestRepo, key_file, public_key};
use crate::server::{Fault, Server};

/// A repository with a package `a`, a cache and somebody who trusts the key.
struct Case {
    directory: tempfile::TempDir,
    repository: Repository,
}

impl Case {
    fn new(repo: &TestRepo) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let repository = repo.build(&directory.path().join("repository"));
        Self { directory, repository }
    }

    fn settings(&self) -> FetchSettings {
        FetchSettings {
            keys: load_keys(&[key_file()]).expect("a key"),
            ..quick(&self.directory.path().join("cache"))
        }
    }

    fn fetch_with(
        &self,
        settings: FetchSettings,
        repository: &Repository,
    ) -> Result<Vec<VerifiedApk>, FetchError> {
        let recorder = Recorder::default();
        let fetcher = Fetcher::new(settings, &recorder)?;
        let index = fetcher.index(repository, Arch::X86_64)?;
        let wanted: Vec<_> = index.index().entries.iter().map(|entry| (&index, entry)).collect();
        fetcher.packages(&wanted, &everything)
    }

    fn fetch(&self) -> Result<Vec<VerifiedApk>, FetchError> {
        self.fetch_with(self.settings(), &self.repository)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join("repository/x86_64").join(name)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.file(name)).expect("readable");
        change(&mut bytes);
        std::fs::write(self.file(name), bytes).expect("written");
    }

    fn serve(&self, server: &Server) -> Repository {
        server.put_directory("/r", self.directory.path().join("repository"));
        Repository::Url(server.url("/r"))
    }
}

fn everything(_: &IndexEntry, _: &TreePath) -> bool {
    true
}

fn repo() -> TestRepo {
    TestRepo::new()
        .package("a", "1.0-r0")
        .file("etc/a", "contents of a")
        .program("usr/bin/a", noise(3000))
        .symlink("usr/bin/b", "a")
        .script(".post-install", "#!/bin/sh\nexit 0\n")
}

/// Where the gzip members of a file are.
fn members(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut members = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let mut decoder = flate2::bufread::GzDecoder::new(&bytes[start..]);
        std::io::copy(&mut decoder, &mut std::io::sink()).expect("a good member");
        let end = bytes.len() - decoder.into_inner().len();
        members.push(start..end);
        start = end;
    }
    members
}

/// How many bytes of a signature member may be changed unseen: a compressor can copy a zero from one zero as well
/// as from another, and what comes out is the same.
const MOST_UNSEEN: usize = 4;

/// Whether two files differ only in how their first member was compressed.
fn says_the_same(good: &[u8], changed: &[u8]) -> bool {
    let first = |bytes: &[u8]| {
        let mut decoder = flate2::bufread::GzDecoder::new(bytes);
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut decoder, &mut content).expect("a good member");
        (content, decoder.into_inner().to_vec())
    };
    first(good) == first(changed)
}

#[test]
fn a_signed_repository_is_taken() {
    let case = Case::new(&repo());
    let packages = case.fetch().expect("verified");
    let [package] = &packages[..] else { panic!("one package") };
    let text = |path: &str| {
        let (_, content) =
            package.tree().file(&TreePath::parse(path.as_bytes()).expect("a path")).expect("a file");
        content.read(10_000).expect("readable")
    };
    assert_eq!(text("etc/a"), b"contents of a");
    assert_eq!(text("usr/bin/b"), noise(3000));
    assert_eq!(package.scripts(), [(".post-install".to_owned(), b"#!/bin/sh\nexit 0\n".to_vec())]);
    assert_eq!(package.info().name, "a");
    assert!(package.location().ends_with("/x86_64/a-1.0-r0.apk"));
}

#[test]
fn what_index_and_package_say_comes_along_for_any_architecture() {
    let repo = TestRepo::new()
        .arch(Arch::Aarch64)
        .package("a", "1.0-r0")
        .depends("so:libc.musl-aarch64.so.1")
        .provides("cmd:a=1.0-r0")
        .replaces("b");
    let case = Case::new(&repo);
    let recorder = Recorder::default();
    let fetcher = Fetcher::new(case.settings(), &recorder).expect("a fetcher");
    let index = fetcher.index(&case.repository, Arch::Aarch64).expect("verified");
    assert_eq!((index.arch(), index.repository()), (Arch::Aarch64, &case.repository));
    let entry = &index.index().entries[0];
    assert_eq!(entry.depends[0].to_string(), "so:libc.musl-aarch64.so.1");
    assert_eq!(entry.provides[0].to_string(), "cmd:a=1.0-r0");
    let packages = fetcher.packages(&[(&index, entry)], &everything).expect("verified");
    assert_eq!(packages[0].info().replaces[0].to_string(), "b");
    let error = fetcher.index(&case.repository, Arch::X86_64).expect_err("another architecture");
    assert_eq!(error.kind(), FetchErrorKind::Missing, "{error}");
}

#[test]
fn an_unsigned_package_of_a_signed_index_is_taken() {
    Case::new(&repo().unsigned_package()).fetch().expect("its index vouches for it");
}

#[test]
fn every_byte_of_every_member_counts() {
    let case = Case::new(&TestRepo::new().package("a", "1.0-r0").file("etc/a", "contents of a"));
    let name = "a-1.0-r0.apk";
    let good = std::fs::read(case.file(name)).expect("readable");
    let mut unseen = 0;
    let [signature, control, data] = &members(&good)[..] else { panic!("three members") };
    let recorder = Recorder::default();
    let fetcher = Fetcher::new(case.settings(), &recorder).expect("a fetcher");
    let index = fetcher.index(&case.repository, Arch::X86_64).expect("verified");
    let wanted = [(&index, &index.index().entries[0])];
    for (range, member) in [(signature, Member::Signature), (control, Member::Control), (data, Member::Data)]
    {
        for place in range.clone() {
            case.change(name, |bytes| bytes[place] ^= 0x10);
            let result = fetcher.packages(&wanted, &everything);
            let changed = std::fs::read(case.file(name)).expect("readable");
            case.change(name, |bytes| bytes[place] ^= 0x10);
            let Err(error) = result else {
                assert!(member == Member::Signature && says_the_same(&good, &changed), "byte {place}");
                unseen += 1;
                continue;
            };
            let found = match &error {
                FetchError::MemberChanged { member, .. } | FetchError::MemberDamaged { member, .. } => {
                    *member
                }
                _ => panic!("byte {place}: {error}"),
            };
            assert_eq!(found, member, "byte {place}: {error}");
            assert_eq!(error.kind(), FetchErrorKind::Unverified);
            let text = error.to_string();
            assert!(text.contains("a-1.0-r0.apk") && text.contains(&format!("{member} member")), "{text}");
        }
    }
    assert!(unseen <= MOST_UNSEEN, "{unseen} changed bytes were not seen");
    fetcher.packages(&wanted, &everything).expect("as it was");
}

#[test]
fn every_byte_of_an_index_counts() {
    let case = Case::new(&TestRepo::new().package("a", "1.0-r0"));
    let good = std::fs::read(case.file("APKINDEX.tar.gz")).expect("readable");
    let recorder = Recorder::default();
    let fetcher = Fetcher::new(case.settings(), &recorder).expect("a fetcher");
    let mut unseen = 0;
    for place in 0..good.len() {
        case.change("APKINDEX.tar.gz", |bytes| bytes[place] ^= 0x10);
        let result = fetcher.index(&case.repository, Arch::X86_64);
        let changed = std::fs::read(case.file("APKINDEX.tar.gz")).expect("readable");
        case.change("APKINDEX.tar.gz", |bytes| bytes[place] ^= 0x10);
        let Err(error) = result else {
            assert!(says_the_same(&good, &changed), "byte {place}");
            unseen += 1;
            continue;
        };
        assert_eq!(error.kind(), FetchErrorKind::Unverified, "byte {place}: {error}");
    }
    assert!(unseen <= MOST_UNSEEN, "{unseen} changed bytes were not seen");
}

#[test]
fn a_package_that_is_cut_or_goes_on_is_refused() {
    let case = Case::new(&repo());
    let name = "a-1.0-r0.apk";
    let good = std::fs::read(case.file(name)).expect("readable");
    for length in (0..good.len()).step_by(97) {
        std::fs::write(case.file(name), &good[..length]).expect("written");
        let error = case.fetch().expect_err("cut");
        assert_eq!(error.kind(), FetchErrorKind::Unverified, "{length}: {error}");
    }
    let last = &good[members(&good)[2].clone()];
    for more in [b"x", last] {
        std::fs::write(case.file(name), [&good[..], more].concat()).expect("written");
        let error = case.fetch().expect_err("something follows");
        assert_eq!(error.kind(), FetchErrorKind::Unverified, "{error}");
    }
    std::fs::remove_file(case.file(name)).expect("removed");
    let error = case.fetch().expect_err("not there");
    assert_eq!(error.kind(), FetchErrorKind::Missing, "{error}");
}

#[test]
fn a_package_that_its_index_does_not_name_is_refused_however_well_it_is_signed() {
    let case = Case::new(&repo());
    // Another build of the same version, and another package, both signed by the trusted key.
    for other in [
        repo().file("etc/more", "more"),
        repo().file("etc/a", "cOntents of a"),
        TestRepo::new().package("b", "1.0-r0").file("etc/b", "b"),
    ] {
        let elsewhere = tempfile::tempdir().expect("a directory");
        other.build(elsewhere.path());
        let package =
            files_below(&elsewhere.path().join("x86_64")).into_iter().find(|name| name.ends_with(".apk"));
        let package = elsewhere.path().join("x86_64").join(package.expect("a package"));
        std::fs::copy(package, case.file("a-1.0-r0.apk")).expect("copied");
        let error = case.fetch().expect_err("another package");
        assert!(matches!(error, FetchError::NotNamed { .. }), "{error}");
        assert_eq!(error.kind(), FetchErrorKind::Unverified);
        assert!(error.hint().is_some());
    }
    // An entry that is from nowhere.
    let recorder = Recorder::default();
    let fetcher = Fetcher::new(case.settings(), &recorder).expect("a fetcher");
    let index = fetcher.index(&case.repository, Arch::X86_64).expect("verified");
    let mut entry = index.index().entries[0].clone();
    entry.version = "1.1-r0".to_owned();
    let error = fetcher.packages(&[(&index, &entry)], &everything).expect_err("not in the index");
    assert!(matches!(error, FetchError::NotNamed { .. }), "{error}");
}

#[test]
fn an_index_needs_a_signature_by_a_trusted_key() {
    let unsigned = Case::new(&repo().unsigned());
    let error = unsigned.fetch().expect_err("not signed");
    assert!(matches!(error, FetchError::IndexUnsigned { .. }), "{error}");

    let unknown = Case::new(&repo().signed_as("stranger.rsa.pub"));
    let error = unknown.fetch().expect_err("signed by a stranger");
    assert!(
        matches!(&error, FetchError::IndexUnknownKey { keys, trusted, .. }
            if keys == &["stranger.rsa.pub"] && trusted == &[KEY_NAME]),
        "{error}"
    );

    // Somebody else has a key of that name.
    let case = Case::new(&repo());
    let other = PublicKey::from_pem(KEY_NAME, keys::BUILT_IN[0].1).expect("a key");
    let only_other = FetchSettings { keys: vec![other.clone()], ..case.settings() };
    let error = case.fetch_with(only_other.clone(), &case.repository).expect_err("another key");
    assert!(matches!(&error, FetchError::IndexChanged { key, .. } if key == KEY_NAME), "{error}");
    let untrusted = FetchSettings { allow_untrusted: true, ..only_other };
    case.fetch_with(untrusted, &case.repository).expect_err("a signature that does not fit is never taken");
    // One of two of that name is enough.
    let both = FetchSettings { keys: vec![other, public_key()], ..case.settings() };
    let recorder = Recorder::default();
    let fetcher = Fetcher::new(both, &recorder).expect("a fetcher");
    assert_eq!(fetcher.index(&case.repository, Arch::X86_64).expect("verified").signed_by(), Some(KEY_NAME));
}

#[test]
fn a_key_of_one_repository_signs_nothing_of_another() {
    let (case, other) = (Case::new(&repo()), Case::new(&repo()));
    let with = |keys: Vec<PublicKey>, own: Vec<PublicKey>| FetchSettings {
        keys,
        repository_keys: vec![(case.repository.clone(), own)],
        ..case.settings()
    };
    // The key is the first one's own.
    let settings = with(Vec::new(), vec![public_key()]);
    case.fetch_with(settings.clone(), &case.repository).expect("its own key");
    let error = case.fetch_with(settings, &other.repository).expect_err("another repository");
    assert!(matches!(&error, FetchError::IndexUnknownKey { trusted, .. } if trusted.is_empty()), "{error}");
    // What others trust is not enough where there are own keys.
    let settings = with(vec![public_key()], keys::built_in().expect("good").split_off(1));
    case.fetch_with(settings.clone(), &other.repository).expect("it has no keys of its own");
    let error = case.fetch_with(settings, &case.repository).expect_err("not its own key");
    assert!(matches!(&error, FetchError::IndexUnknownKey { .. }), "{error}");
}

#[test]
fn untrusted_is_taken_when_asked_for_but_hashes_are_checked() {
    for repo in [repo().unsigned(), repo().signed_as("stranger.rsa.pub")] {
        let case = Case::new(&repo);
        let settings = || FetchSettings { allow_untrusted: true, ..case.settings() };
        case.fetch_with(settings(), &case.repository).expect("taken");
        for part in 0..3 {
            case.change("a-1.0-r0.apk", |bytes| {
                let range = members(bytes)[part].clone();
                bytes[(range.start + range.end) / 2] ^= 1;
            });
            let error = case.fetch_with(settings(), &case.repository).expect_err("changed");
            assert_eq!(error.kind(), FetchErrorKind::Unverified, "{error}");
            case.change("a-1.0-r0.apk", |bytes| {
                let good = repo.build(&case.directory.path().join("again"));
                let Repository::Directory(good) = good else { unreachable!() };
                *bytes = std::fs::read(good.join("x86_64/a-1.0-r0.apk")).expect("readable");
            });
        }
    }
}

/// A tar of one file, with a pax record for its hash.
fn tar_of(path: &[u8], content: &[u8], hash: &str) -> Vec<u8> {
    let mut tar = Vec::new();
    let record = format!(" APK-TOOLS.checksum.SHA1={hash}\n");
    let record = format!("{}{record}", record.len() + 2);
    for (kind, path, content) in [(b'x', &b"pax"[..], record.as_bytes()), (b'0', path, content)] {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

#[test]
fn each_file_has_the_hash_of_its_header() {
    let hash = "6367c48dd193d56ea7b0baad25b19455e529f5ee";
    let package =
        |content: &[u8]| TestRepo::new().package("a", "1.0-r0").raw_data(tar_of(b"etc/a", content, hash));
    Case::new(&package(b"abcde")).fetch().expect_err("another hash");
    let error = Case::new(&package(b"abcdf")).fetch().expect_err("another hash");
    assert!(matches!(&error, FetchError::FileChanged { path, .. } if path == "/etc/a"), "{error:?}");
    assert_eq!(error.kind(), FetchErrorKind::Unverified);
    Case::new(&package(b"abc123")).fetch().expect("the hash of abc123");
}

#[test]
fn entries_that_lead_out_are_refused() {
    for path in [&b"../etc/a"[..], b"/etc/a", b"etc/../../a"] {
        let tar = tar_of(path, b"abc123", "6367c48dd193d56ea7b0baad25b19455e529f5ee");
        let error =
            Case::new(&TestRepo::new().package("a", "1.0-r0").raw_data(tar)).fetch().expect_err("refused");
        let FetchError::Archive { source, .. } = &error else { panic!("{error}") };
        assert!(matches!(source.kind, ArchiveErrorKind::Absolute | ArchiveErrorKind::Path(_)), "{source}");
        assert_eq!(error.kind(), FetchErrorKind::Malformed);
    }
}

#[test]
fn over_http_the_cache_holds_only_what_was_verified() {
    let case = Case::new(&repo());
    let server = Server::http();
    let repository = case.serve(&server);
    let cache = case.directory.path().join("cache");
    let good = std::fs::read(case.file("a-1.0-r0.apk")).expect("readable");
    case.change("a-1.0-r0.apk", |bytes| *bytes.last_mut().expect("bytes") ^= 1);
    let error = case.fetch_with(case.settings(), &repository).expect_err("changed");
    assert!(matches!(&error, FetchError::MemberChanged { member: Member::Data, .. }), "{error}");
    let objects =
        |cache: &Path| files_below(cache).iter().filter(|file| file.starts_with("objects/")).count();
    assert_eq!(objects(&cache), 1, "the index alone");
    assert!(files_below(&cache).iter().all(|file| !file.starts_with("partial/")));

    std::fs::write(case.file("a-1.0-r0.apk"), &good).expect("written");
    case.fetch_with(case.settings(), &repository).expect("verified");
    assert_eq!(objects(&cache), 2);

    // Somebody changes the cache.
    let object = files_below(&cache)
        .into_iter()
        .map(|file| cache.join(file))
        .find(|file| std::fs::read(file).expect("readable") == good)
        .expect("the package");
    std::fs::write(&object, b"poison").expect("written");
    server.forget_requests();
    case.fetch_with(case.settings(), &repository).expect("fetched again");
    assert_eq!(server.requests_for("/r/x86_64/a-1.0-r0.apk").len(), 1);
    assert_eq!(std::fs::read(&object).expect("readable"), good);

    let server = Server::http();
    let mirror = case.serve(&server);
    case.fetch_with(case.settings(), &mirror).expect("verified");
    assert_eq!(server.requests_for("/r/x86_64/a-1.0-r0.apk").len(), 0, "another mirror has the same package");
}

#[test]
fn over_http_sizes_are_those_of_the_index() {
    let case = Case::new(&repo());
    let server = Server::http();
    let repository = case.serve(&server);
    let path = "/r/x86_64/a-1.0-r0.apk";
    for fault in [Fault::ClaimLength(100), Fault::ClaimLength(1_000_000)] {
        server.fault(path, fault);
        let error = case.fetch_with(case.settings(), &repository).expect_err("another size");
        assert!(matches!(error, FetchError::WrongSize { .. }), "{error}");
    }
    for _ in 0..3 {
        server.fault(path, Fault::CutAfter(500));
    }
    let error = case.fetch_with(case.settings(), &repository).expect_err("cut");
    assert!(matches!(error, FetchError::Truncated { received: 1500, tries: 3, .. }), "{error}");
    assert_eq!(error.kind(), FetchErrorKind::Network);
    case.fetch_with(case.settings(), &repository).expect("goes on");
    let range =
        server.requests_for(path).pop().and_then(|request| request.header("range").map(str::to_owned));
    assert_eq!(range.as_deref(), Some("bytes=1500-"));
}

#[test]
fn leftovers_that_do_not_fit_together_are_fetched_again() {
    let case = Case::new(&repo());
    let server = Server::http();
    server.without_validators();
    let repository = case.serve(&server);
    let path = "/r/x86_64/a-1.0-r0.apk";
    // The beginning comes from something else of the same size.
    let good = std::fs::read(case.file("a-1.0-r0.apk")).expect("readable");
    case.change("a-1.0-r0.apk", |bytes| bytes.fill(0));
    for _ in 0..3 {
        server.fault(path, Fault::CutAfter(300));
    }
    case.fetch_with(case.settings(), &repository).expect_err("cut");
    std::fs::write(case.file("a-1.0-r0.apk"), good).expect("written");
    case.fetch_with(case.settings(), &repository).expect("whole in the end");
}

#[test]
fn an_index_is_asked_for_each_time_and_replaced_when_it_changed() {
    let case = Case::new(&repo());
    let server = Server::http();
    let repository = case.serve(&server);
    let path = "/r/x86_64/APKINDEX.tar.gz";
    case.fetch_with(case.settings(), &repository).expect("verified");
    let cache = case.directory.path().join("cache");
    let before = files_below(&cache);

    let recorder = Recorder::default();
    let fetcher = Fetcher::new(case.settings(), &recorder).expect("a fetcher");
    fetcher.index(&repository, Arch::X86_64).expect("unchanged");
    assert_eq!(recorder.count(|event| matches!(event, Event::CacheHit { .. })), 1);
    assert_eq!(files_below(&cache), before);

    repo().package("b", "1.0-r0").build(&case.directory.path().join("repository"));
    assert_eq!(fetcher.index(&repository, Arch::X86_64).expect("changed").index().entries.len(), 2);
    assert_eq!(files_below(&cache).len(), before.len(), "the old one is gone");
    assert_eq!(server.requests_for(path).len(), 3);

    // A changed index that is not signed doesn't drive the good one out.
    repo().unsigned().build(&case.directory.path().join("repository"));
    fetcher.index(&repository, Arch::X86_64).expect_err("not signed");
    let offline = FetchSettings { offline: true, ..case.settings() };
    let fetcher = Fetcher::new(offline.clone(), &recorder).expect("a fetcher");
    assert_eq!(fetcher.index(&repository, Arch::X86_64).expect("cached").index().entries.len(), 2);
    // What is in the cache needs a trusted key as well.
    let fetcher = Fetcher::new(FetchSettings { keys: Vec::new(), ..offline }, &recorder).expect("a fetcher");
    let error = fetcher.index(&repository, Arch::X86_64).expect_err("no trusted key");
    assert!(matches!(error, FetchError::IndexUnknownKey { .. }), "{error}");
}

#[test]
fn a_filter_leaves_out_and_everything_is_verified() {
    let case = Case::new(&repo());
    let recorder = Recorder::default();
    let fetcher = Fetcher::new(case.settings(), &recorder).expect("a fetcher");
    let index = fetcher.index(&case.repository, Arch::X86_64).expect("verified");
    let wanted = [(&index, &index.index().entries[0])];
    let only_etc = |_: &IndexEntry, path: &TreePath| path.as_bytes().starts_with(b"etc");
    let packages = fetcher.packages(&wanted, &only_etc).expect("verified");
    let names: Vec<String> = packages[0].tree().iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(names, ["/etc", "/etc/a"]);
    case.change("a-1.0-r0.apk", |bytes| *bytes.last_mut().expect("bytes") ^= 1);
    fetcher.packages(&wanted, &only_etc).expect_err("changed");
}

#[test]
fn the_first_of_several_errors_is_told() {
    let mut repo = TestRepo::new();
    for number in 0..12 {
        repo = repo.package(&format!("p{number:02}"), "1-r0").file("etc/x", noise(number * 100));
    }
    let case = Case::new(&repo);
    for name in ["p03-1-r0.apk", "p09-1-r0.apk"] {
        std::fs::remove_file(case.file(name)).expect("removed");
    }
    for jobs in [1, 8] {
        let error = case
            .fetch_with(FetchSettings { jobs, ..case.settings() }, &case.repository)
            .expect_err("two are missing");
        assert!(error.to_string().contains("p03"), "{error}");
    }
}

/// Capabilities and the like come into the tree; labels of the machine that packed don't.
#[test]
fn extended_attributes_come_into_the_tree() {
    use leanfs::tree::{Content, Metadata, Node, Origin};
    let content = Content::from_bytes(b"x".to_vec());
    let mut node = Node::file(content, Metadata::PROGRAM, Origin::skeleton());
    let kept: [(&[u8], &[u8]); 4] = [
        (b"security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        (b"system.posix_acl_access", b"\x02\0\0\0"),
        (b"trusted.t", b"\n=\0"),
        (b"user.note", b""),
    ];
    let dropped: [(&[u8], &[u8]); 2] =
        [(b"security.selinux", b"system_u:object_r:bin_t:s0\0"), (b"security.SMACK64", b"_")];
    node.xattrs = kept.iter().chain(&dropped).map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let case = Case::new(&TestRepo::new().package("a", "1.0-r0").node("usr/bin/a", node));
    let apks = case.fetch().expect("verified");
    let found = apks[0].tree().get(&"usr/bin/a".parse().expect("good")).expect("there");
    let found: Vec<(&[u8], &[u8])> =
        found.xattrs.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    assert_eq!(found, kept);
}
