//! The kernel room on a real kernel package: `linux-virt` of ../shared/mirror.

use std::path::Path;

use leanfs::arch::Arch;
use leanfs::archive::{self, TarLimits, TarOptions};
use leanfs::kernel::{self, KernelError, KernelFormat};
use leanfs::tree::{Origin, SpoolWriter, Tree};

const MIRROR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/mirror/v3.23/main/x86_64");

/// Only what is wanted of the package; none when the mirror is absent, which has been said then.
fn linux_virt() -> Option<Tree> {
    if !Path::new(MIRROR).is_dir() {
        println!("SKIP: ../shared is absent");
        return None;
    }
    let file = fs_err::read_dir(MIRROR)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("linux-virt-")))
        .expect("the mirror has it");
    let mut spool = SpoolWriter::new_in(&std::env::temp_dir()).expect("a spool");
    let mut options = TarOptions {
        limits: TarLimits::default(),
        keep: &|path| kernel::is_wanted(path),
        sha1: false,
        xattrs: &|_| false,
        inspect: &mut |_| Ok(()),
    };
    let tar = archive::open(&file).expect("an .apk");
    let entries = archive::read_tar(tar, &mut spool, &mut options).expect("a package");
    Some(entries.into_tree(&spool.finish().expect("room"), &Origin::skeleton()))
}

#[test]
fn linux_virt_gives_its_kernel_and_virtio() {
    let Some(tree) = linux_virt() else { return };
    let kernel = kernel::from_package(&tree, Arch::X86_64, &["ext4"]).expect("a kernel package");
    assert_eq!(kernel.format, KernelFormat::BzImage);
    let release = kernel.release.expect("a package's kernel has one");
    assert!(release.ends_with("-virt"), "{release}");
    assert!(kernel.absent.is_empty(), "{:?}", kernel.absent);
    let names: Vec<String> =
        kernel.modules.iter().map(|(path, _)| kernel::module_name(&path.to_string())).collect();
    let position = |name: &str| {
        names.iter().position(|other| other == name).unwrap_or_else(|| panic!("{name}: {names:?}"))
    };
    for (first, then) in [
        ("failover", "net_failover"),
        ("net_failover", "virtio_net"),
        ("rng_core", "virtio_rng"),
        ("jbd2", "ext4"),
        ("mbcache", "ext4"),
    ] {
        assert!(position(first) < position(then), "{names:?}");
    }
    for (path, content) in &kernel.modules {
        assert!(path.to_string().starts_with(&format!("/lib/modules/{release}/kernel/")), "{path}");
        assert!(path.to_string().ends_with(".ko"), "{path}");
        assert!(content.read_head(4).expect("memory") == b"\x7fELF", "{path}");
    }
}

#[test]
fn what_linux_virt_does_not_have_is_an_error() {
    let Some(tree) = linux_virt() else { return };
    let error = kernel::from_package(&tree, Arch::X86_64, &["virtio_nte"]).expect_err("no such module");
    assert!(matches!(error, KernelError::UnknownModule { .. }), "{error}");
    let error = kernel::from_package(&tree, Arch::Riscv64, &[]).expect_err("another architecture");
    assert!(matches!(error, KernelError::WrongArch { .. }), "{error}");
}
