//! Debian's `linux-source`: every fragment passes the kernel's own `olddefconfig`; kernels are small, the same wherever
//! they are built, and boot.
//!
//! A kernel takes minutes to build. One, the smallest, is built in CI and kept below `target/` for the next run; the
//! others are built with `LEANFS_TEST_FULL=1`.

use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use leanfs::arch::Arch;
use leanfs::kernel::build::{BuildSettings, BuiltKernel, build, configure, read_fragments};
use leanfs::report::Silent;

use super::{LEANFS, text};

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared");

pub(super) fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// The tarball, where it and what builds it is installed.
pub(super) fn tarball() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/src")
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("linux-source-") && name.ends_with(".tar.xz")
        })
        .collect();
    found.sort();
    let missing = ["make", "gcc", "flex", "bison", "bc", "xz"]
        .into_iter()
        .find(|tool| !directories().iter().any(|directory| directory.join(tool).exists()));
    let missing = match (found.last(), missing) {
        (Some(_), None) => return found.pop(),
        (None, _) => "linux-source",
        (_, Some(tool)) => tool,
    };
    assert!(!is_ci(), "{missing} is needed in CI");
    println!("SKIP: {missing} is not installed");
    None
}

pub(super) fn directories() -> Vec<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect()
}

pub(super) fn settings(arch: Arch, names: &[&str], cache: &Path) -> BuildSettings {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let fragments = read_fragments(&names, Path::new(""), arch).expect("they are there");
    BuildSettings {
        jobs: std::thread::available_parallelism().map_or(1, Into::into),
        program_directories: directories(),
        ..BuildSettings::new(arch, fragments, cache)
    }
}

/// Kept below `target/`.
pub(super) fn kept() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels")
}

/// Everything that an x86_64 machine can be asked to have.
const ALL: &[&str] =
    &["container-host", "cloud-hypervisor", "firecracker", "efi", "debug", "modules", "watchdog"];

#[test]
fn nothing_is_dropped_by_a_real_kernel_without_a_reason() {
    let Some(tarball) = tarball() else { return };
    let cache = tempfile::tempdir().expect("a directory");
    // Unpacked once, as far as configurations need it.
    let unpacked = cache.path().join("source");
    fs::create_dir(&unpacked).expect("made");
    let status = Command::new("tar")
        .arg("-xf")
        .arg(&tarball)
        .arg("-C")
        .arg(&unpacked)
        .args(["--strip-components=1", "--wildcards"])
        .args(["*/Kconfig*", "*/Makefile*", "*/scripts/*", "*.sh", "*/configs/*", "*.include", "*/Kbuild*"])
        .status();
    assert!(status.expect("tar").success());
    let mut cases: Vec<(Arch, &[&str])> = vec![
        (Arch::X86_64, ALL),
        (Arch::Aarch64, &["qemu", "vsock", "virtiofs"]),
        (Arch::Riscv64, &["qemu", "vsock", "virtiofs"]),
    ];
    if is_set("LEANFS_TEST_FULL") {
        for arch in Arch::ALL {
            for machine in ["qemu", "microvm", "firecracker", "cloud-hypervisor", "container-host"] {
                cases.push((arch, Vec::leak(vec![machine])));
                cases.push((arch, Vec::leak(vec![machine, "tiny"])));
            }
            cases.push((arch, Vec::leak(vec!["pci", "debug", "modules", "watchdog", "security"])));
        }
    }
    for (arch, names) in cases {
        let settings = settings(arch, names, cache.path());
        let made = configure(&unpacked, &settings, &Silent).expect("configured");
        let dropped: Vec<String> = made.dropped.iter().map(ToString::to_string).collect();
        assert!(dropped.is_empty(), "{arch} {names:?}: {dropped:#?}");
        assert!(made.text.contains("CONFIG_EPOLL=y\n"), "it is a configuration");
    }
    reasons(&unpacked);
}

/// Why a real kernel drops what it can't have.
fn reasons(source: &Path) {
    let directory = tempfile::tempdir().expect("a directory");
    let fragment =
        "CONFIG_VIRTIO_BLK=y\nCONFIG_NO_SUCH_THING=y\n# CONFIG_CRC32 is not set\nCONFIG_LOG_BUF_SHIFT=99\n";
    fs::write(directory.path().join("own.config"), fragment).expect("written");
    let output = Command::new(LEANFS)
        .args([
            "kernel",
            "config",
            "--arch",
            "x86_64",
            "--config",
            "microvm,own.config",
            "--cache-dir",
            "cache",
        ])
        .arg("--source")
        .arg(source)
        .current_dir(directory.path())
        .output()
        .expect("started");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "VIRTIO_BLK=y (own.config:1) became n: it needs BLK_DEV (which is n)",
        "NO_SUCH_THING=y (own.config:2) became n: this kernel has no such symbol",
        "CRC32=n (own.config:3) became y: ",
        "LOG_BUF_SHIFT=99 (own.config:4) became ",
    ] {
        assert!(said.contains(part), "{part}\nin\n{said}");
    }
}

