//! What to assemble: [`Recipe`], made by hand, or from `leanfs.toml` and flags.

mod date;
pub mod file;
mod image;
mod input_limits;
mod kernel;
mod prune;
mod repository;
mod scripts;
mod settings;
mod shared_cache;
mod time;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use date::{date, parse_date};
pub use image::{DataSettings, ImageFormat, ImageSpec, Port, Uuid};
pub use input_limits::{InputLimit, InputLimits, LimitSetting, LimitUnit};
pub use kernel::KernelBuild;
pub use prune::{Pattern, PruneLevel, PruneSettings};
pub(crate) use repository::FINGERPRINT;
pub use repository::{Repository, RepositorySource, TrustedKey, parse_tag};
pub use scripts::{ScriptPattern, ScriptSettings};
pub use settings::{AllImages, Settings, SettingsError, limits_of};
pub use shared_cache::{S3Credentials, SharedCacheSettings};
pub use time::rfc3339;
pub use words::{UnknownChoice, parse_sha256, parse_size};

use crate::arch::Arch;

/// Everything that decides what an image holds, and where it is written.
///
/// Make one with [`Recipe::new`] and set the fields that differ.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Recipe {
    /// The release: a directory or a tarball that holds `releases/VERSION/`.
    pub release: PathBuf,
    /// The `leanfs.toml` that this comes from; only its hash is told.
    pub file: Option<PathBuf>,
    /// The lock files (`mix.lock`, `rebar.lock`) of the project that the release was made from: they tell which
    /// applications are Hex packages.
    pub dependency_locks: Vec<PathBuf>,
    /// The architecture of the image.
    pub arch: Arch,
    /// Where packages come from, the most wanted first. Without the architecture at the end.
    pub repositories: Vec<RepositorySource>,
    /// Key files, or directories of key files, that may sign indexes and packages of repositories that name none.
    /// Alpine's own keys are built in; they are trusted when this is empty.
    pub keys: Vec<PathBuf>,
    /// Take unsigned and unknown-signed indexes and packages, but not from repositories that have keys of their own.
    /// Hashes are still checked.
    pub allow_untrusted: bool,
    /// Take no index whose newest package was built before this time, in seconds since 1970: against mirrors that serve
    /// what was signed long ago.
    pub not_before: Option<i64>,
    /// How much is taken of indexes, packages and downloads.
    pub input_limits: InputLimits,
    /// Packages beside what the release needs, as in apk's world file (`ca-certificates-bundle`, `busybox>1.36`).
    pub packages: Vec<String>,
    /// Paths (`/usr/bin/sudo`) of what packages may bring although it gives powers: programs with a set-ID bit or
    /// capabilities, device nodes.
    pub allow_special: Vec<String>,
    /// Where Erlang/OTP comes from.
    pub otp: OtpSource,
    /// Where libraries come from for programs that no package serves (a glibc ERTS): a root directory. `None`
    /// takes this machine if its libraries fit.
    pub sysroot: Option<PathBuf>,
    /// A directory that is laid over everything else.
    pub overlay: Option<PathBuf>,
    /// How much of the tree goes.
    pub prune: PruneSettings,
    /// Scripts of packages whose effects are not known.
    pub scripts: ScriptSettings,
    /// Put a shell and the usual commands (busybox) into the image.
    pub shell: bool,
    /// The kernel beside the image.
    pub kernel: KernelSource,
    /// What to write.
    pub images: Vec<ImageSpec>,
    /// A file system for what the application writes, beside the images and on the disks.
    pub data: Option<DataSettings>,
    /// How the release is started.
    pub run: RunSettings,
    /// How large the outputs may be.
    pub limits: Limits,
    /// The directory for the images, the kernel and the manifest.
    pub output: PathBuf,
    /// The Ed25519 key (PKCS#8, PEM) that signs the manifest
    /// ([`SigningKey`](crate::report::signature::SigningKey)); `None` leaves it unsigned.
    pub sign_manifest: Option<PathBuf>,
    /// Where downloads are kept, shared by all runs of the user.
    pub cache: PathBuf,
    /// Never use the network.
    pub offline: bool,
    /// A `leanfs.lock`: use exactly what it says, or fail.
    pub lock: Option<PathBuf>,
    /// A directory of `leanfs vendor`, where what is locked is looked for first.
    pub vendor: Option<PathBuf>,
    /// How many downloads and compressions at a time.
    pub jobs: usize,
    /// Where programs are that build a kernel from source: the directories of `PATH`. Nothing else runs programs.
    pub program_directories: Vec<PathBuf>,
    /// A file of PEM certificates to trust for `https://` instead of the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// A cache that several machines share.
    pub shared_cache: Option<SharedCacheSettings>,
    /// The proxy for `http://` and `https://` by the usual environment variables' rules.
    pub proxy: ProxySettings,
    /// Modification time of everything but the files of packages, which keep theirs (`SOURCE_DATE_EPOCH`);
    /// seconds since 1970.
    pub source_date_epoch: i64,
}

