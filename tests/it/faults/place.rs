//! A small project with a repository that is served over HTTP, and what must hold of its outputs and its cache at
//! any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use ring::digest;
use tempfile::TempDir;

use super::Random;
use crate::cli::leanfs;
use crate::repo::{TestRepo, key_file};
use crate::server::Server;
use crate::tiny;

/// What is made of the project: it differs in an overlay, and so in every output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    One,
    Two,
}

impl Variant {
    pub(super) const BOTH: [Self; 2] = [Self::One, Self::Two];

    fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two => Self::One,
        }
    }
}

/// Outputs by their names: the SHA-256 of a file, or of all that a directory holds.
pub(super) type Outputs = BTreeMap<String, [u8; 32]>;

/// A release, two overlays and a server with a repository.
pub(super) struct Place {
    pub(super) server: Server,
    /// What the variants give.
    clean: [Outputs; 2],
    directory: TempDir,
}

/// How many packages there are, and about how large they are in bytes.
const PACKAGES: [usize; 6] = [300_000, 120_000, 70_000, 20_000, 3_000, 100];
const IMAGES: [&str; 5] = [
    "format = \"initramfs\"\ncompress = \"zstd\"",
    "format = \"ext4\"",
    "format = \"squashfs\"\ncompress = \"zstd\"",
    "format = \"erofs\"",
    "format = \"oci\"\ncompress = \"gzip:1\"",
];

impl Place {
    /// With the outputs of clean runs.
    pub(super) fn new() -> Self {
        // Without symbolic links, as system calls name descriptors.
        let directory =
            tempfile::tempdir_in(fs_err::canonicalize(std::env::temp_dir()).expect("it is there"));
        let directory = directory.expect("a temporary directory");
        let root = directory.path();
        tiny::release(&root.join("release"));
        let (mut repo, mut random) = (TestRepo::new(), Random::of(7));
        for (number, size) in PACKAGES.into_iter().enumerate() {
            let content = std::iter::repeat_with(|| random.next() as u8).take(size).collect::<Vec<u8>>();
            repo =
                repo.package(&format!("p{number}"), "1.0-r0").file(&format!("usr/share/p{number}"), content);
        }
        repo.build(&root.join("repository"));
        let server = Server::http();
        server.put_directory("/main", root.join("repository"));
        let packages: Vec<String> = (0..PACKAGES.len()).map(|number| format!("\"p{number}\"")).collect();
        for variant in Variant::BOTH {
            let overlay = root.join(format!("overlay-{}/etc", variant.name()));
            fs_err::create_dir_all(&overlay).expect("made");
            fs_err::write(overlay.join("variant"), variant.name().repeat(5_000)).expect("written");
            let images: String = IMAGES.iter().map(|image| format!("[[image]]\n{image}\n")).collect();
            let settings = format!(
                "overlay = \"../overlay-{}\"\n[release]\npath = \"../release\"\n[base]\narch = \"x86_64\"\n\
                 repositories = [\"{}\"]\nkeys = [{:?}]\npackages = [{}]\n[kernel]\nsource = \"none\"\n{images}\
                 [data]\nsize = \"1 MiB\"\n",
                variant.name(),
                server.url("/main"),
                key_file(),
                packages.join(", ")
            );
            let project = root.join(variant.name());
            fs_err::create_dir_all(&project).expect("made");
            fs_err::write(project.join("leanfs.toml"), settings).expect("written");
        }
        let mut place = Self { server, clean: Default::default(), directory };
        for variant in Variant::BOTH {
            let [out, cache] = ["clean-out", "clean-cache"].map(|name| place.path(name));
            place.succeed(variant, &out, &cache);
            let outputs = outputs(&out);
            assert_eq!(outputs.len(), IMAGES.len() + 2, "images, data and manifest: {outputs:?}");
            place.clean[variant as usize] = outputs;
            fs_err::remove_dir_all(out).expect("removed");
            fs_err::remove_dir_all(cache).expect("removed");
        }
        let same = |(name, hash)| place.clean[1].get(name) == Some(hash);
        let same: Vec<&String> =
            place.clean[0].iter().filter(|&output| same(output)).map(|(name, _)| name).collect();
        assert_eq!(same, ["data.ext4"], "the other outputs differ between the variants");
        place
    }

