//! What somebody said, in `leanfs.toml` or by flags, before it is a [`Recipe`]: everything optional, merged, then
//! validated once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::words::UnknownChoice;
use super::{
    Compression, DataSettings, Distribution, ImageFormat, ImageSpec, InputLimit, InputLimits, KernelSource,
    Limits, OnExit, OtpSource, Pattern, Profile, PruneLevel, Recipe, RepositorySource, RunSettings,
    ScriptPattern,
};
use crate::apk::dependency::Dependency;
use crate::arch::Arch;

/// The settings that stand in one place. [`Settings::over`] lays one over another, [`Settings::into_recipe`]
/// fills in the defaults and checks the result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// [`Recipe::release`].
    pub release: Option<PathBuf>,
    /// [`Recipe::arch`].
    pub arch: Option<Arch>,
    /// [`Recipe::repositories`]; a list replaces the weaker one whole.
    pub repositories: Option<Vec<RepositorySource>>,
    /// [`Recipe::keys`]; a list replaces the weaker one whole.
    pub keys: Option<Vec<PathBuf>>,
    /// [`Recipe::not_before`].
    pub not_before: Option<i64>,
    /// [`Recipe::input_limits`]; each by itself.
    pub input_limits: BTreeMap<InputLimit, u64>,
    /// [`Recipe::packages`]; these are added to the weaker ones.
    pub packages: Vec<String>,
    /// [`Recipe::allow_special`]; these are added to the weaker ones.
    pub allow_special: Vec<String>,
    /// [`Recipe::otp`].
    pub otp: Option<OtpSource>,
    /// [`Recipe::vendor`].
    pub vendor: Option<PathBuf>,
    /// [`Recipe::sysroot`].
    pub sysroot: Option<PathBuf>,
    /// [`Recipe::overlay`].
    pub overlay: Option<PathBuf>,
    /// [`PruneSettings::level`](super::PruneSettings::level).
    pub prune: Option<PruneLevel>,
    /// [`PruneSettings::keep`](super::PruneSettings::keep); these are added to the weaker ones.
    pub keep: Vec<Pattern>,
    /// [`PruneSettings::strip_lines`](super::PruneSettings::strip_lines).
    pub strip_lines: Option<bool>,
    /// [`PruneSettings::traces`](super::PruneSettings::traces); these are added to the weaker ones.
    pub traces: Vec<PathBuf>,
    /// [`PruneSettings::keep_package_db`](super::PruneSettings::keep_package_db).
    pub keep_package_db: Option<bool>,
    /// [`ScriptSettings::accept`](super::ScriptSettings::accept); these are added to the weaker ones.
    pub accept_scripts: Vec<ScriptPattern>,
    /// [`ScriptSettings::refuse`](super::ScriptSettings::refuse); these are added to the weaker ones.
    pub refuse_scripts: Vec<ScriptPattern>,
    /// [`Recipe::shell`].
    pub shell: Option<bool>,
    /// [`Recipe::kernel`].
    pub kernel: Option<KernelSource>,
    /// Images with their compression, each in its own right.
    pub images: Option<Vec<ImageSpec>>,
    /// The formats to write; of a format that stands in the weaker [`Settings::images`], those.
    pub formats: Option<Vec<ImageFormat>>,
    /// What is said of every image that can have it.
    pub all_images: AllImages,
    /// [`DataSettings::size`].
    pub data_size: Option<u64>,
    /// [`DataSettings::mount`].
    pub data_mount: Option<String>,
    /// [`RunSettings::hostname`].
    pub hostname: Option<String>,
    /// [`RunSettings::env`]; variables of the weaker one that don't stand here stay.
    pub env: BTreeMap<String, String>,
    /// [`RunSettings::distribution`].
    pub distribution: Option<Distribution>,
    /// [`RunSettings::on_exit`].
    pub on_exit: Option<OnExit>,
    /// [`RunSettings::profile`].
    pub profile: Option<Profile>,
    /// [`Recipe::sign_manifest`].
    pub sign_manifest: Option<PathBuf>,
    /// [`Recipe::limits`]; each by itself.
    pub limits: Limits,
}

