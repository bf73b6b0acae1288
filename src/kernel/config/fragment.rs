//! Fragments of kernel configurations: lines as `.config` has them, each with its reason.
//!
//! ```text
//! # leanfs: with net, ipv6          other fragments that come before this one
//! # Random numbers from the host.   the reason of the settings below, up to the next empty line or reason
//! # leanfs: since 6.2, on x86_64    when the next setting, only that one, is asked for
//! CONFIG_HW_RANDOM=y
//! # CONFIG_PCI is not set
//! ```
//! The form of the settings is that of the kernel's `scripts/kconfig/confdata.c`, so that `merge_config.sh` and
//! `make olddefconfig` take the same files. Conditions: `since VERSION`, `before VERSION` (that one is not meant),
//! `on ARCH [ARCH…]`, and `optional` for what may be missing without being told.

use std::fmt;

use super::quoted;
use crate::arch::Arch;

/// The largest fragment: a whole `.config` of a distribution has 300 kB.
pub const MOST_FRAGMENT_BYTES: u64 = 4 << 20;

/// What configurations call the kernel's version: of `6.1.172` the first two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// `6` of 6.12.
    pub major: u32,
    /// `12` of 6.12.
    pub minor: u32,
}

impl KernelVersion {
    /// Reads `6.12`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let number = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
            text.parse().ok()
        };
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a symbol of the configuration is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `y`
    Yes,
    /// `m`
    Module,
    /// `n`, or `is not set`
    No,
    /// A number, or a text with its quotes, as `.config` has them.
    Literal(String),
}

impl Value {
    /// Reads what stands after `=`.
    pub fn parse(text: &str) -> Option<Self> {
        let is_text = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
        let is_number = || {
            let digits = text.strip_prefix('-').unwrap_or(text);
            match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
                Some(hex) => !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
                None => !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()),
            }
        };
        match text {
            "y" => Some(Self::Yes),
            "m" => Some(Self::Module),
            "n" => Some(Self::No),
            _ if is_text || is_number() => Some(Self::Literal(text.to_owned())),
            _ => None,
        }
    }

    /// Whether the kernel's tools would write both the same: `0x10` and `0X10` are one number.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a == b || number(a).is_some_and(|a| number(b) == Some(a)),
            _ => self == other,
        }
    }

    /// The line of `.config` for `symbol`, without its end.
    pub fn line(&self, symbol: &str) -> String {
        match self {
            Self::No => format!("# CONFIG_{symbol} is not set"),
            value => format!("CONFIG_{symbol}={value}"),
        }
    }
}

fn number(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i128::from(u64::from_str_radix(hex, 16).ok()?),
        None => i128::from(digits.parse::<u64>().ok()?),
    };
    Some(sign * value)
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "y",
            Self::Module => "m",
            Self::No => "n",
            Self::Literal(text) => text,
        })
    }
}

/// When a setting is asked for; always, if nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// The first version that has it.
    pub since: Option<KernelVersion>,
    /// The first version that has it no more.
    pub before: Option<KernelVersion>,
    /// The architectures that have it; empty for all.
    pub archs: Vec<Arch>,
    /// Whether nobody needs to be told when the kernel has it not.
    pub optional: bool,
}

impl Condition {
    /// Whether it holds for this kernel.
    pub fn holds(&self, arch: Arch, version: KernelVersion) -> bool {
        self.since.is_none_or(|since| version >= since)
            && self.before.is_none_or(|before| version < before)
            && (self.archs.is_empty() || self.archs.contains(&arch))
    }

