//! What packages ask for and provide: `musl`, `so:libz.so.1`, `cmd:sh=1.37.0-r30`, `pc:zlib>=1.3`, `/bin/sh`,
//! `!uclibc`, `erlang27@edge>27`.
//!
//! The form is `[!]name[@tag][operator version]` (`apk-package(5)`, `apk-world(5)`); a tag stands only in what
//! the user asks for. The same form says what a package provides, with `=` or without a version.

use std::fmt;
use std::str::FromStr;

use super::version;
use super::{ApkError, Quoted};

/// A name, perhaps with bounds for its version, that must be there or must not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Dependency {
    /// The name of a package, or what packages provide (`so:…`, `cmd:…`, `pc:…`, a path, anything).
    pub name: String,
    /// Written with `!`: what matches must not be there.
    pub conflict: bool,
    /// Bounds for the version.
    pub constraint: Option<Constraint>,
    /// The tag of the repository from which it may come too.
    pub tag: Option<String>,
}

/// Bounds for a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Constraint {
    /// How versions are compared.
    pub operator: Operator,
    /// With what: a valid version, or for [`Operator::Identity`] a checksum.
    pub version: String,
}

/// How a constraint compares a package's version with its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `<~`: less, or beginning with the same parts.
    LessOrFuzzy,
    /// `=`
    Equal,
    /// `~`: beginning with the same parts.
    Fuzzy,
    /// `>~`: greater, or beginning with the same parts.
    GreaterOrFuzzy,
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
    /// `><`: exactly the package whose control member has the given checksum.
    Identity,
}

/// The characters that operators are made of.
const OPERATOR: [char; 4] = ['<', '=', '>', '~'];

/// Longer names are none that anyone wrote.
const MOST_BYTES: usize = 4096;

impl Operator {
    /// Reads an operator; like `apk`, in any order of its characters. The outer `None` is no operator, the inner
    /// one is `<=>`, which any version matches.
    fn parse(text: &str) -> Option<Option<Self>> {
        if text.is_empty() || !text.chars().all(|character| OPERATOR.contains(&character)) {
            return None;
        }
        let has = |character| text.contains(character);
        let equal = has('=') || has('~');
        Some(Some(match (has('<'), has('>'), equal, has('~')) {
            (true, true, true, _) => return Some(None),
            (true, true, false, _) => Self::Identity,
            (true, false, false, _) => Self::Less,
            (true, false, true, false) => Self::LessOrEqual,
            (true, false, true, true) => Self::LessOrFuzzy,
            (false, true, false, _) => Self::Greater,
            (false, true, true, false) => Self::GreaterOrEqual,
            (false, true, true, true) => Self::GreaterOrFuzzy,
            (false, false, _, false) => Self::Equal,
            (false, false, _, true) => Self::Fuzzy,
        }))
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::LessOrFuzzy => "<~",
            Self::Equal => "=",
            Self::Fuzzy => "~",
            Self::GreaterOrFuzzy => ">~",
            Self::GreaterOrEqual => ">=",
            Self::Greater => ">",
            Self::Identity => "><",
        }
    }

    /// Whether `version` stands in this relation to `bound`. Identity is not about versions: it never does.
    pub fn compares(self, version: &str, bound: &str) -> bool {
        let exact = || version::compare(version, bound);
        let fuzzy = || version::compare_fuzzy(version, bound);
        match self {
            Self::Less => exact().is_lt(),
            Self::LessOrEqual => exact().is_le(),
            Self::LessOrFuzzy => fuzzy().is_le(),
            Self::Equal => exact().is_eq(),
            Self::Fuzzy => fuzzy().is_eq(),
            Self::GreaterOrFuzzy => fuzzy().is_ge(),
            Self::GreaterOrEqual => exact().is_ge(),
            Self::Greater => exact().is_gt(),
            Self::Identity => false,
        }
    }
}

impl Dependency {
    /// Any version of a name.
    pub fn any(name: impl Into<String>) -> Self {
        Self { name: name.into(), conflict: false, constraint: None, tag: None }
    }

    /// A name with exactly this version: what `provides` lists.
    pub fn exactly(name: impl Into<String>, version: impl Into<String>) -> Self {
        let constraint = Some(Constraint { operator: Operator::Equal, version: version.into() });
        Self { constraint, ..Self::any(name) }
    }

    /// The version that a `provides` entry gives its name; `None` for an unversioned one.
    pub fn provided_version(&self) -> Option<&str> {
        self.constraint.as_ref().map(|constraint| constraint.version.as_str())
    }

    /// Whether something that provides this name in `version` (`None`: without one) is what the bounds mean,
    /// apart from [`Dependency::conflict`]. As for apk 3.0.8, what has no version is less than every version (for
    /// earlier ones it matched every bound). Identity is not about versions: nothing matches it.
    pub fn bounds_match(&self, version: Option<&str>) -> bool {
        match &self.constraint {
            None => true,
            Some(bound) => bound.operator.compares(version.unwrap_or_default(), &bound.version),
        }
    }

    /// Reads one dependency of a package: without a tag.
    ///
    /// # Errors
    /// [`ApkError::Dependency`] when it has not the form, names a tag or gives no valid version.
    pub fn parse(text: &str) -> Result<Self, ApkError> {
        let dependency: Self = text.parse()?;
        match dependency.tag {
            None => Ok(dependency),
            Some(_) => Err(refused(text, "only what the user asks for can have a tag")),
        }
    }

