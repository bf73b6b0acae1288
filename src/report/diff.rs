//! What differs between two images, from their [`Manifest`]s.
//!
//! Parts are matched by name and files by path, both without versions, so that an upgrade shows what grew and not that
//! everything went and came. The share of a compressed image that a file has depends a little on all others: parts of
//! which nothing else changed are therefore counted together, and the sums stay exact.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::component::{Component, Group, without_version};
use super::manifest::{FileInfo, Manifest, Output};

/// One side of a [`Change`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The version; several with commas between.
    pub version: Option<String>,
    /// Bytes of content.
    pub size: u64,
    /// Share of the image in bytes.
    pub compressed: u64,
    /// Entries of the image.
    pub files: usize,
}

impl Side {
    fn add(&mut self, file: &FileInfo) {
        self.size = self.size.saturating_add(file.size);
        self.compressed = self.compressed.saturating_add(file.compressed);
        self.files += 1;
    }
}

/// What has happened to a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It was not there before.
    Came,
    /// It is not there any more.
    Went,
    /// It has become larger.
    Grew,
    /// It has become smaller.
    Shrank,
    /// Its size is the same, but its version or its number of files is not.
    Changed,
}

/// A part of an image that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What has happened.
    pub fate: Fate,
    /// What it belongs to.
    pub group: Group,
    /// A component's name or a file's path, as it is now if it is there.
    pub name: String,
    /// Before.
    pub before: Option<Side>,
    /// Now.
    pub after: Option<Side>,
}

impl Change {
    /// By how many bytes its content has grown; negative if it has shrunk.
    pub fn size(&self) -> i128 {
        self.difference(|side| side.size)
    }

    /// By how many bytes its share of the image has grown.
    pub fn compressed(&self) -> i128 {
        self.difference(|side| side.compressed)
    }

    fn difference(&self, of: impl Fn(&Side) -> u64) -> i128 {
        let number = |side: &Option<Side>| side.as_ref().map_or(0, |side| i128::from(of(side)));
        number(&self.after) - number(&self.before)
    }
}

/// Changes, and what stayed as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Those that changed, the largest difference of shares first.
    pub changed: Vec<Change>,
    /// How many did not.
    pub same: usize,
    /// The sizes of those that did not, before and now: only their shares differ.
    pub same_before: Side,
    /// As `same_before`.
    pub same_after: Side,
}

/// An output of either image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputChange {
    /// Its name now, or before if it is gone.
    pub name: String,
    /// Its size before, in bytes.
    pub before: Option<u64>,
    /// Its size now.
    pub after: Option<u64>,
}

/// What differs between two images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The outputs.
    pub outputs: Vec<OutputChange>,
    /// By component.
    pub components: Changes,
    /// By file.
    pub files: Changes,
    /// All files before.
    pub before: Side,
    /// All files now.
    pub after: Side,
}

/// Compares the image of `after` with that of `before`.
pub fn diff(before: &Manifest, after: &Manifest) -> Difference {
    let total = |manifest: &Manifest| {
        let mut total = Side::default();
        manifest.files.iter().for_each(|file| total.add(file));
        total
    };
    Difference {
        outputs: outputs(&before.outputs, &after.outputs),
        components: changes(components(before), components(after)),
        files: changes(files(before), files(after)),
        before: total(before),
        after: total(after),
    }
}

/// Parts by what they are matched by, each with its group and the name that is shown.
type Parts = BTreeMap<String, (Group, String, Side)>;

fn components(manifest: &Manifest) -> Parts {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut parts = Parts::new();
    for file in &manifest.files {
        let component = Component::of(&file.path, file.layer, &file.part);
        let key = format!("{:?} {}", component.group, component.name);
        versions.entry(key.clone()).or_default().extend(component.version);
        parts.entry(key).or_insert_with(|| (component.group, component.name, Side::default())).2.add(file);
    }
    for (key, (_, _, side)) in &mut parts {
        let versions: Vec<String> = versions.remove(key).unwrap_or_default().into_iter().collect();
        side.version = (!versions.is_empty()).then(|| versions.join(", "));
    }
    parts
}

