//! Programs as their loaders would start them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::arch::Arch;
use crate::elf::{Class, ElfFile, Endianness, Kind, Libc, compare_versions, is_musl_own};
use crate::tree::{NodeKind, Tree, TreePath};

use super::missing::newest_like;
use super::search::{Loader, directory_in, expand, substitute};
use super::{Closure, Elves, Entry, LibraryError, MissingLibrary, Problem, Rejected, Unfit};

/// The programs that load NIFs and drivers.
const EMULATORS: [&[u8]; 2] = [b"beam.smp", b"beam"];
/// How many files of the right name in the wrong place are worth naming.
const MOST_ELSEWHERE: usize = 3;

/// What a file is for when it isn't for `arch`, in words.
pub(crate) fn foreign(file: &ElfFile, arch: Arch) -> Option<String> {
    /// `EI_OSABI` of systems that use ELF; 0 and 3 are Linux.
    const SYSTEMS: [(u8, &str); 5] =
        [(2, "NetBSD"), (6, "Solaris"), (9, "FreeBSD"), (12, "OpenBSD"), (17, "CloudABI")];
    let mut differences = Vec::new();
    if file.class != Class::Elf64 {
        differences.push(file.class.to_string());
    }
    if file.endianness != Endianness::Little {
        differences.push("big-endian".to_owned());
    }
    if !matches!(file.os_abi, 0 | 3) {
        let name = SYSTEMS.iter().find(|(number, _)| *number == file.os_abi);
        differences.push(name.map_or(format!("system {}", file.os_abi), |(_, name)| (*name).to_owned()));
    }
    if file.machine.0 == arch.elf_machine() && differences.is_empty() {
        return None;
    }
    Some(match differences.is_empty() {
        true => file.machine.to_string(),
        false => format!("{} ({})", file.machine, differences.join(", ")),
    })
}

/// Why a file that was found can't be loaded into a process of `libc`.
pub(crate) fn judge(entry: &Entry, arch: Arch, libc: Libc) -> Result<Arc<ElfFile>, Unfit> {
    let file = match entry {
        Entry::Other => return Err(Unfit::NotElf),
        Entry::Bad(error) => return Err(Unfit::Damaged(error.clone())),
        Entry::Elf(file) => file,
    };
    if let Some(found) = foreign(file, arch) {
        return Err(Unfit::Machine { found, wanted: arch.to_string() });
    }
    if file.kind != Kind::Dynamic {
        return Err(Unfit::NotShared);
    }
    match (file.libc(), libc) {
        (found, wanted) if found == wanted || found == Libc::None || wanted == Libc::None => {
            Ok(Arc::clone(file))
        }
        (found, wanted) => Err(Unfit::Libc { found, wanted }),
    }
}

/// A file in a process.
#[derive(Debug, Clone)]
struct Object {
    /// The directory that it was opened in: its `$ORIGIN`.
    origin: Vec<u8>,
    /// The regular file.
    real: TreePath,
    file: Arc<ElfFile>,
    /// What needed it first.
    loaded_by: Option<usize>,
}

/// A program and all that it has loaded.
#[derive(Debug, Clone)]
struct Process {
    /// What every object must be for.
    libc: Libc,
    loader: Arc<Loader>,
    /// The program first, if there is one.
    objects: Vec<Object>,
    /// By the names that they go by.
    names: BTreeMap<String, usize>,
    /// The loader in the tree.
    interpreter: Option<TreePath>,
    /// Whether the interpreter is missing, which is said once: its own names aren't missing beside it.
    interpreter_missing: bool,
}

enum Found {
    Object { origin: Vec<u8>, real: TreePath, file: Arc<ElfFile> },
    Nothing { rejected: Vec<Rejected>, stopped: Option<Rejected> },
}

/// Closes a tree.
pub(super) struct Closer<'a> {
    tree: &'a Tree,
    arch: Arch,
    elves: &'a mut Elves,
    loaders: BTreeMap<(Libc, Option<TreePath>), Arc<Loader>>,
    emulators: Vec<(TreePath, Process)>,
    /// Libraries that something has loaded.
    reached: BTreeSet<TreePath>,
    missing: BTreeMap<(String, Libc, Option<TreePath>), MissingLibrary>,
    closure: Closure,
}

