//! `leanfs.lock`: what an assembly takes from outside, each thing by its hashes, so that another one takes the same,
//! today or in two years, from wherever it can be had.
//!
//! The file is TOML, one key a line and in order, so that a change of one package is a change of a few lines:
//!
//! ```toml
//! format = 1
//!
//! [arch.x86_64]                # one section for each architecture; each stands for itself
//! recipe = "sha256:…"          # of the four settings that follow
//! packages = ["ca-certificates-bundle"]
//! otp = "automatic"
//! kernel = "package:linux-virt"
//! shell = false
//! absent = []                  # what was looked for and was in no repository
//! world = ["erlang27"]         # what was asked of the repositories in the end
//! order = ["musl", "erlang27"] # in which packages are installed
//!
//! [[arch.x86_64.key]]          # who signed: indexes, and packages themselves
//! fingerprint = "sha256:…"
//! name = "alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub"
//!
//! [[arch.x86_64.repository]]   # the most wanted first
//! name = "https://dl-cdn.alpinelinux.org/alpine/v3.23/main"
//! newest = 1795564800          # the build time of its newest package
//! signed_by = "sha256:…"
//!
//! [[arch.x86_64.package]]      # by name and version
//! name = "musl"
//! version = "1.2.5-r23"
//! arch = "x86_64"
//! repository = "https://dl-cdn.alpinelinux.org/alpine/v3.23/main"
//! role = "image"               # or "kernel", or "resolve": a dependency that is left out of the image
//! size = 413504
//! identity = "Q1…"             # what an index calls it by
//! control = "sha256:…"         # its control member (format v2), or `adb`: its ADB block (format v3)
//! data = "sha256:…"            # its data member; format v3 has none
//! file = "sha256:…"            # all of it
//! signed_by = ["sha256:…"]
//!
//! [[arch.x86_64.file]]         # a tarball of OTP, a kernel, a UEFI stub
//! role = "otp"                 # or "kernel", "efi-stub"
//! name = "otp.tar.gz"
//! size = 12345678
//! file = "sha256:…"
//!
//! [[arch.x86_64.library]]      # a library for glibc of the machine that locked
//! path = "/lib64/ld-linux-x86-64.so.2"
//! origin = "usr/lib64/ld-linux-x86-64.so.2"
//! executable = true
//! size = 12345
//! file = "sha256:…"
//! ```
//!
//! Addresses are information: nothing is looked for only where it came from.
//!
//! Architecture invariant: text in, values out, and back; no I/O, no clock.

mod change;
mod error;
mod read;
mod write;

use std::collections::{BTreeMap, BTreeSet};

pub use change::{Change, changes};
pub use error::LockError;
pub(crate) use read::is_file_name;

use crate::apk::Checksum;
use crate::apk::checksum::sha256;
use crate::arch::Arch;
use crate::recipe::{KernelSource, OtpSource, Recipe};

/// The name of the file, beside `leanfs.toml`.
pub const FILE_NAME: &str = "leanfs.lock";
/// The version of the format that is written; a reader refuses newer ones.
pub const FORMAT: i64 = 1;

/// A SHA-256.
pub type Sha256 = [u8; 32];

/// What a `leanfs.lock` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// By architecture.
    pub archs: BTreeMap<Arch, ArchLock>,
}

/// What is locked for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchLock {
    /// The settings that decided it.
    pub recipe: LockedRecipe,
    /// Names that were asked for and that no repository had.
    pub absent: BTreeSet<String>,
    /// What was asked of the repositories in the end: by the recipe, and by what the release is linked with.
    pub world: Vec<String>,
    /// The names of all packages that were chosen for that, in the order of installation: it can depend on what else a
    /// repository has.
    pub order: Vec<String>,
    /// Who signed, in order of their fingerprints.
    pub keys: Vec<LockedKey>,
    /// Where packages came from, the most wanted first.
    pub repositories: Vec<LockedRepository>,
    /// In order of their names and versions.
    pub packages: Vec<LockedPackage>,
    /// In order of their roles and names.
    pub files: Vec<LockedFile>,
    /// In order of their paths.
    pub libraries: Vec<LockedLibrary>,
}

