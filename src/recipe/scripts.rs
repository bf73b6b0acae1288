//! What is said of the scripts of packages whose effects leanfs doesn't make.

use std::fmt;
use std::str::FromStr;

use super::{Pattern, UnknownChoice};

/// The kinds of script that run when a package is installed.
const KINDS: [&str; 3] = ["pre-install", "post-install", "trigger"];

/// What happens for scripts whose effects are not known. Without a word it is a warning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScriptSettings {
    /// What these would do isn't needed: no warning. Wins over [`ScriptSettings::refuse`].
    pub accept: Vec<ScriptPattern>,
    /// A package with one of these is an error.
    pub refuse: Vec<ScriptPattern>,
}

impl ScriptSettings {
    /// Whether the script isn't needed.
    pub fn accepts(&self, package: &str, kind: &str) -> bool {
        self.accept.iter().any(|pattern| pattern.matches(package, kind))
    }

    /// Whether the script is an error.
    pub fn refuses(&self, package: &str, kind: &str) -> bool {
        !self.accepts(package, kind) && self.refuse.iter().any(|pattern| pattern.matches(package, kind))
    }
}

/// Which scripts: `PACKAGE` for all of a package, or `PACKAGE:KIND`; in the package `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptPattern {
    package: Pattern,
    kind: Option<&'static str>,
}

impl ScriptPattern {
    /// Whether the script of that kind (`post-install` …) of that package is meant.
    pub fn matches(&self, package: &str, kind: &str) -> bool {
        self.package.matches(package) && self.kind.is_none_or(|meant| meant == kind)
    }
}

/// The text that it was made from.
impl fmt::Display for ScriptPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "{}:{kind}", self.package),
            None => self.package.fmt(f),
        }
    }
}

impl FromStr for ScriptPattern {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = "PACKAGE, or PACKAGE and one of :pre-install, :post-install and :trigger, is";
        let refuse = || UnknownChoice::new("script", text, allowed);
        let (package, kind) = match text.split_once(':') {
            Some((package, kind)) => {
                let kind = KINDS.into_iter().find(|known| *known == kind).ok_or_else(refuse)?;
                (package, Some(kind))
            }
            None => (text, None),
        };
        Ok(Self { package: package.parse().map_err(|_| refuse())?, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_packages_and_kinds() {
        for (pattern, package, kind, expected) in [
            ("foo", "foo", "trigger", true),
            ("foo", "foo-x", "trigger", false),
            ("foo:trigger", "foo", "trigger", true),
            ("foo:trigger", "foo", "post-install", false),
            ("*:pre-install", "any", "pre-install", true),
            ("lib*", "libx", "post-install", true),
        ] {
            let parsed: ScriptPattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.matches(package, kind), expected, "{pattern} {package} {kind}");
            assert_eq!(parsed.to_string(), pattern);
        }
        for bad in ["", ":trigger", "foo:", "foo:post-upgrade", "a/b", "a:b:c"] {
            bad.parse::<ScriptPattern>().expect_err(bad);
        }
    }
}