impl<'a> Closer<'a> {
    pub(super) fn new(tree: &'a Tree, arch: Arch, elves: &'a mut Elves) -> Self {
        Self {
            tree,
            arch,
            elves,
            loaders: BTreeMap::new(),
            emulators: Vec::new(),
            reached: BTreeSet::new(),
            missing: BTreeMap::new(),
            closure: Closure::default(),
        }
    }

    /// Starts every program and loads every plug-in, or starts only one program.
    pub(super) fn close(mut self, only: Option<&TreePath>) -> Result<Closure, LibraryError> {
        let mut shared = Vec::new();
        for (path, node) in self.tree.iter().filter(|(path, _)| only.is_none_or(|only| only == *path)) {
            let real = match &node.kind {
                NodeKind::File(_) => path,
                NodeKind::Hardlink(target) => target,
                _ => continue,
            };
            let file = match self.elves.get(self.tree, real)? {
                Entry::Elf(file) if file.is_loadable() => file,
                Entry::Elf(_) | Entry::Other => continue,
                Entry::Bad(error) => {
                    let (path, origin) = (path.clone(), node.origin.clone());
                    self.problem(Problem::Damaged { path, origin, error });
                    continue;
                }
            };
            if let Some(found) = foreign(&file, self.arch) {
                let (path, origin) = (path.clone(), node.origin.clone());
                self.problem(Problem::OtherArch { path, origin, found, image: self.arch });
            } else if file.interpreter.is_some() {
                self.program(path, real, file)?;
            } else if file.kind == Kind::Dynamic && !file.is_static() && real == path {
                shared.push((path.clone(), file));
            }
        }
        // What another of them needs is loaded by that one, whose directories it may depend on.
        let needed: BTreeSet<String> =
            shared.iter().flat_map(|(_, file)| file.needed.iter().cloned()).collect();
        shared.sort_by_key(|(path, file)| {
            let name = path.file_name().and_then(|name| std::str::from_utf8(name).ok());
            name.is_some_and(|name| needed.contains(name))
                || file.soname.as_ref().is_some_and(|name| needed.contains(name))
        });
        for (path, file) in shared {
            if !self.reached.contains(&path) {
                self.plugin(path, file)?;
            }
        }
        self.look_elsewhere()?;
        self.closure.missing = self.missing.into_values().collect();
        Ok(self.closure)
    }

    fn problem(&mut self, problem: Problem) {
        // One finding is told once, for the first file that runs into it.
        let same = |other: &Problem| match (other, &problem) {
            (
                Problem::Unfit { libc, name, found, .. },
                Problem::Unfit { libc: libc_too, name: name_too, found: found_too, .. },
            ) => (libc, name, found) == (libc_too, name_too, found_too),
            (other, problem) => other == problem,
        };
        if !self.closure.problems.iter().any(same) {
            self.closure.problems.push(problem);
        }
    }

    fn loader(&mut self, libc: Libc, path: Option<&TreePath>) -> Result<Arc<Loader>, LibraryError> {
        let key = (libc, path.cloned());
        if let Some(loader) = self.loaders.get(&key) {
            return Ok(Arc::clone(loader));
        }
        let loader = Arc::new(Loader::in_tree(self.tree, libc, self.arch, path)?);
        self.loaders.insert(key, Arc::clone(&loader));
        Ok(loader)
    }

    /// Starts a program.
    fn program(&mut self, path: &TreePath, real: &TreePath, file: Arc<ElfFile>) -> Result<(), LibraryError> {
        let interpreter = file.interpreter.clone().unwrap_or_default();
        let libc = Libc::of_interpreter(&interpreter);
        let at = TreePath::parse(interpreter.as_bytes()).ok().filter(|_| interpreter.starts_with('/'));
        let (Some(at), Libc::Musl | Libc::Glibc) = (at, libc) else {
            self.problem(Problem::UnknownInterpreter { path: path.clone(), interpreter });
            return Ok(());
        };
        self.closure.libcs.insert(path.clone(), libc);
        let loader = self.loader(libc, Some(&at))?;
        let main = Object { origin: absolute(real.parent()), real: real.clone(), file, loaded_by: None };
        let mut process = Process {
            libc,
            loader,
            objects: vec![main],
            names: BTreeMap::new(),
            interpreter: None,
            interpreter_missing: false,
        };
        match self.elves.open(self.tree, &at)? {
            None => {
                process.interpreter_missing = true;
                self.missing_interpreter(&process, 0, &at, None);
            }
            Some((found, entry)) => match judge(&entry, self.arch, libc) {
                Ok(file) => {
                    self.resolved(&process, 0, &interpreter, &found);
                    for name in file.soname.iter().chain([&interpreter]) {
                        process.names.insert(name.clone(), process.objects.len());
                    }
                    process.interpreter = Some(found.clone());
                    let origin = absolute(at.parent());
                    process.objects.push(Object { origin, real: found, file, loaded_by: Some(0) });
                }
                Err(why) => {
                    process.interpreter_missing = true;
                    let found = Rejected { path: found.to_string(), why };
                    self.missing_interpreter(&process, 0, &at, Some(found.clone()));
                    self.problem(Problem::Unfit { needed_by: path.clone(), libc, name: interpreter, found });
                }
            },
        }
        self.run(&mut process, 0)?;
        if path.file_name().is_some_and(|name| EMULATORS.contains(&name)) {
            self.emulators.push((path.clone(), process));
        }
        Ok(())
    }

