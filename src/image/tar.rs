//! Tar archives in the POSIX pax interchange format, for root file systems and for the layers of container images.
//!
//! Sources: [`pax(1)`](https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html) for the format,
//! `star(5)` for the records `SCHILY.xattr.NAME`, and the OCI image specification's
//! [layers](https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md) for whiteouts.
//!
//! - What a `ustar` header holds stands there alone; an extension header is only written for the rest: names that are
//!   too long or have other characters than ASCII's, owners from 2^21 on, times before 1970 or from 2^33 on, sizes
//!   from 8 GiB on, extended attributes.
//! - What a directory holds stands behind it without a gap, by name: readers set a directory's time when they see
//!   something that is not in it (in path order `a-b` would come between `a` and `a/b`). Of a file with several names the first carries the content and the others, as
//!   hardlinks after it, carry its owner, mode, time and extended attributes again, because readers that apply them
//!   at every name would lose `security.capability` with the owner.
//! - Owners are numbers only: names would be looked up where the archive is unpacked.
//! - Two blocks of zeros end the archive; it is not filled up to a multiple of 10 KiB, which only tapes need.

mod entry;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use self::entry::Entry;
use super::ImageError;
use crate::archive::ustar::BLOCK;
use crate::tree::{Content, Node, NodeKind, TreePath, ValidTree};

/// The format's name in errors.
const FORMAT: &str = "tar";
/// What the name of a file begins with that says that a file of a lower layer is no more.
const WHITEOUT: &[u8] = b".wh.";

/// How an archive is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether the root directory has an entry of its own, `./`, that carries its owner, mode and time.
    pub root: bool,
}

impl Default for Settings {
    /// With the root directory.
    fn default() -> Self {
        Self { root: true }
    }
}

/// The part of a tree that one layer of a container image holds.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Which nodes are written. The directories above them are written with them, whatever this says of them. If it
    /// takes only some names of a file, the first of those carries the content.
    pub contains: &'a dyn Fn(&TreePath, &Node) -> bool,
    /// What is deleted of the layers below. Their directories must be in the tree, and come with them.
    pub whiteouts: &'a [TreePath],
}

/// Writes the whole tree as one archive: the same tree and settings always give the same bytes.
///
/// # Errors
/// [`ImageError::CannotHold`] before anything is written: device numbers from 2^21 on, empty targets of links and
/// those with NUL, names of extended attributes that have no keyword (with `=`, not UTF-8), and more than 1 MiB of
/// names and attributes of one file, which Go's and so Docker's reader takes for an attack. Errors of reading
/// contents and of `output`.
pub fn write(tree: &ValidTree, settings: Settings, output: &mut dyn Write) -> Result<(), ImageError> {
    write_plan(&Plan { tree, settings, part: None }, output)
}

/// Writes the part of a tree that a layer holds, whiteouts first.
///
/// # Errors
/// As [`write()`]. Names that begin with `.wh.`, which stand for whiteouts in layers, can't be held, nor can
/// whiteouts of names longer than 251 bytes, of the root, and of what has no directory in the tree.
pub fn write_part(
    tree: &ValidTree,
    part: Part<'_>,
    settings: Settings,
    output: &mut dyn Write,
) -> Result<(), ImageError> {
    write_plan(&Plan { tree, settings, part: Some(part) }, output)
}

/// Whether [`write_part`] would write that part, without writing it.
///
/// # Errors
/// [`ImageError::CannotHold`], as [`write_part`].
pub fn check_part(tree: &ValidTree, part: Part<'_>) -> Result<(), ImageError> {
    check(&Plan { tree, settings: Settings::default(), part: Some(part) })
}

/// What not every reader takes from an archive: extended attributes without a value. To the letter of POSIX an empty
/// record takes a value away, and Go's `Header.Xattrs`, which umoci applies, has it so; GNU tar, bsdtar and Python
/// don't.
pub fn losses(tree: &ValidTree) -> Vec<String> {
    tree.iter()
        .flat_map(|(path, node)| {
            let empty = node.xattrs.iter().filter(|(_, value)| value.is_empty());
            empty.map(move |(name, _)| {
                let name = name.escape_ascii();
                format!("the extended attribute {name} of {path} is empty, and some readers of tar lose it")
            })
        })
        .collect()
}

fn write_plan(plan: &Plan<'_>, output: &mut dyn Write) -> Result<(), ImageError> {
    check(plan)?;
    let mut buffer = vec![0; 128 * 1024];
    plan.visit(&mut |entry, content| {
        let headers = entry.headers().map_err(|reason| entry.refused(reason))?;
        output.write_all(&headers).map_err(ImageError::Write)?;
        content.map_or(Ok(()), |content| copy(entry.path, content, &mut buffer, output))
    })?;
    output.write_all(&[0; 2 * BLOCK]).map_err(ImageError::Write)
}

fn check(plan: &Plan<'_>) -> Result<(), ImageError> {
    plan.check_whiteouts()?;
    plan.visit(&mut |entry, _| {
        if plan.part.is_some() && !entry.is_whiteout() && is_whiteout(entry.path) {
            return Err(entry.refused("in a layer, names with `.wh.` in front are whiteouts".to_owned()));
        }
        entry.headers().map(drop).map_err(|reason| entry.refused(reason))
    })
}

