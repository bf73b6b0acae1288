//! The solver against apk-tools' own cases, as far as they are about fresh systems.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::apk::index::IndexArchive;
use leanfs::apk::{Checksum, Dependency, Index};
use leanfs::resolve::{Problem, Repositories, ResolveError, Selected, Want, resolve};

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
    let indexes: Vec<Index> =
        case.repositories.iter().map(|(_, file)| read_index(&directory.join(file))).collect();
    run_on(case, &indexes)
}

/// What apk would say.
fn run_on(case: &Case, indexes: &[Index]) -> String {
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
    let mut repositories = Repositories::default().for_arch("x86_64");
    for ((tag, _), index) in case.repositories.iter().zip(indexes) {
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
    // Numbers are padded: `( 1/10)`.
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ").replace("( ", "(")
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

/// Numbers that look random and are the same everywhere: xorshift64 (Marsaglia, 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("below the limit")
    }
}

/// Without the sum at the end, which apk gives in MiB, and without an order: who requires something, and what
/// comes by `install_if` after the same package, apk lists in the order of its hash table.
fn comparable(text: &str) -> Vec<String> {
    let text = text.split(" OK: ").next().unwrap_or_default();
    let mut words: Vec<String> = if text.starts_with("ERROR:") {
        text.split(' ').map(str::to_owned).collect()
    } else {
        // `(1/2) Installing a (1) (2/2) Installing b (1)`
        let packages = text.split(") Installing ").skip(1);
        packages.map(|package| package.split(") (").next().unwrap_or_default().replace(')', "")).collect()
    };
    words.sort_unstable();
    words
}

/// Sets of packages of Alpine 3.16's `main`, chosen by chance: the same packages, or the same reasons why not.
/// `LEANFS_RESOLVE_SETS` says how many sets, 20 by default.
#[test]
fn the_real_apk_chooses_the_same() {
    let Some(shared) = shared() else { return };
    let Some(apk) = super::apk_formats::real_apk() else { return };
    let sets = std::env::var("LEANFS_RESOLVE_SETS").map_or(20, |text| text.parse().expect("a number"));
    let file = shared.join("real/v2/alpine-316/APKINDEX.tar.gz");
    let bytes = fs_err::read(&file).expect("an index");
    let index = IndexArchive::open(&bytes).expect("whole").index().expect("readable");
    let directory = tempfile::tempdir().expect("a directory");
    let (root, repository) = (directory.path().join("root"), directory.path().join("main/x86_64"));
    fs_err::create_dir_all(&repository).expect("made");
    fs_err::create_dir_all(&root).expect("made");
    fs_err::write(repository.join("APKINDEX.tar.gz"), &bytes).expect("written");

    let names: Vec<String> = index
        .entries
        .iter()
        .flat_map(|entry| {
            let provided = entry.provides.iter().map(|provided| provided.name.clone());
            std::iter::once(entry.name.clone()).chain(provided)
        })
        .collect();
    let run_apk = |verb: &[&str], arguments: &[String]| {
        Command::new(&apk)
            .args(["--root".as_ref(), root.as_os_str()])
            .args([
                "--arch",
                "x86_64",
                "--no-cache",
                "--allow-untrusted",
                "--repositories-file",
                "/dev/null",
                "-X",
            ])
            .arg(directory.path().join("main"))
            .args(verb)
            .args(arguments)
            .output()
            .expect("apk runs")
    };
    // As root, apk installs as root does.
    let usermode = if rustix::process::geteuid().is_root() { "--progress=no" } else { "--usermode" };
    assert!(run_apk(&["add", "--initdb", usermode], &[]).status.success(), "an empty system");
    let mut numbers = Numbers(0x0001_eaf5);
    let mut differences = String::new();
    for _ in 0..sets {
        let mut case = Case::default();
        case.arguments.push("add".to_owned());
        for _ in 0..=numbers.below(6) {
            case.arguments.push(names[numbers.below(names.len())].clone());
        }
        // Without it, most sets fail for want of a shell.
        if numbers.below(3) > 0 {
            case.arguments.push("busybox".to_owned());
        }
        case.repositories.push((None, String::new()));
        let output = run_apk(&["add", "--simulate"], &case.arguments[1..]);
        let text = [output.stdout, output.stderr].concat();
        let expected = normalised(&String::from_utf8_lossy(&text));
        let found = normalised(&run_on(&case, std::slice::from_ref(&index)));
        if comparable(&found) != comparable(&expected) {
            differences += &format!("{:?}\n  expected {expected}\n  found    {found}\n", case.arguments);
        }
    }
    assert_eq!(differences, "");
}

/// An index of packages, each given as `name version` and further fields, with `|` between.
fn index(packages: &[&str]) -> Index {
    let mut text = String::new();
    for package in packages {
        let mut fields = package.split('|');
        let (name, version) =
            fields.next().and_then(|first| first.split_once(' ')).expect("a name and a version");
        text += &format!("C:{}\nP:{name}\nV:{version}\nI:1\n", Checksum::sha1_of(package.as_bytes()));
        text.extend(fields.map(|field| format!("{field}\n")));
        text.push('\n');
    }
    Index::parse(&text).expect("a good index")
}

fn world(texts: &[&str]) -> Vec<Dependency> {
    texts.iter().map(|text| text.parse().expect("a good dependency")).collect()
}

fn names(packages: &[Selected]) -> Vec<&str> {
    packages.iter().map(|package| package.entry.name.as_str()).collect()
}

/// Alpine in small.
fn alpine() -> Index {
    index(&[
        "musl 1.2.5-r23|p:so:libc.musl-x86_64.so.1=1",
        "busybox 1.37.0-r30|D:so:libc.musl-x86_64.so.1|p:cmd:busybox=1.37.0-r30",
        "busybox-binsh 1.37.0-r30|D:busybox=1.37.0-r30|p:/bin/sh cmd:sh=1.37.0-r30|k:100",
        "busybox-openrc 1.37.0-r30|i:openrc busybox",
        "dash-binsh 0.5|p:/bin/sh|k:60",
        "openrc 0.63|D:/bin/sh",
        "zlib 1.3.1-r2|D:so:libc.musl-x86_64.so.1|p:so:libz.so.1=1.3.1",
        "zlib 1.2.0-r0|p:so:libz.so.1=1.2.0",
        "erlang27 27.3.4.1-r0|D:/bin/sh so:libz.so.1|p:erlang=127",
        "needs-lost 1|D:so:liblost.so.7",
        "above 1|D:needs-lost",
        "no-zlib 1|D:!zlib",
        "old-zlib 1|D:zlib<1.3",
        "new-zlib 1|D:zlib>=1.3",
        "choice-a 1|p:choice",
        "choice-b 1|p:choice",
    ])
}

#[test]
fn dependencies_come_first_and_each_package_has_its_reason() {
    let solution = resolve(&world(&["erlang>26", "so:libz.so.1"]), &[alpine()]).expect("possible");
    let order = names(&solution.packages);
    assert_eq!(order, ["musl", "busybox", "busybox-binsh", "zlib", "erlang27"]);
    let chain = |name: &str| solution.package(name).expect("chosen").wanted_by.join(" ");
    assert_eq!(chain("erlang27"), "erlang>26");
    assert_eq!(chain("zlib"), "so:libz.so.1");
    assert_eq!(chain("busybox"), "erlang>26 erlang27 /bin/sh busybox-binsh busybox=1.37.0-r30");
    assert_eq!(solution.package("zlib").expect("chosen").entry.version, "1.3.1-r2");
    for package in &solution.packages {
        for (dependency, place) in &package.dependencies {
            let provider = &solution.packages[*place].entry;
            let provides = provider.provides.iter().any(|provided| provided.name == dependency.name);
            assert!(provider.name == dependency.name || provides, "{dependency}");
        }
    }
}

#[test]
fn a_shell_that_only_scripts_want_can_be_left_out() {
    let index = alpine();
    let skip = |dependency: &Dependency| dependency.name == "/bin/sh";
    let solution = resolve(&world(&["erlang27"]), &[&index]).expect("possible");
    let (rest, left_out) = solution.without(skip);
    assert_eq!(names(&rest.packages), ["musl", "zlib", "erlang27"]);
    assert_eq!(names(&left_out), ["busybox", "busybox-binsh"]);
    assert_eq!(
        rest.package("musl").expect("kept").wanted_by.last().expect("a chain"),
        "so:libc.musl-x86_64.so.1"
    );
    for package in &rest.packages {
        assert!(package.dependencies.iter().all(|(_, place)| *place < rest.packages.len()));
    }
    // Not what was asked for, and not what something else wants.
    let solution = resolve(&world(&["erlang27", "busybox"]), &[&index]).expect("possible");
    let (rest, left_out) = solution.without(skip);
    assert_eq!(names(&rest.packages), ["musl", "busybox", "zlib", "erlang27"]);
    assert_eq!(names(&left_out), ["busybox-binsh"]);
    let (same, none) = solution.without(|_| false);
    assert_eq!((same, none), (solution, vec![]));
}

#[test]
fn what_came_because_of_others_goes_with_them() {
    let solution = resolve(&world(&["openrc"]), &[alpine()]).expect("possible");
    // As with apk, openrc counts as there as soon as it is clear that it comes.
    assert_eq!(names(&solution.packages), ["musl", "busybox", "busybox-openrc", "busybox-binsh", "openrc"]);
    let came = solution.package("busybox-openrc").expect("chosen");
    assert_eq!(came.installed_with.len(), 2);
    assert_eq!(came.wanted_by.first().expect("a chain"), "openrc");
    assert_eq!(came.wanted_by.last().expect("a chain"), "install_if openrc busybox");
    let (rest, left_out) = solution.without(|dependency| dependency.name == "/bin/sh");
    assert_eq!(names(&rest.packages), ["openrc"]);
    assert_eq!(left_out.len(), 4);
}

#[test]
fn what_can_not_be_had_is_explained() {
    let problems = |texts: &[&str]| match resolve(&world(texts), &[alpine()]) {
        Err(error @ ResolveError::Unsatisfiable { .. }) => (error.to_string(), error.hint()),
        other => panic!("{texts:?}: {other:?}"),
    };
    let (text, hint) = problems(&["above"]);
    assert!(text.contains("so:liblost.so.7 is in no repository"), "{text}");
    assert!(text.contains("wanted by: above → needs-lost → so:liblost.so.7"), "{text}");
    assert!(hint.expect("a hint").contains("liblost.so.7"));

    let (text, _) = problems(&["no-zlib", "erlang27"]);
    assert!(text.contains("zlib-1.3.1-r2 can't be installed"), "{text}");
    assert!(text.contains("does not satisfy: no-zlib → !zlib"), "{text}");
    assert!(text.contains("wanted by: erlang27 → so:libz.so.1"), "{text}");

    let (text, _) = problems(&["old-zlib", "new-zlib"]);
    assert!(text.contains("old-zlib → zlib<1.3") && text.contains("new-zlib → zlib>=1.3"), "{text}");

    let (text, hint) = problems(&["choice"]);
    assert!(text.contains("choice-a, choice-b"), "{text}");
    assert!(hint.expect("a hint").contains("add one of these"));
}

#[test]
fn several_requirements_of_one_name_all_hold() {
    let solution = resolve(&world(&["zlib", "zlib<1.3"]), &[alpine()]).expect("possible");
    assert_eq!(solution.packages[0].entry.version, "1.2.0-r0");
}

#[test]
fn the_first_repository_wins_and_the_higher_version_wins_over_it() {
    let first = index(&["a 1|p:from-first", "b 2"]);
    let second = index(&["a 1|p:from-second", "b 3"]);
    let solution = resolve(&world(&["a", "b"]), &[first, second]).expect("possible");
    let chosen: Vec<(usize, &str)> = solution
        .packages
        .iter()
        .map(|package| (package.repository, package.entry.version.as_str()))
        .collect();
    assert_eq!(chosen, [(0, "1"), (1, "3")]);
}

#[test]
fn an_index_as_deep_and_as_round_as_can_be_is_no_danger() {
    let mut packages: Vec<String> = (0..30_000).map(|n| format!("p{n} 1|D:p{}", n + 1)).collect();
    packages.push("p30000 1|D:p0".to_owned());
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let solution = resolve(&world(&["p0"]), &[index(&packages)]).expect("possible");
    assert_eq!(solution.packages.len(), 30_001);
    let longest = solution.packages.iter().map(|package| package.wanted_by.len()).max();
    assert!(longest.expect("packages") < 50, "ways are shortened");
    let (rest, _) = solution.without(|_| false);
    assert_eq!(rest.packages.len(), 30_001);
}

#[test]
fn the_mirror_has_what_an_image_needs() {
    let Some(shared) = shared() else { return };
    let open = |name: &str| {
        let file = shared.join("mirror/v3.23").join(name).join("x86_64/APKINDEX.tar.gz");
        let bytes = fs_err::read(file).expect("an index");
        IndexArchive::open(&bytes).expect("whole").index().expect("readable")
    };
    let solution = resolve(&world(&["erlang27", "so:libz.so.1"]), &[open("main"), open("community")]);
    let solution = solution.expect("possible");
    assert!(solution.package("musl").is_some() && solution.package("erlang27").is_some());
    let (rest, left_out) = solution.without(|dependency| dependency.name == "/bin/sh");
    assert!(rest.package("busybox").is_none(), "{:?}", names(&rest.packages));
    assert!(names(&left_out).contains(&"busybox"), "{:?}", names(&left_out));
}
