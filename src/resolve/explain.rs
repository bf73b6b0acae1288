//! Why there is no solution: what of the packages that would have been taken is wrong, and what is missing.

use std::collections::{HashMap, HashSet};

use super::error::similar;
use super::problem::{Alternative, Clash, Mask, Problem, Want, escaped, way};
use super::solution::{self, through};
use super::solver::{Solver, names_of};
use super::state::Exclusion;
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
    if problems.is_empty() {
        problems = explainer.dead_ends();
    }
    problems
}

/// What is to be looked at; a stack of them takes the place of recursion.
enum Visit {
    Name(NameId, Presence),
    /// A package, as provider of a name.
    Provider(PackageId, NameId, Presence),
    /// A package with something in its `install_if` that is there.
    Triggered(PackageId),
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
    /// Finds out which names are there, from what is wanted on. In apk's order, as an `install_if` is looked at
    /// when something in it turns out to be there, whatever else turns out later.
    fn find_presence(&self) -> Vec<Presence> {
        let universe = self.universe;
        let mut names: Vec<Presence> = vec![0; universe.names.len()];
        let mut packages: Vec<Presence> = vec![0; universe.packages.len()];
        let required = |requirements: &[Requirement<'_>]| -> Vec<Visit> {
            let required = requirements.iter().rev().filter(|wanted| !wanted.dependency.conflict);
            required.map(|wanted| Visit::Name(wanted.name, PRESENT)).collect()
        };
        let mut stack = required(self.solver.world());
        while let Some(visit) = stack.pop() {
            let start = stack.len();
            match visit {
                Visit::Name(name, presence) => {
                    let providers = universe.name(name).providers.iter();
                    stack.extend(providers.map(|provider| Visit::Provider(provider.package, name, presence)));
                    stack[start..].reverse();
                }
                Visit::Provider(id, name, presence) => {
                    let Some(presence) = self.presence_as(id, name, presence) else { continue };
                    if packages[id.index()] & presence != 0 {
                        continue;
                    }
                    packages[id.index()] |= presence;
                    let package = universe.package(id);
                    names[package.name.index()] |= presence;
                    for provided in &package.provides {
                        let unversioned = provided.dependency.provided_version().is_none();
                        names[provided.name.index()] |=
                            if presence == BY_INSTALL_IF && unversioned { ONLY_PROVIDED } else { presence };
                    }
                    if presence != ONLY_PROVIDED {
                        let triggers = names_of(universe, id).flat_map(|name| &universe.name(name).triggers);
                        let triggered = triggers.flat_map(|&name| &universe.name(name).providers);
                        stack.extend(triggered.map(|provider| Visit::Triggered(provider.package)));
                        stack[start..].reverse();
                    }
                    stack.extend(required(&package.depends));
                }
                Visit::Triggered(id) => {
                    let conditions = &universe.package(id).install_if;
                    let holds = conditions.iter().all(|condition| {
                        let there = names[condition.name.index()] & (PRESENT | BY_INSTALL_IF) != 0;
                        condition.dependency.conflict != there
                    });
                    if self.taken.contains(&id) && !conditions.is_empty() && holds {
                        stack.extend(names_of(universe, id).map(|name| Visit::Name(name, BY_INSTALL_IF)));
                        stack[start..].reverse();
                    }
                }
            }
        }
        names
    }

