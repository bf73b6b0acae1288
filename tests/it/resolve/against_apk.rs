//! The solver against the real `apk`, on systems made by chance.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use leanfs::apk::index::IndexArchive;
use leanfs::apk::{Dependency, Index, InstalledDatabase, InstalledPackage};
use leanfs::resolve::{Prefer, System};

use super::apk_says::{Repository, World, normalised, run};
use super::by_chance::{self, Numbers, Repositories, Text};

/// A directory in which the real `apk` finds a system and repositories.
pub(super) struct Sandbox {
    apk: PathBuf,
    arch: String,
    directory: tempfile::TempDir,
}

impl Sandbox {
    pub(super) fn new(apk: PathBuf, arch: &str) -> Self {
        let sandbox =
            Self { apk, arch: arch.to_owned(), directory: tempfile::tempdir().expect("a directory") };
        for path in ["root/lib/apk/db", "root/etc/apk", "root/var/cache/apk"] {
            fs_err::create_dir_all(sandbox.path(path)).expect("made");
        }
        fs_err::write(sandbox.path("root/etc/apk/arch"), format!("{arch}\n")).expect("written");
        sandbox
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Writes the index of a repository, unsigned.
    fn write_index(&self, place: usize, text: &str) {
        let directory = self.path(&format!("repository{place}/{}", self.arch));
        fs_err::create_dir_all(&directory).expect("made");
        let mut file = GzEncoder::new(Vec::new(), Compression::fast());
        let mut header = [0; 512];
        header[..8].copy_from_slice(b"APKINDEX");
        let octal = |header: &mut [u8; 512], at: usize, text: String| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        octal(&mut header, 100, "0000644".to_owned());
        octal(&mut header, 124, format!("{:011o}", text.len()));
        octal(&mut header, 136, "00000000000".to_owned());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        octal(&mut header, 148, format!("{sum:06o}\0"));
        file.write_all(&header).expect("in memory");
        file.write_all(text.as_bytes()).expect("in memory");
        file.write_all(&vec![0; 1024 + (512 - text.len() % 512) % 512]).expect("in memory");
        fs_err::write(directory.join("APKINDEX.tar.gz"), file.finish().expect("in memory")).expect("written");
    }

    /// Says which repositories there are, and with which tags.
    fn write_repositories<'a>(&self, tags: impl IntoIterator<Item = Option<&'a str>>) {
        let line = |(place, tag): (usize, Option<&str>)| {
            let path = self.path(&format!("repository{place}"));
            let tag = tag.map(|tag| format!("@{tag} ")).unwrap_or_default();
            format!("{tag}{}\n", path.display())
        };
        let lines: String = tags.into_iter().enumerate().map(line).collect();
        fs_err::write(self.path("root/etc/apk/repositories"), lines).expect("written");
    }

    fn write_system(&self, world: &World) {
        let installed: String = world.installed.packages.iter().map(as_installed).collect();
        fs_err::write(self.path("root/lib/apk/db/installed"), installed).expect("written");
        let wanted: String = world.world.iter().map(|wanted| format!("{wanted}\n")).collect();
        fs_err::write(self.path("root/etc/apk/world"), wanted).expect("written");
    }

    /// What `apk` says; nothing if it does not come to an end, as with some broken worlds.
    fn run(&self, arguments: &[String]) -> Option<String> {
        let output = Command::new("timeout")
            .arg("20")
            .arg(&self.apk)
            .arg("--root")
            .arg(self.path("root"))
            .args(["--arch", &self.arch, "--no-cache", "--allow-untrusted", "--simulate", "--progress=no"])
            .args(["--root-tmpfs=no"])
            .args(arguments)
            .output()
            .expect("apk runs");
        assert!(output.status.code().is_some(), "apk {arguments:?} died of {}", output.status);
        const ENDLESS: i32 = 124;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code() != Some(ENDLESS)).then_some(text)
    }
}

/// A package as the database has it.
fn as_installed(package: &InstalledPackage) -> String {
    let tag = package.repository_tag.as_ref().map(|tag| format!("s:{tag}\n")).unwrap_or_default();
    let broken = if package.flags.is_broken() { "f:f\n" } else { "" };
    format!("{}{tag}{broken}\n", package.entry)
}

