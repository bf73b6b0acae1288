//! The fragments that names stand for, those of the user's files among them.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::config::{CatalogError, Fragment, MOST_FRAGMENT_BYTES, expand, is_path};
use super::BuildError;
use super::source::read_text;
use crate::arch::Arch;

/// Fragments that files may name, one the other, at most.
const MOST_FILES: usize = 1000;

/// The fragments of a configuration: leanfs's own by their names, the user's by their paths, which begin at `directory`
/// unless they are absolute.
///
/// # Errors
/// When a name isn't known, or a file can't be read.
pub fn read_fragments(names: &[String], directory: &Path, arch: Arch) -> Result<Vec<Fragment>, BuildError> {
    let mut own = BTreeMap::new();
    let mut open: Vec<String> = names.iter().filter(|name| is_path(name)).cloned().collect();
    while let Some(name) = open.pop() {
        if own.contains_key(&name) || own.len() >= MOST_FILES {
            continue;
        }
        let text = read_text(&directory.join(&name), MOST_FRAGMENT_BYTES)?;
        let fragment = Fragment::parse(&name, &text).map_err(CatalogError::Fragment)?;
        open.extend(fragment.with.iter().filter(|name| is_path(name)).cloned());
        own.insert(name, fragment);
    }
    Ok(expand(names, &own, arch)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_where_they_stand() {
        let directory = tempfile::tempdir().expect("a directory");
        fs_err::write(directory.path().join("a.config"), "# leanfs: with net, ./b\nCONFIG_A=y\n")
            .expect("written");
        fs_err::write(directory.path().join("b"), "CONFIG_B=y\n").expect("written");
        let names = ["a.config".to_owned(), "tiny".to_owned()];
        let fragments = read_fragments(&names, directory.path(), Arch::X86_64).expect("readable");
        let names: Vec<&str> = fragments.iter().map(|fragment| fragment.name.as_str()).collect();
        assert_eq!(names, ["base", "x86_64", "net", "./b", "a.config", "tiny"]);
        let error = read_fragments(&["./c".to_owned()], directory.path(), Arch::X86_64).expect_err("absent");
        assert!(error.to_string().starts_with("can't read "), "{error}");
    }
}
