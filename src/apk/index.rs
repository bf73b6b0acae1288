//! `APKINDEX.tar.gz`: what a repository holds (`apk-index(5)`).
//!
//! The file is a member with signatures, and a member with `DESCRIPTION` and `APKINDEX`. The latter has a block
//! of lines `X:value` for each package and an empty line after it.

use std::fmt::{self, Write as _};

use super::checksum::Checksum;
use super::member;
use super::package_info::{package_name, package_version};
use super::{ApkError, Dependency, PackageInfo, Quoted, Signature, segment};

/// The most bytes of all signatures of an index together, unpacked: one has less than 2 kB.
const MOST_SIGNATURE_BYTES: u64 = 1 << 20;
/// What a repository says about itself is a line.
const LONGEST_DESCRIPTION: usize = 64 * 1024;

/// How much an index may hold. [`IndexLimits::default`] is far more than any has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexLimits {
    /// Bytes, unpacked.
    pub unpacked: u64,
    /// Bytes for each compressed one, where more than [`member::FREE_EXPANSION`] come.
    pub expansion: u64,
    /// Packages.
    pub entries: u64,
    /// What all packages want and provide together.
    pub relations: u64,
}

impl Default for IndexLimits {
    fn default() -> Self {
        Self { unpacked: 256 << 20, expansion: 250, entries: 500_000, relations: 5_000_000 }
    }
}

/// What a repository holds for one architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// What the repository says about itself, such as `v3.23.6-12-g0123abc`.
    pub description: String,
    /// Its packages, in the file's order.
    pub entries: Vec<IndexEntry>,
}

/// One package of a repository. Sizes in bytes, times in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// `P:`
    pub name: String,
    /// `V:`
    pub version: String,
    /// `A:`
    pub arch: String,
    /// `C:`: the hash of the package's compressed control member. `Q1` (SHA-1) as a rule.
    pub control_hash: Checksum,
    /// `S:`: of the `.apk` file.
    pub size: u64,
    /// `I:`: of all files, installed.
    pub installed_size: u64,
    /// `T:`
    pub description: String,
    /// `U:`
    pub url: String,
    /// `L:`, an SPDX expression as a rule.
    pub license: String,
    /// `o:`: the source package that it was built from.
    pub origin: String,
    /// `m:`
    pub maintainer: String,
    /// `t:`
    pub build_time: Option<i64>,
    /// `c:`: of the source package's recipe.
    pub commit: String,
    /// `D:`; conflicts are those with `!`. Versions are valid unless the package is unusable.
    pub depends: Vec<Dependency>,
    /// `p:`
    pub provides: Vec<Dependency>,
    /// `i:`
    pub install_if: Vec<Dependency>,
    /// `r:`: packages whose files it may overwrite; indexes rarely have it, `.PKGINFO` does.
    pub replaces: Vec<Dependency>,
    /// `q:`
    pub replaces_priority: Option<u32>,
    /// `k:`: which of several providers of an unversioned name is taken; more is preferred.
    pub provider_priority: Option<u32>,
    /// Why `apk` would not install it: a field or a dependency that it does not understand.
    pub unusable: Option<String>,
}

