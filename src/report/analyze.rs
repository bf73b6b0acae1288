//! What an image's bytes are spent on, from its [`Manifest`].
//!
//! Nothing is estimated here and nothing is lost: each file of the manifest counts in exactly one row, so that rows
//! add up to the image, and the image and what stands beside it to the outputs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::component::{Component, Group, package_name};
use super::manifest::{FileInfo, Manifest, Output, RemovedFile};
use crate::recipe::ImageFormat;
use crate::tree::LayerKind;

/// What makes a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// What people know: the emulator, applications, libraries.
    Component,
    /// The packages; what no package brought by its layer.
    Package,
    /// The applications; all else in one row.
    App,
    /// What a file is: modules, libraries, programs.
    Kind,
    /// The files themselves.
    File,
}

/// Sizes in bytes and numbers of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Bytes before pruning, those of what went too.
    pub before: u64,
    /// Bytes now.
    pub size: u64,
    /// Its share of the image, in bytes.
    pub compressed: u64,
    /// Entries of the image: files, directories, links.
    pub files: usize,
    /// Files that pruning took.
    pub removed: usize,
}

impl Sizes {
    /// Of a file of the image.
    pub(crate) fn of(file: &FileInfo) -> Self {
        Self { before: file.size_before, size: file.size, compressed: file.compressed, files: 1, removed: 0 }
    }

    pub(crate) fn of_removed(file: &RemovedFile) -> Self {
        Self { before: file.size, removed: 1, ..Self::default() }
    }

    pub(crate) fn add(&mut self, other: Self) {
        // A manifest may say anything.
        self.before = self.before.saturating_add(other.before);
        self.size = self.size.saturating_add(other.size);
        self.compressed = self.compressed.saturating_add(other.compressed);
        self.files += other.files;
        self.removed += other.removed;
    }

    /// All of them together.
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        let mut sum = Self::default();
        all.into_iter().for_each(|sizes| sum.add(sizes));
        sum
    }

    /// Whether nothing of it is in the image.
    pub fn is_gone(&self) -> bool {
        self.files == 0
    }
}

/// A part of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What it belongs to; of rows by package and by kind nothing.
    pub group: Option<Group>,
    /// Its name: of a component, a package, a kind, or a path.
    pub name: String,
    /// Its version, where it has one.
    pub version: Option<String>,
    /// What it comes to.
    #[serde(flatten)]
    pub sizes: Sizes,
}

/// What a rule of pruning took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleTotal {
    /// The rule's name.
    pub rule: String,
    /// The rule in words.
    pub what: String,
    /// How many files went.
    pub files: usize,
    /// How many bytes they had.
    pub size: u64,
    /// The reasons it gave and how many files went for each, the most frequent first.
    pub reasons: Vec<ReasonCount>,
}

/// A reason for which files went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// In words.
    pub reason: String,
    /// How many files.
    pub files: usize,
}

/// Files that stay, and that pruning made smaller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rewritten {
    /// How many.
    pub files: usize,
    /// By how many bytes, all together.
    pub saved: u64,
}

/// An image, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Analysis {
    /// What makes a row.
    pub by: By,
    /// The parts, the one with the largest share of the image first.
    pub rows: Vec<Row>,
    /// Their sum. [`Sizes::compressed`] is the size of the image.
    pub total: Sizes,
    /// The image that the shares are of; nothing if there is none.
    pub image: Option<Output>,
    /// The kernel beside it, if there is one.
    pub kernel: Option<Output>,
    /// What pruning took, by rule, the most bytes first.
    pub pruned: Vec<RuleTotal>,
    /// What pruning made smaller.
    pub rewritten: Rewritten,
}

impl Analysis {
    /// The size of image and kernel.
    pub fn all_outputs(&self) -> u64 {
        self.total.compressed.saturating_add(self.kernel.as_ref().map_or(0, |kernel| kernel.size))
    }

    /// What part of the image `sizes` is, in percent; of the sizes before compression if there is no image.
    pub fn percent(&self, sizes: &Sizes) -> f64 {
        let (part, whole) = match self.total.compressed {
            0 => (sizes.size, self.total.size),
            whole => (sizes.compressed, whole),
        };
        if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
    }
}

