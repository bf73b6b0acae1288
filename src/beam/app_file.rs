//! Application resource files (`.app`), and what Hex says of a package (`hex_metadata.config`).
//! Specification: <https://www.erlang.org/doc/apps/kernel/app.html>, and for the latter
//! <https://github.com/hexpm/specifications/blob/main/package_metadata.md>.

use super::{BeamError, Term, consult};

/// What an `.app` file says, as far as it tells what an application is and needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppFile {
    /// Its name.
    pub name: String,
    /// `vsn`; empty if it isn't there.
    pub version: String,
    /// `description`.
    pub description: String,
    /// `applications`: those that must run before it.
    pub applications: Vec<String>,
    /// `included_applications`: those that it starts itself.
    pub included_applications: Vec<String>,
    /// `optional_applications`: those of the former that may be missing.
    pub optional_applications: Vec<String>,
    /// `licenses`, which rebar3 takes over from a Hex package's own.
    pub licenses: Vec<String>,
}

impl AppFile {
    /// Reads the text of an `.app` file. Keys that are not known are passed over, as are values of another shape than
    /// the specification has for them: some packagers put other things there, and nothing here decides what runs.
    ///
    /// # Errors
    /// What is no Erlang term, or no application.
    pub fn parse(bytes: &[u8]) -> Result<Self, BeamError> {
        let terms = consult(bytes)?;
        let [term] = terms.as_slice() else {
            return Err(BeamError::Shape {
                expected: "one term, {application, …}",
                found: format!("{} terms", terms.len()),
            });
        };
        let wrong = || BeamError::shape("{application, Name, [{Key, Value}]}", term);
        let Some([name, keys]) = term.tagged("application", 3) else { return Err(wrong()) };
        let (Some(name), Some(keys)) = (name.as_atom(), keys.as_list()) else { return Err(wrong()) };
        let mut file = Self { name: name.to_owned(), ..Self::default() };
        for key in keys {
            let Some([Term::Atom(key), value]) = key.as_tuple() else { continue };
            match &**key {
                "vsn" => file.version = text(value).unwrap_or_default(),
                "description" => file.description = text(value).unwrap_or_default(),
                "applications" => file.applications = atoms(value),
                "included_applications" => file.included_applications = atoms(value),
                "optional_applications" => file.optional_applications = atoms(value),
                "licenses" => file.licenses = texts(value),
                _ => {}
            }
        }
        Ok(file)
    }

    /// The applications that it can't do without, each once, in byte order.
    pub fn needs(&self) -> Vec<String> {
        let mut needs: Vec<String> = (self.applications.iter())
            .chain(&self.included_applications)
            .filter(|name| !self.optional_applications.contains(name))
            .cloned()
            .collect();
        needs.sort();
        needs.dedup();
        needs
    }
}

/// What `hex_metadata.config` says, which Hex puts beside the sources of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HexMetadata {
    /// `name`: the package's.
    pub name: String,
    /// `version`
    pub version: String,
    /// `app`: the application's name.
    pub app: String,
    /// `description`
    pub description: String,
    /// `licenses`
    pub licenses: Vec<String>,
}

impl HexMetadata {
    /// Reads the text of a `hex_metadata.config`: terms `{<<"key">>, Value}`.
    ///
    /// # Errors
    /// What is no Erlang term, or names no package.
    pub fn parse(bytes: &[u8]) -> Result<Self, BeamError> {
        let mut metadata = Self::default();
        let terms = consult(bytes)?;
        for term in &terms {
            let Some([key, value]) = term.as_tuple() else { continue };
            match text(key).as_deref() {
                Some("name") => metadata.name = text(value).unwrap_or_default(),
                Some("version") => metadata.version = text(value).unwrap_or_default(),
                Some("app") => metadata.app = text(value).unwrap_or_default(),
                Some("description") => metadata.description = text(value).unwrap_or_default(),
                Some("licenses") => metadata.licenses = texts(value),
                _ => {}
            }
        }
        if metadata.name.is_empty() || metadata.version.is_empty() {
            let found = format!("{} terms without it", terms.len());
            return Err(BeamError::Shape { expected: "<<\"name\">> and <<\"version\">>", found });
        }
        Ok(metadata)
    }
}

/// A string or a binary of UTF-8.
fn text(term: &Term) -> Option<String> {
    match term {
        Term::Binary(bytes) => String::from_utf8(bytes.clone()).ok(),
        term => term.as_text().map(str::to_owned),
    }
}

fn texts(term: &Term) -> Vec<String> {
    term.as_list().unwrap_or_default().iter().filter_map(text).filter(|text| !text.is_empty()).collect()
}

fn atoms(term: &Term) -> Vec<String> {
    term.as_list().unwrap_or_default().iter().filter_map(Term::as_atom).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mix_and_rebar3_write() {
        let file = AppFile::parse(
            br#"{application,jason,
             [{modules,['Elixir.Jason']},
              {optional_applications,[decimal]},
              {applications,[kernel,stdlib,elixir,decimal]},
              {description,"A blazing fast JSON parser"},
              {registered,[]},
              {vsn,"1.4.4"}]}."#,
        )
        .expect("an application");
        assert_eq!((file.name.as_str(), file.version.as_str()), ("jason", "1.4.4"));
        assert_eq!(file.description, "A blazing fast JSON parser");
        assert_eq!(file.needs(), ["elixir", "kernel", "stdlib"]);
        assert!(file.licenses.is_empty());

        let file = AppFile::parse(
            br#"{application,cowboy,[{vsn,"2.12.0"},{applications,[stdlib,kernel,ranch]},{description,<<"x">>},
             {included_applications,[cowlib,ranch]},{licenses,["ISC",<<"MIT">>]},{links,[{"a","b"}]},{mod,[]}]}."#,
        )
        .expect("an application");
        assert_eq!(file.needs(), ["cowlib", "kernel", "ranch", "stdlib"]);
        assert_eq!(file.licenses, ["ISC", "MIT"]);
        assert_eq!(file.description, "x");
    }

    #[test]
    fn what_has_another_shape() {
        let file =
            AppFile::parse(b"{application,a,[{vsn,1},{applications,none},odd,{1,2}]}.").expect("taken");
        assert_eq!((file.version.as_str(), file.needs().len()), ("", 0));
        for bad in ["", "{application,a}.", "{application,\"a\",[]}.", "a. b.", "{application,a,b}.", "{"] {
            assert!(AppFile::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_hex_writes() {
        let metadata = HexMetadata::parse(
            br#"{<<"app">>,<<"jason">>}.
{<<"build_tools">>,[<<"mix">>]}.
{<<"licenses">>,[<<"Apache-2.0">>]}.
{<<"name">>,<<"jason">>}.
{<<"requirements">>,[[{<<"app">>,<<"decimal">>},{<<"optional">>,true}]]}.
{<<"version">>,<<"1.4.4">>}."#,
        )
        .expect("metadata");
        assert_eq!((metadata.name.as_str(), metadata.app.as_str()), ("jason", "jason"));
        assert_eq!(metadata.licenses, ["Apache-2.0"]);
        assert!(HexMetadata::parse(b"{<<\"name\">>,<<\"x\">>}.").is_err());
    }
}
