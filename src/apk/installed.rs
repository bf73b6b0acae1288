//! The database of installed packages: `lib/apk/db/{installed,scripts.tar.gz,triggers}`, as apk 3 reads and writes it.
//!
//! `installed` has a block of lines `X:value` for each package, in the order of [`display_order`], and an empty line
//! after it. The first fields are those of an index; then come `r:` and `q:` (what it replaces), `s:` (the tag of the
//! repository that it came from), `f:` (what is wrong with it), and its files: `F:` a directory, `M:` owner and mode of
//! it if they are not 0:0:755, `R:` a file of that directory, `a:` owner and mode if not 0:0:644, `Z:` its hash. A
//! symbolic link has the hash of its target; devices have none.
//!
//! Hashes have 20 bytes, `Q1` and base64. Those of a package in format v3 are the beginning of a SHA-256, which the
//! flag `S` says. `scripts.tar.gz` holds the scripts as `NAME-VERSION.X1HEX.KIND`, where the hexadecimal digits are the
//! package's hash; `triggers` has a line of that hash and the patterns for each package that has any.
//!
//! Sources: `apk-v2(5)` and `apk-audit(8)` of apk-tools, and what apk 3.0.8 writes.

mod read;
mod scripts;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::io::Write as _;

use super::checksum::sha256;
use super::{ApkError, Checksum, Dependency, IndexEntry};
use crate::apk::checksum::sha1;

/// The file's name, in messages.
const FILE: &str = "installed";

/// Everything that is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstalledDatabase {
    /// In the file's order.
    pub packages: Vec<InstalledPackage>,
}

/// A package and what of it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledPackage {
    /// What its index said of it, but for `replaces` and its priority, which come from the package itself.
    pub entry: IndexEntry,
    /// `g:`: words that a package of format v3 has.
    pub tags: Vec<String>,
    /// `s:`: the tag of the repository that it came from, without the `@`.
    pub repository_tag: Option<String>,
    /// `f:`
    pub flags: Flags,
    /// `F:`, in the package's order.
    pub directories: Vec<InstalledDirectory>,
    /// Its scripts: kind (`post-install`, `trigger` …) and text.
    pub scripts: Vec<(String, Vec<u8>)>,
    /// Patterns of directories whose change runs its trigger.
    pub triggers: Vec<String>,
}

/// The field `f:`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// `f`: not all of its files could be written.
    pub broken_files: bool,
    /// `s`: a script of it failed.
    pub broken_script: bool,
    /// `x`: not all extended attributes could be written.
    pub broken_xattrs: bool,
    /// `S`: its hashes are the first 20 bytes of a SHA-256.
    pub sha256: bool,
}

impl Flags {
    /// Whether something of the package could not be installed.
    pub fn is_broken(self) -> bool {
        self.broken_files || self.broken_script || self.broken_xattrs
    }
}

/// A directory of a package, and the files in it that are the package's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledDirectory {
    /// Without a slash at either end; empty for the root.
    pub path: Vec<u8>,
    /// `M:`
    pub access: Access,
    /// `R:`, by name.
    pub files: Vec<InstalledFile>,
}

/// A file of a package that is no directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledFile {
    /// Its name in the directory.
    pub name: Vec<u8>,
    /// `a:`
    pub access: Access,
    /// `Z:`: of its bytes, or of a link's target; none for devices.
    pub hash: Option<[u8; 20]>,
}

/// Who may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits: at most `0o7777`.
    pub mode: u32,
    /// The hash of the extended attributes, [`xattr_hash`].
    pub xattrs: Option<[u8; 20]>,
}

impl Access {
    /// Of directories that say nothing else.
    pub const DIRECTORY: Self = Self { uid: 0, gid: 0, mode: 0o755, xattrs: None };
    /// Of files that say nothing else.
    pub const FILE: Self = Self { uid: 0, gid: 0, mode: 0o644, xattrs: None };

    fn line(&self, field: char, usual: &Self, text: &mut Vec<u8>) {
        if self == usual {
            return;
        }
        text.extend(format!("{field}:{}:{}:{:o}", self.uid, self.gid, self.mode).bytes());
        if let Some(hash) = self.xattrs {
            text.extend(format!(":{}", Checksum::Sha1(hash)).bytes());
        }
        text.push(b'\n');
    }
}

/// The order in which apk lists packages and the world: without regard to case, then by bytes.
pub fn display_order(first: &str, second: &str) -> Ordering {
    let lower = |text: &str| text.to_ascii_lowercase();
    lower(first).cmp(&lower(second)).then_with(|| first.cmp(second))
}

/// The hash of extended attributes (names and values, in byte order of the names); none if there are none. It is a
/// SHA-1 of each name and value with its length before it, in 32 bits, the highest byte first.
pub fn xattr_hash<'a>(xattrs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Option<[u8; 20]> {
    let mut bytes = Vec::new();
    for (name, value) in xattrs {
        for part in [name, value] {
            // The kernel's limit for a value is 64 KiB.
            bytes.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend(part);
        }
    }
    (!bytes.is_empty()).then(|| sha1(&bytes))
}

