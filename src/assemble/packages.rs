//! Packages: which are asked for, which are selected, and their verified contents.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lock::Locking;
use super::{AssembleError, Assembly};
use crate::apk::{Checksum, Dependency, Index, IndexEntry, PublicKey, keys};
use crate::fetch::{VerifiedApk, VerifiedIndex, load_keys, load_repository_keys};
use crate::layer::packages::Package;
use crate::report::manifest::{LeftOut, PackageInfo};
use crate::report::{Event, Stage};
use crate::resolve::{Repositories, ResolveError, Selected, Solution};
use crate::tree::TreePath;

/// Dependencies that stand for a shell: packages have them for their scripts, which never run.
const SHELL: [&str; 2] = ["/bin/sh", "cmd:sh"];

/// The repositories, read when something is first asked of them, and the packages that were fetched.
pub(super) struct Packages<'a> {
    assembly: &'a Assembly<'a>,
    sources: OnceCell<Vec<Source>>,
    /// Keys that may sign, and those of single repositories.
    keys: OnceCell<Vec<PublicKey>>,
    fetched: RefCell<BTreeMap<String, Arc<VerifiedApk>>>,
    /// Names that were asked for and that nothing has.
    absent: RefCell<BTreeSet<String>>,
    /// What was fetched without what it depends on: the place of its source, and its entry.
    alone: RefCell<Vec<(usize, IndexEntry)>>,
    /// What stays as it is locked, by name, while a lock is made.
    pins: RefCell<BTreeMap<String, Checksum>>,
}

/// A repository, or what a lock has of one.
pub(super) struct Source {
    pub(super) index: VerifiedIndex,
    pub(super) tag: Option<String>,
    /// What a lock calls it.
    pub(super) label: String,
}

/// A package in the image.
#[derive(Debug, Clone)]
pub(super) struct UsedPackage {
    pub(super) apk: Arc<VerifiedApk>,
    pub(super) repository: String,
    /// Whose package it is ([`PackageInfo::distribution`]).
    pub(super) distribution: Option<String>,
    /// The tag of that repository.
    pub(super) tag: Option<String>,
    pub(super) wanted_by: Vec<String>,
}

/// A package that was chosen.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    /// The place of its source.
    pub(super) source: usize,
    pub(super) entry: IndexEntry,
    pub(super) wanted_by: Vec<String>,
}

/// What was selected for one world.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// In the order of installation.
    pub(super) packages: Vec<UsedPackage>,
    /// What was resolved and then left out.
    pub(super) left_out: Vec<LeftOut>,
    /// Both, in the order of installation, and whether they are in the image.
    pub(super) resolved: Vec<(Chosen, bool)>,
}

impl Selection {
    /// The packages, for [`crate::layer::packages`].
    pub(super) fn layers(&self) -> Vec<Package<'_>> {
        self.packages
            .iter()
            .map(|used| Package {
                entry: used.apk.entry(),
                info: used.apk.info(),
                scripts: used.apk.scripts(),
                tree: used.apk.tree(),
                tag: used.tag.as_deref(),
            })
            .collect()
    }
}

impl<'a> Packages<'a> {
    pub(super) fn new(assembly: &'a Assembly<'a>) -> Self {
        Self {
            assembly,
            sources: OnceCell::new(),
            keys: OnceCell::new(),
            fetched: RefCell::default(),
            absent: RefCell::default(),
            alone: RefCell::default(),
            pins: RefCell::default(),
        }
    }

    /// Where packages come from, the most wanted first.
    pub(super) fn sources(&self) -> Result<&[Source], AssembleError> {
        if let Some(sources) = self.sources.get() {
            return Ok(sources);
        }
        let read = match &self.assembly.locking {
            Locking::Locked(locked) => locked.sources(self.assembly)?,
            Locking::None => self.assembly.repositories()?,
            Locking::Renewed(renewal) => {
                let (sources, pins) = renewal.sources(self.assembly)?;
                *self.pins.borrow_mut() = pins;
                sources
            }
        };
        Ok(self.sources.get_or_init(|| read))
    }

