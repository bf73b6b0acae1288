//! A lock of what an assembly chose, with as much of the one before as can stay.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::PoisonError;

use super::{Locking, is_entry, locked_sources, recipe_labels, source};
use crate::apk::{Checksum, Dependency, IndexEntry, PublicKey};
use crate::assemble::images::efi_stub;
use crate::assemble::packages::{Packages, Selection, Source};
use crate::assemble::{AssembleError, Assembly};
use crate::fetch::{FetchError, VerifiedIndex, sha256_of_rest};
use crate::kernel::KernelError;
use crate::lock::{
    ArchLock, FileRole, LockedFile, LockedKey, LockedPackage, LockedRecipe, LockedRepository, Role,
    is_file_name,
};
use crate::recipe::{ImageFormat, KernelSource, OtpSource, Recipe, date};
use crate::report::Reporter;

/// What a lock is made for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LockRequest<'a> {
    /// The lock's file, which names directories from its own, and is named in messages.
    pub path: &'a Path,
    /// What is locked for the architecture so far: it stays as far as that goes.
    pub previous: Option<&'a ArchLock>,
    /// What of it is renewed.
    pub update: &'a Update,
}

impl<'a> LockRequest<'a> {
    /// For the lock at `path`.
    pub fn new(path: &'a Path, previous: Option<&'a ArchLock>, update: &'a Update) -> Self {
        Self { path, previous, update }
    }
}

/// What of a lock is renewed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Update {
    /// Only what the recipe asks for and the lock doesn't have.
    #[default]
    Nothing,
    /// Packages of these names, and what must change with them.
    Names(Vec<String>),
    /// Everything.
    All,
}

/// Makes what is to be locked for [`Recipe::arch`]: everything that [`crate::assemble()`] would do, without an output.
///
/// # Errors
/// As [`crate::assemble()`], and [`AssembleError::NothingToUpdate`].
pub fn lock(
    recipe: &Recipe,
    request: LockRequest<'_>,
    reporter: &dyn Reporter,
) -> Result<ArchLock, AssembleError> {
    if let Update::Names(names) = request.update {
        let is_locked = |name: &&String| {
            request.previous.is_some_and(|lock| lock.packages.iter().any(|package| package.name == **name))
        };
        if let Some(name) = names.iter().find(|name| !is_locked(name)) {
            return Err(AssembleError::NothingToUpdate { name: crate::text::shown(name) });
        }
    }
    let mut assembly = Assembly::new(recipe, reporter, Locking::Renewed(request))?;
    let mut image = assembly.run();
    // What the cache has for this run may turn out to be damaged when it is read; then the run goes on without.
    if image.is_err() && assembly.warn_of_damage() {
        assembly.forget_memo()?;
        image = assembly.run();
    }
    let made = image?.lock;
    made.ok_or_else(|| AssembleError::Bug("nothing was locked".to_owned()))
}

