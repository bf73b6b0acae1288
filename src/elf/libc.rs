//! Which C library a file is for, and what is known of the two.

use std::cmp::Ordering;
use std::fmt;

use super::ElfFile;

/// The C libraries that an image can hold. What must agree is the closure of each program: one image may hold
/// programs of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Libc {
    /// musl: Alpine's.
    Musl,
    /// The GNU C library: Debian's, Ubuntu's, Fedora's …
    Glibc,
    /// Neither can be told from the file: it needs no C library, or one that is unknown.
    None,
}

impl fmt::Display for Libc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Musl => "musl",
            Self::Glibc => "glibc",
            Self::None => "no known libc",
        })
    }
}

impl Libc {
    pub(super) fn of(file: &ElfFile) -> Self {
        if let Some(interpreter) = &file.interpreter {
            return Self::of_interpreter(interpreter);
        }
        let names = file.needed.iter().chain(&file.soname);
        for libc in names.map(|name| Self::of_library(name)) {
            if libc != Self::None {
                return libc;
            }
        }
        let glibc_versions = file
            .version_needs
            .iter()
            .flat_map(|needs| needs.versions.iter().map(|version| version.name.as_str()))
            .chain(file.version_definitions.iter().map(String::as_str))
            .any(|version| version.starts_with("GLIBC_"));
        if glibc_versions { Self::Glibc } else { Self::None }
    }

    /// The libc whose dynamic loader has this path.
    pub fn of_interpreter(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        if name.starts_with("ld-musl-") {
            Self::Musl
        } else if is_glibc_loader(name) {
            Self::Glibc
        } else {
            Self::None
        }
    }

    /// The libc that a library of this soname belongs to.
    pub fn of_library(soname: &str) -> Self {
        /// The sonames of glibc's own libraries begin so. musl's have `libc.so` and `libc.musl-ARCH.so.1`.
        const GLIBC: [&str; 7] = [
            "libc.so.6",
            "libm.so.6",
            "libpthread.so.0",
            "libdl.so.2",
            "librt.so.1",
            "libutil.so.1",
            "libresolv.so.2",
        ];
        if soname == "libc.so" || soname.starts_with("libc.musl-") || soname.starts_with("ld-musl-") {
            Self::Musl
        } else if GLIBC.contains(&soname) || is_glibc_loader(soname) {
            Self::Glibc
        } else {
            Self::None
        }
    }
}

/// `ld-linux-x86-64.so.2`, `ld-linux-aarch64.so.1`, `ld-linux-riscv64-lp64d.so.1`, `ld-linux.so.2`, `ld64.so.1` …
fn is_glibc_loader(name: &str) -> bool {
    ["ld-linux", "ld64.so.", "ld.so.1"].iter().any(|start| name.starts_with(start))
}

/// Whether musl's loader takes a needed library of this name for itself, wherever a file of that name may be
/// (`load_library` in musl's `ldso/dynlink.c`). It compares up to the first dot: `libc.so.6` is one, too.
pub fn is_musl_own(name: &str) -> bool {
    const RESERVED: [&str; 7] = ["c", "pthread", "rt", "m", "dl", "util", "xnet"];
    name.starts_with("ld-musl-")
        || name
            .strip_prefix("lib")
            .and_then(|name| name.split_once('.'))
            .is_some_and(|(name, _)| RESERVED.contains(&name))
}

/// The version of a glibc, from the newest `GLIBC_2.N` that its `libc.so.6` defines; `None` when it defines
/// none.
pub fn glibc_version(libc: &ElfFile) -> Option<Vec<u32>> {
    libc.version_definitions
        .iter()
        .filter_map(|version| version.strip_prefix("GLIBC_"))
        .filter_map(|numbers| numbers.split('.').map(|number| number.parse().ok()).collect())
        .max()
}

/// Orders version names as people do: `GLIBC_2.4` before `GLIBC_2.38`.
pub(crate) fn compare_versions(a: &str, b: &str) -> Ordering {
    // Runs of digits are compared by value, everything else by its characters.
    fn next_run(text: &str) -> (&str, Option<u64>, &str) {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            (&text[..digits], Some(text[..digits].parse().unwrap_or(u64::MAX)), &text[digits..])
        } else {
            let end = text.find(|character: char| character.is_ascii_digit()).unwrap_or(text.len());
            (&text[..end], None, &text[end..])
        }
    }
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let (text_a, number_a, rest_a) = next_run(a);
        let (text_b, number_b, rest_b) = next_run(b);
        let order = match (number_a, number_b) {
            (Some(number_a), Some(number_b)) => number_a.cmp(&number_b),
            _ => text_a.cmp(text_b),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    a.len().cmp(&b.len())
}

