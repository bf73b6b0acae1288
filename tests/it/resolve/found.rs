//! Small worlds in which the solver once differed from the real `apk`, each with what that says.

use leanfs::apk::InstalledDatabase;

use super::against_apk::{Question, Sandbox, comparable};
use super::apk_says::run;
use super::by_chance::{Text, with_checksum};

/// A package, given as `name version` and further fields, with `|` between.
fn package(short: &str) -> String {
    let mut fields = short.split('|');
    let (name, version) =
        fields.next().and_then(|first| first.split_once(' ')).expect("a name and a version");
    let mut text = format!("P:{name}\nV:{version}\nA:x86_64\nS:1\nI:1\n");
    text.extend(fields.map(|field| format!("{field}\n")));
    with_checksum(&text)
}

/// Tags and packages.
type Shorts = &'static [(Option<&'static str>, &'static [&'static str])];

struct Found {
    repositories: Shorts,
    installed: &'static [&'static str],
    world: &'static [&'static str],
    command: &'static str,
    apk_says: &'static str,
}

impl Found {
    fn check(&self) {
        let text = |(tag, packages): &(Option<&'static str>, &'static [&'static str])| Text {
            tag: *tag,
            packages: packages.iter().map(|short| package(short)).collect(),
        };
        let installed: String = self.installed.iter().map(|short| package(short)).collect();
        let question = Question {
            repositories: self.repositories.iter().map(text).collect(),
            installed: InstalledDatabase::parse(installed.as_bytes()).expect("a database").packages,
            wanted: self.world.iter().map(|wanted| wanted.parse().expect("a dependency")).collect(),
            arguments: self.command.split(' ').map(str::to_owned).collect(),
        };
        let found = run(&question.world(), &question.arguments);
        assert_eq!(comparable(&found), comparable(self.apk_says), "{}:\n{found}", self.command);
        let Some(apk) = super::super::apk_formats::real_apk() else { return };
        let sandbox = Sandbox::new(apk, "x86_64");
        question.write(&sandbox);
        let (_, expected) = question.answers(&sandbox).expect("apk ends");
        assert_eq!(comparable(&expected), comparable(self.apk_says), "{}:\n{expected}", self.command);
    }
}

/// What nothing depends on any more goes with its last dependent only if that called it by its own name.
#[test]
fn orphans_that_were_wanted_by_what_they_provide_go_last() {
    const REPOSITORIES: Shorts = &[(None, &["app 2", "other 2|D:new", "new 1"])];
    for (installed, apk_says) in [
        (
            &["app 1|D:so:old", "other 1", "old 1|p:so:old=1"][..],
            "(1/4) Upgrading app (1 -> 2) (2/4) Installing new (1) (3/4) Upgrading other (1 -> 2) \
             (4/4) Purging old (1) OK: 3 B in 3 packages",
        ),
        (
            &["app 1|D:old", "other 1", "old 1|p:so:old=1"],
            "(1/4) Upgrading app (1 -> 2) (2/4) Purging old (1) (3/4) Installing new (1) \
             (4/4) Upgrading other (1 -> 2) OK: 3 B in 3 packages",
        ),
    ] {
        let world = &["app", "other"];
        Found { repositories: REPOSITORIES, installed, world, command: "upgrade", apk_says }.check();
    }
}

/// No version is less than every version: it is within `<`, and not within `>`, `=` and `~`.
#[test]
fn what_has_no_version_is_less_than_every_bound() {
    const REPOSITORIES: Shorts =
        &[(None, &["some 2|k:10|p:name", "not-old 1|D:!name<5", "not-new 1|D:!name>5"])];
    let refused = "ERROR: unable to select packages: some-2: breaks: world[name";
    for (command, apk_says) in [
        ("add name<1", "(1/1) Installing some (2) OK: 1 B in 1 packages".to_owned()),
        ("add name>1", format!("{refused}>1]")),
        ("add name~1", format!("{refused}~1]")),
        ("add name=1", format!("{refused}=1]")),
        (
            "add some not-new",
            "(1/2) Installing some (2) (2/2) Installing not-new (1) OK: 2 B in 2 packages".to_owned(),
        ),
        (
            "add some not-old",
            "ERROR: unable to select packages: some-2: breaks: not-old-1[!name<5] satisfies: world[some]"
                .to_owned(),
        ),
    ] {
        let apk_says = Box::leak(apk_says.into_boxed_str());
        Found { repositories: REPOSITORIES, installed: &[], world: &[], command, apk_says }.check();
    }
}

/// So a provider with any version comes before one without, whatever their priorities.
#[test]
fn a_version_is_preferred_over_a_priority() {
    Found {
        repositories: &[(None, &["some 2|k:10|p:name", "other 3|p:name=0_alpha"])],
        installed: &[],
        world: &[],
        command: "add name",
        apk_says: "(1/1) Installing other (3) OK: 1 B in 1 packages",
    }
    .check();
}

/// A package that was near another one by one of its names is not looked at again.
#[test]
fn dependents_are_looked_at_once() {
    Found {
        repositories: &[(None, &["dg 2.0|D:mn<=0.9|p:bp"])],
        installed: &["mn 0.9", "dq 2.0|D:bp pp", "pp 1|D:dq|p:bp"],
        world: &["pp"],
        command: "del -r mn dq",
        apk_says: "World updated, but the following packages are not removed due to: dq: pp \
                   (1/1) Purging mn (0.9) OK: 2 B in 2 packages",
    }
    .check();
}

/// What is left out of a broken world has its place among the steps, if something else brings it.
#[test]
fn a_broken_world_keeps_its_order() {
    Found {
        repositories: &[(None, &["qq 1|D:hs|p:v0=2.0", "ge 2.0|D:v0|i:tb", "tb 3"])],
        installed: &["hs 2.0|i:!fb"],
        world: &[],
        command: "--force-broken-world add !hs tb ge",
        apk_says: "(1/3) Installing qq (1) (2/3) Installing ge (2.0) (3/3) Installing tb (3) OK: 4 B in 4 packages",
    }
    .check();
}

/// Of what several packages are called, a version tells them apart.
#[test]
fn providers_are_named_with_versions_where_others_have_their_name() {
    Found {
        repositories: &[
            (None, &["sh 0.9|D:v0<~2|p:md=3"]),
            (Some("edge"), &["es 2.0|I:0|p:dp sh", "bn 1.5|I:0|D:dp v1|p:v0=2.0"]),
            (Some("local"), &["dp 1_alpha1", "dc 1|i:!dp"]),
        ],
        installed: &[],
        world: &[],
        command: "add md>=1.5",
        apk_says: "ERROR: unable to select packages: bn-1.5: masked in: @edge satisfies: sh-0.9[v0<~2] dp (virtual): \
                   note: please select one of the 'provided by' packages explicitly provided by: es dp-1_alpha1 \
                   required by: bn-1.5[dp] v1 (no such package): required by: bn-1.5[v1]",
    }
    .check();
}

/// Whether something came by an `install_if` is decided when the names in it are met, one after the other.
#[test]
fn install_if_is_explained_in_the_order_of_the_world() {
    Found {
        repositories: &[(None, &["cq 1|D:cr|i:dp !gp<2.0"]), (None, &["dp 10|D:v2", "gp 3", "cr 2.0"])],
        installed: &[],
        world: &[],
        command: "add dp gp",
        apk_says: "ERROR: unable to select packages: v2 (no such package): required by: dp-10[v2]",
    }
    .check();
}

#[test]
fn a_package_is_named_once_for_what_is_missing() {
    Found {
        repositories: &[(None, &["tc 1.5|D:v0<~1 v0"])],
        installed: &[],
        world: &[],
        command: "add tc",
        apk_says: "ERROR: unable to select packages: v0 (no such package): required by: tc-1.5[v0<~1]",
    }
    .check();
}

#[test]
fn what_apk_refuses_without_a_reason_is_refused() {
    Found {
        repositories: &[(None, &["gr 10|D:v1|i:!bt"]), (Some("edge"), &["ar 1|p:bt=1"])],
        installed: &[],
        world: &[],
        command: "add !bt",
        apk_says: "ERROR: unable to select packages: Huh? Error reporter did not find the broken constraints.",
    }
    .check();
}

#[test]
fn every_unknown_name_is_named() {
    Found {
        repositories: &[],
        installed: &[],
        world: &[],
        command: "del mn dq",
        apk_says: "ERROR: No such package: mn ERROR: No such package: dq",
    }
    .check();
}

/// Without what can't be had apk begins again, and has forgotten what was to be upgraded.
#[test]
fn a_broken_world_is_decided_again_without_preferences() {
    Found {
        repositories: &[(None, &["dd 3"])],
        installed: &["dd 2|D:!dd fb"],
        world: &[],
        command: "--force-broken-world add --upgrade dd qt",
        apk_says: "(1/1) Purging dd (2) OK: 0 B in 0 packages",
    }
    .check();
}
