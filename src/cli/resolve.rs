//! `leanfs resolve`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use leanfs::apk::{Dependency, IndexEntry, InstalledDatabase};
use leanfs::fetch::{Fetcher, VerifiedIndex};
use leanfs::resolve::{Change, ChangeKind, Plan, Prefer, Repositories, ResolveError, System, Upgrade};
use serde_json::json;

use super::ModeFlags;
use super::environment::Environment;
use super::failure::{Because, Failure};
use super::progress;
use super::recipe_flags::{FetchFlags, PackageFlags};
use super::terminal::{OutputMode, Terminal, escaped};

/// Say which packages a set of names comes to, each with the chain of names that wanted it
///
/// With --installed, say what is to be done so that these are there too, or, without names, to have what the
/// world asks for: what apk would do, in its order. Nothing but indexes is fetched, and nothing is changed.
/// Repositories and keys of a leanfs.toml in this directory are used.
#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// Packages, or what packages provide (so:libz.so.1), with a version if it matters (busybox>1.36)
    #[arg(value_name = "NAME", required_unless_present = "installed")]
    names: Vec<Dependency>,
    #[command(flatten)]
    system: SystemFlags,
    #[command(flatten)]
    packages: PackageFlags,
    #[command(flatten)]
    fetch: FetchFlags,
    #[command(flatten)]
    mode: ModeFlags,
}

/// What is installed, and what is to be done with it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Installed packages")]
struct SystemFlags {
    /// What is installed: a root directory, or its lib/apk/db/installed
    #[arg(long, value_name = "DIR|FILE")]
    installed: Option<PathBuf>,
    /// What was asked for so far [default: etc/apk/world of the root directory]
    #[arg(long, value_name = "FILE", requires = "installed")]
    world: Option<PathBuf>,
    /// No longer ask for this name; repeatable
    #[arg(long = "del", value_name = "NAME", requires = "installed", conflicts_with = "names")]
    deleted: Vec<String>,
    /// Newer versions of the names, or of everything, over what is installed
    #[arg(long, requires = "installed", conflicts_with = "deleted")]
    upgrade: bool,
    /// With --upgrade, only what repositories have, be it older
    #[arg(long, requires = "upgrade", conflicts_with = "names")]
    available: bool,
}

impl ResolveArgs {
    pub(super) fn mode(&self) -> OutputMode {
        self.mode.mode()
    }

    pub(super) fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        self.packages.warn(terminal);
        let current = self.system.read()?;
        let sources = self.packages.sources(Path::new("."))?;
        let settings = self.fetch.settings(&self.packages, &sources, environment)?;
        let display = progress::reporter(*terminal);
        let indexes = Fetcher::new(settings, &*display)
            .and_then(|fetcher| fetcher.indexes(&sources.places(), sources.arch));
        display.finish(indexes.is_ok());
        let verified = indexes?;
        let tags = sources.repositories.iter().map(|source| source.tag.as_deref());
        let repositories = verified
            .iter()
            .zip(tags)
            .fold(Repositories::default(), |all, (index, tag)| all.with(tag, index.index()))
            .for_arch(sources.arch.alpine());
        let result = match current {
            None => self.select(&repositories, &verified, terminal),
            Some((installed, world)) => {
                let system = System::new(repositories).with_installed(&installed).with_world(&world);
                self.plan(&system).map_err(unmet).and_then(|plan| tell(&plan, &verified, terminal))
            }
        };
        // The process ends now: giving back each of some hundred thousand texts would take a tenth of its time.
        std::mem::forget(verified);
        result
    }

    /// From nothing.
    fn select(
        &self,
        repositories: &Repositories<'_>,
        verified: &[VerifiedIndex],
        terminal: &Terminal,
    ) -> Result<(), Failure> {
        let solution = repositories.resolve(&self.names).map_err(unmet)?;
        let mut text = String::new();
        let mut objects = Vec::new();
        for selected in &solution.packages {
            let entry = &selected.entry;
            let repository = verified[selected.repository].repository().to_string();
            text += &format!("{} {}: {}\n", entry.name, entry.version, selected.wanted_by.join(" → "));
            objects.push(json!({
                "name": entry.name,
                "version": entry.version,
                "repository": repository,
                "wanted_by": selected.wanted_by,
            }));
        }
        terminal.object(&json!({"event": "result", "exit_code": 0, "packages": objects}))?;
        terminal.answer(&escaped(&text))
    }

    fn plan(&self, system: &System<'_>) -> Result<Plan, ResolveError> {
        let flags = &self.system;
        if !flags.deleted.is_empty() {
            system.remove(&flags.deleted, false)
        } else if flags.upgrade && self.names.is_empty() {
            system.upgrade(&Upgrade { available: flags.available, ..Upgrade::default() })
        } else {
            system.add(&self.names, if flags.upgrade { Prefer::Upgrade } else { Prefer::Installed })
        }
    }
}

