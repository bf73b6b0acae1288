//! `leanfs vendor`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use leanfs::lock::Lock;
use serde_json::json;

use super::assemble::check_project;
use super::environment::Environment;
use super::failure::Failure;
use super::lock::ProjectFlags;
use super::progress;
use super::recipe_flags::lock_file;
use super::signing::private_key;
use super::terminal::{OutputMode, Terminal, escaped, megabytes};

/// Collect everything that leanfs.lock names in a directory, for machines without a network
///
/// TARGET becomes a signed repository that apk can use, with keys, tarballs and kernels beside the packages. There,
/// `leanfs assemble --offline --locked --vendor TARGET` (or `vendor` in leanfs.toml) makes the same image; it trusts what
/// has the hashes of leanfs.lock. For apk: `apk --keys-dir TARGET/keys --repository TARGET`.
#[derive(Debug, Args)]
pub(super) struct VendorArgs {
    /// The directory to fill; what is there already is not copied again
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// Sign the index with this RSA key (PEM) [default: a new key, which is forgotten afterwards]
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    #[command(flatten)]
    project: ProjectFlags,
}

impl VendorArgs {
    pub(super) fn mode(&self) -> OutputMode {
        self.project.mode()
    }

    pub(super) fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        let project = &self.project;
        check_project(&project.directory)?;
        project.packages.warn(terminal);
        if !project.packages.archs().is_empty() {
            return Err(Failure::usage(
                "vendor collects what leanfs.lock names, for all of its architectures",
            )
            .hinted(
                "leave out --arch; `leanfs lock --arch` says which architectures are locked".to_owned(),
            ));
        }
        let path = lock_file(&project.directory);
        let lock = Lock::read(&path)?.ok_or_else(|| {
            Failure::usage(format!("there is no {}", path.display()))
                .hinted("`leanfs lock` makes it; then there is something to collect".to_owned())
        })?;
        let key = self.sign_key.as_deref().map(|path| private_key(path, None)).transpose()?;
        let recipes = lock
            .archs
            .keys()
            .map(|&arch| Ok((arch, project.recipe(Some(arch), environment, |_| Ok(PathBuf::new()))?)))
            .collect::<Result<BTreeMap<_, _>, Failure>>()?;
        let display = progress::reporter(*terminal);
        let made = leanfs::assemble::vendor(&lock, &path, &recipes, &self.target, key.as_ref(), &*display);
        display.finish(made.is_ok());
        let made = made?;
        let (target, key) = (self.target.display().to_string(), made.key.display().to_string());
        terminal.object(&json!({
            "event": "result",
            "exit_code": 0,
            "directory": target,
            "packages": made.packages,
            "files": made.files,
            "size": made.size,
            "copied": made.copied,
            "key": key,
        }))?;
        let mut text = format!(
            "{target}: {} packages and {} files, {}; {} of them are new\n\nUse it\n  \
             leanfs assemble --offline --locked --vendor {target}\n  \
             apk --keys-dir {target}/keys --repository {target} add NAME\n\n\
             The index is signed, {key} verifies it\n",
            made.packages,
            made.files,
            megabytes(made.size),
            made.copied,
        );
        if made.has_v3 {
            text += "Packages of format v3 are only in the index Packages.adb: for apk, `--repository` names that\n";
        }
        terminal.result(&escaped(&text))
    }
}
