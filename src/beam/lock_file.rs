//! The lock files of projects: which Hex packages a release was made from.
//!
//! `mix.lock` is a literal of Elixir, `%{"app": {:hex, :package, "version", "inner", managers, dependencies, "repository",
//! "outer"}}` (`Hex.Mix.to_lock/1` of <https://github.com/hexpm/hex>); `rebar.lock` is terms of Erlang,
//! `{"1.2.0", [{<<"app">>, {pkg, <<"package">>, <<"version">>}, Level}]}` and `[{pkg_hash_ext, [{<<"app">>, <<"OUTER">>}]}]`
//! (<https://rebar3.org/docs/configuration/dependencies/#lock-files>). The outer hash is the SHA-256 of the package's
//! tarball. Dependencies of other kinds (git, paths) are passed over.

use super::{BeamError, Term, consult, excerpt};

/// The deepest nesting of a `mix.lock`: dependencies are a list of tuples with lists in a tuple.
const MOST_DEPTH: usize = 32;

/// A Hex package that a lock file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedPackage {
    /// The application.
    pub app: String,
    /// The package, whose name may be another.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The repository; none for Hex's own.
    pub repository: Option<String>,
    /// SHA-256 of its tarball; old lock files have none.
    pub sha256: Option<[u8; 32]>,
}

/// Reads a `rebar.lock`, if that is the file's name, or else a `mix.lock`.
///
/// # Errors
/// What is no literal of the language, or not of such a file's shape.
pub fn parse(file_name: &str, bytes: &[u8]) -> Result<Vec<LockedPackage>, BeamError> {
    if file_name == "rebar.lock" { rebar(bytes) } else { mix(bytes) }
}

fn mix(bytes: &[u8]) -> Result<Vec<LockedPackage>, BeamError> {
    let text = std::str::from_utf8(bytes).map_err(|error| BeamError::Text {
        line: 1,
        expected: "UTF-8",
        found: error.to_string(),
    })?;
    let mut reader = ElixirReader { rest: text, line: 1, depth: 0 };
    let Term::Map(entries) = reader.term()? else { return reader.fail("%{…}") };
    reader.skip_blank();
    if !reader.rest.is_empty() {
        return reader.fail("the end");
    }
    let entry = |(app, locked): &(Term, Term)| {
        let locked = locked.as_tuple()?;
        let ([kind, name, version], rest) = locked.split_first_chunk()?;
        if kind.as_atom() != Some("hex") {
            return None;
        }
        let repository = rest.get(3).and_then(string).filter(|repository| repository != "hexpm");
        Some(LockedPackage {
            app: string(app)?,
            name: string(name)?,
            version: string(version)?,
            repository,
            sha256: rest.get(4).and_then(hash),
        })
    };
    Ok(entries.iter().filter_map(entry).collect())
}

fn rebar(bytes: &[u8]) -> Result<Vec<LockedPackage>, BeamError> {
    let terms = consult(bytes)?;
    // Before version 1.1.0 a file was the list of dependencies alone.
    let (dependencies, attributes) = match terms.as_slice() {
        [] => return Ok(Vec::new()),
        [first, rest @ ..] => match (first.as_tuple(), first.as_list()) {
            (Some([_, dependencies]), _) => (dependencies.as_list().unwrap_or_default(), rest.first()),
            (_, Some(dependencies)) => (dependencies, None),
            _ => return Err(BeamError::shape("{Version, [Dependency]}", first)),
        },
    };
    let hashes = attributes
        .and_then(Term::as_list)
        .unwrap_or_default()
        .iter()
        .find_map(|attribute| attribute.tagged("pkg_hash_ext", 2))
        .and_then(|rest| rest.first()?.as_list())
        .unwrap_or_default();
    let entry = |term: &Term| {
        let [app, locked, ..] = term.as_tuple()? else { return None };
        let [kind, name, version, ..] = locked.as_tuple()? else { return None };
        if kind.as_atom() != Some("pkg") {
            return None;
        }
        let app = string(app)?;
        let sha256 = hashes.iter().find_map(|pair| match pair.as_tuple()? {
            [of, sha256] if string(of).as_deref() == Some(&app) => hash(sha256),
            _ => None,
        });
        Some(LockedPackage { name: string(name)?, version: string(version)?, repository: None, sha256, app })
    };
    Ok(dependencies.iter().filter_map(entry).collect())
}

