//! A `leanfs.lock` from its text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::Spanned;

use super::{
    ArchLock, FORMAT, FileRole, Lock, LockError, LockedFile, LockedKey, LockedLibrary, LockedPackage,
    LockedRecipe, LockedRepository, PackageHashes, Role, Sha256,
};
use crate::apk::Checksum;
use crate::apk::package_info::{package_name, package_version};
use crate::arch::Arch;
use crate::recipe::file::{place, printable};
use crate::recipe::{parse_sha256, parse_tag};
use crate::tree::TreePath;

/// How lines begin that a merge leaves behind.
const CONFLICT: [&str; 3] = ["<<<<<<< ", ">>>>>>> ", "======="];

impl Lock {
    /// Reads the text of a `leanfs.lock`; `path` is for messages only.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, LockError> {
        Self::parse_as(text, path, true)
    }

    /// As [`Lock::parse`], to make it anew: whatever settings stand there.
    ///
    /// # Errors
    /// As [`Lock::parse`].
    pub fn parse_to_renew(text: &str, path: &Path) -> Result<Self, LockError> {
        Self::parse_as(text, path, false)
    }

    fn parse_as(text: &str, path: &Path, check_settings: bool) -> Result<Self, LockError> {
        let reader = Reader { text, path, check_settings };
        let is_conflict = |line: &str| CONFLICT.iter().any(|mark| line.starts_with(mark));
        if let Some(line) = text.lines().position(is_conflict) {
            return Err(LockError::Conflict { path: path.to_owned(), line: line + 1 });
        }
        // What a newer leanfs writes need not be understood to say so.
        let Versioned { format } = reader.toml()?;
        match format.as_ref().map(|format| *format.get_ref()) {
            Some(FORMAT) => {}
            Some(found) if found > FORMAT => {
                let (line, _) = place(text, format.map(|format| format.span()));
                return Err(LockError::Newer { path: path.to_owned(), line, found });
            }
            Some(found) => {
                return Err(
                    reader.at(format.map(|format| format.span()), &format!("there is no format {found}"))
                );
            }
            None => return Err(reader.at(None, "it has no `format`")),
        }
        let File { arch, .. } = reader.toml()?;
        let mut archs = BTreeMap::new();
        for (name, section) in arch {
            let span = name.span();
            let arch: Arch = name
                .into_inner()
                .parse()
                .map_err(|error: crate::arch::UnknownArch| reader.at(Some(span), &error.to_string()))?;
            archs.insert(arch, reader.section(arch, section)?);
        }
        Ok(Self { archs })
    }
}

struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
    /// Whether settings must be those whose hash stands beside them.
    check_settings: bool,
}

type Span = std::ops::Range<usize>;