fn unmet(error: ResolveError) -> Failure {
    let hint = error.hint();
    Failure::unmet(error).hinted(hint)
}

impl SystemFlags {
    /// What is installed, and the world.
    fn read(&self) -> Result<Option<(InstalledDatabase, Vec<Dependency>)>, Failure> {
        const DATABASE: &str = "lib/apk/db/installed";
        const WORLD: &str = "etc/apk/world";
        let Some(given) = &self.installed else { return Ok(None) };
        let root = if given.is_dir() {
            Some(given.clone())
        } else {
            let directory = given.ends_with(DATABASE).then(|| given.ancestors().nth(4)).flatten();
            directory.map(Path::to_owned)
        };
        let database = if given.is_dir() { given.join(DATABASE) } else { given.clone() };
        let installed = InstalledDatabase::parse(&read(&database)?).map_err(|error| {
            Failure::unmet(Because::new(format!("{} is damaged", database.display()), error))
        })?;
        let world = self.world.clone().or_else(|| root.map(|root| root.join(WORLD))).ok_or_else(|| {
            Failure::usage(format!(
                "what was asked for is not known: {} is in no root directory",
                given.display()
            ))
            .hinted("give the file with `--world`".to_owned())
        })?;
        let text = read(&world)?;
        let mut wanted = Vec::new();
        for word in String::from_utf8_lossy(&text).split_whitespace() {
            wanted.push(word.parse().map_err(|error| {
                Failure::unmet(Because::new(format!("{} is no world", world.display()), error))
            })?);
        }
        Ok(Some((installed, wanted)))
    }
}

/// Reads a file, unless it is larger than any such file is.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    /// A database of 10,000 packages has about 100 MB.
    const MOST: u64 = 1 << 30;
    let unreadable = |error| Failure::unreadable(path, error);
    let mut bytes = Vec::new();
    let file = fs_err::File::open(path).map_err(unreadable)?;
    file.take(MOST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST {
        return Err(Failure::unmet(format!("{} is larger than {MOST} bytes", path.display())));
    }
    Ok(bytes)
}

fn tell(plan: &Plan, verified: &[VerifiedIndex], terminal: &Terminal) -> Result<(), Failure> {
    let mut text = String::new();
    for kept in &plan.kept {
        let because =
            if kept.because.is_empty() { "something else".to_owned() } else { kept.because.join(", ") };
        text += &format!("{} stays, because of {because}\n", kept.name);
    }
    for change in &plan.changes {
        text += &change.to_string();
        if !change.wanted_by.is_empty() {
            text += &format!(": {}", change.wanted_by.join(" → "));
        }
        if change.kind == ChangeKind::Reinstall && !change.at_hand {
            text += " (in no repository, so nothing is done)";
        }
        text.push('\n');
    }
    if plan.changes.is_empty() {
        text += &format!("Nothing is to be done: {} packages are installed\n", plan.packages.len());
    }
    if !plan.unavailable.is_empty() {
        terminal.warning(&format!("no repository has {}", plan.unavailable.join(", ")));
    }
    let version = |entry: &Option<IndexEntry>| entry.as_ref().map(|entry| entry.version.clone());
    let object = |change: &Change| {
        let name = change.to.as_ref().or(change.from.as_ref()).map(|entry| entry.name.clone());
        json!({
            "kind": kind(change.kind),
            "name": name,
            "from": version(&change.from),
            "to": version(&change.to),
            "tag": change.tag,
            "repository": change.repository.map(|place| verified[place].repository().to_string()),
            "wanted_by": change.wanted_by,
        })
    };
    let kept = plan.kept.iter().map(|kept| json!({"name": kept.name, "because": kept.because}));
    let packages = plan.packages.iter().map(
        |package| json!({"name": package.entry.name, "version": package.entry.version, "tag": package.repository_tag}),
    );
    terminal.object(&json!({
        "event": "result",
        "exit_code": 0,
        "changes": plan.changes.iter().map(object).collect::<Vec<_>>(),
        "packages": packages.collect::<Vec<_>>(),
        "world": plan.world.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "kept": kept.collect::<Vec<_>>(),
        "unavailable": plan.unavailable,
    }))?;
    terminal.answer(&escaped(&text))
}

fn kind(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Install => "install",
        ChangeKind::Upgrade => "upgrade",
        ChangeKind::Downgrade => "downgrade",
        ChangeKind::Replace => "replace",
        ChangeKind::Reinstall => "reinstall",
        ChangeKind::Repin => "repin",
        ChangeKind::Purge => "purge",
        _ => "change",
    }
}
