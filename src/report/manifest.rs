//! `manifest.json`: what an image holds, what was left out, and why.

mod read;

use std::collections::BTreeMap;

pub use read::ManifestError;
use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::recipe::{ImageFormat, PruneLevel};
use crate::tree::LayerKind;

/// Everything that is known of the outputs of one run. All sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The version of this format; a reader refuses others.
    pub format: u32,
    /// The version of leanfs that wrote it.
    pub leanfs: String,
    /// The architecture of the image.
    pub arch: Arch,
    /// How much was pruned.
    pub prune: PruneLevel,
    /// The release.
    pub release: ReleaseInfo,
    /// Packages of which something was taken, in order of their names.
    pub packages: Vec<PackageInfo>,
    /// What was resolved and then left out, with the reason.
    pub left_out: Vec<LeftOut>,
    /// Scripts of packages whose effects were made.
    #[serde(default)]
    pub known_scripts: Vec<KnownScript>,
    /// Scripts of packages whose effects are not reproduced: nothing of them has happened.
    pub unknown_scripts: Vec<UnknownScript>,
    /// Calls of modules whose names are made at run time: pruning could not follow them.
    pub unfollowed: Vec<UnfollowedCall>,
    /// What the user was told beside that.
    pub notes: Vec<String>,
    /// The files of the output directory, this manifest apart.
    pub outputs: Vec<Output>,
    /// Every file of the image, in path order.
    pub files: Vec<FileInfo>,
    /// Every file that pruning took out, in path order.
    pub removed: Vec<RemovedFile>,
    /// How to start the image: kernel command line.
    pub command_line: String,
}

/// The release inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseInfo {
    /// Its name in the `.rel` file.
    pub name: String,
    /// Its version there.
    pub version: String,
    /// The version of the Erlang runtime system.
    pub erts: String,
    /// Where Erlang/OTP came from: `release`, `packages` or `tarball`.
    pub otp_source: String,
    /// Applications and versions.
    pub applications: BTreeMap<String, String>,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageInfo {
    /// Name.
    pub name: String,
    /// Version with release.
    pub version: String,
    /// The repository that it came from.
    pub repository: String,
    /// SHA-256 of its compressed data member, as its signed control member says; lower-case hexadecimal.
    pub data_sha256: String,
    /// The chain of names that wanted it.
    pub wanted_by: Vec<String>,
}

/// Something that was not put into the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// A package.
    pub name: String,
    /// Why it may be missing.
    pub reason: String,
}

/// A script that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownScript {
    /// The package with its version.
    pub package: String,
    /// `post-install` and so on.
    pub script: String,
    /// Its text.
    pub text: String,
    /// Whether the recipe says that it isn't needed.
    #[serde(default)]
    pub accepted: bool,
}

/// A package's script in whose place something was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownScript {
    /// The package with its version.
    pub package: String,
    /// `post-install` and so on.
    pub script: String,
    /// What was made, in words; empty if an image needs nothing of it.
    pub effects: Vec<String>,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its name in the output directory.
    pub name: String,
    /// The format's name ([`ImageFormat::name`](crate::recipe::ImageFormat::name)); `kernel`; `vmlinux`, the kernel
    /// uncompressed; `boot`, the initramfs that mounts a root file system; `data`, the file system for what the
    /// application writes.
    pub kind: String,
    /// Its size; of a directory, that of all files in it.
    pub size: u64,
    /// Its hash, lower-case hexadecimal; of an OCI layout that of its image manifest. None of a disk or a file
    /// system that is very large and mostly a hole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of a disk: how many of its bytes its root is, a file system or an initramfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_size: Option<u64>,
}

impl Output {
    /// The format, if it is an image and nothing that belongs to one.
    pub fn format(&self) -> Option<ImageFormat> {
        self.kind.parse().ok()
    }
}

/// A file in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Absolute path; bytes that are not UTF-8 are escaped as `\xNN`.
    pub path: String,
    /// `directory`, `file`, `symlink`, `hardlink`, `char-device`, `block-device` or `fifo`.
    pub kind: String,
    /// Bytes of content.
    pub size: u64,
    /// Bytes of content before pruning rewrote it; the same as `size` if it didn't.
    pub size_before: u64,
    /// Its share of the first image of [`Manifest::outputs`] (of its root, if that is a disk), estimated: the shares of
    /// all files are its size.
    pub compressed: u64,
    /// What brought it.
    pub layer: LayerKind,
    /// Which part of that.
    pub part: String,
    /// Why it is there, in words.
    pub because: String,
    /// The path of the file that needs it, if one does: that one's reason goes on from there.
    pub by: Option<String>,
    /// For a link: the path that it leads to inside the image, all links followed; nothing if it leads nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leads_to: Option<String>,
    /// For a shared library: the paths of the ELF files whose loader takes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed_by: Vec<String>,
}

/// A call that pruning could not follow: the module's name is no constant of the program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnfollowedCall {
    /// The path of the module that calls.
    pub path: String,
    /// The module.
    pub module: String,
    /// The function that calls, as `name/arity`.
    pub function: String,
    /// How many places in it do.
    pub count: usize,
    /// What can be seen of the call, in words.
    pub what: String,
}

/// A file that is not in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedFile {
    /// As in [`FileInfo`].
    pub path: String,
    /// Bytes of content.
    pub size: u64,
    /// What had brought it.
    pub layer: LayerKind,
    /// Which part of that.
    pub part: String,
    /// The rule that took it.
    pub rule: String,
    /// Why.
    pub reason: String,
}

impl Manifest {
    /// The [`Manifest::format`] that this version writes and reads.
    pub const FORMAT: u32 = 2;
}

/// A small manifest for the tests, made by hand; what it holds is consistent.
#[cfg(test)]
pub(crate) mod sample {
    use super::Manifest;

    pub(crate) fn manifest() -> Manifest {
        serde_json::from_str(include_str!("manifest/sample.json")).expect("a manifest")
    }
}
