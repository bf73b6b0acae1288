//! A system, what can be asked of it, and how `apk`'s commands put that to the solver.

use std::collections::BTreeSet;

use super::error::{UnknownName, similar};
use super::plan::{self, Plan};
use super::solver::Solver;
use super::transition::{self, Step};
use super::universe::{self, NameId, Universe};
use super::wish::{Asked, Preferences, Wish};
use super::{Repositories, ResolveError, explain, removal};
use crate::apk::{Dependency, Index, IndexEntry, InstalledDatabase, InstalledPackage, Operator};

/// What is installed, what the user asked for so far, and where packages come from.
///
/// ```
/// use leanfs::apk::{Index, InstalledDatabase};
/// use leanfs::resolve::{ChangeKind, Prefer, Repositories, System};
/// let installed = InstalledDatabase::parse(b"C:Q1EyN5AdpAOBJWKMR89pp/C66o+OE=\nP:musl\nV:1.2.5-r22\n\n")?;
/// let index = Index::parse("C:Q1ZX+on7zBgcokTctj4tLSmx7q5O4=\nP:musl\nV:1.2.5-r23\n")?;
/// let system = System::new(Repositories::new([&index])).with_installed(&installed);
/// let plan = system.add(&["musl".parse()?], Prefer::Upgrade)?;
/// assert_eq!(plan.changes[0].kind, ChangeKind::Upgrade);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct System<'a> {
    pub(super) repositories: Repositories<'a>,
    pub(super) installed: &'a [InstalledPackage],
    pub(super) world: &'a [Dependency],
    pub(super) cache: Option<&'a Index>,
    pub(super) virtual_packages: &'a [IndexEntry],
    without_broken: bool,
}

/// Which versions of what is added, and of what it depends on, are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Prefer {
    /// What is installed, where it will do.
    #[default]
    Installed,
    /// The newest that is possible (`apk add --upgrade`).
    Upgrade,
    /// The newest, or nothing (`apk add --latest`).
    Latest,
}

/// How to upgrade. By default everything that can be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upgrade {
    /// Only what repositories have; older versions than what is installed, too (`--available`).
    pub available: bool,
    /// The newest, or nothing (`--latest`).
    pub latest: bool,
    /// What of the world no repository has is removed (`--prune`).
    pub prune: bool,
    /// Only these names; all if it is empty.
    pub only: Vec<String>,
    /// These names stay as they are (`--ignore`).
    pub ignore: Vec<String>,
}

/// How to mend packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fix {
    /// These names; all that are marked as broken if it is empty.
    pub only: Vec<String>,
    /// By newer versions, instead of installing the same ones again.
    pub upgrade: bool,
    /// What they depend on, too.
    pub depends: bool,
}

impl<'a> System<'a> {
    /// A system without anything.
    pub fn new(repositories: Repositories<'a>) -> Self {
        Self {
            repositories,
            installed: &[],
            world: &[],
            cache: None,
            virtual_packages: &[],
            without_broken: false,
        }
    }

    /// What is installed.
    #[must_use]
    pub fn with_installed(mut self, installed: &'a InstalledDatabase) -> Self {
        self.installed = &installed.packages;
        self
    }

    /// What the user asked for so far: `etc/apk/world`.
    #[must_use]
    pub fn with_world(mut self, world: &'a [Dependency]) -> Self {
        self.world = world;
        self
    }

