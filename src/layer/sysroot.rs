//! Shared libraries from a root directory on the host, for programs that no package serves: a release with a
//! glibc ERTS takes them from the machine that assembles, or from `--sysroot`.
//!
//! A library is looked for as the loader of that root would: in the directories that the file which needs it
//! names, then for glibc in those of `etc/ld.so.conf` and those that the root's own loader was built with,
//! for musl in those of `etc/ld-musl-ARCH.path`. Links are followed inside the root only. It is taken when it
//! is for the right machine and libc and defines every version that is needed of it, and put under its
//! needed name into the same directory as on the host; or, when the loader of the image (which has no
//! `ld.so.cache`) wouldn't look there, into the first of its own directories. Loaders stand at their exact
//! path.
//!
//! Two things are loaded by name at run time and come along: the name services of `/etc/hosts` and DNS by
//! glibc before 2.34, and OpenSSL's provider of old ciphers by Erlang's `crypto` (which starts without it, but
//! then has no DES, RC4 or Blowfish). Variants for newer processors (`glibc-hwcaps/`) are never taken: the machine that runs is another one.
//!
//! Invariant: either everything that was asked for is added and the closure of it holds, or the tree is as it
//! was.

mod host;
mod ld_so_conf;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::elf::{ElfFile, Libc, glibc_version, system_directories};
use crate::layer::libraries::{
    Closure, Elves, Entry, LibraryError, Loader, MissingLibrary, Problem, Rejected, Unfit, close_with,
    default_directories, expand, judge, usual_interpreter,
};
use crate::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath};

use host::{HostFile, Root};

/// glibc's main library, by which its version is known.
const GLIBC: &str = "libc.so.6";
/// The first glibc that has the name services `files` and `dns` built in.
const NAME_SERVICES_BUILT_IN: [u32; 2] = [2, 34];
/// What older ones load by name for `/etc/hosts` and DNS.
const NAME_SERVICES: [&str; 2] = ["libnss_files.so.2", "libnss_dns.so.2"];
/// Erlang's NIF over OpenSSL, which asks for the provider that isn't built in.
const CRYPTO: &[u8] = b"crypto.so";
/// OpenSSL's library of algorithms, up to its major version.
const LIBCRYPTO: &str = "libcrypto.so.";
/// The provider.
const LEGACY: &str = "legacy.so";
/// Chains of libraries that need libraries end long before.
const MOST_ROUNDS: usize = 64;

/// A library that was added to the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedLibrary {
    /// The name that is needed, or the path of a loader.
    pub name: String,
    /// Where it stands in the tree.
    pub path: TreePath,
    /// The regular file on the host.
    pub source: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// The libc that it serves.
    pub libc: Libc,
    /// The first file that needed it.
    pub needed_by: TreePath,
}

/// Adds `missing` libraries, and what they need in turn, from the root directory `root` to `tree`. All of them
/// get the modification time `epoch` (seconds since 1970) and belong to root. The order of the result is that
/// in which they were found to be needed.
///
/// # Errors
/// [`LibraryError::Sysroot`] names everything that the root doesn't have or has too old, with the versions
/// that were found and needed; the tree is then as it was.
pub fn add(
    tree: &mut Tree,
    root: &Path,
    missing: &[MissingLibrary],
    arch: Arch,
    epoch: i64,
) -> Result<Vec<AddedLibrary>, LibraryError> {
    let mut sysroot = Sysroot::open(root, arch)?;
    let mut filling = Filling {
        tree: tree.clone(),
        elves: Elves::default(),
        epoch,
        asked: missing.iter().map(key).collect(),
        added: Vec::new(),
        origins: BTreeMap::new(),
        sources: BTreeMap::new(),
    };
    filling.fill(&mut sysroot)?;
    *tree = filling.tree;
    Ok(filling.added)
}

/// The version of the glibc in `root` (`2.36`), if there is one for `arch`.
///
/// # Errors
/// When `root` is no directory, or something in it can't be read.
pub fn glibc(root: &Path, arch: Arch) -> Result<Option<String>, LibraryError> {
    Sysroot::open(root, arch)?.glibc()
}

/// What is asked for: a name, for a libc.
type Key = (String, Libc);

