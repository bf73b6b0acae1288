//! All outputs of one tree extract to the identical listing: the torture tree goes through every writer, and independent
//! readers say what they find: the usual tools, and a kernel.
//!
//! A format's test leaves out the parts of the tree that the format, or one of its readers, can't hold, says why, and
//! shows that the writer refuses them by name or reports what is lost.

mod bytes;
mod cpio;
mod erofs;
mod ext4;
mod oci;
mod squashfs;
mod tar;

use std::fs::File;

use leanfs::image::ImageError;
use leanfs::image::target::Target;
use leanfs::tree::ValidTree;

use crate::images::disk::Scratch;
use crate::images::torture::{self, Part, Size};

/// A file for an image.
fn image_file(scratch: &Scratch, name: &str) -> (std::path::PathBuf, File) {
    let place = scratch.join(name);
    let file = File::create(&place).expect("room");
    (place, file)
}

/// Writes each part alone, which must be refused before anything is written, with a path of that part in the message.
fn refuses(parts: &[Part], write: impl Fn(&ValidTree, Target<'_>) -> Result<u64, ImageError>) {
    for part in parts {
        let tree = torture::tree(Size::Sampled, &[*part]);
        let file = tempfile::tempfile().expect("room");
        let error = write(&tree, Target::new(&file)).expect_err(&format!("{part:?} can't be held"));
        let ImageError::CannotHold { path, .. } = &error else { panic!("{part:?}: {error}") };
        assert!(tree.tree().get(path).is_some(), "{part:?}: {error}");
        assert_eq!(file.metadata().expect("there").len(), 0, "{part:?} was refused late");
    }
}
