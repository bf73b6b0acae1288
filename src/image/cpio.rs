//! The "new ASCII" cpio format (newc), of which the kernel unpacks its initramfs.
//!
//! Source: the kernel's [buffer format](https://docs.kernel.org/driver-api/early-userspace/buffer-format.html)
//! and `cpio(5)`. Every field of the header is eight hexadecimal digits; name and data are padded to four
//! bytes. All names of a hardlinked file have the same inode number, and the last one carries the data, as
//! GNU cpio writes it. The format has no extended attributes, sizes and times are 32 bits wide.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use ring::digest;

use super::ImageError;
use crate::tree::{Content, Metadata, Node, NodeKind, TreePath, ValidTree};

/// "070701": newc without checksums.
const MAGIC: &str = "070701";
/// The bytes of a header: the magic number and 13 fields of eight digits.
const HEADER: u64 = 110;
/// The name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";
/// Archives end at a multiple of this, as GNU cpio's do.
const BLOCK: u64 = 512;

const S_IFIFO: u32 = 0o010_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// Writes the whole tree as one archive, in path order, inode numbers counted from 1: the same tree always
/// gives the same bytes.
///
/// # Errors
/// [`ImageError::CannotHold`] before anything is written; errors of reading contents and of `output`.
pub fn write(tree: &ValidTree, output: &mut dyn Write) -> Result<(), ImageError> {
    write_member(tree, &|_, _| true, output)
}

/// Writes the nodes that `wanted` says, and the directories that they are in, as one archive: one member of an initramfs
/// of several, which the kernel unpacks one after the other. All names of a hardlinked file are in one member, that of
/// the file itself.
///
/// # Errors
/// As [`write()`].
pub fn write_member(tree: &ValidTree, wanted: Wanted<'_>, output: &mut dyn Write) -> Result<(), ImageError> {
    check(tree)?;
    let mut archive = Archive { output, position: 0 };
    for_each_entry(tree, wanted, |entry| archive.entry(entry))?;
    archive.end().map_err(ImageError::Write)
}

/// The SHA-256 of everything that decides what [`write_member`] writes: two members of the same have the same bytes. No
/// content is read of which the hash is known.
///
/// # Errors
/// [`ImageError::Content`] when a content must be read and can't be.
pub fn member_sum(tree: &ValidTree, wanted: Wanted<'_>) -> Result<[u8; 32], ImageError> {
    let mut context = digest::Context::new(&digest::SHA256);
    for_each_entry(tree, wanted, |entry| {
        let Entry { path, metadata, file_type, device, inode, names, data } = entry;
        let Metadata { mode, uid, gid, mtime } = metadata;
        let (kind, length, sum) = match data {
            Data::None => (0, 0, [0; 32]),
            Data::Bytes(bytes) => {
                let content = Content::from_bytes(bytes.to_vec());
                (1, content.len(), content.sha256().map_err(ImageError::Write)?)
            }
            Data::Content(content) => {
                let failed = |source| ImageError::Content { path: (*path).clone(), source };
                (2, content.len(), content.sha256().map_err(failed)?)
            }
        };
        let numbers = [*file_type, *mode, *uid, *gid, device.0, device.1, *inode, kind];
        numbers.iter().for_each(|number| context.update(&number.to_le_bytes()));
        let sizes = [mtime.cast_unsigned(), *names as u64, length, path.as_bytes().len() as u64];
        sizes.iter().for_each(|size| context.update(&size.to_le_bytes()));
        context.update(path.as_bytes());
        context.update(&sum);
        Ok(())
    })?;
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    Ok(sum)
}

/// Which nodes are in a member.
pub type Wanted<'a> = &'a dyn Fn(&TreePath, &Node) -> bool;

fn for_each_entry<'a>(
    tree: &'a ValidTree,
    wanted: Wanted<'_>,
    mut each: impl FnMut(&Entry<'a>) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let groups = tree.hardlink_groups();
    let is_wanted = |path: &TreePath, node: &Node| match &node.kind {
        NodeKind::Hardlink(target) => tree.tree().get(target).is_some_and(|node| wanted(target, node)),
        _ => wanted(path, node),
    };
    let mut directories: BTreeSet<TreePath> = BTreeSet::new();
    for (path, _) in tree.iter().filter(|(path, node)| is_wanted(path, node)) {
        let mut parent = path.parent();
        while let Some(directory) = parent {
            parent = directory.parent();
            if !directories.insert(directory) {
                break;
            }
        }
    }
    let mut links: BTreeMap<&TreePath, Links<'_>> = BTreeMap::new();
    let mut next_inode = 0_u32;
    for (path, node) in tree.iter() {
        if !is_wanted(path, node) && !directories.contains(path) {
            continue;
        }
        let (target, node) = match &node.kind {
            NodeKind::Hardlink(target) => (target, tree.tree().get(target).unwrap_or(node)),
            _ => (path, node),
        };
        let mut entry = Entry::new(path, node);
        if let Some(names) = groups.get(target) {
            let links = links.entry(target).or_insert_with(|| {
                next_inode += 1;
                Links { inode: next_inode, last: names.iter().max().copied().unwrap_or(target) }
            });
            entry.inode = links.inode;
            entry.names = names.len();
            if path != links.last {
                entry.data = Data::None;
            }
        } else {
            next_inode += 1;
            entry.inode = next_inode;
        }
        each(&entry)?;
    }
    Ok(())
}

