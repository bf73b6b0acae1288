//! What is known of a module's code, as bytes for the cache: each atom once, everything else by its place.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::beam::{Apply, Atom, Code, Function, Import};

#[derive(Serialize, Deserialize)]
struct Facts<'a> {
    #[serde(borrow)]
    atoms: Vec<&'a str>,
    /// The module's name.
    name: u32,
    on_load: Option<u32>,
    functions: Vec<Fact>,
}

#[derive(Serialize, Deserialize)]
struct Fact {
    name: u32,
    arity: u32,
    exported: bool,
    calls: Vec<u32>,
    remote_calls: Vec<(u32, u32, u32)>,
    atoms: Vec<u32>,
    structs: Vec<u32>,
    open_calls: Vec<u32>,
    applies: Vec<(Option<u32>, Option<u32>, u32)>,
}

/// The atoms of a module, each once.
#[derive(Default)]
struct Atoms<'a> {
    all: Vec<&'a str>,
    places: HashMap<&'a str, u32>,
}

impl<'a> Atoms<'a> {
    fn place(&mut self, atom: &'a str) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        *self.places.entry(atom).or_insert_with(|| {
            self.all.push(atom);
            next
        })
    }
}

/// A module's name and code as bytes; `None` if it has more of something than 2³² − 1.
pub(super) fn encode(name: &Atom, code: &Code) -> Option<Vec<u8>> {
    let mut atoms = Atoms::default();
    let name = atoms.place(name);
    let small = |number: usize| u32::try_from(number).ok();
    let functions = code.functions.iter().map(|function| {
        Some(Fact {
            name: atoms.place(&function.name),
            arity: function.arity,
            exported: function.exported,
            calls: function.calls.iter().map(|&call| small(call)).collect::<Option<_>>()?,
            remote_calls: (function.remote_calls.iter())
                .map(|call| (atoms.place(&call.module), atoms.place(&call.function), call.arity))
                .collect(),
            atoms: function.atoms.iter().map(|atom| atoms.place(atom)).collect(),
            structs: function.structs.iter().map(|atom| atoms.place(atom)).collect(),
            open_calls: function.open_calls.iter().map(|atom| atoms.place(atom)).collect(),
            applies: (function.applies.iter())
                .map(|(apply, &count)| {
                    Some((apply.function.as_ref().map(|name| atoms.place(name)), apply.arity, small(count)?))
                })
                .collect::<Option<_>>()?,
        })
    });
    let functions = functions.collect::<Option<_>>()?;
    let on_load = match code.on_load {
        Some(function) => Some(small(function)?),
        None => None,
    };
    postcard::to_allocvec(&Facts { atoms: atoms.all, name, on_load, functions }).ok()
}

/// The other way; `None` if the bytes are something else.
pub(super) fn decode(bytes: &[u8]) -> Option<(Atom, Code)> {
    let facts: Facts<'_> = postcard::from_bytes(bytes).ok()?;
    let atoms: Vec<Atom> = facts.atoms.iter().map(|&atom| Atom::from(atom)).collect();
    let atom = |place: u32| atoms.get(place as usize).cloned();
    let all = |places: &[u32]| places.iter().map(|&place| atom(place)).collect::<Option<_>>();
    let count = facts.functions.len();
    let function_place = |place: u32| Some(place as usize).filter(|&place| place < count);
    let functions = facts.functions.iter().map(|fact| {
        let applies = fact.applies.iter().map(|&(function, arity, count)| {
            let function = match function {
                Some(place) => Some(atom(place)?),
                None => None,
            };
            Some((Apply { function, arity }, count as usize))
        });
        let remote_calls = fact.remote_calls.iter().map(|&(module, function, arity)| {
            Some(Import { module: atom(module)?, function: atom(function)?, arity })
        });
        Some(Function {
            name: atom(fact.name)?,
            arity: fact.arity,
            exported: fact.exported,
            calls: fact.calls.iter().map(|&call| function_place(call)).collect::<Option<_>>()?,
            remote_calls: remote_calls.collect::<Option<_>>()?,
            atoms: all(&fact.atoms)?,
            structs: all(&fact.structs)?,
            open_calls: all(&fact.open_calls)?,
            applies: applies.collect::<Option<BTreeMap<_, _>>>()?,
        })
    });
    let functions = functions.collect::<Option<_>>()?;
    let on_load = match facts.on_load {
        Some(place) => Some(function_place(place)?),
        None => None,
    };
    Some((atom(facts.name)?, Code { functions, on_load }))
}