/// Settings of all images of a run: each is laid over [`ImageSpec`]'s of the images that can have it, and one that no
/// image can have is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AllImages {
    /// [`ImageSpec::compress`].
    pub compress: Option<Compression>,
    /// [`ImageSpec::size`].
    pub size: Option<u64>,
    /// [`ImageSpec::free`].
    pub free: Option<u64>,
    /// [`ImageSpec::journal`].
    pub journal: Option<bool>,
    /// [`ImageSpec::root`].
    pub root: Option<ImageFormat>,
    /// [`ImageSpec::tag`].
    pub tag: Option<String>,
    /// [`ImageSpec::efi_stub`].
    pub efi_stub: Option<PathBuf>,
}

impl AllImages {
    fn over(self, weaker: Self) -> Self {
        Self {
            compress: self.compress.or(weaker.compress),
            size: self.size.or(weaker.size),
            free: self.free.or(weaker.free),
            journal: self.journal.or(weaker.journal),
            root: self.root.or(weaker.root),
            tag: self.tag.or(weaker.tag),
            efi_stub: self.efi_stub.or(weaker.efi_stub),
        }
    }

    /// Lays what was said over the images.
    fn apply(&self, images: &mut [ImageSpec]) -> Result<(), SettingsError> {
        // The root first: what else a disk can have depends on it.
        lay(images, "root", &self.root, |image, &root| image.root = Some(root))?;
        lay(images, "compress", &self.compress, |image, &compress| image.compress = Some(compress))?;
        lay(images, "size", &self.size, |image, &size| {
            (image.size, image.free) = (Some(size), None);
        })?;
        lay(images, "free", &self.free, |image, &free| {
            (image.size, image.free) = (None, Some(free));
        })?;
        lay(images, "journal", &self.journal.filter(|&journal| journal), |image, _| image.journal = true)?;
        lay(images, "tag", &self.tag, |image, tag| image.tag = Some(tag.clone()))?;
        lay(images, "efi_stub", &self.efi_stub, |image, stub| image.efi_stub = Some(stub.clone()))
    }
}

/// Sets `value`, if there is one, in every image that is still right with it.
fn lay<T>(
    images: &mut [ImageSpec],
    setting: &'static str,
    value: &Option<T>,
    set: impl Fn(&mut ImageSpec, &T),
) -> Result<(), SettingsError> {
    let Some(value) = value else { return Ok(()) };
    let mut refusal = None;
    let mut is_set = false;
    for image in images {
        let mut changed = image.clone();
        set(&mut changed, value);
        match changed.check() {
            Ok(()) => {
                *image = changed;
                is_set = true;
            }
            Err(error) => refusal = Some(error),
        }
    }
    match refusal {
        Some(error) if !is_set => Err(error),
        None if !is_set => Err(SettingsError::Empty(setting)),
        _ => Ok(()),
    }
}

/// Settings that make no recipe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Nobody said which release.
    #[error("no release was given")]
    NoRelease,
    /// The architecture of this machine can't be the default.
    #[error("this machine is {0}, for which there are no images")]
    UnsupportedHost(&'static str),
    /// A list that must not be empty.
    #[error("the list of {0} is empty")]
    Empty(&'static str),
    /// Two images would have one file name.
    #[error("two images would be written to {0}")]
    SameImage(String),
    /// An image that can't be had so.
    #[error("{format} has no `{setting}`: {reason}")]
    Image {
        /// The format.
        format: ImageFormat,
        /// The key in `leanfs.toml`.
        setting: &'static str,
        /// Why not, or what it can be.
        reason: String,
    },
    /// A value that nothing could be done with.
    #[error(transparent)]
    Choice(#[from] UnknownChoice),
}

impl SettingsError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoRelease => Some("name a directory or a tarball with `--release`".to_owned()),
            Self::UnsupportedHost(_) => {
                let names: Vec<&str> = Arch::ALL.map(Arch::alpine).into();
                Some(format!("choose one with `--arch`: {}", names.join(", ")))
            }
            Self::Empty(_) | Self::SameImage(_) | Self::Image { .. } | Self::Choice(_) => None,
        }
    }
}

