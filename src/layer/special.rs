//! Files that give powers: programs that run as another user, files with capabilities, device nodes. A package brings
//! them into an image only where the recipe allows each by its path; what the user lays over the tree is the user's own.

use crate::tree::{LayerKind, Node, NodeKind, TreePath, ValidTree};

/// The bits of a mode that change who a program runs as.
const SET_ID: u32 = 0o6000;
/// Where Linux keeps a file's capabilities (capabilities(7)).
const CAPABILITIES: &[u8] = b"security.capability";

/// Something that no recipe allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(.0))]
pub struct SpecialError(pub Vec<Special>);

/// A file that gives powers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Special {
    /// Where it stands.
    pub path: TreePath,
    /// The package that brings it.
    pub package: String,
    /// What it is: `a program that runs as its owner` …
    pub what: &'static str,
}

impl SpecialError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let paths: Vec<String> =
            self.0.iter().take(MOST_TOLD).map(|special| special.path.to_string()).collect();
        format!("if they are wanted, allow them: --allow-special {}", paths.join(" --allow-special "))
    }
}

/// More are counted only.
const MOST_TOLD: usize = 10;

fn told(all: &[Special]) -> String {
    let mut text: Vec<String> = all
        .iter()
        .take(MOST_TOLD)
        .map(|Special { path, package, what }| format!("{path} of the package {package} is {what}"))
        .collect();
    if let Some(more) = all.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
        text.push(format!("and {more} more"));
    }
    text.join("; ")
}

/// Looks for what packages brought and `allowed` doesn't name. Paths begin with a slash.
///
/// # Errors
/// All that was found, in order of paths.
pub fn check(tree: &ValidTree, allowed: &[String]) -> Result<(), SpecialError> {
    let found: Vec<Special> = tree
        .iter()
        .filter(|(_, node)| node.origin.layer == LayerKind::Package)
        .filter_map(|(path, node)| Some((path, node, power(node)?)))
        .filter(|(path, ..)| !allowed.contains(&path.to_string()))
        .map(|(path, node, what)| Special { path: path.clone(), package: node.origin.part.to_string(), what })
        .collect();
    if found.is_empty() { Ok(()) } else { Err(SpecialError(found)) }
}

fn power(node: &Node) -> Option<&'static str> {
    match &node.kind {
        NodeKind::CharDevice { .. } | NodeKind::BlockDevice { .. } => Some("a device node"),
        NodeKind::File(_) if node.metadata.mode & SET_ID != 0 => {
            Some("a program that runs as its owner or group (setuid or setgid)")
        }
        NodeKind::File(_) if node.xattrs.contains_key(CAPABILITIES) => Some("a program with capabilities"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Metadata, Origin, Tree};

    fn tree(layer: LayerKind) -> ValidTree {
        let mut tree = Tree::new();
        let mut put = |path: &str, kind: NodeKind, mode: u32| {
            let metadata = Metadata { mode, ..Metadata::FILE };
            let mut node = Node::new(kind, metadata, Origin::new(layer, "p-1"));
            if path == "ping" {
                node.xattrs.insert(CAPABILITIES.to_vec(), vec![1]);
            }
            tree.insert_with_parents(path.parse().expect("good"), node);
        };
        let file = || NodeKind::File(Content::from_bytes(*b"x"));
        put("usr/bin/sudo", file(), 0o4755);
        put("usr/bin/wall", file(), 0o2755);
        put("ping", file(), 0o755);
        put("dev/mem", NodeKind::CharDevice { major: 1, minor: 1 }, 0o600);
        put("dev/sda", NodeKind::BlockDevice { major: 8, minor: 0 }, 0o600);
        // None of these gives a power.
        put("tmp", NodeKind::Directory, 0o3777);
        put("plain", file(), 0o1755);
        put("pipe", NodeKind::Fifo, 0o4755);
        tree.validate().expect("valid")
    }

    #[test]
    fn packages_bring_powers_only_where_that_is_allowed() {
        let tree = tree(LayerKind::Package);
        let error = check(&tree, &[]).expect_err("nothing is allowed");
        let paths: Vec<String> = error.0.iter().map(|special| special.path.to_string()).collect();
        assert_eq!(paths, ["/dev/mem", "/dev/sda", "/ping", "/usr/bin/sudo", "/usr/bin/wall"]);
        assert!(error.to_string().contains("/usr/bin/sudo of the package p-1 is a program that runs as"));
        assert!(error.hint().contains("--allow-special /dev/mem --allow-special /dev/sda"));
        check(&tree, &paths).expect("all are allowed");
        let error = check(&tree, &paths[1..]).expect_err("one is not");
        assert_eq!(error.0.len(), 1);
    }

    #[test]
    fn what_is_the_users_own_is_let_through() {
        for layer in [LayerKind::Overlay, LayerKind::Release, LayerKind::Skeleton] {
            check(&tree(layer), &[]).expect("no package brought it");
        }
    }
}
