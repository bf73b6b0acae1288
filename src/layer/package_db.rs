//! The database of installed packages (`--keep-package-db`): what of which package is in the tree, so that the `apk` in
//! the image and scanners see what is really there.
//!
//! - A file that has gone is not listed. A package of which nothing is left keeps its record, without files: what
//!   depends on it stays satisfied.
//! - A file that stands there is listed as it stands there, whoever changed it (symbols that went, the overlay): `apk
//!   audit --system` finds nothing. It remains the file of the package that brought the path.
//! - Protected paths (`/etc`, see `apk-protected_paths(5)`) are listed as the package has them, as apk does for an
//!   administrator's changes: so it sees the change, and leaves the file alone when the package is upgraded.
//! - Directories are listed as the package has them; whose owner and mode they have says [`super::packages`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::packages::{Package, owners};
use super::protected::ProtectedPaths;
use crate::apk::installed::{
    Access, InstalledDatabase, InstalledDirectory, InstalledFile, InstalledPackage, display_order,
    is_installable_name, xattr_hash,
};
use crate::apk::{ApkError, Dependency, PublicKey};
use crate::arch::Arch;
use crate::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath};

/// What keeps the database from being made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageDbError {
    /// A file of a package can't be read.
    #[error("{path} can't be read")]
    Read {
        /// The file in the image.
        path: TreePath,
        /// What is wrong.
        source: io::Error,
    },
    /// The database can't be written.
    #[error("the database of installed packages can't be written")]
    Write(#[from] ApkError),
}

/// What stands beside the database, in `/etc/apk`.
#[derive(Debug, Clone)]
pub struct Configuration<'a> {
    /// The architecture of the packages.
    pub arch: Arch,
    /// What was asked for: `world`.
    pub world: &'a [Dependency],
    /// Addresses of repositories, a line each.
    pub repositories: &'a [String],
    /// The keys that may sign.
    pub keys: &'a [PublicKey],
}

