//! `leanfs verify`.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use leanfs::vm::{HttpExpectation, VerifyReport, VerifySettings, console_regex};

use super::ModeFlags;
use super::environment::Environment;
use super::failure::Failure;
use super::guest_flags::GuestFlags;
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
    /// A regular expression that a line of the console must match
    #[arg(long, value_name = "REGEX", help_heading = "Expectations")]
    expect: Option<String>,
    /// A port of the guest that must answer with SUBSTRING in the body; repeatable
    #[arg(long, value_name = ":PORT/path=SUBSTRING", help_heading = "Expectations")]
    expect_http: Vec<HttpExpectation>,
    /// How many seconds all of it may take
    #[arg(long, value_name = "S", default_value = "120", help_heading = "Expectations")]
    timeout: NonZeroU64,
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
        settings.expect = self.expect.as_deref().map(console_regex).transpose()?;
        settings.expect_http = self.expect_http.clone();
        settings.timeout = Duration::from_secs(self.timeout.get());
        let report = leanfs::vm::verify(&settings, &OnlyNotes { terminal: *terminal })?;
        terminal.object(&Line { event: "result", exit_code: 0, report: &report })?;
        let mut text = format!(
            "The application came up after {:.1} s ({}).\n",
            report.elapsed.as_secs_f64(),
            report.accelerator
        );
        for met in &report.met {
            text += &format!("  {:6.1} s  {}: {}\n", met.after.as_secs_f64(), met.what, met.seen);
        }
        terminal.result(&text)
    }
}

#[derive(serde::Serialize)]
struct Line<'a> {
    event: &'static str,
    exit_code: u8,
    #[serde(flatten)]
    report: &'a VerifyReport,
}
