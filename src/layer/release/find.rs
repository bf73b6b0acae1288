//! Finds the version, the boot script and the `.rel` file of a release.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Lookalike, MOST_BINARY_BYTES, MOST_TEXT_BYTES, ReleaseError, ReleaseKind};
use crate::beam::{BeamError, BootScript, ReleaseFile};
use crate::tree::{Tree, TreePath};

/// What makes a tree a release.
pub(super) struct Found {
    pub(super) version_directory: TreePath,
    pub(super) boot_name: String,
    pub(super) boot: BootScript,
    pub(super) file: ReleaseFile,
}

/// The error for a directory without `releases/`.
pub(super) fn no_releases(path: &Path) -> ReleaseError {
    let is = if path.join("mix.exs").is_file() {
        Lookalike::MixProject
    } else if path.join("rebar.config").is_file() {
        Lookalike::RebarProject
    } else {
        Lookalike::Unknown
    };
    not_a_release(path, "it has no directory releases/", is)
}

fn not_a_release(path: &Path, reason: impl Into<String>, is: Lookalike) -> ReleaseError {
    ReleaseError::NotARelease { path: path.to_owned(), reason: reason.into(), is }
}

/// The names in `directory` of `tree`, one level deep, in byte order.
fn names(tree: &Tree, directory: &TreePath) -> BTreeSet<String> {
    tree.below(directory)
        .filter_map(|(path, _)| path.strip_prefix(directory)?.split(|&byte| byte == b'/').next())
        .filter_map(|name| std::str::from_utf8(name).ok())
        .map(str::to_owned)
        .collect()
}

/// Names that end with `suffix`, without it.
fn stems(names: &BTreeSet<String>, suffix: &str) -> Vec<String> {
    names.iter().filter_map(|name| name.strip_suffix(suffix)).map(str::to_owned).collect()
}

pub(super) fn find(path: &Path, tree: &Tree) -> Result<Found, ReleaseError> {
    let releases = TreePath::parse(b"releases").expect("a good path");
    if names(tree, &releases).is_empty() {
        return Err(not_a_release(path, "it has no directory releases/", Lookalike::Unknown));
    }
    let version_directory = version_directory(path, tree, &releases)?;
    let here = names(tree, &version_directory);
    let boots = stems(&here, ".boot");
    let own_files = stems(&here, ".rel");

    // relx starts NAME.boot if there is one; the other makers have only start.boot.
    let boot_name = own_files
        .iter()
        .find(|name| boots.contains(name) && *name != "start_clean" && *name != "no_dot_erlang")
        .cloned()
        .or_else(|| boots.contains(&"start".to_owned()).then(|| "start".to_owned()))
        .or_else(|| {
            let common = stems(&names(tree, &releases), ".rel");
            common.into_iter().find(|name| boots.contains(name))
        });
    let Some(boot_name) = boot_name else {
        return Err(not_a_release(
            path,
            format!("{version_directory} has no boot script (start.boot, or NAME.boot beside NAME.rel)"),
            Lookalike::Unknown,
        ));
    };
    let boot =
        read(path, tree, &version_directory, &format!("{boot_name}.boot"), MOST_BINARY_BYTES, |bytes| {
            BootScript::parse(bytes)
        })?;

    let mut seen = Vec::new();
    for (directory, name) in own_files
        .iter()
        .map(|name| (&version_directory, name.clone()))
        .chain(stems(&names(tree, &releases), ".rel").into_iter().map(|name| (&releases, name)))
    {
        let file = read(path, tree, directory, &format!("{name}.rel"), MOST_TEXT_BYTES, ReleaseFile::parse)?;
        if file.name == boot.name && file.version == boot.version {
            return Ok(Found { version_directory, boot_name, boot, file });
        }
        seen.push(format!("{directory}/{name}.rel is for {} {}", file.name, file.version));
    }
    if seen.is_empty() {
        return Err(not_a_release(
            path,
            format!("there is no .rel file in {version_directory} or {releases}"),
            Lookalike::Unknown,
        ));
    }
    Err(ReleaseError::Contradiction {
        path: path.to_owned(),
        reason: format!(
            "the boot script {version_directory}/{boot_name}.boot is for {} {}, but {}",
            boot.name,
            boot.version,
            seen.join(", ")
        )
        .escape_debug()
        .to_string(),
    })
}

