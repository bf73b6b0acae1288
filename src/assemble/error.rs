//! What can go wrong while an image is assembled.

use std::path::PathBuf;

use crate::fetch::{FetchError, FetchErrorKind};
use crate::image::ImageError;
use crate::kernel::KernelError;
use crate::kernel::build::BuildError;
use crate::layer::boot::AdaptError;
use crate::layer::libraries::LibraryError;
use crate::layer::merge::MergeError;
use crate::layer::otp::OtpError;
use crate::layer::overlay::OverlayError;
use crate::layer::package_db::PackageDbError;
use crate::layer::release::ReleaseError;
use crate::layer::special::SpecialError;
use crate::layer::start::StartError;
use crate::lock::LockError;
use crate::os_error;
use crate::prune::PruneError;
use crate::report::limit::LimitError;
use crate::report::signature::SignatureError;
use crate::report::trace::TraceError;
use crate::resolve::ResolveError;
use crate::tree::TreeError;

/// A request that could not be met; each variant is the stage that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssembleError {
    /// The release can't be read, or is none.
    #[error("the release can't be used")]
    Release(#[from] ReleaseError),
    /// No Erlang/OTP that fits the release.
    #[error("Erlang/OTP does not fit the release")]
    Otp(#[from] OtpError),
    /// The release's boot script can't be made for the patch of Erlang/OTP at hand.
    #[error("the boot script can't be made for the Erlang/OTP at hand")]
    Adapt(#[from] AdaptError),
    /// No package brings Erlang/OTP.
    #[error("no package in {repositories} brings Erlang/OTP {otp}: looked for {}", .candidates.join(", "))]
    NoOtpPackage {
        /// The version of OTP that the release was made with.
        otp: String,
        /// The names that were looked for.
        candidates: Vec<String>,
        /// Where.
        repositories: String,
    },
    /// A machine without a kernel.
    #[error("{format} needs a kernel, and there is none")]
    NoKernel {
        /// The format.
        format: crate::recipe::ImageFormat,
    },
    /// No program that would start kernel and initramfs.
    #[error("there is no UEFI stub to make a disk with")]
    NoEfiStub {
        /// Which file can't be read, and why.
        source: std::io::Error,
    },
    /// A root file system for an architecture that there is no PID 1 for that could mount it.
    #[error(
        "a root file system for {arch} can't be started: this leanfs was built without its own PID 1 for it"
    )]
    NoPid1 {
        /// The image's architecture.
        arch: crate::arch::Arch,
    },
    /// Something of the image can't be pruned.
    #[error("the image can't be pruned")]
    Prune(#[from] PruneError),
    /// What `leanfs verify --trace` should have written can't be read.
    #[error("{} can't be read", .path.display())]
    ReadTrace {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// What `leanfs verify --trace` should have written is something else.
    #[error("{} is no trace", .path.display())]
    Trace {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        source: TraceError,
    },
    /// A file that the recipe names can't be read.
    #[error("{} can't be read", .path.display())]
    ReadInput {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// A key that can't sign the manifest.
    #[error("{} can't sign the manifest", .path.display())]
    SigningKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SignatureError,
    },
    /// The release's modules can't be read.
    #[error("the release can't be read")]
    ReadRelease(#[source] std::io::Error),
    /// A package name or constraint that is none.
    #[error("{text:?} is no package that can be asked for")]
    Package {
        /// What was asked for.
        text: String,
        /// What is wrong with it.
        #[source]
        source: crate::apk::ApkError,
    },
    /// Packages can't be selected.
    #[error("no set of packages satisfies what is needed")]
    Resolve(#[from] ResolveError),
    /// Indexes, packages or tarballs can't be had, or not be verified.
    #[error("what the image needs can't be fetched")]
    Fetch(#[from] FetchError),
    /// Two layers claim one path.
    #[error("the layers of the image contradict each other")]
    Merge(#[from] MergeError),
    /// A package's script that the recipe refuses.
    #[error("the {kind} script of {package}, whose effect leanfs doesn't know, is refused: {text}")]
    Script {
        /// The package with its version.
        package: String,
        /// `post-install` and so on.
        kind: String,
        /// Its text.
        text: crate::apk::Quoted,
    },
    /// The database of installed packages can't be made.
    #[error("the database of installed packages can't be kept")]
    PackageDb(#[from] PackageDbError),
    /// Shared libraries are missing, or don't fit.
    #[error("shared libraries don't fit")]
    Libraries(#[from] LibraryError),
    /// The release's start can't be worked out.
    #[error("leanfs can't tell how the release is started")]
    Start(#[from] StartError),
    /// The overlay can't be read.
    #[error("the overlay can't be used")]
    Overlay(#[from] OverlayError),
    /// No package of that name brings a kernel.
    #[error("no package in {repositories} is called {name}, which is to bring the kernel")]
    NoKernelPackage {
        /// The name.
        name: String,
        /// Where it was looked for.
        repositories: String,
    },
    /// The kernel can't be used.
    #[error("the kernel can't be used")]
    Kernel(#[from] KernelError),
    /// The kernel can't be built.
    #[error("the kernel can't be built")]
    KernelBuild(#[from] BuildError),
    /// The kernel can't read the image.
    #[error("the kernel can't read the image: its configuration has no {option}")]
    KernelLacks {
        /// The option.
        option: &'static str,
    },
    /// A package brings what gives powers, and the recipe doesn't allow it.
    #[error("a package brings what the recipe doesn't allow")]
    Special(#[from] SpecialError),
    /// The tree contradicts itself.
    #[error("the root file system contradicts itself")]
    Tree(#[from] TreeError),
    /// The image can't be written.
    #[error("the image can't be written")]
    Image(#[from] ImageError),
    /// One of the outputs can't be written.
    #[error("{name} can't be written")]
    Output {
        /// Its name in the output directory.
        name: String,
        /// Why.
        source: ImageError,
    },
    /// What firmware starts can't be put together.
    #[error("no unified kernel image can be made of the UEFI stub {} and the kernel {kernel}", .stub.display())]
    BootProgram {
        /// The stub's file.
        stub: PathBuf,
        /// The kernel.
        kernel: String,
        /// Why.
        source: ImageError,
    },
    /// The outputs are too large; they were given up.
    #[error("the image is larger than it may be")]
    TooLarge(#[from] LimitError),
    /// A lock that can't be read.
    #[error("{} can't be read", .path.display())]
    ReadLock {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// A lock that makes no sense.
    #[error("what is locked can't be told")]
    Lock(#[from] LockError),
    /// Nothing is locked for the architecture.
    #[error("{} has nothing for {arch}", .lock.display())]
    ArchNotLocked {
        /// The lock.
        lock: PathBuf,
        /// The image's architecture.
        arch: crate::arch::Arch,
    },
    /// The recipe is not the one that was locked.
    #[error("{} was made for another recipe: {}", .lock.display(), .differences.join("; "))]
    RecipeChanged {
        /// The lock.
        lock: PathBuf,
        /// Each setting in words.
        differences: Vec<String>,
    },
    /// Something is wanted that was not wanted, or was not there, when the lock was made.
    #[error("{} does not have {what}, which is wanted now", .lock.display())]
    NotLocked {
        /// The lock.
        lock: PathBuf,
        /// A name.
        what: String,
    },
    /// The locked packages don't satisfy what is wanted.
    #[error("the packages in {} don't satisfy what is wanted now", .lock.display())]
    LockUnsolved {
        /// The lock.
        lock: PathBuf,
        /// Why not.
        source: ResolveError,
    },
    /// A library of the sysroot can't be read.
    #[error("{} can't be read", .path.display())]
    ReadLibrary {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// Something of a vendor directory can't be read or written.
    #[error("{} can't be vendored", .path.display())]
    Vendor {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The index of a vendor directory can't be made.
    #[error("the index can't be made")]
    Sign(#[source] crate::apk::ApkError),
    /// A package that is to be renewed and isn't locked.
    #[error("{name} can't be renewed: it is not among the packages that are locked")]
    NothingToUpdate {
        /// The name.
        name: String,
    },
    /// leanfs is wrong.
    #[error("a bug in leanfs: {0}")]
    Bug(String),
}

/// What an [`AssembleError`] means to whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The request can't be met.
    Unmet,
    /// The request makes no sense.
    Usage,
    /// Something could not be verified: a signature or a hash.
    Unverified,
    /// The network.
    Network,
    /// leanfs itself.
    Bug,
}

impl AssembleError {
    /// What it means.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Package { .. }
            | Self::SigningKey { .. }
            | Self::ReadLock { .. }
            | Self::Lock(_)
            | Self::NothingToUpdate { .. } => FailureKind::Usage,
            Self::ArchNotLocked { .. }
            | Self::RecipeChanged { .. }
            | Self::NotLocked { .. }
            | Self::LockUnsolved { .. } => FailureKind::Unverified,
            Self::Fetch(error) => match error.kind() {
                FetchErrorKind::Unverified => FailureKind::Unverified,
                FetchErrorKind::Network => FailureKind::Network,
                FetchErrorKind::Settings => FailureKind::Usage,
                _ => FailureKind::Unmet,
            },
            Self::KernelBuild(BuildError::HashDiffers { .. }) => FailureKind::Unverified,
            Self::KernelBuild(BuildError::Catalog(_)) => FailureKind::Usage,
            Self::Bug(_) => FailureKind::Bug,
            _ => FailureKind::Unmet,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        self.own_hint().or_else(|| os_error::hint(self).map(str::to_owned))
    }

    fn own_hint(&self) -> Option<String> {
        match self {
            Self::Release(error) => error.hint(),
            Self::Otp(error) => error.hint(),
            Self::Prune(error) => error.hint(),
            Self::Resolve(error) => error.hint(),
            Self::Fetch(error) => error.hint(),
            Self::Merge(error) => error.hint(),
            Self::Libraries(error) => error.hint(),
            Self::Start(error) => error.hint(),
            Self::Kernel(error) => error.hint(),
            Self::KernelBuild(error) => error.hint(),
            Self::Image(error) | Self::Output { source: error, .. } => error.hint(),
            Self::BootProgram { .. } => Some(
                "name another stub with --efi-stub, or another kernel with --kernel".to_owned(),
            ),
            Self::SigningKey { source, .. } => Some(source.hint()),
            Self::TooLarge(error) => error.hint(),
            Self::Special(error) => Some(error.hint()),
            Self::Package { source, .. } => source.hint(),
            Self::NoOtpPackage { .. } => Some(
                "add the repository that has it (Alpine's `community`) with --repository, make the release with \
                 `include_erts: true`, or give an OTP tarball with --otp"
                    .to_owned(),
            ),
            Self::NoKernelPackage { .. } => {
                Some("add the repository that has it, or give a kernel file with --kernel".to_owned())
            }
            Self::KernelLacks { .. } => {
                Some(
                    "choose another format or another compressor (--compress), or another kernel; one that is built from \
                     source gets what the images need where leanfs.toml names no `configs`"
                        .to_owned(),
                )
            }
            Self::Script { .. } => Some(
                "leave the package out; or put what the script would make into the overlay, and accept it in leanfs.toml \
                 (`[scripts] accept`) or with --accept-script"
                    .to_owned(),
            ),
            Self::NoKernel { .. } => Some("choose one with --kernel".to_owned()),
            Self::NoEfiStub { .. } => Some(
                "install systemd's (the package is systemd-boot-efi on Debian and Ubuntu, systemd-efistub on Alpine), or \
                 name its file with --efi-stub"
                    .to_owned(),
            ),
            Self::NoPid1 { .. } => Some(
                "use an initramfs, which a script starts then, or a leanfs that was built where Rust's `core` for this \
                 architecture is installed (rustup target add)"
                    .to_owned(),
            ),
            Self::ReadLock { .. } => Some("`leanfs lock` makes it".to_owned()),
            Self::Lock(error) => Some(error.hint()),
            Self::ArchNotLocked { arch, .. } => Some(format!("run `leanfs lock --arch {arch}`")),
            Self::RecipeChanged { .. } => Some(
                "run `leanfs lock`, which keeps what it can, or undo the change".to_owned(),
            ),
            Self::NotLocked { .. } | Self::LockUnsolved { .. } => Some(
                "run `leanfs lock`, which adds it and keeps the rest, or `leanfs lock --update`, which renews everything"
                    .to_owned(),
            ),
            Self::NothingToUpdate { .. } => Some("leanfs.lock has the names".to_owned()),
            Self::Trace { .. } => Some("`leanfs verify --trace FILE` writes one".to_owned()),
            Self::Adapt(_) => Some("let the release bring its own Erlang/OTP (`include_erts: true`)".to_owned()),
            Self::ReadRelease(_)
            | Self::ReadInput { .. }
            | Self::ReadTrace { .. }
            | Self::Overlay(_)
            | Self::PackageDb(_)
            | Self::Tree(_)
            | Self::Vendor { .. }
            | Self::ReadLibrary { .. }
            | Self::Bug(_) => None,
            Self::Sign(error) => error.hint(),
        }
    }
}
