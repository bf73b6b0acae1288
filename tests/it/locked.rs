//! `leanfs.lock`: made, kept, renewed, used; vendor directories; the same bytes anywhere.

mod anywhere;
mod broken;
mod renewed;
mod used;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use leanfs::apk::Checksum;
use leanfs::arch::Arch;
use leanfs::lock::{
    ArchLock, FileRole, Lock, LockedFile, LockedKey, LockedLibrary, LockedPackage, LockedRecipe,
    LockedRepository, PackageHashes, Role,
};
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
        self.locked_for(Arch::X86_64)
    }

    fn locked_for(&self, arch: Arch) -> Vec<(String, String)> {
        let lock = Lock::parse(&self.lock_text(), Path::new("leanfs.lock")).expect("good");
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

/// The text of a lock that has one of everything.
pub(crate) fn sample() -> String {
    let key = LockedKey { fingerprint: [7; 32], name: "me.rsa.pub".to_owned() };
    let place = LockedRepository {
        name: "https://host/v3.23/main".to_owned(),
        tag: Some("ours".to_owned()),
        newest: Some(1_795_564_800),
        signed_by: Some(key.fingerprint),
    };
    let v2 = LockedPackage {
        name: "a".to_owned(),
        version: "1.0-r0".to_owned(),
        arch: "x86_64".to_owned(),
        repository: place.label(),
        role: Role::Image,
        size: 12,
        identity: Checksum::Sha1([1; 20]),
        hashes: PackageHashes { file: [2; 32], control: [3; 32], data: Some([4; 32]) },
        signed_by: vec![key.fingerprint],
        line: 0,
    };
    let v3 = LockedPackage {
        name: "b".to_owned(),
        role: Role::Resolve,
        identity: Checksum::Sha256([5; 32]),
        hashes: PackageHashes { file: [2; 32], control: [5; 32], data: None },
        ..v2.clone()
    };
    let library = |path: &str, link: Option<&str>| LockedLibrary {
        path: path.to_owned(),
        origin: "usr/lib/libc.so.6".to_owned(),
        executable: true,
        link: link.map(str::to_owned),
        size: 3,
        sha256: [8; 32],
        line: 0,
    };
    let section = ArchLock {
        recipe: LockedRecipe {
            packages: vec!["a@ours".to_owned()],
            otp: "tarball".to_owned(),
            kernel: "file".to_owned(),
            shell: false,
        },
        absent: ["a-more".to_owned()].into(),
        world: vec!["a".to_owned()],
        order: vec!["b".to_owned(), "a".to_owned()],
        keys: vec![key],
        repositories: vec![place],
        packages: vec![v2, v3],
        files: vec![LockedFile {
            role: FileRole::Otp,
            name: "otp.tar.gz".to_owned(),
            size: 1,
            sha256: [9; 32],
            line: 0,
        }],
        libraries: vec![library("/lib/libc.so.6", None), library("/lib64/libc.so.6", Some("/lib/libc.so.6"))],
    };
    Lock { archs: [(Arch::X86_64, section)].into() }.to_text()
}
