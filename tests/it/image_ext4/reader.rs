//! A small reader of ext4 images, written for these tests only: it shares nothing with the writer.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath, ValidTree};

const BLOCK: u64 = 4096;

pub(super) struct Reader {
    file: File,
    inodes_per_group: u64,
}

impl Reader {
    pub(super) fn new(file: File) -> Self {
        let mut reader = Self { file, inodes_per_group: 1 };
        let superblock = reader.bytes(1024, 1024);
        assert_eq!(number(&superblock, 0x38, 2), 0xef53);
        reader.inodes_per_group = number(&superblock, 0x28, 4);
        reader
    }

    /// Everything below the root.
    pub(super) fn tree(&self) -> ValidTree {
        let mut tree = Tree::new();
        let mut files = HashMap::new();
        let root = TreePath::root();
        tree.insert(root.clone(), self.node(2));
        let mut directories = vec![(root, 2)];
        while let Some((path, inode)) = directories.pop() {
            for (name, child, file_type) in self.names(inode) {
                let path = path.join(&name).expect("a good name");
                let mut node = self.node(child);
                let expected = match &node.kind {
                    NodeKind::File(_) => 1,
                    NodeKind::Directory => 2,
                    NodeKind::CharDevice { .. } => 3,
                    NodeKind::BlockDevice { .. } => 4,
                    NodeKind::Fifo => 5,
                    NodeKind::Symlink(_) => 7,
                    NodeKind::Hardlink(_) => unreachable!("inodes are no hardlinks"),
                };
                assert_eq!(file_type, expected, "{path}");
                match node.kind {
                    NodeKind::Directory => directories.push((path.clone(), child)),
                    NodeKind::File(_) => {
                        if let Some(first) = files.get(&child) {
                            node.kind = NodeKind::Hardlink(TreePath::clone(first));
                        } else {
                            files.insert(child, path.clone());
                        }
                    }
                    _ => {}
                }
                assert!(tree.insert(path, node).is_none());
            }
        }
        tree.validate().expect("a valid tree")
    }

