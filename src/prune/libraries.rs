//! Shared libraries that nothing loads: what came as a dependency of what has gone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::{PruneError, Reason, Removal, Rule};
use crate::cache::Memo;
use crate::tree::{LayerKind, NodeKind, Tree, TreePath};

/// Directories in which loaders look by themselves.
const SYSTEM_DIRECTORIES: [&[u8]; 3] = [b"lib", b"usr/lib", b"usr/local/lib"];

/// Takes the libraries of packages out that no program and no plug-in needs.
///
/// `needs` tells, for each ELF file that a loader starts or loads, what it needs (through all libraries between).
/// `of_otp` is where plug-ins of the emulator stand, and `asked` are the packages (with their versions) that the user
/// wants for themselves: everything there stays. `memo` may know which files hold which names.
///
/// A library that is not needed stays when a file that stays holds its name, or the name of the directory that it
/// stands in, as text: it may be loaded by that (`dlopen`). OpenSSL's providers and engines are.
///
/// # Errors
/// When a file can't be read.
pub fn unused_libraries(
    tree: &mut Tree,
    needs: &BTreeMap<TreePath, BTreeSet<TreePath>>,
    of_otp: &[&TreePath],
    asked: &BTreeSet<String>,
    memo: &Memo,
) -> Result<(Vec<Removal>, BTreeMap<TreePath, Reason>), PruneError> {
    let mut waiting: BTreeSet<TreePath> = BTreeSet::new();
    let mut staying: BTreeSet<TreePath> = BTreeSet::new();
    let mut reasons = BTreeMap::new();
    for path in needs.keys() {
        let Some(node) = tree.get(path) else { continue };
        let dependency = node.origin.layer == LayerKind::Package
            && !asked.contains(&*node.origin.part)
            && !of_otp.iter().any(|root| path.is_below(root))
            && is_library(path);
        if dependency {
            waiting.insert(path.clone());
        } else {
            staying.insert(path.clone());
        }
    }
    let mut searched: BTreeSet<TreePath> = BTreeSet::new();
    loop {
        for (path, needed) in needs {
            if !staying.contains(path) {
                continue;
            }
            for library in needed {
                reasons.entry(library.clone()).or_insert_with(|| Reason {
                    because: "it is loaded with it".to_owned(),
                    by: Some(path.clone()),
                });
            }
        }
        let needed: BTreeSet<TreePath> =
            staying.iter().filter_map(|path| needs.get(path)).flatten().cloned().collect();
        staying.extend(needed);
        waiting.retain(|path| !staying.contains(path));
        let mut named = BTreeMap::new();
        if !waiting.is_empty() {
            for path in staying.iter().filter(|path| !searched.contains(*path)) {
                for library in names_in(tree, path, &waiting, memo)
                    .map_err(|source| PruneError::Io { path: path.clone(), source })?
                {
                    named.entry(library).or_insert_with(|| path.clone());
                }
            }
        }
        searched.extend(staying.iter().cloned());
        if named.is_empty() {
            break;
        }
        for (library, by) in named {
            reasons.insert(
                library.clone(),
                Reason {
                    because: "its name stands in it, so it may be loaded by that".to_owned(),
                    by: Some(by),
                },
            );
            staying.insert(library);
        }
    }
    let mut removals = Vec::new();
    let mut take = |tree: &mut Tree, path: TreePath, reason: &str| {
        if let Some(node) = tree.remove(&path) {
            removals.push(Removal { path, node, rule: Rule::Library, reason: reason.to_owned() });
        }
    };
    // A file with further names is not looked through; it stays.
    let linked: BTreeSet<TreePath> = tree
        .iter()
        .filter_map(|(_, node)| match &node.kind {
            NodeKind::Hardlink(target) => Some(target.clone()),
            _ => None,
        })
        .collect();
    waiting.retain(|path| !linked.contains(path));
    let links: Vec<TreePath> = tree
        .iter()
        .filter(|(_, node)| matches!(node.kind, NodeKind::Symlink(_)))
        .filter(|(path, _)| tree.resolve(path).is_some_and(|target| waiting.contains(&target)))
        .map(|(path, _)| path.clone())
        .collect();
    for path in waiting {
        take(tree, path, "no program and no module of the image loads it");
    }
    for path in links {
        take(tree, path, "it leads to a library that nothing loads");
    }
    Ok((removals, reasons))
}

fn is_library(path: &TreePath) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.windows(3).any(|window| window == b".so")
}

/// The libraries of `waiting` whose names stand in the file.
fn names_in(
    tree: &Tree,
    path: &TreePath,
    waiting: &BTreeSet<TreePath>,
    memo: &Memo,
) -> io::Result<Vec<TreePath>> {
    /// The largest file that is searched for names.
    const MOST_BYTES: u64 = 512 << 20;
    let Some((_, content)) = tree.file(path) else { return Ok(Vec::new()) };
    let names: Vec<&[u8]> = waiting.iter().map(name_of).collect();
    let (rule, sha256) = (format!("names {}", names.join(&0).escape_ascii()), content.sha256()?);
    let known = memo.recall_bytes(&rule, &sha256).filter(|known| known.len() == names.len());
    let found = match known {
        Some(known) => known,
        None => {
            let bytes = content.read(MOST_BYTES)?;
            let is_there = |name: &&[u8]| u8::from(memchr::memmem::find(&bytes, name).is_some());
            let found: Vec<u8> = names.iter().map(is_there).collect();
            memo.remember(&rule, &sha256, &found)?;
            found
        }
    };
    Ok(waiting
        .iter()
        .zip(found)
        .filter(|(_, found)| *found != 0)
        .map(|(library, _)| library.clone())
        .collect())
}

