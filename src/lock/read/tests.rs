//! What is written is read back, and what is wrong is said.

use super::*;

fn sample() -> Lock {
    let key = LockedKey { fingerprint: [7; 32], name: "me \"quoted\" \u{202e}.rsa.pub".to_owned() };
    let place = |name: &str, tag: Option<&str>| LockedRepository {
        name: name.to_owned(),
        tag: tag.map(str::to_owned),
        newest: Some(-1),
        signed_by: Some([7; 32]),
    };
    let package = |name: &str, version: &str| LockedPackage {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: "x86_64".to_owned(),
        repository: "mirror/main".to_owned(),
        role: Role::Image,
        size: 12,
        identity: Checksum::Sha1([1; 20]),
        hashes: PackageHashes { file: [2; 32], control: [3; 32], data: Some([4; 32]) },
        signed_by: vec![[7; 32]],
        line: 0,
    };
    let v3 = |identity| LockedPackage {
        identity,
        hashes: PackageHashes { file: [2; 32], control: [5; 32], data: None },
        role: Role::Resolve,
        signed_by: Vec::new(),
        ..package("v3", "1")
    };
    let section = ArchLock {
        recipe: LockedRecipe {
            packages: vec!["b".to_owned(), "a>1".to_owned()],
            otp: "automatic".to_owned(),
            kernel: "package:linux-virt".to_owned(),
            shell: true,
        },
        absent: ["cmd:x".to_owned()].into(),
        world: vec!["a".to_owned(), "so:b.so".to_owned()],
        order: ["v3", "a", "v3"].map(str::to_owned).into(),
        keys: vec![key],
        repositories: vec![place("mirror/main", None), place("https://a/b", Some("edge"))],
        packages: vec![
            package("a", "1.0-r0"),
            LockedPackage { role: Role::Kernel, ..package("linux-virt", "6") },
            v3(Checksum::Sha256([5; 32])),
            LockedPackage { version: "2".to_owned(), ..v3(Checksum::Short([5; 20])) },
        ],
        files: vec![LockedFile {
            role: FileRole::Otp,
            name: "otp.tar.gz".to_owned(),
            size: 1,
            sha256: [9; 32],
            line: 0,
        }],
        libraries: vec![
            LockedLibrary {
                path: "/lib/libc.so.6".to_owned(),
                origin: "usr/lib/libc.so.6".to_owned(),
                executable: true,
                link: None,
                size: 3,
                sha256: [8; 32],
                line: 0,
            },
            LockedLibrary {
                path: "/lib64/other.so".to_owned(),
                origin: "usr/lib/libc.so.6".to_owned(),
                executable: true,
                link: Some("/lib/libc.so.6".to_owned()),
                size: 3,
                sha256: [8; 32],
                line: 0,
            },
        ],
    };
    let empty = ArchLock {
        libraries: Vec::new(),
        absent: BTreeSet::new(),
        order: Vec::new(),
        keys: Vec::new(),
        repositories: Vec::new(),
        packages: Vec::new(),
        files: Vec::new(),
        ..section.clone()
    };
    Lock { archs: [(Arch::X86_64, section), (Arch::Aarch64, empty)].into() }
}

fn without_lines(mut lock: Lock) -> Lock {
    for section in lock.archs.values_mut() {
        section.packages.iter_mut().for_each(|package| package.line = 0);
        section.files.iter_mut().for_each(|file| file.line = 0);
        section.libraries.iter_mut().for_each(|library| library.line = 0);
    }
    lock
}

fn parse(text: &str) -> Result<Lock, LockError> {
    Lock::parse(text, Path::new("leanfs.lock"))
}

#[test]
fn what_is_written_is_read() {
    let text = sample().to_text();
    let lock = parse(&text).expect("good");
    assert_eq!(without_lines(lock.clone()), sample());
    assert_eq!(lock.to_text(), text);
    let package = &lock.archs[&Arch::X86_64].packages[1];
    assert!(text.lines().nth(package.line - 1).is_some_and(|line| line == "[[arch.x86_64.package]]"));
    assert!(text.lines().nth(package.line).is_some_and(|line| line == "name = \"linux-virt\""));
    assert!(!text.contains('\u{202e}'), "nothing hidden stands there");
}

