//! ext4: e2fsck, and the kernel, which also writes to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::image::ext4::{self, Journal, Settings, Size as ImageSize};
use leanfs::image::target::Target;
use leanfs::tree::ValidTree;

use super::image_file;
use crate::end_to_end::bench::succeed;
use crate::images::disk::Scratch;
use crate::images::guest::{Drive, in_kernel};
use crate::images::lines::assert_same;
use crate::images::torture::{self, Part, Size};
use crate::images::{expected, tool};

fn written(scratch: &Scratch, name: &str, tree: &ValidTree, settings: &Settings) -> PathBuf {
    let (image, file) = image_file(scratch, name);
    let length = ext4::write(tree, settings, Target::new(&file)).expect("written");
    assert_eq!(file.metadata().expect("there").len(), length);
    image
}

/// Everything is right, to the last counter.
fn checked(e2fsck: &Path, image: &Path) {
    succeed(Command::new(e2fsck).arg("-fn").arg(image));
}

#[test]
fn a_kernel_sees_the_identical_listing_and_e2fsck_finds_nothing_wrong() {
    let Some(e2fsck) = tool("e2fsck") else { return };
    let all = torture::tree(Size::wanted(), &Part::ALL);
    let scratch = Scratch::new();
    let cases = [
        ("as small as it can be", Settings::default()),
        (
            "with a journal and room",
            Settings {
                journal: Journal::Default,
                size: ImageSize::Free(100 << 20),
                hash_seed: [0x5a; 16],
                uuid: [7; 16],
                reserved_percent: 5,
                ..Settings::default()
            },
        ),
    ];
    let images = cases.each_ref().map(|(name, settings)| written(&scratch, name, &all, settings));
    for image in &images {
        checked(&e2fsck, image);
    }
    let drives = images.each_ref().map(|image| Drive::new(image, "ext4"));
    let Some(seen) = in_kernel(&drives) else { return };
    let expected = expected(&all);
    for ((name, _), seen) in cases.iter().zip(&seen) {
        assert_eq!(seen.complaints, [""; 0], "{name}");
        assert_same(name, &expected, &seen.listing);
    }
}

#[test]
fn a_kernel_changes_it_and_e2fsck_finds_nothing_wrong() {
    let Some(e2fsck) = tool("e2fsck") else { return };
    let parts = Part::all_but(&[Part::Sparse, Part::Contents]);
    let tree = torture::tree(Size::Sampled, &parts);
    let scratch = Scratch::new();
    let room = Settings { size: ImageSize::Free(40 << 20), ..Settings::default() };
    let images = [
        written(&scratch, "without a journal", &tree, &room),
        written(&scratch, "with a journal", &tree, &Settings { journal: Journal::Default, ..room.clone() }),
    ];
    let drives = images.each_ref().map(|image| Drive { change: true, ..Drive::new(image, "ext4") });
    let Some(seen) = in_kernel(&drives) else { return };
    for (image, seen) in images.iter().zip(&seen) {
        assert_eq!(seen.complaints, [""; 0]);
        assert!(seen.listing.contains("/changed/after\\x20it\\x20was\\x20full\n"));
        assert!(!seen.listing.lines().any(|line| line.starts_with('!')));
        checked(&e2fsck, image);
    }
}