/// What must be the same: every word in its place. Of errors, each line's words in any order, as `apk` lists who
/// requires something in the order of its hash table.
pub(super) fn comparable(text: &str) -> Vec<String> {
    // To apk, a virtual package has something wrong with it whenever anything is wrong. Which dependency is
    // broken is said otherwise.
    let mut in_virtual = false;
    let kept = text.lines().filter(|line| {
        if !line.starts_with("   ") {
            in_virtual = line.trim_start().starts_with(".meta-1:");
        }
        !in_virtual && !line.starts_with("    depends: ")
    });
    let text = kept.collect::<Vec<_>>().join("\n");
    let mut words: Vec<String> = normalised(&text).split(' ').map(str::to_owned).collect();
    if text.contains("ERROR:") {
        words.sort_unstable();
        // Two packages of one name and version are told twice by apk, and once here.
        words.dedup();
    }
    words
}

/// How many worlds of each kind: `LEANFS_RESOLVE_SETS`, or few.
fn sets(few: usize) -> usize {
    std::env::var("LEANFS_RESOLVE_SETS").map_or(few, |text| text.parse().expect("a number"))
}

/// The number of the first world: `LEANFS_RESOLVE_FIRST`.
fn first() -> usize {
    std::env::var("LEANFS_RESOLVE_FIRST").map_or(0, |text| text.parse().expect("a number"))
}

/// The most differences that are shown.
const MOST_SHOWN: usize = 3;

/// A system, repositories and a command that both are asked.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) repositories: Vec<Text>,
    pub(super) installed: Vec<InstalledPackage>,
    pub(super) wanted: Vec<Dependency>,
    pub(super) arguments: Vec<String>,
}

impl Question {
    pub(super) fn world(&self) -> World {
        World {
            repositories: by_chance::parse(&self.repositories),
            installed: InstalledDatabase { packages: self.installed.clone() },
            world: self.wanted.clone(),
            arch: "x86_64".to_owned(),
            ..World::default()
        }
    }

    pub(super) fn write(&self, sandbox: &Sandbox) {
        for (place, text) in self.repositories.iter().enumerate() {
            sandbox.write_index(place, &text.packages.concat());
        }
        sandbox.write_repositories(self.repositories.iter().map(|text| text.tag));
        sandbox.write_system(&self.world());
    }

    /// What is found and what apk says.
    pub(super) fn answers(&self, sandbox: &Sandbox) -> Option<(String, String)> {
        let expected = sandbox.run(&self.arguments)?;
        Some((run(&self.world(), &self.arguments), expected))
    }

    fn is_different(&self, sandbox: &Sandbox) -> bool {
        self.write(sandbox);
        self.answers(sandbox).is_some_and(|(found, expected)| comparable(&found) != comparable(&expected))
    }

    /// A smaller question with different answers, made by leaving out what can be.
    fn shrunk(mut self, sandbox: &Sandbox) -> Self {
        loop {
            let smaller = self.smaller().into_iter().find(|smaller| smaller.is_different(sandbox));
            match smaller {
                Some(smaller) => self = smaller,
                None => return self,
            }
        }
    }

    fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut without = |change: &dyn Fn(&mut Self)| {
            let mut smaller = self.clone();
            change(&mut smaller);
            all.push(smaller);
        };
        for place in 0..self.repositories.len() {
            without(&|question| drop(question.repositories.remove(place)));
            for package in 0..self.repositories[place].packages.len() {
                without(&|question| drop(question.repositories[place].packages.remove(package)));
            }
        }
        for place in 0..self.installed.len() {
            without(&|question| drop(question.installed.remove(place)));
        }
        for place in 0..self.wanted.len() {
            without(&|question| drop(question.wanted.remove(place)));
        }
        for place in 0..self.arguments.len() {
            let word = self.arguments[place].as_str();
            let belongs_to_option = ["add", "del", "upgrade", "fix", ".meta=1"].contains(&word)
                || place > 0 && self.arguments[place - 1] == "--preupgrade-depends"
                || ["-t", "--preupgrade-depends", "--preupgrade-only"].contains(&word);
            // An empty virtual package is warned of, in another order.
            let names = self.arguments.iter().skip_while(|word| *word != ".meta=1").count();
            let must_stay = names == 2;
            if !belongs_to_option && !must_stay && self.arguments.len() > 2 {
                without(&|question| drop(question.arguments.remove(place)));
            }
        }
        for (place, text) in self.repositories.iter().enumerate() {
            for (package, text) in text.packages.iter().enumerate() {
                for (line, field) in text.lines().enumerate() {
                    if !field.starts_with(['D', 'p', 'i', 'k']) {
                        continue;
                    }
                    let words: Vec<&str> = field[2..].split(' ').collect();
                    for word in 0..words.len() {
                        let mut lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
                        let mut words = words.clone();
                        words.remove(word);
                        lines[line - 1] = format!("{}{}", &field[..2], words.join(" "));
                        lines.retain(|line| line.len() != 2);
                        without(&|question| {
                            question.repositories[place].packages[package] =
                                by_chance::with_checksum(&(lines.join("\n") + "\n"));
                        });
                    }
                }
            }
        }
        all
    }

    fn describe(&self, sandbox: &Sandbox) -> String {
        self.write(sandbox);
        let (found, expected) = self.answers(sandbox).unwrap_or_default();
        let mut text = format!("apk {}\n", self.arguments.join(" "));
        let fields = |package: &str| {
            let lines = package.lines().filter(|line| !line.starts_with(['C', 'S']) && !line.is_empty());
            lines.collect::<Vec<_>>().join("|")
        };
        for repository in &self.repositories {
            text += &format!("--- repository {:?}\n", repository.tag);
            text.extend(repository.packages.iter().map(|package| fields(package) + "\n"));
        }
        text += "--- installed\n";
        text.extend(self.installed.iter().map(|package| fields(&as_installed(package)) + "\n"));
        let wanted: Vec<String> = self.wanted.iter().map(ToString::to_string).collect();
        text + &format!("--- world {}\n--- expected\n{expected}\n--- found\n{found}\n", wanted.join(" "))
    }
}

/// Small repositories that are rich in what makes choosing hard, empty systems and installed ones, and every
/// command.
#[test]
fn the_real_apk_chooses_the_same_from_generated_repositories() {
    let Some(apk) = super::super::apk_formats::real_apk() else { return };
    let sandbox = Sandbox::new(apk, "x86_64");
    let (mut compared, mut endless, mut refused, mut changed) = (0, 0, 0, 0);
    let mut differences = Vec::new();
    for number in first()..first() + sets(150) {
        let mut numbers = Numbers::new(number as u64);
        let repositories = Repositories::new(&mut numbers);
        let (installed, wanted) = if numbers.percent(25) {
            Default::default()
        } else {
            by_chance::installed(&mut numbers, &repositories)
        };
        let mut question = Question {
            repositories: repositories.after.clone(),
            installed: installed.packages,
            wanted,
            arguments: Vec::new(),
        };
        question.write(&sandbox);
        for _ in 0..3 {
            question.arguments = by_chance::command(&mut numbers, &question.world(), &repositories);
            let Some((found, expected)) = question.answers(&sandbox) else {
                endless += 1;
                continue;
            };
            compared += 1;
            refused += usize::from(expected.contains("ERROR:"));
            changed += usize::from(expected.contains("(1/"));
            if comparable(&found) != comparable(&expected) {
                println!("world {number}: {}", question.arguments.join(" "));
                differences.push((number, question.clone()));
            }
        }
    }
    println!(
        "{compared} compared: {changed} with changes, {refused} refused, {} different; {endless} apk did not end",
        differences.len()
    );
    let shown: Vec<String> = differences
        .iter()
        .take(MOST_SHOWN)
        .map(|(number, question)| {
            format!("world {number}: {}", question.clone().shrunk(&sandbox).describe(&sandbox))
        })
        .collect();
    assert!(differences.is_empty(), "{}", shown.join("\n"));
    assert!(changed * 10 > compared || sets(0) < 50, "too little is asked");
}

/// An index of `real/v2`, with its text.
pub(super) fn real_index(shared: &Path, name: &str) -> (String, Index) {
    let bytes = fs_err::read(shared.join("real/v2").join(name).join("APKINDEX.tar.gz")).expect("an index");
    let archive = IndexArchive::open(&bytes).expect("whole");
    (archive.text.clone(), archive.index().expect("readable"))
}