impl Settings {
    /// These settings, and for what they don't say, the weaker ones.
    #[must_use]
    pub fn over(self, weaker: Self) -> Self {
        let mut packages = weaker.packages;
        packages.extend(self.packages);
        let mut allow_special = weaker.allow_special;
        allow_special.extend(self.allow_special);
        let mut keep = weaker.keep;
        keep.extend(self.keep);
        let mut traces = weaker.traces;
        traces.extend(self.traces);
        let mut accept_scripts = weaker.accept_scripts;
        accept_scripts.extend(self.accept_scripts);
        let mut refuse_scripts = weaker.refuse_scripts;
        refuse_scripts.extend(self.refuse_scripts);
        let mut input_limits = weaker.input_limits;
        input_limits.extend(self.input_limits);
        let mut env = weaker.env;
        env.extend(self.env);
        Self {
            release: self.release.or(weaker.release),
            arch: self.arch.or(weaker.arch),
            repositories: self.repositories.or(weaker.repositories),
            keys: self.keys.or(weaker.keys),
            not_before: self.not_before.or(weaker.not_before),
            input_limits,
            packages,
            allow_special,
            otp: self.otp.or(weaker.otp),
            vendor: self.vendor.or(weaker.vendor),
            sysroot: self.sysroot.or(weaker.sysroot),
            overlay: self.overlay.or(weaker.overlay),
            prune: self.prune.or(weaker.prune),
            keep,
            strip_lines: self.strip_lines.or(weaker.strip_lines),
            traces,
            keep_package_db: self.keep_package_db.or(weaker.keep_package_db),
            accept_scripts,
            refuse_scripts,
            shell: self.shell.or(weaker.shell),
            kernel: self.kernel.or(weaker.kernel),
            images: self.images.or(weaker.images),
            formats: self.formats.or(weaker.formats),
            all_images: self.all_images.over(weaker.all_images),
            data_size: self.data_size.or(weaker.data_size),
            data_mount: self.data_mount.or(weaker.data_mount),
            hostname: self.hostname.or(weaker.hostname),
            env,
            distribution: self.distribution.or(weaker.distribution),
            on_exit: self.on_exit.or(weaker.on_exit),
            profile: self.profile.or(weaker.profile),
            sign_manifest: self.sign_manifest.or(weaker.sign_manifest),
            limits: Limits {
                image: self.limits.image.or(weaker.limits.image),
                total: self.limits.total.or(weaker.limits.total),
            },
        }
    }

    /// The recipe: what was said, [`Recipe::new`]'s defaults for the rest. What no setting decides (network,
    /// jobs, times) is to be set in the result.
    ///
    /// # Errors
    /// What is missing and has no default, and values that can't be meant.
    pub fn into_recipe(
        self,
        output: impl Into<PathBuf>,
        cache: impl Into<PathBuf>,
    ) -> Result<Recipe, SettingsError> {
        let arch = match self.arch {
            Some(arch) => arch,
            None => Arch::host().ok_or(SettingsError::UnsupportedHost(std::env::consts::ARCH))?,
        };
        let images = self.chosen_images()?;
        let mut recipe =
            Recipe::new(self.release.ok_or(SettingsError::NoRelease)?, arch, output.into(), cache.into());
        recipe.images = images;
        if let Some(repositories) = self.repositories {
            if repositories.is_empty() {
                return Err(SettingsError::Empty("repositories"));
            }
            recipe.repositories = repositories;
        }
        recipe.keys = self.keys.unwrap_or_default();
        recipe.not_before = self.not_before;
        recipe.input_limits = limits_of(&self.input_limits);
        recipe.packages = checked_packages(self.packages)?;
        recipe.allow_special = checked_paths(self.allow_special)?;
        if let Some(otp) = self.otp {
            recipe.otp = otp;
        }
        recipe.vendor = self.vendor;
        recipe.sysroot = self.sysroot;
        recipe.overlay = self.overlay;
        if let Some(level) = self.prune {
            recipe.prune.level = level;
        }
        recipe.prune.keep = self.keep;
        recipe.prune.strip_lines = self.strip_lines.unwrap_or(false);
        recipe.prune.traces = self.traces;
        recipe.prune.keep_package_db = self.keep_package_db.unwrap_or(false);
        recipe.scripts.accept = self.accept_scripts;
        recipe.scripts.refuse = self.refuse_scripts;
        recipe.sign_manifest = self.sign_manifest;
        recipe.limits = self.limits;
        recipe.shell = self.shell.unwrap_or(false);
        recipe.kernel = match self.kernel {
            Some(kernel) => kernel,
            // Container runtimes have theirs.
            None if recipe.images.iter().all(|image| image.format.is_for_containers()) => KernelSource::None,
            None => recipe.kernel,
        };
        recipe.data = match self.data_size {
            Some(size) => Some(checked_data(size, self.data_mount)?),
            None => None,
        };
        let mut run = RunSettings::default();
        if let Some(hostname) = self.hostname {
            run.hostname = checked_hostname(hostname)?;
        }
        run.env = checked_env(self.env)?;
        run.distribution = self.distribution.map(checked_distribution).transpose()?;
        if let Some(on_exit) = self.on_exit {
            run.on_exit = on_exit;
        }
        if let Some(profile) = self.profile {
            run.profile = profile;
        }
        recipe.run = run;
        Ok(recipe)
    }