/// The settings of a recipe that decide what is locked. The release decides too, by what its files are linked with; what
/// it wants is asked of the lock each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedRecipe {
    /// [`Recipe::packages`], in order.
    pub packages: Vec<String>,
    /// [`Recipe::otp`]: `automatic`, `packages` or `tarball`.
    pub otp: String,
    /// [`Recipe::kernel`]: `package:NAME`, `file` or `none`.
    pub kernel: String,
    /// [`Recipe::shell`].
    pub shell: bool,
}

/// A key that signed something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedKey {
    /// The SHA-256 of its `SubjectPublicKeyInfo` in DER.
    pub fingerprint: Sha256,
    /// The file name that it had.
    pub name: String,
}

/// A repository, as it was when it was locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedRepository {
    /// Its address or directory as the recipe names it, without credentials.
    pub name: String,
    /// Its tag.
    pub tag: Option<String>,
    /// When the newest of its packages was built, in seconds since 1970.
    pub newest: Option<i64>,
    /// Who signed its index; nobody that was trusted if there is none.
    pub signed_by: Option<Sha256>,
}

/// What a locked package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Its files are in the image.
    Image,
    /// It brings the kernel.
    Kernel,
    /// Something depends on it, but its files are left out.
    Resolve,
}

/// A package, by everything that tells it apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its own architecture: the image's, or `noarch`.
    pub arch: String,
    /// The [label](LockedRepository::label) of one of [`ArchLock::repositories`].
    pub repository: String,
    /// What it is for.
    pub role: Role,
    /// Of the `.apk` file, in bytes.
    pub size: u64,
    /// What indexes call it by.
    pub identity: Checksum,
    /// The package's hashes.
    pub hashes: PackageHashes,
    /// Who signed the package itself, of those that were trusted, in order of their fingerprints.
    pub signed_by: Vec<Sha256>,
    /// The line in the file; 0 if it is not from one.
    pub line: usize,
}

/// The SHA-256 of a package and of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageHashes {
    /// The whole file.
    pub file: Sha256,
    /// What describes it: in format v2 the compressed control member, in v3 the ADB block.
    pub control: Sha256,
    /// In format v2 the compressed data member; format v3 has a hash for each file, in the ADB block.
    pub data: Option<Sha256>,
}

/// What a locked file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileRole {
    /// A tarball of Erlang/OTP.
    Otp,
    /// A kernel.
    Kernel,
    /// What UEFI firmware starts kernel and initramfs by.
    EfiStub,
    /// A library of a sysroot; these have tables of their own.
    Library,
}

/// A library that is of no package: it serves programs for glibc, and comes from the machine that locked, or from a
/// sysroot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedLibrary {
    /// Its path in the image, from the root.
    pub path: String,
    /// Its path below the sysroot's root, without a slash.
    pub origin: String,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// The path of another one that this is a hardlink of.
    pub link: Option<String>,
    /// In bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
    /// The line in the file; 0 if it is not from one.
    pub line: usize,
}

/// A file that is no package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFile {
    /// What it is for.
    pub role: FileRole,
    /// Its name, without a directory.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
    /// The line in the file; 0 if it is not from one.
    pub line: usize,
}

impl LockedRepository {
    /// What [`LockedPackage::repository`] calls it: its name, and its tag before it if it has one.
    pub fn label(&self) -> String {
        match &self.tag {
            Some(tag) => format!("@{tag} {}", self.name),
            None => self.name.clone(),
        }
    }
}

impl Role {
    /// As it stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Kernel => "kernel",
            Self::Resolve => "resolve",
        }
    }
}

impl FileRole {
    /// As it stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Otp => "otp",
            Self::Kernel => "kernel",
            Self::EfiStub => "efi-stub",
            Self::Library => "library",
        }
    }
}