impl Recipe {
    /// A recipe with defaults: Alpine's current stable repositories, OTP as the release wants it, an xz
    /// initramfs and `linux-virt`, no network restrictions, cache and output as given.
    pub fn new(
        release: impl Into<PathBuf>,
        arch: Arch,
        output: impl Into<PathBuf>,
        cache: impl Into<PathBuf>,
    ) -> Self {
        Self {
            release: release.into(),
            file: None,
            dependency_locks: Vec::new(),
            arch,
            repositories: RepositorySource::defaults(),
            keys: Vec::new(),
            allow_untrusted: false,
            not_before: None,
            input_limits: InputLimits::default(),
            packages: Vec::new(),
            allow_special: Vec::new(),
            otp: OtpSource::Automatic,
            sysroot: None,
            overlay: None,
            prune: PruneSettings::default(),
            scripts: ScriptSettings::default(),
            shell: false,
            kernel: KernelSource::Package("linux-virt".to_owned()),
            images: vec![ImageSpec::default()],
            data: None,
            run: RunSettings::default(),
            limits: Limits::default(),
            output: output.into(),
            sign_manifest: None,
            cache: cache.into(),
            offline: false,
            lock: None,
            vendor: None,
            jobs: std::thread::available_parallelism().map_or(1, Into::into),
            program_directories: Vec::new(),
            ca_file: None,
            shared_cache: None,
            proxy: ProxySettings::default(),
            source_date_epoch: 0,
        }
    }
}

/// Where Erlang/OTP comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtpSource {
    /// The release's own ERTS if it has one, else packages.
    Automatic,
    /// Alpine's packages, even if the release has an ERTS.
    Packages,
    /// A tarball (`.tar.gz`, `.tar.xz`, `.tar.zst`) of an installation, with its SHA-256 if it must be checked.
    Tarball {
        /// The file.
        path: PathBuf,
        /// What it must hash to.
        sha256: Option<[u8; 32]>,
    },
    /// A tarball to download.
    Url {
        /// The address.
        url: String,
        /// What it must hash to.
        sha256: [u8; 32],
    },
}

/// Where the kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelSource {
    /// A kernel package; only its kernel and the modules that the image needs are unpacked.
    Package(String),
    /// A kernel file; its drivers must be built in.
    File(PathBuf),
    /// Built from source, with this machine's `make` and compiler.
    Build(KernelBuild),
    /// None is written.
    None,
}

/// Compressors and their levels; without a level, the best ratio that is worth its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Nothing.
    None,
    /// RFC 1952; level 1–9.
    Gzip {
        /// Compression level.
        level: Option<u32>,
    },
    /// With CRC32 and, for x86_64, the x86 BCJ filter, as the kernel reads it; level 0–9.
    Xz {
        /// Compression level.
        level: Option<u32>,
    },
    /// RFC 8878; level 1–22.
    Zstd {
        /// Compression level.
        level: Option<u32>,
    },
    /// In an initramfs the legacy frame format, the only one that the kernel reads.
    Lz4,
}

/// How the release is started by PID 1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunSettings {
    /// The host's name inside the image. With a dot, or the resolver asks the network for it at start.
    pub hostname: String,
    /// Environment variables for the release.
    pub env: BTreeMap<String, String>,
    /// Erlang distribution: off unless this is set, and then `epmd` comes along.
    pub distribution: Option<Distribution>,
    /// What happens when the release has ended.
    pub on_exit: OnExit,
    /// What the emulator is tuned for, where the release's own flags say nothing.
    pub profile: Profile,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            hostname: "leanfs.local".to_owned(),
            env: BTreeMap::new(),
            distribution: None,
            on_exit: OnExit::PowerOff,
            profile: Profile::Server,
        }
    }
}

/// Erlang distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// The node's name: `app` (with short names) or `app@host.domain`.
    pub node: String,
    /// `-name` instead of `-sname`.
    pub long_names: bool,
    /// The cookie; the release's own if there is none.
    pub cookie: Option<String>,
}

/// What the emulator is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Nothing: exactly the release's own flags.
    None,
    /// Nothing that limits processes, ports or schedulers.
    Server,
    /// The least time and memory: one scheduler, small tables, modules that are loaded when they are first called.
    Tiny,
}

/// How large outputs may be, in bytes; `assemble` fails when one is larger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Each image.
    pub image: Option<u64>,
    /// An image and the kernel.
    pub total: Option<u64>,
}

/// What PID 1 does when the release has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExit {
    /// Switches the machine off.
    PowerOff,
    /// Starts it again.
    Reboot,
    /// Stops the processor and leaves the console as it is.
    Halt,
}

/// Proxies, as the environment variables of the same names say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// For `http://`.
    pub http_proxy: Option<String>,
    /// For `https://`.
    pub https_proxy: Option<String>,
    /// For what has none of its own.
    pub all_proxy: Option<String>,
    /// Hosts that are asked directly: names, `.domain` suffixes or `*`, with commas between.
    pub no_proxy: Option<String>,
}
