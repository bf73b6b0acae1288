//! The files of a package: `paths` of its ADB block, and which contents follow.

use std::collections::BTreeMap;
use std::io::{self, Write};

use ring::digest::{Context, SHA256};

use super::Owners;
use crate::apk::ApkError;
use crate::apk::adb::package::{device_number, file_type, slot};
use crate::apk::adb::value::{Builder, Value};
use crate::apk::checksum::into_array;
use crate::tree::{Content, Node, NodeKind, TreePath, ValidTree};

/// The files of a package on their way into its ADB block.
pub(super) struct Files<'a> {
    pub(super) owners: &'a Owners,
    pub(super) builder: Builder,
    /// Contents that follow the ADB block, by the numbers of their directories and their own.
    pub(super) contents: Vec<((u32, u32), &'a TreePath, &'a Content)>,
    /// Of all files together.
    pub(super) size: u64,
}

/// A directory, and what stands in it.
type Directory<'a> = (&'a Node, Vec<(&'a TreePath, &'a Node)>);

impl<'a> Files<'a> {
    /// The directories with what they hold, in the order of their paths.
    pub(super) fn paths(&mut self, tree: &'a ValidTree) -> Result<Value, ApkError> {
        // The name that carries the content, by the name that carries it in the tree: the first that is written.
        let first_names: BTreeMap<&TreePath, &TreePath> = tree
            .hardlink_groups()
            .into_iter()
            .filter_map(|(target, names)| {
                Some((target, names.into_iter().min_by_key(|path| place_of(path))?))
            })
            .collect();
        let mut directories: BTreeMap<&[u8], Directory<'_>> = BTreeMap::new();
        for (path, node) in tree.iter() {
            if matches!(node.kind, NodeKind::Directory) {
                directories.insert(path.as_bytes(), (node, Vec::new()));
            }
        }
        for (path, node) in tree.iter().filter(|(_, node)| !matches!(node.kind, NodeKind::Directory)) {
            // A valid tree has every parent.
            if let Some((_, files)) = directories.get_mut(place_of(path).0) {
                files.push((path, node));
            }
        }
        let mut items = Vec::new();
        for (path, (node, mut files)) in directories {
            files.sort_by_key(|(path, _)| path.file_name());
            let number = u32::try_from(items.len() + 1).unwrap_or(u32::MAX);
            let mut file_items = Vec::new();
            for (path, node) in files {
                let place = (number, u32::try_from(file_items.len() + 1).unwrap_or(u32::MAX));
                file_items.push(self.file(tree, &first_names, path, node, place)?);
            }
            let name = self.builder.blob(path)?;
            let shown = format!("/{}", path.escape_ascii());
            let acl = self.acl(&shown, node)?;
            let files = self.builder.array(&file_items)?;
            items.push(self.builder.object(&[name, acl, files])?);
        }
        self.builder.array(&items)
    }

    fn file(
        &mut self,
        tree: &'a ValidTree,
        first_names: &BTreeMap<&TreePath, &TreePath>,
        path: &'a TreePath,
        node: &'a Node,
        place: (u32, u32),
    ) -> Result<Value, ApkError> {
        let target = match &node.kind {
            NodeKind::Hardlink(target) => target,
            _ => path,
        };
        // A valid tree has the target of every hardlink.
        let node = tree.tree().get(target).unwrap_or(node);
        let mut slots = [Value::NULL; slot::TARGET];
        let name = path.file_name().unwrap_or_default();
        let mut special = None;
        match &node.kind {
            NodeKind::File(content) => {
                let reading =
                    |source| ApkError::Io { doing: format!("reading the content of {path}"), source };
                slots[slot::SIZE - 1] = self.builder.number(content.len())?;
                slots[slot::HASHES - 1] = self.builder.blob(&hash(content).map_err(reading)?)?;
                match first_names.get(target) {
                    Some(first) if *first != path => {
                        special = Some((file_type::REGULAR, first.as_bytes().to_vec()));
                    }
                    _ => {
                        self.size = self.size.saturating_add(content.len());
                        if !content.is_empty() {
                            self.contents.push((place, path, content));
                        }
                    }
                }
            }
            NodeKind::Symlink(target) => special = Some((file_type::SYMLINK, target.clone())),
            NodeKind::CharDevice { major, minor } => {
                let number = device_number(*major, *minor);
                special = Some((file_type::CHAR_DEVICE, number.to_le_bytes().to_vec()));
            }
            NodeKind::BlockDevice { major, minor } => {
                let number = device_number(*major, *minor);
                special = Some((file_type::BLOCK_DEVICE, number.to_le_bytes().to_vec()));
            }
            NodeKind::Fifo => special = Some((file_type::FIFO, vec![0; 8])),
            // Not among the files, and followed.
            NodeKind::Directory | NodeKind::Hardlink(_) => {}
        }
        if let Some((kind, rest)) = special {
            slots[slot::TARGET - 1] = self.builder.blob(&[&kind.to_le_bytes()[..], &rest].concat())?;
        }
        let Ok(mtime) = u64::try_from(node.metadata.mtime) else {
            let reason = "its time is before 1970".to_owned();
            return Err(ApkError::Unpackable { path: path.to_string(), reason });
        };
        slots[slot::MTIME - 1] = self.builder.number(mtime)?;
        slots[slot::NAME - 1] = self.builder.blob(name)?;
        slots[slot::ACL - 1] = self.acl(&path.to_string(), node)?;
        self.builder.object(&slots)
    }

    fn acl(&mut self, path: &str, node: &Node) -> Result<Value, ApkError> {
        let metadata = node.metadata;
        let name = |names: &BTreeMap<u32, String>, id: u32, what: &str| match (names.get(&id), id) {
            (Some(name), _) => Ok(name.clone()),
            (None, 0) => Ok("root".to_owned()),
            (None, id) => Err(ApkError::Unpackable {
                path: path.to_owned(),
                reason: format!("format v3 holds owners by name, and the {what} {id} has none"),
            }),
        };
        let user = name(&self.owners.users, metadata.uid, "user")?;
        let group = name(&self.owners.groups, metadata.gid, "group")?;
        let builder = &mut self.builder;
        let mut xattrs = Vec::new();
        for (name, value) in &node.xattrs {
            xattrs.push(builder.blob(&[&name[..], b"\0", value].concat())?);
        }
        let mut slots = [Value::NULL; slot::XATTRS];
        slots[slot::MODE - 1] = builder.number(u64::from(metadata.mode & 0o7777))?;
        slots[slot::USER - 1] = builder.blob(user.as_bytes())?;
        slots[slot::GROUP - 1] = builder.blob(group.as_bytes())?;
        slots[slot::XATTRS - 1] = builder.array(&xattrs)?;
        builder.object(&slots)
    }
}

/// The directory that a file stands in, and its name there: files are written in the order of these.
fn place_of(path: &TreePath) -> (&[u8], &[u8]) {
    let bytes = path.as_bytes();
    match bytes.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&bytes[..slash], &bytes[slash + 1..]),
        None => (b"", bytes),
    }
}

fn hash(content: &Content) -> io::Result<[u8; 32]> {
    let mut hashing = Hashing(Context::new(&SHA256));
    io::copy(&mut content.reader()?, &mut hashing)?;
    Ok(into_array(hashing.0.finish().as_ref()))
}

/// Hashes what is written to it.
struct Hashing(Context);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
