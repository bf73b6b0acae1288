//! Which of two providers of a name is taken.

use std::cmp::Ordering;

use super::solver::Solver;
use super::state::PackageState;
use super::universe::{NO_TAG, Package, Provider, Set};
use super::wish::Preferences;
use crate::apk::version;

/// `Greater` if `left` is preferred. Where nothing distinguishes them, the one that was met first is kept.
pub(super) fn compare(solver: &Solver<'_, '_>, left: Provider<'_>, right: Provider<'_>) -> Ordering {
    let states = [left, right].map(|provider| solver.package_state(provider.package));
    let packages = [left, right].map(|provider| solver.universe().package(provider.package));
    let preferences = states[0].preferences | states[1].preferences;

    let latest =
        preferences.has(Preferences::LATEST) && states.iter().all(|state| state.tags_allowed == NO_TAG);
    let by_state = if latest {
        by_availability(states, preferences)
    } else {
        let may_stay =
            packages[0].name == packages[1].name || left.version.is_some() || right.version.is_some();
        by_possibility(states, packages, preferences, solver.preupgrade, may_stay)
    };
    // What has no version is less than every version.
    let by_wanted_name =
        || version::compare(left.version.unwrap_or_default(), right.version.unwrap_or_default());
    let by_own_name = || {
        if packages[0].name == packages[1].name {
            version::compare(&packages[0].entry.version, &packages[1].entry.version)
        } else {
            Ordering::Equal
        }
    };
    let by_installed = || {
        if preferences.has(Preferences::REMOVE) { Ordering::Equal } else { by(packages, is_installed) }
    };

    by_state
        .then_with(by_wanted_name)
        .then_with(by_own_name)
        .then_with(|| by(packages, |package| package.entry.provider_priority.unwrap_or(0)))
        .then_with(by_installed)
        .then_with(|| by(states, |state| state.selectable))
        .then_with(|| by(packages, |package| first(package.repositories)).reverse())
}

/// When only the latest version will do.
fn by_availability(states: [&PackageState<'_>; 2], preferences: Preferences) -> Ordering {
    by(states, |state| state.tag_allowed).then_with(|| {
        if preferences.has(Preferences::AVAILABLE) {
            by(states, |state| state.available)
        } else if preferences.has(Preferences::REINSTALL) {
            by(states, |state| state.selectable)
        } else {
            Ordering::Equal
        }
    })
}

fn by_possibility(
    states: [&PackageState<'_>; 2],
    packages: [&Package<'_>; 2],
    preferences: Preferences,
    preupgrade: bool,
    may_stay: bool,
) -> Ordering {
    let when = |condition: bool, ordering: Ordering| if condition { ordering } else { Ordering::Equal };
    let upgrades = preferences.has(Preferences::UPGRADE);
    let installed = by(packages, is_installed);

    by(states, |state| state.selectable)
        .then(by(states, |state| state.merged_last))
        .then(by(states, |state| state.conflicts).reverse())
        .then(when(preupgrade && !upgrades || preferences.has(Preferences::KEEP), installed))
        .then(by(states, |state| state.tag_allowed))
        .then(when(preferences.has(Preferences::AVAILABLE), by(states, |state| state.available)))
        .then(by(states, |state| state.tag_preferred))
        .then(when(!preferences.has(Preferences::REMOVE | Preferences::UPGRADE) && may_stay, installed))
}

fn by<T, K: Ord>([left, right]: [T; 2], key: impl Fn(T) -> K) -> Ordering {
    key(left).cmp(&key(right))
}

fn is_installed(package: &Package<'_>) -> bool {
    package.installed.is_some()
}

/// The place of the first repository, from one on; zero for none.
fn first(repositories: Set) -> u32 {
    if repositories == 0 { 0 } else { repositories.trailing_zeros() + 1 }
}
