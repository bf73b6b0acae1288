//! What could be chosen: what is installed and the packages of all repositories, the names that they have and
//! provide, and who depends on whom. It does not change while deciding.

use std::collections::HashMap;

use super::names::Names;
use super::system::System;
use crate::apk::{Checksum, Dependency, IndexEntry, Operator, version};

/// More repositories than anybody uses; sets of them are bits of a [`u128`].
pub(super) const MOST_REPOSITORIES: usize = 100;
/// More tags than anybody uses; sets of them are bits of a [`u128`] too.
pub(super) const MOST_TAGS: usize = 100;

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
    /// What is installed, in the order of the database.
    pub(super) installed: Vec<PackageId>,
    /// What is wanted, by name, as `apk` sorts its world file.
    pub(super) world: Vec<Requirement<'a>>,
    /// The tags' names and the repositories that each opens; the first is no tag.
    pub(super) tags: Vec<(&'a str, Set)>,
    /// The repositories from which packages can be fetched.
    pub(super) reachable: Set,
    interned: Names<'a>,
}

#[derive(Debug, Default)]
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
    /// All repositories that have it.
    pub(super) repositories: Set,
    /// It is installed, taken by this tag (a place among [`Universe::tags`]).
    pub(super) installed: Option<usize>,
    /// Where it is at hand, apart from repositories.
    pub(super) at_hand: AtHand,
    pub(super) depends: Vec<Requirement<'a>>,
    pub(super) provides: Vec<Requirement<'a>>,
    pub(super) install_if: Vec<Requirement<'a>>,
    /// Why it can't be installed at all.
    pub(super) unusable: Option<String>,
}

/// Whether a package is at hand without a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtHand {
    No,
    /// The cache has it.
    Cached,
    /// It was made for this request.
    Virtual,
}

/// A dependency and the name that it is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requirement<'a> {
    pub(super) name: NameId,
    pub(super) dependency: &'a Dependency,
}

/// What is the same package: as `apk` keeps them, the first bytes of the hash.
type Identity = [u8; 20];

impl<'a> Universe<'a> {
    /// Everything but what is wanted.
    pub(super) fn new(system: &System<'a>) -> Self {
        let entries: usize = system.installed.len()
            + system.repositories.sources.iter().map(|source| source.index.entries.len()).sum::<usize>();
        let mut universe = Self {
            // Alpine's packages have about two names each.
            names: Vec::with_capacity(entries * 2),
            packages: Vec::with_capacity(entries),
            installed: Vec::new(),
            world: Vec::new(),
            tags: vec![("", 0)],
            reachable: 0,
            interned: Names::with_capacity(entries * 2),
        };
        let mut known: HashMap<Identity, PackageId> = HashMap::with_capacity(entries);
        let arch = system.repositories.arch;
        // Names and tags in the order in which apk meets them.
        universe.requirements(system.world);
        for wanted in system.world {
            universe.tag(wanted.tag.as_deref());
        }
        for package in system.installed {
            let tag = universe.tag(package.repository_tag.as_deref());
            let id = universe.add_once(&mut known, &package.entry, arch);
            universe.requirements(&package.entry.replaces);
            if universe.packages[id.index()].installed.is_none() {
                universe.installed.push(id);
            }
            universe.packages[id.index()].installed = Some(tag);
        }
        for entry in system.cache.iter().flat_map(|index| &index.entries) {
            let id = universe.add_once(&mut known, entry, arch);
            // What is known already is not changed by that.
            if universe.packages[id.index()].installed.is_none() {
                universe.packages[id.index()].at_hand = AtHand::Cached;
            }
        }
        for (place, source) in system.repositories.sources.iter().enumerate() {
            let tag = universe.tag(source.tag);
            universe.tags[tag].1 |= 1 << place;
            universe.reachable |= Set::from(source.reachable) << place;
            for entry in &source.index.entries {
                let id = universe.add_once(&mut known, entry, arch);
                universe.packages[id.index()].repositories |= 1 << place;
            }
        }
        for name in universe.interned.in_table_order() {
            universe.add_edges_of(name);
        }
        for entry in system.virtual_packages {
            let id = universe.add_once(&mut known, entry, arch);
            universe.packages[id.index()].at_hand = AtHand::Virtual;
            universe.add_edges_of(universe.packages[id.index()].name);
        }
        universe
    }

    /// Says what is wanted.
    pub(super) fn want(&mut self, world: &'a [Dependency]) {
        for wanted in world {
            self.tag(wanted.tag.as_deref());
        }
        self.world = self.requirements(world);
        // Stable, so that requirements of the same name stay in the user's order.
        self.world.sort_by_key(|wanted| by_display(&wanted.dependency.name));
    }

    /// A tag's place; a new one if it is not known.
    fn tag(&mut self, tag: Option<&'a str>) -> usize {
        let tag = tag.unwrap_or_default();
        self.tags.iter().position(|(known, _)| *known == tag).unwrap_or_else(|| {
            self.tags.push((tag, 0));
            self.tags.len() - 1
        })
    }

    /// The same package from several places is one package.
    fn add_once(
        &mut self,
        known: &mut HashMap<Identity, PackageId>,
        entry: &'a IndexEntry,
        arch: Option<&str>,
    ) -> PackageId {
        let identity = identity(&entry.control_hash);
        if let Some(&package) = known.get(&identity) {
            return package;
        }
        let package = self.add(entry, arch);
        known.insert(identity, package);
        package
    }

