//! The same tree gives the same bytes: whatever the number of threads, wherever contents stand, whether a file system
//! knows of their holes.

use std::fs::File;
use std::path::Path;

use leanfs::image::target::Target;
use leanfs::image::{ImageError, cpio, erofs, ext4, squashfs, tar};
use leanfs::layer::directory;
use leanfs::recipe::Compression;
use leanfs::tree::{LayerKind, Origin, ValidTree};

use crate::images::disk::{Scratch, materialise, powers};
use crate::images::torture::{self, Part, Size};

type Write = fn(&ValidTree, usize, &File) -> Result<(), ImageError>;

const WRITERS: [(&str, Write); 5] = [
    ("cpio", |tree, _, mut file| cpio::write(tree, &mut file)),
    ("tar", |tree, _, mut file| tar::write(tree, tar::Settings::default(), &mut file)),
    ("ext4", |tree, _, file| ext4::write(tree, &ext4::Settings::default(), Target::new(file)).map(drop)),
    ("erofs", |tree, threads, file| {
        let settings = erofs::Settings { threads, ..erofs::Settings::default() };
        erofs::write(tree, &settings, Target::new(file)).map(drop)
    }),
    ("squashfs", |tree, threads, file| {
        let compression = Compression::Zstd { level: Some(1) };
        let settings = squashfs::Settings { compression, threads, ..squashfs::Settings::default() };
        squashfs::write(tree, &settings, Target::new(file)).map(drop)
    }),
];

#[test]
fn the_same_tree_gives_the_same_bytes() {
    if powers().is_none() {
        return;
    }
    let left_out = [
        // Not on every disk, and not by one path.
        Part::WhiteoutDevice,
        Part::HugeXattrs,
        // ext4 puts a file where the name stands that the tree keeps it under.
        Part::Hardlinks,
        Part::DeepPaths,
        // Not in every format.
        Part::EarlyTimes,
        Part::LateTimes,
        Part::TrailerName,
        Part::XattrNames,
    ];
    let made = torture::tree(Size::Sampled, &Part::all_but(&left_out));
    let scratch = Scratch::new();
    let root = scratch.join("root");
    fs_err::create_dir(&root).expect("room");
    materialise(&made, &root);
    let origin = Origin::new(LayerKind::Overlay, "");
    let read = directory::read(&root, &origin, &|name| name != b"security.selinux").expect("readable");
    let read = read.validate().expect("a directory is valid");
    let mut differences = Vec::new();
    for (name, write) in WRITERS {
        let mut images = Vec::new();
        for (tree, threads) in [(&made, 1), (&made, 3), (&read, 2)] {
            let image = scratch.join(&format!("{name} {threads}"));
            write(tree, threads, &File::create(&image).expect("room")).expect("written");
            images.push(image);
        }
        for (other, how) in [(1, "with three threads it"), (2, "the tree from a disk")] {
            if let Some(place) = first_difference(&images[0], &images[other]) {
                differences.push(format!("{name}: {how} gives another byte at {place}"));
            }
        }
    }
    assert_eq!(differences, [""; 0]);
}

fn first_difference(one: &Path, other: &Path) -> Option<usize> {
    let [one, other] = [one, other].map(|image| fs_err::read(image).expect("written"));
    if one == other {
        return None;
    }
    let differ = one.iter().zip(&other).position(|(one, other)| one != other);
    differ.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))
}
