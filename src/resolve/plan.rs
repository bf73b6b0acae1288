//! What is to be done, and what is there afterwards.

use std::fmt;

use super::solution;
use super::solver::Solver;
use super::transition::Step;
use super::universe::{AtHand, PackageId, Universe, by_display};
use super::wish::{Preferences, Wish};
use crate::apk::{Dependency, IndexEntry, InstalledPackage, version};

/// From a system as it is to one as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is to be done, in this order.
    pub changes: Vec<Change>,
    /// The world afterwards, as `apk` sorts it.
    pub world: Vec<Dependency>,
    /// What is installed afterwards, in apk's order, as far as it is known: without files.
    pub packages: Vec<InstalledPackage>,
    /// Names of installed packages that no repository has any more, sorted.
    pub unavailable: Vec<String>,
    /// What was to be removed and stays nevertheless.
    pub kept: Vec<Kept>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happens.
    pub kind: ChangeKind,
    /// The package that was there.
    pub from: Option<IndexEntry>,
    /// The package that is there afterwards.
    pub to: Option<IndexEntry>,
    /// The tag of the repository that it comes from, without the `@`.
    pub tag: Option<String>,
    /// The repository that it can be fetched from, by its place among those that were given: the first that is
    /// allowed and has it. `None` for what goes, and for what is in no repository that can be reached.
    pub repository: Option<usize>,
    /// Whether the package is at hand: in a repository that can be reached, or made for this request. One that
    /// is to be reinstalled and isn't stays as it is.
    pub at_hand: bool,
    /// The way from what was wanted to this package, as in [`super::Selected::wanted_by`]; empty for what goes.
    pub wanted_by: Vec<String>,
}

/// What happens to a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It comes.
    Install,
    /// A newer version takes its place.
    Upgrade,
    /// An older version takes its place.
    Downgrade,
    /// Another package of the same version takes its place: one that was built anew.
    Replace,
    /// It is installed once more.
    Reinstall,
    /// It counts as taken from a repository with another tag.
    Repin,
    /// It goes.
    Purge,
}

impl ChangeKind {
    /// As `apk` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "Installing",
            Self::Upgrade => "Upgrading",
            Self::Downgrade => "Downgrading",
            Self::Replace => "Replacing",
            Self::Reinstall => "Reinstalling",
            Self::Repin => "Updating pinning",
            Self::Purge => "Purging",
        }
    }
}

/// `Upgrading erlang27@edge (27.3-r0 -> 27.3-r1)`
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(package) = self.to.as_ref().or(self.from.as_ref()) else { return Ok(()) };
        write!(f, "{} {}", self.kind.as_str(), package.name)?;
        if let Some(tag) = &self.tag {
            write!(f, "@{tag}")?;
        }
        match (self.kind, &self.from) {
            (ChangeKind::Upgrade | ChangeKind::Downgrade | ChangeKind::Replace, Some(from)) => {
                write!(f, " ({} -> {})", from.version, package.version)
            }
            _ => write!(f, " ({})", package.version),
        }
    }
}

/// A name that was to be removed, and why a package of it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The name.
    pub name: String,
    /// What the world still asks for, and what needs it.
    pub because: Vec<String>,
}

/// Takes the plan out of a solver that has decided everything, with the steps to it.
pub(super) fn assemble(
    universe: &Universe<'_>,
    solver: &Solver<'_, '_>,
    steps: &[Step],
    wish: &Wish,
) -> Plan {
    let order: Vec<PackageId> = steps.iter().filter_map(|step| step.new).collect();
    let mut chains = solution::chains(universe, solver, &order).into_iter();
    let mut changes = Vec::new();
    let mut packages = Vec::new();
    let mut unavailable = Vec::new();
    for step in steps {
        let chain = step.new.and_then(|_| chains.next()).unwrap_or_default();
        changes.extend(change(universe, solver, step, chain));
        let Some(id) = step.new else { continue };
        let package = universe.package(id);
        let tag = Some(universe.tags[tag_of(universe, solver, id)].0).filter(|tag| !tag.is_empty());
        packages.push(InstalledPackage {
            repository_tag: tag.map(str::to_owned),
            ..InstalledPackage::new(package.entry.clone())
        });
        let providers = &universe.name(package.name).providers;
        let in_repository = providers.iter().any(|p| universe.package(p.package).repositories != 0);
        if !in_repository && !package.entry.name.starts_with('.') {
            unavailable.push(package.entry.name.clone());
        }
    }
    unavailable.sort_by(|left, right| by_display(left).cmp(&by_display(right)));
    let mut world = wish.world.clone();
    world.sort_by(|left, right| by_display(&left.name).cmp(&by_display(&right.name)));
    Plan { changes, world, packages, unavailable, kept: Vec::new() }
}

/// The change that a step is, if it is one.
fn change(
    universe: &Universe<'_>,
    solver: &Solver<'_, '_>,
    step: &Step,
    wanted_by: Vec<String>,
) -> Option<Change> {
    let entry = |id: PackageId| universe.package(id).entry;
    let tag = step.new.map_or(0, |id| tag_of(universe, solver, id));
    let kind = match (step.old, step.new) {
        (None, None) => return None,
        (None, Some(_)) => ChangeKind::Install,
        (Some(_), None) => ChangeKind::Purge,
        (Some(old), Some(new)) if old != new => {
            match version::compare(&entry(new).version, &entry(old).version) {
                std::cmp::Ordering::Less => ChangeKind::Downgrade,
                std::cmp::Ordering::Equal => ChangeKind::Replace,
                std::cmp::Ordering::Greater => ChangeKind::Upgrade,
            }
        }
        (Some(_), Some(id)) if solver.package_state(id).preferences.has(Preferences::REINSTALL) => {
            ChangeKind::Reinstall
        }
        (Some(_), Some(id)) if universe.package(id).installed != Some(tag) => ChangeKind::Repin,
        _ => return None,
    };
    let tag = Some(universe.tags[tag].0).filter(|tag| !tag.is_empty()).map(str::to_owned);
    Some(Change {
        kind,
        from: step.old.map(|id| entry(id).clone()),
        to: step.new.map(|id| entry(id).clone()),
        tag,
        repository: step.new.and_then(|id| solution::repository_of(universe, solver, id)),
        at_hand: step.new.is_some_and(|id| is_at_hand(universe, id)),
        wanted_by,
    })
}

/// The tag that a package is taken by, by its place: the first that is allowed and opens a repository that has it.
pub(super) fn tag_of(universe: &Universe<'_>, solver: &Solver<'_, '_>, id: PackageId) -> usize {
    let allowed = solver.package_state(id).tags_allowed;
    let origins = universe.origins(id);
    (0..universe.tags.len())
        .find(|tag| allowed & (1 << tag) != 0 && universe.tags[*tag].1 & origins != 0)
        .unwrap_or(0)
}

/// Whether a package is at hand to be installed.
fn is_at_hand(universe: &Universe<'_>, id: PackageId) -> bool {
    universe.is_available(id) || universe.package(id).at_hand == AtHand::Virtual
}
