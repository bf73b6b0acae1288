//! Progress, as typed events.

use std::fmt;

/// Receives what happens while an image is assembled. Events come from several threads.
pub trait Reporter: Sync {
    /// Takes one event. It should return quickly: work waits for it.
    fn report(&self, event: Event);
}

/// A reporter that drops everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _event: Event) {}
}

/// The stages of the pipeline, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Runs the project's `mix release`.
    Build,
    /// Reads the release.
    Release,
    /// Fetches the indexes of the repositories and selects packages.
    Resolve,
    /// Fetches and verifies packages and tarballs.
    Fetch,
    /// Fills the tree.
    Layers,
    /// Takes from the tree what the release doesn't need.
    Prune,
    /// Writes the images.
    Image,
    /// Builds a kernel.
    Kernel,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Build => "build",
            Self::Release => "release",
            Self::Resolve => "resolve",
            Self::Fetch => "fetch",
            Self::Layers => "layers",
            Self::Prune => "prune",
            Self::Image => "image",
            Self::Kernel => "kernel",
        })
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A stage begins; the one before is over.
    Stage {
        /// Which.
        stage: Stage,
    },
    /// Some more is done of what a stage does: packages are there and verified, files are pruned. Not every stage can
    /// tell.
    StageProgress {
        /// Whose work it is; a kernel's package is fetched before the other packages are selected.
        stage: Stage,
        /// Bytes that are done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A download begins.
    DownloadStarted {
        /// What is fetched (the file name), the same in the following events.
        name: String,
        /// Where from, without credentials.
        url: String,
        /// How many bytes it should have, where that is known.
        size: Option<u64>,
    },
    /// Some more of a download has come.
    DownloadProgress {
        /// As in [`Event::DownloadStarted`].
        name: String,
        /// Bytes so far, those of an earlier interrupted try included.
        received: u64,
    },
    /// A try failed and there will be another.
    DownloadRetry {
        /// As in [`Event::DownloadStarted`].
        name: String,
        /// Why.
        reason: String,
        /// Milliseconds until the next try.
        wait_ms: u64,
    },
    /// A download is complete and verified.
    DownloadFinished {
        /// As in [`Event::DownloadStarted`].
        name: String,
        /// How many bytes it had.
        size: u64,
    },
    /// A file was found in the cache, verified, and not downloaded.
    CacheHit {
        /// Its file name.
        name: String,
    },
    /// A package is part of the image.
    PackageSelected {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// The chain of names that wanted it, from the request to the package.
        wanted_by: Vec<String>,
    },
    /// Something the user should know that is not wrong: a choice that was made, something left out.
    Note {
        /// One sentence.
        text: String,
    },
    /// Something that may be wrong.
    Warning {
        /// One sentence.
        text: String,
    },
    /// An image (or a file beside it) is begun. Several are written at a time.
    ImageStarted {
        /// Its file name in the output directory, the same in the following events.
        name: String,
        /// How many bytes of files go into it, before compression.
        total: u64,
    },
    /// Some more of an image is written.
    ImageProgress {
        /// As in [`Event::ImageStarted`].
        name: String,
        /// Bytes of files that are in it.
        done: u64,
        /// Bytes of files in all.
        total: u64,
    },
    /// A kernel's build has come further.
    KernelProgress {
        /// Commands of the build that have begun.
        steps: u64,
        /// The file that one of them makes.
        file: String,
    },
    /// An image (or a file beside it) is complete.
    ImageWritten {
        /// Its file name in the output directory.
        name: String,
        /// Its size in bytes.
        size: u64,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/events.md");

    /// The keys in the table of a section.
    fn documented(section: &str) -> BTreeSet<&str> {
        let start = DOCUMENT.find(&format!("\n### `{section}`\n")).unwrap_or_else(|| panic!("no {section}"));
        let rest = &DOCUMENT[start + 5..];
        let lines = rest.lines().skip(1).take_while(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
    }

    /// One of each. A new variant doesn't compile here until it stands in the list and in the document.
    fn all() -> Vec<Event> {
        let text = String::new;
        let stage = Stage::Fetch;
        let events = vec![
            Event::Stage { stage },
            Event::StageProgress { stage, done: 1, total: 2 },
            Event::DownloadStarted { name: text(), url: text(), size: None },
            Event::DownloadProgress { name: text(), received: 1 },
            Event::DownloadRetry { name: text(), reason: text(), wait_ms: 1 },
            Event::DownloadFinished { name: text(), size: 1 },
            Event::CacheHit { name: text() },
            Event::PackageSelected { name: text(), version: text(), wanted_by: Vec::new() },
            Event::Note { text: text() },
            Event::Warning { text: text() },
            Event::ImageStarted { name: text(), total: 1 },
            Event::ImageProgress { name: text(), done: 1, total: 2 },
            Event::KernelProgress { steps: 1, file: text() },
            Event::ImageWritten { name: text(), size: 1 },
        ];
        for event in &events {
            match event {
                Event::Stage { .. }
                | Event::StageProgress { .. }
                | Event::DownloadStarted { .. }
                | Event::DownloadProgress { .. }
                | Event::DownloadRetry { .. }
                | Event::DownloadFinished { .. }
                | Event::CacheHit { .. }
                | Event::PackageSelected { .. }
                | Event::Note { .. }
                | Event::Warning { .. }
                | Event::ImageStarted { .. }
                | Event::ImageProgress { .. }
                | Event::KernelProgress { .. }
                | Event::ImageWritten { .. } => {}
            }
        }
        events
    }

    #[test]
    fn every_event_is_documented_with_its_keys() {
        let mut names = BTreeSet::new();
        for event in all() {
            let Value::Object(mut object) = serde_json::to_value(&event).expect("JSON") else {
                panic!("{event:?} is no object");
            };
            let Some(Value::String(name)) = object.remove("event") else { panic!("{event:?} has no name") };
            let keys: BTreeSet<&str> = object.keys().map(String::as_str).collect();
            assert_eq!(keys, documented(&name), "{name}");
            assert!(names.insert(name));
        }
        let (_, rest) = DOCUMENT.split_once("\n## While it works\n").expect("the section");
        let (section, _) = rest.split_once("\n## ").expect("it ends");
        let headings: BTreeSet<String> = section
            .lines()
            .filter_map(|line| Some(line.strip_prefix("### `")?.strip_suffix('`')?.to_owned()))
            .collect();
        assert_eq!(headings, names);
    }

    #[test]
    fn every_stage_is_documented() {
        for stage in [
            Stage::Build,
            Stage::Release,
            Stage::Resolve,
            Stage::Fetch,
            Stage::Layers,
            Stage::Prune,
            Stage::Image,
            Stage::Kernel,
        ] {
            assert!(DOCUMENT.contains(&format!("`{stage}`")), "{stage}");
            assert_eq!(serde_json::to_value(stage).expect("JSON"), stage.to_string());
        }
    }
}
