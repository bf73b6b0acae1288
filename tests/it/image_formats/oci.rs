//! OCI images: skopeo reads the layout, umoci unpacks it; the layers are those of the tree.

use std::process::Command;

use leanfs::image::oci::{self, Layers, Settings};
use leanfs::image::output::OutputDirectory;
use leanfs::recipe::Compression;
use leanfs::tree::{Node, TreePath};

use super::refuses;
use crate::end_to_end::bench::{succeed, tools};
use crate::images::disk::{Scratch, powers};
use crate::images::lines::{assert_same, edited};
use crate::images::torture::{self, Part, Size};
use crate::images::{expected, on_host};

/// Layers are tar archives, whose keywords can't have `=` in them and are UTF-8, and in which some names say that a file
/// is no more.
const REFUSED: [Part; 2] = [Part::XattrNames, Part::WhiteoutNames];

/// Directories, and names of one file, in different layers.
fn layer_of(path: &TreePath, _: &Node) -> usize {
    path.as_bytes().iter().map(|&byte| usize::from(byte)).sum::<usize>() % 3
}

#[test]
fn umoci_unpacks_the_identical_listing() {
    if powers().is_none() || tools(&["umoci", "skopeo"]).is_none() {
        return;
    }
    // The disk may be an overlayfs, and ext4 has no place for large attributes; umoci joins paths to more than the
    // kernel takes at once, and counts times in nanoseconds of 64 bits, up to 2262.
    let left_out = [Part::WhiteoutDevice, Part::HugeXattrs, Part::DeepPaths, Part::LateTimes];
    let tree = torture::tree(Size::wanted(), &Part::all_but(&[REFUSED.as_slice(), &left_out].concat()));
    let scratch = Scratch::new();
    let names = ["low", "middle", "high"].map(str::to_owned).to_vec();
    let settings = Settings {
        layers: Layers::new(names, &layer_of),
        compression: Compression::Gzip { level: Some(1) },
        tag: Some("it".to_owned()),
        ..Settings::default()
    };
    let output = OutputDirectory::open(scratch.path()).expect("room");
    let summary = output.directory("layout", |directory| oci::write_layout(&tree, &settings, directory));
    assert_eq!(summary.expect("written").layers.len(), 3);
    output.commit(&[]).expect("room");
    let image = format!("{}:it", scratch.join("layout").display());
    // Checks every digest and size.
    let copy = scratch.join("copy");
    succeed(
        Command::new("skopeo")
            .args(["copy", "--quiet", &format!("oci:{image}")])
            .arg(format!("dir:{}", copy.display())),
    );
    let bundle = scratch.join("bundle");
    succeed(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle));
    let Some(found) = on_host(&bundle.join("rootfs")) else { return };
    // Go's archive/tar takes a record without a value for one that is to be forgotten, and umoci passes over what is
    // overlayfs's.
    let kept = edited(&expected(&tree), |line| {
        line.xattrs.retain(|xattr| !xattr.ends_with('=') && !xattr.starts_with("trusted.overlay."));
        true
    });
    assert_same("umoci", &kept, &found);
}

#[test]
fn what_it_cannot_hold_is_named() {
    refuses(&REFUSED, |tree, _| {
        let scratch = Scratch::new();
        let settings = Settings::default();
        let mut bytes = Vec::new();
        let result = oci::write_archive(tree, &settings, scratch.path(), &mut bytes);
        assert!(bytes.is_empty());
        result.map(|_| 0)
    });
    let tree = torture::tree(Size::Sampled, &[Part::WhiteoutDevice, Part::TrustedXattrs]);
    let losses = oci::losses(&tree).join("\n");
    for place in ["/whiteout-device/0:0", "trusted.overlay.opaque of /trusted-xattrs/opaque"] {
        assert!(losses.contains(place), "{losses}");
    }
}
