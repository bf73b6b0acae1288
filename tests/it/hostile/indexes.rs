//! Indexes that are old, another's, bombs, or full of numbers that don't fit.

use std::path::Path;

use leanfs::apk::index::{IndexArchive, IndexLimits};
use leanfs::apk::{ApkError, Index};
use leanfs::arch::Arch;
use leanfs::fetch::{FetchError, FetchErrorKind, Fetcher};
use leanfs::recipe::{InputLimit, Repository};

use super::{fetch, gzip, trusting};
use crate::fetch::Recorder;
use crate::repo::TestRepo;
use crate::server::Server;

fn built(directory: &Path, day: i64) {
    TestRepo::new()
        .package("a", "1.0-r0")
        .info(|info| info.build_time = Some(day * 86_400))
        .file("etc/a", day.to_string())
        .build(directory);
}

#[test]
fn an_index_that_is_rolled_back_is_seen() {
    let directory = tempfile::tempdir().expect("a directory");
    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    built(&old, 20_000);
    built(&new, 20_001);
    let cache = directory.path().join("cache");
    let server = Server::http();
    server.without_validators();
    let repository = Repository::Url(server.url("/r"));
    let get = |from: &Path| {
        for name in ["APKINDEX.tar.gz", "a-1.0-r0.apk"] {
            let bytes = std::fs::read(from.join("x86_64").join(name)).expect("readable");
            server.put(&format!("/r/x86_64/{name}"), &bytes);
        }
        fetch(trusting(&cache), &repository).expect("well signed")
    };
    assert_eq!(get(&old), [""; 0], "the first that is seen");
    assert_eq!(get(&new), [""; 0], "newer");
    for _ in 0..2 {
        let warnings = get(&old);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("older than an index") && warnings[0].contains("2024-10-04"),
            "{warnings:?}"
        );
    }
    assert_eq!(get(&new), [""; 0], "as new as the newest");
}

#[test]
fn an_index_from_before_a_day_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    built(&directory.path().join("r"), 20_000);
    let repository = Repository::Directory(directory.path().join("r"));
    let mut settings = trusting(&directory.path().join("cache"));
    settings.not_before = Some(20_000 * 86_400);
    fetch(settings.clone(), &repository).expect("of that day");
    settings.not_before = Some(20_000 * 86_400 + 1);
    let error = fetch(settings.clone(), &repository).expect_err("too old");
    assert!(matches!(error, FetchError::IndexTooOld { .. }), "{error}");
    assert_eq!(error.kind(), FetchErrorKind::Unverified);
    assert!(error.to_string().contains("2024-10-04"), "{error}");
    // One that says nothing of times isn't new.
    TestRepo::new().package("a", "1.0-r0").build(&directory.path().join("r"));
    fetch(settings, &repository).expect_err("no time");
}

#[test]
fn an_index_of_another_architecture_or_release_is_seen() {
    let directory = tempfile::tempdir().expect("a directory");
    TestRepo::new().arch(Arch::Aarch64).package("a", "1.0-r0").build(directory.path());
    std::fs::rename(directory.path().join("aarch64"), directory.path().join("x86_64")).expect("renamed");
    let cache = directory.path().join("cache");
    let repository = Repository::Directory(directory.path().to_owned());
    let error = fetch(trusting(&cache), &repository).expect_err("aarch64");
    assert!(matches!(&error, FetchError::IndexOfAnotherArch { found, .. } if found == "aarch64"), "{error}");
}

