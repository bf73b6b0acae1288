//! The solver: against apk-tools' own cases, against the real `apk` on worlds made by chance, and by itself.

mod against_apk;
mod apk_says;
mod by_chance;
mod cases;
mod command;
mod explained;
mod found;
mod from_itself;

use std::path::{Path, PathBuf};

use leanfs::apk::index::IndexArchive;
use leanfs::apk::{Checksum, Dependency, Index};
use leanfs::resolve::{Selected, resolve};

fn shared() -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    if !path.is_dir() {
        println!("SKIP: ../shared is absent");
        return None;
    }
    Some(path.to_owned())
}

/// An index of packages, each given as `name version` and further fields, with `|` between.
fn index(packages: &[&str]) -> Index {
    let mut text = String::new();
    for package in packages {
        let mut fields = package.split('|');
        let (name, version) =
            fields.next().and_then(|first| first.split_once(' ')).expect("a name and a version");
        text += &format!("C:{}\nP:{name}\nV:{version}\nI:1\n", Checksum::sha1_of(package.as_bytes()));
        text.extend(fields.map(|field| format!("{field}\n")));
        text.push('\n');
    }
    Index::parse(&text).expect("a good index")
}

fn world(texts: &[&str]) -> Vec<Dependency> {
    texts.iter().map(|text| text.parse().expect("a good dependency")).collect()
}

fn names(packages: &[Selected]) -> Vec<&str> {
    packages.iter().map(|package| package.entry.name.as_str()).collect()
}

/// Alpine in small.
fn alpine() -> Index {
    index(&[
        "musl 1.2.5-r23|p:so:libc.musl-x86_64.so.1=1",
        "busybox 1.37.0-r30|D:so:libc.musl-x86_64.so.1|p:cmd:busybox=1.37.0-r30",
        "busybox-binsh 1.37.0-r30|D:busybox=1.37.0-r30|p:/bin/sh cmd:sh=1.37.0-r30|k:100",
        "busybox-openrc 1.37.0-r30|i:openrc busybox",
        "dash-binsh 0.5|p:/bin/sh|k:60",
        "openrc 0.63|D:/bin/sh",
        "zlib 1.3.1-r2|D:so:libc.musl-x86_64.so.1|p:so:libz.so.1=1.3.1",
        "zlib 1.2.0-r0|p:so:libz.so.1=1.2.0",
        "erlang27 27.3.4.1-r0|D:/bin/sh so:libz.so.1|p:erlang=127",
        "needs-lost 1|D:so:liblost.so.7",
        "above 1|D:needs-lost",
        "no-zlib 1|D:!zlib",
        "old-zlib 1|D:zlib<1.3",
        "new-zlib 1|D:zlib>=1.3",
        "choice-a 1|p:choice",
        "choice-b 1|p:choice",
        "two-in-one 1|D:zlib>1.3 zlib<1.3",
        "owner-a 1|p:mail=1",
        "owner-b 1|p:mail=2",
        "wants-edge 1|D:only-edge",
    ])
}

#[test]
fn dependencies_come_first_and_each_package_has_its_reason() {
    let solution = resolve(&world(&["erlang>26", "so:libz.so.1"]), &[alpine()]).expect("possible");
    let order = names(&solution.packages);
    assert_eq!(order, ["musl", "busybox", "busybox-binsh", "zlib", "erlang27"]);
    let chain = |name: &str| solution.package(name).expect("chosen").wanted_by.join(" ");
    assert_eq!(chain("erlang27"), "erlang>26");
    assert_eq!(chain("zlib"), "so:libz.so.1");
    assert_eq!(chain("busybox"), "erlang>26 erlang27 /bin/sh busybox-binsh busybox=1.37.0-r30");
    assert_eq!(solution.package("zlib").expect("chosen").entry.version, "1.3.1-r2");
    for package in &solution.packages {
        for (dependency, place) in &package.dependencies {
            let provider = &solution.packages[*place].entry;
            let provides = provider.provides.iter().any(|provided| provided.name == dependency.name);
            assert!(provider.name == dependency.name || provides, "{dependency}");
        }
    }
}

