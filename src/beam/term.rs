//! Erlang terms as values.

use std::fmt;
use std::sync::Arc;

/// The name of an atom.
pub type Atom = Arc<str>;

/// An Erlang term, as far as `.rel`, `.app`, `.config` and `.boot` files hold them.
///
/// A list of characters is always [`Term::Text`], whether it was written as `"abc"`, as `[97,98,99]` or came
/// as `STRING_EXT`; the empty list and the empty string are both `List([], None)`. So one value has one form.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    /// An atom.
    Atom(Atom),
    /// An integer of at most 64 bits.
    Integer(i64),
    /// A larger one: its sign, and its magnitude with the least significant byte first.
    BigInteger {
        /// Whether it is below zero.
        negative: bool,
        /// The magnitude, without zero bytes at the end.
        magnitude: Vec<u8>,
    },
    /// A float.
    Float(f64),
    /// A binary.
    Binary(Vec<u8>),
    /// A bit string that is no binary: its last byte counts only partly.
    BitString {
        /// The bytes, at least one.
        bytes: Vec<u8>,
        /// How many bits of the last count, from the most significant on: 1 to 7.
        last_bits: u8,
    },
    /// A list that holds nothing but characters, and at least one.
    Text(String),
    /// Any other list; a tail only if it is improper.
    List(Vec<Term>, Option<Box<Term>>),
    /// A tuple.
    Tuple(Vec<Term>),
    /// A map, in the order in which it was written.
    Map(Vec<(Term, Term)>),
    /// An external fun: `fun module:function/arity`.
    Export {
        /// The module.
        module: Atom,
        /// The function.
        function: Atom,
        /// How many arguments it takes.
        arity: u32,
    },
    /// What has no text form: a pid, a port, a reference or a fun with its surroundings.
    Opaque(&'static str),
}

impl Term {
    /// An atom of that name.
    pub fn atom(name: &str) -> Self {
        Self::Atom(name.into())
    }

    /// A proper list, as [`Term::Text`] if it holds only characters.
    ///
    /// A list of integers that are no printable text is kept as a list: `[1,2,3]` stays what it is.
    pub fn list(elements: Vec<Self>) -> Self {
        let text: Option<String> = elements
            .iter()
            .map(|element| match element {
                Self::Integer(code) => {
                    u32::try_from(*code).ok().and_then(char::from_u32).filter(|c| is_text(*c))
                }
                _ => None,
            })
            .collect();
        match text {
            Some(text) if !text.is_empty() => Self::Text(text),
            _ => Self::List(elements, None),
        }
    }

    /// A string: text, or the empty list.
    pub fn text(text: &str) -> Self {
        if text.is_empty() {
            Self::List(Vec::new(), None)
        } else if text.chars().all(is_text) {
            Self::Text(text.to_owned())
        } else {
            Self::List(text.chars().map(|c| Self::Integer(i64::from(u32::from(c)))).collect(), None)
        }
    }

    /// The name, if this is an atom.
    pub fn as_atom(&self) -> Option<&str> {
        match self {
            Self::Atom(name) => Some(name),
            _ => None,
        }
    }

    /// The string, if this is one (an empty list is an empty string).
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(elements, None) if elements.is_empty() => Some(""),
            _ => None,
        }
    }

    /// The elements, if this is a proper list and no string (of a string, use [`Term::as_text`]).
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(elements, None) => Some(elements),
            _ => None,
        }
    }

    /// The elements, if this is a tuple.
    pub fn as_tuple(&self) -> Option<&[Self]> {
        match self {
            Self::Tuple(elements) => Some(elements),
            _ => None,
        }
    }

    /// The elements after the first, if this is a tuple of `size` elements whose first is the atom `tag`.
    pub fn tagged(&self, tag: &str, size: usize) -> Option<&[Self]> {
        match self.as_tuple() {
            Some([first, rest @ ..]) if rest.len() + 1 == size && first.as_atom() == Some(tag) => Some(rest),
            _ => None,
        }
    }

    /// The value of `key` in a list of pairs.
    pub fn property(&self, key: &str) -> Option<&Self> {
        self.as_list()?.iter().find_map(|pair| match pair.as_tuple() {
            Some([name, value]) if name.as_atom() == Some(key) => Some(value),
            _ => None,
        })
    }

    /// The term as text, cut: for messages.
    pub fn excerpt(&self) -> String {
        /// Writes until there is enough.
        struct Cut(String);
        impl fmt::Write for Cut {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.push_str(text);
                if self.0.len() > 400 { Err(fmt::Error) } else { Ok(()) }
            }
        }
        let mut cut = Cut(String::new());
        // An error only says that there is enough text.
        let _ = fmt::Write::write_fmt(&mut cut, format_args!("{self}"));
        super::excerpt(&cut.0)
    }
}

