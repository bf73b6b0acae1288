//! Virtual machines: starts what was assembled, and says whether the application came up.
//!
//! [`launch`] puts the guest's console on the terminal. [`verify`] follows the console itself, asks the guest over HTTP,
//! and succeeds only when everything that was expected has happened in one boot; it can also tell what the application
//! opened meanwhile. Both read an output directory
//! (`manifest.json` and the files it names) and start `qemu-system-ARCH` with no devices but a serial port, a network
//! card with QEMU's own user network (no privileges, the guest is 10.0.2.15), and a source of entropy.
//!
//! Invariants:
//! - KVM is used only after a guest has run in it on this machine (`kvm`), whatever its device says.
//! - No emulator outlives the call that started it, whatever way that is left; a process that is killed outright is the
//!   one exception, and one that gets a signal is another unless
//!   [`catch_signals`](GuestSettings::catch_signals) is set.
//! - The arguments of an emulator are a pure function of settings and manifest (`qemu`).
//! - What a guest says is escaped before it is part of a message.

mod console;
mod error;
pub mod firecracker;
mod guest;
mod http;
mod kvm;
mod launch;
mod output;
mod qemu;
mod settings;
mod signal;
mod trace;
mod verdict;
mod verify;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use error::VmError;
pub use launch::launch;
pub use qemu::UsedAccelerator;
pub use settings::{
    Accelerator, Forward, GuestSettings, HttpExpectation, LaunchSettings, Machine, VerifySettings,
    console_regex,
};
pub use verdict::{GuestEnd, Met, Unmet, VerifyFailure, VerifyReport};
pub use verify::verify;

use crate::report::{Event, Reporter};

/// What is known before an emulator is started.
#[derive(Debug)]
struct Prepared {
    files: output::BootFiles,
    machine: Machine,
    /// For what only firmware can start.
    firmware: Option<PathBuf>,
    qemu: PathBuf,
    accelerator: UsedAccelerator,
}

fn prepare(settings: &GuestSettings, reporter: &dyn Reporter) -> Result<Prepared, VmError> {
    let files = output::BootFiles::read(&settings.directory, settings.format)?;
    let machine = qemu::machine(settings.machine, files.arch)?;
    let firmware = qemu::firmware(settings, &files, machine)?;
    let qemu = qemu::find(settings, files.arch)?;
    let choice = kvm::choose(settings.accelerator, files.arch, &qemu, settings.cache.as_deref())?;
    if let Some(reason) = choice.reason {
        let text = format!("the guest runs without KVM (in TCG, slower): {reason}");
        reporter.report(Event::Note { text });
    }
    Ok(Prepared { files, machine, firmware, qemu, accelerator: choice.accelerator })
}

/// A command that starts the image in `directory` as [`launch`] would without KVM: the emulator's name and its
/// arguments. Nothing is started and the emulator isn't looked for.
///
/// # Errors
/// [`VmError`], when the output directory is not as it must be.
pub fn command_line(directory: &Path) -> Result<Vec<OsString>, VmError> {
    let settings = GuestSettings::new(directory);
    let files = output::BootFiles::read(directory, None)?;
    let machine = qemu::machine(settings.machine, files.arch)?;
    let firmware = qemu::firmware(&settings, &files, machine)?;
    let qemu = PathBuf::from(format!("qemu-system-{}", files.arch));
    let prepared = Prepared { files, machine, firmware, qemu, accelerator: UsedAccelerator::Tcg };
    let mut line = vec![prepared.qemu.clone().into_os_string()];
    line.extend(prepared.command(&settings, &[], true).arguments());
    Ok(line)
}

impl Prepared {
    fn command<'a>(
        &'a self,
        settings: &GuestSettings,
        forwards: &'a [Forward],
        terminal_signals: bool,
    ) -> qemu::GuestCommand<'a> {
        qemu::GuestCommand {
            files: &self.files,
            machine: self.machine,
            firmware: self.firmware.as_deref(),
            snapshot: settings.snapshot,
            memory_mib: settings.memory_mib,
            cpus: qemu::cpus(settings.cpus, self.accelerator),
            accelerator: self.accelerator,
            forwards,
            terminal_signals,
            trace: false,
        }
    }
}
