//! What is said when there is no solution: the exact words.

use leanfs::resolve::{Repositories, System, Upgrade};

use super::{index, world};

/// Repositories: Alpine in small, one with a tag, and one for another machine.
fn explain(wanted: &[&str]) -> String {
    let alpine = super::alpine();
    let edge = index(&["erlang28 28.1-r0|p:erlang=128|D:so:libz.so.1", "only-edge 1"]);
    let foreign = index(&["strange 1|A:s390x"]);
    let repositories =
        Repositories::new([&alpine]).with(Some("edge"), &edge).with(None, &foreign).for_arch("x86_64");
    let error = repositories.resolve(&world(wanted)).expect_err("impossible");
    format!("{error}\n  hint: {}", error.hint().expect("something to do"))
}

#[test]
fn each_problem_has_both_sides_and_what_to_do() {
    for (wanted, lines) in [
        (
            &["above"][..],
            &[
                "so:liblost.so.7 is in no repository",
                "  wanted by above → needs-lost → so:liblost.so.7",
                "hint: no repository has a package with the library liblost.so.7; add the repository that has it, or a sysroot",
            ][..],
        ),
        (
            &["no-zlib", "erlang27"][..],
            &[
                "zlib-1.3.1-r2 can't be installed",
                "  wanted by erlang27 → so:libz.so.1",
                "  but ruled out by no-zlib → !zlib",
                "  instead zlib-1.2.0-r0: ruled out by no-zlib → !zlib",
                "hint: leave out erlang27 or no-zlib",
            ][..],
        ),
        (
            &["old-zlib", "new-zlib"][..],
            &[
                "zlib-1.3.1-r2 can't be installed",
                "  wanted by new-zlib → zlib>=1.3",
                "  but ruled out by old-zlib → zlib<1.3",
                "  instead zlib-1.2.0-r0: ruled out by new-zlib → zlib>=1.3",
                "hint: leave out new-zlib or old-zlib",
            ][..],
        ),
        (
            &["choice"][..],
            &[
                "choice has providers of which none is preferred: choice-a, choice-b",
                "  wanted by choice",
                "hint: ask for one of these too: choice-a, choice-b",
            ][..],
        ),
        (
            &["busybos"][..],
            &[
                "busybos is in no repository",
                "  wanted by busybos",
                "hint: did you mean busybox, busybox-binsh or busybox-openrc?",
            ][..],
        ),
        (
            &["zlib>2"][..],
            &[
                "zlib-1.3.1-r2 can't be installed",
                "  but ruled out by zlib>2",
                "  instead zlib-1.2.0-r0: ruled out by zlib>2",
                "hint: no repository has what zlib>2 asks for; the nearest is zlib=1.3.1-r2",
            ][..],
        ),
        (
            &["erlang>127"][..],
            &[
                "erlang28-28.1-r0 can't be installed",
                "  wanted by erlang>127",
                "  but it is only in repositories tagged @edge",
                "  instead erlang27-27.3.4.1-r0: ruled out by erlang>127",
                "hint: to take it from there, ask for erlang28@edge",
            ][..],
        ),
        (
            &["erlang28"][..],
            &[
                "erlang28-28.1-r0 can't be installed",
                "  wanted by erlang28",
                "  but it is only in repositories tagged @edge",
                "hint: to take it from there, ask for erlang28@edge",
            ][..],
        ),
        (
            &["strange"][..],
            &[
                "strange-1 can't be installed",
                "  wanted by strange",
                "  but it is for \"s390x\", not for x86_64",
                "hint: add a repository that has the package for this architecture",
            ][..],
        ),
        (
            &["erlang27", "zlib<1.3", "new-zlib"][..],
            &[
                "zlib-1.2.0-r0 can't be installed",
                "  wanted by zlib<1.3",
                "  wanted by erlang27 → so:libz.so.1",
                "  but ruled out by new-zlib → zlib>=1.3",
                "  instead zlib-1.3.1-r2: ruled out by zlib<1.3",
                "hint: leave out new-zlib or zlib<1.3",
            ][..],
        ),
        (
            &["zlib", "!zlib"][..],
            &[
                "zlib-1.3.1-r2 can't be installed",
                "  wanted by zlib",
                "  but ruled out by !zlib",
                "  instead zlib-1.2.0-r0: ruled out by !zlib",
                "hint: leave out !zlib or zlib",
            ][..],
        ),
        (
            &["two-in-one"][..],
            &[
                "zlib-1.3.1-r2 can't be installed",
                "  wanted by two-in-one → zlib>1.3",
                "  but ruled out by two-in-one → zlib<1.3",
                "  instead zlib-1.2.0-r0: ruled out by two-in-one → zlib>1.3",
                "hint: two-in-one contradicts itself: take another version of it, or add a repository that has one",
            ][..],
        ),
        (
            &["owner-a", "owner-b"][..],
            &[
                "owner-a-1 can't be installed",
                "  wanted by owner-a",
                "  but in conflict with owner-b-1 (both provide mail=1), wanted by owner-b",
                "owner-b-1 can't be installed",
                "  wanted by owner-b",
                "  but in conflict with owner-a-1 (both provide mail=2), wanted by owner-a",
                "hint: leave out owner-a or owner-b",
            ][..],
        ),
        (
            &["only-edge"][..],
            &[
                "only-edge-1 can't be installed",
                "  wanted by only-edge",
                "  but it is only in repositories tagged @edge",
                "hint: to take it from there, ask for only-edge@edge",
            ][..],
        ),
        (
            &["wants-edge"][..],
            &[
                "only-edge-1 can't be installed",
                "  wanted by wants-edge → only-edge",
                "  but it is only in repositories tagged @edge",
                "hint: to take it from there, ask for only-edge@edge",
            ][..],
        ),
    ] {
        let expected = format!("the packages can't be selected:\n  {}", lines.join("\n  "));
        assert_eq!(explain(wanted), expected, "{wanted:?}");
    }
}