impl LockedLibrary {
    /// As a file that can be looked for.
    pub fn as_file(&self) -> LockedFile {
        let name = self.path.rsplit('/').next().unwrap_or_default().to_owned();
        let (size, sha256, line) = (self.size, self.sha256, self.line);
        LockedFile { role: FileRole::Library, name, size, sha256, line }
    }
}

impl LockedPackage {
    /// Name and version: `musl-1.2.5-r23`.
    pub fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Whether it is of format v3.
    pub fn is_v3(&self) -> bool {
        self.hashes.data.is_none()
    }

    /// Whether both are the same bytes.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.version, &self.hashes.file) == (&other.name, &other.version, &other.hashes.file)
    }
}

impl ArchLock {
    /// What is locked of a name.
    pub fn package(&self, name: &str) -> Option<&LockedPackage> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// Every file that is no package.
    pub fn all_files(&self) -> impl Iterator<Item = LockedFile> {
        let libraries = self.libraries.iter().map(LockedLibrary::as_file);
        self.files.iter().cloned().chain(libraries)
    }

    /// The file of a role.
    pub fn file(&self, role: FileRole) -> Option<&LockedFile> {
        self.files.iter().find(|file| file.role == role)
    }

    /// The same packages and files for the same reasons, whatever the repositories have beside them.
    pub fn is_same_choice(&self, other: &Self) -> bool {
        let same = |(mine, theirs): (&LockedPackage, &LockedPackage)| {
            (mine.role, &mine.repository, &mine.identity, &mine.hashes, &mine.signed_by)
                == (theirs.role, &theirs.repository, &theirs.identity, &theirs.hashes, &theirs.signed_by)
        };
        let places = |lock: &Self| -> Vec<(String, Option<String>, Option<Sha256>)> {
            let all = lock.repositories.iter();
            all.map(|place| (place.name.clone(), place.tag.clone(), place.signed_by)).collect()
        };
        let files = |lock: &Self| -> Vec<(FileRole, String, Sha256)> {
            lock.files.iter().map(|file| (file.role, file.name.clone(), file.sha256)).collect()
        };
        let libraries = |lock: &Self| -> Vec<LockedLibrary> {
            lock.libraries.iter().map(|library| LockedLibrary { line: 0, ..library.clone() }).collect()
        };
        self.recipe == other.recipe
            && (&self.absent, &self.world, &self.order) == (&other.absent, &other.world, &other.order)
            && self.keys == other.keys
            && places(self) == places(other)
            && self.packages.len() == other.packages.len()
            && self.packages.iter().zip(&other.packages).all(same)
            && files(self) == files(other)
            && libraries(self) == libraries(other)
    }

    /// What of `recipe` is not as it was when this was locked, each in words.
    pub fn differences(&self, recipe: &Recipe) -> Vec<String> {
        let now = LockedRecipe::of(recipe);
        let then = &self.recipe;
        let mut differences = Vec::new();
        let mut differ = |setting: &str, then: String, now: String| {
            if then != now {
                differences.push(format!("{setting}: locked with {then}, now {now}"));
            }
        };
        differ("packages", listed(&then.packages), listed(&now.packages));
        differ("otp", then.otp.clone(), now.otp);
        differ("kernel", then.kernel.clone(), now.kernel);
        differ("shell", then.shell.to_string(), now.shell.to_string());
        let tarball = match &recipe.otp {
            OtpSource::Tarball { sha256, .. } => *sha256,
            OtpSource::Url { sha256, .. } => Some(*sha256),
            OtpSource::Automatic | OtpSource::Packages => None,
        };
        if let (Some(now), Some(then)) = (tarball, self.file(FileRole::Otp)) {
            differ("otp's sha256", hex::encode(then.sha256), hex::encode(now));
        }
        // Another mirror is none; another release of the distribution is one.
        let then: BTreeSet<&str> =
            self.repositories.iter().filter_map(|place| release_of(&place.name)).collect();
        let names: Vec<String> =
            recipe.repositories.iter().map(|source| source.repository.to_string()).collect();
        let new: Vec<&str> = names
            .iter()
            .filter_map(|name| release_of(name))
            .filter(|release| !then.contains(release))
            .collect();
        if let Some(first) = new.first().filter(|_| !then.is_empty()) {
            let then: Vec<&str> = then.into_iter().collect();
            differences
                .push(format!("repositories: locked with those of {}, now {first}", then.join(" and ")));
        }
        differences
    }
}