impl Reader<'_> {
    fn toml<T: for<'de> Deserialize<'de>>(&self) -> Result<T, LockError> {
        toml::from_str(self.text).map_err(|error| self.at(error.span(), error.message()))
    }

    fn at(&self, span: Option<Span>, message: &str) -> LockError {
        let (line, column) = place(self.text, span);
        LockError::Malformed { path: self.path.to_owned(), line, column, message: printable(message) }
    }

    fn section(&self, arch: Arch, table: ArchTable) -> Result<ArchLock, LockError> {
        let recipe = LockedRecipe {
            packages: table.packages,
            otp: table.otp,
            kernel: table.kernel,
            shell: table.shell,
        };
        if self.check_settings && table.recipe.get_ref().0 != recipe.sha256() {
            let (line, _) = place(self.text, Some(table.recipe.span()));
            return Err(LockError::Edited { path: self.path.to_owned(), line, arch });
        }
        let mut keys = Vec::new();
        for key in table.key {
            let span = key.span();
            let KeyTable { fingerprint, name } = key.into_inner();
            let key = LockedKey { fingerprint: fingerprint.0, name };
            if keys.iter().any(|there: &LockedKey| there.fingerprint == key.fingerprint) {
                return Err(self.at(Some(span), "this key stands there twice"));
            }
            keys.push(key);
        }
        keys.sort();
        let known = |fingerprint: &Sha256, span: &Span| -> Result<Sha256, LockError> {
            if keys.iter().any(|key| key.fingerprint == *fingerprint) {
                return Ok(*fingerprint);
            }
            let message = format!("no key has the fingerprint sha256:{}", hex::encode(fingerprint));
            Err(self.at(Some(span.clone()), &message))
        };
        let mut repositories = Vec::new();
        for table in table.repository {
            let span = table.span();
            let table = table.into_inner();
            let tag = table.tag.as_deref().map(parse_tag).transpose();
            repositories.push(LockedRepository {
                name: table.name,
                tag: tag.map_err(|error| self.at(Some(span.clone()), &error.to_string()))?,
                newest: table.newest,
                signed_by: table.signed_by.map(|key| known(&key.0, &span)).transpose()?,
            });
        }
        let mut packages = Vec::new();
        for table in table.package {
            let span = table.span();
            let package = self.package(table.into_inner(), &span)?;
            for key in &package.signed_by {
                known(key, &span)?;
            }
            if !repositories.iter().any(|place| place.label() == package.repository) {
                let message = format!("no repository is called {:?}", package.repository);
                return Err(self.at(Some(span), &message));
            }
            packages.push(package);
        }
        packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        if let Some(pair) = packages
            .windows(2)
            .find(|pair| (&pair[0].name, &pair[0].version) == (&pair[1].name, &pair[1].version))
        {
            let (first, second) = (pair[0].line.min(pair[1].line), pair[0].line.max(pair[1].line));
            return Err(LockError::Malformed {
                path: self.path.to_owned(),
                line: second,
                column: 1,
                message: format!("{} stands in line {first} already", pair[0].full_name()),
            });
        }
        let mut files = Vec::new();
        for table in table.file {
            let span = table.span();
            let (line, _) = place(self.text, Some(span.clone()));
            let FileTable { role, name, size, file } = table.into_inner();
            // It becomes a path.
            if !is_file_name(&name) {
                return Err(self.at(Some(span), &format!("{name:?} is no name of a file")));
            }
            if files.iter().any(|there: &LockedFile| (there.role, &there.name) == (role.0, &name)) {
                return Err(self.at(Some(span), "this file stands there already"));
            }
            files.push(LockedFile { role: role.0, name, size, sha256: file.0, line });
        }
        files.sort_by(|a, b| (a.role, &a.name).cmp(&(b.role, &b.name)));
        let order = self.order(table.order, &packages)?;
        Ok(ArchLock {
            recipe,
            absent: table.absent,
            world: table.world,
            order,
            keys,
            repositories,
            packages,
            files,
            libraries: self.libraries(table.library)?,
        })
    }

    /// Names each package once, kernels apart, which are not installed.
    fn order(
        &self,
        order: Spanned<Vec<String>>,
        packages: &[LockedPackage],
    ) -> Result<Vec<String>, LockError> {
        let span = order.span();
        let order = order.into_inner();
        let installed = packages.iter().filter(|package| package.role != Role::Kernel);
        let mut wanted: Vec<&str> = installed.map(|package| package.name.as_str()).collect();
        let mut named: Vec<&str> = order.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        named.sort_unstable();
        if wanted == named {
            return Ok(order);
        }
        let name = wanted
            .iter()
            .find(|name| !named.contains(name))
            .or(named.iter().find(|name| !wanted.contains(name)));
        let name = name.copied().unwrap_or("a package");
        Err(self.at(
            Some(span),
            &format!("`order` and the packages are not of one lock: only one of them has {name}"),
        ))
    }

    fn libraries(&self, tables: Vec<Spanned<LibraryTable>>) -> Result<Vec<LockedLibrary>, LockError> {
        let mut libraries: Vec<LockedLibrary> = Vec::new();
        for table in tables {
            let span = table.span();
            let (line, _) = place(self.text, Some(span.clone()));
            let LibraryTable { path, origin, executable, link, size, file } = table.into_inner();
            let name = path.rsplit('/').next().unwrap_or_default();
            let is_path =
                |path: &str| path.parse::<TreePath>().is_ok_and(|parsed| parsed.to_string() == path);
            if !is_path(&path) || !is_path(&format!("/{origin}")) || !is_file_name(name) {
                return Err(self.at(Some(span), &format!("{path:?} of {origin:?} is no path of a library")));
            }
            if libraries.iter().any(|there| there.path == path) {
                return Err(self.at(Some(span), "this library stands there already"));
            }
            libraries.push(LockedLibrary { path, origin, executable, link, size, sha256: file.0, line });
        }
        libraries.sort_by(|a, b| a.path.cmp(&b.path));
        let is_file = |path: &str| libraries.iter().any(|other| other.path == path && other.link.is_none());
        match libraries.iter().find(|library| library.link.as_deref().is_some_and(|link| !is_file(link))) {
            Some(library) => Err(LockError::Malformed {
                path: self.path.to_owned(),
                line: library.line,
                column: 1,
                message: "its `link` is no other library".to_owned(),
            }),
            None => Ok(libraries),
        }
    }

    fn package(&self, table: PackageTable, span: &Span) -> Result<LockedPackage, LockError> {
        let refuse = |message: &str| self.at(Some(span.clone()), message);
        package_name(&table.name).map_err(|reason| refuse(&format!("{:?}: {reason}", table.name)))?;
        package_version(&table.version)
            .map_err(|reason| refuse(&format!("{:?}: {reason}", table.version)))?;
        let hashes = match (table.control, table.data, table.adb) {
            (Some(control), Some(data), None) => {
                PackageHashes { file: table.file.0, control: control.0, data: Some(data.0) }
            }
            (None, None, Some(adb)) => PackageHashes { file: table.file.0, control: adb.0, data: None },
            _ => return Err(refuse("a package has `control` and `data`, or `adb`")),
        };
        let identity: Checksum = table.identity.parse().map_err(|error| refuse(&format!("{error}")))?;
        let identity = match identity {
            // Of v3 they are the first bytes of the SHA-256.
            Checksum::Sha1(hash) if hashes.data.is_none() => Checksum::Short(hash),
            identity => identity,
        };
        let fits = match identity {
            Checksum::Sha256(hash) => hash == hashes.control,
            Checksum::Short(hash) => hash == hashes.control[..20],
            Checksum::Sha1(_) => true,
        };
        if !fits {
            return Err(refuse("`identity` is not that of the hash beside it"));
        }
        let (line, _) = place(self.text, Some(span.clone()));
        let mut signed_by: Vec<Sha256> = table.signed_by.into_iter().map(|key| key.0).collect();
        signed_by.sort_unstable();
        signed_by.dedup();
        Ok(LockedPackage {
            name: table.name,
            version: table.version,
            arch: table.arch,
            repository: table.repository,
            role: table.role.0,
            size: table.size,
            identity,
            hashes,
            signed_by,
            line,
        })
    }
}

