//! Fragments into one list of what is asked for.

use std::collections::BTreeMap;
use std::fmt;

use super::fragment::{Fragment, KernelVersion, Setting, Value};
use crate::arch::Arch;
use crate::text::shown;

/// Where a setting stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The fragment.
    pub fragment: String,
    /// The line there, from 1 on.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", shown(&self.fragment), self.line)
    }
}

/// A symbol that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its name, without `CONFIG_`.
    pub symbol: String,
    /// Its value.
    pub value: Value,
    /// Where.
    pub place: Place,
    /// Why; may be empty.
    pub reason: String,
    /// Whether nobody needs to be told when the kernel has it not.
    pub optional: bool,
}

/// A setting that another one took the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overridden {
    /// The symbol.
    pub symbol: String,
    /// What it was to be, and where.
    pub before: (Value, Place),
    /// What it is now, and where.
    pub after: (Value, Place),
}

impl fmt::Display for Overridden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { symbol, before, after } = self;
        write!(
            f,
            "{symbol} is {} ({}), which takes the place of {} ({})",
            after.0, after.1, before.0, before.1
        )
    }
}

/// What fragments ask for together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// The symbols, in the order in which they were first set.
    pub asked: Vec<Asked>,
    /// Settings that contradict each other; the later one holds.
    pub overridden: Vec<Overridden>,
}

impl Merged {
    /// The lines of a `.config` for it.
    pub fn text(&self) -> String {
        self.asked.iter().map(|asked| asked.value.line(&asked.symbol) + "\n").collect()
    }
}

/// Merges fragments for a kernel: of several settings of a symbol the last holds.
pub fn merge(fragments: &[Fragment], arch: Arch, version: KernelVersion) -> Merged {
    let mut merged = Merged::default();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for fragment in fragments {
        for setting in fragment.settings.iter().filter(|setting| setting.condition.holds(arch, version)) {
            let asked = asked(fragment, setting);
            match places.get(setting.symbol.as_str()) {
                None => {
                    places.insert(&setting.symbol, merged.asked.len());
                    merged.asked.push(asked);
                }
                Some(&index) => {
                    let before = std::mem::replace(&mut merged.asked[index], asked.clone());
                    if !before.value.is_same(&asked.value) {
                        merged.overridden.push(Overridden {
                            symbol: asked.symbol,
                            before: (before.value, before.place),
                            after: (asked.value, asked.place),
                        });
                    }
                }
            }
        }
    }
    merged
}

fn asked(fragment: &Fragment, setting: &Setting) -> Asked {
    Asked {
        symbol: setting.symbol.clone(),
        value: setting.value.clone(),
        place: Place { fragment: fragment.name.clone(), line: setting.line },
        reason: setting.reason.clone(),
        optional: setting.condition.optional,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_setting_holds_and_is_told() {
        let fragment = |name, text| Fragment::parse(name, text).expect("right");
        let fragments = [
            fragment("a", "CONFIG_SMP=y\nCONFIG_NET=y\nCONFIG_SHIFT=0x10\n"),
            fragment("b", "CONFIG_NET=y\nCONFIG_SHIFT=16\n# leanfs: on riscv64\nCONFIG_NET=n\n"),
            fragment("c", "# CONFIG_SMP is not set\n# leanfs: since 6.2\nCONFIG_LATE=y\n"),
        ];
        let version = KernelVersion::parse("6.1").expect("one");
        let merged = merge(&fragments, Arch::X86_64, version);
        assert_eq!(merged.text(), "# CONFIG_SMP is not set\nCONFIG_NET=y\nCONFIG_SHIFT=16\n");
        let told: Vec<String> = merged.overridden.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["SMP is n (c:1), which takes the place of y (a:1)"]);

        let later = KernelVersion::parse("6.12").expect("one");
        let merged = merge(&fragments, Arch::Riscv64, later);
        assert!(
            merged.text().contains("# CONFIG_NET is not set\n") && merged.text().contains("CONFIG_LATE=y\n")
        );
    }
}
