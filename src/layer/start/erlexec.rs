//! What `erlexec` does with a command line before it runs the emulator, in our own words: environment
//! variables and argument files are merged in, flags of the emulator (`+S 4`) are separated from those of
//! `init` and get a `-`, and the whole is put into the order that the emulator expects:
//!
//! ```text
//! beam.smp EMULATOR-FLAGS -- -root R -bindir B -progname P -- -home H -- INIT-FLAGS [-extra …]
//! ```
//!
//! Documented at <https://www.erlang.org/doc/apps/erts/erl_cmd.html>; what is not documented was found by
//! running `erlexec` of OTP 25 and 27 with a program in place of the emulator, as `tests/it/start.rs` does.
//! The `--` that separate flags of different sources mean nothing to `init`; they are put where the `erlexec`
//! of the same OTP puts them (26 like 25, 28 like 27).

use std::collections::BTreeMap;

/// The deepest nesting of argument files; `erlexec` itself has no limit and no end.
const MOST_NESTING: usize = 32;
/// The most arguments in all.
const MOST_ARGUMENTS: usize = 16_384;
/// The ERTS of OTP 27, the first that is known to treat `-extra` and `--` in the newer way.
const NEWER_ERTS: u32 = 15;

/// A command line that `erlexec` would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlagError {
    /// A flag without its value.
    #[error("the flag {flag} wants a value")]
    NoValue {
        /// The flag, escaped.
        flag: String,
    },
    /// A flag or a value that is refused.
    #[error("the flag {flag}: {reason}")]
    Refused {
        /// The flag, escaped.
        flag: String,
        /// Why.
        reason: &'static str,
    },
    /// An argument file that can't be read.
    #[error("the arguments file {path}: {reason}")]
    File {
        /// The file, escaped.
        path: String,
        /// Why.
        reason: String,
    },
    /// More than leanfs takes.
    #[error("{0}")]
    TooMany(&'static str),
}

fn shown(word: &[u8]) -> String {
    word.escape_ascii().to_string()
}

/// Splits the text of an argument file (`comments`) or of a variable like `ERL_FLAGS` into arguments: white
/// space separates, a backslash takes the next byte as it is, quotes of either kind take everything between
/// them as it is, `#` starts a comment, in a word too.
pub(super) fn split(text: &[u8], comments: bool) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    // C strings end at the first NUL.
    let mut rest = text.split(|&byte| byte == 0).next().unwrap_or_default().iter().copied().peekable();
    let mut word: Option<Vec<u8>> = None;
    while let Some(byte) = rest.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => words.extend(word.take()),
            b'#' if comments => {
                words.extend(word.take());
                while rest.next_if(|&byte| byte != b'\n').is_some() {}
            }
            b'"' | b'\'' => {
                let word = word.get_or_insert_default();
                word.extend(std::iter::from_fn(|| rest.next_if(|&inside| inside != byte)));
                rest.next();
            }
            b'\\' => word.get_or_insert_default().extend(rest.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// Reads an argument file, or says why it can't.
type ReadFile<'a> = dyn Fn(&[u8]) -> Result<Vec<u8>, String> + 'a;

/// What an argument list and its sources are merged from.
pub(super) struct Sources<'a> {
    /// The environment: `ERL_AFLAGS`, `ERL_FLAGS`, `ERL_ZFLAGS` and `ERL_OTPnn_FLAGS` count.
    pub(super) env: &'a BTreeMap<String, String>,
    /// The major version of ERTS.
    pub(super) erts_major: u32,
    /// Reads an argument file.
    pub(super) read: &'a ReadFile<'a>,
}

/// A merged argument list: what comes before `-extra`, and what after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) flags: Vec<Vec<u8>>,
    pub(super) extra: Option<Vec<Vec<u8>>>,
}

const SEPARATOR: &[u8] = b"--";

