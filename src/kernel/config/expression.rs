//! Expressions of Kconfig files: `PCI && (X86 || !SMP) && ARCH = "arm"`.
//!
//! The grammar and the three values are those of the kernel's `Documentation/kbuild/kconfig-language.rst`, "Menu
//! dependencies".

use std::fmt;

use super::dotconfig::DotConfig;
use super::fragment::Value;

/// How deep parentheses may stand: the kernel's are never deeper than a few.
const MOST_DEPTH: usize = 64;

/// The three values: 0 for `n`, 1 for `m`, 2 for `y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tristate {
    No,
    Module,
    Yes,
}

impl Tristate {
    fn of(value: &Value) -> Self {
        match value {
            Value::Yes => Self::Yes,
            Value::Module => Self::Module,
            Value::No | Value::Literal(_) => Self::No,
        }
    }

    fn of_bool(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// A symbol, or one of the constants `y`, `m`, `n` and numbers.
    Symbol(String),
    /// A text in quotes.
    Text(String),
    /// Something that the tools compute, `$(cc-option,-mfoo)`.
    Computed(String),
    Compare(Comparison, Box<Self>, Box<Self>),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Unequal};

impl Expression {
    /// Reads an expression from the beginning of `text`; gives what follows it (`if …`, or nothing).
    pub(super) fn parse(text: &str) -> Option<(Self, &str)> {
        let mut parser = Parser { rest: text, depth: 0 };
        let expression = parser.or()?;
        Some((expression, parser.rest.trim_start()))
    }

    /// Its value under a configuration, where that doesn't hang on what tools compute.
    pub(super) fn value(&self, config: &DotConfig) -> Option<Tristate> {
        match self {
            Self::Symbol(name) => match name.as_str() {
                "y" => Some(Tristate::Yes),
                "m" => Some(Tristate::Module),
                "n" => Some(Tristate::No),
                name => Some(Tristate::of(config.get(name))),
            },
            Self::Text(text) => Some(match text.as_str() {
                "y" => Tristate::Yes,
                "m" => Tristate::Module,
                _ => Tristate::No,
            }),
            Self::Computed(_) => None,
            Self::Compare(comparison, left, right) => {
                compare(*comparison, &left.text(config)?, &right.text(config)?).map(Tristate::of_bool)
            }
            Self::Not(inner) => inner.value(config).map(|value| match value {
                Tristate::No => Tristate::Yes,
                Tristate::Module => Tristate::Module,
                Tristate::Yes => Tristate::No,
            }),
            Self::And(left, right) => match (left.value(config), right.value(config)) {
                (Some(Tristate::No), _) | (_, Some(Tristate::No)) => Some(Tristate::No),
                (left, right) => Some(left?.min(right?)),
            },
            Self::Or(left, right) => match (left.value(config), right.value(config)) {
                (Some(Tristate::Yes), _) | (_, Some(Tristate::Yes)) => Some(Tristate::Yes),
                (left, right) => Some(left?.max(right?)),
            },
        }
    }