    /// How a package is there for a name; not at all if it would not be taken.
    fn presence_as(&self, id: PackageId, name: NameId, presence: Presence) -> Option<Presence> {
        if !self.taken.contains(&id) {
            return None;
        }
        let package = self.universe.package(id);
        let owned = package.name == name
            || package
                .provides
                .iter()
                .any(|provided| provided.name == name && provided.dependency.provided_version().is_some());
        let by_itself = package.entry.provider_priority.is_some_and(|priority| priority > 0);
        Some(if owned || by_itself { presence } else { ONLY_PROVIDED })
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
                let known = self.universe.names.iter().filter(|name| !name.providers.is_empty());
                let similar = similar(name.text, known.map(|name| name.text));
                Problem::NotFound { name: name.text.to_owned(), wanted_by, similar }
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
            alternatives: self.alternatives(id),
        })
    }

    /// The way to a package that would be taken.
    fn chain(&self, id: PackageId) -> &[String] {
        let place = self.order.iter().position(|taken| *taken == id);
        place.map(|place| &self.chains[place][..]).unwrap_or_default()
    }

    /// Other packages that have the names for which a package is wanted, and why they were not taken.
    fn alternatives(&self, id: PackageId) -> Vec<Alternative> {
        let universe = self.universe;
        let of_packages = self.order.iter().flat_map(|taken| &universe.package(*taken).depends);
        let wanted: HashSet<NameId> = (self.solver.world().iter().chain(of_packages))
            .filter(|wanted| !wanted.dependency.conflict)
            .map(|wanted| wanted.name)
            .collect();
        let mut seen = HashSet::from([id]);
        let mut alternatives = Vec::new();
        for name in names_of(universe, id).filter(|name| wanted.contains(name)) {
            for provider in &universe.name(name).providers {
                if seen.insert(provider.package) && !self.taken.contains(&provider.package) {
                    alternatives.push(Alternative {
                        package: universe.package(provider.package).entry.full_name(),
                        because: self.why_not(provider.package),
                        chain: self.ruled_out_by(provider.package),
                    });
                }
            }
        }
        alternatives
    }

    /// The way to the requirement that a package does not satisfy, if that is why it can't be chosen.
    fn ruled_out_by(&self, id: PackageId) -> Vec<String> {
        let Some(Exclusion::Requirement(dependent, wanted)) = self.solver.package_state(id).excluded else {
            return Vec::new();
        };
        let mut chain = dependent.map(|dependent| self.chain(dependent).to_vec()).unwrap_or_default();
        if let (Some(dependent), []) = (dependent, &chain[..]) {
            chain.push(self.universe.package(dependent).entry.full_name());
        }
        chain.push(wanted.dependency.to_string());
        chain
    }

    /// Why a package can't be chosen; `None` if it can.
    fn why_not(&self, id: PackageId) -> Option<String> {
        let universe = self.universe;
        let full_name = |id: PackageId| escaped(&universe.package(id).entry.full_name());
        if let Some(reason) = &universe.package(id).unusable {
            return Some(escaped(reason));
        }
        let state = self.solver.package_state(id);
        let reason = match state.excluded {
            None if !state.selectable => "it is only in repositories that can't be reached".to_owned(),
            None => return self.masked_in(id).first().map(ToString::to_string),
            Some(Exclusion::Requirement(..)) => format!("ruled out by {}", way(&self.ruled_out_by(id))),
            Some(Exclusion::Dependency(wanted)) => {
                let lost = escaped(&wanted.dependency.to_string());
                match universe.name(wanted.name).providers.is_empty() {
                    true => format!("it depends on {lost}, which is in no repository"),
                    false => format!("it depends on {lost}, which can't be satisfied"),
                }
            }
            Some(Exclusion::Beside(required, name)) => format!(
                "whatever has {} has {} too",
                escaped(universe.name(required).text),
                escaped(universe.name(name).text)
            ),
            Some(Exclusion::Taken(name, Some(chosen))) => {
                format!("{} has {}", full_name(chosen), escaped(universe.name(name).text))
            }
            Some(Exclusion::Taken(name, None)) => {
                format!("it was decided to be without {}", escaped(universe.name(name).text))
            }
        };
        Some(reason)
    }

    /// What can't be had and is not part of the result.
    fn dead_ends(&self) -> Vec<Problem> {
        let universe = self.universe;
        let mut ends = Vec::new();
        for (place, package) in universe.packages.iter().enumerate() {
            let id = PackageId::new(place);
            if self.solver.package_state(id).broken {
                let another = || "another package has one of its names".to_owned();
                let because = self.why_not(id).unwrap_or_else(another);
                ends.push(Problem::DeadEnd { what: package.entry.full_name(), because });
            }
        }
        for (place, name) in universe.names.iter().enumerate() {
            if self.solver.lacks(NameId::new(place)) {
                let because = match name.providers.is_empty() {
                    true => "it is in no repository".to_owned(),
                    false => "none of its providers can be taken by itself".to_owned(),
                };
                ends.push(Problem::DeadEnd { what: name.text.to_owned(), because });
            }
        }
        ends
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
                let chain = self.chain(provider.package).to_vec();
                clashes.push(Clash { package: full_name(provider.package), provides: None, chain });
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
                    chain: self.chain(provider.package).to_vec(),
                });
            }
        }
        clashes
    }
}
