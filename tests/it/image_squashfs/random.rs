//! Trees that nobody thought of.

use leanfs::image::squashfs::{Fragments, Settings};
use proptest::prelude::*;

use super::{ALL, Image, assert_same, expected, kernel, root};
use crate::end_to_end::bench::full;
use crate::images::samples::any_tree;

proptest! {
    #![proptest_config(ProptestConfig { cases: if full() { 400 } else { 24 }, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_back(
        // 32 bits without a sign are all that there is for it.
        tree in any_tree(any::<u32>().prop_map(i64::from)),
        compression in prop::sample::select(ALL.to_vec()),
        block_size in prop::sample::select(vec![4096, 8192, 128 << 10]),
        fragments in prop::sample::select(vec![Fragments::None, Fragments::SmallFiles, Fragments::Tails]),
        threads in 1..4_usize,
    ) {
        if root().is_some() {
            let settings = Settings { compression, block_size, fragments, threads, ..Settings::default() };
            let image = Image::new(&tree, &settings);
            kernel::mount(&image.bytes());
            if let Some(found) = image.extracted() {
                assert_same(&format!("{settings:?}"), &expected(&tree), &found);
            }
        }
    }
}
