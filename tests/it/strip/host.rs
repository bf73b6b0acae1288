//! Every program and library of the host, or a sample of them.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use leanfs::elf::KeptWhole;

use super::oracle::{self, HOST};
use super::{files_below, for_each, is_loadable, skip};

/// How many files are a sample.
const SAMPLE: usize = 240;
/// Those of a sample are no larger, lest the tools take minutes.
const LARGEST: u64 = 8 << 20;

#[test]
fn files_of_the_host_lose_nothing_that_is_loaded() {
    if !oracle::available() {
        return;
    }
    let full = std::env::var_os("LEANFS_TEST_FULL").is_some();
    let directories = ["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec"];
    let files = directories.iter().flat_map(|directory| files_below(Path::new(directory)));
    // What is there holds debugging information of other files.
    let files = files.filter(|path| !path.starts_with("/usr/lib/debug"));
    let mut files: Vec<PathBuf> = match full {
        true => files.filter(|path| is_loadable(path)).collect(),
        false => {
            let small =
                |path: &PathBuf| fs_err::metadata(path).is_ok_and(|metadata| metadata.len() <= LARGEST);
            let mut named = sample(files.filter(|path| looks_loadable(path)).collect());
            named.retain(|path| small(path) && is_loadable(path));
            named
        }
    };
    files.dedup();
    if files.len() < 100 {
        return skip("a host with programs");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (sums, kept) = (Mutex::new([0_u64; 3]), Mutex::new(Vec::new()));
    for_each(&files, |path| {
        // Names repeat in other directories.
        let own = tempfile::tempdir_in(directory.path()).expect("a directory");
        let outcome = oracle::check(path, own.path(), HOST);
        let mut sums = sums.lock().expect("no thread failed");
        let theirs = outcome.theirs.unwrap_or(outcome.after);
        for (sum, size) in sums.iter_mut().zip([outcome.before, outcome.after, theirs]) {
            *sum += size;
        }
        if let Some(reason) = outcome.reason {
            kept.lock().expect("no thread failed").push((path.to_owned(), reason));
        }
    });
    let [before, ours, theirs] = sums.into_inner().expect("no thread failed");
    println!("{} files of {before} bytes: {ours}, strip leaves {theirs}", files.len());
    assert!(ours <= theirs, "{ours} bytes, but strip leaves {theirs}");
    for (path, reason) in kept.into_inner().expect("no thread failed") {
        match reason {
            KeptWhole::NoSmaller => {}
            KeptWhole::Payload { .. } | KeptWhole::NothingLoaded => println!("{}: {reason}", path.display()),
            other => panic!("{}: {other}", path.display()),
        }
    }
}

/// Programs have no ending, libraries are `.so` or `.so.` and a version.
fn looks_loadable(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    !name.contains('.') || name.ends_with(".so") || name.contains(".so.")
}

/// Every so many-th of the files: the same on each run.
fn sample(files: Vec<PathBuf>) -> Vec<PathBuf> {
    // About half are scripts, links and data.
    let step = (files.len() / (2 * SAMPLE)).max(1);
    files.into_iter().step_by(step).collect()
}
