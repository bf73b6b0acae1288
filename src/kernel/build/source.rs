//! A kernel's source: an archive, or a directory where one was unpacked.

use std::fs::File;
use std::io::{BufReader, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err as fs;

use super::super::config::KernelVersion;
use super::BuildError;
use crate::archive::{self, TarLimits, TarOptions};
use crate::tree::{LayerKind, NodeKind, Origin, SpoolWriter, Tree, TreePath};

/// The largest makefile that is read: that of 6.12 has 70 kB.
const MOST_MAKEFILE_BYTES: u64 = 4 << 20;

/// What of a source is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What its configuration is made with.
    Configuration,
    /// Everything that any kernel is built from: not the documentation, tests and profilers, a fifth of the files.
    All,
}

impl Part {
    fn holds(self, path: &TreePath) -> bool {
        let name = path.file_name().unwrap_or_default();
        // Below the archive's one directory.
        let below: Vec<&[u8]> = path.components().skip(1).collect();
        let is_beside = below.first() == Some(&b"Documentation".as_slice())
            || below.first() == Some(&b"tools".as_slice())
                && below.get(1).is_some_and(|name| [b"testing".as_slice(), b"perf"].contains(name));
        self == Self::All && !is_beside
            || [b"Kconfig".as_slice(), b"Makefile", b"Kbuild"].iter().any(|begin| name.starts_with(begin))
            || [b".sh".as_slice(), b".config", b".include"].iter().any(|end| name.ends_with(end))
            || below.first() == Some(&b"scripts".as_slice())
            || below.first() == Some(&b"arch".as_slice()) && below.get(2) == Some(&b"configs".as_slice())
    }
}

/// Unpacks the archive at `path` into `directory`, which must be there and empty. Files get the mode 0755 if their owner
/// may execute them, else 0644. Gives the directory of the source.
pub(super) fn unpack(path: &Path, part: Part, directory: &Path) -> Result<PathBuf, BuildError> {
    let archive_error = |source| BuildError::Archive { path: path.to_owned(), source };
    let file = File::open(path).map_err(BuildError::io("open", path))?;
    let reader = archive::decompress(BufReader::with_capacity(256 * 1024, file))
        .map_err(BuildError::io("read", path))?;
    let mut spool = SpoolWriter::new_in(directory).map_err(BuildError::io("write to", directory))?;
    let mut options = TarOptions {
        limits: TarLimits::default(),
        keep: &|path| part.holds(path),
        sha1: false,
        xattrs: &|_| false,
        inspect: &mut |_| Ok(()),
    };
    let entries = archive::read_tar(reader, &mut spool, &mut options).map_err(archive_error)?;
    let spool = spool.finish().map_err(BuildError::io("write to", directory))?;
    let tree = entries.into_tree(&spool, &Origin::new(LayerKind::Kernel, "source"));
    write_tree(&tree, directory)?;
    find_root(path, directory)
}

fn write_tree(tree: &Tree, directory: &Path) -> Result<(), BuildError> {
    for (path, node) in tree.iter() {
        // No path of a tree leads out of it, and nothing in it stands below a link.
        let host = directory.join(to_path(path.as_bytes()));
        let failed = |error| BuildError::io("write", &host)(error);
        if let Some(parent) = host.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        match &node.kind {
            NodeKind::Directory => fs::create_dir_all(&host).map_err(failed)?,
            NodeKind::File(content) => {
                let mode = if node.metadata.mode & 0o100 != 0 { 0o755 } else { 0o644 };
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode)
                    .open(&host)
                    .map_err(failed)?;
                std::io::copy(&mut content.reader().map_err(failed)?, &mut file).map_err(failed)?;
                file.flush().map_err(failed)?;
                // make(1) compares times.
                let seconds = u64::try_from(node.metadata.mtime).unwrap_or(0);
                if let Some(time) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
                    file.set_modified(time).map_err(failed)?;
                }
            }
            NodeKind::Symlink(target) => symlink(to_path(target), &host).map_err(failed)?,
            NodeKind::Hardlink(target) => {
                fs::hard_link(directory.join(to_path(target.as_bytes())), &host).map_err(failed)?;
            }
            // No source has devices.
            _ => {}
        }
    }
    Ok(())
}

fn to_path(bytes: &[u8]) -> &Path {
    Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

/// The directory of the source: what was unpacked, or the one directory in it.
fn find_root(archive: &Path, directory: &Path) -> Result<PathBuf, BuildError> {
    let mut candidates = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).map_err(BuildError::io("read", directory))? {
        candidates.push(entry.map_err(BuildError::io("read", directory))?.path());
    }
    candidates
        .into_iter()
        .find(|path| path.join("Kconfig").is_file() && path.join("Makefile").is_file())
        .ok_or_else(|| BuildError::NoSource {
            path: archive.to_owned(),
            problem: "there is no Kconfig beside a Makefile in it or in its first directory".to_owned(),
        })
}

/// Checks that a directory is a source that builds elsewhere can use.
pub(super) fn check_directory(path: &Path) -> Result<(), BuildError> {
    for file in ["Kconfig", "Makefile", "scripts/kconfig/Makefile"] {
        if !path.join(file).is_file() {
            let problem = format!("it has no {file}");
            return Err(BuildError::NoSource { path: path.to_owned(), problem });
        }
    }
    // What the kernel's own makefile looks for.
    match [".config", "include/config"].into_iter().find(|name| path.join(name).exists()) {
        None => Ok(()),
        Some(found) => Err(BuildError::NotClean { path: path.to_owned(), found }),
    }
}