/// An atom, a string or a binary.
fn string(term: &Term) -> Option<String> {
    match term {
        Term::Atom(name) => Some(name.to_string()),
        Term::Binary(bytes) => String::from_utf8(bytes.clone()).ok(),
        term => term.as_text().map(str::to_owned),
    }
}

fn hash(term: &Term) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(string(term)?, &mut hash).ok()?;
    Some(hash)
}

/// Reads the literals of Elixir that a `mix.lock` holds; strings come as binaries, `key: value` as a pair.
struct ElixirReader<'a> {
    rest: &'a str,
    line: usize,
    depth: usize,
}

impl ElixirReader<'_> {
    fn fail<T>(&self, expected: &'static str) -> Result<T, BeamError> {
        let found = match self.rest.split_whitespace().next() {
            None => "the end".to_owned(),
            Some(word) => format!("`{}`", excerpt(word)),
        };
        Err(BeamError::Text { line: self.line, expected, found })
    }

    fn skip_blank(&mut self) {
        while let Some(first) = self.rest.chars().next() {
            if first == '#' {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            } else if first.is_ascii_whitespace() {
                self.line += usize::from(first == '\n');
                self.rest = &self.rest[1..];
            } else {
                return;
            }
        }
    }

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

    fn term(&mut self) -> Result<Term, BeamError> {
        if self.depth == MOST_DEPTH {
            return Err(BeamError::TooLarge { what: "the nesting", limit: MOST_DEPTH });
        }
        self.depth += 1;
        let term = self.nested();
        self.depth -= 1;
        term
    }

    fn nested(&mut self) -> Result<Term, BeamError> {
        if self.take("%{") {
            let entries = self.elements("}")?.into_iter().map(|element| match element {
                Term::Tuple(mut pair) if pair.len() == 2 => {
                    pair.pop().zip(pair.pop()).map(|(value, key)| (key, value))
                }
                _ => None,
            });
            return match entries.collect::<Option<Vec<_>>>() {
                Some(entries) => Ok(Term::Map(entries)),
                None => self.fail("key: value"),
            };
        }
        if self.take("{") {
            return Ok(Term::Tuple(self.elements("}")?));
        }
        if self.take("[") {
            return Ok(Term::List(self.elements("]")?, None));
        }
        if self.take(":") {
            return match self.rest.starts_with('"') {
                true => self.quoted().map(|name| Term::atom(&name)),
                false => match self.word() {
                    "" => self.fail("the name of an atom"),
                    name => Ok(Term::atom(name)),
                },
            };
        }
        self.skip_blank();
        if self.rest.starts_with('"') {
            return self.quoted().map(|text| Term::Binary(text.into_bytes()));
        }
        match self.word() {
            word @ ("true" | "false" | "nil") => Ok(Term::atom(word)),
            word => match word.parse() {
                Ok(number) => Ok(Term::Integer(number)),
                Err(_) if word.is_empty() => self.fail("a value"),
                // A key.
                Err(_) => Ok(Term::atom(word)),
            },
        }
    }

    /// What stands up to `end`, with commas between.
    fn elements(&mut self, end: &'static str) -> Result<Vec<Term>, BeamError> {
        let mut elements = Vec::new();
        while !self.take(end) {
            let mut element = self.term()?;
            // `key: value` and `"key": value`; `key => value`.
            let is_key = matches!(element, Term::Atom(_) | Term::Binary(_));
            if is_key && (self.rest.starts_with(": ") && self.take(":") || self.take("=>")) {
                element = Term::Tuple(vec![element, self.term()?]);
            }
            elements.push(element);
            if !self.take(",") {
                return if self.take(end) { Ok(elements) } else { self.fail("a comma or the end of a list") };
            }
        }
        Ok(elements)
    }

    fn word(&mut self) -> &str {
        let is_end = |c: char| !(c.is_alphanumeric() || "_@?!".contains(c));
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn quoted(&mut self) -> Result<String, BeamError> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((place, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[place + 1..];
                    return Ok(text);
                }
                // What Hex writes (`inspect/2`) is escaped so; nothing that counts here needs it.
                '\\' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, escaped @ ('"' | '\\' | '#'))) => text.push(escaped),
                    _ => return self.fail("a string without other escapes than \\\" \\\\ \\# \\n"),
                },
                other => text.push(other),
            }
        }
        self.fail("a string with its end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTER: &str = "c5eb0cab91f094599f94d55bc63409236a8ec69a21a67814529e8d5f6cc90b3b";

    #[test]
    fn what_mix_writes() {
        let text = format!(
            r#"%{{
  "cowlib": {{:git, "https://example.org/cowlib.git", "0123", [tag: "2.13.0"]}},
  "db": {{:hex, :db_connection, "2.7.0", "{OUTER}", [:mix], [{{:telemetry, "~> 0.4 or ~> 1.0", [hex: :telemetry, repo: "hexpm", optional: false]}}], "hexpm", "{OUTER}"}},
  "old": {{:hex, :old, "1.0.0"}},
  "ours": {{:hex, :"ours-x", "0.1.0", "{OUTER}", [:rebar3], [], "hexpm:acme", "{OUTER}"}},
}}
"#
        );
        let found = parse("mix.lock", text.as_bytes()).expect("a lock file");
        let names: Vec<(&str, &str, &str, Option<&str>, bool)> = (found.iter())
            .map(|locked| {
                let LockedPackage { app, name, version, repository, sha256 } = locked;
                (app.as_str(), name.as_str(), version.as_str(), repository.as_deref(), sha256.is_some())
            })
            .collect();
        let want = [
            ("db", "db_connection", "2.7.0", None, true),
            ("old", "old", "1.0.0", None, false),
            ("ours", "ours-x", "0.1.0", Some("hexpm:acme"), true),
        ];
        assert_eq!(names, want);
        assert_eq!(found[0].sha256.map(hex::encode).as_deref(), Some(OUTER));
        assert_eq!(parse("mix.lock", b"%{}\n").expect("nothing is locked"), []);
    }

    #[test]
    fn what_rebar3_writes() {
        let text = format!(
            r#"{{"1.2.0",
[{{<<"jsx">>,{{pkg,<<"jsx_fork">>,<<"3.1.0">>}},0}},
 {{<<"ranch">>,{{git,"https://example.org/ranch",{{ref,"0123"}}}},1}}]}}.
