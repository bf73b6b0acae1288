//! The emulator: where it is, and its arguments.
//!
//! The arguments are those of `qemu-system-*` 7.2 and later (<https://www.qemu.org/docs/master/system/invocation.html>).

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::output::{Boot, BootFiles};
use super::{Forward, GuestSettings, Machine, VmError, trace};
use crate::arch::Arch;

/// What [`Accelerator::Auto`](super::Accelerator::Auto) and the others become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UsedAccelerator {
    /// The host's processor executes the guest.
    Kvm,
    /// QEMU translates the guest's instructions.
    Tcg,
}

impl UsedAccelerator {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl std::fmt::Display for UsedAccelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// Everything that decides the arguments of one emulator.
#[derive(Debug, Clone)]
pub(super) struct GuestCommand<'a> {
    pub(super) files: &'a BootFiles,
    pub(super) machine: Machine,
    pub(super) firmware: Option<&'a Path>,
    pub(super) snapshot: bool,
    pub(super) memory_mib: NonZeroU32,
    pub(super) cpus: NonZeroU32,
    pub(super) accelerator: UsedAccelerator,
    pub(super) forwards: &'a [Forward],
    /// Whether the terminal's interrupt key ends the emulator.
    pub(super) terminal_signals: bool,
    /// Whether PID 1 is to say what is opened.
    pub(super) trace: bool,
}

/// What the guest's network is told beside the manifest's command line: QEMU's user network has these addresses.
const NETWORK: &str = "leanfs.ip=10.0.2.15/24,gateway=10.0.2.2,dns=10.0.2.3";

/// Linux's option for emulators: at boot it waits for a few ticks of the timer within 10 ms of its own counting,
/// and panics ("IO-APIC + timer doesn't work!") when a busy host let none through. Under KVM it leaves that out by itself.
const NO_TIMER_CHECK: &str = "no_timer_check";

