//! Firecracker's configuration file: what `firecracker --config-file` starts a microVM from.
//!
//! Source: Firecracker's `docs/getting-started.md` ("Configuring the microVM without sending API requests") and the
//! definitions in its `src/firecracker/swagger/firecracker.yaml` (`FullVmConfiguration`, `BootSource`, `Drive`,
//! `MachineConfiguration`, `NetworkInterface`, `Vsock`, `EntropyDevice`), version 1.17. Only fields are written that
//! were given, since older versions refuse fields that they don't know.
//!
//! Pure: nothing is started or looked for. The kernel must not be compressed
//! ([`kernel::unpack`](crate::kernel::unpack())), and paths are as the Firecracker process sees them.

use std::collections::BTreeSet;
use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};

use serde::{Serialize, Serializer};

use super::VmError;
use crate::arch::Arch;

/// Firecracker's own limit.
const MOST_CPUS: u8 = 32;
/// 0 to 2 stand for the hypervisor, this machine and the host.
const FIRST_CID: u32 = 3;

/// A microVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// What is started.
    pub boot_source: BootSource,
    /// Block devices: the root device is `/dev/vda` whatever its place, the others follow in this order. Firecracker
    /// wants the list even when it is empty.
    pub drives: Vec<Drive>,
    /// The machine.
    pub machine_config: MachineConfig,
    /// Network cards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_interfaces: Vec<NetworkInterface>,
    /// A socket between host and guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vsock: Option<Vsock>,
    /// A source of random numbers (virtio-rng).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy: Option<Entropy>,
}

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootSource {
    /// The uncompressed kernel: an ELF file for x86_64, an `Image` for aarch64.
    pub kernel_image_path: String,
    /// The kernel's command line. Firecracker puts `root=` behind it for a drive that is the root device.
    pub boot_args: String,
    /// The initramfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd_path: Option<String>,
}

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drive {
    /// Its name: letters, digits and `_`.
    pub drive_id: String,
    /// The file.
    pub path_on_host: String,
    /// Whether the root file system is on it; at most one drive's is.
    pub is_root_device: bool,
    /// Whether the guest may only read it.
    pub is_read_only: bool,
    /// The GUID of the root device's partition that has the root file system, as the kernel writes it; without it that
    /// is the whole device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partuuid: Option<String>,
}

/// The machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MachineConfig {
    /// Processors, at most 32.
    pub vcpu_count: NonZeroU8,
    /// Memory in MiB.
    pub mem_size_mib: NonZeroU32,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkInterface {
    /// Its name: letters, digits and `_`.
    pub iface_id: String,
    /// The host's TAP device.
    pub host_dev_name: String,
    /// The guest's hardware address.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub guest_mac: Option<Mac>,
}

/// A hardware address of Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

/// A socket between host and guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vsock {
    /// The guest's number, at least 3.
    pub guest_cid: u32,
    /// The Unix socket on the host.
    pub uds_path: String,
}

/// A source of random numbers: there is nothing to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Entropy {}

impl Config {
    /// A microVM with one processor and 128 MiB, a source of random numbers, and nothing else.
    pub fn new(boot_source: BootSource) -> Self {
        Self {
            boot_source,
            drives: Vec::new(),
            machine_config: MachineConfig {
                vcpu_count: NonZeroU8::MIN,
                mem_size_mib: NonZeroU32::new(128).expect("not zero"),
            },
            network_interfaces: Vec::new(),
            vsock: None,
            entropy: Some(Entropy {}),
        }
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`VmError::Setting`] for what Firecracker would refuse.
    pub fn to_json(&self) -> Result<String, VmError> {
        self.check()?;
        let mut text = serde_json::to_string_pretty(self).expect("every key is a string and nothing fails");
        text.push('\n');
        Ok(text)
    }

    fn check(&self) -> Result<(), VmError> {
        let cpus = self.machine_config.vcpu_count.get();
        if cpus > MOST_CPUS {
            return Err(VmError::setting("processors", &cpus.to_string(), "1 to 32"));
        }
        if self.boot_source.boot_args.contains('\0') {
            return Err(VmError::setting("command line", &self.boot_source.boot_args, "a text without NUL"));
        }
        let mut ids = BTreeSet::new();
        for drive in &self.drives {
            check_id("drive", &drive.drive_id, &mut ids)?;
            if drive.partuuid.is_some() && !drive.is_root_device {
                return Err(VmError::setting(
                    "drive with a PARTUUID",
                    &drive.drive_id,
                    "the root device, the only one whose partition counts",
                ));
            }
        }
        if let Some(second) = self.drives.iter().filter(|drive| drive.is_root_device).nth(1) {
            return Err(VmError::setting("root device", &second.drive_id, "the only one"));
        }
        let mut ids = BTreeSet::new();
        for interface in &self.network_interfaces {
            check_id("network card", &interface.iface_id, &mut ids)?;
        }
        match &self.vsock {
            Some(Vsock { guest_cid, .. }) if *guest_cid < FIRST_CID => {
                Err(VmError::setting("CID of the guest", &guest_cid.to_string(), "at least 3"))
            }
            _ => Ok(()),
        }
    }
}

/// The kernel's command line with what a guest of Firecracker needs beside it, unless it says otherwise: a kernel that
/// panics starts anew, and starting anew ends the microVM (on x86_64 by the keyboard controller, which it has for that
/// alone).
pub fn boot_args(command_line: &str, arch: Arch) -> String {
    let mut words: Vec<&str> = command_line.split_whitespace().collect();
    let mut add = |key: &str, word| {
        if !words.iter().any(|other| other.starts_with(key)) {
            words.push(word);
        }
    };
    add("panic=", "panic=-1");
    if arch == Arch::X86_64 {
        add("reboot=", "reboot=k");
    }
    words.join(" ")
}

fn check_id<'a>(what: &'static str, id: &'a str, seen: &mut BTreeSet<&'a str>) -> Result<(), VmError> {
    if id.is_empty() || !id.chars().all(|character| character == '_' || character.is_ascii_alphanumeric()) {
        return Err(VmError::setting(what, id, "a name of letters, digits and `_`"));
    }
    if !seen.insert(id) {
        return Err(VmError::setting(what, id, "a name that only one of them has"));
    }
    Ok(())
}

fn as_text<T: fmt::Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

#[cfg(test)]
mod tests;