#[test]
fn a_shell_that_only_scripts_want_can_be_left_out() {
    let index = alpine();
    let skip = |dependency: &Dependency| dependency.name == "/bin/sh";
    let solution = resolve(&world(&["erlang27"]), &[&index]).expect("possible");
    let (rest, left_out) = solution.without(skip);
    assert_eq!(names(&rest.packages), ["musl", "zlib", "erlang27"]);
    assert_eq!(names(&left_out), ["busybox", "busybox-binsh"]);
    assert_eq!(
        rest.package("musl").expect("kept").wanted_by.last().expect("a chain"),
        "so:libc.musl-x86_64.so.1"
    );
    for package in &rest.packages {
        assert!(package.dependencies.iter().all(|(_, place)| *place < rest.packages.len()));
    }
    // Not what was asked for, and not what something else wants.
    let solution = resolve(&world(&["erlang27", "busybox"]), &[&index]).expect("possible");
    let (rest, left_out) = solution.without(skip);
    assert_eq!(names(&rest.packages), ["musl", "busybox", "zlib", "erlang27"]);
    assert_eq!(names(&left_out), ["busybox-binsh"]);
    let (same, none) = solution.without(|_| false);
    assert_eq!((same, none), (solution, vec![]));
}

#[test]
fn what_came_because_of_others_goes_with_them() {
    let solution = resolve(&world(&["openrc"]), &[alpine()]).expect("possible");
    // As with apk, openrc counts as there as soon as it is clear that it comes.
    assert_eq!(names(&solution.packages), ["musl", "busybox", "busybox-openrc", "busybox-binsh", "openrc"]);
    let came = solution.package("busybox-openrc").expect("chosen");
    assert_eq!(came.installed_with.len(), 2);
    assert_eq!(came.wanted_by.first().expect("a chain"), "openrc");
    assert_eq!(came.wanted_by.last().expect("a chain"), "install_if openrc busybox");
    let (rest, left_out) = solution.without(|dependency| dependency.name == "/bin/sh");
    assert_eq!(names(&rest.packages), ["openrc"]);
    assert_eq!(left_out.len(), 4);
}

#[test]
fn several_requirements_of_one_name_all_hold() {
    let solution = resolve(&world(&["zlib", "zlib<1.3"]), &[alpine()]).expect("possible");
    assert_eq!(solution.packages[0].entry.version, "1.2.0-r0");
}

#[test]
fn the_first_repository_wins_and_the_higher_version_wins_over_it() {
    let first = index(&["a 1|p:from-first", "b 2"]);
    let second = index(&["a 1|p:from-second", "b 3"]);
    let solution = resolve(&world(&["a", "b"]), &[first, second]).expect("possible");
    let chosen: Vec<(usize, &str)> = solution
        .packages
        .iter()
        .map(|package| (package.repository, package.entry.version.as_str()))
        .collect();
    assert_eq!(chosen, [(0, "1"), (1, "3")]);
}

#[test]
fn an_index_as_deep_and_as_round_as_can_be_is_no_danger() {
    let mut packages: Vec<String> = (0..30_000).map(|n| format!("p{n} 1|D:p{}", n + 1)).collect();
    packages.push("p30000 1|D:p0".to_owned());
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let solution = resolve(&world(&["p0"]), &[index(&packages)]).expect("possible");
    assert_eq!(solution.packages.len(), 30_001);
    let longest = solution.packages.iter().map(|package| package.wanted_by.len()).max();
    assert!(longest.expect("packages") < 50, "ways are shortened");
    let (rest, _) = solution.without(|_| false);
    assert_eq!(rest.packages.len(), 30_001);
}

#[test]
fn the_mirror_has_what_an_image_needs() {
    let Some(shared) = shared() else { return };
    let open = |name: &str| {
        let file = shared.join("mirror/v3.23").join(name).join("x86_64/APKINDEX.tar.gz");
        let bytes = fs_err::read(file).expect("an index");
        IndexArchive::open(&bytes).expect("whole").index().expect("readable")
    };
    let solution = resolve(&world(&["erlang27", "so:libz.so.1"]), &[open("main"), open("community")]);
    let solution = solution.expect("possible");
    assert!(solution.package("musl").is_some() && solution.package("erlang27").is_some());
    let (rest, left_out) = solution.without(|dependency| dependency.name == "/bin/sh");
    assert!(rest.package("busybox").is_none(), "{:?}", names(&rest.packages));
    assert!(names(&left_out).contains(&"busybox"), "{:?}", names(&left_out));
}