/// Merges the command line with the environment's flags, and expands argument files.
pub(super) fn merge(command_line: &[Vec<u8>], sources: &Sources<'_>) -> Result<Merged, FlagError> {
    let newer = sources.erts_major >= NEWER_ERTS;
    let variable =
        |name: &str| sources.env.get(name).map(|text| split(text.as_bytes(), false)).unwrap_or_default();
    let before = [variable(&format!("ERL_OTP{}_FLAGS", sources.erts_major + 12)), variable("ERL_AFLAGS")];
    let after = [variable("ERL_FLAGS"), variable("ERL_ZFLAGS")];

    let own_flags = command_line.iter().take_while(|word| *word != b"-extra");
    let untouched = before.iter().chain(&after).all(Vec::is_empty)
        && !own_flags.clone().any(|word| word == b"-args_file");
    if untouched && !newer {
        let flags: Vec<Vec<u8>> = own_flags.cloned().collect();
        let extra = command_line.get(flags.len() + 1..).map(<[_]>::to_vec);
        return Ok(Merged { flags, extra });
    }

    let mut merging = Merging { sources, newer, flags: Vec::new(), extra: Vec::new(), count: 0 };
    for words in before {
        merging.variable(words)?;
    }
    if !command_line.is_empty() {
        let had_extra = merging.list(command_line, 0)?;
        if had_extra && newer {
            merging.flag(SEPARATOR.to_vec())?;
        }
        merging.flag(SEPARATOR.to_vec())?;
    }
    for words in after {
        merging.variable(words)?;
    }
    let extra = (!merging.extra.is_empty()).then_some(merging.extra);
    Ok(Merged { flags: merging.flags, extra })
}

struct Merging<'a> {
    sources: &'a Sources<'a>,
    newer: bool,
    flags: Vec<Vec<u8>>,
    extra: Vec<Vec<u8>>,
    count: usize,
}

impl Merging<'_> {
    fn flag(&mut self, word: Vec<u8>) -> Result<(), FlagError> {
        self.count += 1;
        if self.count > MOST_ARGUMENTS {
            return Err(FlagError::TooMany("there are more than 16,384 arguments"));
        }
        self.flags.push(word);
        Ok(())
    }

    /// Takes a list of arguments; says whether it ended with `-extra`.
    fn list(&mut self, words: &[Vec<u8>], nesting: usize) -> Result<bool, FlagError> {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_slice() {
                b"-args_file" => {
                    let Some(path) = words.next() else {
                        return Err(FlagError::NoValue { flag: "-args_file".to_owned() });
                    };
                    self.file(path, nesting + 1)?;
                }
                b"-extra" => {
                    self.count += words.len();
                    self.extra.extend(words.cloned());
                    return Ok(true);
                }
                _ => self.flag(word.clone())?,
            }
        }
        Ok(false)
    }

    /// A file's arguments and a separator, which an older `erlexec` takes for one of the arguments.
    fn file(&mut self, path: &[u8], nesting: usize) -> Result<(), FlagError> {
        if nesting > MOST_NESTING {
            return Err(FlagError::TooMany("arguments files are nested more than 32 deep"));
        }
        let text =
            (self.sources.read)(path).map_err(|reason| FlagError::File { path: shown(path), reason })?;
        let words = split(&text, true);
        if words.is_empty() {
            return Ok(());
        }
        let had_extra = self.list(&words, nesting)?;
        match (had_extra, self.newer) {
            (false, _) => self.flag(SEPARATOR.to_vec()),
            (true, false) => {
                self.extra.push(SEPARATOR.to_vec());
                Ok(())
            }
            (true, true) => Ok(()),
        }
    }

    fn variable(&mut self, words: Vec<Vec<u8>>) -> Result<(), FlagError> {
        if words.is_empty() {
            return Ok(());
        }
        if self.list(&words, 0)? && !self.newer {
            self.extra.push(SEPARATOR.to_vec());
            return Ok(());
        }
        self.flag(SEPARATOR.to_vec())
    }
}

/// What `erlexec` makes of a merged argument list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Translated {
    /// The emulator's file name.
    pub(super) emulator: String,
    /// For the emulator: `-S`, `4` …
    pub(super) emulator_flags: Vec<Vec<u8>>,
    /// For `init`, with `-extra` and what follows it.
    pub(super) init_flags: Vec<Vec<u8>>,
    /// From `-env`.
    pub(super) env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether `-name` or `-sname` is there.
    pub(super) distributed: bool,
    /// Whether a distributed node wants `epmd`.
    pub(super) epmd: bool,
    /// Whether it asks to run in the background.
    pub(super) detached: bool,
}