impl GuestCommand<'_> {
    /// The arguments, the program's own name not among them. The console is on standard input and output.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let bus = if self.machine == Machine::Microvm { "device" } else { "pci" };
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |option: &str, value: OsString| {
            arguments.push(option.into());
            arguments.push(value);
        };
        let acpi = if self.is_without_acpi() { ",acpi=off" } else { "" };
        add("-machine", format!("{}{acpi}", self.machine).into());
        add("-accel", self.accelerator.name().into());
        add("-cpu", self.processor().into());
        add("-smp", self.cpus.to_string().into());
        add("-m", format!("{}M", self.memory_mib).into());
        add("-display", "none".into());
        let signal = if self.terminal_signals { "on" } else { "off" };
        add("-chardev", format!("stdio,id=console,signal={signal}").into());
        add("-serial", "chardev:console".into());
        let mut network = "user,id=network".to_owned();
        for forward in self.forwards {
            let Forward { address, host, guest } = forward;
            network.push_str(&format!(",hostfwd=tcp:{address}:{host}-:{guest}"));
        }
        add("-netdev", network.into());
        // `romfile=`: the boot ROM of a network card is in a package of its own, and nothing boots from the network.
        let rom = if bus == "pci" { ",romfile=" } else { "" };
        add("-device", format!("virtio-net-{bus},netdev=network{rom}").into());
        add("-device", format!("virtio-rng-{bus}").into());
        let snapshot = if self.snapshot { ",snapshot=on" } else { "" };
        let mut disk = |name: &str, path: &Path, options: &str, device: &str| {
            let mut value = OsString::from("file=");
            value.push(path_in_list(path));
            value.push(format!(",if=none,id={name}{options}"));
            add("-drive", value);
            add("-device", format!("virtio-blk-{bus},drive={name}{device}").into());
        };
        match &self.files.boot {
            Boot::Kernel { root: Some(root), .. } => disk("root", root, ",format=raw,readonly=on", ""),
            Boot::Kernel { root: None, .. } => {}
            Boot::Disk { disk: path, format } => {
                disk("disk", path, &format!(",format={format}{snapshot}"), ",bootindex=0");
            }
        }
        if let Some(data) = &self.files.data {
            disk("data", data, &format!(",format=raw{snapshot}"), "");
        }
        match &self.files.boot {
            Boot::Kernel { kernel, initramfs, .. } => {
                add("-kernel", kernel.clone().into());
                add("-initrd", initramfs.clone().into());
                add("-append", self.command_line().into());
            }
            // The command line is on the disk, and the machine adds to it.
            Boot::Disk { .. } => {
                if let Some(firmware) = self.firmware {
                    let mut value = OsString::from("if=pflash,format=raw,unit=0,readonly=on,file=");
                    value.push(path_in_list(firmware));
                    add("-drive", value);
                }
                let words =
                    if self.trace { format!("{NETWORK} {}", trace::REQUEST) } else { NETWORK.to_owned() };
                add("-smbios", format!("type=11,value=leanfs.cmdline={}", words.replace(',', ",,")).into());
            }
        }
        // Nothing that isn't named here: no configuration file, no floppy drive, no monitor, no screen. And no second
        // start: a guest that starts anew, as a kernel does that panicked, ends.
        arguments.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(OsString::from));
        arguments
    }

    fn processor(&self) -> &'static str {
        match (self.accelerator, self.files.arch) {
            (UsedAccelerator::Kvm, _) => "host",
            // It has no `max` before QEMU 8.2.
            (UsedAccelerator::Tcg, Arch::Riscv64) => "rv64",
            (UsedAccelerator::Tcg, Arch::X86_64 | Arch::Aarch64) => "max",
        }
    }

    /// The kernel's command line. A kernel that panics starts anew at once, and so ends the emulator, unless the
    /// manifest has another wish.
    pub(super) fn command_line(&self) -> String {
        let own = self.files.command_line.trim();
        let mut words = vec![own];
        let mut add = |key: &str, word| {
            if !own.split_ascii_whitespace().any(|word| word.starts_with(key)) {
                words.push(word);
            }
        };
        add("panic=", "panic=-1");
        if self.files.arch == Arch::X86_64 && self.accelerator == UsedAccelerator::Tcg {
            add(NO_TIMER_CHECK, NO_TIMER_CHECK);
        }
        if self.is_without_acpi() {
            // By a triple fault: there is no keyboard controller to ask, and a kernel waits for it for ever.
            add("reboot=", "reboot=t");
        }
        if matches!(self.files.boot, Boot::Kernel { root: Some(_), .. }) {
            // Disks are numbered as they are given.
            words.extend(["root=/dev/vda", "ro"]);
        }
        words.push(NETWORK);
        if self.trace {
            words.push(trace::REQUEST);
        }
        words.retain(|word| !word.is_empty());
        words.join(" ")
    }

    /// With ACPI, a kernel takes this machine for one without the old timer, and then has none to compare its clock
    /// with when KVM's is absent too: it hangs early. Without ACPI it can't switch itself off, and says that it halts.
    fn is_without_acpi(&self) -> bool {
        self.machine == Machine::Microvm && self.accelerator == UsedAccelerator::Tcg
    }
}

/// A path in a list of options, where a comma is written twice.
fn path_in_list(path: &Path) -> OsString {
    let mut text = Vec::new();
    for &byte in path.as_os_str().as_bytes() {
        text.extend(std::iter::repeat_n(byte, if byte == b',' { 2 } else { 1 }));
    }
    OsString::from_vec(text)
}

/// Where distributions have the firmware that boots disks; of several the first that is there.
const FIRMWARE: [(Arch, &[&str]); 3] = [
    (
        Arch::X86_64,
        &[
            "/usr/share/OVMF/OVMF_CODE_4M.fd",
            "/usr/share/OVMF/OVMF_CODE.fd",
            "/usr/share/edk2/ovmf/OVMF_CODE.fd",
            "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
            "/usr/share/edk2-ovmf/x64/OVMF_CODE.fd",
            "/usr/share/qemu/edk2-x86_64-code.fd",
        ],
    ),
    (
        Arch::Aarch64,
        &[
            "/usr/share/AAVMF/AAVMF_CODE.fd",
            "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
            "/usr/share/qemu/edk2-aarch64-code.fd",
        ],
    ),
    (
        Arch::Riscv64,
        &["/usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd", "/usr/share/edk2/riscv/RISCV_VIRT_CODE.fd"],
    ),
];

