//! Why what is wanted can't be had.

use std::fmt;

/// Why what is wanted can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The requirements can't all be satisfied.
    #[error("the packages can't be selected:{}", Lines(.problems))]
    Unsatisfiable {
        /// What stands in the way: first what the user asked for, then the rest in order of installation.
        problems: Vec<Problem>,
    },
    /// More repositories than can be handled.
    #[error("{given} repositories are given, at most {limit} are possible")]
    TooManyRepositories {
        /// How many there are.
        given: usize,
        /// How many there can be.
        limit: usize,
    },
    /// More tags than can be handled.
    #[error("{given} repository tags are used, at most {limit} are possible")]
    TooManyTags {
        /// How many there are.
        given: usize,
        /// How many there can be.
        limit: usize,
    },
    /// Something is wanted with a tag that no repository has.
    #[error("no repository has the tag that is asked for: {}", shown(.wanted))]
    UnknownTags {
        /// What is wanted.
        wanted: Vec<String>,
        /// The tags that repositories have.
        known: Vec<String>,
    },
    /// Nothing has or provides names, and nothing wants them.
    #[error("in no repository, and not installed: {}", shown(.names.iter().map(|unknown| &unknown.name)))]
    UnknownNames {
        /// The names.
        names: Vec<UnknownName>,
    },
}

/// A name that nothing has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    /// The name.
    pub name: String,
    /// Names that are spelled like it.
    pub similar: Vec<String>,
}

impl ResolveError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let Self::Unsatisfiable { problems } = self else { return None };
        problems.iter().find_map(Problem::hint)
    }
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| write!(f, "\n  {}", problem.to_string().replace('\n', "\n  ")))
    }
}

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
    },
    /// Packages provide a name, but none of them is to be taken by itself.
    MustChoose {
        /// The name.
        name: String,
        /// The packages: their names, with versions where not all versions provide it.
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
            Self::NotFound { name, .. } if name.starts_with("so:") => Some(format!(
                "no repository has a package with the library {}; add the repository that has it, or a sysroot",
                &name["so:".len()..]
            )),
            Self::NotFound { name, .. } => Some(format!(
                "check the name {name}, or add the repository that has it (Alpine's `community`, perhaps)"
            )),
            Self::MustChoose { providers, .. } => {
                Some(format!("add one of these to the packages: {}", providers.join(", ")))
            }
            Self::Package { masked_in, .. } if !masked_in.is_empty() => {
                let tags: Vec<String> = masked_in.iter().map(ToString::to_string).collect();
                Some(format!("ask for it as {}", tags.join(" or ")))
            }
            Self::Package { .. } => None,
        }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "@{tag}"),
            Self::Offline => f.write_str("offline"),
        }
    }
}

fn shown<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    texts.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Names that are spelled like `name`, the most similar first.
pub(super) fn similar<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = names
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(score, _)| *score > 0.85)
        .collect();
    scored.sort_by(|left, right| right.0.total_cmp(&left.0).then_with(|| left.1.cmp(right.1)));
    scored.into_iter().take(3).map(|(_, other)| other.to_owned()).collect()
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain.join(" → "))
    }
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.package)?;
        match &self.provides {
            Some(name) => write!(f, ", both provide {name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, label: &str, items: &[T]) -> fmt::Result {
            items.iter().try_for_each(|item| write!(f, "\n  {label}: {item}"))
        }
        match self {
            Self::NotFound { name, wanted_by } => {
                write!(f, "{name} is in no repository")?;
                list(f, "wanted by", wanted_by)
            }
            Self::MustChoose { name, providers, wanted_by } => {
                write!(f, "{name} has providers of which none is preferred: {}", providers.join(", "))?;
                list(f, "wanted by", wanted_by)
            }
            Self::Package { package, unusable, masked_in, clashes, breaks, satisfies } => {
                write!(f, "{package} can't be installed")?;
                list(f, "unusable", unusable.as_slice())?;
                list(f, "only in the repositories tagged", masked_in)?;
                list(f, "in conflict with", clashes)?;
                list(f, "does not satisfy", breaks)?;
                list(f, "wanted by", satisfies)
            }
        }
    }
}
