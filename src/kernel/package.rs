//! A kernel package: `/boot/vmlinuz-FLAVOUR`, and `/lib/modules/RELEASE` with the modules and their lists.

use std::io::{self, Read};

use super::modules::ModuleIndex;
use super::{Kernel, KernelError, KernelFormat, from_file};
use crate::arch::Arch;
use crate::archive;
use crate::tree::{Content, NodeKind, Tree, TreePath};

/// Modules that an image gets when its kernel has them as modules: virtio's transports, network and random
/// numbers, which is what `launch` gives a guest.
pub const DEFAULT_MODULES: [&str; 4] = ["virtio_pci", "virtio_mmio", "virtio_net", "virtio_rng"];

/// The longest list of modules that is read: `linux-lts` has 700 kB.
const MOST_LIST_BYTES: u64 = 16 << 20;
/// The largest module, compressed or not: the largest of `linux-lts`, a graphics driver, has 30 MB.
const MOST_MODULE_BYTES: u64 = 128 << 20;

/// Whether [`from_package`] may read the file at this path of a package: everything else can be passed over
/// when the package is unpacked.
pub fn is_wanted(path: &TreePath) -> bool {
    let bytes = path.as_bytes();
    let name = path.file_name().unwrap_or_default();
    bytes.starts_with(b"boot/vmlinuz")
        || [b"lib/modules/".as_slice(), b"usr/lib/modules/"]
            .iter()
            .any(|directory| bytes.starts_with(directory))
            && (name.windows(3).any(|part| part == b".ko")
                || [b"modules.dep".as_slice(), b"modules.builtin", b"modules.softdep"].contains(&name))
}

/// Takes the kernel out of an unpacked kernel package, and those of [`DEFAULT_MODULES`] that it has, and
/// `wanted`, with everything that they need.
///
/// # Errors
/// When the package isn't laid out like a kernel package, its kernel or its modules are for another
/// architecture or release, or a module of `wanted` is neither there nor built in.
pub fn from_package(tree: &Tree, arch: Arch, wanted: &[&str]) -> Result<Kernel, KernelError> {
    let (image_path, image) = find_image(tree)?;
    let (directory, release) = find_modules(tree)?;
    let mut kernel = from_file(image, &image_path.to_string(), arch)?;
    match kernel.release {
        Some(found) if found != release => {
            return Err(KernelError::ReleaseDiffers { image: image_path, expected: release, found });
        }
        _ => kernel.release = Some(release),
    }

    let index = read_index(tree, &directory)?;
    let (present, absent): (Vec<&'static str>, Vec<_>) =
        DEFAULT_MODULES.into_iter().partition(|name| index.contains(name));
    let names: Vec<&str> = present.into_iter().chain(wanted.iter().copied()).collect();
    kernel.modules = load(tree, arch, &directory, &index, &names)?;
    kernel.absent = absent;
    Ok(kernel)
}

/// The modules that a boot initramfs needs to mount a root file system of one of these `kinds` (`ext4`, `squashfs`,
/// `erofs`) from a virtio disk, uncompressed, in load order, each with its place in the image.
///
/// # Errors
/// As [`from_package`]; [`KernelError::UnknownModule`] when the kernel knows no such file system or disk.
pub fn root_modules(
    tree: &Tree,
    arch: Arch,
    kinds: &[&str],
) -> Result<Vec<(TreePath, Content)>, KernelError> {
    /// The ways to a virtio disk, of which a kernel needs only one.
    const TRANSPORTS: [&str; 2] = ["virtio_pci", "virtio_mmio"];
    let (directory, _) = find_modules(tree)?;
    let index = read_index(tree, &directory)?;
    let names: Vec<&str> = TRANSPORTS
        .into_iter()
        .filter(|name| index.contains(name))
        .chain(["virtio_blk"])
        .chain(kinds.iter().copied())
        .collect();
    load(tree, arch, &directory, &index, &names)
}

fn read_index(tree: &Tree, directory: &TreePath) -> Result<ModuleIndex, KernelError> {
    let list = |name: &str| -> Result<String, KernelError> {
        let Some(content) = below(directory, name).and_then(|path| file(tree, &path)) else {
            return Ok(String::new());
        };
        let read = content.read(MOST_LIST_BYTES).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        });
        read.map_err(KernelError::read(format_args!("{directory}/{name}")))
    };
    ModuleIndex::parse(&list("modules.dep")?, &list("modules.builtin")?, &list("modules.softdep")?)
}

fn load(
    tree: &Tree,
    arch: Arch,
    directory: &TreePath,
    index: &ModuleIndex,
    names: &[&str],
) -> Result<Vec<(TreePath, Content)>, KernelError> {
    let mut modules = Vec::new();
    for path in index.select(names)? {
        let path = below(directory, &path).ok_or(KernelError::BadIndex {
            list: "modules.dep",
            line: 0,
            expected: "a path that a file can have",
            found: path,
        })?;
        modules.push(module(tree, path, arch)?);
    }
    Ok(modules)
}

