//! Kconfig files: which symbols a kernel's source has, what they depend on, and what selects them.
//!
//! The language is described in the kernel's `Documentation/kbuild/kconfig-language.rst`. What is read here is what
//! tells why a symbol has the value that it has: types, prompts, dependencies (those of the menus and `if`s around
//! included), `select` and choices. Defaults and texts are passed over, and nothing that tools compute is known.

use std::collections::BTreeMap;

use super::dotconfig::DotConfig;
use super::expression::{Expression, Tristate};
use super::quoted;

/// How deep files may name others: the kernel's are six deep.
const MOST_DEPTH: usize = 32;
/// Files in all: the kernel has about 1700.
const MOST_FILES: usize = 20_000;

/// The symbols of a kernel's source.
#[derive(Debug, Default)]
pub struct Symbols {
    symbols: BTreeMap<String, Vec<Definition>>,
    /// By what each symbol is selected: the one that does it, and when.
    selects: BTreeMap<String, Vec<(String, Option<Expression>)>>,
    choices: Vec<Vec<String>>,
    /// What surrounds the line that is read.
    frames: Vec<Frame>,
    files: usize,
}

/// Why the files can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KconfigError {
    /// A file is not there.
    #[error("{file} can't be read")]
    Read {
        /// Its path in the source.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Files that name each other.
    #[error("the Kconfig files of this source name each other too often ({file})")]
    TooMany {
        /// The last one.
        file: String,
    },
}

/// A place where a symbol is defined.
#[derive(Debug, Clone, Default)]
pub(super) struct Definition {
    pub(super) file: String,
    pub(super) line: usize,
    /// Whether it has a prompt, and when that is shown; without one nobody can set it.
    pub(super) prompt: Option<Option<Expression>>,
    /// What it depends on, the surrounding menus, `if`s and choices included.
    pub(super) depends: Vec<Expression>,
    /// The choice that it is a member of.
    pub(super) choice: Option<usize>,
    /// The least and the greatest value, as they stand there.
    pub(super) range: Option<String>,
}

#[derive(Debug)]
struct Frame {
    kind: FrameKind,
    depends: Vec<Expression>,
    /// When the prompts inside are shown.
    visible: Vec<Expression>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FrameKind {
    If,
    Menu,
    Choice(usize),
}

/// What the attributes that follow belong to.
enum Entry {
    None,
    Symbol(String, Definition),
    /// The innermost frame.
    Frame,
}

impl Symbols {
    /// Reads `root` (`Kconfig`) and every file that it names. `read` gives a file's text by its path in the source;
    /// `variables` are what `$(NAME)` and `$NAME` stand for in those paths (`SRCARCH`).
    ///
    /// # Errors
    /// When a file isn't there, or they go round in circles.
    pub fn read(
        root: &str,
        variables: &[(&str, &str)],
        read: &mut dyn FnMut(&str) -> std::io::Result<String>,
    ) -> Result<Self, KconfigError> {
        let mut symbols = Self::default();
        symbols.file(root, variables, read, 0)?;
        Ok(symbols)
    }

    /// Whether the source knows this symbol.
    pub fn contains(&self, symbol: &str) -> bool {
        self.symbols.contains_key(symbol)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.symbols.keys().map(String::as_str)
    }

    pub(super) fn definitions(&self, symbol: &str) -> &[Definition] {
        self.symbols.get(symbol).map_or(&[], Vec::as_slice)
    }

    /// The symbols that select this one under a configuration.
    pub(super) fn selected_by(&self, symbol: &str, config: &DotConfig) -> Vec<&str> {
        let selects = self.selects.get(symbol).map_or(&[][..], Vec::as_slice);
        let mut by: Vec<&str> = selects
            .iter()
            .filter(|(selector, condition)| {
                let holds = |condition: &Expression| condition.value(config) != Some(Tristate::No);
                Expression::Symbol(selector.clone()).value(config) > Some(Tristate::No)
                    && condition.as_ref().is_none_or(holds)
            })
            .map(|(selector, _)| selector.as_str())
            .collect();
        by.dedup();
        by
    }

