//! Where reaching begins and what it leaves, through the library's own door: small modules of the real compiler in a
//! tree made by hand.

use std::collections::BTreeSet;
use std::process::Command;

use leanfs::beam::BootScript;
use leanfs::cache::Memo;
use leanfs::prune::{PruneInput, Pruned, Rule, prune};
use leanfs::recipe::{Pattern, PruneLevel};
use leanfs::tree::{Content, LayerKind, Metadata, Node, Origin, Tree, TreePath};

use crate::strip::{find, skip};

/// Name and source of each module: `mine` is the release's own, the rest stands in an application of the platform.
const MODULES: [(&str, &str); 7] = [
    ("mine", "start(_, _) -> helper:used(). unused() -> rare:x()."),
    ("helper", "used() -> ok."),
    ("rare", "x() -> ok."),
    ("plugin", "call(Name) -> (list_to_atom(\"plugin_\" ++ Name)):run()."),
    ("plugin_a", "run() -> ok."),
    ("inet_tcp_dist", "listen(_) -> helper2:x()."),
    ("helper2", "x() -> ok."),
];
const SCRIPT: &str =
    r#"{script,{"x","1"},[{apply,{application,load,[{application,mine,[{mod,{mine,[]}}]}]}}]}."#;

/// What differs from case to case.
#[derive(Default)]
struct Case<'a> {
    arguments: &'a [&'a str],
    distribution: bool,
    keep: &'a [&'a str],
    traced: &'a [&'a str],
    /// Name and text of files in `releases/1`.
    files: &'a [(&'a str, &'a str)],
    overlay: Option<&'a str>,
}

fn path(text: &str) -> TreePath {
    text.parse().expect("good")
}

fn put(tree: &mut Tree, at: &str, bytes: &[u8]) {
    let node = Node::file(Content::from_bytes(bytes), Metadata::FILE, Origin::new(LayerKind::Release, "x"));
    tree.insert_with_parents(path(at), node);
}

