//! The flags that say what to assemble, and how they become a [`Recipe`] together with `leanfs.toml`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};
use leanfs::apk::PublicKey;
use leanfs::arch::Arch;
use leanfs::fetch::{FetchSettings, load_keys, load_repository_keys};
use leanfs::recipe::{
    Compression, ImageFormat, InputLimit, KernelSource, LimitSetting, OtpSource, Pattern, Profile,
    PruneLevel, Recipe, Repository, RepositorySource, ScriptPattern, Settings, SettingsError,
    SharedCacheSettings, TrustedKey, file, limits_of, parse_date, parse_sha256, parse_size,
};

use super::environment::Environment;
use super::failure::Failure;
use super::terminal::Terminal;

/// Where packages come from and what is trusted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Packages")]
pub(super) struct PackageFlags {
    /// Where packages come from, the most wanted first; `@TAG URL` for NAME@TAG only [default: Alpine's current stable
    /// main and community]
    #[arg(long = "repository", value_name = "URL|DIR")]
    repositories: Vec<RepositorySource>,
    /// A key that may sign indexes and packages, or a directory of keys [default: Alpine's own, built in]
    #[arg(long = "key", value_name = "FILE|DIR")]
    keys: Vec<PathBuf>,
    /// A key (file, directory, or fingerprint as `leanfs keys` shows it) of one repository: no other may sign there, and
    /// it signs nothing else
    #[arg(long = "repository-key", num_args = 2, value_names = ["URL|DIR", "KEY"], action = ArgAction::Append)]
    repository_keys: Vec<String>,
    /// Take indexes and packages that no trusted key has signed (hashes are still checked)
    #[arg(long)]
    allow_untrusted: bool,
    /// Take no index whose newest package was built before this day: against mirrors that serve what was signed long ago
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = parse_date)]
    not_before: Option<i64>,
    /// The architecture of the image: x86_64, aarch64 or riscv64; for lock and fetch also several [default: this
    /// machine's]
    #[arg(long = "arch", value_name = "ARCH")]
    archs: Vec<Arch>,
}