    pub(super) fn members(&self, choice: usize) -> &[String] {
        self.choices.get(choice).map_or(&[], Vec::as_slice)
    }

    fn file(
        &mut self,
        path: &str,
        variables: &[(&str, &str)],
        read: &mut dyn FnMut(&str) -> std::io::Result<String>,
        depth: usize,
    ) -> Result<(), KconfigError> {
        self.files += 1;
        if depth > MOST_DEPTH || self.files > MOST_FILES {
            return Err(KconfigError::TooMany { file: quoted(path) });
        }
        let text = read(path).map_err(|source| KconfigError::Read { file: quoted(path), source })?;
        let mut lines = Lines { lines: text.lines().enumerate(), pushed: None };
        let mut entry = Entry::None;
        while let Some((number, line)) = lines.next() {
            let (word, rest) = split_word(&line);
            match word {
                "" => {}
                "config" | "menuconfig" => {
                    self.end(&mut entry);
                    let name = split_word(rest).0.to_owned();
                    entry = Entry::Symbol(name, self.definition(path, number));
                }
                "choice" => {
                    self.end(&mut entry);
                    self.choices.push(Vec::new());
                    self.push(FrameKind::Choice(self.choices.len() - 1), None);
                    entry = Entry::Frame;
                }
                "menu" => {
                    self.end(&mut entry);
                    self.push(FrameKind::Menu, None);
                    entry = Entry::Frame;
                }
                "if" => {
                    self.end(&mut entry);
                    self.push(FrameKind::If, Expression::parse(rest).map(|(condition, _)| condition));
                }
                "endif" | "endmenu" | "endchoice" => {
                    self.end(&mut entry);
                    self.frames.pop();
                }
                "source" => {
                    self.end(&mut entry);
                    if let Some(path) = expand(rest.trim().trim_matches('"'), variables) {
                        self.file(&path, variables, read, depth + 1)?;
                    }
                }
                "comment" | "mainmenu" => {
                    self.end(&mut entry);
                }
                "help" | "---help---" => lines.skip_help(),
                _ => self.attribute(&mut entry, word, rest),
            }
        }
        self.end(&mut entry);
        Ok(())
    }

    fn push(&mut self, kind: FrameKind, condition: Option<Expression>) {
        self.frames.push(Frame { kind, depends: condition.into_iter().collect(), visible: Vec::new() });
    }

    fn definition(&self, file: &str, line: usize) -> Definition {
        Definition {
            file: file.to_owned(),
            line,
            depends: self.frames.iter().flat_map(|frame| frame.depends.iter().cloned()).collect(),
            choice: self.frames.iter().rev().find_map(|frame| match frame.kind {
                FrameKind::Choice(index) => Some(index),
                _ => None,
            }),
            ..Definition::default()
        }
    }

    fn end(&mut self, entry: &mut Entry) {
        if let Entry::Symbol(name, mut definition) = std::mem::replace(entry, Entry::None) {
            let visible = self.frames.iter().flat_map(|frame| frame.visible.iter().cloned());
            if let Some(condition) = &mut definition.prompt {
                *condition = visible.chain(condition.take()).reduce(and);
            }
            if let Some(choice) = definition.choice
                && let Some(members) = self.choices.get_mut(choice)
                && !members.contains(&name)
            {
                members.push(name.clone());
            }
            self.symbols.entry(name).or_default().push(definition);
        }
    }

