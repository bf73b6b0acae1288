//! The chosen packages: in order of installation, with the reason for each.

use std::collections::{HashMap, VecDeque};

use super::solver::Solver;
use super::universe::{PackageId, Requirement, Universe};
use crate::apk::{Dependency, IndexEntry};

/// Packages that satisfy what was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// In order of installation: what a package depends on comes before it (as far as there is no circle).
    pub packages: Vec<Selected>,
    /// What was wanted, and the package (index into [`Solution::packages`]) that satisfies it.
    pub requested: Vec<(Dependency, usize)>,
}

/// A chosen package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The repository that it is taken from, by its place among those that were given: the first that has it,
    /// of those that are allowed for it.
    pub repository: usize,
    /// What the repository's index says about it.
    pub entry: IndexEntry,
    /// The shortest way from what was wanted to this package: names of dependencies, and of packages where they
    /// are called otherwise than the dependency, as in `["erlang", "erlang27", "so:libz.so.1"]` for zlib.
    pub wanted_by: Vec<String>,
    /// What it depends on, and the package (index into [`Solution::packages`]) that satisfies it. Conflicts are
    /// not in it.
    pub dependencies: Vec<(Dependency, usize)>,
    /// The packages (indexes into [`Solution::packages`]) that satisfy its `install_if`, if it is here because
    /// of them; empty if something wanted it.
    pub installed_with: Vec<usize>,
}

impl Solution {
    /// What is left when the dependencies that `skip` names don't count, and what falls away by that: packages
    /// that nothing wants otherwise, and those that were installed because of them. What the user asked for
    /// stays.
    pub fn without(&self, skip: impl Fn(&Dependency) -> bool) -> (Self, Vec<Selected>) {
        let kept_edges: Vec<Vec<usize>> = self
            .packages
            .iter()
            .map(|package| {
                let kept = package.dependencies.iter().filter(|(dependency, _)| !skip(dependency));
                kept.map(|(_, place)| *place).collect()
            })
            .collect();
        let mut kept = vec![false; self.packages.len()];
        let mut todo: Vec<usize> = self.requested.iter().map(|(_, place)| *place).collect();
        loop {
            while let Some(place) = todo.pop() {
                if !std::mem::replace(&mut kept[place], true) {
                    todo.extend(&kept_edges[place]);
                }
            }
            // What comes because others are there comes when they are.
            todo.extend(self.packages.iter().enumerate().filter_map(|(place, package)| {
                let comes = !package.installed_with.is_empty()
                    && package.installed_with.iter().all(|&other| kept[other]);
                (comes && !kept[place]).then_some(place)
            }));
            if todo.is_empty() {
                break;
            }
        }

        let mut place = 0;
        let new_places: Vec<Option<usize>> = kept
            .iter()
            .map(|&kept| {
                kept.then(|| {
                    place += 1;
                    place - 1
                })
            })
            .collect();
        let moved = |edges: &[(Dependency, usize)]| {
            edges
                .iter()
                .filter_map(|(dependency, place)| Some((dependency.clone(), new_places[*place]?)))
                .collect()
        };
        let mut left_out = Vec::new();
        let mut packages = Vec::new();
        for (place, package) in self.packages.iter().enumerate() {
            if new_places[place].is_none() {
                left_out.push(package.clone());
                continue;
            }
            let dependencies: Vec<(Dependency, usize)> =
                package.dependencies.iter().filter(|(dependency, _)| !skip(dependency)).cloned().collect();
            packages.push(Selected {
                dependencies: moved(&dependencies),
                installed_with: package
                    .installed_with
                    .iter()
                    .filter_map(|place| new_places[*place])
                    .collect(),
                ..package.clone()
            });
        }
        let mut solution = Self { packages, requested: moved(&self.requested) };
        solution.explain_anew();
        (solution, left_out)
    }

    /// The package of a name, if it was chosen.
    pub fn package(&self, name: &str) -> Option<&Selected> {
        self.packages.iter().find(|package| package.entry.name == name)
    }

