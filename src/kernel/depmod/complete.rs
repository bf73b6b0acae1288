//! The lists for the modules that are in a tree.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lists, ModuleFacts, depmod};
use crate::kernel::KernelError;
use crate::kernel::package::uncompressed;
use crate::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath};

/// The longest list that is read: `linux-lts` has 700 kB.
const MOST_LIST_BYTES: u64 = 16 << 20;

/// Makes the lists of each directory of modules in which a module stands that `modules.dep` doesn't name: where a kernel's
/// package carries none, or somebody added a module. Gives those directories.
///
/// # Errors
/// When a module can't be read.
pub fn complete_lists(tree: &mut Tree, mtime: i64) -> Result<Vec<TreePath>, KernelError> {
    let mut directories: BTreeMap<TreePath, Vec<(String, TreePath)>> = BTreeMap::new();
    for root in ["lib/modules", "usr/lib/modules"] {
        let root = TreePath::parse(root.as_bytes()).expect("a constant path");
        for (path, node) in tree.below(&root) {
            let below = path.strip_prefix(&root).and_then(|below| std::str::from_utf8(below).ok());
            let Some((release, module)) = below.and_then(|below| below.split_once('/')) else { continue };
            if matches!(node.kind, NodeKind::File(_))
                && is_module(module)
                && let Ok(directory) = root.join(release)
            {
                directories.entry(directory).or_default().push((module.to_owned(), path.clone()));
            }
        }
    }
    let mut completed = Vec::new();
    for (directory, modules) in directories {
        let list = |name: &str| list(tree, &directory, name);
        let dep = text(list("modules.dep")?);
        let listed: BTreeSet<&str> = dep.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
        if modules.iter().all(|(module, _)| listed.contains(module.as_str())) {
            continue;
        }
        let mut facts = Vec::with_capacity(modules.len());
        for (module, path) in &modules {
            let Some((_, content)) = tree.file(path) else { continue };
            let bytes = uncompressed(content).map_err(KernelError::read(path))?;
            facts.extend(ModuleFacts::read(module, &bytes));
        }
        let (order, builtin) = (text(list("modules.order")?), text(list("modules.builtin")?));
        let builtin_info = list("modules.builtin.modinfo")?;
        let files = depmod(&facts, Lists { order: &order, builtin: &builtin, builtin_info: &builtin_info });
        for (name, bytes) in files {
            let Ok(path) = directory.join(name) else { continue };
            let content = Content::from_bytes(bytes);
            match tree.get_mut(&path) {
                Some(there) if matches!(there.kind, NodeKind::File(_)) => {
                    there.kind = NodeKind::File(content)
                }
                _ => {
                    let origin = Origin::new(LayerKind::Kernel, "depmod");
                    tree.insert(path, Node::file(content, Metadata { mtime, ..Metadata::FILE }, origin));
                }
            }
        }
        completed.push(directory);
    }
    Ok(completed)
}

fn is_module(path: &str) -> bool {
    ["", ".gz", ".xz", ".zst"]
        .iter()
        .any(|suffix| path.strip_suffix(suffix).is_some_and(|plain| plain.ends_with(".ko")))
}

/// A list's bytes; none if it is not there.
fn list(tree: &Tree, directory: &TreePath, name: &str) -> Result<Vec<u8>, KernelError> {
    let Ok(path) = directory.join(name) else { return Ok(Vec::new()) };
    match tree.file(&path) {
        Some((_, content)) => content.read(MOST_LIST_BYTES).map_err(KernelError::read(&path)),
        None => Ok(Vec::new()),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        text.parse().expect("good")
    }

    fn add(tree: &mut Tree, name: &str, bytes: &[u8]) {
        let node = Node::file(Content::from_bytes(bytes.to_vec()), Metadata::FILE, Origin::skeleton());
        tree.insert_with_parents(path(name), node);
    }

    #[test]
    fn lists_are_made_where_a_module_is_not_listed() {
        let elf = crate::elf::sample::Sample::object().bytes();
        let mut tree = Tree::new();
        add(&mut tree, "lib/modules/1/kernel/a.ko", &elf);
        add(&mut tree, "lib/modules/1/modules.dep", b"kernel/a.ko:\n");
        add(&mut tree, "lib/modules/2/kernel/b.ko", &elf);
        add(&mut tree, "lib/modules/2/kernel/readme.txt", b"not a module");
        assert_eq!(complete_lists(&mut tree, 7).expect("made"), [path("lib/modules/2")]);
        let dep = |tree: &Tree, release: &str| {
            let path = path(&format!("lib/modules/{release}/modules.dep"));
            let (node, content) = tree.file(&path).expect("there");
            (String::from_utf8(content.read(1000).expect("readable")).expect("text"), node.metadata.mtime)
        };
        assert_eq!(dep(&tree, "2"), ("kernel/b.ko:\n".to_owned(), 7));
        assert_eq!(complete_lists(&mut tree, 7).expect("nothing to do"), []);
        add(&mut tree, "lib/modules/1/extra/c.ko", &elf);
        assert_eq!(complete_lists(&mut tree, 7).expect("made"), [path("lib/modules/1")]);
        assert_eq!(dep(&tree, "1").0, "extra/c.ko:\nkernel/a.ko:\n");
    }
}
