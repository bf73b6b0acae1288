//! Making smaller what stays: modules without debug information, ELF files without symbols, boot scripts and
//! application specifications without the modules that went.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{PruneError, application_of};
use crate::beam::{self, Atom, BeamError, BootInstruction, BootScript, StripOptions, Term};
use crate::elf::{self, ElfFile, KeptWhole, Stripped};
use crate::recipe::PruneLevel;
use crate::tree::{Content, LayerKind, Node, NodeKind, SpoolRange, SpoolWriter, Tree, TreePath};

/// The largest file that is rewritten: an emulator with its debug information has some 80 MB.
const MOST_BYTES: u64 = 512 << 20;

/// What must be known to rewrite files.
#[derive(Debug, Clone)]
pub struct RewriteInput<'a> {
    /// How much goes.
    pub level: PruneLevel,
    /// Whether line numbers go.
    pub strip_lines: bool,
    /// The modules that stay, if modules went.
    pub kept_modules: Option<&'a BTreeSet<Atom>>,
    /// The boot script that the release is started with.
    pub boot: &'a BootScript,
    /// Where that stands.
    pub boot_path: &'a TreePath,
    /// The root of the Erlang/OTP installation.
    pub otp_root: &'a TreePath,
    /// The root of the release.
    pub release_root: &'a TreePath,
    /// How many files at a time.
    pub jobs: usize,
    /// Where a nameless file for the new contents is made.
    pub spool_directory: &'a Path,
}

/// What became of the files.
#[derive(Debug, Default)]
pub struct Rewritten {
    /// The sizes of those that were rewritten, before.
    pub sizes_before: BTreeMap<TreePath, u64>,
    /// ELF files that could have become smaller and stay as they are, with the reason.
    pub left: BTreeMap<TreePath, String>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Module { platform: bool },
    Application,
    Boot,
    Elf,
}

enum Made {
    /// Where the new contents stand in the spool.
    Smaller(SpoolRange),
    Same,
    Left(String),
}

/// Rewrites what the level says. Files of the overlay stay as the user made them.
///
/// # Errors
/// Files that can't be read or understood.
pub fn rewrite(tree: &mut Tree, input: &RewriteInput<'_>) -> Result<Rewritten, PruneError> {
    let mut rewritten = Rewritten::default();
    if input.level < PruneLevel::Chunks {
        return Ok(rewritten);
    }
    let mut jobs = Vec::new();
    for (path, node) in tree.iter() {
        if let NodeKind::File(content) = &node.kind
            && let Some(kind) = kind_of(path, node, content, tree, input)
                .map_err(|source| PruneError::Io { path: path.clone(), source })?
        {
            jobs.push((path.clone(), content.clone(), kind));
        }
    }
    let failed = |source| PruneError::Io { path: TreePath::root(), source };
    let spool = Mutex::new(SpoolWriter::new_in(input.spool_directory).map_err(failed)?);
    let made = in_parallel(&jobs, input, &spool)?;
    let spool = spool.into_inner().unwrap_or_else(PoisonError::into_inner).finish().map_err(failed)?;
    for ((path, content, _), made) in jobs.iter().zip(made) {
        match made {
            Made::Smaller(range) => {
                rewritten.sizes_before.insert(path.clone(), content.len());
                if let Some(node) = tree.get_mut(path) {
                    node.kind = NodeKind::File(spool.content(range));
                }
            }
            Made::Same => {}
            Made::Left(reason) => {
                rewritten.left.insert(path.clone(), reason);
            }
        }
    }
    Ok(rewritten)
}

fn kind_of(
    path: &TreePath,
    node: &Node,
    content: &Content,
    tree: &Tree,
    input: &RewriteInput<'_>,
) -> io::Result<Option<Kind>> {
    if matches!(node.origin.layer, LayerKind::Overlay | LayerKind::Kernel | LayerKind::Skeleton) {
        return Ok(None);
    }
    if path == input.boot_path && input.kept_modules.is_some() {
        return Ok(Some(Kind::Boot));
    }
    let bytes = path.as_bytes();
    let application =
        [input.otp_root, input.release_root].into_iter().find_map(|root| application_of(path, root));
    if let Some((name, rest)) = application
        && let Some(file) = rest.strip_prefix(b"ebin/")
    {
        if file.ends_with(b".beam") {
            return Ok(Some(Kind::Module { platform: beam::is_platform_application(name) }));
        }
        if file.ends_with(b".app") && input.kept_modules.is_some() {
            return Ok(Some(Kind::Application));
        }
    }
    if bytes.ends_with(b".beam") && path.is_below(input.release_root) {
        return Ok(Some(Kind::Module { platform: false }));
    }
    if has_integrity_sum(path, tree) {
        return Ok(None);
    }
    if content.len() >= 64 && content.read_head(ElfFile::MAGIC.len())? == ElfFile::MAGIC {
        return Ok(Some(Kind::Elf));
    }
    Ok(None)
}