    fn chosen_images(&self) -> Result<Vec<ImageSpec>, SettingsError> {
        let said = self.images.as_deref().unwrap_or_default();
        let mut images: Vec<ImageSpec> = match &self.formats {
            None if self.images.is_none() => vec![ImageSpec::default()],
            None => said.to_vec(),
            Some(formats) => formats
                .iter()
                .flat_map(|&format| {
                    let of_format: Vec<_> =
                        said.iter().filter(|spec| spec.format == format).cloned().collect();
                    if of_format.is_empty() { vec![ImageSpec::new(format)] } else { of_format }
                })
                .collect(),
        };
        if images.is_empty() {
            return Err(SettingsError::Empty("images"));
        }
        for image in &images {
            image.check()?;
        }
        self.all_images.apply(&mut images)?;
        if self.all_images.compress.is_some() {
            // One format with two compressions in the file is now twice the same.
            let mut seen = BTreeSet::new();
            images.retain(|image| seen.insert(image.file_name()));
        }
        let mut names = BTreeSet::new();
        match images.iter().find(|image| !names.insert(image.file_name())) {
            Some(twice) => Err(SettingsError::SameImage(twice.file_name())),
            None => Ok(images),
        }
    }
}

fn checked_data(size: u64, mount: Option<String>) -> Result<DataSettings, UnknownChoice> {
    let mount = mount.unwrap_or_else(|| DataSettings::MOUNT.to_owned());
    // What is there before the data is mounted must not be hidden by it.
    const TAKEN: [&str; 8] = ["/dev", "/proc", "/sys", "/run", "/tmp", "/etc", "/usr", "/lib"];
    let is_taken = |taken: &&str| {
        mount.strip_prefix(*taken).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_plain = mount.starts_with('/')
        && mount.len() < 256
        && mount[1..].split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !mount.contains(|c: char| c.is_control() || c.is_whitespace());
    if is_plain && !TAKEN.iter().any(is_taken) {
        return Ok(DataSettings { size, mount });
    }
    Err(UnknownChoice::new(
        "place for the data",
        &mount,
        "an absolute path without spaces, outside of /dev, /proc, /sys, /run, /tmp, /etc, /usr and /lib, is",
    ))
}

/// The limits that hold when these are set.
pub fn limits_of(set: &BTreeMap<InputLimit, u64>) -> InputLimits {
    let mut limits = InputLimits::default();
    for (&limit, &value) in set {
        limits.set(limit, value);
    }
    limits
}

fn checked_packages(packages: Vec<String>) -> Result<Vec<String>, UnknownChoice> {
    match packages.iter().find(|package| package.parse::<Dependency>().is_err()) {
        Some(found) => Err(UnknownChoice::new(
            "package",
            found,
            "a name, or a name with a version as in `busybox>1.36`, is",
        )),
        None => Ok(packages),
    }
}

/// Paths in the image, from its root.
fn checked_paths(paths: Vec<String>) -> Result<Vec<String>, UnknownChoice> {
    match paths.iter().find(|path| !path.starts_with('/') || path.split('/').any(|part| part == "..")) {
        Some(found) => Err(UnknownChoice::new("path in the image", found, "a path as `/usr/bin/sudo` is")),
        None => Ok(paths),
    }
}

/// RFC 1123 names, at least two of them: without a dot the BEAM takes 5 s at its start to ask the network.
fn checked_hostname(hostname: String) -> Result<String, UnknownChoice> {
    /// Linux's `__NEW_UTS_LEN`.
    const MOST_BYTES: usize = 64;
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if hostname.len() <= MOST_BYTES && hostname.split('.').all(label) && hostname.contains('.') {
        return Ok(hostname);
    }
    Err(UnknownChoice::new(
        "hostname for an image",
        &hostname,
        "letters, digits and `-` in at least two parts with a dot between (`app.local`), at most 64 bytes, are \
         (without a dot the BEAM asks the network for it, and waits)",
    ))
}

fn checked_env(env: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, UnknownChoice> {
    for (name, value) in &env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(UnknownChoice::new("environment variable", name, "a name without `=` and NUL is"));
        }
        if value.contains('\0') {
            return Err(UnknownChoice::new(
                "value of an environment variable",
                value,
                "a text without NUL is",
            ));
        }
    }
    Ok(env)
}