fn key(missing: &MissingLibrary) -> Key {
    (missing.name.clone(), missing.libc)
}

/// A root directory with the rules of its loaders.
struct Sysroot {
    root: Root,
    arch: Arch,
    loaders: BTreeMap<Libc, Loader>,
}

impl Sysroot {
    fn open(root: &Path, arch: Arch) -> Result<Self, LibraryError> {
        Ok(Self { root: Root::open(root)?, arch, loaders: BTreeMap::new() })
    }

    /// Where the loader of `libc` looks in this root.
    fn loader(&mut self, libc: Libc) -> Result<Loader, LibraryError> {
        if let Some(loader) = self.loaders.get(&libc) {
            return Ok(loader.clone());
        }
        let mut directories = Vec::new();
        match libc {
            Libc::Glibc => {
                directories.extend(ld_so_conf::directories(&self.root)?);
                let interpreter = usual_interpreter(libc, self.arch);
                let built_in = match self.root.find(interpreter.as_bytes())? {
                    Some(file) => system_directories(&self.root.read(&file)?),
                    None => None,
                };
                match built_in {
                    Some(built_in) => directories.extend(built_in.into_iter().map(String::into_bytes)),
                    None => directories.extend(default_directories(libc, self.arch)),
                }
            }
            Libc::Musl | Libc::None => {
                let list = format!("etc/ld-musl-{}.path", self.arch);
                match self.root.find(list.as_bytes())? {
                    Some(file) => {
                        let text = self.root.read(&file)?;
                        let parts = text.split(|byte| b":\n".contains(byte));
                        directories.extend(parts.filter(|part| part.starts_with(b"/")).map(<[u8]>::to_vec));
                    }
                    None => directories.extend(default_directories(libc, self.arch)),
                }
            }
        }
        let mut seen = BTreeSet::new();
        directories.retain(|directory| seen.insert(directory.clone()));
        let loader = Loader::new(libc, self.arch, directories);
        self.loaders.insert(libc, loader.clone());
        Ok(loader)
    }

