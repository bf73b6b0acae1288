//! `.apk` files from trees.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Cursor, Read, Seek, SeekFrom, Write};

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::tar::{Header, Kind, SegmentWriter};
use super::{PrivateKey, gzip, gzip_bytes, signature_member, while_writing};
use crate::apk::checksum::{into_array, sha1};
use crate::apk::package::SCRIPTS;
use crate::apk::package_info::package_name;
use crate::apk::{ApkError, PackageInfo, Version};
use crate::tree::{Content, Node, NodeKind, TreePath, ValidTree};

/// Writes a package: `info` (its sizes and data hash are computed), the files of `tree`, and scripts by the
/// names in [`SCRIPTS`]. Without a key it is unsigned, as most of Alpine's tools leave it: an index that names it
/// is enough to trust it.
///
/// The data member must be hashed before what stands in front of it can be written, so it goes to `scratch`
/// (from where it stands on; a temporary file) first. Gives the description as it is in the package.
///
/// # Errors
/// [`ApkError::Unpackable`] for what no package can hold, and when reading contents or writing fails.
pub fn pack(
    info: &PackageInfo,
    tree: &ValidTree,
    scripts: &[(String, Vec<u8>)],
    key: Option<&PrivateKey>,
    scratch: &mut (impl Read + Write + Seek),
    output: &mut impl Write,
) -> Result<PackageInfo, ApkError> {
    let unpackable = |path: &str, reason: String| ApkError::Unpackable { path: path.to_owned(), reason };
    package_name(&info.name).map_err(|reason| unpackable("pkgname", reason))?;
    info.version.parse::<Version>().map_err(|error| unpackable("pkgver", error.to_string()))?;

    let start = scratch.stream_position().map_err(while_writing)?;
    let hashing = Hashing { output: BufWriter::new(&mut *scratch), context: Context::new(&SHA256) };
    let mut segment = SegmentWriter::new(gzip(hashing));
    let installed_size = write_files(tree, &mut segment)?;
    let Hashing { output: mut buffered, context } = segment.finish()?.finish().map_err(while_writing)?;
    buffered.flush().map_err(while_writing)?;
    drop(buffered);

    // apk takes a package of size 0 for one without files and scripts, and doesn't open it.
    let holds_something = !scripts.is_empty() || tree.iter().any(|(path, _)| !path.is_root());
    let info = PackageInfo {
        installed_size: installed_size.max(holds_something.into()),
        data_hash: Some(into_array(context.finish().as_ref())),
        ..info.clone()
    };
    let control = gzip_bytes(&control_segment(&info, scripts)?)?;
    if let Some(key) = key {
        output.write_all(&signature_member(key, &control)?).map_err(while_writing)?;
    }
    output.write_all(&control).map_err(while_writing)?;
    scratch.seek(SeekFrom::Start(start)).map_err(while_writing)?;
    io::copy(scratch, output).map_err(while_writing)?;
    output.flush().map_err(while_writing)?;
    Ok(info)
}

/// [`pack`] for a package that is small enough to be held in memory twice.
///
/// # Errors
/// As [`pack`].
pub fn pack_in_memory(
    info: &PackageInfo,
    tree: &ValidTree,
    scripts: &[(String, Vec<u8>)],
    key: Option<&PrivateKey>,
) -> Result<Vec<u8>, ApkError> {
    let mut output = Vec::new();
    pack(info, tree, scripts, key, &mut Cursor::new(Vec::new()), &mut output)?;
    Ok(output)
}

/// `.PKGINFO` and the scripts, without the end of an archive.
fn control_segment(info: &PackageInfo, scripts: &[(String, Vec<u8>)]) -> Result<Vec<u8>, ApkError> {
    let mut segment = SegmentWriter::new(Vec::new());
    segment.file(b".PKGINFO", 0o644, info.to_text()?.as_bytes())?;
    let mut by_name: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for (name, content) in scripts {
        if !SCRIPTS.contains(&name.as_str()) {
            let reason = format!("it is none of the scripts {}", SCRIPTS.join(" "));
            return Err(ApkError::Unpackable { path: name.escape_debug().to_string(), reason });
        }
        by_name.insert(name, content);
    }
    for (name, content) in by_name {
        segment.file(name.as_bytes(), 0o755, content)?;
    }
    Ok(segment.without_end())
}

