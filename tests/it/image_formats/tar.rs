//! tar: GNU tar and bsdtar.

use std::path::Path;
use std::process::Command;

use leanfs::image::tar::{self, Settings};
use leanfs::tree::ValidTree;

use super::refuses;
use crate::end_to_end::bench::{succeed, tools};
use crate::images::disk::{Scratch, powers};
use crate::images::lines::{assert_same, edited};
use crate::images::torture::{self, Part, Size};
use crate::images::{expected, on_host};

/// A keyword can't have `=` in it, and is UTF-8.
const REFUSED: [Part; 1] = [Part::XattrNames];

fn extracted(left_out: &[Part], extract: impl Fn(&Path, &Path) -> Command) -> Option<(ValidTree, String)> {
    powers()?;
    // The disk may be an overlayfs, and ext4 has no place for large attributes.
    let always = [Part::WhiteoutDevice, Part::HugeXattrs];
    let parts = Part::all_but(&[REFUSED.as_slice(), &always, left_out].concat());
    let tree = torture::tree(Size::wanted(), &parts);
    let scratch = Scratch::new();
    let archive = scratch.join("tar");
    tar::write(&tree, Settings::default(), &mut fs_err::File::create(&archive).expect("room"))
        .expect("written");
    let root = scratch.join("root");
    fs_err::create_dir(&root).expect("room");
    succeed(&mut extract(&archive, &root));
    Some((tree, on_host(&root)?))
}

#[test]
fn gnu_tar_extracts_the_identical_listing() {
    if tools(&["tar"]).is_none() {
        return;
    }
    let extract = |archive: &Path, root: &Path| {
        let mut command = Command::new("tar");
        command.args(["--extract", "--numeric-owner", "--same-owner", "--preserve-permissions"]);
        // ACLs are attributes like others in these archives.
        command.args(["--xattrs", "--xattrs-include=*", "--no-acls", "--file"]);
        command.arg(archive).arg("--directory").arg(root);
        command
    };
    let Some((tree, found)) = extracted(&[], extract) else { return };
    assert_same("GNU tar", &expected(&tree), &found);
}

#[test]
fn bsdtar_extracts_the_identical_listing() {
    if tools(&["bsdtar"]).is_none() {
        return;
    }
    let extract = |archive: &Path, root: &Path| {
        let mut command = Command::new("bsdtar");
        command.args(["-x", "-p", "--numeric-owner", "--same-owner", "--xattrs", "-f"]);
        command.arg(archive).arg("-C").arg(root);
        command
    };
    // It takes ACLs only from records of star's, never from attributes.
    let Some((tree, found)) = extracted(&[Part::Acls], extract) else { return };
    // It gives the directory that it works in no time, and takes combining characters together, so that this name
    // becomes one that is there.
    let kept = |listing: &str| {
        edited(listing, |line| {
            line.time = if line.path == "/" { "-" } else { line.time };
            line.path != "/names/unicode/e\\xcc\\x81"
        })
    };
    assert_same("bsdtar", &kept(&expected(&tree)), &kept(&found));
}

#[test]
fn what_it_cannot_hold_is_named() {
    refuses(&REFUSED, |tree, _| {
        let mut bytes = Vec::new();
        let result = tar::write(tree, Settings::default(), &mut bytes);
        assert!(bytes.is_empty());
        result.map(|()| 0)
    });
}
