//! Why a kernel can't be configured or built.

use std::io;
use std::path::PathBuf;

use super::super::config::{CatalogError, Dropped, KconfigError};
use super::tools::Tool;
use crate::arch::Arch;
use crate::archive::ArchiveError;

/// Why a kernel can't be configured or built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A file or directory can't be read or written.
    #[error("can't {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The archive can't be unpacked.
    #[error("{} can't be unpacked", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ArchiveError,
    },
    /// The hash is another one.
    #[error("{} has the SHA-256 {found}, where {expected} is expected", .path.display())]
    HashDiffers {
        /// The archive.
        path: PathBuf,
        /// What was asked for, in hexadecimal.
        expected: String,
        /// What it is.
        found: String,
    },
    /// What was given holds no kernel.
    #[error("{} is no kernel source: {problem}", .path.display())]
    NoSource {
        /// The archive or directory.
        path: PathBuf,
        /// What is missing or wrong.
        problem: String,
    },
    /// A source that was built in can't be used for builds elsewhere.
    #[error("the source {} has been built in: it holds {found}", .path.display())]
    NotClean {
        /// The directory.
        path: PathBuf,
        /// A file that a build left.
        found: &'static str,
    },
    /// A path that the kernel's makefiles can't cope with.
    #[error("{} has a space or a colon in its path, which the kernel's makefiles can't cope with", .path.display())]
    BadPath {
        /// The path.
        path: PathBuf,
    },
    /// Programs or headers are not there.
    #[error("this machine lacks what builds a kernel: {}", listed(.missing))]
    MissingTools {
        /// What is missing.
        missing: Vec<Tool>,
    },
    /// The image's kernel can't be a kernel of the other architecture.
    #[error("{arch} has no kernel image that this source would build: {} is not there after the build", .path.display())]
    NoImage {
        /// The architecture.
        arch: Arch,
        /// Where it should be.
        path: PathBuf,
    },
    /// No such fragments.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The Kconfig files can't be read.
    #[error("the kernel's Kconfig files can't be read")]
    Kconfig(#[from] KconfigError),
    /// Not everything that was asked for is in the configuration.
    #[error("the kernel's configuration lacks what was asked for:{}", lines(.dropped))]
    Dropped {
        /// What was dropped or changed, and why.
        dropped: Vec<Dropped>,
    },
    /// A program can't be started.
    #[error("{} can't be started", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `make` failed.
    #[error("`make {target}` failed ({status}); the end of what it said, which is in {}:\n{tail}", .log.display())]
    MakeFailed {
        /// What was made.
        target: String,
        /// How it ended.
        status: String,
        /// Where all of it stands.
        log: PathBuf,
        /// The last lines, escaped.
        tail: String,
    },
    /// The process was told to end.
    #[error("interrupted by signal {signal}")]
    Interrupted {
        /// The signal.
        signal: i32,
    },
    /// Signals can't be caught.
    #[error("signals can't be caught")]
    Signals(#[source] io::Error),
}

fn listed(missing: &[Tool]) -> String {
    missing.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn lines(dropped: &[Dropped]) -> String {
    dropped.iter().map(|dropped| format!("\n  {dropped}")).collect()
}

impl BuildError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::MissingTools { missing } => {
                let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package.as_str()).collect();
                packages.sort_unstable();
                packages.dedup();
                format!("on Debian: apt-get install {}", packages.join(" "))
            }
            Self::NoSource { .. } => {
                "give a tarball of a kernel's source, like Debian's /usr/src/linux-source-6.1.tar.xz (package \
                 linux-source) or one of kernel.org, or a directory where one was unpacked"
                    .to_owned()
            }
            Self::Catalog(error) => return error.hint(),
            Self::NotClean { path, .. } => format!("run `make mrproper` in {}", path.display()),
            Self::BadPath { .. } => "name another directory with --cache-dir".to_owned(),
            Self::Dropped { dropped } if dropped.iter().any(|dropped| dropped.asked.place.fragment.contains('/')) => {
                "mend your fragment; `# leanfs: optional` (or `since 6.2`, `before 6.9`, `on aarch64`) before a line \
                 says that a kernel may do without it"
                    .to_owned()
            }
            Self::Dropped { .. } => {
                "give what is missing in a fragment of your own, or leave the fragment out that asks for it; this \
                 version of the kernel may be newer than the fragments"
                    .to_owned()
            }
            Self::HashDiffers { .. } => "the file is damaged, or another one than was meant".to_owned(),
            _ => return None,
        })
    }
}
