//! `cargo xtask fuzz`: the targets of `fuzz/` under libFuzzer, each for some seconds, from good files.
//!
//! What cargo-fuzz does, without installing it and on any toolchain: coverage comes from a pass of LLVM that `-C passes`
//! names, and no sanitizer is asked for, as the crate forbids `unsafe`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

use crate::run;
use crate::suite::cargo;

/// How long each target runs in `cargo xtask test`.
pub(crate) const SECONDS: u64 = 20;

/// As cargo-fuzz has them, with arithmetic that is checked.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

/// Where good files stand, by target; `tests/it/fuzz_entries.rs` writes them.
pub(crate) fn seeds() -> PathBuf {
    directory().join("seeds")
}

fn directory() -> PathBuf {
    crate::target().join("fuzz")
}

/// The targets, by name.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(crate::root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        let name = path.file_stem().context("a file without a name")?;
        names.push(name.to_str().context("a name that is no UTF-8")?.to_owned());
    }
    names.sort();
    Ok(names)
}

/// Runs the targets of these names, or all of them. Gives how many ran; the first that fails is the error.
pub(crate) fn run(seconds: u64, wanted: &[&str]) -> Result<u64> {
    let all = targets()?;
    if let Some(unknown) = wanted.iter().find(|name| !all.iter().any(|known| known == *name)) {
        bail!("{unknown} is no target: {} are", all.join(", "));
    }
    let chosen: Vec<String> =
        all.into_iter().filter(|name| wanted.is_empty() || wanted.contains(&name.as_str())).collect();
    let host = host()?;
    run::run(
        cargo()
            .args(["build", "--release", "--bins", "--locked", "--quiet", "--target", &host])
            .args(["--manifest-path", "fuzz/Cargo.toml"])
            .arg("--target-dir")
            .arg(directory())
            .env("RUSTFLAGS", RUSTFLAGS),
    )?;
    if chosen.iter().any(|target| !seeds().join(target).is_dir()) {
        let mut command = cargo();
        command.args(["test", "--test", "it", "--locked", "--quiet", "fuzz_entries::no_bytes"]);
        run::run(command.env("LEANFS_FUZZ_SEEDS", seeds()))?;
    }
    let programs = directory().join(host).join("release");
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(target) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = one(&programs, target, seconds)
                        && let Ok(mut failures) = failures.lock()
                    {
                        failures.push(error);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    match failures.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(chosen.len() as u64),
    }
}

fn host() -> Result<String> {
    let said = run::output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say for which machine it is")?.to_owned())
}

/// One target. What it learns is kept for the next time.
fn one(programs: &Path, target: &str, seconds: u64) -> Result<()> {
    let below = |name: &str| directory().join(name).join(target);
    let (corpus, artifacts) = (below("corpus"), below("artifacts"));
    fs_err::create_dir_all(&corpus)?;
    fs_err::create_dir_all(&artifacts)?;
    let mut command = Command::new(programs.join(target));
    command
        .arg(format!("-max_total_time={seconds}"))
        .args(["-rss_limit_mb=2048", "-timeout=20"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(&corpus);
    let own = seeds().join(target);
    if own.is_dir() {
        command.arg(own);
    }
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("{target} can't be started"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let tail: Vec<&str> = said.lines().rev().take(40).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("{target} found something, kept in {}:\n{}", artifacts.display(), tail.join("\n"));
    }
    let done = said.lines().rev().find(|line| line.contains("DONE")).unwrap_or_default();
    eprintln!("  {target}: {done}");
    Ok(())
}
