//! Erlang terms as text, in the form that `file:consult/1` reads: `.rel`, `.app`, `sys.config`, `.script`.
//! Grammar: <https://www.erlang.org/doc/system/expressions.html> (constant terms only).
//!
//! The encoding is UTF-8, as `epp` takes it by default; `%% coding: latin-1` in one of the first two lines
//! makes it Latin-1.

use super::term::RESERVED;
use super::{BeamError, Term, excerpt};

/// The longest file that is read: the largest real `.script` files have about 3 MB.
const MOST_BYTES: usize = 64 << 20;
/// The deepest nesting: no real file comes near, and every level costs stack.
const MOST_DEPTH: usize = 128;

/// All terms of a file, each of which ends with a full stop.
///
/// # Errors
/// The first thing that is no constant term, with its line.
///
/// ```
/// use leanfs::beam::{Term, consult};
/// let terms = consult(b"%% a comment\n{vsn, \"1.0\"}.\n")?;
/// assert_eq!(terms, [Term::Tuple(vec![Term::atom("vsn"), Term::text("1.0")])]);
/// # Ok::<(), leanfs::beam::BeamError>(())
/// ```
pub fn consult(bytes: &[u8]) -> Result<Vec<Term>, BeamError> {
    if bytes.len() > MOST_BYTES {
        return Err(BeamError::TooLarge { what: "the text", limit: MOST_BYTES });
    }
    let text = decode_text(bytes)?;
    let mut parser = Parser { rest: &text, line: 1, depth: 0 };
    let mut terms = Vec::new();
    loop {
        parser.skip_blank();
        if parser.rest.is_empty() {
            return Ok(terms);
        }
        terms.push(parser.term()?);
        parser.full_stop()?;
    }
}

