//! What relx's script does with `vm.args.src` and `sys.config.src`: it replaces `${NAME}` and
//! `${NAME:-DEFAULT}` by environment variables before the start.

use std::collections::{BTreeMap, BTreeSet};

/// A text after the replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replaced {
    /// The text.
    pub(super) text: Vec<u8>,
    /// Variables that had neither a value nor a default, and became nothing.
    pub(super) unset: BTreeSet<String>,
    /// All variables that were named.
    pub(super) named: BTreeSet<String>,
}

/// Replaces variables once: values are not looked at again. A variable that is not set, or empty, becomes its
/// default, or nothing. As in relx, a reference does not go over a line's end.
pub(super) fn replace(text: &[u8], env: &BTreeMap<String, String>) -> Replaced {
    let mut result = Replaced { text: Vec::new(), unset: BTreeSet::new(), named: BTreeSet::new() };
    let mut rest = text;
    while let Some(start) = rest.windows(2).position(|window| window == b"${") {
        let (before, reference) = rest.split_at(start);
        result.text.extend_from_slice(before);
        let end = reference.iter().position(|&byte| matches!(byte, b'}' | b'\n'));
        let inside = end.filter(|&end| reference[end] == b'}').map(|end| &reference[2..end]);
        let Some(inside) = inside.map(String::from_utf8_lossy) else {
            result.text.extend_from_slice(&reference[..2]);
            rest = &reference[2..];
            continue;
        };
        rest = &reference[end.map_or(2, |end| end + 1)..];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&*inside, None),
        };
        result.named.insert(name.to_owned());
        match (env.get(name).filter(|value| !value.is_empty()), default) {
            (Some(value), _) => result.text.extend_from_slice(value.as_bytes()),
            (None, Some(default)) => result.text.extend_from_slice(default.as_bytes()),
            (None, None) => {
                result.unset.insert(name.to_owned());
            }
        }
    }
    result.text.extend_from_slice(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_defaults_and_nothing() {
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("E".to_owned(), String::new())]);
        for (given, expected) in [
            ("-a ${A}b", "-a 1b"),
            ("${B:-x:-y}${A:-z}", "x:-y1"),
            ("${E:-d}", "d"),
            ("<${B}>", "<>"),
            ("$A $ {A} ${A", "$A $ {A} ${A"),
            ("${A\n}", "${A\n}"),
            ("$${A}", "$1"),
        ] {
            let replaced = replace(given.as_bytes(), &env);
            assert_eq!(String::from_utf8_lossy(&replaced.text), expected, "{given}");
        }
        assert_eq!(replace(b"${B} ${A}", &env).unset.into_iter().collect::<Vec<_>>(), ["B"]);
    }
}
