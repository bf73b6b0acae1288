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
        let mut ways: Vec<Option<Way>> = vec![None; self.packages.len()];
        let mut queue = VecDeque::new();
        for (dependency, place) in &self.requested {
            if ways[*place].is_none() {
                let reason = dependency.to_string();
                ways[*place] = Some(Way { start: *place, from: None, reason });
                queue.push_back(*place);
            }
        }
        // Those that came with others, and how many of these are not explained yet.
        let mut came_with: Vec<Vec<usize>> = vec![Vec::new(); self.packages.len()];
        let mut unexplained: Vec<usize> = vec![0; self.packages.len()];
        for (place, package) in self.packages.iter().enumerate() {
            unexplained[place] = package.installed_with.len();
            for &other in &package.installed_with {
                came_with[other].push(place);
            }
        }
        while let Some(place) = queue.pop_front() {
            let start = ways[place].as_ref().map_or(place, |way| way.start);
            for (dependency, wanted) in &self.packages[place].dependencies {
                if ways[*wanted].is_none() {
                    let reason = dependency.to_string();
                    ways[*wanted] = Some(Way { start, from: Some(place), reason });
                    queue.push_back(*wanted);
                }
            }
            for &triggered in &came_with[place] {
                unexplained[triggered] -= 1;
                if unexplained[triggered] == 0 && ways[triggered].is_none() {
                    let conditions = &self.packages[triggered].entry.install_if;
                    let conditions: Vec<String> = conditions.iter().map(ToString::to_string).collect();
                    let reason = format!("install_if {}", conditions.join(" "));
                    ways[triggered] = Some(Way { start, from: Some(place), reason });
                    queue.push_back(triggered);
                }
            }
        }
        let chains: Vec<Vec<String>> =
            (0..self.packages.len()).map(|place| self.chain(&ways, place)).collect();
        for (package, chain) in self.packages.iter_mut().zip(chains) {
            package.wanted_by = chain;
        }
    }

    /// The way to a package in words. Of a very long one the beginning and the end, or all of them together would
    /// grow with the square of the number of packages.
    fn chain(&self, ways: &[Option<Way>], place: usize) -> Vec<String> {
        /// Alpine's longest have about ten.
        const MOST_STEPS: usize = 32;
        let mut backwards = Vec::new();
        let mut here = Some(place);
        let mut previous: Option<&str> = None;
        while let Some((step, way)) = here.and_then(|place| Some((place, ways[place].as_ref()?))) {
            // The package that this step leads to, unless it is called like the dependency.
            if previous.is_some() && self.packages[step].entry.name != way.reason {
                backwards.push(self.packages[step].entry.name.clone());
            }
            backwards.push(way.reason.clone());
            previous = Some(&way.reason);
            here = way.from;
            if here.is_some() && backwards.len() > MOST_STEPS {
                backwards.push("…".to_owned());
                if let Some(start) = &ways[way.start] {
                    backwards.push(start.reason.clone());
                }
                break;
            }
        }
        backwards.reverse();
        backwards
    }
}

/// The last step of the way to a package.
#[derive(Debug, Clone)]
struct Way {
    /// The package that was asked for at its beginning.
    start: usize,
    /// The package before; none at the beginning.
    from: Option<usize>,
    /// The dependency that led here.
    reason: String,
}

/// A chain and the package that it leads to, unless it ends in that package's own name.
pub(super) fn through(chain: &[String], package: &str) -> Vec<String> {
    let mut chain = chain.to_vec();
    if chain.last().map(String::as_str) != Some(package) {
        chain.push(package.to_owned());
    }
    chain
}

/// The way to each package in `order`: [`Selected::wanted_by`].
pub(super) fn chains(
    universe: &Universe<'_>,
    solver: &Solver<'_, '_>,
    order: &[PackageId],
) -> Vec<Vec<String>> {
    assemble(universe, solver, order).packages.into_iter().map(|package| package.wanted_by).collect()
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
            repository: repository_of(universe, solver, id).unwrap_or(0),
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

/// The first repository that can be reached, has a package and may be used for it; untagged ones before tagged
/// ones. One that may not be used only when no other has it.
pub(super) fn repository_of(
    universe: &Universe<'_>,
    solver: &Solver<'_, '_>,
    id: PackageId,
) -> Option<usize> {
    let repositories = universe.package(id).repositories & universe.reachable;
    let allowed = solver.package_state(id).tags_allowed;
    let opened =
        (0..universe.tags.len()).map(|tag| universe.repositories_of(allowed & (1 << tag)) & repositories);
    let chosen = opened.into_iter().find(|opened| *opened != 0).unwrap_or(repositories);
    (chosen != 0).then_some(chosen.trailing_zeros() as usize)
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
