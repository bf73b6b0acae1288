//! Alpine's own `apk`, taken from the mirror's packages: the oracle of what leanfs writes and selects.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run;

/// Packages that hold `apk`, its libraries and the loader for them.
const PACKAGES: [&str; 7] = ["apk-tools", "libapk", "musl", "libcrypto3", "libssl3", "zlib", "zstd-libs"];
/// The mirror's repository of Alpine's base system.
const REPOSITORY: &str = "v3.23/main/x86_64";

/// A program that runs the `apk` of `mirror` on this machine, whatever its libc; made beside the mirror.
pub(crate) fn build(mirror: &Path) -> Result<PathBuf> {
    let root = mirror.join("apk");
    let program = root.join("apk");
    if program.exists() {
        return Ok(program);
    }
    let next = mirror.join("apk.new");
    if next.exists() {
        fs_err::remove_dir_all(&next)?;
    }
    fs_err::create_dir_all(&next)?;
    for name in PACKAGES {
        // GNU tar reads the members of a package as one archive, and warns of the records that it doesn't know.
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--gzip", "--ignore-zeros", "--warning=no-unknown-keyword", "--file"]);
        tar.arg(package(mirror, name)?).arg("--directory").arg(&next);
        run::output(&mut tar)?;
    }
    let apk = ["sbin/apk", "usr/sbin/apk", "usr/bin/apk"]
        .into_iter()
        .find(|path| next.join(path).exists())
        .context("apk-tools has no apk")?;
    let place = root.to_str().context("the mirror's path is not UTF-8")?;
    fs_err::write(
        next.join("apk"),
        format!(
            "#!/bin/sh\nexec '{place}/lib/ld-musl-x86_64.so.1' --library-path '{place}/lib:{place}/usr/lib' \
             '{place}/{apk}' \"$@\"\n"
        ),
    )?;
    fs_err::set_permissions(next.join("apk"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs_err::rename(&next, &root)?;
    let version = match run::output(Command::new(&program).arg("--version")) {
        Ok(version) => version,
        Err(error) => {
            fs_err::remove_dir_all(&root)?;
            return Err(error);
        }
    };
    eprintln!("  the oracle is {}", version.trim());
    Ok(program)
}

/// The file of a package: its name, then a version.
fn package(mirror: &Path, name: &str) -> Result<PathBuf> {
    let directory = mirror.join(REPOSITORY);
    for entry in fs_err::read_dir(&directory)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
        if version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit())) {
            return Ok(path);
        }
    }
    anyhow::bail!("{} has no package {name}", directory.display())
}
