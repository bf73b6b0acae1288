//! Modules that nothing reaches: the tree's modules, where the release starts, and what follows.

use std::collections::{BTreeMap, BTreeSet};

use super::facts;
use super::knowledge;
use super::reach::{self, Cause, How, Module, Reached, Root, Surroundings, Target};
use super::{PruneError, PruneInput, Reason, Rule};
use crate::beam::container::Container;
use crate::beam::{self, Atom, BeamError, BootInstruction, Code, Import, Term};
use crate::cache::Memo;
use crate::recipe::Pattern;
use crate::report::manifest::UnfollowedCall;
use crate::tree::{Content, NodeKind, Tree, TreePath};

/// The largest module and the largest configuration file that are read.
const MOST_BYTES: u64 = 64 << 20;
/// What the cache calls [`facts`].
const FACTS: &str = "facts";

/// What the modules in the emulator itself call of others (`erts/preloaded/src` of Erlang/OTP), and what the emulator
/// calls by name (`erts/emulator/beam/global.h` and `export.c`: `error_handler`).
const EMULATOR_CALLS: &[(&str, &str, u32)] = &[
    ("error_handler", "undefined_function", 3),
    ("error_handler", "undefined_lambda", 3),
    ("error_handler", "breakpoint", 3),
    ("error_handler", "raise_undef_exception", 3),
    ("code", "all_loaded", 0),
    ("code", "ensure_loaded", 1),
    ("error_logger", "warning_msg", 2),
    ("ets", "safe_fixtable", 2),
    ("file", "copy_opened", 3),
    ("file", "native_name_encoding", 0),
    ("filename", "absname", 2),
    ("io", "format", 3),
    ("io_lib", "format", 2),
    ("kernel_refc", "scheduler_wall_time", 1),
    ("lists", "all", 2),
    ("lists", "foreach", 2),
    ("lists", "keyfind", 3),
    ("lists", "member", 2),
    ("lists", "nth", 2),
    ("lists", "reverse", 2),
    ("lists", "sort", 1),
    ("logger", "info", 3),
    ("maps", "fold", 3),
    ("maps", "from_list", 1),
    ("maps", "map", 2),
    ("maps", "merge", 2),
    ("maps", "remove", 2),
    ("maps", "with", 2),
    ("os", "getenv", 1),
    ("os", "system_time", 1),
    ("unicode", "characters_to_binary", 2),
    ("unicode", "characters_to_binary", 3),
    ("unicode", "characters_to_list", 2),
];

/// The modules that put the failures of the emulator's own functions into words: the emulator names them, not code.
const ERROR_TEXTS: [&str; 3] = ["erl_erts_errors", "erl_kernel_errors", "erl_stdlib_errors"];

/// What `application_master` and `application_controller` call of an application's callback module.
const APPLICATION_CALLBACKS: [(&str, u32); 5] =
    [("start", 2), ("stop", 1), ("prep_stop", 1), ("config_change", 3), ("start_phase", 3)];

/// What evaluated Elixir code may use without naming it.
const EVALUATED: [&str; 3] = ["Elixir.Kernel", "Elixir.Config", "Elixir.System"];

/// Functions that make the names of modules, of which the name can't be seen.
const NAME_MAKERS: &[(&str, &str)] = &[
    ("erlang", "list_to_atom"),
    ("erlang", "list_to_existing_atom"),
    ("erlang", "binary_to_atom"),
    ("erlang", "binary_to_existing_atom"),
    ("erlang", "binary_to_term"),
    ("Elixir.String", "to_atom"),
    ("Elixir.String", "to_existing_atom"),
    ("Elixir.Module", "concat"),
    ("Elixir.Module", "safe_concat"),
];

/// What came out.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) doomed: Vec<(TreePath, Rule, String)>,
    pub(super) reasons: BTreeMap<TreePath, Reason>,
    pub(super) unfollowed: Vec<UnfollowedCall>,
    /// The modules that stay.
    pub(super) kept: BTreeSet<Atom>,
}

/// A module of the tree and its application.
struct Found {
    path: TreePath,
    content: Content,
    application: Option<String>,
    /// It stands where no code path leads, or the user put it there: something else knows it.
    apart: bool,
}

