//! Paths that are the administrator's: apk neither overwrites nor audits them as files of packages.
//!
//! Rules stand in `etc/apk/protected_paths.d/*.list` (`apk-protected_paths(5)`): a sign (`+`, `-`, `@`, `!`; none is
//! `+`) and a pattern as of the shell, component by component. What a directory is, is everything below it, until
//! another rule says something else. `etc`, `etc/init.d` and `etc/apk` have rules by themselves.

use crate::tree::{Tree, TreePath};

/// The largest list that is read.
const MOST_BYTES: u64 = 1 << 20;

/// The rules of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProtectedPaths {
    rules: Vec<(Vec<Vec<u8>>, bool)>,
}

impl ProtectedPaths {
    /// apk's own rules, and those of the lists in `tree`.
    pub(super) fn of(tree: &Tree) -> Self {
        let mut rules = Self { rules: Vec::new() };
        rules.add(b"+etc\n@etc/init.d\n!etc/apk");
        let directory = TreePath::parse(b"etc/apk/protected_paths.d").expect("a constant path");
        let directory = tree.resolve(&directory).unwrap_or(directory);
        let lists = tree.below(&directory).filter(|(path, _)| {
            let name = path.file_name().unwrap_or_default();
            path.parent().as_ref() == Some(&directory) && name.ends_with(b".list") && !name.starts_with(b".")
        });
        for (path, _) in lists {
            if let Some(bytes) = tree.file(path).and_then(|(_, content)| content.read(MOST_BYTES).ok()) {
                rules.add(&bytes);
            }
        }
        rules
    }

    fn add(&mut self, list: &[u8]) {
        for line in list.split(|&byte| byte == b'\n') {
            let (protects, pattern) = match line {
                [] | [b'#', ..] => continue,
                [b'-', pattern @ ..] => (false, pattern),
                [b'+' | b'@' | b'!', pattern @ ..] => (true, pattern),
                pattern => (true, pattern),
            };
            let components: Vec<Vec<u8>> = pattern
                .split(|&byte| byte == b'/')
                .filter(|component| !component.is_empty())
                .map(<[u8]>::to_vec)
                .collect();
            if !components.is_empty() {
                self.rules.push((components, protects));
            }
        }
    }

    /// Whether the file at `path` is protected.
    pub(super) fn protects(&self, path: &TreePath) -> bool {
        let components: Vec<&[u8]> = path.components().collect();
        let mut protected = false;
        for depth in 1..=components.len() {
            for (pattern, protects) in self.rules.iter().filter(|(pattern, _)| pattern.len() == depth) {
                if pattern.iter().zip(&components).all(|(pattern, name)| fits(pattern, name)) {
                    protected = *protects;
                }
            }
        }
        protected
    }
}

/// `fnmatch(3)` for one component: `*`, `?`, `[a-z]`, `[!a-z]` and `\`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    // Where to go on after the last `*`: it then stands for a byte more.
    let mut back: Option<(usize, usize)> = None;
    while position < name.len() {
        let step = match pattern.get(at) {
            Some(b'*') => {
                back = Some((at + 1, position));
                at += 1;
                continue;
            }
            Some(_) => one(&pattern[at..], name[position]),
            None => None,
        };
        match (step, back) {
            (Some(length), _) => (at, position) = (at + length, position + 1),
            (None, Some((after, from))) => {
                (at, position) = (after, from + 1);
                back = Some((after, from + 1));
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// How many bytes of the pattern stand for `byte`; none if they don't.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', rest @ ..] => {
            let negated = matches!(rest.first(), Some(b'!' | b'^'));
            let set = &rest[usize::from(negated)..];
            // The first `]` may be one of the set.
            let Some(end) = set.iter().skip(1).position(|&end| end == b']').map(|end| end + 1) else {
                return (byte == b'[').then_some(1);
            };
            let mut found = false;
            let mut left = &set[..end];
            while let Some((&first, after)) = left.split_first() {
                match after {
                    [b'-', last, after @ ..] => {
                        found |= (first..=*last).contains(&byte);
                        left = after;
                    }
                    after => {
                        found |= first == byte;
                        left = after;
                    }
                }
            }
            (found != negated).then_some(1 + usize::from(negated) + end + 1)
        }
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Metadata, Node, Origin};

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*c*", "abcd", true),
            ("a*c", "abcd", false),
            ("*.pem", "ca-cert-x.pem", true),
            ("[0-9a-f][0-9a-f].[r0-9]*", "3f.0", true),
            ("[0-9a-f][0-9a-f].[r0-9]*", "3g.0", false),
            ("[!a]x", "bx", true),
            ("[!a]x", "ax", false),
            ("[]]", "]", true),
            ("[", "[", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("?", "a", true),
            ("?", "", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn rules_hold_for_what_is_below() {
        let mut tree = Tree::new();
        let list =
            b"# x\n-etc/ssl/certs/ca-certificates.crt\n-etc/ssl/certs/[0-9a-f].[r0-9]*\n\n/srv/*/data/\n";
        for (name, text) in [("a.list", &list[..]), (".b.list", b"var"), ("c.conf", b"var")] {
            let node = Node::file(Content::from_bytes(text.to_vec()), Metadata::FILE, Origin::skeleton());
            let path = format!("etc/apk/protected_paths.d/{name}");
            tree.insert_with_parents(path.parse().expect("good"), node);
        }
        let rules = ProtectedPaths::of(&tree);
        for (path, expected) in [
            ("etc/motd", true),
            ("etc/init.d/x", true),
            ("etc/ssl/certs/ca-certificates.crt", false),
            ("etc/ssl/certs/f.0", false),
            ("etc/ssl/certs/other", true),
            ("srv/x/data/y/z", true),
            ("srv/x/other", false),
            ("var/x", false),
            ("usr/bin/x", false),
        ] {
            assert_eq!(rules.protects(&path.parse().expect("good")), expected, "{path}");
        }
    }
}
