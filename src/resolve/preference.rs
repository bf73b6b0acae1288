//! Which of two providers of a name is taken.

use std::cmp::{Ordering, Reverse};

use super::solver::Solver;
use super::universe::Provider;
use crate::apk::version;

/// `Greater` if `left` is preferred. Where nothing distinguishes them, the one that was met first is kept.
pub(super) fn compare(solver: &Solver<'_, '_>, left: Provider<'_>, right: Provider<'_>) -> Ordering {
    let [left_state, right_state] = [left, right].map(|provider| solver.package_state(provider.package));
    let [left_package, right_package] =
        [left, right].map(|provider| solver.universe().package(provider.package));

    let by_state = left_state
        .selectable
        .cmp(&right_state.selectable)
        .then(left_state.merged_last.cmp(&right_state.merged_last))
        .then(right_state.conflicts.cmp(&left_state.conflicts))
        .then(left_state.tag_allowed.cmp(&right_state.tag_allowed))
        .then(left_state.tag_preferred.cmp(&right_state.tag_preferred));
    let by_wanted_name = || match (left.version, right.version) {
        (Some(left), Some(right)) => version::compare(left, right),
        _ => Ordering::Equal,
    };
    let by_own_name = || {
        if left_package.name == right_package.name {
            version::compare(&left_package.entry.version, &right_package.entry.version)
        } else {
            Ordering::Equal
        }
    };
    let priority = |entry: &crate::apk::IndexEntry| entry.provider_priority.unwrap_or(0);

    by_state
        .then_with(by_wanted_name)
        .then_with(by_own_name)
        .then_with(|| priority(left_package.entry).cmp(&priority(right_package.entry)))
        .then_with(|| Reverse(left_package.repository).cmp(&Reverse(right_package.repository)))
}
