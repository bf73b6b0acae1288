//! Rewriting the files of a tree, through the library's own door.

use std::collections::BTreeSet;
use std::process::Command;

use leanfs::beam::{Atom, BootScript};
use leanfs::cache::Memo;
use leanfs::prune::{PruneError, RewriteInput, Rewritten, rewrite};
use leanfs::recipe::PruneLevel;
use leanfs::report::progress::Progress;
use leanfs::tree::{Content, LayerKind, Metadata, Node, Origin, Tree, TreePath};

use crate::strip::{find, skip};

const APP: &str = "app/lib/mine-1.0/ebin/mine.app";
const BOOT: &str = "app/releases/1/start.boot";
const SCRIPT: &str = r#"{script,{"x","1"},[{primLoad,[mine,gone]},{primLoad,[gone]},{primLoad,[]},
    {apply,{application,load,[{application,mine,[{modules,[gone,mine]}]}]}},{progress,started}]}."#;

fn path(text: &str) -> TreePath {
    text.parse().expect("good")
}

fn put(tree: &mut Tree, at: &str, layer: LayerKind, bytes: &[u8]) {
    let origin = Origin::new(layer, "x");
    tree.insert_with_parents(path(at), Node::file(Content::from_bytes(bytes), Metadata::FILE, origin));
}

fn bytes(tree: &Tree, at: &str) -> Vec<u8> {
    tree.file(&path(at)).expect("a file").1.read(1 << 20).expect("readable")
}

fn run(tree: &mut Tree, kept: &[&str]) -> Result<Rewritten, PruneError> {
    let kept: BTreeSet<Atom> = kept.iter().map(|name| Atom::from(*name)).collect();
    let memo = Memo::open(None, "", &std::env::temp_dir()).expect("room");
    rewrite(
        tree,
        &RewriteInput {
            level: PruneLevel::Modules,
            strip_lines: false,
            kept_modules: Some(&kept),
            boot: &BootScript::parse_text(SCRIPT.as_bytes()).expect("a script"),
            boot_path: &path(BOOT),
            otp_root: &path("usr/lib/erlang"),
            release_root: &path("app"),
            jobs: 2,
            memo: &memo,
            progress: &Progress::default(),
        },
    )
}

#[test]
fn a_specification_is_the_same_term() {
    if find("erl").is_none() {
        skip("erl");
        return;
    }
    let text = r#"%% coding: utf-8
        {application, mine, [{description, "é \"x\" \\ \n\t字"}, {modules, [mine, 'Elixir.Mine']},
        {env, [{a, <<"bin", 255, 0>>}, {b, #{k => [1.5, -2.0e-9], "s" => {}}}, {c, 'it\'s'},
            {d, 123456789012345678901234567890}, {e, [a | b]}, {f, [1, 2, 3]}, {g, $x}, {h, [[]]}]}]}."#;
    let mut tree = Tree::new();
    put(&mut tree, APP, LayerKind::Release, text.as_bytes());
    run(&mut tree, &["mine", "Elixir.Mine"]).expect("it is well formed");
    let directory = tempfile::tempdir().expect("a directory");
    let (before, after) = (directory.path().join("before"), directory.path().join("after"));
    fs_err::write(&before, text).expect("written");
    fs_err::write(&after, bytes(&tree, APP)).expect("written");
    let expression = format!(
        r#"{{ok, A}} = file:consult("{}"), {{ok, B}} = file:consult("{}"), io:format("~p", [A =:= B]), halt()."#,
        before.display(),
        after.display()
    );
    let output = Command::new("erl").args(["-noshell", "-eval", &expression]).output().expect("erl runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "true");
}

#[test]
fn exactly_the_modules_that_went_are_lost() {
    let mut tree = Tree::new();
    let text = b"{application,mine,[{modules,[mine,gone]},{env,[{gone,gone}]}]}.\n";
    put(&mut tree, APP, LayerKind::Release, text);
    put(&mut tree, "app/lib/laid-1.0/ebin/laid.app", LayerKind::Overlay, text);
    put(&mut tree, BOOT, LayerKind::Release, b"before");
    run(&mut tree, &["mine"]).expect("it is well formed");
    let said = String::from_utf8(bytes(&tree, APP)).expect("text");
    assert_eq!(said, "{application,mine,[{modules,[mine]},{env,[{gone,gone}]}]}.\n");
    assert_eq!(bytes(&tree, "app/lib/laid-1.0/ebin/laid.app"), text);
    let boot = BootScript::parse(&bytes(&tree, BOOT)).expect("a script");
    assert_eq!((boot.modules(), boot.applications()[0].modules()), (vec!["mine"], vec!["mine"]));
    // A `primLoad` that was empty before stays, one that became empty goes.
    assert_eq!(boot.instructions.len(), 4);
}

#[test]
fn what_is_damaged_is_named() {
    for at in [APP, "app/lib/mine-1.0/ebin/mine.beam", "app/other/late.beam"] {
        let mut tree = Tree::new();
        put(&mut tree, at, LayerKind::Release, b"FOR1\0\0\0\xff{");
        match run(&mut tree, &["mine"]) {
            Err(PruneError::Beam { path: named, .. }) => assert_eq!(named, path(at)),
            other => panic!("{at}: {other:?}"),
        }
        put(&mut tree, at, LayerKind::Overlay, b"FOR1\0\0\0\xff{");
        run(&mut tree, &["mine"]).expect("what the user lays over is left alone");
    }
}
