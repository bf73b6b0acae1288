//! Where loaders look: directories, their variables, and the defaults of each libc.

use crate::arch::Arch;
use crate::elf::{Libc, system_directories};
use crate::tree::{NodeKind, Tree, TreePath};

use super::LibraryError;

/// Loaders have some hundred kilobytes; with debug information some megabytes.
const MOST_LOADER: u64 = 64 << 20;
/// `etc/ld-musl-ARCH.path` holds a few paths.
const MOST_PATH_FILE: u64 = 1 << 20;

/// A dynamic loader: the rules of its libc, and where it looks when a file doesn't say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loader {
    /// Whose rules.
    pub(crate) libc: Libc,
    /// Absolute directories, in order.
    pub(crate) directories: Vec<Vec<u8>>,
    /// `$LIB`: `lib`, `lib64` or `lib/x86_64-linux-gnu`.
    pub(crate) lib: String,
    /// `$PLATFORM`.
    pub(crate) platform: &'static str,
}

impl Loader {
    /// A loader with given default directories.
    pub(crate) fn new(libc: Libc, arch: Arch, directories: Vec<Vec<u8>>) -> Self {
        let lib = directories
            .iter()
            .filter_map(|directory| std::str::from_utf8(directory).ok())
            .find_map(|directory| {
                let name = directory.strip_prefix("/usr").unwrap_or(directory).strip_prefix('/')?;
                (name == "lib64" || name.contains("-linux-")).then(|| name.to_owned())
            })
            .unwrap_or_else(|| "lib".to_owned());
        Self { libc, directories, lib, platform: arch.alpine() }
    }

    /// The loader that stands at `path` in the tree, or one as it usually is where there is none yet.
    pub(crate) fn in_tree(
        tree: &Tree,
        libc: Libc,
        arch: Arch,
        path: Option<&TreePath>,
    ) -> Result<Self, LibraryError> {
        let read = |path: &TreePath, limit| match tree.file(path) {
            Some((_, content)) => content
                .read(limit)
                .map(Some)
                .map_err(|source| LibraryError::Read { path: path.to_string(), source }),
            None => Ok(None),
        };
        let mut directories = default_directories(libc, arch);
        if libc == Libc::Musl {
            if let Some(file) = musl_path_file(arch, path)
                && let Some(text) = read(&file, MOST_PATH_FILE)?
            {
                directories = split(&text, b":\n").map(<[u8]>::to_vec).collect();
            }
        } else if let Some(path) = path
            && let Some(found) = read(path, MOST_LOADER)?.and_then(|bytes| system_directories(&bytes))
        {
            directories = found.into_iter().map(String::into_bytes).collect();
        }
        Ok(Self::new(libc, arch, directories))
    }
}

/// `etc/ld-musl-ARCH.path` beside the `lib` directory that the loader stands in.
fn musl_path_file(arch: Arch, loader: Option<&TreePath>) -> Option<TreePath> {
    let Some(loader) = loader else {
        return TreePath::parse(format!("etc/ld-musl-{arch}.path").as_bytes()).ok();
    };
    let name = std::str::from_utf8(loader.file_name()?).ok()?;
    let arch = name.strip_prefix("ld-musl-")?.split('.').next()?;
    loader.parent()?.parent()?.join(format!("etc/ld-musl-{arch}.path")).ok()
}

/// Where a loader looks that is not there to be asked. For glibc these are the directories of Debian and its
/// kin and those of the upstream sources, in the order in which either would look.
pub(crate) fn default_directories(libc: Libc, arch: Arch) -> Vec<Vec<u8>> {
    let names = match libc {
        Libc::Musl | Libc::None => {
            vec!["/lib".to_owned(), "/usr/local/lib".to_owned(), "/usr/lib".to_owned()]
        }
        Libc::Glibc => {
            let triplet = multiarch(arch);
            let lib64 = match arch {
                Arch::Riscv64 => "lib64/lp64d",
                Arch::X86_64 | Arch::Aarch64 => "lib64",
            };
            [format!("lib/{triplet}"), lib64.to_owned(), "lib".to_owned()]
                .iter()
                .flat_map(|name| [format!("/{name}"), format!("/usr/{name}")])
                .collect()
        }
    };
    names.into_iter().map(String::into_bytes).collect()
}

