//! squashfs: unsquashfs, and the kernel, with every compressor and size of blocks.

use std::process::Command;

use leanfs::image::squashfs::{self, Fragments, Settings};
use leanfs::recipe::Compression;
use leanfs::tree::ValidTree;

use super::{image_file, refuses};
use crate::end_to_end::bench::{succeed, text};
use crate::images::disk::{Scratch, powers};
use crate::images::guest::{Drive, in_kernel};
use crate::images::lines::{assert_same, edited};
use crate::images::torture::{self, Part, Size};
use crate::images::{expected, on_host, tool};
use leanfs::image::target::Target;

/// Times are 32 bits without a sign.
const REFUSED: [Part; 2] = [Part::EarlyTimes, Part::LateTimes];
/// Attributes are in the namespaces `user`, `trusted` and `security` alone, which `losses` reports.
const LOST: Part = Part::Acls;

fn tree(left_out: &[Part]) -> ValidTree {
    torture::tree(Size::wanted(), &Part::all_but(&[REFUSED.as_slice(), left_out].concat()))
}

fn without_acls(listing: &str) -> String {
    edited(listing, |line| {
        line.xattrs.retain(|xattr| !xattr.starts_with("system."));
        true
    })
}

fn fast() -> Settings {
    Settings { compression: Compression::Zstd { level: Some(1) }, threads: 2, ..Settings::default() }
}

#[test]
fn unsquashfs_extracts_the_identical_listing() {
    if powers().is_none() {
        return;
    }
    let Some(unsquashfs) = tool("unsquashfs") else { return };
    // The disk may be an overlayfs, and ext4 has no place for large attributes; unsquashfs joins paths to more than the
    // kernel takes at once.
    let tree = tree(&[Part::WhiteoutDevice, Part::HugeXattrs, Part::DeepPaths]);
    let scratch = Scratch::new();
    let (image, file) = image_file(&scratch, "squashfs");
    squashfs::write(&tree, &fast(), Target::new(&file)).expect("written");
    let root = scratch.join("root");
    let output =
        succeed(Command::new(unsquashfs).args(["-quiet", "-no-progress", "-dest"]).args([&root, &image]));
    assert_eq!(text(&output).trim(), "");
    let Some(found) = on_host(&root) else { return };
    assert_same("unsquashfs", &without_acls(&expected(&tree)), &found);
}

#[test]
fn a_kernel_sees_the_identical_listing_whatever_the_settings() {
    let all = tree(&[]);
    let some = torture::tree(Size::Sampled, &[Part::Sizes, Part::Zeros, Part::Contents, Part::ManyFiles]);
    let scratch = Scratch::new();
    let cases = [
        ("zstd", &all, fast()),
        (
            "gzip",
            &some,
            Settings { compression: Compression::Gzip { level: Some(1) }, block_size: 4096, ..fast() },
        ),
        (
            "xz",
            &some,
            Settings { compression: Compression::Xz { level: Some(0) }, block_size: 1 << 20, ..fast() },
        ),
        ("lz4", &some, Settings { compression: Compression::Lz4, fragments: Fragments::None, ..fast() }),
        (
            "none",
            &some,
            Settings {
                compression: Compression::None,
                fragments: Fragments::SmallFiles,
                export: false,
                ..fast()
            },
        ),
    ];
    let mut images = Vec::new();
    for (name, tree, settings) in &cases {
        let (image, file) = image_file(&scratch, name);
        let length = squashfs::write(tree, settings, Target::new(&file)).expect("written");
        assert_eq!(file.metadata().expect("there").len(), length);
        images.push(image);
    }
    let drives: Vec<Drive<'_>> = images.iter().map(|image| Drive::new(image, "squashfs")).collect();
    let Some(seen) = in_kernel(&drives) else { return };
    let (all, some) = (without_acls(&expected(&all)), expected(&some));
    for ((number, (name, ..)), seen) in cases.iter().enumerate().zip(&seen) {
        assert_eq!(seen.complaints, [""; 0], "{name}");
        assert_same(name, if number == 0 { &all } else { &some }, &seen.listing);
    }
}

#[test]
fn what_it_cannot_hold_is_named() {
    refuses(&REFUSED, |tree, target| squashfs::write(tree, &fast(), target));
    let tree = torture::tree(Size::Sampled, &[LOST]);
    let attributes = tree
        .iter()
        .flat_map(|(_, node)| node.xattrs.keys())
        .filter(|name| name.starts_with(b"system."))
        .count();
    assert_eq!(squashfs::losses(&tree).len(), attributes);
}