fn files(manifest: &Manifest) -> Parts {
    let key = |file: &FileInfo| format!("{} {}", file.kind, without_version(&file.path));
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for file in &manifest.files {
        *uses.entry(key(file)).or_default() += 1;
    }
    let mut parts = Parts::new();
    for file in &manifest.files {
        let key = key(file);
        // Two versions of one thing are told apart by their paths.
        let key = if uses[&key] == 1 { key } else { format!("{} {}", file.kind, file.path) };
        let group = Component::of(&file.path, file.layer, &file.part).group;
        parts.entry(key).or_insert_with(|| (group, file.path.clone(), Side::default())).2.add(file);
    }
    parts
}

fn changes(mut before: Parts, after: Parts) -> Changes {
    let mut changes = Changes::default();
    for (key, (group, name, now)) in after {
        let then = before.remove(&key).map(|(_, _, side)| side);
        let fate = match &then {
            None => Fate::Came,
            Some(then) if now.size > then.size => Fate::Grew,
            Some(then) if now.size < then.size => Fate::Shrank,
            Some(then) if (&now.version, now.files) != (&then.version, then.files) => Fate::Changed,
            Some(then) => {
                changes.same += 1;
                merge(&mut changes.same_before, then);
                merge(&mut changes.same_after, &now);
                continue;
            }
        };
        changes.changed.push(Change { fate, group, name, before: then, after: Some(now) });
    }
    for (group, name, then) in before.into_values() {
        changes.changed.push(Change { fate: Fate::Went, group, name, before: Some(then), after: None });
    }
    changes.changed.sort_by(|a, b| {
        let weight = |change: &Change| (change.compressed().unsigned_abs(), change.size().unsigned_abs());
        weight(b).cmp(&weight(a)).then_with(|| a.name.cmp(&b.name))
    });
    changes
}

fn merge(sum: &mut Side, side: &Side) {
    sum.size = sum.size.saturating_add(side.size);
    sum.compressed = sum.compressed.saturating_add(side.compressed);
    sum.files += side.files;
}

