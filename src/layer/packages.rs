//! Packages in a tree, by apk's rules for what several of them bring.
//!
//! Of a file that two packages have, `replaces` and `replaces_priority` say whose it is: the first keeps it if its
//! claim has the higher priority, else the second takes it if it has a claim, or if both were built from one source
//! package; otherwise they can't be installed together, even if the files are the same. Of a directory, owner and mode
//! are those of the package with the highest `replaces_priority`; then of the one that its source package is named
//! after, then of the first by name.
//!
//! Sources: `apk-package(5)`, and what apk 3.0.8 does.

use std::collections::BTreeMap;

use super::merge::{self, MergeError, Precedence};
use crate::apk::{IndexEntry, PackageInfo};
use crate::tree::{LayerKind, Node, NodeKind, Tree, TreePath};

/// A package that is laid into a tree.
#[derive(Debug, Clone, Copy)]
pub struct Package<'a> {
    /// What its index says.
    pub entry: &'a IndexEntry,
    /// What it says itself.
    pub info: &'a PackageInfo,
    /// Its scripts: name (`.post-install`, `.trigger` …) and text.
    pub scripts: &'a [(String, Vec<u8>)],
    /// Its files, whose origin is the package.
    pub tree: &'a Tree,
    /// The tag of the repository that it comes from, without the `@`.
    pub tag: Option<&'a str>,
}

/// Lays packages in the order of installation.
///
/// # Errors
/// The first file that belongs to two packages of which neither may replace the other's.
pub fn lay(tree: &mut Tree, packages: &[Package<'_>]) -> Result<(), MergeError> {
    let by_name: BTreeMap<String, &Package<'_>> =
        packages.iter().map(|package| (package.entry.full_name(), package)).collect();
    let owner = |node: &Node| match node.origin.layer {
        LayerKind::Package => by_name.get(&*node.origin.part).copied(),
        _ => None,
    };
    for package in packages {
        // Neighbours are in the same directory, and what is laid into one does not move it.
        let mut parent: Option<(TreePath, TreePath)> = None;
        for (path, node) in package.tree.iter() {
            let circle = || MergeError::LinkCircle { path: path.clone(), origin: node.origin.clone() };
            let known = parent.as_ref().filter(|(from, _)| path.parent().as_ref() == Some(from));
            let place = match (known, path.file_name()) {
                (Some((_, to)), Some(name)) => to.join(name).ok(),
                _ => None,
            };
            let place = match place {
                Some(place) => place,
                None => tree.resolve_parent(path).ok_or_else(circle)?,
            };
            parent = path.parent().zip(place.parent());
            let mut node = node.clone();
            if let NodeKind::Hardlink(target) = &node.kind {
                node.kind = NodeKind::Hardlink(tree.resolve_parent(target).unwrap_or_else(|| target.clone()));
            }
            let is_directory = matches!(node.kind, NodeKind::Directory);
            match tree.get_mut(&place) {
                Some(there) if is_directory && matches!(there.kind, NodeKind::Directory) => {
                    if by_name.get(&*there.origin.part).is_some_and(|first| takes_directory(first, package)) {
                        *there = node;
                    }
                }
                Some(there) if !is_directory && !matches!(there.kind, NodeKind::Directory) => {
                    match owner(there).map_or(Precedence::Equal, |first| file_precedence(first, package)) {
                        Precedence::First => {}
                        Precedence::Second => *there = node,
                        Precedence::Equal => {
                            return Err(MergeError::Packages {
                                path: place,
                                first: there.origin.clone(),
                                second: node.origin,
                            });
                        }
                    }
                }
                _ => {
                    merge::claim(tree, path, node, |_| Precedence::Equal)?;
                }
            }
        }
    }
    Ok(())
}

/// Which of two packages has a file that both bring; `second` is installed after `first`.
pub fn file_precedence(first: &Package<'_>, second: &Package<'_>) -> Precedence {
    if first.entry.name == second.entry.name {
        return Precedence::Second;
    }
    let claim = |by: &Package<'_>, what: &Package<'_>| {
        let named = by.info.replaces.iter().any(|dependency| {
            let meant =
                dependency.name == what.entry.name && dependency.bounds_match(Some(&what.entry.version));
            meant != dependency.conflict
        });
        named.then(|| by.info.replaces_priority.unwrap_or(0))
    };
    // No claim is less than any.
    match (claim(first, second), claim(second, first)) {
        (first, second) if first > second => Precedence::First,
        (_, Some(_)) => Precedence::Second,
        _ if of_one_origin(first, second) => Precedence::Second,
        _ => Precedence::Equal,
    }
}

/// Whether the owner and mode of a directory become those that `second` gives it.
fn takes_directory(first: &Package<'_>, second: &Package<'_>) -> bool {
    let priority = |package: &Package<'_>| package.info.replaces_priority.unwrap_or(0);
    let is_main = |package: &Package<'_>| package.entry.origin == package.entry.name;
    match priority(second).cmp(&priority(first)) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal if of_one_origin(first, second) && is_main(first) => false,
        std::cmp::Ordering::Equal if of_one_origin(first, second) && is_main(second) => true,
        std::cmp::Ordering::Equal => first.entry.name > second.entry.name,
    }
}

fn of_one_origin(first: &Package<'_>, second: &Package<'_>) -> bool {
    !first.entry.origin.is_empty() && first.entry.origin == second.entry.origin
}

