//! `leanfs cache`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use leanfs::cache;
use leanfs::recipe::parse_size;
use leanfs::report::bytes;

use super::ModeFlags;
use super::environment::Environment;
use super::failure::{Because, Exit, Failure};
use super::table::Table;
use super::terminal::{OutputMode, Terminal};

/// Look after the cache: downloads, and what earlier runs worked out
///
/// Everything in it can be had again, and nothing in it can change a result. It may be looked after while others use it.
#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    what: What,
    /// Where it is [default: $LEANFS_CACHE_DIR, $XDG_CACHE_HOME/leanfs or ~/.cache/leanfs]
    #[arg(long, global = true, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    #[command(flatten)]
    mode: ModeFlags,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show where it is, and what is in it
    Info,
    /// Take out what was not used for the longest time
    ///
    /// What was used in the last two hours stays.
    Prune {
        /// How much may stay: 500MiB, 2GiB
        #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "2GiB")]
        size: u64,
        /// Also what was not used for so many days
        #[arg(long, value_name = "DAYS")]
        unused: Option<u32>,
    },
    /// Read everything, and take out what is damaged
    Verify,
}

impl CacheArgs {
    pub(super) fn mode(&self) -> OutputMode {
        self.mode.mode()
    }

    pub(super) fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        let directory = self.cache_dir.clone().or_else(|| environment.cache.clone()).ok_or_else(|| {
            Failure::usage("there is no place for the cache: HOME is not set")
                .hinted("name a directory with `--cache-dir`".to_owned())
        })?;
        let failed = |error| Failure::unmet(Because::new("the cache can't be read", error));
        let shown = directory.display().to_string();
        match &self.what {
            What::Info => {
                let amounts = cache::info(&directory).map_err(failed)?;
                let mut table = Table::new(&["", "files", "bytes"]);
                for (kind, amount) in &amounts {
                    table.line([
                        kind.name().to_owned(),
                        bytes::grouped(amount.files),
                        bytes::grouped(amount.bytes),
                    ]);
                }
                let (files, size) = amounts
                    .values()
                    .fold((0, 0), |(files, size), amount| (files + amount.files, size + amount.bytes));
                table.line(["all".to_owned(), bytes::grouped(files), bytes::grouped(size)]);
                terminal.object(&serde_json::json!({
                    "event": "result", "exit_code": 0, "directory": shown, "kinds": amounts, "files": files, "bytes": size,
                }))?;
                terminal.result(&format!("{shown}\n{}", table.render(2)))
            }
            What::Prune { size, unused } => {
                let unused = unused.map(|days| Duration::from_secs(u64::from(days) * 24 * 60 * 60));
                let gone = cache::prune(&directory, *size, unused).map_err(failed)?;
                terminal.object(&serde_json::json!({
                    "event": "result", "exit_code": 0, "directory": shown, "files": gone.files, "bytes": gone.bytes,
                }))?;
                let files = if gone.files == 1 { "file" } else { "files" };
                terminal.result(&format!("{} {files} taken out, {}\n", gone.files, bytes::short(gone.bytes)))
            }
            What::Verify => {
                let jobs = std::thread::available_parallelism().map_or(1, usize::from);
                let (read, damaged) = cache::verify(&directory, jobs).map_err(failed)?;
                let text = format!("{} files read, {}", read.files, bytes::short(read.bytes));
                if damaged.is_empty() {
                    terminal.object(&serde_json::json!({
                        "event": "result", "exit_code": 0, "directory": shown, "files": read.files, "bytes": read.bytes,
                    }))?;
                    return terminal.result(&format!("{text}: all are whole\n"));
                }
                for file in damaged.iter().filter(|_| !terminal.mode.json) {
                    terminal.result(&format!("{}: {}\n", file.path.display(), file.problem))?;
                }
                let names: Vec<String> = damaged.iter().map(|file| file.path.display().to_string()).collect();
                let what = match names.as_slice() {
                    [one] => format!("{text}: {one} was damaged"),
                    names => format!("{text}: {} were damaged: {}", names.len(), names.join(", ")),
                };
                Err(Failure::new(Exit::Unverified, what).hinted(
                    "they were taken out, and are made or fetched again when they are needed; look at the disk".to_owned(),
                ))
            }
        }
    }
}
