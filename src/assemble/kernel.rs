//! The kernel beside the image, and its modules inside.

use std::collections::BTreeSet;

use super::packages::{Packages, package_info};
use super::{AssembleError, Assembly};
use crate::arch::Arch;
use crate::image::compress::DecompressorFeatures;
use crate::kernel;
use crate::lock::FileRole;
use crate::recipe::{Compression, ImageFormat, ImageSpec, KernelSource};
use crate::report::manifest::PackageInfo;
use crate::tree::{Content, LayerKind, Metadata, Node, Origin, Tree, TreePath};

/// A kernel's configuration has about 150 kB.
const MOST_CONFIG_BYTES: u64 = 16 << 20;

/// The kernel as the image needs it.
pub(super) struct ImageKernel {
    /// The file.
    pub(super) image: Content,
    /// `linux-virt-6.18.56-r0`, or the file's name.
    pub(super) name: String,
    /// The package that it comes from, if it does.
    pub(super) package: Option<PackageInfo>,
    /// What it can unpack.
    pub(super) decompressor: DecompressorFeatures,
    /// Its modules, in load order.
    modules: Vec<(TreePath, Content)>,
    /// The modules that mount a root file system, in load order; empty where they are built in.
    pub(super) root_modules: Vec<(TreePath, Content)>,
    /// Its configuration, where that is known.
    config: Option<String>,
}

impl ImageKernel {
    /// Puts the modules into the tree; gives their paths in load order.
    pub(super) fn lay(&self, tree: &mut Tree, mtime: i64) -> Vec<TreePath> {
        let origin = Origin::new(LayerKind::Kernel, self.name.as_str());
        for (path, content) in &self.modules {
            let metadata = Metadata { mtime, ..Metadata::FILE };
            tree.insert_with_parents(path.clone(), Node::file(content.clone(), metadata, origin.clone()));
        }
        self.modules.iter().map(|(path, _)| path.clone()).collect()
    }

    /// Whether it can unpack an initramfs that is compressed so, as far as its configuration is known.
    pub(super) fn check_compression(&self, compression: Compression) -> Result<(), AssembleError> {
        self.check_option(compression.kernel_option())
    }

    /// Whether it can read such a root file system, as far as its configuration is known.
    pub(super) fn check_root(
        &self,
        format: ImageFormat,
        compression: Compression,
    ) -> Result<(), AssembleError> {
        self.check_option(root_option(format, compression))
    }

    fn check_option(&self, option: Option<&'static str>) -> Result<(), AssembleError> {
        match (&self.config, option) {
            (Some(config), Some(option)) if !has_option(config, option) => {
                Err(AssembleError::KernelLacks { option })
            }
            _ => Ok(()),
        }
    }
}

/// The option that a kernel needs to read such a root file system, if it needs more than the file system itself.
fn root_option(format: ImageFormat, compression: Compression) -> Option<&'static str> {
    match (format, compression) {
        (ImageFormat::Squashfs, Compression::Xz { .. }) => Some("CONFIG_SQUASHFS_XZ"),
        (ImageFormat::Squashfs, Compression::Zstd { .. }) => Some("CONFIG_SQUASHFS_ZSTD"),
        (ImageFormat::Squashfs, Compression::Lz4) => Some("CONFIG_SQUASHFS_LZ4"),
        (ImageFormat::Squashfs, Compression::Gzip { .. } | Compression::None) => Some("CONFIG_SQUASHFS_ZLIB"),
        (ImageFormat::Erofs, Compression::Lz4) => Some("CONFIG_EROFS_FS_ZIP"),
        (ImageFormat::Erofs, Compression::Zstd { .. }) => Some("CONFIG_EROFS_FS_ZIP_ZSTD"),
        _ => None,
    }
}

/// Finds the kernel that the recipe asks for.
pub(super) fn select(
    assembly: &Assembly<'_>,
    packages: &Packages<'_>,
) -> Result<Option<ImageKernel>, AssembleError> {
    let arch = assembly.recipe.arch;
    match &assembly.recipe.kernel {
        KernelSource::None => Ok(None),
        KernelSource::File(given) => {
            let path = &assembly
                .locked_file(FileRole::Kernel, &given.to_string_lossy())?
                .unwrap_or_else(|| given.clone());
            let size = fs_err::metadata(path)
                .map_err(|source| kernel::KernelError::Read { name: path.display().to_string(), source })?
                .len();
            let kernel =
                kernel::from_file(Content::from_path(path.clone(), size), &path.display().to_string(), arch)?;
            Ok(Some(ImageKernel {
                image: kernel.image,
                package: None,
                name: given.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                decompressor: DecompressorFeatures::default(),
                modules: kernel.modules,
                root_modules: Vec::new(),
                config: None,
            }))
        }
        KernelSource::Package(name) => {
            let Some((source, entry)) = packages.named(name)? else {
                return Err(AssembleError::NoKernelPackage {
                    name: name.clone(),
                    repositories: packages.repositories(),
                });
            };
            let is_config = |path: &TreePath| path.as_bytes().starts_with(b"boot/config-");
            let apk = packages
                .fetch_one((source, entry), "kernel", &|path| kernel::is_wanted(path) || is_config(path))?;
            let recipe = assembly.recipe;
            let data: &[&str] = if recipe.data.is_some() { &["virtio_blk", "ext4"] } else { &[] };
            let kernel = kernel::from_package(apk.tree(), arch, data)?;
            let roots = root_kinds(&recipe.images);
            let root_modules =
                if roots.is_empty() { Vec::new() } else { kernel::root_modules(apk.tree(), arch, &roots)? };
            let config = apk
                .tree()
                .iter()
                .find(|(path, _)| is_config(path))
                .and_then(|(path, _)| apk.tree().file(path))
                .and_then(|(_, content)| content.read(MOST_CONFIG_BYTES).ok())
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let decompressor = config.as_deref().map(|config| features(config, arch)).unwrap_or_default();
            let index = &packages.sources()?[source].index;
            Ok(Some(ImageKernel {
                image: kernel.image,
                name: entry.full_name(),
                package: Some(package_info(
                    &apk,
                    index.repository().to_string(),
                    packages.distribution(index),
                )),
                decompressor,
                modules: kernel.modules,
                root_modules,
                config,
            }))
        }
    }
}

/// The file systems that are somebody's root, each once.
fn root_kinds(images: &[ImageSpec]) -> Vec<&'static str> {
    let roots: BTreeSet<ImageFormat> =
        images.iter().map(ImageSpec::root_format).filter(|format| format.is_file_system()).collect();
    roots.into_iter().map(ImageFormat::name).collect()
}

fn has_option(config: &str, option: &str) -> bool {
    config.lines().any(|line| line.strip_prefix(option).is_some_and(|rest| rest == "=y"))
}

fn features(config: &str, arch: Arch) -> DecompressorFeatures {
    let option = match arch {
        Arch::X86_64 => "CONFIG_XZ_DEC_X86",
        Arch::Aarch64 => "CONFIG_XZ_DEC_ARM64",
        Arch::Riscv64 => "CONFIG_XZ_DEC_RISCV",
    };
    DecompressorFeatures { xz_bcj: has_option(config, option).then_some(arch) }
}
