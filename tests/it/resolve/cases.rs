//! The solver against apk-tools' own cases.

use std::path::{Path, PathBuf};

use leanfs::apk::{Checksum, Index, InstalledDatabase};

use super::apk_says::{Repository, World, normalised, run};

/// A case in the form of apk-tools' test suite.
#[derive(Debug, Default)]
struct Case {
    arguments: Vec<String>,
    world: World,
    expected: String,
}

impl Case {
    fn parse(text: &str, directory: &Path) -> Self {
        let mut case =
            Self { world: World { arch: "x86_64".to_owned(), ..World::default() }, ..Self::default() };
        let mut expect = false;
        for line in text.lines() {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let first = words.first().map(String::as_str);
            match (first, words.get(1..).unwrap_or_default()) {
                (Some("@ARGS"), words) => case.arguments.extend_from_slice(words),
                (Some("@REPO"), [tag, file]) => {
                    let index = read_index(&directory.join(file));
                    case.world.repositories.push(Repository { tag: Some(tag[1..].to_owned()), index });
                }
                (Some("@REPO"), [file]) => {
                    let index = read_index(&directory.join(file));
                    case.world.repositories.push(Repository { tag: None, index });
                }
                (Some("@WORLD"), words) => {
                    let wanted = words.iter().map(|word| word.parse().expect("a dependency"));
                    case.world.world.extend(wanted);
                }
                (Some("@INSTALLED"), [file]) => {
                    let text = read(&directory.join(file));
                    case.world.owner_of_apk = owner_of_apk(&text);
                    case.world.installed = InstalledDatabase::parse(text.as_bytes()).expect("a database");
                }
                (Some("@CACHE"), [file]) => case.world.cache = Some(read_index(&directory.join(file))),
                (Some("@EXPECT"), _) => expect = true,
                _ if expect => {
                    case.expected.push_str(line);
                    case.expected.push('\n');
                }
                _ => panic!("what is {line}?"),
            }
        }
        case
    }
}

/// The package with the file that the running `apk` is.
fn owner_of_apk(installed: &str) -> Option<String> {
    let package = installed.split("\n\n").find(|package| package.contains("\nF:proc/self\nR:exe"))?;
    package.lines().find_map(|line| line.strip_prefix("P:")).map(str::to_owned)
}

/// The cases' checksums have any length: one is made of the bits that apk reads of each, as a package with the
/// same checksum is the same package. The last letter before the end of a 27-letter one has two bits too many.
fn read(path: &Path) -> String {
    let text = fs_err::read_to_string(path).expect("a file of the case");
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
    fixed
}

fn read_index(path: &Path) -> Index {
    Index::parse(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn apk_tools_own_cases() {
    let Some(shared) = super::shared() else { return };
    let directory = shared.join("conformance/apk-tools/solver");
    let mut files: Vec<PathBuf> = fs_err::read_dir(&directory)
        .expect("the cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    files.sort();
    let (mut passed, mut failures) = (0, String::new());
    for file in &files {
        let case = Case::parse(&fs_err::read_to_string(file).expect("a case"), &directory);
        let found = normalised(&run(&case.world, &case.arguments));
        let expected = normalised(&case.expected);
        if found == expected {
            passed += 1;
        } else {
            failures += &format!("{}\n  expected {expected}\n  found    {found}\n", file.display());
        }
    }
    println!("{passed} of {} cases pass", files.len());
    assert_eq!(failures, "");
    assert_eq!(passed, 119, "the cases are not all there");
}
