//! The decisions: requirements are applied, names reconsidered until nothing changes, and then one more name is
//! decided, until none is left.

use std::collections::VecDeque;

use super::discover::discover;
use super::preference;
use super::state::{Exclusion, Group, NameState, PackageState, Queue};
use super::universe::{NO_TAG, NameId, PackageId, Provider, Requirement, Set, Universe};
use super::wish::{Preferences, Wish};

pub(super) struct Solver<'u, 'a> {
    universe: &'u Universe<'a>,
    /// What of the world counts.
    world: Vec<Requirement<'a>>,
    overall: Preferences,
    pub(super) preupgrade: bool,
    pub(super) names: Vec<NameState<'a>>,
    pub(super) packages: Vec<PackageState<'a>>,
    /// Names to reconsider.
    dirty: VecDeque<NameId>,
    /// Names to decide.
    queue: Queue,
    broken: bool,
}

impl<'u, 'a> Solver<'u, 'a> {
    /// A solver for `world`, which is the wish's, perhaps without what can't be had.
    pub(super) fn new(universe: &'u Universe<'a>, wish: &Wish, world: Vec<Requirement<'a>>) -> Self {
        let mut solver = Self {
            universe,
            world,
            overall: wish.overall,
            preupgrade: wish.preupgrade,
            names: vec![NameState::default(); universe.names.len()],
            packages: vec![PackageState::default(); universe.packages.len()],
            dirty: VecDeque::new(),
            queue: Queue::default(),
            broken: false,
        };
        for asked in &wish.asked {
            let Some(name) = universe.name_of(&asked.name) else { continue };
            solver.names[name.index()].asked = true;
            for provider in &universe.name(name).providers {
                let package = &mut solver.packages[provider.package.index()];
                package.preferences = package.preferences | asked.preferences;
                package.inherited = package.inherited | asked.inherited;
            }
        }
        solver
    }

    pub(super) fn world(&self) -> &[Requirement<'a>] {
        &self.world
    }

    pub(super) fn universe(&self) -> &'u Universe<'a> {
        self.universe
    }

