//! The fragments that leanfs brings, `kernel-configs/`, and which of them a configuration consists of.

use std::collections::{BTreeMap, BTreeSet};

use super::fragment::{Fragment, FragmentError};
use super::quoted;
use crate::arch::Arch;

/// What a fragment is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Part of every configuration.
    Base,
    /// Part of every configuration for that architecture.
    Arch,
    /// A machine or a hypervisor.
    Machine,
    /// Something that an image may need.
    Need,
    /// How small the kernel is.
    Size,
}

/// A fragment that leanfs brings.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// The name by which it is asked for.
    pub name: &'static str,
    /// What it is about.
    pub kind: Kind,
    /// Its text.
    pub text: &'static str,
}

macro_rules! built_in {
    ($($kind:ident $directory:literal: $($name:literal)+;)+) => {
        &[
            BuiltIn { name: "base", kind: Kind::Base, text: include_str!("../../../kernel-configs/base.config") },
            $($(BuiltIn {
                name: $name,
                kind: Kind::$kind,
                text: include_str!(concat!("../../../kernel-configs/", $directory, "/", $name, ".config")),
            },)+)+
        ]
    };
}

/// All of them.
pub const BUILT_IN: &[BuiltIn] = built_in! {
    Arch "arch": "x86_64" "aarch64" "riscv64";
    Machine "machine": "qemu" "microvm" "firecracker" "cloud-hypervisor" "container-host";
    Need "need": "block" "clock" "debug" "efi" "erofs" "ext4" "initramfs-gzip" "initramfs-lz4" "initramfs-xz" "initramfs-zstd"
        "ipv6" "mmio" "modules" "net" "overlay" "partitions" "pci" "rng" "security" "smp" "squashfs" "virtio-console"
        "virtiofs" "vsock" "watchdog";
    Size "size": "tiny";
};

/// Why there are no such fragments.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// No fragment has this name.
    #[error("{name} is no kernel configuration that leanfs brings")]
    Unknown {
        /// The name, quoted.
        name: String,
        /// One that is spelled nearly so.
        similar: Option<&'static str>,
    },
    /// A fragment can't be read.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// A fragment that needs itself.
    #[error("the kernel configuration {name} needs itself, by way of others")]
    Cycle {
        /// Its name, quoted.
        name: String,
    },
}

impl CatalogError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { similar: Some(similar), .. } => Some(format!("perhaps {similar:?}?")),
            Self::Unknown { similar: None, .. } => {
                let names: Vec<&str> = BUILT_IN
                    .iter()
                    .filter(|built_in| !matches!(built_in.kind, Kind::Base | Kind::Arch))
                    .map(|built_in| built_in.name)
                    .collect();
                Some(format!(
                    "there are {}; a fragment of your own is named by its path, with a `/` or ending in .config",
                    names.join(", ")
                ))
            }
            Self::Cycle { .. } => Some("take one of its `# leanfs: with` lines away".to_owned()),
            Self::Fragment(_) => None,
        }
    }
}

/// Whether a name of a fragment is a path to a file of the user's.
pub fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".config")
}

/// The fragments of a configuration in the order in which they are merged: `base`, the architecture's, and for each
/// of `names` those that it needs and itself, each once, at its first place. `own` holds the user's fragments by their
/// names in `names`.
///
/// # Errors
/// Names that don't exist and fragments that can't be read.
pub fn expand(
    names: &[String],
    own: &BTreeMap<String, Fragment>,
    arch: Arch,
) -> Result<Vec<Fragment>, CatalogError> {
    let mut expansion = Expansion { own, done: BTreeSet::new(), open: Vec::new(), fragments: Vec::new() };
    for name in ["base", arch.alpine()].into_iter().chain(names.iter().map(String::as_str)) {
        expansion.add(name)?;
    }
    Ok(expansion.fragments)
}

struct Expansion<'a> {
    own: &'a BTreeMap<String, Fragment>,
    done: BTreeSet<String>,
    /// Fragments whose needs are being added.
    open: Vec<String>,
    fragments: Vec<Fragment>,
}

