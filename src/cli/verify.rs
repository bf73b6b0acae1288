//! `leanfs verify`.

use std::borrow::Cow;
use std::io::Write;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use leanfs::report::trace::Trace;
use leanfs::vm::{HttpExpectation, VerifyReport, VerifySettings, console_regex};

use super::ModeFlags;
use super::environment::Environment;
use super::failure::{Because, Failure};
use super::guest_flags::GuestFlags;
use super::output_file::write_whole;
use super::progress::OnlyNotes;
use super::terminal::{OutputMode, Terminal};

/// Boot what was assembled in QEMU and say whether the application came up
///
/// Everything that is expected must happen in one boot; then the exit code is 0 at once. When it doesn't happen in
/// time, or the guest ends, the last lines of its console are shown and the exit code is 1.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// What was assembled: a directory with manifest.json
    #[arg(value_name = "DIR", default_value = "leanfs")]
    directory: PathBuf,
    #[command(flatten)]
    guest: GuestFlags,
    /// A regular expression that a line of the console must match; repeatable, and then every one must
    #[arg(long, value_name = "REGEX", help_heading = "Expectations")]
    expect: Vec<String>,
    /// A port of the guest that must answer with SUBSTRING in the body; repeatable
    #[arg(long, value_name = ":PORT/path=SUBSTRING", help_heading = "Expectations")]
    expect_http: Vec<HttpExpectation>,
    /// How many seconds all of it may take
    #[arg(long, value_name = "S", default_value = "120", help_heading = "Expectations")]
    timeout: NonZeroU64,
    /// Write to FILE which modules and other files were opened until everything expected had happened and nothing new
    /// was opened for 1.5 s; for `assemble --trace`
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    mode: ModeFlags,
}

impl VerifyArgs {
    pub(super) fn mode(&self) -> OutputMode {
        self.mode.mode()
    }

    pub(super) fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        let mut settings = VerifySettings::new(&self.directory);
        self.guest.apply(&mut settings.guest, environment);
        settings.expect =
            self.expect.iter().map(|pattern| console_regex(pattern)).collect::<Result<_, _>>()?;
        settings.expect_http = self.expect_http.clone();
        settings.timeout = Duration::from_secs(self.timeout.get());
        settings.trace = self.trace.is_some();
        let verify = || Ok(leanfs::vm::verify(&settings, &OnlyNotes { terminal: *terminal })?);
        let report = match &self.trace {
            Some(file) => traced(file, verify)?,
            None => verify()?,
        };
        let trace = self.trace.as_deref().zip(report.trace.as_ref());
        let counts = trace.map(|(path, Trace { modules, files, .. })| TraceCounts {
            path: path.to_string_lossy(),
            modules: modules.len(),
            files: files.len(),
        });
        terminal.object(&Line { event: "result", exit_code: 0, report: &report, trace: counts.as_ref() })?;
        let mut text = format!(
            "The application came up after {:.1} s ({}).\n",
            report.elapsed.as_secs_f64(),
            report.accelerator
        );
        for met in &report.met {
            text += &format!("  {:6.1} s  {}: {}\n", met.after.as_secs_f64(), met.what, met.seen);
        }
        if let Some(TraceCounts { path, modules, files }) = &counts {
            let plural = |count: &usize| if *count == 1 { "" } else { "s" };
            text += &format!(
                "{modules} module{} and {files} other file{} were opened; {path} has them.\n",
                plural(modules),
                plural(files),
            );
        }
        terminal.result(&text)
    }
}

/// Verifies, and writes the trace to `file`: whole, or not at all. That it can't be written shows before the boot.
fn traced(
    file: &Path,
    verify: impl FnOnce() -> Result<VerifyReport, Failure>,
) -> Result<VerifyReport, Failure> {
    let (report, _) = write_whole(file, |output| {
        let report = verify()?;
        let text = report.trace.as_ref().map(Trace::to_text).unwrap_or_default();
        output.write_all(text.as_bytes()).map_err(|error| {
            Failure::unmet(Because::new(format!("{} can't be written", file.display()), error))
        })?;
        Ok(report)
    })?;
    Ok(report)
}

/// What was opened.
#[derive(serde::Serialize)]
struct TraceCounts<'a> {
    path: Cow<'a, str>,
    modules: usize,
    files: usize,
}

#[derive(serde::Serialize)]
struct Line<'a> {
    event: &'static str,
    exit_code: u8,
    #[serde(flatten)]
    report: &'a VerifyReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a TraceCounts<'a>>,
}
