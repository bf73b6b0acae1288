//! What is told of an image from its manifest: `analyze` and its kin, through the command.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;

use leanfs::report::manifest::Manifest;
use serde_json::Value;
use tempfile::TempDir;

use super::cli::leanfs;
use super::tiny;

/// A directory with a release, and what is assembled from it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        tiny::release(&place.path("release"));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        leanfs(self.0.path(), arguments).output().expect("the binary was built with this test")
    }

    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Assembles the release into `leanfs/`.
    #[track_caller]
    fn assemble(&self, compress: &str) {
        let output = self.run(&assemble(compress));
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.succeed(arguments)).expect("one JSON value")
    }
}

/// The arguments that assemble a release without a network.
fn assemble(compress: &str) -> Vec<&str> {
    let release = ["assemble", "--release", "release", "--arch", "x86_64", "--offline"];
    [&release[..], &["--kernel", "none", "--compress", compress]].concat()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("leanfs prints UTF-8")
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, holds: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for text in holds {
        assert!(stderr.contains(text), "{text:?} in:\n{stderr}");
    }
}

#[test]
fn analyze_adds_up_to_the_byte() {
    let place = Place::new();
    for compress in ["zstd:3", "none"] {
        place.assemble(compress);
        let manifest = Manifest::read(&place.path("leanfs")).expect("it was written");
        let image =
            fs_err::metadata(place.path("leanfs").join(&manifest.outputs[0].name)).expect("it is there");
        for by in ["component", "package", "app", "kind", "file"] {
            let analysis = place.json(&["analyze", "--by", by, "--json"]);
            assert_eq!(analysis["by"], by);
            let sum = |what: &str| -> u64 {
                let rows = analysis["rows"].as_array().expect("rows").iter();
                rows.map(|row| row["sizes"][what].as_u64().expect("a number")).sum()
            };
            assert_eq!(sum("compressed"), image.len(), "{compress} {by}");
            assert_eq!(analysis["all_outputs"], image.len());
            assert_eq!(sum("size"), manifest.files.iter().map(|file| file.size).sum::<u64>());
            assert_eq!(sum("files"), manifest.files.len() as u64);
            assert_eq!(sum("removed"), manifest.removed.len() as u64);
        }
    }
    // Without compression, each share is what the entry takes: a header, the name, the content.
    let files = place.json(&["analyze", "--by", "file", "--json"]);
    let greeting = (files["rows"].as_array().expect("rows").iter())
        .find(|row| row["name"] == "/app/lib/tiny-1/priv/greeting.txt")
        .expect("it is in the image");
    assert_eq!(
        greeting["sizes"]["compressed"],
        (110 + "app/lib/tiny-1/priv/greeting.txt\0".len()).div_ceil(4) * 4 + 8
    );
    assert_eq!(greeting["group"], "application");
}

#[test]
fn analyze_says_it_in_words() {
    let place = Place::new();
    place.assemble("none");
    let table = place.succeed(&["analyze"]);
    assert!(table.starts_with("tiny 1 for x86_64, pruned to level modules; sizes are bytes\n"), "{table}");
    for row in ["\nERTS 15.0 ", "\nOTP applications ", "\n  kernel 10.0 ", "\n  tiny 1 ", "\ninitramfs.cpio "]
    {
        assert!(table.contains(row), "{row:?} in:\n{table}");
    }
    // A manifest alone is enough, and it may stand elsewhere.
    fs_err::rename(place.path("leanfs/manifest.json"), place.path("m.json")).expect("moved");
    assert_eq!(place.succeed(&["analyze", "m.json"]), table);
    let largest = place.succeed(&["analyze", "m.json", "--by", "file", "--top", "1"]);
    assert!(largest.contains("smaller  ") && !largest.contains("greeting.txt"), "{largest}");
}

#[test]
fn what_is_no_output_directory_is_1() {
    let place = Place::new();
    fs_err::write(place.path("old.json"), "{\"format\":1}").expect("written");
    for (directory, holds) in [
        ("release", ["Error: release: no manifest.json", "Hint: assemble an image into it first"]),
        ("nowhere", ["Error: nowhere: cannot be read", "Hint: name the directory"]),
        (
            "old.json",
            ["Error: old.json: format 1, but this leanfs reads format 3", "Hint: assemble the image again"],
        ),
    ] {
        assert_fails(&place.run(&["analyze", directory]), 1, &holds);
    }
}

#[test]
fn why_says_what_brought_a_file_and_what_took_it() {
    let place = Place::new();
    place.assemble("none");
    let greeting = place.succeed(&["why", "greeting.txt"]);
    assert!(greeting.starts_with("/app/lib/tiny-1/priv/greeting.txt\n  6 bytes, "), "{greeting}");
    assert!(greeting.contains("\n  why: "), "{greeting}");
    assert_eq!(place.succeed(&["why", "/app/lib/tiny-1/priv/greeting.txt", "leanfs"]), greeting);

    // Distribution is off.
    let port_mapper = place.json(&["why", "epmd", "--json"]);
    let finding = &port_mapper["findings"][0];
    assert_eq!((&finding["what"], &finding["file"]["rule"]), (&"removed".into(), &"port-mapper".into()));

    let application = place.succeed(&["why", "tiny"]);
    assert!(
        application.contains("tiny 1 (The release and its dependencies)\n  the release lists it\n"),
        "{application}"
    );
}

