//! Opening files below a directory by names from outside: no name leads out, and no link is followed.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Difference;

/// Whether a text names something in a directory, and nothing elsewhere.
pub(super) fn is_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '\0'])
}

/// The directory itself; its own name may be a link.
pub(super) fn directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// At most the first `most` bytes of a regular file.
pub(super) fn read_head(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    // A pipe would be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file: File = rustix::fs::open(path, flags, Mode::empty())?.into();
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::with_capacity(most);
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The regular file at `path`, whose components are [names](is_name), below a directory.
pub(super) fn below(root: &File, path: &str) -> Result<File, Difference> {
    let mut directory: Option<File> = None;
    let mut components = path.split('/').peekable();
    while let Some(component) = components.next() {
        let is_last = components.peek().is_none();
        let (kind, expected) =
            if is_last { (OFlags::NONBLOCK, "a regular file") } else { (OFlags::DIRECTORY, "a directory") };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | kind;
        let opened = rustix::fs::openat(directory.as_ref().unwrap_or(root), component, flags, Mode::empty());
        let opened: File = match opened {
            Ok(opened) => opened.into(),
            Err(Errno::NOENT) => return Err(Difference::Missing),
            // A link is no directory either.
            Err(Errno::LOOP) => return Err(Difference::Kind { expected, found: "a symbolic link" }),
            Err(Errno::NOTDIR) => return Err(Difference::Kind { expected, found: "something else" }),
            Err(Errno::NXIO) => return Err(Difference::Kind { expected, found: "a socket or a device" }),
            Err(error) => return Err(Difference::Unreadable { reason: io::Error::from(error).to_string() }),
        };
        if is_last {
            let metadata = opened.metadata();
            let metadata = metadata.map_err(|error| Difference::Unreadable { reason: error.to_string() })?;
            return if metadata.is_file() {
                Ok(opened)
            } else {
                let found = if metadata.is_dir() { "a directory" } else { "a pipe or a device" };
                Err(Difference::Kind { expected, found })
            };
        }
        directory = Some(opened);
    }
    Err(Difference::Name)
}