/// A kernel that was built before, or is built now if that may take its time.
fn kernel(names: &[&str], is_for_ci: bool, tarball: &Path) -> Option<BuiltKernel> {
    let settings = settings(Arch::X86_64, names, &kept());
    let wanted = is_set("LEANFS_TEST_FULL") || is_for_ci && is_ci();
    let is_there = kept().join("kernels/built").is_dir();
    if !wanted && !is_there {
        println!("SKIP: builds a kernel, which takes minutes (LEANFS_TEST_FULL=1 runs it)");
        return None;
    }
    if !wanted {
        // Only looks: no program is there to build it with.
        let found = leanfs::kernel::build::cached(tarball, &settings).expect("looked for");
        if found.is_none() {
            println!("SKIP: builds a kernel, which takes minutes (LEANFS_TEST_FULL=1 runs it)");
        }
        return found;
    }
    Some(build(tarball, None, &settings, &Silent).expect("built"))
}

/// Assembles `hello` with a kernel and boots it; gives the size of its initramfs or root.
fn boots(kernel: &BuiltKernel, flags: &[&str], machine: &str) -> Option<u64> {
    if !Path::new(SHARED).is_dir() {
        println!("SKIP: ../shared is absent");
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out");
    let shared = |name: &str| format!("{SHARED}/{name}");
    let output = Command::new(LEANFS)
        .args(["assemble", "--release", &shared("releases/hello-otp27-noerts.tar.gz"), "--arch", "x86_64"])
        .args([
            "--repository",
            &shared("mirror/v3.23/main"),
            "--repository",
            &shared("mirror/v3.23/community"),
        ])
        .args(["--key", &shared("mirror/keys/test-mirror.rsa.pub"), "--offline", "--kernel"])
        .arg(&kernel.image)
        .arg("--cache-dir")
        .arg(directory.path().join("cache"))
        .arg("-o")
        .arg(&out)
        .args(flags)
        .current_dir(directory.path())
        .output()
        .expect("started");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = Command::new(LEANFS)
        .args(["verify", "--expect", "hello from", "--timeout", "240", "--machine", machine])
        .arg(&out)
        .output()
        .expect("started");
    assert!(output.status.success(), "{machine} {flags:?}: {}{}", text(&output.stdout), text(&output.stderr));
    print!("{machine} {flags:?}: {}", text(&output.stdout));
    let size = |name: &str| fs::metadata(out.join(name)).ok().map(|found| found.len());
    size("initramfs.cpio.xz").or_else(|| size("rootfs.squashfs"))
}

#[test]
fn the_tiny_kernel_is_small_and_boots() {
    let Some(tarball) = tarball() else { return };
    let Some(kernel) = kernel(&["microvm", "tiny"], true, &tarball) else { return };
    let size = fs::metadata(&kernel.image).expect("there").len();
    assert!(size <= 1_600_000, "{size} bytes");
    println!("microvm,tiny: {size} bytes");
    let Some(initramfs) = boots(&kernel, &[], "microvm") else { return };
    assert!(size + initramfs <= 4_800_000, "{size} + {initramfs} bytes");
}

#[test]
fn the_kernel_for_qemu_boots_every_root() {
    let Some(tarball) = tarball() else { return };
    let Some(kernel) = kernel(&["qemu"], false, &tarball) else { return };
    let size = fs::metadata(&kernel.image).expect("there").len();
    assert!(size <= 2_400_000, "{size} bytes");
    println!("qemu: {size} bytes");
    for flags in [&[][..], &["--compress", "zstd"], &["--squashfs"], &["--erofs"], &["--ext4"]] {
        boots(&kernel, flags, "pc");
    }
}

#[test]
fn builds_in_other_directories_are_the_same() {
    let Some(tarball) = tarball() else { return };
    if !is_set("LEANFS_TEST_FULL") {
        println!("SKIP: builds a kernel twice, which takes minutes (LEANFS_TEST_FULL=1 runs it)");
        return;
    }
    let Some(first) = kernel(&["microvm", "tiny"], true, &tarball) else { return };
    let cache = tempfile::tempdir().expect("a directory");
    let elsewhere = cache.path().join("another/and/longer/path");
    let mut settings = settings(Arch::X86_64, &["microvm", "tiny"], &elsewhere);
    settings.jobs = 3;
    let second = build(&tarball, None, &settings, &Silent).expect("built");
    assert!(!second.from_cache);
    for name in ["bzImage", "vmlinux", "System.map", "config"] {
        let read = |built: &BuiltKernel| fs::read(built.directory.join(name)).expect("there");
        assert!(read(&first) == read(&second), "{name} differs");
    }
}
