//! The code of a module, function by function: what each calls, which values it makes, what it calls without
//! saying the name.
//!
//! This is what reachability is made of. A function that is not reached reaches nothing: that `Kernel` holds macros
//! which call the compiler is no reason to keep a compiler that no running code calls.

mod instruction;

use std::collections::{BTreeMap, BTreeSet};

use self::instruction::{Instruction, Operand, op};
use super::container::{Container, Cursor};
use super::module::{Lambda, literals};
use super::{Atom, BeamError, Import, Module, Term};

/// The size of the header that tells how long it is: from there on the code begins.
const FIXED_HEADER: usize = 4;

/// The code of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Its functions, in their order.
    pub functions: Vec<Function>,
    /// The function that runs when the module is loaded (`-on_load`), as an index of `functions`.
    pub on_load: Option<usize>,
}

/// A function, as far as it can be seen without running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: Atom,
    /// How many arguments it takes.
    pub arity: u32,
    /// Whether other modules may call it.
    pub exported: bool,
    /// The functions of the module that it calls or makes values of, as indexes of [`Code::functions`].
    pub calls: BTreeSet<usize>,
    /// The functions by their full names that it calls or makes values of.
    pub remote_calls: BTreeSet<Import>,
    /// The atoms that it makes: those that it passes on, returns, or puts into tuples, lists and maps. An atom that
    /// it only compares with is none of them, nor is the key of a map.
    pub atoms: BTreeSet<Atom>,
    /// The structs that it makes: the values of `__struct__` in maps.
    pub structs: BTreeSet<Atom>,
    /// Modules of which it calls a function that is no constant.
    pub open_calls: BTreeSet<Atom>,
    /// Calls of which the module is no constant.
    pub applies: BTreeMap<Apply, usize>,
}

/// A call of which the module is no constant: `Module:function(…)`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Apply {
    /// The function, if that is a constant.
    pub function: Option<Atom>,
    /// The number of arguments, if that is known.
    pub arity: Option<u32>,
}

impl Code {
    /// Reads the code of `module`, which stands in `container`.
    ///
    /// # Errors
    /// What contradicts itself, and operations that no OTP up to 28 has.
    pub fn of(container: &Container<'_>, module: &Module) -> Result<Self, BeamError> {
        let Some(mut cursor) = container.cursor(b"Code") else {
            return Ok(Self { functions: Vec::new(), on_load: None });
        };
        let literals = literals(container)?.iter().map(Made::of).collect::<Vec<_>>();
        let lambdas = match container.cursor(b"FunT") {
            Some(chunk) => chunk.lambdas()?,
            None => Vec::new(),
        };
        skip_header(&mut cursor)?;
        Reader {
            module,
            literals,
            lambdas,
            functions: Vec::new(),
            label_owners: BTreeMap::new(),
            wanted: Vec::new(),
            on_load: None,
            last_label: None,
            registers: BTreeMap::new(),
        }
        .read(cursor)
    }
}

fn skip_header(cursor: &mut Cursor<'_>) -> Result<(), BeamError> {
    let header = cursor.u32()? as usize;
    let start = cursor.offset;
    if header < FIXED_HEADER {
        return cursor.fail("the header of the code", format!("{header} bytes"));
    }
    let version = cursor.u32()?;
    if version != 0 {
        cursor.offset = start;
        return cursor.fail("instruction set 0", version.to_string());
    }
    cursor.offset = start;
    cursor.take(header).map(drop)
}

/// The chunk `Code` without the instructions that only point into the chunk `Line`; `None` if there are none.
///
/// # Errors
/// As [`Code::of`].
pub(super) fn without_lines(container: &Container<'_>) -> Result<Option<Vec<u8>>, BeamError> {
    let Some(mut cursor) = container.cursor(b"Code") else { return Ok(None) };
    let start = cursor.offset;
    skip_header(&mut cursor)?;
    let mut kept = cursor.bytes[start..cursor.offset].to_vec();
    let mut any = false;
    while !cursor.is_at_end() {
        let instruction = cursor.instruction()?;
        if matches!(instruction.operation, op::LINE | op::EXECUTABLE_LINE | op::DEBUG_LINE) {
            any = true;
        } else {
            kept.extend_from_slice(&cursor.bytes[instruction.start..cursor.offset]);
        }
        if instruction.operation == op::INT_CODE_END {
            break;
        }
    }
    Ok(any.then_some(kept))
}