    pub(super) fn package_state(&self, id: PackageId) -> &PackageState<'a> {
        &self.packages[id.index()]
    }

    /// What was chosen for a name.
    pub(super) fn chosen(&self, id: NameId) -> Option<Provider<'a>> {
        self.names[id.index()].chosen
    }

    /// Whether a name is required and has nothing.
    pub(super) fn lacks(&self, id: NameId) -> bool {
        let name = &self.names[id.index()];
        name.requirers > 0 && name.locked && name.chosen.is_none()
    }

    pub(super) fn was_seen(&self, id: NameId) -> bool {
        self.names[id.index()].seen
    }

    /// Whether something that is wanted can't be had.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Notes that something is wrong with a package that was chosen.
    pub(super) fn mark_broken(&mut self, id: PackageId) {
        self.packages[id.index()].broken = true;
        self.broken = true;
    }

    /// Decides every name that must be decided.
    pub(super) fn decide(&mut self) {
        let world = self.world.clone();
        discover(self.universe, &world, self.overall, &mut self.names, &mut self.packages);
        for wanted in world {
            let tags = self.universe.tag_set(wanted.dependency.tag.as_deref());
            self.require(None, tags, wanted);
        }
        loop {
            while let Some(name) = self.dirty.pop_front() {
                // Not, if it was decided since.
                if std::mem::take(&mut self.names[name.index()].dirty) {
                    self.reconsider(name);
                }
            }
            let Some(name) = self.queue.next() else { return };
            self.names[name.index()].waits_in = None;
            self.select(name);
        }
    }

    /// Applies one requirement. `tags` are those that the user asked with; they count only without a dependent.
    pub(super) fn require(&mut self, dependent: Option<PackageId>, tags: Set, wanted: Requirement<'a>) {
        if !wanted.dependency.conflict {
            let name = &mut self.names[wanted.name.index()];
            name.requirers = name.requirers.saturating_add(1);
            if name.requirers == 1 {
                self.became_required(wanted.name);
            }
        }
        let universe = self.universe;
        for &provider in &universe.name(wanted.name).providers {
            let satisfies = universe.satisfies(dependent, wanted, Some(provider));
            let package = &mut self.packages[provider.package.index()];
            if !satisfies {
                package.conflicts = package.conflicts.saturating_add(1);
            }
            if package.selectable && package.conflicts > 0 {
                self.exclude(provider.package, Exclusion::Requirement(dependent, wanted));
            }
            if satisfies {
                self.inherit(provider.package, dependent, tags);
            }
        }
    }

    pub(super) fn became_required(&mut self, name: NameId) {
        self.enqueue(name, false);
        self.check_install_if_of(name);
        self.make_dirty(name);
    }

    /// A package may come from the repositories that those who want it may come from, and what matters in
    /// choosing those matters in choosing it, as far as it is handed on.
    pub(super) fn inherit(&mut self, id: PackageId, dependent: Option<PackageId>, tags: Set) {
        let repositories = self.universe.origins(id);
        let from = dependent.map(|dependent| {
            let dependent = &self.packages[dependent.index()];
            (dependent.tags_allowed, dependent.inherited)
        });
        let overall = if tags == 0 { Preferences::NONE } else { self.overall };
        let package = &mut self.packages[id.index()];
        let inherited = match from {
            Some((allowed, inherited)) => {
                package.tags_allowed |= allowed;
                inherited
            }
            None => {
                package.tags_allowed |= tags;
                package.tags_preferred = tags;
                package.tag_preferred = repositories & self.universe.repositories_of(tags) != 0;
                overall
            }
        };
        package.preferences = package.preferences | inherited;
        package.inherited = package.inherited | inherited;
        package.tag_allowed |= repositories & self.universe.repositories_of(package.tags_allowed) != 0;
    }

    /// A package can no longer be chosen.
    pub(super) fn exclude(&mut self, id: PackageId, because: Exclusion<'a>) {
        self.packages[id.index()].selectable = false;
        self.packages[id.index()].excluded.get_or_insert(because);
        let universe = self.universe;
        for name in names_of(universe, id) {
            self.check_dependents_of(name);
        }
        for name in names_of(universe, id) {
            self.check_install_if_of(name);
        }
    }

    /// What depends on a name may have to be excluded now.
    fn check_dependents_of(&mut self, name: NameId) {
        let universe = self.universe;
        for &dependent in &universe.name(name).dependents {
            if self.names[dependent.index()].seen {
                self.names[dependent.index()].check_dependencies = true;
                self.make_dirty(dependent);
            }
        }
    }

    /// What is installed because of a name may have to be installed now.
    fn check_install_if_of(&mut self, name: NameId) {
        let universe = self.universe;
        for &triggered in &universe.name(name).triggers {
            let state = &mut self.names[triggered.index()];
            if state.seen && !state.no_install_if {
                state.check_install_if = true;
                self.make_dirty(triggered);
            }
        }
    }

    fn make_dirty(&mut self, name: NameId) {
        let state = &mut self.names[name.index()];
        if !state.dirty && !state.locked && (state.requirers > 0 || state.check_install_if) {
            state.dirty = true;
            self.dirty.push_back(name);
        }
    }

    /// Puts a name where it belongs among those that are to be decided. `moved`: its group may have changed.
    fn enqueue(&mut self, name: NameId, moved: bool) {
        let state = &mut self.names[name.index()];
        if state.locked {
            return;
        }
        let settled =
            state.dependents_done && state.requirers > 0 && state.has_selectable && !state.has_options;
        match state.waits_in {
            Some(Group::Settled) => return,
            Some(group) => {
                if !settled && !moved {
                    return;
                }
                self.queue.remove(name, state.rank, group);
            }
            None => {
                if state.requirers == 0 && !state.has_install_if && !state.needed_by_install_if {
                    return;
                }
            }
        }
        let group = if settled {
            Group::Settled
        } else if state.has_selectable {
            Group::Selectable
        } else {
            Group::Unselectable
        };
        state.waits_in = Some(group);
        self.queue.add(name, state.rank, group);
    }

    /// Whether a requirement can still be satisfied.
    fn satisfiable(&self, dependent: PackageId, wanted: Requirement<'_>) -> bool {
        let state = &self.names[wanted.name.index()];
        if state.locked {
            return self.universe.satisfies(Some(dependent), wanted, state.chosen);
        }
        if state.requirers == 0 && self.universe.satisfies(Some(dependent), wanted, None) {
            return true;
        }
        self.universe.name(wanted.name).providers.iter().any(|&provider| {
            self.packages[provider.package.index()].selectable
                && self.universe.satisfies(Some(dependent), wanted, Some(provider))
        })
    }

    /// Whether a provider may be taken without being wanted by another name: what is provided without a version
    /// needs a priority for that.
    fn takes_itself(&self, provider: Provider<'_>) -> bool {
        let package = self.universe.package(provider.package);
        provider.version.is_some()
            || package.entry.provider_priority.is_some_and(|priority| priority > 0)
            || self.names[package.name.index()].requirers > 0
    }

    /// Looks at a name's providers anew: excludes those that can't be, and applies what the others have in
    /// common.
    fn reconsider(&mut self, name: NameId) {
        let universe = self.universe;
        let state = &mut self.names[name.index()];
        let check_dependencies = std::mem::take(&mut state.check_dependencies);
        let check_install_if = std::mem::take(&mut state.check_install_if);
        let required = state.requirers > 0;

        let mut candidates = Vec::new();
        let (mut has_selectable, mut has_install_if, mut no_install_if) = (false, false, true);
        for &provider in &universe.name(name).providers {
            let id = provider.package;
            self.packages[id.index()].merging = false;
            if !self.packages[id.index()].selectable {
                continue;
            }
            if check_dependencies {
                let depends = &universe.package(id).depends;
                if let Some(lost) = depends.iter().find(|wanted| !self.satisfiable(id, **wanted)) {
                    self.exclude(id, Exclusion::Dependency(*lost));
                    continue;
                }
            }
            if check_install_if {
                self.check_install_if(id);
            }
            let package = &mut self.packages[id.index()];
            has_install_if |= package.triggered;
            no_install_if &= package.never_triggered;
            has_selectable |= package.triggered;
            if required {
                package.merging = true;
                candidates.push(provider);
                has_selectable |= self.takes_itself(provider);
            }
        }
        let not_allowed =
            candidates.iter().any(|provider| !self.packages[provider.package.index()].tag_allowed);
        let state = &mut self.names[name.index()];
        state.has_options = candidates.len() > 1 || not_allowed;
        state.has_install_if = has_install_if;
        state.no_install_if = no_install_if;
        let moved = std::mem::replace(&mut state.has_selectable, has_selectable) != has_selectable;

        if !candidates.is_empty() {
            for provider in &universe.name(name).providers {
                let package = &mut self.packages[provider.package.index()];
                package.merged_last = package.merging;
            }
            self.apply_common_dependencies(&candidates);
            self.exclude_what_cannot_be_beside(name, &candidates);
        }

        let dependents_done = universe.name(name).dependents.iter().all(|dependent| {
            let dependent = &self.names[dependent.index()];
            !dependent.seen || dependent.locked
        });
        self.names[name.index()].dependents_done = dependents_done;
        self.enqueue(name, moved);
    }

    /// Whether the `install_if` of a package has come true, or never can.
    fn check_install_if(&mut self, id: PackageId) {
        let universe = self.universe;
        let conditions = &universe.package(id).install_if;
        let package = &self.packages[id.index()];
        if !package.triggered && !package.never_triggered {
            for &condition in conditions {
                let name = &mut self.names[condition.name.index()];
                if !name.locked {
                    if condition.dependency.conflict {
                        name.needed_by_install_if = true;
                        self.enqueue(condition.name, false);
                    }
                    return;
                }
                if !universe.satisfies(Some(id), condition, name.chosen) {
                    self.packages[id.index()].never_triggered = true;
                    return;
                }
            }
            self.packages[id.index()].triggered = true;
        }
        if self.packages[id.index()].triggered {
            for condition in conditions {
                let chosen = self.chosen(condition.name).map(|provider| provider.package);
                // A condition that something is absent hands on no tag at all.
                self.inherit(id, chosen, 0);
            }
        }
    }

    /// Decides a name.
    fn select(&mut self, name: NameId) {
        let universe = self.universe;
        let (required, has_install_if) =
            (self.names[name.index()].requirers > 0, self.names[name.index()].has_install_if);
        let mut chosen: Option<Provider<'a>> = None;
        if required || has_install_if {
            for &provider in &universe.name(name).providers {
                let package = &self.packages[provider.package.index()];
                let possible = required || package.triggered && package.tag_allowed && package.selectable;
                if possible
                    && self.takes_itself(provider)
                    && chosen.is_none_or(|chosen| preference::compare(self, provider, chosen).is_gt())
                {
                    chosen = Some(provider);
                }
            }
        }
        let Some(Provider { package: id, .. }) = chosen else {
            self.assign(name, None);
            self.broken |= required;
            return;
        };
        let state = &self.packages[id.index()];
        if !state.selectable || !state.tag_allowed {
            self.mark_broken(id);
        }
        let package = universe.package(id);
        self.assign(package.name, Some(Provider { package: id, version: Some(&package.entry.version) }));
        for provided in &package.provides {
            let version = provided.dependency.provided_version();
            self.assign(provided.name, Some(Provider { package: id, version }));
        }
        for &wanted in &package.depends {
            self.require(Some(id), NO_TAG, wanted);
        }
    }

    /// Locks a name.
    fn assign(&mut self, name: NameId, provider: Option<Provider<'a>>) {
        let universe = self.universe;
        let state = &mut self.names[name.index()];
        if state.locked {
            let unversioned =
                |provider: Option<Provider<'_>>| provider.is_none_or(|one| one.version.is_none());
            if unversioned(provider) && unversioned(state.chosen) {
                return;
            }
            // Both own the name.
            let before = state.chosen;
            for provider in [provider, before].into_iter().flatten() {
                self.mark_broken(provider.package);
            }
            return;
        }
        state.locked = true;
        state.chosen = provider;
        let required = state.requirers > 0;
        if let Some(group) = state.waits_in.take() {
            self.queue.remove(name, state.rank, group);
        }
        state.dirty = false;

        if let Some(provider) = provider
            && !required
            && self.packages[provider.package.index()].triggered
        {
            for &condition in &universe.package(provider.package).install_if {
                if !self.names[condition.name.index()].locked {
                    self.require(Some(provider.package), NO_TAG, condition);
                }
            }
        }
        let version = provider.and_then(|provider| provider.version);
        for other in &universe.name(name).providers {
            let same = provider.is_some_and(|provider| provider.package == other.package);
            if !same && (version.is_some() || other.version.is_some()) {
                let chosen = provider.map(|provider| provider.package);
                self.exclude(other.package, Exclusion::Taken(name, chosen));
            }
        }
        self.check_dependents_of(name);
        match provider {
            Some(provider) => {
                for name in names_of(universe, provider.package) {
                    self.check_install_if_of(name);
                }
            }
            None => self.check_install_if_of(name),
        }
    }
}

/// A package's own name and all that it provides.
pub(super) fn names_of<'u>(universe: &'u Universe<'_>, id: PackageId) -> impl Iterator<Item = NameId> + 'u {
    let package = universe.package(id);
    std::iter::once(package.name).chain(package.provides.iter().map(|provided| provided.name))
}
