//! `leanfs assemble`.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use leanfs::cache;
use leanfs::image::output::remove_unfinished;
use leanfs::recipe::ImageFormat;
use leanfs::report::manifest::Manifest;
use leanfs::report::{Event, Reporter, Stage};

use super::environment::Environment;
use super::failure::{Because, Failure};
use super::interrupt;
use super::progress;
use super::recipe_flags::{ContentFlags, FetchFlags, ImageFlags, LockFlags, PackageFlags, RecipeFlags};
use super::terminal::{OutputMode, Terminal};
use super::{ModeFlags, summary};

/// How many bytes the cache may have, if nothing else is said.
const CACHE_SIZE: u64 = 4 << 30;

/// Make a bootable image of a BEAM release
///
/// Without a leanfs.toml and flags: takes the newest release under _build/prod/rel, resolves and verifies the Alpine
/// packages that it needs, and writes leanfs/initramfs.cpio.xz, leanfs/kernel and leanfs/manifest.json. Flags win
/// over leanfs.toml; --package adds to its list.
#[derive(Debug, Args)]
pub(super) struct AssembleArgs {
    /// The project: where leanfs.toml and _build are
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Run `MIX_ENV=prod mix release --overwrite` in DIR first
    #[arg(long)]
    build: bool,
    #[command(flatten)]
    contents: ContentFlags,
    #[command(flatten)]
    packages: PackageFlags,
    #[command(flatten)]
    fetch: FetchFlags,
    #[command(flatten)]
    lock: LockFlags,
    #[command(flatten)]
    images: ImageFlags,
    #[command(flatten)]
    mode: ModeFlags,
}

impl AssembleArgs {
    pub(super) fn mode(&self) -> OutputMode {
        self.mode.mode()
    }

    pub(super) fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        check_project(&self.directory)?;
        self.packages.warn(terminal);
        let flags = RecipeFlags {
            packages: &self.packages,
            fetch: &self.fetch,
            contents: &self.contents,
            formats: &self.images.formats,
            images: Some(&self.images),
        };
        let _build = interrupt::Cleanup::new(leanfs::kernel::build::kill_running);
        let display = progress::reporter(*terminal);
        let result = (|| {
            // What is wrong in leanfs.toml is better known before a long build.
            if self.build {
                flags.recipe(&self.directory, environment, || Ok(PathBuf::new()))?;
                build(&self.directory, &*display)?;
            }
            let mut recipe =
                flags.recipe(&self.directory, environment, || newest_release(&self.directory))?;
            self.lock.apply(&mut recipe, &self.directory)?;
            let output = recipe.output.clone();
            let _cleanup = interrupt::Cleanup::new(move || remove_unfinished(&output));
            let manifest = leanfs::assemble(&recipe, &*display).map_err(Failure::from)?;
            // A cache that can't be looked after is none the worse.
            let _ = cache::keep_within(&recipe.cache, environment.cache_size.unwrap_or(CACHE_SIZE));
            Ok::<_, Failure>(manifest)
        })();
        display.finish(result.is_ok());
        let manifest = result?;
        self.tell(terminal, &manifest)
    }

    fn tell(&self, terminal: &Terminal, manifest: &Manifest) -> Result<(), Failure> {
        let directory = self.images.output.display().to_string();
        let start = start_commands(&self.images.output, manifest);
        terminal.object(&serde_json::json!({
            "event": "result",
            "exit_code": 0,
            "directory": directory,
            "manifest": self.images.output.join("manifest.json").display().to_string(),
            "release": manifest.release,
            "outputs": manifest.outputs,
            "packages": manifest.packages,
            "left_out": manifest.left_out,
            "unknown_scripts": manifest.unknown_scripts.iter().map(|script| {
                serde_json::json!({"package": script.package, "script": script.script})
            }).collect::<Vec<_>>(),
            "notes": manifest.notes,
            "start": start,
        }))?;
        terminal.result(&summary::render(manifest, &directory, terminal.mode.verbose, &start))
    }
}

/// # Errors
/// When it is no directory.
pub(super) fn check_project(directory: &Path) -> Result<(), Failure> {
    match std::fs::metadata(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::unreadable(directory, error)),
        Ok(metadata) if metadata.is_dir() => Ok(()),
        _ => Err(Failure::usage(format!("{} is no directory", directory.display()))
            .hinted("DIR is the project; name a release with `--release PATH`".to_owned())),
    }
}

pub(super) fn newest_release(project: &Path) -> Result<PathBuf, Failure> {
    let releases =
        if project == Path::new(".") { PathBuf::new() } else { project.to_owned() }.join("_build/prod/rel");
    match leanfs::layer::release::newest_in_project(project) {
        Ok(Some(release)) => Ok(release),
        Ok(None) => Err(Failure::unmet(format!("there is no release in {}", releases.display())).hinted(
            "run `MIX_ENV=prod mix release` first, or say `--build`, or name a release with `--release PATH`"
                .to_owned(),
        )),
        Err(error) => {
            Err(Failure::unmet(Because::new(format!("{} can't be read", releases.display()), error)))
        }
    }
}

/// Runs the project's own `mix release`; what it prints goes to stderr, stdout is for results.
fn build(project: &Path, reporter: &dyn Reporter) -> Result<(), Failure> {
    if !project.join("mix.exs").is_file() {
        return Err(Failure::usage(format!(
            "{} has no mix.exs, so there is nothing to build",
            project.display()
        ))
        .hinted(
            "make the release with the project's own tools, and name it with `--release PATH`".to_owned(),
        ));
    }
    reporter.report(Event::Stage { stage: Stage::Build });
    let mut mix = Command::new("mix");
    mix.args(["release", "--overwrite"]).env("MIX_ENV", "prod").current_dir(project);
    mix.stdin(Stdio::null()).stdout(std::io::stderr());
    match mix.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::unmet(format!("`mix release` failed ({status}); its output is above"))),
        Err(error) => Err(Failure::unmet(Because::new("`mix` could not be started", error)).hinted(
            "install Elixir, or build the release elsewhere and name it with `--release PATH`".to_owned(),
        )),
    }
}

/// What starts the outputs: leanfs, or QEMU by hand, if there is a kernel; Firecracker; Docker.
fn start_commands(directory: &Path, manifest: &Manifest) -> Vec<String> {
    let joined = |words: &[OsString]| -> String {
        words.iter().map(|word| shell_word(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    };
    let mut commands = Vec::new();
    if let Ok(qemu) = leanfs::vm::command_line(directory) {
        let launch = ["leanfs".into(), "launch".into(), directory.as_os_str().to_owned()];
        commands.extend([joined(&launch), joined(&qemu)]);
    }
    for output in &manifest.outputs {
        let place = shell_word(&directory.display().to_string());
        match output.format() {
            Some(ImageFormat::Firecracker) => {
                commands.push(format!("cd {place} && firecracker --no-api --config-file {}", output.name))
            }
            Some(ImageFormat::OciArchive) => {
                let archive = directory.join(&output.name).into_os_string();
                commands.push(joined(&["docker".into(), "load".into(), "--input".into(), archive]));
            }
            _ => {}
        }
    }
    commands
}

/// A word as a POSIX shell takes it.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell() {
        for (word, want) in [("leanfs", "leanfs"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'")] {
            assert_eq!(shell_word(word), want);
        }
    }
}
