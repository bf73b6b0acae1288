//! Image formats: each written from a [`crate::tree::ValidTree`].
//!
//! Invariant: this room knows trees and nothing of packages, releases or Erlang.

pub mod compress;
pub mod cpio;
pub mod disk;
pub mod erofs;
pub mod ext4;
mod hashing;
pub mod oci;
pub mod output;
pub mod share;
pub mod squashfs;
pub mod tar;
pub mod target;

use std::io;

use crate::tree::TreePath;

/// An image that can't be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Something in the tree has no place in this format.
    #[error("{format} can't hold {path}: {reason}")]
    CannotHold {
        /// The format.
        format: &'static str,
        /// The node.
        path: TreePath,
        /// What is too large, too long …
        reason: String,
    },
    /// The image was given a size that is too small for what it holds.
    #[error("{format} needs {needed} bytes, and its size was set to {size} bytes")]
    TooSmall {
        /// The format.
        format: &'static str,
        /// What it needs at least.
        needed: u64,
        /// What it may have.
        size: u64,
    },
    /// Settings that this format doesn't have or that don't go together.
    #[error("{format}: {reason}")]
    Settings {
        /// The format.
        format: &'static str,
        /// What is wrong with them, and what may stand there.
        reason: String,
    },
    /// A file of the tree can't be read.
    #[error("the content of {path} can't be read")]
    Content {
        /// The file.
        path: TreePath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that an image is made of, and that is no file of the tree, can't be read.
    #[error("{what} can't be read")]
    Input {
        /// What it is.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A compressor refuses its settings.
    #[error("{compressor} can't be set up: {reason}")]
    Compressor {
        /// Which.
        compressor: &'static str,
        /// Why.
        reason: String,
    },
    /// The output can't be written.
    #[error("{} can't be written", .path.display())]
    Output {
        /// The file or directory.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another run writes to the same directory.
    #[error("another run of leanfs is writing to {}", .0.display())]
    Busy(std::path::PathBuf),
    /// The image can't be written (the writer below says where to).
    #[error("the image can't be written")]
    Write(#[source] io::Error),
}

impl ImageError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Output { source, path } if source.kind() == io::ErrorKind::StorageFull => Some(format!(
                "the disk that holds {} is full; nothing that was there before has been changed",
                path.display()
            )),
            Self::Content { source, .. } | Self::Input { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound
                ) =>
            {
                Some("was the file changed while leanfs was running? run it again".to_owned())
            }
            Self::TooSmall { needed, .. } => {
                Some(format!("a size of {} MiB is enough", needed.div_ceil(1 << 20)))
            }
            Self::Busy(_) => Some("wait for it, or choose another directory with -o".to_owned()),
            _ => None,
        }
    }
}
