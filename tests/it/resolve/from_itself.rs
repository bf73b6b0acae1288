//! What a lock relies on: a set that was chosen is chosen again when there is nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use leanfs::apk::{Dependency, Index, Version};
use leanfs::resolve::{Repositories, Solution};

use serde_json::Value;

use super::against_apk::real_index;
use super::apk_says::Repository;
use super::by_chance::{self, Numbers};
use crate::cli::leanfs;
use crate::repo::{TestRepo, key_file};
use crate::tiny;

fn resolve(repositories: &[Repository], world: &[Dependency]) -> Option<Solution> {
    let all = repositories.iter().fold(Repositories::default(), |all, repository| {
        all.with(repository.tag.as_deref(), &repository.index)
    });
    all.for_arch("x86_64").resolve(world).ok()
}

/// The repositories without what was not chosen.
fn only(repositories: &[Repository], solution: &Solution) -> Vec<Repository> {
    let is_chosen = |place: usize, entry: &leanfs::apk::IndexEntry| {
        let mut chosen = solution.packages.iter();
        chosen.any(|selected| selected.repository == place && selected.entry == *entry)
    };
    repositories
        .iter()
        .enumerate()
        .map(|(place, repository)| {
            let entries = repository.index.entries.iter().filter(|entry| is_chosen(place, entry)).cloned();
            let entries = entries.collect();
            Repository { tag: repository.tag.clone(), index: Index { description: String::new(), entries } }
        })
        .collect()
}

fn described(solution: &Solution) -> Vec<(String, usize, Vec<String>)> {
    let packages = solution.packages.iter();
    packages
        .map(|selected| (selected.entry.full_name(), selected.repository, selected.wanted_by.clone()))
        .collect()
}

/// Worlds of which the packages, or only their order, depend on what else the repositories have.
fn worlds_that_differ() -> Vec<(Vec<Repository>, Vec<Dependency>)> {
    let mut solved = 0;
    let mut differ = Vec::new();
    for number in 0..2000 {
        let mut numbers = Numbers::new(number);
        let generated = by_chance::Repositories::new(&mut numbers);
        let mut repositories = by_chance::parse(&generated.after);
        for repository in &mut repositories {
            // A repository on disk has one file of a name and version, and a packer refuses what is broken.
            let mut seen = BTreeSet::new();
            repository.index.entries.retain(|entry| {
                entry.unusable.is_none()
                    && entry.version.parse::<Version>().is_ok()
                    && matches!(entry.arch.as_str(), "" | "x86_64" | "noarch")
                    && seen.insert(entry.full_name())
            });
        }
        let count = 1 + numbers.below(3);
        let world: Vec<Dependency> =
            (0..count).filter_map(|_| by_chance::asked(&mut numbers, &generated).parse().ok()).collect();
        let Some(first) = resolve(&repositories, &world) else { continue };
        solved += 1;
        let again =
            resolve(&only(&repositories, &first), &world).expect("what was chosen satisfies the world");
        if described(&again) != described(&first) {
            let set = |solution: &Solution| -> BTreeSet<String> {
                solution.packages.iter().map(|selected| selected.entry.full_name()).collect()
            };
            differ.push((set(&again) == set(&first), repositories, world));
        }
    }
    let others = differ.iter().filter(|(same, ..)| !same).count();
    println!(
        "{solved} worlds, {} depend on what else is there, {others} of them choose others",
        differ.len()
    );
    assert!(solved > 400, "{solved}");
    // Others come only where nothing wants them (`install_if` of what is not there), and such are not in an image.
    differ.retain(|(same, ..)| *same);
    differ.into_iter().map(|(_, repositories, world)| (repositories, world)).collect()
}

