//! Where the files of an image go: a directory, or an archive.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::model::blob_path;
use crate::image::ImageError;
use crate::image::hashing::Hashing;
use crate::image::output::DirectoryWriter;
use crate::image::tar;
use crate::tree::{Content, Metadata, Node, Origin, Tree, TreePath};

/// What a blob came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) sha256: [u8; 32],
    pub(super) size: u64,
}

/// Writes a blob, once.
pub(super) type WriteBlob<'a> = dyn FnMut(&mut dyn Write) -> Result<(), ImageError> + 'a;

/// Takes the files of an image.
pub(super) trait Sink {
    /// Keeps what `write` writes under the name that its hash gives it.
    fn blob(&mut self, write: &mut WriteBlob<'_>) -> Result<Blob, ImageError>;
    /// Keeps a small file.
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError>;
}

/// A layout in a directory.
pub(super) struct LayoutSink<'a> {
    pub(super) directory: &'a mut DirectoryWriter,
}

impl Sink for LayoutSink<'_> {
    fn blob(&mut self, write: &mut WriteBlob<'_>) -> Result<Blob, ImageError> {
        let written = self.directory.file_called(blob_path, write)?;
        Ok(Blob { sha256: written.sha256.unwrap_or_default(), size: written.size })
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        self.directory.file(name, |file| file.write_all(bytes).map_err(ImageError::Write)).map(drop)
    }
}

/// A layout that will be an archive: a tree of nameless files.
pub(super) struct ArchiveSink {
    scratch: PathBuf,
    mtime: i64,
    tree: Tree,
}

impl ArchiveSink {
    /// Blobs are kept in the directory `scratch`; the files of the archive get the time `mtime`.
    pub(super) fn new(scratch: &Path, mtime: i64) -> Self {
        Self { scratch: scratch.to_owned(), mtime, tree: Tree::new() }
    }

    fn insert(&mut self, name: &str, content: Content) {
        let path = TreePath::parse(name.as_bytes()).expect("names in a layout are short and plain");
        let metadata = Metadata { mtime: self.mtime, ..Metadata::FILE };
        self.tree.insert_with_parents(path, Node::file(content, metadata, Origin::skeleton()));
    }

    /// Writes the archive.
    pub(super) fn finish(self, output: &mut dyn Write) -> Result<(), ImageError> {
        let tree = self.tree.validate().expect("files in directories");
        tar::write(&tree, tar::Settings { root: false }, output)
    }
}

impl Sink for ArchiveSink {
    fn blob(&mut self, write: &mut WriteBlob<'_>) -> Result<Blob, ImageError> {
        let failed = |source| ImageError::Output { path: self.scratch.clone(), source };
        let file = tempfile::tempfile_in(&self.scratch).map_err(failed)?;
        let mut output = Hashing::new(BufWriter::with_capacity(256 * 1024, file));
        write(&mut output).map_err(|error| match error {
            ImageError::Write(source) => failed(source),
            other => other,
        })?;
        let (output, size, sha256) = output.finish();
        let file: File = output.into_inner().map_err(|error| failed(error.into_error()))?;
        self.insert(&blob_path(&sha256), Content::from_range(Arc::new(file), 0, size));
        Ok(Blob { sha256, size })
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        self.insert(name, Content::from_bytes(bytes));
        Ok(())
    }
}
