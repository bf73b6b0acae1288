//! The basis of the tests of image formats is itself tested: the lister says of a directory what the tree says that was
//! put there, and in a kernel it says the same of images that other tools made.

use std::path::Path;
use std::process::Command;

use leanfs::layer::directory;
use leanfs::tree::{LayerKind, Origin};

use crate::end_to_end::bench::{full, skip, succeed};
use crate::images::disk::{Scratch, materialise, powers};
use crate::images::guest::{Drive, in_kernel};
use crate::images::lines::{assert_same, edited};
use crate::images::torture::{self, Part, Size};
use crate::images::{expected, on_host, programs, tool};

/// What the file system that holds temporary files may not have: attributes beyond a block are not ext4's, and
/// overlayfs takes the device 0:0 for its own.
const NOT_ON_EVERY_DISK: [Part; 2] = [Part::HugeXattrs, Part::WhiteoutDevice];

#[test]
fn the_lister_says_of_a_disk_what_the_tree_says() {
    if powers().is_none() {
        return;
    }
    let tree = torture::tree(Size::wanted(), &Part::all_but(&NOT_ON_EVERY_DISK));
    let scratch = Scratch::new();
    materialise(&tree, scratch.path());
    let Some(found) = on_host(scratch.path()) else { return };
    assert_same("the disk", &expected(&tree), &found);
}

#[test]
fn whole_files_have_the_hash_of_the_dump() {
    if powers().is_none() {
        return;
    }
    let tree = torture::tree(Size::Sampled, &[Part::Sizes, Part::Zeros, Part::Hardlinks]);
    let scratch = Scratch::new();
    materialise(&tree, scratch.path());
    let Some(lister) = programs::lister() else { return };
    let output = succeed(Command::new(lister).arg("--strict").arg(scratch.path()));
    let found = String::from_utf8(output.stdout).expect("ASCII");
    assert_same("the disk", &tree.dump().expect("readable"), &found);
}

#[test]
fn a_directory_is_read_back_as_the_tree_that_was_put_there() {
    if powers().is_none() {
        return;
    }
    // Its paths are longer than what one call takes.
    let parts = Part::all_but(&[NOT_ON_EVERY_DISK.as_slice(), &[Part::DeepPaths]].concat());
    let tree = torture::tree(Size::wanted(), &parts);
    let scratch = Scratch::new();
    materialise(&tree, scratch.path());
    let origin = Origin::new(LayerKind::Overlay, "");
    let read =
        directory::read(scratch.path(), &origin, &|name| name != b"security.selinux").expect("readable");
    assert_same(
        "the directory",
        &expected(&tree),
        &expected(&read.validate().expect("a directory is valid")),
    );
}

/// What the usual tools make of the tree's directory, as a kernel sees it: the same, up to what each of them is known to
/// lose.
#[test]
fn a_kernel_sees_in_the_images_of_other_tools_what_they_were_made_of() {
    // The writers of leanfs show the same in CI.
    if !full() {
        skip::<()>("the images of other tools are looked at with `cargo xtask test --full`");
        return;
    }
    if powers().is_none() {
        return;
    }
    let scratch = Scratch::new();
    let made = |name: &str, left_out: &[Part], make: &dyn Fn(&Path, &Path) -> Option<()>| {
        let left_out = [NOT_ON_EVERY_DISK.as_slice(), left_out].concat();
        let tree = torture::tree(Size::wanted(), &Part::all_but(&left_out));
        let root = scratch.join(&format!("{name}.root"));
        fs_err::create_dir(&root).expect("room");
        materialise(&tree, &root);
        let image = scratch.join(name);
        make(&root, &image)?;
        Some((image, expected(&tree)))
    };
    let (Some(ext4), Some(squashfs), Some(erofs)) = (
        // 1.47.0 keeps only 32 bits of times.
        made("ext4", &[Part::Times, Part::LateTimes, Part::Sparse], &mke2fs),
        // It keeps no ACLs, clamps times to 32 bits, and leaves out what it can't reach by its path.
        made("squashfs", &[Part::Acls, Part::EarlyTimes, Part::LateTimes, Part::DeepPaths], &mksquashfs),
        // 1.5 gives up on long paths and names.
        made("erofs", &[Part::DeepPaths, Part::Names, Part::Sparse], &mkfs_erofs),
    ) else {
        return;
    };
    let no_image = scratch.join("no image");
    fs_err::write(&no_image, vec![0; 1 << 20]).expect("room");
    let drives = [
        Drive::new(&ext4.0, "ext4"),
        Drive::new(&squashfs.0, "squashfs"),
        Drive::new(&erofs.0, "erofs"),
        Drive::new(&no_image, "squashfs"),
    ];
    let Some(seen) = in_kernel(&drives) else { return };
    for seen in &seen[..3] {
        assert_eq!(seen.complaints, [""; 0]);
    }
    assert!(seen[3].complaints.iter().any(|line| line.starts_with("failed mounting squashfs")), "{seen:?}");
    // mke2fs makes the root itself.
    let but_the_root = |listing: &str| edited(listing, |line| line.path != "/");
    assert_same("ext4", &but_the_root(&ext4.1), &but_the_root(&seen[0].listing));
    assert_same("squashfs", &squashfs.1, &seen[1].listing);
    assert_same("erofs", &erofs.1, &seen[2].listing);
}

/// A file system is used, filled and changed, by the guest; this one stands that.
#[test]
fn a_kernel_changes_an_image_and_fsck_finds_nothing_wrong() {
    if powers().is_none() {
        return;
    }
    let tree =
        torture::tree(Size::Sampled, &[Part::Sizes, Part::Symlinks, Part::UserXattrs, Part::Hardlinks]);
    let scratch = Scratch::new();
    let root = scratch.join("root");
    fs_err::create_dir(&root).expect("room");
    materialise(&tree, &root);
    let image = scratch.join("ext4");
    let Some(mke2fs) = tool("mke2fs") else { return };
    succeed(Command::new(mke2fs).args(["-q", "-t", "ext4", "-d"]).args([&root, &image]).arg("100M"));
    let Some(seen) = in_kernel(&[Drive { change: true, ..Drive::new(&image, "ext4") }]) else { return };
    assert_eq!(seen[0].complaints, [""; 0]);
    for path in ["/changed/after\\x20it\\x20was\\x20full", "/changed/moved/link", "/hardlinks/added\\x200"] {
        assert!(seen[0].listing.lines().any(|line| line.ends_with(path)), "{path}");
    }
    let Some(e2fsck) = tool("e2fsck") else { return };
    succeed(Command::new(e2fsck).arg("-fn").arg(&image));
}

fn mke2fs(root: &Path, image: &Path) -> Option<()> {
    let mut command = Command::new(tool("mke2fs")?);
    command.args(["-q", "-t", "ext4", "-I", "256", "-N", "300000", "-d"]);
    succeed(command.args([root, image]).arg("2G"));
    Some(())
}

fn mksquashfs(root: &Path, image: &Path) -> Option<()> {
    let mut command = Command::new(tool("mksquashfs")?);
    succeed(command.args([root, image]).args(["-quiet", "-no-progress", "-comp", "zstd"]));
    Some(())
}

fn mkfs_erofs(root: &Path, image: &Path) -> Option<()> {
    succeed(Command::new(tool("mkfs.erofs")?).arg("--quiet").args([image, root]));
    Some(())
}