impl IndexEntry {
    /// An entry that says no more than it must.
    pub fn new(name: impl Into<String>, version: impl Into<String>, control_hash: Checksum) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            arch: String::new(),
            control_hash,
            size: 0,
            installed_size: 0,
            description: String::new(),
            url: String::new(),
            license: String::new(),
            origin: String::new(),
            maintainer: String::new(),
            build_time: None,
            commit: String::new(),
            depends: Vec::new(),
            provides: Vec::new(),
            install_if: Vec::new(),
            replaces: Vec::new(),
            replaces_priority: None,
            provider_priority: None,
            unusable: None,
        }
    }

    /// The entry of a package that says `info` of itself, in a file of `size` bytes. Indexes of format v2 leave
    /// [`IndexEntry::replaces`] out.
    pub fn of_package(info: PackageInfo, control_hash: Checksum, size: u64) -> Self {
        Self {
            arch: info.arch,
            size,
            installed_size: info.installed_size,
            description: info.description,
            url: info.url,
            license: info.license,
            origin: info.origin,
            maintainer: info.maintainer,
            build_time: info.build_time,
            commit: info.commit,
            depends: info.depends,
            provides: info.provides,
            install_if: info.install_if,
            replaces: info.replaces,
            provider_priority: info.provider_priority,
            ..Self::new(info.name, info.version, control_hash)
        }
    }

    /// The name of its file, beside the index.
    pub fn file_name(&self) -> String {
        format!("{}-{}.apk", self.name, self.version)
    }

    /// Name and version, as people and `apk` write them: `musl-1.2.5-r23`.
    pub fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
}

/// The file's name, in messages.
const FILE: &str = "APKINDEX";

impl Index {
    /// Reads the text of an `APKINDEX`. Lower-case fields that are not known are passed over; an unknown
    /// upper-case field or a bad dependency makes its package unusable, as for `apk`.
    ///
    /// # Errors
    /// [`ApkError::Line`] or [`ApkError::Missing`] when a line can't be understood at all.
    pub fn parse(text: &str) -> Result<Self, ApkError> {
        Self::parse_within(text, &IndexLimits::default())
    }

    /// As [`Index::parse`], of an index that holds no more than `limits` say.
    ///
    /// # Errors
    /// As [`Index::parse`], and [`ApkError::TooMany`].
    pub fn parse_within(text: &str, limits: &IndexLimits) -> Result<Self, ApkError> {
        let mut relations = 0_u64;
        let mut entries = Vec::new();
        let mut draft: Option<Draft> = None;
        for (number, line) in text.split('\n').enumerate() {
            if line.is_empty() {
                entries.extend(draft.take().map(Draft::finish).transpose()?);
                if entries.len() as u64 > limits.entries {
                    return Err(ApkError::TooMany { what: "packages", limit: limits.entries });
                }
                continue;
            }
            if let [b'D' | b'p' | b'r' | b'i', b':', list @ ..] = line.as_bytes() {
                // Before they are held: a word of one byte takes a hundred.
                relations += 1 + list.iter().filter(|byte| byte.is_ascii_whitespace()).count() as u64;
                if relations > limits.relations {
                    return Err(ApkError::TooMany { what: "relations", limit: limits.relations });
                }
            }
            let refuse = |reason: String| ApkError::Line {
                file: FILE,
                line: number + 1,
                reason,
                text: Quoted::new(line),
            };
            let draft = draft.get_or_insert_with(|| Draft::new(FILE, number + 1));
            match line.as_bytes() {
                [field, b':', ..] => draft.set(*field, &line[2..]).map_err(refuse)?,
                _ => return Err(refuse("no field, a colon and a value".to_owned())),
            }
        }
        entries.extend(draft.map(Draft::finish).transpose()?);
        if entries.len() as u64 > limits.entries {
            return Err(ApkError::TooMany { what: "packages", limit: limits.entries });
        }
        Ok(Self { description: String::new(), entries })
    }

    /// When the newest of its packages was built, in seconds since 1970. An index has no time of its own.
    pub fn newest_build(&self) -> Option<i64> {
        self.entries.iter().filter_map(|entry| entry.build_time).max()
    }
}

fn words<'a>(
    value: &'a str,
    parse: fn(&str) -> Result<Dependency, ApkError>,
) -> impl Iterator<Item = Result<Dependency, ApkError>> + 'a {
    value.split_ascii_whitespace().map(parse)
}

/// An entry under construction.
pub(super) struct Draft {
    /// The file's name, in messages.
    file: &'static str,
    line: usize,
    control_hash: Option<Checksum>,
    /// With a hash that is not its own until it is finished.
    entry: IndexEntry,
}

