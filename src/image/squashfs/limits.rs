//! What the format has no place for: refused before anything is written, or told.

use std::collections::BTreeSet;

use super::directory;
use super::format::{METADATA, device, xattr_type};
use super::{NAME, Settings};
use crate::image::ImageError;
use crate::tree::{Node, NodeKind, TreePath, ValidTree};

/// The number of ids has 16 bits.
const MOST_IDS: usize = u16::MAX as usize;
/// The kernel counts the blocks of a file in an `int`.
const MOST_BLOCKS: u64 = i32::MAX as u64;
/// The longest target of a link that fits into a page with its NUL.
const MOST_OF_A_TARGET: usize = 4095;
/// Linux's `XATTR_NAME_MAX` and `XATTR_SIZE_MAX`: beyond them no attribute can be asked for.
const MOST_OF_AN_XATTR_NAME: usize = 255;
const MOST_OF_AN_XATTR_VALUE: usize = 65_536;
/// The largest inode but for what it holds of names, targets and sizes of blocks.
const INODE: u64 = 56;
/// How much less than 4 GiB of records a table may have: two bytes of each block of 8 KiB are added.
const MOST_OF_A_TABLE: u64 = u32::MAX as u64 / (METADATA as u64 + 2) * METADATA as u64 - METADATA as u64;

/// Refuses settings that the format doesn't have.
pub(super) fn check_settings(settings: &Settings) -> Result<(), ImageError> {
    if settings.block_size.is_power_of_two() && (4096..=1 << 20).contains(&settings.block_size) {
        return Ok(());
    }
    Err(ImageError::Settings {
        format: NAME,
        reason: format!(
            "a block has {} bytes, and may have a power of two between 4096 and 1048576",
            settings.block_size
        ),
    })
}

/// Refuses trees that the format can't hold.
pub(super) fn check(tree: &ValidTree, settings: &Settings) -> Result<(), ImageError> {
    let mut ids = BTreeSet::new();
    let (mut inodes, mut directories, mut xattrs, mut number) = (0_u64, 0_u64, 0_u64, 0_u64);
    for (path, node) in tree.iter() {
        let refuse = |reason| Err(ImageError::CannotHold { format: NAME, path: path.clone(), reason });
        let name = path.file_name().map_or(0, <[u8]>::len) as u64;
        // As if every entry had a header, and an entry in an index.
        directories = directories.saturating_add(directory::HEADER + directory::ENTRY + name);
        inodes = inodes.saturating_add(directory::HEADER + name);
        if !matches!(node.kind, NodeKind::Hardlink(_)) {
            if let Some(reason) = reason(node, settings.block_size) {
                return refuse(reason);
            }
            number += 1;
            let blocks = match &node.kind {
                NodeKind::File(content) => content.len().div_ceil(settings.block_size.into()) * 4,
                _ => node.size(),
            };
            inodes = inodes.saturating_add(INODE + blocks);
            for (name, value) in &node.xattrs {
                xattrs = xattrs.saturating_add((16 + name.len() + value.len()) as u64);
            }
            ids.extend([node.metadata.uid, node.metadata.gid]);
            if ids.len() > MOST_IDS {
                return refuse(format!("it is of one more owner than the {MOST_IDS} that there may be"));
            }
        }
        // The root's parent has one more number than there are.
        if number >= u32::MAX.into() {
            return refuse("there may be no more than 2^32 - 2 inodes".to_owned());
        }
        for (table, size) in [("inodes", inodes), ("directories", directories), ("attributes", xattrs)] {
            if size > MOST_OF_A_TABLE {
                return refuse(format!("with it the table of {table} would reach 4 GiB"));
            }
        }
    }
    Ok(())
}

/// Why there is no place for a node.
fn reason(node: &Node, block_size: u32) -> Option<String> {
    if u32::try_from(node.metadata.mtime).is_err() {
        return Some(format!("its time, {} s since 1970, is outside 1970–2106", node.metadata.mtime));
    }
    match &node.kind {
        NodeKind::File(content) if content.len().div_ceil(block_size.into()) > MOST_BLOCKS => {
            return Some(format!(
                "it has {} bytes, and a file may have {MOST_BLOCKS} blocks of {block_size} bytes",
                content.len()
            ));
        }
        NodeKind::Symlink(target) if target.len() > MOST_OF_A_TARGET => {
            return Some(format!("its target has {} bytes, and may have {MOST_OF_A_TARGET}", target.len()));
        }
        NodeKind::Symlink(target) if target.is_empty() || target.contains(&0) => {
            return Some("its target is empty or holds a NUL byte".to_owned());
        }
        NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor }
            if device(*major, *minor).is_none() =>
        {
            return Some(format!("its numbers, {major}:{minor}, are larger than 4095:1048575"));
        }
        _ => {}
    }
    for (name, value) in node.xattrs.iter().filter(|(name, _)| xattr_type(name).is_some()) {
        if name.len() > MOST_OF_AN_XATTR_NAME || name.contains(&0) {
            return Some(format!(
                "the name of its attribute {} is longer than {MOST_OF_AN_XATTR_NAME} bytes or holds a NUL byte",
                name.escape_ascii()
            ));
        }
        if value.len() > MOST_OF_AN_XATTR_VALUE {
            return Some(format!(
                "its attribute {} has {} bytes, and may have {MOST_OF_AN_XATTR_VALUE}",
                name.escape_ascii(),
                value.len()
            ));
        }
    }
    None
}

/// The attributes that have no place.
pub(super) fn losses(tree: &ValidTree) -> Vec<String> {
    let lost = |path: &TreePath, name: &[u8]| {
        format!(
            "squashfs has only attributes whose names begin with user., trusted. or security.: {} of {path} is lost",
            name.escape_ascii()
        )
    };
    tree.iter()
        .filter(|(_, node)| !matches!(node.kind, NodeKind::Hardlink(_)))
        .flat_map(|(path, node)| {
            node.xattrs.keys().filter(|name| xattr_type(name).is_none()).map(move |name| lost(path, name))
        })
        .collect()
}
