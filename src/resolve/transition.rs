//! From what is installed to what was chosen: each step, in apk's order. What a package depends on comes before
//! it, what is installed because of it right after it; what it takes the place of goes before it comes, and what
//! nobody needs any more goes with the last one that needed it.

use super::solver::{Solver, names_of};
use super::universe::{NameId, PackageId, Requirement, Universe};

/// A package that was installed, that is to be, or both. Without a change, when they are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) old: Option<PackageId>,
    pub(super) new: Option<PackageId>,
}

/// One thing to do; a stack of them takes the place of recursion, which an index could make arbitrarily deep.
enum Task<'a> {
    /// A requirement of a package, or of the user.
    Requirement(Option<PackageId>, Requirement<'a>),
    /// After a requirement: what is wrong with its provider is wrong with the dependent too.
    Inherit(PackageId, NameId),
    /// What was chosen for a name is to be installed.
    Name(NameId),
    /// After what is in the way of the name was removed.
    Install(NameId),
    /// After what a package depends on: the package itself.
    Record(PackageId),
    /// After what is installed because of a package: its dependencies count, and its predecessor's no more.
    Count(PackageId, Option<PackageId>),
    /// Removes what is in the way of what was chosen for a name.
    Clear(NameId),
    Remove(PackageId),
    /// After what depends on a package.
    RecordRemoval(PackageId),
    /// A name whose installed package may go, as what it was installed with does.
    UnTrigger(NameId),
    /// A name whose `install_if` may hold now.
    Trigger(NameId),
    /// A dependency on a name that is no more.
    Release(NameId),
}

/// All steps. Marks packages of which a dependency is not satisfied as broken.
pub(super) fn steps(solver: &mut Solver<'_, '_>) -> Vec<Step> {
    let universe = solver.universe();
    let mut transition = Transition {
        universe,
        solver,
        names: vec![NameProgress::default(); universe.names.len()],
        listed: vec![false; universe.packages.len()],
        steps: Vec::new(),
        stack: Vec::new(),
    };
    transition.begin();
    transition.steps
}

struct Transition<'s, 'u, 'a> {
    universe: &'u Universe<'a>,
    solver: &'s mut Solver<'u, 'a>,
    names: Vec<NameProgress>,
    /// Packages that stand in the steps, or are about to.
    listed: Vec<bool>,
    steps: Vec<Step>,
    stack: Vec<Task<'a>>,
}

#[derive(Debug, Clone, Default)]
struct NameProgress {
    /// The installed package of this name.
    installed: Option<PackageId>,
    /// The name of the installed package that owns this name.
    owner: Option<NameId>,
    /// How many dependencies of packages the installed package of this name satisfies.
    dependents: usize,
    cleared: bool,
    removed: bool,
}

