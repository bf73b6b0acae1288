//! What shows that every image format holds the same files: a tree with everything that is hard about file systems
//! ([`torture`]), put on a disk ([`disk`]), and the listing of what a tool extracted ([`on_host`]) or a kernel mounted
//! ([`guest::in_kernel`]), in the form of `ValidTree::dump`.

pub(crate) mod disk;
pub(crate) mod guest;
pub(crate) mod lines;
pub(crate) mod programs;
pub(crate) mod samples;
pub(crate) mod torture;

use std::path::Path;
use std::process::Command;

use leanfs::tree::{Content, NodeKind, TreePath, ValidTree};
use ring::digest;

use crate::end_to_end::bench;

/// Of larger files the listings have the blocks that are not zero in place of all bytes: a file of gigabytes with a
/// few bytes in it takes no time then, under emulation neither.
pub(crate) const BLOCKS_OVER: u64 = 16 << 20;

/// Attributes that the host's security module puts on every file.
const OF_THE_HOST: &str = "security.selinux";

/// The path of a tree from text.
pub(crate) fn path(text: &str) -> TreePath {
    text.parse().expect("a good path")
}

/// The program at a name, also where only root's `PATH` leads.
pub(crate) fn tool(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .or_else(|| bench::missing(name))
}

/// What a directory on disk holds, as [`expected`] has it of a tree. None is a visible skip.
pub(crate) fn on_host(directory: &Path) -> Option<String> {
    let output = Command::new(programs::lister()?)
        .args(["--blocks-over", &BLOCKS_OVER.to_string(), "--without-xattr", OF_THE_HOST])
        .arg(directory)
        .output()
        .expect("it was compiled for this machine");
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "the lister on {}: {}",
        directory.display(),
        bench::text(&output)
    );
    Some(String::from_utf8(output.stdout).expect("it writes ASCII"))
}

/// The tree's dump, with [`BLOCKS_OVER`] as the lister has it.
pub(crate) fn expected(tree: &ValidTree) -> String {
    let mut small = tree.tree().clone();
    let mut large = Vec::new();
    for (path, node) in tree.iter() {
        if let NodeKind::File(content) = &node.kind
            && content.len() > BLOCKS_OVER
        {
            let mark = format!("in place of {path}").into_bytes();
            let marked = format!("{}:{}", mark.len(), hex::encode(digest::digest(&digest::SHA256, &mark)));
            large.push((marked, format!("{}:blocks:{}", content.len(), blocks(content))));
            small.get_mut(path).expect("a copy").kind = NodeKind::File(Content::from_bytes(mark));
        }
    }
    let dump = small.validate().expect("it was valid").dump().expect("readable");
    large.iter().fold(dump, |dump, (marked, blocks)| dump.replace(marked, blocks))
}

/// The SHA-256 of each block of 4,096 bytes that is not zero, after its number.
fn blocks(content: &Content) -> String {
    const BLOCK: u64 = 4096;
    let mut reader = content.reader().expect("readable");
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut position = 0;
    let mut block = [0; BLOCK as usize];
    while position < content.len() {
        position = reader.next_data(position).expect("readable") / BLOCK * BLOCK;
        if content.len() - position < BLOCK {
            block.fill(0);
        }
        let count = usize::try_from((content.len() - position).min(BLOCK)).expect("a block");
        std::io::Seek::seek(&mut reader, std::io::SeekFrom::Start(position)).expect("inside");
        std::io::Read::read_exact(&mut reader, &mut block[..count]).expect("readable");
        if block.iter().any(|&byte| byte != 0) {
            hash.update(&(position / BLOCK).to_le_bytes());
            hash.update(&block);
        }
        position += BLOCK;
    }
    hex::encode(hash.finish())
}
