//! What leaves a tree, each with its reason.
//!
//! [`prune`] takes out what the level says; what stays is then made smaller by [`rewrite`], file by file.
//!
//! Invariant: nothing leaves a tree but through this room, and every removal becomes a [`Removal`] that the
//! manifest shows.

mod facts;
mod knowledge;
mod libraries;
mod modules;
mod programs;
mod reach;
mod rewrite;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub use libraries::unused_libraries;
pub use rewrite::{RewriteInput, Rewritten, rewrite};

use crate::beam::{Atom, BeamError, BootScript};
use crate::cache::Memo;
use crate::recipe::{Pattern, PruneLevel};
use crate::report::manifest::UnfollowedCall;
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
    /// A program or a script of Erlang, Elixir or the release that nobody starts.
    Program,
    /// A module that nothing reaches.
    Module,
    /// A module that another of the same name stands in front of.
    Shadowed,
    /// A shared library that nothing loads.
    Library,
    /// The database of installed packages.
    PackageDatabase,
}

impl Rule {
    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::OtpApplication => "otp-application",
            Self::Development => "development",
            Self::PortMapper => "port-mapper",
            Self::Program => "program",
            Self::Module => "module",
            Self::Shadowed => "shadowed",
            Self::Library => "library",
            Self::PackageDatabase => "package-database",
        }
    }
}

/// What must be known of the image to prune it.
#[derive(Debug, Clone)]
pub struct PruneInput<'a> {
    /// How much goes.
    pub level: PruneLevel,
    /// The root of the Erlang/OTP installation: it holds `lib/` and `erts-VERSION/`.
    pub otp_root: &'a TreePath,
    /// The root of the release.
    pub release_root: &'a TreePath,
    /// Where the files of the release's version are: `releases/VERSION` in the release.
    pub version_directory: &'a TreePath,
    /// The applications of the release's `.rel` file.
    pub applications: &'a BTreeSet<String>,
    /// Whether Erlang's distribution is on, which needs `epmd`.
    pub distribution: bool,
    /// The boot script that the release is started with.
    pub boot: &'a BootScript,
    /// Where that stands.
    pub boot_path: &'a TreePath,
    /// What the emulator is started with, `argv[0]` first.
    pub arguments: &'a [Vec<u8>],
    /// The programs that are started, beside what shells start.
    pub programs: &'a BTreeSet<TreePath>,
    /// Whether there is a shell, which may start any program.
    pub shell: bool,
    /// What the user lays over the image: modules there are meant to be used.
    pub overlay: Option<&'a Tree>,
    /// Modules and applications that stay.
    pub keep: &'a [Pattern],
    /// Modules that a trace saw.
    pub traced: &'a BTreeSet<String>,
    /// Whether the database of installed packages stays.
    pub keep_package_db: bool,
    /// What was worked out before.
    pub memo: &'a Memo,
}

/// What pruning did.
#[derive(Debug, Default)]
pub struct Pruned {
    /// What went, in path order.
    pub removals: Vec<Removal>,
    /// Why what stayed did, as far as pruning looked at it.
    pub reasons: BTreeMap<TreePath, Reason>,
    /// Calls that could not be followed.
    pub unfollowed: Vec<UnfollowedCall>,
    /// The modules that stay, if modules were looked at.
    pub kept_modules: Option<BTreeSet<Atom>>,
}

/// What keeps a tree from being pruned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// A file can't be read, or what was made of it can't be kept.
    #[error("{path} can't be read")]
    Io {
        /// The file in the image.
        path: TreePath,
        /// What is wrong.
        source: io::Error,
    },
    /// A module, an application's specification or a boot script that can't be understood.
    #[error("{path} can't be understood")]
    Beam {
        /// The file in the image.
        path: TreePath,
        /// What is wrong.
        source: BeamError,
    },
    /// An ELF file that can't be understood.
    #[error("{path} can't be understood")]
    Elf {
        /// The file in the image.
        path: TreePath,
        /// What is wrong.
        source: crate::elf::ElfError,
    },
}

impl PruneError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { .. } => None,
            Self::Beam { .. } | Self::Elf { .. } => Some(
                "The file may be damaged: build the release again. With `--prune apps` it is left as it is."
                    .into(),
            ),
        }
    }
}

/// Takes out what `input.level` says.
///
/// # Errors
/// At the level of modules, when one can't be read or understood.
pub fn prune(tree: &mut Tree, input: &PruneInput<'_>) -> Result<Pruned, PruneError> {
    let mut pruned = Pruned::default();
    if input.level == PruneLevel::None {
        return Ok(pruned);
    }
    let doomed: Vec<(TreePath, Rule, String)> = tree
        .iter()
        .filter_map(|(path, node)| {
            let (rule, reason) = unused_application(path, input)
                .or_else(|| port_mapper(path, input))
                .or_else(|| development(path, node, input))
                .or_else(|| programs::unused(path, node, input))
                .or_else(|| package_database(path, input))?;
            Some((path.clone(), rule, reason))
        })
        .collect();
    pruned.removals = remove(tree, doomed);
    if input.level >= PruneLevel::Modules {
        let outcome = modules::prune(tree, input)?;
        pruned.removals.extend(remove(tree, outcome.doomed));
        pruned.reasons = outcome.reasons;
        pruned.unfollowed = outcome.unfollowed;
        pruned.kept_modules = Some(outcome.kept);
    }
    pruned.removals.extend(empty_directories(tree, input));
    pruned.removals.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(pruned)
}