/// Whether it can stand as a file in a directory, without leading anywhere else.
pub(crate) fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || crate::text::is_hidden(c))
}

#[derive(Deserialize)]
struct Versioned {
    format: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "format")]
    _format: i64,
    #[serde(default)]
    arch: BTreeMap<Spanned<String>, ArchTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchTable {
    recipe: Spanned<Hash>,
    packages: Vec<String>,
    otp: String,
    kernel: String,
    shell: bool,
    absent: BTreeSet<String>,
    world: Vec<String>,
    order: Spanned<Vec<String>>,
    #[serde(default)]
    key: Vec<Spanned<KeyTable>>,
    #[serde(default)]
    repository: Vec<Spanned<RepositoryTable>>,
    #[serde(default)]
    package: Vec<Spanned<PackageTable>>,
    #[serde(default)]
    file: Vec<Spanned<FileTable>>,
    #[serde(default)]
    library: Vec<Spanned<LibraryTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    fingerprint: Hash,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RepositoryTable {
    name: String,
    tag: Option<String>,
    newest: Option<i64>,
    signed_by: Option<Hash>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PackageTable {
    name: String,
    version: String,
    arch: String,
    repository: String,
    role: Named<Role>,
    size: u64,
    identity: String,
    control: Option<Hash>,
    data: Option<Hash>,
    adb: Option<Hash>,
    file: Hash,
    signed_by: Vec<Hash>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTable {
    role: Named<FileRole>,
    name: String,
    size: u64,
    file: Hash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LibraryTable {
    path: String,
    origin: String,
    executable: bool,
    link: Option<String>,
    size: u64,
    file: Hash,
}

/// `sha256:` and 64 digits.
struct Hash(Sha256);

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("sha256:");
        let digits =
            digits.ok_or_else(|| D::Error::custom(format!("{text:?} does not begin with sha256:")))?;
        parse_sha256(digits).map(Self).map_err(D::Error::custom)
    }
}

/// A choice by its name.
struct Named<T>(T);

trait Choice: Copy + 'static {
    const ALL: &'static [Self];
    fn name(self) -> &'static str;
}

impl Choice for Role {
    const ALL: &'static [Self] = &[Self::Image, Self::Kernel, Self::Resolve];
    fn name(self) -> &'static str {
        Self::name(self)
    }
}

impl Choice for FileRole {
    const ALL: &'static [Self] = &[Self::Otp, Self::Kernel, Self::EfiStub];
    fn name(self) -> &'static str {
        Self::name(self)
    }
}

impl<'de, T: Choice> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = T::ALL.iter().copied().find(|choice| choice.name() == text);
        found.map(Self).ok_or_else(|| {
            let names: Vec<&str> = T::ALL.iter().map(|choice| choice.name()).collect();
            D::Error::custom(format!("{text:?} is no role: {} are", names.join(" and ")))
        })
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests;
