//! What a kernel's own tools made of what was asked for: each symbol that they dropped or changed, and why.

use std::fmt;

use super::dotconfig::DotConfig;
use super::expression::{Expression, Tristate};
use super::fragment::Value;
use super::kconfig::{Definition, Symbols};
use super::merge::{Asked, Merged};

/// Names that are offered in the place of one that isn't there.
const MOST_SIMILAR: usize = 3;

/// A symbol that has another value than was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// What was asked for.
    pub asked: Asked,
    /// What the kernel's tools made of it.
    pub found: Value,
    /// Why.
    pub cause: Cause,
}

/// Why a symbol has another value than was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// This source has no such symbol.
    Unknown {
        /// Symbols whose names are alike.
        similar: Vec<String>,
    },
    /// Something that it depends on is not there.
    Depends {
        /// The parts of its dependencies that are false, each with the reason: `PCI (is n)`.
        unmet: Vec<String>,
        /// Where it is defined.
        defined: String,
    },
    /// What it depends on is a module, or modules are off.
    Limited {
        /// What limits it.
        by: Vec<String>,
    },
    /// Nobody can set it: it has no prompt, or that is hidden.
    NotSettable {
        /// What hides the prompt; empty if there is none.
        hidden_by: Vec<String>,
        /// Where it is defined.
        defined: String,
    },
    /// Other symbols need it.
    Selected {
        /// Which.
        by: Vec<String>,
    },
    /// Only one of its choice can be set.
    Choice {
        /// The one that is.
        taken: Option<String>,
    },
    /// The value is not among those that it can have.
    Range {
        /// `2 to 512`.
        range: String,
    },
    /// Nothing in the Kconfig files tells why.
    Unexplained,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, found, cause } = self;
        write!(f, "{}={} ({}) became {found}: {cause}", asked.symbol, asked.value, asked.place)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { similar } if similar.is_empty() => f.write_str("this kernel has no such symbol"),
            Self::Unknown { similar } => {
                write!(f, "this kernel has no such symbol; it has {}", similar.join(", "))
            }
            Self::Depends { unmet, defined } => write!(f, "it needs {} ({defined})", unmet.join(", and ")),
            Self::Limited { by } => write!(f, "it can't be more than {}", by.join(", and ")),
            Self::NotSettable { hidden_by, defined } if hidden_by.is_empty() => {
                write!(f, "it has no prompt: it follows from others and can't be set ({defined})")
            }
            Self::NotSettable { hidden_by, defined } => {
                write!(f, "it can only be set with {} ({defined})", hidden_by.join(", and "))
            }
            Self::Selected { by } => write!(f, "{} selects it", by.join(", ")),
            Self::Choice { taken: Some(taken) } => write!(f, "of that choice, {taken} is set"),
            Self::Choice { taken: None } => f.write_str("of that choice, none can be set"),
            Self::Range { range } => write!(f, "it can be {range}"),
            Self::Unexplained => f.write_str("the Kconfig files don't tell why"),
        }
    }
}

/// The symbols of `merged` that have another value in `config`, in the order in which they were asked for. What is
/// `optional` and unknown, or lacks what it depends on, is not among them.
pub fn check(merged: &Merged, config: &DotConfig, symbols: &Symbols) -> Vec<Dropped> {
    merged
        .asked
        .iter()
        .filter_map(|asked| {
            let found = config.get(&asked.symbol);
            // An empty text is written like what is not there.
            let is_empty = asked.value == Value::Literal("\"\"".to_owned()) && *found == Value::No;
            if found.is_same(&asked.value) || is_empty {
                return None;
            }
            let cause = cause(asked, found, config, symbols);
            let is_absent = match &cause {
                Cause::Unknown { .. } | Cause::Depends { .. } => true,
                Cause::NotSettable { hidden_by, .. } => !hidden_by.is_empty(),
                _ => false,
            };
            (!asked.optional || !is_absent).then(|| Dropped {
                asked: asked.clone(),
                found: found.clone(),
                cause,
            })
        })
        .collect()
}

