//! Reading the database.

use super::{Access, FILE, Flags, InstalledDatabase, InstalledDirectory, InstalledFile, InstalledPackage};
use crate::apk::{ApkError, Checksum, Quoted, index};

impl InstalledDatabase {
    /// Reads the bytes of `installed`. [`InstalledPackage::scripts`] and [`InstalledPackage::triggers`] are empty then:
    /// they stand in files of their own.
    ///
    /// # Errors
    /// [`ApkError::Line`] or [`ApkError::Missing`] for what apk couldn't read either, and for fields that are not known:
    /// the database of a newer apk says things that must not be overlooked.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApkError> {
        let mut packages = Vec::new();
        let mut draft: Option<Draft> = None;
        for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            if line.len() < 2 {
                packages.extend(draft.take().map(Draft::finish).transpose()?);
                continue;
            }
            let refuse = |reason: String| ApkError::Line {
                file: FILE,
                line: number + 1,
                reason,
                text: Quoted::new(line),
            };
            let [field, b':', value @ ..] = line else {
                return Err(refuse("no field, a colon and a value".to_owned()));
            };
            draft.get_or_insert_with(|| Draft::new(number + 1)).set(*field, value).map_err(refuse)?;
        }
        packages.extend(draft.map(Draft::finish).transpose()?);
        Ok(Self { packages })
    }

    /// Takes up the lines of `triggers`. Those of packages that are not there are passed over, as apk does.
    ///
    /// # Errors
    /// [`ApkError::Line`] when one has no hash.
    pub fn read_triggers(&mut self, bytes: &[u8]) -> Result<(), ApkError> {
        for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let refuse = |reason: String| ApkError::Line {
                file: "triggers",
                line: number + 1,
                reason,
                text: Quoted::new(line),
            };
            let text = std::str::from_utf8(line).map_err(|_| refuse("not UTF-8".to_owned()))?;
            let mut words = text.split_ascii_whitespace();
            let Some(hash) = words.next() else { continue };
            let hash = hash_of(hash).map_err(refuse)?;
            if let Some(package) = self.packages.iter_mut().find(|package| package.identity() == hash) {
                package.triggers = words.map(str::to_owned).collect();
            }
        }
        Ok(())
    }
}

/// A package under construction.
struct Draft {
    /// What an index says of it, too.
    entry: index::Draft,
    tags: Vec<String>,
    repository_tag: Option<String>,
    flags: Flags,
    directories: Vec<InstalledDirectory>,
}

impl Draft {
    fn new(line: usize) -> Self {
        Self {
            entry: index::Draft::new(FILE, line),
            tags: Vec::new(),
            repository_tag: None,
            flags: Flags::default(),
            directories: Vec::new(),
        }
    }

    fn set(&mut self, field: u8, value: &[u8]) -> Result<(), String> {
        let text = || std::str::from_utf8(value).map_err(|_| "not UTF-8".to_owned());
        match field {
            // Virtual packages' names begin with a dot.
            b'P' => self.entry.set_virtual_name(text()?)?,
            b'C' | b'V' | b'A' | b'S' | b'I' | b'T' | b'U' | b'L' | b'o' | b'm' | b't' | b'c' | b'k'
            | b'D' | b'p' | b'i' | b'r' | b'q' => self.entry.set(field, text()?)?,
            b'g' => self.tags.extend(text()?.split_ascii_whitespace().map(str::to_owned)),
            b's' => self.repository_tag = Some(text()?.to_owned()),
            b'f' => {
                for letter in value {
                    match letter {
                        b'f' => self.flags.broken_files = true,
                        b's' => self.flags.broken_script = true,
                        b'x' => self.flags.broken_xattrs = true,
                        b'S' => self.flags.sha256 = true,
                        _ => return Err(format!("the flag {:?} is not known", char::from(*letter))),
                    }
                }
            }
            b'F' => self.directories.push(InstalledDirectory {
                path: value.to_vec(),
                access: Access::DIRECTORY,
                files: Vec::new(),
            }),
            b'M' => self.directory()?.access = access(text()?)?,
            b'R' => self.directory()?.files.push(InstalledFile {
                name: value.to_vec(),
                access: Access::FILE,
                hash: None,
            }),
            b'a' => self.file()?.access = access(text()?)?,
            b'Z' => self.file()?.hash = Some(hash_of(text()?)?),
            _ => return Err(format!("the field {:?} is not known", char::from(field))),
        }
        Ok(())
    }

    fn directory(&mut self) -> Result<&mut InstalledDirectory, String> {
        self.directories.last_mut().ok_or_else(|| "no directory (F:) stands before it".to_owned())
    }

    fn file(&mut self) -> Result<&mut InstalledFile, String> {
        self.directory()?.files.last_mut().ok_or_else(|| "no file (R:) stands before it".to_owned())
    }

    fn finish(self) -> Result<InstalledPackage, ApkError> {
        Ok(InstalledPackage {
            tags: self.tags,
            repository_tag: self.repository_tag,
            flags: self.flags,
            directories: self.directories,
            ..InstalledPackage::new(self.entry.finish()?)
        })
    }
}

/// `UID:GID:MODE` or `UID:GID:MODE:Q1…`
fn access(text: &str) -> Result<Access, String> {
    let wrong = || "no UID:GID:MODE".to_owned();
    let mut parts = text.splitn(4, ':');
    let mut number = |radix| {
        let part = parts.next().ok_or_else(wrong)?;
        // `from_str_radix` would take a sign.
        if !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        u32::from_str_radix(part, radix).map_err(|error| error.to_string())
    };
    let (uid, gid, mode) = (number(10)?, number(10)?, number(8)?);
    if mode > 0o7777 {
        return Err(format!("{mode:o} is no mode"));
    }
    Ok(Access { uid, gid, mode, xattrs: parts.next().map(hash_of).transpose()? })
}

fn hash_of(text: &str) -> Result<[u8; 20], String> {
    match text.parse::<Checksum>().map_err(|error| error.to_string())? {
        Checksum::Sha1(hash) | Checksum::Short(hash) => Ok(hash),
        Checksum::Sha256(_) => Err("a hash of 20 bytes (Q1) is expected".to_owned()),
    }
}
