//! Locks: made of what an assembly chose, kept while one is renewed, or used in place of the repositories' indexes.

mod renewal;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use self::renewal::{LockRequest, Update, lock};

use super::packages::{Chosen, Packages, Selection, Source};
use super::{AssembleError, Assembly};
use crate::apk::{Dependency, IndexEntry};
use crate::fetch::{LockedSources, VerifiedIndex, sha256_of_rest};
use crate::layer::sysroot::AddedLibrary;
use crate::lock::{
    ArchLock, FileRole, Lock, LockedFile, LockedLibrary, LockedPackage, LockedRepository, Role,
};
use crate::recipe::{Recipe, Repository, RepositorySource};
use crate::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath};

/// The most bytes of a lock that are read: a package has about 600.
const MOST_LOCK_BYTES: u64 = 64 << 20;

/// How a run stands to a lock.
pub(super) enum Locking<'a> {
    /// There is none.
    None,
    /// It uses what a lock says.
    Locked(Box<Locked>),
    /// It makes one.
    Renewed(LockRequest<'a>),
}

/// A lock that is used.
pub(super) struct Locked {
    path: PathBuf,
    lock: ArchLock,
}

impl Lock {
    /// Reads the file of a lock; nothing if there is none.
    ///
    /// # Errors
    /// When it can't be read, or makes no sense.
    pub fn read(path: &Path) -> Result<Option<Self>, AssembleError> {
        let text = read(path)?;
        Ok(text.map(|text| Self::parse(&text, path)).transpose()?)
    }

    /// As [`Lock::read`], to make it anew: whatever settings stand there.
    ///
    /// # Errors
    /// As [`Lock::read`].
    pub fn read_to_renew(path: &Path) -> Result<Option<Self>, AssembleError> {
        let text = read(path)?;
        Ok(text.map(|text| Self::parse_to_renew(&text, path)).transpose()?)
    }
}

fn read(path: &Path) -> Result<Option<String>, AssembleError> {
    let failed = |source| AssembleError::ReadLock { path: path.to_owned(), source };
    let size = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if size > MOST_LOCK_BYTES {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    std::fs::read_to_string(path).map(Some).map_err(failed)
}

impl Locking<'_> {
    /// An error as it is where packages are locked.
    pub(super) fn explain(&self, error: AssembleError) -> AssembleError {
        match (self, error) {
            (Self::Locked(locked), AssembleError::Resolve(source)) => {
                AssembleError::LockUnsolved { lock: locked.path.clone(), source }
            }
            (_, error) => error,
        }
    }
}

impl Locked {
    /// The lock that a recipe names, if it names one.
    pub(super) fn of(recipe: &Recipe) -> Result<Option<Self>, AssembleError> {
        let Some(path) = &recipe.lock else { return Ok(None) };
        let missing =
            || AssembleError::ReadLock { path: path.clone(), source: std::io::ErrorKind::NotFound.into() };
        let mut lock = Lock::read(path)?.ok_or_else(missing)?;
        let Some(lock) = lock.archs.remove(&recipe.arch) else {
            return Err(AssembleError::ArchNotLocked { lock: path.clone(), arch: recipe.arch });
        };
        let differences = lock.differences(recipe);
        if !differences.is_empty() {
            return Err(AssembleError::RecipeChanged { lock: path.clone(), differences });
        }
        Ok(Some(Self { path: path.clone(), lock }))
    }

    /// What stands in place of the repositories' indexes.
    pub(super) fn sources(&self, assembly: &Assembly<'_>) -> Result<Vec<Source>, AssembleError> {
        let (recipe, lock) = (assembly.recipe, &self.lock);
        let sources = locked_sources(recipe, &self.path);
        let indexes = assembly.fetcher.locked_indexes(lock, recipe.arch, &sources)?;
        let unsigned: Vec<String> = lock
            .packages
            .iter()
            .filter(|package| package.signed_by.is_empty())
            .filter(|package| {
                let place = lock.repositories.iter().find(|place| place.label() == package.repository);
                place.is_none_or(|place| place.signed_by.is_none())
            })
            .map(LockedPackage::full_name)
            .collect();
        if !unsigned.is_empty() {
            assembly.notes.warn(format!(
                "no trusted key has signed {} or its index: it is used because {} names it by its hash",
                unsigned.join(", "),
                self.path.display()
            ));
        }
        Ok(indexes.into_iter().zip(&lock.repositories).map(|(index, place)| source(index, place)).collect())
    }