[
{{pkg_hash,[{{<<"jsx">>, <<"{}">>}}]}},
{{pkg_hash_ext,[{{<<"jsx">>, <<"{}">>}}]}}
]."#,
            OUTER.replace('c', "0"),
            OUTER.to_uppercase()
        );
        let found = parse("rebar.lock", text.as_bytes()).expect("a lock file");
        let [LockedPackage { app, name, version, sha256, .. }] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!((app.as_str(), name.as_str(), version.as_str()), ("jsx", "jsx_fork", "3.1.0"));
        assert_eq!(sha256.map(hex::encode).as_deref(), Some(OUTER));
        let old = parse("rebar.lock", b"[{<<\"a\">>,{pkg,<<\"a\">>,<<\"1\">>},0}].").expect("taken");
        assert_eq!(old.len(), 1);
        assert_eq!(parse("rebar.lock", b"").expect("empty"), []);
    }

    #[test]
    fn what_is_no_lock_file() {
        let deep = format!("%{{\"a\": {}", "[".repeat(100));
        for bad in [
            "",
            "[]",
            "%{",
            "%{\"a\"}",
            "%{\"a\": {:hex, }",
            "%{\"a: 1}",
            "%{} x",
            "%{\"a\": \"\\x\"}",
            &deep,
        ] {
            assert!(parse("mix.lock", bad.as_bytes()).is_err(), "{bad}");
        }
        let error = parse("mix.lock", b"%{\n  \"a\": =\n}").expect_err("no value");
        assert_eq!(error.to_string(), "line 2: expected a value, found `=`");
        assert!(parse("rebar.lock", b"1.").is_err());
        assert!(parse("mix.lock", b"\xff").is_err());
    }
}