    /// Loads a shared object that nothing needs, as the emulator would.
    fn plugin(&mut self, path: TreePath, file: Arc<ElfFile>) -> Result<(), LibraryError> {
        let libc = file.libc();
        let emulator = self.emulators.iter().find(|(_, process)| libc == Libc::None || process.libc == libc);
        let is_plugin = path.components().any(|name| name == b"priv");
        let mut process = match (emulator, self.emulators.first()) {
            (Some((_, process)), _) => process.clone(),
            (None, Some((emulator, process))) if is_plugin => {
                let (emulator, emulator_libc) = (emulator.clone(), process.libc);
                self.problem(Problem::OtherLibc { path, libc, emulator, emulator_libc });
                return Ok(());
            }
            (None, _) => self.no_program(libc)?,
        };
        self.closure.libcs.insert(path.clone(), libc);
        let from = process.objects.len();
        let loaded_by = (from > 0).then_some(0);
        process.objects.push(Object { origin: absolute(path.parent()), real: path, file, loaded_by });
        self.run(&mut process, from)
    }

    /// A process of which only the libc is known.
    fn no_program(&mut self, libc: Libc) -> Result<Process, LibraryError> {
        let rules = match libc {
            Libc::None if self.closure.libcs() == BTreeSet::from([Libc::Glibc]) => Libc::Glibc,
            Libc::None => Libc::Musl,
            known => known,
        };
        let at = usual_interpreter(rules, self.arch);
        let interpreter = match self.elves.open(self.tree, &at)? {
            Some((found, entry)) => judge(&entry, self.arch, rules).ok().map(|_| found),
            None => None,
        };
        Ok(Process {
            libc,
            loader: self.loader(rules, Some(&at))?,
            objects: Vec::new(),
            names: BTreeMap::new(),
            interpreter,
            interpreter_missing: false,
        })
    }

    /// Loads everything that the objects from `from` on need, breadth first, and checks versions.
    fn run(&mut self, process: &mut Process, from: usize) -> Result<(), LibraryError> {
        let mut index = from;
        while index < process.objects.len() {
            let file = Arc::clone(&process.objects[index].file);
            for name in &file.needed {
                self.need(process, index, name)?;
            }
            index += 1;
        }
        if process.loader.libc == Libc::Glibc {
            self.check_versions(process, from);
        }
        Ok(())
    }

    fn need(&mut self, process: &mut Process, index: usize, name: &str) -> Result<(), LibraryError> {
        if let Some(&loaded) = process.names.get(name) {
            let real = process.objects[loaded].real.clone();
            self.resolved(process, index, name, &real);
            return Ok(());
        }
        let its_own = match process.loader.libc {
            Libc::Musl => is_musl_own(name),
            _ => Libc::of_library(name) == Libc::Glibc && Libc::of_interpreter(name) == Libc::Glibc,
        };
        if its_own {
            if let Some(real) = process.interpreter.clone() {
                self.resolved(process, index, name, &real);
            } else if !process.interpreter_missing {
                let at = usual_interpreter(process.loader.libc, self.arch);
                self.missing_interpreter(process, index, &at, None);
            }
            return Ok(());
        }
        match self.search(process, index, name)? {
            Found::Object { origin, real, file } => {
                self.resolved(process, index, name, &real);
                self.reached.insert(real.clone());
                let loaded = match process.objects.iter().position(|object| object.real == real) {
                    Some(loaded) => loaded,
                    None => {
                        let next = process.objects.len();
                        if process.loader.libc == Libc::Glibc
                            && let Some(soname) = &file.soname
                        {
                            process.names.entry(soname.clone()).or_insert(next);
                        }
                        process.objects.push(Object { origin, real, file, loaded_by: Some(index) });
                        next
                    }
                };
                process.names.insert(name.to_owned(), loaded);
            }
            Found::Nothing { rejected, stopped } => {
                let needed_by = process.objects[index].real.clone();
                self.missing(process, index, name, None, rejected);
                if let Some(found) = stopped {
                    let (libc, name) = (process.libc, name.to_owned());
                    self.problem(Problem::Unfit { needed_by, libc, name, found });
                }
            }
        }
        Ok(())
    }

