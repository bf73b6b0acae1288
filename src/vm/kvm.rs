//! Whether KVM really works here.
//!
//! `/dev/kvm` alone says little: on some machines it can be opened and guests make no progress in it. Where the host is
//! itself a guest, KVM may even run firmware at full speed and then crawl through 64-bit code, an instruction at a
//! time. So a guest is run: a ROM of 64 KiB that goes to 64-bit mode, pages on, counts to 20 million over memory, and
//! writes a byte to the device `isa-debug-exit`, which ends QEMU with a status that nothing else gives. That takes
//! 0.2 seconds, half of it QEMU's own start, and is given three.
//!
//! The result is kept for the process. That KVM does *not* work is also remembered in the user's cache directory (file
//! `kvm-does-not-work`: the kernel's boot identifier, the emulator with its size and time, the reason), so that not
//! every start waits for three seconds; but only if the same guest is done in time under TCG, or the host may just have
//! been busy. That it works is never remembered: finding it out is cheap, and a machine that was moved with its memory
//! keeps its boot identifier but not its processor.
//!
//! There is such a guest for x86_64 hosts. On others nothing has proven that KVM works, so it isn't taken by itself;
//! [`Accelerator::Kvm`](super::Accelerator::Kvm) takes it unproven there.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fs_err as fs;

use super::console::escape;
use super::guest::end_child;
use super::{Accelerator, UsedAccelerator, VmError};
use crate::arch::Arch;

/// How long the guest may take.
const LIMIT: Duration = Duration::from_secs(3);

/// The host's device.
const DEVICE: &str = "/dev/kvm";

/// What the guest writes to the debug port.
const ANSWER: u8 = 0x2a;

/// The status that QEMU makes of it.
const ANSWER_STATUS: i32 = ((ANSWER as i32) << 1) | 1;

/// Where the guest's code is in its ROM, which the processor sees below 1 MiB and below 4 GiB.
const CODE: usize = 0xfe00;

/// Where the processor starts in the ROM.
const RESET_VECTOR: usize = 0xfff0;

/// The guest, assembled for [`CODE`]. In AT&T's syntax, with R = 0xf0000:
#[rustfmt::skip]
const GUEST: [u8; 190] = [
    // 16 bits
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0xb8, 0xfe,                   // lgdtl %cs:gdtr
    0x0f, 0x20, 0xc0,                                           // mov %cr0, %eax
    0x0c, 0x01,                                                 // or $1, %al              (protected mode)
    0x0f, 0x22, 0xc0,                                           // mov %eax, %cr0
    0x66, 0xea, 0x17, 0xfe, 0x0f, 0x00, 0x08, 0x00,             // ljmpl $8, $R+protected
    // protected: 32 bits
    0xb8, 0x10, 0x00, 0x00, 0x00,                               // mov $0x10, %eax
    0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0,                         // mov %eax, %ds; … %es; … %ss
    0xbf, 0x00, 0x10, 0x00, 0x00,                               // mov $0x1000, %edi       (clear three pages)
    0x31, 0xc0,                                                 // xor %eax, %eax
    0xb9, 0x00, 0x0c, 0x00, 0x00,                               // mov $0xc00, %ecx
    0xfc, 0xf3, 0xab,                                           // cld; rep stosl
    0xc7, 0x05, 0x00, 0x10, 0x00, 0x00, 0x03, 0x20, 0x00, 0x00, // movl $0x2003, 0x1000    (PML4 → PDPT)
    0xc7, 0x05, 0x00, 0x20, 0x00, 0x00, 0x03, 0x30, 0x00, 0x00, // movl $0x3003, 0x2000    (PDPT → PD)
    0xc7, 0x05, 0x00, 0x30, 0x00, 0x00, 0x83, 0x00, 0x00, 0x00, // movl $0x83, 0x3000      (PD: the first 2 MiB)
    0xb8, 0x00, 0x10, 0x00, 0x00,                               // mov $0x1000, %eax
    0x0f, 0x22, 0xd8,                                           // mov %eax, %cr3
    0x0f, 0x20, 0xe0,                                           // mov %cr4, %eax
    0x0c, 0x20,                                                 // or $0x20, %al           (PAE)
    0x0f, 0x22, 0xe0,                                           // mov %eax, %cr4
    0xb9, 0x80, 0x00, 0x00, 0xc0,                               // mov $0xc0000080, %ecx   (EFER)
    0x0f, 0x32,                                                 // rdmsr
    0x80, 0xcc, 0x01,                                           // or $1, %ah              (LME)
    0x0f, 0x30,                                                 // wrmsr
    0x0f, 0x20, 0xc0,                                           // mov %cr0, %eax
    0x0d, 0x00, 0x00, 0x00, 0x80,                               // or $0x80000000, %eax    (paging)
    0x0f, 0x22, 0xc0,                                           // mov %eax, %cr0
    0xea, 0x7d, 0xfe, 0x0f, 0x00, 0x18, 0x00,                   // ljmp $0x18, $R+long
    // long: 64 bits
    0xbc, 0x00, 0x80, 0x00, 0x00,                               // mov $0x8000, %esp
    0xb9, 0x00, 0x2d, 0x31, 0x01,                               // mov $20000000, %ecx
    0x51, 0x59,                                                 // 1: push %rcx; pop %rcx
    0xff, 0xc9,                                                 // dec %ecx
    0x75, 0xfa,                                                 // jnz 1b
    0xb0, ANSWER,                                               // mov $ANSWER, %al
    0xe6, 0xf4,                                                 // out %al, $0xf4
    0xf4, 0xeb, 0xfd,                                           // 2: hlt; jmp 2b
    0x0f, 0x1f, 0x40, 0x00,                                     // (alignment)
    // gdt: null, 32-bit code, data, 64-bit code
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xaf, 0x00,
    // gdtr: its last byte, R+gdt
    0x1f, 0x00, 0x98, 0xfe, 0x0f, 0x00,
];

