//! What is different between two locks of an architecture.

use std::collections::BTreeSet;
use std::fmt;

use super::{ArchLock, LockedFile, LockedPackage};

/// One difference. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A package or file that was not there.
    Added {
        /// Its name, and a package's version.
        name: String,
        /// Its size.
        size: u64,
    },
    /// One that is no longer there.
    Removed {
        /// Its name, and a package's version.
        name: String,
        /// Its size.
        size: u64,
    },
    /// Another version, or the same version with other bytes.
    Changed {
        /// Its name.
        name: String,
        /// The version before; of a file its hash's first digits.
        from: String,
        /// The version now.
        to: String,
        /// The size before.
        size_before: u64,
        /// The size now.
        size: u64,
    },
    /// What a package is for.
    Role {
        /// Its name and version.
        name: String,
        /// Before.
        from: &'static str,
        /// Now.
        to: &'static str,
    },
    /// Something else, in words.
    Other(String),
}

/// What is in `now` that is not in `before`, and the other way round, in order of names.
pub fn changes(before: Option<&ArchLock>, now: &ArchLock) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Some(before) = before {
        if before.recipe != now.recipe {
            changes.push(Change::Other("the recipe's settings are others".to_owned()));
        }
        let all: BTreeSet<_> = before.keys.iter().chain(&now.keys).collect();
        for key in all {
            let text = match (before.keys.contains(key), now.keys.contains(key)) {
                (true, false) => "no longer signs",
                (false, true) => "signs now",
                _ => continue,
            };
            changes.push(Change::Other(format!(
                "{} (sha256:{}) {text}",
                key.name,
                hex::encode(key.fingerprint)
            )));
        }
    }
    let of = |lock: Option<&ArchLock>| -> Vec<LockedPackage> {
        lock.map(|lock| lock.packages.clone()).unwrap_or_default()
    };
    let (then, after) = (of(before), &now.packages);
    let names: BTreeSet<&str> = then.iter().chain(after).map(|package| package.name.as_str()).collect();
    for name in names {
        // As a rule one; several where the kernel's package is another version than the image's.
        let mut gone: Vec<&LockedPackage> =
            then.iter().filter(|old| old.name == name && !after.iter().any(|new| new.is_same(old))).collect();
        for new in after.iter().filter(|new| new.name == name) {
            match then.iter().find(|old| old.is_same(new)) {
                Some(old) if old.role != new.role => {
                    changes.push(Change::Role {
                        name: new.full_name(),
                        from: old.role.name(),
                        to: new.role.name(),
                    });
                }
                Some(_) => {}
                None if gone.is_empty() => {
                    changes.push(Change::Added { name: new.full_name(), size: new.size })
                }
                None => {
                    let old = gone.remove(0);
                    changes.push(Change::Changed {
                        name: new.name.clone(),
                        from: old.version.clone(),
                        to: new.version.clone(),
                        size_before: old.size,
                        size: new.size,
                    });
                }
            }
        }
        let removed = gone.into_iter().map(|old| Change::Removed { name: old.full_name(), size: old.size });
        changes.extend(removed);
    }
    let of = |lock: &ArchLock| lock.all_files().collect::<Vec<_>>();
    let (files, now) = (before.map(of).unwrap_or_default(), of(now));
    let is_of = |a: &LockedFile, b: &LockedFile| (a.role, &a.name) == (b.role, &b.name);
    for new in &now {
        match files.iter().find(|old| is_of(old, new)) {
            None => changes.push(Change::Added { name: new.name.clone(), size: new.size }),
            Some(old) if old.sha256 != new.sha256 => changes.push(Change::Changed {
                name: new.name.clone(),
                from: hex::encode(&old.sha256[..6]),
                to: hex::encode(&new.sha256[..6]),
                size_before: old.size,
                size: new.size,
            }),
            Some(_) => {}
        }
    }
    for old in files.iter().filter(|old| !now.iter().any(|new| is_of(old, new))) {
        changes.push(Change::Removed { name: old.name.clone(), size: old.size });
    }
    changes
}

/// Without sizes.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { name, .. } => write!(f, "+ {name}"),
            Self::Removed { name, .. } => write!(f, "- {name}"),
            Self::Changed { name, from, to, .. } if from == to => write!(f, "~ {name} {to}, built anew"),
            Self::Changed { name, from, to, .. } => write!(f, "~ {name} {from} → {to}"),
            Self::Role { name, from, to } => write!(f, "~ {name}, for the {from} before, for the {to} now"),
            Self::Other(text) => write!(f, "~ {text}"),
        }
    }
}
