//! The kernel beside the image, and its modules inside.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::packages::{Packages, package_info};
use super::{AssembleError, Assembly};
use crate::arch::Arch;
use crate::image::compress::DecompressorFeatures;
use crate::kernel;
use crate::kernel::build::{BuildSettings, BuiltKernel, Toolchain};
use crate::kernel::config::{DotConfig, Needs};
use crate::lock::FileRole;
use crate::recipe::{Compression, ImageFormat, ImageSpec, KernelBuild, KernelSource, Recipe};
use crate::report::manifest::PackageInfo;
use crate::report::{Event, Stage};
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
    config: Option<DotConfig>,
    /// Whether everything must be built in, because no modules come with it.
    is_whole: bool,
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
        if self.is_whole {
            self.check_option(file_system_option(format))?;
            self.check_option(Some("CONFIG_VIRTIO_BLK"))?;
        }
        self.check_option(root_option(format, compression))
    }

    /// Whether it can mount the file system for data, as far as its configuration is known.
    pub(super) fn check_data(&self) -> Result<(), AssembleError> {
        match self.is_whole {
            true => self.check_root(ImageFormat::Ext4, Compression::None),
            false => Ok(()),
        }
    }

    fn check_option(&self, option: Option<&'static str>) -> Result<(), AssembleError> {
        match (&self.config, option) {
            (Some(config), Some(option)) if !config.has(option.trim_start_matches("CONFIG_")) => {
                Err(AssembleError::KernelLacks { option })
            }
            _ => Ok(()),
        }
    }
}

/// The option of a file system itself.
fn file_system_option(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Ext4 => Some("CONFIG_EXT4_FS"),
        ImageFormat::Squashfs => Some("CONFIG_SQUASHFS"),
        ImageFormat::Erofs => Some("CONFIG_EROFS_FS"),
        _ => None,
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
    let kernel = source(assembly, packages)?;
    if let Some(ImageKernel { config: Some(config), is_whole: true, .. }) = &kernel
        && !config.has("VIRTIO_PCI")
        && config.has("VIRTIO_MMIO_CMDLINE_DEVICES")
    {
        let text =
            "the kernel has no PCI: QEMU's microvm (`--machine microvm`) and Firecracker start it, and no pc";
        assembly.notes.note(text.to_owned());
    }
    Ok(kernel)
}

fn source(assembly: &Assembly<'_>, packages: &Packages<'_>) -> Result<Option<ImageKernel>, AssembleError> {
    let arch = assembly.recipe.arch;
    match &assembly.recipe.kernel {
        KernelSource::None => Ok(None),
        KernelSource::File(given) => {
            let locked = assembly.locked_file(FileRole::Kernel, &given.to_string_lossy())?;
            let path = locked.as_ref().unwrap_or(given);
            let name = given.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Some(ImageKernel { name, ..whole(path, config_beside(given), arch)? }))
        }
        KernelSource::Build(build) => {
            let built = self::build(assembly, build)?;
            let mut kernel = whole(&built.image, Some(read_config(&built.config)?), arch)?;
            kernel.name = format!("linux-{}", built.release);
            Ok(Some(kernel))
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
                .map(|bytes| DotConfig::parse(&String::from_utf8_lossy(&bytes)));
            let decompressor = config.as_ref().map(|config| features(config, arch)).unwrap_or_default();
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
                is_whole: false,
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

fn features(config: &DotConfig, arch: Arch) -> DecompressorFeatures {
    let option = match arch {
        Arch::X86_64 => "XZ_DEC_X86",
        Arch::Aarch64 => "XZ_DEC_ARM64",
        Arch::Riscv64 => "XZ_DEC_RISCV",
    };
    DecompressorFeatures { xz_bcj: config.has(option).then_some(arch) }
}

/// A kernel without modules.
fn whole(path: &Path, config: Option<DotConfig>, arch: Arch) -> Result<ImageKernel, AssembleError> {
    let name = path.display().to_string();
    let size = fs_err::metadata(path)
        .map_err(|source| kernel::KernelError::Read { name: name.clone(), source })?
        .len();
    let kernel = kernel::from_file(Content::from_path(path.to_owned(), size), &name, arch)?;
    Ok(ImageKernel {
        image: kernel.image,
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        package: None,
        decompressor: config.as_ref().map(|config| features(config, arch)).unwrap_or_default(),
        modules: kernel.modules,
        root_modules: Vec::new(),
        is_whole: config.is_some(),
        config,
    })
}

/// The configuration of a kernel that `leanfs kernel build` put where it is.
fn config_beside(path: &Path) -> Option<DotConfig> {
    BuiltKernel::installed(path).and_then(|built| read_config(&built.config).ok())
}

fn read_config(path: &Path) -> Result<DotConfig, AssembleError> {
    let read = || {
        let size = fs_err::metadata(path)?.len();
        Content::from_path(path.to_owned(), size).read(MOST_CONFIG_BYTES)
    };
    let bytes =
        read().map_err(|source| kernel::KernelError::Read { name: path.display().to_string(), source })?;
    Ok(DotConfig::parse(&String::from_utf8_lossy(&bytes)))
}

fn build(assembly: &Assembly<'_>, wanted: &KernelBuild) -> Result<BuiltKernel, AssembleError> {
    let recipe = assembly.recipe;
    let archive = match wanted.sha256 {
        Some(sha256) if wanted.is_remote() => assembly.fetcher.tarball(&wanted.source, sha256)?,
        _ => PathBuf::from(&wanted.source),
    };
    let names = wanted.configs.clone().unwrap_or_else(|| {
        kernel::config::fragments_for(&needs(recipe)).into_iter().map(str::to_owned).collect()
    });
    if wanted.configs.is_none() {
        assembly.notes.note(format!("the kernel has what the images need: {}", names.join(", ")));
    }
    let fragments = kernel::build::read_fragments(&names, &wanted.directory, recipe.arch)?;
    let mut settings = BuildSettings::new(recipe.arch, fragments, &recipe.cache);
    settings.jobs = recipe.jobs;
    settings.toolchain = Toolchain { llvm: wanted.llvm, cross_compile: wanted.cross_compile.clone() };
    settings.program_directories.clone_from(&recipe.program_directories);
    settings.source_date_epoch = recipe.source_date_epoch;
    assembly.reporter.report(Event::Stage { stage: Stage::Kernel });
    Ok(kernel::build::build(&archive, wanted.sha256, &settings, assembly.reporter)?)
}

/// What the images of a recipe need of their kernel.
fn needs(recipe: &Recipe) -> Needs {
    let mut needs = Needs { data: recipe.data.is_some(), ..Needs::default() };
    for image in recipe.images.iter().filter(|image| !image.format.is_for_containers()) {
        let root = image.root_format();
        // The way to a root file system is an initramfs of the usual kind.
        needs.initramfs.push(match root.is_file_system() {
            true => ImageSpec::default().compression(),
            false => image.compression(),
        });
        needs.roots.push(root);
        needs.disk |= matches!(image.format, ImageFormat::Disk | ImageFormat::Qcow2);
        needs.firecracker |= image.format == ImageFormat::Firecracker;
    }
    needs
}