    fn attribute(&mut self, entry: &mut Entry, word: &str, rest: &str) {
        let definition = match entry {
            Entry::None => return,
            Entry::Symbol(_, definition) => Some(definition),
            Entry::Frame => None,
        };
        match (word, definition) {
            ("bool" | "tristate" | "string" | "int" | "hex" | "prompt", definition) => {
                let Some((_, after)) = prompt(rest) else { return };
                let condition = condition(after);
                match definition {
                    Some(definition) => definition.prompt = Some(condition),
                    // A choice that is hidden can't be made.
                    None => self.innermost(|frame| frame.visible.extend(condition)),
                }
            }
            ("depends", definition) => {
                let expression = rest.trim_start().strip_prefix("on").and_then(Expression::parse);
                let Some((expression, _)) = expression else { return };
                match definition {
                    Some(definition) => definition.depends.push(expression),
                    None => self.innermost(|frame| frame.depends.push(expression)),
                }
            }
            ("visible", None) => {
                if let Some(expression) = condition(rest) {
                    self.innermost(|frame| frame.visible.push(expression));
                }
            }
            ("select", Some(_)) => {
                let (target, after) = split_word(rest);
                let condition = condition(after);
                if let Entry::Symbol(name, _) = entry {
                    self.selects.entry(target.to_owned()).or_default().push((name.clone(), condition));
                }
            }
            ("range", Some(definition)) => {
                let text: Vec<&str> = rest.split_ascii_whitespace().take(2).collect();
                definition.range = Some(text.join(" to "));
            }
            _ => {}
        }
    }

    fn innermost(&mut self, change: impl FnOnce(&mut Frame)) {
        if let Some(frame) = self.frames.last_mut() {
            change(frame);
        }
    }
}

fn and(left: Expression, right: Expression) -> Expression {
    Expression::And(Box::new(left), Box::new(right))
}

/// The text in quotes at the beginning, and what follows it.
fn prompt(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some((&text[1..index], &text[index + 1..])),
            _ => {}
        }
    }
    None
}

/// The expression after `if`.
fn condition(text: &str) -> Option<Expression> {
    let (word, rest) = split_word(text);
    (word == "if").then(|| Expression::parse(rest)).flatten().map(|(expression, _)| expression)
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once([' ', '\t']).unwrap_or((text, ""))
}

/// A path with its variables replaced; none if there are others.
fn expand(path: &str, variables: &[(&str, &str)]) -> Option<String> {
    let mut path = path.to_owned();
    for (name, value) in variables {
        path = path.replace(&format!("$({name})"), value).replace(&format!("${name}"), value);
    }
    (!path.contains('$')).then_some(path)
}

/// Lines without comments, put together where one ends with `\`.
struct Lines<'a> {
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
    /// The line that ended a help text.
    pushed: Option<(usize, &'a str)>,
}

impl<'a> Lines<'a> {
    fn raw(&mut self) -> Option<(usize, &'a str)> {
        self.pushed.take().or_else(|| self.lines.next())
    }

    fn next(&mut self) -> Option<(usize, String)> {
        let (index, first) = self.raw()?;
        let mut line = String::new();
        let mut part = first;
        while let Some(begin) = part.strip_suffix('\\') {
            line.push_str(begin);
            part = self.raw().map_or("", |(_, next)| next);
        }
        line.push_str(part);
        if let Some(end) = comment(&line) {
            line.truncate(end);
        }
        Some((index + 1, line.trim().to_owned()))
    }

    /// A help text ends where a line is less indented than its first one.
    fn skip_help(&mut self) {
        let mut least = None;
        while let Some((index, line)) = self.raw() {
            if line.trim().is_empty() {
                continue;
            }
            let indent = indentation(line);
            if indent < *least.get_or_insert(indent) || indent == 0 {
                self.pushed = Some((index, line));
                return;
            }
        }
    }
}

fn indentation(line: &str) -> usize {
    let mut columns = 0;
    for c in line.chars() {
        match c {
            ' ' => columns += 1,
            '\t' => columns = columns / 8 * 8 + 8,
            _ => break,
        }
    }
    columns
}