/// How many bytes of an archive the node's own entry takes: header, name, data and what pads them. The data of a
/// hardlink counts with the file that it names.
pub fn entry_size(path: &TreePath, node: &Node) -> u64 {
    let name = path.as_bytes().len().max(1) as u64 + 1;
    (HEADER + name).next_multiple_of(4) + node.size().next_multiple_of(4)
}

/// What the archive can't express and leaves out without harm to what boots: extended attributes.
pub fn losses(tree: &ValidTree) -> Vec<String> {
    tree.iter()
        .flat_map(|(path, node)| {
            node.xattrs.keys().map(move |name| {
                format!("cpio has no extended attributes: {} of {path} is lost", name.escape_ascii())
            })
        })
        .collect()
}

fn check(tree: &ValidTree) -> Result<(), ImageError> {
    for (path, node) in tree.iter() {
        let reason = if u32::try_from(node.size()).is_err() {
            format!("it has {} bytes, and a file must be smaller than 4 GiB", node.size())
        } else if u32::try_from(node.metadata.mtime).is_err() {
            format!("its time, {} s since 1970, is outside 1970–2106", node.metadata.mtime)
        } else if path.as_bytes() == TRAILER {
            "an entry of this name ends an archive".to_owned()
        } else {
            continue;
        };
        return Err(ImageError::CannotHold { format: "cpio", path: path.clone(), reason });
    }
    Ok(())
}

struct Links<'a> {
    inode: u32,
    last: &'a TreePath,
}

enum Data<'a> {
    None,
    Bytes(&'a [u8]),
    Content(&'a Content),
}

struct Entry<'a> {
    path: &'a TreePath,
    metadata: Metadata,
    file_type: u32,
    device: (u32, u32),
    inode: u32,
    names: usize,
    data: Data<'a>,
}

impl<'a> Entry<'a> {
    fn new(path: &'a TreePath, node: &'a Node) -> Self {
        let mut device = (0, 0);
        let (file_type, data) = match &node.kind {
            NodeKind::Directory => (S_IFDIR, Data::None),
            NodeKind::File(content) => (S_IFREG, Data::Content(content)),
            NodeKind::Hardlink(_) => (S_IFREG, Data::None),
            NodeKind::Symlink(target) => (S_IFLNK, Data::Bytes(target)),
            NodeKind::Fifo => (S_IFIFO, Data::None),
            NodeKind::CharDevice { major, minor } => {
                device = (*major, *minor);
                (S_IFCHR, Data::None)
            }
            NodeKind::BlockDevice { major, minor } => {
                device = (*major, *minor);
                (S_IFBLK, Data::None)
            }
        };
        let names = if file_type == S_IFDIR { 2 } else { 1 };
        Self { path, metadata: node.metadata, file_type, device, inode: 0, names, data }
    }
}

struct Archive<'a> {
    output: &'a mut dyn Write,
    position: u64,
}

