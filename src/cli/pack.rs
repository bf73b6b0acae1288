//! `leanfs pack`.

use std::path::PathBuf;

use clap::Args;
use leanfs::apk::adb::write::{Owners, WriteOptions};
use leanfs::apk::{Dependency, PackageInfo, adb};
use leanfs::arch::Arch;
use leanfs::layer::overlay;
use leanfs::report::progress::{Progress, while_telling};
use leanfs::report::{Event, Reporter};
use leanfs::tree::ValidTree;

use super::ModeFlags;
use super::environment::Environment;
use super::failure::{Because, Failure};
use super::output_file::write_whole;
use super::progress;
use super::signing::{CompressionFlags, Format, SigningFlags};
use super::terminal::{OutputMode, Terminal, megabytes};

/// Make an Alpine package of a directory
///
/// Files belong to root and have the mode 0755 if their owner may execute them, else 0644; times are
/// SOURCE_DATE_EPOCH's (or 1970). Equal directories and flags make equal packages.
#[derive(Debug, Args)]
pub(super) struct PackArgs {
    /// What the package holds, as it stands below the root directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The package's name
    #[arg(long)]
    name: String,
    /// Its version with release, as in 1.2.3-r0
    #[arg(long, value_name = "VERSION")]
    pkgver: String,
    /// x86_64, aarch64, riscv64 or noarch
    #[arg(long, default_value = "noarch", value_parser = parse_arch)]
    arch: String,
    /// What it needs (musl, so:libz.so.1, busybox>1.36, !other); repeatable
    #[arg(long, value_name = "DEPENDENCY")]
    depends: Vec<Dependency>,
    /// What it provides beside its name (cmd:hello=1.2.3-r0); repeatable
    #[arg(long, value_name = "NAME[=VERSION]")]
    provides: Vec<Dependency>,
    /// Packages whose files it may overwrite; repeatable
    #[arg(long, value_name = "NAME")]
    replaces: Vec<Dependency>,
    /// One line on what it is
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Where it is from
    #[arg(long, value_name = "URL", default_value = "")]
    url: String,
    /// Its licence, an SPDX expression
    #[arg(long, value_name = "SPDX", default_value = "")]
    license: String,
    /// The file to write [default: NAME-VERSION.apk]
    #[arg(short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    /// The format of the package
    #[arg(long, value_enum, default_value = "v2")]
    format: Format,
    #[command(flatten)]
    compression: CompressionFlags,
    #[command(flatten)]
    signing: SigningFlags,
    #[command(flatten)]
    mode: ModeFlags,
}

fn parse_arch(text: &str) -> Result<String, String> {
    match text.parse::<Arch>() {
        Ok(arch) => Ok(arch.alpine().to_owned()),
        Err(_) if text == "noarch" => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}, and noarch")),
    }
}

impl PackArgs {
    pub(super) fn mode(&self) -> OutputMode {
        self.mode.mode()
    }

    pub(super) fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        let key = self.signing.load()?;
        let compression = self.compression.of(self.format)?;
        let epoch = environment.source_date_epoch.unwrap_or(0);
        let unpackable = format!("{} can't be packed", self.directory.display());
        let tree = overlay::read(&self.directory, epoch)
            .map_err(|error| Failure::unmet(Because::new(unpackable.clone(), error)))?
            .validate()
            .map_err(|error| Failure::unmet(Because::new(unpackable, error)))?;
        let info = PackageInfo {
            name: self.name.clone(),
            version: self.pkgver.clone(),
            description: self.description.clone(),
            url: self.url.clone(),
            build_time: Some(epoch),
            arch: self.arch.clone(),
            origin: self.name.clone(),
            license: self.license.clone(),
            depends: self.depends.clone(),
            provides: self.provides.clone(),
            replaces: self.replaces.clone(),
            ..PackageInfo::default()
        };
        let output =
            self.output.clone().unwrap_or_else(|| format!("{}-{}.apk", self.name, self.pkgver).into());
        let mut scratch =
            tempfile::tempfile().map_err(|error| Failure::unmet(Because::new("no temporary file", error)))?;
        let name = output.file_name().unwrap_or(output.as_os_str()).to_string_lossy().into_owned();
        let display = progress::reporter(*terminal);
        let written = with_progress(&*display, name, &tree, |tree| {
            write_whole(&output, |file| {
                Ok(match self.format {
                    Format::V2 => {
                        leanfs::apk::write::pack(&info, tree, &[], key.as_ref(), &mut scratch, file)?
                    }
                    Format::V3 => {
                        let options = WriteOptions { key: key.as_ref(), compression };
                        adb::write::pack(&info, tree, &[], &Owners::default(), &options, file)?
                    }
                })
            })
        });
        display.finish(written.is_ok());
        let (_, size) = written?;
        let signed_by = key.as_ref().map(|key| key.public().name());
        terminal.object(&serde_json::json!({
            "event": "result",
            "exit_code": 0,
            "file": output.display().to_string(),
            "size": size,
            "signed_by": signed_by,
        }))?;
        let signature =
            signed_by.map_or("not signed".to_owned(), |name| format!("signed, {name} verifies it"));
        terminal.result(&format!("{} ({}), {signature}\n", output.display(), megabytes(size)))
    }
}

/// Writes a file of a tree by `write`, and tells how much of the tree has been read.
fn with_progress<T>(
    reporter: &dyn Reporter,
    name: String,
    tree: &ValidTree,
    write: impl FnOnce(&ValidTree) -> Result<(T, u64), Failure>,
) -> Result<(T, u64), Failure> {
    let total = tree.bytes();
    reporter.report(Event::ImageStarted { name: name.clone(), total });
    let progress = Progress::of(total);
    let tell = || {
        let (done, total) = progress.get();
        reporter.report(Event::ImageProgress { name: name.clone(), done, total });
    };
    let written = while_telling(tell, || write(&tree.watched(&progress.counter())))?;
    reporter.report(Event::ImageWritten { name: name.clone(), size: written.1 });
    Ok(written)
}
