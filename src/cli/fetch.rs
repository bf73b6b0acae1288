//! `leanfs fetch`.

use clap::Args;
use leanfs::assemble::{LockRequest, Update, fetch_locked};
use leanfs::lock::Lock;
use serde_json::json;

use super::assemble::{check_project, newest_release};
use super::environment::Environment;
use super::failure::Failure;
use super::lock::ProjectFlags;
use super::progress;
use super::recipe_flags::lock_file;
use super::terminal::{OutputMode, Terminal, megabytes};

/// Bring what an image takes from outside into the cache, so that --offline has it
///
/// With a leanfs.lock what that names, for the architectures in it or those of --arch; without one what the recipe needs
/// now. What stands in directories of this machine is verified and left there. Flags are those of assemble.
#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    #[command(flatten)]
    project: ProjectFlags,
}

impl FetchArgs {
    pub(super) fn mode(&self) -> OutputMode {
        self.project.mode()
    }

    pub(super) fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        let project = &self.project;
        check_project(&project.directory)?;
        project.packages.warn(terminal);
        let path = lock_file(&project.directory);
        let lock = Lock::read(&path)?;
        let archs = project.archs(lock.as_ref(), environment)?;
        let display = progress::reporter(*terminal);
        let fetched = archs.into_iter().try_fold((0, 0), |(all, bytes), arch| {
            let (number, size) = match &lock {
                Some(lock) => {
                    // The lock says everything that the release would.
                    let recipe =
                        project.recipe(Some(arch), environment, |_| Ok(std::path::PathBuf::new()))?;
                    fetch_locked(lock, &path, &recipe, &*display)?
                }
                None => {
                    let recipe = project.recipe(Some(arch), environment, newest_release)?;
                    let request = LockRequest::new(&path, None, &Update::Nothing);
                    let made = leanfs::assemble::lock(&recipe, request, &*display)?;
                    let sizes = made.packages.iter().map(|package| package.size);
                    let sizes = sizes.chain(made.files.iter().map(|file| file.size));
                    (made.packages.len() + made.files.len(), sizes.sum())
                }
            };
            Ok::<_, Failure>((all + number, bytes + size))
        });
        display.finish(fetched.is_ok());
        let (number, size) = fetched?;
        terminal.object(&json!({
            "event": "result",
            "exit_code": 0,
            "locked": lock.is_some(),
            "number": number,
            "size": size,
        }))?;
        let by = if lock.is_some() { "leanfs.lock names" } else { "the image needs" };
        terminal
            .result(&format!("All {number} packages and files that {by} are at hand, {}\n", megabytes(size)))
    }
}
