//! Runs `make` of a kernel: what it says goes to a file, and nothing of it stays behind.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::interrupt::Watched;
use super::{BuildError, BuildSettings, Tools};
use crate::report::{Event, Reporter};
use crate::text::shown;

/// What is shown of a log: the lines at its end, and of those at most so many bytes.
const TAIL_LINES: usize = 25;
const TAIL_BYTES: u64 = 8 << 10;
/// Progress is told at most so often.
const INTERVAL: Duration = Duration::from_millis(200);

/// `make` for one source and one directory of outputs.
pub(super) struct Make<'a> {
    pub(super) settings: &'a BuildSettings,
    pub(super) tools: &'a Tools,
    /// The source.
    pub(super) source: &'a Path,
    /// Where everything is built, below `out`, and where compilers have their temporary files, below `tmp`.
    pub(super) work: &'a Path,
    /// What was said.
    pub(super) log: &'a Path,
    pub(super) reporter: &'a dyn Reporter,
}

impl Make<'_> {
    /// Makes `targets`, with variables on the command line.
    pub(super) fn run(&self, targets: &[&str], variables: &[OsString]) -> Result<(), BuildError> {
        let failed = |error| BuildError::io("write", self.log)(error);
        let mut log = File::options().create(true).append(true).open(self.log).map_err(failed)?;
        let mut command = self.command(targets, variables);
        writeln!(log, "# make {}", targets.join(" ")).map_err(failed)?;
        command.stderr(log.try_clone().map_err(failed)?);

        if self.settings.catch_signals {
            Watched::prepare().map_err(BuildError::Signals)?;
        }
        let mut child = command
            .spawn()
            .map_err(|source| BuildError::Start { program: self.tools.make.clone(), source })?;
        // Kills all of it if this function is left early.
        let watched = Watched::new(Pid::from_child(&child));
        if let Some(output) = child.stdout.take() {
            self.follow(output, &mut log).map_err(failed)?;
        }
        let status = child.wait().map_err(BuildError::io("wait for", &self.tools.make))?;
        match watched.ended() {
            None if status.success() => Ok(()),
            None => Err(BuildError::MakeFailed {
                target: targets.join(" "),
                status: status.to_string(),
                log: self.log.to_owned(),
                tail: tail(self.log).unwrap_or_default(),
            }),
            Some(signal) => Err(BuildError::Interrupted { signal }),
        }
    }

    fn command(&self, targets: &[&str], variables: &[OsString]) -> Command {
        let Self { settings, tools, .. } = self;
        let mut command = Command::new(&tools.make);
        command.arg("-C").arg(self.source).arg(variable("O", self.work.join("out")));
        command.arg(format!("ARCH={}", super::tools::kernel_arch(settings.arch)));
        command.args(&tools.arguments).args(variables).args(targets);
        command.arg(format!("-j{}", settings.jobs.max(1)));
        // Whatever the caller's environment says (MAKEFLAGS, CFLAGS, LANG), the result is the same.
        command.env_clear();
        if let Ok(path) = std::env::join_paths(&settings.program_directories) {
            command.env("PATH", path);
        }
        let temporary = self.work.join("tmp");
        command.env("LC_ALL", "C").env("TZ", "UTC").env("HOME", &temporary).env("TMPDIR", &temporary);
        command.env("SOURCE_DATE_EPOCH", settings.source_date_epoch.to_string());
        command.env("KBUILD_BUILD_TIMESTAMP", super::timestamp(settings.source_date_epoch));
        command.env("KBUILD_BUILD_USER", "leanfs").env("KBUILD_BUILD_HOST", "leanfs");
        command.env("KBUILD_BUILD_VERSION", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // So that all of it can be killed, and Ctrl-C reaches it by way of this process alone.
        command.process_group(0);
        command
    }

    /// Variables that keep the paths of source and outputs out of what is built.
    pub(super) fn without_paths(&self) -> [OsString; 2] {
        ["KCFLAGS", "KAFLAGS"].map(|name| {
            let mut text = variable(name, format!("-ffile-prefix-map={}=.", self.source.display()));
            text.push(format!(" -ffile-prefix-map={}=.", self.work.join("out").display()));
            text
        })
    }

    /// Copies what is said to the log, and tells of progress.
    fn follow(&self, output: impl Read, log: &mut File) -> std::io::Result<()> {
        let mut reader = BufReader::new(output);
        let (mut line, mut steps, mut told) = (Vec::new(), 0, None::<Instant>);
        loop {
            line.clear();
            // A line without an end can't fill the memory.
            if (&mut reader).take(1 << 20).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            log.write_all(&line)?;
            // `  CC      kernel/fork.o`
            let text = String::from_utf8_lossy(&line);
            let Some(rest) = text.strip_prefix("  ") else { continue };
            steps += 1;
            if told.is_none_or(|told| told.elapsed() >= INTERVAL) {
                told = Some(Instant::now());
                let file = shown(rest.split_ascii_whitespace().nth(1).unwrap_or_default());
                self.reporter.report(Event::KernelProgress { steps, file });
            }
        }
    }
}

/// The last lines of a log, escaped; from the first error on, if it isn't far.
fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let begin = lines.len().saturating_sub(TAIL_LINES);
    Ok(lines[begin..].iter().map(|line| shown(line)).collect::<Vec<_>>().join("\n"))
}

/// `NAME=VALUE` for make's command line.
pub(super) fn variable(name: &str, value: impl Into<PathBuf>) -> OsString {
    let mut text = OsString::from(format!("{name}="));
    text.push(value.into());
    text
}
