//! Keys that are not the right ones.

use std::path::Path;

use leanfs::apk::{PublicKey, keys};

use crate::cli::leanfs;
use leanfs::fetch::{FetchError, FetchErrorKind, FetchSettings};

use super::fetch;
use crate::fetch::quick;
use crate::repo::{KEY_NAME, TestRepo, key_file, public_key};

/// A key that signed nothing here, under the name of the one that did.
fn namesake() -> PublicKey {
    PublicKey::from_pem(KEY_NAME, keys::BUILT_IN[0].1).expect("a key")
}

#[test]
fn a_key_of_the_same_name_is_not_the_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let repository = TestRepo::new().package("a", "1.0-r0").build(&directory.path().join("a"));
    let cache = directory.path().join("cache");
    let own = |key| vec![(repository.clone(), vec![key])];
    let settings = |key| FetchSettings {
        keys: vec![public_key()],
        allow_untrusted: true,
        repository_keys: own(key),
        ..quick(&cache)
    };
    fetch(settings(public_key()), &repository).expect("the key");
    let error = fetch(settings(namesake()), &repository).expect_err("another key of that name");
    assert!(matches!(error, FetchError::IndexChanged { .. }), "{error}");
    assert_eq!(error.kind(), FetchErrorKind::Unverified);
}

#[test]
fn nothing_untrusted_comes_from_a_repository_that_names_its_keys() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    for repo in [TestRepo::new().unsigned(), TestRepo::new().signed_as("stranger.rsa.pub")] {
        let repository = repo.package("a", "1.0-r0").build(&directory.path().join("a"));
        let settings = FetchSettings { allow_untrusted: true, ..quick(&cache) };
        fetch(settings.clone(), &repository).expect("as it was asked for");
        let own = vec![(repository.clone(), vec![public_key()])];
        let error =
            fetch(FetchSettings { repository_keys: own, ..settings }, &repository).expect_err("named");
        assert_eq!(error.kind(), FetchErrorKind::Unverified, "{error}");
    }
}

#[test]
fn checking_a_package_reads_its_files_too() {
    let directory = tempfile::tempdir().expect("a directory");
    TestRepo::new().package("a", "1.0-r0").file("etc/a", "a").build(directory.path());
    std::fs::copy(key_file(), directory.path().join(KEY_NAME)).expect("copied");
    let file = directory.path().join("x86_64/a-1.0-r0.apk");
    let check = |directory: &Path| {
        let output =
            leanfs(directory, &["keys", "--key", KEY_NAME, "--check", "x86_64/a-1.0-r0.apk"]).output();
        output.expect("leanfs runs").status.code()
    };
    assert_eq!(check(directory.path()), Some(0));
    let mut bytes = std::fs::read(&file).expect("readable");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&file, bytes).expect("written");
    assert_eq!(check(directory.path()), Some(3));
}