/// The firmware, for what needs one.
pub(super) fn firmware(
    settings: &GuestSettings,
    files: &BootFiles,
    machine: Machine,
) -> Result<Option<PathBuf>, VmError> {
    if matches!(files.boot, Boot::Kernel { .. }) {
        return Ok(None);
    }
    if machine == Machine::Microvm {
        let (text, expected) = ("microvm".to_owned(), "a machine that boots disks: pc");
        return Err(VmError::Setting { what: "machine", text, expected });
    }
    let places =
        FIRMWARE.into_iter().find(|(arch, _)| *arch == files.arch).map_or(&[][..], |(_, places)| places);
    let mut candidates = match &settings.firmware {
        Some(path) => vec![path.clone()],
        None => places.iter().map(PathBuf::from).collect(),
    };
    match candidates.iter().position(|path| path.is_file()) {
        Some(place) => Ok(Some(candidates.swap_remove(place))),
        None => Err(VmError::FirmwareMissing { candidates, arch: files.arch }),
    }
}

/// The kind of machine that is asked for, or the usual one.
pub(super) fn machine(wanted: Option<Machine>, arch: Arch) -> Result<Machine, VmError> {
    let usual = if arch == Arch::X86_64 { Machine::Pc } else { Machine::Virt };
    let machine = wanted.unwrap_or(usual);
    if (machine == Machine::Virt) == (usual == Machine::Virt) {
        Ok(machine)
    } else {
        Err(VmError::MachineMismatch { machine, arch })
    }
}

/// The number of processors that is asked for, or the usual one.
pub(super) fn cpus(wanted: Option<NonZeroU32>, accelerator: UsedAccelerator) -> NonZeroU32 {
    const TWO: NonZeroU32 = NonZeroU32::new(2).expect("not zero");
    wanted.unwrap_or_else(|| match accelerator {
        UsedAccelerator::Tcg => NonZeroU32::MIN,
        UsedAccelerator::Kvm => std::thread::available_parallelism()
            .ok()
            .and_then(|count| NonZeroU32::try_from(count).ok())
            .map_or(NonZeroU32::MIN, |count| count.min(TWO)),
    })
}