/// The directories that a glibc's loader was built to look into, from the bytes of the loader: an array of
/// strings `/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0` (`system_dirs` in
/// `elf/dl-load.c`). They differ from distribution to distribution. `None` when the array isn't found.
pub fn system_directories(loader: &[u8]) -> Option<Vec<String>> {
    const MOST_DIRECTORIES: usize = 16;
    const MOST_BYTES: usize = 256;
    // The bytes of one directory without its last slash, if that is what stands here.
    let directory = |here: usize| -> Option<&str> {
        let rest = loader.get(here..)?;
        let end = rest.iter().take(MOST_BYTES).position(|&byte| byte == 0)?;
        let text = std::str::from_utf8(&rest[..end]).ok()?.strip_suffix('/')?;
        let clean = text.starts_with('/') && !text.chars().any(char::is_control);
        (clean && text.split('/').any(|name| name.starts_with("lib"))).then_some(text)
    };
    let starts = loader.windows(2).enumerate().filter(|(_, pair)| pair == b"\0/").map(|(index, _)| index + 1);
    for mut here in starts {
        let mut directories = Vec::new();
        while let Some(found) = directory(here)
            && directories.len() < MOST_DIRECTORIES
        {
            directories.push(found.to_owned());
            here += found.len() + 2;
        }
        if !directories.is_empty() {
            return Some(directories);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_libc() {
        for (name, libc) in [
            ("/lib/ld-musl-x86_64.so.1", Libc::Musl),
            ("/lib64/ld-linux-x86-64.so.2", Libc::Glibc),
            ("/lib/ld-linux-aarch64.so.1", Libc::Glibc),
            ("/lib/ld-linux-riscv64-lp64d.so.1", Libc::Glibc),
            ("/nix/store/x-glibc/lib/ld-linux-x86-64.so.2", Libc::Glibc),
            ("/lib/ld-uClibc.so.0", Libc::None),
            ("/system/bin/linker64", Libc::None),
        ] {
            assert_eq!(Libc::of_interpreter(name), libc, "{name}");
        }
        for (name, libc) in [
            ("libc.so", Libc::Musl),
            ("libc.musl-aarch64.so.1", Libc::Musl),
            ("libc.so.6", Libc::Glibc),
            ("libm.so.6", Libc::Glibc),
            ("ld-linux-x86-64.so.2", Libc::Glibc),
            ("libz.so.1", Libc::None),
            ("libc.so.7", Libc::None),
            ("libcrypto.so.3", Libc::None),
        ] {
            assert_eq!(Libc::of_library(name), libc, "{name}");
        }
    }

    #[test]
    fn musl_takes_its_own_names() {
        for name in
            ["libc.so", "libc.musl-x86_64.so.1", "libpthread.so.0", "libm.so", "libxnet.so", "libc.so.6"]
        {
            assert!(is_musl_own(name), "{name}");
        }
        for name in ["libcrypto.so.3", "libz.so.1", "libmagic.so.1", "libc", "c.so", "libresolv.so.2"] {
            assert!(!is_musl_own(name), "{name}");
        }
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let mut versions = ["GLIBC_2.38", "GLIBC_2.4", "GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.2"];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(versions, ["GLIBC_2.2", "GLIBC_2.2.5", "GLIBC_2.4", "GLIBC_2.34", "GLIBC_2.38"]);
    }

    #[test]
    fn directories_of_loaders() {
        let debian =
            b"\x01\0/lib64\0x\0\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0\0/x/";
        assert_eq!(
            system_directories(debian).expect("found"),
            ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"]
        );
        assert_eq!(
            system_directories(b"\0\0/lib64/\0/usr/lib64/\0").expect("found"),
            ["/lib64", "/usr/lib64"]
        );
        assert_eq!(system_directories(b"\0/usr/lib/\0").expect("found"), ["/usr/lib"]);
        for bad in [&b""[..], b"\0/lib", b"\0/lib\0", b"/lib/\0", &[b'\0'; 64]] {
            assert_eq!(system_directories(bad), None, "{bad:?}");
        }
    }
}
