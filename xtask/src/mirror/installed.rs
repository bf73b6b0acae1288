//! apk's database of installed packages, `lib/apk/db/installed`: a record a package, with its metadata as in an
//! index and then its directories and files.
//!
//! Lines are `X:value`; a record ends at an empty line. `F:` opens a directory, `M:` is its `uid:gid:mode`
//! (0:0:755 when absent), `R:` a file in it, `a:` the file's `uid:gid:mode` (0:0:644 when absent), `Z:` its
//! checksum: `Q1` and the base64 of the SHA-1 of its content, or of a symbolic link's target.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// An installed package.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Fields of one letter, files apart: `P` the name, `V` the version and so on.
    pub(crate) fields: BTreeMap<char, String>,
    pub(crate) directories: Vec<Directory>,
}

/// A directory of a package.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    /// Without a slash at either end; empty for the root.
    pub(crate) path: String,
    pub(crate) owner: Owner,
    pub(crate) files: Vec<File>,
}

/// A file or symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) owner: Owner,
    /// `Q1…`, when there is one.
    pub(crate) checksum: Option<String>,
}

/// `uid:gid:mode`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Nothing for the default of its kind.
    pub(crate) mode: Option<u32>,
}

impl Owner {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (uid, gid, mode) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            mode: Some(u32::from_str_radix(mode, 8).ok()?),
        })
    }
}

impl Installed {
    /// A field's text; empty when it is absent.
    pub(crate) fn field(&self, letter: char) -> &str {
        self.fields.get(&letter).map_or("", String::as_str)
    }
}

/// Reads the whole database.
pub(crate) fn parse(text: &str) -> Result<Vec<Installed>> {
    let mut packages = Vec::new();
    let mut package = Installed::default();
    for (number, line) in text.lines().chain([""]).enumerate() {
        if line.is_empty() {
            if !package.fields.is_empty() {
                packages.push(std::mem::take(&mut package));
            }
            continue;
        }
        record_line(&mut package, line)
            .with_context(|| format!("lib/apk/db/installed, line {}: {line:?}", number + 1))?;
    }
    Ok(packages)
}

fn record_line(package: &mut Installed, line: &str) -> Result<()> {
    let Some((key, value)) = line.split_once(':') else { bail!("expected `X:value`") };
    let mut letters = key.chars();
    let (Some(letter), None) = (letters.next(), letters.next()) else {
        bail!("expected a key of one letter")
    };
    let directory = package.directories.last_mut();
    match letter {
        'F' => package.directories.push(Directory { path: value.to_owned(), ..Directory::default() }),
        'M' => directory.context("before any directory")?.owner = Owner::parse(value).context("no owner")?,
        'R' => directory.context("before any directory")?.files.push(File {
            name: value.to_owned(),
            owner: Owner::default(),
            checksum: None,
        }),
        'a' => file(directory)?.owner = Owner::parse(value).context("no owner")?,
        'Z' => file(directory)?.checksum = Some(value.to_owned()),
        _ => {
            package.fields.insert(letter, value.to_owned());
        }
    }
    Ok(())
}

fn file(directory: Option<&mut Directory>) -> Result<&mut File> {
    directory.and_then(|directory| directory.files.last_mut()).context("before any file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_fields_directories_and_files() {
        let text = "C:Q1abc=\nP:a\nV:1-r0\nD:b so:c\nF:\nF:etc\nM:0:42:1777\nR:x\na:1:2:4755\nZ:Q1x=\nR:y\n\nP:b\nV:2\n\n";
        let packages = parse(text).expect("a good database");
        assert_eq!(packages.len(), 2);
        let a = &packages[0];
        assert_eq!(a.field('P'), "a");
        assert_eq!(a.field('D'), "b so:c");
        assert_eq!(a.directories[1].owner, Owner { uid: 0, gid: 42, mode: Some(0o1777) });
        assert_eq!(a.directories[1].files[0].owner, Owner { uid: 1, gid: 2, mode: Some(0o4755) });
        assert_eq!(a.directories[1].files[0].checksum.as_deref(), Some("Q1x="));
        assert_eq!(a.directories[1].files[1].owner, Owner::default());
    }

    #[test]
    fn a_file_outside_a_directory_is_refused() {
        assert!(parse("P:a\nR:x\n").is_err());
        assert!(parse("P:a\nF:etc\nZ:Q1\n").is_err());
        assert!(parse("nothing\n").is_err());
    }
}
