//! What a tree lacks, and what was found instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::elf::{ElfError, ElfFile, Libc, compare_versions};
use crate::tree::TreePath;

/// A library, or an interpreter, that a file of the tree needs and that its loader won't find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingLibrary {
    /// The name to ask a package repository for, see [`MissingLibrary::provide`]: the needed name; for an
    /// interpreter the soname of its package's library (`libc.musl-x86_64.so.1`, `ld-linux-x86-64.so.2`).
    pub name: String,
    /// The first file, in path order, that needs it.
    pub needed_by: TreePath,
    /// All of them.
    pub needed_by_all: BTreeSet<TreePath>,
    /// The libc that it must be for; [`Libc::None`] when it can't be told.
    pub libc: Libc,
    /// Whether it is a dynamic loader.
    pub interpreter: bool,
    /// Where it must stand, for an interpreter.
    pub path: Option<TreePath>,
    /// The symbol versions that are needed of it (weak ones not counted), each with the first file that does.
    pub versions: BTreeMap<String, TreePath>,
    /// Files of this name that were found and don't serve.
    pub rejected: Vec<Rejected>,
}

/// A file that has the right name and doesn't serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where it is: a path in the tree, or on the host where a sysroot was searched. Escaped for display.
    pub path: String,
    /// Why it doesn't serve.
    pub why: Unfit,
}

/// Why a file doesn't serve. As text it continues "FILE …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Not an ELF file: a linker script, for one.
    #[error("is no ELF file")]
    NotElf,
    /// An ELF file that can't be read.
    #[error("is a damaged ELF file: {0}")]
    Damaged(ElfError),
    /// An object file or a program with a fixed address.
    #[error("is no shared library")]
    NotShared,
    /// For another processor or system.
    #[error("is for {found}, not {wanted}")]
    Machine {
        /// `aarch64`, `x86 (32-bit)` …
        found: String,
        /// The architecture of the image.
        wanted: String,
    },
    /// For another libc.
    #[error("is for {found}, not {wanted}")]
    Libc {
        /// What it is for.
        found: Libc,
        /// What the program is for.
        wanted: Libc,
    },
    /// Too old: a version that is needed isn't defined.
    #[error("{}, and {needed_by} needs {version}", offered(.newest.as_deref()))]
    Version {
        /// The version that isn't there.
        version: String,
        /// The newest of its kind that is.
        newest: Option<String>,
        /// The file that needs it.
        needed_by: TreePath,
    },
    /// Good or not: the loader doesn't look there.
    #[error("stands where the loader doesn't look")]
    NotSearched,
    /// The image already holds another file where it would have to stand.
    #[error("would have to stand at {path} in the image, where {origin} has put another file")]
    Occupied {
        /// The path in the image.
        path: TreePath,
        /// What put the file there.
        origin: String,
    },
}

fn offered(newest: Option<&str>) -> String {
    match newest {
        Some(newest) => format!("has versions up to {newest}"),
        None => "defines no such version".to_owned(),
    }
}

impl Unfit {
    /// The first version in `wanted` that `library` doesn't define.
    pub(crate) fn too_old<'a>(
        library: &ElfFile,
        wanted: impl IntoIterator<Item = (&'a String, &'a TreePath)>,
    ) -> Option<Self> {
        wanted
            .into_iter()
            .filter(|(version, _)| !library.offers(version))
            .max_by(|(a, _), (b, _)| compare_versions(a, b))
            .map(|(version, needed_by)| Self::Version {
                version: version.clone(),
                newest: newest_like(library, version),
                needed_by: needed_by.clone(),
            })
    }
}

/// The newest version that `library` defines of the kind of `version`: with the same text before the number.
pub(crate) fn newest_like(library: &ElfFile, version: &str) -> Option<String> {
    let (kind, _) = version.rsplit_once('_')?;
    library
        .version_definitions
        .iter()
        .filter(|have| {
            have.strip_prefix(kind)
                .and_then(|rest| rest.strip_prefix('_'))
                .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        })
        .max_by(|a, b| compare_versions(a, b))
        .cloned()
}

impl MissingLibrary {
    /// What packages that hold it provide: `so:NAME`.
    pub fn provide(&self) -> String {
        format!("so:{}", self.name)
    }

    /// What to do about it, by itself.
    pub fn hint(&self) -> Option<String> {
        match self.libc {
            Libc::Glibc => Some(
                "a program for glibc needs the libraries of the system that it was built on: give its root \
                 directory with --sysroot, or use Erlang/OTP from packages"
                    .to_owned(),
            ),
            Libc::Musl | Libc::None => Some(format!(
                "no package of the given repositories provides {}: add a repository that has it, or put the \
                 library into the overlay",
                self.provide()
            )),
        }
    }
}

/// `/app/…/crypto.so needs libcrypto.so.3 (for glibc); /usr/lib/libcrypto.so.3 is for musl, not glibc`.
impl fmt::Display for MissingLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needs ", self.needed_by)?;
        match &self.path {
            Some(path) => write!(f, "the dynamic loader {path}")?,
            None => write!(f, "{}", self.name)?,
        }
        if self.libc != Libc::None {
            write!(f, " (for {})", self.libc)?;
        }
        match self.needed_by_all.len() {
            0 | 1 => {}
            2 => write!(f, ", and so does another file")?,
            more => write!(f, ", and so do {} other files", more - 1)?,
        }
        if self.rejected.is_empty() {
            return write!(f, ", and there is none");
        }
        for rejected in &self.rejected {
            write!(f, "; {} {}", rejected.path, rejected.why)?;
        }
        Ok(())
    }
}