impl Archive<'_> {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), ImageError> {
        let size = match entry.data {
            Data::None => 0,
            Data::Bytes(bytes) => bytes.len() as u64,
            Data::Content(content) => content.len(),
        };
        let name = if entry.path.is_root() { b"." } else { entry.path.as_bytes() };
        self.header(&Header {
            inode: entry.inode,
            mode: entry.file_type | entry.metadata.mode,
            uid: entry.metadata.uid,
            gid: entry.metadata.gid,
            links: u32::try_from(entry.names).unwrap_or(u32::MAX),
            mtime: u32::try_from(entry.metadata.mtime).unwrap_or_default(),
            size: u32::try_from(size).unwrap_or_default(),
            device: entry.device,
            name,
        })
        .map_err(ImageError::Write)?;
        match entry.data {
            Data::None => {}
            Data::Bytes(bytes) => self.write(bytes).map_err(ImageError::Write)?,
            Data::Content(content) => self.content(entry.path, content)?,
        }
        self.pad(4).map_err(ImageError::Write)
    }

    /// Copies a content, and tells apart which side failed.
    fn content(&mut self, path: &TreePath, content: &Content) -> Result<(), ImageError> {
        let failed = |source| ImageError::Content { path: path.clone(), source };
        let mut reader = content.reader().map_err(failed)?;
        let mut buffer = [0; 64 * 1024];
        loop {
            match io::Read::read(&mut reader, &mut buffer).map_err(failed)? {
                0 => return Ok(()),
                count => self.write(&buffer[..count]).map_err(ImageError::Write)?,
            }
        }
    }

    fn header(&mut self, header: &Header<'_>) -> io::Result<()> {
        let Header { inode, mode, uid, gid, links, mtime, size, device: (major, minor), name } = header;
        let name_size = name.len() + 1;
        let text = format!(
            "{MAGIC}{inode:08x}{mode:08x}{uid:08x}{gid:08x}{links:08x}{mtime:08x}{size:08x}\
             {:08x}{:08x}{major:08x}{minor:08x}{name_size:08x}{:08x}",
            0, 0, 0
        );
        self.write(text.as_bytes())?;
        self.write(name)?;
        self.write(&[0])?;
        self.pad(4)
    }

    fn end(&mut self) -> io::Result<()> {
        self.header(&Header {
            inode: 0,
            mode: 0,
            uid: 0,
            gid: 0,
            links: 1,
            mtime: 0,
            size: 0,
            device: (0, 0),
            name: TRAILER,
        })?;
        self.pad(BLOCK)
    }

    fn pad(&mut self, to: u64) -> io::Result<()> {
        const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
        let count = (to - self.position % to) % to;
        self.write(&ZEROS[..usize::try_from(count).unwrap_or_default()])
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        self.output.write_all(bytes)
    }
}

/// One header; the fields in the order of the format. `c_devmajor`, `c_devminor` and `c_check` are zero.
struct Header<'a> {
    inode: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    links: u32,
    mtime: u32,
    size: u32,
    device: (u32, u32),
    name: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Origin, Tree};

    fn node(kind: NodeKind) -> Node {
        Node::new(kind, Metadata::FILE, Origin::skeleton())
    }

    fn archive(tree: Tree) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&tree.validate().expect("valid"), &mut bytes).expect("written");
        bytes
    }

    #[test]
    fn the_header_is_as_specified() {
        let mut tree = Tree::new();
        tree.insert("a".parse().expect("good"), node(NodeKind::File(Content::from_bytes(*b"xyz"))));
        let bytes = archive(tree);
        let root = "070701000000010000 41ed0000000000000000000000020000000000000000000000000000000000000000\
                    00000000000000020000 0000"
            .replace(' ', "");
        assert_eq!(&bytes[..110], root.as_bytes());
        assert_eq!(&bytes[110..112], b".\0");
        assert_eq!(&bytes[112..126], b"07070100000002");
        assert_eq!(&bytes[112 + 110..112 + 110 + 2 + 3], b"a\0xyz");
        assert_eq!(bytes.len() % 512, 0);
    }

    #[test]
    fn the_last_name_of_a_file_carries_its_data() {
        let mut tree = Tree::new();
        tree.insert("b".parse().expect("good"), node(NodeKind::File(Content::from_bytes(*b"data"))));
        for name in ["a", "c"] {
            tree.insert(name.parse().expect("good"), node(NodeKind::Hardlink("b".parse().expect("good"))));
        }
        let text = String::from_utf8_lossy(&archive(tree)).into_owned();
        let at = |name: &str| text.find(&format!("{name}\0")).expect("there");
        assert_eq!(text.matches("data").count(), 1);
        assert!(text.find("data").expect("there") > at("c"));
        let inode = |name: &str| text[at(name) - 104..at(name) - 96].to_owned();
        assert_eq!(inode("a"), inode("b"));
        assert_eq!(inode("b"), inode("c"));
        assert_eq!(&text[at("a") - 72..at("a") - 64], "00000003", "three names");
    }

    #[test]
    fn what_does_not_fit_is_refused_before_writing() {
        for (mtime, size) in [(-1, 0), (1 << 32, 0), (0, 1 << 32)] {
            let mut tree = Tree::new();
            let mut large = node(NodeKind::File(Content::from_path("/nowhere", size)));
            large.metadata.mtime = mtime;
            tree.insert("a".parse().expect("good"), large);
            let mut bytes = Vec::new();
            let error = write(&tree.validate().expect("valid"), &mut bytes).expect_err("too large");
            assert!(matches!(error, ImageError::CannotHold { .. }), "{error}");
            assert!(bytes.is_empty());
        }
    }

    #[test]
    fn the_name_that_ends_archives_is_refused_where_it_would() {
        for (place, holds) in [("TRAILER!!!", false), ("a/TRAILER!!!", true), ("TRAILER!!!!", true)] {
            let mut tree = Tree::new();
            tree.insert_with_parents(place.parse().expect("good"), node(NodeKind::Fifo));
            let result = write(&tree.validate().expect("valid"), &mut io::sink());
            assert_eq!(result.is_ok(), holds, "{place}: {result:?}");
        }
    }
}