#[test]
fn why_of_what_is_not_there_is_1_and_names_what_is_similar() {
    let place = Place::new();
    place.assemble("none");
    let output = place.run(&["why", "greting.txt"]);
    assert_fails(
        &output,
        1,
        &["Error: nothing in the image", "called \"greting.txt\"", "Hint: is greeting.txt meant?"],
    );
    let output = place.run(&["why", "\u{1b}[2J", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!text(&output.stderr).contains('\u{1b}'), "{:?}", text(&output.stderr));
    let end: Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    assert_eq!((&end["event"], &end["exit_code"]), (&"error".into(), &1.into()));
}

#[test]
fn diff_shows_what_changed_between_two_runs() {
    let place = Place::new();
    place.assemble("none");
    fs_err::rename(place.path("leanfs"), place.path("before")).expect("moved");
    fs_err::write(place.path("release/lib/tiny-1/priv/greeting.txt"), "hello, world\n").expect("written");
    fs_err::write(place.path("release/lib/tiny-1/priv/more.txt"), "more\n").expect("written");
    place.assemble("none");

    let text = place.succeed(&["diff", "before", "leanfs"]);
    assert!(text.contains("\n  grew     tiny 1  "), "{text}");
    assert!(text.contains("\n  came     /app/lib/tiny-1/priv/more.txt  "), "{text}");
    assert!(text.contains("\n  grew     /app/lib/tiny-1/priv/greeting.txt  "), "{text}");

    let manifests =
        ["before", "leanfs"].map(|name| Manifest::read(&place.path(name)).expect("it was written"));
    let difference = place.json(&["diff", "before/manifest.json", "leanfs/manifest.json", "--json"]);
    assert_eq!(difference["outputs"][0]["before"], manifests[0].outputs[0].size);
    assert_eq!(difference["outputs"][0]["after"], manifests[1].outputs[0].size);
    assert_eq!(difference["after"]["compressed"], manifests[1].outputs[0].size);
    let changed = difference["files"]["changed"].as_array().expect("a list");
    let sizes: Vec<_> =
        changed.iter().map(|change| (&change["before"]["size"], &change["after"]["size"])).collect();
    assert_eq!(sizes, [(&Value::Null, &5.into()), (&6.into(), &13.into())]);

    let same = place.succeed(&["diff", "leanfs", "leanfs"]);
    assert!(!same.contains("grew") && same.contains("of the same size"), "{same}");
    assert_fails(
        &place.run(&["diff", "leanfs", "nowhere"]),
        1,
        &["Error: nowhere: cannot be read", "Hint: "],
    );
}

/// Everything in the output directory, by name.
fn outputs(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let entries = fs_err::read_dir(place.path("leanfs")).expect("it is there");
    entries
        .map(|entry| {
            let entry = entry.expect("readable");
            let bytes = fs_err::read(entry.path()).expect("readable");
            (entry.file_name().into_string().expect("leanfs writes plain names"), bytes)
        })
        .collect()
}

#[test]
fn an_image_that_is_too_large_is_1_and_changes_nothing() {
    let place = Place::new();
    let limit = |text: &str| {
        fs_err::write(place.path("leanfs.toml"), format!("[limits]\n{text}\n")).expect("written");
    };
    limit("image = \"10 kB\"");
    let failed = place.run(&assemble("none"));
    assert_fails(
        &failed,
        1,
        &[
            "Error: the image is larger than it may be\nCaused by: initramfs.cpio: ",
            "more than the limit `image` of 10,000\n  its largest parts are:\n    ",
            " PID 1\n",
            "Hint: nothing was written",
        ],
    );
    assert!(!place.path("leanfs").exists(), "nothing is left of a run that failed");

    limit("image = \"100 kB\"\ntotal = \"100 kB\"");
    place.assemble("none");
    let before = outputs(&place);
    assert_eq!(before.keys().collect::<Vec<_>>(), ["initramfs.cpio", "manifest.json"]);

    fs_err::write(place.path("release/lib/tiny-1/priv/large.bin"), vec![7; 80_000]).expect("written");
    let failed = place.run(&[&assemble("none")[..], &["--json"]].concat());
    assert_fails(
        &failed,
        1,
        &[
            "`image` of 100,000\n  initramfs.cpio: 1",
            "`total` of 100,000\n",
            "has grown:\n    +80,1",
            " tiny 1\n",
        ],
    );
    assert!(outputs(&place) == before, "a run that failed has changed the output");
    let last = text(&failed.stdout).lines().last().map(str::to_owned).expect("an end");
    let end: Value = serde_json::from_str(&last).expect("one JSON value");
    assert_eq!(end["error"], "the image is larger than it may be");

    // Compressed otherwise it fits.
    place.assemble("zstd:3");
    assert_eq!(outputs(&place).keys().collect::<Vec<_>>(), ["initramfs.cpio.zst", "manifest.json"]);
}

#[test]
fn analyze_writes_a_page() {
    let place = Place::new();
    place.assemble("none");
    let said = place.succeed(&["analyze", "--html", "report.html"]);
    assert!(
        said.starts_with("report.html: a page of ") && said.ends_with(" kB, to be opened in a browser\n"),
        "{said}"
    );
    let page = fs_err::read_to_string(place.path("report.html")).expect("it was written");
    let manifest = Manifest::read(&place.path("leanfs")).expect("it was written");
    assert!(page == leanfs::report::html::page(&manifest));

    let end = place.json(&["analyze", "--html", "report.html", "--json"]);
    assert_eq!((&end["html"], &end["size"]), (&"report.html".into(), &page.len().into()));
    let failed = place.run(&["analyze", "--html", "nowhere/report.html"]);
    assert_fails(&failed, 1, &["Error: nowhere/report.html can't be written"]);
    assert_fails(&place.run(&["analyze", "--html", "x.html", "--by", "file"]), 2, &["cannot be used with"]);
}
