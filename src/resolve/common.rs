//! What all candidates for a name have in common holds whichever of them is chosen, so it is applied before.

use std::collections::{HashMap, HashSet};

use super::solver::Solver;
use super::state::Exclusion;
use super::universe::{NO_TAG, NameId, PackageId, Provider, Universe};

impl<'a> Solver<'_, 'a> {
    /// Requires what every candidate depends on; from a single candidate with its versions.
    pub(super) fn apply_common_dependencies(&mut self, candidates: &[Provider<'a>]) {
        let universe = self.universe();
        let Some((first, others)) = candidates.split_first() else { return };
        let first = first.package;
        let mut common: HashSet<NameId> = required_names(universe, first).collect();
        for other in others {
            let theirs: HashSet<NameId> = required_names(universe, other.package).collect();
            common.retain(|name| theirs.contains(name));
        }
        for &wanted in &universe.package(first).depends {
            // Once for each name.
            if !common.remove(&wanted.name) {
                continue;
            }
            if others.is_empty() {
                self.require(Some(first), NO_TAG, wanted);
            } else if self.names[wanted.name.index()].requirers == 0 {
                self.names[wanted.name.index()].requirers = 1;
                self.became_required(wanted.name);
                for provider in &universe.name(wanted.name).providers {
                    self.inherit(provider.package, Some(first), NO_TAG);
                }
            }
        }
    }

    /// Whatever is chosen for `required` will own all names that every candidate provides: what provides one of
    /// those and not `required` can't be installed too, except that names without versions have no owner.
    pub(super) fn exclude_what_cannot_be_beside(&mut self, required: NameId, candidates: &[Provider<'a>]) {
        let universe = self.universe();
        let Some((first, others)) = candidates.split_first() else { return };
        // Each name, and whether a candidate provides it without a version.
        let own = universe.package(first.package).name;
        let mut common: HashMap<NameId, bool> = provided_names(universe, *first).into_iter().collect();
        for other in others {
            let theirs: HashMap<NameId, bool> = provided_names(universe, *other).into_iter().collect();
            common.retain(|name, virtually| match theirs.get(name) {
                Some(theirs) => {
                    *virtually |= theirs;
                    true
                }
                None => false,
            });
        }
        let provided = universe.package(first.package).provides.iter().map(|provided| provided.name);
        for name in std::iter::once(own).chain(provided) {
            let Some(virtually) = common.remove(&name) else { continue };
            if name == required {
                continue;
            }
            for provider in &universe.name(name).providers {
                let package = universe.package(provider.package);
                let provides_it = package.name == required
                    || package.provides.iter().any(|provided| {
                        provided.name == required
                            || virtually && provided.dependency.provided_version().is_none()
                    });
                let stays = !self.packages[provider.package.index()].selectable
                    || virtually && provider.version.is_none()
                    || provides_it;
                if !stays {
                    self.exclude(provider.package, Exclusion::Beside(required, name));
                }
            }
        }
    }
}

/// The names that a package can't be without.
fn required_names<'u>(universe: &'u Universe<'_>, id: PackageId) -> impl Iterator<Item = NameId> + 'u {
    let depends = universe.package(id).depends.iter();
    depends.filter(|wanted| !wanted.dependency.conflict).map(|wanted| wanted.name)
}

/// The names that a provider's package has, each once, and whether it has it without a version. Its own name
/// counts as the name is that it is a provider of.
fn provided_names(universe: &Universe<'_>, provider: Provider<'_>) -> Vec<(NameId, bool)> {
    let package = universe.package(provider.package);
    let mut names = vec![(package.name, provider.version.is_none())];
    for provided in &package.provides {
        if names.iter().all(|(name, _)| *name != provided.name) {
            names.push((provided.name, provided.dependency.provided_version().is_none()));
        }
    }
    names
}
