//! Development tasks: `cargo xtask TASK`. Run without a task for the list.

#![forbid(unsafe_code)]

mod apk_tool;
mod bench;
mod demo;
mod deny;
mod fixtures;
mod fuzz;
mod mirror;
mod moto;
mod otp28;
mod package;
mod pypi;
mod run;
mod sbom_validators;
mod server;
mod setup;
mod suite;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

const USAGE: &str = "\
usage: cargo xtask TASK

  demo             a sample release from its sources to its first line in QEMU
  test [--full]    everything that CI runs; --full also what CI only samples
  mirror [DIR]     a real, signed Alpine repository (default target/mirror)
  fuzz [S] [NAME]… the fuzz targets, S seconds each (default 20); what is found is kept in target/fuzz/artifacts
  bench [images|resolve]   leanfs beside the usual tools, on this machine; or one part alone
  validators       what the tests check SBOMs with (target/xtask/sbom-validators)
  setup            what the other tasks do first: installs what is missing
";

fn main() -> ExitCode {
    if let Some(real) = std::env::var_os(deny::REAL_CARGO) {
        return deny::as_cargo(&real).unwrap_or_else(|error| {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        });
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["setup"] => setup::run(),
        ["mirror"] => mirror::command(&default_mirror()),
        ["mirror", directory] if !directory.starts_with('-') => mirror::command(Path::new(directory)),
        ["validators"] => sbom_validators::directory().map(drop).context("they can't be had"),
        ["demo"] => demo::run(),
        ["test"] => suite::run(false),
        ["test", "--full"] => suite::run(true),
        ["fuzz", seconds, targets @ ..] if seconds.parse::<u64>().is_ok() => {
            fuzz::run(seconds.parse().unwrap_or(fuzz::SECONDS), targets).map(drop)
        }
        ["fuzz", targets @ ..] => fuzz::run(fuzz::SECONDS, targets).map(drop),
        ["bench"] => bench::run(),
        ["bench", "assemble"] => bench::assemble::compare(),
        ["bench", "images"] => bench::images::compare(),
        ["bench", "resolve"] => bench::resolve::compare(),
        // What `bench` measures, in a process of its own.
        ["image", format, compression, threads, directory, image] => {
            bench::images::write(format, compression, threads, Path::new(directory), Path::new(image))
        }
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The checkout that this xtask was built from.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask stands inside the checkout").to_path_buf()
}

/// Cargo's build directory, where all that tasks make is kept.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// Where downloads and intermediate files of tasks are kept.
fn work() -> PathBuf {
    target().join("xtask")
}

/// Where the test mirror stands unless something else is asked for.
fn default_mirror() -> PathBuf {
    target().join("mirror")
}
