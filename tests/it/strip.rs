//! Stripping on real files: the host's, those that compilers make in every way they can, other architectures'. `strip`,
//! `readelf` and the loaders are the oracles.

mod foreign;
mod host;
mod made;
mod oracle;
mod running;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use leanfs::elf::{KeptWhole, Stripped, strip};

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared");

/// A tool or file that isn't here: a visible skip on a laptop, a failure in CI.
pub(crate) fn skip(what: &str) {
    assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{what} is needed in CI");
    println!("SKIP: {what} is absent");
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let directories = std::env::var_os("PATH")?;
    std::env::split_paths(&directories).map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// Runs a command that must succeed, and gives what it prints.
fn output(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C").output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Strips `from` to `to`, as executable as it was; twice, which must change nothing. The reason when the file stays as it
/// is, in which case `to` is a copy.
fn strip_file(from: &Path, to: &Path) -> Option<KeptWhole> {
    let bytes = fs_err::read(from).expect("readable");
    let result = strip(&bytes).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    let reason = match result {
        Stripped::Changed(changed) => {
            assert!(changed.len() <= bytes.len(), "{}", from.display());
            let again = strip(&changed);
            assert_eq!(again, Ok(Stripped::AsItIs(KeptWhole::NoSmaller)), "{}", from.display());
            fs_err::write(to, changed).expect("written");
            None
        }
        Stripped::AsItIs(reason) => {
            fs_err::write(to, &bytes).expect("written");
            Some(reason)
        }
    };
    let mode = fs_err::metadata(from).expect("readable").permissions();
    fs_err::set_permissions(to, mode).expect("a mode");
    reason
}

/// Whether a file is an ELF file of a type that may be stripped.
pub(crate) fn is_loadable(path: &Path) -> bool {
    let is_file = fs_err::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    is_file
        && fs_err::File::open(path).is_ok_and(|file| match leanfs::elf::ElfFile::read_from(file) {
            Ok(elf) => elf.is_loadable(),
            Err(_) => false,
        })
}

/// All files below a directory, in order.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    let mut entries: Vec<_> = entries.map(|entry| entry.expect("an entry")).collect();
    entries.sort_by_key(fs_err::DirEntry::file_name);
    let mut files = Vec::new();
    for entry in entries {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => files.extend(files_below(&entry.path())),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

/// Does `work` for each path, on all processors.
fn for_each(paths: &[PathBuf], work: impl Fn(&Path) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(path);
                }
            });
        }
    });
}
