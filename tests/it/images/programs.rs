//! Programs of `tests/tools/`, compiled for this machine without shared libraries, so that they run in any guest too.

use std::path::{Path, PathBuf};
use std::process::Command;

use ring::digest;

use crate::end_to_end::bench;

/// The lister.
pub(crate) fn lister() -> Option<PathBuf> {
    compiled("lister")
}

/// The first program of the guest that looks at images.
pub(crate) fn guest() -> Option<PathBuf> {
    compiled("guest")
}

/// The program of this name, compiled once for its source and compiler; tests are processes that run at the same time.
fn compiled(name: &str) -> Option<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let Ok(version) = Command::new(&rustc).arg("--version").output() else {
        return bench::missing("rustc");
    };
    let source = bench::checkout().join("tests/tools").join(name).with_extension("rs");
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&version.stdout);
    hash.update(&fs_err::read(&source).expect("the checkout has it"));
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools");
    fs_err::create_dir_all(&directory).expect("the build directory is writable");
    let program = directory.join(format!("{name}-{}", &hex::encode(hash.finish())[..16]));
    let lock = fs_err::File::create(directory.join(format!("{name}.lock"))).expect("room").into_file();
    lock.lock().expect("a file system with locks");
    if program.exists() {
        return Some(program);
    }
    let unfinished = program.with_extension("unfinished");
    bench::succeed(
        Command::new(rustc)
            .args(["--edition", "2024", "-D", "warnings", "-O"])
            .args(["-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"])
            .args([&unfinished, &source]),
    );
    fs_err::rename(&unfinished, &program).expect("one file system");
    Some(program)
}
