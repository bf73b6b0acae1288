//! The files and directories that go into an image, for its manifest.

use std::path::Path;

use super::images::efi_stub;
use super::{AssembleError, Assembly};
use crate::apk::checksum::sha256;
use crate::beam::{LockedPackage, lock_file};
use crate::lock::FileRole;
use crate::recipe::{ImageFormat, KernelSource, OtpSource, Recipe};
use crate::report::manifest::{Input, Parameters};
use crate::tree::{Content, Tree};

/// The largest lock file of a project that is read; real ones have some 10 kB.
const MOST_LOCK_BYTES: u64 = 16 << 20;

/// What is hashed before something is laid over it.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// For the manifest.
    pub(super) all: Vec<Input>,
    /// What the project's lock files say.
    pub(super) locked: Vec<LockedPackage>,
}

impl Assembly<'_> {
    /// Hashes the files and directories that the recipe names. `release` is what the release's directory holds.
    pub(super) fn inputs(&self, release: &Tree, overlay: Option<&Tree>) -> Result<Inputs, AssembleError> {
        let recipe = self.recipe;
        let mut inputs = Inputs::default();
        let all = &mut inputs.all;
        if let Some(path) = &recipe.file {
            all.push(file("recipe", path)?);
        }
        all.push(match recipe.release.is_dir() {
            true => directory("release", &recipe.release, release, recipe.jobs)?,
            false => file("release", &recipe.release)?,
        });
        match &recipe.otp {
            OtpSource::Tarball { path, .. } => all.push(self.input(FileRole::Otp, path)?),
            OtpSource::Url { url, sha256 } => {
                let path = url.split(['?', '#']).next().unwrap_or_default();
                all.push(Input {
                    role: "otp".to_owned(),
                    name: path.rsplit('/').next().unwrap_or_default().to_owned(),
                    sha256: Some(hex::encode(sha256)),
                    dir_hash: None,
                });
            }
            OtpSource::Automatic | OtpSource::Packages => {}
        }
        match &recipe.kernel {
            KernelSource::File(path) => all.push(self.input(FileRole::Kernel, path)?),
            KernelSource::Build(build) => {
                match build.sha256 {
                    Some(sha256) if build.is_remote() => {
                        let path = build.source.split(['?', '#']).next().unwrap_or_default();
                        all.push(Input {
                            role: "kernel-source".to_owned(),
                            name: path.rsplit('/').next().unwrap_or_default().to_owned(),
                            sha256: Some(hex::encode(sha256)),
                            dir_hash: None,
                        });
                    }
                    _ => all.push(file("kernel-source", Path::new(&build.source))?),
                }
                let configs = build.configs.iter().flatten();
                for config in configs.filter(|name| crate::kernel::config::is_path(name)) {
                    all.push(file("kernel-config", &build.directory.join(config))?);
                }
            }
            KernelSource::Package(_) | KernelSource::None => {}
        }
        if let (Some(path), Some(tree)) = (&recipe.overlay, overlay) {
            all.push(directory("overlay", path, tree, recipe.jobs)?);
        }
        for path in &recipe.prune.traces {
            all.push(file("trace", path)?);
        }
        for spec in &recipe.images {
            if matches!(spec.format, ImageFormat::Disk | ImageFormat::Qcow2) {
                let stub = self.input(FileRole::EfiStub, &efi_stub(spec, recipe.arch))?;
                if !all.contains(&stub) {
                    all.push(stub);
                }
            }
        }
        for path in &recipe.dependency_locks {
            let failed = |source| AssembleError::ReadInput { path: path.clone(), source };
            let size = fs_err::metadata(path).map_err(failed)?.len();
            let bytes = Content::from_path(path.clone(), size).read(MOST_LOCK_BYTES).map_err(failed)?;
            let name = name(path);
            match lock_file::parse(&name, &bytes) {
                Ok(mut locked) => inputs.locked.append(&mut locked),
                Err(error) => {
                    self.notes.note(format!("{} says nothing of dependencies: {error}", path.display()));
                    continue;
                }
            }
            let sha256 = Some(hex::encode(sha256(&bytes)));
            all.push(Input { role: "dependencies".to_owned(), name, sha256, dir_hash: None });
        }
        Ok(inputs)
    }
}

impl Assembly<'_> {
    /// A file that a lock may have: then it need not be where the recipe has it.
    fn input(&self, role: FileRole, path: &Path) -> Result<Input, AssembleError> {
        match self.locked_entry(role, &path.to_string_lossy())? {
            Some(locked) => Ok(Input {
                role: role.name().to_owned(),
                name: name(path),
                sha256: Some(hex::encode(locked.sha256)),
                dir_hash: None,
            }),
            None => file(role.name(), path),
        }
    }
}

/// What the recipe asks for, as far as it is no file.
pub(super) fn parameters(recipe: &Recipe) -> Parameters {
    Parameters {
        packages: recipe.packages.clone(),
        otp: match &recipe.otp {
            OtpSource::Automatic => "automatic",
            OtpSource::Packages => "packages",
            OtpSource::Tarball { .. } | OtpSource::Url { .. } => "tarball",
        }
        .to_owned(),
        kernel: match &recipe.kernel {
            KernelSource::Package(name) => format!("package:{name}"),
            KernelSource::File(_) => "file".to_owned(),
            // The release and the configurations are no paths of the machine; a fragment of the user's is one.
            KernelSource::Build(build) => match &build.configs {
                Some(configs) => {
                    let names: Vec<String> = configs.iter().map(|config| name(Path::new(config))).collect();
                    format!("build:{}", names.join(","))
                }
                None => "build".to_owned(),
            },
            KernelSource::None => "none".to_owned(),
        },
        images: recipe
            .images
            .iter()
            .map(|spec| match spec.format {
                ImageFormat::Ext4 => spec.format.name().to_owned(),
                format => format!("{} {}", format.name(), spec.compression()),
            })
            .collect(),
        keep: recipe.prune.keep.iter().map(ToString::to_string).collect(),
        shell: recipe.shell,
    }
}

fn file(role: &str, path: &Path) -> Result<Input, AssembleError> {
    let failed = |source| AssembleError::ReadInput { path: path.to_owned(), source };
    let size = fs_err::metadata(path).map_err(failed)?.len();
    let hash = Content::from_path(path.to_owned(), size).sha256().map_err(failed)?;
    Ok(Input { role: role.to_owned(), name: name(path), sha256: Some(hex::encode(hash)), dir_hash: None })
}

fn directory(role: &str, path: &Path, tree: &Tree, threads: usize) -> Result<Input, AssembleError> {
    let hash = tree
        .dir_hash(threads)
        .map_err(|source| AssembleError::ReadInput { path: path.to_owned(), source })?;
    Ok(Input { role: role.to_owned(), name: String::new(), sha256: None, dir_hash: hash.map(hex::encode) })
}

/// Where a file stands is nobody's business.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