/// Takes the image of `manifest` apart.
pub fn analyze(manifest: &Manifest, by: By) -> Analysis {
    let mut rows: BTreeMap<(Option<Group>, String, Option<String>), Sizes> = BTreeMap::new();
    for file in &manifest.files {
        let key = key(by, &file.path, &file.kind, file.layer, &file.part);
        rows.entry(key).or_default().add(Sizes::of(file));
    }
    for file in &manifest.removed {
        let key = key(by, &file.path, "file", file.layer, &file.part);
        rows.entry(key).or_default().add(Sizes::of_removed(file));
    }
    let mut rows: Vec<Row> =
        rows.into_iter().map(|((group, name, version), sizes)| Row { group, name, version, sizes }).collect();
    rows.sort_by(|a, b| {
        let weight = |row: &Row| (row.sizes.compressed, row.sizes.size, row.sizes.before);
        weight(b).cmp(&weight(a)).then_with(|| (&a.name, &a.version).cmp(&(&b.name, &b.version)))
    });
    Analysis {
        by,
        total: Sizes::sum(rows.iter().map(|row| row.sizes)),
        rows,
        image: image(manifest).cloned(),
        kernel: manifest.outputs.iter().find(|output| is_kernel(output)).cloned(),
        pruned: pruned(manifest),
        rewritten: rewritten(manifest),
    }
}

/// The image that [`FileInfo::compressed`] is a share of: the first one that is no more than a configuration.
pub(crate) fn image(manifest: &Manifest) -> Option<&Output> {
    manifest
        .outputs
        .iter()
        .find(|output| output.format().is_some_and(|format| format != ImageFormat::Firecracker))
}

pub(crate) fn is_kernel(output: &Output) -> bool {
    output.kind == "kernel"
}

fn key(
    by: By,
    path: &str,
    kind: &str,
    layer: LayerKind,
    part: &str,
) -> (Option<Group>, String, Option<String>) {
    let component = || Component::of(path, layer, part);
    let named = |name: &str| (None, name.to_owned(), None);
    match by {
        By::Component => {
            let Component { group, name, version } = component();
            (Some(group), name, version)
        }
        By::App => match component() {
            Component {
                group: group @ (Group::Erts | Group::Otp | Group::Elixir | Group::Application),
                name,
                version,
            } => (Some(group), name, version),
            _ => named("outside of applications"),
        },
        By::Package => match layer {
            LayerKind::Package => {
                let (name, version) = package_name(part);
                (None, name.to_owned(), version.map(str::to_owned))
            }
            LayerKind::Otp => named("Erlang/OTP from a tarball"),
            LayerKind::Release => named("the release"),
            LayerKind::Sysroot => named("the sysroot"),
            LayerKind::Kernel => named("the kernel's modules"),
            LayerKind::Skeleton => named("the skeleton"),
            LayerKind::Script => named("the packages' scripts"),
            LayerKind::Overlay => named("the overlay"),
        },
        By::Kind => named(file_kind(path, kind)),
        By::File => (Some(component().group), path.to_owned(), None),
    }
}

/// What a file is, by its name and place; `kind` as in [`FileInfo::kind`].
pub(crate) fn file_kind(path: &str, kind: &str) -> &'static str {
    match kind {
        "directory" => return "directories",
        "symlink" | "hardlink" => return "links",
        "file" => {}
        _ => return "devices and pipes",
    }
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let in_programs = ["bin", "sbin"].contains(&directory.rsplit('/').next().unwrap_or_default());
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if ends(&[".beam"]) {
        "modules (.beam)"
    } else if ends(&[".so"]) || name.contains(".so.") {
        "shared libraries"
    } else if ends(&[".ko", ".ko.gz", ".ko.xz", ".ko.zst"]) {
        "kernel modules"
    } else if ends(&[".app", ".appup", ".boot", ".rel", ".script", ".config"]) {
        "applications' and boot files"
    } else if in_programs || path == "/init" {
        "programs"
    } else {
        "other files"
    }
}