/// Which package each file belongs to, by its place in `tree` and the package's number; directories belong to all.
pub(super) fn owners(tree: &Tree, packages: &[Package<'_>]) -> BTreeMap<TreePath, usize> {
    let mut owners: BTreeMap<TreePath, usize> = BTreeMap::new();
    for (number, package) in packages.iter().enumerate() {
        for (path, node) in package.tree.iter() {
            if matches!(node.kind, NodeKind::Directory) {
                continue;
            }
            let Some(place) = tree.resolve_parent(path) else { continue };
            let first = owners.get(&place).and_then(|&first| packages.get(first));
            if first.is_none_or(|first| file_precedence(first, package) != Precedence::First) {
                owners.insert(place, number);
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apk::Checksum;
    use crate::tree::{Content, Metadata, Origin};

    struct Made {
        entry: IndexEntry,
        info: PackageInfo,
        tree: Tree,
    }

    impl Made {
        /// `NAME origin=O replaces=R priority=N`, and what it brings: paths of files, and directories with their modes.
        fn new(text: &str, files: &[&str], directories: &[(&str, u32)]) -> Self {
            let mut words = text.split(' ');
            let name = words.next().expect("a name");
            let mut entry = IndexEntry::new(name, "1-r0", Checksum::Sha1([0; 20]));
            let mut info = PackageInfo { name: name.to_owned(), ..PackageInfo::default() };
            for word in words {
                match word.split_once('=').expect("key=value") {
                    ("origin", origin) => entry.origin = origin.to_owned(),
                    ("replaces", what) => info.replaces.push(what.parse().expect("good")),
                    ("priority", number) => info.replaces_priority = Some(number.parse().expect("a number")),
                    _ => panic!("{word}"),
                }
            }
            let origin = Origin::new(LayerKind::Package, entry.full_name());
            let mut tree = Tree::new();
            for (path, mode) in directories {
                let metadata = Metadata { mode: *mode, ..Metadata::DIRECTORY };
                tree.insert_with_parents(
                    path.parse().expect("good"),
                    Node::directory(metadata, origin.clone()),
                );
            }
            for path in files {
                let node = Node::file(Content::from_bytes(*b"same"), Metadata::FILE, origin.clone());
                tree.insert_with_parents(path.parse().expect("good"), node);
            }
            Self { entry, info, tree }
        }

        fn package(&self) -> Package<'_> {
            Package { entry: &self.entry, info: &self.info, scripts: &[], tree: &self.tree, tag: None }
        }
    }

    /// Whose the file is that both bring.
    fn winner(first: &str, second: &str) -> Result<String, MergeError> {
        let made = [first, second].map(|text| Made::new(text, &["usr/x"], &[]));
        let packages = [made[0].package(), made[1].package()];
        let mut tree = Tree::new();
        lay(&mut tree, &packages)?;
        let path: TreePath = "usr/x".parse().expect("good");
        let part = tree.get(&path).expect("there").origin.part.to_string();
        let owner = owners(&tree, &packages)[&path];
        assert_eq!(part, packages[owner].entry.full_name());
        Ok(part)
    }

    #[test]
    fn replaces_and_its_priority_say_whose_a_file_is() {
        for (first, second, expected) in [
            ("a", "b", None),
            ("a", "b replaces=a", Some("b-1-r0")),
            ("a replaces=b", "b", Some("a-1-r0")),
            ("a replaces=b", "b replaces=a", Some("b-1-r0")),
            ("a replaces=b priority=2", "b replaces=a priority=1", Some("a-1-r0")),
            ("a replaces=b priority=1", "b replaces=a priority=1", Some("b-1-r0")),
            // The priority alone is no claim.
            ("a priority=9", "b priority=1", None),
            ("a priority=9", "b replaces=a", Some("b-1-r0")),
            ("a", "b replaces=a<1", None),
            ("a", "b replaces=a<2", Some("b-1-r0")),
            ("a origin=o", "b origin=o", Some("b-1-r0")),
            ("a origin=o replaces=b", "b origin=o", Some("a-1-r0")),
            ("a origin=o", "b origin=p", None),
        ] {
            let found = winner(first, second);
            match expected {
                Some(expected) => assert_eq!(found.as_deref(), Ok(expected), "{first}; {second}"),
                None => assert!(matches!(found, Err(MergeError::Packages { .. })), "{first}; {second}"),
            }
        }
    }

    #[test]
    fn directories_are_as_the_most_important_package_has_them() {
        for (first, second, expected) in [
            ("a", "b", 0o700),
            ("b", "a", 0o711),
            ("b priority=1", "a", 0o700),
            ("a", "b priority=1", 0o711),
            ("o-x origin=o", "o origin=o", 0o711),
            ("o origin=o", "a origin=o", 0o700),
        ] {
            let made =
                [(first, 0o700), (second, 0o711)].map(|(text, mode)| Made::new(text, &[], &[("srv", mode)]));
            let mut tree = Tree::new();
            lay(&mut tree, &[made[0].package(), made[1].package()]).expect("laid");
            let mode = tree.get(&"srv".parse().expect("good")).expect("there").metadata.mode;
            assert_eq!(mode, expected, "{first}; {second}");
        }
    }

    #[test]
    fn a_file_and_a_directory_are_a_conflict() {
        let made = [Made::new("a", &["usr/x"], &[]), Made::new("b replaces=a", &["usr/x/y"], &[])];
        let laid = lay(&mut Tree::new(), &[made[0].package(), made[1].package()]);
        assert!(matches!(laid, Err(MergeError::Conflict { .. })), "{laid:?}");
    }
}