fn checked_distribution(distribution: Distribution) -> Result<Distribution, UnknownChoice> {
    let part = |part: &str, also: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-' || also.contains(c))
    };
    let fits = match distribution.node.split_once('@') {
        Some((name, host)) => part(name, "") && part(host, if distribution.long_names { ".:" } else { "" }),
        None => part(&distribution.node, ""),
    };
    if !fits {
        return Err(UnknownChoice::new(
            if distribution.long_names { "long node name" } else { "short node name" },
            &distribution.node,
            if distribution.long_names {
                "`NAME` or `NAME@HOST.DOMAIN` of letters, digits, `_` and `-` is"
            } else {
                "`NAME` or `NAME@HOST` of letters, digits, `_` and `-` is (with dots in HOST, set long_names)"
            },
        ));
    }
    match &distribution.cookie {
        // The cookie is not shown: it is a secret.
        Some(cookie)
            if cookie.is_empty() || cookie.contains(|c: char| c.is_control()) || cookie.len() > 255 =>
        {
            Err(UnknownChoice::new("cookie", "…", "1 to 255 bytes without control characters are"))
        }
        _ => Ok(distribution),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Repository;

    fn minimal() -> Settings {
        Settings { release: Some("rel".into()), arch: Some(Arch::X86_64), ..Settings::default() }
    }

    #[test]
    fn defaults_are_those_of_the_recipe() {
        let recipe = minimal().into_recipe("out", "cache").expect("complete");
        let new = Recipe::new("rel", Arch::X86_64, "out", "cache");
        assert_eq!(format!("{recipe:?}"), format!("{new:?}"));
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = Settings {
            release: Some("from-file".into()),
            repositories: Some(vec![
                Repository::Directory("a".into()).into(),
                Repository::Directory("b".into()).into(),
            ]),
            packages: vec!["ca-certificates-bundle".to_owned()],
            prune: Some(PruneLevel::Apps),
            shell: Some(true),
            env: [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "1".to_owned())].into(),
            ..Settings::default()
        };
        let flags = Settings {
            repositories: Some(vec![Repository::Directory("c".into()).into()]),
            packages: vec!["tzdata".to_owned()],
            prune: Some(PruneLevel::None),
            env: [("B".to_owned(), "2".to_owned())].into(),
            arch: Some(Arch::Aarch64),
            ..Settings::default()
        };
        let recipe = flags.over(file).into_recipe("out", "cache").expect("complete");
        assert_eq!(recipe.release, PathBuf::from("from-file"));
        assert_eq!(recipe.repositories, [Repository::Directory("c".into()).into()]);
        assert_eq!(recipe.packages, ["ca-certificates-bundle", "tzdata"]);
        assert_eq!(recipe.prune.level, PruneLevel::None);
        assert!(recipe.shell);
        assert_eq!(recipe.arch, Arch::Aarch64);
        assert_eq!(recipe.run.env["A"], "1");
        assert_eq!(recipe.run.env["B"], "2");
    }

    #[test]
    fn images_of_file_and_flags() {
        let xz = Compression::Xz { level: Some(9) };
        let zstd = Compression::Zstd { level: None };
        let spec = |compression| ImageSpec { compress: Some(compression), ..ImageSpec::default() };
        let file = || Settings { images: Some(vec![spec(xz), spec(zstd)]), ..minimal() };
        let images = |settings: Settings| settings.into_recipe("o", "c").expect("complete").images;

        assert_eq!(images(file()), [spec(xz), spec(zstd)]);
        let formats = Some(vec![ImageFormat::Initramfs]);
        assert_eq!(images(Settings { formats: formats.clone(), ..file() }), [spec(xz), spec(zstd)]);
        assert_eq!(images(Settings { formats, ..minimal() }), [ImageSpec::default()]);
        let all_images = AllImages { compress: Some(Compression::Lz4), ..AllImages::default() };
        assert_eq!(images(Settings { all_images: all_images.clone(), ..file() }), [spec(Compression::Lz4)]);
        assert_eq!(images(Settings { all_images, ..minimal() }), [spec(Compression::Lz4)]);

        let twice =
            Settings { images: Some(vec![spec(xz), spec(Compression::Xz { level: None })]), ..minimal() };
        assert_eq!(
            twice.into_recipe("o", "c").err(),
            Some(SettingsError::SameImage("initramfs.cpio.xz".to_owned()))
        );
        let none = Settings { images: Some(Vec::new()), ..minimal() };
        assert_eq!(none.into_recipe("o", "c").err(), Some(SettingsError::Empty("images")));
    }

    #[test]
    fn what_is_said_of_all_images_goes_to_those_that_can_have_it() {
        use ImageFormat::{Disk, Erofs, Ext4, Initramfs, Oci};
        let with = |formats: &[ImageFormat], all_images: AllImages| {
            Settings { formats: Some(formats.to_vec()), all_images, ..minimal() }.into_recipe("o", "c")
        };
        let gzip = Compression::Gzip { level: Some(3) };
        let all = AllImages {
            compress: Some(gzip),
            size: Some(1 << 30),
            root: Some(Ext4),
            journal: Some(true),
            ..AllImages::default()
        };
        let images = with(&[Initramfs, Erofs, Disk], all).expect("each goes somewhere").images;
        assert_eq!(images[0], ImageSpec { compress: Some(gzip), ..ImageSpec::new(Initramfs) });
        assert_eq!(images[1], ImageSpec::new(Erofs));
        let disk = ImageSpec { size: Some(1 << 30), root: Some(Ext4), journal: true, ..ImageSpec::new(Disk) };
        assert_eq!(images[2], disk);
        let error =
            with(&[Initramfs], AllImages { size: Some(1), ..AllImages::default() }).expect_err("none");
        assert_eq!(error.to_string(), "initramfs has no `size`: only ext4 and disks can have it");
        let kernel = |formats| with(formats, AllImages::default()).expect("right").kernel;
        assert_eq!(kernel(&[Oci]), KernelSource::None, "container runtimes have theirs");
        assert_ne!(kernel(&[Oci, Ext4]), KernelSource::None);
    }

    #[test]
    fn data_has_a_place_of_its_own() {
        let data = |mount: &str| {
            Settings { data_size: Some(1), data_mount: Some(mount.to_owned()), ..minimal() }
                .into_recipe("o", "c")
                .is_ok()
        };
        assert!(data("/data") && data("/var/lib/app") && data("/developers"));
        for wrong in ["", "data", "/", "/a/../b", "/a b", "/dev", "/etc/x", "/a/"] {
            assert!(!data(wrong), "{wrong}");
        }
        let settings = Settings { data_size: Some(7), ..minimal() };
        let data = settings.into_recipe("o", "c").expect("right").data;
        assert_eq!(data, Some(DataSettings { size: 7, mount: "/data".to_owned() }));
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        let node = |node: &str, long_names| Settings {
            distribution: Some(Distribution { node: node.to_owned(), long_names, cookie: None }),
            ..minimal()
        };
        let hostname = |name: &str| Settings { hostname: Some(name.to_owned()), ..minimal() };
        let env = |name: &str, value: &str| Settings {
            env: [(name.to_owned(), value.to_owned())].into(),
            ..minimal()
        };
        for (good, settings) in [
            (true, hostname("app.local")),
            (false, hostname("app")),
            (false, hostname("app.")),
            (false, hostname("-a.b")),
            (false, hostname("a b.c")),
            (false, hostname(&format!("{}.x", "a".repeat(63)))),
            (true, env("PORT", "a=b")),
            (false, env("", "x")),
            (false, env("A=B", "x")),
            (false, env("A", "x\0")),
            (true, node("app", false)),
            (true, node("app@host", false)),
            (false, node("app@host.local", false)),
            (true, node("app@host.local", true)),
            (false, node("", false)),
            (false, node("a b", true)),
            (false, node("app@", true)),
            (false, Settings { packages: vec!["a b".to_owned()], ..minimal() }),
            (false, Settings { packages: vec![String::new()], ..minimal() }),
            (false, Settings { repositories: Some(Vec::new()), ..minimal() }),
            (false, Settings { release: None, ..minimal() }),
        ] {
            let shown = format!("{settings:?}");
            assert_eq!(settings.into_recipe("o", "c").is_ok(), good, "{shown}");
        }
    }

    #[test]
    fn a_cookie_is_not_shown() {
        let cookie = Some("secret\n".to_owned());
        let distribution = Some(Distribution { node: "app".to_owned(), long_names: false, cookie });
        let error = Settings { distribution, ..minimal() }.into_recipe("o", "c").expect_err("a newline");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
