//! Why there is no solution: what of the packages that would have been taken is wrong, and what is missing.

use std::collections::{HashMap, HashSet};

use super::error::{Clash, Mask, Problem, Want};
use super::solution::{self, through};
use super::solver::{Solver, names_of};
use super::transition::Step;
use super::universe::{AtHand, NameId, PackageId, Requirement, Universe};

/// How a name is there, as bits.
type Presence = u8;
/// By a package that owns it, or may be taken for it by itself.
const PRESENT: Presence = 1;
/// By a package that came because of its `install_if`.
const BY_INSTALL_IF: Presence = 2;
/// Only by packages that should be asked for by another name.
const ONLY_PROVIDED: Presence = 4;

/// All problems: what the user asked for first, then by package in order of installation.
pub(super) fn problems(universe: &Universe<'_>, solver: &Solver<'_, '_>, steps: &[Step]) -> Vec<Problem> {
    let order: Vec<PackageId> = steps.iter().filter_map(|step| step.new).collect();
    let order = order.as_slice();
    let taken: HashSet<PackageId> = order.iter().copied().collect();
    // As far as requirements are satisfied at all.
    let chains = solution::chains(universe, solver, order);
    let chains: Vec<Vec<String>> = (chains.iter().zip(order))
        .map(|(chain, id)| through(chain, &universe.package(*id).entry.name))
        .collect();
    let mut explainer = Explainer { universe, solver, order, taken, chains, presence: Vec::new() };
    explainer.presence = explainer.find_presence();

    let mut problems = Vec::new();
    let mut reported = HashSet::new();
    explainer.add_missing(solver.world(), &mut reported, &mut problems);
    for &id in order {
        problems.extend(explainer.package_problem(id));
        explainer.add_missing(&universe.package(id).depends, &mut reported, &mut problems);
    }
    problems
}

struct Explainer<'u, 'a> {
    universe: &'u Universe<'a>,
    solver: &'u Solver<'u, 'a>,
    order: &'u [PackageId],
    taken: HashSet<PackageId>,
    /// For each package in order, the way to it, with its own name at the end.
    chains: Vec<Vec<String>>,
    /// Of each name.
    presence: Vec<Presence>,
}

impl Explainer<'_, '_> {
    /// Finds out which names are there, from what is wanted on.
    fn find_presence(&self) -> Vec<Presence> {
        let universe = self.universe;
        let mut names: Vec<Presence> = vec![0; universe.names.len()];
        let mut packages: Vec<Presence> = vec![0; universe.packages.len()];
        let required = |requirements: &[Requirement<'_>]| -> Vec<(NameId, Presence)> {
            let required = requirements.iter().filter(|wanted| !wanted.dependency.conflict);
            required.map(|wanted| (wanted.name, PRESENT)).collect()
        };
        let mut todo = required(self.solver.world());
        while let Some((name, presence)) = todo.pop() {
            for provider in &universe.name(name).providers {
                let id = provider.package;
                if !self.taken.contains(&id) {
                    continue;
                }
                let package = universe.package(id);
                let owned = package.name == name
                    || package.provides.iter().any(|provided| {
                        provided.name == name && provided.dependency.provided_version().is_some()
                    });
                let by_itself = package.entry.provider_priority.is_some_and(|priority| priority > 0);
                let presence = if owned || by_itself { presence } else { ONLY_PROVIDED };
                if packages[id.index()] & presence != 0 {
                    continue;
                }
                packages[id.index()] |= presence;
                names[package.name.index()] |= presence;
                for provided in &package.provides {
                    let unversioned = provided.dependency.provided_version().is_none();
                    names[provided.name.index()] |=
                        if presence == BY_INSTALL_IF && unversioned { ONLY_PROVIDED } else { presence };
                }
                todo.extend(required(&package.depends));
                if presence != ONLY_PROVIDED {
                    for name in names_of(universe, id) {
                        self.find_triggered(name, &names, &mut todo);
                    }
                }
            }
        }
        names
    }

    /// What was installed because of a name.
    fn find_triggered(&self, name: NameId, names: &[Presence], todo: &mut Vec<(NameId, Presence)>) {
        let universe = self.universe;
        for &triggered in &universe.name(name).triggers {
            for provider in &universe.name(triggered).providers {
                let conditions = &universe.package(provider.package).install_if;
                let holds = conditions.iter().all(|condition| {
                    let there = names[condition.name.index()] & (PRESENT | BY_INSTALL_IF) != 0;
                    condition.dependency.conflict != there
                });
                if self.taken.contains(&provider.package) && !conditions.is_empty() && holds {
                    todo.extend(names_of(universe, provider.package).map(|name| (name, BY_INSTALL_IF)));
                }
            }
        }
    }