    /// All of it is below this.
    pub(super) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The arguments of a run; the cache and the output are made if they aren't there.
    pub(super) fn arguments(&self, variant: Variant, out: &Path, cache: &Path) -> Vec<String> {
        let project = self.path(variant.name());
        let [project, out, cache] =
            [&project, out, cache].map(|path| path.to_str().expect("UTF-8").to_owned());
        let words = ["assemble", &project, "-o", &out, "--cache-dir", &cache, "--jobs", "3", "-q"];
        words.map(str::to_owned).into()
    }

    pub(super) fn command(&self, variant: Variant, out: &Path, cache: &Path) -> Command {
        let arguments = self.arguments(variant, out, cache);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        leanfs(self.directory.path(), &arguments)
    }

    /// A run that has to succeed.
    #[track_caller]
    pub(super) fn succeed(&self, variant: Variant, out: &Path, cache: &Path) {
        let output = self.command(variant, out, cache).output().expect("the binary was built with this test");
        assert!(output.status.success(), "{}: {}", output.status, said(&output));
    }

    /// A run that has to succeed, and what has to be there then.
    #[track_caller]
    pub(super) fn succeed_and_check(&self, variant: Variant, out: &Path, cache: &Path) {
        self.succeed(variant, out, cache);
        self.check_all(out, variant, "the bytes of a clean run, and nothing else");
        check_cache(cache);
    }

    /// Each output is absent, the old whole one or the new whole one. Of a run that goes on or was killed there may be
    /// more, under names that say so; of one that failed there is nothing.
    #[track_caller]
    pub(super) fn check_outputs(&self, out: &Path, killed: bool) {
        for name in names(out) {
            if killed && name.starts_with(".leanfs-") {
                continue;
            }
            let hash = hash(&out.join(&name));
            let known = self.clean.iter().any(|outputs| outputs.get(&name) == Some(&hash));
            assert!(known, "{name} is not what a clean run makes");
        }
    }

    /// No name is there but those of outputs and of what is unfinished.
    #[track_caller]
    pub(super) fn check_names(&self, out: &Path) {
        for name in names(out) {
            assert!(
                name.starts_with(".leanfs-") || self.clean[0].contains_key(&name),
                "{name} in the outputs"
            );
        }
    }

    /// All outputs are those of one variant, and there is nothing else.
    #[track_caller]
    pub(super) fn check_all(&self, out: &Path, variant: Variant, what: &str) {
        assert_eq!(outputs(out), self.clean[variant as usize], "{what}");
    }
}

/// What it printed.
pub(super) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// The names in a directory, if there is one.
pub(super) fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8")).collect()
}

pub(super) fn outputs(out: &Path) -> Outputs {
    names(out).into_iter().map(|name| (name.clone(), hash(&out.join(name)))).collect()
}

fn hash(path: &Path) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    if path.is_dir() {
        for name in names(path) {
            context.update(name.as_bytes());
            context.update(&hash(&path.join(name)));
        }
    } else {
        context.update(&fs_err::read(path).expect("readable"));
    }
    context.finish().as_ref().try_into().expect("32 bytes")
}

/// Every object has the name of its contents, every reference can be read, and nothing stands where it doesn't belong.
#[track_caller]
pub(super) fn check_cache(cache: &Path) {
    for prefix in names(&cache.join("objects/sha256")) {
        let directory = cache.join("objects/sha256").join(&prefix);
        for name in names(&directory) {
            assert!(name.starts_with(&prefix), "{name} stands in {prefix}");
            assert_eq!(hex::encode(hash(&directory.join(&name))), name, "an object is what its name says");
        }
    }
    for name in names(&cache.join("refs")) {
        let text = fs_err::read(cache.join("refs").join(&name)).expect("readable");
        let value: serde_json::Value = serde_json::from_slice(&text).expect("a whole reference");
        assert!(value.is_object(), "{name}: {value}");
    }
}

/// Nothing of killed runs is left but what the next run sweeps once it is old; `place.succeed` has to run in between.
pub(super) fn make_old(cache: &Path) {
    let long_ago = SystemTime::now() - Duration::from_secs(15 * 24 * 60 * 60);
    for below in ["tmp", "partial"] {
        for name in names(&cache.join(below)) {
            let file = fs_err::File::options().write(true).open(cache.join(below).join(name)).expect("there");
            file.into_file().set_modified(long_ago).expect("set");
        }
    }
}

/// What is in the cache beside objects and references.
pub(super) fn left_over(cache: &Path) -> Vec<String> {
    ["tmp", "partial"].into_iter().flat_map(|below| names(&cache.join(below))).collect()
}