    /// Packages that the cache has, whether a repository has them or not.
    #[must_use]
    pub fn with_cache(mut self, cache: &'a Index) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Packages without contents that exist only here: a name for several others (`apk add --virtual`).
    #[must_use]
    pub fn with_virtual(mut self, packages: &'a [IndexEntry]) -> Self {
        self.virtual_packages = packages;
        self
    }

    /// What of the world can't be had is passed over, instead of refusing (`--force-broken-world`).
    #[must_use]
    pub fn without_broken(mut self) -> Self {
        self.without_broken = true;
        self
    }

    /// What is to be done so that `wanted` is there too, as `apk add` would. What is wanted replaces what the
    /// world says of the same name; without anything, the system is brought to what its world says.
    ///
    /// # Errors
    /// [`ResolveError::Unsatisfiable`] with every problem found, [`ResolveError::UnknownTags`] for a tag that no
    /// repository has.
    pub fn add(&self, wanted: &[Dependency], prefer: Prefer) -> Result<Plan, ResolveError> {
        let preferences = match prefer {
            Prefer::Installed => Preferences::NONE,
            Prefer::Upgrade => Preferences::UPGRADE,
            Prefer::Latest => Preferences::LATEST,
        };
        let mut wish = self.wish();
        for wanted in wanted {
            match wish.world.iter_mut().find(|known| known.name == wanted.name) {
                Some(known) => known.clone_from(wanted),
                None => wish.world.push(wanted.clone()),
            }
            wish.asked.push(Asked { name: wanted.name.clone(), preferences, inherited: preferences });
        }
        self.plan(&wish)
    }

    /// What is to be done without `names`, as `apk del` would. With `dependents`, what depends on them is no
    /// longer asked for either (`--rdepends`). What is still needed stays: [`Plan::kept`] says why.
    ///
    /// # Errors
    /// As [`System::add`], and [`ResolveError::UnknownNames`].
    pub fn remove(&self, names: &[String], dependents: bool) -> Result<Plan, ResolveError> {
        self.check_sizes(&[])?;
        let mut wish = self.wish();
        let mut universe = Universe::new(self);
        let known = known_names(&universe, names)?;
        for &name in &known {
            if universe.installed_as(name).is_none() {
                wish.no_longer(universe.name(name).text);
            }
        }
        for id in removal::removed(&universe, &known, dependents) {
            let package = universe.package(id);
            wish.no_longer(&package.entry.name);
            wish.asked
                .push(Asked { preferences: Preferences::REMOVE, ..Asked::by_name(&package.entry.name) });
            for provided in package.provides.iter().filter(|_| dependents) {
                wish.no_longer(&provided.dependency.name);
            }
        }
        universe.want(&wish.world);
        let (solver, steps) = self.decide(&universe, &wish)?;
        self.check_tags(&wish.world)?;
        let mut plan = plan::assemble(&universe, &solver, &steps, &wish);
        plan.kept = removal::kept(&universe, &steps, self.world, names);
        Ok(plan)
    }

    /// What is to be done to have the newest versions, as `apk upgrade` would.
    ///
    /// # Errors
    /// As [`System::remove`].
    pub fn upgrade(&self, how: &Upgrade) -> Result<Plan, ResolveError> {
        let mut wish = self.wish();
        wish.overall = how.preferences();
        self.check_sizes(&wish.world)?;
        self.check_tags(&wish.world)?;
        if how.available {
            for wanted in &mut wish.world {
                if wanted.constraint.as_ref().is_some_and(|bound| bound.operator == Operator::Identity) {
                    wanted.constraint = None;
                }
            }
        }
        let mut universe = Universe::new(self);
        if how.prune {
            wish.world.retain(|wanted| {
                let name = universe.name_of(&wanted.name);
                let providers = name.map(|name| &universe.name(name).providers[..]).unwrap_or_default();
                providers.iter().any(|provider| universe.is_available(provider.package))
            });
        }
        for (names, preferences) in [(&how.only, Preferences::UPGRADE), (&how.ignore, Preferences::KEEP)] {
            for name in known_names(&universe, names)? {
                wish.asked.push(Asked { preferences, ..Asked::by_name(universe.name(name).text) });
            }
        }
        universe.want(&wish.world);
        let (solver, steps) = self.decide(&universe, &wish)?;
        Ok(plan::assemble(&universe, &solver, &steps, &wish))
    }

    /// What is to be done before an upgrade, so that it is done by a new `apk`: newer versions of the packages
    /// in `first`, which match what is installed, and no more than these need. `None` if there is nothing to do.
    ///
    /// # Errors
    /// As [`System::add`].
    pub fn preupgrade(&self, first: &[Dependency], how: &Upgrade) -> Result<Option<Plan>, ResolveError> {
        let mut wish = self.wish();
        wish.preupgrade = true;
        self.check_sizes(&wish.world)?;
        self.check_tags(&wish.world)?;
        let mut universe = Universe::new(self);
        for (place, wanted) in first.iter().enumerate() {
            // The last one of a name counts.
            let replaced = first[place + 1..].iter().any(|later| later.name == wanted.name);
            let Some(name) = universe.name_of(&wanted.name).filter(|_| !replaced) else { continue };
            if universe.has_newer(name, wanted) {
                let preferences = how.preferences();
                wish.asked.push(Asked { preferences, ..Asked::by_name(&wanted.name) });
            }
        }
        if wish.asked.is_empty() {
            return Ok(None);
        }
        universe.want(&wish.world);
        let (solver, steps) = self.decide(&universe, &wish)?;
        let plan = plan::assemble(&universe, &solver, &steps, &wish);
        Ok(Some(plan).filter(|plan| !plan.changes.is_empty()))
    }

    /// What is to be done to mend packages, as `apk fix` would.
    ///
    /// # Errors
    /// As [`System::remove`].
    pub fn fix(&self, how: &Fix) -> Result<Plan, ResolveError> {
        let mut wish = self.wish();
        self.check_sizes(&wish.world)?;
        self.check_tags(&wish.world)?;
        let mut universe = Universe::new(self);
        let broken = self.installed.iter().filter(|package| package.flags.is_broken());
        let broken: Vec<String> = broken.map(|package| package.entry.name.clone()).collect();
        let names = if how.only.is_empty() { &broken } else { &how.only };
        let preferences = if how.upgrade { Preferences::UPGRADE } else { Preferences::REINSTALL };
        let inherited = if how.depends { preferences } else { Preferences::NONE };
        for name in known_names(&universe, names)? {
            let name = universe.name(name).text.to_owned();
            wish.asked.push(Asked { name, preferences, inherited });
        }
        universe.want(&wish.world);
        let (solver, steps) = self.decide(&universe, &wish)?;
        Ok(plan::assemble(&universe, &solver, &steps, &wish))
    }

    /// The world as it is.
    fn wish(&self) -> Wish {
        Wish { world: self.world.to_vec(), ..Wish::default() }
    }

    fn plan(&self, wish: &Wish) -> Result<Plan, ResolveError> {
        self.check_sizes(&wish.world)?;
        self.check_tags(&wish.world)?;
        let mut universe = Universe::new(self);
        universe.want(&wish.world);
        let (solver, steps) = self.decide(&universe, wish)?;
        Ok(plan::assemble(&universe, &solver, &steps, wish))
    }

    /// Decides all names, and finds the way there.
    pub(super) fn decide<'u, 'w>(
        &self,
        universe: &'u Universe<'w>,
        wish: &Wish,
    ) -> Result<(Solver<'u, 'w>, Vec<Step>), ResolveError> {
        let mut world = universe.world.clone();
        let mut wish = wish.clone();
        loop {
            let mut solver = Solver::new(universe, &wish, world.clone());
            solver.decide();
            let steps = transition::steps(&mut solver);
            if !solver.is_broken() {
                return Ok((solver, steps));
            }
            let before = world.len();
            world.retain(|wanted| {
                let chosen = solver.chosen(wanted.name);
                chosen.is_some_and(|chosen| !solver.package_state(chosen.package).broken)
            });
            if !self.without_broken || world.len() == before {
                let problems = explain::problems(universe, &solver, &steps);
                return Err(ResolveError::Unsatisfiable { problems });
            }
            wish.forget_preferences();
        }
    }

    /// Sets of repositories and tags have room for so many.
    pub(super) fn check_sizes(&self, world: &[Dependency]) -> Result<(), ResolveError> {
        let repositories = self.repositories.sources.len();
        if repositories > universe::MOST_REPOSITORIES {
            return Err(ResolveError::TooManyRepositories {
                given: repositories,
                limit: universe::MOST_REPOSITORIES,
            });
        }
        let of_world = self.world.iter().chain(world).filter_map(|wanted| wanted.tag.as_deref());
        let of_repositories = self.repositories.sources.iter().filter_map(|source| source.tag);
        let of_packages = self.installed.iter().filter_map(|package| package.repository_tag.as_deref());
        let tags: BTreeSet<&str> = of_world.chain(of_repositories).chain(of_packages).collect();
        if tags.len() > universe::MOST_TAGS {
            return Err(ResolveError::TooManyTags { given: tags.len(), limit: universe::MOST_TAGS });
        }
        Ok(())
    }

    /// What is wanted by a tag that no repository has would come from anywhere.
    pub(super) fn check_tags(&self, world: &[Dependency]) -> Result<(), ResolveError> {
        let known: BTreeSet<&str> =
            self.repositories.sources.iter().filter_map(|source| source.tag).collect();
        let unknown = |wanted: &&Dependency| {
            wanted.tag.as_deref().is_some_and(|tag| !known.contains(tag)) && !self.without_broken
        };
        let wanted: Vec<String> = world.iter().filter(unknown).map(ToString::to_string).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        Err(ResolveError::UnknownTags { wanted, known: known.into_iter().map(str::to_owned).collect() })
    }
}

impl Upgrade {
    fn preferences(&self) -> Preferences {
        let when = |condition, preference| if condition { preference } else { Preferences::NONE };
        when(self.only.is_empty(), Preferences::UPGRADE)
            | when(self.available, Preferences::AVAILABLE)
            | when(self.latest, Preferences::LATEST)
    }
}

/// The names that something has or wants.
fn known_names(universe: &Universe<'_>, names: &[String]) -> Result<Vec<NameId>, ResolveError> {
    let unknown = names.iter().filter(|name| universe.name_of(name).is_none());
    let unknown: Vec<UnknownName> = unknown
        .map(|name| UnknownName {
            name: name.clone(),
            similar: similar(name, universe.names.iter().map(|name| name.text)),
        })
        .collect();
    if unknown.is_empty() {
        Ok(names.iter().filter_map(|name| universe.name_of(name)).collect())
    } else {
        Err(ResolveError::UnknownNames { names: unknown })
    }
}