/// How to fetch.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fetching")]
pub(super) struct FetchFlags {
    /// Use no network: only local repositories and what is in the cache
    #[arg(long)]
    offline: bool,
    /// How many downloads and compressions at a time [default: one a processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// A cache that several machines share: https://… or s3://BUCKET/PATH [default: $LEANFS_SHARED_CACHE]
    ///
    /// An S3-compatible store of others than Amazon is s3://BUCKET/PATH?endpoint=https://…&region=…; who this machine is
    /// for it stands in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. Packages and tarballs are verified
    /// when they arrive. What other machines worked out is taken only from those with the same LEANFS_SHARED_CACHE_KEY.
    #[arg(long, value_name = "URL")]
    shared_cache: Option<String>,
    /// Put there what this machine fetches and works out
    #[arg(long)]
    shared_cache_write: bool,
    /// Where downloads are kept [default: $LEANFS_CACHE_DIR, $XDG_CACHE_HOME/leanfs or ~/.cache/leanfs]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Take more or less from outside: NAME is one of index_size, index_unpacked, index_entries, index_relations,
    /// package_size, package_unpacked, package_entries, control_size, path_length, path_depth, names_size, pax_size,
    /// expansion, tarball_size, redirects, connect_time, idle_time and download_time; repeatable
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<LimitSetting>,
    /// PEM certificates to trust for https:// instead of the built-in ones [default: $SSL_CERT_FILE]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Whether a lock is used.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lock")]
pub(super) struct LockFlags {
    /// Use exactly what leanfs.lock names, by its hashes, from wherever it can be had, or fail with exit code 3
    #[arg(long)]
    locked: bool,
    #[command(flatten)]
    pub vendor: VendorFlag,
}

/// Where locked things are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lock")]
pub(super) struct VendorFlag {
    /// A directory of `leanfs vendor`, where what is locked is looked for first [default: `vendor` of leanfs.toml]
    #[arg(long, value_name = "DIR")]
    vendor: Option<PathBuf>,
}

/// What goes into the image.
#[derive(Debug, Args)]
#[command(next_help_heading = "Contents")]
pub(super) struct ContentFlags {
    /// The release: a directory or a tarball [default: the newest in _build/prod/rel of DIR]
    #[arg(long, value_name = "PATH")]
    release: Option<PathBuf>,
    /// A package beside what the release needs; repeatable
    #[arg(long = "package", value_name = "NAME")]
    packages: Vec<String>,
    /// A set-ID program, a file with capabilities or a device that packages may bring; repeatable
    #[arg(long, value_name = "PATH")]
    allow_special: Vec<String>,
    /// Erlang/OTP: a tarball, its address (with --otp-sha256), or `packages` [default: the release's own ERTS, else
    /// packages]
    #[arg(long, value_name = "PATH|URL|packages")]
    otp: Option<String>,
    /// What the OTP tarball must hash to
    #[arg(long, value_name = "HEX", requires = "otp", value_parser = parse_sha256)]
    otp_sha256: Option<[u8; 32]>,
    /// Where the libraries of a glibc ERTS are [default: this machine, if they fit]
    #[arg(long, value_name = "DIR")]
    sysroot: Option<PathBuf>,
    /// A directory that is laid over everything else
    #[arg(long, value_name = "DIR")]
    overlay: Option<PathBuf>,
    /// What to leave out: none; apps (OTP applications that the release doesn't list, what nothing reads); chunks
    /// (also what only debuggers and compilers read inside of files); or modules (also modules that nothing
    /// reaches) [default: modules]
    #[arg(long, value_name = "LEVEL")]
    prune: Option<PruneLevel>,
    /// A module or an application that stays, with what it reaches; `*` for any characters; repeatable
    #[arg(long = "keep", value_name = "GLOB")]
    keep: Vec<Pattern>,
    /// What `leanfs verify --trace` wrote: these modules stay, with what they reach; repeatable
    #[arg(long = "trace", value_name = "FILE")]
    traces: Vec<PathBuf>,
    /// Leave out the line numbers of stack traces
    #[arg(long)]
    strip_lines: bool,
    /// Write apk's database of installed packages: what of which package is in the image after pruning
    #[arg(long)]
    keep_package_db: bool,
    /// What this script of a package would do, which leanfs doesn't know, isn't needed: no warning; repeatable
    #[arg(long = "accept-script", value_name = "PACKAGE[:KIND]")]
    accept_scripts: Vec<ScriptPattern>,
    /// A package with this script, if leanfs doesn't know what it does, is an error (`*`: any); repeatable
    #[arg(long = "refuse-script", value_name = "PACKAGE[:KIND]")]
    refuse_scripts: Vec<ScriptPattern>,
    /// What the emulator is tuned for, where the release's flags say nothing: server (nothing that limits processes,
    /// ports or schedulers), tiny (the least time and memory) or none [default: server]
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,
    /// The kernel: a package, a file, the tarball of a source that is built with what the images need, or none [default:
    /// package:linux-virt]
    #[arg(long, value_name = "package:NAME|PATH|build:TARBALL|none")]
    kernel: Option<KernelSource>,
    /// Put a shell and the usual commands (busybox) into the image
    #[arg(long)]
    shell: bool,
}

/// What is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct ImageFlags {
    #[command(flatten)]
    pub formats: FormatFlags,
    /// xz[:0-9], zstd[:1-22], gzip[:1-9], lz4 or none, for every image that can be compressed so [default: xz for
    /// initramfs and squashfs, lz4 for erofs, gzip for tar and oci]
    #[arg(long, value_name = "NAME[:LEVEL]")]
    compress: Option<Compression>,
    /// The size of ext4 file systems and disks [default: as small as they can be]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,
    /// How much is free in ext4 file systems
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with = "size")]
    free: Option<u64>,
    /// Give ext4 file systems a journal
    #[arg(long)]
    journal: bool,
    /// What the root of disks and of Firecracker's machine is: squashfs, erofs, ext4 or initramfs
    /// [default: squashfs on disks, ext4 for Firecracker]
    #[arg(long, value_name = "FORMAT")]
    root: Option<ImageFormat>,
    /// Make a file system for what the application writes: data.ext4, or a partition of the disk, mounted on /data
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    data_size: Option<u64>,
    /// The name of OCI images [default: the release's name and version]
    #[arg(long, value_name = "NAME[:TAG]")]
    tag: Option<String>,
    /// Sign manifest.json with this Ed25519 key (PKCS#8, PEM), into manifest.json.sig: see `leanfs check`
    #[arg(long, value_name = "FILE")]
    sign_manifest: Option<PathBuf>,
    /// The directory for the images, the kernel and manifest.json
    #[arg(short = 'o', value_name = "DIR", default_value = "leanfs")]
    pub output: PathBuf,
}