    /// Reads a dependency whose version is not valid. The package that has it can't be installed, but others can
    /// depend on it, and `apk` counts its dependency among those of the name.
    pub(super) fn parse_with_any_version(text: &str) -> Result<Self, ApkError> {
        let dependency = read(text, |version| !version.is_empty())?;
        match dependency.tag {
            None => Ok(dependency),
            Some(_) => Err(refused(text, "only what the user asks for can have a tag")),
        }
    }

    /// Reads what a package provides: like a dependency without a tag, but with any version that a package can
    /// have. Real packages have versions that are not valid (`0.99f7-r0`), and provide things with them.
    ///
    /// # Errors
    /// [`ApkError::Dependency`] when it has not the form, or names a tag.
    pub fn parse_provided(text: &str) -> Result<Self, ApkError> {
        let dependency = read(text, |version| super::package_info::package_version(version).is_ok())?;
        match (&dependency.tag, dependency.conflict) {
            (None, false) => Ok(dependency),
            _ => Err(refused(text, "what is provided has neither a tag nor a !")),
        }
    }

    /// Reads a list of dependencies, as indexes and `.PKGINFO` hold them.
    ///
    /// # Errors
    /// As [`Dependency::parse`], for the first bad one.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ApkError> {
        text.split([' ', '\n', '\t']).filter(|word| !word.is_empty()).map(Self::parse).collect()
    }
}

fn refused(text: &str, reason: &'static str) -> ApkError {
    ApkError::Dependency { text: Quoted::new(text), reason }
}

/// As in apk's world file, so a tag may be there.
impl FromStr for Dependency {
    type Err = ApkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text, version::is_valid)
    }
}

fn read(text: &str, is_version: fn(&str) -> bool) -> Result<Dependency, ApkError> {
    if text.len() > MOST_BYTES {
        return Err(refused(text, "it is too long"));
    }
    if text.contains(|character: char| character.is_whitespace() || character.is_control()) {
        return Err(refused(text, "it holds white space or a control character"));
    }
    if !text.is_ascii() {
        return Err(refused(text, "it is not ASCII: other letters can look the same, or not be seen"));
    }
    let (conflict, rest) = match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (name, constraint) = match rest.find(OPERATOR) {
        None => (rest, None),
        Some(start) => {
            let (name, rest) = rest.split_at(start);
            let end = rest.find(|character| !OPERATOR.contains(&character)).unwrap_or(rest.len());
            let (operator, bound) = rest.split_at(end);
            let operator =
                Operator::parse(operator).ok_or_else(|| refused(text, "the operator is unknown"))?;
            let valid = match operator {
                Some(Operator::Identity) => !bound.is_empty(),
                _ => is_version(bound),
            };
            if !valid {
                return Err(refused(text, "no valid version stands after the operator"));
            }
            (name, operator.map(|operator| Constraint { operator, version: bound.to_owned() }))
        }
    };
    let (name, tag) = match name.split_once('@') {
        Some((_, "")) => return Err(refused(text, "no tag stands after the @")),
        Some((name, tag)) => (name, Some(tag.to_owned())),
        None => (name, None),
    };
    if name.is_empty() {
        return Err(refused(text, "the name is missing"));
    }
    Ok(Dependency { name: name.to_owned(), conflict, constraint, tag })
}

/// As it is written in indexes and in apk's world file.
impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.conflict {
            f.write_str("!")?;
        }
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, "@{tag}")?;
        }
        if let Some(Constraint { operator, version }) = &self.constraint {
            write!(f, "{}{version}", operator.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "musl",
            "so:libc.musl-x86_64.so.1",
            "cmd:[[=1.37.0-r30",
            "pc:gtk+-3.0>=3.24",
            "/bin/sh",
            "!uclibc",
            "!b>1",
            "a<1",
            "a<=1",
            "a~1.2",
            "a>~1.2",
            "a<~1.2",
            "a><Q1EyN5AdpAOBJWKMR89pp/C66o+OE=",
            "erlang27@edge",
            "erlang27@edge>27",
            ".virtual=20190603.131426",
        ] {
            let dependency: Dependency = text.parse().expect(text);
            assert_eq!(dependency.to_string(), text);
        }
    }

    #[test]
    fn operators_in_other_orders() {
        for (text, expected) in [
            ("a=>1", "a>=1"),
            ("a=<1", "a<=1"),
            ("a==1", "a=1"),
            ("a~=1", "a~1"),
            ("a~>1", "a>~1"),
            ("a<>x", "a><x"),
            ("a<=>1", "a"),
        ] {
            assert_eq!(text.parse::<Dependency>().expect(text).to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_dependency() {
        for text in ["", "!", "=1", "a=", "a==", "a=invalid", "a b", "a@", "@tag", "a\x1b", "a>1>2"] {
            assert!(text.parse::<Dependency>().is_err(), "{text:?}");
        }
        assert!(Dependency::parse("a@tag").is_err(), "packages have no tags");
    }

    #[test]
    fn bounds() {
        for (dependency, version, expected) in [
            ("a", Some("1"), true),
            ("a", None, true),
            ("a>1", None, false),
            ("a=1", None, false),
            ("a~1", None, false),
            ("a<1", None, true),
            ("a<~1", None, true),
            ("a><Q1EyN5AdpAOBJWKMR89pp/C66o+OE=", None, false),
            ("a>1", Some("1"), false),
            ("a>1", Some("2"), true),
            ("a~1.2", Some("1.2.3"), true),
            ("a>~2.5", Some("2.10"), true),
            ("a<~3.6", Some("3.5"), true),
        ] {
            let parsed: Dependency = dependency.parse().expect(dependency);
            assert_eq!(parsed.bounds_match(version), expected, "{dependency} {version:?}");
        }
    }
}