    /// Reads what stands after `# leanfs:`.
    fn parse(text: &str) -> Result<Self, String> {
        let mut condition = Self::default();
        for part in text.split(',') {
            let mut words = part.split_ascii_whitespace();
            let version = |words: &mut dyn Iterator<Item = &str>| {
                let text = words.next().unwrap_or_default();
                KernelVersion::parse(text).map(Some).ok_or_else(|| format!("{} is no version", quoted(text)))
            };
            match words.next() {
                Some("since") => condition.since = version(&mut words)?,
                Some("before") => condition.before = version(&mut words)?,
                Some("on") => {
                    for name in words.by_ref() {
                        condition.archs.push(name.parse().map_err(|error| format!("{error}"))?);
                    }
                }
                Some("optional") => condition.optional = true,
                word => {
                    return Err(format!(
                        "{} is no condition: `since`, `before`, `on` and `optional` are",
                        quoted(word.unwrap_or_default())
                    ));
                }
            }
            if let Some(word) = words.next() {
                return Err(format!("{} is one word too many", quoted(word)));
            }
        }
        Ok(condition)
    }
}

/// A line of a fragment that sets something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The symbol, without `CONFIG_`.
    pub symbol: String,
    /// What it is set to.
    pub value: Value,
    /// Its line, from 1 on.
    pub line: usize,
    /// Why, from the comment above; may be empty.
    pub reason: String,
    /// When.
    pub condition: Condition,
}

/// A fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Its name, or its path.
    pub name: String,
    /// The fragments that come before it.
    pub with: Vec<String>,
    /// What it sets, in order.
    pub settings: Vec<Setting>,
}