#[test]
fn order_does_not_matter() {
    let text = sample().to_text();
    let (head, rest) = text.split_once("\n[[arch.x86_64.package]]").expect("there");
    let (tables, file) = rest.split_once("\n[[arch.x86_64.file]]").expect("there");
    let mut tables: Vec<&str> = tables.split("\n[[arch.x86_64.package]]").collect();
    tables.reverse();
    let turned = format!(
        "{head}\n[[arch.x86_64.file]]{file}\n[[arch.x86_64.package]]{}",
        tables.join("\n[[arch.x86_64.package]]")
    );
    assert_ne!(turned, text);
    assert_eq!(parse(&turned).expect("good").to_text(), text);
}

#[test]
fn errors_name_the_line_and_what_to_do() {
    let text = sample().to_text();
    let zeros = "0".repeat(64);
    let line_of = |what: &str| text.lines().position(|line| line.starts_with(what)).expect(what) + 1;
    for (changed, line, want) in [
        (
            text.replacen("format = 1", "format = 2", 1),
            line_of("format"),
            "its format is 2, and this leanfs knows",
        ),
        (text.replacen("format = 1", "format = 0", 1), line_of("format"), "there is no format 0"),
        (text.replacen("format = 1\n", "", 1), 1, "it has no `format`"),
        (text.replacen("size = 12", "size = ", 1), line_of("size"), ""),
        (text.replacen("size = 12", "size = -12", 1), line_of("size"), "invalid value: integer `-12`"),
        (text.replacen("sha256:0303", "sha256:03g3", 1), line_of("control"), "is no SHA-256"),
        (text.replacen("sha256:0303", "0303", 1), line_of("control"), "does not begin with sha256:"),
        (
            text.replacen("role = \"image\"", "role = \"host\"", 1),
            line_of("role"),
            "is no role: image and kernel and",
        ),
        (
            text.replacen("shell = true", "shell = false", 1),
            line_of("recipe"),
            "somebody changed them by hand",
        ),
        (
            text.replacen("version = \"1.0-r0\"", "version = \"../x\"", 1),
            line_of("[[arch.x86_64.package"),
            "no package version",
        ),
        (text.replacen("name = \"a\"", "nam = \"a\"", 1), line_of("name = \"a\""), "unknown field `nam`"),
        (text.replacen("[arch.aarch64]", "[arch.vax]", 1), line_of("[arch.aarch64]"), "is no architecture"),
        (
            text.replacen("\"otp.tar.gz\"", "\"../otp\"", 1),
            line_of("[[arch.x86_64.file"),
            "is no name of a file",
        ),
        (
            text.replacen("repository = \"mirror/main\"", "repository = \"x\"", 1),
            line_of("[[arch.x86_64.package"),
            "no repository is called",
        ),
        (
            text.replacen(&"07".repeat(32), &zeros, 1),
            line_of("[[arch.x86_64.repository"),
            "no key has the fingerprint",
        ),
        (
            text.replacen("    \"a\",\n    \"v3\",\n]", "    \"v3\",\n]", 1),
            line_of("order"),
            "only one of them has a",
        ),
        (
            text.replacen("\"/lib/libc.so.6\"", "\"/lib/../libc.so.6\"", 1),
            line_of("[[arch.x86_64.library"),
            "is no path of a library",
        ),
        (
            text.replacen("size = 12", "<<<<<<< HEAD\nsize = 12\n=======\nsize = 13\n>>>>>>> other", 1),
            line_of("size"),
            "a conflict of a merge",
        ),
    ] {
        let error = parse(&changed).expect_err(want);
        let message = error.to_string();
        assert!(message.starts_with(&format!("leanfs.lock:{line}:")), "{want}: {message}, not line {line}");
        assert!(message.contains(want), "{message}\n  want {want}");
        assert!(!error.hint().is_empty());
    }
    let twice =
        text.replacen("name = \"linux-virt\"\nversion = \"6\"", "name = \"a\"\nversion = \"1.0-r0\"", 1);
    let error = parse(&twice).expect_err("twice").to_string();
    assert!(error.contains("a-1.0-r0 stands in line "), "{error}");
}

#[test]
fn any_bytes_are_read_or_refused() {
    let text = sample().to_text();
    for end in (0..text.len()).step_by(7) {
        let _ = parse(&text[..end]);
    }
    for place in (0..text.len()).step_by(11) {
        let _ = parse(&format!("{}\"{}", &text[..place], &text[place..]));
    }
}