    /// Looks for a needed name as the loader would: into each directory in turn.
    fn search(&mut self, process: &Process, index: usize, name: &str) -> Result<Found, LibraryError> {
        let candidates = if name.contains('/') {
            let path = match process.loader.libc {
                Libc::Glibc => substitute(name.as_bytes(), &process.objects[index].origin, &process.loader),
                _ => name.as_bytes().to_vec(),
            };
            let (directory, file) = match path.iter().rposition(|&byte| byte == b'/') {
                Some(at) => path.split_at(at + 1),
                None => (&b""[..], &path[..]),
            };
            let directory = path.starts_with(b"/").then(|| directory.to_vec());
            directory.into_iter().map(|directory| (directory, file.to_vec())).collect()
        } else {
            let directories = self.directories(process, index);
            directories.into_iter().map(|directory| (directory, name.as_bytes().to_vec())).collect::<Vec<_>>()
        };
        let mut rejected = Vec::new();
        for (directory, file) in candidates {
            let Some(directory) = directory_in(self.tree, &directory) else { continue };
            let Ok(path) = directory.join(&file) else { continue };
            let Some((real, entry)) = self.elves.open(self.tree, &path)? else { continue };
            match judge(&entry, self.arch, process.libc) {
                Ok(file) => {
                    return Ok(Found::Object { origin: absolute(Some(directory)), real, file });
                }
                Err(why) => {
                    let passes_over =
                        process.loader.libc == Libc::Glibc && matches!(why, Unfit::Machine { .. });
                    let found = Rejected { path: path.to_string(), why };
                    rejected.push(found.clone());
                    if !passes_over {
                        return Ok(Found::Nothing { rejected, stopped: Some(found) });
                    }
                }
            }
        }
        Ok(Found::Nothing { rejected, stopped: None })
    }

    fn directories(&self, process: &Process, index: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut add = |list: Option<&String>, object: &Object| {
            if let Some(list) = list {
                all.extend(expand(list, &object.origin, &process.loader));
            }
        };
        let object = &process.objects[index];
        let mut chain: Vec<usize> =
            std::iter::successors(Some(index), |&index| process.objects[index].loaded_by).collect();
        let mut defaults = true;
        if process.loader.libc == Libc::Glibc {
            if object.file.runpath.is_none() {
                if chain.last() != Some(&0) {
                    chain.push(0);
                }
                for object in chain.into_iter().map(|index| &process.objects[index]) {
                    if object.file.runpath.is_none() {
                        add(object.file.rpath.as_ref(), object);
                    }
                }
            }
            add(object.file.runpath.as_ref(), object);
            defaults = !object.file.no_default_directories;
        } else {
            for object in chain.into_iter().map(|index| &process.objects[index]) {
                add(object.file.runpath.as_ref().or(object.file.rpath.as_ref()), object);
            }
        }
        if defaults {
            all.extend(process.loader.directories.iter().cloned());
        }
        all
    }

    /// `_dl_check_map_versions`: each version must be defined by the object that goes by the library's name.
    fn check_versions(&mut self, process: &Process, from: usize) {
        for object in &process.objects[from..] {
            for needs in &object.file.version_needs {
                let Some(&index) = process.names.get(&needs.library) else { continue };
                let library = &process.objects[index];
                let lacking = needs
                    .versions
                    .iter()
                    .filter(|version| !version.weak && !library.file.offers(&version.name))
                    .max_by(|a, b| compare_versions(&a.name, &b.name));
                if let Some(version) = lacking {
                    self.problem(Problem::Version {
                        needed_by: object.real.clone(),
                        library: needs.library.clone(),
                        version: version.name.clone(),
                        found: library.real.clone(),
                        newest: newest_like(&library.file, &version.name),
                    });
                }
            }
        }
    }

