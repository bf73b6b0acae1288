//! Builds kernels from source with the host's `make` and compiler, without privileges.
//!
//! ```text
//! archive ─► unpacked ─► tinyconfig ─► + fragments (allnoconfig, olddefconfig) ─► checked ─► make ─► kept in the cache
//! ```
//! The one room that runs programs of the host to make something of an image, and only where a recipe or `leanfs kernel`
//! asks for it. What it makes is a function of source, configuration and toolchain: no path, time, user or host name gets
//! in. Builds run in a process group of their own, so that nothing of one stays behind.

mod error;
mod fragments;
mod install;
mod interrupt;
mod make;
mod source;
mod store;
mod tools;

use std::fs::File;
use std::path::{Path, PathBuf};

use fs_err as fs;

pub use error::BuildError;
pub use fragments::read_fragments;
pub use interrupt::kill_running;
pub use tools::{Tool, Toolchain};

use self::make::{Make, variable};
use self::source::{Part, read_text};
use self::store::{Description, Store, Work, key};
use self::tools::Tools;
use super::config::{DotConfig, Dropped, Fragment, KernelVersion, Merged, Symbols, check, merge};
use crate::arch::Arch;
use crate::fetch::sha256_of_rest;
use crate::recipe::date;
use crate::report::{Event, Reporter};

/// The largest `.config` and Kconfig file that is read.
const MOST_TEXT_BYTES: u64 = 16 << 20;
/// Raised when builds of the same inputs give other outputs.
const RECIPE: &str = "1";

/// What is built and how. Make one with [`BuildSettings::new`] and set the fields that differ.
#[derive(Debug, Clone)]
pub struct BuildSettings {
    /// The kernel's architecture.
    pub arch: Arch,
    /// The fragments, in order, as [`super::config::expand`] gives them.
    pub fragments: Vec<Fragment>,
    /// The cache's directory; builds run below it too.
    pub cache: PathBuf,
    /// How many commands at a time.
    pub jobs: usize,
    /// Which compiler.
    pub toolchain: Toolchain,
    /// Where programs are: the directories of `PATH`.
    pub program_directories: Vec<PathBuf>,
    /// The time that the kernel says it was built at, in seconds since 1970.
    pub source_date_epoch: i64,
    /// End the build with [`BuildError::Interrupted`] when the process gets SIGINT, SIGTERM or SIGHUP. From then on the
    /// process has handlers for them, which do what the signal does without while nothing is built. Whoever has handlers
    /// of its own leaves this unset and calls [`kill_running`]: builds have a process group of their own, which a
    /// terminal's Ctrl-C doesn't reach.
    pub catch_signals: bool,
}

impl BuildSettings {
    /// One command at a time, GCC, no programs, 1970, no handlers of signals.
    pub fn new(arch: Arch, fragments: Vec<Fragment>, cache: impl Into<PathBuf>) -> Self {
        Self {
            arch,
            fragments,
            cache: cache.into(),
            jobs: 1,
            toolchain: Toolchain::default(),
            program_directories: Vec::new(),
            source_date_epoch: 0,
            catch_signals: false,
        }
    }
}

/// A configuration that the kernel's own tools have completed.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The version of the source.
    pub version: KernelVersion,
    /// The text of `.config`.
    pub text: String,
    /// What the fragments ask for together.
    pub merged: Merged,
    /// What the tools dropped or changed of it, and why.
    pub dropped: Vec<Dropped>,
}

/// A kernel that was built.
#[derive(Debug, Clone)]
pub struct BuiltKernel {
    /// Where all of it is: the image, `vmlinux`, `System.map`, `config`, and `modules/` if it has any.
    pub directory: PathBuf,
    /// The image: `bzImage`, or `Image` for aarch64 and riscv64.
    pub image: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// `6.1.172`, as `uname -r` says it.
    pub release: String,
    /// Whether it was there already.
    pub from_cache: bool,
}

/// Merges the fragments onto the `tinyconfig` of a source, an archive or a directory, completes that with `olddefconfig`,
/// and tells what of it was dropped. Of an archive only what that needs is unpacked.
///
/// # Errors
/// When the source isn't one, programs are missing, or `make` fails. That something was dropped is none.
pub fn configure(
    source: &Path,
    settings: &BuildSettings,
    reporter: &dyn Reporter,
) -> Result<Configuration, BuildError> {
    let tools = Tools::find(settings, true)?;
    if tools.is_stand_in {
        let text = format!(
            "there is no cross compiler for {}: this machine's answers in its place, which can change symbols that \
             depend on the compiler",
            settings.arch
        );
        reporter.report(Event::Warning { text });
    }
    let store = Store::open(&settings.cache)?;
    let work = store.work()?;
    let source = match source.is_dir() {
        true => {
            source::check_directory(source)?;
            fs::canonicalize(source).map_err(BuildError::io("find", source))?
        }
        false => unpack(source, Part::Configuration, &work, reporter)?,
    };
    let log = store.log("config");
    let building = Building::new(settings, &tools, &source, &work, &log, reporter)?;
    building.configure()
}

