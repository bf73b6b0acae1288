//! The schema `indx`: what a repository holds, and by which names.

use super::fields::Fields;
use super::value::{Adb, adb_error};
use crate::apk::{ApkError, Checksum, Index, IndexEntry, Quoted};

/// The slots of the root object.
pub(super) mod slot {
    pub(crate) const DESCRIPTION: usize = 1;
    pub(crate) const PACKAGES: usize = 2;
    pub(crate) const PKGNAME_SPEC: usize = 3;
}

/// An index. Of its entries [`IndexEntry::control_hash`] is the package's identity: of a package of format v3 that is
/// the SHA-256 of its ADB block, of one of v2 the SHA-1 of its control member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdbIndex {
    /// The packages, and what the repository says about itself.
    pub index: Index,
    /// Where packages stand, below the repository's root: `${arch}/${name}-${version}.apk`; none for `apk`'s default.
    pub package_path: Option<PackagePath>,
}

impl AdbIndex {
    /// Reads the ADB block of an index.
    ///
    /// # Errors
    /// When its values are none of an index.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApkError> {
        let adb = Adb::parse(bytes)?;
        let root = adb.root()?;
        let mut entries = Vec::new();
        for item in adb.items(root.get(slot::PACKAGES))? {
            let Some(object) = adb.slots(item)? else { continue };
            let fields = Fields::read(&adb, object)?;
            let hash =
                match (<[u8; 32]>::try_from(&fields.hashes[..]), <[u8; 20]>::try_from(&fields.hashes[..])) {
                    (Ok(hash), _) => Checksum::Sha256(hash),
                    (_, Ok(hash)) => Checksum::Short(hash),
                    _ => {
                        let problem = format!(
                            "{} has a hash of {} bytes, where 32 or 20 are expected",
                            Quoted::new(&fields.name),
                            fields.hashes.len()
                        );
                        return Err(adb_error(object.offset, &problem));
                    }
                };
            entries.push(entry(fields, hash));
        }
        let description = adb.text(root.get(slot::DESCRIPTION))?.trim_end().to_owned();
        let spec = adb.text(root.get(slot::PKGNAME_SPEC))?;
        let package_path = if spec.is_empty() { None } else { Some(PackagePath::parse(spec)?) };
        Ok(Self { index: Index { description, entries }, package_path })
    }
}

fn entry(fields: Fields, hash: Checksum) -> IndexEntry {
    IndexEntry {
        arch: fields.arch,
        size: fields.file_size,
        installed_size: fields.installed_size,
        description: fields.description,
        url: fields.url,
        license: fields.license,
        origin: fields.origin,
        maintainer: fields.maintainer,
        build_time: fields.build_time,
        commit: fields.commit,
        depends: fields.depends,
        provides: fields.provides,
        install_if: fields.install_if,
        replaces: fields.replaces,
        provider_priority: fields.provider_priority,
        unusable: fields.unusable,
        ..IndexEntry::new(fields.name, fields.version, hash)
    }
}

/// The fields of an entry that an index has.
pub(super) fn fields_of(entry: &IndexEntry) -> Fields {
    Fields {
        name: entry.name.clone(),
        version: entry.version.clone(),
        hashes: entry.control_hash.as_bytes().to_vec(),
        description: entry.description.clone(),
        arch: entry.arch.clone(),
        license: entry.license.clone(),
        origin: entry.origin.clone(),
        maintainer: entry.maintainer.clone(),
        url: entry.url.clone(),
        commit: entry.commit.clone(),
        build_time: entry.build_time,
        installed_size: entry.installed_size,
        file_size: entry.size,
        provider_priority: entry.provider_priority,
        depends: entry.depends.clone(),
        provides: entry.provides.clone(),
        replaces: entry.replaces.clone(),
        install_if: entry.install_if.clone(),
        unusable: None,
    }
}

/// `pkgname-spec`: the path of a package's file below its repository's root, with `${name}`, `${version}`, `${arch}`
/// and `${hash}` (hexadecimal digits) in it, each perhaps cut (`${hash:8}`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagePath(String);

