//! What the tasks need of the machine: Debian packages, installed when they are missing.
//!
//! Root installs them; for anyone else the line to run is printed. What is there already costs one look.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// Debian packages, with the programs or files that show that they are there (any other way of having them is as
/// good), and what they are for.
const PACKAGES: &[(&str, &[&str])] = &[
    // Boots images.
    ("qemu-system-x86", &["/usr/bin/qemu-system-x86_64"]),
    // Reads the qcow2 image that the mirror is made of; debugfs reads the ext4 system in it.
    ("qemu-utils", &["/usr/bin/qemu-img"]),
    ("e2fsprogs", &["/usr/sbin/debugfs", "/sbin/debugfs"]),
    // The test key of the mirror.
    ("openssl", &["/usr/bin/openssl"]),
    // Unpacks .deb files.
    ("dpkg", &["/usr/bin/dpkg-deb"]),
    // Independent readers of what leanfs writes.
    ("cpio", &["/usr/bin/cpio", "/bin/cpio"]),
    ("xz-utils", &["/usr/bin/xz"]),
    ("zstd", &["/usr/bin/zstd"]),
    ("lz4", &["/usr/bin/lz4"]),
    ("binutils", &["/usr/bin/readelf"]),
    // Compiles libFuzzer.
    ("g++", &["/usr/bin/g++", "/usr/bin/c++"]),
    ("strace", &["/usr/bin/strace"]),
    ("busybox-static", &["/bin/busybox", "/usr/bin/busybox"]),
    ("squashfs-tools", &["/usr/bin/unsquashfs"]),
    ("erofs-utils", &["/usr/bin/fsck.erofs"]),
    ("libarchive-tools", &["/usr/bin/bsdtar"]),
    ("attr", &["/usr/bin/setfattr"]),
    ("skopeo", &["/usr/bin/skopeo"]),
    ("umoci", &["/usr/bin/umoci"]),
    ("fdisk", &["/usr/sbin/sfdisk", "/sbin/sfdisk"]),
    ("dosfstools", &["/usr/sbin/fsck.fat", "/sbin/fsck.fat"]),
    ("mtools", &["/usr/bin/mdir"]),
    // Disks: the UEFI stub that goes into them, and the firmware that boots them.
    ("systemd-boot-efi", &["/usr/lib/systemd/boot/efi/linuxx64.efi.stub"]),
    ("ovmf", &["/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_CODE_4M.fd"]),
    // Make files that no compiler makes by itself, and hold libraries of other architectures, to be stripped.
    ("patchelf", &["/usr/bin/patchelf"]),
    ("binutils-aarch64-linux-gnu", &["/usr/bin/aarch64-linux-gnu-ld"]),
    ("binutils-powerpc-linux-gnu", &["/usr/bin/powerpc-linux-gnu-ld"]),
    ("libc6-arm64-cross", &["/usr/aarch64-linux-gnu/lib/libc.so.6"]),
    ("libc6-armhf-cross", &["/usr/arm-linux-gnueabihf/lib/libc.so.6"]),
    ("libc6-i386-cross", &["/usr/i686-linux-gnu/lib/libc.so.6"]),
    ("libc6-powerpc-cross", &["/usr/powerpc-linux-gnu/lib/libc.so.6"]),
    ("libc6-riscv64-cross", &["/usr/riscv64-linux-gnu/lib/libc.so.6"]),
    ("libc6-s390x-cross", &["/usr/s390x-linux-gnu/lib/libc.so.6"]),
    // The source of a kernel, and what builds it.
    ("linux-source", &[]),
    ("gcc", &["/usr/bin/gcc"]),
    ("make", &["/usr/bin/make"]),
    ("flex", &["/usr/bin/flex"]),
    ("bison", &["/usr/bin/bison"]),
    ("bc", &["/usr/bin/bc"]),
    ("libelf-dev", &["/usr/include/gelf.h"]),
    // Opens the page of `leanfs analyze --html`.
    ("chromium", &["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]),
    // Builds the sample releases; their versions decide what the mirror offers.
    ("erlang-base", &["/usr/lib/erlang/bin/erl"]),
    ("erlang-crypto", &[]),
    ("erlang-ssl", &[]),
    ("erlang-mnesia", &[]),
    ("erlang-jiffy", &[]),
    ("erlang-p1-xml", &[]),
    ("erlang-p1-yaml", &[]),
    ("erlang-p1-stringprep", &[]),
    ("erlang-p1-sqlite3", &[]),
    ("elixir", &["/usr/lib/elixir/bin/elixir"]),
    ("rebar3", &["/usr/bin/rebar3"]),
];

/// Installs what is missing.
pub(crate) fn run() -> Result<()> {
    let mut missing: Vec<&str> =
        PACKAGES.iter().filter(|(name, shown_by)| !present(name, shown_by)).map(|(name, _)| *name).collect();
    if !run::on_path("pip") && !run::on_path("pip3") {
        missing.push("python3-pip");
    }
    if missing.is_empty() {
        return Ok(());
    }
    run::heading(&format!("set-up: {} missing", missing.join(", ")));
    let line = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if !run::on_path("apt-get") {
        bail!("these Debian packages, or what they hold, are missing: {}", missing.join(" "));
    }
    if !is_root()? {
        bail!("Debian packages are missing. As root, run:\n\n    apt-get update && {line}\n");
    }
    let install = || {
        let mut command = Command::new("apt-get");
        command.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(&missing);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        run::run(&mut command)
    };
    // The lists of a new machine are empty or old: they are fetched when the machine can't do without.
    if install().is_err() {
        update()?;
        install().with_context(|| format!("`{line}` failed"))?;
    }
    Ok(())
}

/// Fetches the package lists.
pub(crate) fn update() -> Result<()> {
    run::run(Command::new("apt-get").args(["update", "--quiet"]))
}

fn present(name: &str, shown_by: &[&str]) -> bool {
    if shown_by.iter().any(|file| std::path::Path::new(file).exists()) {
        return true;
    }
    // dpkg keeps the list of files of each installed package under its name, with the architecture for some.
    ["", ":amd64", ":arm64"]
        .iter()
        .any(|suffix| std::path::Path::new(&format!("/var/lib/dpkg/info/{name}{suffix}.list")).exists())
}

/// Whether this process may install packages.
pub(crate) fn is_root() -> Result<bool> {
    Ok(run::output(Command::new("id").arg("-u"))?.trim() == "0")
}
