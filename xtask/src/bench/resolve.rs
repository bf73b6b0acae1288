//! Choosing packages: `leanfs resolve` beside `apk add --simulate`, each a whole process, with the same signed
//! indexes on this disk and the same key.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use leanfs::apk::index::IndexArchive;
use leanfs::apk::write::{PrivateKey, write_index};
use leanfs::apk::{Dependency, Index};
use leanfs::resolve::Repositories;

use crate::{apk_tool, mirror, run, suite};

/// How often each runs, in turn; the median counts.
const RUNS: usize = 21;
/// How many packages are asked for.
const WANTED: usize = 50;
const ARCH: &str = "x86_64";
const KEY: &str = "leanfs-test.rsa.pub";

/// Compares both.
pub(crate) fn compare() -> Result<()> {
    let real = crate::root().join("../shared/real/v2");
    if !real.is_dir() {
        println!("\nChoosing packages is not measured: ../shared/real is absent.");
        return Ok(());
    }
    let place = crate::default_mirror();
    mirror::build(&place)?;
    let apk = apk_tool::build(&place)?;
    run::run(suite::cargo().args(["build", "--release", "--package", "leanfs", "--locked"]))?;
    let leanfs = crate::target().join("release/leanfs");

    let scratch = tempfile::tempdir()?;
    let keys = crate::root().join("tests/keys");
    let key = PrivateKey::from_pem(KEY, &fs_err::read(keys.join("leanfs-test.rsa"))?)?;
    let mut indexes = Vec::new();
    for name in ["alpine-316", "alpine-317"] {
        let file = fs_err::read(real.join(name).join("APKINDEX.tar.gz"))?;
        let mut index = IndexArchive::open(&file)?.index()?;
        // The second is of another architecture: taken as if it were not.
        index.entries.retain(|entry| entry.unusable.is_none());
        for entry in index.entries.iter_mut().filter(|entry| entry.arch != "noarch") {
            ARCH.clone_into(&mut entry.arch);
        }
        let directory = scratch.path().join(name).join(ARCH);
        fs_err::create_dir_all(&directory)?;
        let mut signed = Vec::new();
        write_index(&index.entries, name, Some(&key), &mut signed)?;
        fs_err::write(directory.join("APKINDEX.tar.gz"), signed)?;
        indexes.push(index);
    }
    let names = choose(&indexes)?;
    let root = scratch.path().join("root");
    for directory in ["etc/apk/keys", "lib/apk/db"] {
        fs_err::create_dir_all(root.join(directory))?;
    }
    fs_err::copy(keys.join(KEY), root.join("etc/apk/keys").join(KEY))?;
    for file in ["etc/apk/world", "lib/apk/db/installed"] {
        fs_err::write(root.join(file), "")?;
    }

    let ours = || {
        let mut command = Command::new(&leanfs);
        command.current_dir(scratch.path()).args([
            "resolve",
            "--offline",
            "--arch",
            ARCH,
            "--cache-dir",
            "cache",
        ]);
        command
            .args(["--repository", "alpine-316", "--repository", "alpine-317", "--key"])
            .arg(keys.join(KEY));
        command.args(&names);
        command
    };
    let theirs = || {
        let mut command = Command::new(&apk);
        command.arg("--root").arg(&root).args([
            "--arch",
            ARCH,
            "--no-cache",
            "--repositories-file",
            "/dev/null",
        ]);
        for name in ["alpine-316", "alpine-317"] {
            command.arg("-X").arg(scratch.path().join(name));
        }
        command.args(["add", "--simulate"]).args(&names);
        command
    };
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        our_times.push(time(ours())?);
        their_times.push(time(theirs())?);
    }
    let (ours, theirs) = (median(our_times)?, median(their_times)?);
    let packages: usize = indexes.iter().map(|index| index.entries.len()).sum();
    println!("\n| {WANTED} of {packages} packages | time |");
    println!("| --- | ---: |");
    println!("| leanfs resolve | {:.1} ms |", ours * 1e3);
    println!("| apk add --simulate | {:.1} ms |", theirs * 1e3);
    println!("| ratio | {:.2}× |", ours / theirs);
    Ok(())
}

/// Names by chance, always the same, that can all be had together.
fn choose(indexes: &[Index]) -> Result<Vec<String>> {
    let first = indexes.first().context("an index")?;
    let mut state: u64 = 0x1eaf_f5ee_d5ee_d5ee;
    let mut wanted: Vec<Dependency> = Vec::new();
    while wanted.len() < WANTED {
        // xorshift64 (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let place = usize::try_from(state % first.entries.len() as u64)?;
        wanted.push(Dependency::any(&first.entries[place].name));
        if Repositories::new(indexes).for_arch(ARCH).resolve(&wanted).is_err() {
            wanted.pop();
        }
    }
    Ok(wanted.into_iter().map(|wanted| wanted.name).collect())
}

fn time(mut command: Command) -> Result<f64> {
    let started = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !status.success() {
        bail!("{status}: {}", Path::new(command.get_program()).display());
    }
    Ok(started.elapsed().as_secs_f64())
}

fn median(mut times: Vec<f64>) -> Result<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().context("a run")
}