impl Draft {
    pub(super) fn new(file: &'static str, line: usize) -> Self {
        Self { file, line, control_hash: None, entry: IndexEntry::new("", "", Checksum::Sha1([0; 20])) }
    }

    /// The name of an installed package, which may be a virtual one.
    pub(super) fn set_virtual_name(&mut self, value: &str) -> Result<(), String> {
        package_name(value.strip_prefix('.').unwrap_or(value))?;
        value.clone_into(&mut self.entry.name);
        Ok(())
    }

    pub(super) fn set(&mut self, field: u8, value: &str) -> Result<(), String> {
        let entry = &mut self.entry;
        let number = || value.parse::<u64>().map_err(|error| format!("no size ({error})"));
        let priority = || value.parse::<u32>().map(Some).map_err(|error| format!("no priority ({error})"));
        match field {
            b'P' => entry.name = package_name(value)?.to_owned(),
            b'V' => entry.version = package_version(value)?.to_owned(),
            b'A' => entry.arch = value.to_owned(),
            b'C' => self.control_hash = Some(value.parse().map_err(|error: ApkError| error.to_string())?),
            b'S' => entry.size = number()?,
            b'I' => entry.installed_size = number()?,
            b'T' => entry.description = value.to_owned(),
            b'U' => entry.url = value.to_owned(),
            b'L' => entry.license = value.to_owned(),
            b'o' => entry.origin = value.to_owned(),
            b'm' => entry.maintainer = value.to_owned(),
            b't' => entry.build_time = Some(value.parse().map_err(|error| format!("no time ({error})"))?),
            b'c' => entry.commit = value.to_owned(),
            b'D' => {
                for word in value.split_ascii_whitespace() {
                    match Dependency::parse(word) {
                        Ok(dependency) => entry.depends.push(dependency),
                        Err(error) => {
                            entry.depends.extend(Dependency::parse_with_any_version(word));
                            entry.unusable.get_or_insert_with(|| error.to_string());
                        }
                    }
                }
            }
            // As for apk, what can't be understood is just not provided, or replaced.
            b'p' => entry.provides.extend(words(value, Dependency::parse_provided).flatten()),
            b'r' => entry.replaces.extend(words(value, Dependency::parse).flatten()),
            // With a part of its conditions it would come too often.
            b'i' => match words(value, Dependency::parse).collect::<Result<Vec<_>, _>>() {
                Ok(list) => entry.install_if.extend(list),
                Err(_) => entry.install_if.clear(),
            },
            b'q' => entry.replaces_priority = priority()?,
            b'k' => entry.provider_priority = priority()?,
            // Fields of the installed database, which has this form too.
            b'F' | b'M' | b'R' | b'Z' => {}
            field if field.is_ascii_uppercase() => {
                entry.unusable.get_or_insert_with(|| format!("the field {} is not known", char::from(field)));
            }
            field if field.is_ascii_lowercase() => {}
            _ => return Err("a letter is expected before the colon".to_owned()),
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<IndexEntry, ApkError> {
        let missing = |field| ApkError::Missing {
            file: self.file,
            record: match self.entry.name.as_str() {
                "" => format!("the package that begins in line {}", self.line),
                name => name.to_owned(),
            },
            field,
        };
        if self.entry.name.is_empty() {
            return Err(missing("P: (name)"));
        }
        if self.entry.version.is_empty() {
            return Err(missing("V: (version)"));
        }
        let control_hash = self.control_hash.ok_or_else(|| missing("C: (checksum)"))?;
        Ok(IndexEntry { control_hash, ..self.entry })
    }
}

/// As `APKINDEX` holds it, without the empty line at the end. Fields that have no value are left out.
impl fmt::Display for IndexEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |list: &[Dependency]| {
            list.iter().fold(String::new(), |mut text, dependency| {
                let separator = if text.is_empty() { "" } else { " " };
                // Writing to a string can't fail.
                let _ = write!(text, "{separator}{dependency}");
                text
            })
        };
        let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        let fields: [(char, String); 19] = [
            ('C', self.control_hash.to_string()),
            ('P', self.name.clone()),
            ('V', self.version.clone()),
            ('A', self.arch.clone()),
            ('S', self.size.to_string()),
            ('I', self.installed_size.to_string()),
            ('T', self.description.clone()),
            ('U', self.url.clone()),
            ('L', self.license.clone()),
            ('o', self.origin.clone()),
            ('m', self.maintainer.clone()),
            ('t', self.build_time.map(|time| time.to_string()).unwrap_or_default()),
            ('c', self.commit.clone()),
            ('k', number(self.provider_priority)),
            ('D', list(&self.depends)),
            ('p', list(&self.provides)),
            ('i', list(&self.install_if)),
            ('r', list(&self.replaces)),
            ('q', number(self.replaces_priority)),
        ];
        for (field, value) in fields {
            if !value.is_empty() {
                writeln!(f, "{field}:{value}")?;
            }
        }
        Ok(())
    }
}

