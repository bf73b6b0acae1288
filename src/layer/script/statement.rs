//! Statements of scripts whose effect is known whichever package they come from.

use std::collections::BTreeMap;

use crate::layer::accounts::{NewGroup, NewUser};

/// A statement that changes a file that many packages share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    /// `addgroup -S …`
    Group(NewGroup),
    /// `adduser -S …`
    User(NewUser),
    /// `addgroup USER GROUP` or `adduser USER GROUP`
    Member {
        /// Who becomes a member.
        user: String,
        /// Of what.
        group: String,
    },
    /// `add-shell PATH…`
    Shells(Vec<String>),
    /// `rc-update add SERVICE LEVEL…`
    Service {
        /// The name of the script in `/etc/init.d`.
        name: String,
        /// The runlevels in which it starts.
        levels: Vec<String>,
    },
}

impl Statement {
    /// What it does, in words.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Group(group) => format!("the group {}", group.name),
            Self::User(user) => format!("the user {}", user.name),
            Self::Member { user, group } => format!("{user} as a member of {group}"),
            Self::Shells(paths) => format!("{} in /etc/shells", paths.join(", ")),
            Self::Service { name, levels } => format!("{name} in the runlevel {}", levels.join(", ")),
        }
    }
}

/// The statements of a script that does nothing else; none if there is anything that is not understood.
pub(super) fn all(text: &str) -> Option<Vec<Statement>> {
    let mut variables = BTreeMap::new();
    let mut statements = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') || matches!(line, "exit 0" | "exit" | ":" | "true") {
            continue;
        }
        if let Some((name, value)) = line.split_once('=')
            && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
            && !value.contains(['$', '`', ' ', ';', '&', '|', '('])
        {
            variables.insert(name.to_owned(), value.trim_matches(['"', '\'']).to_owned());
            continue;
        }
        statements.push(statement(line, &variables)?);
    }
    Some(statements)
}

/// The known statements of a script that does other things, too.
pub(super) fn those_known(text: &str) -> Vec<Statement> {
    text.lines().filter_map(|line| statement(line.trim(), &BTreeMap::new())).collect()
}

/// One statement, with errors thrown away or not; none if it is not known.
pub(super) fn statement(line: &str, variables: &BTreeMap<String, String>) -> Option<Statement> {
    let line = line.trim_end_matches("|| true").trim_end_matches("|| :").trim_end();
    let line = line.strip_suffix("2>/dev/null").unwrap_or(line).trim_end();
    let line = line.strip_suffix(">/dev/null").unwrap_or(line).trim_end();
    let words = words(line, variables)?;
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["addgroup" | "adduser", user, group] if is_name(user) && is_name(group) => {
            return Some(Statement::Member { user: user.to_owned(), group: group.to_owned() });
        }
        ["add-shell", ref paths @ ..]
            if !paths.is_empty() && paths.iter().all(|path| path.starts_with('/')) =>
        {
            return Some(Statement::Shells(paths.iter().map(ToString::to_string).collect()));
        }
        ["rc-update", "-q", "add", name, ref levels @ ..] | ["rc-update", "add", name, ref levels @ ..]
            if !levels.is_empty() && is_name(name) && levels.iter().all(|level| is_name(level)) =>
        {
            let levels = levels.iter().map(ToString::to_string).collect();
            return Some(Statement::Service { name: name.to_owned(), levels });
        }
        _ => {}
    }
    account(words)
}

/// `addgroup -S …` or `adduser -S …`
fn account(words: Vec<String>) -> Option<Statement> {
    let mut words = words.into_iter();
    let command = words.next()?;
    let mut group = NewGroup::default();
    let mut user = NewUser::default();
    let mut names = Vec::new();
    let mut is_system = false;
    while let Some(word) = words.next() {
        match (&*command, &*word) {
            ("addgroup" | "adduser", "-S") => is_system = true,
            ("adduser", "-D") => {}
            ("adduser", "-H") => user.no_home = true,
            ("adduser", flags)
                if flags.starts_with('-')
                    && flags.len() > 2
                    && flags[1..].chars().all(|flag| "SDH".contains(flag)) =>
            {
                is_system |= flags.contains('S');
                user.no_home |= flags.contains('H');
            }
            ("addgroup", "-g") => group.id = Some(words.next()?.parse().ok()?),
            ("adduser", "-u") => user.id = Some(words.next()?.parse().ok()?),
            ("adduser", "-h") => user.home = Some(words.next()?),
            ("adduser", "-s") => user.shell = Some(words.next()?),
            ("adduser", "-G") => user.group = Some(words.next()?),
            ("adduser", "-g") => user.gecos = Some(words.next()?),
            (_, option) if option.starts_with('-') => return None,
            _ => names.push(word),
        }
    }
    let [name] = <[String; 1]>::try_from(names).ok()?;
    if !is_name(&name) {
        return None;
    }
    match &*command {
        // People get numbers from 1000 on, and a group of their own.
        "adduser" if !is_system => None,
        "addgroup" if !is_system && group.id.is_none() => None,
        "addgroup" => Some(Statement::Group(NewGroup { name, ..group })),
        "adduser" => Some(Statement::User(NewUser { name, ..user })),
        _ => None,
    }
}

/// Of a user, a group or a service.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['-', '.'])
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "._-".contains(character))
}

/// Splits a simple command into words, with quotes and `$variables`; none if it is not simple.
fn words(line: &str, variables: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (end, Some(start)) if end == start => quote = None,
            ('$', None | Some('"')) => {
                let braces = characters.next_if_eq(&'{').is_some();
                let mut name = String::new();
                while let Some(next) = characters.next_if(|next| next.is_ascii_alphanumeric() || *next == '_')
                {
                    name.push(next);
                }
                if braces && characters.next() != Some('}') {
                    return None;
                }
                word.get_or_insert_default().push_str(variables.get(&name)?);
            }
            (' ' | '\t', None) => words.extend(word.take()),
            (';' | '&' | '|' | '<' | '>' | '`' | '(' | ')' | '*' | '?' | '\\', None) => return None,
            ('`' | '\\', Some('"')) => return None,
            _ => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return None;
    }
    words.extend(word);
    Some(words)
}
