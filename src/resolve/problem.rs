//! What stands in the way of a solution, in words.

use std::fmt;

use crate::apk::version;

/// Something that stands in the way of a solution.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// No package has or provides a name.
    NotFound {
        /// The name.
        name: String,
        /// Who wants it.
        wanted_by: Vec<Want>,
        /// Names that are spelled like it, the most similar first.
        similar: Vec<String>,
    },
    /// Packages provide a name, but none of them is to be taken by itself.
    MustChoose {
        /// The name.
        name: String,
        /// The packages: their names, with versions where another package has that name too.
        providers: Vec<String>,
        /// Who wants it.
        wanted_by: Vec<Want>,
    },
    /// A package would be taken, but can't.
    Package {
        /// Its name and version.
        package: String,
        /// Why it can't be installed at all.
        unusable: Option<String>,
        /// Why it may not be taken from where it is; empty if that is not the matter.
        masked_in: Vec<Mask>,
        /// Other packages that would be taken and own the same names.
        clashes: Vec<Clash>,
        /// Requirements that it does not satisfy.
        breaks: Vec<Want>,
        /// Requirements for which it is wanted.
        satisfies: Vec<Want>,
        /// Other packages that have the names for which it is wanted.
        alternatives: Vec<Alternative>,
    },
    /// Something was decided on that can't be had, and is no part of the result: `apk` refuses then, too.
    DeadEnd {
        /// A package, or a name.
        what: String,
        /// Why it can't be had.
        because: String,
    },
}

/// Why a package may not be taken from where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mask {
    /// It is only in repositories of this tag.
    Tag(String),
    /// It is only in repositories that can't be reached.
    Offline,
}

/// A package that owns a name that another one owns too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// Its name and version.
    pub package: String,
    /// What both provide; `None` if it is the package's own name.
    pub provides: Option<String>,
    /// From what the user asked for to the package.
    pub chain: Vec<String>,
}

/// Another package that could stand for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// Its name and version.
    pub package: String,
    /// Why it was not taken; `None` if it is possible, only less preferred.
    pub because: Option<String>,
    /// The way from what the user asked for to the requirement that rules it out, if that is why.
    pub chain: Vec<String>,
}

/// A requirement, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The package that has it, with its version; `None` for the user.
    pub package: Option<String>,
    /// The dependency as it is written.
    pub dependency: String,
    /// From what the user asked for to the dependency itself: names of packages and dependencies.
    pub chain: Vec<String>,
}

impl Problem {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { name, wanted_by, similar } => Some(hint_for_missing(name, wanted_by, similar)),
            Self::MustChoose { providers, .. } => {
                Some(format!("ask for one of these too: {}", listed(providers)))
            }
            Self::Package { .. } => self.hint_for_package(),
            Self::DeadEnd { .. } => None,
        }
    }

    fn hint_for_package(&self) -> Option<String> {
        let Self::Package { package, unusable, masked_in, clashes, breaks, satisfies, alternatives } = self
        else {
            return None;
        };
        let name = package_name(package);
        let possible = alternatives.iter().find(|alternative| alternative.because.is_none());
        let instead = possible.map(|alternative| format!("ask for {}", as_wanted(&alternative.package)));
        if !masked_in.is_empty() {
            return Some(match masked_in.iter().find_map(Mask::tag) {
                Some(tag) => format!("to take it from there, ask for {}@{}", escaped(name), escaped(tag)),
                None => "let the network be used, or have the package in the cache".to_owned(),
            });
        }
        if unusable.is_some() {
            return instead
                .or_else(|| Some("add a repository that has the package for this architecture".to_owned()));
        }
        let against =
            roots(breaks.iter().map(|want| &want.chain).chain(clashes.iter().map(|clash| &clash.chain)));
        // The user's own bound, which nothing there is in.
        if let ([Want { package: None, dependency, chain }], []) = (&breaks[..], &clashes[..])
            && !dependency.starts_with('!')
            && alternatives.iter().all(|alternative| alternative.chain == *chain)
        {
            let all = std::iter::once(package).chain(alternatives.iter().map(|other| &other.package));
            let of_that_name = all.filter(|other| package_name(other) == name);
            let highest = of_that_name.max_by(|left, right| {
                let version =
                    |full_name: &str| full_name.get(name.len() + 1..).unwrap_or_default().to_owned();
                version::compare(&version(left), &version(right))
            });
            return Some(format!(
                "no repository has what {} asks for; the nearest is {}",
                escaped(dependency),
                as_wanted(highest.unwrap_or(package))
            ));
        }
        // What rules out the alternatives, if that is something else; else what wants the package.
        let others = roots(alternatives.iter().map(|alternative| &alternative.chain));
        let wants = if others.iter().all(|root| against.contains(root)) {
            roots(satisfies.iter().map(|want| &want.chain))
        } else {
            others
        };
        let or =
            |instead: Option<String>| instead.map(|instead| format!(", or {instead}")).unwrap_or_default();
        let mut both = wants;
        both.extend(against);
        both.sort_unstable();
        both.dedup();
        match &both[..] {
            [] => instead,
            [one] => Some(format!(
                "{} contradicts itself: take another version of it, or add a repository that has one{}",
                escaped(one),
                or(instead)
            )),
            both => Some(format!("leave out {}{}", either(both), or(instead))),
        }
    }
}