/// Finds out which modules go.
pub(super) fn prune(tree: &Tree, input: &PruneInput<'_>) -> Result<Outcome, PruneError> {
    let (found, shadowed) = find(tree, input);
    let modules = read(&found, input.memo)?;
    let applications: Vec<Option<&str>> = found.iter().map(|found| found.application.as_deref()).collect();
    let mut roots = Roots { roots: Vec::new(), surroundings: Surroundings::default() };
    roots.emulator();
    roots.boot_script(input);
    roots.arguments(input);
    roots.configuration(tree, input)?;
    roots.kept(input, &modules, &applications);
    for (module, found) in modules.iter().zip(&found) {
        if found.apart {
            let because = "it stands outside of every code path, or the overlay brings it";
            roots.add(Target::Module(Atom::clone(&module.name)), because);
        }
    }
    let reached = reach::reach(&modules, &roots.roots, &roots.surroundings);

    let mut outcome = Outcome::default();
    for (path, by) in shadowed {
        outcome.doomed.push((path, Rule::Shadowed, format!("{by} stands in front of it in the code path")));
    }
    // A module may stand in the release and in the installation: which of them is loaded is the code path's affair.
    let by_name: BTreeMap<&Atom, &Cause> =
        reached.modules.iter().map(|(&index, cause)| (&modules[index].name, cause)).collect();
    for module in &modules {
        match by_name.get(&module.name) {
            Some(cause) => {
                outcome.reasons.insert(module.path.clone(), reason(cause, &modules));
                outcome.kept.insert(Atom::clone(&module.name));
            }
            None => outcome.doomed.push((
                module.path.clone(),
                Rule::Module,
                "nothing that runs reaches the module".to_owned(),
            )),
        }
    }
    outcome.unfollowed = unfollowed(&modules, &reached);
    // Thousands of small things to be given back: nobody has to wait for it.
    let _ = std::thread::Builder::new().spawn(move || drop(modules));
    Ok(outcome)
}

/// The modules of the tree, and those that never load because another of the same name comes first.
fn find(tree: &Tree, input: &PruneInput<'_>) -> (Vec<Found>, Vec<(TreePath, TreePath)>) {
    let consolidated = input.version_directory.join("consolidated").ok();
    let mut found: Vec<Found> = Vec::new();
    let mut shadowed = Vec::new();
    for (path, node) in tree.iter() {
        let NodeKind::File(content) = &node.kind else { continue };
        if !path.as_bytes().ends_with(b".beam") {
            continue;
        }
        let in_release = path.is_below(input.release_root) || path.is_below(input.otp_root);
        if !in_release {
            continue;
        }
        let application = [input.otp_root, input.release_root]
            .into_iter()
            .find_map(|root| super::application_of(path, root))
            .and_then(|(name, rest)| Some((name, rest.strip_prefix(b"ebin/")?)))
            .filter(|(_, file)| !file.contains(&b'/'))
            .map(|(name, _)| name.to_owned());
        let is_consolidated = consolidated.as_ref().is_some_and(|directory| path.is_below(directory));
        if !is_consolidated
            && application.is_some()
            && let Some(first) = consolidated
                .as_ref()
                .and_then(|directory| directory.join(path.file_name().unwrap_or_default()).ok())
            && tree.get(&first).is_some()
        {
            shadowed.push((path.clone(), first));
            continue;
        }
        let laid_over = input.overlay.is_some_and(|overlay| overlay.get(path).is_some());
        let apart = laid_over || application.is_none() && !is_consolidated;
        found.push(Found { path: path.clone(), content: content.clone(), application, apart });
    }
    (found, shadowed)
}

fn read(found: &[Found], memo: &Memo) -> Result<Vec<Module>, PruneError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let share = found.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = found
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(|found| read_one(found, memo)).collect()))
            .collect();
        let mut modules = Vec::with_capacity(found.len());
        for worker in workers {
            let part: Result<Vec<Module>, PruneError> = worker.join().expect("a reader doesn't panic");
            modules.extend(part?);
        }
        Ok(modules)
    })
}