impl PackagePath {
    /// The path below the root of a repository that has a directory for each architecture.
    pub fn in_repository() -> Self {
        Self("${arch}/${name}-${version}.apk".to_owned())
    }

    /// The path beside an index whose address is given.
    pub fn beside_index() -> Self {
        Self("${name}-${version}.apk".to_owned())
    }

    /// Reads a path. As for `apk` its last part must begin with `${name}` and one of `-`, `.` and `_`. Addresses of
    /// other servers, which `apk` would take, are refused, and so are paths that lead out of the repository.
    ///
    /// # Errors
    /// [`ApkError::Adb`] when it is none.
    pub fn parse(text: &str) -> Result<Self, ApkError> {
        let refuse = |reason: &str| {
            Err(adb_error(0, &format!("{} is no path of packages: {reason}", Quoted::new(text))))
        };
        let file = text.rsplit('/').next().unwrap_or_default();
        if text.contains(':') && text.contains("://") {
            return refuse("packages of other servers are not taken");
        }
        if !file.strip_prefix("${name}").is_some_and(|rest| rest.starts_with(['-', '.', '_'])) {
            return refuse("its last part must begin with ${name} and -, . or _");
        }
        let spec = Self(text.to_owned());
        let sample = IndexEntry {
            arch: "noarch".to_owned(),
            ..IndexEntry::new("test", "1", Checksum::Sha256([0; 32]))
        };
        match spec.of(&sample) {
            Ok(_) => Ok(spec),
            Err(reason) => refuse(&reason),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of a package's file: relative, without `.` and `..`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn of(&self, entry: &IndexEntry) -> Result<String, String> {
        let mut path = String::new();
        let mut rest = self.0.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            path.push_str(before);
            let (variable, after) = after.split_once('}').ok_or("a } is missing")?;
            let (name, most) = match variable.split_once(':') {
                Some((name, most)) => {
                    (name, most.parse().map_err(|_| "a number is expected after the colon")?)
                }
                None => (variable, usize::MAX),
            };
            let hash;
            let value = match name {
                "name" => &entry.name,
                "version" => &entry.version,
                "arch" => &entry.arch,
                "hash" => {
                    hash = hex::encode(entry.control_hash.as_bytes());
                    &hash
                }
                _ => return Err(format!("{} is no variable of it", Quoted::new(name))),
            };
            path.extend(value.chars().take(most));
            rest = after;
        }
        path.push_str(rest);
        let bad = |part: &str| part.is_empty() || part == "." || part == "..";
        let odd = |c: char| c.is_control() || c.is_whitespace() || "\\?#%:".contains(c);
        if path.len() > 4096 || path.split('/').any(bad) || path.contains(odd) {
            return Err(format!("{} is no path below a repository", Quoted::new(&path)));
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_packages() {
        let entry = IndexEntry {
            arch: "x86_64".to_owned(),
            ..IndexEntry::new("musl", "1.2-r0", Checksum::Sha256([0xab; 32]))
        };
        for (spec, expected) in [
            ("${name}-${version}.apk", "musl-1.2-r0.apk"),
            ("${arch}/${name}-${version}.apk", "x86_64/musl-1.2-r0.apk"),
            ("${name:3}/${arch}/${name}-${version}.${hash:8}.apk", "mus/x86_64/musl-1.2-r0.abababab.apk"),
        ] {
            assert_eq!(PackagePath::parse(spec).expect("good").of(&entry).expect("good"), expected);
        }
        for bad in [
            "",
            "${version}.apk",
            "${name}",
            "../${name}-${version}.apk",
            "/${name}-${version}.apk",
            "https://elsewhere/${name}-${version}.apk",
            "${name}-${size}.apk",
            "${name}-${version",
            "${name}-${version:x}.apk",
            "a b/${name}-1.apk",
        ] {
            assert!(PackagePath::parse(bad).is_err(), "{bad}");
        }
        let odd = IndexEntry { arch: "..".to_owned(), ..entry };
        assert!(PackagePath::in_repository().of(&odd).is_err());
    }
}