/// A line that no fragment has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the kernel configuration {}: {problem}", quoted(.fragment))]
pub struct FragmentError {
    /// The fragment.
    pub fragment: String,
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl Fragment {
    /// Reads a fragment. `name` is what messages call it.
    ///
    /// # Errors
    /// The first line that is neither a setting nor a comment, and conditions that can't be read.
    pub fn parse(name: &str, text: &str) -> Result<Self, FragmentError> {
        let mut fragment = Self { name: name.to_owned(), with: Vec::new(), settings: Vec::new() };
        let (mut reason, mut goes_on) = (String::new(), false);
        let mut condition: Option<(usize, Condition)> = None;
        for (index, raw) in text.lines().enumerate() {
            let line = index + 1;
            let error = |problem: String| FragmentError { fragment: name.to_owned(), line, problem };
            let raw = raw.trim_end();
            if let Some(directive) = raw.strip_prefix("# leanfs:").map(str::trim) {
                if let Some(names) = directive.strip_prefix("with ") {
                    fragment.with.extend(names.split(',').map(|name| name.trim().to_owned()));
                } else {
                    condition = Some((line, Condition::parse(directive).map_err(error)?));
                }
                continue;
            }
            let Some((symbol, value)) = setting(raw).map_err(error)? else {
                match raw.strip_prefix('#').map(str::trim) {
                    None => reason.clear(),
                    Some(comment) if goes_on => {
                        reason.push(' ');
                        reason.push_str(comment);
                    }
                    Some(comment) => comment.clone_into(&mut reason),
                }
                goes_on = !raw.is_empty();
                continue;
            };
            goes_on = false;
            let condition = condition.take().map(|(_, condition)| condition).unwrap_or_default();
            fragment.settings.push(Setting {
                symbol: symbol.to_owned(),
                value,
                line,
                reason: reason.clone(),
                condition,
            });
        }
        match condition {
            None => Ok(fragment),
            Some((line, _)) => Err(FragmentError {
                fragment: name.to_owned(),
                line,
                problem: "no setting follows this condition".to_owned(),
            }),
        }
    }
}

/// The setting of a line; none in comments and empty lines.
fn setting(line: &str) -> Result<Option<(&str, Value)>, String> {
    let is_symbol = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if let Some(symbol) = line.strip_prefix("# CONFIG_").and_then(|rest| rest.strip_suffix(" is not set")) {
        return if is_symbol(symbol) {
            Ok(Some((symbol, Value::No)))
        } else {
            Err(format!("{} is no symbol", quoted(symbol)))
        };
    }
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let parts = line.strip_prefix("CONFIG_").and_then(|rest| rest.split_once('='));
    let Some((symbol, text)) = parts.filter(|(symbol, _)| is_symbol(symbol)) else {
        return Err(format!(
            "{} is no setting: CONFIG_NAME=VALUE and `# CONFIG_NAME is not set` are",
            quoted(line)
        ));
    };
    match Value::parse(text) {
        Some(value) => Ok(Some((symbol, value))),
        None => Err(format!("{} is no value: y, m, n, a number and a text in quotes are", quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V6_1: KernelVersion = KernelVersion { major: 6, minor: 1 };

    #[test]
    fn settings_have_their_reasons_and_conditions() {
        let text = "# leanfs: with net, ipv6\n# A fragment.\n\n# Two\n# lines.\nCONFIG_A=y\n# leanfs: since 6.2, on \
                    aarch64 riscv64\n# CONFIG_B is not set\nCONFIG_C=0x10\n\n# Other.\n# leanfs: before 6.2, optional\n\
                    CONFIG_D=\"a b\"\n";
        let fragment = Fragment::parse("x", text).expect("right");
        assert_eq!(fragment.with, ["net", "ipv6"]);
        let all: Vec<String> = fragment
            .settings
            .iter()
            .map(|s| {
                let holds = [Arch::X86_64, Arch::Aarch64].map(|arch| s.condition.holds(arch, V6_1));
                format!(
                    "{} {} [{}] {holds:?} {}",
                    s.line,
                    s.value.line(&s.symbol),
                    s.reason,
                    s.condition.optional
                )
            })
            .collect();
        assert_eq!(
            all,
            [
                "6 CONFIG_A=y [Two lines.] [true, true] false",
                "8 # CONFIG_B is not set [Two lines.] [false, false] false",
                "9 CONFIG_C=0x10 [Two lines.] [true, true] false",
                "13 CONFIG_D=\"a b\" [Other.] [true, true] true",
            ]
        );
        let b = &fragment.settings[1].condition;
        let later = KernelVersion::parse("6.12").expect("one");
        assert!(b.holds(Arch::Riscv64, later) && !b.holds(Arch::X86_64, later));
        assert!(!fragment.settings[3].condition.holds(Arch::X86_64, later));
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        for (text, problem) in [
            ("CONFIG_A", "\"CONFIG_A\" is no setting: CONFIG_NAME=VALUE and `# CONFIG_NAME is not set` are"),
            ("A=y", "\"A=y\" is no setting"),
            ("CONFIG_A-B=y", "is no setting"),
            ("CONFIG_A=yes", "\"yes\" is no value"),
            ("CONFIG_A=", "\"\" is no value"),
            ("CONFIG_A=0x", "is no value"),
            ("CONFIG_A=\"", "is no value"),
            ("# CONFIG_A B is not set", "\"A B\" is no symbol"),
            ("# leanfs: since six\nCONFIG_A=y", "\"six\" is no version"),
            ("# leanfs: since 6.1 6.2\nCONFIG_A=y", "\"6.2\" is one word too many"),
            ("# leanfs: on mips\nCONFIG_A=y", "mips"),
            ("# leanfs: soon\nCONFIG_A=y", "\"soon\" is no condition"),
            ("CONFIG_A=y\n# leanfs: optional\n", "no setting follows"),
        ] {
            let error = Fragment::parse("f\x1b", text).expect_err(text).to_string();
            assert!(error.contains(problem) && !error.contains('\x1b'), "{error}");
        }
    }

    #[test]
    fn numbers_are_compared_by_value() {
        let value = |text| Value::parse(text).expect(text);
        assert!(value("0x10").is_same(&value("0X10")) && value("16").is_same(&value("0x10")));
        assert!(!value("17").is_same(&value("0x10")) && !value("\"16\"").is_same(&value("16")));
        assert!(value("-1").is_same(&value("-1")) && !value("y").is_same(&value("m")));
    }
}
