//! A disk boots: firmware finds the unified kernel image on it, and that starts a kernel with an initramfs. So does a kernel
//! that was unpacked.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use leanfs::arch::Arch;
use leanfs::image::cpio;
use leanfs::image::disk::qcow2::{self, ClusterCompression};
use leanfs::image::disk::{self, Partition, fat, uki};
use leanfs::image::target::Target;
use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree};

use super::kernel::linux_virt;
use super::{guid, program, stub};
use crate::console;
use crate::end_to_end::bench::missing;

const QEMU: &str = "qemu-system-x86_64";
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 no_timer_check";
/// A boot from firmware takes 12 s of an idle processor.
const MOST_WAIT: Duration = Duration::from_secs(300);

/// What stands before the command line on the console.
const CAME_UP: &str = "it came up: ";
const INIT: &str = "#!/busybox sh\n\
    /busybox mount -t proc proc /proc\n\
    echo \"it came up: $(/busybox cat /proc/cmdline)\"\n\
    /busybox poweroff -f\n";

/// Debian's firmware, and variables of its own for a machine.
fn firmware(directory: &Path) -> Option<[PathBuf; 2]> {
    let code = Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd");
    if !code.is_file() {
        return missing("the Debian package ovmf");
    }
    let variables = directory.join("variables.fd");
    fs_err::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).expect("copied");
    Some([code.to_owned(), variables])
}

fn initramfs() -> Option<Content> {
    let busybox = program("busybox")?.get_program().to_owned();
    let mut tree = Tree::new();
    let mut add = |name: &str, kind: NodeKind| {
        let node = Node::new(kind, Metadata::PROGRAM, Origin::skeleton());
        tree.insert_with_parents(name.parse().expect("a good path"), node);
    };
    add("busybox", NodeKind::File(Content::from_bytes(fs_err::read(busybox).expect("readable"))));
    add("init", NodeKind::File(Content::from_bytes(INIT.as_bytes())));
    add("proc", NodeKind::Directory);
    add("dev/console", NodeKind::CharDevice { major: 5, minor: 1 });
    let mut archive = Vec::new();
    cpio::write(&tree.validate().expect("valid"), &mut archive).expect("written");
    Some(Content::from_bytes(archive))
}

/// Starts a machine and gives the command line that its first program saw, None when it never came to that.
fn boot(qemu: &mut Command) -> Option<String> {
    qemu.args(["-accel", "tcg", "-cpu", "max", "-m", "512", "-display", "none"]).args([
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-serial",
        "stdio",
    ]);
    let (console, _) = console::watch(qemu, MOST_WAIT, |line| line.contains(CAME_UP));
    console.last()?.split_once(CAME_UP).map(|(_, rest)| rest.to_owned())
}

#[test]
fn a_disk_boots_from_firmware() {
    let (Some(stub), Some(kernel), Some(initramfs)) = (stub(), linux_virt(), initramfs()) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (Some(mut qemu), Some([code, variables])) = (program(QEMU), firmware(directory.path())) else {
        return;
    };
    let image = uki::build(&uki::Parts {
        arch: Arch::X86_64,
        stub,
        kernel: kernel.image,
        initramfs: Some(initramfs),
        command_line: format!("{COMMAND_LINE} word=42"),
        os_release: Some("ID=leanfs\nPRETTY_NAME=leanfs\n".to_owned()),
        release: kernel.release,
    })
    .expect("an image");
    let esp = disk::esp_tree(Arch::X86_64, image, 1_700_000_000).validate().expect("valid");
    let mut raw = File::options();
    let raw = raw.read(true).write(true).create_new(true).open(directory.path().join("raw")).expect("made");
    let partitions = vec![Partition::esp(guid(1), &esp, fat::Settings::default())];
    let settings = disk::Settings { disk_guid: guid(0), size: None };
    let layout = disk::write(partitions, &settings, Target::new(&raw)).expect("written");
    let qcow2 = directory.path().join("disk.qcow2");
    let file = File::create_new(&qcow2).expect("made");
    let settings = qcow2::Settings { compression: ClusterCompression::Zstd { level: Some(1) }, threads: 2 };
    let content = Content::from_range(raw.into(), 0, layout.length);
    qcow2::write(&content, &settings, Target::new(&file)).expect("written");

    qemu.args(["-machine", "q35"]);
    for drive in [
        format!("if=pflash,format=raw,readonly=on,file={}", code.display()),
        format!("if=pflash,format=raw,file={}", variables.display()),
        format!("if=virtio,format=qcow2,file={}", qcow2.display()),
    ] {
        qemu.args(["-drive", &drive]);
    }
    assert_eq!(boot(&mut qemu), Some(format!("{COMMAND_LINE} word=42")));
}

/// QEMU starts ELF files by their PVH entry, as Firecracker does.
#[test]
fn an_unpacked_kernel_boots() {
    let (Some(kernel), Some(initramfs), Some(mut qemu)) = (linux_virt(), initramfs(), program(QEMU)) else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let [vmlinux, archive] = ["vmlinux", "initramfs"].map(|name| directory.path().join(name));
    let mut file = fs_err::File::create(&vmlinux).expect("made");
    leanfs::kernel::unpack(&kernel.image, "vmlinuz-virt", Arch::X86_64, &mut file).expect("unpacked");
    fs_err::write(&archive, initramfs.read(1 << 24).expect("readable")).expect("written");
    qemu.args(["-machine", "microvm,acpi=off", "-kernel"]).arg(&vmlinux).arg("-initrd").arg(&archive);
    qemu.args(["-append", &format!("{COMMAND_LINE} reboot=t")]);
    assert_eq!(boot(&mut qemu), Some(format!("{COMMAND_LINE} reboot=t")));
}