fn cause(asked: &Asked, found: &Value, config: &DotConfig, symbols: &Symbols) -> Cause {
    let definitions = symbols.definitions(&asked.symbol);
    let Some(first) = definitions.first() else {
        return Cause::Unknown { similar: similar(&asked.symbol, symbols) };
    };
    let defined = || definitions.iter().map(place).collect::<Vec<_>>().join(", ");
    let wants_less = matches!((&asked.value, found), (Value::No, _) | (Value::Module, Value::Yes));
    if wants_less {
        let by = symbols.selected_by(&asked.symbol, config);
        if !by.is_empty() {
            return Cause::Selected { by: by.into_iter().map(str::to_owned).collect() };
        }
    }
    // Each definition is a way to have it: the nearest is explained.
    let unmet = definitions
        .iter()
        .map(|definition| {
            let mut parts = Vec::new();
            for expression in &definition.depends {
                expression.unmet(config, &mut parts);
            }
            parts
        })
        .min_by_key(Vec::len)
        .unwrap_or_default();
    if !unmet.is_empty() && !wants_less {
        return Cause::Depends { unmet: shown_parts(&unmet, config, symbols), defined: defined() };
    }
    if let Some(choice) = first.choice {
        let taken = symbols
            .members(choice)
            .iter()
            .find(|member| **member != asked.symbol && *config.get(member) != Value::No);
        if taken.is_some() || asked.value != Value::No {
            return Cause::Choice { taken: taken.cloned() };
        }
    }
    if (&asked.value, found) == (&Value::Yes, &Value::Module) || asked.value == Value::Module {
        let by = limits(definitions, config);
        if !by.is_empty() {
            return Cause::Limited { by };
        }
        if *found == Value::Yes && !config.has("MODULES") {
            return Cause::Limited { by: vec!["y or n without MODULES".to_owned()] };
        }
    }
    match prompts(definitions, config) {
        Prompts::Shown => {}
        Prompts::None => return Cause::NotSettable { hidden_by: Vec::new(), defined: defined() },
        Prompts::Hidden(parts) => {
            return Cause::NotSettable {
                hidden_by: shown_parts(&parts, config, symbols),
                defined: defined(),
            };
        }
    }
    match definitions.iter().find_map(|definition| definition.range.clone()) {
        Some(range) if matches!(asked.value, Value::Literal(_)) => Cause::Range { range },
        _ => Cause::Unexplained,
    }
}

enum Prompts<'a> {
    Shown,
    None,
    Hidden(Vec<&'a Expression>),
}

fn prompts<'a>(definitions: &'a [Definition], config: &DotConfig) -> Prompts<'a> {
    let mut found = Prompts::None;
    for condition in definitions.iter().filter_map(|definition| definition.prompt.as_ref()) {
        let mut parts = Vec::new();
        if let Some(condition) = condition {
            condition.unmet(config, &mut parts);
        }
        if parts.is_empty() {
            return Prompts::Shown;
        }
        found = Prompts::Hidden(parts);
    }
    found
}

/// What keeps a symbol from being `y` when it may be `m`.
fn limits(definitions: &[Definition], config: &DotConfig) -> Vec<String> {
    definitions
        .iter()
        .flat_map(|definition| &definition.depends)
        .filter(|expression| expression.value(config) == Some(Tristate::Module))
        .map(|expression| format!("{expression} (is m)"))
        .collect()
}

fn place(definition: &Definition) -> String {
    format!("{}:{}", definition.file, definition.line)
}

fn shown_parts(parts: &[&Expression], config: &DotConfig, symbols: &Symbols) -> Vec<String> {
    parts
        .iter()
        .map(|part| {
            let mut names = Vec::new();
            part.symbols(&mut names);
            names.retain(|name| name.bytes().any(|byte| byte.is_ascii_uppercase()));
            names.dedup();
            let states: Vec<String> = names
                .iter()
                .map(|name| match (symbols.contains(name), names.len()) {
                    (false, 1) => "which this kernel doesn't know".to_owned(),
                    (false, _) => format!("{name} is unknown"),
                    (true, 1) => format!("which is {}", config.get(name)),
                    (true, _) => format!("{name} is {}", config.get(name)),
                })
                .collect();
            if states.is_empty() { part.to_string() } else { format!("{part} ({})", states.join(", ")) }
        })
        .collect()
}