fn pruned(manifest: &Manifest) -> Vec<RuleTotal> {
    let mut rules: BTreeMap<&str, (usize, u64, BTreeMap<&str, usize>)> = BTreeMap::new();
    for removed in &manifest.removed {
        let (files, size, reasons) = rules.entry(&removed.rule).or_default();
        *files += 1;
        *size = size.saturating_add(removed.size);
        *reasons.entry(&removed.reason).or_default() += 1;
    }
    let mut rules: Vec<RuleTotal> = rules
        .into_iter()
        .map(|(rule, (files, size, reasons))| {
            let mut reasons: Vec<ReasonCount> = reasons
                .into_iter()
                .map(|(reason, files)| ReasonCount { reason: reason.to_owned(), files })
                .collect();
            // Stable: equal ones stay in the order of their words.
            reasons.sort_by_key(|reason| std::cmp::Reverse(reason.files));
            RuleTotal { rule: rule.to_owned(), what: rule_in_words(rule).to_owned(), files, size, reasons }
        })
        .collect();
    rules.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.rule.cmp(&b.rule)));
    rules
}

fn rewritten(manifest: &Manifest) -> Rewritten {
    let mut rewritten = Rewritten::default();
    for file in manifest.files.iter().filter(|file| file.size < file.size_before) {
        rewritten.files += 1;
        rewritten.saved = rewritten.saved.saturating_add(file.size_before - file.size);
    }
    rewritten
}

