//! erofs: fsck.erofs, and the kernel, with every compressor and size of clusters.

use std::process::Command;

use leanfs::image::erofs::{self, Settings};
use leanfs::image::target::Target;
use leanfs::recipe::Compression;

use super::image_file;
use crate::end_to_end::bench::succeed;
use crate::images::disk::{Scratch, powers};
use crate::images::guest::{Drive, in_kernel};
use crate::images::lines::{assert_same, edited};
use crate::images::torture::{self, Part, Size};
use crate::images::{expected, on_host, tool};

#[test]
fn a_kernel_sees_the_identical_listing_whatever_the_settings() {
    let all = torture::tree(Size::wanted(), &Part::ALL);
    let some = torture::tree(Size::Sampled, &[Part::Sizes, Part::Zeros, Part::Contents, Part::ManyFiles]);
    let scratch = Scratch::new();
    let with =
        |compression, cluster_size| Settings { compression, cluster_size, threads: 2, ..Settings::default() };
    let quick = Settings { quick: true, ..with(Compression::Lz4, 65_536) };
    let cases = [
        ("all, lz4", &all, quick.clone()),
        ("all, none", &all, with(Compression::None, 65_536)),
        ("lz4 in clusters of a block", &some, Settings { pack_tails: false, ..with(Compression::Lz4, 4096) }),
        ("lz4 in clusters of 1 MiB", &some, Settings { quick: true, ..with(Compression::Lz4, 1 << 20) }),
        ("lz4 without packed tails", &some, Settings { pack_tails: false, ..quick }),
        ("zstd", &some, with(Compression::Zstd { level: Some(1) }, 65_536)),
        ("zstd in clusters of a block", &some, with(Compression::Zstd { level: Some(1) }, 4096)),
    ];
    let mut images = Vec::new();
    for (name, tree, settings) in &cases {
        let (image, file) = image_file(&scratch, name);
        let length = erofs::write(tree, settings, Target::new(&file)).expect("written");
        assert_eq!(file.metadata().expect("there").len(), length);
        images.push(image);
    }
    let drives: Vec<Drive<'_>> = images.iter().map(|image| Drive::new(image, "erofs")).collect();
    let Some(seen) = in_kernel(&drives) else { return };
    let (all, some) = (expected(&all), expected(&some));
    for ((number, (name, ..)), seen) in cases.iter().enumerate().zip(&seen) {
        assert_eq!(seen.complaints, [""; 0], "{name}");
        assert_same(name, if number < 2 { &all } else { &some }, &seen.listing);
    }
}

#[test]
fn fsck_extracts_the_identical_listing() {
    if powers().is_none() {
        return;
    }
    let Some(fsck) = tool("fsck.erofs") else { return };
    // The disk may be an overlayfs; fsck.erofs joins paths to more than the kernel takes at once, makes further names
    // of a file files of their own, and 1.5 leaves holes of large files out.
    let left_out = [Part::WhiteoutDevice, Part::DeepPaths, Part::Hardlinks, Part::Sparse];
    let tree = torture::tree(Size::wanted(), &Part::all_but(&left_out));
    let scratch = Scratch::new();
    for (name, compression) in [("lz4", Compression::Lz4), ("none", Compression::None)] {
        let (image, file) = image_file(&scratch, name);
        let settings = Settings { compression, quick: true, threads: 2, ..Settings::default() };
        erofs::write(&tree, &settings, Target::new(&file)).expect("written");
        let root = scratch.join(&format!("{name}.root"));
        let mut command = Command::new(&fsck);
        command.arg(format!("--extract={}", root.display())).args(["--preserve", "--force"]).arg(&image);
        succeed(&mut command);
        let Some(found) = on_host(&root) else { return };
        // 1.5 extracts no attributes, and gives files away after it has set their modes, which clears the first digit.
        let kept = |listing: &str| {
            edited(listing, |line| {
                line.xattrs.clear();
                line.mode = &line.mode[1..];
                true
            })
        };
        assert_same(name, &kept(&expected(&tree)), &kept(&found));
    }
}