/// Outputs of the same name belong together, and of the rest those of the same kind (an image that is compressed
/// otherwise has another name).
fn outputs(before: &[Output], after: &[Output]) -> Vec<OutputChange> {
    let mut left: Vec<&Output> = before.iter().collect();
    let mut changes: Vec<(&Output, Option<u64>)> = after
        .iter()
        .map(|output| {
            let same = left.iter().position(|other| other.name == output.name);
            (output, same.map(|index| left.remove(index).size))
        })
        .collect();
    for (output, size) in changes.iter_mut().filter(|(_, size)| size.is_none()) {
        let alike = left.iter().position(|other| other.kind == output.kind);
        *size = alike.map(|index| left.remove(index).size);
    }
    let there = changes.into_iter().map(|(output, before)| OutputChange {
        name: output.name.clone(),
        before,
        after: Some(output.size),
    });
    let gone = left.iter().map(|output| OutputChange {
        name: output.name.clone(),
        before: Some(output.size),
        after: None,
    });
    there.chain(gone).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::analyze::tests::manifests;
    use super::*;
    use crate::report::manifest::sample;

    /// The sample after an upgrade.
    pub(crate) fn later() -> Manifest {
        let mut manifest = sample::manifest();
        manifest.files.retain(|file| !file.path.contains("jason"));
        for file in &mut manifest.files {
            file.path =
                file.path.replace("stdlib-6.2.2", "stdlib-6.3").replace("libz.so.1.3.2", "libz.so.1.3.3");
            if file.path.ends_with("lists.beam") {
                (file.size, file.compressed) = (54_000, 18_500);
            }
            if file.path.ends_with("code.beam") {
                (file.size, file.compressed) = (19_000, 7_700);
            }
            // What else is there has only a slightly other share.
            if file.path.ends_with("beam.smp") {
                file.compressed -= 11;
            }
        }
        let mut ssl =
            manifest.files.iter().find(|file| file.path.ends_with("code.beam")).expect("there").clone();
        ssl.path = "/usr/lib/erlang/lib/ssl-11.2/ebin/ssl.beam".to_owned();
        (ssl.size, ssl.compressed) = (80_000, 31_000);
        manifest.files.push(ssl);
        manifest.outputs[0].name = "initramfs.cpio.zst".to_owned();
        manifest.outputs[0].size = manifest.files.iter().map(|file| file.compressed).sum();
        manifest
    }

    fn shown(changes: &Changes) -> Vec<String> {
        let one = |change: &Change| {
            let version =
                |side: &Option<Side>| side.as_ref().and_then(|side| side.version.clone()).unwrap_or_default();
            format!(
                "{:?} {} {}→{} {:+} {:+}",
                change.fate,
                change.name,
                version(&change.before),
                version(&change.after),
                change.size(),
                change.compressed()
            )
        };
        changes.changed.iter().map(one).collect()
    }

    #[test]
    fn an_upgrade() {
        let difference = diff(&sample::manifest(), &later());
        assert_eq!(
            shown(&difference.components),
            [
                "Came ssl →11.2 +80000 +31000",
                "Went jason 1.4.4→ -9000 -4100",
                "Grew stdlib 6.2.2→6.3 +4000 +1500",
                "Shrank kernel 10.2.7→10.2.7 -1000 -300",
            ]
        );
        assert_eq!(
            (difference.components.same, difference.components.same_after.compressed),
            (14, 2_137_869)
        );
        let same = &difference.components;
        assert_eq!(same.same_before.compressed - same.same_after.compressed, 11);
        assert_eq!(
            shown(&difference.files),
            [
                "Came /usr/lib/erlang/lib/ssl-11.2/ebin/ssl.beam → +80000 +31000",
                "Went /app/lib/jason-1.4.4/ebin/Elixir.Jason.beam → -9000 -4100",
                "Grew /usr/lib/erlang/lib/stdlib-6.3/ebin/lists.beam → +4000 +1500",
                "Shrank /usr/lib/erlang/lib/kernel-10.2.7/ebin/code.beam → -1000 -300",
            ]
        );
        let outputs: Vec<_> =
            difference.outputs.iter().map(|o| (o.name.as_str(), o.before, o.after)).collect();
        assert_eq!(
            outputs,
            [
                ("initramfs.cpio.zst", Some(2_188_580), Some(2_216_669)),
                ("kernel", Some(12_640_000), Some(12_640_000))
            ]
        );
    }

    #[test]
    fn what_is_equal_has_no_difference() {
        let manifest = sample::manifest();
        let difference = diff(&manifest, &manifest);
        assert_eq!(difference.components.changed, []);
        assert_eq!(difference.files.changed, []);
        assert_eq!(difference.files.same, 31);
        assert_eq!(difference.before, difference.after);
    }

    #[test]
    fn two_versions_side_by_side_are_two() {
        let mut manifest = sample::manifest();
        let mut old = manifest.files.iter().find(|file| file.path.contains("jason")).expect("there").clone();
        old.path = old.path.replace("1.4.4", "1.4.0");
        manifest.files.push(old);
        let parts = files(&manifest);
        assert_eq!(parts.len(), manifest.files.len());
        assert_eq!(components(&manifest)["Application jason"].2.version.as_deref(), Some("1.4.0, 1.4.4"));
    }

    #[test]
    fn outputs_that_came_and_went() {
        let output = |name: &str, kind: &str, size| Output {
            name: name.to_owned(),
            kind: kind.to_owned(),
            size,
            sha256: None,
            root_size: None,
            files: Vec::new(),
        };
        let (before, after) = ([output("a", "x", 1), output("kernel", "kernel", 2)], [output("b", "y", 3)]);
        let names: Vec<_> =
            outputs(&before, &after).into_iter().map(|o| (o.name, o.before, o.after)).collect();
        let want = [("b", None, Some(3)), ("a", Some(1), None), ("kernel", Some(2), None)];
        assert_eq!(names, want.map(|(name, before, after)| (name.to_owned(), before, after)));
    }

    proptest! {
        #[test]
        fn changes_add_up_to_the_byte(before in manifests(), after in manifests()) {
            let difference = diff(&before, &after);
            for changes in [&difference.components, &difference.files] {
                let mut sum = (Side::default(), Side::default());
                merge(&mut sum.0, &changes.same_before);
                merge(&mut sum.1, &changes.same_after);
                for change in &changes.changed {
                    change.before.iter().for_each(|side| merge(&mut sum.0, side));
                    change.after.iter().for_each(|side| merge(&mut sum.1, side));
                }
                prop_assert_eq!(&sum.0, &difference.before);
                prop_assert_eq!(&sum.1, &difference.after);
                let weights: Vec<u128> = changes.changed.iter().map(|change| change.compressed().unsigned_abs()).collect();
                prop_assert!(weights.is_sorted_by(|a, b| a >= b));
            }
        }
    }
}
