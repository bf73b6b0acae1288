//! Repositories and systems made by chance, the same everywhere for the same number.

use leanfs::apk::{Checksum, Dependency, Index, InstalledDatabase, InstalledPackage};
use leanfs::resolve::Prefer;

use super::apk_says::{Repository, World};

/// Numbers that look random and are the same everywhere: xorshift64 (Marsaglia, 2003).
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        // Neighbouring seeds must not begin alike.
        let mut numbers = Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for _ in 0..8 {
            numbers.below(2);
        }
        numbers
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % limit as u64).expect("below the limit")
    }

    /// True in so many of a hundred cases.
    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

const VERSIONS: [&str; 9] = ["1", "2", "3", "1.5", "2.0-r1", "2.0", "1_alpha1", "0.9", "10"];
const OPERATORS: [&str; 8] = ["=", "<", ">", "<=", ">=", "~", ">~", "<~"];
const TAGS: [&str; 3] = ["edge", "testing", "local"];

/// How rich a world is, in percent.
struct Rates {
    depends: usize,
    conflicts: usize,
    provides: usize,
    versioned: usize,
    install_if: usize,
    priorities: usize,
    broken: usize,
}

/// A repository as text, and its tag.
#[derive(Clone)]
pub(super) struct Text {
    pub(super) tag: Option<&'static str>,
    pub(super) packages: Vec<String>,
}

/// Repositories at two times: as they were when the system was installed, and as they are.
pub(super) struct Repositories {
    pub(super) before: Vec<Text>,
    pub(super) after: Vec<Text>,
    pub(super) names: Vec<String>,
}

impl Repositories {
    pub(super) fn new(numbers: &mut Numbers) -> Self {
        let rates = Rates {
            depends: 20 + numbers.below(60),
            conflicts: numbers.below(25),
            provides: 10 + numbers.below(60),
            versioned: 20 + numbers.below(70),
            install_if: numbers.below(40),
            priorities: numbers.below(60),
            broken: *numbers.one_of(&[0, 0, 0, 3]),
        };
        let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "k", "m", "n", "p", "q", "r", "s", "t"];
        let count = 3 + numbers.below(14);
        let mut names: Vec<String> = Vec::new();
        for _ in 0..count {
            let name = format!("{}{}", numbers.one_of(&letters), numbers.one_of(&letters));
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let provided: Vec<String> = (0..1 + numbers.below(5)).map(|n| format!("v{n}")).collect();
        let all: Vec<String> = names.iter().chain(&provided).cloned().collect();

        let mut before: Vec<Text> = Vec::new();
        for place in 0..1 + numbers.below(4) {
            let tag = (place > 0 && numbers.percent(50)).then(|| *numbers.one_of(&TAGS));
            let mut packages = Vec::new();
            for name in &names {
                for _ in 0..[0, 1, 1, 1, 2, 3][numbers.below(6)] {
                    packages.push(package(numbers, &rates, name, &all));
                }
            }
            // Some packages are in several repositories.
            if place > 0 && numbers.percent(60) {
                let others = &before[numbers.below(place)].packages;
                packages.extend(others.iter().filter(|_| numbers.percent(30)).cloned());
            }
            before.push(Text { tag, packages });
        }
        let after = before
            .iter()
            .map(|text| {
                let kept = text.packages.iter().filter(|_| numbers.percent(75)).cloned();
                let mut packages: Vec<String> = kept.collect();
                for _ in 0..numbers.below(names.len() + 1) {
                    let name = numbers.one_of(&names).clone();
                    packages.push(package(numbers, &rates, &name, &all));
                }
                Text { tag: text.tag, packages }
            })
            .collect();
        Self { before, after, names: all }
    }
}

pub(super) fn parse(texts: &[Text]) -> Vec<Repository> {
    let parse = |text: &Text| Repository {
        tag: text.tag.map(str::to_owned),
        index: Index::parse(&text.packages.concat()).expect("a good index"),
    };
    texts.iter().map(parse).collect()
}

