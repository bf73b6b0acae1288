//! Why what is wanted can't be had.

use std::fmt;

use super::problem::{Problem, escaped};

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
        match self {
            Self::Unsatisfiable { problems } => problems.iter().find_map(Problem::hint),
            Self::TooManyRepositories { .. } | Self::TooManyTags { .. } => None,
            Self::UnknownTags { known, .. } if known.is_empty() => {
                Some("no repository has a tag: ask without one".to_owned())
            }
            Self::UnknownTags { known, .. } => Some(format!("the repositories' tags are {}", shown(known))),
            Self::UnknownNames { names } => {
                let similar: Vec<&String> = names.iter().flat_map(|unknown| &unknown.similar).collect();
                (!similar.is_empty()).then(|| format!("did you mean {}?", shown(similar)))
            }
        }
    }
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| write!(f, "\n  {}", problem.to_string().replace('\n', "\n  ")))
    }
}

fn shown<'a>(texts: impl IntoIterator<Item = &'a String>) -> String {
    texts.into_iter().map(|text| escaped(text)).collect::<Vec<_>>().join(", ")
}

/// Names that are spelled like `name`, the most similar first; of libraries, those of other versions.
pub(super) fn similar<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    /// More are no help.
    const MOST: usize = 3;
    /// By Jaro and Winkler: `busybos` is 0.96 from `busybox`; below are other words.
    const LEAST: f64 = 0.85;
    let library = |name: &str| {
        let library = name.strip_prefix("so:")?.split_once(".so")?.0;
        Some(library.to_owned())
    };
    let mut scored: Vec<(f64, &str)> = match library(name) {
        Some(wanted) => names
            .filter(|other| library(other).is_some_and(|other| other == wanted))
            .map(|other| (1.0, other))
            .collect(),
        None => names
            .filter(|other| !other.starts_with("so:"))
            .map(|other| (strsim::jaro_winkler(name, other), other))
            .filter(|(score, _)| *score > LEAST)
            .collect(),
    };
    scored.sort_by(|left, right| right.0.total_cmp(&left.0).then_with(|| left.1.cmp(right.1)));
    scored.into_iter().take(MOST).map(|(_, other)| other.to_owned()).collect()
}
