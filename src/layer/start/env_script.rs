//! The `env.sh` of a `mix release`: a shell script that is sourced before the release starts. One that only
//! exports literal values is understood, so that no shell is needed; Mix's default is only comments.

/// What an `env.sh` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EnvScript {
    /// Sets these variables, in order.
    Exports(Vec<(String, String)>),
    /// Something that only a shell can do: the first such line, its number from 1, and its text, escaped.
    Shell {
        /// The line's number.
        line: usize,
        /// Its text.
        text: String,
    },
}

/// Reads the script. A line may be empty, a comment, `export NAME=LITERAL`, or (for the variables that the
/// release's own script exports later) `RELEASE_…=LITERAL`.
pub(super) fn parse(bytes: &[u8]) -> EnvScript {
    let mut exports = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let text = std::str::from_utf8(line).ok();
        match text.and_then(statement) {
            Some(Some(export)) => exports.push(export),
            Some(None) => {}
            None => {
                const MOST_SHOWN: usize = 60;
                let text = line[..line.len().min(MOST_SHOWN)].trim_ascii().escape_ascii().to_string();
                return EnvScript::Shell { line: index + 1, text };
            }
        }
    }
    EnvScript::Exports(exports)
}

/// `Some(None)` for a line that does nothing, `None` for one that is not understood.
fn statement(line: &str) -> Option<Option<(String, String)>> {
    let line = line.trim_matches([' ', '\t']);
    if line.is_empty() || line.starts_with('#') {
        return Some(None);
    }
    let (exported, assignment) = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => (true, rest.trim_start_matches([' ', '\t'])),
        _ => (false, line),
    };
    let (name, value) = assignment.split_once('=')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name || !exported && !name.starts_with("RELEASE_") {
        return None;
    }
    Some(Some((name.to_owned(), literal(value)?)))
}

/// One word without anything that a shell would expand, and nothing but a comment behind it.
fn literal(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\'' => loop {
                match rest.next()? {
                    '\'' => break,
                    inside => value.push(inside),
                }
            },
            '"' => loop {
                match rest.next()? {
                    '"' => break,
                    '$' | '`' | '\\' => return None,
                    inside => value.push(inside),
                }
            },
            ' ' | '\t' => {
                let behind: String = rest.collect();
                let behind = behind.trim_matches([' ', '\t']);
                return (behind.is_empty() || behind.starts_with('#')).then_some(value);
            }
            plain if plain.is_alphanumeric() || "_-+./:,@%=".contains(plain) => value.push(plain),
            _ => return None,
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals() {
        for (line, name, value) in [
            ("export A=b", "A", "b"),
            ("\texport RELEASE_NODE=hello@127.0.0.1  # why", "RELEASE_NODE", "hello@127.0.0.1"),
            ("export A='a $b'\"c d\"e", "A", "a $bc de"),
            ("export A=", "A", ""),
            ("RELEASE_MODE=interactive", "RELEASE_MODE", "interactive"),
            ("export ERL_AFLAGS=\"-proto_dist inet6_tcp\"", "ERL_AFLAGS", "-proto_dist inet6_tcp"),
        ] {
            let expected = EnvScript::Exports(vec![(name.to_owned(), value.to_owned())]);
            assert_eq!(parse(line.as_bytes()), expected, "{line}");
        }
        assert_eq!(parse(b"#!/bin/sh\n\n  # export A=b\n"), EnvScript::Exports(vec![]));
    }

    #[test]
    fn what_needs_a_shell() {
        for line in [
            "export A=$B",
            "export A=\"$B\"",
            "export A=`b`",
            "export A=b; c",
            "export A=b c=d",
            "export A=~/x",
            "export A=\\b",
            "export A=\"b",
            "export A",
            "export 1A=b",
            "exportA=b",
            "FOO=bar",
            "set -x",
            "case $1 in",
            "export A=b\\",
            "export A=*",
            "\u{1b}[31m",
        ] {
            let script = format!("# one\n{line}\n");
            match parse(script.as_bytes()) {
                EnvScript::Shell { line: 2, text } => assert!(!text.contains('\u{1b}')),
                other => panic!("{line}: {other:?}"),
            }
        }
        assert!(matches!(parse(b"\xff"), EnvScript::Shell { line: 1, .. }));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&bytes);
        }
    }
}