fn package(numbers: &mut Numbers, rates: &Rates, name: &str, all: &[String]) -> String {
    let mut text = format!("P:{name}\nV:{}\n", numbers.one_of(&VERSIONS));
    let arch = if numbers.percent(rates.broken) { "riscv64" } else { "x86_64" };
    text += &format!("A:{arch}\nS:{}\nI:{}\n", 1 + numbers.below(5), numbers.below(12) / 2);
    if numbers.percent(rates.priorities) {
        text += &format!("k:{}\n", numbers.below(3) * 10);
    }
    let mut depends = Vec::new();
    while numbers.percent(rates.depends) && depends.len() < 5 {
        depends.push(wanted(numbers, rates, all));
    }
    if numbers.percent(rates.broken) {
        depends.push((*numbers.one_of(&["v0@edge", "v0=x"])).to_owned());
    }
    if !depends.is_empty() {
        text += &format!("D:{}\n", depends.join(" "));
    }
    let mut provides = Vec::new();
    while numbers.percent(rates.provides) && provides.len() < 4 {
        // Mostly what no package is called.
        let name = if numbers.percent(75) {
            all.last().expect("names").clone()
        } else {
            numbers.one_of(all).clone()
        };
        let name = if numbers.percent(50) { name } else { numbers.one_of(all).clone() };
        if numbers.percent(rates.versioned) {
            provides.push(format!("{name}={}", numbers.one_of(&VERSIONS)));
        } else {
            provides.push(name);
        }
    }
    if !provides.is_empty() {
        text += &format!("p:{}\n", provides.join(" "));
    }
    if numbers.percent(rates.install_if) {
        let conditions: Vec<String> =
            (0..1 + numbers.below(3)).map(|_| wanted(numbers, rates, all)).collect();
        text += &format!("i:{}\n", conditions.join(" "));
    }
    with_checksum(&text)
}

/// The fields of a package with a checksum of their own.
pub(super) fn with_checksum(text: &str) -> String {
    format!("C:{}\n{text}\n", Checksum::sha1_of(text.as_bytes()))
}

/// A dependency.
fn wanted(numbers: &mut Numbers, rates: &Rates, all: &[String]) -> String {
    let conflict = if numbers.percent(rates.conflicts) { "!" } else { "" };
    let name = if numbers.percent(2) { "nowhere" } else { numbers.one_of(all) };
    if numbers.percent(25) {
        format!("{conflict}{name}{}{}", numbers.one_of(&OPERATORS), numbers.one_of(&VERSIONS))
    } else {
        format!("{conflict}{name}")
    }
}

/// What a user could ask for.
pub(super) fn asked(numbers: &mut Numbers, repositories: &Repositories) -> String {
    let rates = Rates {
        depends: 0,
        conflicts: 8,
        provides: 0,
        versioned: 0,
        install_if: 0,
        priorities: 0,
        broken: 0,
    };
    let wanted = wanted(numbers, &rates, &repositories.names);
    let tags: Vec<&str> = repositories.after.iter().filter_map(|text| text.tag).collect();
    if tags.is_empty() || numbers.percent(70) {
        return wanted;
    }
    let end = wanted.find(['<', '>', '=', '~']).unwrap_or(wanted.len());
    format!("{}@{}{}", &wanted[..end], numbers.one_of(&tags), &wanted[end..])
}

