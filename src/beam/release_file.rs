//! Release resource files.
//! Specification: <https://www.erlang.org/doc/apps/sasl/rel.html>.

use super::{BeamError, Term, consult};

/// How an application of a release is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartType {
    /// Started; when it ends, the node ends. What counts if nothing is said.
    Permanent,
    /// Started; when it fails, the node ends.
    Transient,
    /// Started; when it ends, nothing happens.
    Temporary,
    /// Loaded, not started.
    Load,
    /// Its modules are in the code path; neither loaded nor started.
    None,
}

impl StartType {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "permanent" => Self::Permanent,
            "transient" => Self::Transient,
            "temporary" => Self::Temporary,
            "load" => Self::Load,
            "none" => Self::None,
            _ => return None,
        })
    }
}

/// What a `.rel` file says: the release, the emulator, and the applications.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseFile {
    /// The release's name.
    pub name: String,
    /// The release's version.
    pub version: String,
    /// The version of ERTS that it was made with.
    pub erts_version: String,
    /// Name, version and start type of each application, in the file's order.
    pub applications: Vec<(String, String, StartType)>,
}

impl ReleaseFile {
    /// Reads the text of a `.rel` file.
    ///
    /// # Errors
    /// What is no Erlang term, or no release.
    pub fn parse(bytes: &[u8]) -> Result<Self, BeamError> {
        let terms = consult(bytes)?;
        let [term] = terms.as_slice() else {
            return Err(BeamError::Shape {
                expected: "one term, {release, …}",
                found: format!("{} terms", terms.len()),
            });
        };
        let wrong = || BeamError::shape("{release, {Name, Version}, {erts, Version}, [Application]}", term);
        let (release, erts, applications) = match term.tagged("release", 4) {
            Some([release, erts, applications]) => (release, erts, applications),
            _ => return Err(wrong()),
        };
        let (name, version) = match release.as_tuple() {
            Some([name, version]) => (string(name).ok_or_else(wrong)?, string(version).ok_or_else(wrong)?),
            _ => return Err(wrong()),
        };
        let erts_version = match erts.tagged("erts", 2) {
            Some([version]) => string(version).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        };
        let applications = applications
            .as_list()
            .ok_or_else(wrong)?
            .iter()
            .map(|application| {
                Self::application(application)
                    .ok_or_else(|| BeamError::shape("{Application, Version[, StartType]}", application))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { name, version, erts_version, applications })
    }

    fn application(term: &Term) -> Option<(String, String, StartType)> {
        let [name, version, rest @ ..] = term.as_tuple()? else { return None };
        let start_type = match rest {
            // A list in place of the type, or after it, names included applications.
            [] | [Term::List(..)] => StartType::Permanent,
            [Term::Atom(start_type)] | [Term::Atom(start_type), Term::List(..)] => {
                StartType::parse(start_type)?
            }
            _ => return None,
        };
        Some((name.as_atom()?.to_owned(), string(version)?, start_type))
    }
}

fn string(term: &Term) -> Option<String> {
    term.as_text().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release() {
        let text = b"%% coding: utf-8\n{release,{\"hello\",\"0.1.0\"},{erts,\"15.2.7\"},\
            [{kernel,\"10.2.7.1\"},{iex,\"1.18.3\",none},{a,\"1\",load,[b]},{c,\"2\",[d]}]}.\n";
        let release = ReleaseFile::parse(text).expect("a release");
        assert_eq!((release.name.as_str(), release.version.as_str()), ("hello", "0.1.0"));
        assert_eq!(release.erts_version, "15.2.7");
        let types: Vec<StartType> =
            release.applications.iter().map(|(_, _, start_type)| *start_type).collect();
        assert_eq!(types, [StartType::Permanent, StartType::None, StartType::Load, StartType::Permanent]);
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "a. b.",
            "{release}.",
            "{release,\"a\",{erts,\"1\"},[]}.",
            "{release,{\"a\",\"1\"},{erts,1},[]}.",
            "{release,{\"a\",\"1\"},{erts,\"1\"},kernel}.",
            "{release,{\"a\",\"1\"},{erts,\"1\"},[kernel]}.",
            "{release,{\"a\",\"1\"},{erts,\"1\"},[{kernel,\"1\",sometimes}]}.",
        ] {
            assert!(matches!(ReleaseFile::parse(text.as_bytes()), Err(BeamError::Shape { .. })), "{text}");
        }
    }
}
