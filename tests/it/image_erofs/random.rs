//! Trees that nobody thought of.

use std::path::PathBuf;

use leanfs::image::erofs::Settings;
use leanfs::tree::{NodeKind, ValidTree};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::{Image, as_extracted, fsck_reads, kinds};
use crate::end_to_end::bench::full;
use crate::images::disk::powers;
use crate::images::guest::{Drive, in_kernel};
use crate::images::lines::assert_same;
use crate::images::samples::{any_tree, node};
use crate::images::{expected, path};

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![Just(7_i64), -2_000_000_000..15_000_000_000_i64]
}

/// As many as a machine has room for; the same ones each time.
#[test]
fn the_kernel_sees_what_they_have() {
    let mut runner = TestRunner::deterministic();
    let mut any = || {
        let mut tree = any_tree(times()).new_tree(&mut runner).expect("a tree").current().into_tree();
        for (name, mtime) in [("the first second", i64::MIN), ("the last second", i64::MAX)] {
            let mut node = node(NodeKind::Fifo);
            node.metadata.mtime = mtime;
            tree.insert(path(name), node);
        }
        tree.validate().expect("it was")
    };
    let made: Vec<(Settings, ValidTree, Image)> = (0..if full() { 10 } else { 2 })
        .flat_map(|_| kinds())
        .map(|settings| {
            let tree = any();
            let image = Image::new(&tree, &settings);
            (settings, tree, image)
        })
        .collect();
    let places: Vec<PathBuf> = made.iter().map(|(_, _, image)| image.path()).collect();
    let drives: Vec<Drive<'_>> = places.iter().map(|place| Drive::new(place, "erofs")).collect();
    let Some(seen) = in_kernel(&drives) else { return };
    for ((settings, tree, _), seen) in made.iter().zip(&seen) {
        assert_eq!(seen.complaints, [""; 0], "{settings:?}");
        assert_same(&format!("{settings:?}"), &expected(tree), &seen.listing);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if full() { 400 } else { 24 }, ..ProptestConfig::default() })]

    #[test]
    fn fsck_extracts_what_they_have(
        tree in any_tree(times()),
        settings in prop::sample::select(kinds()),
        threads in 1..4_usize,
    ) {
        if fsck_reads(&settings) && powers().is_some() {
            let image = Image::new(&tree, &Settings { threads, ..settings.clone() });
            if let Some(found) = image.extracted() {
                assert_same(&format!("{settings:?}"), &as_extracted(&tree), &found);
            }
        }
    }
}
