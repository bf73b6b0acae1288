//! The flags of the verbs that start a guest.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use leanfs::recipe::ImageFormat;
use leanfs::vm::{Accelerator, GuestSettings, Machine, VmError};

use super::environment::Environment;
use super::failure::{Exit, Failure};

/// The machine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub(super) struct GuestFlags {
    /// Which of the outputs to start: initramfs, ext4, squashfs, erofs, disk or qcow2 [default: the first of these that
    /// is there]
    #[arg(long, value_name = "NAME")]
    format: Option<ImageFormat>,
    /// UEFI firmware for disks [default: what is installed of OVMF]
    #[arg(long, value_name = "FILE")]
    firmware: Option<PathBuf>,
    /// Memory in MiB
    #[arg(long, value_name = "MiB", default_value = "256")]
    memory: NonZeroU32,
    /// Processors [default: 1 under TCG, 2 with KVM]
    #[arg(long, value_name = "N")]
    cpus: Option<NonZeroU32>,
    /// pc, microvm or virt [default: pc for x86_64, virt for the others]
    #[arg(long, value_name = "NAME")]
    machine: Option<Machine>,
    /// What executes the guest: auto (KVM where a guest has really run in it, else TCG), kvm or tcg
    #[arg(long, value_name = "NAME", default_value = "auto")]
    accel: Accelerator,
    /// The emulator [default: qemu-system-ARCH in $PATH]
    #[arg(long, value_name = "FILE")]
    qemu: Option<PathBuf>,
}

impl GuestFlags {
    pub(super) fn apply(&self, guest: &mut GuestSettings, environment: &Environment) {
        guest.format = self.format;
        guest.firmware = self.firmware.clone();
        guest.memory_mib = self.memory;
        guest.cpus = self.cpus;
        guest.machine = self.machine;
        guest.accelerator = self.accel;
        guest.qemu = self.qemu.clone();
        guest.program_directories = environment.program_directories.clone();
        guest.cache = environment.cache.clone();
        guest.catch_signals = true;
    }
}

impl From<VmError> for Failure {
    fn from(error: VmError) -> Self {
        if let VmError::Interrupted { signal } = error {
            return Self::Interrupted { signal };
        }
        let hint = error.hint();
        let exit = if error.is_usage() { Exit::Usage } else { Exit::Unmet };
        Self::new(exit, error).hinted(hint)
    }
}
