//! Boot scripts: what `init` does from the first instruction of the emulator to a started release.
//! Specification: <https://www.erlang.org/doc/apps/sasl/script.html>.

use std::collections::BTreeSet;

use super::{Atom, BeamError, Term, consult, decode, encode};

/// A boot script.
#[derive(Debug, Clone, PartialEq)]
pub struct BootScript {
    /// The release's name.
    pub name: String,
    /// The release's version.
    pub version: String,
    /// What `init` does, in order.
    pub instructions: Vec<BootInstruction>,
}

/// One step of a boot script.
#[derive(Debug, Clone, PartialEq)]
pub enum BootInstruction {
    /// Modules that are in the emulator itself.
    PreLoaded(Vec<Atom>),
    /// A point that has been reached.
    Progress(Term),
    /// Where the loader looks for modules from here on; may hold `$ROOT` and other variables.
    Path(Vec<String>),
    /// Modules to load; in interactive mode skipped after [`BootInstruction::KernelLoadCompleted`].
    PrimLoad(Vec<Atom>),
    /// The code server's minimum is loaded.
    KernelLoadCompleted,
    /// A process to start: its name, and what is applied.
    KernelProcess {
        /// The name.
        name: Atom,
        /// The module.
        module: Atom,
        /// The function.
        function: Atom,
        /// Its arguments.
        arguments: Term,
    },
    /// A call.
    Apply {
        /// The module.
        module: Atom,
        /// The function.
        function: Atom,
        /// Its arguments.
        arguments: Term,
    },
}

/// An application that the boot script loads: `application:load({application, Name, Properties})`, or for
/// `kernel` the same specification as the argument of the process `application_controller`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadedApplication<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version; empty if the specification has none.
    pub version: &'a str,
    /// Its whole specification: a list of pairs.
    pub properties: &'a Term,
}

impl LoadedApplication<'_> {
    /// The modules that its specification lists.
    pub fn modules(&self) -> Vec<&str> {
        let modules = self.properties.property("modules").and_then(Term::as_list).unwrap_or_default();
        modules.iter().filter_map(Term::as_atom).collect()
    }
}

impl BootScript {
    /// Reads a `.boot` file.
    ///
    /// # Errors
    /// What is no external term, or no boot script.
    pub fn parse(bytes: &[u8]) -> Result<Self, BeamError> {
        Self::from_term(decode(bytes)?)
    }

    /// Reads a `.script` file, the text form.
    ///
    /// # Errors
    /// What is no Erlang term, or no boot script.
    pub fn parse_text(bytes: &[u8]) -> Result<Self, BeamError> {
        let mut terms = consult(bytes)?;
        match (terms.pop(), terms.is_empty()) {
            (Some(term), true) => Self::from_term(term),
            _ => Err(BeamError::Shape {
                expected: "one term, {script, …}",
                found: "more, or none".to_owned(),
            }),
        }
    }

    fn from_term(term: Term) -> Result<Self, BeamError> {
        let Some([id, instructions]) = term.tagged("script", 3) else {
            return Err(BeamError::shape("{script, {Name, Version}, [Instruction]}", &term));
        };
        let (name, version) = match id.as_tuple() {
            Some([name, version]) => (name.as_text(), version.as_text()),
            _ => (None, None),
        };
        let (Some(name), Some(version), Some(list)) = (name, version, instructions.as_list()) else {
            return Err(BeamError::shape("{script, {Name, Version}, [Instruction]}", &term));
        };
        let instructions = list
            .iter()
            .map(|item| {
                BootInstruction::from_term(item).ok_or_else(|| BeamError::shape("a boot instruction", item))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), version: version.to_owned(), instructions })
    }

    /// The term of a `.boot` file.
    pub fn to_term(&self) -> Term {
        let id = Term::Tuple(vec![Term::text(&self.name), Term::text(&self.version)]);
        let instructions = self.instructions.iter().map(BootInstruction::to_term).collect();
        Term::Tuple(vec![Term::atom("script"), id, Term::List(instructions, None)])
    }

    /// The bytes of a `.boot` file.
    ///
    /// # Errors
    /// When an argument of a call has no external form: none that was read from a file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BeamError> {
        encode(&self.to_term())
    }

    /// Every directory of every `path` instruction, each once, in byte order.
    pub fn paths(&self) -> BTreeSet<&str> {
        let paths = self.instructions.iter().filter_map(|instruction| match instruction {
            BootInstruction::Path(paths) => Some(paths),
            _ => None,
        });
        paths.flatten().map(String::as_str).collect()
    }

    /// The variables in those directories, without `$`: `ROOT`, and what `-boot_var` must set.
    pub fn variables(&self) -> BTreeSet<&str> {
        self.paths().into_iter().filter_map(variable).map(|(name, _)| name).collect()
    }

    /// The applications that it loads, in order.
    pub fn applications(&self) -> Vec<LoadedApplication<'_>> {
        self.instructions
            .iter()
            .filter_map(|instruction| {
                let arguments = match instruction {
                    BootInstruction::Apply { module, function, arguments }
                        if (&**module, &**function) == ("application", "load") =>
                    {
                        arguments
                    }
                    BootInstruction::KernelProcess { name, arguments, .. }
                        if &**name == "application_controller" =>
                    {
                        arguments
                    }
                    _ => return None,
                };
                let [specification] = arguments.as_list()? else { return None };
                let [name, properties] = specification.tagged("application", 3)? else { return None };
                let version = properties.property("vsn").and_then(Term::as_text).unwrap_or_default();
                Some(LoadedApplication { name: name.as_atom()?, version, properties })
            })
            .collect()
    }

    /// The modules that `primLoad` names, in order, each once.
    pub fn modules(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        self.instructions
            .iter()
            .filter_map(|instruction| match instruction {
                BootInstruction::PrimLoad(modules) => Some(modules),
                _ => None,
            })
            .flatten()
            .map(|module| &**module)
            .filter(|module| seen.insert(*module))
            .collect()
    }
}

