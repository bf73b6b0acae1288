//! `manifest.json`: what an image holds, what was left out, and why.

mod read;

use std::collections::BTreeMap;

pub use read::{ManifestError, ManifestFile};
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
    /// The time that nodes got which have none of their own (`SOURCE_DATE_EPOCH`); seconds since 1970.
    pub source_date_epoch: i64,
    /// What the recipe asks for, as far as it is no file.
    pub parameters: Parameters,
    /// The files and directories that went in, beside packages.
    pub inputs: Vec<Input>,
    /// Erlang/OTP's, Elixir's and the release's applications, those included of which pruning left nothing; by their
    /// paths.
    pub applications: Vec<ApplicationInfo>,
    /// The kernel beside the image, whose modules are inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelInfo>,
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

/// What decides an image beside the files that go into it; words as `leanfs.toml` has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// Packages that were asked for by name.
    pub packages: Vec<String>,
    /// `release`, `packages` or `tarball`.
    pub otp: String,
    /// `package:NAME`, `file` or `none`.
    pub kernel: String,
    /// Formats with their compression, as `initramfs xz:9`.
    pub images: Vec<String>,
    /// Patterns of modules and applications that stay whatever reaches them.
    pub keep: Vec<String>,
    /// Whether a shell was asked for.
    pub shell: bool,
}

/// A file or a directory that went into an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// `recipe`, `release`, `otp`, `kernel`, `overlay`, `trace`, `efi-stub` or `dependencies` (a project's `mix.lock` or
    /// `rebar.lock`).
    pub role: String,
    /// The file's name, without its directory; empty for a directory.
    pub name: String,
    /// SHA-256 of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of a directory: [`Tree::dir_hash`](crate::tree::Tree::dir_hash).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir_hash: Option<String>,
}

/// An application, as its `.app` file describes it (`app(4)`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The path of its directory, above `ebin`.
    pub path: String,
    /// What brought its `.app` file.
    pub layer: LayerKind,
    /// Which part of that.
    pub part: String,
    /// What it is, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Licences that it names: SPDX identifiers as a rule. Only what Hex made names any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<String>,
    /// Applications that it needs: `applications` and `included_applications` without those that are optional.
    pub needs: Vec<String>,
    /// The Hex package that it is, if that is known: from its `hex_metadata.config` or a lock file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<HexPackage>,
}

/// A package of [Hex](https://hex.pm).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HexPackage {
    /// Its name, which may differ from the application's.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The repository; none for Hex's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// SHA-256 of the package's tarball, as the lock file has it; lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Where the kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelInfo {
    /// `linux-virt-6.18.56-r0`, or the file's name.
    pub name: String,
    /// The package that it was taken from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageInfo>,
    /// SHA-256 of the kernel itself.
    pub sha256: String,
}

/// A package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageInfo {
    /// Name.
    pub name: String,
    /// Version with release.
    pub version: String,
    /// The architecture that it was built for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arch: String,
    /// What it is, in a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The project's address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Its licence: an SPDX expression as a rule.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub license: String,
    /// The source package that it was built from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// The commit of the source package's recipe.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// Who looks after it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub maintainer: String,
    /// The repository that it came from.
    pub repository: String,
    /// Whose package it is, in small letters: `alpine`, where one of the keys of Alpine that leanfs has built in signed the
    /// index. Nothing where that isn't known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// The size of its file.
    #[serde(default)]
    pub size: u64,
    /// The hash by which its index names it: `Q1` and base64 of a SHA-1, `Q2` and that of a SHA-256.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checksum: String,
    /// SHA-256 of its compressed data member, as its signed control member says; lower-case hexadecimal. Packages of
    /// format v3 have none: their `checksum` covers all files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_sha256: Option<String>,
    /// Packages of the image that have what it depends on, in order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// The chain of names that wanted it.
    pub wanted_by: Vec<String>,
}

impl PackageInfo {
    /// Name and version, as the parts of files have them: `musl-1.2.5-r23`.
    pub fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
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
    /// Of a directory: the files in it, in order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<OutputFile>,
}

/// A file of an output that is a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Its name below the directory, with `/`.
    pub name: String,
    /// Its size.
    pub size: u64,
    /// Its hash, lower-case hexadecimal.
    pub sha256: String,
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
    /// SHA-256 of the content of a regular file; lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
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
    pub const FORMAT: u32 = 3;
}

/// A small manifest for the tests, made by hand; what it holds is consistent.
#[cfg(test)]
pub(crate) mod sample {
    use super::Manifest;

    pub(crate) fn manifest() -> Manifest {
        serde_json::from_str(include_str!("manifest/sample.json")).expect("a manifest")
    }
}