/// Debian's name for the architecture.
pub(crate) fn multiarch(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86_64-linux-gnu",
        Arch::Aarch64 => "aarch64-linux-gnu",
        Arch::Riscv64 => "riscv64-linux-gnu",
    }
}

/// The non-empty parts of a list.
fn split<'a>(list: &'a [u8], separators: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    list.split(|byte| separators.contains(byte)).filter(|part| !part.is_empty())
}

/// The absolute directories of a `DT_RPATH` or `DT_RUNPATH`, with their variables replaced; `origin` is the
/// directory of the file that has it. Relative ones are left out: they would be below whatever the current
/// directory is.
pub(crate) fn expand(list: &str, origin: &[u8], loader: &Loader) -> Vec<Vec<u8>> {
    if loader.libc != Libc::Glibc {
        // `fixup_rpath`: one that has any other variable in it is dropped as a whole.
        let rest = list.replace("${ORIGIN}", "").replace("$ORIGIN", "");
        if rest.contains('$') {
            return Vec::new();
        }
    }
    let separators: &[u8] = if loader.libc == Libc::Glibc { b":" } else { b":\n" };
    split(list.as_bytes(), separators)
        .map(|directory| substitute(directory, origin, loader))
        .filter(|directory| directory.starts_with(b"/"))
        .collect()
}

