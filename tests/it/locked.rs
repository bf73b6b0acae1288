//! `leanfs.lock`: made, kept, renewed, used; vendor directories; the same bytes anywhere.

mod anywhere;
mod broken;
mod renewed;
mod used;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::cli::leanfs;
use super::repo::{TestRepo, key_file};
use super::tiny;

/// The key that signs every [`TestRepo`].
const SIGN_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/leanfs-test.rsa");

/// A directory with a release, a repository and a `leanfs.toml`.
struct Project(TempDir);

impl Project {
    /// Whose recipe wants `packages` of the repository `repo`.
    fn new(packages: &[&str]) -> Self {
        let project = Self(tempfile::tempdir().expect("a temporary directory"));
        tiny::release(&project.path("release"));
        project.recipe(packages, "");
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes `leanfs.toml`: what every project of these tests has, and `more`.
    fn recipe(&self, packages: &[&str], more: &str) {
        let text = format!(
            "[release]\npath = \"release\"\n[base]\narch = \"x86_64\"\nrepositories = [\"repo\"]\nkeys = [{:?}]\n\
             packages = {packages:?}\n{more}\n[[image]]\nformat = \"initramfs\"\ncompress = \"none\"\n",
            key_file()
        );
        let kernel = if text.contains("[kernel]") { "" } else { "[kernel]\nsource = \"none\"\n" };
        self.write("leanfs.toml", &format!("{text}{kernel}"));
    }

    /// Makes `repo` anew.
    fn repository(&self, repository: &TestRepo) {
        let _ = std::fs::remove_dir_all(self.path("repo"));
        repository.build(&self.path("repo"));
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.path(name), text).expect("written");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path(name)).expect("readable")
    }

    fn lock_text(&self) -> String {
        fs_err::read_to_string(self.path("leanfs.lock")).expect("a lock")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = leanfs(self.0.path(), arguments);
        command.env("LEANFS_CACHE_DIR", self.path("cache"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary was built with this test")
    }

    /// Runs it to its end; gives both of its outputs.
    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("leanfs prints UTF-8");
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    }

    /// Runs it to its failure.
    #[track_caller]
    fn fail(&self, arguments: &[&str], code: i32, holds: &[&str]) {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        for text in holds {
            assert!(stderr.contains(text), "{text:?} in:\n{stderr}");
        }
    }

    /// Fills `vendored`. With the key of the tests: in tests, which are not optimised, a new one takes seconds.
    #[track_caller]
    fn vendor(&self, flags: &[&str]) -> String {
        self.succeed(&[&["vendor", "vendored", "--sign-key", SIGN_KEY], flags].concat())
    }

    /// The image and the manifest of a run with these flags.
    #[track_caller]
    fn image(&self, flags: &[&str]) -> (Vec<u8>, Vec<u8>) {
        let _ = std::fs::remove_dir_all(self.path("leanfs"));
        self.succeed(&[&["assemble"], flags].concat());
        (self.read("leanfs/initramfs.cpio"), self.read("leanfs/manifest.json"))
    }

    /// The versions in the lock, by name.
    fn locked(&self) -> Vec<(String, String)> {
        self.locked_for(leanfs::arch::Arch::X86_64)
    }

    fn locked_for(&self, arch: leanfs::arch::Arch) -> Vec<(String, String)> {
        let lock = leanfs::lock::Lock::parse(&self.lock_text(), Path::new("leanfs.lock")).expect("good");
        let packages = &lock.archs[&arch].packages;
        packages.iter().map(|package| (package.name.clone(), package.version.clone())).collect()
    }
}

/// `a` in this version with a file that says so.
fn with(repository: TestRepo, name: &str, version: &str) -> TestRepo {
    repository.package(name, version).file(&format!("usr/share/{name}"), format!("{name} {version}\n"))
}

fn pairs(packages: &[(String, String)]) -> Vec<(&str, &str)> {
    packages.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect()
}
