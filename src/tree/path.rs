//! Paths inside an image.

use std::fmt;

use crate::text::is_hidden;

/// An absolute path inside an image, as bytes: no `.`, `..`, empty component, NUL or leading slash can be in
/// it, so it never leads out of the tree. The root is the empty path. At most 4,095 bytes, 255 a component
/// (Linux's `PATH_MAX` and `NAME_MAX`).
///
/// ```
/// use leanfs::tree::TreePath;
/// let path = TreePath::parse(b"/usr/lib/libz.so")?;
/// assert_eq!(path.to_string(), "/usr/lib/libz.so");
/// assert!(TreePath::parse(b"usr/../etc/shadow").is_err());
/// # Ok::<(), leanfs::tree::TreePathError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TreePath(Vec<u8>);

/// Why some bytes are no path inside an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{:?} is no path inside an image: {reason}", String::from_utf8_lossy(.path))]
pub struct TreePathError {
    /// The bytes, at most the first 4,096 of them.
    pub path: Vec<u8>,
    /// What is wrong.
    pub reason: &'static str,
}

impl TreePath {
    /// Linux's `PATH_MAX` without the NUL.
    const MOST_BYTES: usize = 4095;
    /// Linux's `NAME_MAX`.
    const MOST_COMPONENT_BYTES: usize = 255;

    /// The root directory.
    pub fn root() -> Self {
        Self(Vec::new())
    }

    /// Takes a path as archives and people write it: a leading `/` or `./`, a trailing `/`, doubled slashes
    /// and `.` components are dropped.
    ///
    /// # Errors
    /// `..`, a NUL byte, and what is longer than Linux allows are refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, TreePathError> {
        let refuse = |reason| {
            Err(TreePathError { path: bytes[..bytes.len().min(Self::MOST_BYTES + 1)].to_vec(), reason })
        };
        let mut path = Vec::with_capacity(bytes.len());
        for component in bytes.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return refuse("it holds `..`"),
                _ if component.contains(&0) => return refuse("it holds a NUL byte"),
                _ if component.len() > Self::MOST_COMPONENT_BYTES => {
                    return refuse("a name in it is longer than 255 bytes");
                }
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
        }
        if path.len() > Self::MOST_BYTES {
            return refuse("it is longer than 4,095 bytes");
        }
        Ok(Self(path))
    }

    /// This path and further components below it.
    ///
    /// # Errors
    /// As [`TreePath::parse`].
    pub fn join(&self, below: impl AsRef<[u8]>) -> Result<Self, TreePathError> {
        let mut bytes = self.0.clone();
        bytes.push(b'/');
        bytes.extend_from_slice(below.as_ref());
        Self::parse(&bytes)
    }

    /// The path without a leading slash; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last component; none for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.0.rsplit(|&byte| byte == b'/').next().filter(|name| !name.is_empty())
    }

    /// The directory that holds this path; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// Every directory above this path, the root first.
    pub fn ancestors(&self) -> Vec<Self> {
        let mut all: Vec<Self> = std::iter::successors(self.parent(), Self::parent).collect();
        all.reverse();
        all
    }

    /// The components, from the root on.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
    }

    /// Whether this path stands somewhere below `directory` (a path is not below itself).
    pub fn is_below(&self, directory: &Self) -> bool {
        directory.is_root() && !self.is_root()
            || self.0.len() > directory.0.len()
                && self.0.starts_with(&directory.0)
                && self.0[directory.0.len()] == b'/'
    }

    /// The part of this path below `directory`, without a leading slash.
    pub fn strip_prefix(&self, directory: &Self) -> Option<&[u8]> {
        if directory.is_root() {
            return Some(&self.0);
        }
        self.is_below(directory).then(|| &self.0[directory.0.len() + 1..])
    }
}

/// With a leading slash; bytes that are not UTF-8, and characters that can't be seen, are escaped
/// (`\u{1b}`), so that a hostile name can't write to a terminal or pass for another.
impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("/")?;
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if is_hidden(character) {
                    write!(f, "{}", character.escape_unicode())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for TreePath {
    type Err = TreePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised() {
        for (given, expected) in
            [("/", "/"), ("./", "/"), ("a//b/", "/a/b"), ("./a/./b", "/a/b"), ("/a", "/a"), ("", "/")]
        {
            assert_eq!(TreePath::parse(given.as_bytes()).expect(given).to_string(), expected);
        }
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for given in ["..", "a/..", "../a", "a/../../b", "/..", "a\0b"] {
            assert!(TreePath::parse(given.as_bytes()).is_err(), "{given:?}");
        }
        assert!(TreePath::parse(&[b'a'; 256]).is_err());
        assert!(TreePath::parse(&b"a/".repeat(2100)).is_err());
    }

    #[test]
    fn terminal_escapes_are_not_printed() {
        let path = TreePath::parse(b"a\x1b[31m\xff").expect("allowed in a file system");
        assert_eq!(path.to_string(), "/a\\u{1b}[31m\\xff");
    }

    #[test]
    fn family() {
        let path: TreePath = "/a/b/c".parse().expect("good");
        let above: Vec<String> = path.ancestors().iter().map(ToString::to_string).collect();
        assert_eq!(above, ["/", "/a", "/a/b"]);
        assert_eq!(path.file_name(), Some(&b"c"[..]));
        assert!(path.is_below(&"/a".parse().expect("good")));
        assert!(!path.is_below(&path));
        assert_eq!(path.strip_prefix(&"a/b".parse().expect("good")), Some(&b"c"[..]));
        assert_eq!(TreePath::root().file_name(), None);
    }
}
