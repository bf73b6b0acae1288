//! Which modules a running release can reach, function by function.
//!
//! A release starts somewhere ([`Root`]): in its boot script, in its configuration, in what the emulator itself
//! calls. From there every function that is reached reaches the ones it calls. What plain calls miss are the modules
//! that are only values: the callback module of a supervisor's child, the formatter of a logger. For these:
//!
//! - An atom that names a module and that a reached function makes (not one that it only compares with) makes the
//!   module *known*. Of a known module, a function is reached when a reached function calls `Module:function(…)` with
//!   that name and number of arguments and a module that is no constant (so `Module:init(Arguments)` in `gen_server`
//!   reaches the callbacks), or when one function makes both atoms, the module's and the function's. Where the name
//!   of the function is no constant either, it may be every atom that the calling module makes.
//! - Names of modules that the release's own code makes, or that stand in its configuration, count more: all that
//!   the module exports is reached. In Erlang's and Elixir's own code the same would keep everything, because `file`,
//!   `code` and `error` are words there before they are modules.
//! - The implementation of a protocol for a struct is reached when some other reached function makes that struct.
//! - Functions that only compile (`MACRO-…`) are reached by direct calls alone, if at all.
//!
//! A module of which no function is reached may go.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::knowledge::{self, Condition};
use crate::beam::{Atom, Code, Import};
use crate::tree::TreePath;

/// A module, as reachability sees it.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) name: Atom,
    pub(super) path: TreePath,
    /// Whether it is Erlang's or Elixir's own.
    pub(super) platform: bool,
    /// Whether its atoms are only what it can be asked for.
    pub(super) core: bool,
    pub(super) code: Code,
}

/// Where reaching begins.
#[derive(Debug, Clone)]
pub(super) struct Root {
    pub(super) what: Target,
    /// Why, in words that follow "because": "the boot script starts it".
    pub(super) because: String,
}

/// What is reached.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// One function.
    Function(Import),
    /// Everything that a module exports, without what only compiles.
    Module(Atom),
    /// Everything that a module exports.
    WithMacros(Atom),
    /// Atoms that something makes together, as a function would: the platform's own code if `platform` is set, else
    /// the release's.
    Names {
        /// The atoms.
        atoms: BTreeSet<Atom>,
        /// Whose they are.
        platform: bool,
    },
}

/// Why a module is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// A root: the words say which.
    Root(String),
    /// A root in the platform's own configuration, to which conditions apply.
    Default(String),
    /// A function of another module.
    Function {
        /// The module, by its index.
        by: usize,
        /// The function, by its index.
        function: usize,
        /// What it does with it.
        how: How,
    },
}

/// How one function reaches another module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    /// It calls a function of it, whose name is given.
    Calls(Import),
    /// It names the module.
    Names,
    /// It calls a function of that name of a module that is no constant.
    Applies(Atom),
}

/// What was reached.
#[derive(Debug)]
pub(super) struct Reached {
    /// For each module, by its index, what reached it first.
    pub(super) modules: BTreeMap<usize, Cause>,
    /// For each function, by the indexes of its module and itself, what reached it first.
    pub(super) functions: BTreeMap<(usize, usize), Cause>,
}

type FunctionId = (usize, usize);

/// What is known of the system that will run.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// Whether a shell is started on the console.
    pub(super) shell: bool,
    /// Whether Erlang's distribution is on.
    pub(super) distribution: bool,
    /// Atoms of the release's configuration and flags.
    pub(super) words: BTreeSet<Atom>,
}

/// Follows everything from `roots` on.
pub(super) fn reach(modules: &[Module], roots: &[Root], surroundings: &Surroundings) -> Reached {
    let mut walk = Walk::new(modules, surroundings);
    for root in roots {
        walk.target(&root.what, Cause::Root(root.because.clone()));
    }
    walk.run();
    Reached { modules: walk.reached_modules, functions: walk.reached }
}