    /// Whose packages an index has, if one of Alpine's keys signed it. A key is known by what it is, not by its name.
    pub(super) fn distribution(&self, index: &VerifiedIndex) -> Option<String> {
        let signed_by = index.signed_by()?;
        let trusted = self.keys.get_or_init(|| {
            let recipe = self.assembly.recipe;
            let mut trusted = load_keys(&recipe.keys).unwrap_or_default();
            let of_repositories = load_repository_keys(&recipe.repositories, &trusted).unwrap_or_default();
            trusted.extend(of_repositories.into_iter().flat_map(|(_, keys)| keys));
            trusted
        });
        is_alpines(signed_by, trusted).then(|| "alpine".to_owned())
    }

    /// The repositories, for messages.
    pub(super) fn repositories(&self) -> String {
        let all: Vec<String> = self.assembly.recipe.repositories.iter().map(ToString::to_string).collect();
        if all.is_empty() { "no repository at all".to_owned() } else { all.join(", ") }
    }

    /// Names that were asked for and that nothing has.
    pub(super) fn absent(&self) -> BTreeSet<String> {
        self.absent.borrow().clone()
    }

    /// What was fetched without what it depends on.
    pub(super) fn alone(&self) -> Vec<(usize, IndexEntry)> {
        self.alone.borrow().clone()
    }

    /// Writes down that nothing has a name; of a lock only if nothing had it then.
    fn note_absent(&self, name: &str) -> Result<(), AssembleError> {
        if let Locking::Locked(locked) = &self.assembly.locking {
            locked.check_absent(name)?;
        }
        self.absent.borrow_mut().insert(name.to_owned());
        Ok(())
    }

    /// Whether a package of that name, or one that provides it, is there.
    pub(super) fn has(&self, name: &str) -> Result<bool, AssembleError> {
        let mut entries = self.sources()?.iter().flat_map(|source| &source.index.index().entries);
        let has = entries
            .any(|entry| entry.name == name || entry.provides.iter().any(|provided| provided.name == name));
        if !has {
            self.note_absent(name)?;
        }
        Ok(has)
    }

    /// The highest version of the package of exactly that name, from the first repository that has it.
    pub(super) fn named(&self, name: &str) -> Result<Option<(usize, &IndexEntry)>, AssembleError> {
        let sources = self.sources()?;
        let pins = self.pins.borrow();
        let found = sources
            .iter()
            .enumerate()
            // What is in a tagged repository must be asked for with the tag.
            .filter(|(_, source)| source.tag.is_none())
            .flat_map(|(place, source)| source.index.index().entries.iter().map(move |entry| (place, entry)))
            .filter(|(_, entry)| entry.name == name && entry.unusable.is_none() && may_be(entry, &pins))
            .reduce(|best, next| match crate::apk::version::compare(&next.1.version, &best.1.version) {
                std::cmp::Ordering::Greater => next,
                _ => best,
            });
        if found.is_none() {
            self.note_absent(name)?;
        }
        Ok(found)
    }

    /// One package, unpacked as far as `keep` says, which is called `what`, without what it depends on.
    pub(super) fn fetch_one(
        &self,
        (place, entry): (usize, &IndexEntry),
        what: &str,
        keep: &(dyn Fn(&TreePath) -> bool + Sync),
    ) -> Result<VerifiedApk, AssembleError> {
        let index = &self.sources()?[place].index;
        let fetched = self.assembly.fetcher.kept_packages(&[(index, entry)], what, &|_, path| keep(path))?;
        self.alone.borrow_mut().push((place, entry.clone()));
        fetched.into_iter().next().ok_or_else(|| AssembleError::Bug("a package was lost".to_owned()))
    }