/// Decodes by the `coding:` comment, as `epp:read_encoding/1` finds it.
fn decode_text(bytes: &[u8]) -> Result<String, BeamError> {
    let latin1 = bytes
        .split(|&byte| byte == b'\n')
        .take(2)
        .filter(|line| line.trim_ascii_start().starts_with(b"%"))
        .any(|line| {
            let line = String::from_utf8_lossy(line).to_ascii_lowercase();
            line.split_once("coding").is_some_and(|(_, value)| {
                value.trim_start_matches([' ', ':', '=', '\t']).trim_start().starts_with("latin-1")
            })
        });
    if latin1 {
        return Ok(bytes.iter().map(|&byte| char::from(byte)).collect());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            Err(BeamError::Text {
                line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
                expected: "UTF-8",
                found: format!("the byte 0x{:02x}", bytes[error.valid_up_to()]),
            })
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    depth: usize,
}

impl Parser<'_> {
    fn fail<T>(&self, expected: &'static str) -> Result<T, BeamError> {
        let found = match self.rest.split_whitespace().next() {
            None => "the end".to_owned(),
            Some(word) => format!("`{}`", excerpt(word)),
        };
        Err(BeamError::Text { line: self.line, expected, found })
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.rest = &self.rest[character.len_utf8()..];
        if character == '\n' {
            self.line += 1;
        }
        Some(character)
    }

    fn take_if(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.next();
        }
        there
    }

    /// Takes `wanted` after blanks.
    fn take(&mut self, wanted: &str) -> bool {
        self.skip_blank();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: &'static str) -> Result<(), BeamError> {
        if self.take(wanted) { Ok(()) } else { self.fail(wanted) }
    }

    /// White space (everything up to a space, and Latin-1's NBSP range as Erlang has it) and comments.
    fn skip_blank(&mut self) {
        while let Some(character) = self.peek() {
            match character {
                '%' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                }
                '\0'..=' ' | '\u{80}'..='\u{a0}' => {
                    self.next();
                }
                _ => return,
            }
        }
    }

    /// A dot with white space, a comment or the end behind it.
    fn full_stop(&mut self) -> Result<(), BeamError> {
        if self.take(".")
            && self.peek().is_none_or(|c| c <= ' ' || c == '%' || ('\u{80}'..='\u{a0}').contains(&c))
        {
            return Ok(());
        }
        self.fail("a full stop")
    }

    fn term(&mut self) -> Result<Term, BeamError> {
        if self.depth == MOST_DEPTH {
            return Err(BeamError::TooLarge { what: "the nesting", limit: MOST_DEPTH });
        }
        self.depth += 1;
        self.skip_blank();
        let term = match self.peek() {
            Some('{') => {
                self.next();
                Term::Tuple(self.elements("}")?)
            }
            Some('[') => {
                self.next();
                self.list()?
            }
            Some('#') => {
                self.next();
                self.map()?
            }
            Some('"') => self.strings()?,
            Some('<') => self.binary()?,
            Some('\'') => {
                self.next();
                Term::Atom(self.quoted('\'')?.into())
            }
            Some('$' | '0'..='9' | '-' | '+') => self.number()?,
            Some(c) if c.is_lowercase() => {
                let word = self.word();
                if RESERVED.contains(&word.as_str()) {
                    self.rest = "";
                    return Err(BeamError::Text {
                        line: self.line,
                        expected: "a term",
                        found: format!("the reserved word `{word}`"),
                    });
                }
                Term::Atom(word.into())
            }
            _ => return self.fail("a term"),
        };
        self.depth -= 1;
        Ok(term)
    }

    /// What stands between commas, up to and with `end`; the opening bracket has been taken.
    fn elements(&mut self, end: &'static str) -> Result<Vec<Term>, BeamError> {
        let mut elements = Vec::new();
        if self.take(end) {
            return Ok(elements);
        }
        loop {
            elements.push(self.term()?);
            if self.take(end) {
                return Ok(elements);
            }
            if !self.take(",") {
                return self.fail("`,` or a closing bracket");
            }
        }
    }

    fn list(&mut self) -> Result<Term, BeamError> {
        let mut elements = Vec::new();
        if self.take("]") {
            return Ok(Term::List(elements, None));
        }
        loop {
            elements.push(self.term()?);
            if self.take("]") {
                return Ok(Term::list(elements));
            }
            if self.take("|") {
                let tail = self.term()?;
                self.expect("]")?;
                return Ok(match tail {
                    Term::List(more, tail) => {
                        elements.extend(more);
                        match tail {
                            None => Term::list(elements),
                            tail => Term::List(elements, tail),
                        }
                    }
                    Term::Text(text) => {
                        elements.extend(text.chars().map(|c| Term::Integer(i64::from(u32::from(c)))));
                        Term::list(elements)
                    }
                    tail => Term::List(elements, Some(Box::new(tail))),
                });
            }
            if !self.take(",") {
                return self.fail("`,`, `|` or `]`");
            }
        }
    }

    fn map(&mut self) -> Result<Term, BeamError> {
        self.expect("{")?;
        let mut pairs = Vec::new();
        if self.take("}") {
            return Ok(Term::Map(pairs));
        }
        loop {
            let key = self.term()?;
            self.expect("=>")?;
            pairs.push((key, self.term()?));
            if self.take("}") {
                return Ok(Term::Map(pairs));
            }
            if !self.take(",") {
                return self.fail("`,` or `}`");
            }
        }
    }

    /// A string literal and those that follow it directly, which Erlang joins. Three quotes open a string that
    /// goes over several lines (OTP 27), if nothing stands behind them on their line.
    fn strings(&mut self) -> Result<Term, BeamError> {
        let mut text = String::new();
        while self.peek() == Some('"') {
            text.push_str(&self.string()?);
            self.skip_blank();
        }
        Ok(Term::text(&text))
    }

    fn string(&mut self) -> Result<String, BeamError> {
        let quotes = self.rest.len() - self.rest.trim_start_matches('"').len();
        let opening_line = self.rest[quotes..].lines().next().unwrap_or_default();
        if quotes >= 3 && opening_line.trim().is_empty() {
            return self.triple_quoted(quotes);
        }
        self.next();
        self.quoted('"')
    }

    /// A triple-quoted string (EEP 64): the lines between, without the indentation of the closing line.
    fn triple_quoted(&mut self, quotes: usize) -> Result<String, BeamError> {
        self.rest = &self.rest[quotes..];
        let marks = "\"".repeat(quotes);
        let mut lines: Vec<String> = vec![String::new()];
        loop {
            match self.next() {
                None => return self.fail("closing quotes"),
                Some('\n') => {
                    let indented = self.rest.trim_start_matches([' ', '\t']);
                    if let Some(rest) = indented.strip_prefix(marks.as_str()) {
                        let indentation = self.rest[..self.rest.len() - indented.len()].to_owned();
                        self.rest = rest;
                        let lines: Vec<&str> = lines[1..]
                            .iter()
                            .map(|line| {
                                line.strip_prefix(indentation.as_str()).unwrap_or_else(|| line.trim_start())
                            })
                            .collect();
                        return Ok(lines.join("\n"));
                    }
                    lines.push(String::new());
                }
                Some('\r') if self.peek() == Some('\n') => {}
                Some(character) => {
                    if let Some(line) = lines.last_mut() {
                        line.push(character);
                    }
                }
            }
        }
    }

    /// The rest of something in quotes; the opening one has been taken.
    fn quoted(&mut self, quote: char) -> Result<String, BeamError> {
        let mut text = String::new();
        loop {
            match self.next() {
                None => return self.fail("a closing quote"),
                Some('\\') => text.push(self.escape()?),
                Some(character) if character == quote => return Ok(text),
                Some(character) => text.push(character),
            }
        }
    }

    /// What stands after a backslash.
    fn escape(&mut self) -> Result<char, BeamError> {
        let Some(character) = self.next() else { return self.fail("an escape sequence") };
        Ok(match character {
            'b' => '\x08',
            'd' => '\x7f',
            'e' => '\x1b',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            's' => ' ',
            't' => '\t',
            'v' => '\x0b',
            '^' => match self.next() {
                Some(control @ '@'..='_') => char::from(control as u8 - b'@'),
                Some(control @ 'a'..='z') => char::from(control as u8 - b'`'),
                Some('?') => '\x7f',
                _ => return self.fail("a control character"),
            },
            'x' => {
                let digits = if self.take_if('{') {
                    let Some((digits, rest)) = self.rest.split_once('}') else { return self.fail("`}`") };
                    self.rest = rest;
                    digits
                } else {
                    let Some(digits) = self.rest.get(..2) else { return self.fail("two hexadecimal digits") };
                    self.rest = &self.rest[2..];
                    digits
                };
                let code = digits
                    .bytes()
                    .all(|digit| digit.is_ascii_hexdigit())
                    .then(|| u32::from_str_radix(digits, 16).ok())
                    .flatten();
                match code.and_then(char::from_u32) {
                    Some(character) => character,
                    None => return self.fail("a character's code"),
                }
            }
            '0'..='7' => {
                let mut code = u32::from(character) - u32::from('0');
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
                    code = code * 8 + digit;
                    self.next();
                }
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other => other,
        })
    }

    /// An atom without quotes.
    fn word(&mut self) -> String {
        let end = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '@'))
            .unwrap_or(self.rest.len());
        let word = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        word
    }

    fn binary(&mut self) -> Result<Term, BeamError> {
        self.expect("<<")?;
        let mut bytes = Vec::new();
        if self.take(">>") {
            return Ok(Term::Binary(bytes));
        }
        loop {
            self.skip_blank();
            match self.peek() {
                Some('"') => {
                    let text = self.string()?;
                    if self.take("/utf8") {
                        bytes.extend_from_slice(text.as_bytes());
                    } else {
                        for character in text.chars() {
                            // As Erlang does: an element takes the low eight bits.
                            bytes.push(u32::from(character) as u8);
                        }
                    }
                }
                _ => match self.number()? {
                    Term::Integer(value) => {
                        if self.take("/utf8") {
                            let Some(character) = u32::try_from(value).ok().and_then(char::from_u32) else {
                                return self.fail("a character's code");
                            };
                            bytes.extend_from_slice(character.to_string().as_bytes());
                        } else {
                            bytes.push(value as u8);
                        }
                    }
                    _ => return self.fail("a byte"),
                },
            }
            if self.take(">>") {
                return Ok(Term::Binary(bytes));
            }
            if !self.take(",") {
                return self.fail("`,` or `>>`");
            }
        }
    }

    /// An integer, a float or a character, with a sign.
    fn number(&mut self) -> Result<Term, BeamError> {
        let mut negative = false;
        while let Some(sign @ ('-' | '+')) = self.peek() {
            negative ^= sign == '-';
            self.next();
            self.skip_blank();
        }
        match self.peek() {
            Some('$') => {
                self.next();
                let character = match self.next() {
                    Some('\\') => self.escape()?,
                    Some(character) => character,
                    None => return self.fail("a character"),
                };
                let code = i64::from(u32::from(character));
                Ok(Term::Integer(if negative { -code } else { code }))
            }
            Some('0'..='9') => self.digits(negative),
            _ => self.fail("a number"),
        }
    }

    /// Digits with `_` between them.
    fn digit_run(&mut self, radix: u32) -> String {
        let mut digits = String::new();
        while let Some(character) = self.peek() {
            let underscore = character == '_'
                && self.rest.chars().nth(1).is_some_and(|after| after.is_digit(radix))
                && !digits.is_empty();
            if !character.is_digit(radix) && !underscore {
                break;
            }
            if !underscore {
                digits.push(character);
            }
            self.next();
        }
        digits
    }

    fn digits(&mut self, negative: bool) -> Result<Term, BeamError> {
        let digits = self.digit_run(10);
        if self.peek() == Some('#') {
            let radix = match digits.parse::<u32>() {
                Ok(radix @ 2..=36) => radix,
                _ => return self.fail("a base from 2 to 36"),
            };
            self.next();
            let digits = self.digit_run(radix);
            if digits.is_empty() {
                return self.fail("digits of that base");
            }
            return integer(&digits, radix, negative);
        }
        let mut after = self.rest.chars();
        if after.next() == Some('.') && after.next().is_some_and(|c| c.is_ascii_digit()) {
            self.next();
            let mut float = format!("{}{digits}.{}", if negative { "-" } else { "" }, self.digit_run(10));
            if matches!(self.peek(), Some('e' | 'E')) {
                self.next();
                float.push('e');
                if let Some(sign @ ('-' | '+')) = self.peek() {
                    self.next();
                    float.push(sign);
                }
                let exponent = self.digit_run(10);
                if exponent.is_empty() {
                    return self.fail("an exponent");
                }
                float.push_str(&exponent);
            }
            return match float.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Term::Float(value)),
                _ => self.fail("a float of 64 bits"),
            };
        }
        integer(&digits, 10, negative)
    }
}

/// An integer of any size; at most 4,096 digits, which no release has.
fn integer(digits: &str, radix: u32, negative: bool) -> Result<Term, BeamError> {
    const MOST_DIGITS: usize = 4096;
    let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
    if let Ok(value) = i64::from_str_radix(&signed, radix) {
        return Ok(Term::Integer(value));
    }
    if digits.len() > MOST_DIGITS {
        return Err(BeamError::TooLarge { what: "the number of an integer's digits", limit: MOST_DIGITS });
    }
    let mut magnitude: Vec<u8> = Vec::new();
    for digit in digits.chars().filter_map(|c| c.to_digit(radix)) {
        let mut carry = digit;
        for byte in &mut magnitude {
            let value = u32::from(*byte) * radix + carry;
            *byte = value as u8;
            carry = value >> 8;
        }
        if carry > 0 {
            magnitude.push(carry as u8);
        }
    }
    Ok(Term::BigInteger { negative, magnitude })
}

#[cfg(test)]
mod tests;