    /// Fills [`Selected::wanted_by`] with the shortest ways.
    fn explain_anew(&mut self) {
        let mut chains: Vec<Option<Vec<String>>> = vec![None; self.packages.len()];
        let mut queue = VecDeque::new();
        for (dependency, place) in &self.requested {
            if chains[*place].is_none() {
                chains[*place] = Some(vec![dependency.to_string()]);
                queue.push_back(*place);
            }
        }
        loop {
            while let Some(place) = queue.pop_front() {
                let package = &self.packages[place];
                let chain = through(chains[place].as_deref().unwrap_or_default(), &package.entry.name);
                for (dependency, wanted) in &package.dependencies {
                    if chains[*wanted].is_none() {
                        chains[*wanted] = Some([&chain[..], &[dependency.to_string()]].concat());
                        queue.push_back(*wanted);
                    }
                }
            }
            // The first that came with others that are explained by now.
            let next = (0..self.packages.len()).find_map(|place| {
                let with = &self.packages[place].installed_with;
                let last = with.iter().max()?;
                (chains[place].is_none() && with.iter().all(|&other| chains[other].is_some()))
                    .then_some((place, *last))
            });
            let Some((place, last)) = next else { break };
            let chain = through(chains[last].as_deref().unwrap_or_default(), &self.packages[last].entry.name);
            let condition: Vec<String> =
                self.packages[place].entry.install_if.iter().map(ToString::to_string).collect();
            chains[place] = Some([&chain[..], &[format!("install_if {}", condition.join(" "))]].concat());
            queue.push_back(place);
        }
        for (package, chain) in self.packages.iter_mut().zip(chains) {
            package.wanted_by = chain.unwrap_or_default();
        }
    }
}

/// A chain and the package that it leads to, unless it ends in that package's own name.
pub(super) fn through(chain: &[String], package: &str) -> Vec<String> {
    let mut chain = chain.to_vec();
    if chain.last().map(String::as_str) != Some(package) {
        chain.push(package.to_owned());
    }
    chain
}

/// Takes the result out of a solver that has decided everything, broken or not.
pub(super) fn assemble(universe: &Universe<'_>, solver: &Solver<'_, '_>, order: &[PackageId]) -> Solution {
    let places: HashMap<PackageId, usize> =
        order.iter().enumerate().map(|(place, package)| (*package, place)).collect();
    let place_of = |wanted: &Requirement<'_>| {
        let provider = solver.chosen(wanted.name)?;
        places.get(&provider.package).copied()
    };
    let edges = |requirements: &[Requirement<'_>]| -> Vec<(Dependency, usize)> {
        requirements
            .iter()
            .filter(|wanted| !wanted.dependency.conflict)
            .filter_map(|wanted| Some((wanted.dependency.clone(), place_of(wanted)?)))
            .collect()
    };
    let requested = edges(&universe.world);
    let mut packages: Vec<Selected> = Vec::with_capacity(order.len());
    for &id in order {
        let package = universe.package(id);
        let dependencies = edges(&package.depends);
        packages.push(Selected {
            repository: repository_of(universe, solver, id),
            entry: package.entry.clone(),
            wanted_by: Vec::new(),
            dependencies,
            installed_with: edges(&package.install_if).into_iter().map(|(_, place)| place).collect(),
        });
    }
    // Only what nothing else wants is here because of its `install_if`.
    let reached = reachable(&packages, &requested);
    for (package, reached) in packages.iter_mut().zip(reached) {
        if reached {
            package.installed_with.clear();
        }
    }
    let mut solution = Solution { packages, requested };
    solution.explain_anew();
    solution
}

/// The first repository that has a package and may be used for it; untagged ones before tagged ones.
fn repository_of(universe: &Universe<'_>, solver: &Solver<'_, '_>, id: PackageId) -> usize {
    let package = universe.package(id);
    let allowed = solver.package_state(id).tags_allowed;
    (0..universe.tags.len())
        .map(|tag| universe.repositories_of(allowed & (1 << tag)) & package.repositories)
        .find(|repositories| *repositories != 0)
        .map_or(package.repository, |repositories| repositories.trailing_zeros() as usize)
}

/// Which packages are wanted by the user or by others that are, `install_if` apart.
fn reachable(packages: &[Selected], requested: &[(Dependency, usize)]) -> Vec<bool> {
    let mut reached = vec![false; packages.len()];
    let mut todo: Vec<usize> = requested.iter().map(|(_, place)| *place).collect();
    while let Some(place) = todo.pop() {
        if !std::mem::replace(&mut reached[place], true) {
            todo.extend(packages[place].dependencies.iter().map(|(_, place)| *place));
        }
    }
    reached
}