    /// Selects and fetches the packages of `world`. Without `shell`, what only a dependency on a shell wanted is
    /// left out.
    pub(super) fn select(&self, world: &[Dependency], shell: bool) -> Result<Selection, AssembleError> {
        if world.is_empty() {
            return Ok(Selection::default());
        }
        let sources = self.sources()?;
        let resolved = self.choose(world, shell)?;
        let left_out = resolved
            .iter()
            .filter(|(_, is_in_image)| !is_in_image)
            .map(|(chosen, _)| LeftOut {
                name: chosen.entry.full_name(),
                reason: format!(
                    "only a shell for package scripts wanted it ({}), and those never run",
                    chosen.wanted_by.join(" → ")
                ),
            })
            .collect();
        let in_image = || resolved.iter().filter(|(_, is_in_image)| *is_in_image).map(|(chosen, _)| chosen);

        let mut missing: Vec<(&VerifiedIndex, &IndexEntry)> = Vec::new();
        for chosen in in_image() {
            if !self.fetched.borrow().contains_key(&chosen.entry.full_name()) {
                missing.push((&sources[chosen.source].index, &chosen.entry));
                self.assembly.reporter.report(Event::PackageSelected {
                    name: chosen.entry.name.clone(),
                    version: chosen.entry.version.clone(),
                    wanted_by: chosen.wanted_by.clone(),
                });
            }
        }
        if !missing.is_empty() {
            self.assembly.reporter.report(Event::Stage { stage: Stage::Fetch });
            let fetched = self.assembly.fetcher.kept_packages(&missing, "all", &|_, _| true)?;
            let mut all = self.fetched.borrow_mut();
            all.extend(fetched.into_iter().map(|apk| (apk.entry().full_name(), Arc::new(apk))));
        }
        let fetched = self.fetched.borrow();
        let packages = in_image()
            .map(|chosen| {
                let name = chosen.entry.full_name();
                let apk = fetched
                    .get(&name)
                    .cloned()
                    .ok_or_else(|| AssembleError::Bug(format!("{name} was lost")))?;
                let source = &sources[chosen.source];
                Ok(UsedPackage {
                    apk,
                    repository: source.index.repository().to_string(),
                    distribution: self.distribution(&source.index),
                    tag: source.tag.clone(),
                    wanted_by: chosen.wanted_by.clone(),
                })
            })
            .collect::<Result<_, AssembleError>>()?;
        drop(fetched);
        Ok(Selection { packages, left_out, resolved })
    }

    /// What is chosen for `world`, in the order of installation, and what of it is in the image.
    fn choose(&self, world: &[Dependency], shell: bool) -> Result<Vec<(Chosen, bool)>, AssembleError> {
        let solved = self.resolve(world).map(|solution| {
            let order: Vec<String> =
                solution.packages.iter().map(|selected| selected.entry.full_name()).collect();
            let is_shell = |dependency: &Dependency| SHELL.contains(&dependency.name.as_str());
            let (solution, left_out) =
                if shell { (solution, Vec::new()) } else { solution.without(is_shell) };
            let chosen = |selected: Selected| Chosen {
                source: selected.repository,
                entry: selected.entry,
                wanted_by: selected.wanted_by,
            };
            let kept = solution.packages.into_iter().map(|selected| (chosen(selected), true));
            let mut all: Vec<_> =
                kept.chain(left_out.into_iter().map(|selected| (chosen(selected), false))).collect();
            let place = |chosen: &Chosen| order.iter().position(|name| *name == chosen.entry.full_name());
            all.sort_by_cached_key(|(chosen, _)| place(chosen));
            all
        });
        match &self.assembly.locking {
            Locking::Locked(locked) if locked.is_for(world) => {
                Ok(locked.chosen(self.sources()?, solved.unwrap_or_default()))
            }
            _ => solved,
        }
    }

    /// What satisfies `world`, with what is pinned as far as that goes.
    fn resolve(&self, world: &[Dependency]) -> Result<Solution, AssembleError> {
        let sources = self.sources()?;
        let arch = self.assembly.recipe.arch.alpine();
        let mut pins = self.pins.borrow_mut();
        let within = |pins: &BTreeMap<String, Checksum>| -> Result<Solution, ResolveError> {
            // Without pins nothing is copied.
            let indexes: Vec<Cow<'_, Index>> =
                sources.iter().map(|source| pinned(source.index.index(), pins)).collect();
            sources
                .iter()
                .zip(&indexes)
                .fold(Repositories::default(), |all, (source, index)| all.with(source.tag.as_deref(), index))
                .for_arch(arch)
                .resolve(world)
        };
        match within(&pins) {
            Err(_) if !pins.is_empty() => {}
            result => return Ok(result?),
        }
        let mut solution = within(&BTreeMap::new())?;
        // One after the other, those that still solve it together.
        let mut kept = BTreeMap::new();
        for (name, identity) in std::mem::take(&mut *pins) {
            kept.insert(name.clone(), identity);
            match within(&kept) {
                Ok(found) => solution = found,
                Err(_) => drop(kept.remove(&name)),
            }
        }
        *pins = kept;
        Ok(solution)
    }
}