/// Builds a kernel from an archive, or takes it from the cache. `sha256` is what the archive must hash to.
///
/// # Errors
/// As [`configure`], and when something that was asked for is not in the configuration, or the archive is another one.
pub fn build(
    archive: &Path,
    sha256: Option<[u8; 32]>,
    settings: &BuildSettings,
    reporter: &dyn Reporter,
) -> Result<BuiltKernel, BuildError> {
    let found = File::open(archive)
        .and_then(|mut file| sha256_of_rest(&mut file))
        .map_err(BuildError::io("read", archive))?;
    if let Some(expected) = sha256.filter(|expected| *expected != found) {
        return Err(BuildError::HashDiffers {
            path: archive.to_owned(),
            expected: hex::encode(expected),
            found: hex::encode(found),
        });
    }
    let source_hash = hex::encode(found);
    let store = Store::open(&settings.cache)?;
    let tools = Tools::find(settings, false)?;
    let toolchain = tools.versions()? + &tools.arguments.join(" ");
    let epoch = settings.source_date_epoch.to_string();
    let common = [RECIPE, &source_hash, settings.arch.alpine(), &toolchain, &epoch];
    let request = request(&common, settings);
    if let Some(built) = store.requested(&request) {
        reporter.report(Event::CacheHit { name: format!("linux-{}", built.release) });
        return Ok(built);
    }

    let work = store.work()?;
    let source = unpack(archive, Part::All, &work, reporter)?;
    let log = store.log(&request);
    let building = Building::new(settings, &tools, &source, &work, &log, reporter)?;
    let configuration = building.configure()?;
    if !configuration.dropped.is_empty() {
        return Err(BuildError::Dropped { dropped: configuration.dropped });
    }
    for overridden in &configuration.merged.overridden {
        reporter.report(Event::Note { text: overridden.to_string() });
    }
    let config = DotConfig::parse(&configuration.text);
    tools.check(settings, &config)?;
    let kernel = key(&[&common[..], &["config", &configuration.text]].concat());
    if let Some(built) = store.built(&kernel) {
        store.refer(&request, &kernel)?;
        reporter.report(Event::CacheHit { name: format!("linux-{}", built.release) });
        return Ok(built);
    }
    let made = building.make(&config, &source_hash, &toolchain)?;
    store.keep(&made, &kernel, &request)
}

/// The kernel that [`build`] would take from the cache; nothing is built.
///
/// # Errors
/// When the archive or the cache can't be read, or what builds a kernel is missing.
pub fn cached(archive: &Path, settings: &BuildSettings) -> Result<Option<BuiltKernel>, BuildError> {
    let source_hash = File::open(archive)
        .and_then(|mut file| sha256_of_rest(&mut file))
        .map(hex::encode)
        .map_err(BuildError::io("read", archive))?;
    let tools = Tools::find(settings, false)?;
    let toolchain = tools.versions()? + &tools.arguments.join(" ");
    let epoch = settings.source_date_epoch.to_string();
    let common = [RECIPE, &source_hash, settings.arch.alpine(), &toolchain, &epoch];
    Ok(Store::open(&settings.cache)?.requested(&request(&common, settings)))
}

/// Names what is asked for, from source and toolchain to each symbol.
fn request(common: &[&str], settings: &BuildSettings) -> String {
    let asked: String = settings.fragments.iter().map(fragment_text).collect();
    key(&[common, &[&asked]].concat())
}

/// What a fragment asks for, however it is written.
fn fragment_text(fragment: &Fragment) -> String {
    fragment
        .settings
        .iter()
        .map(|setting| format!("{:?} {}\n", setting.condition, setting.value.line(&setting.symbol)))
        .collect()
}

fn unpack(archive: &Path, part: Part, work: &Work, reporter: &dyn Reporter) -> Result<PathBuf, BuildError> {
    if !archive.is_file() {
        let problem = "it is no file and no directory".to_owned();
        return Err(BuildError::NoSource { path: archive.to_owned(), problem });
    }
    reporter.report(Event::Note { text: format!("Unpacking {}", archive.display()) });
    let directory = work.path().join("source");
    fs::create_dir(&directory).map_err(BuildError::io("make", &directory))?;
    let root = source::unpack(archive, part, &directory)?;
    source::check_directory(&root)?;
    Ok(root)
}

/// A source, and where it is built.
struct Building<'a> {
    make: Make<'a>,
    version: KernelVersion,
    output: PathBuf,
}