/// A system that was installed from the repositories as they were, or by nobody who would know how.
pub(super) fn installed(
    numbers: &mut Numbers,
    repositories: &Repositories,
) -> (InstalledDatabase, Vec<Dependency>) {
    let wish = |numbers: &mut Numbers| -> Vec<Dependency> {
        let mut world: Vec<Dependency> = Vec::new();
        for _ in 0..1 + numbers.below(4) {
            let wanted: Dependency = asked(numbers, repositories).parse().expect("a dependency");
            if world.iter().all(|known| known.name != wanted.name) {
                world.push(wanted);
            }
        }
        world
    };
    let before = parse(&repositories.before);
    if numbers.percent(75) {
        // Most wishes can't be fulfilled.
        for _ in 0..8 {
            let world = wish(numbers);
            let mut there = leanfs::resolve::Repositories::default().for_arch("x86_64");
            for repository in &before {
                there = there.with(repository.tag.as_deref(), &repository.index);
            }
            if let Ok(mut plan) = leanfs::resolve::System::new(there).add(&world, Prefer::Installed) {
                for package in &mut plan.packages {
                    package.flags.broken_files = numbers.percent(10);
                }
                return (InstalledDatabase { packages: plan.packages }, plan.world);
            }
        }
        return (InstalledDatabase::default(), Vec::new());
    }
    let mut packages: Vec<InstalledPackage> = Vec::new();
    for repository in &before {
        for entry in &repository.index.entries {
            if entry.unusable.is_none()
                && numbers.percent(20)
                && packages.iter().all(|known| known.entry.name != entry.name)
            {
                let tag = repository.tag.clone().filter(|_| numbers.percent(70));
                let mut package =
                    InstalledPackage { repository_tag: tag, ..InstalledPackage::new(entry.clone()) };
                package.flags.broken_files = numbers.percent(10);
                packages.push(package);
            }
        }
    }
    (InstalledDatabase { packages }, wish(numbers))
}

/// A command and its arguments.
pub(super) fn command(numbers: &mut Numbers, world: &World, repositories: &Repositories) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    if numbers.percent(5) {
        words.push("--force-broken-world".to_owned());
    }
    let known: Vec<String> = world
        .installed
        .packages
        .iter()
        .map(|package| package.entry.name.clone())
        .chain(world.world.iter().map(|wanted| wanted.name.clone()))
        .collect();
    let some_known = |numbers: &mut Numbers| -> Vec<String> {
        let mut some = Vec::new();
        for _ in 0..1 + numbers.below(2) {
            let name: &String = numbers.one_of(&known);
            if !some.contains(name) {
                some.push(name.clone());
            }
        }
        some
    };
    let verb = if known.is_empty() { 0 } else { numbers.below(100) };
    match verb {
        0..40 => {
            words.push("add".to_owned());
            match numbers.below(10) {
                0 => words.push("--upgrade".to_owned()),
                1 => words.push("--latest".to_owned()),
                2 => words.extend(["-t".to_owned(), ".meta=1".to_owned()]),
                _ => {}
            }
            let is_virtual = words.iter().any(|word| word == "-t");
            for _ in 0..1 + numbers.below(4) {
                let mut wanted = asked(numbers, repositories);
                if is_virtual {
                    wanted = wanted.split_once('@').map_or(wanted.clone(), |(name, _)| name.to_owned());
                }
                words.push(wanted);
            }
        }
        40..60 => {
            words.push("del".to_owned());
            if numbers.percent(30) {
                words.push("-r".to_owned());
            }
            words.extend(some_known(numbers));
        }
        60..92 => {
            words.push("upgrade".to_owned());
            for (option, percent) in [("--available", 30), ("--latest", 20), ("--prune", 20)] {
                if numbers.percent(percent) {
                    words.push(option.to_owned());
                }
            }
            match numbers.below(10) {
                0 => words.extend(some_known(numbers)),
                1 => {
                    words.push("--ignore".to_owned());
                    words.extend(some_known(numbers));
                }
                2 => {
                    words.push("--preupgrade-only".to_owned());
                    for name in some_known(numbers) {
                        words.extend(["--preupgrade-depends".to_owned(), name]);
                    }
                }
                _ => {}
            }
        }
        _ => {
            words.push("fix".to_owned());
            for option in ["--upgrade", "--depends"] {
                if numbers.percent(40) {
                    words.push(option.to_owned());
                }
            }
            if numbers.percent(80) {
                words.extend(some_known(numbers));
            }
        }
    }
    words
}