impl<'u, 'a> Transition<'_, 'u, 'a> {
    fn begin(&mut self) {
        let universe = self.universe;
        for &id in &universe.installed {
            let package = universe.package(id);
            self.names[package.name.index()].installed = Some(id);
            self.names[package.name.index()].owner = Some(package.name);
            for provided in &package.provides {
                if provided.dependency.provided_version().is_some() {
                    self.names[provided.name.index()].owner = Some(package.name);
                }
            }
        }
        for &id in &universe.installed {
            self.count_dependencies(id);
        }
        for &id in &universe.installed {
            self.remove_if_orphaned(id);
            self.work();
        }
        for &wanted in &universe.world {
            self.stack.push(Task::Requirement(None, wanted));
            self.work();
        }
        for &id in &universe.installed {
            self.stack.push(Task::Name(universe.package(id).name));
            self.work();
        }
    }

    fn work(&mut self) {
        while let Some(task) = self.stack.pop() {
            match task {
                Task::Requirement(dependent, wanted) => self.require(dependent, wanted),
                Task::Inherit(dependent, name) => {
                    if self.chosen(name).is_some_and(|provider| self.solver.package_state(provider).broken) {
                        self.solver.mark_broken(dependent);
                    }
                }
                Task::Name(name) => {
                    if !self.names[name.index()].cleared {
                        self.stack.extend([Task::Install(name), Task::Clear(name)]);
                    }
                }
                Task::Install(name) => self.install(name),
                Task::Record(id) => self.record(id),
                Task::Count(new, old) => {
                    self.count_dependencies(new);
                    if let Some(old) = old {
                        self.release_dependencies(old);
                    }
                }
                Task::Clear(name) => self.clear(name),
                Task::Remove(id) => self.remove(id),
                Task::RecordRemoval(id) => {
                    self.steps.push(Step { old: Some(id), new: None });
                    self.release_dependencies(id);
                }
                Task::UnTrigger(name) => self.untrigger(name),
                Task::Trigger(name) => self.trigger(name),
                Task::Release(name) => self.release(name),
            }
        }
    }

    fn chosen(&self, name: NameId) -> Option<PackageId> {
        self.solver.chosen(name).map(|provider| provider.package)
    }

    fn require(&mut self, dependent: Option<PackageId>, wanted: Requirement<'a>) {
        if let Some(dependent) = dependent {
            if !self.universe.satisfies(Some(dependent), wanted, self.solver.chosen(wanted.name)) {
                self.solver.mark_broken(dependent);
            }
            self.stack.push(Task::Inherit(dependent, wanted.name));
        }
        self.stack.push(Task::Name(wanted.name));
    }

    fn install(&mut self, name: NameId) {
        let universe = self.universe;
        let Some(id) = self.chosen(name) else { return };
        if std::mem::replace(&mut self.listed[id.index()], true) {
            return;
        }
        let package = universe.package(id);
        self.stack.push(Task::Record(id));
        self.stack.extend(package.depends.iter().rev().map(|&wanted| Task::Requirement(Some(id), wanted)));
        if let Some(old) = self.names[package.name.index()].installed {
            self.push_triggers_of(old, Task::UnTrigger);
        }
        let start = self.stack.len();
        self.stack.extend(names_of(universe, id).map(Task::Clear));
        self.stack[start..].reverse();
    }

    fn record(&mut self, id: PackageId) {
        let old = self.names[self.universe.package(id).name.index()].installed;
        self.steps.push(Step { old, new: Some(id) });
        self.stack.push(Task::Count(id, old));
        self.push_triggers_of(id, Task::Trigger);
    }

    /// Does something with all names that have a package's names in their `install_if`, in order.
    fn push_triggers_of(&mut self, id: PackageId, task: fn(NameId) -> Task<'a>) {
        let universe = self.universe;
        let start = self.stack.len();
        for name in names_of(universe, id) {
            self.stack.extend(universe.name(name).triggers.iter().copied().map(task));
        }
        self.stack[start..].reverse();
    }

    fn clear(&mut self, name: NameId) {
        let universe = self.universe;
        if std::mem::replace(&mut self.names[name.index()].cleared, true) {
            return;
        }
        let start = self.stack.len();
        // What had the name gives it up to a package of another name.
        if let Some(installed) = self.names[name.index()].installed
            && self.chosen(name).is_none_or(|chosen| universe.package(chosen).name != name)
        {
            self.stack.push(Task::Remove(installed));
        }
        for provider in &universe.name(name).providers {
            let own = universe.package(provider.package).name;
            let installed = self.names[own.index()].installed == Some(provider.package);
            if installed && self.chosen(own).is_none() {
                self.stack.push(Task::Remove(provider.package));
            }
        }
        self.stack[start..].reverse();
    }

    fn remove(&mut self, id: PackageId) {
        let universe = self.universe;
        let name = universe.package(id).name;
        let stays = self.chosen(name).is_some_and(|chosen| universe.package(chosen).name == name);
        if stays || std::mem::replace(&mut self.listed[id.index()], true) {
            return;
        }
        self.names[name.index()].removed = true;
        self.stack.push(Task::RecordRemoval(id));
        self.push_triggers_of(id, Task::UnTrigger);
        // What depends on it goes first.
        let start = self.stack.len();
        let dependents = universe
            .near_dependents(id)
            .filter(|&other| universe.package(other).installed.is_some() && universe.depends_on(other, id));
        self.stack.extend(dependents.map(Task::Remove));
        self.stack[start..].reverse();
    }

    fn untrigger(&mut self, name: NameId) {
        let universe = self.universe;
        let Some(installed) = self.names[name.index()].installed else { return };
        let progress = &self.names[name.index()];
        if self.chosen(name).is_some() || progress.cleared || progress.removed {
            return;
        }
        let lost = universe.package(installed).install_if.iter().any(|condition| {
            self.names[condition.name.index()].removed && self.chosen(condition.name).is_none()
        });
        if lost {
            self.remove_if_orphaned(installed);
        }
    }

    fn trigger(&mut self, name: NameId) {
        let universe = self.universe;
        let Some(id) = self.chosen(name) else { return };
        if !self.solver.was_seen(name) || self.names[name.index()].cleared {
            return;
        }
        let holds = universe.package(id).install_if.iter().all(|&condition| {
            (condition.dependency.conflict || self.names[condition.name.index()].cleared)
                && universe.satisfies(Some(id), condition, self.solver.chosen(condition.name))
        });
        if holds {
            self.stack.push(Task::Name(name));
        }
    }

    fn remove_if_orphaned(&mut self, id: PackageId) {
        let name = self.universe.package(id).name;
        if self.names[name.index()].dependents == 0 && self.chosen(name).is_none() {
            self.stack.push(Task::Remove(id));
        }
    }

    /// What a package depends on, conflicts apart.
    fn dependencies(&self, id: PackageId) -> impl DoubleEndedIterator<Item = NameId> + use<'u, 'a> {
        let depends = self.universe.package(id).depends.iter();
        depends.filter(|wanted| !wanted.dependency.conflict).map(|wanted| wanted.name)
    }

    fn count_dependencies(&mut self, id: PackageId) {
        for name in self.dependencies(id) {
            if let Some(owner) = self.names[name.index()].owner {
                self.names[owner.index()].dependents += 1;
            }
        }
    }

    fn release_dependencies(&mut self, id: PackageId) {
        let names = self.dependencies(id);
        self.stack.extend(names.rev().map(Task::Release));
    }

    /// What nothing depends on any more goes at once if the last dependent called it by its own name. Otherwise
    /// it waits until everything is installed, as with apk.
    fn release(&mut self, name: NameId) {
        let NameProgress { owner: Some(owner), installed, .. } = self.names[name.index()] else { return };
        let Some(left) = self.names[owner.index()].dependents.checked_sub(1) else { return };
        self.names[owner.index()].dependents = left;
        if let (0, Some(installed)) = (left, installed) {
            self.stack.push(Task::Remove(installed));
        }
    }
}
