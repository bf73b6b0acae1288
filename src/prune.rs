//! What leaves a tree, each with its reason.
//!
//! Invariant: nothing leaves a tree but through this room, and every removal becomes a [`Removal`] that the
//! manifest shows.

use std::collections::BTreeSet;

use crate::recipe::PruneLevel;
use crate::tree::{Node, NodeKind, Tree, TreePath};

/// Something that was taken out of a tree.
#[derive(Debug, Clone)]
pub struct Removal {
    /// Where it stood.
    pub path: TreePath,
    /// What it was.
    pub node: Node,
    /// The rule that took it.
    pub rule: Rule,
    /// Why, in words.
    pub reason: String,
}

/// Why something stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// In words.
    pub because: String,
    /// What needs it, if that is a file of the tree.
    pub by: Option<TreePath>,
}

/// The rules by which things go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// An application of OTP that the release doesn't list.
    OtpApplication,
    /// Sources, headers, manuals, examples: no running system reads them.
    Development,
    /// Erlang's port mapper, where distribution is off.
    PortMapper,
}

impl Rule {
    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::OtpApplication => "otp-application",
            Self::Development => "development",
            Self::PortMapper => "port-mapper",
        }
    }
}

/// Where things stand that the rules must know.
#[derive(Debug, Clone)]
pub struct PruneInput<'a> {
    /// How much goes.
    pub level: PruneLevel,
    /// The root of the Erlang/OTP installation: it holds `lib/` and `erts-VERSION/`.
    pub otp_root: &'a TreePath,
    /// The root of the release.
    pub release_root: &'a TreePath,
    /// The applications of the release's `.rel` file.
    pub applications: &'a BTreeSet<String>,
    /// Whether Erlang's distribution is on, which needs `epmd`.
    pub distribution: bool,
}

/// Takes out what `input.level` says.
pub fn prune(tree: &mut Tree, input: &PruneInput<'_>) -> Vec<Removal> {
    if input.level == PruneLevel::None {
        return Vec::new();
    }
    let doomed: Vec<(TreePath, Rule, String)> = tree
        .iter()
        .filter_map(|(path, node)| {
            let (rule, reason) = unused_application(path, input)
                .or_else(|| port_mapper(path, input))
                .or_else(|| development(path, node, input))?;
            Some((path.clone(), rule, reason))
        })
        .collect();
    let kept_targets: BTreeSet<TreePath> = tree
        .iter()
        .filter_map(|(path, node)| match &node.kind {
            NodeKind::Hardlink(target)
                if doomed.binary_search_by(|(doomed, ..)| doomed.cmp(path)).is_err() =>
            {
                Some(target.clone())
            }
            _ => None,
        })
        .collect();
    let mut removals = Vec::new();
    for (path, rule, reason) in doomed {
        // Another name of the file stays, so its content must.
        if kept_targets.contains(&path) {
            continue;
        }
        if let Some(node) = tree.remove(&path) {
            removals.push(Removal { path, node, rule, reason });
        }
    }
    removals
}

/// `OTP/lib/APP-VERSION/…` for an application that the release doesn't list.
fn unused_application(path: &TreePath, input: &PruneInput<'_>) -> Option<(Rule, String)> {
    let application = application_of(path, input.otp_root)?.0;
    // A release's own `lib` holds just what it was made with.
    if input.otp_root == input.release_root || input.applications.contains(application) {
        return None;
    }
    Some((Rule::OtpApplication, format!("the release does not list the application {application}")))
}

/// `epmd`, and the links to it beside `erl`. Its libraries may be many: Debian's wants those of systemd.
fn port_mapper(path: &TreePath, input: &PruneInput<'_>) -> Option<(Rule, String)> {
    if input.distribution || path.file_name() != Some(b"epmd") {
        return None;
    }
    let of_otp = [input.otp_root, input.release_root].iter().any(|root| path.is_below(root));
    let directory = path.parent().unwrap_or_default();
    if !(of_otp && directory.file_name() == Some(b"bin") || directory.as_bytes() == b"usr/bin") {
        return None;
    }
    Some((Rule::PortMapper, "Erlang's distribution is off, and only that asks the port mapper".to_owned()))
}

/// Things that only compiling and reading need.
fn development(path: &TreePath, node: &Node, input: &PruneInput<'_>) -> Option<(Rule, String)> {
    let because = |what: &str| Some((Rule::Development, format!("{what}: no running system reads it")));
    for root in [input.otp_root, input.release_root] {
        if let Some((_, rest)) = application_of(path, root) {
            match rest.split(|&byte| byte == b'/').next() {
                Some(b"src" | b"c_src" | b"asn1" | b"emacs") => return because("source code"),
                Some(b"include") => return because("headers"),
                Some(b"doc" | b"man" | b"info") => return because("documentation"),
                Some(b"examples") => return because("examples"),
                _ => {}
            }
        }
        let below = path.strip_prefix(root).unwrap_or_default();
        let mut components = below.split(|&byte| byte == b'/');
        match (components.next(), components.next()) {
            (Some(erts), Some(part)) if erts.starts_with(b"erts-") => match part {
                b"src" => return because("source code"),
                b"include" | b"lib" => return because("headers and static libraries"),
                b"doc" | b"man" => return because("documentation"),
                _ => {}
            },
            // In a release's own root these names are the user's.
            (Some(b"usr"), _) if root != input.release_root => {
                return because("headers and static libraries");
            }
            (Some(b"man" | b"doc"), _) if root != input.release_root => return because("documentation"),
            _ => {}
        }
    }
    let outside = !path.is_below(input.release_root);
    let bytes = path.as_bytes();
    if outside
        && [&b"usr/share/man"[..], b"usr/share/doc", b"usr/share/info"].iter().any(|directory| {
            bytes.starts_with(directory) && bytes.get(directory.len()).is_none_or(|&next| next == b'/')
        })
    {
        return because("documentation");
    }
    if outside && (bytes == b"usr/include" || bytes.starts_with(b"usr/include/")) {
        return because("headers");
    }
    if outside
        && matches!(node.kind, NodeKind::File(_))
        && (bytes.ends_with(b".a") || bytes.ends_with(b".la"))
    {
        return because("a static library");
    }
    None
}