/// The modules, compiled; nothing where there is no compiler.
fn compiled() -> Option<Vec<(&'static str, Vec<u8>)>> {
    if find("erlc").is_none() {
        skip("erlc");
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut erlc = Command::new("erlc");
    erlc.arg("+export_all").arg("+nowarn_export_all").current_dir(directory.path());
    for (name, source) in MODULES {
        let file = format!("{name}.erl");
        fs_err::write(directory.path().join(&file), format!("-module({name}).\n{source}\n"))
            .expect("written");
        erlc.arg(file);
    }
    assert!(erlc.status().expect("erlc runs").success());
    let bytes = |name: &str| fs_err::read(directory.path().join(format!("{name}.beam"))).expect("compiled");
    Some(MODULES.iter().map(|(name, _)| (*name, bytes(name))).collect())
}

fn tree(modules: &[(&str, Vec<u8>)]) -> Tree {
    let mut tree = Tree::new();
    for (name, bytes) in modules {
        let application = if matches!(*name, "mine" | "plugin" | "plugin_a") { "mine-1" } else { "kernel-1" };
        put(&mut tree, &format!("app/lib/{application}/ebin/{name}.beam"), bytes);
    }
    tree
}

fn run(tree: &mut Tree, case: &Case<'_>) -> Pruned {
    for (name, text) in case.files {
        put(tree, &format!("app/releases/1/{name}"), text.as_bytes());
    }
    let overlay = case.overlay.map(|at| {
        let mut overlay = Tree::new();
        put(&mut overlay, at, b"");
        overlay
    });
    let keep: Vec<Pattern> = case.keep.iter().map(|text| text.parse().expect("a pattern")).collect();
    prune(
        tree,
        &PruneInput {
            level: PruneLevel::Modules,
            otp_root: &path("usr/lib/erlang"),
            release_root: &path("app"),
            version_directory: &path("app/releases/1"),
            applications: &["kernel", "mine"].map(str::to_owned).into(),
            distribution: case.distribution,
            boot: &BootScript::parse_text(SCRIPT.as_bytes()).expect("a script"),
            boot_path: &path("app/releases/1/start.boot"),
            arguments: &case.arguments.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>(),
            programs: &BTreeSet::new(),
            shell: false,
            overlay: overlay.as_ref(),
            keep: &keep,
            traced: &case.traced.iter().map(|name| (*name).to_owned()).collect(),
            keep_package_db: false,
            memo: &Memo::open(None, "", &std::env::temp_dir()).expect("room"),
        },
    )
    .expect("all of it is well formed")
}

/// What stays of the modules beside `mine` and what it calls.
fn beside(tree: &Tree) -> Vec<String> {
    let mut names: Vec<String> = tree
        .iter()
        .filter_map(|(path, _)| {
            Some(String::from_utf8_lossy(path.file_name()?.strip_suffix(b".beam")?).into_owned())
        })
        .collect();
    names.sort();
    for always in ["mine", "helper"] {
        assert!(names.iter().any(|name| name == always), "{always} is not in {names:?}");
    }
    names.retain(|name| !matches!(name.as_str(), "mine" | "helper"));
    names
}

#[test]
fn where_reaching_begins() {
    let Some(modules) = compiled() else { return };
    for (what, case, expected) in [
        ("nothing else", Case::default(), &[][..]),
        ("-s", Case { arguments: &["-noshell", "-s", "rare", "x"], ..Case::default() }, &["rare"]),
        ("-run", Case { arguments: &["-noshell", "-run", "rare", "x"], ..Case::default() }, &["rare"]),
        ("-eval", Case { arguments: &["-noshell", "-eval", "rare:x()."], ..Case::default() }, &["rare"]),
        ("-extra", Case { arguments: &["-noshell", "-extra", "-s", "rare", "x"], ..Case::default() }, &[]),
        ("-APP KEY VALUE", Case { arguments: &["-mine", "key", "{rare,x}"], ..Case::default() }, &["rare"]),
        (
            "a shell's start",
            Case { arguments: &["sh", "-c", "exec erl -noshell -s rare x"], ..Case::default() },
            &["rare"],
        ),
        (
            "configuration",
            Case { files: &[("sys.config", "[{mine,[{a,plugin_a}]}].")], ..Case::default() },
            &["plugin_a"],
        ),
        (
            "a template of a configuration",
            Case { files: &[("sys.config.src", "[{other,[{a,plugin_a},{b,${B}}]}].")], ..Case::default() },
            &["plugin_a"],
        ),
        (
            "code that is evaluated",
            Case {
                files: &[("runtime.exs", "import Config\nconfig :x, y: :plugin_a.run(), z: :rare.x()")],
                ..Case::default()
            },
            &["plugin_a", "rare"],
        ),
        ("keep a module", Case { keep: &["plugin_*"], ..Case::default() }, &["plugin_a"]),
        ("keep an application", Case { keep: &["mine"], ..Case::default() }, &["plugin", "plugin_a", "rare"]),
        ("a trace", Case { traced: &["rare"], ..Case::default() }, &["rare"]),
        (
            "the overlay",
            Case { overlay: Some("app/lib/mine-1/ebin/plugin_a.beam"), ..Case::default() },
            &["plugin_a"],
        ),
        ("distribution", Case { distribution: true, ..Case::default() }, &["helper2", "inet_tcp_dist"]),
        (
            "distribution over something else",
            Case { distribution: true, arguments: &["-proto_dist", "inet_tls"], ..Case::default() },
            &[],
        ),
    ] {
        let mut tree = tree(&modules);
        let pruned = run(&mut tree, &case);
        assert_eq!(beside(&tree), expected, "{what}");
        for removal in pruned.removals.iter().filter(|removal| removal.path.as_bytes().ends_with(b".beam")) {
            assert_eq!(removal.rule, Rule::Module, "{what}: {}", removal.path);
        }
        // Whatever stays has a reason, and its chain ends.
        for (path, _) in tree.iter().filter(|(path, _)| path.as_bytes().ends_with(b".beam")) {
            let mut reason = &pruned.reasons[path];
            for _ in 0..modules.len() {
                let Some(by) = &reason.by else { break };
                reason = &pruned.reasons[by];
            }
            assert_eq!(reason.by, None, "{what}: {path}");
        }
    }
}

/// A release with applications of its own on another installation of the same Erlang/OTP: which of two is loaded is the
/// code path's affair.
#[test]
fn a_module_that_stands_twice_stays_twice() {
    let Some(modules) = compiled() else { return };
    let mut tree = tree(&modules);
    for (name, bytes) in modules.iter().filter(|(name, _)| matches!(*name, "helper" | "rare")) {
        put(&mut tree, &format!("usr/lib/erlang/lib/kernel-1/ebin/{name}.beam"), bytes);
    }
    run(&mut tree, &Case::default());
    for root in ["app", "usr/lib/erlang"] {
        assert!(tree.get(&path(&format!("{root}/lib/kernel-1/ebin/helper.beam"))).is_some(), "{root}");
        assert!(tree.get(&path(&format!("{root}/lib/kernel-1/ebin/rare.beam"))).is_none(), "{root}");
    }
}

/// The protocol that was consolidated is the one that loads.
#[test]
fn what_stands_behind_a_consolidated_protocol_goes() {
    let Some(modules) = compiled() else { return };
    let mut tree = tree(&modules);
    let helper = &modules.iter().find(|(name, _)| *name == "helper").expect("it is there").1;
    put(&mut tree, "app/releases/1/consolidated/helper.beam", helper);
    let pruned = run(&mut tree, &Case::default());
    assert!(tree.get(&path("app/releases/1/consolidated/helper.beam")).is_some());
    let shadowed = pruned.removals.iter().find(|removal| removal.rule == Rule::Shadowed).expect("the other");
    assert_eq!(shadowed.path, path("app/lib/kernel-1/ebin/helper.beam"));
}

#[test]
fn what_could_not_be_followed_is_told() {
    let Some(modules) = compiled() else { return };
    let mut tree = tree(&modules);
    // Only a function that is reached can call.
    assert!(run(&mut tree.clone(), &Case::default()).unfollowed.is_empty());
    let told = run(&mut tree, &Case { keep: &["plugin"], ..Case::default() }).unfollowed;
    let told: Vec<(&str, &str)> =
        told.iter().map(|call| (call.module.as_str(), call.function.as_str())).collect();
    assert_eq!(told, [("plugin", "call/1")]);
}
