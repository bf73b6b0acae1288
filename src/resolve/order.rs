//! The order of installation: what a package depends on comes before it, and what is installed because of it
//! comes right after it.

use super::solver::{Solver, names_of};
use super::universe::{NameId, PackageId, Requirement};

/// One thing to do; a stack of them takes the place of recursion.
enum Task<'a> {
    /// A requirement of a package, or of the user.
    Requirement(Option<PackageId>, Requirement<'a>),
    Name(NameId),
    /// After a requirement: what is wrong with its provider is wrong with the dependent too.
    Inherit(PackageId, NameId),
    Install(PackageId),
    /// A name whose `install_if` may hold now.
    Trigger(NameId),
}

/// The chosen packages in order. Marks packages of which a dependency is not satisfied as broken.
pub(super) fn install_order(solver: &mut Solver<'_, '_>) -> Vec<PackageId> {
    let universe = solver.universe();
    let mut done = vec![false; universe.names.len()];
    let mut listed = vec![false; universe.packages.len()];
    let mut order = Vec::new();
    let mut stack: Vec<Task<'_>> =
        universe.world.iter().rev().map(|&wanted| Task::Requirement(None, wanted)).collect();
    while let Some(task) = stack.pop() {
        match task {
            Task::Requirement(dependent, wanted) => {
                let satisfied = universe.satisfies(dependent, wanted, solver.chosen(wanted.name));
                match dependent {
                    Some(dependent) if !satisfied => solver.mark_broken(dependent),
                    None if !satisfied => solver.mark_unsatisfied(),
                    _ => {}
                }
                if let Some(dependent) = dependent {
                    stack.push(Task::Inherit(dependent, wanted.name));
                }
                stack.push(Task::Name(wanted.name));
            }
            Task::Inherit(dependent, name) => {
                let provider = solver.chosen(name).map(|provider| provider.package);
                if provider.is_some_and(|provider| solver.package_state(provider).broken) {
                    solver.mark_broken(dependent);
                }
            }
            Task::Name(name) => {
                if std::mem::replace(&mut done[name.index()], true) {
                    continue;
                }
                let Some(provider) = solver.chosen(name) else { continue };
                let id = provider.package;
                if std::mem::replace(&mut listed[id.index()], true) {
                    continue;
                }
                for name in names_of(universe, id) {
                    done[name.index()] = true;
                }
                stack.push(Task::Install(id));
                let depends = universe.package(id).depends.iter().rev();
                stack.extend(depends.map(|&wanted| Task::Requirement(Some(id), wanted)));
            }
            Task::Install(id) => {
                order.push(id);
                let start = stack.len();
                for name in names_of(universe, id) {
                    stack.extend(universe.name(name).triggers.iter().copied().map(Task::Trigger));
                }
                stack[start..].reverse();
            }
            Task::Trigger(name) => {
                let Some(provider) = solver.chosen(name) else { continue };
                if !solver.was_seen(name) || done[name.index()] {
                    continue;
                }
                let id = provider.package;
                let holds = universe.package(id).install_if.iter().all(|&condition| {
                    (condition.dependency.conflict || done[condition.name.index()])
                        && universe.satisfies(Some(id), condition, solver.chosen(condition.name))
                });
                if holds {
                    stack.push(Task::Name(name));
                }
            }
        }
    }
    order
}