/// The formats, any number of them.
#[derive(Debug, Args)]
pub(super) struct FormatFlags {
    /// Write an initramfs (the default)
    #[arg(long)]
    initramfs: bool,
    /// Write an ext4 file system
    #[arg(long)]
    ext4: bool,
    /// Write a squashfs file system
    #[arg(long)]
    squashfs: bool,
    /// Write an EROFS file system
    #[arg(long)]
    erofs: bool,
    /// Write a tar archive
    #[arg(long)]
    tar: bool,
    /// Write an OCI image layout, a directory
    #[arg(long)]
    oci: bool,
    /// Write an OCI image layout as a tar file, which `docker load` takes too
    #[arg(long)]
    oci_archive: bool,
    /// Write a disk that UEFI firmware boots from
    #[arg(long)]
    disk: bool,
    /// Write the disk as a qcow2 file
    #[arg(long)]
    qcow2: bool,
    /// Write what Firecracker starts: an uncompressed kernel, a root, and the configuration
    #[arg(long)]
    firecracker: bool,
    /// The UEFI stub of disks [default: systemd's of this machine]
    #[arg(long, value_name = "FILE")]
    efi_stub: Option<PathBuf>,
}

impl FormatFlags {
    fn chosen(&self) -> Option<Vec<ImageFormat>> {
        let chosen: Vec<ImageFormat> = ImageFormat::ALL
            .into_iter()
            .filter(|format| match format {
                ImageFormat::Initramfs => self.initramfs,
                ImageFormat::Ext4 => self.ext4,
                ImageFormat::Squashfs => self.squashfs,
                ImageFormat::Erofs => self.erofs,
                ImageFormat::Tar => self.tar,
                ImageFormat::Oci => self.oci,
                ImageFormat::OciArchive => self.oci_archive,
                ImageFormat::Disk => self.disk,
                ImageFormat::Qcow2 => self.qcow2,
                ImageFormat::Firecracker => self.firecracker,
                _ => false,
            })
            .collect();
        (!chosen.is_empty()).then_some(chosen)
    }
}

impl PackageFlags {
    /// Says aloud what should not happen by accident.
    pub(super) fn warn(&self, terminal: &Terminal) {
        if self.allow_untrusted {
            terminal.warning(
                "--allow-untrusted: anyone who can change the repositories or the network between \
                 decides what is in the image",
            );
        }
    }

    /// The architectures that were named.
    pub(super) fn archs(&self) -> &[Arch] {
        &self.archs
    }

    /// The one architecture that was named, if one was.
    fn arch(&self) -> Result<Option<Arch>, Failure> {
        match self.archs[..] {
            [] => Ok(None),
            [arch] => Ok(Some(arch)),
            _ => Err(Failure::usage("--arch is given more than once, and an image is for one architecture")),
        }
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.repositories = (!self.repositories.is_empty()).then(|| self.repositories.clone());
        settings.keys = (!self.keys.is_empty()).then(|| self.keys.clone());
        settings.not_before = self.not_before;
        settings
    }