/// What executes the guest, and why it isn't KVM when that was open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) accelerator: UsedAccelerator,
    pub(super) reason: Option<String>,
}

/// Chooses. The emulator must be one for `arch`.
pub(super) fn choose(
    wanted: Accelerator,
    arch: Arch,
    qemu: &Path,
    cache: Option<&Path>,
) -> Result<Choice, VmError> {
    let kvm = match wanted {
        Accelerator::Tcg => return Ok(Choice { accelerator: UsedAccelerator::Tcg, reason: None }),
        Accelerator::Auto => usable(arch, Path::new(DEVICE), qemu, cache),
        Accelerator::Kvm => match usable(arch, Path::new(DEVICE), qemu, None) {
            Err(Unusable::Unproven) => Ok(()),
            result => result,
        },
    };
    match (kvm, wanted) {
        (Ok(()), _) => Ok(Choice { accelerator: UsedAccelerator::Kvm, reason: None }),
        (Err(unusable), Accelerator::Kvm) => Err(VmError::Kvm { reason: unusable.to_string() }),
        (Err(unusable), _) => {
            Ok(Choice { accelerator: UsedAccelerator::Tcg, reason: Some(unusable.to_string()) })
        }
    }
}

/// Why KVM isn't used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    #[error("the image is for {0}, and this machine is another")]
    OtherArch(Arch),
    #[error("{DEVICE}: {0}")]
    Device(String),
    #[error("there is no way to find out on this machine whether it works")]
    Unproven,
    #[error("{0}")]
    Probe(String),
}

fn usable(arch: Arch, device: &Path, qemu: &Path, cache: Option<&Path>) -> Result<(), Unusable> {
    if Arch::host() != Some(arch) {
        return Err(Unusable::OtherArch(arch));
    }
    let opened = fs::OpenOptions::new().read(true).write(true).open(device);
    if let Err(error) = opened {
        return Err(Unusable::Device(match error.kind() {
            std::io::ErrorKind::NotFound => "not there".to_owned(),
            std::io::ErrorKind::PermissionDenied => {
                "this user may not open it (it belongs to the group kvm)".to_owned()
            }
            _ => error.to_string(),
        }));
    }
    if arch != Arch::X86_64 {
        return Err(Unusable::Unproven);
    }
    /// By emulator: what came out for this process.
    static FOUND: Mutex<BTreeMap<PathBuf, Result<(), String>>> = Mutex::new(BTreeMap::new());
    // Held while the guest runs: who else wants to know waits for the same result.
    let mut found = FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(result) = found.get(qemu) {
        return result.clone().map_err(Unusable::Probe);
    }
    let memory = cache.and_then(|cache| Memory::of(cache, qemu));
    let result = match memory.as_ref().and_then(Memory::recall) {
        Some(reason) => Err(reason),
        None => {
            let result = probe(qemu, "kvm", LIMIT);
            if let (Err(reason), Some(memory)) = (&result, &memory)
                && probe(qemu, "tcg", LIMIT).is_ok()
            {
                memory.remember(reason);
            }
            result
        }
    };
    found.insert(qemu.to_owned(), result.clone());
    result.map_err(Unusable::Probe)
}

