//! Files.

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::CStr;

use crate::names::{EEXIST, EINTR};
use crate::sys::{self, Descriptor, Errno};

/// How much is read at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// "File too large".
const EFBIG: Errno = Errno(27);
/// "Invalid argument", for a name with a NUL byte in it.
const EINVAL: Errno = Errno(22);

/// A name for the kernel.
pub fn name(path: &[u8]) -> Result<CString, Errno> {
    CString::new(path).map_err(|_| EINVAL)
}

/// A file's bytes, unless there are more than `most`.
pub fn read(path: &CStr, most: usize) -> Result<Vec<u8>, Errno> {
    let file = sys::open(path, sys::O_RDONLY, 0)?;
    let bytes = read_from(file, most);
    sys::close(file);
    bytes
}

/// The rest of an open file, unless it has more than `most` bytes.
pub fn read_from(file: Descriptor, most: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::with_capacity(4096);
    loop {
        if bytes.len() == bytes.capacity() {
            bytes.reserve(bytes.len().max(4096));
        }
        let length = bytes.len();
        bytes.resize(bytes.capacity(), 0);
        let count = match sys::read(file, &mut bytes[length..]) {
            Err(Errno(EINTR)) => 0,
            Ok(0) => {
                bytes.truncate(length);
                return Ok(bytes);
            }
            other => other?,
        };
        bytes.truncate(length + count);
        if bytes.len() > most {
            return Err(EFBIG);
        }
    }
}

/// The names of what stands in a directory.
pub fn names_in(directory: &CStr) -> Result<Vec<Vec<u8>>, Errno> {
    let opened = sys::open(directory, sys::O_RDONLY, 0)?;
    let mut names = Vec::new();
    let mut buffer = [0; 4096];
    let result = loop {
        match sys::directory_entries(opened, &mut buffer) {
            Ok(0) => break Ok(names),
            Ok(count) => names.extend(
                Entries(&buffer[..count])
                    .filter(|entry| !matches!(entry.name, b"." | b".."))
                    .map(|entry| entry.name.to_vec()),
            ),
            Err(error) => break Err(error),
        }
    };
    sys::close(opened);
    result
}

/// Entries of a directory as the kernel gives them: `struct linux_dirent64` (getdents(2)).
pub struct Entries<'a>(pub &'a [u8]);

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub kind: u8,
    pub name: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        /// Where `d_reclen` (16 bits), `d_type` (8 bits) and `d_name` stand.
        const LENGTH: usize = 16;
        const TYPE: usize = 18;
        const NAME: usize = 19;
        let length = u16::from_ne_bytes(*self.0.get(LENGTH..)?.first_chunk()?);
        let (record, rest) = self.0.split_at_checked(usize::from(length))?;
        let (&kind, name) = (record.get(TYPE)?, record.get(NAME..)?);
        self.0 = rest;
        Some(Entry { kind, name: before_nul(name) })
    }
}

pub fn before_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Makes a file of these bytes, mode 0644, or replaces what it holds.
pub fn write(path: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let file = sys::open(path, sys::O_WRONLY | sys::O_CREAT | sys::O_TRUNC, 0o644)?;
    let result = write_to(file, bytes);
    sys::close(file);
    result
}

fn write_to(file: Descriptor, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match sys::write(file, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno(EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Copies a regular file's bytes and mode, and makes the directories above the target. The error says which part
/// failed.
pub fn copy(source: &[u8], target: &[u8]) -> Result<(), (&'static str, Errno)> {
    let source = name(source).map_err(|error| ("its name", error))?;
    make_directories_above(target).map_err(|error| ("the target's directory", error))?;
    let target = name(target).map_err(|error| ("the target's name", error))?;
    let from = sys::open(&source, sys::O_RDONLY, 0).map_err(|error| ("the source", error))?;
    let result = copy_to(from, &target);
    sys::close(from);
    result
}

fn copy_to(from: Descriptor, target: &CStr) -> Result<(), (&'static str, Errno)> {
    let mode = sys::mode(from).map_err(|error| ("the source's mode", error))?;
    let flags = sys::O_WRONLY | sys::O_CREAT | sys::O_TRUNC;
    let to = sys::open(target, flags, mode).map_err(|error| ("the target", error))?;
    let mut buffer = [0; BUFFER_BYTES];
    let result = loop {
        match sys::read(from, &mut buffer) {
            // The umask doesn't count, and a file that was there keeps no mode of its own.
            Ok(0) => break sys::set_mode(to, mode).map_err(|error| ("the target's mode", error)),
            Ok(count) => {
                if let Err(error) = write_to(to, &buffer[..count]) {
                    break Err(("writing", error));
                }
            }
            Err(Errno(EINTR)) => {}
            Err(error) => break Err(("reading", error)),
        }
    };
    sys::close(to);
    result
}

/// Makes the directories that a path stands in, where they are not there.
pub fn make_directories_above(path: &[u8]) -> Result<(), Errno> {
    for (index, &byte) in path.iter().enumerate().skip(1) {
        if byte == b'/' {
            match sys::make_directory(&name(&path[..index])?, 0o755) {
                Ok(()) | Err(Errno(EEXIST)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_has_names() {
        let names = names_in(c"/proc/self").expect("readable");
        assert!(names.contains(&b"status".to_vec()) && names.contains(&b"fd".to_vec()), "{names:?}");
        assert!(!names.iter().any(|name| name.starts_with(b".")), "{names:?}");
    }

    #[test]
    fn a_copy_has_bytes_and_mode_and_its_directories() {
        let directory = std::env::temp_dir().join(std::format!("leanfs-init-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let (source, target) = (directory.join("a"), directory.join("x/y/b"));
        let bytes: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
        std::fs::write(&source, &bytes).expect("write");
        std::fs::set_permissions(&source, PermissionsExt::from_mode(0o640)).expect("mode");
        let names = (source.as_os_str().as_bytes(), target.as_os_str().as_bytes());
        copy(names.0, names.1).expect("a copy");
        assert_eq!(std::fs::read(&target).expect("read"), bytes);
        assert_eq!(std::fs::metadata(&target).expect("there").permissions().mode() & 0o7777, 0o640);

        let path = name(names.1).expect("no NUL");
        assert_eq!(read(&path, bytes.len()).expect("read"), bytes);
        assert_eq!(read(&path, bytes.len() - 1), Err(EFBIG));
        assert_eq!(copy(b"/nowhere", names.1), Err(("the source", Errno(crate::names::ENOENT))));
        let below_a_file = [names.0, b"/c/d"].concat();
        assert!(matches!(copy(names.0, &below_a_file), Err(("the target's directory", _))));
        std::fs::remove_dir_all(&directory).expect("clean");
    }
}
