//! `leanfs lock`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use leanfs::arch::Arch;
use leanfs::assemble::{LockRequest, Update};
use leanfs::lock::{ArchLock, Change, Lock, changes};
use leanfs::recipe::Recipe;
use serde_json::{Value, json};

use super::ModeFlags;
use super::assemble::{check_project, newest_release};
use super::environment::Environment;
use super::failure::Failure;
use super::output_file::write_whole;
use super::progress;
use super::recipe_flags::{
    ContentFlags, FetchFlags, FormatFlags, PackageFlags, RecipeFlags, VendorFlag, lock_file,
};
use super::terminal::{OutputMode, Terminal, escaped, megabytes};

/// Write down what an image takes from outside: leanfs.lock, beside leanfs.toml
///
/// Every package, tarball and kernel by its hashes, who signed it, for one architecture or several. `assemble --locked`
/// uses exactly that, from wherever it can be had. With a lock that is there, what is in it stays as far as the recipe
/// lets it; --update takes what the repositories have now. Flags are those of assemble: give the same ones to both.
#[derive(Debug, Args)]
pub(super) struct LockArgs {
    /// Renew the packages of these names, and what must change with them; without a name everything
    #[arg(long, value_name = "NAME", num_args = 0..)]
    update: Option<Vec<String>>,
    #[command(flatten)]
    project: ProjectFlags,
}

/// A project, and everything that decides what it takes from outside.
#[derive(Debug, Args)]
pub(super) struct ProjectFlags {
    /// The project: where leanfs.toml, leanfs.lock and _build are
    #[arg(value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    #[command(flatten)]
    pub contents: ContentFlags,
    #[command(flatten)]
    pub packages: PackageFlags,
    #[command(flatten)]
    pub fetch: FetchFlags,
    #[command(flatten)]
    pub vendor: VendorFlag,
    #[command(flatten)]
    formats: FormatFlags,
    #[command(flatten)]
    mode: ModeFlags,
}

impl ProjectFlags {
    pub(super) fn mode(&self) -> OutputMode {
        self.mode.mode()
    }

    /// The architectures that are meant: those that were named, or those of the lock, or the recipe's.
    pub(super) fn archs(&self, lock: Option<&Lock>, environment: &Environment) -> Result<Vec<Arch>, Failure> {
        let named = self.packages.archs();
        if !named.is_empty() {
            return Ok(named.to_vec());
        }
        match lock {
            Some(lock) if !lock.archs.is_empty() => Ok(lock.archs.keys().copied().collect()),
            _ => Ok(vec![self.recipe(None, environment, |_| Ok(PathBuf::new()))?.arch]),
        }
    }

    /// The recipe for an architecture, or for the one that it names by itself.
    pub(super) fn recipe(
        &self,
        arch: Option<Arch>,
        environment: &Environment,
        release: impl FnOnce(&Path) -> Result<PathBuf, Failure>,
    ) -> Result<Recipe, Failure> {
        check_project(&self.directory)?;
        let flags = RecipeFlags {
            packages: &self.packages,
            fetch: &self.fetch,
            contents: &self.contents,
            formats: &self.formats,
            images: None,
        };
        let mut recipe = flags.recipe_for(arch, &self.directory, environment, || release(&self.directory))?;
        self.vendor.apply(&mut recipe)?;
        Ok(recipe)
    }
}

impl LockArgs {
    pub(super) fn mode(&self) -> OutputMode {
        self.project.mode()
    }

    pub(super) fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        let project = &self.project;
        check_project(&project.directory)?;
        project.packages.warn(terminal);
        let path = lock_file(&project.directory);
        let update = match self.update.as_deref() {
            None => Update::Nothing,
            Some([]) => Update::All,
            Some(names) => Update::Names(names.to_vec()),
        };
        let before = Lock::read_to_renew(&path)?;
        let archs = project.archs(before.as_ref(), environment)?;
        let before = before.unwrap_or_default();
        let display = progress::reporter(*terminal);
        let made = archs
            .into_iter()
            .map(|arch| {
                let recipe = project.recipe(Some(arch), environment, newest_release)?;
                let request = LockRequest::new(&path, before.archs.get(&arch), &update);
                Ok((arch, leanfs::assemble::lock(&recipe, request, &*display)?))
            })
            .collect::<Result<BTreeMap<Arch, ArchLock>, Failure>>();
        display.finish(made.is_ok());
        let made = made?;

        let mut now = before.clone();
        for (arch, section) in &made {
            // Newer indexes alone are no reason to touch the file.
            let is_same = before.archs.get(arch).is_some_and(|before| before.is_same_choice(section));
            if !(is_same && update == Update::Nothing) {
                now.archs.insert(*arch, section.clone());
            }
        }
        let text = now.to_text();
        let is_new = std::fs::read(&path).map_or(true, |there| there != text.as_bytes());
        if is_new {
            write_whole(&path, |file| file.write_all(text.as_bytes()).map_err(Failure::unmet))?;
        }
        tell(terminal, &path, &before, &made, is_new)
    }
}

fn tell(
    terminal: &Terminal,
    path: &Path,
    before: &Lock,
    made: &BTreeMap<Arch, ArchLock>,
    is_new: bool,
) -> Result<(), Failure> {
    let mut text = String::new();
    let mut objects = serde_json::Map::new();
    for (arch, section) in made {
        let before = before.archs.get(arch);
        let changes = changes(before, section);
        let size: u64 = section.packages.iter().map(|package| package.size).sum::<u64>()
            + section.files.iter().map(|file| file.size).sum::<u64>();
        text += &format!("{arch}: {} packages, {}\n", section.packages.len(), megabytes(size));
        for change in &changes {
            text += &format!("  {}{}\n", escaped(&change.to_string()), sizes(change));
        }
        objects.insert(
            arch.to_string(),
            json!({
                "packages": section.packages.len(),
                "size": size,
                "changes": changes.iter().map(object).collect::<Vec<_>>(),
            }),
        );
    }
    let is_written = if is_new { "is written" } else { "is as it was" };
    text += &format!("{} {is_written}\n", escaped(&path.display().to_string()));
    terminal.object(&json!({
        "event": "result",
        "exit_code": 0,
        "lock": path.display().to_string(),
        "written": is_new,
        "archs": objects,
    }))?;
    terminal.result(&text)
}

/// `, 1.9 MB (+0.1 MB)`
fn sizes(change: &Change) -> String {
    match change {
        Change::Added { size, .. } | Change::Removed { size, .. } => format!(", {}", megabytes(*size)),
        Change::Changed { size_before, size, .. } if size >= size_before => {
            format!(", {} (+{})", megabytes(*size), megabytes(size - size_before))
        }
        Change::Changed { size_before, size, .. } => {
            format!(", {} (-{})", megabytes(*size), megabytes(size_before - size))
        }
        _ => String::new(),
    }
}

fn object(change: &Change) -> Value {
    match change {
        Change::Added { name, size } => json!({"kind": "added", "name": name, "size": size}),
        Change::Removed { name, size } => json!({"kind": "removed", "name": name, "size": size}),
        Change::Changed { name, from, to, size_before, size } => json!({
            "kind": "changed", "name": name, "from": from, "to": to, "size_before": size_before, "size": size,
        }),
        Change::Role { name, from, to } => json!({"kind": "role", "name": name, "from": from, "to": to}),
        other => json!({"kind": "other", "text": other.to_string()}),
    }
}