/// The emulator's file.
pub(super) fn find(settings: &GuestSettings, arch: Arch) -> Result<PathBuf, VmError> {
    let program = format!("qemu-system-{arch}");
    if let Some(path) = &settings.qemu {
        return if is_program(path) {
            Ok(path.clone())
        } else {
            let directories = path.parent().map(Path::to_owned).into_iter().collect();
            let program = path.file_name().map_or(program, |name| name.to_string_lossy().into_owned());
            Err(VmError::QemuMissing { program, directories, arch })
        };
    }
    settings
        .program_directories
        .iter()
        .map(|directory| directory.join(&program))
        .find(|path| is_program(path))
        .ok_or_else(|| VmError::QemuMissing {
            program,
            directories: settings.program_directories.clone(),
            arch,
        })
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// An emulator that does what a shell script says. Another process writes it: a file that this one has open for
/// writing could be inherited by what other tests start meanwhile, and could not be executed then.
#[cfg(test)]
pub(super) fn fake(directory: &Path, script: &str) -> PathBuf {
    let path = directory.join("qemu");
    let status = std::process::Command::new("/bin/sh")
        .args(["-c", r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#, "sh"])
        .arg(&path)
        .arg(script)
        .status();
    assert!(status.expect("a shell").success());
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(arch: Arch, command_line: &str) -> BootFiles {
        BootFiles {
            arch,
            boot: Boot::Kernel {
                kernel: "out/kernel".into(),
                initramfs: "out/initramfs.cpio.xz".into(),
                root: None,
            },
            data: None,
            command_line: command_line.into(),
            contents: trace::Contents::default(),
        }
    }

    fn arguments(command: &GuestCommand<'_>) -> String {
        command.arguments().join(std::ffi::OsStr::new("\n")).into_string().expect("ASCII")
    }

    #[test]
    fn a_pc_under_tcg() {
        let files = files(Arch::X86_64, "console=ttyS0 quiet");
        let forwards = ["8080:80", "0.0.0.0:4443:443"].map(|text| text.parse().expect("a forward"));
        let command = GuestCommand {
            files: &files,
            machine: Machine::Pc,
            firmware: None,
            snapshot: false,
            memory_mib: NonZeroU32::new(256).expect("not zero"),
            cpus: cpus(None, UsedAccelerator::Tcg),
            accelerator: UsedAccelerator::Tcg,
            forwards: &forwards,
            terminal_signals: true,
            trace: false,
        };
        let expected = "-machine\npc\n-accel\ntcg\n-cpu\nmax\n-smp\n1\n-m\n256M\n-display\nnone\n\
            -chardev\nstdio,id=console,signal=on\n-serial\nchardev:console\n\
            -netdev\nuser,id=network,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:0.0.0.0:4443-:443\n\
            -device\nvirtio-net-pci,netdev=network,romfile=\n-device\nvirtio-rng-pci\n\
            -kernel\nout/kernel\n-initrd\nout/initramfs.cpio.xz\n\
            -append\nconsole=ttyS0 quiet panic=-1 no_timer_check leanfs.ip=10.0.2.15/24,gateway=10.0.2.2,dns=10.0.2.3\n\
            -nodefaults\n-no-user-config\n-no-reboot";
        assert_eq!(arguments(&command), expected);
    }

    #[test]
    fn other_machines() {
        let files = files(Arch::X86_64, "  panic=5 ");
        let command = GuestCommand {
            files: &files,
            machine: Machine::Microvm,
            firmware: None,
            snapshot: false,
            memory_mib: NonZeroU32::new(64).expect("not zero"),
            cpus: NonZeroU32::new(3).expect("not zero"),
            accelerator: UsedAccelerator::Kvm,
            forwards: &[],
            terminal_signals: false,
            trace: true,
        };
        let text = arguments(&command);
        for part in [
            "-machine\nmicrovm\n-accel\nkvm\n-cpu\nhost\n-smp\n3\n-m\n64M\n",
            "\nstdio,id=console,signal=off\n",
            "\n-netdev\nuser,id=network\n-device\nvirtio-net-device,netdev=network\n-device\nvirtio-rng-device\n",
            "\n-append\npanic=5 leanfs.ip=10.0.2.15/24,gateway=10.0.2.2,dns=10.0.2.3 leanfs.trace=1\n",
        ] {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
        let command = GuestCommand { accelerator: UsedAccelerator::Tcg, ..command };
        let text = arguments(&command);
        for part in ["-machine\nmicrovm,acpi=off\n", "\n-append\npanic=5 no_timer_check reboot=t leanfs.ip="]
        {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
    }

    #[test]
    fn other_architectures() {
        for (arch, processor) in [(Arch::Aarch64, "max"), (Arch::Riscv64, "rv64")] {
            let command = GuestCommand {
                files: &files(arch, "console=ttyAMA0"),
                machine: Machine::Virt,
                firmware: None,
                snapshot: false,
                memory_mib: NonZeroU32::new(256).expect("not zero"),
                cpus: NonZeroU32::MIN,
                accelerator: UsedAccelerator::Tcg,
                forwards: &[],
                terminal_signals: false,
                trace: false,
            };
            let text = arguments(&command);
            assert!(text.starts_with(&format!("-machine\nvirt\n-accel\ntcg\n-cpu\n{processor}\n")), "{text}");
            assert!(text.contains("\n-append\nconsole=ttyAMA0 panic=-1 leanfs.ip="), "{text}");
        }
    }

    #[test]
    fn roots_and_disks() {
        let kernel = |root: Option<&str>| Boot::Kernel {
            kernel: "out/kernel".into(),
            initramfs: "out/boot.cpio.xz".into(),
            root: root.map(PathBuf::from),
        };
        let disk = Boot::Disk { disk: "a,b/disk.qcow2".into(), format: "qcow2" };
        let text = |boot: Boot, machine, snapshot| {
            let data = matches!(boot, Boot::Kernel { .. }).then(|| "out/data.ext4".into());
            let files = BootFiles { boot, data, ..files(Arch::X86_64, "console=ttyS0") };
            arguments(&GuestCommand {
                files: &files,
                machine,
                firmware: Some(Path::new("/fw.fd")),
                snapshot,
                memory_mib: NonZeroU32::new(256).expect("not zero"),
                cpus: NonZeroU32::MIN,
                accelerator: UsedAccelerator::Kvm,
                forwards: &[],
                terminal_signals: false,
                trace: false,
            })
        };
        let rooted = text(kernel(Some("out/rootfs.erofs")), Machine::Microvm, false);
        for part in [
            "\n-drive\nfile=out/rootfs.erofs,if=none,id=root,format=raw,readonly=on\n-device\nvirtio-blk-device,drive=root\n",
            "\n-drive\nfile=out/data.ext4,if=none,id=data,format=raw\n-device\nvirtio-blk-device,drive=data\n",
            "\n-initrd\nout/boot.cpio.xz\n-append\nconsole=ttyS0 panic=-1 root=/dev/vda ro leanfs.ip=",
        ] {
            assert!(rooted.contains(part), "{part:?} in {rooted:?}");
        }
        let unrooted = text(kernel(None), Machine::Pc, true);
        assert!(
            unrooted.contains("file=out/data.ext4,if=none,id=data,format=raw,snapshot=on\n"),
            "{unrooted:?}"
        );
        assert!(!unrooted.contains("root=/dev"), "{unrooted:?}");
        let booted = text(disk, Machine::Pc, true);
        for part in [
            "\n-drive\nfile=a,,b/disk.qcow2,if=none,id=disk,format=qcow2,snapshot=on\n\
             -device\nvirtio-blk-pci,drive=disk,bootindex=0\n",
            "\n-drive\nif=pflash,format=raw,unit=0,readonly=on,file=/fw.fd\n\
             -smbios\ntype=11,value=leanfs.cmdline=leanfs.ip=10.0.2.15/24,,gateway=10.0.2.2,,dns=10.0.2.3\n",
        ] {
            assert!(booted.contains(part), "{part:?} in {booted:?}");
        }
        assert!(!booted.contains("-kernel") && !booted.contains("-append"), "{booted:?}");
    }

    #[test]
    fn machines_fit_architectures() {
        use Machine::{Microvm, Pc, Virt};
        let table = [
            (None, Arch::X86_64, Some(Pc)),
            (None, Arch::Aarch64, Some(Virt)),
            (None, Arch::Riscv64, Some(Virt)),
            (Some(Microvm), Arch::X86_64, Some(Microvm)),
            (Some(Virt), Arch::X86_64, None),
            (Some(Pc), Arch::Aarch64, None),
            (Some(Microvm), Arch::Riscv64, None),
        ];
        for (wanted, arch, expected) in table {
            assert_eq!(machine(wanted, arch).ok(), expected, "{wanted:?} {arch}");
        }
    }

    #[test]
    fn finds_only_programs() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut settings = GuestSettings::new("out");
        settings.program_directories = vec![directory.path().join("absent"), directory.path().to_owned()];
        let program = directory.path().join("qemu-system-aarch64");
        fs::write(&program, "").expect("written");
        let error = find(&settings, Arch::Aarch64).expect_err("not executable");
        assert!(
            error.to_string().starts_with("qemu-system-aarch64 is not installed: it is not in /"),
            "{error}"
        );
        let hint = error.hint().expect("how to install it");
        assert!(hint.contains("qemu-system-arm on Debian"), "{hint}");
        assert!(hint.contains("qemu-system-aarch64 on Alpine"), "{hint}");
        fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("changed");
        assert_eq!(find(&settings, Arch::Aarch64).expect("executable"), program);
        settings.qemu = Some(directory.path().to_owned());
        assert!(find(&settings, Arch::Aarch64).is_err(), "a directory is no program");
        settings.program_directories.clear();
        settings.qemu = None;
        let error = find(&settings, Arch::X86_64).expect_err("nowhere");
        assert_eq!(
            error.to_string(),
            "qemu-system-x86_64 is not installed: it is not in any directory (there are none to look in)"
        );
    }
}
