//! What to do about errors of the operating system, wherever they came up.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::Path;

/// EIO, the same number on every architecture of Linux, as std shows it. Errors that name a path (`fs_err`, `tempfile`) keep
/// the number only in their text.
const EIO: &str = "(os error 5)";

/// What to do about the error of the operating system that is behind `error`, if there is one about which something
/// can be said without knowing more.
pub fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(here) = error.downcast_ref::<io::Error>() {
        // Its source is that of the error inside, which may be one of the operating system itself.
        let inside = here.get_ref().and_then(|inside| hint(inside));
        return hint_of(here).or(inside);
    }
    hint(error.source()?)
}

/// As [`std::fs::create_dir_all`], which says of a directory that can't be looked at (a broken disk) that it exists.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    match std::fs::create_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if std::fs::metadata(path)?.is_dir() {
                Ok(())
            } else {
                Err(error)
            }
        }
        result => result,
    }
}

fn hint_of(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make room there, or choose another directory; nothing that was there before has been changed"
        }
        ErrorKind::ReadOnlyFilesystem => "the file system can only be read: choose another directory",
        ErrorKind::PermissionDenied => "this user may not do that: change the rights, or choose another path",
        _ if error.to_string().contains(EIO) => {
            "the disk or the file system is broken (the kernel's log says more): choose a directory on another"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_behind_others() {
        let missing = fs_err::read("/nonexistent").expect_err("not there");
        assert_eq!(hint(&missing), None);
        for (code, holds) in
            [(5, "broken"), (13, "rights"), (28, "make room"), (30, "only be read"), (122, "room")]
        {
            let outer = io::Error::other(io::Error::from_raw_os_error(code));
            assert!(hint(&outer).is_some_and(|hint| hint.contains(holds)), "{code}");
        }
        assert_eq!(hint(&io::Error::other("x")), None);
        let named = io::Error::other(format!("/x: {}", io::Error::from_raw_os_error(5)));
        assert!(hint(&named).is_some_and(|hint| hint.contains("broken")));
    }
}
