//! One entry of an archive as bytes: its header, and its extension header where it needs one.

use std::collections::BTreeMap;

use super::{FORMAT, WHITEOUT};
use crate::archive::ustar::{BLOCK, Header, Kind, NAME, pax_record, split};
use crate::image::ImageError;
use crate::tree::{Metadata, Node, NodeKind, TreePath};

/// What the fields for owners and devices hold at most: seven octal digits.
const MOST_ID: u32 = 0o7_777_777;
/// What the fields for times hold at most: eleven octal digits.
const MOST_TIME: i64 = 0o77_777_777_777;
/// What the field for sizes holds in octal digits at most.
const MOST_SIZE: u64 = 0o77_777_777_777;
/// How much one extension header may have: Go's `archive/tar` reads no larger one (`maxSpecialFileSize`), and so does
/// nothing that runs containers.
const MOST_EXTENSION: usize = 1 << 20;

/// What stands in an archive under one name.
pub(super) struct Entry<'a> {
    /// Where it stands in the tree, for messages.
    pub(super) path: &'a TreePath,
    name: Vec<u8>,
    kind: Kind,
    metadata: Metadata,
    size: u64,
    linkname: &'a [u8],
    device: (u32, u32),
    xattrs: Option<&'a BTreeMap<Vec<u8>, Vec<u8>>>,
    whiteout: bool,
}

impl<'a> Entry<'a> {
    /// A node that is no hardlink.
    pub(super) fn new(path: &'a TreePath, node: &'a Node) -> Self {
        let mut entry = Self {
            path,
            name: path.as_bytes().to_vec(),
            kind: Kind::File,
            metadata: node.metadata,
            size: 0,
            linkname: b"",
            device: (0, 0),
            xattrs: Some(&node.xattrs),
            whiteout: false,
        };
        match &node.kind {
            NodeKind::Directory => {
                entry.kind = Kind::Directory;
                entry.name.extend_from_slice(if path.is_root() { b"./" } else { b"/" });
            }
            NodeKind::File(content) => entry.size = content.len(),
            NodeKind::Symlink(target) => {
                entry.kind = Kind::Symlink;
                entry.linkname = target;
            }
            NodeKind::Hardlink(target) => {
                entry.kind = Kind::Hardlink;
                entry.linkname = target.as_bytes();
            }
            NodeKind::CharDevice { major, minor } => {
                entry.kind = Kind::CharDevice;
                entry.device = (*major, *minor);
            }
            NodeKind::BlockDevice { major, minor } => {
                entry.kind = Kind::BlockDevice;
                entry.device = (*major, *minor);
            }
            NodeKind::Fifo => entry.kind = Kind::Fifo,
        }
        entry
    }

    /// A further name of `file`, of which the archive has the content as `carrier`.
    pub(super) fn hardlink(path: &'a TreePath, file: &'a Node, carrier: &'a TreePath) -> Self {
        Self { kind: Kind::Hardlink, size: 0, linkname: carrier.as_bytes(), ..Self::new(path, file) }
    }

    /// The empty file that says that `path` is no more.
    pub(super) fn whiteout(path: &'a TreePath) -> Self {
        let name = path.file_name().unwrap_or_default();
        let directory = &path.as_bytes()[..path.as_bytes().len() - name.len()];
        Self {
            path,
            name: [directory, WHITEOUT, name].concat(),
            kind: Kind::File,
            metadata: Metadata { mode: 0, ..Metadata::FILE },
            size: 0,
            linkname: b"",
            device: (0, 0),
            xattrs: None,
            whiteout: true,
        }
    }

    pub(super) fn is_whiteout(&self) -> bool {
        self.whiteout
    }

    pub(super) fn refused(&self, reason: String) -> ImageError {
        ImageError::CannotHold { format: FORMAT, path: self.path.clone(), reason }
    }