/// Where a comment begins.
fn comment(line: &str) -> Option<usize> {
    let mut quote = None;
    for (index, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return Some(index),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "mainmenu \"Linux $(X)\"\nsource \"scripts/include\"\n\nconfig MODULES\n\tbool \"modules\" # yes\n\
        \thelp\n\t  if this is set\n\n\t  config WRONG\n\nmenu \"Drivers\"\n\tdepends on HAS_IO\n\tvisible if EXPERT\n\n\
        config DRIVER\n\ttristate \"A driver\" if A || \\\n\t\tB\n\tdepends on PCI && !X\n\tselect LIB if SMP\n\
        \tselect OTHER\n\nif NET\nsource \"arch/$(SRCARCH)/Kconfig\"\nsource \"$(UNKNOWN)/Kconfig\"\nendif\n\nendmenu\n\n\
        choice\n\tprompt \"How\"\n\tdefault FAST\n\nconfig FAST\n\tbool \"fast\"\n\nconfig SMALL\n\tbool \"small\"\n\
        \tdepends on EXPERT\n\nendchoice\n\nconfig LIB\n\tbool\n";

    fn symbols() -> Symbols {
        Symbols::read("Kconfig", &[("SRCARCH", "x86")], &mut |path| match path {
            "Kconfig" => Ok(ROOT.to_owned()),
            "scripts/include" => Ok("comma := ,\nif-success = $(shell,{ $(1); })\n".to_owned()),
            "arch/x86/Kconfig" => Ok("config INSIDE\n\tint \"number\"\n\trange 2 8\n".to_owned()),
            other => Err(std::io::Error::new(std::io::ErrorKind::NotFound, other.to_owned())),
        })
        .expect("readable")
    }

    #[test]
    fn symbols_are_read_with_what_surrounds_them() {
        let symbols = symbols();
        let names: Vec<&str> = symbols.names().collect();
        assert_eq!(names, ["DRIVER", "FAST", "INSIDE", "LIB", "MODULES", "SMALL"]);
        let driver = &symbols.definitions("DRIVER")[0];
        let texts: Vec<String> = driver.depends.iter().map(ToString::to_string).collect();
        assert_eq!((driver.file.as_str(), driver.line), ("Kconfig", 15));
        assert_eq!(texts, ["HAS_IO", "PCI && !X"]);
        let prompt = driver.prompt.clone().flatten().expect("a condition").to_string();
        assert_eq!(prompt, "EXPERT && (A || B)");
        let inside = &symbols.definitions("INSIDE")[0];
        let texts: Vec<String> = inside.depends.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["HAS_IO", "NET"]);
        assert_eq!(inside.range.as_deref(), Some("2 to 8"));
        assert_eq!(symbols.definitions("LIB")[0].prompt, None);
        assert_eq!(symbols.definitions("LIB")[0].depends, []);
        let choice = symbols.definitions("SMALL")[0].choice.expect("a choice");
        assert_eq!(symbols.members(choice), ["FAST", "SMALL"]);
    }

    #[test]
    fn who_selects() {
        let symbols = symbols();
        let by = |text: &str, symbol| symbols.selected_by(symbol, &DotConfig::parse(text)).join(" ");
        assert_eq!(by("CONFIG_DRIVER=m\nCONFIG_SMP=y\n", "LIB"), "DRIVER");
        assert_eq!(by("CONFIG_DRIVER=y\n", "LIB"), "");
        assert_eq!(by("CONFIG_DRIVER=y\n", "OTHER"), "DRIVER");
        assert_eq!(by("CONFIG_SMP=y\n", "OTHER"), "");
    }

    #[test]
    fn circles_and_what_is_absent() {
        let error = Symbols::read("Kconfig", &[], &mut |_| Ok("source \"Kconfig\"".to_owned()))
            .expect_err("a circle");
        assert!(matches!(error, KconfigError::TooMany { .. }), "{error}");
        let error = Symbols::read("Kconfig", &[], &mut |_| Err(std::io::ErrorKind::NotFound.into()));
        assert_eq!(error.expect_err("absent").to_string(), "\"Kconfig\" can't be read");
    }
}
