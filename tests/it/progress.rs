//! What is shown while leanfs works: on terminals of all kinds, elsewhere, and to programs; and how it ends when a signal
//! tells it to.

mod ending;
mod events;
mod screen;

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use self::screen::{Session, shown};
use super::cli::leanfs;
use super::repo::{TestRepo, key_file};
use super::server::Server;
use super::tiny;

/// A project with a package on a server.
struct Project {
    directory: TempDir,
    server: Server,
}

impl Project {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        tiny::release(&directory.path().join("release"));
        let noise = (0..300_000_u32).map(|number| (number.wrapping_mul(number) >> 9) as u8);
        let repo =
            TestRepo::new().package("noise", "1.0-r0").file("usr/share/noise", noise.collect::<Vec<u8>>());
        repo.build(&directory.path().join("repository"));
        let server = Server::http();
        server.put_directory("/main", directory.path().join("repository"));
        Self { directory, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// With an empty cache.
    fn assemble(&self, flags: &[&str]) -> Command {
        let _ = std::fs::remove_dir_all(self.path("cache"));
        let url = self.server.url("/main");
        let key = key_file();
        let common = ["assemble", "--release", "release", "--arch", "x86_64", "--kernel", "none"];
        let wanted = ["--package", "noise", "--repository", &url, "--key", key.to_str().expect("UTF-8")];
        let mut command = leanfs(self.directory.path(), &[&common[..], &wanted, flags].concat());
        command.env("LEANFS_CACHE_DIR", self.path("cache")).env("TERM", "xterm").env("LANG", "C.UTF-8");
        command
    }
}

/// The lines of finished stages.
const STAGES: [&str; 6] = [
    "Read the release (",
    "Selected packages, downloaded",
    "Fetched and verified, downloaded",
    "Filled the tree",
    "Pruned (",
    "Wrote ",
];

#[test]
fn a_terminal_shows_finished_stages_and_the_summary_in_the_end() {
    let project = Project::new();
    for columns in [200, 80, 40, 20, 7] {
        let command = project.assemble(&["--initramfs", "--ext4", "--compress", "zstd"]);
        let (status, bytes) = Session::start(&command, columns).end();
        let lines = shown(&bytes, columns.into());
        assert!(status.success(), "{columns}: {lines:#?}");
        assert!(bytes.contains(&b'\r'), "{columns}: something moves");
        // On the narrow ones lines go on below.
        let text = lines.concat();
        let mut place = 0;
        for stage in STAGES {
            let squeezed = |text: &str| text.replace(' ', "");
            let (text, stage) = (squeezed(&text), squeezed(stage));
            let found = text[place..].find(&stage);
            place += found.unwrap_or_else(|| panic!("{columns}: no {stage:?} in {lines:#?}"));
            assert_eq!(text.matches(&stage).count(), 1, "{columns}: {stage:?} in {lines:#?}");
        }
        for moving in
            ["Reading the", "Selecting", "Fetching and", "Filling the", "Pruning", "Writing", " left", "[="]
        {
            assert!(!text.contains(moving), "{columns}: {moving:?} is still there: {lines:#?}");
        }
        assert!(text.contains("tiny"), "{columns}: the summary: {lines:#?}");
    }
}

#[test]
fn files_and_images_have_bars_that_say_how_far_they_are() {
    let project = Project::new();
    // Slow enough to be seen.
    project.server.misbehave(Some(Box::new(|path| {
        path.ends_with(".apk")
            .then(|| super::server::Fault::Trickle(10_000, std::time::Duration::from_millis(90)))
    })));
    let (status, bytes) = Session::start(&project.assemble(&["--compress", "none"]), 120).end();
    assert!(status.success());
    let text = String::from_utf8_lossy(&bytes);
    for part in ["noise-1.0-r0.apk", "[=", " kB of ", "/s", " left", "Fetching and verifying"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn characters_are_those_of_the_locale() {
    let project = Project::new();
    for (locale, ascii) in [("C.UTF-8", false), ("C", true), ("de_DE.ISO-8859-1", true)] {
        let mut command = project.assemble(&["--compress", "none"]);
        command.env("LANG", locale);
        let (status, bytes) = Session::start(&command, 80).end();
        assert!(status.success());
        assert_eq!(bytes.is_ascii(), ascii, "{locale}: {}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn where_no_cursor_moves_there_are_plain_lines() {
    let project = Project::new();
    for terminal in ["dumb", ""] {
        let mut command = project.assemble(&["--compress", "none"]);
        command.env("TERM", terminal);
        let (status, bytes) = Session::start(&command, 80).end();
        let text = String::from_utf8(bytes).expect("UTF-8").replace("\r\n", "\n");
        assert!(status.success(), "{text}");
        assert!(!text.contains(['\r', '\x1b']), "{terminal:?}: {text:?}");
        assert!(
            STAGES.iter().all(|stage| text.contains(&format!("\n{stage}")) || text.starts_with(stage)),
            "{text}"
        );
    }
    let output = project.assemble(&["--compress", "none"]).output().expect("it runs");
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!text.contains(['\r', '\x1b']), "{text:?}");
    assert_eq!(text.lines().count(), STAGES.len(), "{text}");
    for (line, stage) in text.lines().zip(STAGES) {
        assert!(line.starts_with(stage) && line.ends_with(" s)"), "{line}");
    }
}

#[test]
fn colours_are_for_those_who_want_them() {
    let project = Project::new();
    let failing = ["assemble", "--release", "nothing", "--kernel", "none"];
    let colours = |name: &str, value: &str, flags: &[&str]| {
        let mut command = leanfs(&project.path(""), &[&failing[..], flags].concat());
        command.env("TERM", "xterm").env(name, value);
        let (status, bytes) = Session::start(&command, 80).end();
        assert_eq!(status.code(), Some(1));
        String::from_utf8_lossy(&bytes).contains("\x1b[31;1m")
    };
    assert!(colours("X", "x", &[]));
    assert!(!colours("NO_COLOR", "1", &[]));
    assert!(!colours("TERM", "dumb", &[]));
    assert!(colours("NO_COLOR", "1", &["--color", "always"]));
    assert!(!colours("X", "x", &["--color", "never"]));
}

#[test]
fn quiet_says_only_what_is_wrong() {
    let project = Project::new();
    let output = project.assemble(&["--compress", "none", "-q"]).output().expect("it runs");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()), "");
    let (status, bytes) = Session::start(&project.assemble(&["--compress", "none", "-q"]), 80).end();
    assert!(status.success());
    assert_eq!(String::from_utf8_lossy(&bytes), "");
    let output =
        project.assemble(&["--compress", "none", "-q", "--prune", "apps", "--package", "none"]).output();
    let output = output.expect("it runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Error: "));
    let output = project.assemble(&["--compress", "none", "-v"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("  package noise 1.0-r0, wanted by noise"), "{text}");
    assert!(text.contains("  download: http://"), "{text}");
}