/// For `ROOT/lib/NAME-VERSION[/REST]`: the name and the rest.
fn application_of<'a>(path: &'a TreePath, root: &TreePath) -> Option<(&'a str, &'a [u8])> {
    let below = path.strip_prefix(root)?.strip_prefix(b"lib/")?;
    let slash = below.iter().position(|&byte| byte == b'/').unwrap_or(below.len());
    let directory = std::str::from_utf8(&below[..slash]).ok()?;
    let (name, version) = directory.rsplit_once('-')?;
    version.starts_with(|first: char| first.is_ascii_digit()).then_some(())?;
    Some((name, below.get(slash + 1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Metadata, Origin};

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::new();
        for path in paths {
            let node = Node::file(Content::from_bytes(*b"x"), Metadata::FILE, Origin::skeleton());
            tree.insert_with_parents(path.parse().expect("good"), node);
        }
        tree
    }

    fn left(tree: &Tree) -> Vec<String> {
        tree.iter()
            .filter(|(_, node)| !matches!(node.kind, NodeKind::Directory))
            .map(|(path, _)| path.to_string())
            .collect()
    }

    fn run(tree: &mut Tree, level: PruneLevel, otp: &str) -> Vec<Removal> {
        let applications = ["kernel", "stdlib"].map(str::to_owned).into();
        prune(
            tree,
            &PruneInput {
                level,
                otp_root: &otp.parse().expect("good"),
                release_root: &"app".parse().expect("good"),
                applications: &applications,
                distribution: false,
            },
        )
    }

    const PATHS: [&str; 13] = [
        "app/lib/mine-0.1.0/ebin/mine.beam",
        "app/lib/mine-0.1.0/include/mine.hrl",
        "app/lib/mine-0.1.0/priv/src/kept.c",
        "usr/include/zlib.h",
        "usr/lib/erlang/erts-15.2/bin/beam.smp",
        "usr/lib/erlang/erts-15.2/bin/epmd",
        "usr/lib/erlang/erts-15.2/include/erl_nif.h",
        "usr/lib/erlang/lib/kernel-10.2/ebin/code.beam",
        "usr/lib/erlang/lib/kernel-10.2/src/code.erl",
        "usr/lib/erlang/lib/wx-2.4/ebin/wx.beam",
        "usr/lib/erlang/usr/lib/liberts.a",
        "usr/lib/libz.a",
        "usr/share/man/man1/x.1",
    ];

    #[test]
    fn only_what_runs_stays() {
        let mut pruned = tree(&PATHS);
        let removals = run(&mut pruned, PruneLevel::Apps, "usr/lib/erlang");
        assert_eq!(
            left(&pruned),
            [
                "/app/lib/mine-0.1.0/ebin/mine.beam",
                "/app/lib/mine-0.1.0/priv/src/kept.c",
                "/usr/lib/erlang/erts-15.2/bin/beam.smp",
                "/usr/lib/erlang/lib/kernel-10.2/ebin/code.beam",
            ]
        );
        let wx = removals.iter().find(|removal| removal.path.to_string().ends_with("wx.beam")).expect("gone");
        assert_eq!(wx.reason, "the release does not list the application wx");
    }

    #[test]
    fn none_means_nothing() {
        let mut whole = tree(&PATHS);
        assert!(run(&mut whole, PruneLevel::None, "usr/lib/erlang").is_empty());
        assert_eq!(left(&whole).len(), PATHS.len());
    }

    #[test]
    fn a_release_with_its_own_otp_keeps_its_applications() {
        let mut tree = tree(&["app/lib/late-1.0/ebin/late.beam", "app/lib/kernel-10.2/ebin/code.beam"]);
        assert!(run(&mut tree, PruneLevel::Apps, "app").is_empty());
    }

    #[test]
    fn a_file_stays_while_another_name_of_it_does() {
        let mut tree = tree(&["usr/include/x.h"]);
        let link = Node::new(
            NodeKind::Hardlink("usr/include/x.h".parse().expect("good")),
            Metadata::FILE,
            Origin::skeleton(),
        );
        tree.insert_with_parents("etc/x".parse().expect("good"), link);
        run(&mut tree, PruneLevel::Apps, "usr/lib/erlang");
        assert_eq!(left(&tree), ["/etc/x", "/usr/include/x.h"]);
        assert!(tree.validate().is_ok());
    }
}
