//! `leanfs launch`.

use std::path::PathBuf;

use clap::Args;
use leanfs::vm::{Forward, LaunchSettings};

use super::environment::Environment;
use super::failure::Failure;
use super::guest_flags::GuestFlags;
use super::progress::OnlyNotes;
use super::terminal::Terminal;

/// Start what was assembled in QEMU, with its console on this terminal
///
/// Ctrl-C ends it.
#[derive(Debug, Args)]
pub(super) struct LaunchArgs {
    /// What was assembled: a directory with manifest.json
    #[arg(value_name = "DIR", default_value = "leanfs")]
    directory: PathBuf,
    #[command(flatten)]
    guest: GuestFlags,
    /// Lead a TCP port of this host to one of the guest (8080:80, or 0.0.0.0:8080:80); repeatable
    #[arg(long = "forward", value_name = "[ADDRESS:]HOST:GUEST", help_heading = "Machine")]
    forwards: Vec<Forward>,
}

impl LaunchArgs {
    pub(super) fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        let mut settings = LaunchSettings::new(&self.directory);
        self.guest.apply(&mut settings.guest, environment);
        settings.forwards = self.forwards.clone();
        let status = leanfs::vm::launch(&settings, &OnlyNotes { terminal: *terminal })?;
        if status.success() { Ok(()) } else { Err(Failure::unmet(format!("QEMU ended with {status}"))) }
    }
}
