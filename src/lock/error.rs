//! What can be wrong with a `leanfs.lock`.

use std::path::PathBuf;

/// Something is wrong in a `leanfs.lock`, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It is no TOML, or something in it can't be what it should be.
    #[error("{}:{line}:{column}: {message}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What was found, and what may stand there.
        message: String,
    },
    /// Two branches were merged and nobody has decided between them.
    #[error("{}:{line}: a conflict of a merge stands there, undecided", .path.display())]
    Conflict {
        /// The file.
        path: PathBuf,
        /// Where the first one begins, counted from 1.
        line: usize,
    },
    /// A newer leanfs wrote it.
    #[error(
        "{}:{line}: its format is {found}, and this leanfs knows formats up to {}",
        .path.display(), super::FORMAT
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The format.
        found: i64,
    },
    /// The settings are not those whose hash stands beside them.
    #[error(
        "{}:{line}: the settings of {arch} are not those that were locked: somebody changed them by hand",
        .path.display()
    )]
    Edited {
        /// The file.
        path: PathBuf,
        /// Of the hash, counted from 1.
        line: usize,
        /// The architecture.
        arch: crate::arch::Arch,
    },
}

impl LockError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Malformed { .. } => {
                "take the file from version control again, or remove it and run `leanfs lock`".to_owned()
            }
            Self::Conflict { .. } => {
                "take either side whole (`git checkout --ours leanfs.lock`) and run `leanfs lock`, which adds what the \
                 recipe wants beside it"
                    .to_owned()
            }
            Self::Newer { .. } => {
                "use the leanfs that wrote it, or remove it and run `leanfs lock`, which may choose newer packages"
                    .to_owned()
            }
            Self::Edited { .. } => "run `leanfs lock`, which makes it fit leanfs.toml".to_owned(),
        }
    }
}