/// That is why a lock has its world and an order: here the same bytes come of it.
#[test]
fn a_lock_holds_what_the_solver_would_choose_otherwise() {
    let build = |repositories: &[Repository], directory: &Path| {
        for (place, repository) in repositories.iter().enumerate() {
            let mut built = TestRepo::new();
            for entry in &repository.index.entries {
                built = built.package(&entry.name, &entry.version).info(|info| {
                    info.depends.clone_from(&entry.depends);
                    info.provides.clone_from(&entry.provides);
                    info.install_if.clone_from(&entry.install_if);
                    info.provider_priority = entry.provider_priority;
                });
                built = built.file(&format!("usr/share/{}", entry.name), entry.full_name());
                // Numbers of accounts are given out in the order of installation.
                let name = &entry.name;
                let script = format!(
                    "#!/bin/sh\naddgroup -S {name} 2>/dev/null\nadduser -S -D -H -h /dev/null -s /sbin/nologin -G {name} \
                     -g {name} {name} 2>/dev/null\nexit 0\n"
                );
                built = built.script(".pre-install", &script);
            }
            built.build(&directory.join(place.to_string()));
        }
    };
    let (mut compared, mut others) = (0, 0);
    for (repositories, world) in worlds_that_differ() {
        let directory = tempfile::tempdir().expect("a directory");
        build(&repositories, directory.path());
        tiny::release(&directory.path().join("release"));
        let mut flags: Vec<String> =
            ["--release", "release", "--kernel", "none", "--arch", "x86_64", "--cache-dir", "cache"]
                .map(str::to_owned)
                .into();
        flags.extend(["--key".to_owned(), key_file().display().to_string()]);
        for (place, repository) in repositories.iter().enumerate() {
            let tag = repository.tag.as_ref().map(|tag| format!("@{tag} ")).unwrap_or_default();
            flags.extend(["--repository".to_owned(), format!("{tag}{place}")]);
        }
        for wanted in &world {
            flags.push(format!("--package={wanted}"));
        }
        let run = |words: &[&str]| {
            let mut command = leanfs(directory.path(), words);
            let output = command.args(&flags).output().expect("it runs");
            assert!(
                output.status.success(),
                "{words:?} {flags:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8(output.stdout).expect("leanfs prints UTF-8")
        };
        // The image, and what was chosen in which order.
        let assemble = |output: &str, more: &[&str]| {
            let words = ["assemble", "--json", "--compress", "none", "--keep-package-db", "-o", output];
            let said = run(&[&words[..], more].concat());
            let selected: Vec<Value> = said
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter(|event| event["event"] == "package-selected")
                .map(|event| event["name"].clone())
                .collect();
            let image = directory.path().join(output).join("initramfs.cpio");
            (fs_err::read(image).expect("an image"), selected)
        };
        let free = assemble("free", &[]);
        run(&["lock"]);
        let locked = assemble("locked", &["--locked"]);
        assert!(!free.1.is_empty());
        compared += 1;
        others += usize::from(free != locked);
        if compared == 12 {
            break;
        }
    }
    println!("{compared} compared");
    assert!(compared > 5, "{compared}");
    assert_eq!(others, 0, "of {compared}");
}

#[test]
fn of_alpine() {
    let Some(shared) = super::shared() else { return };
    let (_, index) = real_index(&shared, "alpine-316");
    let names: Vec<String> = index.entries.iter().map(|entry| entry.name.clone()).collect();
    let repositories = [Repository { tag: None, index }];
    let mut numbers = Numbers::new(7);
    let mut solved = 0;
    for _ in 0..60 {
        let count = 1 + numbers.below(5);
        let world: Vec<Dependency> = (0..count).filter_map(|_| numbers.one_of(&names).parse().ok()).collect();
        let Some(first) = resolve(&repositories, &world) else { continue };
        solved += 1;
        let again = resolve(&only(&repositories, &first), &world);
        assert_eq!(again.as_ref().map(described), Some(described(&first)), "{world:?}");
    }
    println!("{solved} worlds");
    assert!(solved > 30, "{solved}");
}
