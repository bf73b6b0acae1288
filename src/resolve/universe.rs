//! What could be chosen: the packages of all repositories, the names that they have and provide, and who
//! depends on whom. It does not change while deciding.

use std::collections::HashMap;

use super::Source;
use crate::apk::{Checksum, Dependency, IndexEntry, Operator};

/// More repositories than anybody uses; sets of them are bits of a [`u128`].
pub(super) const MOST_REPOSITORIES: usize = 100;

/// A name: of packages, or of what they provide. Index into [`Universe::names`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NameId(u32);

/// A package. Index into [`Universe::packages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PackageId(u32);

/// A set of repositories (bit n: the n-th) or of tags (bit 0: no tag, bit n: the n-th tag).
pub(super) type Set = u128;

/// The tag that every package may be taken by: none.
pub(super) const NO_TAG: Set = 1;

pub(super) struct Universe<'a> {
    pub(super) names: Vec<Name<'a>>,
    pub(super) packages: Vec<Package<'a>>,
    /// What is wanted, by name, as `apk` sorts its world file.
    pub(super) world: Vec<Requirement<'a>>,
    /// The tags' names and the repositories that each opens; the first is no tag.
    pub(super) tags: Vec<(&'a str, Set)>,
    by_text: HashMap<&'a str, NameId>,
}

pub(super) struct Name<'a> {
    pub(super) text: &'a str,
    pub(super) providers: Vec<Provider<'a>>,
    /// Names with a provider that depends on this name.
    pub(super) dependents: Vec<NameId>,
    /// Names with a provider that has this name in its `install_if`.
    pub(super) triggers: Vec<NameId>,
}

/// A package, as provider of a certain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Provider<'a> {
    pub(super) package: PackageId,
    /// `None` if it is provided without a version.
    pub(super) version: Option<&'a str>,
}

pub(super) struct Package<'a> {
    pub(super) name: NameId,
    pub(super) entry: &'a IndexEntry,
    /// The first repository that has it, by place.
    pub(super) repository: usize,
    /// All that have it.
    pub(super) repositories: Set,
    pub(super) depends: Vec<Requirement<'a>>,
    pub(super) provides: Vec<Requirement<'a>>,
    pub(super) install_if: Vec<Requirement<'a>>,
    /// Why it can't be installed at all.
    pub(super) unusable: Option<String>,
}

/// A dependency and the name that it is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requirement<'a> {
    pub(super) name: NameId,
    pub(super) dependency: &'a Dependency,
}

