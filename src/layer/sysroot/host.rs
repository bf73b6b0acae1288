//! A root directory on the host, in which links never lead out of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::elf::{ElfFile, ReadError};
use crate::layer::libraries::{Entry, LibraryError};
use crate::tree::TreePath;

/// More than any loader, libc or list of directories has.
pub(super) const MOST_BYTES: u64 = 64 << 20;
/// As many as Linux follows in one look-up (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A root directory.
#[derive(Debug)]
pub(super) struct Root {
    /// As it was given, for messages.
    given: PathBuf,
    /// Without links.
    real: PathBuf,
    entries: RefCell<BTreeMap<PathBuf, Entry>>,
}

/// A regular file in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostFile {
    /// Where it really is.
    pub(super) real: PathBuf,
    /// The same below the root, without a leading slash, escaped for display.
    pub(super) relative: String,
    /// Bytes.
    pub(super) size: u64,
    /// Whether anybody may run it.
    pub(super) executable: bool,
}

impl Root {
    pub(super) fn open(root: &Path) -> Result<Self, LibraryError> {
        let no_root = || LibraryError::NoRoot { root: root.to_owned() };
        let real = fs_err::canonicalize(root).map_err(|_| no_root())?;
        if !real.is_dir() {
            return Err(no_root());
        }
        Ok(Self { given: root.to_owned(), real, entries: RefCell::new(BTreeMap::new()) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.given
    }

    /// `directory/name` for messages, with the root before it.
    pub(super) fn show(&self, directory: &[u8], name: &str) -> String {
        let path = [directory, b"/", name.as_bytes()].concat();
        let shown = match TreePath::parse(&path) {
            Ok(path) => path.to_string(),
            Err(_) => path.escape_ascii().to_string(),
        };
        format!("{}{shown}", self.given.display().to_string().trim_end_matches('/'))
    }

    /// Follows `path` (absolute inside the root, with or without a leading slash) as the kernel would with this
    /// root. `None` when something on the way is missing, isn't allowed or runs in a circle.
    fn follow(&self, path: &[u8]) -> io::Result<Option<PathBuf>> {
        let parts =
            |path: &[u8]| -> Vec<Vec<u8>> { path.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect() };
        let mut rest: VecDeque<Vec<u8>> = parts(path).into();
        let mut here = PathBuf::new();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    here.pop();
                    continue;
                }
                _ => {}
            }
            let next = here.join(OsStr::from_bytes(&part));
            let metadata = match fs_err::symlink_metadata(self.real.join(&next)) {
                Ok(metadata) => metadata,
                Err(error) if is_absence(&error) => return Ok(None),
                Err(error) => return Err(error),
            };
            if !metadata.is_symlink() {
                here = next;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Ok(None);
            }
            let target = fs_err::read_link(self.real.join(&next))?.into_os_string().into_vec();
            if target.starts_with(b"/") {
                here = PathBuf::new();
            }
            for part in parts(&target).into_iter().rev() {
                rest.push_front(part);
            }
        }
        Ok(Some(here))
    }

    /// The regular file that `path` leads to.
    pub(super) fn find(&self, path: &[u8]) -> Result<Option<HostFile>, LibraryError> {
        let failed = |source| LibraryError::Read { path: path.escape_ascii().to_string(), source };
        let Some(below) = self.follow(path).map_err(failed)? else { return Ok(None) };
        let real = self.real.join(&below);
        let metadata = match fs_err::symlink_metadata(&real) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Ok(None),
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let relative = match TreePath::parse(below.as_os_str().as_bytes()) {
            Ok(path) => path.to_string().trim_start_matches('/').to_owned(),
            Err(_) => return Ok(None),
        };
        let executable = metadata.permissions().mode() & 0o111 != 0;
        Ok(Some(HostFile { real, relative, size: metadata.len(), executable }))
    }

    /// The names in a directory, in byte order; none when there is no such directory.
    pub(super) fn list(&self, directory: &[u8]) -> Result<Vec<Vec<u8>>, LibraryError> {
        let failed = |source| LibraryError::Read { path: directory.escape_ascii().to_string(), source };
        let Some(below) = self.follow(directory).map_err(failed)? else { return Ok(Vec::new()) };
        let entries = match fs_err::read_dir(self.real.join(below)) {
            Ok(entries) => entries,
            Err(error) if is_absence(&error) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(failed)?.file_name().into_vec());
        }
        names.sort();
        Ok(names)
    }

    /// All bytes of a file.
    pub(super) fn read(&self, file: &HostFile) -> Result<Vec<u8>, LibraryError> {
        let failed = |source| LibraryError::Read { path: file.real.display().to_string(), source };
        let mut bytes = Vec::new();
        let reader = fs_err::File::open(&file.real).map_err(failed)?;
        reader.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(failed(io::Error::new(
                ErrorKind::FileTooLarge,
                format!("more than {MOST_BYTES} bytes, where at most that many are expected"),
            )));
        }
        Ok(bytes)
    }

    /// What a file is.
    pub(super) fn entry(&self, file: &HostFile) -> Result<Entry, LibraryError> {
        if let Some(entry) = self.entries.borrow().get(&file.real) {
            return Ok(entry.clone());
        }
        let failed = |source| LibraryError::Read { path: file.real.display().to_string(), source };
        let reader = match fs_err::File::open(&file.real) {
            Ok(reader) => reader,
            Err(error) => return Err(failed(error)),
        };
        let entry = match ElfFile::read_from(reader) {
            Ok(elf) => Entry::Elf(Arc::new(elf)),
            Err(ReadError::Elf(crate::elf::ElfError::NotElf)) => Entry::Other,
            Err(ReadError::Elf(error)) => Entry::Bad(error),
            Err(ReadError::Io(error)) => return Err(failed(error)),
        };
        self.entries.borrow_mut().insert(file.real.clone(), entry.clone());
        Ok(entry)
    }
}

/// What a loader takes as "not here".
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied)
        || matches!(error.kind(), ErrorKind::InvalidFilename | ErrorKind::InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_never_lead_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let base = directory.path();
        let root = base.join("root");
        fs_err::create_dir_all(root.join("usr/lib")).expect("directories");
        fs_err::write(base.join("secret"), b"outside").expect("write");
        fs_err::write(root.join("secret"), b"inside").expect("write");
        fs_err::write(root.join("usr/lib/libx.so.1.2"), b"x").expect("write");
        symlink("/usr/lib", root.join("lib")).expect("link");
        symlink("libx.so.1.2", root.join("usr/lib/libx.so.1")).expect("link");
        symlink("../../../../../secret", root.join("usr/lib/up")).expect("link");
        symlink(base.join("secret"), root.join("usr/lib/absolute")).expect("link");
        symlink("round", root.join("round")).expect("link");
        let root = Root::open(&root).expect("a root");
        let found = |path: &str| root.find(path.as_bytes()).expect("no error");
        assert_eq!(found("/lib/libx.so.1").expect("found").relative, "usr/lib/libx.so.1.2");
        let inside = found("/lib/up").expect("stops at the root");
        assert_eq!(root.read(&inside).expect("read"), b"inside");
        assert_eq!(found("/lib/../../../secret").expect("found").relative, "secret");
        for path in ["/usr/lib/absolute", "/round", "/usr/lib", "/none/x", "/secret/x", "/"] {
            assert_eq!(found(path), None, "{path}");
        }
        assert!(Root::open(&base.join("secret")).is_err());
        assert!(Root::open(&base.join("none")).is_err());
    }
}