    /// What stands in front of the content, or why there is no such entry.
    pub(super) fn headers(&self) -> Result<Vec<u8>, String> {
        if self.kind == Kind::Symlink && (self.linkname.is_empty() || self.linkname.contains(&0)) {
            return Err("the target of a symbolic link is empty or holds a NUL byte".to_owned());
        }
        if i64::try_from(self.size).is_err() {
            return Err(format!("it has {} bytes, more than files can have", self.size));
        }
        let mut records = Records::default();
        let (prefix, name) = match split(&self.name) {
            Some(cut) if !wants_record(&self.name) => cut,
            _ => {
                records.text(b"path", &self.name);
                (&b""[..], &self.name[..])
            }
        };
        if self.linkname.len() > NAME || wants_record(self.linkname) {
            records.text(b"linkpath", self.linkname);
        }
        let Metadata { mode, uid, gid, mtime } = self.metadata;
        let id = |records: &mut Records, keyword: &[u8], id: u32| {
            if id <= MOST_ID {
                return id;
            }
            records.add(keyword, id.to_string().as_bytes());
            0
        };
        let uid = id(&mut records, b"uid", uid);
        let gid = id(&mut records, b"gid", gid);
        if self.size > MOST_SIZE {
            records.add(b"size", self.size.to_string().as_bytes());
        }
        let mtime = match u64::try_from(mtime) {
            Ok(seconds) if mtime <= MOST_TIME => seconds,
            _ => {
                records.add(b"mtime", mtime.to_string().as_bytes());
                0
            }
        };
        for (name, value) in self.xattrs.into_iter().flatten() {
            records.xattr(name, value)?;
        }
        let header = Header {
            prefix,
            uid,
            gid,
            size: self.size,
            mtime,
            linkname: self.linkname,
            device: Some(self.device),
            ..Header::new(name, self.kind, mode & 0o7777)
        };
        let block = header
            .to_block()
            .map_err(|error| format!("its {} {} is larger than {MOST_ID}", error.field, error.value))?;
        let mut bytes = records.extension(&self.name)?;
        bytes.extend_from_slice(&block);
        Ok(bytes)
    }
}

/// Whether a name is given in a record even if it is short: only there other characters than ASCII's have a meaning,
/// UTF-8. A name that is not UTF-8 is bytes to everyone, and without meaning it stands best in the header: readers
/// that convert names warn of such a record.
fn wants_record(name: &[u8]) -> bool {
    !name.is_ascii() && std::str::from_utf8(name).is_ok()
}

/// The records of an extension header.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    /// Whether a name among them is not UTF-8.
    binary: bool,
}

impl Records {
    fn add(&mut self, keyword: &[u8], value: &[u8]) {
        self.bytes.extend(pax_record(keyword, value));
    }

    fn text(&mut self, keyword: &[u8], value: &[u8]) {
        self.binary |= std::str::from_utf8(value).is_err();
        self.add(keyword, value);
    }

    fn xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), String> {
        let has = |sequence: &[u8]| name.windows(sequence.len()).any(|window| window == sequence);
        let reason = if name.is_empty() || std::str::from_utf8(name).is_err() || has(b"\0") {
            "has no keyword: it is empty, not UTF-8 or holds a NUL byte"
        } else if has(b"=") {
            "has no keyword: it holds `=`"
        } else if has(b"%3D") || has(b"%25") {
            "would be read in two ways: GNU tar takes `%3D` and `%25` for `=` and `%`"
        } else {
            self.add(&[b"SCHILY.xattr.", name].concat(), value);
            return Ok(());
        };
        Err(format!("the name of its extended attribute {} {reason}", name.escape_ascii()))
    }

    /// The whole extension header of the entry called `name`; nothing if there are no records.
    fn extension(self, name: &[u8]) -> Result<Vec<u8>, String> {
        if self.bytes.is_empty() {
            return Ok(Vec::new());
        }
        // It concerns the records that come after it.
        let charset = if self.binary { pax_record(b"hdrcharset", b"BINARY") } else { Vec::new() };
        let size = charset.len() + self.bytes.len();
        if size > MOST_EXTENSION {
            return Err(format!(
                "its name and extended attributes have {size} bytes, and readers take {MOST_EXTENSION} at most"
            ));
        }
        // Only readers that don't know extension headers see the name.
        let last = name.split(|&byte| byte == b'/').rfind(|part| !part.is_empty()).unwrap_or_default();
        let shown: Vec<u8> = last.iter().copied().filter(u8::is_ascii_graphic).collect();
        let own_name = [b"PaxHeaders/", &shown[..]].concat();
        let block = Header { size: size as u64, ..Header::new(&own_name, Kind::Pax, 0o644) }
            .to_block()
            .expect("a size of at most 1 MiB fits");
        let mut bytes = Vec::with_capacity(2 * BLOCK + size.next_multiple_of(BLOCK));
        bytes.extend_from_slice(&block);
        bytes.extend(charset);
        bytes.extend(self.bytes);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        Ok(bytes)
    }
}