    /// Whether this is what was asked for when the lock was made.
    pub(super) fn is_for(&self, world: &[Dependency]) -> bool {
        self.lock.world.iter().eq(world.iter().map(ToString::to_string).collect::<Vec<_>>().iter())
    }

    /// What was chosen when the lock was made, and whether it is in the image. The solver takes no decision back, so
    /// what it finds, and in which order, can depend on packages that nobody wants and that the lock doesn't have;
    /// `solved` is what it finds now, and only tells who wants what.
    pub(super) fn chosen(&self, sources: &[Source], solved: Vec<(Chosen, bool)>) -> Vec<(Chosen, bool)> {
        let package = |name: &String| {
            let mut packages = self.lock.packages.iter();
            packages.find(|package| package.name == *name && package.role != Role::Kernel)
        };
        let mut all = Vec::new();
        for package in self.lock.order.iter().filter_map(package) {
            let found = sources.iter().enumerate().find_map(|(place, source)| {
                let is_its_own = source.label == package.repository;
                let mut entries = source.index.index().entries.iter().filter(|_| is_its_own);
                Some((place, entries.find(|entry| is_entry(package, entry))?))
            });
            let Some((place, entry)) = found else { continue };
            let now = solved.iter().find(|(chosen, _)| chosen.entry.full_name() == package.full_name());
            let wanted_by = now.map(|(chosen, _)| chosen.wanted_by.clone()).unwrap_or_default();
            all.push((
                Chosen { source: place, entry: entry.clone(), wanted_by },
                package.role == Role::Image,
            ));
        }
        all
    }

    /// # Errors
    /// When nothing has this name now, and something had it, or nobody asked, when the lock was made.
    pub(super) fn check_absent(&self, name: &str) -> Result<(), AssembleError> {
        if self.lock.absent.contains(name) {
            return Ok(());
        }
        Err(AssembleError::NotLocked { lock: self.path.clone(), what: crate::text::shown(name) })
    }

    /// Puts the locked libraries for glibc into the tree, as they were there when they were locked. Gives their number.
    pub(super) fn add_libraries(
        &self,
        assembly: &Assembly<'_>,
        tree: &mut Tree,
        root: &Path,
    ) -> Result<usize, AssembleError> {
        let recipe = assembly.recipe;
        let sources = locked_sources(recipe, &self.path);
        for library in &self.lock.libraries {
            let mode = if library.executable { 0o755 } else { 0o644 };
            let metadata = Metadata { mode, mtime: recipe.source_date_epoch, ..Metadata::FILE };
            let parse =
                |path: &str| path.parse::<TreePath>().map_err(|error| AssembleError::Bug(error.to_string()));
            let kind = match &library.link {
                Some(first) => NodeKind::Hardlink(parse(first)?),
                None => {
                    let at = root.join(&library.origin).to_string_lossy().into_owned();
                    let found = assembly.fetcher.locked_file(&library.as_file(), &at, &sources)?;
                    NodeKind::File(Content::from_path(found, library.size))
                }
            };
            let origin = Origin::new(LayerKind::Sysroot, library.origin.as_str());
            tree.insert_with_parents(parse(&library.path)?, Node::new(kind, metadata, origin));
        }
        Ok(self.lock.libraries.len())
    }

    /// Tells what is locked and not needed any more.
    fn tell_unused(&self, assembly: &Assembly<'_>, packages: &Packages<'_>, selection: &Selection) {
        let used: BTreeSet<String> = selection
            .resolved
            .iter()
            .map(|(chosen, _)| chosen.entry.full_name())
            .chain(packages.alone().iter().map(|(_, entry)| entry.full_name()))
            .collect();
        let unused: Vec<String> = self
            .lock
            .packages
            .iter()
            .map(LockedPackage::full_name)
            .filter(|name| !used.contains(name))
            .collect();
        if !unused.is_empty() {
            assembly.notes.note(format!(
                "nothing wants {} any more, which the lock has (`leanfs lock` takes it out)",
                unused.join(", ")
            ));
        }
    }
}