/// An index file taken apart, not verified: whoever uses [`IndexArchive::text`] must first have found a
/// signature of a trusted key over [`IndexArchive::signed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexArchive<'a> {
    /// Its signatures; none if it is unsigned.
    pub signatures: Vec<Signature>,
    /// What they are about: all compressed bytes after the signature member.
    pub signed: &'a [u8],
    /// What the repository says about itself.
    pub description: String,
    /// The text of `APKINDEX`, for [`Index::parse`].
    pub text: String,
}

impl<'a> IndexArchive<'a> {
    /// Takes the bytes of an `APKINDEX.tar.gz` apart.
    ///
    /// # Errors
    /// When members are missing, damaged or too large, or the text is not UTF-8.
    pub fn open(file: &'a [u8]) -> Result<Self, ApkError> {
        Self::open_within(file, &IndexLimits::default())
    }

    /// As [`IndexArchive::open`], of an index that holds no more than `limits` say.
    ///
    /// # Errors
    /// As [`IndexArchive::open`].
    pub fn open_within(file: &'a [u8], limits: &IndexLimits) -> Result<Self, ApkError> {
        let mut rest = file;
        // Of all members together: any number of them may follow each other.
        let mut room = limits.unpacked;
        let mut signature_room = MOST_SIGNATURE_BYTES;
        let mut signatures = Vec::new();
        let mut signed = file;
        let mut offset = 0;
        let mut description = None;
        let mut text = None;
        // An index is one member as a rule; `cat` could have made it from several.
        while let Some(part) = member::split_member(&mut rest, "index", offset, room)? {
            let mut part = part.expanding_at_most(limits.expansion);
            let content = part.read_all()?;
            let hashes = part.finish()?;
            room = room.saturating_sub(hashes.length);
            let files = segment::files(&content, "index", offset)?;
            offset += hashes.compressed_length;
            let is_signature =
                !files.is_empty() && files.iter().all(|(name, _)| name.starts_with(Signature::PREFIX));
            if is_signature && text.is_none() && description.is_none() {
                signature_room = signature_room.checked_sub(hashes.length).ok_or(ApkError::TooLarge {
                    member: "signature",
                    offset,
                    limit: MOST_SIGNATURE_BYTES,
                })?;
                signatures.extend(Signature::among(&files));
                signed = rest;
                continue;
            }
            for (name, content) in files {
                let place = match name.as_str() {
                    "APKINDEX" => &mut text,
                    "DESCRIPTION" => &mut description,
                    _ => continue,
                };
                let content = std::str::from_utf8(content).map_err(|error| ApkError::Structure {
                    offset,
                    expected: "text in UTF-8",
                    found: format!("something else in {name}, at byte {}", error.valid_up_to()),
                })?;
                if name == "DESCRIPTION" && content.len() > LONGEST_DESCRIPTION {
                    return Err(ApkError::Structure {
                        offset,
                        expected: "a description of a line",
                        found: format!("{} bytes", content.len()),
                    });
                }
                if place.replace(content.to_owned()).is_some() {
                    return Err(ApkError::Structure {
                        offset,
                        expected: "one APKINDEX and one DESCRIPTION",
                        found: format!("a second {name}"),
                    });
                }
            }
        }
        let text = text.ok_or_else(|| ApkError::Structure {
            offset,
            expected: "a file APKINDEX",
            found: "the end of the file".to_owned(),
        })?;
        let description = description.unwrap_or_default().trim_end().to_owned();
        Ok(Self { signatures, signed, description, text })
    }