fn hint_for_missing(name: &str, wanted_by: &[Want], similar: &[String]) -> String {
    let asked = wanted_by.iter().any(|want| want.package.is_none());
    let shown = escaped(name);
    match (name.strip_prefix("so:"), similar) {
        (Some(library), []) => format!(
            "no repository has a package with the library {}; add the repository that has it, or a sysroot",
            escaped(library)
        ),
        (Some(_), similar) => format!(
            "the repositories have {}; take repositories of one release, or add the one that has {shown}",
            listed(similar)
        ),
        (None, similar) if asked && !similar.is_empty() => format!("did you mean {}?", either(similar)),
        (None, _) if asked => {
            format!(
                "check the name {shown}, or add the repository that has it (Alpine's `community`, perhaps)"
            )
        }
        (None, _) => format!("add the repository that has {shown} (Alpine's `community`, perhaps)"),
    }
}

/// What the user asked for at the beginning of chains, each once.
fn roots<'a>(chains: impl Iterator<Item = &'a Vec<String>>) -> Vec<String> {
    let mut roots: Vec<String> = Vec::new();
    for root in chains.filter_map(|chain| chain.first()) {
        if !roots.contains(root) {
            roots.push(root.clone());
        }
    }
    roots
}

/// `a`, `a or b`, `a, b or c`.
fn either(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| escaped(item)).collect();
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => String::new(),
    }
}

fn listed(items: &[String]) -> String {
    items.iter().map(|item| escaped(item)).collect::<Vec<_>>().join(", ")
}

/// The name in `name-version`: a version begins with a digit, and `-r` with a number may end it.
fn package_name(full_name: &str) -> &str {
    let version = full_name.rfind("-r").unwrap_or(full_name.len());
    match full_name[..version].rfind('-') {
        Some(end) => &full_name[..end],
        None => full_name.split_once('-').map_or(full_name, |(name, _)| name),
    }
}

/// `name=version`, as it is asked for.
fn as_wanted(full_name: &str) -> String {
    let name = package_name(full_name);
    match full_name.get(name.len() + 1..) {
        Some(version) => format!("{}={}", escaped(name), escaped(version)),
        None => escaped(name),
    }
}

/// Names can hold anything: what is not plain is shown as its number, also what only looks like a letter.
pub(super) fn escaped(text: &str) -> String {
    let plain = |character: char| character.is_ascii_graphic() || " →…".contains(character);
    text.chars().fold(String::with_capacity(text.len()), |mut shown, character| {
        if plain(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
        shown
    })
}

/// A way, in words.
pub(super) fn way(chain: &[String]) -> String {
    escaped(&chain.join(" → "))
}

impl Mask {
    fn tag(&self) -> Option<&str> {
        match self {
            Self::Tag(tag) => Some(tag),
            Self::Offline => None,
        }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "it is only in repositories tagged @{}", escaped(tag)),
            Self::Offline => f.write_str("it is only in repositories that can't be reached"),
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&way(&self.chain))
    }
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.package))?;
        if let Some(name) = &self.provides {
            write!(f, " (both provide {})", escaped(name))?;
        }
        match &self.chain[..] {
            [] => Ok(()),
            chain => write!(f, ", wanted by {}", way(chain)),
        }
    }
}

impl fmt::Display for Alternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.package))?;
        match &self.because {
            Some(because) => write!(f, ": {because}"),
            None => f.write_str(": possible, if it is asked for"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More lines of a kind say nothing more.
        const MOST: usize = 8;
        fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, label: &str, items: &[T]) -> fmt::Result {
            items.iter().take(MOST).try_for_each(|item| write!(f, "\n  {label}{item}"))?;
            match items.len().saturating_sub(MOST) {
                0 => Ok(()),
                more => write!(f, "\n  {label}{more} more"),
            }
        }
        match self {
            Self::NotFound { name, wanted_by, .. } => {
                write!(f, "{} is in no repository", escaped(name))?;
                list(f, "wanted by ", wanted_by)
            }
            Self::MustChoose { name, providers, wanted_by } => {
                write!(f, "{} has providers of which none is preferred: ", escaped(name))?;
                f.write_str(&listed(providers))?;
                list(f, "wanted by ", wanted_by)
            }
            Self::Package { package, unusable, masked_in, clashes, breaks, satisfies, alternatives } => {
                write!(f, "{} can't be installed", escaped(package))?;
                list(f, "wanted by ", satisfies)?;
                let unusable = unusable.as_ref().map(|reason| escaped(reason));
                list(f, "but ", unusable.as_slice())?;
                list(f, "but ", masked_in)?;
                list(f, "but in conflict with ", clashes)?;
                list(f, "but ruled out by ", breaks)?;
                list(f, "instead ", alternatives)
            }
            Self::DeadEnd { what, because } => {
                write!(f, "{} was decided on, and can't be had: {because}", escaped(what))
            }
        }
    }
}
