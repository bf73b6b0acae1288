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
    /// An image (or a file beside it) is complete.
    ImageWritten {
        /// Its file name in the output directory.
        name: String,
        /// Its size in bytes.
        size: u64,
    },
}