/// An index without what the pins rule out.
fn pinned<'i>(index: &'i Index, pins: &BTreeMap<String, Checksum>) -> Cow<'i, Index> {
    if index.entries.iter().all(|entry| may_be(entry, pins)) {
        return Cow::Borrowed(index);
    }
    let entries = index.entries.iter().filter(|entry| may_be(entry, pins)).cloned().collect();
    Cow::Owned(Index { description: index.description.clone(), entries })
}

fn may_be(entry: &IndexEntry, pins: &BTreeMap<String, Checksum>) -> bool {
    pins.get(&entry.name).is_none_or(|pin| pin.identity() == entry.control_hash.identity())
}

/// Whether the trusted key of that name is one of Alpine's. One key of the user's that only has the name is enough to doubt
/// it.
fn is_alpines(name: &str, trusted: &[PublicKey]) -> bool {
    let built_in = keys::built_in().unwrap_or_default();
    let mut called_so = trusted.iter().filter(|key| key.name() == name).peekable();
    called_so.peek().is_some() && called_so.all(|key| built_in.contains(key))
}

/// What a package says of itself; what the image needs it for isn't known here.
pub(super) fn package_info(
    apk: &VerifiedApk,
    repository: String,
    distribution: Option<String>,
) -> PackageInfo {
    let (entry, info) = (apk.entry(), apk.info());
    PackageInfo {
        name: entry.name.clone(),
        version: entry.version.clone(),
        arch: info.arch.clone(),
        description: info.description.clone(),
        url: info.url.clone(),
        license: info.license.clone(),
        origin: info.origin.clone(),
        commit: info.commit.clone(),
        maintainer: info.maintainer.clone(),
        repository,
        distribution,
        size: entry.size,
        checksum: entry.control_hash.to_string(),
        data_sha256: info.data_hash.map(hex::encode),
        needs: Vec::new(),
        wanted_by: Vec::new(),
    }
}

/// For each package, in the same order, those of the others that have what it depends on, by their names and in byte
/// order.
pub(super) fn needs(packages: &[UsedPackage]) -> Vec<Vec<String>> {
    let mut providers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for used in packages {
        let entry = used.apk.entry();
        let provided = entry.provides.iter().map(|provided| provided.name.as_str());
        for name in provided.chain([entry.name.as_str()]) {
            providers.entry(name).or_default().insert(&entry.name);
        }
    }
    let of = |used: &UsedPackage| {
        let entry = used.apk.entry();
        let wanted = entry.depends.iter().filter(|dependency| !dependency.conflict);
        let found: BTreeSet<&str> = wanted
            .filter_map(|dependency| providers.get(dependency.name.as_str()))
            .flatten()
            .copied()
            .collect();
        found.into_iter().filter(|name| *name != entry.name).map(str::to_owned).collect()
    };
    packages.iter().map(of).collect()
}

/// A name or constraint as the user wrote it.
pub(super) fn parse_dependency(text: &str) -> Result<Dependency, AssembleError> {
    text.parse().map_err(|source| AssembleError::Package { text: text.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_key_it_is() {
        let alpines = keys::built_in().expect("good keys");
        let name = alpines[3].name().to_owned();
        let pem = include_bytes!("../../tests/keys/leanfs-test.rsa.pub");
        let named_like_it = PublicKey::from_pem(&name, pem).expect("a key");
        let ours = PublicKey::from_pem("ours.rsa.pub", pem).expect("a key");
        assert!(is_alpines(&name, &alpines));
        assert!(is_alpines(&name, &[ours.clone(), alpines[3].clone()]));
        assert!(!is_alpines("ours.rsa.pub", &[ours.clone(), alpines[3].clone()]));
        assert!(!is_alpines(&name, std::slice::from_ref(&named_like_it)));
        assert!(!is_alpines(&name, &[alpines[3].clone(), named_like_it]));
        assert!(!is_alpines(&name, &[ours]));
        assert!(!is_alpines(&name, &[]));
    }
}