/// Replaces `$ORIGIN` and, for glibc, `$LIB` and `$PLATFORM`, with or without braces.
pub(crate) fn substitute(text: &[u8], origin: &[u8], loader: &Loader) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte == b'$') {
        result.extend_from_slice(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, end) = match after.strip_prefix(b"{") {
            Some(inner) => match inner.iter().position(|&byte| byte == b'}') {
                Some(end) => (&inner[..end], end + 2),
                None => (&inner[..0], 0),
            },
            // musl looks no further than the name itself.
            None if loader.libc != Libc::Glibc && after.starts_with(b"ORIGIN") => (&after[..6], 6),
            None => {
                let end = after
                    .iter()
                    .position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
                    .unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        let value = match name {
            b"ORIGIN" => Some(origin),
            b"LIB" if loader.libc == Libc::Glibc => Some(loader.lib.as_bytes()),
            b"PLATFORM" if loader.libc == Libc::Glibc => Some(loader.platform.as_bytes()),
            _ => None,
        };
        match value {
            Some(value) => {
                result.extend_from_slice(value);
                rest = &after[end..];
            }
            None => {
                result.push(b'$');
                rest = after;
            }
        }
    }
    result.extend_from_slice(rest);
    result
}

/// The directory of the tree that an absolute path leads to as the kernel walks it: `..` goes up from where
/// a link has led. `None` when there is no such directory.
pub(crate) fn directory_in(tree: &Tree, path: &[u8]) -> Option<TreePath> {
    let mut here = TreePath::root();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => here = tree.resolve(&here)?.parent().unwrap_or_default(),
            name => here = here.join(name).ok()?,
        }
    }
    let real = tree.resolve(&here)?;
    let is_directory = match tree.get(&real) {
        Some(node) => matches!(node.kind, NodeKind::Directory),
        // A directory need not have a node of its own before the tree is validated.
        None => real.is_root(),
    };
    is_directory.then_some(here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Metadata, Node, Origin};

    fn text(directories: Vec<Vec<u8>>) -> Vec<String> {
        directories.into_iter().map(|directory| String::from_utf8(directory).expect("text")).collect()
    }

    #[test]
    fn variables_of_both_libcs() {
        let glibc = Loader::new(Libc::Glibc, Arch::X86_64, default_directories(Libc::Glibc, Arch::X86_64));
        let musl = Loader::new(Libc::Musl, Arch::X86_64, default_directories(Libc::Musl, Arch::X86_64));
        for (list, with_glibc, with_musl) in [
            ("$ORIGIN/../lib:/opt", vec!["/app/bin/../lib", "/opt"], vec!["/app/bin/../lib", "/opt"]),
            ("${ORIGIN}:", vec!["/app/bin"], vec!["/app/bin"]),
            ("/usr/$LIB/x:/y", vec!["/usr/lib/x86_64-linux-gnu/x", "/y"], vec![]),
            ("/p/${PLATFORM}", vec!["/p/x86_64"], vec![]),
            ("$ORIGINAL/x:/y", vec!["/y"], vec!["/app/binAL/x", "/y"]),
            ("lib:./lib:/ok", vec!["/ok"], vec!["/ok"]),
            ("/a\n/b", vec!["/a\n/b"], vec!["/a", "/b"]),
            ("", vec![], vec![]),
            ("${ORIGIN", vec![], vec![]),
        ] {
            assert_eq!(text(expand(list, b"/app/bin", &glibc)), with_glibc, "glibc: {list}");
            assert_eq!(text(expand(list, b"/app/bin", &musl)), with_musl, "musl: {list}");
        }
    }

    #[test]
    fn lib_is_what_the_loader_was_built_with() {
        for (directories, lib) in [
            (vec!["/lib/x86_64-linux-gnu", "/lib"], "lib/x86_64-linux-gnu"),
            (vec!["/lib64", "/usr/lib64"], "lib64"),
            (vec!["/usr/lib"], "lib"),
        ] {
            let directories = directories.into_iter().map(|name| name.as_bytes().to_vec()).collect();
            assert_eq!(Loader::new(Libc::Glibc, Arch::X86_64, directories).lib, lib);
        }
    }

    #[test]
    fn dots_go_up_from_where_a_link_has_led() {
        let path = |text: &str| text.parse::<TreePath>().expect("a path");
        let mut tree = Tree::new();
        let file = || Node::file(Content::from_bytes(*b"x"), Metadata::FILE, Origin::skeleton());
        tree.insert_with_parents(path("opt/real/deep/x"), file());
        tree.insert_with_parents(path("opt/real/lib/x"), file());
        tree.insert(path("link"), Node::symlink("opt/real/deep", Origin::skeleton()));
        assert_eq!(directory_in(&tree, b"/link/../lib"), Some(path("opt/real/lib")));
        assert_eq!(directory_in(&tree, b"//link/."), Some(path("link")));
        assert_eq!(directory_in(&tree, b"/link/x"), None);
        assert_eq!(directory_in(&tree, b"/none/.."), None);
        assert_eq!(directory_in(&tree, b"/../../.."), Some(TreePath::root()));
    }

    #[test]
    fn musl_reads_its_path_file() {
        let path = |text: &str| text.parse::<TreePath>().expect("a path");
        let mut tree = Tree::new();
        let loader = path("opt/m/lib/ld-musl-x86_64.so.1");
        let file = Node::file(Content::from_bytes(*b"/a:/b\n/c\n"), Metadata::FILE, Origin::skeleton());
        tree.insert_with_parents(path("opt/m/etc/ld-musl-x86_64.path"), file);
        let found = Loader::in_tree(&tree, Libc::Musl, Arch::X86_64, Some(&loader)).expect("read");
        assert_eq!(text(found.directories), ["/a", "/b", "/c"]);
        let loader = path("lib/ld-musl-x86_64.so.1");
        let found = Loader::in_tree(&tree, Libc::Musl, Arch::X86_64, Some(&loader)).expect("read");
        assert_eq!(text(found.directories), ["/lib", "/usr/local/lib", "/usr/lib"]);
    }
}
