//! `leanfs kernel`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use leanfs::arch::Arch;
use leanfs::fetch::Fetcher;
use leanfs::kernel::build::{
    BuildError, BuildSettings, Configuration, Toolchain, build, configure, read_fragments,
};
use leanfs::recipe::{SettingsError, parse_sha256};
use leanfs::report::{Event, Reporter, Stage};
use serde_json::json;

use super::environment::Environment;
use super::failure::{Exit, Failure};
use super::output_file::write_whole;
use super::recipe_flags::FetchFlags;
use super::terminal::{OutputMode, Terminal, escaped, megabytes};
use super::{ModeFlags, progress};

/// Make a kernel that has what an image needs, and no more
///
/// Configurations are merged from fragments: machines (qemu, microvm, firecracker, cloud-hypervisor, container-host), needs
/// (net, ipv6, ext4, squashfs, erofs, initramfs-xz, vsock, virtiofs, debug, …), sizes (tiny), and your own, named by
/// their paths.
#[derive(Debug, Args)]
pub(super) struct KernelArgs {
    #[command(subcommand)]
    verb: KernelVerb,
}

#[derive(Debug, Subcommand)]
enum KernelVerb {
    Config(Box<ConfigArgs>),
    Build(Box<BuildArgs>),
}

/// What a configuration is made of.
#[derive(Debug, Args)]
struct KernelFlags {
    /// The fragments, in order: of several settings of a symbol the last holds; repeatable
    #[arg(long = "config", value_name = "NAME|FILE[,…]", value_delimiter = ',', required = true)]
    configs: Vec<String>,
    /// The kernel's architecture: x86_64, aarch64 or riscv64 [default: this machine's]
    #[arg(long)]
    arch: Option<Arch>,
    /// Build with Clang and LLVM's tools
    #[arg(long)]
    llvm: bool,
    /// What stands before the names of GCC and binutils [default: that of Debian's cross compiler, where the architecture
    /// is not this machine's]
    #[arg(long, value_name = "PREFIX", conflicts_with = "llvm")]
    cross_compile: Option<String>,
}

/// Merge fragments onto a kernel's tinyconfig, and check that nothing of them was dropped
///
/// The kernel's own tools complete the configuration. A symbol that they dropped or changed is told with the reason, and
/// the exit code is 1.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The kernel's source: a tarball, or a directory that was not built in
    #[arg(long, value_name = "TARBALL|DIR")]
    source: PathBuf,
    #[command(flatten)]
    kernel: KernelFlags,
    /// The file to write [default: stdout]
    #[arg(short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    fetch: FetchFlags,
    #[command(flatten)]
    mode: ModeFlags,
}

/// Build a kernel from source with this machine's compiler
///
/// It needs make, gcc, flex, bison, bc and libelf's headers, and no privileges. Equal sources, configurations and compilers
/// make equal kernels, wherever they run; one that was built before comes from the cache.
#[derive(Debug, Args)]
struct BuildArgs {
    /// The kernel's source: a tarball (.tar.xz, .tar.gz, .tar.zst), or its address (with --sha256)
    #[arg(value_name = "TARBALL|URL")]
    source: String,
    /// What the tarball must hash to
    #[arg(long, value_name = "HEX", value_parser = parse_sha256)]
    sha256: Option<[u8; 32]>,
    #[command(flatten)]
    kernel: KernelFlags,
    /// The directory for bzImage or Image, vmlinux, System.map, config and modules
    #[arg(short = 'o', value_name = "DIR", default_value = "kernel")]
    output: PathBuf,
    #[command(flatten)]
    fetch: FetchFlags,
    #[command(flatten)]
    mode: ModeFlags,
}

impl KernelArgs {
    pub(super) fn mode(&self) -> OutputMode {
        match &self.verb {
            KernelVerb::Config(args) => args.mode.mode(),
            KernelVerb::Build(args) => args.mode.mode(),
        }
    }

    pub(super) fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        match &self.verb {
            KernelVerb::Config(args) => args.run(terminal, environment),
            KernelVerb::Build(args) => args.run(terminal, environment),
        }
    }
}

