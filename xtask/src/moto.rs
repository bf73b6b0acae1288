//! moto, an S3-compatible store in Python: the other side of a shared cache in the tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::run;

/// What is installed. What these need is as pip chooses: the store only has to behave as one, on any Python.
const PACKAGES: [&str; 3] = ["moto[s3]==5.1.22", "flask==3.1.3", "flask-cors==6.0.5"];

/// The directory for Python's search path; `None`, and why, when PyPI can't be reached.
pub(crate) fn directory() -> Option<PathBuf> {
    made().inspect_err(|error| eprintln!("SKIP: no S3-compatible store: {error:#}")).ok()
}

fn made() -> Result<PathBuf> {
    let directory = crate::work().join("moto");
    let done = directory.join(".done");
    // Another Python may need other files.
    let python = run::output(Command::new("python3").arg("--version"))?;
    let stamp = format!("{python}{}", PACKAGES.join(" "));
    if fs_err::read_to_string(&done).is_ok_and(|found| found == stamp) {
        return Ok(directory);
    }
    if directory.exists() {
        fs_err::remove_dir_all(&directory)?;
    }
    let pip = if run::on_path("pip") { "pip" } else { "pip3" };
    let mut command = Command::new(pip);
    command.args(["install", "--quiet", "--disable-pip-version-check", "--no-warn-conflicts", "--target"]);
    run::run(command.arg(&directory).args(PACKAGES))?;
    fs_err::write(&done, stamp)?;
    Ok(directory)
}