/// The release that a repository's address names: `v3.23` or `edge`.
fn release_of(address: &str) -> Option<&str> {
    address.split('/').find(|part| {
        let numbers = part.strip_prefix('v').and_then(|version| version.split_once('.'));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        *part == "edge" || numbers.is_some_and(|(major, minor)| digits(major) && digits(minor))
    })
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

impl LockedRecipe {
    /// Those of a recipe.
    pub fn of(recipe: &Recipe) -> Self {
        Self {
            packages: recipe.packages.clone(),
            otp: match recipe.otp {
                OtpSource::Automatic => "automatic",
                OtpSource::Packages => "packages",
                OtpSource::Tarball { .. } | OtpSource::Url { .. } => "tarball",
            }
            .to_owned(),
            kernel: match &recipe.kernel {
                KernelSource::Package(name) => format!("package:{name}"),
                KernelSource::File(_) => "file".to_owned(),
                KernelSource::Build(build) => match &build.configs {
                    Some(configs) => format!("build:{}", configs.join(",")),
                    None => "build".to_owned(),
                },
                KernelSource::None => "none".to_owned(),
            },
            shell: recipe.shell,
        }
    }

    /// Their SHA-256: of a line `packages = …` and so on for each, as in the file.
    pub fn sha256(&self) -> Sha256 {
        sha256(self.lines().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_addresses() {
        for (address, release) in [
            ("https://dl-cdn.alpinelinux.org/alpine/v3.23/main", Some("v3.23")),
            ("/srv/mirror/edge/community", Some("edge")),
            ("https://packages.example/stable", None),
            ("/srv/v3/main", None),
            ("/srv/v3.x/main", None),
        ] {
            assert_eq!(release_of(address), release, "{address}");
        }
    }

    #[test]
    fn another_mirror_is_no_change_and_another_setting_is_one() {
        let mut recipe = Recipe::new("rel", Arch::X86_64, "out", "cache");
        let place =
            |name: &str| LockedRepository { name: name.to_owned(), tag: None, newest: None, signed_by: None };
        let lock = ArchLock {
            recipe: LockedRecipe::of(&recipe),
            absent: BTreeSet::new(),
            world: Vec::new(),
            order: Vec::new(),
            keys: Vec::new(),
            repositories: vec![place("https://a.example/v3.23/main")],
            packages: Vec::new(),
            files: Vec::new(),
            libraries: Vec::new(),
        };
        recipe.repositories = vec!["/mnt/vendor".parse().expect("one")];
        assert_eq!(lock.differences(&recipe), Vec::<String>::new());
        recipe.repositories = vec!["/mnt/v3.23/main".parse().expect("one")];
        assert_eq!(lock.differences(&recipe), Vec::<String>::new());
        recipe.repositories = vec!["https://a.example/v3.24/main".parse().expect("one")];
        assert_eq!(lock.differences(&recipe), ["repositories: locked with those of v3.23, now v3.24"]);
        recipe.repositories.clear();
        recipe.packages = vec!["tzdata".to_owned()];
        recipe.kernel = KernelSource::None;
        recipe.shell = true;
        recipe.otp = OtpSource::Packages;
        assert_eq!(
            lock.differences(&recipe),
            [
                "packages: locked with none, now tzdata",
                "otp: locked with automatic, now packages",
                "kernel: locked with package:linux-virt, now none",
                "shell: locked with false, now true",
            ]
        );
    }
}
