//! Hashes of what files hold.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ring::digest;

use super::{Content, NodeKind, Tree, TreePath};

impl Tree {
    /// The SHA-256 of every regular file, by `threads` threads.
    ///
    /// # Errors
    /// When a file can't be read: the first one in path order, and why.
    pub fn hashes(&self, threads: usize) -> Result<BTreeMap<&TreePath, [u8; 32]>, (TreePath, io::Error)> {
        let files: Vec<(&TreePath, &Content)> = self
            .iter()
            .filter_map(|(path, node)| match &node.kind {
                NodeKind::File(content) => Some((path, content)),
                _ => None,
            })
            .collect();
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(files.len()));
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, files.len().max(1)) {
                scope.spawn(|| {
                    let mut mine = Vec::new();
                    while let Some((path, content)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        mine.push((*path, content.sha256()));
                    }
                    if let Ok(results) = results.lock().as_mut() {
                        results.append(&mut mine);
                    }
                });
            }
        });
        let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        results.sort_by_key(|(path, _)| *path);
        results
            .into_iter()
            .map(|(path, hash)| Ok((path, hash.map_err(|error| (path.clone(), error))?)))
            .collect()
    }

    /// One hash of all regular files, by name and content: `Hash1` of
    /// [`dirhash`](https://pkg.go.dev/golang.org/x/mod/sumdb/dirhash), which in-toto calls `dirHash`. It is the SHA-256
    /// of a line `SHA256  NAME` a file, in byte order of the names. None when a name holds a line break, for which that
    /// function has no value.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn dir_hash(&self, threads: usize) -> io::Result<Option<[u8; 32]>> {
        let hashes = self.hashes(threads).map_err(|(_, error)| error)?;
        let mut names: Vec<(&[u8], &[u8; 32])> =
            hashes.iter().map(|(path, hash)| (path.as_bytes(), hash)).collect();
        names.sort();
        let mut context = digest::Context::new(&digest::SHA256);
        for (name, hash) in names {
            if name.contains(&b'\n') {
                return Ok(None);
            }
            context.update(hex::encode(hash).as_bytes());
            context.update(b"  ");
            context.update(name);
            context.update(b"\n");
        }
        Ok(Some(finished(context)))
    }
}

fn finished(context: digest::Context) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(context.finish().as_ref());
    sha256
}

#[cfg(test)]
mod tests {
    use super::super::{Metadata, Node, Origin};
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new();
        for (path, text) in files {
            let content = Content::from_bytes(text.as_bytes());
            let node = Node::file(content, Metadata::FILE, Origin::skeleton());
            tree.insert_with_parents(path.parse().expect("a path"), node);
        }
        tree
    }

    /// By `printf … | sha256sum`, and `sha256sum a/y b a-x | sha256sum` in byte order.
    #[test]
    fn of_files_and_of_all_together() {
        let tree = tree(&[("b", "2"), ("a/y", "1"), ("a-x", "3")]);
        for threads in [1, 2, 9] {
            let hashes = tree.hashes(threads).expect("readable");
            let all: Vec<(String, String)> =
                hashes.iter().map(|(path, hash)| (path.to_string(), hex::encode(&hash[..4]))).collect();
            let want = [("/a-x", "4e074085"), ("/a/y", "6b86b273"), ("/b", "d4735e3a")]
                .map(|(path, hash)| (path.to_owned(), hash.to_owned()));
            assert_eq!(all, want);
        }
        let whole = tree.dir_hash(2).expect("readable").map(hex::encode);
        assert_eq!(
            whole.as_deref(),
            Some("1b1a84b6118381b5c402d59700ce905138dcd070988c62c69ec783d4938a8252")
        );
    }

    #[test]
    fn a_line_break_in_a_name_has_no_hash() {
        assert_eq!(tree(&[("a\nb", "")]).dir_hash(1).expect("readable"), None);
    }

    #[test]
    fn what_can_not_be_read_is_an_error() {
        let mut tree = tree(&[("a", "1")]);
        let gone = Content::from_path("/nonexistent/file", 3);
        let node = Node::file(gone, Metadata::FILE, Origin::skeleton());
        tree.insert("b".parse().expect("a path"), node);
        assert!(matches!(tree.hashes(2), Err((path, _)) if path.to_string() == "/b"));
        assert!(tree.dir_hash(2).is_err());
    }
}