    /// Gives their keys to the repositories, wherever those were named.
    fn add_repository_keys(&self, settings: &mut Settings) -> Result<(), Failure> {
        for pair in self.repository_keys.chunks_exact(2) {
            let repository: Repository = pair[0].parse().map_err(Failure::usage)?;
            let key: TrustedKey = pair[1].parse().map_err(Failure::usage)?;
            let sources = settings.repositories.get_or_insert_with(RepositorySource::defaults);
            let mut of_it: Vec<_> =
                sources.iter_mut().filter(|source| source.repository == repository).collect();
            if of_it.is_empty() {
                let known: Vec<String> = sources.iter().map(|source| source.repository.to_string()).collect();
                return Err(Failure::usage(format!(
                    "--repository-key: {repository} is none of the repositories: {}",
                    known.join(", ")
                )));
            }
            of_it.iter_mut().for_each(|source| source.keys.push(key.clone()));
        }
        Ok(())
    }
}

/// Where packages come from, for what needs no release.
pub(super) struct PackageSources {
    pub repositories: Vec<RepositorySource>,
    pub keys: Vec<PublicKey>,
    pub not_before: Option<i64>,
    /// As leanfs.toml sets them.
    pub limits: BTreeMap<InputLimit, u64>,
    pub arch: Arch,
}

impl PackageSources {
    /// Where the repositories are.
    pub(super) fn places(&self) -> Vec<Repository> {
        self.repositories.iter().map(|source| source.repository.clone()).collect()
    }
}

impl PackageFlags {
    /// Flags over the `leanfs.toml` of `directory`, if it has one, over the defaults.
    pub(super) fn sources(&self, directory: &Path) -> Result<PackageSources, Failure> {
        let mut settings = self.settings();
        settings.arch = self.arch()?;
        let mut settings = settings.over(settings_of_file(directory)?);
        self.add_repository_keys(&mut settings)?;
        let host = || Arch::host().ok_or(SettingsError::UnsupportedHost(std::env::consts::ARCH));
        Ok(PackageSources {
            repositories: settings.repositories.unwrap_or_else(RepositorySource::defaults),
            not_before: settings.not_before,
            limits: settings.input_limits,
            keys: load_keys(&settings.keys.unwrap_or_default())?,
            arch: settings.arch.map_or_else(host, Ok)?,
        })
    }
}

/// Everything that `assemble`'s flags say.
pub(super) struct RecipeFlags<'a> {
    pub packages: &'a PackageFlags,
    pub fetch: &'a FetchFlags,
    pub contents: &'a ContentFlags,
    pub formats: &'a FormatFlags,
    /// Of `assemble`, which writes them.
    pub images: Option<&'a ImageFlags>,
}