/// Symbols that may be what an unknown one is called here: those that differ by a part (`RETPOLINE` is
/// `MITIGATION_RETPOLINE` since 6.9), then those that are spelled alike.
fn similar(symbol: &str, symbols: &Symbols) -> Vec<String> {
    let contains = |long: &str, short: &str| {
        long.strip_suffix(short).is_some_and(|rest| rest.ends_with('_'))
            || long.strip_prefix(short).is_some_and(|rest| rest.starts_with('_'))
    };
    let mut found: Vec<(f64, &str)> = symbols
        .names()
        .map(|name| {
            let part = contains(name, symbol) || contains(symbol, name) && name.len() * 2 > symbol.len();
            (f64::from(u8::from(part)) + strsim::jaro_winkler(name, symbol), name)
        })
        .filter(|(similarity, _)| *similarity > 0.92)
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().take(MOST_SIMILAR).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Fragment, KernelVersion, merge};
    use super::*;
    use crate::arch::Arch;

    const KCONFIG: &str = "config MODULES\n\tbool \"m\"\n\nconfig PCI\n\tbool \"PCI\"\n\tdepends on HAVE_PCI\n\n\
        config EXPERT\n\tbool \"e\"\n\nconfig NET\n\ttristate \"net\"\n\nconfig DRIVER\n\ttristate \"d\" if EXPERT\n\
        \tdepends on PCI && NET && (A || GONE)\n\tselect LIB\n\nconfig FILTER\n\ttristate \"f\"\n\tdepends on NET\n\n\
        config LIB\n\tbool\n\nconfig HIDDEN\n\tbool \"h\" if EXPERT\n\tdefault y\n\nconfig A\n\tbool \"a\"\n\n\
        config MITIGATION_RETPOLINE\n\tbool \"r\"\n\nchoice\n\tprompt \"which\"\nconfig FAST\n\tbool \"fast\"\n\
        config SMALL\n\tbool \"small\"\nendchoice\n\nconfig SHIFT\n\tint \"shift\"\n\trange 12 25\n\
        config MACHINE\n\tbool \"machine\"\n\tselect LIB if A\n";

    /// The explanations of what a fragment asked for and a `.config` has.
    fn explained(fragment: &str, config: &str) -> Vec<String> {
        let symbols = Symbols::read("Kconfig", &[], &mut |_| Ok(KCONFIG.to_owned())).expect("readable");
        let fragment = Fragment::parse("f", fragment).expect("right");
        let merged = merge(&[fragment], Arch::X86_64, KernelVersion { major: 6, minor: 1 });
        check(&merged, &DotConfig::parse(config), &symbols).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_cause_is_told() {
        let table = [
            ("CONFIG_A=y", "", "A=y (f:1) became n: the Kconfig files don't tell why"),
            (
                "CONFIG_RETPOLINE=y",
                "",
                "RETPOLINE=y (f:1) became n: this kernel has no such symbol; it has MITIGATION_RETPOLINE",
            ),
            ("CONFIG_QQQ=y", "", "QQQ=y (f:1) became n: this kernel has no such symbol"),
            (
                "CONFIG_DRIVER=y",
                "CONFIG_NET=y\n",
                "DRIVER=y (f:1) became n: it needs PCI (which is n), and A || GONE (A is n, GONE is unknown) \
                 (Kconfig:14)",
            ),
            (
                "CONFIG_PCI=y",
                "",
                "PCI=y (f:1) became n: it needs HAVE_PCI (which this kernel doesn't know) (Kconfig:4)",
            ),
            (
                "CONFIG_LIB=y",
                "",
                "LIB=y (f:1) became n: it has no prompt: it follows from others and can't be set (Kconfig:23)",
            ),
            (
                "# CONFIG_LIB is not set",
                "CONFIG_LIB=y\nCONFIG_DRIVER=y\nCONFIG_MACHINE=y\n",
                "DRIVER selects it",
            ),
            (
                "# CONFIG_LIB is not set",
                "CONFIG_LIB=y\nCONFIG_DRIVER=y\nCONFIG_MACHINE=y\nCONFIG_A=y\n",
                "DRIVER, MACHINE selects it",
            ),
            (
                "# CONFIG_HIDDEN is not set",
                "CONFIG_HIDDEN=y\n",
                "HIDDEN=n (f:1) became y: it can only be set with EXPERT (which is n) (Kconfig:26)",
            ),
            ("CONFIG_SMALL=y", "CONFIG_FAST=y\n", "SMALL=y (f:1) became n: of that choice, FAST is set"),
            ("CONFIG_SHIFT=99", "CONFIG_SHIFT=25\n", "SHIFT=99 (f:1) became 25: it can be 12 to 25"),
            (
                "CONFIG_FILTER=y",
                "CONFIG_MODULES=y\nCONFIG_NET=m\nCONFIG_FILTER=m\n",
                "FILTER=y (f:1) became m: it can't be more than NET (is m)",
            ),
            (
                "CONFIG_NET=m",
                "CONFIG_NET=y\n",
                "NET=m (f:1) became y: it can't be more than y or n without MODULES",
            ),
        ];
        for (fragment, config, expected) in table {
            let told = explained(fragment, config);
            assert_eq!(told.len(), 1, "{fragment}: {told:?}");
            assert!(told[0].ends_with(expected), "{fragment}: {told:?}");
        }
    }

    #[test]
    fn what_is_as_asked_is_not_told() {
        let asked = "CONFIG_A=y\n# CONFIG_NONE is not set\nCONFIG_SHIFT=0x0f\n# leanfs: optional\nCONFIG_NEW=y\n\
                     # leanfs: optional\nCONFIG_PCI=y\n";
        assert_eq!(explained(asked, "CONFIG_A=y\nCONFIG_SHIFT=15\n"), [""; 0]);
        let told = explained("# leanfs: optional\nCONFIG_SMALL=y\n", "CONFIG_FAST=y\n");
        assert_eq!(told.len(), 1, "a choice is no absence: {told:?}");
    }
}
