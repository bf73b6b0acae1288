//! The crate as it is published: packed, unpacked elsewhere, built, and the same as this checkout's.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{fixtures, run, suite};

/// Packs the crate and builds it outside the checkout, with dependencies that are built already. With `full`,
/// what that leanfs assembles must be what this one does.
pub(crate) fn check(full: bool, mirror: &Path) -> Result<()> {
    let target = crate::target();
    run::run(suite::cargo().args([
        "package",
        "--package",
        "leanfs",
        "--no-verify",
        "--allow-dirty",
        "--quiet",
    ]))?;
    let version = version()?;
    let packed = target.join("package").join(format!("leanfs-{version}.crate"));
    let elsewhere = tempfile::tempdir()?;
    run::output(Command::new("tar").arg("-xzf").arg(&packed).arg("-C").arg(elsewhere.path()))?;
    let unpacked = elsewhere.path().join(format!("leanfs-{version}"));
    let mut build = suite::cargo();
    build
        .current_dir(&unpacked)
        .args(["build", "--locked", "--offline", "--quiet", "--target-dir"])
        .arg(&target);
    // The program that tests and developers run stays what it is.
    let ours = target.join("debug/leanfs");
    let kept = target.join("debug/leanfs.checkout");
    if ours.exists() {
        fs_err::rename(&ours, &kept)?;
    }
    let built = run::run(&mut build);
    let theirs = elsewhere.path().join("leanfs");
    if built.is_ok() {
        fs_err::copy(&ours, &theirs)?;
    }
    if kept.exists() {
        fs_err::rename(&kept, &ours)?;
    }
    built?;
    run::output(Command::new(&theirs).arg("--version"))?;
    if !full {
        return Ok(());
    }
    run::run(suite::cargo().args(["build", "--package", "leanfs", "--locked", "--quiet"]))?;
    let project = fixtures::mix_release("hello")?;
    let mut images = Vec::new();
    for (name, leanfs) in [("theirs", &theirs), ("ours", &ours)] {
        let output = elsewhere.path().join(name);
        let mut command = Command::new(leanfs);
        command.current_dir(&project).args(["assemble", "--initramfs", "--offline", "-o"]).arg(&output);
        crate::demo::mirror_flags(&mut command, mirror);
        run::run(&mut command)?;
        images.push(fs_err::read(output.join("initramfs.cpio.xz"))?);
    }
    if images.first() != images.last() {
        bail!("the published crate assembles another image than this checkout");
    }
    Ok(())
}

fn version() -> Result<String> {
    let text = run::output(suite::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let packages = metadata.get("packages").and_then(|packages| packages.as_array());
    let leanfs = packages.and_then(|packages| packages.iter().find(|package| package["name"] == "leanfs"));
    let version = leanfs.and_then(|package| package["version"].as_str());
    Ok(version.context("cargo metadata knows no leanfs")?.to_owned())
}
