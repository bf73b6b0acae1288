//! A real Alpine repository on a machine that can't reach Alpine's servers.
//!
//! `v3.23/main` is Alpine's base system, taken apart from an installed one that PyPI has ([`alpine`]);
//! `v3.23/community` has this machine's Erlang and Elixir of Debian ([`debian`]). Both are signed with a key of
//! this mirror's own; the public half stands in `keys/`. Packages and indexes are written by leanfs.

mod alpine;
mod debian;
mod installed;

use std::collections::BTreeSet;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use leanfs::apk::write::{self, PrivateKey};
use leanfs::apk::{IndexEntry, PackageInfo};
use leanfs::tree::Tree;

use crate::{run, setup};

/// Raised when the same inputs make other packages than before.
const GENERATION: u32 = 2;

/// The key's name; clients know the public key by its file name.
const KEY: &str = "leanfs-mirror.rsa";

/// The only architecture that the wheel has.
const ARCH: &str = "x86_64";

/// A package before it is written.
struct Package {
    info: PackageInfo,
    /// `.post-install` and so on, with their texts.
    scripts: Vec<(String, Vec<u8>)>,
    tree: Tree,
}

/// `cargo xtask mirror`.
pub(crate) fn command(directory: &Path) -> Result<()> {
    setup::run()?;
    build(directory)?;
    let place = directory.display();
    println!(
        "--repository {place}/v3.23/main --repository {place}/v3.23/community --key {place}/keys/{KEY}.pub"
    );
    Ok(())
}

/// Makes the mirror in `directory`, unless it stands there already, made of the same things.
pub(crate) fn build(directory: &Path) -> Result<()> {
    let inputs = format!("generation={GENERATION}\nwheel={}\n{}", alpine::WHEEL.sha256, debian::inputs()?);
    let record = directory.join("inputs.txt");
    if fs_err::read_to_string(&record).is_ok_and(|found| found == inputs) {
        return Ok(());
    }
    // Next to its place first: a mirror is whole or not there.
    let next = directory.with_extension("new");
    for old in [&next, directory] {
        if old.exists() {
            fs_err::remove_dir_all(old)?;
        }
    }
    fs_err::create_dir_all(next.join("keys"))?;
    let key = key(&next.join("keys"))?;
    let main = alpine::packages()?;
    let taken: BTreeSet<String> = main
        .iter()
        .flat_map(|package| &package.info.provides)
        .filter_map(|provided| provided.name.strip_prefix("so:").map(str::to_owned))
        .collect();
    repository(&next.join("v3.23/main"), main, &key)?;
    let plan = debian::Plan::of_this_machine()?;
    repository(&next.join("v3.23/community"), plan.packages(ARCH, &taken)?, &key)?;
    fs_err::write(next.join("inputs.txt"), inputs)?;
    fs_err::rename(&next, directory)?;
    Ok(())
}

/// A fresh RSA key; its public half is written into `keys`. Nobody needs the private half afterwards.
fn key(keys: &Path) -> Result<PrivateKey> {
    let private = run::output(Command::new("openssl").args(["genrsa", "2048"]))?;
    let file = keys.join("private.pem");
    fs_err::write(&file, &private)?;
    let public = keys.join(format!("{KEY}.pub"));
    run::output(Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&file).arg("-out").arg(&public))?;
    fs_err::remove_file(&file)?;
    Ok(PrivateKey::from_pem(&format!("{KEY}.pub"), private.as_bytes())?)
}

/// Writes packages and their signed index, two at a time.
fn repository(directory: &Path, packages: Vec<Package>, key: &PrivateKey) -> Result<()> {
    let directory = directory.join(ARCH);
    fs_err::create_dir_all(&directory)?;
    eprintln!("  {}: {} packages", directory.display(), packages.len());
    let queue = std::sync::Mutex::new(packages.into_iter());
    let written = std::sync::Mutex::new(Vec::new());
    let work = || -> Result<()> {
        loop {
            let next = queue.lock().expect("no thread panics with it").next();
            let Some(package) = next else { return Ok(()) };
            let name = package.info.name.clone();
            let entry = write(&directory, package, key).with_context(|| format!("the package {name}"))?;
            written.lock().expect("no thread panics with it").push(entry);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a writer does not panic"))
    })?;
    let mut entries: Vec<IndexEntry> = written.into_inner().expect("no thread panicked");
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let mut index = Vec::new();
    write::write_index(&entries, "leanfs test mirror", Some(key), &mut index)?;
    fs_err::write(directory.join("APKINDEX.tar.gz"), index)?;
    Ok(())
}

/// Writes one package; its entry for the index.
fn write(directory: &Path, package: Package, key: &PrivateKey) -> Result<IndexEntry> {
    let tree = package.tree.validate()?;
    let path = directory.join(format!("{}-{}.apk", package.info.name, package.info.version));
    let mut output = BufWriter::new(fs_err::File::create(&path)?);
    write::pack(&package.info, &tree, &package.scripts, Some(key), &mut tempfile::tempfile()?, &mut output)?;
    output.flush()?;
    drop(output);
    let mut written = BufReader::new(fs_err::File::open(&path)?);
    Ok(write::index_package(&mut written)?)
}
