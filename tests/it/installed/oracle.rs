//! The real `apk`, with a root of its own.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::tree::{NodeKind, Tree};

use crate::apk_formats::real_apk;

/// A root directory that `apk` installs to or looks at.
pub(super) struct Oracle {
    apk: PathBuf,
    directory: tempfile::TempDir,
}

impl Oracle {
    /// With an empty root; none where there is no `apk`, which has been said then.
    pub(super) fn new() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        fs_err::create_dir(directory.path().join("root")).expect("made");
        Some(Self { apk: real_apk()?, directory })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of the root.
    pub(super) fn read(&self, path: &str) -> Vec<u8> {
        fs_err::read(self.path("root").join(path)).expect("there")
    }

    /// Whether it succeeded, and what it said.
    pub(super) fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> (bool, String) {
        let output = Command::new(&self.apk)
            .args(["--root".as_ref(), self.path("root").as_os_str()])
            .args(arguments)
            .output()
            .expect("apk runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Makes a system of these packages; no script runs.
    pub(super) fn add(&self, repositories: &[&Path], keys: &Path, names: &[&str]) {
        let (succeeded, said) = self.try_add(repositories, keys, names, "--no-scripts");
        assert!(succeeded, "{said}");
    }

    /// The same with scripts, which not every machine lets run; what it said.
    pub(super) fn add_with_scripts(&self, repositories: &[&Path], keys: &Path, names: &[&str]) -> String {
        self.try_add(repositories, keys, names, "--no-progress").1
    }

    /// Whether it could, and what it said.
    pub(super) fn try_add(
        &self,
        repositories: &[&Path],
        keys: &Path,
        names: &[&str],
        flag: &str,
    ) -> (bool, String) {
        let usermode = if rustix::process::geteuid().is_root() { "--progress=no" } else { "--usermode" };
        let mut arguments: Vec<std::ffi::OsString> =
            ["--no-cache", "--arch", "x86_64", "--repositories-file", "/dev/null", "--keys-dir"]
                .map(Into::into)
                .into();
        arguments.push(keys.into());
        for repository in repositories {
            arguments.extend(["-X".into(), repository.into()]);
        }
        arguments.extend(["add", "--initdb", usermode, flag].map(Into::into));
        arguments.extend(names.iter().map(Into::into));
        self.run(&arguments)
    }

    /// Whether everything of the tree that packages brought is in the root, with the same mode, owner and contents.
    pub(super) fn assert_holds(&self, tree: &Tree) {
        let root = self.path("root");
        let is_root = rustix::process::geteuid().is_root();
        let mut differences = String::new();
        for (path, node) in tree.iter().filter(|(path, _)| !path.is_root()) {
            if !node.origin.to_string().starts_with("package") {
                continue;
            }
            let (on_disk, text) = (root.join(&path.to_string()[1..]), path.to_string());
            let Ok(metadata) = fs_err::symlink_metadata(&on_disk) else {
                differences += &format!("{text} is not there\n");
                continue;
            };
            let same = match &node.kind {
                NodeKind::File(content) => {
                    content.read(1 << 30).expect("readable") == fs_err::read(&on_disk).expect("readable")
                }
                NodeKind::Symlink(target) => {
                    use std::os::unix::ffi::OsStrExt;
                    fs_err::read_link(&on_disk).expect("a link").as_os_str().as_bytes() == target
                }
                NodeKind::Directory => metadata.is_dir(),
                _ => true,
            };
            if !same {
                differences += &format!("{text} is another\n");
            }
            let is_link = matches!(node.kind, NodeKind::Symlink(_));
            if !is_link && !matches!(node.kind, NodeKind::Hardlink(_)) {
                let (ours, theirs) =
                    (node.metadata, (metadata.mode() & 0o7777, metadata.uid(), metadata.gid()));
                if ours.mode != theirs.0 || is_root && (ours.uid, ours.gid) != (theirs.1, theirs.2) {
                    differences +=
                        &format!("{text}: {:o} {}:{}, {theirs:?}\n", ours.mode, ours.uid, ours.gid);
                }
            }
        }
        assert_eq!(differences, "");
    }
}

/// As `assert_eq!`, but only the first lines that differ are shown.
#[track_caller]
pub(super) fn assert_same_lines(name: &str, ours: &[u8], theirs: &[u8]) {
    if ours == theirs {
        return;
    }
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
    let (ours, theirs) = (lines(ours), lines(theirs));
    let first = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
    let first = first.unwrap_or(ours.len().min(theirs.len()));
    let around = |lines: &[String]| {
        lines[first.saturating_sub(8).min(lines.len())..(first + 4).min(lines.len())].join("\n")
    };
    panic!("{name}, line {}:\nours:\n{}\ntheirs:\n{}", first + 1, around(&ours), around(&theirs));
}
