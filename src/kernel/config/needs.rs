//! What an image needs of its kernel, and the fragments that give it.

use crate::recipe::{Compression, ImageFormat};

/// What an image needs of its kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// How its initramfs is compressed: the image itself, or the way to its root.
    pub initramfs: Vec<Compression>,
    /// Its root file systems.
    pub roots: Vec<ImageFormat>,
    /// Whether it is a disk with partitions, started by firmware.
    pub disk: bool,
    /// Whether data is kept on a disk of its own.
    pub data: bool,
    /// Whether Firecracker is to start it.
    pub firecracker: bool,
}

/// The fragments, by name, for machines of QEMU (or Firecracker) with an IPv4 and IPv6 network.
pub fn fragments_for(needs: &Needs) -> Vec<&'static str> {
    let mut names = Vec::new();
    let mut add = |name| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    for name in ["pci", "mmio", "smp", "net", "ipv6", "clock"] {
        add(name);
    }
    for compression in &needs.initramfs {
        match compression {
            Compression::None => {}
            Compression::Gzip { .. } => add("initramfs-gzip"),
            Compression::Xz { .. } => add("initramfs-xz"),
            Compression::Zstd { .. } => add("initramfs-zstd"),
            Compression::Lz4 => add("initramfs-lz4"),
        }
    }
    for root in &needs.roots {
        match root {
            ImageFormat::Ext4 => add("ext4"),
            ImageFormat::Squashfs => add("squashfs"),
            ImageFormat::Erofs => add("erofs"),
            _ => {}
        }
    }
    if needs.data {
        add("ext4");
    }
    if needs.disk {
        for name in ["partitions", "efi"] {
            add(name);
        }
    }
    if needs.firecracker {
        add("firecracker");
    }
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::expand;
    use super::*;
    use crate::arch::Arch;

    #[test]
    fn images_get_what_they_need_and_no_more() {
        let plain = Needs { initramfs: vec![Compression::Xz { level: None }], ..Needs::default() };
        let names = fragments_for(&plain);
        assert_eq!(names, ["pci", "mmio", "smp", "net", "ipv6", "clock", "initramfs-xz"]);
        let disk = Needs {
            roots: vec![ImageFormat::Erofs],
            disk: true,
            data: true,
            firecracker: true,
            ..Needs::default()
        };
        let names = fragments_for(&disk);
        for name in ["erofs", "ext4", "efi", "partitions", "firecracker"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(!names.contains(&"squashfs") && !names.contains(&"initramfs-xz"), "{names:?}");
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        expand(&names, &BTreeMap::new(), Arch::X86_64).expect("all of them are there");
    }
}