    fn resolved(&mut self, process: &Process, index: usize, name: &str, real: &TreePath) {
        self.closure
            .resolved
            .entry(process.objects[index].real.clone())
            .or_default()
            .entry(name.to_owned())
            .or_insert_with(|| real.clone());
        self.reached.insert(real.clone());
    }

    fn missing_interpreter(
        &mut self,
        process: &Process,
        index: usize,
        at: &TreePath,
        found: Option<Rejected>,
    ) {
        let file = String::from_utf8_lossy(at.file_name().unwrap_or_default()).into_owned();
        // What Alpine calls it: the loader is the library itself.
        let name = match file.strip_prefix("ld-musl-") {
            Some(rest) => format!("libc.musl-{rest}"),
            None => file,
        };
        self.missing(process, index, &name, Some(at), found.into_iter().collect());
    }

    fn missing(
        &mut self,
        process: &Process,
        index: usize,
        name: &str,
        interpreter: Option<&TreePath>,
        rejected: Vec<Rejected>,
    ) {
        let object = &process.objects[index];
        // A plug-in of unknown libc in a process gets what the process can use.
        let key = (name.to_owned(), process.libc, interpreter.cloned());
        let entry = self.missing.entry(key).or_insert_with(|| MissingLibrary {
            name: name.to_owned(),
            needed_by: object.real.clone(),
            needed_by_all: BTreeSet::new(),
            libc: process.libc,
            interpreter: interpreter.is_some(),
            path: interpreter.cloned(),
            versions: BTreeMap::new(),
            rejected: Vec::new(),
        });
        entry.needed_by_all.insert(object.real.clone());
        if object.real < entry.needed_by {
            entry.needed_by = object.real.clone();
        }
        for needs in object.file.version_needs.iter().filter(|needs| needs.library == name) {
            for version in needs.versions.iter().filter(|version| !version.weak) {
                let by = entry.versions.entry(version.name.clone()).or_insert_with(|| object.real.clone());
                if object.real < *by {
                    *by = object.real.clone();
                }
            }
        }
        for one in rejected {
            if !entry.rejected.contains(&one) {
                entry.rejected.push(one);
            }
        }
    }

    /// For what is missing without a trace: the same name anywhere else in the tree explains it.
    fn look_elsewhere(&mut self) -> Result<(), LibraryError> {
        let names: BTreeSet<Vec<u8>> = self
            .missing
            .values()
            .filter(|missing| missing.rejected.is_empty() && !missing.interpreter)
            .map(|missing| missing.name.clone().into_bytes())
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        for (path, _) in self.tree.iter() {
            if !path.file_name().is_some_and(|name| names.contains(name)) {
                continue;
            }
            let Some((_, entry)) = self.elves.open(self.tree, path)? else { continue };
            for missing in self.missing.values_mut() {
                let ours = Some(missing.name.as_bytes()) == path.file_name() && !missing.interpreter;
                if ours && missing.rejected.len() < MOST_ELSEWHERE {
                    let why = judge(&entry, self.arch, missing.libc).err().unwrap_or(Unfit::NotSearched);
                    let found = Rejected { path: path.to_string(), why };
                    if !missing.rejected.contains(&found) {
                        missing.rejected.push(found);
                    }
                }
            }
        }
        Ok(())
    }
}

fn absolute(path: Option<TreePath>) -> Vec<u8> {
    let mut bytes = vec![b'/'];
    bytes.extend_from_slice(path.unwrap_or_default().as_bytes());
    bytes
}

/// Where the loader of a libc stands on the usual systems of an architecture.
pub(crate) fn usual_interpreter(libc: Libc, arch: Arch) -> TreePath {
    let path = match (libc, arch) {
        (Libc::Glibc, Arch::X86_64) => "lib64/ld-linux-x86-64.so.2".to_owned(),
        (Libc::Glibc, Arch::Aarch64) => "lib/ld-linux-aarch64.so.1".to_owned(),
        (Libc::Glibc, Arch::Riscv64) => "lib/ld-linux-riscv64-lp64d.so.1".to_owned(),
        (Libc::Musl | Libc::None, arch) => format!("lib/ld-musl-{arch}.so.1"),
    };
    TreePath::parse(path.as_bytes()).expect("a literal path is good")
}