/// Runs the guest; the error says what happened instead of its end.
fn probe(qemu: &Path, accelerator: &str, limit: Duration) -> Result<(), String> {
    let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
    let mut rom = tempfile::NamedTempFile::new().map_err(|error| failed("no temporary file", error))?;
    rom.write_all(&rom_image()).map_err(|error| failed("no temporary file", error))?;
    let mut child = Command::new(qemu)
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-m", "4M"])
        .args(["-machine", "pc", "-cpu", "max", "-accel", accelerator])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios"])
        .arg(rom.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&qemu.display().to_string(), error))?;
    // It says a few words at most, which a pipe holds: nobody needs to read them before it has ended.
    let messages = child.stderr.take();
    let status = wait_until(&mut child, Instant::now() + limit);
    let Some(status) = status.map_err(|error| failed("QEMU", error))? else {
        end_child(child);
        return Err(format!("a small guest was not done in KVM within {} seconds", limit.as_secs()));
    };
    if status.code() == Some(ANSWER_STATUS) {
        return Ok(());
    }
    let mut message = String::new();
    if let Some(messages) = messages {
        // What isn't text, or can't be read, adds nothing.
        let _ = std::io::Read::read_to_string(&mut std::io::Read::take(messages, 4096), &mut message);
    }
    Err(match message.trim() {
        "" => format!("a small guest ended with {status} in KVM"),
        message => escape(message.as_bytes()),
    })
}

fn rom_image() -> Vec<u8> {
    const SIZE: usize = 64 << 10;
    const JUMP: u8 = 0xe9;
    const HALT: u8 = 0xf4;
    let mut rom = vec![HALT; SIZE];
    rom[CODE..CODE + GUEST.len()].copy_from_slice(&GUEST);
    // A near jump to the code: relative to the instruction after it, in 16 bits.
    let [low, high] = (CODE as u16).wrapping_sub(RESET_VECTOR as u16 + 3).to_le_bytes();
    rom[RESET_VECTOR..RESET_VECTOR + 3].copy_from_slice(&[JUMP, low, high]);
    rom
}

/// The child's status, or `None` at the deadline.
fn wait_until(child: &mut Child, deadline: Instant) -> std::io::Result<Option<std::process::ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where it is remembered that KVM doesn't work, and for which emulator since which start of the machine.
#[derive(Debug)]
struct Memory {
    file: PathBuf,
    key: String,
}

