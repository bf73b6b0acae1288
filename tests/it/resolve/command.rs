//! `leanfs resolve --installed`.

use std::path::PathBuf;
use std::process::Output;

use leanfs::apk::write::write_index;
use serde_json::Value;
use tempfile::TempDir;

use super::super::cli::leanfs;
use super::index;

/// A directory with a repository and the root of a system.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        for directory in ["repo/x86_64", "root/lib/apk/db", "root/etc/apk"] {
            fs_err::create_dir_all(place.path(directory)).expect("made");
        }
        let packages = index(&[
            "app 2|D:lib>=2",
            "lib 2",
            "lib 1",
            "other 1|D:lib",
            "tool 1",
            "tool-doc 1|i:tool docs",
            "docs 1",
        ]);
        let mut file = Vec::new();
        write_index(&packages.entries, "for a test", None, &mut file).expect("written");
        fs_err::write(place.path("repo/x86_64/APKINDEX.tar.gz"), file).expect("written");
        let installed = index(&["app 1|D:lib", "lib 1", "gone 1"]);
        let database: String =
            installed.entries.iter().map(|entry| format!("{entry}F:etc\nR:x\n\n")).collect();
        fs_err::write(place.path("root/lib/apk/db/installed"), database).expect("written");
        fs_err::write(place.path("root/etc/apk/world"), "app\ngone\n").expect("written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let common = ["resolve", "--repository", "repo", "--allow-untrusted", "--arch", "x86_64"];
        let arguments = [&common[..], arguments].concat();
        leanfs(self.0.path(), &arguments).output().expect("the binary was built with this test")
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("leanfs prints UTF-8")
    }

    fn fail(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let text = String::from_utf8(output.stderr).expect("leanfs prints UTF-8");
        // Unsigned repositories are warned of.
        let begin = text.find("Error:").expect("an error");
        text[begin..].to_owned()
    }
}

#[test]
fn changes_are_shown_in_their_order_with_what_wants_them() {
    let place = Place::new();
    for (arguments, expected) in [
        (&["tool"][..], "Installing tool (1): tool\n"),
        (
            &["tool", "docs"],
            "Installing docs (1): docs\nInstalling tool (1): tool\nInstalling tool-doc (1): tool → install_if tool docs\n",
        ),
        (&["app"], "Nothing is to be done: 3 packages are installed\n"),
        (&["--upgrade", "app"], "Upgrading lib (1 -> 2): app → lib>=2\nUpgrading app (1 -> 2): app\n"),
        (&["--upgrade"], "Upgrading lib (1 -> 2): app → lib>=2\nUpgrading app (1 -> 2): app\n"),
        (&["--del", "app"], "Purging app (1)\nPurging lib (1)\n"),
        (&["--del", "app", "--del", "gone"], "Purging app (1)\nPurging lib (1)\nPurging gone (1)\n"),
        (&["--del", "lib"], "lib stays, because of app\nUpgrading lib (1 -> 2): app → lib\n"),
        (&[], "Nothing is to be done: 3 packages are installed\n"),
    ] {
        let text = place.succeed(&[&["--installed", "root"], arguments].concat());
        assert_eq!(text, expected, "{arguments:?}");
    }
    // The database itself, with its root's world and with another one.
    let database = ["--installed", "root/lib/apk/db/installed"];
    assert_eq!(place.succeed(&[&database[..], &["tool"]].concat()), "Installing tool (1): tool\n");
    fs_err::write(place.path("world"), "app>1").expect("written");
    assert_eq!(
        place.succeed(&[&database[..], &["--world", "world"]].concat()),
        "Purging gone (1)\nUpgrading lib (1 -> 2): app>1 → app → lib>=2\nUpgrading app (1 -> 2): app>1\n"
    );
}

#[test]
fn changes_as_json() {
    let place = Place::new();
    let text = place.succeed(&["--installed", "root", "--upgrade", "--json"]);
    let result: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    let change = &result["changes"][0];
    assert_eq!((&change["kind"], &change["name"]), (&"upgrade".into(), &"lib".into()));
    assert_eq!((&change["from"], &change["to"]), (&"1".into(), &"2".into()));
    assert!(change["repository"].as_str().expect("a repository").ends_with("repo"), "{change}");
    assert_eq!(change["wanted_by"], serde_json::json!(["app", "lib>=2"]));
    assert_eq!(result["world"], serde_json::json!(["app", "gone"]));
    assert_eq!(result["unavailable"], serde_json::json!(["gone"]));
    assert_eq!(result["packages"].as_array().expect("packages").len(), 3);
}

#[test]
fn what_can_not_be_done() {
    let place = Place::new();
    let root = ["--installed", "root"];
    for (arguments, code, expected) in [
        (
            &["lib>2"][..],
            1,
            "Error: the packages can't be selected:\n    lib-1 can't be installed\n      wanted by app → lib\n      \
             but ruled out by lib>2\n      instead lib-2: ruled out by lib>2\n\
             Hint: no repository has what lib>2 asks for; the nearest is lib=2\n",
        ),
        (&["--del", "lost"], 1, "Error: in no repository, and not installed: lost\n"),
        (
            &["--del", "gnoe"],
            1,
            "Error: in no repository, and not installed: gnoe\nHint: did you mean gone?\n",
        ),
    ] {
        let text = place.fail(&[&root[..], arguments].concat(), code);
        assert!(text.starts_with(expected), "{text}");
    }
    fs_err::write(place.path("database"), "hello\n").expect("written");
    fs_err::write(place.path("world"), "a b@\n").expect("written");
    for (arguments, code, expected) in [
        (&["--installed", "database"][..], 1, "Error: database is damaged\nCaused by: installed, line 1"),
        (&["--installed", "nowhere"], 2, "Error: nowhere can't be read\n"),
        (&["--installed", "root", "--world", "world"], 1, "Error: world is no world\n"),
    ] {
        let text = place.fail(arguments, code);
        assert!(text.starts_with(expected), "{text}");
    }
    fs_err::write(place.path("database"), "").expect("written");
    let text = place.fail(&["--installed", "database"], 2);
    assert_eq!(
        text,
        "Error: what was asked for is not known: database is in no root directory\nHint: give the file with `--world`\n"
    );
}