fn read_one(found: &Found, memo: &Memo) -> Result<Module, PruneError> {
    let path = &found.path;
    let unreadable = |source| PruneError::Io { path: path.clone(), source };
    let wrong = |source: BeamError| PruneError::Beam { path: path.clone(), source };
    let sha256 = found.content.sha256().map_err(unreadable)?;
    let known = memo.recall_bytes(FACTS, &sha256).and_then(|bytes| facts::decode(&bytes));
    let (name, code) = match known {
        Some(known) => known,
        None => {
            let bytes = found.content.read(MOST_BYTES).map_err(unreadable)?;
            let container = Container::parse(&bytes).map_err(wrong)?;
            let module = beam::Module::of(&container).map_err(wrong)?;
            let code = Code::of(&container, &module).map_err(wrong)?;
            if let Some(bytes) = facts::encode(&module.name, &code) {
                memo.remember(FACTS, &sha256, &bytes).map_err(unreadable)?;
            }
            (module.name, code)
        }
    };
    // A consolidated protocol belongs to the release, but what it does is Elixir's.
    let platform = match &found.application {
        Some(application) => beam::is_platform_application(application),
        None => !found.apart,
    };
    let core = match &found.application {
        Some(application) => knowledge::is_core(application),
        None => platform,
    };
    Ok(Module { name, path: path.clone(), platform, core, code })
}

struct Roots {
    roots: Vec<Root>,
    surroundings: Surroundings,
}

impl Roots {
    fn add(&mut self, what: Target, because: impl Into<String>) {
        self.roots.push(Root { what, because: because.into() });
    }

    fn function(&mut self, module: &str, function: &str, arity: u32, because: impl Into<String>) {
        let import = Import { module: module.into(), function: function.into(), arity };
        self.add(Target::Function(import), because);
    }

    fn emulator(&mut self) {
        for (module, function, arity) in EMULATOR_CALLS {
            self.function(
                module,
                function,
                *arity,
                format!("the emulator calls {module}:{function}/{arity}"),
            );
        }
        for module in ERROR_TEXTS {
            self.add(
                Target::Module(module.into()),
                "it puts failures of the emulator's own functions into words",
            );
        }
    }

    /// What the boot script starts, and what its applications say.
    fn boot_script(&mut self, input: &PruneInput<'_>) {
        for instruction in &input.boot.instructions {
            if let BootInstruction::KernelProcess { module, function, arguments, .. }
            | BootInstruction::Apply { module, function, arguments } = instruction
            {
                let arity = arguments.as_list().map_or(0, <[Term]>::len) as u32;
                let because = format!("the boot script calls {module}:{function}/{arity}");
                self.function(module, function, arity, because);
            }
        }
        for application in input.boot.applications() {
            let name = application.name;
            let callback = application.properties.property("mod").and_then(Term::as_tuple);
            if let Some([Term::Atom(module), arguments]) = callback {
                for (function, arity) in APPLICATION_CALLBACKS {
                    let because = format!("it is the callback module of the application {name}");
                    self.function(module, function, arity, because);
                }
                self.names(arguments, name, &format!("the application {name} is started with it"));
            }
            for (key, what) in [("env", "the environment"), ("start_phases", "the start phases")] {
                if let Some(term) = application.properties.property(key) {
                    self.names(term, name, &format!("{what} of the application {name} names it"));
                }
            }
        }
    }

    /// The atoms of a term of an application.
    fn names(&mut self, term: &Term, application: &str, because: &str) {
        let platform = beam::is_platform_application(application);
        let atoms = atoms_of(term);
        if !platform {
            self.surroundings.words.extend(atoms.iter().cloned());
        }
        self.add(Target::Names { atoms, platform }, because);
    }

