//! Files that `pack`, `index` and `verify` write: whole, or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::failure::{Because, Failure};
use super::interrupt;

/// Writes the file at `path` by `write`, beside its place, and puts it there when it is complete. Gives its size.
pub(super) fn write_whole<T>(
    path: &Path,
    write: impl FnOnce(&mut Output<'_>) -> Result<T, Failure>,
) -> Result<(T, u64), Failure> {
    let failed = |error| Failure::unmet(Because::new(format!("{} can't be written", path.display()), error));
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .prefix(".leanfs-unfinished-")
        // As open(2) would give it: the umask still applies.
        .permissions(PermissionsExt::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(failed)?;
    let unfinished = file.path().to_owned();
    let _cleanup = interrupt::Cleanup::new(move || drop(std::fs::remove_file(&unfinished)));
    let mut output = Output { file: BufWriter::new(file.as_file()), is_broken: false };
    let result = write(&mut output).map_err(|failure| match output.is_broken {
        true => failure.under(format!("{} can't be written", path.display())),
        false => failure,
    })?;
    output.file.flush().map_err(failed)?;
    drop(output);
    file.as_file().sync_all().map_err(failed)?;
    let size = file.as_file().metadata().map_err(failed)?.len();
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok((result, size))
}

/// A file that is being written.
pub(super) struct Output<'a> {
    file: BufWriter<&'a File>,
    /// It could not be written.
    is_broken: bool,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.file.write(bytes);
        self.is_broken |= result.is_err();
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.file.flush();
        self.is_broken |= result.is_err();
        result
    }
}
