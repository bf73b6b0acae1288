//! The keys that may sign.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{FetchError, read_bounded};
use crate::apk::{PublicKey, keys};
use crate::recipe::{FINGERPRINT, Repository, RepositorySource, TrustedKey};

/// A PEM file of the largest key has 2 kB.
const LARGEST_KEY_FILE: u64 = 64 * 1024;

/// The keys in files, and in directories of files whose names end in `.pub` or `.pem` (as keys of format v3 do);
/// Alpine's own if nothing is given. A key's name is its file's name: that is how signatures refer to it.
///
/// # Errors
/// When a file can't be read or is no public key, and when a directory has none.
pub fn load_keys(paths: &[PathBuf]) -> Result<Vec<PublicKey>, FetchError> {
    if paths.is_empty() {
        return keys::built_in().map_err(|source| FetchError::BadKey {
            path: PathBuf::from("built in"),
            source: Box::new(source),
        });
    }
    let mut keys = Vec::new();
    for path in paths {
        if !path.is_dir() {
            keys.push(load(path)?);
            continue;
        }
        let unreadable = |error| FetchError::io(path, "read", error);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if file.extension().is_some_and(|extension| extension == "pub" || extension == "pem") {
                files.push(file);
            }
        }
        if files.is_empty() {
            return Err(FetchError::NoKeys { path: path.clone() });
        }
        // The order of a directory listing must not show anywhere.
        files.sort();
        for file in files {
            keys.push(load(&file)?);
        }
    }
    Ok(keys)
}

/// The keys of the repositories that have some of their own. A fingerprint chooses among the keys of the same
/// repository's files, `known`, and Alpine's own.
///
/// # Errors
/// As [`load_keys`], and when no key has a fingerprint.
pub fn load_repository_keys(
    sources: &[RepositorySource],
    known: &[PublicKey],
) -> Result<Vec<(Repository, Vec<PublicKey>)>, FetchError> {
    let mut all: Vec<(Repository, Vec<PublicKey>)> = Vec::new();
    for RepositorySource { repository, keys, .. } in sources.iter().filter(|source| !source.keys.is_empty()) {
        let files: Vec<PathBuf> = keys
            .iter()
            .filter_map(|key| match key {
                TrustedKey::File(path) => Some(path.clone()),
                TrustedKey::Fingerprint(_) => None,
            })
            .collect();
        // None at all would mean Alpine's own.
        let mut own = if files.is_empty() { Vec::new() } else { load_keys(&files)? };
        let built_in = load_keys(&[])?;
        for key in keys {
            let TrustedKey::Fingerprint(wanted) = key else { continue };
            let mut others = known.iter().chain(&built_in);
            if own.iter().any(|key| key.fingerprint() == *wanted) {
                continue;
            }
            match others.find(|key| key.fingerprint() == *wanted) {
                Some(key) => own.push(key.clone()),
                None => {
                    return Err(FetchError::NoSuchFingerprint {
                        repository: repository.to_string(),
                        fingerprint: format!("{FINGERPRINT}{}", hex::encode(wanted)),
                    });
                }
            }
        }
        match all.iter_mut().find(|(of, _)| of == repository) {
            Some((_, keys)) => keys.extend(own),
            None => all.push((repository.clone(), own)),
        }
    }
    Ok(all)
}

fn load(path: &Path) -> Result<PublicKey, FetchError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(FetchError::NoSuchFile { path: path.to_owned() });
        }
        Err(error) => return Err(FetchError::io(path, "open", error)),
    };
    let pem = read_bounded(&mut file, path, LARGEST_KEY_FILE, None)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    PublicKey::from_pem(&name, &pem)
        .map_err(|source| FetchError::BadKey { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_files_and_directories() {
        assert_eq!(load_keys(&[]).expect("built in").len(), keys::BUILT_IN.len());

        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().to_owned();
        let error = load_keys(std::slice::from_ref(&path)).expect_err("empty");
        assert!(matches!(error, FetchError::NoKeys { .. }), "{error}");
        for (name, pem) in &keys::BUILT_IN[..2] {
            std::fs::write(path.join(name), pem).expect("written");
        }
        std::fs::write(path.join("README"), "not a key").expect("written");
        let names: Vec<String> = load_keys(std::slice::from_ref(&path))
            .expect("two")
            .iter()
            .map(|key| key.name().to_owned())
            .collect();
        assert_eq!(names, [keys::BUILT_IN[0].0, keys::BUILT_IN[1].0]);

        let error = load_keys(&[path.join("README")]).expect_err("no key");
        assert!(matches!(error, FetchError::BadKey { .. }), "{error}");
        let error = load_keys(&[path.join("absent.rsa.pub")]).expect_err("nothing");
        assert!(matches!(error, FetchError::NoSuchFile { .. }), "{error}");
    }

    #[test]
    fn a_fingerprint_chooses_a_known_key() {
        let built_in = keys::built_in().expect("good");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("ours.rsa.pub");
        std::fs::write(&file, keys::BUILT_IN[3].1).expect("written");
        let source = |keys| RepositorySource { keys, ..Repository::Directory("repo".into()).into() };
        let load = |keys| load_repository_keys(&[source(keys)], &[]).map(|mut all| all.remove(0).1);
        let fingerprint = TrustedKey::Fingerprint(built_in[2].fingerprint());
        assert_eq!(load(vec![fingerprint.clone()]).expect("known"), [built_in[2].clone()]);
        let both = load(vec![TrustedKey::File(file.clone()), fingerprint]).expect("known");
        assert_eq!(
            both.iter().map(PublicKey::name).collect::<Vec<_>>(),
            ["ours.rsa.pub", built_in[2].name()]
        );
        // The key of the file itself is not taken a second time, under another name.
        let own = TrustedKey::Fingerprint(both[0].fingerprint());
        assert_eq!(load(vec![TrustedKey::File(file), own]).expect("known").len(), 1);
        let error = load(vec![TrustedKey::Fingerprint([7; 32])]).expect_err("nobody's");
        assert!(matches!(error, FetchError::NoSuchFingerprint { .. }), "{error}");
        // Without keys of its own a repository is not in it.
        assert!(load_repository_keys(&[source(Vec::new())], &built_in).expect("nothing to do").is_empty());
    }
}
