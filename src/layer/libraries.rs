//! Shared libraries: what each ELF file of a tree needs, and whether its own loader will find it there.
//!
//! [`close`] does what the loaders of the image will do, without running them: it starts every program in its
//! head, finds the interpreter at its exact path, then each needed library by the rules of the libc that the
//! program is for, and checks the versions of symbols as the loader would. One image may hold programs of two
//! libcs; what must agree is the closure of each program.
//!
//! | | musl (`ldso/dynlink.c`) | glibc (`elf/dl-load.c`) |
//! |---|---|---|
//! | own directories | `DT_RUNPATH`, else `DT_RPATH`, of the file and of what loaded it; `$ORIGIN` | `DT_RPATH` of the file and of what loaded it, unless it has a `DT_RUNPATH`, which is for itself only; `$ORIGIN`, `$LIB`, `$PLATFORM` |
//! | everybody's | `etc/ld-musl-ARCH.path`, else `/lib:/usr/local/lib:/usr/lib` | those that the loader was built with (read from its bytes): multiarch ones in Debian's, `/lib64` and `/usr/lib64` elsewhere |
//! | its own names | `libc.*`, `libm.*`, `libpthread.*` … are the loader itself | only the loader's |
//! | a file of another machine | is taken, and fails | is passed over |
//! | symbol versions | not checked | checked at start |
//!
//! An image has no `ld.so.cache`, so glibc's loader doesn't see the directories of `ld.so.conf` there: a
//! library that stands only in one of them is missing, and the explanation says where it was seen.
//!
//! A shared object that no program needs is a plug-in (a NIF, a driver): it is closed as if the emulator
//! (`beam.smp`) of its libc had loaded it.

mod elves;
mod missing;
mod problem;
mod process;
mod search;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::arch::Arch;
use crate::elf::Libc;
use crate::tree::{Tree, TreePath};

pub(crate) use elves::{Elves, Entry};
pub use missing::{MissingLibrary, Rejected, Unfit};
pub use problem::{LibraryError, Problem};
pub(crate) use process::{judge, usual_interpreter};
pub(crate) use search::{Loader, default_directories, expand};

/// What [`close`] found.
#[derive(Debug, Clone, Default)]
pub struct Closure {
    /// What isn't in the tree, or not where its loader looks, or only in a form that doesn't serve; in order of
    /// names.
    pub missing: Vec<MissingLibrary>,
    /// What is in the tree and wrong. A library of the wrong libc or machine stands here and in `missing`:
    /// it may still be put where the loader looks first.
    pub problems: Vec<Problem>,
    /// For each ELF file that needs something: where its loader finds each name (the interpreter's path, the
    /// needed libraries). The paths are those of regular files, links followed.
    pub resolved: BTreeMap<TreePath, BTreeMap<String, TreePath>>,
    /// The libc of every program and plug-in that was looked at.
    pub libcs: BTreeMap<TreePath, Libc>,
}

impl Closure {
    /// The end of it: nothing may be missing and nothing wrong.
    ///
    /// # Errors
    /// [`LibraryError::Unmet`] with everything that is.
    pub fn check(&self) -> Result<(), LibraryError> {
        if self.missing.is_empty() && self.problems.is_empty() {
            return Ok(());
        }
        Err(LibraryError::Unmet { missing: self.missing.clone(), problems: self.problems.clone() })
    }

    /// The libcs that programs of this tree are for.
    pub fn libcs(&self) -> BTreeSet<Libc> {
        self.libcs.values().copied().filter(|&libc| libc != Libc::None).collect()
    }

    /// Every file that `file` needs to run, itself not counted, through all the libraries in between.
    pub fn needs(&self, file: &TreePath) -> BTreeSet<TreePath> {
        let mut all = BTreeSet::new();
        let mut rest = vec![file];
        while let Some(path) = rest.pop() {
            for found in self.resolved.get(path).into_iter().flat_map(BTreeMap::values) {
                if found != file && all.insert(found.clone()) {
                    rest.push(found);
                }
            }
        }
        all
    }
}

/// Finds the libraries of every ELF file in `tree`, which need not be complete: what is missing tells what to
/// add. Object files, kernel modules and core files are passed over.
///
/// # Errors
/// Only when a file can't be read; whatever is wrong with the tree is in the [`Closure`].
pub fn close(tree: &Tree, arch: Arch) -> Result<Closure, LibraryError> {
    close_with(tree, arch, &mut Elves::default())
}

/// Like [`close`], for one program of the tree and what it needs: nothing is said of the rest of the tree.
///
/// # Errors
/// As [`close`].
pub fn close_program(tree: &Tree, arch: Arch, program: &TreePath) -> Result<Closure, LibraryError> {
    process::Closer::new(tree, arch, &mut Elves::default()).close(Some(program))
}

/// Like [`close`], with what is already known of the files of the tree.
pub(crate) fn close_with(tree: &Tree, arch: Arch, elves: &mut Elves) -> Result<Closure, LibraryError> {
    process::Closer::new(tree, arch, elves).close(None)
}