/// Writes every node but the root; gives the size of all files together.
///
/// `apk` wants the file before its hardlinks, so whichever name of a file comes first in path order carries the
/// content.
fn write_files<W: Write>(tree: &ValidTree, segment: &mut SegmentWriter<W>) -> Result<u64, ApkError> {
    // The name that carries the content, by the name that carries it in the tree.
    let first_names: BTreeMap<&TreePath, &TreePath> = tree
        .hardlink_groups()
        .into_iter()
        .filter_map(|(target, names)| Some((target, names.into_iter().min()?)))
        .collect();
    let mut size = 0_u64;
    for (path, node) in tree.iter().filter(|(path, _)| !path.is_root()) {
        if path.as_bytes().first() == Some(&b'.') && !path.as_bytes().contains(&b'/') {
            return Err(ApkError::Unpackable {
                path: path.to_string(),
                reason: "apk takes names with a dot at the top of a package for its own".to_owned(),
            });
        }
        let target = match &node.kind {
            NodeKind::Hardlink(target) => target,
            _ => path,
        };
        match (tree.tree().get(target), first_names.get(target)) {
            (Some(file), Some(first)) if *first != path => {
                let header =
                    Header { target: first.as_bytes(), ..header(path.as_bytes(), Kind::Hardlink, file) };
                segment.entry(header, &mut io::empty())?;
            }
            (Some(file), _) => size = size.saturating_add(write_node(path, file, segment)?),
            // A valid tree has the target of every hardlink.
            (None, _) => {}
        }
    }
    Ok(size)
}

/// Writes one node that is no hardlink; gives its size if it is a file.
fn write_node<W: Write>(
    path: &TreePath,
    node: &Node,
    segment: &mut SegmentWriter<W>,
) -> Result<u64, ApkError> {
    let name = path.as_bytes();
    let mut size = 0;
    match &node.kind {
        NodeKind::File(content) => {
            let reading = |source| ApkError::Io { doing: format!("reading the content of {path}"), source };
            size = content.len();
            let hash = hash_content(content).map_err(reading)?;
            let mut header = Header { size, ..header(name, Kind::File, node) };
            header.pax.push(checksum(&hash));
            segment.entry(header, &mut content.reader().map_err(reading)?)?;
        }
        NodeKind::Symlink(target) => {
            let mut header = Header { target, ..header(name, Kind::Symlink, node) };
            header.pax.push(checksum(&sha1(target)));
            segment.entry(header, &mut io::empty())?;
        }
        NodeKind::Directory => {
            let name = [name, b"/"].concat();
            segment.entry(header(&name, Kind::Directory, node), &mut io::empty())?;
        }
        NodeKind::CharDevice { major, minor } => {
            let header = Header { device: (*major, *minor), ..header(name, Kind::CharDevice, node) };
            segment.entry(header, &mut io::empty())?;
        }
        NodeKind::BlockDevice { major, minor } => {
            let header = Header { device: (*major, *minor), ..header(name, Kind::BlockDevice, node) };
            segment.entry(header, &mut io::empty())?;
        }
        NodeKind::Fifo => segment.entry(header(name, Kind::Fifo, node), &mut io::empty())?,
        // The caller has followed it.
        NodeKind::Hardlink(_) => {}
    }
    Ok(size)
}

fn header<'a>(path: &'a [u8], kind: Kind, node: &Node) -> Header<'a> {
    let metadata = node.metadata;
    let pax = if kind == Kind::Hardlink {
        Vec::new()
    } else {
        let xattrs = node.xattrs.iter();
        xattrs.map(|(name, value)| ([b"SCHILY.xattr.", &name[..]].concat(), value.clone())).collect()
    };
    Header {
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime,
        pax,
        ..Header::new(path, kind, metadata.mode & 0o7777)
    }
}

/// The pax record by which `apk` checks a file, or a link's target.
fn checksum(hash: &[u8; 20]) -> (Vec<u8>, Vec<u8>) {
    (b"APK-TOOLS.checksum.SHA1".to_vec(), hex::encode(hash).into_bytes())
}

fn hash_content(content: &Content) -> io::Result<[u8; 20]> {
    let mut hashing = Hashing { output: io::sink(), context: Context::new(&SHA1_FOR_LEGACY_USE_ONLY) };
    io::copy(&mut content.reader()?, &mut hashing)?;
    Ok(into_array(hashing.context.finish().as_ref()))
}

/// Hashes what is written through it.
struct Hashing<W> {
    output: W,
    context: Context,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.context.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