    fn bytes(&self, position: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, position).expect("within the image");
        bytes
    }

    fn inode(&self, inode: u64) -> Vec<u8> {
        let group = (inode - 1) / self.inodes_per_group;
        let descriptor = self.bytes(BLOCK + group * 64, 64);
        let table = number(&descriptor, 8, 4) | number(&descriptor, 0x28, 4) << 32;
        self.bytes(table * BLOCK + (inode - 1) % self.inodes_per_group * 256, 256)
    }

    fn node(&self, number_of_inode: u64) -> Node {
        let inode = self.inode(number_of_inode);
        let mode = number(&inode, 0, 2);
        let word = number(&inode, 0x28, 4);
        let second = number(&inode, 0x2c, 4);
        let (major, minor) = if word != 0 {
            (word >> 8 & 0xff, word & 0xff)
        } else {
            (second >> 8 & 0xfff, second & 0xff | second >> 12 & 0xf_ff00)
        };
        let (major, minor) = (major as u32, minor as u32);
        let kind = match mode >> 12 {
            1 => NodeKind::Fifo,
            2 => NodeKind::CharDevice { major, minor },
            4 => NodeKind::Directory,
            6 => NodeKind::BlockDevice { major, minor },
            8 => NodeKind::File(Content::from_bytes(self.content(&inode))),
            10 => NodeKind::Symlink(self.content(&inode)),
            other => panic!("type {other} of inode {number_of_inode}"),
        };
        let low = number(&inode, 0x10, 4) as u32 as i32;
        let epoch = number(&inode, 0x88, 4);
        for (time, extra) in [(0x08, 0x8c), (0x0c, 0x84), (0x90, 0x94)] {
            assert_eq!(inode[time..time + 4], inode[0x10..0x14]);
            assert_eq!(inode[extra..extra + 4], inode[0x88..0x8c]);
        }
        let metadata = Metadata {
            mode: (mode & 0o7777) as u32,
            uid: (number(&inode, 2, 2) | number(&inode, 0x78, 2) << 16) as u32,
            gid: (number(&inode, 0x18, 2) | number(&inode, 0x7a, 2) << 16) as u32,
            mtime: i64::from(low) + ((epoch as i64) << 32),
        };
        let mut node = Node::new(kind, metadata, Origin::skeleton());
        let inside = 128 + number(&inode, 0x80, 2) as usize;
        if number(&inode, inside, 4) == 0xea02_0000 {
            self.attributes(&mut node, &inode, inside + 4, inside + 4);
        }
        let block = number(&inode, 0x68, 4) | number(&inode, 0x76, 2) << 32;
        if block != 0 {
            let block = self.bytes(block * BLOCK, BLOCK as usize);
            assert_eq!(number(&block, 0, 4), 0xea02_0000);
            self.attributes(&mut node, &block, 32, 0);
        }
        node
    }

    fn attributes(&self, node: &mut Node, bytes: &[u8], start: usize, base: usize) {
        let mut at = start;
        while number(bytes, at, 4) != 0 {
            let length = usize::from(bytes[at]);
            let mut name = match bytes[at + 1] {
                1 => &b"user."[..],
                2 => b"system.posix_acl_access",
                3 => b"system.posix_acl_default",
                4 => b"trusted.",
                6 => b"security.",
                other => panic!("prefix {other}"),
            }
            .to_vec();
            name.extend_from_slice(&bytes[at + 16..at + 16 + length]);
            let size = number(bytes, at + 8, 4) as usize;
            let mut value = match number(bytes, at + 4, 4) {
                0 => {
                    let from = base + number(bytes, at + 2, 2) as usize;
                    bytes[from..from + size].to_vec()
                }
                inode => {
                    let value = self.content(&self.inode(inode));
                    assert_eq!(value.len(), size);
                    value
                }
            };
            if matches!(bytes[at + 1], 2 | 3) {
                value = acl(&value);
            }
            assert!(node.xattrs.insert(name, value).is_none());
            at += 16 + length.next_multiple_of(4);
        }
    }

    fn content(&self, inode: &[u8]) -> Vec<u8> {
        let size = (number(inode, 4, 4) | number(inode, 0x6c, 4) << 32) as usize;
        let root = &inode[0x28..0x28 + 60];
        if number(inode, 0x20, 4) & 0x8_0000 == 0 {
            return root[..size.min(60)].to_vec();
        }
        let mut content = vec![0; size.next_multiple_of(BLOCK as usize)];
        self.extents(root, &mut content);
        assert!(content[size..].iter().all(|&byte| byte == 0), "zeros behind the end");
        content.truncate(size);
        content
    }

    fn extents(&self, node: &[u8], content: &mut [u8]) {
        assert_eq!(number(node, 0, 2), 0xf30a);
        let depth = number(node, 6, 2);
        for entry in node[12..].chunks_exact(12).take(number(node, 2, 2) as usize) {
            if depth > 0 {
                let block = number(entry, 4, 4) | number(entry, 8, 2) << 32;
                self.extents(&self.bytes(block * BLOCK, BLOCK as usize), content);
                continue;
            }
            let physical = number(entry, 8, 4) | number(entry, 6, 2) << 32;
            let start = (number(entry, 0, 4) * BLOCK) as usize;
            let length = (number(entry, 4, 2) * BLOCK) as usize;
            let place = &mut content[start..start + length];
            self.file.read_exact_at(place, physical * BLOCK).expect("within the image");
            for block in place.chunks(BLOCK as usize) {
                assert!(block.iter().any(|&byte| byte != 0), "a block of zeros");
            }
        }
    }

    fn names(&self, inode: u64) -> Vec<(Vec<u8>, u64, u8)> {
        let content = self.content(&self.inode(inode));
        let mut names = Vec::new();
        for block in content.chunks(BLOCK as usize) {
            let mut at = 0;
            while at < block.len() {
                let name = &block[at + 8..at + 8 + usize::from(block[at + 6])];
                let child = number(block, at, 4);
                if child != 0 && name != b"." && name != b".." {
                    names.push((name.to_vec(), child, block[at + 7]));
                }
                at += number(block, at + 4, 2) as usize;
            }
        }
        names
    }
}

/// The form of the system calls.
fn acl(value: &[u8]) -> Vec<u8> {
    assert_eq!(number(value, 0, 4), 1);
    let mut bytes = vec![2, 0, 0, 0];
    let mut rest = &value[4..];
    while !rest.is_empty() {
        let length = if matches!(rest[0], 2 | 8) { 8 } else { 4 };
        bytes.extend_from_slice(&rest[..length]);
        bytes.resize(bytes.len() + 8 - length, 0xff);
        rest = &rest[length..];
    }
    bytes
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}
