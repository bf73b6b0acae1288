//! What is wrong with the ELF files of a tree, in words.

use std::fmt::Write;
use std::path::PathBuf;

use crate::arch::Arch;
use crate::elf::{ElfError, Libc};
use crate::tree::{Origin, TreePath};

use super::{MissingLibrary, Rejected};

/// Something in the tree that can't work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A program or library for another processor or system.
    #[error("{path} ({origin}) is for {found}, and the image is for {image}")]
    OtherArch {
        /// The file.
        path: TreePath,
        /// What brought it.
        origin: Origin,
        /// `aarch64`, `x86 (32-bit)`, `x86_64 (FreeBSD)` …
        found: String,
        /// The image's.
        image: Arch,
    },
    /// A file that begins as an ELF file, and then is wrong.
    #[error("{path} ({origin}) is a damaged ELF file: {error}")]
    Damaged {
        /// The file.
        path: TreePath,
        /// What brought it.
        origin: Origin,
        /// What is wrong.
        error: ElfError,
    },
    /// A program whose loader is of no libc that leanfs knows.
    #[error("{path} wants the interpreter {interpreter}, which is the loader of neither musl nor glibc")]
    UnknownInterpreter {
        /// The program.
        path: TreePath,
        /// `PT_INTERP`.
        interpreter: String,
    },
    /// The loader finds a file of the right name that doesn't serve.
    #[error("{needed_by} (for {libc}) needs {name}, and its loader finds {}, which {}", .found.path, .found.why)]
    Unfit {
        /// The file that needs it.
        needed_by: TreePath,
        /// The libc that this is for.
        libc: Libc,
        /// The needed name, or the path of an interpreter.
        name: String,
        /// What is found.
        found: Rejected,
    },
    /// The loader finds the library, but it doesn't define a version that is needed.
    #[error("{needed_by} needs version {version} of {library}, and {found} {}", offered(.newest.as_deref()))]
    Version {
        /// The file that needs it.
        needed_by: TreePath,
        /// The library's name.
        library: String,
        /// The version.
        version: String,
        /// The library in the tree.
        found: TreePath,
        /// The newest version of this kind that it has.
        newest: Option<String>,
    },
    /// A NIF or driver for another libc than the emulator.
    #[error("{path} is for {libc}, but {emulator}, which would load it, is for {emulator_libc}")]
    OtherLibc {
        /// The plug-in.
        path: TreePath,
        /// Its libc.
        libc: Libc,
        /// The emulator.
        emulator: TreePath,
        /// The emulator's libc.
        emulator_libc: Libc,
    },
    /// glibc's loader and its `libc.so.6` come from different builds, which never work together.
    #[error("{added} from the sysroot belongs to another build of glibc than {present} ({origin})")]
    OtherBuild {
        /// What the sysroot has added: the loader or `libc.so.6`.
        added: TreePath,
        /// The other one, which was there.
        present: TreePath,
        /// What had brought it.
        origin: Origin,
    },
}

fn offered(newest: Option<&str>) -> String {
    match newest {
        Some(newest) => format!("has versions up to {newest}"),
        None => "has no such version".to_owned(),
    }
}

impl Problem {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::OtherArch { image, .. } => {
                format!("build the release for {image}, or leave the file out of it")
            }
            Self::Damaged { .. } => "build or fetch the file anew, or leave it out".to_owned(),
            Self::UnknownInterpreter { .. } => {
                "build the program for musl or glibc, or link it statically".to_owned()
            }
            Self::Unfit { libc: Libc::Glibc, .. } => {
                "give the root directory of a glibc system with --sysroot, or use Erlang/OTP from packages, \
                 which is for musl"
                    .to_owned()
            }
            Self::Unfit { .. } => {
                "give a library of the right libc in the overlay or by a package".to_owned()
            }
            Self::Version { .. } => "build the release on a system that is no newer than the one that its \
                                     libraries come from, or give a newer one with --sysroot"
                .to_owned(),
            Self::OtherBuild { present, .. } => {
                format!("leave {present} out, or give the system that it comes from with --sysroot")
            }
            Self::OtherLibc { emulator_libc, .. } => {
                format!(
                    "build it for {emulator_libc}, or put a release with its own ERTS into the image, built \
                     where the plug-in was built"
                )
            }
        })
    }
}

/// What keeps libraries from being closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// A file could not be read.
    #[error("{path} could not be read")]
    Read {
        /// In the tree, or on the host.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The sysroot is no directory.
    #[error("the sysroot {} is no directory", .root.display())]
    NoRoot {
        /// What was given.
        root: PathBuf,
    },
    /// The tree is complete, and still lacks something.
    #[error("the shared libraries of the image don't fit:{}", list(.missing, .problems))]
    Unmet {
        /// What is missing.
        missing: Vec<MissingLibrary>,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// The sysroot doesn't have what is needed, or only too old.
    #[error("the libraries of {}{} don't serve:{}", .root.display(), version(.glibc.as_deref()), list(.missing, .problems))]
    Sysroot {
        /// The root directory.
        root: PathBuf,
        /// The version of its glibc (`2.36`), if it has one.
        glibc: Option<String>,
        /// What is missing there, with what was found instead.
        missing: Vec<MissingLibrary>,
        /// What would be wrong with the image.
        problems: Vec<Problem>,
    },
}

fn version(glibc: Option<&str>) -> String {
    glibc.map(|version| format!(" (glibc {version})")).unwrap_or_default()
}

fn list(missing: &[MissingLibrary], problems: &[Problem]) -> String {
    let mut text = String::new();
    let told = |one: &MissingLibrary| {
        let path = one.path.as_ref().map(ToString::to_string);
        problems.iter().any(|problem| {
            matches!(problem, Problem::Unfit { libc, name, .. }
                if *libc == one.libc && (*name == one.name || Some(name) == path.as_ref()))
        })
    };
    let missing = missing.iter().filter(|one| !told(one));
    for line in missing.map(ToString::to_string).chain(problems.iter().map(ToString::to_string)) {
        write!(text, "\n  {line}").expect("writing to a String can't fail");
    }
    text
}

impl LibraryError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => None,
            Self::NoRoot { .. } => Some("--sysroot takes the root directory of a Linux system".to_owned()),
            Self::Unmet { missing, problems } => problems
                .iter()
                .find_map(Problem::hint)
                .or_else(|| missing.iter().find_map(MissingLibrary::hint)),
            Self::Sysroot { .. } => Some(
                "give the root directory of the system that the release was built on with --sysroot, build \
                 the release on a system that is no newer than this one, or use Erlang/OTP from packages, \
                 which brings its own libraries"
                    .to_owned(),
            ),
        }
    }
}