#[test]
fn libraries_of_another_release_are_named() {
    let index = index(&["openssl 3|p:so:libssl.so.3=3 so:libcrypto.so.3=3", "old 1|D:so:libssl.so.1.1"]);
    let error = Repositories::new([&index]).resolve(&world(&["old"])).expect_err("impossible");
    assert_eq!(
        error.hint().expect("a hint"),
        "the repositories have so:libssl.so.3; take repositories of one release, or add the one that has so:libssl.so.1.1"
    );
}

#[test]
fn a_dead_end_beside_the_result_is_named_too() {
    let index = index(&["a 1|D:nowhere|i:!b", "c 1|p:b=1"]);
    let error = Repositories::new([&index]).resolve(&world(&["!b"])).expect_err("impossible, as for apk");
    let text = error.to_string();
    assert!(text.contains("nowhere was decided on, and can't be had: it is in no repository"), "{text}");
}

#[test]
fn what_can_not_be_reached_is_said_so() {
    let index = index(&["a 1"]);
    let repositories = Repositories::default().with_unreachable(None, &index);
    let error = repositories.resolve(&world(&["a"])).expect_err("impossible");
    assert_eq!(
        error.to_string(),
        "the packages can't be selected:\n  a-1 can't be installed\n    wanted by a\n    but it is only in \
         repositories that can't be reached"
    );
}

#[test]
fn tags_and_names_that_nobody_has() {
    let index = index(&["busybox 1"]);
    let repositories = || Repositories::default().with(Some("edge"), &index);
    let error = repositories().resolve(&world(&["busybox@egde"])).expect_err("no such tag");
    assert_eq!(error.to_string(), "no repository has the tag that is asked for: busybox@egde");
    assert_eq!(error.hint().expect("a hint"), "the repositories' tags are edge");
    let system = System::new(repositories());
    let upgrade = Upgrade { only: vec!["busybos".to_owned()], ..Upgrade::default() };
    for error in [system.remove(&["busybos".to_owned()], false), system.upgrade(&upgrade)] {
        let error = error.expect_err("no such name");
        assert_eq!(error.to_string(), "in no repository, and not installed: busybos");
        assert_eq!(error.hint().expect("a hint"), "did you mean busybox?");
    }
}