fn read<T>(
    path: &Path,
    tree: &Tree,
    directory: &TreePath,
    name: &str,
    limit: u64,
    parse: impl Fn(&[u8]) -> Result<T, BeamError>,
) -> Result<T, ReleaseError> {
    let io_error = |source| ReleaseError::Io { path: path.to_owned(), source };
    let inside = directory.join(name).map_err(|error| io_error(std::io::Error::other(error)))?;
    let Some((_, content)) = tree.file(&inside) else {
        return Err(not_a_release(path, format!("{inside} is not a regular file"), Lookalike::Unknown));
    };
    let bytes = content.read(limit).map_err(io_error)?;
    parse(&bytes).map_err(|source| ReleaseError::File { path: path.to_owned(), inside, source })
}

/// `releases/VERSION`: by `start_erl.data`, or the only one with a boot script.
fn version_directory(path: &Path, tree: &Tree, releases: &TreePath) -> Result<TreePath, ReleaseError> {
    let candidates: Vec<String> = names(tree, releases)
        .into_iter()
        .filter(|name| {
            releases.join(name).is_ok_and(|directory| !stems(&names(tree, &directory), ".boot").is_empty())
        })
        .collect();
    let data =
        releases.join("start_erl.data").ok().and_then(|data| tree.file(&data).map(|(_, data)| data.clone()));
    if let Some(data) = data {
        let data = data
            .read(MOST_TEXT_BYTES)
            .map_err(|source| ReleaseError::Io { path: path.to_owned(), source })?;
        let data = String::from_utf8_lossy(&data);
        let Some(version) = data.split_whitespace().nth(1) else {
            return Err(ReleaseError::Contradiction {
                path: path.to_owned(),
                reason: "releases/start_erl.data doesn't say which version counts".to_owned(),
            });
        };
        if !candidates.iter().any(|candidate| candidate == version) {
            let there = if candidates.is_empty() { "none is".to_owned() } else { candidates.join(", ") };
            return Err(ReleaseError::Contradiction {
                path: path.to_owned(),
                reason: format!(
                    "releases/start_erl.data names version {}, which is not there with a boot script ({})",
                    version.escape_debug(),
                    there.escape_debug()
                ),
            });
        }
        return releases.join(version).map_err(|error| ReleaseError::Io {
            path: path.to_owned(),
            source: std::io::Error::other(error),
        });
    }
    match candidates.as_slice() {
        [version] => releases.join(version).map_err(|error| ReleaseError::Io {
            path: path.to_owned(),
            source: std::io::Error::other(error),
        }),
        [] => Err(not_a_release(
            path,
            "there is no releases/VERSION/ with a boot script (start.boot or NAME.boot)",
            Lookalike::Unknown,
        )),
        _ => Err(ReleaseError::SeveralVersions {
            path: path.to_owned(),
            versions: candidates.iter().map(|version| version.escape_debug().to_string()).collect(),
        }),
    }
}

/// What made the release, by the files that only it makes.
pub(super) fn kind(tree: &Tree, name: &str, version_directory: &TreePath) -> ReleaseKind {
    let has = |file: &str| version_directory.join(file).is_ok_and(|path| tree.file(&path).is_some());
    let script =
        TreePath::parse(format!("bin/{name}").as_bytes()).is_ok_and(|path| tree.file(&path).is_some());
    if has("elixir") && has("env.sh") {
        ReleaseKind::Mix
    } else if script && (has("vm.args") || has("vm.args.src") || has("vm.args.orig")) {
        ReleaseKind::Relx
    } else {
        ReleaseKind::Bare
    }
}
