//! `lib/apk/db/installed`: what is installed, as far as it concerns choosing packages.
//!
//! The file has the form of an index (`apk-index(5)`), with more fields for each package: `s:` is the tag of
//! the repository that it came from, `f:` what is wrong with it, and the lines of its files (`F:`, `M:`, `R:`,
//! `a:`, `Z:`), which are passed over here.

use super::index::Draft;
use super::{ApkError, IndexEntry, Quoted};

/// The packages of a system, in the order of the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// Each package.
    pub packages: Vec<InstalledPackage>,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledPackage {
    /// What it says about itself.
    pub entry: IndexEntry,
    /// `s:`: the tag of the repository that it was taken from, without the `@`.
    pub tag: Option<String>,
    /// `f:` with `f`, `s` or `x`: files, scripts or extended attributes could not be installed.
    pub broken: bool,
}

/// The file's name, in messages.
const FILE: &str = "installed";

impl Installed {
    /// Reads the database. Fields are as in an index; names may begin with a dot, as virtual packages' do.
    ///
    /// # Errors
    /// [`ApkError::Line`] or [`ApkError::Missing`] when a line can't be understood.
    pub fn parse(file: &[u8]) -> Result<Self, ApkError> {
        let mut packages = Vec::new();
        let mut draft: Option<InstalledDraft> = None;
        for (number, line) in file.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                packages.extend(draft.take().map(InstalledDraft::finish).transpose()?);
                continue;
            }
            let refuse = |reason: String| ApkError::Line {
                file: FILE,
                line: number + 1,
                reason,
                text: Quoted::new(line),
            };
            let draft = draft.get_or_insert_with(|| InstalledDraft::new(number + 1));
            match line {
                // Files have any names.
                [b'F' | b'M' | b'R' | b'a' | b'Z', b':', ..] => {}
                [field, b':', value @ ..] => {
                    let value = std::str::from_utf8(value).map_err(|_| refuse("no UTF-8".to_owned()))?;
                    draft.set(*field, value).map_err(refuse)?;
                }
                _ => return Err(refuse("no field, a colon and a value".to_owned())),
            }
        }
        packages.extend(draft.map(InstalledDraft::finish).transpose()?);
        Ok(Self { packages })
    }
}

struct InstalledDraft {
    draft: Draft,
    tag: Option<String>,
    broken: bool,
}

impl InstalledDraft {
    fn new(line: usize) -> Self {
        Self { draft: Draft::new(FILE, line), tag: None, broken: false }
    }

    fn set(&mut self, field: u8, value: &str) -> Result<(), String> {
        match field {
            b'P' => self.draft.set_virtual_name(value)?,
            b's' => self.tag = Some(value.to_owned()),
            b'f' => self.broken = value.contains(['f', 's', 'x']),
            _ => self.draft.set(field, value)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<InstalledPackage, ApkError> {
        Ok(InstalledPackage { entry: self.draft.finish()?, tag: self.tag, broken: self.broken })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"C:Q1ZX+on7zBgcokTctj4tLSmx7q5O4=\nP:musl\nV:1\nI:7\nD:a !b\nF:lib\nM:0:0:755\n\
        R:\xff\xfe\na:0:0:644\nZ:Q1ZX+on7zBgcokTctj4tLSmx7q5O4=\n\nC:Q1ZX+on7zBgcokTctj4tLSmx7q5O4=\nP:.virtual\n\
        V:2\nr:musl\nq:3\ns:testing\nf:fS\n\n";

    #[test]
    fn packages_are_read_and_files_passed_over() {
        let installed = Installed::parse(TEXT).expect("good");
        let [musl, virtual_package] = &installed.packages[..] else { panic!("{installed:?}") };
        assert_eq!((musl.entry.full_name().as_str(), musl.entry.depends.len()), ("musl-1", 2));
        assert_eq!((&musl.tag, musl.broken), (&None, false));
        assert_eq!(virtual_package.entry.name, ".virtual");
        assert_eq!(virtual_package.entry.replaces_priority, Some(3));
        assert_eq!((virtual_package.tag.as_deref(), virtual_package.broken), (Some("testing"), true));
        assert_eq!(Installed::parse(b"").expect("empty"), Installed::default());
    }

    #[test]
    fn what_is_no_database() {
        for bad in
            [&b"P:a\nV:1\n"[..], b"hello\n", b"C:Q1ZX+on7zBgcokTctj4tLSmx7q5O4=\nP:..\nV:1\n", b"T:\xff\n"]
        {
            assert!(Installed::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