/// The database for the packages that were laid into `tree`, in the order of installation, whatever happened to the
/// tree since.
///
/// # Errors
/// When a content can't be read.
pub fn database(tree: &Tree, packages: &[Package<'_>]) -> Result<InstalledDatabase, PackageDbError> {
    let owners = owners(tree, packages);
    let protected = ProtectedPaths::of(tree);
    let mut installed = Vec::with_capacity(packages.len());
    for (number, package) in packages.iter().enumerate() {
        let mut entry = package.entry.clone();
        entry.replaces.clone_from(&package.info.replaces);
        entry.replaces_priority = package.info.replaces_priority;
        let mut record = InstalledPackage::new(entry);
        record.scripts = package
            .scripts
            .iter()
            .map(|(name, text)| (name.trim_start_matches('.').to_owned(), text.clone()))
            .collect();
        record.repository_tag = package.tag.map(str::to_owned);
        record.triggers.clone_from(&package.info.triggers);
        record.directories = directories(tree, package, &record, &|place, path| {
            (owners.get(place) == Some(&number)).then(|| protected.protects(path))
        })?;
        installed.push(record);
    }
    Ok(InstalledDatabase::new(installed))
}

/// What of a package is in the tree. `is_protected` says of a place and its path in the package whether it is protected,
/// and nothing if the package doesn't own it.
fn directories(
    tree: &Tree,
    package: &Package<'_>,
    record: &InstalledPackage,
    is_protected: &dyn Fn(&TreePath, &TreePath) -> Option<bool>,
) -> Result<Vec<InstalledDirectory>, PackageDbError> {
    let mut directories: BTreeMap<TreePath, InstalledDirectory> = BTreeMap::new();
    let listed = |path: &TreePath, access| InstalledDirectory {
        path: path.as_bytes().to_vec(),
        access,
        files: Vec::new(),
    };
    for (path, node) in package.tree.iter() {
        if !is_installable_name(path.as_bytes()) {
            continue;
        }
        if matches!(node.kind, NodeKind::Directory) {
            let leads_to = tree.resolve(path).and_then(|place| tree.get(&place));
            if !path.is_root() && leads_to.is_some_and(|there| matches!(there.kind, NodeKind::Directory)) {
                directories.entry(path.clone()).or_insert_with(|| listed(path, access_of(node)));
            }
            continue;
        }
        let Some(place) = tree.resolve_parent(path) else { continue };
        let (Some(there), Some(is_protected)) = (tree.get(&place), is_protected(&place, path)) else {
            continue;
        };
        if matches!(there.kind, NodeKind::Directory) {
            continue;
        }
        let (of, node) = if is_protected { (package.tree, node) } else { (tree, there) };
        let node = target_of(of, node);
        let hash = match &node.kind {
            NodeKind::File(content) => Some(
                hash_of(content, record)
                    .map_err(|source| PackageDbError::Read { path: place.clone(), source })?,
            ),
            NodeKind::Symlink(target) => Some(record.hash(target)),
            _ => None,
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        directories
            .entry(parent.clone())
            .or_insert_with(|| listed(&parent, Access::DIRECTORY))
            .files
            .push(InstalledFile { name: name.to_vec(), access: access_of(node), hash });
    }
    Ok(directories
        .into_values()
        .map(|mut directory| {
            directory.files.sort_by(|first, second| first.name.cmp(&second.name));
            directory
        })
        .collect())
}

/// What a hardlink is a name of.
fn target_of<'a>(tree: &'a Tree, node: &'a Node) -> &'a Node {
    match &node.kind {
        NodeKind::Hardlink(target) => tree.get(target).unwrap_or(node),
        _ => node,
    }
}

fn access_of(node: &Node) -> Access {
    let xattrs = node.xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
    let Metadata { mode, uid, gid, .. } = node.metadata;
    Access { uid, gid, mode, xattrs: xattr_hash(xattrs) }
}

fn hash_of(content: &Content, record: &InstalledPackage) -> io::Result<[u8; 20]> {
    let algorithm = match record.flags.sha256 {
        true => &ring::digest::SHA256,
        false => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
    };
    let mut context = ring::digest::Context::new(algorithm);
    let mut reader = content.reader()?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match io::Read::read(&mut reader, &mut buffer)? {
            0 => break,
            count => context.update(&buffer[..count]),
        }
    }
    let mut hash = [0; 20];
    hash.copy_from_slice(&context.finish().as_ref()[..20]);
    Ok(hash)
}

/// Puts the database and apk's configuration into the tree. Files of the configuration that are there already (the
/// overlay's, a package's) stay.
///
/// # Errors
/// When a name can't stand in the database.
pub fn lay(
    tree: &mut Tree,
    database: &InstalledDatabase,
    configuration: &Configuration<'_>,
    mtime: i64,
) -> Result<(), PackageDbError> {
    let origin = Origin::new(LayerKind::Skeleton, "package database");
    let mut put = |path: &str, bytes: Vec<u8>, replaces: bool| {
        let Ok(path) = TreePath::parse(path.as_bytes()) else { return };
        let place = tree.resolve_parent(&path).unwrap_or(path);
        if replaces || tree.get(&place).is_none() {
            let metadata = Metadata { mtime, ..Metadata::FILE };
            tree.insert_with_parents(place, Node::file(Content::from_bytes(bytes), metadata, origin.clone()));
        }
    };
    put("lib/apk/db/installed", database.to_bytes()?, true);
    put("lib/apk/db/scripts.tar.gz", database.scripts_archive()?, true);
    put("lib/apk/db/triggers", database.triggers(), true);
    put("etc/apk/arch", lines([configuration.arch.alpine().to_owned()]), false);
    put("etc/apk/world", world(configuration.world), false);
    put("etc/apk/repositories", lines(configuration.repositories.iter().cloned()), false);
    for key in configuration.keys {
        put(&format!("etc/apk/keys/{}", key.name()), key.to_pem().into_bytes(), false);
    }
    Ok(())
}

/// A dependency a line, in apk's order; of an empty world, too, there is an empty line.
fn world(world: &[Dependency]) -> Vec<u8> {
    let mut texts: Vec<(&str, String)> =
        world.iter().map(|dependency| (&*dependency.name, dependency.to_string())).collect();
    texts.sort_by(|first, second| display_order(first.0, second.0).then_with(|| first.1.cmp(&second.1)));
    let mut seen = BTreeSet::new();
    texts.retain(|(_, text)| seen.insert(text.clone()));
    if texts.is_empty() {
        return b"\n".to_vec();
    }
    lines(texts.into_iter().map(|(_, text)| text))
}

fn lines(lines: impl IntoIterator<Item = String>) -> Vec<u8> {
    lines.into_iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
}
