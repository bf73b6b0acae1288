//! Kernels out of the cache, to where the user wants them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fs_err as fs;

use super::{BuildError, BuiltKernel, store};

impl BuiltKernel {
    /// The kernel whose image is at `path`, if [`BuiltKernel::install`] put it there and nobody changed it since.
    pub fn installed(path: &Path) -> Option<Self> {
        let directory = path.parent()?;
        let built = store::read(directory)?;
        (built.image == path).then_some(built)
    }

    /// Puts copies of everything into `directory`, which is made if it isn't there; modules of an earlier kernel there go.
    /// Gives the names and sizes in bytes of the files beside the modules.
    ///
    /// # Errors
    /// When something can't be read or written.
    pub fn install(&self, directory: &Path) -> Result<Vec<(String, u64)>, BuildError> {
        fs::create_dir_all(directory).map_err(BuildError::io("make", directory))?;
        let modules = directory.join("modules");
        if modules.is_dir() {
            fs::remove_dir_all(&modules).map_err(BuildError::io("remove", &modules))?;
        }
        let mut installed = Vec::new();
        let image = self.image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for name in [image.as_str(), "vmlinux", "System.map", "config", "kernel.json"] {
            let size = copy(&self.directory.join(name), &directory.join(name))?;
            installed.push((name.to_owned(), size));
        }
        let from = self.directory.join("modules");
        if from.is_dir() {
            copy_directory(&from, &modules)?;
        }
        Ok(installed)
    }
}

/// Copies a file beside its place, and puts it there when it is complete.
fn copy(from: &Path, to: &Path) -> Result<u64, BuildError> {
    let failed = |error| BuildError::io("write", to)(error);
    let mut source = fs::File::open(from).map_err(BuildError::io("read", from))?;
    let mut file = tempfile::Builder::new()
        .prefix(".leanfs-unfinished-")
        // As open(2) would give it: the umask still applies.
        .permissions(PermissionsExt::from_mode(0o666))
        .tempfile_in(to.parent().unwrap_or(Path::new(".")))
        .map_err(failed)?;
    let size = std::io::copy(&mut source, file.as_file_mut()).map_err(failed)?;
    file.persist(to).map_err(|error| failed(error.error))?;
    Ok(size)
}

/// Only files and directories are in the directory of a kernel's modules.
fn copy_directory(from: &Path, to: &Path) -> Result<(), BuildError> {
    fs::create_dir_all(to).map_err(BuildError::io("make", to))?;
    for entry in fs::read_dir(from).map_err(BuildError::io("read", from))? {
        let entry = entry.map_err(BuildError::io("read", from))?;
        let kind = entry.file_type().map_err(BuildError::io("read", entry.path()))?;
        let to = to.join(entry.file_name());
        if kind.is_dir() {
            copy_directory(&entry.path(), &to)?;
        } else if kind.is_file() {
            copy(&entry.path(), &to)?;
        }
    }
    Ok(())
}