impl<'a> Building<'a> {
    fn new(
        settings: &'a BuildSettings,
        tools: &'a Tools,
        source: &'a Path,
        work: &'a Work,
        log: &'a Path,
        reporter: &'a dyn Reporter,
    ) -> Result<Self, BuildError> {
        let version = source::version(source)?;
        for name in ["out", "tmp"] {
            let path = work.path().join(name);
            fs::create_dir(&path).map_err(BuildError::io("make", path))?;
        }
        // What an earlier build said.
        match fs::remove_file(log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(BuildError::io("write", log)(error));
            }
            _ => {}
        }
        let make = Make { settings, tools, source, work: work.path(), log, reporter };
        Ok(Self { make, version, output: work.path().join("out") })
    }

    fn configure(&self) -> Result<Configuration, BuildError> {
        let Self { make, version, output } = self;
        let merged = merge(&make.settings.fragments, make.settings.arch, *version);
        make.run(&["tinyconfig"], &[])?;
        let dot_config = output.join(".config");
        let tiny = read_text(&dot_config, MOST_TEXT_BYTES)?;
        let wanted = output.join("leanfs.config");
        fs::write(&wanted, tiny + &merged.text()).map_err(BuildError::io("write", &wanted))?;
        // What nobody asked for is `n`, and not what its default says.
        make.run(&["allnoconfig"], &[variable("KCONFIG_ALLCONFIG", &wanted)])?;
        make.run(&["olddefconfig"], &[])?;
        let text = read_text(&dot_config, MOST_TEXT_BYTES)?;
        let config = DotConfig::parse(&text);
        let is_as_asked = merged.asked.iter().all(|asked| config.get(&asked.symbol).is_same(&asked.value));
        let dropped = if is_as_asked { Vec::new() } else { check(&merged, &config, &self.symbols()?) };
        Ok(Configuration { version: *version, text, merged, dropped })
    }

    fn symbols(&self) -> Result<Symbols, BuildError> {
        let arch = self.make.settings.arch;
        let variables = [("SRCARCH", tools::source_arch(arch)), ("ARCH", tools::kernel_arch(arch))];
        let source = self.make.source;
        Ok(Symbols::read("Kconfig", &variables, &mut |path| {
            let path = source.join(path);
            let size = std::fs::metadata(&path)?.len();
            if size > MOST_TEXT_BYTES {
                return Err(std::io::ErrorKind::FileTooLarge.into());
            }
            Ok(String::from_utf8_lossy(&std::fs::read(&path)?).into_owned())
        })?)
    }

    /// Builds, and gives the directory that holds what is kept.
    fn make(&self, config: &DotConfig, source_hash: &str, toolchain: &str) -> Result<PathBuf, BuildError> {
        let Self { make, output, .. } = self;
        let has_modules = config.has("MODULES");
        let name = if make.settings.arch == Arch::X86_64 { "bzImage" } else { "Image" };
        let mut targets = vec![name];
        targets.extend(has_modules.then_some("modules"));
        make.run(&targets, &make.without_paths())?;

        let made = make.work.join("made");
        fs::create_dir(&made).map_err(BuildError::io("make", &made))?;
        let image = output.join("arch").join(tools::source_arch(make.settings.arch)).join("boot").join(name);
        if !image.is_file() {
            return Err(BuildError::NoImage { arch: make.settings.arch, path: image });
        }
        for (from, to) in [
            (image.clone(), name),
            (output.join("vmlinux"), "vmlinux"),
            (output.join("System.map"), "System.map"),
            (output.join(".config"), "config"),
        ] {
            let to = made.join(to);
            fs::rename(&from, &to).map_err(BuildError::io("write", to))?;
        }
        if has_modules {
            // Its own `.config` and `System.map` are read again.
            for (from, to) in [("config", ".config"), ("System.map", "System.map")] {
                fs::copy(made.join(from), output.join(to)).map_err(BuildError::io("write", output))?;
            }
            let path = made.join("modules");
            let variables = [variable("INSTALL_MOD_PATH", &path), variable("INSTALL_MOD_STRIP", "1")];
            make.run(&["modules_install"], &variables)?;
            // They lead to where the kernel was built.
            for entry in
                fs::read_dir(path.join("lib/modules")).map_err(BuildError::io("read", &path))?.flatten()
            {
                for link in ["build", "source"] {
                    let _ = fs::remove_file(entry.path().join(link));
                }
            }
        }
        let path = output.join("include/config/kernel.release");
        let release = read_text(&path, MOST_TEXT_BYTES)?.trim().to_owned();
        let hash = File::open(made.join(name))
            .and_then(|mut file| sha256_of_rest(&mut file))
            .map_err(BuildError::io("read", made.join(name)))?;
        let description = Description {
            image: name.to_owned(),
            sha256: hex::encode(hash),
            release,
            source: source_hash.to_owned(),
            toolchain: toolchain.to_owned(),
        };
        let path = made.join("kernel.json");
        let json = serde_json::to_vec_pretty(&description)
            .map_err(|error| BuildError::io("write", &path)(error.into()))?;
        fs::write(&path, json).map_err(BuildError::io("write", path))?;
        Ok(made)
    }
}

/// A time as the kernel's makefiles and `date -d` take it.
fn timestamp(seconds: i64) -> String {
    let second = seconds.rem_euclid(86_400);
    format!("{} {:02}:{:02}:{:02} UTC", date(seconds), second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc() {
        assert_eq!(timestamp(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(timestamp(1_700_000_000), "2023-11-14 22:13:20 UTC");
    }
}