impl Assembly<'_> {
    /// The recipe's repositories.
    pub(super) fn repositories(&self) -> Result<Vec<Source>, AssembleError> {
        let recipe = self.recipe;
        let places: Vec<Repository> =
            recipe.repositories.iter().map(|source| source.repository.clone()).collect();
        let indexes = self.fetcher.indexes(&places, recipe.arch)?;
        let lock = match &self.locking {
            Locking::Renewed(request) => request.path,
            Locking::Locked(_) | Locking::None => Path::new(""),
        };
        let labels = recipe_labels(recipe, lock);
        Ok(indexes
            .into_iter()
            .zip(&recipe.repositories)
            .zip(labels)
            .map(|((index, source), label)| Source { index, tag: source.tag.clone(), label })
            .collect())
    }

    /// What is locked of a tarball, a kernel or a stub; `at` is where the recipe has it. Nothing if there is no lock.
    pub(super) fn locked_entry(
        &self,
        role: FileRole,
        at: &str,
    ) -> Result<Option<&LockedFile>, AssembleError> {
        let Locking::Locked(locked) = &self.locking else { return Ok(None) };
        let mut files = locked.lock.files.iter().filter(|file| file.role == role);
        let name = Path::new(at).file_name().unwrap_or_default().to_string_lossy();
        // Only of stubs there can be several.
        let file = match role {
            FileRole::EfiStub => files.find(|file| file.name == name),
            _ => files.next(),
        };
        let missing = || AssembleError::NotLocked { lock: locked.path.clone(), what: crate::text::shown(at) };
        file.map(Some).ok_or_else(missing)
    }

    /// Its path, verified.
    pub(super) fn locked_file(&self, role: FileRole, at: &str) -> Result<Option<PathBuf>, AssembleError> {
        let (Locking::Locked(locked), Some(file)) = (&self.locking, self.locked_entry(role, at)?) else {
            return Ok(None);
        };
        let sources = locked_sources(self.recipe, &locked.path);
        Ok(Some(self.fetcher.locked_file(file, at, &sources)?))
    }

    /// What is to be locked, if that is what the run is for; and tells what a lock has too much.
    pub(super) fn lock_chosen(
        &self,
        packages: &Packages<'_>,
        selection: &Selection,
        world: &[Dependency],
    ) -> Result<Option<ArchLock>, AssembleError> {
        match &self.locking {
            Locking::None => Ok(None),
            Locking::Locked(locked) => {
                locked.tell_unused(self, packages, selection);
                Ok(None)
            }
            Locking::Renewed(request) => request.lock(self, packages, selection, world).map(Some),
        }
    }
}

/// The libraries that were added to a tree, as they are there.
pub(super) fn libraries(tree: &Tree, added: &[AddedLibrary]) -> Result<Vec<LockedLibrary>, AssembleError> {
    let mut libraries = Vec::new();
    for library in added {
        let Some(node) = tree.get(&library.path) else { continue };
        let path = library.source.clone();
        let mut file = std::fs::File::open(&path)
            .map_err(|source| AssembleError::ReadLibrary { path: path.clone(), source })?;
        let sha256 =
            sha256_of_rest(&mut file).map_err(|source| AssembleError::ReadLibrary { path, source })?;
        libraries.push(LockedLibrary {
            path: library.path.to_string(),
            origin: node.origin.part.to_string(),
            executable: node.metadata.mode & 0o100 != 0,
            link: match &node.kind {
                NodeKind::Hardlink(first) => Some(first.to_string()),
                _ => None,
            },
            size: library.size,
            sha256,
            line: 0,
        });
    }
    libraries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(libraries)
}

fn source(index: VerifiedIndex, place: &LockedRepository) -> Source {
    Source { index, tag: place.tag.clone(), label: place.label() }
}

fn is_entry(package: &LockedPackage, entry: &IndexEntry) -> bool {
    (&package.name, &package.version, package.identity.identity())
        == (&entry.name, &entry.version, entry.control_hash.identity())
}

/// Where what `lock` names is looked for.
pub(super) fn locked_sources<'a>(recipe: &'a Recipe, lock: &'a Path) -> LockedSources<'a> {
    let repositories = recipe_labels(recipe, lock)
        .into_iter()
        .zip(recipe.repositories.iter().map(|source| source.repository.clone()))
        .collect();
    LockedSources { lock, vendor: recipe.vendor.as_deref(), repositories }
}

/// What a lock calls the recipe's repositories: directories below that of the lock are named from there.
fn recipe_labels(recipe: &Recipe, lock: &Path) -> Vec<String> {
    let directory = lock.parent().unwrap_or(Path::new(""));
    let label = |source: &RepositorySource| {
        let repository = match &source.repository {
            Repository::Directory(path) if !directory.as_os_str().is_empty() => {
                Repository::Directory(path.strip_prefix(directory).unwrap_or(path).to_owned())
            }
            other => other.clone(),
        };
        RepositorySource { repository, ..source.clone() }.to_string()
    };
    recipe.repositories.iter().map(label).collect()
}