/// What a file that loads a library by its name holds of that.
fn name_of(library: &TreePath) -> &[u8] {
    let name = library.file_name().unwrap_or_default();
    let stem = name.windows(3).position(|window| window == b".so").map_or(name, |end| &name[..end + 3]);
    let whole = library.as_bytes();
    let directory = &whole[..whole.len().saturating_sub(name.len() + 1)];
    if SYSTEM_DIRECTORIES.contains(&directory) {
        stem
    } else {
        directory.rsplit(|&byte| byte == b'/').next().filter(|name| !name.is_empty()).unwrap_or(stem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Metadata, Node, Origin};

    fn path(text: &str) -> TreePath {
        text.parse().expect("good")
    }

    fn put(tree: &mut Tree, at: &str, package: &str, bytes: &[u8]) {
        let origin = Origin::new(LayerKind::Package, package);
        tree.insert_with_parents(path(at), Node::file(Content::from_bytes(bytes), Metadata::FILE, origin));
    }

    /// What stays, of a tree in which `beam.smp` needs the C library, and `others` are plug-ins with what they need.
    fn left(tree: &mut Tree, others: &[(&str, &[&str])], asked: &[&str]) -> (Vec<String>, Vec<Removal>) {
        let mut needs =
            BTreeMap::from([(path("otp/erts-1/bin/beam.smp"), BTreeSet::from([path("lib/libc.so")]))]);
        needs.extend(
            others.iter().map(|(at, needed)| (path(at), needed.iter().map(|needed| path(needed)).collect())),
        );
        let asked = asked.iter().map(|name| (*name).to_owned()).collect();
        let (removals, reasons) =
            unused_libraries(tree, &needs, &[&path("otp"), &path("app")], &asked, &Memo::empty())
                .expect("readable");
        for removal in &removals {
            assert!(!reasons.contains_key(&removal.path), "{}", removal.path);
        }
        let files = tree.iter().filter(|(_, node)| !matches!(node.kind, NodeKind::Directory));
        (files.map(|(path, _)| path.to_string()).collect(), removals)
    }

    fn system() -> Tree {
        let mut tree = Tree::new();
        put(&mut tree, "otp/erts-1/bin/beam.smp", "erlang-1", b"\x7fELF dlopen me");
        put(&mut tree, "lib/libc.so", "musl-1", b"\x7fELF");
        tree
    }

    #[test]
    fn what_nothing_loads_goes_with_its_links() {
        let mut tree = system();
        put(&mut tree, "usr/lib/libpanel.so.6.5", "ncurses-1", b"\x7fELF");
        tree.insert(
            path("usr/lib/libpanel.so.6"),
            Node::symlink(*b"libpanel.so.6.5", Origin::new(LayerKind::Package, "ncurses-1")),
        );
        let (left, removals) = left(&mut tree, &[("usr/lib/libpanel.so.6.5", &[])], &[]);
        assert_eq!(left, ["/lib/libc.so", "/otp/erts-1/bin/beam.smp"]);
        assert_eq!(removals.len(), 2);
        assert!(removals.iter().all(|removal| removal.rule == Rule::Library));
    }

    #[test]
    fn plugins_of_the_emulator_and_what_was_asked_for_stay() {
        let mut tree = system();
        put(&mut tree, "app/lib/a-1/priv/nif.so", "x", b"\x7fELF");
        put(&mut tree, "usr/lib/libneeded.so", "needed-1", b"\x7fELF");
        put(&mut tree, "usr/lib/libasked.so", "asked-1", b"\x7fELF");
        let others: [(&str, &[&str]); 3] = [
            ("app/lib/a-1/priv/nif.so", &["usr/lib/libneeded.so"]),
            ("usr/lib/libneeded.so", &[]),
            ("usr/lib/libasked.so", &[]),
        ];
        let (left, removals) = left(&mut tree, &others, &["asked-1"]);
        assert_eq!((left.len(), removals.len()), (5, 0));
    }

    /// By the library's name, by that of the directory of a plug-in, and through what is loaded so.
    #[test]
    fn what_is_loaded_by_name_stays() {
        let mut tree = system();
        put(&mut tree, "otp/erts-1/bin/beam.smp", "erlang-1", b"\x7fELF libnss_dns.so.2");
        put(&mut tree, "usr/lib/libnss_dns.so.2", "nss-1", b"\x7fELF /usr/lib/ossl-modules");
        put(&mut tree, "usr/lib/ossl-modules/legacy.so", "ssl-1", b"\x7fELF");
        put(&mut tree, "usr/lib/engines-3/afalg.so", "ssl-1", b"\x7fELF");
        let others: [(&str, &[&str]); 3] = [
            ("usr/lib/libnss_dns.so.2", &[]),
            ("usr/lib/ossl-modules/legacy.so", &[]),
            ("usr/lib/engines-3/afalg.so", &[]),
        ];
        let (left, _) = left(&mut tree, &others, &[]);
        assert_eq!(
            left,
            [
                "/lib/libc.so",
                "/otp/erts-1/bin/beam.smp",
                "/usr/lib/libnss_dns.so.2",
                "/usr/lib/ossl-modules/legacy.so"
            ]
        );
    }
}
