//! Kernels for aarch64 and riscv64: built with Debian's cross compilers, and booted to a PID 1 in an emulator.
//!
//! With `LEANFS_TEST_FULL=1` only: a kernel takes minutes to build.

use std::path::Path;
use std::process::{Command, Stdio};

use fs_err as fs;
use leanfs::arch::Arch;
use leanfs::image;
use leanfs::kernel::build::build;
use leanfs::kernel::{self, KernelFormat};
use leanfs::layer::skeleton;
use leanfs::report::Silent;
use leanfs::tree::{Content, Metadata, Node, Origin, Tree};

use super::real::{directories, is_set, kept, settings, tarball};
use super::text;

/// Says a line and switches the machine off, without a library: write(2) and reboot(2) have the same numbers on both
/// (`include/uapi/asm-generic/unistd.h`).
const PID1: &str = r#"
static long call(long number, long a, long b, long c) {
#if defined(__aarch64__)
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#else
    register long a7 __asm__("a7") = number, a0 __asm__("a0") = a, a1 __asm__("a1") = b, a2 __asm__("a2") = c;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
    return a0;
#endif
}
static const char line[] = "PID 1 is up\n";
void _start(void) {
    call(64, 1, (long)line, sizeof line - 1);
    call(142, 0xfee1dead, 672274793, 0x4321fedc);
    for (;;) {}
}
"#;

/// An initramfs with that program.
fn initramfs(directory: &Path, prefix: &str) -> std::path::PathBuf {
    let source = directory.join("pid1.c");
    fs::write(&source, PID1).expect("written");
    let program = directory.join("pid1");
    let status = Command::new(format!("{prefix}gcc"))
        .args(["-Os", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-o"])
        .args([&program, &source])
        .status();
    assert!(status.expect("started").success());
    let mut tree = Tree::new();
    let content = Content::from_bytes(fs::read(&program).expect("there"));
    let node = Node::file(content, Metadata::PROGRAM, Origin::skeleton());
    tree.insert_with_parents("init".parse().expect("a path"), node);
    skeleton::lay(&mut tree, 0);
    let path = directory.join("initramfs");
    let mut file = fs::File::create(&path).expect("created");
    image::cpio::write(&tree.validate().expect("a good tree"), &mut file).expect("an archive");
    path
}

fn boots(arch: Arch, prefix: &str, emulator: &[&str], console: &str) {
    let Some(tarball) = tarball() else { return };
    if !is_set("LEANFS_TEST_FULL") {
        println!("SKIP: builds a kernel for {arch}, which takes minutes (LEANFS_TEST_FULL=1 runs it)");
        return;
    }
    for tool in [&format!("{prefix}gcc"), emulator[0]] {
        if !directories().iter().any(|directory| directory.join(tool).exists()) {
            println!("SKIP: {tool} is not installed");
            return;
        }
    }
    let kernel = build(&tarball, None, &settings(arch, &["qemu"], &kept()), &Silent).expect("built");
    let size = fs::metadata(&kernel.image).expect("there").len();
    println!("{arch}: {size} bytes");
    let head = kernel::from_file(Content::from_path(&kernel.image, size), "Image", arch).expect("a kernel");
    assert!(head.format.boots_on(arch) && head.format != KernelFormat::BzImage);

    let directory = tempfile::tempdir().expect("a directory");
    let output = Command::new("timeout")
        .arg("240")
        .args(emulator)
        .args(["-m", "256", "-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot"])
        .args(["-append", &format!("console={console} panic=-1"), "-kernel"])
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs(directory.path(), prefix))
        .stdin(Stdio::null())
        .output()
        .expect("started");
    let said = text(&output.stdout);
    assert!(said.contains("PID 1 is up") && output.status.success(), "{said}{}", text(&output.stderr));
}

#[test]
fn aarch64_boots_to_pid_1() {
    let emulator = ["qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a57"];
    boots(Arch::Aarch64, "aarch64-linux-gnu-", &emulator, "ttyAMA0");
}

#[test]
fn riscv64_boots_to_pid_1() {
    boots(Arch::Riscv64, "riscv64-linux-gnu-", &["qemu-system-riscv64", "-machine", "virt"], "ttyS0");
}