impl KernelFlags {
    fn settings(&self, fetch: &FetchFlags, environment: &Environment) -> Result<BuildSettings, Failure> {
        let arch = match self.arch {
            Some(arch) => arch,
            None => Arch::host().ok_or(SettingsError::UnsupportedHost(std::env::consts::ARCH))?,
        };
        let fetching = fetch.downloads(environment)?;
        let mut settings =
            BuildSettings::new(arch, read_fragments(&self.configs, Path::new(""), arch)?, fetching.cache);
        settings.jobs = fetch.processors();
        settings.toolchain = Toolchain { llvm: self.llvm, cross_compile: self.cross_compile.clone() };
        settings.program_directories = environment.program_directories.clone();
        settings.catch_signals = true;
        settings.source_date_epoch = environment.source_date_epoch.unwrap_or(0);
        Ok(settings)
    }
}

impl ConfigArgs {
    fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        let settings = self.kernel.settings(&self.fetch, environment)?;
        let display = progress::reporter(*terminal);
        let result = configure(&self.source, &settings, &*display);
        display.finish(result.is_ok());
        let Configuration { version, text, merged, dropped } = result?;
        for overridden in &merged.overridden {
            if !terminal.mode.quiet {
                terminal.note(&overridden.to_string());
            }
        }
        for lost in &dropped {
            terminal.object(&json!({
                "event": "dropped",
                "symbol": lost.asked.symbol,
                "asked": lost.asked.value.to_string(),
                "found": lost.found.to_string(),
                "fragment": lost.asked.place.fragment,
                "line": lost.asked.place.line,
                "reason": lost.cause.to_string(),
            }))?;
        }
        if !dropped.is_empty() {
            return Err(BuildError::Dropped { dropped }.into());
        }
        terminal.object(&json!({
            "event": "result",
            "exit_code": 0,
            "version": version.to_string(),
            "arch": settings.arch,
            "asked": merged.asked.len(),
            "overridden": merged.overridden.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "file": self.output.as_ref().map(|path| path.display().to_string()),
            "config": self.output.is_none().then_some(&text),
        }))?;
        let Some(output) = &self.output else { return terminal.answer(&escaped(&text)) };
        write_whole(output, |file| std::io::Write::write_all(file, text.as_bytes()).map_err(Failure::unmet))?;
        terminal.result(&format!(
            "{}: Linux {version} for {}, with all of the {} symbols that were asked for\n",
            output.display(),
            settings.arch,
            merged.asked.len()
        ))
    }
}

impl BuildArgs {
    fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        let is_url = self.source.contains("://");
        if is_url && self.sha256.is_none() {
            return Err(Failure::usage("a source from an address needs a hash")
                .hinted("give it with `--sha256`".to_owned()));
        }
        let settings = self.kernel.settings(&self.fetch, environment)?;
        let display = progress::reporter(*terminal);
        let result = self.build(&settings, environment, &*display);
        display.finish(result.is_ok());
        let (built, files) = result?;
        let files: Vec<(String, u64)> = files;
        terminal.object(&json!({
            "event": "result",
            "exit_code": 0,
            "release": built.release,
            "from_cache": built.from_cache,
            "directory": self.output.display().to_string(),
            "files": files.iter().map(|(name, size)| json!({"name": name, "size": size})).collect::<Vec<_>>(),
        }))?;
        let image = self.output.join(built.image.file_name().unwrap_or_default());
        let (_, size) = files.first().cloned().unwrap_or_default();
        let cached = if built.from_cache { ", from the cache" } else { "" };
        terminal.result(&format!(
            "{} ({}), Linux {}{cached}\n",
            image.display(),
            megabytes(size),
            built.release
        ))
    }

    fn build(
        &self,
        settings: &BuildSettings,
        environment: &Environment,
        reporter: &dyn Reporter,
    ) -> Result<(leanfs::kernel::build::BuiltKernel, Vec<(String, u64)>), Failure> {
        let archive = match self.sha256 {
            Some(sha256) if self.source.contains("://") => {
                Fetcher::new(self.fetch.downloads(environment)?, reporter)?.tarball(&self.source, sha256)?
            }
            _ => PathBuf::from(&self.source),
        };
        reporter.report(Event::Stage { stage: Stage::Kernel });
        let built = build(&archive, self.sha256, settings, reporter)?;
        let files = built.install(&self.output)?;
        Ok((built, files))
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let exit = match &error {
            BuildError::Interrupted { signal } => return Self::Interrupted { signal: *signal },
            BuildError::HashDiffers { .. } => Exit::Unverified,
            BuildError::Catalog(_) => Exit::Usage,
            _ => Exit::Unmet,
        };
        let hint = error.hint();
        Self::new(exit, error).hinted(hint)
    }
}