/// The version that a source's makefile says.
pub(super) fn version(source: &Path) -> Result<KernelVersion, BuildError> {
    let path = source.join("Makefile");
    let text = read_text(&path, MOST_MAKEFILE_BYTES)?;
    let value = |name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().parse::<u32>().ok())?
        })
    };
    match (value("VERSION"), value("PATCHLEVEL")) {
        (Some(major), Some(minor)) => Ok(KernelVersion { major, minor }),
        _ => Err(BuildError::NoSource {
            path: source.to_owned(),
            problem: "its Makefile doesn't say VERSION and PATCHLEVEL".to_owned(),
        }),
    }
}

/// A text file of at most `most` bytes.
pub(super) fn read_text(path: &Path, most: u64) -> Result<String, BuildError> {
    let failed = |error| BuildError::io("read", path)(error);
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > most {
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("it has {size} bytes, where {most} are the most"),
        )));
    }
    Ok(String::from_utf8_lossy(&fs::read(path).map_err(failed)?).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn archive(directory: &Path, entries: &[(&str, u32, &str)]) -> PathBuf {
        let path = directory.join("source.tar");
        let mut builder = tar::Builder::new(File::create(&path).expect("created"));
        for (name, mode, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(*mode);
            header.set_mtime(1_700_000_000);
            header.set_uid(0);
            header.set_gid(0);
            match name.strip_prefix("link ") {
                Some(name) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    builder.append_link(&mut header, name, text).expect("written");
                }
                None => {
                    header.set_size(text.len() as u64);
                    builder.append_data(&mut header, name, text.as_bytes()).expect("written");
                }
            }
        }
        builder.finish().expect("finished");
        path
    }

    const SOURCE: [(&str, u32, &str); 11] = [
        ("linux-6.12/Makefile", 0o664, "# SPDX\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 3\n"),
        ("linux-6.12/Kconfig", 0o664, "mainmenu \"x\"\n"),
        ("linux-6.12/scripts/kconfig/Makefile", 0o664, ""),
        ("linux-6.12/scripts/cc-version.sh", 0o775, "#!/bin/sh\n"),
        ("link linux-6.12/scripts/link", 0o777, "../Kconfig"),
        ("linux-6.12/arch/x86/configs/tiny.config", 0o664, ""),
        ("linux-6.12/drivers/net/Kconfig", 0o664, ""),
        ("linux-6.12/drivers/net/virtio_net.c", 0o664, "int x;\n"),
        ("linux-6.12/Documentation/Kconfig", 0o664, ""),
        ("linux-6.12/Documentation/index.rst", 0o664, ""),
        ("linux-6.12/tools/testing/test.c", 0o664, ""),
    ];

    #[test]
    fn sources_are_unpacked_whole_or_in_part() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = archive(directory.path(), &SOURCE);
        for (part, has_code) in [(Part::Configuration, false), (Part::All, true)] {
            let into = tempfile::tempdir().expect("a directory");
            let root = unpack(&path, part, into.path()).expect("unpacked");
            assert_eq!(root, into.path().join("linux-6.12"));
            check_directory(&root).expect("a source");
            assert_eq!(version(&root).expect("said").to_string(), "6.12");
            assert_eq!(root.join("drivers/net/virtio_net.c").exists(), has_code);
            assert!(
                root.join("drivers/net/Kconfig").exists()
                    && root.join("arch/x86/configs/tiny.config").exists()
            );
            assert!(root.join("Documentation/Kconfig").exists());
            assert!(
                !root.join("Documentation/index.rst").exists() && !root.join("tools/testing/test.c").exists()
            );
            let script = fs::metadata(root.join("scripts/cc-version.sh")).expect("there");
            assert_eq!(script.permissions().mode() & 0o777, 0o755);
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            assert_eq!(script.modified().expect("known"), time);
            assert_eq!(fs::read_link(root.join("scripts/link")).expect("a link"), Path::new("../Kconfig"));
            fs::write(root.join(".config"), "").expect("written");
            let error = check_directory(&root).expect_err("built in").to_string();
            assert!(error.ends_with("has been built in: it holds .config"), "{error}");
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let into = || tempfile::tempdir().expect("a directory");
        let path = archive(directory.path(), &SOURCE[..1]);
        let error = unpack(&path, Part::All, into().path()).expect_err("no Kconfig");
        assert!(error.to_string().contains("is no kernel source"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("linux-source")));
        let below_link = [("link linux/out", 0o777, "/tmp"), ("linux/out/Makefile", 0o644, "")];
        let path = archive(directory.path(), &below_link);
        let error = unpack(&path, Part::All, into().path()).expect_err("it would lead out");
        assert!(matches!(error, BuildError::Archive { .. }), "{error}");
        let versionless =
            archive(directory.path(), &[("l/Makefile", 0o644, "X = 1\n"), ("l/Kconfig", 0o644, "")]);
        let into = into();
        let root = unpack(&versionless, Part::All, into.path()).expect("unpacked");
        assert!(version(&root).expect_err("it says none").to_string().contains("VERSION and PATCHLEVEL"));
    }
}
