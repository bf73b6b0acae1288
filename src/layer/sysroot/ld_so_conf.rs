//! `/etc/ld.so.conf`: the directories that `ldconfig` puts into the cache of glibc's loader (ldconfig(8)).

use super::host::Root;
use crate::layer::libraries::LibraryError;

/// Files that include each other in a circle end here.
const MOST_DEPTH: usize = 8;
/// Far more than any system has.
const MOST_FILES: usize = 1024;

/// One line.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// Nothing, a comment, or something that says nothing about directories.
    Nothing,
    /// A directory.
    Directory(&'a [u8]),
    /// Patterns of files to read in this place.
    Include(Vec<&'a [u8]>),
}

fn parse(line: &[u8]) -> Line<'_> {
    let end = line.iter().position(|&byte| byte == b'#').unwrap_or(line.len());
    let line = line[..end].trim_ascii();
    let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    match words.next() {
        Some(b"include") => Line::Include(words.collect()),
        Some(b"hwcap") | None => Line::Nothing,
        // `DIRECTORY=TYPE` said what kind of libraries it holds.
        Some(_) => {
            let end = line.iter().position(|&byte| byte == b'=').unwrap_or(line.len());
            match line[..end].trim_ascii_end() {
                directory if directory.starts_with(b"/") => Line::Directory(directory),
                _ => Line::Nothing,
            }
        }
    }
}

/// The directories of the root's configuration, in order.
pub(super) fn directories(root: &Root) -> Result<Vec<Vec<u8>>, LibraryError> {
    let mut all = Vec::new();
    read(root, b"/etc/ld.so.conf", MOST_DEPTH, &mut 0, &mut all)?;
    Ok(all)
}

fn read(
    root: &Root,
    path: &[u8],
    depth: usize,
    files: &mut usize,
    all: &mut Vec<Vec<u8>>,
) -> Result<(), LibraryError> {
    *files += 1;
    if depth == 0 || *files > MOST_FILES {
        return Ok(());
    }
    let Some(file) = root.find(path)? else { return Ok(()) };
    let end = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    for line in root.read(&file)?.split(|&byte| byte == b'\n') {
        match parse(line) {
            Line::Nothing => {}
            Line::Directory(directory) => {
                // "/lib/" and "/lib" are one.
                let end = directory.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
                all.push(directory[..end].to_vec());
            }
            Line::Include(patterns) => {
                for pattern in patterns {
                    let pattern = match pattern.starts_with(b"/") {
                        true => pattern.to_vec(),
                        false => [&path[..end], b"/", pattern].concat(),
                    };
                    for path in glob(root, &pattern)? {
                        read(root, &path, depth - 1, files, all)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// The paths that match an absolute pattern, in byte order.
fn glob(root: &Root, pattern: &[u8]) -> Result<Vec<Vec<u8>>, LibraryError> {
    let mut paths = vec![Vec::new()];
    for component in pattern.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
        let mut next = Vec::new();
        for path in &paths {
            if !component.iter().any(|byte| b"*?[".contains(byte)) {
                next.push([path, b"/".as_slice(), component].concat());
                continue;
            }
            for name in root.list(path)? {
                if matches(component, &name) {
                    next.push([path, b"/".as_slice(), &name].concat());
                }
            }
        }
        paths = next;
    }
    Ok(paths)
}

/// glob(7) for one component: `*`, `?` and `[…]`; a leading dot must be named.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    (name.first() != Some(&b'.') || pattern.first() == Some(&b'.')) && matches_rest(pattern, name)
}

fn matches_rest(pattern: &[u8], name: &[u8]) -> bool {
    // Where to go on when the last star has to take one character more.
    let mut retry: Option<(usize, usize)> = None;
    let (mut at, mut here) = (0, 0);
    while here < name.len() {
        let step = match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, here));
                at += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => bracket(&pattern[at..], name[here]),
            Some(byte) => (*byte == name[here]).then_some(1),
            None => None,
        };
        match (step, retry) {
            (Some(step), _) => {
                at += step;
                here += 1;
            }
            (None, Some((after_star, taken))) => {
                retry = Some((after_star, taken + 1));
                (at, here) = (after_star, taken + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Whether `byte` is in the set at the start of `pattern`, and then how long that is. A set that doesn't end
/// is a plain `[`.
fn bracket(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let start = if negated { 2 } else { 1 };
    // A `]` that comes first is a member.
    let end = pattern.iter().skip(start + 1).position(|&byte| byte == b']').map(|at| at + start + 1);
    let Some(end) = end else { return (byte == b'[').then_some(1) };
    let set = &pattern[start..end];
    let mut found = false;
    let mut index = 0;
    while index < set.len() {
        if index + 2 < set.len() && set[index + 1] == b'-' {
            found |= (set[index]..=set[index + 2]).contains(&byte);
            index += 3;
        } else {
            found |= set[index] == byte;
            index += 1;
        }
    }
    (found != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (line, expected) in [
            ("", Line::Nothing),
            ("  # x", Line::Nothing),
            ("hwcap 0 nosegneg", Line::Nothing),
            ("relative/x", Line::Nothing),
            ("/usr/local/lib # mine", Line::Directory(b"/usr/local/lib")),
            ("\t/opt/lib=libc6", Line::Directory(b"/opt/lib")),
            ("include /etc/ld.so.conf.d/*.conf  b", Line::Include(vec![b"/etc/ld.so.conf.d/*.conf", b"b"])),
        ] {
            assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*.conf", "x.conf", true),
            ("*.conf", ".conf", false),
            ("*.conf", "x.conf~", false),
            ("*a*b", "xxaxxab", true),
            ("*a*b", "xxaxxa", false),
            ("?.conf", "x.conf", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("[x", "[x", true),
            ("", "", true),
            ("*", "", true),
            ("a", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_that_include_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs_err::create_dir_all(at("etc/ld.so.conf.d")).expect("directories");
        fs_err::write(at("etc/ld.so.conf"), "/first/\ninclude ld.so.conf.d/*.conf\n/last\ninclude none\n")
            .expect("write");
        fs_err::write(at("etc/ld.so.conf.d/b.conf"), "/b").expect("write");
        fs_err::write(at("etc/ld.so.conf.d/a.conf"), "/a\ninclude /etc/ld.so.conf.d/a.conf\n")
            .expect("write");
        fs_err::write(at("etc/ld.so.conf.d/c.txt"), "/c").expect("write");
        let root = Root::open(directory.path()).expect("a root");
        let mut all = directories(&root).expect("read");
        all.dedup();
        let all: Vec<_> = all.iter().map(|one| String::from_utf8_lossy(one)).collect();
        assert_eq!(all, ["/first", "/a", "/b", "/last"]);
    }
}
