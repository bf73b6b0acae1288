//! cpio: GNU cpio, and the kernel that unpacks its initramfs.

use std::io::Write;
use std::process::{Command, Stdio};

use leanfs::image::compress::Compressor;
use leanfs::image::{ImageError, cpio};
use leanfs::recipe::Compression;
use leanfs::tree::{TreePath, ValidTree};

use super::refuses;
use crate::end_to_end::bench::{succeed, tools};
use crate::images::disk::{Scratch, powers};
use crate::images::guest::unpacked_by_kernel;
use crate::images::lines::{assert_same, edited};
use crate::images::torture::{self, Part, Size};
use crate::images::{expected, on_host};

/// Times are 32 bits without a sign, and one name ends an archive.
const REFUSED: [Part; 3] = [Part::EarlyTimes, Part::LateTimes, Part::TrailerName];
/// The format has no extended attributes, which `losses` reports.
const LOST: [Part; 7] = [
    Part::UserXattrs,
    Part::XattrNames,
    Part::LargeXattrs,
    Part::HugeXattrs,
    Part::TrustedXattrs,
    Part::SecurityXattrs,
    Part::Acls,
];

fn tree(left_out: &[Part]) -> ValidTree {
    torture::tree(Size::wanted(), &Part::all_but(&[REFUSED.as_slice(), left_out].concat()))
}

fn without_xattrs(listing: &str) -> String {
    edited(listing, |line| {
        line.xattrs.clear();
        true
    })
}

#[test]
fn gnu_cpio_extracts_the_identical_listing() {
    if powers().is_none() || tools(&["cpio"]).is_none() {
        return;
    }
    // The disk may be an overlayfs; in full, files of 4 GiB and more have no place in the format.
    let mut left_out = vec![Part::WhiteoutDevice];
    if Size::wanted() == Size::Full {
        left_out.push(Part::Sparse);
    }
    let tree = tree(&left_out);
    let scratch = Scratch::new();
    let root = scratch.join("root");
    fs_err::create_dir(&root).expect("room");
    let archive = scratch.join("cpio");
    cpio::write(&tree, &mut fs_err::File::create(&archive).expect("room")).expect("written");
    let mut command = Command::new("cpio");
    command.args(["--extract", "--make-directories", "--preserve-modification-time", "--quiet", "--sparse"]);
    let input = Stdio::from(fs_err::File::open(&archive).expect("written").into_file());
    succeed(command.current_dir(&root).stdin(input));
    let Some(found) = on_host(&root) else { return };
    // It gives directories and links no time, and leaves the directory alone that it works in.
    let without_times = |listing: &str| {
        edited(listing, |line| {
            line.time = if ["d", "l"].contains(&line.letter) { "-" } else { line.time };
            line.path != "/"
        })
    };
    let expected = without_xattrs(&expected(&tree));
    assert_same("GNU cpio", &without_times(&expected), &without_times(&found));
}

#[test]
fn a_kernel_unpacks_the_identical_listing() {
    // What is unpacked is held in memory.
    let mut left_out = vec![Part::Sparse];
    if Size::wanted() == Size::Full {
        left_out.extend([Part::ManyFiles, Part::ManyDirectories, Part::Contents]);
    }
    let tree = tree(&left_out);
    let scratch = Scratch::new();
    let archive = scratch.join("cpio");
    let file = std::io::BufWriter::new(fs_err::File::create(&archive).expect("room"));
    let mut compressor =
        Compressor::new(file, Compression::Zstd { level: Some(1) }, Default::default(), 1).expect("set up");
    cpio::write(&tree, &mut compressor).expect("written");
    compressor.finish().expect("written").flush().expect("written");
    let root = tree.tree().get(&TreePath::root()).expect("a tree has one").metadata;
    let Some(seen) = unpacked_by_kernel(&archive, root) else { return };
    assert_eq!(seen.complaints, [""; 0]);
    assert_same("the initramfs", &without_xattrs(&expected(&tree)), &seen.listing);
}

#[test]
fn what_it_cannot_hold_is_named() {
    refuses(&REFUSED, |tree, _| {
        let mut bytes = Vec::new();
        let result = cpio::write(tree, &mut bytes);
        assert!(bytes.is_empty());
        result.map(|()| 0)
    });
    if Size::wanted() == Size::Full {
        let tree = torture::tree(Size::Full, &[Part::Sparse]);
        let error = cpio::write(&tree, &mut std::io::sink()).expect_err("too large");
        assert!(matches!(error, ImageError::CannotHold { .. }), "{error}");
    }
    for part in LOST {
        let tree = torture::tree(Size::Sampled, &[part]);
        let attributes: usize = tree.iter().map(|(_, node)| node.xattrs.len()).sum();
        assert_eq!(cpio::losses(&tree).len(), attributes, "{part:?}");
    }
}