/// Flags that take a value if nothing else is attached to them.
const WITH_VALUE: [&str; 24] = [
    "a", "A", "C", "e", "i", "n", "P", "Q", "t", "T", "R", "W", "K", "S", "SP", "SDcpu", "SDPcpu", "SDio",
    "pc", "IOt", "IOp", "IOs", "IOPt", "IOPp",
];
/// What may stand at the start of flags of two families; anything else is refused.
const SCHEDULER_COUNTS: [&str; 3] = ["SDcpu", "SDPcpu", "SDio"];
const POLLING: [&str; 5] = ["IOt", "IOp", "IOs", "IOPt", "IOPp"];
/// After `+s`.
const SCHEDULER: [&str; 19] = [
    "bt", "bwtdcpu", "bwtdio", "bwt", "cl", "ct", "ecio", "fwi", "tbt", "wct", "wtdcpu", "wtdio", "wt", "ws",
    "ss", "ssdcpu", "ssdio", "pp", "ub",
];
/// After `+h`.
const HEAP: [&str; 8] = ["", "ms", "mbs", "pds", "max", "maxk", "maxel", "mqd"];
/// After `+z`.
const MISCELLANEOUS: [&str; 4] = ["dbbl", "dntgc", "ebwt", "osrl"];
/// The letters of the allocators, after `+M`; `u` means all of them.
const ALLOCATORS: &str = "uBIDEFHLRSTZ";
/// After `+M` and an allocator's letter.
const ALLOCATOR: [&str; 23] = [
    "as", "asbcst", "atags", "acul", "acful", "acnl", "acfml", "cp", "e", "t", "lmbcs", "mbcgs", "mbsd",
    "mmbcs", "mmmbc", "mmsbc", "msbclt", "ramv", "rmbcmt", "rsbcmt", "rsbcst", "sbct", "smbcs",
];
/// After `+M`.
const MEMORY: [&str; 21] = [
    "ea", "ummc", "uycs", "usac", "im", "is", "lpm", "Mamcbf", "Mrmcbf", "Mmcs", "Mscs", "Mscrfsd", "Msco",
    "Mscrpm", "Ye", "Ym", "Ytp", "Ytt", "Iscs", "Xscs", "dai",
];
/// Whole flags that came with OTP 27.
const NEWER: [&str; 3] = ["hmaxib", "zhft", "MMlp"];

/// Whether a flag of the emulator, without its `+`, takes the next argument as its value.
fn takes_value(flag: &str, erts_major: u32) -> bool {
    let after = |length: usize| flag.get(length..).unwrap_or_default();
    if erts_major >= NEWER_ERTS && NEWER.contains(&flag) {
        return true;
    }
    match flag.as_bytes().first() {
        Some(b'J') => true,
        Some(b's') => SCHEDULER.contains(&after(1)),
        Some(b'h') => HEAP.contains(&after(1)),
        Some(b'z') => MISCELLANEOUS.contains(&after(1)),
        Some(b'r') => after(1) == "g",
        Some(b'M') => {
            MEMORY.contains(&after(1))
                || flag.chars().nth(1).is_some_and(|letter| ALLOCATORS.contains(letter))
                    && ALLOCATOR.contains(&after(2))
        }
        _ => WITH_VALUE.contains(&flag),
    }
}

