//! Building the sample applications with this machine's tools. Nothing is written into the checkout: builds
//! stand below the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::run;

/// Builds one of the Mix projects of `fixtures/apps` with its default settings; the directory that stands for
/// the project's own and holds `_build/prod/rel/NAME`.
pub(crate) fn mix_release(name: &str) -> Result<PathBuf> {
    let source = crate::root().join("fixtures/apps").join(name);
    let project = crate::work().join("apps").join(name);
    copy(&source, &project)?;
    let mut command = Command::new("mix");
    command.current_dir(&project).args(["release", "--overwrite", "--quiet"]);
    command.env("MIX_ENV", "prod").env_remove("INCLUDE_ERTS");
    run::run(&mut command)?;
    if !project.join("_build/prod/rel").join(name).join("releases").is_dir() {
        bail!("mix made no release in {}", project.display());
    }
    Ok(project)
}

/// Copies a source directory without what was built in it; what has gone from the source goes from the copy.
fn copy(source: &Path, target: &Path) -> Result<()> {
    fs_err::create_dir_all(target)?;
    for entry in fs_err::read_dir(target)? {
        let entry = entry?;
        if entry.file_name() != "_build" && !source.join(entry.file_name()).exists() {
            let path = entry.path();
            if path.is_dir() { fs_err::remove_dir_all(path)? } else { fs_err::remove_file(path)? }
        }
    }
    for entry in fs_err::read_dir(source)? {
        let entry = entry?;
        let to = target.join(entry.file_name());
        if entry.file_name() == "_build" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else if fs_err::read(&to).ok() != Some(fs_err::read(entry.path())?) {
            fs_err::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