/// What Erlang's shell shows as text: printable characters and usual white space.
fn is_text(character: char) -> bool {
    !character.is_control() || matches!(character, '\n' | '\r' | '\t' | '\x0b' | '\x08' | '\x0c' | '\x1b')
}

/// As Erlang's `~p` writes it, on one line; control characters in strings and atoms are escaped.
impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Atom(name) => write_atom(f, name),
            Self::Integer(value) => write!(f, "{value}"),
            Self::BigInteger { negative, magnitude } => {
                write!(f, "{}16#", if *negative { "-" } else { "" })?;
                magnitude.iter().rev().try_for_each(|byte| write!(f, "{byte:02X}"))
            }
            Self::Float(value) => {
                let text = format!("{value:?}");
                match text.split_once('e') {
                    // Rust writes `1e16`; in Erlang digits stand behind a point there.
                    Some((digits, exponent)) if !digits.contains('.') => {
                        write!(f, "{digits}.0e{exponent}")
                    }
                    _ => f.write_str(&text),
                }
            }
            Self::Binary(bytes) => {
                f.write_str("<<")?;
                match std::str::from_utf8(bytes) {
                    Ok(text) if !text.is_empty() && text.is_ascii() => write_quoted(f, text, '"')?,
                    _ => write_separated(f, bytes, |f, byte| write!(f, "{byte}"))?,
                }
                f.write_str(">>")
            }
            Self::BitString { bytes, last_bits } => {
                f.write_str("<<")?;
                if let Some((last, whole)) = bytes.split_last() {
                    whole.iter().try_for_each(|byte| write!(f, "{byte},"))?;
                    write!(f, "{}:{last_bits}", last >> (8 - u32::from(*last_bits).clamp(1, 8)))?;
                }
                f.write_str(">>")
            }
            Self::Text(text) => write_quoted(f, text, '"'),
            Self::List(elements, tail) => {
                f.write_str("[")?;
                write_separated(f, elements, |f, element| write!(f, "{element}"))?;
                if let Some(tail) = tail {
                    write!(f, "|{tail}")?;
                }
                f.write_str("]")
            }
            Self::Tuple(elements) => {
                f.write_str("{")?;
                write_separated(f, elements, |f, element| write!(f, "{element}"))?;
                f.write_str("}")
            }
            Self::Map(pairs) => {
                f.write_str("#{")?;
                write_separated(f, pairs, |f, (key, value)| write!(f, "{key} => {value}"))?;
                f.write_str("}")
            }
            Self::Export { module, function, arity } => {
                f.write_str("fun ")?;
                write_atom(f, module)?;
                f.write_str(":")?;
                write_atom(f, function)?;
                write!(f, "/{arity}")
            }
            Self::Opaque(what) => write!(f, "#{what}"),
        }
    }
}

fn write_separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(",")?;
        }
        write(f, item)?;
    }
    Ok(())
}

fn write_atom(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '@')
        && !RESERVED.contains(&name);
    if plain { f.write_str(name) } else { write_quoted(f, name, '\'') }
}

/// Erlang's reserved words, which are atoms only in quotes.
pub(super) const RESERVED: [&str; 29] = [
    "after", "and", "andalso", "band", "begin", "bnot", "bor", "bsl", "bsr", "bxor", "case", "catch", "cond",
    "div", "else", "end", "fun", "if", "let", "maybe", "not", "of", "or", "orelse", "receive", "rem", "try",
    "when", "xor",
];

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    write!(f, "{quote}")?;
    for character in text.chars() {
        match character {
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            '\\' => f.write_str("\\\\")?,
            c if c == quote => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\x{{{:X}}}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    write!(f, "{quote}")
}
