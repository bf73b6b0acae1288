//! `leanfs keys`, and keys that belong to one repository, as a user meets them.

use std::path::Path;
use std::process::{Command, Output};

use super::cli::leanfs;
use super::repo::{KEY_NAME, TestRepo, key_file, public_key};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Two repositories, both signed by the key of the tests, in a directory with this `leanfs.toml`.
fn project(toml: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (place, version) in [("one", "1-r0"), ("two", "2-r0")] {
        TestRepo::new()
            // Packages without contents would be taken whatever their tag is, as apk does.
            .package("app", version)
            .file("usr/share/app", place)
            .package(&format!("only-{place}"), version)
            .file(&format!("usr/share/{place}"), place)
            .depends("app")
            .build(&directory.path().join(place));
    }
    fs_err::write(directory.path().join("leanfs.toml"), toml).expect("written");
    fs_err::copy(key_file(), directory.path().join("ours.rsa.pub")).expect("copied");
    directory
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    leanfs(directory, arguments).output().expect("the binary was built with this test")
}

fn fingerprint() -> String {
    format!("sha256:{}", hex::encode(public_key().fingerprint()))
}

#[test]
fn fingerprints_are_what_openssl_says() {
    let mut openssl = Command::new("openssl");
    let Ok(der) = openssl.args(["pkey", "-pubin", "-outform", "DER", "-in"]).arg(key_file()).output() else {
        super::end_to_end::bench::missing::<()>("openssl");
        return;
    };
    assert!(der.status.success(), "{}", text(&der));
    assert_eq!(leanfs::apk::checksum::sha256(&der.stdout), public_key().fingerprint());
}

#[test]
fn keys_are_listed_with_what_they_may_sign() {
    let directory = project(&format!(
        "[base]\nrepositories = [\"one\", {{ url = \"two\", keys = [\"ours.rsa.pub\"] }}]\nkeys = [{:?}]\n",
        key_file()
    ));
    let output = run(directory.path(), &["keys"]);
    assert!(output.status.success(), "{}", text(&output));
    let expected = format!(
        "May sign in one:\n  {KEY_NAME}  RSA 2048\n    {fingerprint}\n\
         May sign in two, and nowhere else:\n  ours.rsa.pub  RSA 2048\n    {fingerprint}\n",
        fingerprint = fingerprint()
    );
    let place = directory.path().display().to_string();
    assert_eq!(text(&output).replace(&format!("{place}/"), "").replace("./", ""), expected);

    let output = run(directory.path(), &["keys", "--json"]);
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(object["keys"][1]["fingerprint"], fingerprint());
    assert_eq!(object["keys"][0]["repository"], serde_json::Value::Null);
}

#[test]
fn who_signed_a_file() {
    let directory = project("");
    let key = key_file();
    let key = key.to_str().expect("UTF-8");
    let files = ["one/x86_64/APKINDEX.tar.gz", "one/x86_64/app-1-r0.apk"];
    let output = run(directory.path(), &[&["keys", "--key", key, "--check"][..], &files].concat());
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output).matches(&format!("signed by {KEY_NAME} ({}", fingerprint())).count(), 2);
    // Alpine's own did not.
    let output = run(directory.path(), &["keys", "--check", files[0]]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains(&format!("no known key signed it; it says that {KEY_NAME} did")));
    let output = run(directory.path(), &["keys", "--check", "leanfs.toml"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("leanfs.toml is neither a package nor an index"), "{}", text(&output));
}

/// A key that is given to one repository counts there alone, and there nothing else counts.
#[test]
fn a_key_is_given_to_one_repository() {
    let directory = project("");
    let resolve = |arguments: &[&str]| {
        let common = ["resolve", "app", "--arch", "x86_64", "--cache-dir", "cache", "--repository", "one"];
        run(directory.path(), &[&common[..], arguments].concat())
    };
    let output = resolve(&["--repository-key", "one", "ours.rsa.pub"]);
    assert_eq!(output.status.code(), Some(3), "signed under another name: {}", text(&output));
    fs_err::rename(directory.path().join("ours.rsa.pub"), directory.path().join(KEY_NAME)).expect("renamed");
    let output = resolve(&["--repository-key", "one", KEY_NAME]);
    assert!(output.status.success(), "{}", text(&output));
    let output = resolve(&["--repository-key", "one", KEY_NAME, "--repository", "two"]);
    assert_eq!(output.status.code(), Some(3), "two has no key: {}", text(&output));
    // By its fingerprint, which must be one that is known.
    let output = resolve(&["--key", KEY_NAME, "--repository-key", "one", &fingerprint()]);
    assert!(output.status.success(), "{}", text(&output));
    let output = resolve(&["--repository-key", "one", &fingerprint()]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("no known key has it"), "{}", text(&output));
    let output = resolve(&["--repository-key", "three", KEY_NAME]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("three is none of the repositories: one"), "{}", text(&output));
}

/// Packages of a tagged repository come only when they are asked for with the tag.
#[test]
fn a_tagged_repository() {
    let directory =
        project(&format!("[base]\nrepositories = [\"one\", \"@edge two\"]\nkeys = [{:?}]\n", key_file()));
    let resolve = |name: &str| {
        let output = run(directory.path(), &["resolve", name, "--arch", "x86_64", "--cache-dir", "cache"]);
        (output.status.code(), text(&output))
    };
    assert_eq!(resolve("app"), (Some(0), "app 1-r0: app\n".to_owned()));
    assert_eq!(resolve("app@edge"), (Some(0), "app 2-r0: app@edge\n".to_owned()));
    let (code, text) = resolve("only-two");
    assert_eq!(code, Some(1), "{text}");
    let (code, text) = resolve("only-two@edge");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("only-two 2-r0"), "{text}");
}

/// Format v3 names keys by their id, whatever their files are called.
#[test]
fn who_signed_a_file_of_format_v3() {
    let directory = project("");
    let private = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/leanfs-test.rsa");
    let (private, key) = (private.display().to_string(), key_file().display().to_string());
    fs_err::create_dir(directory.path().join("empty")).expect("made");
    let pack =
        ["pack", "--format", "v3", "--name", "a", "--pkgver", "1-r0", "--arch", "x86_64", "--key", &private];
    let output = run(directory.path(), &[&pack[..], &["-o", "a-1-r0.apk", "empty"]].concat());
    assert!(output.status.success(), "{}", text(&output));
    let output = run(directory.path(), &["keys", "--key", &key, "--check", "a-1-r0.apk"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains(&format!("signed by {KEY_NAME} ({}", fingerprint())), "{}", text(&output));
    let output = run(directory.path(), &["keys", "--check", "a-1-r0.apk"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("it says that the key with the id "), "{}", text(&output));
}
