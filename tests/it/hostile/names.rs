//! Names and texts that would steer a terminal, or pass for others.

use std::path::Path;
use std::process::Output;

use leanfs::apk::{ApkError, Dependency, Index};
use leanfs::text::is_hidden;

use crate::cli::leanfs;
use crate::repo::{KEY_NAME, TestRepo, key_file};

const ENTRY: &str = "C:Q1ZX+on7zBgcokTctj4tLSmx7q5O4=\nP:openssl\nV:1\n";

#[test]
fn names_of_packages_are_ascii() {
    for name in [
        "\u{43e}penssl",     // Cyrillic о
        "open\u{200b}ssl",   // zero width
        "open\u{202e}ssl",   // right to left
        "op\u{435}nssl",     // Cyrillic е
        "open\u{ff53}sl",    // full width s
        "open\u{1b}[31mssl", // an escape
        "opens\u{301}sl",    // a combining accent
        "open ssl",
    ] {
        let text = ENTRY.replace("openssl", name);
        let error = Index::parse(&text).expect_err(name);
        assert!(matches!(error, ApkError::Line { .. }), "{error}");
        assert!(!error.to_string().contains(is_hidden), "{error}");
        let error = Index::parse(&ENTRY.replace("V:1", &format!("V:1{name}"))).expect_err(name);
        assert!(!error.to_string().contains(is_hidden), "{error}");
    }
}

#[test]
fn what_packages_want_and_provide_is_ascii() {
    for name in ["\u{43e}penssl", "so:lib\u{200b}z.so.1", "open\u{202e}ssl", "\u{9b}31m", "cmd:s\u{ad}h"] {
        for text in [name.to_owned(), format!("!{name}"), format!("{name}=1")] {
            let error = Dependency::parse(&text).expect_err(&text);
            assert!(!error.to_string().contains(is_hidden), "{error}");
        }
        assert!(Dependency::parse_provided(name).is_err(), "{name}");
        // As with everything that apk doesn't understand: it isn't provided, and what wants it can't be used.
        let index = Index::parse(&format!("{ENTRY}p:{name} good\n")).expect("readable");
        assert_eq!(index.entries[0].provides.len(), 1);
        let index = Index::parse(&format!("{ENTRY}D:{name}\n")).expect("readable");
        assert!(index.entries[0].unusable.as_ref().is_some_and(|why| !why.contains(is_hidden)));
    }
}

/// What is printed: nothing in it steers a terminal or hides.
#[track_caller]
fn is_plain(output: &Output) {
    for bytes in [&output.stdout, &output.stderr] {
        let text = std::str::from_utf8(bytes).expect("text");
        let bad = text.chars().find(|&c| is_hidden(c) && c != '\n' && c != '\t');
        assert_eq!(bad, None, "{text:?}");
    }
}

const EVIL: &str = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\u{200b}\u{2066}\u{ad}\u{e0041}evil";

fn run(directory: &Path, arguments: &[&str]) -> Output {
    leanfs(directory, arguments).output().expect("leanfs runs")
}

#[test]
fn nothing_that_is_printed_steers_a_terminal() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    std::fs::copy(key_file(), path.join(KEY_NAME)).expect("copied");
    // Of control characters `PrivateKey` takes none.
    let evil_key = "\u{202e}\u{200b}\u{ad}\u{e0041}evil.rsa.pub".to_owned();
    // Signed by a key with an evil name, in a directory with one.
    let repository = format!("r{EVIL}");
    TestRepo::new().signed_as(&evil_key).package("a", "1.0-r0").build(&path.join(&repository));
    let index = format!("{repository}/x86_64/APKINDEX.tar.gz");
    std::fs::copy(key_file(), path.join(&evil_key)).expect("copied");
    for json in [&[][..], &["--json"]] {
        for arguments in [
            &["resolve", "a", "--arch", "x86_64", "--repository", &repository, "--key", KEY_NAME][..],
            &["resolve", "a", "--arch", "x86_64", "--repository", &repository, "--key", &evil_key],
            &["resolve", EVIL, "--arch", "x86_64", "--repository", &repository, "--key", &evil_key],
            &["resolve", "nowhere", "--arch", "x86_64", "--repository", &repository, "--key", &evil_key],
            &["resolve", "a", "--arch", "x86_64", "--repository", EVIL],
            &["keys", "--key", &evil_key],
            &["keys", "--key", &evil_key, "--check", &index],
            &["keys", "--key", KEY_NAME, "--check", &index],
            &["keys", "--check", EVIL],
        ] {
            is_plain(&run(path, &[arguments, json].concat()));
        }
    }
    // The values are the same as ever, for programs.
    let output = run(path, &["keys", "--key", &evil_key, "--json"]);
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(result["keys"][0]["name"].as_str(), Some(&*evil_key));
}

/// A server's words: its redirects and what it says of failures.
#[test]
fn no_server_writes_to_the_terminal() {
    use crate::server::{Fault, Server};
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::http();
    for target in ["http://h\u{202e}ost/\u{200b}x", "file:///\u{9b}2J", "http://\u{1b}[2J/"] {
        server.fault("/r/x86_64/APKINDEX.tar.gz", Fault::Redirect(target.to_owned()));
        let url = server.url("/r");
        let output = run(directory.path(), &["resolve", "a", "--arch", "x86_64", "--repository", &url]);
        assert_ne!(output.status.code(), Some(0));
        is_plain(&output);
    }
}