impl<'a> Universe<'a> {
    pub(super) fn new(sources: &[Source<'a>], arch: Option<&str>, world: &'a [Dependency]) -> Self {
        let mut universe = Self {
            names: Vec::new(),
            packages: Vec::new(),
            world: Vec::new(),
            tags: vec![("", 0)],
            by_text: HashMap::new(),
        };
        let mut known: HashMap<Checksum, PackageId> = HashMap::new();
        for (repository, source) in sources.iter().enumerate() {
            universe.open_repository(source.tag, repository);
            for entry in &source.index.entries {
                // The same package in several repositories is one package.
                match known.get(&entry.control_hash) {
                    Some(&package) => universe.package_mut(package).repositories |= 1 << repository,
                    None => {
                        let package = universe.add(entry, repository, arch);
                        known.insert(entry.control_hash, package);
                    }
                }
            }
        }
        universe.add_reverse_edges();
        universe.world = universe.requirements(world);
        // Stable, so that requirements of the same name stay in the user's order.
        universe.world.sort_by_key(|wanted| {
            (wanted.dependency.name.to_ascii_lowercase(), wanted.dependency.name.as_str())
        });
        universe
    }

    fn open_repository(&mut self, tag: Option<&'a str>, repository: usize) {
        let tag = tag.unwrap_or_default();
        let place = match self.tags.iter().position(|(known, _)| *known == tag) {
            Some(place) => place,
            None => {
                self.tags.push((tag, 0));
                self.tags.len() - 1
            }
        };
        self.tags[place].1 |= 1 << repository;
    }

    fn add(&mut self, entry: &'a IndexEntry, repository: usize, arch: Option<&str>) -> PackageId {
        let id =
            PackageId(u32::try_from(self.packages.len()).expect("less than 2^32 packages fit in memory"));
        let name = self.intern(&entry.name);
        let other_arch = arch.filter(|arch| !["", "noarch", arch].contains(&entry.arch.as_str()));
        let unusable = entry
            .unusable
            .clone()
            .or_else(|| other_arch.map(|arch| format!("it is for {:?}, not for {arch}", entry.arch)));
        let package = Package {
            name,
            entry,
            repository,
            repositories: 1 << repository,
            depends: self.requirements(&entry.depends),
            provides: self.requirements(&entry.provides),
            install_if: self.requirements(&entry.install_if),
            unusable,
        };
        self.name_mut(name).providers.push(Provider { package: id, version: Some(&entry.version) });
        for provided in &package.provides {
            let version = provided.dependency.provided_version();
            self.name_mut(provided.name).providers.push(Provider { package: id, version });
        }
        self.packages.push(package);
        id
    }

    fn add_reverse_edges(&mut self) {
        for place in 0..self.names.len() {
            let dependent = NameId(u32::try_from(place).expect("counted by intern"));
            let providers: Vec<PackageId> =
                self.names[place].providers.iter().map(|provider| provider.package).collect();
            for package in providers {
                let package = &self.packages[package.0 as usize];
                let depends: Vec<NameId> = package.depends.iter().map(|wanted| wanted.name).collect();
                let install_if: Vec<NameId> = package.install_if.iter().map(|wanted| wanted.name).collect();
                // One name's edges are added together, so a second one of them would stand last.
                for name in depends {
                    let dependents = &mut self.name_mut(name).dependents;
                    if dependents.last() != Some(&dependent) {
                        dependents.push(dependent);
                    }
                }
                for name in install_if {
                    let triggers = &mut self.name_mut(name).triggers;
                    if triggers.last() != Some(&dependent) {
                        triggers.push(dependent);
                    }
                }
            }
        }
    }

    fn requirements(&mut self, dependencies: &'a [Dependency]) -> Vec<Requirement<'a>> {
        dependencies
            .iter()
            .map(|dependency| Requirement { name: self.intern(&dependency.name), dependency })
            .collect()
    }

    fn intern(&mut self, text: &'a str) -> NameId {
        if let Some(&name) = self.by_text.get(text) {
            return name;
        }
        let name = NameId(u32::try_from(self.names.len()).expect("less than 2^32 names fit in memory"));
        self.by_text.insert(text, name);
        self.names.push(Name { text, providers: Vec::new(), dependents: Vec::new(), triggers: Vec::new() });
        name
    }

    pub(super) fn name(&self, id: NameId) -> &Name<'a> {
        &self.names[id.0 as usize]
    }

    pub(super) fn package(&self, id: PackageId) -> &Package<'a> {
        &self.packages[id.0 as usize]
    }

    fn name_mut(&mut self, id: NameId) -> &mut Name<'a> {
        &mut self.names[id.0 as usize]
    }

    fn package_mut(&mut self, id: PackageId) -> &mut Package<'a> {
        &mut self.packages[id.0 as usize]
    }

    /// The tag that something is wanted with; no tag if no repository has it.
    pub(super) fn tag_set(&self, tag: Option<&str>) -> Set {
        match tag.and_then(|tag| self.tags.iter().position(|(known, _)| *known == tag)) {
            Some(place) => 1 << place,
            None => NO_TAG,
        }
    }

    /// The repositories that a set of tags opens.
    pub(super) fn repositories_of(&self, tags: Set) -> Set {
        self.tags
            .iter()
            .enumerate()
            .filter(|(place, _)| tags & (1 << place) != 0)
            .fold(0, |set, (_, (_, repositories))| set | repositories)
    }

    /// Whether a provider of the name (`None`: nothing is installed for it) satisfies a requirement that
    /// `dependent` has (`None`: the user). A package is never in conflict with itself.
    pub(super) fn satisfies(
        &self,
        dependent: Option<PackageId>,
        wanted: Requirement<'_>,
        provider: Option<Provider<'_>>,
    ) -> bool {
        let Requirement { dependency, .. } = wanted;
        let Some(provider) = provider else { return dependency.conflict };
        if dependency.conflict && dependent == Some(provider.package) {
            return true;
        }
        let matches = match &dependency.constraint {
            Some(bound) if bound.operator == Operator::Identity => {
                self.package(provider.package).entry.control_hash.to_string() == bound.version
            }
            _ => dependency.bounds_match(provider.version),
        };
        matches != dependency.conflict
    }

    /// As what the package provides a name, if it does: by its own name first.
    pub(super) fn provider_of(&self, package: PackageId, name: NameId) -> Option<Provider<'a>> {
        self.name(name).providers.iter().find(|provider| provider.package == package).copied()
    }
}

impl NameId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl PackageId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}