/// What a literal makes.
#[derive(Debug, Clone, Default)]
struct Made {
    atoms: BTreeSet<Atom>,
    structs: BTreeSet<Atom>,
    exports: BTreeSet<Import>,
}

impl Made {
    fn of(literal: &Term) -> Self {
        let mut made = Self::default();
        made.add(literal);
        made
    }

    /// Terms are decoded with a limit of depth.
    fn add(&mut self, term: &Term) {
        match term {
            Term::Atom(name) => {
                self.atoms.insert(Atom::clone(name));
            }
            Term::List(elements, tail) => {
                elements.iter().for_each(|element| self.add(element));
                tail.iter().for_each(|tail| self.add(tail));
            }
            Term::Tuple(elements) => elements.iter().for_each(|element| self.add(element)),
            Term::Map(pairs) => {
                for (key, value) in pairs {
                    match (key, value) {
                        (Term::Atom(key), Term::Atom(name)) if &**key == "__struct__" => {
                            self.structs.insert(Atom::clone(name));
                            self.atoms.insert(Atom::clone(name));
                        }
                        (Term::Atom(_), _) => self.add(value),
                        _ => {
                            self.add(key);
                            self.add(value);
                        }
                    }
                }
            }
            Term::Export { module, function, arity } => {
                self.exports.insert(Import {
                    module: Atom::clone(module),
                    function: Atom::clone(function),
                    arity: *arity,
                });
            }
            Term::Integer(_)
            | Term::BigInteger { .. }
            | Term::Float(_)
            | Term::Binary(_)
            | Term::BitString { .. }
            | Term::Text(_)
            | Term::Opaque(_) => {}
        }
    }
}

struct Reader<'a> {
    module: &'a Module,
    literals: Vec<Made>,
    lambdas: Vec<Lambda>,
    functions: Vec<Function>,
    label_owners: BTreeMap<u64, usize>,
    /// Labels that functions refer to: their functions may come later.
    wanted: Vec<(usize, u64)>,
    on_load: Option<usize>,
    /// The label in front of a `func_info`, which belongs to the function that begins there.
    last_label: Option<u64>,
    /// X registers that hold an atom, in the straight piece of code at hand.
    registers: BTreeMap<u64, Atom>,
}