/// The regular file at a path. The directories above it need not be there, as where only what [`is_wanted`] was
/// unpacked.
fn file<'a>(tree: &'a Tree, path: &TreePath) -> Option<&'a Content> {
    let mut kind = &tree.get(path)?.kind;
    if let NodeKind::Hardlink(target) = kind {
        kind = &tree.get(target)?.kind;
    }
    match kind {
        NodeKind::File(content) => Some(content),
        _ => None,
    }
}

fn below(directory: &TreePath, name: &str) -> Option<TreePath> {
    directory.join(name).ok()
}

fn find_image(tree: &Tree) -> Result<(TreePath, Content), KernelError> {
    let mut found: Option<(TreePath, Content)> = None;
    for (path, node) in tree.iter() {
        if path.as_bytes().starts_with(b"boot/vmlinuz")
            && let NodeKind::File(content) = &node.kind
        {
            if let Some((first, _)) = found {
                return Err(KernelError::SeveralImages { first, second: path.clone() });
            }
            found = Some((path.clone(), content.clone()));
        }
    }
    found.ok_or(KernelError::NoImage)
}

/// The directory of the modules, and the release that it is named after.
fn find_modules(tree: &Tree) -> Result<(TreePath, String), KernelError> {
    let mut found: Option<(TreePath, String)> = None;
    for (path, _) in tree.iter() {
        let components: Vec<&[u8]> = path.components().collect();
        let ([b"lib", b"modules", release, b"modules.dep"]
        | [b"usr", b"lib", b"modules", release, b"modules.dep"]) = components[..]
        else {
            continue;
        };
        let (Some(directory), Ok(release), Some(_)) =
            (path.parent(), std::str::from_utf8(release), file(tree, path))
        else {
            continue;
        };
        if let Some((_, first)) = found {
            return Err(KernelError::SeveralReleases { first, second: release.to_owned() });
        }
        found = Some((directory, release.to_owned()));
    }
    found.ok_or(KernelError::NoModuleIndex)
}

/// A module's place in the image and its uncompressed bytes.
fn module(tree: &Tree, path: TreePath, arch: Arch) -> Result<(TreePath, Content), KernelError> {
    let Some(content) = file(tree, &path) else { return Err(KernelError::MissingModule { path }) };
    let text = path.as_bytes();
    let name = [b".gz".as_slice(), b".xz", b".zst"].iter().find_map(|suffix| text.strip_suffix(*suffix));
    let bytes = uncompressed(content).map_err(KernelError::read(&path))?;
    if super::format::elf_arch(&bytes) != Some(arch) {
        let found = match KernelFormat::parse(&bytes) {
            Some(KernelFormat::Elf(other)) => format!("it is one for {other}"),
            _ => format!("it begins with {}", super::format::first_bytes(&bytes)),
        };
        return Err(KernelError::NotAModule { path, arch, found });
    }
    let path = TreePath::parse(name.unwrap_or(text)).map_err(|_| KernelError::BadIndex {
        list: "modules.dep",
        line: 0,
        expected: "the path of a module",
        found: path.to_string(),
    })?;
    Ok((path, Content::from_bytes(bytes)))
}