    /// Adds names that are required and not there, each once.
    fn add_missing(
        &self,
        requirements: &[Requirement<'_>],
        reported: &mut HashSet<NameId>,
        problems: &mut Vec<Problem>,
    ) {
        for wanted in requirements {
            let there = self.presence[wanted.name.index()] & (PRESENT | BY_INSTALL_IF) != 0;
            if wanted.dependency.conflict || there || !reported.insert(wanted.name) {
                continue;
            }
            let name = self.universe.name(wanted.name);
            let wanted_by = self.dependents(wanted.name);
            problems.push(if name.providers.is_empty() {
                Problem::NotFound { name: name.text.to_owned(), wanted_by }
            } else {
                Problem::MustChoose {
                    name: name.text.to_owned(),
                    providers: self.providers(wanted.name),
                    wanted_by,
                }
            });
        }
    }

    /// Who requires a name: the user, and of the packages of each name one, by its first requirement.
    fn dependents(&self, name: NameId) -> Vec<Want> {
        let universe = self.universe;
        let mut asked = HashSet::new();
        let mut firsts = HashSet::new();
        for &dependent in &universe.name(name).dependents {
            let mut packages = universe.name(dependent).providers.iter().map(|provider| provider.package);
            firsts.extend(packages.find(|id| {
                let mut depends = universe.package(*id).depends.iter();
                self.taken.contains(id)
                    && asked.insert(*id)
                    && depends.any(|wanted| wanted.name == name && !wanted.dependency.conflict)
            }));
        }
        self.wants(|dependent, wanted| {
            let is_first = dependent.is_none_or(|id| firsts.contains(&id));
            wanted.name == name && !wanted.dependency.conflict && is_first
        })
        .into_iter()
        .fold(Vec::new(), |mut wants: Vec<Want>, want| {
            let again = |last: &Want| last.package.is_some() && last.package == want.package;
            if !wants.last().is_some_and(again) {
                wants.push(want);
            }
            wants
        })
    }

    /// The packages that provide a name; without versions where nothing else has the package's own name.
    fn providers(&self, name: NameId) -> Vec<String> {
        let universe = self.universe;
        let providers = &universe.name(name).providers;
        let mut left: HashMap<NameId, usize> = HashMap::new();
        for provider in providers {
            *left.entry(universe.package(provider.package).name).or_default() += 1;
        }
        let mut texts = Vec::new();
        for provider in providers {
            let package = universe.package(provider.package);
            let Some(left) = left.get_mut(&package.name) else { continue };
            if *left == universe.name(package.name).providers.len() {
                texts.push(package.entry.name.clone());
                *left = 0;
            } else if *left > 0 {
                texts.push(package.entry.full_name());
                *left -= 1;
            }
        }
        texts
    }

    /// The requirements that `matches`, the user's first, then those of packages by name.
    fn wants(&self, matches: impl Fn(Option<PackageId>, &Requirement<'_>) -> bool) -> Vec<Want> {
        let universe = self.universe;
        let mut wants: Vec<Want> = self
            .solver
            .world()
            .iter()
            .filter(|wanted| matches(None, wanted))
            .map(|wanted| {
                let dependency = wanted.dependency.to_string();
                Want { package: None, chain: vec![dependency.clone()], dependency }
            })
            .collect();
        let mut packages: Vec<usize> = (0..self.order.len()).collect();
        packages.sort_by_key(|&place| &universe.package(self.order[place]).entry.name);
        for place in packages {
            let id = self.order[place];
            let package = universe.package(id);
            for wanted in package.depends.iter().filter(|wanted| matches(Some(id), wanted)) {
                let dependency = wanted.dependency.to_string();
                let chain = [&self.chains[place][..], std::slice::from_ref(&dependency)].concat();
                wants.push(Want { package: Some(package.entry.full_name()), dependency, chain });
            }
        }
        wants
    }

    /// What is wrong with a package that would be taken, if anything is.
    fn package_problem(&self, id: PackageId) -> Option<Problem> {
        let universe = self.universe;
        let package = universe.package(id);
        let unusable = package.unusable.clone();
        let masked_in = self.masked_in(id);
        let clashes = self.clashes(id);
        let satisfies = |dependent: Option<PackageId>, wanted: &Requirement<'_>| {
            let provider = universe.provider_of(id, wanted.name)?;
            // Its own name is in conflict even with itself.
            let dependent = dependent.filter(|_| package.name != wanted.name);
            Some(universe.satisfies(dependent, *wanted, Some(provider)))
        };
        let breaks = self.wants(|dependent, wanted| satisfies(dependent, wanted) == Some(false));
        if unusable.is_none() && masked_in.is_empty() && clashes.is_empty() && breaks.is_empty() {
            return None;
        }
        let satisfied = self.wants(|dependent, wanted| satisfies(dependent, wanted) == Some(true));
        Some(Problem::Package {
            package: package.entry.full_name(),
            unusable,
            masked_in,
            clashes,
            breaks,
            satisfies: satisfied,
        })
    }

    /// Why it may not be taken from where it is.
    fn masked_in(&self, id: PackageId) -> Vec<Mask> {
        let universe = self.universe;
        let package = universe.package(id);
        if package.installed.is_some() {
            return Vec::new();
        }
        if !universe.is_available(id) && package.at_hand != AtHand::Virtual {
            return vec![Mask::Offline];
        }
        let allowed = universe.repositories_of(self.solver.package_state(id).tags_allowed);
        if package.repositories & allowed != 0 || package.at_hand == AtHand::Virtual {
            return Vec::new();
        }
        let opening = universe.tags.iter().filter(|(_, opened)| opened & package.repositories != 0);
        opening.map(|(tag, _)| Mask::Tag((*tag).to_owned())).collect()
    }

    /// Packages that would be taken and own a name that this one owns.
    fn clashes(&self, id: PackageId) -> Vec<Clash> {
        let universe = self.universe;
        let package = universe.package(id);
        let full_name = |id: PackageId| universe.package(id).entry.full_name();
        let mut clashes = Vec::new();
        for provider in &universe.name(package.name).providers {
            if provider.package != id && self.taken.contains(&provider.package) {
                clashes.push(Clash { package: full_name(provider.package), provides: None });
            }
        }
        for provided in &package.provides {
            let version = provided.dependency.provided_version();
            let mut itself = true;
            for provider in &universe.name(provided.name).providers {
                if !self.taken.contains(&provider.package) || version.is_none() && provider.version.is_none()
                {
                    continue;
                }
                if itself && provider.package == id && provider.version == version {
                    itself = false;
                    continue;
                }
                clashes.push(Clash {
                    package: full_name(provider.package),
                    provides: Some(provided.dependency.to_string()),
                });
            }
        }
        clashes
    }
}