impl Memory {
    fn of(cache: &Path, qemu: &Path) -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let metadata = fs::metadata(qemu).ok()?;
        let key = format!(
            "{} {} {} {}",
            boot.trim(),
            metadata.len(),
            metadata.mtime(),
            escape(qemu.as_os_str().as_encoded_bytes())
        );
        Some(Self { file: cache.join("kvm-does-not-work"), key })
    }

    fn recall(&self) -> Option<String> {
        let text = fs::read_to_string(&self.file).ok()?;
        let (key, reason) = text.split_once('\n')?;
        (key == self.key).then(|| escape(reason.trim_end().as_bytes()))
    }

    /// A cache that can't be written costs the next start three seconds, and nothing else.
    fn remember(&self, reason: &str) {
        let Some(directory) = self.file.parent() else { return };
        let written = fs::create_dir_all(directory)
            .and_then(|()| tempfile::NamedTempFile::new_in(directory))
            .and_then(|mut file| writeln!(file, "{}\n{reason}", self.key).map(|()| file));
        if let Ok(file) = written {
            let _ = file.persist(&self.file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::qemu::fake;
    use super::*;

    #[test]
    fn the_rom_starts_with_its_code() {
        let rom = rom_image();
        assert_eq!(rom.len(), 65536);
        let jump = u16::from_le_bytes([rom[RESET_VECTOR + 1], rom[RESET_VECTOR + 2]]);
        assert_eq!(usize::from((RESET_VECTOR as u16 + 3).wrapping_add(jump)), CODE);
        assert!(CODE + GUEST.len() <= RESET_VECTOR);
        // lgdt's operand, both far jumps and the table's address are what the code's place makes of them.
        assert_eq!(rom[CODE + 5..CODE + 7], ((CODE + 184) as u16).to_le_bytes());
        assert_eq!(rom[CODE + 186..CODE + 190], (0xf0000 + CODE as u32 + 152).to_le_bytes());
    }

    #[test]
    fn other_architectures_and_absent_devices() {
        let qemu = Path::new("/nonexistent/qemu");
        let other = Arch::ALL.into_iter().find(|arch| Some(*arch) != Arch::host()).expect("three");
        let choice = choose(Accelerator::Auto, other, qemu, None).expect("TCG");
        assert_eq!(choice.accelerator, UsedAccelerator::Tcg);
        let error = choose(Accelerator::Kvm, other, qemu, None).expect_err("another architecture");
        assert_eq!(
            error.to_string(),
            format!("KVM cannot be used: the image is for {other}, and this machine is another")
        );
        let Some(host) = Arch::host() else { return };
        let unusable = usable(host, Path::new("/nonexistent/kvm"), qemu, None);
        assert_eq!(unusable, Err(Unusable::Device("not there".to_owned())));
        let choice = choose(Accelerator::Tcg, host, qemu, None).expect("TCG needs nothing");
        assert_eq!(choice, Choice { accelerator: UsedAccelerator::Tcg, reason: None });
    }

    #[test]
    fn only_the_answer_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let table = [
            ("exit 85", Ok(())),
            ("exit 0", Err("a small guest ended with exit status: 0 in KVM")),
            (
                "echo 'failed to initialize kvm: \u{1b}[2J' >&2; exit 1",
                Err("failed to initialize kvm: \\u{1b}[2J"),
            ),
            ("exec sleep 60", Err("a small guest was not done in KVM within 0 seconds")),
        ];
        for (script, expected) in table {
            let limit =
                if script.contains("sleep") { Duration::from_millis(50) } else { Duration::from_secs(20) };
            let result = probe(&fake(directory.path(), script), "kvm", limit);
            assert_eq!(result, expected.map_err(str::to_owned), "{script}");
        }
    }

    #[test]
    fn failures_are_remembered_for_this_boot_and_emulator() {
        let directory = tempfile::tempdir().expect("a directory");
        let qemu = fake(directory.path(), "exit 1");
        let cache = directory.path().join("cache");
        let Some(memory) = Memory::of(&cache, &qemu) else {
            println!("SKIP: this machine has no boot identifier");
            return;
        };
        assert_eq!(memory.recall(), None);
        memory.remember("it hangs");
        assert_eq!(memory.recall().as_deref(), Some("it hangs"));
        let other = Memory { key: format!("x{}", memory.key), file: memory.file.clone() };
        assert_eq!(other.recall(), None);
        fake(directory.path(), "exit 1 # another version");
        assert_eq!(Memory::of(&cache, &qemu).expect("still there").recall(), None);
    }

    /// The guest itself is right: under TCG it gives its answer.
    #[test]
    fn the_guest_runs() {
        let qemu = ["/usr/bin/qemu-system-x86_64", "/usr/local/bin/qemu-system-x86_64"]
            .into_iter()
            .map(Path::new)
            .find(|path| path.exists());
        let Some(qemu) = qemu else {
            assert!(std::env::var_os("CI").is_none(), "qemu-system-x86_64 is needed in CI");
            println!("SKIP: qemu-system-x86_64 is not installed");
            return;
        };
        assert_eq!(probe(qemu, "tcg", Duration::from_secs(60)), Ok(()));
    }
}