impl Expansion<'_> {
    fn add(&mut self, name: &str) -> Result<(), CatalogError> {
        if self.open.iter().any(|open| open == name) {
            return Err(CatalogError::Cycle { name: quoted(name) });
        }
        if self.done.contains(name) {
            return Ok(());
        }
        let fragment = match self.own.get(name) {
            Some(fragment) => fragment.clone(),
            None => {
                let built_in = BUILT_IN
                    .iter()
                    .find(|built_in| built_in.name == name)
                    .ok_or_else(|| CatalogError::Unknown { name: quoted(name), similar: similar(name) })?;
                Fragment::parse(name, built_in.text)?
            }
        };
        self.open.push(name.to_owned());
        for needed in &fragment.with {
            self.add(needed)?;
        }
        self.open.pop();
        self.done.insert(name.to_owned());
        self.fragments.push(fragment);
        Ok(())
    }
}

fn similar(name: &str) -> Option<&'static str> {
    BUILT_IN
        .iter()
        .map(|built_in| (strsim::jaro_winkler(built_in.name, name), built_in.name))
        .filter(|(similarity, _)| *similarity > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn expanded(list: &[&str]) -> Vec<String> {
        let fragments = expand(&names(list), &BTreeMap::new(), Arch::X86_64).expect("built-in fragments");
        fragments.into_iter().map(|fragment| fragment.name).collect()
    }

    #[test]
    fn every_fragment_is_whole_and_has_its_reasons() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/kernel-configs");
        for built_in in BUILT_IN {
            let fragment = Fragment::parse(built_in.name, built_in.text).expect(built_in.name);
            for setting in &fragment.settings {
                assert!(!setting.reason.is_empty(), "{}:{}: no reason", built_in.name, setting.line);
            }
            expanded(&[built_in.name]);
        }
        let mut files = 0;
        for entry in ["", "arch", "machine", "need", "size"] {
            for file in std::fs::read_dir(format!("{directory}/{entry}")).expect("a directory") {
                let name = file.expect("an entry").file_name().into_string().expect("ASCII");
                if let Some(name) = name.strip_suffix(".config") {
                    files += 1;
                    assert!(BUILT_IN.iter().any(|built_in| built_in.name == name), "{name} isn't built in");
                }
            }
        }
        assert_eq!(files, BUILT_IN.len());
    }

    #[test]
    fn what_a_fragment_needs_comes_before_it_and_once() {
        let list = expanded(&["ipv6", "microvm", "tiny", "net"]);
        assert_eq!(list, ["base", "x86_64", "net", "ipv6", "rng", "mmio", "initramfs-xz", "microvm", "tiny"]);
        assert_eq!(expanded(&["squashfs"])[2..], ["block", "squashfs"]);
    }

    #[test]
    fn own_fragments_and_wrong_names() {
        let own =
            |name: &str, text: &str| (name.to_owned(), Fragment::parse(name, text).expect("a fragment"));
        let mine = BTreeMap::from([own("./mine.config", "# leanfs: with net\nCONFIG_A=y\n")]);
        let list = expand(&names(&["./mine.config"]), &mine, Arch::Aarch64).expect("there");
        let list: Vec<&str> = list.iter().map(|fragment| fragment.name.as_str()).collect();
        assert_eq!(list, ["base", "aarch64", "net", "./mine.config"]);

        let circle = BTreeMap::from([own("a/b", "# leanfs: with c/d\n"), own("c/d", "# leanfs: with a/b\n")]);
        let error = expand(&names(&["a/b"]), &circle, Arch::X86_64).expect_err("a circle");
        assert_eq!(error.to_string(), "the kernel configuration \"a/b\" needs itself, by way of others");

        let error = expand(&names(&["squasfs"]), &BTreeMap::new(), Arch::X86_64).expect_err("misspelled");
        assert_eq!(error.hint().as_deref(), Some("perhaps \"squashfs\"?"));
        let error = expand(&names(&["zzz"]), &BTreeMap::new(), Arch::X86_64).expect_err("unknown");
        assert!(error.hint().is_some_and(|hint| hint.contains("qemu, microvm")), "{error}");
        assert!(is_path("./x") && is_path("x.config") && !is_path("microvm"));
    }
}