/// Alpine 3.16 for x86_64: what is added to an empty system, and to that. Then to Alpine 3.17, which we have for
/// another architecture only: its packages are taken as if they were for this one.
#[test]
fn the_real_apk_chooses_the_same_from_alpine() {
    let Some(shared) = super::shared() else { return };
    let Some(apk) = super::super::apk_formats::real_apk() else { return };
    let (old_text, old) = real_index(&shared, "alpine-316");
    let (new_text, _) = real_index(&shared, "alpine-317");
    let new_text = new_text.replace("\nA:aarch64\n", "\nA:x86_64\n");
    let new = Index::parse(&new_text).expect("readable");
    let names = |index: &Index| -> Vec<String> {
        let of_entry = |entry: &leanfs::apk::IndexEntry| {
            let provided = entry.provides.iter().map(|provided| provided.name.clone());
            std::iter::once(entry.name.clone()).chain(provided).collect::<Vec<_>>()
        };
        index.entries.iter().flat_map(of_entry).collect()
    };
    let (old_names, new_names) = (names(&old), names(&new));
    let fresh = Sandbox::new(apk.clone(), "x86_64");
    fresh.write_index(0, &old_text);
    fresh.write_repositories([None]);
    let newer = Sandbox::new(apk, "x86_64");
    newer.write_index(0, &new_text);
    newer.write_repositories([None]);

    let with = |index: &Index, installed: InstalledDatabase, wanted: Vec<Dependency>| World {
        repositories: vec![Repository { tag: None, index: index.clone() }],
        installed,
        world: wanted,
        arch: "x86_64".to_owned(),
        ..World::default()
    };
    let (mut compared, mut differences) = (0, Vec::new());
    let mut compare = |number: usize, sandbox: &Sandbox, world: &World, arguments: &[String]| {
        sandbox.write_system(world);
        // The sum at the end is in MiB for apk.
        let sizeless = |text: &str| {
            let lines = text.lines().map(|line| match line.strip_prefix("OK: ") {
                Some(rest) => rest.split_once(" in ").map_or(line, |(_, packages)| packages),
                None => line,
            });
            lines.collect::<Vec<_>>().join("\n")
        };
        let (found, expected) =
            (sizeless(&run(world, arguments)), sizeless(&sandbox.run(arguments).expect("an end")));
        compared += 1;
        if comparable(&found) != comparable(&expected) {
            let wanted: Vec<String> = world.world.iter().map(ToString::to_string).collect();
            differences.push(format!(
                "set {number}: apk {} with {}\n--- expected\n{expected}\n--- found\n{found}\n",
                arguments.join(" "),
                wanted.join(" ")
            ));
        }
    };
    for number in first()..first() + sets(10) {
        let mut numbers = Numbers::new(number as u64);
        let mut choose = |names: &[String], most: usize| {
            let mut chosen = vec!["add".to_owned()];
            for _ in 0..=numbers.below(most) {
                chosen.push(numbers.one_of(names).clone());
            }
            // Without it, most sets fail for want of a shell.
            if numbers.percent(70) {
                chosen.push("busybox".to_owned());
            }
            chosen
        };
        let (first, second, third) = (choose(&old_names, 6), choose(&old_names, 3), choose(&new_names, 3));
        compare(number, &fresh, &with(&old, InstalledDatabase::default(), vec![]), &first);

        let wanted: Vec<Dependency> = first[1..].iter().map(|text| text.parse().expect("a name")).collect();
        let repositories = leanfs::resolve::Repositories::new([&old]).for_arch("x86_64");
        let Ok(plan) = System::new(repositories).add(&wanted, Prefer::Installed) else { continue };
        let installed = InstalledDatabase { packages: plan.packages };
        compare(number, &fresh, &with(&old, installed.clone(), plan.world.clone()), &second);
        let gone = vec!["del".to_owned(), numbers.one_of(&plan.world).name.clone()];
        compare(number, &fresh, &with(&old, installed.clone(), plan.world.clone()), &gone);
        let world = with(&new, installed, plan.world);
        let upgrades = [&["upgrade"][..], &["upgrade", "--available"], &["upgrade", "--prune", "--latest"]];
        let upgrade: Vec<String> = numbers.one_of(&upgrades).iter().map(|word| (*word).to_owned()).collect();
        compare(number, &newer, &world, &upgrade);
        compare(number, &newer, &world, &third);
    }
    println!("{compared} compared, {} different", differences.len());
    let shown = differences.len().min(MOST_SHOWN);
    assert!(differences.is_empty(), "{}", differences[..shown].join("\n\n"));
}