/// What a rule of pruning takes, in words; the rule's name itself for one that this version doesn't know.
pub fn rule_in_words(rule: &str) -> &str {
    match rule {
        "otp-application" => "OTP applications that the release does not list",
        "development" => "what only development needs (sources, headers, examples, documentation)",
        "port-mapper" => "Erlang's port mapper, as distribution is off",
        "program" => "programs and scripts that nobody starts",
        "module" => "modules that nothing reaches",
        "shadowed" => "modules that consolidated protocols stand in front of",
        "library" => "shared libraries that nothing loads",
        "package-database" => "the database of installed packages",
        rule => rule,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::manifest::sample;

    const ALL: [By; 5] = [By::Component, By::Package, By::App, By::Kind, By::File];

    #[test]
    fn the_parts_of_the_sample() {
        let analysis = analyze(&sample::manifest(), By::Component);
        let shown = |row: &Row| {
            let version = row.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
            format!("{}{version} {}/{}/{}", row.name, row.sizes.before, row.sizes.size, row.sizes.compressed)
        };
        let rows: Vec<String> = analysis.rows.iter().map(shown).collect();
        assert_eq!(rows[0], "ERTS 15.2.7 4988000/4640000/1552000");
        assert!(rows.contains(&"elixir 1.18.3 235000/87000/30900".to_owned()), "{rows:#?}");
        assert!(rows.contains(&"kernel 10.2.7 246000/74000/29600".to_owned()), "{rows:#?}");
        assert!(rows.contains(&"musl 1.2.5-r23 650018/650018/330020".to_owned()), "{rows:#?}");
        assert_eq!(rows.last().map(String::as_str), Some("wx 2.4.3 3000000/0/0"));
        assert_eq!(analysis.image.as_ref().map(|image| image.name.as_str()), Some("initramfs.cpio.xz"));
        assert_eq!(analysis.all_outputs(), 2_188_580 + 12_640_000);
        assert_eq!(analysis.pruned[0].rule, "otp-application");
        assert_eq!((analysis.pruned[0].files, analysis.pruned[0].size), (2, 3_000_000));
        assert_eq!(analysis.rewritten, Rewritten { files: 11, saved: 632_300 });
        assert_eq!(format!("{:.2}", analysis.percent(&analysis.rows[0].sizes)), "70.91");
    }

    #[test]
    fn by_other_things() {
        let rows = |by| {
            let rows = analyze(&sample::manifest(), by).rows.into_iter();
            rows.map(|row| (row.name, row.sizes.files)).collect::<BTreeMap<_, _>>()
        };
        let packages = rows(By::Package);
        assert_eq!((packages["musl"], packages["the release"], packages["the overlay"]), (2, 10, 1));
        let apps = rows(By::App);
        assert_eq!((apps["jason"], apps["stdlib"], apps["outside of applications"]), (1, 1, 15));
        let kinds = rows(By::Kind);
        assert_eq!((kinds["modules (.beam)"], kinds["links"], kinds["kernel modules"]), (10, 3, 1));
        assert_eq!(rows(By::File).len(), 31 + 7);
    }

    /// The words that pruning has for its rules, and no other, are explained.
    #[test]
    fn rules_have_words() {
        use crate::prune::Rule;
        for rule in [
            Rule::OtpApplication,
            Rule::Development,
            Rule::PortMapper,
            Rule::Program,
            Rule::Module,
            Rule::Shadowed,
            Rule::Library,
            Rule::PackageDatabase,
        ] {
            assert_ne!(rule_in_words(rule.name()), rule.name());
        }
        assert_eq!(rule_in_words("new"), "new");
    }

    fn layers() -> impl Strategy<Value = LayerKind> {
        use LayerKind::{Kernel, Otp, Overlay, Package, Release, Script, Skeleton, Sysroot};
        prop::sample::select(vec![Package, Otp, Release, Sysroot, Kernel, Skeleton, Script, Overlay])
    }

    fn paths() -> impl Strategy<Value = String> {
        let names = [
            "app",
            "usr",
            "lib",
            "erlang",
            "erts-15",
            "kernel-10.2",
            "bin",
            "x.beam",
            "libz.so.1",
            "init",
            "é",
        ];
        prop::collection::vec(prop::sample::select(names.to_vec()), 0..6)
            .prop_map(|names| format!("/{}", names.join("/")))
    }

    /// A manifest with any files, what went, and the outputs that they belong to.
    pub(crate) fn manifests() -> impl Strategy<Value = Manifest> {
        let part =
            prop::sample::select(vec!["", "musl-1.2.5-r23", "kernel-10.2", "usr/lib/libz.so.1", "a-b"]);
        let kind = prop::sample::select(vec!["file", "directory", "symlink", "hardlink", "fifo"]);
        let sizes = (0..1_u64 << 40, 0..1_u64 << 40, 0..1_u64 << 40);
        let file = (paths(), layers(), part.clone(), kind, sizes);
        let removed = (paths(), layers(), part, 0..1_u64 << 40);
        let kernel = prop::option::of(0..1_u64 << 40);
        (prop::collection::vec(file, 0..40), prop::collection::vec(removed, 0..10), kernel).prop_map(
            |(files, removed, kernel)| {
                let mut manifest = sample::manifest();
                let file = manifest.files[0].clone();
                manifest.files = files
                    .into_iter()
                    .map(|(path, layer, part, kind, (before, size, compressed))| FileInfo {
                        path,
                        kind: kind.to_owned(),
                        size: size.min(before),
                        size_before: before,
                        compressed,
                        layer,
                        part: part.to_owned(),
                        ..file.clone()
                    })
                    .collect();
                manifest.removed = removed
                    .into_iter()
                    .map(|(path, layer, part, size)| RemovedFile {
                        path,
                        size,
                        layer,
                        part: part.to_owned(),
                        rule: "r".to_owned(),
                        reason: "w".to_owned(),
                    })
                    .collect();
                manifest.outputs[0].size = manifest.files.iter().map(|file| file.compressed).sum();
                match kernel {
                    Some(size) => manifest.outputs[1].size = size,
                    None => manifest.outputs.truncate(1),
                }
                manifest
            },
        )
    }

    proptest! {
        #[test]
        fn rows_add_up_to_the_byte(manifest in manifests()) {
            for by in ALL {
                let analysis = analyze(&manifest, by);
                let total = Sizes::sum(analysis.rows.iter().map(|row| row.sizes));
                prop_assert_eq!(total, analysis.total);
                prop_assert_eq!(total.size, manifest.files.iter().map(|file| file.size).sum::<u64>());
                let went: u64 = manifest.removed.iter().map(|file| file.size).sum();
                let before: u64 = manifest.files.iter().map(|file| file.size_before).sum();
                prop_assert_eq!(total.before, before + went);
                prop_assert_eq!(total.compressed, manifest.outputs[0].size);
                prop_assert_eq!((total.files, total.removed), (manifest.files.len(), manifest.removed.len()));
                prop_assert_eq!(analysis.pruned.iter().map(|rule| rule.size).sum::<u64>(), went);
                prop_assert_eq!(total.before - total.size, went + analysis.rewritten.saved);
                let outputs: u64 = manifest.outputs.iter().map(|output| output.size).sum();
                prop_assert_eq!(analysis.all_outputs(), outputs);
                prop_assert!(analysis.rows.is_sorted_by(|a, b| a.sizes.compressed >= b.sizes.compressed));
            }
        }
    }
}