    /// The file of this name in one of the loader's directories that `wanted` takes.
    fn library(
        &mut self,
        name: &str,
        libc: Libc,
        wanted: impl Fn(&ElfFile) -> bool,
    ) -> Result<Option<HostFile>, LibraryError> {
        for directory in self.loader(libc)?.directories {
            if let Some(file) = self.root.find(&join(&directory, name))?
                && let Ok(elf) = judge(&self.root.entry(&file)?, self.arch, libc)
                && wanted(&elf)
            {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    fn glibc(&mut self) -> Result<Option<String>, LibraryError> {
        let Some(file) = self.library(GLIBC, Libc::Glibc, |_| true)? else { return Ok(None) };
        let Entry::Elf(elf) = self.root.entry(&file)? else { return Ok(None) };
        Ok(glibc_version(&elf)
            .map(|numbers| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")))
    }
}

fn join(directory: &[u8], name: &str) -> Vec<u8> {
    [directory, b"/", name.as_bytes()].concat()
}

/// The tree while it is filled.
struct Filling {
    tree: Tree,
    elves: Elves,
    epoch: i64,
    asked: BTreeSet<Key>,
    added: Vec<AddedLibrary>,
    /// For each file that was added, the directory on the host that it was found in: its `$ORIGIN`.
    origins: BTreeMap<TreePath, Vec<u8>>,
    /// Where each file of the host stands in the tree: a second name becomes a hardlink.
    sources: BTreeMap<PathBuf, TreePath>,
}

impl Filling {
    fn fill(&mut self, sysroot: &mut Sysroot) -> Result<(), LibraryError> {
        let mut closure = close_with(&self.tree, sysroot.arch, &mut self.elves)?;
        let before = closure.problems.clone();
        let mut rejections = BTreeMap::new();
        for _ in 0..MOST_ROUNDS {
            let mut wanted: Vec<MissingLibrary> =
                closure.missing.iter().filter(|one| self.is_ours(one)).cloned().collect();
            // The loader tells where the libraries must stand.
            wanted.sort_by_key(|one| !one.interpreter);
            let mut progress = false;
            for one in wanted {
                match self.take(sysroot, &one, &closure)? {
                    Ok(()) => progress = true,
                    Err(rejected) => drop(rejections.insert(key(&one), rejected)),
                }
            }
            if !progress {
                break;
            }
            closure = close_with(&self.tree, sysroot.arch, &mut self.elves)?;
        }
        let mut missing: Vec<MissingLibrary> =
            closure.missing.iter().filter(|one| self.is_ours(one)).cloned().collect();
        for one in &mut missing {
            one.rejected.extend(rejections.remove(&key(one)).unwrap_or_default());
        }
        let mut problems: Vec<Problem> =
            closure.problems.iter().filter(|problem| !before.contains(problem)).cloned().collect();
        problems.extend(self.other_builds(sysroot, &closure)?);
        if missing.is_empty() && problems.is_empty() {
            return Ok(());
        }
        let (root, glibc) = (sysroot.root.path().to_owned(), sysroot.glibc()?);
        Err(LibraryError::Sysroot { root, glibc, missing, problems })
    }

    /// Whether it was asked for, or is needed by what was added.
    fn is_ours(&self, one: &MissingLibrary) -> bool {
        self.asked.contains(&key(one)) || one.needed_by_all.iter().any(|by| self.origins.contains_key(by))
    }

    /// Adds one library; what doesn't serve is given back.
    fn take(
        &mut self,
        sysroot: &mut Sysroot,
        one: &MissingLibrary,
        closure: &Closure,
    ) -> Result<Result<(), Vec<Rejected>>, LibraryError> {
        let libc = match one.libc {
            // A plug-in that doesn't say: the root has only one libc, as a rule.
            Libc::None if sysroot.glibc()?.is_some() => Libc::Glibc,
            Libc::None => Libc::Musl,
            known => known,
        };
        let mut rejected = Vec::new();
        // With a merged /usr one file is found in several directories; it is told once.
        let mut seen = BTreeSet::new();
        for (directory, own) in self.where_to_look(sysroot, one, libc)? {
            let name = match &one.path {
                Some(path) => String::from_utf8_lossy(path.file_name().unwrap_or_default()).into_owned(),
                None => one.name.clone(),
            };
            let Some(file) = sysroot.root.find(&join(&directory, &name))? else { continue };
            let reject = |why| Rejected { path: sysroot.root.show(&directory, &name), why };
            let elf = match judge(&sysroot.root.entry(&file)?, sysroot.arch, libc) {
                Ok(elf) => match Unfit::too_old(&elf, &one.versions) {
                    None => Ok(elf),
                    Some(why) => Err(why),
                },
                Err(why) => Err(why),
            };
            let elf = match elf {
                Ok(elf) => elf,
                Err(why) => {
                    if seen.insert(file.real) {
                        rejected.push(reject(why));
                    }
                    continue;
                }
            };
            let place = match &one.path {
                Some(path) => self.free(path),
                None => self.place(sysroot.arch, &directory, own, &name, libc, closure)?,
            };
            let place = match place {
                Ok(place) => place,
                Err(why) => {
                    rejected.push(reject(why));
                    continue;
                }
            };
            let needed_as = one.path.as_ref().map_or(one.name.clone(), ToString::to_string);
            self.insert(&file, &directory, place.clone(), needed_as, libc, one.needed_by.clone());
            if name == GLIBC
                && glibc_version(&elf).is_some_and(|version| version < NAME_SERVICES_BUILT_IN.into())
            {
                self.name_services(sysroot, &directory, &place)?;
            }
            if name.starts_with(LIBCRYPTO)
                && one.needed_by_all.iter().any(|by| by.file_name() == Some(CRYPTO))
                && let Some(modules) = provider_directory(&sysroot.root.read(&file)?)
            {
                self.beside(sysroot, modules.as_bytes(), LEGACY, libc, &place)?;
            }
            return Ok(Ok(()));
        }
        Ok(Err(rejected))
    }

    /// Directories of the host in the order in which they are searched, and whether the loader of the image
    /// will look there because the file that needs the library says so.
    fn where_to_look(
        &mut self,
        sysroot: &mut Sysroot,
        one: &MissingLibrary,
        libc: Libc,
    ) -> Result<Vec<(Vec<u8>, bool)>, LibraryError> {
        if let Some(path) = &one.path {
            let parent = path.parent().unwrap_or_default();
            return Ok(vec![([b"/", parent.as_bytes()].concat(), true)]);
        }
        let loader = sysroot.loader(libc)?;
        let mut all = Vec::new();
        for by in &one.needed_by_all {
            let Entry::Elf(elf) = self.elves.get(&self.tree, by)? else { continue };
            let Some(list) = elf.runpath.as_ref().or(elf.rpath.as_ref()) else { continue };
            match self.origins.get(by) {
                // Both its place here and its place on the host count.
                Some(origin) => {
                    let here = [b"/", by.parent().unwrap_or_default().as_bytes()].concat();
                    let in_the_image = expand(list, &here, &loader);
                    all.extend(expand(list, origin, &loader).into_iter().map(|directory| {
                        let own = in_the_image.contains(&directory);
                        (directory, own)
                    }));
                }
                // What is relative to a file of the release is nowhere on the host.
                None => {
                    let absolute: Vec<&str> =
                        list.split(':').filter(|directory| !directory.contains("ORIGIN")).collect();
                    all.extend(expand(&absolute.join(":"), b"/", &loader).into_iter().map(|one| (one, true)));
                }
            }
        }
        all.extend(loader.directories.into_iter().map(|directory| (directory, false)));
        Ok(all)
    }

    /// Where a library can stand so that the loader of the image finds it, and finds it first.
    fn place(
        &mut self,
        arch: Arch,
        directory: &[u8],
        own: bool,
        name: &str,
        libc: Libc,
        closure: &Closure,
    ) -> Result<Result<TreePath, Unfit>, LibraryError> {
        if own && let Ok(path) = TreePath::parse(&join(directory, name)) {
            return Ok(self.free(&path));
        }
        let interpreter = self.interpreter(arch, libc, closure)?;
        let loader = Loader::in_tree(&self.tree, libc, arch, Some(&interpreter))?;
        let mut free = Vec::new();
        let mut occupied = None;
        for searched in &loader.directories {
            let Ok(path) = TreePath::parse(&join(searched, name)) else { continue };
            match self.free(&path) {
                Ok(path) => free.push((searched, path)),
                // Whatever comes after this one isn't found.
                Err(why) => {
                    occupied = Some(why);
                    break;
                }
            }
        }
        let same = free.iter().find(|(searched, _)| searched.as_slice() == directory);
        Ok(match (same.or(free.first()), occupied) {
            (Some((_, path)), _) => Ok(path.clone()),
            (None, Some(why)) => Err(why),
            (None, None) => Err(Unfit::NotSearched),
        })
    }

    /// The loader that programs of this libc in the tree name.
    fn interpreter(&mut self, arch: Arch, libc: Libc, closure: &Closure) -> Result<TreePath, LibraryError> {
        for path in closure.libcs.iter().filter(|(_, of)| **of == libc).map(|(path, _)| path) {
            if let Some((_, Entry::Elf(elf))) = self.elves.open(&self.tree, path)?
                && let Some(interpreter) = &elf.interpreter
                && let Ok(interpreter) = TreePath::parse(interpreter.as_bytes())
            {
                return Ok(interpreter);
            }
        }
        Ok(usual_interpreter(libc, arch))
    }

    /// The path with the directories on the way followed, if nothing is there yet.
    fn free(&self, path: &TreePath) -> Result<TreePath, Unfit> {
        let Some(path) = self.tree.resolve_parent(path) else { return Err(Unfit::NotSearched) };
        let in_the_way = |path: &TreePath| {
            self.tree
                .get(path)
                .map(|node| Unfit::Occupied { path: path.clone(), origin: node.origin.to_string() })
        };
        if let Some(why) = in_the_way(&path) {
            return Err(why);
        }
        for parent in path.ancestors() {
            let is_directory =
                self.tree.get(&parent).is_none_or(|node| matches!(node.kind, NodeKind::Directory));
            if !is_directory && let Some(why) = in_the_way(&parent) {
                return Err(why);
            }
        }
        Ok(path)
    }

    fn insert(
        &mut self,
        file: &HostFile,
        directory: &[u8],
        path: TreePath,
        name: String,
        libc: Libc,
        needed_by: TreePath,
    ) {
        let mode = if file.executable { 0o755 } else { 0o644 };
        let metadata = Metadata { mode, mtime: self.epoch, ..Metadata::FILE };
        let kind = match self.sources.get(&file.real) {
            Some(first) => NodeKind::Hardlink(first.clone()),
            None => NodeKind::File(Content::from_path(&file.real, file.size)),
        };
        let origin = Origin::new(LayerKind::Sysroot, file.relative.as_str());
        self.tree.insert_with_parents(path.clone(), Node::new(kind, metadata, origin));
        self.sources.entry(file.real.clone()).or_insert_with(|| path.clone());
        self.origins.insert(path.clone(), directory.to_vec());
        let (source, size) = (file.real.clone(), file.size);
        self.added.push(AddedLibrary { name, path, source, size, libc, needed_by });
    }

    /// What an older glibc loads by name, from beside it.
    fn name_services(
        &mut self,
        sysroot: &Sysroot,
        directory: &[u8],
        libc: &TreePath,
    ) -> Result<(), LibraryError> {
        for name in NAME_SERVICES {
            self.beside(sysroot, directory, name, Libc::Glibc, libc)?;
        }
        Ok(())
    }

    /// Adds what `needed_by` loads by name from a directory, under the same path, if it is there and serves.
    fn beside(
        &mut self,
        sysroot: &Sysroot,
        directory: &[u8],
        name: &str,
        libc: Libc,
        needed_by: &TreePath,
    ) -> Result<(), LibraryError> {
        if let Some(file) = sysroot.root.find(&join(directory, name))?
            && judge(&sysroot.root.entry(&file)?, sysroot.arch, libc).is_ok()
            && let Ok(path) = TreePath::parse(&join(directory, name))
            && let Ok(place) = self.free(&path)
        {
            self.insert(&file, directory, place, name.to_owned(), libc, needed_by.clone());
        }
        Ok(())
    }

    /// glibc's loader and its `libc.so.6` share private data: they must come from one build.
    fn other_builds(&self, sysroot: &mut Sysroot, closure: &Closure) -> Result<Vec<Problem>, LibraryError> {
        let mut problems = Vec::new();
        for needs in closure.resolved.values() {
            let loader = needs
                .iter()
                .find(|(name, _)| name.starts_with('/') && Libc::of_interpreter(name) == Libc::Glibc);
            let (Some((at, loader)), Some(libc)) = (loader, needs.get(GLIBC)) else { continue };
            let (ours, theirs, host) =
                match (self.origins.contains_key(loader), self.origins.contains_key(libc)) {
                    (true, false) => (loader, libc, sysroot.library(GLIBC, Libc::Glibc, |_| true)?),
                    (false, true) => (libc, loader, sysroot.root.find(at.as_bytes())?),
                    _ => continue,
                };
            let read = |content: &Content| {
                content
                    .read(host::MOST_BYTES)
                    .map_err(|source| LibraryError::Read { path: theirs.to_string(), source })
            };
            let same = match (self.tree.file(theirs), host) {
                (Some((_, content)), Some(host)) => read(content)? == sysroot.root.read(&host)?,
                _ => false,
            };
            let problem = Problem::OtherBuild {
                added: ours.clone(),
                present: theirs.clone(),
                origin: self.tree.get(theirs).map_or_else(Origin::skeleton, |node| node.origin.clone()),
            };
            if !same && !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        Ok(problems)
    }
}

/// Where a `libcrypto` looks for its providers: it holds what `openssl version -m` prints,
/// `MODULESDIR: "/usr/lib/x86_64-linux-gnu/ossl-modules"`.
fn provider_directory(libcrypto: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"\0MODULESDIR: \"";
    const MOST_BYTES: usize = 4096;
    let start = libcrypto.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let rest = &libcrypto[start..];
    let end = rest.iter().take(MOST_BYTES).position(|&byte| byte == b'"')?;
    let text = std::str::from_utf8(&rest[..end]).ok()?;
    (text.starts_with('/') && !text.chars().any(char::is_control)).then(|| text.to_owned())
}