/// Takes nodes out; those whose content another name needs stay.
fn remove(tree: &mut Tree, doomed: Vec<(TreePath, Rule, String)>) -> Vec<Removal> {
    let paths: BTreeSet<&TreePath> = doomed.iter().map(|(path, ..)| path).collect();
    let kept_targets: BTreeSet<TreePath> = tree
        .iter()
        .filter_map(|(path, node)| match &node.kind {
            NodeKind::Hardlink(target) if !paths.contains(path) => Some(target.clone()),
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

/// Directories of OTP and the release that pruning emptied. Those that were empty before stay, and so do the
/// applications' own: `code:lib_dir` answers with them.
fn empty_directories(tree: &mut Tree, input: &PruneInput<'_>) -> Vec<Removal> {
    let mut doomed = Vec::new();
    let mut filled: BTreeSet<TreePath> = BTreeSet::new();
    for (path, node) in tree.iter().rev() {
        let inside = [input.otp_root, input.release_root].iter().any(|root| path.is_below(root));
        let is_application = [input.otp_root, input.release_root]
            .iter()
            .filter_map(|root| application_of(path, root))
            .any(|(_, rest)| rest.is_empty() || rest == b"ebin");
        if matches!(node.kind, NodeKind::Directory) && inside && !is_application && !filled.contains(path) {
            doomed.push((path.clone(), Rule::Development, "nothing is left in it".to_owned()));
        } else {
            filled.extend(path.parent());
        }
    }
    remove(tree, doomed)
}

fn package_database(path: &TreePath, input: &PruneInput<'_>) -> Option<(Rule, String)> {
    let bytes = path.as_bytes();
    let is_database = [&b"lib/apk"[..], b"usr/lib/apk", b"var/cache/apk"]
        .iter()
        .any(|directory| is_at_or_below(bytes, directory));
    (is_database && !input.keep_package_db)
        .then(|| (Rule::PackageDatabase, "no package is installed or removed in a running image".to_owned()))
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
        && [&b"usr/share/man"[..], b"usr/share/doc", b"usr/share/info"]
            .iter()
            .any(|directory| is_at_or_below(bytes, directory))
    {
        return because("documentation");
    }
    if outside
        && [&b"usr/share/locale"[..], b"usr/share/i18n"]
            .iter()
            .any(|directory| is_at_or_below(bytes, directory))
    {
        return because("translations");
    }
    let terminals: [&[u8]; 3] = [b"etc/terminfo", b"usr/share/terminfo", b"usr/lib/terminfo"];
    // Without a shell on the console nothing asks what a terminal can do.
    if outside && !input.shell && !has_console(input) && terminals.iter().any(|at| is_at_or_below(bytes, at))
    {
        return because("the description of a terminal");
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

fn is_at_or_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.first().is_none_or(|&next| next == b'/'))
}

/// Whether the emulator talks to a person on the console.
fn has_console(input: &PruneInput<'_>) -> bool {
    !input.arguments.iter().any(|argument| argument == b"-noshell" || argument == b"-noinput")
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
        let script = "{script,{\"x\",\"1\"},[]}.";
        prune(
            tree,
            &PruneInput {
                level,
                otp_root: &otp.parse().expect("good"),
                release_root: &"app".parse().expect("good"),
                version_directory: &"app/releases/1".parse().expect("good"),
                applications: &["kernel", "stdlib"].map(str::to_owned).into(),
                distribution: false,
                boot: &BootScript::parse_text(script.as_bytes()).expect("a script"),
                boot_path: &"app/releases/1/start.boot".parse().expect("good"),
                arguments: &["beam.smp", "--", "-noshell"].map(|word| word.as_bytes().to_vec()),
                programs: &[format!("{otp}/erts-15.2/bin/beam.smp").parse().expect("good")].into(),
                shell: false,
                overlay: None,
                keep: &[],
                traced: &BTreeSet::new(),
                keep_package_db: false,
                memo: &Memo::empty(),
            },
        )
        .expect("nothing is read at this level")
        .removals
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

    /// The tree is not validated yet: a link may stand above a module.
    #[test]
    fn a_module_below_a_link_is_no_danger() {
        let mut tree = tree(&["app/lib/mine-0.1.0/ebin/mine.beam"]);
        let link = Node::symlink(*b"/nowhere", Origin::skeleton());
        tree.insert("app/lib".parse().expect("good"), link);
        let input = |tree: &mut Tree| {
            let otp: TreePath = "usr/lib/erlang".parse().expect("good");
            prune(
                tree,
                &PruneInput {
                    level: PruneLevel::Modules,
                    otp_root: &otp,
                    release_root: &"app".parse().expect("good"),
                    version_directory: &"app/releases/1".parse().expect("good"),
                    applications: &BTreeSet::new(),
                    distribution: false,
                    boot: &BootScript::parse_text(b"{script,{\"x\",\"1\"},[]}.").expect("a script"),
                    boot_path: &"app/releases/1/start.boot".parse().expect("good"),
                    arguments: &[],
                    programs: &BTreeSet::new(),
                    shell: false,
                    overlay: None,
                    keep: &[],
                    traced: &BTreeSet::new(),
                    keep_package_db: false,
                    memo: &Memo::empty(),
                },
            )
        };
        assert!(matches!(input(&mut tree), Err(PruneError::Beam { .. })));
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
