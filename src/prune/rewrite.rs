//! Making smaller what stays: modules without debug information, ELF files without symbols, boot scripts and
//! application specifications without the modules that went.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{PruneError, application_of};
use crate::beam::{self, Atom, BeamError, BootInstruction, BootScript, StripOptions, Term};
use crate::cache::Memo;
use crate::elf::{self, ElfFile, KeptWhole, Stripped};
use crate::recipe::PruneLevel;
use crate::report::progress::Progress;
use crate::tree::{Content, LayerKind, Node, NodeKind, Tree, TreePath};

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
    /// What was worked out before, and where new contents stand.
    pub memo: &'a Memo,
    /// Counts the bytes of the files that may be rewritten.
    pub progress: &'a Progress,
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
    Smaller(Content),
    Same,
    Left(String),
}

impl Made {
    /// A file that stays as it is, with the reason if it could have become smaller.
    fn unchanged(reason: Vec<u8>) -> Self {
        match String::from_utf8_lossy(&reason) {
            reason if reason.is_empty() => Self::Same,
            reason => Self::Left(reason.into_owned()),
        }
    }
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
    let bytes = jobs.iter().map(|(_, content, _)| content.len());
    input.progress.expect(bytes.fold(0, u64::saturating_add));
    let made = in_parallel(&jobs, input)?;
    for ((path, content, _), made) in jobs.iter().zip(made) {
        match made {
            Made::Smaller(smaller) => {
                rewritten.sizes_before.insert(path.clone(), content.len());
                if let Some(node) = tree.get_mut(path) {
                    node.kind = NodeKind::File(smaller);
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
    // What is decided here is read in full later.
    if content.len() >= 64 && content.peek(ElfFile::MAGIC.len())? == ElfFile::MAGIC {
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

fn in_parallel(jobs: &[Job], input: &RewriteInput<'_>) -> Result<Vec<Made>, PruneError> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Made)>, PruneError> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else { return Ok(done) };
            done.push((index, make(job, input)?));
            input.progress.add(job.1.len());
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

fn make((path, content, kind): &Job, input: &RewriteInput<'_>) -> Result<Made, PruneError> {
    let wrong = |source: BeamError| PruneError::Beam { path: path.clone(), source };
    let unreadable = |source| PruneError::Io { path: path.clone(), source };
    // Of applications and boot scripts it is more than the file that decides.
    let rule = match kind {
        Kind::Module { platform } => Some(format!("module {platform} {}", input.strip_lines)),
        Kind::Elf => Some("elf".to_owned()),
        Kind::Application | Kind::Boot => None,
    };
    let Some(rule) = rule else {
        let bytes = content.read(MOST_BYTES).map_err(unreadable)?;
        let new = match kind {
            Kind::Boot => boot(input).to_bytes().map_err(wrong)?,
            _ => application(&bytes, input).map_err(wrong)?,
        };
        return Ok(if new == bytes { Made::Same } else { Made::Smaller(Content::from_bytes(new)) });
    };
    let sha256 = content.sha256().map_err(unreadable)?;
    let memo = input.memo;
    if let Some(new) = memo.recall(&rule, &sha256) {
        return Ok(Made::Smaller(new));
    }
    let unchanged = format!("{rule} unchanged");
    if let Some(reason) = memo.recall_bytes(&unchanged, &sha256) {
        return Ok(Made::unchanged(reason));
    }
    let bytes = content.read(MOST_BYTES).map_err(unreadable)?;
    let (new, reason) = match kind {
        Kind::Module { platform } => {
            let options = StripOptions { lines: !input.strip_lines, attributes: !platform };
            (beam::strip(&bytes, options).map_err(wrong)?, String::new())
        }
        _ => match elf::strip(&bytes) {
            Ok(Stripped::Changed(stripped)) => (stripped, String::new()),
            Ok(Stripped::AsItIs(KeptWhole::NoSmaller)) => (Vec::new(), String::new()),
            Ok(Stripped::AsItIs(reason)) => (Vec::new(), reason.to_string()),
            Err(source) => return Err(PruneError::Elf { path: path.clone(), source }),
        },
    };
    if new.is_empty() || new == bytes {
        memo.remember(&unchanged, &sha256, reason.as_bytes()).map_err(unreadable)?;
        return Ok(Made::unchanged(reason.into_bytes()));
    }
    memo.remember(&rule, &sha256, &new).map(Made::Smaller).map_err(unreadable)
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