/// Separates the emulator's flags from `init`'s.
pub(super) fn translate(merged: Merged, erts_major: u32) -> Result<Translated, FlagError> {
    let mut result = Translated {
        emulator: String::new(),
        emulator_flags: Vec::new(),
        init_flags: Vec::new(),
        env: Vec::new(),
        distributed: false,
        epmd: true,
        detached: false,
    };
    let (mut emulator_type, mut flavor, mut no_epmd, mut protocol) = (None, None, false, false);
    let mut words = merged.flags.into_iter().peekable();
    while let Some(word) = words.next() {
        let no_value = || FlagError::NoValue { flag: shown(&word) };
        let refuse = |reason| FlagError::Refused { flag: shown(&word), reason };
        // The end of one source's flags is no value.
        let mut value = || words.next_if(|next| next != SEPARATOR).ok_or_else(no_value);
        let mut init = |more: &[&[u8]]| result.init_flags.extend(more.iter().map(|word| word.to_vec()));
        if let Some(flag) = word.strip_prefix(b"+") {
            result.emulator_flags.push([b"-", flag].concat());
            // No known flag has other bytes.
            let flag = std::str::from_utf8(flag).unwrap_or_default();
            let unknown_of = |first: char, known: &[&str], longer: bool| {
                flag.starts_with(first) && longer && !known.iter().any(|known| flag.starts_with(known))
            };
            if unknown_of('S', &SCHEDULER_COUNTS, flag.starts_with("SD")) || unknown_of('I', &POLLING, true) {
                return Err(refuse("the emulator has no such flag"));
            }
            let value = match flag {
                "B" => words.next_if(|next| matches!(next.as_slice(), b"i" | b"c" | b"d")),
                "c" => words.next_if(|next| matches!(next.as_slice(), b"true" | b"false")),
                _ if flag.starts_with('B') => {
                    if !flag.starts_with("Bi") && !flag.starts_with("Bc") && !flag.starts_with("Bd") {
                        return Err(refuse("only i, c or d may follow"));
                    }
                    None
                }
                _ if takes_value(flag, erts_major) => Some(value()?),
                _ => None,
            };
            result.emulator_flags.extend(value);
            continue;
        }
        match word.as_slice() {
            b"-detached" => {
                result.detached = true;
                init(&[b"-noshell", b"-noinput"]);
            }
            b"-noinput" => init(&[b"-noshell", b"-noinput"]),
            b"-env" => {
                let name = value()?;
                result.env.push((name, value()?));
            }
            b"-epmd" => {
                value()?;
            }
            b"-name" | b"-sname" => {
                result.distributed = true;
                let name = value()?;
                init(&[&word, &name]);
            }
            b"-start_epmd" => {
                let value = value()?;
                result.epmd = match value.as_slice() {
                    b"true" => true,
                    b"false" => false,
                    _ => return Err(refuse("its value is true or false")),
                };
                init(&[&word, &value]);
            }
            b"-no_epmd" => {
                no_epmd = true;
                init(&[&word]);
            }
            b"-emu_type" | b"-emu_flavor" => {
                let value = words.peek().filter(|next| *next != SEPARATOR).cloned().ok_or_else(no_value)?;
                let value = String::from_utf8(value).map_err(|_| refuse("its value is no name"))?;
                if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                    return Err(refuse("its value is no name"));
                }
                *(if word == b"-emu_type" { &mut emulator_type } else { &mut flavor }) = Some(value);
                init(&[&word]);
            }
            b"-smp" if words.peek().is_some_and(|next| next == b"disable") => {
                return Err(refuse("it is not supported: use +S 1"));
            }
            b"-smpdisable" => return Err(refuse("it is not supported: use +S 1")),
            b"-emu_args" | b"-keep_window" => {}
            b"-man"
            | b"-make"
            | b"-compile"
            | b"-version"
            | b"-emu_args_exit"
            | b"-emu_name_exit"
            | b"-emu_qouted_cmd_exit" => {
                return Err(refuse("with it the emulator would not run the release"));
            }
            other => {
                protocol |= other == b"-proto_dist";
                init(&[other]);
            }
        }
    }
    if no_epmd {
        if !protocol {
            return Err(FlagError::Refused {
                flag: "-no_epmd".to_owned(),
                reason: "it wants -proto_dist beside it",
            });
        }
        result.epmd = false;
    }
    if let Some(extra) = merged.extra {
        result.init_flags.push(b"-extra".to_vec());
        result.init_flags.extend(extra);
    }
    // The usual type is `opt`, and the usual flavor `jit`, where it exists: neither is in the name.
    let part = |value: Option<String>, usual: &str| {
        value.filter(|value| value != usual).map(|value| format!(".{value}")).unwrap_or_default()
    };
    result.emulator = format!("beam{}{}.smp", part(emulator_type, "opt"), part(flavor, "jit"));
    Ok(result)
}

#[cfg(test)]
mod tests;
