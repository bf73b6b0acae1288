//! Packages that have files and directories in common, beside what the real `apk` does with them.

use std::os::unix::fs::MetadataExt;

use leanfs::layer::package_db;
use leanfs::layer::packages;
use leanfs::recipe::Repository;
use leanfs::tree::{Metadata, Node, Origin, Tree};

use super::oracle::Oracle;
use super::{fetch, layers};
use crate::end_to_end::bench::full;
use crate::repo::{TestRepo, key_file};

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX; the high bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Three packages that have a file, two directories and a link in common, with claims by chance.
fn repository(numbers: &mut Numbers) -> (TestRepo, String) {
    let names = ["alpha", "beta", "gamma"];
    let mut repository = TestRepo::new();
    let mut told = String::new();
    for (number, name) in names.into_iter().enumerate() {
        let origin = ["alpha", "beta", "shared", ""][numbers.below(4) as usize];
        let priority = [None, None, Some(0), Some(1), Some(2)][numbers.below(5) as usize];
        let mut replaces = Vec::new();
        for other in names.into_iter().filter(|other| *other != name) {
            match numbers.below(5) {
                0 | 1 => replaces.push(other.to_owned()),
                2 => replaces.push(format!("{other}<2")),
                3 => replaces.push(format!("{other}<1")),
                _ => {}
            }
        }
        told += &format!("{name} origin={origin} priority={priority:?} replaces={replaces:?}\n");
        let directory = |mode| Node::directory(Metadata { mode, ..Metadata::DIRECTORY }, Origin::skeleton());
        repository = repository
            .package(name, "1-r0")
            .info(|info| {
                info.origin = origin.to_owned();
                info.replaces_priority = priority;
                info.replaces = replaces.iter().map(|text| text.parse().expect("a dependency")).collect();
            })
            .node("srv", directory(0o700 + number as u32))
            .node("srv/deep", directory(0o750 + number as u32))
            .file(&format!("srv/deep/{name}"), "own")
            .file("usr/share/common", if numbers.below(3) == 0 { "the same" } else { name });
        if numbers.below(2) == 0 {
            repository = repository.symlink("etc/common", name);
        }
    }
    (repository, told)
}

/// Who has a file, the mode of a directory, what the database says: or that it can't be.
#[test]
fn common_files_are_whose_apk_says() {
    let mut numbers = Numbers(5);
    let (mut agreed, mut refused) = (0, 0);
    for _ in 0..if full() { 1000 } else { 40 } {
        let Some(oracle) = Oracle::new() else { return };
        let (made, told) = repository(&mut numbers);
        let Repository::Directory(place) = made.build(&oracle.path("repository")) else {
            unreachable!("it is one")
        };
        let names = ["alpha", "beta", "gamma"].map(str::to_owned);
        let keys = key_file();
        let directory = keys.parent().expect("it has one");
        let (succeeded, said) =
            oracle.try_add(&[&place], directory, &["alpha", "beta", "gamma"], "--no-scripts");

        let fetched = fetch(&Repository::Directory(place), &keys, &names);
        let layers = layers(&fetched);
        let mut tree = Tree::new();
        let laid = packages::lay(&mut tree, &layers);
        assert_eq!(laid.is_ok(), succeeded, "{told}{said}{laid:?}");
        if !succeeded {
            assert!(said.contains("trying to overwrite"), "{told}{said}");
            refused += 1;
            continue;
        }
        agreed += 1;
        oracle.assert_holds(&tree);
        for (path, mode) in ["srv", "srv/deep"].map(|path| {
            let mode = fs_err::metadata(oracle.path("root").join(path)).expect("there").mode() & 0o7777;
            (path, mode)
        }) {
            let ours = tree.get(&path.parse().expect("good")).expect("there").metadata.mode;
            assert_eq!(ours, mode, "{path} of\n{told}");
        }
        let database = package_db::database(&tree, &layers).expect("readable");
        let theirs = oracle.read("lib/apk/db/installed");
        assert_eq!(
            String::from_utf8_lossy(&database.to_bytes().expect("written")),
            String::from_utf8_lossy(&theirs),
            "{told}"
        );
    }
    assert!(agreed > 5 && refused > 5, "{agreed} {refused}");
}