impl RecipeFlags<'_> {
    fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = self.packages.settings();
        let contents = self.contents;
        settings.release = contents.release.clone();
        settings.packages = contents.packages.clone();
        settings.allow_special = contents.allow_special.clone();
        settings.otp = match &contents.otp {
            Some(otp) => Some(OtpSource::parse(otp, contents.otp_sha256).map_err(|error| {
                let wants_hash = contents.otp_sha256.is_none() && otp.contains("://");
                Failure::usage(error).hinted(wants_hash.then(|| "give it with `--otp-sha256`".to_owned()))
            })?),
            None => None,
        };
        settings.sysroot = contents.sysroot.clone();
        settings.overlay = contents.overlay.clone();
        settings.prune = contents.prune;
        settings.keep = contents.keep.clone();
        settings.traces = contents.traces.clone();
        settings.strip_lines = contents.strip_lines.then_some(true);
        settings.keep_package_db = contents.keep_package_db.then_some(true);
        settings.accept_scripts = contents.accept_scripts.clone();
        settings.refuse_scripts = contents.refuse_scripts.clone();
        settings.profile = contents.profile;
        settings.kernel = contents.kernel.clone();
        settings.input_limits = self.fetch.limits();
        settings.shell = contents.shell.then_some(true);
        settings.formats = self.formats.chosen();
        settings.all_images.efi_stub = self.formats.efi_stub.clone();
        let Some(images) = self.images else { return Ok(settings) };
        settings.all_images.compress = images.compress;
        settings.all_images.size = images.size;
        settings.all_images.free = images.free;
        settings.all_images.journal = images.journal.then_some(true);
        settings.all_images.root = images.root;
        settings.all_images.tag = images.tag.clone();
        settings.data_size = images.data_size;
        settings.sign_manifest = images.sign_manifest.clone();
        Ok(settings)
    }

    /// Flags over the `leanfs.toml` of `directory`, if it has one. `newest_release` is asked for the release if
    /// neither names it.
    pub(super) fn recipe(
        &self,
        directory: &Path,
        environment: &Environment,
        newest_release: impl FnOnce() -> Result<PathBuf, Failure>,
    ) -> Result<Recipe, Failure> {
        let arch = self.packages.arch()?;
        self.recipe_for(arch, directory, environment, newest_release)
    }

    /// As [`RecipeFlags::recipe`], for this architecture, if it is one, in place of the one that was named.
    pub(super) fn recipe_for(
        &self,
        arch: Option<Arch>,
        directory: &Path,
        environment: &Environment,
        newest_release: impl FnOnce() -> Result<PathBuf, Failure>,
    ) -> Result<Recipe, Failure> {
        let mut settings = self.settings()?;
        settings.arch = arch;
        let mut settings = settings.over(settings_of_file(directory)?);
        self.packages.add_repository_keys(&mut settings)?;
        // The lock files of the project belong to a release that was made in it.
        let is_of_project = self.contents.release.is_none();
        if settings.release.is_none() {
            settings.release = Some(newest_release()?);
        }
        // What is written nowhere has no directory.
        let output = self.images.map_or(Path::new(""), |images| &images.output);
        let mut recipe = settings.into_recipe(output, self.fetch.cache(environment)?)?;
        let file = recipe_file(directory);
        recipe.file = is_file(&file)?.then_some(file);
        if is_of_project {
            for path in ["mix.lock", "rebar.lock"].map(|name| directory.join(name)) {
                if is_file(&path)? {
                    recipe.dependency_locks.push(path);
                }
            }
        }
        recipe.allow_untrusted = self.packages.allow_untrusted;
        recipe.offline = self.fetch.offline;
        if let Some(jobs) = self.fetch.jobs {
            recipe.jobs = jobs.get();
        }
        recipe.ca_file = self.fetch.ca_file(environment);
        recipe.shared_cache = self.fetch.shared_cache(environment);
        recipe.proxy = environment.proxy.clone();
        recipe.program_directories = environment.program_directories.clone();
        if let Some(epoch) = environment.source_date_epoch {
            recipe.source_date_epoch = epoch;
        }
        Ok(recipe)
    }
}

impl LockFlags {
    /// Sets what they say, over leanfs.toml.
    pub(super) fn apply(&self, recipe: &mut Recipe, directory: &Path) -> Result<(), Failure> {
        if self.locked {
            recipe.lock = Some(lock_file(directory));
        } else if self.vendor.vendor.is_some() {
            return Err(Failure::usage(
                "--vendor is for --locked: without a lock nothing says what is in there",
            ));
        }
        self.vendor.apply(recipe)
    }
}