/// Splits `$NAME/rest` as the loader does: the name goes to the first slash.
pub(super) fn variable(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix('$')?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

impl BootInstruction {
    fn from_term(term: &Term) -> Option<Self> {
        let tuple = term.as_tuple()?;
        let (tag, arguments) = tuple.split_first()?;
        Some(match (tag.as_atom()?, arguments) {
            ("preLoaded", [modules]) => Self::PreLoaded(atoms(modules)?),
            ("progress", [point]) => Self::Progress(point.clone()),
            ("path", [paths]) => {
                let paths = paths.as_list()?.iter();
                Self::Path(paths.map(|path| path.as_text().map(str::to_owned)).collect::<Option<_>>()?)
            }
            ("primLoad", [modules]) => Self::PrimLoad(atoms(modules)?),
            ("kernel_load_completed", []) => Self::KernelLoadCompleted,
            ("kernelProcess", [name, call]) => {
                let (module, function, arguments) = call_of(call)?;
                Self::KernelProcess { name: name.as_atom()?.into(), module, function, arguments }
            }
            ("apply", [call]) => {
                let (module, function, arguments) = call_of(call)?;
                Self::Apply { module, function, arguments }
            }
            _ => return None,
        })
    }
}

impl BootInstruction {
    fn to_term(&self) -> Term {
        let tagged = |tag: &str, argument: Term| Term::Tuple(vec![Term::atom(tag), argument]);
        let atoms = |names: &[Atom]| {
            Term::List(names.iter().map(|name| Term::Atom(Atom::clone(name))).collect(), None)
        };
        let call = |module: &Atom, function: &Atom, arguments: &Term| {
            Term::Tuple(vec![
                Term::Atom(Atom::clone(module)),
                Term::Atom(Atom::clone(function)),
                arguments.clone(),
            ])
        };
        match self {
            Self::PreLoaded(modules) => tagged("preLoaded", atoms(modules)),
            Self::Progress(point) => tagged("progress", point.clone()),
            Self::Path(paths) => {
                tagged("path", Term::List(paths.iter().map(|path| Term::text(path)).collect(), None))
            }
            Self::PrimLoad(modules) => tagged("primLoad", atoms(modules)),
            Self::KernelLoadCompleted => Term::Tuple(vec![Term::atom("kernel_load_completed")]),
            Self::KernelProcess { name, module, function, arguments } => Term::Tuple(vec![
                Term::atom("kernelProcess"),
                Term::Atom(Atom::clone(name)),
                call(module, function, arguments),
            ]),
            Self::Apply { module, function, arguments } => tagged("apply", call(module, function, arguments)),
        }
    }
}

fn call_of(term: &Term) -> Option<(Atom, Atom, Term)> {
    let [module, function, arguments] = term.as_tuple()? else { return None };
    Some((module.as_atom()?.into(), function.as_atom()?.into(), arguments.clone()))
}

fn atoms(term: &Term) -> Option<Vec<Atom>> {
    term.as_list()?
        .iter()
        .map(|element| match element {
            Term::Atom(name) => Some(Atom::clone(name)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = r#"{script,{"hello","0.1.0"},[
        {preLoaded,[erlang,init]},{progress,preloaded},
        {path,["$ROOT/lib/kernel-10.2/ebin","$RELEASE_LIB/hello-0.1.0/ebin"]},
        {primLoad,[error_handler,lists]},{kernel_load_completed},{primLoad,[lists,'Elixir.Hello']},
        {kernelProcess,heart,{heart,start,[]}},
        {kernelProcess,application_controller,{application_controller,start,
            [{application,kernel,[{vsn,"10.2"},{modules,[error_handler]}]}]}},
        {apply,{application,load,[{application,stdlib,[{vsn,"6.2"}]}]}},
        {apply,{application,start_boot,[kernel,permanent]}},{progress,started}]}."#;

    #[test]
    fn a_script() {
        let script = BootScript::parse_text(SCRIPT.as_bytes()).expect("a script");
        assert_eq!(script.variables().into_iter().collect::<Vec<_>>(), ["RELEASE_LIB", "ROOT"]);
        assert_eq!(script.modules(), ["error_handler", "lists", "Elixir.Hello"]);
        let applications = script.applications();
        assert_eq!((applications[0].name, applications[0].version), ("kernel", "10.2"));
        assert_eq!(applications[0].modules(), ["error_handler"]);
        assert_eq!((applications[1].name, applications[1].modules()), ("stdlib", vec![]));
    }

    #[test]
    fn a_script_that_is_written_is_the_same() {
        let script = BootScript::parse_text(SCRIPT.as_bytes()).expect("a script");
        assert_eq!(BootScript::parse(&script.to_bytes().expect("plain terms")).expect("a script"), script);
    }

    #[test]
    fn what_is_none() {
        for text in [
            "{script,{\"a\",\"1\"},[{explode,now}]}.",
            "{script,{\"a\",\"1\"},[{path,[1]}]}.",
            "{script,{\"a\",\"1\"},x}.",
            "{release,{\"a\",\"1\"},{erts,\"1\"},[]}.",
        ] {
            assert!(
                matches!(BootScript::parse_text(text.as_bytes()), Err(BeamError::Shape { .. })),
                "{text}"
            );
        }
    }
}
