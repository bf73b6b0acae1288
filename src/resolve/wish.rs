//! What is wished of the solver: the world that is to be, and what matters in choosing.

use std::ops::BitOr;

use crate::apk::Dependency;

/// What matters in choosing among providers of a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Preferences(u8);

impl Preferences {
    pub(super) const NONE: Self = Self(0);
    /// Newer versions over what is installed.
    pub(super) const UPGRADE: Self = Self(1);
    /// What repositories have over what they don't.
    pub(super) const AVAILABLE: Self = Self(2);
    /// To install it again.
    pub(super) const REINSTALL: Self = Self(4);
    /// The newest version, be it possible or not.
    pub(super) const LATEST: Self = Self(8);
    /// What is installed over everything else that is possible.
    pub(super) const KEEP: Self = Self(16);
    /// That it is installed counts nothing.
    pub(super) const REMOVE: Self = Self(32);

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Preferences {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A name that the user gave, and what matters in choosing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) preferences: Preferences,
    /// What matters in choosing its dependencies.
    pub(super) inherited: Preferences,
}

/// What the solver is to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    /// The world that is to be.
    pub(super) world: Vec<Dependency>,
    /// What matters in choosing what the world names, and the dependencies of that.
    pub(super) overall: Preferences,
    /// Names that the user gave: they are decided first.
    pub(super) asked: Vec<Asked>,
    /// Everything that is not to be upgraded stays, if it can.
    pub(super) preupgrade: bool,
}

impl Wish {
    /// To have all of this.
    pub(super) fn of(world: &[Dependency]) -> Self {
        let asked = world.iter().map(|wanted| Asked::by_name(&wanted.name)).collect();
        Self { world: world.to_vec(), asked, ..Self::default() }
    }

    /// To have everything but this name.
    pub(super) fn no_longer(&mut self, name: &str) {
        self.world.retain(|wanted| wanted.name != name);
    }

    /// What mattered in choosing the names that were asked for matters no more: when apk begins again without what
    /// can't be had, only the order in which names are decided is left of it.
    pub(super) fn forget_preferences(&mut self) {
        for asked in &mut self.asked {
            asked.preferences = Preferences::NONE;
            asked.inherited = Preferences::NONE;
        }
    }
}

impl Asked {
    pub(super) fn by_name(name: &str) -> Self {
        Self { name: name.to_owned(), preferences: Preferences::NONE, inherited: Preferences::NONE }
    }
}