    /// The packages and the description.
    ///
    /// # Errors
    /// As [`Index::parse`].
    pub fn index(&self) -> Result<Index, ApkError> {
        Ok(Index { description: self.description.clone(), ..Index::parse(&self.text)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "C:Q1ZX+on7zBgcokTctj4tLSmx7q5O4=\nP:git-zsh-completion\nV:5.8.1-r4\nA:x86_64\nS:97492\n\
        I:405504\nT:Zsh completions for git\nU:https://www.zsh.org/\nL:custom\no:zsh\n\
        m:Natanael Copa <ncopa@alpinelinux.org>\nt:1647977252\nc:0c813d4276d2e36ead29ca22b6c01045d86db58b\nk:10\n\
        D:zsh !x\np:cmd:git=1 y\ni:zsh=5.8.1-r4 git\n";

    #[test]
    fn entries_are_read_and_written() {
        let two = format!("{TEXT}\n{}", TEXT.replace("P:git-", "P:bit-"));
        let index = Index::parse(&two).expect("good");
        assert_eq!(index.entries.len(), 2);
        assert_eq!(index.entries[0].to_string(), TEXT);
        assert_eq!(index.entries[1].file_name(), "bit-zsh-completion-5.8.1-r4.apk");
        assert_eq!(index.entries[0].install_if.len(), 2);
        assert!(Index::parse("").expect("good").entries.is_empty());
    }

    #[test]
    fn what_apk_would_not_install_is_unusable() {
        for line in ["D:a@tag", "X:new", "D:=1", "D:a=x"] {
            let index = Index::parse(&format!("{TEXT}{line}\n")).expect("readable");
            assert!(index.entries[0].unusable.is_some(), "{line}");
        }
        assert!(Index::parse(&format!("{TEXT}x:new\n")).expect("good").entries[0].unusable.is_none());
        // Alpine 3.16 has a package of version 0.99f7-r0, which provides commands with it.
        let index = Index::parse(
            "C:Q1ZX+on7zBgcokTctj4tLSmx7q5O4=\nP:a\nV:0.99f7-r0\np:cmd:a=0.99f7-r0 b= c\ni:a =1\n",
        );
        let entry = index.expect("readable").entries.remove(0);
        assert_eq!(entry.unusable, None);
        assert_eq!(entry.provides.len(), 2);
        assert!(entry.install_if.is_empty());
    }

    /// Found by fuzzing: a carriage return at the end of a line is of the value, as for apk.
    #[test]
    fn lines_end_with_a_newline_alone() {
        let text = TEXT.replace("T:Zsh completions for git", "T:Zsh\r");
        let index = Index::parse(&text).expect("readable");
        assert_eq!(index.entries[0].description, "Zsh\r");
        assert_eq!(index.entries[0].to_string(), text);
        assert!(Index::parse(&text.replace("V:5.8.1-r4", "V:5.8.1-r4\r")).is_err());
    }

    #[test]
    fn names_can_not_lead_out_of_a_directory() {
        for bad in ["P:../x", "P:a/b", "V:1/../2", "P:.x", "P:", "V:", "C:Q1", "S:-1", "hello", "é:1", "1:2"]
        {
            assert!(Index::parse(&format!("{TEXT}{bad}\n")).is_err(), "{bad}");
        }
        assert!(matches!(Index::parse("P:a\nV:1\n"), Err(ApkError::Missing { .. })));
    }
}