impl LockRequest<'_> {
    /// The recipe's repositories, and behind them what they no longer have of what is locked; and what stays as it is
    /// locked.
    pub(in crate::assemble) fn sources(
        &self,
        assembly: &Assembly<'_>,
    ) -> Result<(Vec<Source>, BTreeMap<String, Checksum>), AssembleError> {
        let mut sources = assembly.repositories()?;
        let mut pins = BTreeMap::new();
        let Some(previous) = self.previous else { return Ok((sources, pins)) };
        self.warn_of_rollback(assembly, &sources, previous);
        let stays = |package: &&LockedPackage| match self.update {
            Update::Nothing => true,
            Update::All => false,
            Update::Names(names) => !names.contains(&package.name),
        };
        let is_named = |package: &LockedPackage| {
            sources
                .iter()
                .flat_map(|source| &source.index.index().entries)
                .any(|entry| is_entry(package, entry))
        };
        let (there, gone): (Vec<&LockedPackage>, Vec<&LockedPackage>) =
            previous.packages.iter().filter(stays).partition(|package| is_named(package));
        for package in there {
            pins.insert(package.name.clone(), package.identity);
        }
        for package in gone {
            let alone = ArchLock { packages: vec![package.clone()], ..previous.clone() };
            let places = locked_sources(assembly.recipe, self.path);
            match assembly.fetcher.locked_indexes(&alone, assembly.recipe.arch, &places) {
                Ok(indexes) => {
                    let with_it = indexes.into_iter().zip(&previous.repositories);
                    let with_it = with_it.filter(|(index, _)| !index.index().entries.is_empty());
                    sources.extend(with_it.map(|(index, place)| source(index, place)));
                    pins.insert(package.name.clone(), package.identity);
                }
                Err(error @ (FetchError::NoWhere { .. } | FetchError::NotAsLocked { .. })) => {
                    assembly.notes.warn(format!("{error}: another one may be taken"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((sources, pins))
    }

    /// Warns of an index that is older than the one of which the lock was made.
    fn warn_of_rollback(&self, assembly: &Assembly<'_>, sources: &[Source], previous: &ArchLock) {
        for source in sources {
            let then = previous.repositories.iter().find(|place| place.label() == source.label);
            let (Some(then), Some(now)) =
                (then.and_then(|place| place.newest), source.index.index().newest_build())
            else {
                continue;
            };
            if now < then {
                assembly.notes.warn(format!(
                    "{} is older than the index that {} was made of: its newest package was built on {}, and then there \
                     was one of {}; a mirror that lags behind, or an attack",
                    source.index.location(),
                    self.path.display(),
                    date(now),
                    date(then)
                ));
            }
        }
    }

    /// What is to be locked.
    pub(super) fn lock(
        &self,
        assembly: &Assembly<'_>,
        packages: &Packages<'_>,
        selection: &Selection,
        world: &[Dependency],
    ) -> Result<ArchLock, AssembleError> {
        let recipe = assembly.recipe;
        let sources = packages.sources()?;
        let mut chosen: BTreeMap<(String, String), (usize, IndexEntry, Role)> = BTreeMap::new();
        let resolved = selection.resolved.iter().map(|(chosen, is_in_image)| {
            let role = if *is_in_image { Role::Image } else { Role::Resolve };
            (chosen.source, chosen.entry.clone(), role)
        });
        let alone = packages.alone().into_iter().map(|(source, entry)| (source, entry, Role::Kernel));
        for (source, entry, role) in resolved.chain(alone) {
            let key = (entry.name.clone(), entry.version.clone());
            match chosen.get_mut(&key) {
                Some(there) => there.2 = there.2.min(role),
                None => drop(chosen.insert(key, (source, entry, role))),
            }
        }
        // What is left out of the image has not been fetched yet.
        let left_out: Vec<(&VerifiedIndex, &IndexEntry)> = chosen
            .values()
            .filter(|(_, _, role)| *role == Role::Resolve)
            .map(|(source, entry, _)| (&sources[*source].index, entry))
            .collect();
        assembly.fetcher.packages(&left_out, &|_, _| false)?;
        let all: Vec<(&VerifiedIndex, &IndexEntry)> =
            chosen.values().map(|(source, entry, _)| (&sources[*source].index, entry)).collect();
        let identified = assembly.fetcher.identify(&all)?;

        let mut keys: BTreeSet<LockedKey> = BTreeSet::new();
        let mut locked = Vec::new();
        for ((source, entry, role), identified) in chosen.into_values().zip(identified) {
            let label = &sources[source].label;
            let before = self.previous.and_then(|previous| {
                let package = previous.packages.iter().find(|package| is_entry(package, &entry))?;
                (package.hashes == identified.hashes).then_some((previous, package))
            });
            let mut signed_by = fingerprints(&identified.signed_by, &mut keys);
            if let (Some((previous, package)), true) = (before, signed_by.is_empty()) {
                // Its key may be at hand in the vendor directory only.
                signed_by.clone_from(&package.signed_by);
                keys.extend(previous.keys.iter().filter(|key| signed_by.contains(&key.fingerprint)).cloned());
            }
            locked.push(LockedPackage {
                name: entry.name,
                version: entry.version,
                arch: entry.arch,
                repository: label.clone(),
                role,
                size: identified.size,
                identity: entry.control_hash,
                hashes: identified.hashes,
                signed_by,
                line: 0,
            });
        }
        Ok(ArchLock {
            recipe: LockedRecipe::of(recipe),
            absent: packages.absent(),
            world: world.iter().map(ToString::to_string).collect(),
            order: selection.resolved.iter().map(|(chosen, _)| chosen.entry.name.clone()).collect(),
            repositories: self.repositories(assembly, sources, &locked, &mut keys),
            keys: keys.into_iter().collect(),
            packages: locked,
            files: files(assembly)?,
            libraries: assembly.libraries.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        })
    }

    /// Those of the recipe, and those that only the lock before knew, if something is still of them.
    fn repositories(
        &self,
        assembly: &Assembly<'_>,
        sources: &[Source],
        packages: &[LockedPackage],
        keys: &mut BTreeSet<LockedKey>,
    ) -> Vec<LockedRepository> {
        let mut repositories: Vec<LockedRepository> = Vec::new();
        let before = |label: &str| {
            self.previous.and_then(|lock| lock.repositories.iter().find(|place| place.label() == label))
        };
        for source in sources {
            if repositories.iter().any(|place| place.label() == source.label) {
                continue;
            }
            let is_of_recipe = recipe_labels(assembly.recipe, self.path).contains(&source.label);
            let place = if is_of_recipe {
                let signer = assembly.fetcher.signer(&source.index);
                let seen = before(&source.label).and_then(|place| place.newest);
                LockedRepository {
                    name: match &source.tag {
                        Some(tag) => source.label.trim_start_matches(&format!("@{tag} ")).to_owned(),
                        None => source.label.clone(),
                    },
                    tag: source.tag.clone(),
                    newest: source.index.index().newest_build().max(seen),
                    signed_by: signer.and_then(|key| fingerprints(std::slice::from_ref(key), keys).pop()),
                }
            } else if let Some(place) = before(&source.label)
                .filter(|_| packages.iter().any(|package| package.repository == source.label))
            {
                let previous = self.previous.map(|lock| lock.keys.as_slice()).unwrap_or_default();
                keys.extend(previous.iter().filter(|key| Some(key.fingerprint) == place.signed_by).cloned());
                place.clone()
            } else {
                continue;
            };
            repositories.push(place);
        }
        repositories
    }
}

fn fingerprints(signers: &[PublicKey], keys: &mut BTreeSet<LockedKey>) -> Vec<[u8; 32]> {
    let mut all = BTreeSet::new();
    for key in signers {
        let fingerprint = key.fingerprint();
        all.insert(fingerprint);
        // One key may have several names; the first in their order is as good as any.
        if keys.iter().all(|there| there.fingerprint != fingerprint) {
            keys.insert(LockedKey { fingerprint, name: key.name().to_owned() });
        }
    }
    all.into_iter().collect()
}

/// The tarball and the kernel file that a recipe names.
fn files(assembly: &Assembly<'_>) -> Result<Vec<LockedFile>, AssembleError> {
    let mut files = Vec::new();
    let name_of = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut add = |role, name: String, path: &Path| -> Result<(), AssembleError> {
        let failed = |source| match role {
            FileRole::EfiStub => AssembleError::NoEfiStub { source },
            _ => KernelError::Read { name: path.display().to_string(), source }.into(),
        };
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let sha256 = sha256_of_rest(&mut file).map_err(failed)?;
        files.push(LockedFile { role, name, size, sha256, line: 0 });
        Ok(())
    };
    match &assembly.recipe.otp {
        OtpSource::Automatic | OtpSource::Packages => {}
        OtpSource::Tarball { path, .. } => add(FileRole::Otp, name_of(path), path)?,
        OtpSource::Url { url, sha256 } => {
            let path = assembly.fetcher.tarball(url, *sha256)?;
            let url = crate::fetch::without_credentials(url);
            let name =
                url.split(['?', '#']).next().and_then(|url| url.rsplit('/').next()).unwrap_or_default();
            // What has no name that a file could have is called by what it is.
            let is_name = is_file_name(name);
            add(FileRole::Otp, if is_name { name } else { "otp" }.to_owned(), &path)?;
        }
    }
    if let KernelSource::File(path) = &assembly.recipe.kernel {
        add(FileRole::Kernel, name_of(path), path)?;
    }
    let mut stubs = BTreeSet::new();
    for spec in assembly
        .recipe
        .images
        .iter()
        .filter(|spec| matches!(spec.format, ImageFormat::Disk | ImageFormat::Qcow2))
    {
        let path = efi_stub(spec, assembly.recipe.arch);
        if stubs.insert(name_of(&path)) {
            add(FileRole::EfiStub, name_of(&path), &path)?;
        }
    }
    files.sort_by(|a, b| (a.role, &a.name).cmp(&(b.role, &b.name)));
    Ok(files)
}