impl Reader<'_> {
    fn read(mut self, mut cursor: Cursor<'_>) -> Result<Code, BeamError> {
        while !cursor.is_at_end() {
            let instruction = cursor.instruction()?;
            if instruction.operation == op::INT_CODE_END {
                break;
            }
            if let Err((expected, found)) = self.take(&instruction) {
                cursor.offset = instruction.start;
                return cursor.fail(expected, found);
            }
        }
        let labels: BTreeSet<u64> =
            self.module.exports.iter().map(|export| u64::from(export.label)).collect();
        for label in labels {
            if let Some(&function) = self.label_owners.get(&label) {
                self.functions[function].exported = true;
            }
        }
        for (function, label) in self.wanted {
            if let Some(&callee) = self.label_owners.get(&label)
                && callee != function
            {
                self.functions[function].calls.insert(callee);
            }
        }
        Ok(Code { functions: self.functions, on_load: self.on_load })
    }

    /// The error says what was expected, and what was found.
    fn take(&mut self, instruction: &Instruction) -> Result<(), (&'static str, String)> {
        let operands = instruction.operands.as_slice();
        match (instruction.operation, operands) {
            (op::LABEL, [Operand::Unsigned(label)]) => {
                self.registers.clear();
                self.last_label = Some(*label);
                if let Some(current) = self.functions.len().checked_sub(1) {
                    self.label_owners.insert(*label, current);
                }
                return Ok(());
            }
            (op::FUNC_INFO, [_, Operand::Atom(name), Operand::Unsigned(arity)]) => {
                let name = self.atom(*name)?;
                self.label_owners.extend(self.last_label.map(|label| (label, self.functions.len())));
                self.functions.push(Function {
                    name,
                    arity: u32::try_from(*arity).map_err(|_| ("an arity", arity.to_string()))?,
                    exported: false,
                    calls: BTreeSet::new(),
                    remote_calls: BTreeSet::new(),
                    atoms: BTreeSet::new(),
                    structs: BTreeSet::new(),
                    open_calls: BTreeSet::new(),
                    applies: BTreeMap::new(),
                });
                return Ok(());
            }
            _ => {}
        }
        let Some(current) = self.functions.len().checked_sub(1) else { return Ok(()) };
        match (instruction.operation, operands) {
            (op::ON_LOAD, _) => self.on_load = Some(current),
            (op::MOVE, [source, target]) => {
                if let Operand::X(register) = target {
                    self.registers.remove(register);
                    if let Operand::Atom(atom @ 1..) = source {
                        let atom = self.atom(*atom)?;
                        self.registers.insert(*register, atom);
                    }
                }
                return self.value(current, source);
            }
            // The module comes behind the arguments, then the function.
            (op::APPLY, [Operand::Unsigned(arity)]) | (op::APPLY_LAST, [Operand::Unsigned(arity), _]) => {
                let function =
                    arity.checked_add(1).and_then(|register| self.registers.get(&register).cloned());
                let module = self.registers.get(arity).cloned();
                let arity =
                    u32::try_from(*arity).map_err(|_| ("a number of arguments", arity.to_string()))?;
                let calls = &mut self.functions[current];
                match (module, &function) {
                    (Some(module), Some(function)) => {
                        let function = Atom::clone(function);
                        calls.remote_calls.insert(Import { module, function, arity });
                    }
                    (Some(module), None) => {
                        calls.open_calls.insert(module);
                    }
                    (None, _) => {
                        *calls.applies.entry(Apply { function, arity: Some(arity) }).or_default() += 1;
                    }
                }
            }
            (op::CALL_EXT | op::CALL_EXT_LAST | op::CALL_EXT_ONLY, [_, Operand::Unsigned(import), ..]) => {
                self.call(current, *import)?;
            }
            (op::MAKE_FUN2, [Operand::Unsigned(lambda)]) => self.lambda(current, *lambda)?,
            (op::MAKE_FUN3, [Operand::Unsigned(lambda), _, variables]) => {
                self.lambda(current, *lambda)?;
                self.value(current, variables)?;
            }
            (op::BIF1 | op::BIF2, [_, Operand::Unsigned(bif), rest @ ..])
            | (op::GC_BIF1 | op::GC_BIF2 | op::GC_BIF3, [_, _, Operand::Unsigned(bif), rest @ ..]) => {
                if !self.compares(*bif) {
                    rest.iter().try_for_each(|operand| self.value(current, operand))?;
                }
            }
            (op::PUT_MAP_ASSOC | op::PUT_MAP_EXACT, [_, map, _, _, Operand::List(pairs)]) => {
                self.value(current, map)?;
                for pair in pairs.chunks(2) {
                    let [key, value] = pair else { continue };
                    match (key, value) {
                        (Operand::Atom(key @ 1..), Operand::Atom(name @ 1..))
                            if &*self.atom(*key)? == "__struct__" =>
                        {
                            let name = self.atom(*name)?;
                            self.functions[current].structs.insert(name);
                        }
                        (Operand::Atom(_), _) => {}
                        _ => self.value(current, key)?,
                    }
                    self.value(current, value)?;
                }
            }
            // What is only compared with, and what only names a key, a type or a kind.
            (op::FIRST_COMPARISON..=op::LAST_COMPARISON, _)
            | (
                op::SELECT_VAL
                | op::CASE_END
                | op::HAS_MAP_FIELDS
                | op::GET_MAP_ELEMENTS
                | op::IS_TAGGED_TUPLE
                | op::BS_CREATE_BIN
                | op::CALL_FUN2
                | op::BS_MATCH
                | op::LINE
                | op::EXECUTABLE_LINE
                | op::DEBUG_LINE,
                _,
            ) => {}
            (op::MAKE_FUN, _) => {}
            _ => operands.iter().try_for_each(|operand| self.value(current, operand))?,
        }
        self.labels(current, operands);
        // Whatever an instruction has to do with may be different afterwards.
        match instruction.operation {
            4..=8 | 75 | op::CALL_EXT_ONLY | op::APPLY | op::APPLY_LAST | op::CALL_FUN2 => {
                self.registers.clear()
            }
            _ => self.forget(operands),
        }
        Ok(())
    }

    fn forget(&mut self, operands: &[Operand]) {
        for operand in operands {
            match operand {
                Operand::X(register) => {
                    self.registers.remove(register);
                }
                Operand::List(list) => self.forget(list),
                _ => {}
            }
        }
    }

    /// Labels of other functions are calls; those of the own are jumps.
    fn labels(&mut self, current: usize, operands: &[Operand]) {
        for operand in operands {
            if let Operand::Label(label @ 1..) = operand
                && self.label_owners.get(label) != Some(&current)
            {
                self.wanted.push((current, *label));
            }
        }
    }

    fn call(&mut self, current: usize, import: u64) -> Result<(), (&'static str, String)> {
        let import = self.import(import)?.clone();
        // Functions that call the function named by their second argument, of the module that is the first.
        let applies = &*import.module == "erlang"
            && matches!(
                (&*import.function, import.arity),
                ("apply" | "make_fun" | "spawn" | "spawn_link" | "spawn_monitor", 3) | ("spawn_opt", 4)
            );
        if applies {
            let (module, function) = (self.registers.get(&0).cloned(), self.registers.get(&1).cloned());
            let calls = &mut self.functions[current];
            match (module, &function) {
                // Both atoms are made here, which is what tells.
                (Some(_), Some(_)) => {}
                (Some(module), None) => {
                    calls.open_calls.insert(module);
                }
                (None, _) => *calls.applies.entry(Apply { function, arity: None }).or_default() += 1,
            }
        }
        self.functions[current].remote_calls.insert(import);
        Ok(())
    }

    fn import(&self, number: u64) -> Result<&Import, (&'static str, String)> {
        let imports = &self.module.imports;
        usize::try_from(number)
            .ok()
            .and_then(|index| imports.get(index))
            .ok_or_else(|| ("the number of an import", format!("{number} of {}", imports.len())))
    }

    fn lambda(&mut self, current: usize, number: u64) -> Result<(), (&'static str, String)> {
        let found = usize::try_from(number).ok().and_then(|index| self.lambdas.get(index));
        match found {
            Some(lambda) => {
                self.wanted.push((current, u64::from(lambda.label)));
                Ok(())
            }
            None => Err(("the number of a lambda", format!("{number} of {}", self.lambdas.len()))),
        }
    }

    /// Whether a function of guards only compares its arguments.
    fn compares(&self, import: u64) -> bool {
        const COMPARISONS: [&str; 9] = ["=:=", "==", "=/=", "/=", "<", ">", "=<", ">=", "is_map_key"];
        self.import(import).is_ok_and(|import| COMPARISONS.contains(&&*import.function))
    }

    fn atom(&self, number: u64) -> Result<Atom, (&'static str, String)> {
        let atoms = &self.module.atoms;
        usize::try_from(number)
            .ok()
            .and_then(|number| atoms.get(number.checked_sub(1)?))
            .cloned()
            .ok_or_else(|| ("the number of an atom", format!("{number} of {}", atoms.len())))
    }

    /// What an operand makes that goes somewhere.
    fn value(&mut self, current: usize, operand: &Operand) -> Result<(), (&'static str, String)> {
        match operand {
            Operand::Atom(number @ 1..) => {
                let atom = self.atom(*number)?;
                self.functions[current].atoms.insert(atom);
            }
            Operand::Literal(number) => {
                let found = usize::try_from(*number).ok().and_then(|index| self.literals.get(index));
                let Some(made) = found else {
                    return Err(("the number of a literal", format!("{number} of {}", self.literals.len())));
                };
                let function = &mut self.functions[current];
                function.atoms.extend(made.atoms.iter().cloned());
                function.structs.extend(made.structs.iter().cloned());
                function.remote_calls.extend(made.exports.iter().cloned());
            }
            Operand::List(list) => list.iter().try_for_each(|operand| self.value(current, operand))?,
            _ => {}
        }
        Ok(())
    }
}