impl VendorFlag {
    /// Sets what it says, over leanfs.toml.
    pub(super) fn apply(&self, recipe: &mut Recipe) -> Result<(), Failure> {
        let Some(vendor) = &self.vendor else { return Ok(()) };
        if !vendor.is_dir() {
            return Err(Failure::usage(format!("{} is no directory", vendor.display()))
                .hinted("`leanfs vendor DIR` makes one".to_owned()));
        }
        recipe.vendor = Some(vendor.clone());
        Ok(())
    }
}

impl FetchFlags {
    fn limits(&self) -> BTreeMap<InputLimit, u64> {
        self.limits.iter().map(|&LimitSetting(limit, value)| (limit, value)).collect()
    }

    /// For fetching without a recipe.
    pub(super) fn settings(
        &self,
        packages: &PackageFlags,
        sources: &PackageSources,
        environment: &Environment,
    ) -> Result<FetchSettings, Failure> {
        let mut settings = FetchSettings::new(self.cache(environment)?);
        settings.offline = self.offline;
        if let Some(jobs) = self.jobs {
            settings.jobs = jobs.get();
        }
        let mut limits = sources.limits.clone();
        limits.extend(self.limits());
        settings.limits = limits_of(&limits);
        settings.not_before = sources.not_before;
        settings.keys = sources.keys.clone();
        settings.repository_keys = load_repository_keys(&sources.repositories, &sources.keys)?;
        settings.allow_untrusted = packages.allow_untrusted;
        settings.ca_file = self.ca_file(environment);
        settings.shared = self.shared_cache(environment);
        settings.proxy = environment.proxy.clone();
        Ok(settings)
    }

    fn shared_cache(&self, environment: &Environment) -> Option<SharedCacheSettings> {
        let shared = &environment.shared_cache;
        let address = self.shared_cache.clone().or_else(|| shared.address.clone())?;
        Some(SharedCacheSettings {
            address,
            write: self.shared_cache_write || shared.write,
            key: shared.key.clone(),
            credentials: shared.credentials.clone(),
        })
    }

    /// For files that are known by their hashes.
    pub(super) fn downloads(&self, environment: &Environment) -> Result<FetchSettings, Failure> {
        let mut settings = FetchSettings::new(self.cache(environment)?);
        settings.offline = self.offline;
        settings.limits = limits_of(&self.limits());
        settings.ca_file = self.ca_file(environment);
        settings.shared = self.shared_cache(environment);
        settings.proxy = environment.proxy.clone();
        Ok(settings)
    }

    /// How many processors may be busy.
    pub(super) fn processors(&self) -> usize {
        let all = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.jobs.unwrap_or_else(all).get()
    }

    fn ca_file(&self, environment: &Environment) -> Option<PathBuf> {
        self.ca_file.clone().or_else(|| environment.ca_file.clone())
    }

    fn cache(&self, environment: &Environment) -> Result<PathBuf, Failure> {
        self.cache_dir.clone().or_else(|| environment.cache.clone()).ok_or_else(|| {
            Failure::usage("there is no home directory for a cache of downloads")
                .hinted("name a directory with `--cache-dir`".to_owned())
        })
    }
}

/// Whether there is a file. A disk that does not say is no answer: the manifest names what is there.
fn is_file(path: &Path) -> Result<bool, Failure> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::unreadable(path, error)),
    }
}

/// The `leanfs.toml` of a project.
pub(super) fn recipe_file(project: &Path) -> PathBuf {
    of_project(project, file::FILE_NAME)
}

/// The `leanfs.lock` of a project.
pub(super) fn lock_file(project: &Path) -> PathBuf {
    of_project(project, leanfs::lock::FILE_NAME)
}

fn of_project(project: &Path, name: &str) -> PathBuf {
    if project == Path::new(".") { name.into() } else { project.join(name) }
}

fn settings_of_file(directory: &Path) -> Result<Settings, Failure> {
    let path = recipe_file(directory);
    match fs_err::read_to_string(&path) {
        Ok(text) => Ok(file::parse(&text, &path)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
        Err(error) => Err(Failure::unreadable(&path, error)),
    }
}
