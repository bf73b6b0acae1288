//! Kernels and their modules: which modules an image needs and in which order they are loaded, and what a
//! kernel file is.
//!
//! [`ModuleIndex`] and [`KernelFormat`] are pure: text or bytes in, values out. [`from_package`] and
//! [`from_file`] read through the handles that they are given and write nothing; [`unpack()`] writes to where it is told.

pub mod build;
pub mod config;
pub mod depmod;
mod format;
mod modules;
mod package;
mod unpack;

use std::io;

pub use format::KernelFormat;
pub use modules::{ModuleIndex, module_name, select_modules};
pub use package::{DEFAULT_MODULES, from_package, is_wanted, root_modules};
pub use unpack::unpack;

use crate::arch::Arch;
use crate::tree::{Content, TreePath};

/// A kernel and the modules that go into an image.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The file that a boot loader or QEMU starts.
    pub image: Content,
    /// What kind of file it is.
    pub format: KernelFormat,
    /// Its release (`6.18.56-0-virt`), as `uname -r` says it in the image. A kernel file doesn't always tell.
    pub release: Option<String>,
    /// The modules, uncompressed, in load order, each with its place in the image.
    pub modules: Vec<(TreePath, Content)>,
    /// Modules of [`DEFAULT_MODULES`] that this kernel neither has nor has built in.
    pub absent: Vec<&'static str>,
}

/// Why there is no kernel, or not the modules that are wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The package has nothing at `/boot/vmlinuz*`.
    #[error("there is no /boot/vmlinuz* in the kernel package")]
    NoImage,
    /// The package has several kernels.
    #[error("the kernel package has more than one kernel: {first} and {second}")]
    SeveralImages {
        /// The first in path order.
        first: TreePath,
        /// The next.
        second: TreePath,
    },
    /// The package has no list of modules.
    #[error("there is no /lib/modules/RELEASE/modules.dep in the kernel package")]
    NoModuleIndex,
    /// The package has modules for several kernels.
    #[error("the kernel package has modules for more than one kernel: {first} and {second}")]
    SeveralReleases {
        /// The first in path order.
        first: String,
        /// The next.
        second: String,
    },
    /// The modules are those of another kernel.
    #[error("the kernel {image} says that it is {found:?}, and the modules beside it are for {expected:?}")]
    ReleaseDiffers {
        /// The kernel.
        image: TreePath,
        /// The release that the directory of the modules is named after.
        expected: String,
        /// The release in the kernel.
        found: String,
    },
    /// A list of modules is not in its format.
    #[error("line {line} of {list} is {found:?}, where {expected} is expected")]
    BadIndex {
        /// Which list: `modules.dep`.
        list: &'static str,
        /// The line, from 1 on.
        line: usize,
        /// What should be there.
        expected: &'static str,
        /// The line's beginning.
        found: String,
    },
    /// No module has this name, and it isn't built in.
    #[error("the kernel has no module {name:?}, neither as a file nor built in")]
    UnknownModule {
        /// The name that was asked for.
        name: String,
    },
    /// A module needs one that the list doesn't have.
    #[error("the module {module:?} needs {dependency:?}, which modules.dep doesn't list")]
    UnknownDependency {
        /// The module.
        module: String,
        /// What it needs.
        dependency: String,
    },
    /// Modules that need each other can't be put in order.
    #[error("the module {module:?} needs itself, by way of others")]
    Cycle {
        /// One of them.
        module: String,
    },
    /// A module of the list isn't in the package.
    #[error("{path}, which modules.dep lists, is not in the kernel package")]
    MissingModule {
        /// Its path.
        path: TreePath,
    },
    /// A module's file is no module.
    #[error("{path} is no kernel module for {arch}: {found}")]
    NotAModule {
        /// Its path.
        path: TreePath,
        /// The image's architecture.
        arch: Arch,
        /// What it is.
        found: String,
    },
    /// A kernel's file is no kernel.
    #[error("{name} is no kernel: it begins with {found}, where {expected} is expected")]
    NotAKernel {
        /// The file.
        name: String,
        /// The first bytes, in hexadecimal.
        found: String,
        /// What kernels begin with.
        expected: &'static str,
    },
    /// A kernel for another machine.
    #[error("{name} is {format}, and the image is for {arch}")]
    WrongArch {
        /// The file.
        name: String,
        /// What it is.
        format: KernelFormat,
        /// The image's architecture.
        arch: Arch,
    },
    /// There is no kernel in a kernel's file that could be taken out of it.
    #[error("no uncompressed kernel can be taken out of {name}: {reason}")]
    NotUnpackable {
        /// The file.
        name: String,
        /// Why.
        reason: String,
    },
    /// The kernel can't be written (the writer knows where to).
    #[error("the uncompressed kernel can't be written")]
    Write(#[source] io::Error),
    /// A file can't be read, or not be decompressed.
    #[error("{name} can't be read")]
    Read {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl KernelError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoImage | Self::NoModuleIndex => {
                "a kernel package is one like Alpine's linux-virt or linux-lts (`--kernel package:linux-virt`); \
                 a kernel file is given by its path (`--kernel PATH`)"
                    .to_owned()
            }
            Self::UnknownModule { .. } => {
                "modules are named as `modprobe` takes them (virtio_net); this kernel may have been built without \
                 it: `--kernel package:linux-lts` has more of them than linux-virt"
                    .to_owned()
            }
            Self::NotAKernel { .. } => {
                "give the file that boot loaders take: bzImage or vmlinuz for x86_64, Image or vmlinuz.efi for \
                 aarch64 and riscv64"
                    .to_owned()
            }
            Self::NotUnpackable { .. } => {
                "give a kernel that is not compressed: `vmlinux` for x86_64, `Image` for aarch64".to_owned()
            }
            Self::WrongArch { arch, .. } => {
                format!("give a kernel for {arch}, or the kernel's architecture with `--arch`")
            }
            _ => return None,
        })
    }

    fn read(name: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { name: name.to_string(), source }
    }
}

/// Takes a kernel file, whose drivers must be built in: no modules come with it. `name` is its path, for
/// messages.
///
/// # Errors
/// When it can't be read, is no kernel, or is one for another architecture.
pub fn from_file(image: Content, name: &str, arch: Arch) -> Result<Kernel, KernelError> {
    let head = image.peek(format::HEAD_BYTES).map_err(KernelError::read(name))?;
    let Some(format) = KernelFormat::parse(&head).filter(|format| format.boots_on(arch)) else {
        // It may be damaged.
        image.reader().map_err(KernelError::read(name))?;
        return Err(not_for(&head, name, arch));
    };
    let release = format::bzimage_release(&head);
    Ok(Kernel { image, format, release, modules: Vec::new(), absent: Vec::new() })
}

/// What is wrong with the beginning of a kernel.
fn not_for(head: &[u8], name: &str, arch: Arch) -> KernelError {
    match KernelFormat::parse(head) {
        Some(format) => KernelError::WrongArch { name: name.to_owned(), format, arch },
        None => KernelError::NotAKernel {
            name: name.to_owned(),
            found: format::first_bytes(head),
            expected: KernelFormat::EXPECTED,
        },
    }
}