/// Whether a library checks its own bytes when it is loaded: a file beside it holds the sum (`.libgnutls.so.30.hmac`,
/// NSS's `libsoftokn3.chk`), or for OpenSSL's FIPS provider its configuration.
fn has_integrity_sum(path: &TreePath, tree: &Tree) -> bool {
    let (Some(name), Some(directory)) = (path.file_name(), path.parent()) else { return false };
    let beside = |name: Vec<u8>| directory.join(name).is_ok_and(|path| tree.get(&path).is_some());
    let stem = name.strip_suffix(b".so").unwrap_or(name);
    name == b"fips.so" || beside([b".", name, b".hmac"].concat()) || beside([stem, b".chk"].concat())
}

type Job = (TreePath, Content, Kind);

/// New contents go to the spool as they come: where in it they stand shows nowhere.
fn in_parallel(
    jobs: &[Job],
    input: &RewriteInput<'_>,
    spool: &Mutex<SpoolWriter>,
) -> Result<Vec<Made>, PruneError> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Made)>, PruneError> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else { return Ok(done) };
            done.push((index, make(job, input, spool)?));
        }
    };
    let mut made: Vec<(usize, Made)> = Vec::with_capacity(jobs.len());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..input.jobs.clamp(1, 64)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            made.extend(worker.join().expect("a worker doesn't panic")?);
        }
        Ok(())
    })?;
    made.sort_by_key(|(index, _)| *index);
    Ok(made.into_iter().map(|(_, made)| made).collect())
}

fn make(
    (path, content, kind): &Job,
    input: &RewriteInput<'_>,
    spool: &Mutex<SpoolWriter>,
) -> Result<Made, PruneError> {
    let wrong = |source: BeamError| PruneError::Beam { path: path.clone(), source };
    let bytes = content.read(MOST_BYTES).map_err(|source| PruneError::Io { path: path.clone(), source })?;
    let new = match kind {
        Kind::Module { platform } => {
            let options = StripOptions { lines: !input.strip_lines, attributes: !platform };
            beam::strip(&bytes, options).map_err(wrong)?
        }
        Kind::Application => application(&bytes, input).map_err(wrong)?,
        Kind::Boot => boot(input).to_bytes().map_err(wrong)?,
        Kind::Elf => match elf::strip(&bytes) {
            Ok(Stripped::Changed(stripped)) => stripped,
            Ok(Stripped::AsItIs(KeptWhole::NoSmaller)) => return Ok(Made::Same),
            Ok(Stripped::AsItIs(reason)) => return Ok(Made::Left(reason.to_string())),
            Err(source) => return Err(PruneError::Elf { path: path.clone(), source }),
        },
    };
    if new == bytes {
        return Ok(Made::Same);
    }
    let range = spool.lock().unwrap_or_else(PoisonError::into_inner).append(&mut new.as_slice());
    range.map(Made::Smaller).map_err(|source| PruneError::Io { path: path.clone(), source })
}

/// An application's specification without the modules that went.
fn application(bytes: &[u8], input: &RewriteInput<'_>) -> Result<Vec<u8>, BeamError> {
    let mut terms = beam::consult(bytes)?;
    for term in &mut terms {
        keep_modules(term, input);
    }
    let mut text = String::new();
    for term in terms {
        text.push_str(&format!("{term}.\n"));
    }
    Ok(text.into_bytes())
}

/// The boot script with only the modules that stay.
fn boot(input: &RewriteInput<'_>) -> BootScript {
    let mut boot = input.boot.clone();
    let Some(kept) = input.kept_modules else { return boot };
    boot.instructions.retain_mut(|instruction| match instruction {
        BootInstruction::PrimLoad(modules) => {
            let any = !modules.is_empty();
            modules.retain(|module| kept.contains(module));
            !any || !modules.is_empty()
        }
        BootInstruction::KernelProcess { arguments, .. } | BootInstruction::Apply { arguments, .. } => {
            if let Term::List(list, None) = arguments {
                list.iter_mut().for_each(|term| keep_modules(term, input));
            }
            true
        }
        _ => true,
    });
    boot
}

/// Takes the modules that went out of `{application, Name, Properties}`.
fn keep_modules(term: &mut Term, input: &RewriteInput<'_>) {
    let Some(kept) = input.kept_modules else { return };
    let Term::Tuple(parts) = term else { return };
    let [Term::Atom(tag), _, Term::List(properties, None)] = parts.as_mut_slice() else { return };
    if &**tag != "application" {
        return;
    }
    for property in properties {
        if let Term::Tuple(pair) = property
            && let [Term::Atom(key), Term::List(modules, None)] = pair.as_mut_slice()
            && &**key == "modules"
        {
            modules.retain(|module| matches!(module, Term::Atom(name) if kept.contains(name)));
        }
    }
}
