//! Which packages satisfy what is wanted, as `apk` would choose them.
//!
//! `apk` does not search: it decides one name after the other and never takes a decision back. So a general
//! solver would find other solutions, and another solution than `apk`'s is a wrong one: what is tested on
//! Alpine is what `apk add` installs. [`Repositories`] are for a fresh system, [`System`] is for one with packages
//! and a world. The rules are those of apk-tools 3 (3.0.8):
//!
//! - What is wanted, and what chosen packages depend on, are *requirements* of names. A name's *providers* are
//!   the packages of that name and those that provide it. A provider that does not satisfy a requirement is no
//!   longer *selectable*, and neither is one whose dependencies can no longer be satisfied.
//! - A package, and what it provides with a version, own the name: at most one provider of it is installed.
//!   What is provided without a version can be provided by several; such a provider is taken by itself only
//!   with a `provider_priority`, or when something else wants the package by another name.
//! - What all selectable providers of a required name have in common is applied before one is chosen: their
//!   dependencies are required, and they exclude providers of other names that they'd be in conflict with.
//! - Names with a single possible provider, all of whose dependents are decided, come first; then those with a
//!   provider that can be taken by itself; then the rest; in each group those nearer to what is wanted.
//! - Among providers: selectable, last seen in a merge of common dependencies, with fewest conflicts, from an
//!   allowed and then from the preferred repository, with the higher version of the wanted name, then of the
//!   package, with the higher `provider_priority`, from the earlier repository.
//! - `install_if` brings a package when all names in it are decided and satisfied.
//! - A tagged repository gives packages only to what was asked for with its tag, and to what that depends on.
//! - What is installed stays where it will do, unless it is to be upgraded; names that the user just gave are
//!   decided first.
//! - Where nothing else decides, it is the order of apk's hash table of names, which is followed too.
//!
//! Modules: `universe` and `names` (what could be chosen), `state` and `discover` (names and their order),
//! `wish` (what is asked), `solver` and `common` (the decisions), `preference` (which provider), `transition` (the
//! steps from what is installed), `removal`, `explain` (why not), `system` (apk's commands), `plan` and `solution`.

mod common;
mod discover;
mod error;
mod explain;
mod names;
mod plan;
mod preference;
mod problem;
mod removal;
mod solution;
mod solver;
mod state;
mod system;
mod transition;
mod universe;
mod wish;

use std::borrow::Borrow;

pub use error::{ResolveError, UnknownName};
pub use plan::{Change, ChangeKind, Kept, Plan};
pub use problem::{Alternative, Clash, Mask, Problem, Want};
pub use solution::{Selected, Solution};
pub use system::{Fix, Prefer, System, Upgrade};

use crate::apk::{Dependency, Index};
use universe::{PackageId, Universe};
use wish::Wish;

/// Repositories to choose from, the most wanted first.
///
/// ```
/// use leanfs::apk::Index;
/// use leanfs::resolve::Repositories;
/// let index = Index::parse("C:Q1EyN5AdpAOBJWKMR89pp/C66o+OE=\nP:musl\nV:1.2.5-r23\nA:x86_64\nI:1\n")?;
/// let solution = Repositories::new([&index]).for_arch("x86_64").resolve(&["musl>1.2".parse()?])?;
/// assert_eq!(solution.packages[0].entry.version, "1.2.5-r23");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Repositories<'a> {
    sources: Vec<Source<'a>>,
    arch: Option<&'a str>,
}

#[derive(Debug, Clone)]
struct Source<'a> {
    index: &'a Index,
    tag: Option<&'a str>,
    reachable: bool,
}

impl<'a> Repositories<'a> {
    /// Repositories without tags, in order.
    pub fn new(indexes: impl IntoIterator<Item = &'a Index>) -> Self {
        let sources = indexes.into_iter().map(|index| Source { index, tag: None, reachable: true }).collect();
        Self { sources, arch: None }
    }

    /// Adds a repository, as the last one. With a tag (given without the `@`), its packages are taken only for
    /// what is wanted as `name@tag`, and for what that depends on.
    #[must_use]
    pub fn with(mut self, tag: Option<&'a str>, index: &'a Index) -> Self {
        self.sources.push(Source { index, tag, reachable: true });
        self
    }

    /// Adds a repository of which only the index is at hand: nothing is taken from it, but what is installed or
    /// cached is known to be from it (`apk --no-network`).
    #[must_use]
    pub fn with_unreachable(mut self, tag: Option<&'a str>, index: &'a Index) -> Self {
        self.sources.push(Source { index, tag, reachable: false });
        self
    }

    /// Takes no packages of another architecture (Alpine's name) than this one and `noarch`.
    #[must_use]
    pub fn for_arch(mut self, arch: &'a str) -> Self {
        self.arch = Some(arch);
        self
    }

    /// Chooses packages so that all of `world` is satisfied. Several requirements of one name all hold.
    ///
    /// # Errors
    /// [`ResolveError::Unsatisfiable`] with every problem found, [`ResolveError::UnknownTags`] for a tag that no
    /// repository has.
    pub fn resolve(&self, world: &[Dependency]) -> Result<Solution, ResolveError> {
        let system = System::new(self.clone());
        system.check_sizes(world)?;
        system.check_tags(world)?;
        let wish = Wish::of(world);
        let mut universe = Universe::new(&system);
        universe.want(&wish.world);
        let (solver, steps) = system.decide(&universe, &wish)?;
        let order: Vec<PackageId> = steps.iter().filter_map(|step| step.new).collect();
        Ok(solution::assemble(&universe, &solver, &order))
    }
}

/// Chooses packages from `indexes`, the most wanted first, so that all of `world` is satisfied.
///
/// # Errors
/// As [`Repositories::resolve`].
pub fn resolve<I: Borrow<Index>>(world: &[Dependency], indexes: &[I]) -> Result<Solution, ResolveError> {
    Repositories::new(indexes.iter().map(Borrow::borrow)).resolve(world)
}
