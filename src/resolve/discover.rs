//! Which names can be reached from what is wanted, and their rank: a name that others depend on gets a lower one
//! than those, so that what is nearer to the user's wish is decided first.

use super::state::{NameState, PackageState};
use super::universe::{AtHand, NameId, PackageId, Requirement, Set, Universe};
use super::wish::Preferences;

/// Names that no package has, only provides, rank below those that a package has.
const HAS_PACKAGES: u32 = 1 << 30;
/// Names that the user gave rank above all others.
const ASKED_FOR: u32 = 1 << 31;

/// One thing to do. A stack of them takes the place of recursion, which an index could make arbitrarily deep.
enum Task {
    Name(NameId),
    Package(PackageId),
    Rank(NameId),
}

pub(super) fn discover(
    universe: &Universe<'_>,
    world: &[Requirement<'_>],
    overall: Preferences,
    names: &mut [NameState<'_>],
    packages: &mut [PackageState<'_>],
) {
    let untagged = universe.tags.first().map_or(0, |(_, repositories)| *repositories);
    let mut last_rank = 0;
    for wanted in world {
        let mut stack = vec![Task::Name(wanted.name)];
        while let Some(task) = stack.pop() {
            match task {
                Task::Name(id) => {
                    let state = &mut names[id.index()];
                    if !state.seen {
                        state.seen = true;
                        // What is pushed last is done first.
                        let start = stack.len();
                        push_name(universe, id, &mut stack);
                        stack[start..].reverse();
                    }
                }
                Task::Package(id) => {
                    let state = &mut packages[id.index()];
                    if !state.seen {
                        begin(universe, id, state, untagged, overall);
                        let depends = &universe.package(id).depends;
                        stack.extend(depends.iter().rev().map(|wanted| Task::Name(wanted.name)));
                    }
                }
                Task::Rank(id) => {
                    last_rank += 1;
                    let providers = &universe.name(id).providers;
                    let own = providers.iter().any(|provider| universe.package(provider.package).name == id);
                    let state = &mut names[id.index()];
                    state.rank = last_rank
                        | if own { HAS_PACKAGES } else { 0 }
                        | if state.asked { ASKED_FOR } else { 0 };
                    state.no_install_if =
                        providers.iter().all(|provider| packages[provider.package.index()].never_triggered);
                }
            }
        }
    }
}

/// What is to be done for a name, in this order.
fn push_name(universe: &Universe<'_>, id: NameId, stack: &mut Vec<Task>) {
    let name = universe.name(id);
    let packages = || name.providers.iter().map(|provider| universe.package(provider.package));
    stack.extend(name.providers.iter().map(|provider| Task::Package(provider.package)));
    stack.extend(name.triggers.iter().copied().map(Task::Name));
    for package in packages() {
        stack.extend(universe.name(package.name).triggers.iter().copied().map(Task::Name));
        stack.extend(package.provides.iter().map(|provided| Task::Name(provided.name)));
    }
    stack.push(Task::Rank(id));
    for package in packages() {
        stack.extend(package.install_if.iter().map(|wanted| Task::Name(wanted.name)));
    }
}

/// A package's state before anything is required.
fn begin(
    universe: &Universe<'_>,
    id: PackageId,
    state: &mut PackageState<'_>,
    untagged: Set,
    overall: Preferences,
) {
    let package = universe.package(id);
    let (installed, without_contents) = (package.installed.is_some(), package.entry.installed_size == 0);
    state.seen = true;
    state.available = universe.is_available(id);
    state.selectable = package.unusable.is_none()
        && (state.available || installed || without_contents || package.at_hand != AtHand::No);
    // What is no longer there does not come by itself when only what is there shall be.
    state.never_triggered =
        package.install_if.is_empty() || overall.has(Preferences::AVAILABLE) && !state.available;
    state.tag_preferred = without_contents || universe.origins(id) & untagged != 0;
    state.tag_allowed = state.tag_preferred || installed || package.at_hand == AtHand::Cached;
}
