//! The solver against apk-tools' own cases, as far as they are about fresh systems.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use leanfs::apk::{Checksum, Dependency, Index};
use leanfs::resolve::{Problem, Repositories, ResolveError, Want};

fn shared() -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    if !path.is_dir() {
        println!("SKIP: ../shared is absent");
        return None;
    }
    Some(path.to_owned())
}

/// A case in the form of apk-tools' test suite.
#[derive(Debug, Default)]
struct Case {
    arguments: Vec<String>,
    /// Tag and file.
    repositories: Vec<(Option<String>, String)>,
    world: Vec<String>,
    installed: bool,
    expected: String,
}

impl Case {
    fn parse(text: &str) -> Self {
        let mut case = Self::default();
        let mut expect = false;
        for line in text.lines() {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            match words.first().map(String::as_str) {
                Some("@ARGS") => case.arguments.extend_from_slice(&words[1..]),
                Some("@REPO") if words[1].starts_with('@') => {
                    case.repositories.push((Some(words[1][1..].to_owned()), words[2].clone()));
                }
                Some("@REPO") => case.repositories.push((None, words[1].clone())),
                Some("@WORLD") => case.world.extend_from_slice(&words[1..]),
                Some("@INSTALLED" | "@CACHE") => case.installed = true,
                Some("@EXPECT") => expect = true,
                _ if expect => {
                    case.expected.push_str(line);
                    case.expected.push('\n');
                }
                _ => {}
            }
        }
        case
    }

    /// Whether it is about a fresh system, and only about what is taken.
    fn is_fresh(&self) -> bool {
        !self.installed
            && self.arguments.first().is_some_and(|verb| verb == "add")
            && !self.arguments.iter().any(|argument| argument.starts_with('-'))
    }
}

/// The cases' checksums have any length: one is made of the bits that apk reads of each, as a package with the
/// same checksum is the same package. The last letter before the end of a 27-letter one has two bits too many.
fn read_index(path: &Path) -> Index {
    let text = fs_err::read_to_string(path).expect("a repository of the case");
    let mut fixed = String::new();
    for line in text.lines() {
        match line.strip_prefix("C:") {
            Some(checksum) => {
                let mut letters = checksum.trim_end_matches('=').as_bytes().to_vec();
                if let Some(last) = letters.get_mut(28) {
                    const ALPHABET: &[u8] =
                        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
                    let value = ALPHABET.iter().position(|letter| letter == last).expect("base64");
                    *last = ALPHABET[value & !0b11];
                }
                fixed.push_str(&format!("C:{}\n", Checksum::sha1_of(&letters)));
            }
            None => fixed.push_str(&format!("{line}\n")),
        }
    }
    Index::parse(&fixed).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn run(case: &Case, directory: &Path) -> String {
    let mut world: BTreeMap<String, Dependency> = BTreeMap::new();
    for text in case.world.iter().chain(&case.arguments[1..]) {
        match text.parse::<Dependency>() {
            Ok(dependency) => drop(world.insert(dependency.name.clone(), dependency)),
            Err(_) => {
                return format!(
                    "ERROR: '{text}' is not a valid world dependency, format is name(@tag)([<>~=]version)"
                );
            }
        }
    }
    let world: Vec<Dependency> = world.into_values().collect();
    let indexes: Vec<Index> =
        case.repositories.iter().map(|(_, file)| read_index(&directory.join(file))).collect();
    let mut repositories = Repositories::default().for_arch("x86_64");
    for ((tag, _), index) in case.repositories.iter().zip(&indexes) {
        repositories = repositories.with(tag.as_deref(), index);
    }
    match repositories.resolve(&world) {
        Ok(solution) => {
            let total = solution.packages.len();
            let mut text = String::new();
            for (place, package) in solution.packages.iter().enumerate() {
                let tag = match &case.repositories[package.repository].0 {
                    Some(tag) => format!("@{tag}"),
                    None => String::new(),
                };
                let entry = &package.entry;
                text.push_str(&format!(
                    "({}/{total}) Installing {}{tag} ({})\n",
                    place + 1,
                    entry.name,
                    entry.version
                ));
            }
            let size: u64 = solution.packages.iter().map(|package| package.entry.installed_size).sum();
            text + &format!("OK: {size} B in {total} packages")
        }
        Err(ResolveError::Unsatisfiable { problems }) => {
            problems.iter().fold("ERROR: unable to select packages:".to_owned(), |text, problem| {
                format!("{text}\n{}", as_apk_says(problem))
            })
        }
        Err(error) => error.to_string(),
    }
}

/// A problem in apk's words.
fn as_apk_says(problem: &Problem) -> String {
    let list = |label: &str, items: Vec<String>| match items.as_slice() {
        [] => String::new(),
        items => format!(" {label}: {}", items.join(" ")),
    };
    let wants = |wants: &[Want]| -> Vec<String> {
        wants
            .iter()
            .map(|want| format!("{}[{}]", want.package.as_deref().unwrap_or("world"), want.dependency))
            .collect()
    };
    match problem {
        Problem::NotFound { name, wanted_by } => {
            format!("{name} (no such package):{}", list("required by", wants(wanted_by)))
        }
        Problem::MustChoose { name, providers, wanted_by } => format!(
            "{name} (virtual): note: please select one of the 'provided by' packages explicitly{}{}",
            list("provided by", providers.clone()),
            list("required by", wants(wanted_by))
        ),
        Problem::Package { package, unusable, masked_in, clashes, breaks, satisfies } => {
            let clashes = clashes.iter().map(|clash| match &clash.provides {
                Some(name) => format!("{}[{name}]", clash.package),
                None => clash.package.clone(),
            });
            let unusable = unusable.as_ref().map(|reason| {
                let arch = reason.strip_prefix("it is for \"").and_then(|rest| rest.split_once('"'));
                arch.map_or(" error: uninstallable".to_owned(), |(arch, _)| {
                    format!(" error: uninstallable arch: {arch}")
                })
            });
            format!(
                "{package}:{}{}{}{}{}",
                unusable.unwrap_or_default(),
                list("masked in", masked_in.iter().map(|tag| format!("@{tag}")).collect()),
                list("conflicts", clashes.collect()),
                list("breaks", wants(breaks)),
                list("satisfies", wants(satisfies))
            )
        }
        other => other.to_string(),
    }
}

/// White space apart, which depends on the width of apk's terminal; without the warning about the index as a
/// whole.
fn normalised(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("WARNING: The indexes contain broken"));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

#[test]
fn apk_tools_own_cases_for_fresh_systems() {
    let Some(shared) = shared() else { return };
    let directory = shared.join("conformance/apk-tools/solver");
    let mut files: Vec<PathBuf> = fs_err::read_dir(&directory)
        .expect("the cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    files.sort();
    let (mut fresh, mut passed, mut failures) = (0, 0, String::new());
    for file in &files {
        let case = Case::parse(&fs_err::read_to_string(file).expect("a case"));
        if !case.is_fresh() {
            continue;
        }
        fresh += 1;
        let (found, expected) = (normalised(&run(&case, &directory)), normalised(&case.expected));
        if found == expected {
            passed += 1;
        } else {
            failures += &format!("{}\n  expected {expected}\n  found    {found}\n", file.display());
        }
    }
    println!("{passed} of {fresh} cases for fresh systems pass, of {} in all", files.len());
    assert!(fresh > 50, "the cases are not there");
    assert_eq!(failures, "");
}
