//! `--json`: what is printed is what `docs/events.md` says.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;

use serde_json::Value;

use super::Project;
use crate::cli::leanfs;

/// The keys of each heading of the document, by the heading.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text =
        fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/events.md")).expect("it is there");
    let mut sections = BTreeMap::new();
    let mut heading = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("### ") {
            heading = name.replace('`', "");
        } else if let Some(row) = line.strip_prefix("| `") {
            let key = row.split('`').next().expect("something").to_owned();
            sections.entry(heading.clone()).or_insert_with(BTreeSet::new).insert(key);
        }
    }
    sections
}

/// The objects of an output, all of which are as documented: with all keys and no others, in the order of time.
#[track_caller]
fn objects(verb: &str, output: &Output) -> Vec<Value> {
    let sections = documented();
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let mut before = 0;
    let mut objects = Vec::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).expect("each line is JSON");
        let object = value.as_object().expect("an object");
        let event = object["event"].as_str().expect("a name");
        let ms = object["ms"].as_u64().expect("a time");
        assert!(ms >= before, "time goes back: {line}");
        before = ms;
        let section = if event == "result" { format!("result of {verb}") } else { event.to_owned() };
        let mut expected = sections.get(&section).unwrap_or_else(|| panic!("no {section}")).clone();
        expected.extend(["event", "ms"].map(str::to_owned));
        let found: BTreeSet<String> = object.keys().cloned().collect();
        assert_eq!(found, expected, "{line}");
        objects.push(value);
    }
    objects
}

fn names(objects: &[Value]) -> BTreeSet<&str> {
    objects.iter().filter_map(|object| object["event"].as_str()).collect()
}

#[test]
fn objects_are_as_documented() {
    let project = Project::new();
    project.server.fault("/main/x86_64/APKINDEX.tar.gz", crate::server::Fault::Status(503, ""));
    // Slow enough that progress is told.
    project.server.fault(
        "/main/x86_64/noise-1.0-r0.apk",
        crate::server::Fault::Trickle(100_000, std::time::Duration::from_millis(250)),
    );
    let mut command = project.assemble(&["--json", "--initramfs", "--ext4", "--compress", "zstd:19"]);
    let assembled = command.output().expect("it runs");
    let events = objects("assemble", &assembled);
    assert!(assembled.status.success(), "{}", String::from_utf8_lossy(&assembled.stderr));
    assert_eq!(assembled.stderr, b"", "stdout says it all");
    let wanted = [
        "stage",
        "stage-progress",
        "download-started",
        "download-progress",
        "download-retry",
        "download-finished",
        "package-selected",
        "image-started",
        "image-written",
        "result",
    ];
    let found = names(&events);
    for name in wanted {
        assert!(found.contains(name), "no {name} in {found:?}");
    }
    assert_eq!(events.last().map(|event| &event["event"]), Some(&"result".into()));
    let last = |name: &str| events.iter().rfind(|event| event["event"] == name).expect("it came");
    assert_eq!(last("stage-progress")["done"], last("stage-progress")["total"]);

    // From the cache, and wrong ones.
    let resolve = |flags: &[&str]| {
        let mut command = leanfs(&project.path(""), &["resolve", "noise", "--json", "--arch", "x86_64"]);
        command.args(["--repository", &project.server.url("/main"), "--cache-dir", "cache"]).args(flags);
        command.output().expect("it runs")
    };
    let key = crate::repo::key_file();
    let output = resolve(&["--key", key.to_str().expect("UTF-8")]);
    assert!(names(&objects("resolve", &output)).contains("cache-hit"));
    let output = resolve(&[]);
    assert_eq!(output.status.code(), Some(3));
    let events = objects("resolve", &output);
    assert_eq!(events.last().map(|event| &event["exit_code"]), Some(&3.into()));

    let private = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/leanfs-test.rsa");
    let package = "x-1-r0.apk";
    for arguments in [
        &["pack", "release", "--name", "x", "--pkgver", "1-r0", "-o", package, "--key", private][..],
        &["index", package, "-o", "APKINDEX.tar.gz", "--key", private],
        &["keys"],
        &["check", "leanfs"],
        &["analyze", "leanfs"],
        &["why", "noise", "leanfs"],
        &["diff", "leanfs", "leanfs"],
        &["scripts", "leanfs"],
    ] {
        let output = leanfs(&project.path(""), &[arguments, &["--json"]].concat()).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let events = objects(arguments[0], &output);
        assert!(names(&events).contains("result"), "{arguments:?}");
    }
}
