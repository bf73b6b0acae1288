//! What is known about names and packages while deciding, and the queue of names that are to be decided.

use std::collections::{BTreeMap, VecDeque};

use super::universe::{NO_TAG, NameId, PackageId, Provider, Requirement, Set};
use super::wish::Preferences;

/// What is known about a name.
#[derive(Debug, Clone, Default)]
pub(super) struct NameState<'a> {
    /// It can be reached from what is wanted.
    pub(super) seen: bool,
    /// Names with a higher rank are decided first.
    pub(super) rank: u32,
    /// How many requirements there are.
    pub(super) requirers: u32,
    /// It is decided.
    pub(super) locked: bool,
    /// For what: `None` when nothing provides it.
    pub(super) chosen: Option<Provider<'a>>,
    /// The user gave it.
    pub(super) asked: bool,
    /// It is in the list of names to reconsider.
    pub(super) dirty: bool,
    /// The dependencies of its providers may have become unsatisfiable.
    pub(super) check_dependencies: bool,
    /// The `install_if` of its providers may have come true.
    pub(super) check_install_if: bool,
    /// A provider's `install_if` holds.
    pub(super) has_install_if: bool,
    /// No provider's `install_if` can come true any more.
    pub(super) no_install_if: bool,
    /// An `install_if` wants to know that it is not there.
    pub(super) needed_by_install_if: bool,
    /// There is more than one possibility, or one that is not allowed.
    pub(super) has_options: bool,
    /// A provider can be taken without being asked for by another name.
    pub(super) has_selectable: bool,
    /// All names that depend on it are decided.
    pub(super) dependents_done: bool,
    /// The group in which it waits to be decided.
    pub(super) waits_in: Option<Group>,
}

/// Why a package can no longer be chosen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Exclusion<'a> {
    /// A package (or the user) has a requirement that it does not satisfy.
    Requirement(Option<PackageId>, Requirement<'a>),
    /// It has a dependency that can't be satisfied any more.
    Dependency(Requirement<'a>),
    /// Whatever is chosen for the first name owns the second one too.
    Beside(NameId, NameId),
    /// A name that it has was given to this package, or must be without one.
    Taken(NameId, Option<PackageId>),
}

/// What is known about a package.
#[derive(Debug, Clone)]
pub(super) struct PackageState<'a> {
    /// Why it can't be chosen, if something excluded it.
    pub(super) excluded: Option<Exclusion<'a>>,
    pub(super) seen: bool,
    /// A repository has it that can be reached.
    pub(super) available: bool,
    /// It can still be chosen.
    pub(super) selectable: bool,
    /// What matters in choosing it.
    pub(super) preferences: Preferences,
    /// What matters in choosing what it depends on.
    pub(super) inherited: Preferences,
    /// How many requirements it does not satisfy; some are counted several times.
    pub(super) conflicts: u32,
    /// It comes from a repository that may be used for it.
    pub(super) tag_allowed: bool,
    /// It comes from the repository that was asked for.
    pub(super) tag_preferred: bool,
    pub(super) tags_allowed: Set,
    pub(super) tags_preferred: Set,
    /// Its `install_if` holds.
    pub(super) triggered: bool,
    /// Its `install_if` can't come true any more (or it has none).
    pub(super) never_triggered: bool,
    /// Its dependencies were looked at in the last, or in the current, merge of common dependencies.
    pub(super) merged_last: bool,
    pub(super) merging: bool,
    /// It was chosen, but something about it is wrong.
    pub(super) broken: bool,
}

impl Default for PackageState<'_> {
    fn default() -> Self {
        Self {
            excluded: None,
            seen: false,
            available: false,
            selectable: false,
            preferences: Preferences::NONE,
            inherited: Preferences::NONE,
            conflicts: 0,
            tag_allowed: false,
            tag_preferred: false,
            tags_allowed: NO_TAG,
            tags_preferred: NO_TAG,
            triggered: false,
            never_triggered: false,
            merged_last: false,
            merging: false,
            broken: false,
        }
    }
}

/// The groups of names to decide, the first first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Only one possibility, and nothing can change it: in the order of arrival.
    Settled,
    /// Something can be chosen: by rank.
    Selectable,
    /// Only providers without a version, which must be asked for by another name: by rank.
    Unselectable,
}

/// Names that wait to be decided.
#[derive(Debug, Default)]
pub(super) struct Queue {
    settled: VecDeque<NameId>,
    /// Ranks are unique.
    selectable: BTreeMap<u32, NameId>,
    unselectable: BTreeMap<u32, NameId>,
}

impl Queue {
    pub(super) fn add(&mut self, name: NameId, rank: u32, group: Group) {
        match group {
            Group::Settled => self.settled.push_back(name),
            Group::Selectable => drop(self.selectable.insert(rank, name)),
            Group::Unselectable => drop(self.unselectable.insert(rank, name)),
        }
    }

    pub(super) fn remove(&mut self, name: NameId, rank: u32, group: Group) {
        match group {
            Group::Settled => self.settled.retain(|&other| other != name),
            Group::Selectable => drop(self.selectable.remove(&rank)),
            Group::Unselectable => drop(self.unselectable.remove(&rank)),
        }
    }

    pub(super) fn next(&mut self) -> Option<NameId> {
        self.settled
            .pop_front()
            .or_else(|| self.selectable.pop_last().map(|(_, name)| name))
            .or_else(|| self.unselectable.pop_last().map(|(_, name)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::universe::Universe;
    use super::super::{Repositories, System};
    use super::*;
    use crate::apk::Dependency;

    #[test]
    fn groups_and_ranks_decide_who_is_next() {
        let world: Vec<Dependency> = ["a", "b", "c", "d"].map(Dependency::any).into();
        let mut universe = Universe::new(&System::new(Repositories::default()));
        universe.want(&world);
        let [a, b, c, d] = [0, 1, 2, 3].map(|place| universe.world[place].name);
        let mut queue = Queue::default();
        queue.add(a, 4, Group::Unselectable);
        queue.add(b, 1, Group::Selectable);
        queue.add(c, 2, Group::Selectable);
        queue.add(d, 0, Group::Settled);
        queue.remove(d, 0, Group::Settled);
        queue.add(d, 0, Group::Settled);
        let order: Vec<NameId> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(order, [d, c, b, a]);
    }
}