/// Copies a content, padded to whole blocks, and tells apart which side failed.
fn copy(
    path: &TreePath,
    content: &Content,
    buffer: &mut [u8],
    output: &mut dyn Write,
) -> Result<(), ImageError> {
    let failed = |source| ImageError::Content { path: path.clone(), source };
    let mut reader = content.reader().map_err(failed)?;
    loop {
        match io::Read::read(&mut reader, buffer).map_err(failed)? {
            0 => break,
            count => output.write_all(&buffer[..count]).map_err(ImageError::Write)?,
        }
    }
    let beyond = usize::try_from(content.len() % BLOCK as u64).expect("less than a block");
    output.write_all(&[0; BLOCK][..(BLOCK - beyond) % BLOCK]).map_err(ImageError::Write)
}

/// The order of entries: all of a directory together.
fn by_directory(a: &TreePath, b: &TreePath) -> Ordering {
    a.components().cmp(b.components())
}

fn is_whiteout(path: &TreePath) -> bool {
    path.file_name().is_some_and(|name| name.starts_with(WHITEOUT))
}

/// What is written, in which order.
struct Plan<'a> {
    tree: &'a ValidTree,
    settings: Settings,
    /// None: everything.
    part: Option<Part<'a>>,
}

type Visit<'a> = dyn FnMut(&Entry<'_>, Option<&Content>) -> Result<(), ImageError> + 'a;

impl Plan<'_> {
    fn contains(&self, path: &TreePath, node: &Node) -> bool {
        self.part.is_none_or(|part| (part.contains)(path, node))
    }

    fn whiteouts(&self) -> BTreeSet<&TreePath> {
        self.part.map(|part| part.whiteouts.iter().collect()).unwrap_or_default()
    }

    fn check_whiteouts(&self) -> Result<(), ImageError> {
        const MOST: usize = 255 - WHITEOUT.len();
        for path in self.whiteouts() {
            let directory = path.parent().and_then(|parent| self.tree.tree().get(&parent));
            let reason = match (path.file_name(), directory.map(|node| &node.kind)) {
                (None, _) => "the root can't be deleted".to_owned(),
                (Some(name), _) if name.len() > MOST => {
                    format!("it is to be deleted, and its name is longer than {MOST} bytes")
                }
                (Some(_), Some(NodeKind::Directory)) => continue,
                (Some(_), _) => "it is to be deleted, and its directory is not in the tree".to_owned(),
            };
            return Err(ImageError::CannotHold { format: FORMAT, path: path.clone(), reason });
        }
        Ok(())
    }

    /// Shows every entry, and the content where it carries one, in the order of the archive.
    fn visit(&self, visit: &mut Visit<'_>) -> Result<(), ImageError> {
        let carriers = self.carriers();
        let mut directories = BTreeSet::new();
        for path in self.whiteouts() {
            self.visit_above(path, &mut directories, visit)?;
            visit(&Entry::whiteout(path), None)?;
        }
        let mut nodes: Vec<(&TreePath, &Node)> = self.tree.iter().collect();
        nodes.sort_by(|(a, _), (b, _)| by_directory(a, b));
        for (path, node) in nodes {
            if !self.contains(path, node) || directories.contains(path) {
                continue;
            }
            self.visit_above(path, &mut directories, visit)?;
            let (home, node) = match &node.kind {
                NodeKind::Hardlink(target) => (target, self.tree.tree().get(target).unwrap_or(node)),
                _ => (path, node),
            };
            match (carriers.get(home), &node.kind) {
                (Some(carrier), _) if *carrier != path => visit(&Entry::hardlink(path, node, carrier), None)?,
                (_, NodeKind::File(content)) => visit(&Entry::new(path, node), Some(content))?,
                (_, NodeKind::Directory) => self.visit_directory(path, node, &mut directories, visit)?,
                _ => visit(&Entry::new(path, node), None)?,
            }
        }
        Ok(())
    }

    /// The directories above a path that were not shown yet. Where its own has been shown, all have.
    fn visit_above(
        &self,
        path: &TreePath,
        seen: &mut BTreeSet<TreePath>,
        visit: &mut Visit<'_>,
    ) -> Result<(), ImageError> {
        if path.parent().is_none_or(|parent| seen.contains(&parent)) {
            return Ok(());
        }
        for directory in path.ancestors() {
            if let Some(node) = self.tree.tree().get(&directory)
                && !seen.contains(&directory)
            {
                self.visit_directory(&directory, node, seen, visit)?;
            }
        }
        Ok(())
    }

    fn visit_directory(
        &self,
        path: &TreePath,
        node: &Node,
        seen: &mut BTreeSet<TreePath>,
        visit: &mut Visit<'_>,
    ) -> Result<(), ImageError> {
        if self.settings.root || !path.is_root() {
            visit(&Entry::new(path, node), None)?;
        }
        seen.insert(path.clone());
        Ok(())
    }

    /// For each file of which several names are written, by its name in the tree: the first of them.
    fn carriers(&self) -> BTreeMap<&TreePath, &TreePath> {
        let mut carriers: BTreeMap<&TreePath, &TreePath> = BTreeMap::new();
        for (target, names) in self.tree.hardlink_groups() {
            let written = names
                .into_iter()
                .filter(|name| self.tree.tree().get(name).is_some_and(|node| self.contains(name, node)));
            if let Some(first) = written.min_by(|a, b| by_directory(a, b)) {
                carriers.insert(target, first);
            }
        }
        carriers
    }
}

#[cfg(test)]
mod tests;