    fn add(&mut self, entry: &'a IndexEntry, arch: Option<&str>) -> PackageId {
        let id = PackageId::new(self.packages.len());
        let name = self.intern(&entry.name);
        let other_arch = arch.filter(|arch| !["", "noarch", arch].contains(&entry.arch.as_str()));
        let unusable = other_arch
            .map(|arch| format!("it is for {:?}, not for {arch}", entry.arch))
            .or_else(|| entry.unusable.clone());
        let package = Package {
            name,
            entry,
            repositories: 0,
            installed: None,
            at_hand: AtHand::No,
            depends: self.requirements(&entry.depends),
            provides: self.requirements(&entry.provides),
            install_if: self.requirements(&entry.install_if),
            unusable,
        };
        self.names[name.index()].providers.push(Provider { package: id, version: Some(&entry.version) });
        for provided in &package.provides {
            let version = provided.dependency.provided_version();
            self.names[provided.name.index()].providers.push(Provider { package: id, version });
        }
        self.packages.push(package);
        id
    }

    /// Notes what the providers of a name depend on and what their `install_if` names.
    fn add_edges_of(&mut self, dependent: NameId) {
        let Self { names, packages, .. } = self;
        for place in 0..names[dependent.index()].providers.len() {
            let package = &packages[names[dependent.index()].providers[place].package.index()];
            // One name's edges are added together, so a second one of them would stand last.
            for wanted in &package.depends {
                let dependents = &mut names[wanted.name.index()].dependents;
                if dependents.last() != Some(&dependent) {
                    dependents.push(dependent);
                }
            }
            for wanted in &package.install_if {
                let triggers = &mut names[wanted.name.index()].triggers;
                if triggers.last() != Some(&dependent) {
                    triggers.push(dependent);
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
        let (name, is_new) = self.interned.intern(text);
        if is_new {
            self.names.push(Name { text, ..Name::default() });
        }
        name
    }

    pub(super) fn name_of(&self, text: &str) -> Option<NameId> {
        self.interned.get(text)
    }

    pub(super) fn name(&self, id: NameId) -> &Name<'a> {
        &self.names[id.index()]
    }

    pub(super) fn package(&self, id: PackageId) -> &Package<'a> {
        &self.packages[id.index()]
    }

    /// The tag that something is wanted with; no tag if it is not known.
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

    /// The repositories that have a package, and those that it was installed from as far as is known.
    pub(super) fn origins(&self, id: PackageId) -> Set {
        let package = self.package(id);
        package.repositories | package.installed.map_or(0, |tag| self.tags[tag].1)
    }

    /// Whether a package can be fetched.
    pub(super) fn is_available(&self, id: PackageId) -> bool {
        self.package(id).repositories & self.reachable != 0
    }

    /// The installed package of a name.
    pub(super) fn installed_as(&self, name: NameId) -> Option<PackageId> {
        let providers = self.name(name).providers.iter().map(|provider| provider.package);
        providers
            .into_iter()
            .find(|&id| self.package(id).name == name && self.package(id).installed.is_some())
    }

    /// Packages that may depend on a package: what has a name of which something depends on it. In apk's order,
    /// some of them several times.
    pub(super) fn near_dependents(&self, id: PackageId) -> impl Iterator<Item = PackageId> + '_ {
        let package = self.package(id);
        let names =
            std::iter::once(package.name).chain(package.provides.iter().map(|provided| provided.name));
        names
            .flat_map(|name| &self.name(name).dependents)
            .flat_map(|&dependent| &self.name(dependent).providers)
            .map(|provider| provider.package)
    }

    /// Whether a package has a dependency that another one satisfies.
    pub(super) fn depends_on(&self, dependent: PackageId, id: PackageId) -> bool {
        self.package(dependent).depends.iter().any(|&wanted| {
            let provider = self.provider_of(id, wanted.name);
            // Its own name is in conflict even with itself.
            let dependent = Some(dependent).filter(|_| self.package(id).name != wanted.name);
            provider.is_some() && self.satisfies(dependent, wanted, provider)
        })
    }

    /// Whether a repository has a newer package of a name than the one that is installed and is meant by a
    /// dependency.
    pub(super) fn has_newer(&self, name: NameId, meant: &Dependency) -> bool {
        let Some(installed) = self.installed_as(name) else { return false };
        let version = self.package(installed).entry.version.as_str();
        let provider = Provider { package: installed, version: Some(version) };
        self.satisfies(None, Requirement { name, dependency: meant }, Some(provider))
            && self.name(name).providers.iter().map(|provider| self.package(provider.package)).any(
                |package| {
                    package.repositories != 0 && version::compare(&package.entry.version, version).is_gt()
                },
            )
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

/// The key by which `apk` sorts names for people.
pub(super) fn by_display(name: &str) -> (String, &str) {
    (name.to_ascii_lowercase(), name)
}

fn identity(checksum: &Checksum) -> Identity {
    let mut identity = [0; 20];
    for (to, from) in identity.iter_mut().zip(checksum.as_bytes()) {
        *to = *from;
    }
    identity
}

impl NameId {
    pub(super) fn new(place: usize) -> Self {
        Self(u32::try_from(place).expect("less than 2^32 names fit in memory"))
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl PackageId {
    pub(super) fn new(place: usize) -> Self {
        Self(u32::try_from(place).expect("less than 2^32 packages fit in memory"))
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}
