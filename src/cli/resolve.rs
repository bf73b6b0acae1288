//! `leanfs resolve`.

use std::path::Path;

use clap::Args;
use leanfs::apk::Dependency;
use leanfs::fetch::Fetcher;
use leanfs::resolve::Repositories;

use super::ModeFlags;
use super::environment::Environment;
use super::failure::Failure;
use super::progress;
use super::recipe_flags::{FetchFlags, PackageFlags};
use super::terminal::{OutputMode, Terminal};

/// Say which packages a set of names comes to, each with the chain of names that wanted it
///
/// Nothing but indexes is fetched. Repositories and keys of a leanfs.toml in this directory are used.
#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// Packages, or what packages provide (so:libz.so.1), with a version if it matters (busybox>1.36)
    #[arg(value_name = "NAME", required = true)]
    names: Vec<Dependency>,
    #[command(flatten)]
    packages: PackageFlags,
    #[command(flatten)]
    fetch: FetchFlags,
    #[command(flatten)]
    mode: ModeFlags,
}

impl ResolveArgs {
    pub(super) fn mode(&self) -> OutputMode {
        self.mode.mode()
    }

    pub(super) fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        self.packages.warn(terminal);
        let sources = self.packages.sources(Path::new("."))?;
        let settings = self.fetch.settings(&self.packages, &sources, environment)?;
        let display = progress::reporter(*terminal);
        let indexes = Fetcher::new(settings, &*display)
            .and_then(|fetcher| fetcher.indexes(&sources.places(), sources.arch));
        display.finish(indexes.is_ok());
        let verified = indexes?;
        let tags = sources.repositories.iter().map(|source| source.tag.as_deref());
        let solution = verified
            .iter()
            .zip(tags)
            .fold(Repositories::default(), |all, (index, tag)| all.with(tag, index.index()))
            .for_arch(sources.arch.alpine())
            .resolve(&self.names)
            .map_err(|error| {
                let hint = error.hint();
                Failure::unmet(error).hinted(hint)
            })?;
        let mut text = String::new();
        let mut objects = Vec::new();
        for selected in &solution.packages {
            let entry = &selected.entry;
            let repository = verified[selected.repository].repository().to_string();
            text += &format!("{} {}: {}\n", entry.name, entry.version, selected.wanted_by.join(" → "));
            objects.push(serde_json::json!({
                "name": entry.name,
                "version": entry.version,
                "repository": repository,
                "wanted_by": selected.wanted_by,
            }));
        }
        terminal.object(&serde_json::json!({"event": "result", "exit_code": 0, "packages": objects}))?;
        terminal.answer(&text)
    }
}