/// What a module holds, compressed or not.
pub(super) fn uncompressed(content: &Content) -> io::Result<Vec<u8>> {
    let reader = archive::decompress(io::BufReader::new(content.reader()?))?;
    let mut bytes = Vec::new();
    reader.take(MOST_MODULE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_MODULE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {MOST_MODULE_BYTES} bytes when it is unpacked"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::tree::{Metadata, Node, Origin};

    const RELEASE: &str = "6.18.1-0-virt";

    fn path(text: &str) -> TreePath {
        text.parse().expect("a path")
    }

    fn add(tree: &mut Tree, name: &str, bytes: impl Into<Vec<u8>>) {
        let node = Node::file(Content::from_bytes(bytes.into()), Metadata::FILE, Origin::skeleton());
        tree.insert_with_parents(path(name), node);
    }

    fn image(release: &str) -> Vec<u8> {
        let mut bytes = vec![0; 0x400];
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        bytes[0x300..0x300 + release.len()].copy_from_slice(release.as_bytes());
        bytes
    }

    fn elf(machine: u8, name: &str) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1];
        bytes.resize(64, 0);
        bytes[18] = machine;
        bytes.extend_from_slice(name.as_bytes());
        bytes
    }

    fn package() -> Tree {
        let mut tree = Tree::new();
        add(&mut tree, "boot/vmlinuz-virt", image(RELEASE));
        let dep = "kernel/net.ko.gz: kernel/core.ko.xz\nkernel/core.ko.xz:\nkernel/virtio_net.ko.zst: kernel/net.ko.gz\n\
                   kernel/plain.ko:\n";
        add(&mut tree, "lib/modules/6.18.1-0-virt/modules.dep", dep);
        add(&mut tree, "lib/modules/6.18.1-0-virt/modules.builtin", "kernel/virtio_pci.ko\n");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&elf(62, "net")).expect("memory");
        add(&mut tree, "lib/modules/6.18.1-0-virt/kernel/net.ko.gz", gzip.finish().expect("memory"));
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
        xz.write_all(&elf(62, "core")).expect("memory");
        add(&mut tree, "lib/modules/6.18.1-0-virt/kernel/core.ko.xz", xz.finish().expect("memory"));
        let zst = zstd::encode_all(elf(62, "virtio").as_slice(), 1).expect("memory");
        add(&mut tree, "lib/modules/6.18.1-0-virt/kernel/virtio_net.ko.zst", zst);
        add(&mut tree, "lib/modules/6.18.1-0-virt/kernel/plain.ko", elf(62, "plain"));
        tree
    }

    #[test]
    fn modules_come_uncompressed_and_in_load_order() {
        let kernel = from_package(&package(), Arch::X86_64, &["plain"]).expect("a kernel package");
        assert_eq!(kernel.release.as_deref(), Some(RELEASE));
        assert_eq!(kernel.format, KernelFormat::BzImage);
        assert_eq!(kernel.absent, ["virtio_mmio", "virtio_rng"]);
        let modules: Vec<(String, Vec<u8>)> = kernel
            .modules
            .iter()
            .map(|(path, content)| (path.to_string(), content.read(1000).expect("memory")))
            .collect();
        let at = |name: &str| format!("/lib/modules/{RELEASE}/kernel/{name}.ko");
        assert_eq!(
            modules,
            [
                (at("core"), elf(62, "core")),
                (at("net"), elf(62, "net")),
                (at("virtio_net"), elf(62, "virtio")),
                (at("plain"), elf(62, "plain")),
            ]
        );
    }

    #[test]
    fn what_is_wanted_of_the_package_is_enough() {
        let mut part = package();
        let all: Vec<TreePath> = part.iter().map(|(path, _)| path.clone()).collect();
        for path in all.iter().filter(|path| !is_wanted(path)) {
            part.remove(path);
        }
        let kernel = from_package(&part, Arch::X86_64, &["plain"]).expect("enough of a kernel package");
        assert_eq!(kernel.modules.len(), 4);
        for (path, _) in package().iter().filter(|(_, node)| matches!(node.kind, NodeKind::File(_))) {
            assert!(is_wanted(path), "{path}");
        }
        for other in ["boot/System.map-6", "lib/modules/6/modules.alias", "lib/modules/6/vmlinuz"] {
            assert!(!is_wanted(&path(other)), "{other}");
        }
    }

    #[test]
    fn a_package_that_does_not_fit_is_refused() {
        type Change = fn(&mut Tree);
        let cases: [(Change, &str); 8] = [
            (
                |tree| drop(tree.remove(&path("boot/vmlinuz-virt"))),
                "there is no /boot/vmlinuz* in the kernel package",
            ),
            (
                |tree| add(tree, "boot/vmlinuz-lts", image(RELEASE)),
                "the kernel package has more than one kernel: /boot/vmlinuz-lts and /boot/vmlinuz-virt",
            ),
            (
                |tree| add(tree, "boot/vmlinuz-virt", image("6.18.2")),
                "the kernel /boot/vmlinuz-virt says that it is \"6.18.2\", and the modules beside it are for \
                 \"6.18.1-0-virt\"",
            ),
            (
                |tree| drop(tree.remove(&path("lib/modules/6.18.1-0-virt/modules.dep"))),
                "there is no /lib/modules/RELEASE/modules.dep in the kernel package",
            ),
            (
                |tree| add(tree, "lib/modules/7/modules.dep", ""),
                "the kernel package has modules for more than one kernel: 6.18.1-0-virt and 7",
            ),
            (
                |tree| drop(tree.remove(&path("lib/modules/6.18.1-0-virt/kernel/core.ko.xz"))),
                "/lib/modules/6.18.1-0-virt/kernel/core.ko.xz, which modules.dep lists, is not in the kernel package",
            ),
            (
                |tree| add(tree, "lib/modules/6.18.1-0-virt/kernel/core.ko.xz", b"\xfd7zXZ\0cut"),
                "/lib/modules/6.18.1-0-virt/kernel/core.ko.xz can't be read",
            ),
            (
                |tree| add(tree, "lib/modules/6.18.1-0-virt/kernel/plain.ko", elf(183, "arm")),
                "/lib/modules/6.18.1-0-virt/kernel/plain.ko is no kernel module for x86_64: it is one for aarch64",
            ),
        ];
        for (change, expected) in cases {
            let mut tree = package();
            change(&mut tree);
            let error = from_package(&tree, Arch::X86_64, &["plain"]).expect_err(expected);
            assert_eq!(error.to_string(), expected);
        }
    }
}