/// Before anything is verified: whoever can answer for a mirror can send this.
#[test]
fn signatures_do_not_fill_the_memory() {
    // 200 members of a "signature" of 2 MiB each are a file of 400 kB.
    let mut header = tar::Header::new_ustar();
    header.set_path(".SIGN.RSA.x.rsa.pub").expect("a name");
    header.set_size(2 << 20);
    header.set_cksum();
    let member = gzip(&[header.as_bytes(), &vec![0; 2 << 20][..]].concat());
    let error = IndexArchive::open(&member.repeat(200)).expect_err("a bomb");
    assert!(matches!(error, ApkError::TooLarge { member: "signature", .. }), "{error}");
    // Members without a signature count together.
    let mut header = tar::Header::new_ustar();
    header.set_path("other").expect("a name");
    header.set_size(2 << 20);
    header.set_cksum();
    let member = gzip(&[header.as_bytes(), &vec![0; 2 << 20][..]].concat());
    let limits = IndexLimits { unpacked: 16 << 20, ..IndexLimits::default() };
    let error = IndexArchive::open_within(&member.repeat(200), &limits).expect_err("a bomb");
    assert!(matches!(error, ApkError::TooLarge { member: "index", .. }), "{error}");
}

#[test]
fn a_bomb_is_seen_by_its_expansion() {
    let bomb = gzip(&vec![0; 80 << 20]);
    let limits = IndexLimits { expansion: 100, ..IndexLimits::default() };
    let error = IndexArchive::open_within(&bomb, &limits).expect_err("a bomb");
    assert!(matches!(error, ApkError::ExpandsTooMuch { limit: 100, .. }), "{error}");
    let limits = IndexLimits { expansion: 2000, ..limits };
    let error = IndexArchive::open_within(&bomb, &limits).expect_err("no index");
    assert!(!matches!(error, ApkError::ExpandsTooMuch { .. }), "{error}");
}

#[test]
fn millions_of_packages_or_words_are_refused_before_they_are_held() {
    let directory = tempfile::tempdir().expect("a directory");
    let repository = TestRepo::new()
        .package("a", "1.0-r0")
        .depends("x")
        .depends("y")
        .package("b", "1.0-r0")
        .build(&directory.path().join("r"));
    let cache = directory.path().join("cache");
    for (limit, enough) in [(InputLimit::IndexEntries, 2), (InputLimit::IndexRelations, 2)] {
        let mut settings = trusting(&cache);
        settings.limits.set(limit, enough);
        fetch(settings.clone(), &repository).expect("just enough");
        settings.limits.set(limit, enough - 1);
        let error = fetch(settings, &repository).expect_err("one too many");
        assert!(matches!(&error, FetchError::BeyondLimit { setting, .. } if *setting == limit), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains(&format!("--limit {limit}=NUMBER"))));
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let entry = "C:Q1ZX+on7zBgcokTctj4tLSmx7q5O4=\nP:a\nV:1\n";
    for line in [
        "S:18446744073709551616",
        "S:-1",
        "S:1e3",
        "S:0x10",
        "I:99999999999999999999999",
        "k:4294967296",
        "k:-1",
        "q:4294967296",
        "t:9223372036854775808",
        "t:-9223372036854775809",
    ] {
        let error = Index::parse(&format!("{entry}{line}\n")).expect_err(line);
        assert!(matches!(error, ApkError::Line { .. }), "{line}: {error}");
    }
    let largest = format!("{entry}S:{max}\nI:{max}\nk:{}\nt:{}\n", u32::MAX, i64::MAX, max = u64::MAX);
    Index::parse(&largest).expect("they fit");
}

/// The largest sizes that fields can hold go through resolving and fetching.
#[test]
fn sizes_of_the_largest_numbers_break_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let repository = TestRepo::new()
        .package("a", "1.0-r0")
        .info(|info| info.installed_size = u64::MAX)
        .package("b", "1.0-r0")
        .info(|info| info.installed_size = u64::MAX)
        .build(&directory.path().join("r"));
    fetch(trusting(&directory.path().join("cache")), &repository).expect("only what they say is large");
    let recorder = Recorder::default();
    let fetcher = Fetcher::new(trusting(&directory.path().join("cache")), &recorder).expect("a fetcher");
    let index = fetcher.index(&repository, Arch::X86_64).expect("well signed");
    assert!(index.index().entries.len() == 2);
}