    /// The flags that the emulator is started with.
    fn arguments(&mut self, input: &PruneInput<'_>) {
        let mut words: Vec<String> =
            input.arguments.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        // A shell starts the release with the flags of its scripts, which end in the same calls.
        if let [_, flag, script, ..] = words.as_slice()
            && flag == "-c"
        {
            words = script.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned()).collect();
            words.push("-noshell".to_owned());
            self.function("elixir", "start_cli", 0, "the release's script calls it");
        }
        let shell = !words.iter().any(|word| word == "-noshell" || word == "-noinput");
        self.surroundings.shell = shell;
        self.surroundings.distribution = input.distribution;
        if input.distribution {
            // `net_kernel` makes the name of the module from the protocol's.
            let protocol =
                words.iter().position(|word| word == "-proto_dist").and_then(|at| words.get(at + 1));
            let carrier = format!("{}_dist", protocol.map_or("inet_tcp", String::as_str));
            for module in [carrier.as_str(), "net_kernel", "erl_epmd", "auth"] {
                self.add(Target::Module(module.into()), "distribution is on");
            }
        }
        for (index, word) in words.iter().enumerate() {
            let value = |offset: usize| {
                words.get(index + offset).filter(|value| !value.starts_with('-')).map(String::as_str)
            };
            match word.as_str() {
                // Everything behind it is the application's own.
                "-extra" => break,
                "-s" | "-run" => {
                    if let Some(module) = value(1) {
                        let function = value(2).unwrap_or("start");
                        for arity in 0..=1 {
                            self.function(
                                module,
                                function,
                                arity,
                                format!("the flag {word} {module} calls it"),
                            );
                        }
                    }
                }
                "-eval" => {
                    for (module, function, arity) in
                        [("erl_scan", "string", 1), ("erl_parse", "parse_exprs", 1), ("erl_eval", "exprs", 2)]
                    {
                        self.function(module, function, arity, "the flag -eval evaluates an expression");
                    }
                    self.source(value(1).unwrap_or_default(), "the expression of the flag -eval names it");
                }
                "-user" => {
                    if let Some(module) = value(1) {
                        self.add(Target::Module(module.into()), "the flag -user names it");
                    }
                }
                flag if flag.starts_with('-') => {
                    // `-APPLICATION KEY VALUE` sets a variable of the application's environment.
                    if let (Some(key), Some(text)) = (value(1), value(2)) {
                        let named = words_of(key).chain(words_of(text)).map(Atom::from).collect();
                        self.surroundings.words.extend(words_of(key).chain(words_of(text)).map(Atom::from));
                        self.add(
                            Target::Names { atoms: named, platform: false },
                            format!("the flag {flag} names it"),
                        );
                    }
                }
                _ => {}
            }
        }
    }

    /// Configuration files, and what is evaluated of them at the start.
    fn configuration(&mut self, tree: &Tree, input: &PruneInput<'_>) -> Result<(), PruneError> {
        for (path, node) in tree.below(input.version_directory) {
            if !matches!(node.kind, NodeKind::File(_)) {
                continue;
            }
            let name = path.file_name().unwrap_or_default();
            let is_config = name.ends_with(b".config") || name.ends_with(b".config.src");
            let is_script = name.ends_with(b".exs");
            if !is_config && !is_script {
                continue;
            }
            let Some((_, content)) = tree.file(path) else { continue };
            let bytes =
                content.read(MOST_BYTES).map_err(|source| PruneError::Io { path: path.clone(), source })?;
            if is_script {
                self.evaluated(&String::from_utf8_lossy(&bytes), path);
                continue;
            }
            match beam::consult(&bytes) {
                Ok(terms) => {
                    let because = format!("{path} names it");
                    for term in terms.iter().flat_map(environments) {
                        let atoms = atoms_of(term);
                        self.surroundings.words.extend(atoms.iter().cloned());
                        self.add(Target::Names { atoms, platform: false }, because.clone());
                    }
                }
                // A template whose variables are not replaced yet is no term: its words are what it may name.
                Err(_) => {
                    let text = String::from_utf8_lossy(&bytes);
                    self.source(&text, &format!("{path} names it"));
                }
            }
        }
        Ok(())
    }

    /// Elixir code that is evaluated at the start may use every function that it names, and macros.
    fn evaluated(&mut self, text: &str, path: &TreePath) {
        for module in EVALUATED {
            self.add(Target::WithMacros(module.into()), format!("{path} is evaluated at the start"));
        }
        self.source(text, &format!("{path} names it"));
        let names: BTreeSet<&str> = text
            .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
            .filter(|word| !word.is_empty())
            .collect();
        for name in names.into_iter().filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase())) {
            // `Enum.map`: the module is what stands in front of a function's name.
            let parts: Vec<&str> = name
                .split('.')
                .take_while(|part| part.starts_with(|c: char| c.is_ascii_uppercase()))
                .collect();
            let module = format!("Elixir.{}", parts.join("."));
            self.add(Target::WithMacros(module.as_str().into()), format!("{path} names it"));
        }
    }

    /// Words of a source text, as atoms.
    fn source(&mut self, text: &str, because: &str) {
        let atoms: BTreeSet<Atom> = words_of(text).map(Atom::from).collect();
        self.surroundings.words.extend(atoms.iter().cloned());
        self.add(Target::Names { atoms, platform: false }, because);
    }

    /// What the user wants to keep.
    fn kept(&mut self, input: &PruneInput<'_>, modules: &[Module], applications: &[Option<&str>]) {
        for (module, application) in modules.iter().zip(applications) {
            let fits = |pattern: &&Pattern| {
                pattern.matches(&module.name) || application.is_some_and(|name| pattern.matches(name))
            };
            if let Some(pattern) = input.keep.iter().find(fits) {
                self.add(
                    Target::WithMacros(Atom::clone(&module.name)),
                    format!("keep {pattern} asks for it"),
                );
            }
            if input.traced.contains(&*module.name) {
                self.add(Target::Module(Atom::clone(&module.name)), "a trace saw that it was loaded");
            }
        }
    }
}