    /// What it is in a comparison.
    fn text(&self, config: &DotConfig) -> Option<String> {
        match self {
            Self::Symbol(name) if name.bytes().next().is_some_and(|b| b.is_ascii_digit() || b == b'-') => {
                Some(name.clone())
            }
            Self::Symbol(name) if matches!(name.as_str(), "y" | "m" | "n") => Some(name.clone()),
            Self::Symbol(name) => Some(match config.get(name) {
                Value::Literal(text) => text.trim_matches('"').to_owned(),
                value => value.to_string(),
            }),
            Self::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// The parts that keep it from being more than `n`; itself if it can't be divided.
    pub(super) fn unmet<'a>(&'a self, config: &DotConfig, into: &mut Vec<&'a Self>) {
        if self.value(config) != Some(Tristate::No) {
            return;
        }
        match self {
            Self::And(left, right) => {
                left.unmet(config, into);
                right.unmet(config, into);
            }
            part if !into.contains(&part) => into.push(part),
            _ => {}
        }
    }

    /// The symbols in it, in order.
    pub(super) fn symbols<'a>(&'a self, into: &mut Vec<&'a str>) {
        match self {
            Self::Symbol(name) => into.push(name),
            Self::Text(_) | Self::Computed(_) => {}
            Self::Not(inner) => inner.symbols(into),
            Self::Compare(_, left, right) | Self::And(left, right) | Self::Or(left, right) => {
                left.symbols(into);
                right.symbols(into);
            }
        }
    }
}

fn compare(comparison: Comparison, left: &str, right: &str) -> Option<bool> {
    let number = |text: &str| -> Option<i128> {
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok().map(i128::from),
            None => text.parse::<i64>().ok().map(i128::from),
        }
    };
    // A symbol that is not there is `n`, or the empty text.
    let is_nothing = |text: &str| text.is_empty() || text == "n";
    let is_equal = left == right
        || is_nothing(left) && is_nothing(right)
        || number(left).is_some_and(|left| number(right) == Some(left));
    let order = || Some(number(left)?.cmp(&number(right)?));
    Some(match comparison {
        Equal => is_equal,
        Unequal => !is_equal,
        Less => order()?.is_lt(),
        LessOrEqual => order()?.is_le(),
        Greater => order()?.is_gt(),
        GreaterOrEqual => order()?.is_ge(),
    })
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = |inner: &Self, f: &mut fmt::Formatter<'_>| match inner {
            Self::And(..) | Self::Or(..) => write!(f, "({inner})"),
            _ => write!(f, "{inner}"),
        };
        match self {
            Self::Symbol(name) => f.write_str(name),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Computed(text) => f.write_str(&crate::text::shown(text)),
            Self::Compare(comparison, left, right) => {
                let sign = match comparison {
                    Equal => "=",
                    Unequal => "!=",
                    Less => "<",
                    LessOrEqual => "<=",
                    Greater => ">",
                    GreaterOrEqual => ">=",
                };
                write!(f, "{left} {sign} {right}")
            }
            Self::Not(inner) => {
                f.write_str("!")?;
                within(inner, f)
            }
            Self::And(left, right) => {
                within(left, f)?;
                f.write_str(" && ")?;
                within(right, f)
            }
            Self::Or(left, right) => write!(f, "{left} || {right}"),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn or(&mut self) -> Option<Expression> {
        let mut left = self.and()?;
        while self.eat("||") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Expression> {
        let mut left = self.not()?;
        while self.eat("&&") {
            left = Expression::And(Box::new(left), Box::new(self.not()?));
        }
        Some(left)
    }

    fn not(&mut self) -> Option<Expression> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return None;
        }
        let parsed = if self.rest.trim_start().starts_with("!=") {
            None
        } else if self.eat("!") {
            Some(Expression::Not(Box::new(self.not()?)))
        } else if self.eat("(") {
            let inner = self.or()?;
            self.eat(")").then_some(inner)
        } else {
            self.comparison()
        };
        self.depth -= 1;
        parsed
    }

    fn comparison(&mut self) -> Option<Expression> {
        let left = self.operand()?;
        let signs = [
            ("!=", Unequal),
            ("<=", LessOrEqual),
            (">=", GreaterOrEqual),
            ("=", Equal),
            ("<", Less),
            (">", Greater),
        ];
        match signs.into_iter().find(|(sign, _)| self.eat(sign)) {
            None => Some(left),
            Some((_, comparison)) => {
                Some(Expression::Compare(comparison, Box::new(left), Box::new(self.operand()?)))
            }
        }
    }

    fn operand(&mut self) -> Option<Expression> {
        let text = self.rest.trim_start();
        let first = text.chars().next()?;
        if first == '"' || first == '\'' {
            let end = text[1..].find(first)? + 1;
            self.rest = &text[end + 1..];
            let inner = &text[1..end];
            return Some(match inner.contains("$(") {
                true => Expression::Computed(inner.to_owned()),
                false => Expression::Text(inner.to_owned()),
            });
        }
        if text.starts_with("$(") {
            let end = end_of_macro(text)?;
            self.rest = &text[end..];
            return Some(Expression::Computed(text[..end].to_owned()));
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
        let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
        // `if` begins the condition of what stands before it.
        if end == 0 || &text[..end] == "if" {
            return None;
        }
        self.rest = &text[end..];
        Some(Expression::Symbol(text[..end].to_owned()))
    }
}

/// The length of `$(…)` at the beginning of `text`.
fn end_of_macro(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Expression, &str) {
        Expression::parse(text).expect(text)
    }

    #[test]
    fn expressions_are_read_and_valued() {
        let config =
            DotConfig::parse("CONFIG_A=y\nCONFIG_M=m\nCONFIG_S=\"arm\"\nCONFIG_I=32\nCONFIG_H=0x20\n");
        let table = [
            ("A", Some(Tristate::Yes)),
            ("!A", Some(Tristate::No)),
            ("!M", Some(Tristate::Module)),
            ("A && M", Some(Tristate::Module)),
            ("A || B && C", Some(Tristate::Yes)),
            ("(A || B) && C", Some(Tristate::No)),
            ("M || B", Some(Tristate::Module)),
            ("S = \"arm\" && A=y", Some(Tristate::Yes)),
            ("S != arm", Some(Tristate::Yes)),
            ("I > 31 && I <= H", Some(Tristate::Yes)),
            ("I < 32", Some(Tristate::No)),
            ("B = n && B != y && B = \"\"", Some(Tristate::Yes)),
            ("$(success,a (b)) && A", None),
            ("$(cc-option,-mx) && B", Some(Tristate::No)),
            ("$(cc-option,-mx) || A", Some(Tristate::Yes)),
            ("\"$(CC)\" = \"gcc\"", None),
            ("S < 3", None),
        ];
        for (text, value) in table {
            let (expression, rest) = parse(text);
            assert_eq!((expression.value(&config), rest), (value, ""), "{text}");
        }
    }

    #[test]
    fn what_follows_is_left() {
        assert_eq!(parse("A && B if C").1, "if C");
        assert_eq!(parse("y if C").0, Expression::Symbol("y".to_owned()));
        for wrong in ["", "&& A", "(A", "A &&", "!", "if X", "= y", "\"x"] {
            assert_eq!(Expression::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Expression::parse(&"(".repeat(100_000)), None, "no stack is exhausted");
        assert_eq!(Expression::parse(&"!".repeat(100_000)), None);
    }

    #[test]
    fn the_parts_that_are_false() {
        let config = DotConfig::parse("CONFIG_A=y\n");
        let (expression, _) = parse("A && (B || C) && !A && D && (A && E) && D");
        let mut parts = Vec::new();
        expression.unmet(&config, &mut parts);
        let parts: Vec<String> = parts.into_iter().map(ToString::to_string).collect();
        assert_eq!(parts, ["B || C", "!A", "D", "E"]);
        assert_eq!(parse("!(A||B)&&(C||D)").0.to_string(), "!(A || B) && (C || D)");
    }
}