struct Walk<'a> {
    modules: &'a [Module],
    surroundings: &'a Surroundings,
    /// Conditions of modules, by their index.
    conditions: Vec<Option<Condition>>,
    /// Whether something compiles or evaluates source code.
    compiling: bool,
    /// Atoms that are made outside of the core.
    words: HashSet<&'a str>,
    /// Functions that are reached, and whose calls wait for a word.
    waiting_functions: Vec<FunctionId>,
    /// Edges that wait for a word.
    waiting: Vec<(usize, usize, Cause)>,
    by_name: HashMap<&'a str, usize>,
    exports: Vec<BTreeMap<(&'a str, u32), usize>>,
    reached: BTreeMap<FunctionId, Cause>,
    reached_modules: BTreeMap<usize, Cause>,
    queue: Vec<FunctionId>,
    /// Modules that are known as values.
    known: BTreeSet<usize>,
    /// Names and arities that are called on modules which are no constants, and who does.
    applied: BTreeMap<(&'a str, Option<u32>), FunctionId>,
    /// For each module, the atoms that its reached functions make, and the numbers of arguments of calls in which
    /// neither module nor function is a constant.
    names: Vec<BTreeSet<&'a Atom>>,
    open: Vec<BTreeSet<u32>>,
    /// Modules whose structs are made, or may be.
    structs: HashSet<usize>,
    /// Implementations of protocols that wait for the struct of a module, with the function that names them.
    unmade: HashMap<usize, Vec<(usize, FunctionId)>>,
}

impl<'a> Walk<'a> {
    fn new(modules: &'a [Module], surroundings: &'a Surroundings) -> Self {
        let exports = modules.iter().map(|module| {
            let functions = module.code.functions.iter().enumerate();
            functions
                .filter(|(_, function)| function.exported)
                .map(|(index, function)| ((&*function.name, function.arity), index))
                .collect()
        });
        Self {
            modules,
            surroundings,
            conditions: modules
                .iter()
                .map(|module| module.platform.then(|| knowledge::condition(&module.name)).flatten())
                .collect(),
            compiling: false,
            words: surroundings.words.iter().map(|word| &**word).collect(),
            waiting_functions: Vec::new(),
            waiting: Vec::new(),
            by_name: modules.iter().enumerate().map(|(index, module)| (&*module.name, index)).collect(),
            exports: exports.collect(),
            reached: BTreeMap::new(),
            reached_modules: BTreeMap::new(),
            queue: Vec::new(),
            known: BTreeSet::new(),
            applied: BTreeMap::new(),
            names: vec![BTreeSet::new(); modules.len()],
            open: vec![BTreeSet::new(); modules.len()],
            structs: HashSet::new(),
            unmade: HashMap::new(),
        }
    }

    fn run(&mut self) {
        while let Some(id) = self.queue.pop() {
            self.function(id);
        }
    }

    fn target(&mut self, target: &'a Target, cause: Cause) {
        match target {
            Target::Function(import) => {
                if let Some(&module) = self.by_name.get(&*import.module)
                    && let Some(&function) = self.exports[module].get(&(&*import.function, import.arity))
                {
                    self.reach(module, function, cause);
                }
            }
            Target::Module(name) => {
                if let Some(&module) = self.by_name.get(&**name) {
                    self.whole(module, false, &cause);
                }
            }
            Target::WithMacros(name) => {
                if let Some(&module) = self.by_name.get(&**name) {
                    self.whole(module, true, &cause);
                }
            }
            Target::Names { atoms, platform } => {
                let cause = match cause {
                    Cause::Root(because) if *platform => Cause::Default(because),
                    cause => cause,
                };
                for atom in atoms {
                    if let Some(&named) = self.by_name.get(&**atom) {
                        self.made(named);
                        if !*platform || !knowledge::is_library(atom) {
                            self.name(named, atoms, *platform, &cause);
                        }
                    }
                }
            }
        }
    }

    /// Reaches all that a module exports.
    fn whole(&mut self, module: usize, macros: bool, cause: &Cause) {
        let modules = self.modules;
        let functions = &modules[module].code.functions;
        for (index, function) in functions.iter().enumerate() {
            if function.exported && (macros || !only_compiles(&function.name)) {
                self.reach(module, index, cause.clone());
            }
        }
        // A module may have nothing but what every module has.
        self.module(module, cause.clone());
    }

    fn module(&mut self, module: usize, cause: Cause) {
        if self.reached_modules.contains_key(&module) {
            return;
        }
        self.reached_modules.insert(module, cause.clone());
        if let Some(on_load) = self.modules[module].code.on_load {
            self.reach(module, on_load, cause);
        }
    }

    fn reach(&mut self, module: usize, function: usize, cause: Cause) {
        if self.reached.contains_key(&(module, function)) || !self.happens(module, function, &cause) {
            return;
        }
        if let Entry::Vacant(entry) = self.reached.entry((module, function)) {
            entry.insert(cause.clone());
            self.queue.push((module, function));
            self.module(module, cause);
        }
    }

    fn function(&mut self, id: FunctionId) {
        let modules = self.modules;
        let (own, index) = id;
        let module = &modules[own];
        let function = &module.code.functions[index];
        let by = |how| Cause::Function { by: own, function: index, how };
        if module.platform
            && let Some(condition) = knowledge::function_condition(&module.name, &function.name)
            && !self.holds(condition)
        {
            self.waiting_functions.push(id);
            return;
        }
        for &callee in &function.calls {
            self.reach(own, callee, by(How::Names));
        }
        for import in &function.remote_calls {
            if let Some(&module) = self.by_name.get(&*import.module)
                && let Some(&function) = self.exports[module].get(&(&*import.function, import.arity))
            {
                self.reach(module, function, by(How::Calls(import.clone())));
            }
        }
        // In the platform's own code such a call is one of the atoms that the function makes.
        for name in function.open_calls.iter().filter(|_| !module.platform) {
            if let Some(&named) = self.by_name.get(&**name) {
                self.whole(named, false, &by(How::Names));
            }
        }
        for apply in function.applies.keys() {
            match &apply.function {
                Some(name) => self.applied(name, apply.arity, id),
                // The function's name is a value, too: one that the module makes somewhere, as `gen_server` does.
                None => {
                    if let Some(arity) = apply.arity
                        && self.open[own].insert(arity)
                    {
                        let names: Vec<&'a Atom> = self.names[own].iter().copied().collect();
                        for name in names {
                            self.applied(name, Some(arity), id);
                        }
                    }
                }
            }
        }
        if !function.atoms.is_empty() {
            let arities: Vec<u32> = self.open[own].iter().copied().collect();
            for name in &function.atoms {
                if self.names[own].insert(name) {
                    for &arity in &arities {
                        self.applied(name, Some(arity), id);
                    }
                }
            }
        }
        if describes(&function.name) {
            return;
        }
        if module.platform && !self.compiling && knowledge::is_door(&module.name, &function.name) {
            self.compiling = true;
            self.try_again();
        }
        for atom in &function.structs {
            if let Some(&named) = self.by_name.get(&**atom) {
                self.made(named);
            }
        }
        let protocol = is_dispatch(&function.name).then_some(&*module.name);
        for atom in &function.atoms {
            let Some(&named) = self.by_name.get(&**atom) else { continue };
            if let Some(of) = protocol.and_then(|protocol| implemented_for(atom, protocol)) {
                self.implementation(named, &of, id);
                continue;
            }
            // `struct(Module)` makes one too.
            if named != own {
                self.made(named);
            }
            if knowledge::loads_what_it_names(&module.name, &function.name) {
                self.module(named, by(How::Names));
            }
            // A library that names itself is about to be called by that name.
            if !module.platform || named == own || !knowledge::is_library(atom) {
                self.name(named, &function.atoms, module.platform, &by(How::Names));
            }
        }
        if !module.core {
            self.words_of(function);
        }
    }

    /// Atoms that are made outside of the core may be what something waits for.
    fn words_of(&mut self, function: &'a crate::beam::Function) {
        let before = self.words.len();
        self.words.extend(function.atoms.iter().map(|atom| &**atom));
        self.words.extend(function.remote_calls.iter().map(|import| &*import.module));
        if self.words.len() > before {
            self.try_again();
        }
    }

    /// What waited for a condition may not have to any more.
    fn try_again(&mut self) {
        self.queue.append(&mut self.waiting_functions);
        for (module, function, cause) in std::mem::take(&mut self.waiting) {
            self.reach(module, function, cause);
        }
    }

    fn holds(&self, condition: Condition) -> bool {
        match condition {
            Condition::Compiling => self.compiling,
            Condition::Shell => self.surroundings.shell,
            Condition::Distribution => self.surroundings.distribution,
            Condition::Words(words) => words.iter().any(|word| self.words.contains(word)),
        }
    }

    /// Whether what a function does with another module can happen. What waits for a word is remembered.
    fn happens(&mut self, module: usize, function: usize, cause: &Cause) -> bool {
        let by = match cause {
            Cause::Root(_) => return true,
            Cause::Default(_) => None,
            Cause::Function { by, function, .. } => Some((*by, *function)),
        };
        let Some(condition) = self.conditions[module] else { return true };
        let inside = match by {
            // Conditions concern what the platform's own code does.
            Some((by, _)) => {
                by == module || !self.modules[by].platform || self.conditions[by] == Some(condition)
            }
            None => false,
        };
        if inside || self.holds(condition) {
            return true;
        }
        if let Condition::Words(_) | Condition::Compiling = condition {
            self.waiting.push((module, function, cause.clone()));
        }
        false
    }

    /// The name of a module is made, together with other atoms.
    fn name(&mut self, named: usize, atoms: &'a BTreeSet<Atom>, by_platform: bool, cause: &Cause) {
        let modules = self.modules;
        // The release's own code names its modules, and Elixir's are no words of other meaning; a name of OTP may be
        // just a word.
        if !by_platform && (!modules[named].platform || modules[named].name.starts_with("Elixir.")) {
            self.whole(named, false, cause);
        }
        if self.known.insert(named) {
            let applied: Vec<_> = self.applied.iter().map(|(&call, &by)| (call, by)).collect();
            for (call, by) in applied {
                self.apply(named, call, by);
            }
        }
        let both: Vec<usize> = self.exports[named]
            .iter()
            .filter(|((name, _), _)| atoms.contains(*name))
            .map(|(_, &index)| index)
            .collect();
        for index in both {
            self.reach(named, index, cause.clone());
        }
    }

    fn applied(&mut self, name: &'a Atom, arity: Option<u32>, id: FunctionId) {
        let call = (&**name, arity);
        if describes(name) || self.applied.contains_key(&call) {
            return;
        }
        self.applied.insert(call, id);
        let known: Vec<usize> = self.known.iter().copied().collect();
        for module in known {
            self.apply(module, call, id);
        }
    }

    /// A known module, and a call of a function that it may have.
    fn apply(&mut self, module: usize, (name, arity): (&'a str, Option<u32>), by: FunctionId) {
        let functions: Vec<usize> = match arity {
            Some(arity) => self.exports[module].get(&(name, arity)).copied().into_iter().collect(),
            None => {
                let exports = self.exports[module].iter();
                exports.filter(|((export, _), _)| *export == name).map(|(_, &index)| index).collect()
            }
        };
        for function in functions {
            let how = How::Applies(name.into());
            self.reach(module, function, Cause::Function { by: by.0, function: by.1, how });
        }
    }

    fn made(&mut self, module: usize) {
        if self.structs.insert(module) {
            for (implementation, by) in self.unmade.remove(&module).unwrap_or_default() {
                self.enable(implementation, by);
            }
        }
    }

    /// A protocol names the module that implements it for `of`.
    fn implementation(&mut self, module: usize, of: &str, by: FunctionId) {
        match self.by_name.get(of) {
            Some(of_module) if !BUILT_IN.contains(&of) && !self.structs.contains(of_module) => {
                self.unmade.entry(*of_module).or_default().push((module, by));
            }
            _ => self.enable(module, by),
        }
    }

    fn enable(&mut self, implementation: usize, by: FunctionId) {
        self.whole(implementation, false, &Cause::Function { by: by.0, function: by.1, how: How::Names });
    }
}

/// The types that protocols are implemented for beside structs, as modules are named after them.
const BUILT_IN: [&str; 12] = [
    "Elixir.Atom",
    "Elixir.Tuple",
    "Elixir.List",
    "Elixir.BitString",
    "Elixir.Integer",
    "Elixir.Float",
    "Elixir.Function",
    "Elixir.PID",
    "Elixir.Map",
    "Elixir.Port",
    "Elixir.Reference",
    "Elixir.Any",
];

/// Functions of a protocol that say which module implements it.
fn is_dispatch(function: &str) -> bool {
    matches!(function, "impl_for" | "impl_for!" | "struct_impl_for")
}

/// Functions that only tell what a module, a protocol or an implementation is.
fn describes(function: &str) -> bool {
    matches!(function, "__protocol__" | "__impl__" | "__info__" | "module_info" | "behaviour_info")
}

/// The struct or type that a module implements a protocol for: `Elixir.Date.Range` for
/// `Elixir.Enumerable.Date.Range` and the protocol `Elixir.Enumerable`.
fn implemented_for(module: &str, protocol: &str) -> Option<String> {
    let name = module.strip_prefix(protocol)?.strip_prefix('.')?;
    Some(format!("Elixir.{name}"))
}

/// Whether a function only does something while something else is compiled.
fn only_compiles(function: &str) -> bool {
    function.starts_with("MACRO-")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::beam::{Apply, Function};

    fn function(name: &str, arity: u32) -> Function {
        Function {
            name: name.into(),
            arity,
            exported: true,
            calls: BTreeSet::new(),
            remote_calls: BTreeSet::new(),
            atoms: BTreeSet::new(),
            structs: BTreeSet::new(),
            open_calls: BTreeSet::new(),
            applies: BTreeMap::new(),
        }
    }

    fn import(text: &str) -> Import {
        let (module, rest) = text.split_once(':').expect("module:function/arity");
        let (function, arity) = rest.split_once('/').expect("module:function/arity");
        Import { module: module.into(), function: function.into(), arity: arity.parse().expect("a number") }
    }

    trait Does {
        fn calls(self, what: &str) -> Self;
        fn makes(self, atoms: &[&str]) -> Self;
        fn applies(self, function: Option<&str>, arity: Option<u32>) -> Self;
    }

    impl Does for Function {
        fn calls(mut self, what: &str) -> Self {
            self.remote_calls.insert(import(what));
            self
        }

        fn makes(mut self, atoms: &[&str]) -> Self {
            self.atoms.extend(atoms.iter().map(|atom| Atom::from(*atom)));
            self
        }

        fn applies(mut self, function: Option<&str>, arity: Option<u32>) -> Self {
            self.applies.insert(Apply { function: function.map(Atom::from), arity }, 1);
            self
        }
    }

    fn module(name: &str, platform: bool, functions: Vec<Function>) -> Module {
        Module {
            name: name.into(),
            path: TreePath::parse(format!("lib/{name}.beam").as_bytes()).expect("good"),
            platform,
            core: platform,
            code: Code { functions, on_load: None },
        }
    }

    fn root(text: &str) -> Root {
        Root { what: Target::Function(import(text)), because: "a test".to_owned() }
    }

    fn reached_with(modules: &[Module], roots: &[Root], surroundings: &Surroundings) -> Vec<String> {
        let reached = reach(modules, roots, surroundings);
        // Every chain of causes ends at a root.
        for &id in reached.functions.keys() {
            let mut at = id;
            for _ in 0..=reached.functions.len() {
                match &reached.functions[&at] {
                    Cause::Root(_) | Cause::Default(_) => break,
                    Cause::Function { by, function, .. } => at = (*by, *function),
                }
            }
            assert!(matches!(reached.functions[&at], Cause::Root(_) | Cause::Default(_)), "{id:?}");
        }
        let mut names: Vec<String> =
            reached.modules.keys().map(|&index| modules[index].name.to_string()).collect();
        names.sort();
        names
    }

    fn reached(modules: &[Module], roots: &[Root]) -> Vec<String> {
        reached_with(modules, roots, &Surroundings::default())
    }

    #[test]
    fn only_reached_functions_reach() {
        let modules = [
            module(
                "app",
                false,
                vec![function("start", 0).calls("kernel:used/1"), function("other", 0).calls("b:x/0")],
            ),
            module(
                "kernel",
                true,
                vec![function("used", 1), function("MACRO-unused", 2).calls("compiler:all/0")],
            ),
            module("compiler", true, vec![function("all", 0)]),
            module("b", true, vec![function("x", 0)]),
        ];
        assert_eq!(reached(&modules, &[root("app:start/0")]), ["app", "kernel"]);
        // Another number of arguments is another function.
        assert_eq!(reached(&modules, &[root("app:start/1")]), Vec::<String>::new());
        let whole = |target| reached(&modules, &[Root { what: target, because: String::new() }]);
        assert_eq!(whole(Target::Module("kernel".into())), ["kernel"]);
        assert_eq!(whole(Target::WithMacros("kernel".into())), ["compiler", "kernel"]);
    }

    #[test]
    fn callbacks_by_the_calls_of_modules_that_are_no_constants() {
        let server = |apply: Function| module("gen", true, vec![apply]);
        let callbacks = || {
            module(
                "worker",
                true,
                vec![function("init", 1).calls("deep:x/0"), function("unused", 1).calls("c:x/0")],
            )
        };
        let rest =
            || [module("deep", true, vec![function("x", 0)]), module("c", true, vec![function("x", 0)])];
        let app = || module("app", true, vec![function("start", 0).makes(&["worker"]).calls("gen:go/1")]);
        for apply in [
            function("go", 1).applies(Some("init"), Some(1)),
            // `fun Module:init/1`, and `apply(Module, init, Arguments)`.
            function("go", 1).applies(Some("init"), None),
            // `Module:Function(Argument)`, where the module makes the name.
            function("go", 1).applies(None, Some(1)).makes(&["init"]),
        ] {
            let [deep, c] = rest();
            let modules = [app(), server(apply), callbacks(), deep, c];
            assert_eq!(reached(&modules, &[root("app:start/0")]), ["app", "deep", "gen", "worker"]);
        }
        // Nobody calls it: a name alone keeps nothing of the platform's own.
        let [deep, c] = rest();
        let modules = [app(), server(function("go", 1)), callbacks(), deep, c];
        assert_eq!(reached(&modules, &[root("app:start/0")]), ["app", "gen"]);
    }

    #[test]
    fn a_module_and_its_function_together() {
        let modules = [
            module("sup", true, vec![function("init", 1).makes(&["worker", "start_link"])]),
            module("worker", true, vec![function("start_link", 2).calls("deep:x/0"), function("stop", 0)]),
            module("deep", true, vec![function("x", 0)]),
        ];
        let found = reach(&modules, &[root("sup:init/1")], &Surroundings::default());
        assert_eq!(found.modules.len(), 3);
        assert!(!found.functions.contains_key(&(1, 1)), "stop/0 is not reached");
    }

    #[test]
    fn names_in_the_releases_own_code_count_more() {
        let modules = |platform| {
            [
                module("app", platform, vec![function("start", 0).makes(&["Elixir.Plugin", "file"])]),
                module("Elixir.Plugin", true, vec![function("call", 1)]),
                module("file", true, vec![function("open", 2)]),
            ]
        };
        assert_eq!(reached(&modules(false), &[root("app:start/0")]), ["Elixir.Plugin", "app"]);
        assert_eq!(reached(&modules(true), &[root("app:start/0")]), ["app"]);
    }

    #[test]
    fn a_function_that_is_no_constant_may_be_every_one_of_its_module() {
        let mut start = function("start", 1).makes(&["tool"]);
        start.open_calls.insert("tool".into());
        let modules = [
            module("app", false, vec![start]),
            module("tool", true, vec![function("rare", 1).calls("deep:x/0")]),
            module("deep", true, vec![function("x", 0)]),
        ];
        assert_eq!(reached(&modules, &[root("app:start/1")]), ["app", "deep", "tool"]);
    }

    #[test]
    fn implementations_wait_for_their_struct() {
        let protocol = || {
            let names = ["Elixir.P.Date", "Elixir.P.Integer", "Elixir.P.Unknown"];
            module("Elixir.P", true, vec![function("impl_for", 1).makes(&names)])
        };
        let modules = |made: &[&str]| {
            let mut start = function("start", 0).calls("Elixir.P:impl_for/1");
            start.structs.extend(made.iter().map(|name| Atom::from(*name)));
            [
                module("app", true, vec![start]),
                protocol(),
                module("Elixir.P.Date", true, vec![function("do", 1).calls("Elixir.Date:x/0")]),
                module("Elixir.P.Integer", true, vec![function("do", 1)]),
                module("Elixir.P.Unknown", true, vec![function("do", 1)]),
                module("Elixir.Date", true, vec![function("x", 0)]),
            ]
        };
        // Of built-in types, and of what is no module, there may always be one.
        let without = ["Elixir.P", "Elixir.P.Integer", "Elixir.P.Unknown", "app"];
        assert_eq!(reached(&modules(&[]), &[root("app:start/0")]), without);
        assert_eq!(reached(&modules(&["Elixir.Date"]), &[root("app:start/0")]).len(), 6);
    }

    #[test]
    fn conditions_of_the_platforms_own_code() {
        let modules = |platform| {
            [
                module(
                    "app",
                    platform,
                    vec![function("start", 0).calls("shell:start/0").calls("raw_file_io_delayed:x/0")],
                ),
                module("shell", true, vec![function("start", 0)]),
                module("raw_file_io_delayed", true, vec![function("x", 0)]),
                module("later", false, vec![function("x", 0).makes(&["delayed_write"])]),
            ]
        };
        let start = [root("app:start/0")];
        assert_eq!(reached(&modules(true), &start), ["app"]);
        assert_eq!(reached(&modules(false), &start), ["app", "raw_file_io_delayed", "shell"]);
        let shell = Surroundings { shell: true, ..Surroundings::default() };
        assert_eq!(reached_with(&modules(true), &start, &shell), ["app", "shell"]);
        // A word that comes later, and one of the configuration.
        let later = [root("app:start/0"), root("later:x/0")];
        assert_eq!(reached(&modules(true), &later), ["app", "later", "raw_file_io_delayed"]);
        let words = Surroundings { words: ["delayed_write".into()].into(), ..Surroundings::default() };
        assert_eq!(reached_with(&modules(true), &start, &words), ["app", "raw_file_io_delayed"]);
        // The platform's own defaults are under the same conditions, and stay so when any word comes.
        let names = Root {
            what: Target::Names { atoms: ["raw_file_io_delayed".into(), "x".into()].into(), platform: true },
            because: "a default".to_owned(),
        };
        assert_eq!(reached(&modules(true), std::slice::from_ref(&names)), Vec::<String>::new());
        assert_eq!(reached(&modules(true), &[names, root("later:x/0")]).len(), 2);
    }

    #[test]
    fn a_door_opens_every_compiler() {
        let modules = [
            module("app", true, vec![function("start", 0).calls("elixir_dispatch:x/0")]),
            module("elixir_dispatch", true, vec![function("x", 0).calls("erl_eval:x/0")]),
            module("erl_eval", true, vec![function("x", 0)]),
            module("Elixir.Code", true, vec![function("eval_string", 3)]),
            module("late", false, vec![function("x", 0).calls("Elixir.Code:eval_string/3")]),
        ];
        assert_eq!(reached(&modules, &[root("app:start/0")]), ["app"]);
        assert_eq!(reached(&modules, &[root("app:start/0"), root("late:x/0")]).len(), 5);
    }

    #[test]
    fn what_runs_when_a_module_is_loaded() {
        let mut loaded = module("nif", true, vec![function("x", 0), function("init", 0).calls("deep:x/0")]);
        loaded.code.on_load = Some(1);
        let modules = [loaded, module("deep", true, vec![function("x", 0)])];
        assert_eq!(reached(&modules, &[root("nif:x/0")]), ["deep", "nif"]);
    }
}