/// The environments in `[{Application, Environment}]`: an application's name is often that of a module too, but as a
/// key it is none. What has another shape is taken whole.
fn environments(term: &Term) -> Vec<&Term> {
    let Some(list) = term.as_list() else { return vec![term] };
    list.iter()
        .map(|pair| match pair.as_tuple() {
            Some([Term::Atom(_), environment]) => environment,
            _ => pair,
        })
        .collect()
}

/// The words of a text that could be atoms: of `:crypto.hash` both the module and the function, of `Elixir.Enum` the
/// whole name too.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '@' | '.' | '?' | '!')))
        .map(|word| word.trim_matches('.'))
        .flat_map(|word| std::iter::once(word).chain(word.split('.').filter(move |part| *part != word)))
        .filter(|word| !word.is_empty())
}

fn atoms_of(term: &Term) -> BTreeSet<Atom> {
    fn add(term: &Term, atoms: &mut BTreeSet<Atom>) {
        match term {
            Term::Atom(name) => {
                atoms.insert(Atom::clone(name));
            }
            Term::List(elements, tail) => {
                elements.iter().for_each(|element| add(element, atoms));
                tail.iter().for_each(|tail| add(tail, atoms));
            }
            Term::Tuple(elements) => elements.iter().for_each(|element| add(element, atoms)),
            Term::Map(pairs) => pairs.iter().for_each(|(key, value)| {
                add(key, atoms);
                add(value, atoms);
            }),
            Term::Export { module, function, .. } => {
                atoms.extend([Atom::clone(module), Atom::clone(function)]);
            }
            _ => {}
        }
    }
    let mut atoms = BTreeSet::new();
    add(term, &mut atoms);
    atoms
}

fn reason(cause: &Cause, modules: &[Module]) -> Reason {
    match cause {
        Cause::Root(because) | Cause::Default(because) => Reason { because: because.clone(), by: None },
        Cause::Function { by, function, how } => {
            let caller = &modules[*by];
            let function = &caller.code.functions[*function];
            // As text it is escaped.
            let who = Import {
                module: Atom::clone(&caller.name),
                function: Atom::clone(&function.name),
                arity: function.arity,
            };
            let because = match how {
                How::Calls(import) => format!("{who} calls {import}"),
                How::Names => format!("{who} names it"),
                How::Applies(name) => {
                    let name = Term::Atom(Atom::clone(name));
                    format!("{who} calls {name} of a module that is no constant, and this one may be it")
                }
            };
            Reason { because, by: Some(caller.path.clone()) }
        }
    }
}

/// Calls of modules of which the names are made at run time, in the release's own code: a module that calls modules
/// which are no constants, and functions of it that make names.
fn unfollowed(modules: &[Module], reached: &Reached) -> Vec<UnfollowedCall> {
    let mut calls = Vec::new();
    for (index, module) in modules.iter().enumerate().filter(|(_, module)| !module.platform) {
        let functions = || {
            let all = module.code.functions.iter().enumerate();
            all.filter(|(function, _)| reached.functions.contains_key(&(index, *function)))
        };
        let applied: usize = functions().map(|(_, function)| function.applies.values().sum::<usize>()).sum();
        if applied == 0 {
            continue;
        }
        for (_, function) in functions() {
            let makers: Vec<&Import> = function
                .remote_calls
                .iter()
                .filter(|import| NAME_MAKERS.contains(&(&*import.module, &*import.function)))
                .collect();
            let Some(maker) = makers.first() else { continue };
            calls.push(UnfollowedCall {
                path: module.path.to_string(),
                module: module.name.to_string(),
                function: format!("{}/{}", function.name, function.arity),
                count: applied,
                what: format!(
                    "{maker} makes a name, and the module calls modules by names that are no constants"
                ),
            });
        }
    }
    calls
}
