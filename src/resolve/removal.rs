//! What is to be removed, and why a package of it stays nevertheless.

use std::collections::HashSet;

use super::plan::Kept;
use super::solver::names_of;
use super::transition::Step;
use super::universe::{NameId, PackageId, Universe, by_display};
use crate::apk::Dependency;

/// The installed packages of these names; with those that depend on them if `dependents`.
///
/// As with apk, a package is looked at once: when that was for another package of the name by which it is near,
/// it is not found a second time.
pub(super) fn removed(universe: &Universe<'_>, names: &[NameId], dependents: bool) -> Vec<PackageId> {
    let mut removed = Vec::new();
    let mut seen = HashSet::new();
    let installed = |id: &PackageId| universe.package(*id).installed.is_some();
    for id in names.iter().filter_map(|name| universe.installed_as(*name)) {
        removed.push(id);
        let mut stack = Vec::new();
        if dependents {
            stack.push((id, universe.near_dependents(id)));
        }
        while let Some((id, near)) = stack.last_mut() {
            let id = *id;
            match near.find(|other| installed(other) && seen.insert(*other)) {
                None => drop(stack.pop()),
                Some(other) if universe.depends_on(other, id) => {
                    removed.push(other);
                    stack.push((other, universe.near_dependents(other)));
                }
                Some(_) => {}
            }
        }
    }
    removed
}

/// Of the names that were to be removed, those of which a package stays. `before` is the world as it was:
/// a name that was not to be there was not removed, either.
pub(super) fn kept(
    universe: &Universe<'_>,
    steps: &[Step],
    before: &[Dependency],
    names: &[String],
) -> Vec<Kept> {
    let there: HashSet<PackageId> = steps.iter().filter_map(|step| step.new).collect();
    let wanted = universe.world.iter().filter(|wanted| !wanted.dependency.conflict);
    let reasons = Reasons { universe, there, wanted: wanted.map(|wanted| wanted.name).collect() };
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort_by(|left, right| by_display(left).cmp(&by_display(right)));
    sorted.dedup();
    sorted
        .into_iter()
        .filter(|name| !before.iter().any(|wanted| wanted.conflict && wanted.name == **name))
        .filter_map(|name| {
            let because = reasons.of(universe.name_of(name)?)?;
            Some(Kept { name: name.clone(), because })
        })
        .collect()
}

struct Reasons<'u, 'a> {
    universe: &'u Universe<'a>,
    /// What is there afterwards.
    there: HashSet<PackageId>,
    /// Names that the world asks for.
    wanted: HashSet<NameId>,
}

/// How one package leads to another.
enum Lead {
    /// It may depend on it.
    Dependent(PackageId),
    /// It may have brought it, by an `install_if`.
    Condition(PackageId),
}

impl Reasons<'_, '_> {
    /// What of the world the packages of a name, and what depends on them, stand for; `None` if none of them
    /// stays.
    fn of(&self, name: NameId) -> Option<Vec<String>> {
        let universe = self.universe;
        let mut because: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        let mut stays = false;
        for provider in &universe.name(name).providers {
            if !self.there.contains(&provider.package) {
                continue;
            }
            stays = true;
            self.add_names(provider.package, &mut because);
            let mut stack = vec![(provider.package, self.leads(provider.package))];
            while let Some((id, leads)) = stack.last_mut() {
                let id = *id;
                let Some(lead) = leads.next() else {
                    stack.pop();
                    continue;
                };
                let (Lead::Dependent(other) | Lead::Condition(other)) = lead;
                if !self.there.contains(&other) || !seen.insert(other) {
                    continue;
                }
                let follow = match lead {
                    Lead::Dependent(_) => universe.depends_on(other, id),
                    Lead::Condition(_) => self.wanted.contains(&universe.package(other).name),
                };
                if follow {
                    self.add_names(other, &mut because);
                    stack.push((other, self.leads(other)));
                }
            }
        }
        stays.then_some(because)
    }

    fn leads(&self, id: PackageId) -> impl Iterator<Item = Lead> + '_ {
        let universe = self.universe;
        let conditions = universe.package(id).install_if.iter();
        let brought_by = conditions.flat_map(|condition| &universe.name(condition.name).providers);
        universe
            .near_dependents(id)
            .map(Lead::Dependent)
            .chain(brought_by.map(|provider| Lead::Condition(provider.package)))
    }

    /// What of the world a package stands for.
    fn add_names(&self, id: PackageId, because: &mut Vec<String>) {
        for name in names_of(self.universe, id).filter(|name| self.wanted.contains(name)) {
            because.push(self.universe.name(name).text.to_owned());
        }
    }
}