impl InstalledDatabase {
    /// Packages in apk's order.
    pub fn new(mut packages: Vec<InstalledPackage>) -> Self {
        packages.sort_by(|first, second| display_order(&first.entry.name, &second.entry.name));
        Self { packages }
    }

    /// The bytes of `installed`.
    ///
    /// # Errors
    /// [`ApkError::Unpackable`] when a name can't stand in a line.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ApkError> {
        let mut text = Vec::new();
        for package in &self.packages {
            package.write(&mut text)?;
            text.push(b'\n');
        }
        Ok(text)
    }

    /// The bytes of `triggers`.
    pub fn triggers(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for package in self.packages.iter().filter(|package| !package.triggers.is_empty()) {
            let hash = Checksum::Sha1(package.identity());
            // Writing to a vector can't fail.
            let _ = writeln!(text, "{hash} {}", package.triggers.join(" "));
        }
        text
    }
}

impl InstalledPackage {
    /// A package of which nothing but its entry is known.
    pub fn new(entry: IndexEntry) -> Self {
        let sha256 = matches!(entry.control_hash, Checksum::Sha256(_));
        Self {
            entry,
            tags: Vec::new(),
            repository_tag: None,
            flags: Flags { sha256, ..Flags::default() },
            directories: Vec::new(),
            scripts: Vec::new(),
            triggers: Vec::new(),
        }
    }

    /// The 20 bytes by which the database knows the package: its control member's SHA-1, or the beginning of its SHA-256.
    pub fn identity(&self) -> [u8; 20] {
        let mut identity = [0; 20];
        identity.copy_from_slice(&self.entry.control_hash.as_bytes()[..20]);
        identity
    }

    /// The hash of contents, or of a link's target, as this package's files have it.
    pub fn hash(&self, bytes: &[u8]) -> [u8; 20] {
        if self.flags.sha256 {
            let mut hash = [0; 20];
            hash.copy_from_slice(&sha256(bytes)[..20]);
            return hash;
        }
        sha1(bytes)
    }

    fn write(&self, text: &mut Vec<u8>) -> Result<(), ApkError> {
        let entry = &self.entry;
        let number =
            |number: Option<u32>| number.filter(|&number| number != 0).map(|number| number.to_string());
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let list =
            |list: &[Dependency]| some(&list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        let time = entry.build_time.filter(|&time| time != 0).map(|time| time.to_string());
        let fields = [
            ('C', Some(Checksum::Sha1(self.identity()).to_string())),
            ('P', Some(entry.name.clone())),
            ('V', Some(entry.version.clone())),
            ('A', some(&entry.arch)),
            ('S', Some(entry.size.to_string())),
            ('I', Some(entry.installed_size.to_string())),
            ('T', Some(entry.description.clone())),
            ('U', Some(entry.url.clone())),
            ('L', Some(entry.license.clone())),
            ('o', some(&entry.origin)),
            ('m', some(&entry.maintainer)),
            ('t', time),
            ('c', some(&entry.commit)),
            ('k', number(entry.provider_priority)),
            ('D', list(&entry.depends)),
            ('p', list(&entry.provides)),
            ('i', list(&entry.install_if)),
            ('g', some(&self.tags.join(" "))),
            ('r', list(&entry.replaces)),
            ('q', number(entry.replaces_priority)),
            ('s', self.repository_tag.clone()),
            ('f', some(&self.flags.letters())),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                in_a_line(value.as_bytes())?;
                text.extend(format!("{field}:{value}\n").bytes());
            }
        }
        for directory in &self.directories {
            in_a_line(&directory.path)?;
            text.extend([b"F:", &*directory.path, b"\n"].concat());
            directory.access.line('M', &Access::DIRECTORY, text);
            for file in &directory.files {
                in_a_line(&file.name)?;
                text.extend([b"R:", &*file.name, b"\n"].concat());
                file.access.line('a', &Access::FILE, text);
                if let Some(hash) = file.hash {
                    text.extend(format!("Z:{}\n", Checksum::Sha1(hash)).bytes());
                }
            }
        }
        Ok(())
    }
}

impl Flags {
    fn letters(self) -> String {
        [(self.broken_files, 'f'), (self.broken_script, 's'), (self.broken_xattrs, 'x'), (self.sha256, 'S')]
            .into_iter()
            .filter_map(|(set, letter)| set.then_some(letter))
            .collect()
    }
}

/// Whether apk would install a file of this name: those with control characters it calls malicious, and in a line they
/// would be a hole.
pub fn is_installable_name(name: &[u8]) -> bool {
    !name.iter().any(u8::is_ascii_control)
}

fn in_a_line(value: &[u8]) -> Result<(), ApkError> {
    if is_installable_name(value) {
        return Ok(());
    }
    Err(ApkError::Unpackable {
        path: super::Quoted::new(value).to_string(),
        reason: "a line of the installed database can't hold control characters".to_owned(),
    })
}
