//! Putting directories in their place. `rename(2)` puts a file over another, but no directory over one that holds
//! something: two directories are exchanged, or the old one steps aside.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::TEMPORARY_PREFIX;

/// The beginning of the names of directories that stepped aside, on file systems that can't exchange two: the real
/// name follows. If a run is killed before another has its place, it gets it back when the next one begins.
const ASIDE_PREFIX: &str = ".leanfs-replaced-";

/// Gives a finished directory its name, whatever was called so, and removes that.
pub(super) fn directory(new: tempfile::TempDir, parent: &Path, name: &str) -> io::Result<()> {
    let target = parent.join(name);
    match renameat_with(CWD, new.path(), CWD, &target, RenameFlags::EXCHANGE) {
        // Now it is called as the new one was.
        Ok(()) => remove(&new.keep()),
        Err(Errno::NOENT) => {
            fs_err::rename(new.path(), &target)?;
            let _ = new.keep();
            Ok(())
        }
        // Not on every file system, nor in every kernel.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => step_aside(new, parent, name),
        Err(error) => Err(error.into()),
    }
}

fn step_aside(new: tempfile::TempDir, parent: &Path, name: &str) -> io::Result<()> {
    let (target, aside) = (parent.join(name), parent.join(format!("{ASIDE_PREFIX}{name}")));
    fs_err::rename(&target, &aside)?;
    if let Err(error) = fs_err::rename(new.path(), &target) {
        // The old one is better than none; if not even that can be, the next run tries again.
        let _ = fs_err::rename(&aside, &target);
        return Err(error);
    }
    let _ = new.keep();
    remove(&aside)
}

/// Removes what killed runs left in an output directory, and gives back its name to what stepped aside.
pub(super) fn clear(directory: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(real) = name.as_bytes().strip_prefix(ASIDE_PREFIX.as_bytes()) {
            let real = directory.join(OsStr::from_bytes(real));
            match fs_err::symlink_metadata(&real) {
                Ok(_) => remove(&entry.path())?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs_err::rename(entry.path(), real)?;
                }
                Err(error) => return Err(error),
            }
        } else if name.as_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file, or a directory with all that it holds; it need not be there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs_err::symlink_metadata(path) {
        Ok(there) if there.is_dir() => fs_err::remove_dir_all(path),
        Ok(_) => fs_err::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(path: &Path, content: &str) {
        fs_err::create_dir(path).expect("a directory");
        fs_err::write(path.join("file"), content).expect("written");
    }

    fn content(path: &Path) -> String {
        fs_err::read_to_string(path.join("file")).expect("there")
    }

    #[test]
    fn what_stepped_aside_comes_back_if_nothing_has_its_place() {
        let parent = tempfile::tempdir().expect("a directory");
        let (target, aside) = (parent.path().join("x"), parent.path().join(".leanfs-replaced-x"));
        made(&aside, "old");
        clear(parent.path()).expect("cleared");
        assert_eq!(content(&target), "old");
        made(&aside, "older");
        clear(parent.path()).expect("cleared");
        assert_eq!(content(&target), "old");
        assert_eq!(fs_err::read_dir(parent.path()).expect("readable").count(), 1);
    }

    #[test]
    fn a_file_system_that_can_not_exchange_will_do() {
        let parent = tempfile::tempdir().expect("a directory");
        let target = parent.path().join("x");
        made(&target, "old");
        let new = tempfile::tempdir_in(parent.path()).expect("a directory");
        fs_err::write(new.path().join("file"), "new").expect("written");
        step_aside(new, parent.path(), "x").expect("placed");
        assert_eq!(content(&target), "new");
        assert_eq!(fs_err::read_dir(parent.path()).expect("readable").count(), 1);
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let parent = tempfile::tempdir().expect("a directory");
        let kept = parent.path().join("kept");
        made(&kept, "kept");
        let link = parent.path().join("link");
        fs_err::os::unix::fs::symlink(&kept, &link).expect("a link");
        remove(&link).expect("removed");
        remove(&link).expect("it need not be there");
        assert_eq!(content(&kept), "kept");
    }
}
