//! Shared libraries on real files: the host's, with `readelf` and glibc's own loader as oracles, and Alpine's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use leanfs::arch::Arch;
use leanfs::elf::{ElfFile, Libc, VersionNeed, VersionNeeds, system_directories};
use leanfs::layer::libraries::{self, MissingLibrary};
use leanfs::layer::sysroot;
use leanfs::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath, ValidTree};

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared");
const EPOCH: i64 = 1_700_000_000;

/// A tool or file that isn't here: a visible skip on a laptop, a failure in CI.
fn skip(what: &str) {
    assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{what} is needed in CI");
    println!("SKIP: {what} is absent");
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The host's Erlang: root directory, and directories of applications by name.
struct Erlang {
    root: PathBuf,
    erts: PathBuf,
    libraries: BTreeMap<String, PathBuf>,
}

fn erlang() -> Option<Erlang> {
    const ASK: &str = "io:format(\"~ts~n~ts~n\", [code:root_dir(), erlang:system_info(version)]), \
        [io:format(\"~ts ~ts~n\", [A, code:lib_dir(A)]) || A <- [kernel, stdlib, crypto, jiffy], \
        is_list(code:lib_dir(A))], halt().";
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let text = output("erl", &["-noshell", "-eval", ASK])?;
    let mut lines = text.lines();
    let root = PathBuf::from(lines.next()?);
    let erts = root.join(format!("erts-{}", lines.next()?));
    let libraries = lines.filter_map(|line| line.split_once(' '));
    let libraries = libraries.map(|(name, path)| (name.to_owned(), path.into())).collect();
    erts.join("bin/beam.smp").exists().then_some(Erlang { root, erts, libraries })
}

fn parse(path: &Path) -> ElfFile {
    let whole = ElfFile::parse(&fs_err::read(path).expect("readable")).expect("a good ELF file");
    let parts = ElfFile::read_from(fs_err::File::open(path).expect("readable")).expect("a good ELF file");
    assert_eq!(whole, parts, "{}", path.display());
    whole
}

/// What `readelf` says of a file, in our terms.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    interpreter: Option<String>,
    soname: Option<String>,
    needed: Vec<String>,
    rpath: Option<String>,
    runpath: Option<String>,
    needs: Vec<VersionNeeds>,
    definitions: Vec<String>,
}

fn readelf(path: &Path) -> Option<Said> {
    let text = output("readelf", &["-W", "-l", "-d", "-V", path.to_str()?])?;
    let mut said = Said::default();
    for line in text.lines() {
        let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest.to_owned());
        let bracketed =
            |mark: &str| Some(after(mark)?.split_once('[')?.1.trim_end().strip_suffix(']')?.to_owned());
        let word =
            |mark: &str| after(mark).and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
        if let Some(rest) = after("[Requesting program interpreter: ") {
            said.interpreter = Some(rest.trim_end_matches(']').to_owned());
        } else if let Some(name) = bracketed("(NEEDED)") {
            said.needed.push(name);
        } else if let Some(name) = bracketed("(SONAME)") {
            said.soname = Some(name);
        } else if let Some(list) = bracketed("(RPATH)") {
            said.rpath = Some(list);
        } else if let Some(list) = bracketed("(RUNPATH)") {
            said.runpath = Some(list);
        } else if line.contains("  File: ") && line.contains("  Cnt: ") {
            said.needs.push(VersionNeeds { library: word("  File: ")?, versions: Vec::new() });
        } else if line.contains("  Flags: ") && line.contains("  Version: ") && line.contains("Name: ") {
            let weak = after("  Flags: ")?.starts_with("WEAK");
            said.needs.last_mut()?.versions.push(VersionNeed { name: word("Name: ")?, weak });
        } else if line.contains(" Rev: ") && !line.contains("Flags: BASE") {
            said.definitions.push(word("  Name: ")?);
        }
    }
    Some(said)
}

#[test]
fn files_of_the_host_are_read_as_readelf_reads_them() {
    if output("readelf", &["--version"]).is_none() {
        return skip("readelf");
    }
    let mut paths: Vec<PathBuf> = vec!["/bin/sh".into(), std::env::current_exe().expect("this test")];
    match erlang() {
        Some(erlang) => {
            paths.push(erlang.erts.join("bin/beam.smp"));
            paths.push(erlang.erts.join("bin/erl_child_setup"));
            paths.push(erlang.libraries["crypto"].join("priv/lib/crypto.so"));
            paths.extend(erlang.libraries.get("jiffy").map(|jiffy| jiffy.join("priv/jiffy.so")));
        }
        None => skip("Erlang"),
    }
    // Whatever libraries stand beside the libc.
    if let Some(libc) = loaded(Path::new("/bin/sh")).get("libc.so.6") {
        let beside = fs_err::read_dir(libc.parent().expect("a parent")).expect("readable");
        let mut beside: Vec<PathBuf> = beside.map(|entry| entry.expect("an entry").path()).collect();
        beside.retain(|path| path.is_file() && path.to_string_lossy().contains(".so."));
        beside.sort();
        paths.extend(beside.into_iter().take(60));
    }
    for path in paths {
        let file = parse(&path);
        let said = readelf(&path).expect("readelf runs");
        let ours = Said {
            interpreter: file.interpreter,
            soname: file.soname,
            needed: file.needed,
            rpath: file.rpath,
            runpath: file.runpath,
            needs: file.version_needs,
            definitions: file.version_definitions,
        };
        assert_eq!(ours, said, "{}", path.display());
    }
}

#[test]
fn damaged_files_of_the_host_never_panic() {
    let bytes = fs_err::read("/bin/sh").expect("readable");
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let mut good = 0;
    for round in 0..600 {
        let mut damaged = bytes.clone();
        // The tables stand at the start; half of the damage is done there.
        let within = if round % 2 == 0 { damaged.len().min(0x3000) } else { damaged.len() };
        for _ in 0..=next(8) {
            damaged[4 + next(within - 4)] = next(256) as u8;
        }
        if round % 5 == 0 {
            damaged.truncate(next(bytes.len()));
        }
        good += usize::from(ElfFile::parse(&damaged).is_ok());
    }
    assert!(good > 0 && good < 600, "{good} of 600 were still good");
}

/// What glibc's loader loads for a program of the host: names and paths.
fn loaded(program: &Path) -> BTreeMap<String, PathBuf> {
    let text = Command::new(program)
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().split_once(" => "))
        .filter_map(|(name, rest)| Some((name.to_owned(), rest.split_once(" (")?.0.into())))
        .collect()
}

fn path(at: &Path) -> TreePath {
    TreePath::parse(at.to_str().expect("a path of text").as_bytes()).expect("a good path")
}

fn put(tree: &mut Tree, at: &Path, from: &Path) {
    let length = fs_err::metadata(from).expect("it is there").len();
    let node = Node::file(
        Content::from_path(from, length),
        Metadata { mtime: EPOCH, ..Metadata::PROGRAM },
        Origin::new(LayerKind::Release, "host"),
    );
    tree.insert_with_parents(path(at), node);
}

/// The host's emulator with the applications that a small program needs, without libraries.
fn emulator(erlang: &Erlang) -> Tree {
    let mut tree = Tree::new();
    for name in ["beam.smp", "erl_child_setup", "inet_gethost"] {
        let program = erlang.erts.join("bin").join(name);
        put(&mut tree, &program, &program);
    }
    let boot = erlang.root.join("bin/start_clean.boot");
    put(&mut tree, &boot, &boot);
    for directory in erlang.libraries.values() {
        for below in ["ebin", "priv", "priv/lib"] {
            let Ok(entries) = fs_err::read_dir(directory.join(below)) else { continue };
            for file in entries.map(|entry| entry.expect("an entry").path()).filter(|file| file.is_file()) {
                put(&mut tree, &file, &file);
            }
        }
    }
    tree
}

fn closed(tree: &Tree) -> libraries::Closure {
    libraries::close(tree, Arch::X86_64).expect("everything can be read")
}

#[test]
fn the_sysroot_gives_what_the_loader_of_the_host_would() {
    let Some(erlang) = erlang() else { return skip("Erlang") };
    let mut tree = emulator(&erlang);
    let closure = closed(&tree);
    assert_eq!(closure.problems, []);
    assert_eq!(closure.libcs(), BTreeSet::from([Libc::Glibc]));
    let missing = closure.missing;
    let added =
        sysroot::add(&mut tree, Path::new("/"), &missing, Arch::X86_64, EPOCH).expect("the host serves");
    closed(&tree).check().expect("complete");

    let mut expected = loaded(&erlang.erts.join("bin/beam.smp"));
    for plugin in ["crypto", "jiffy"] {
        let Some(directory) = erlang.libraries.get(plugin) else { continue };
        for below in ["priv/lib/crypto.so", "priv/jiffy.so"] {
            let plugin = directory.join(below);
            if plugin.exists() {
                let needed = output("ldd", &[plugin.to_str().expect("text")]).unwrap_or_default();
                let lines = needed.lines().filter_map(|line| line.trim().split_once(" => "));
                expected.extend(
                    lines.filter_map(|(name, rest)| Some((name.to_owned(), rest.split_once(" (")?.0.into()))),
                );
            }
        }
    }
    let real = |path: &Path| fs_err::canonicalize(path).expect("it is there");
    let expected: BTreeSet<(String, PathBuf)> =
        expected.into_iter().map(|(name, path)| (name, real(&path))).collect();
    let (by_name, added): (Vec<_>, Vec<_>) = added.into_iter().partition(|one| one.name == "legacy.so");
    assert!(by_name.iter().all(|one| one.path.to_string().contains("/ossl-modules/")), "{by_name:?}");
    let ours: BTreeSet<(String, PathBuf)> = added
        .iter()
        .filter(|one| !one.name.starts_with('/'))
        .map(|one| (one.name.clone(), one.source.clone()))
        .collect();
    assert_eq!(ours, expected);

    let loader = added.iter().find(|one| one.name.starts_with('/')).expect("a loader");
    assert_eq!(loader.name, loader.path.to_string());
    let directories = system_directories(&fs_err::read(&loader.source).expect("readable")).expect("found");
    for one in added.iter().filter(|one| !one.name.starts_with('/')) {
        let directory = one.path.parent().expect("a directory").to_string();
        assert!(directories.contains(&directory), "{} is in none of {directories:?}", one.path);
    }
    let version = sysroot::glibc(Path::new("/"), Arch::X86_64).expect("readable").expect("a glibc");
    let host = output("ldd", &["--version"]).unwrap_or_default();
    assert!(host.lines().next().unwrap_or_default().ends_with(&version), "{version}: {host}");
}

/// Writes a tree to a directory.
fn write(tree: &ValidTree, directory: &Path) {
    use std::os::unix::fs::{PermissionsExt, symlink};
    for (path, node) in tree.iter() {
        let at = directory.join(path.to_string().trim_start_matches('/'));
        match &node.kind {
            NodeKind::Directory => fs_err::create_dir_all(&at).expect("a directory"),
            NodeKind::File(content) => {
                fs_err::write(&at, content.read(1 << 30).expect("readable")).expect("written");
                let mode = std::fs::Permissions::from_mode(node.metadata.mode);
                fs_err::set_permissions(&at, mode).expect("a mode");
            }
            NodeKind::Symlink(target) => {
                symlink(String::from_utf8_lossy(target).as_ref(), &at).expect("a link");
            }
            NodeKind::Hardlink(target) => {
                let target = directory.join(target.to_string().trim_start_matches('/'));
                fs_err::hard_link(target, &at).expect("a hardlink");
            }
            other => panic!("{} has no place here", other.name()),
        }
    }
}

/// Runs a command to its end, or kills it after a minute (the emulator spins for ever without `/dev/null`).
fn run(command: &mut Command) -> (bool, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let end = Instant::now() + Duration::from_secs(60);
    let status = loop {
        match child.try_wait().expect("it can be waited for") {
            Some(status) => break status.success(),
            None if Instant::now() > end => {
                child.kill().expect("it can be killed");
                child.wait().expect("it ends");
                break false;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut text = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut text).expect("text");
    child.stderr.take().expect("piped").read_to_string(&mut text).expect("text");
    (status, text)
}

/// Loads the NIFs, and shows which libraries are in memory.
fn program(erlang: &Erlang) -> String {
    let jiffy = match erlang.libraries.contains_key("jiffy") {
        true => "io:format(\"json ~ts~n\", [jiffy:encode([1, true])]), ",
        false => "",
    };
    format!(
        "io:format(\"hash ~w~n\", [byte_size(crypto:hash(sha256, <<>>))]), \
         io:format(\"old ~w~n\", [lists:member(blowfish_cbc, proplists:get_value(ciphers, crypto:supports()))]), \
         {jiffy}\
         case file:open(\"/proc/self/maps\", [read, raw, binary]) of {{ok, F}} -> {{ok, B}} = file:read(F, 1000000), \
         io:put_chars(B); _ -> ok end, erlang:halt(0)."
    )
}

fn arguments(erlang: &Erlang, root: &Path) -> Vec<String> {
    let inside =
        |path: &Path| format!("{}{}", root.display().to_string().trim_end_matches('/'), path.display());
    let mut arguments = vec![
        "--".to_owned(),
        "-root".to_owned(),
        inside(&erlang.root),
        "-bindir".to_owned(),
        inside(&erlang.erts.join("bin")),
        "--".to_owned(),
        "-noshell".to_owned(),
        "-boot".to_owned(),
        inside(&erlang.root.join("bin/start_clean")),
    ];
    for directory in erlang.libraries.values() {
        arguments.extend(["-pa".to_owned(), inside(&directory.join("ebin"))]);
    }
    arguments.extend(["-eval".to_owned(), program(erlang)]);
    arguments
}

#[test]
fn an_emulator_runs_on_what_the_sysroot_gave() {
    let Some(erlang) = erlang() else { return skip("Erlang") };
    let mut tree = emulator(&erlang);
    let missing = closed(&tree).missing;
    let added =
        sysroot::add(&mut tree, Path::new("/"), &missing, Arch::X86_64, EPOCH).expect("the host serves");
    let tree = tree.validate().expect("a good tree");
    let directory = tempfile::tempdir().expect("a directory");
    let root = fs_err::canonicalize(directory.path()).expect("its path");
    write(&tree, &root);
    let inside = |path: &str| root.join(path.trim_start_matches('/'));

    // Without privileges: the copied loader, with the directories that it would look into by itself.
    let loader = added.iter().find(|one| one.name.starts_with('/')).expect("a loader");
    let mut list: Vec<String> = added
        .iter()
        .filter(|one| !one.name.starts_with('/'))
        .map(|one| inside(&one.path.parent().expect("a directory").to_string()).display().to_string())
        .collect();
    list.sort();
    list.dedup();
    let beam = erlang.erts.join("bin/beam.smp");
    let (good, text) = run(Command::new(inside(&loader.path.to_string()))
        .args(["--inhibit-cache", "--library-path", &list.join(":")])
        .arg(inside(&beam.display().to_string()))
        .args(arguments(&erlang, &root))
        .env_clear()
        .env("ERL_CRASH_DUMP_SECONDS", "0")
        .env("BINDIR", inside(&erlang.erts.join("bin").display().to_string())));
    assert!(good && text.contains("hash 32\n"), "{text}");
    assert!(!erlang.libraries.contains_key("jiffy") || text.contains("json [1,true]\n"), "{text}");
    let outside: Vec<&str> = text
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        // OpenSSL loads its provider of old ciphers by the absolute path that it was built with.
        .filter(|mapped| !mapped.contains("/ossl-modules/"))
        .filter(|mapped| mapped.contains(".so") && !mapped.starts_with(root.to_str().expect("text")))
        .collect();
    assert_eq!(outside, [""; 0], "libraries of the host were loaded");

    // With them: nothing else is there at all.
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: only root can chroot");
        return;
    }
    fs_err::create_dir_all(inside("dev")).expect("a directory");
    let null = Command::new("mknod").arg(inside("dev/null")).args(["c", "1", "3"]).status();
    if !null.is_ok_and(|status| status.success()) {
        println!("SKIP: no device can be made here");
        return;
    }
    let with_old_ciphers = text.contains("old true\n");
    let (good, text) = run(Command::new("chroot")
        .arg(&root)
        .arg(&beam)
        .args(arguments(&erlang, Path::new("/")))
        .env_clear()
        .env("ERL_CRASH_DUMP_SECONDS", "0")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("BINDIR", erlang.erts.join("bin")));
    assert!(good && text.contains("hash 32\n"), "{text}");
    assert_eq!(text.contains("old true\n"), with_old_ciphers, "{text}");
}

/// The files of a gzipped tarball, or of an `.apk`, which is several of them in one.
fn unpack(tree: &mut Tree, archive: &Path, below: &str, layer: LayerKind) {
    let file = fs_err::File::open(archive).expect("readable");
    let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(std::io::BufReader::new(file)));
    tar.set_ignore_zeros(true);
    for entry in tar.entries().expect("a tarball") {
        let mut entry = entry.expect("an entry");
        let origin = Origin::new(layer, archive.file_name().expect("a name").to_string_lossy().as_ref());
        let name = entry.path().expect("a path").to_string_lossy().into_owned();
        if name.starts_with('.') && !name.starts_with("./") {
            continue;
        }
        let at: TreePath = format!("{below}/{name}").parse().expect("a good path");
        let node = match entry.header().entry_type() {
            tar::EntryType::Directory => Node::directory(Metadata::DIRECTORY, origin),
            tar::EntryType::Symlink => {
                Node::symlink(entry.link_name_bytes().expect("a target").into_owned(), origin)
            }
            tar::EntryType::Regular => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).expect("readable");
                Node::file(Content::from_bytes(bytes), Metadata::FILE, origin)
            }
            _ => continue,
        };
        tree.insert_with_parents(at, node);
    }
}

fn package(tree: &mut Tree, repository: &str, name: &str) {
    let directory = Path::new(SHARED).join("mirror/v3.23").join(repository).join("x86_64");
    let archive = fs_err::read_dir(directory)
        .expect("a repository")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| {
            let file = path.file_name().expect("a name").to_string_lossy();
            file.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        })
        .expect("the package is there");
    unpack(tree, &archive, "", LayerKind::Package);
}

fn provides(missing: &[MissingLibrary]) -> Vec<String> {
    missing.iter().map(MissingLibrary::provide).collect()
}

#[test]
fn releases_for_musl_ask_for_what_alpine_has() {
    if !Path::new(SHARED).exists() {
        println!("SKIP: ../shared is absent");
        return;
    }
    let mut tree = Tree::new();
    let release = Path::new(SHARED).join("releases/hello-otp27-musl-erts.tar.gz");
    unpack(&mut tree, &release, "app", LayerKind::Release);
    let closure = closed(&tree);
    assert_eq!(closure.problems, []);
    assert_eq!(
        provides(&closure.missing),
        ["so:libc.musl-x86_64.so.1", "so:libncursesw.so.6", "so:libz.so.1"]
    );
    for name in ["musl", "libncursesw", "zlib", "busybox"] {
        package(&mut tree, "main", name);
    }
    closed(&tree).check().expect("complete");
}

#[test]
fn packages_of_erlang_ask_for_what_their_maker_found() {
    if !Path::new(SHARED).exists() {
        println!("SKIP: ../shared is absent");
        return;
    }
    // `.PKGINFO` of erlang27: `depend = so:…` for these four.
    let mut tree = Tree::new();
    package(&mut tree, "community", "erlang27");
    let closure = closed(&tree);
    assert_eq!(closure.problems, []);
    assert_eq!(
        provides(&closure.missing),
        ["so:libc.musl-x86_64.so.1", "so:libcrypto.so.3", "so:libncursesw.so.6", "so:libz.so.1"]
    );
    assert!(closure.missing.iter().all(|missing| missing.libc == Libc::Musl));
    for name in ["musl", "libncursesw", "zlib", "libcrypto3"] {
        package(&mut tree, "main", name);
    }
    let closure = closed(&tree);
    closure.check().expect("complete");
    let crypto = closure.libcs.keys().find(|path| path.file_name() == Some(b"crypto.so")).expect("the NIF");
    let needs: Vec<String> = closure.needs(crypto).iter().map(ToString::to_string).collect();
    assert!(needs.iter().any(|path| path.ends_with("/libcrypto.so.3")), "{needs:?}");
}

#[test]
fn a_glibc_emulator_stands_beside_packages_for_musl() {
    let Some(erlang) = erlang() else { return skip("Erlang") };
    if !Path::new(SHARED).exists() {
        println!("SKIP: ../shared is absent");
        return;
    }
    let mut tree = emulator(&erlang);
    for name in ["musl", "libncursesw", "zlib", "libcrypto3", "busybox"] {
        package(&mut tree, "main", name);
    }
    let missing = closed(&tree).missing;
    let added =
        sysroot::add(&mut tree, Path::new("/"), &missing, Arch::X86_64, EPOCH).expect("the host serves");
    assert!(added.iter().any(|one| one.name == "libz.so.1"), "musl's zlib is no zlib for glibc");
    let closure = closed(&tree);
    closure.check().expect("complete");
    assert_eq!(closure.libcs(), BTreeSet::from([Libc::Musl, Libc::Glibc]));
    tree.validate().expect("a good tree");
}

/// Small programs and libraries that `ld` links against each other, in every mixture of search paths.
struct Linker {
    directory: tempfile::TempDir,
    random: u64,
}

impl Linker {
    const NAMES: [&str; 3] = ["libda.so", "libdb.so", "libdc.so"];

    fn new() -> Option<Self> {
        let linker =
            Self { directory: tempfile::tempdir().expect("a directory"), random: 0x9e37_79b9_7f4a_7c15 };
        let source = linker.at("empty.s");
        fs_err::write(&source, ".globl _start\n_start:\n").expect("written");
        let object = linker.at("empty.o");
        let assembled = Command::new("as").arg("-o").arg(&object).arg(&source).status();
        if !assembled.is_ok_and(|status| status.success()) {
            return None;
        }
        fs_err::create_dir_all(linker.at("stubs")).expect("a directory");
        for name in Self::NAMES {
            linker.link(&linker.at("stubs").join(name), &["-shared", "-soname", name], &[]);
        }
        Some(linker)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn link(&self, output: &Path, arguments: &[&str], needed: &[&str]) {
        fs_err::create_dir_all(output.parent().expect("a parent")).expect("a directory");
        let output = Command::new("ld")
            .args(["--no-as-needed", "--allow-shlib-undefined", "--unresolved-symbols=ignore-all", "-o"])
            .arg(output)
            .args(arguments)
            .arg(self.at("empty.o"))
            .args(needed.iter().map(|name| self.at("stubs").join(name)))
            .output()
            .expect("ld runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn choose<'a, T: ?Sized>(&mut self, among: &[&'a T]) -> &'a T {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        among[(self.random >> 33) as usize % among.len()]
    }

    /// One program with its libraries in a directory of its own; the paths of all files.
    fn case(&mut self, number: usize, interpreter: &str) -> (PathBuf, Vec<PathBuf>) {
        let base =
            fs_err::canonicalize(self.directory.path()).expect("its path").join(format!("case{number}"));
        let [a, b, c] = Self::NAMES;
        let program = base.join("bin/program");
        let mut files = vec![program.clone()];
        let absolute = |below: &str| base.join(below).display().to_string();
        for (name, needs) in [
            (None, [&[a][..], &[a, c]]),
            (Some(a), [&[b], &[b, c]]),
            (Some(b), [&[c], &[c]]),
            (Some(c), [&[], &[a]]),
        ] {
            let needs = self.choose(&needs);
            let tags = self.choose(&["", "--disable-new-dtags", "--disable-new-dtags", "--enable-new-dtags"]);
            let list = match self.choose(&["origin", "other", "same", "both", "dots"]) {
                "origin" => "$ORIGIN/../d0".to_owned(),
                "other" => absolute("d1"),
                "same" => "${ORIGIN}".to_owned(),
                "both" => format!("{}:$ORIGIN/../d1", absolute("none")),
                _ => format!("{}/./../d0/", absolute("bin")),
            };
            let mut arguments = match name {
                Some(name) => vec!["-shared", "-soname", name],
                None => vec!["-pie", "-dynamic-linker", interpreter],
            };
            if !tags.is_empty() {
                arguments.extend([tags, "-rpath", &list]);
            }
            let Some(name) = name else {
                self.link(&program, &arguments, needs);
                continue;
            };
            for below in self.choose(&[&["d0"][..], &["d0"], &["d1"], &["d0", "d1"], &[]]) {
                let at = base.join(below).join(name);
                self.link(&at, &arguments, needs);
                files.push(at);
            }
        }
        (program, files)
    }
}

/// What a loader lists for a program: each name, with the file or without.
fn listed(loader: &Path, program: &Path) -> BTreeSet<(String, Option<PathBuf>)> {
    // As ldd(1) asks glibc's, which with `--list` would stop at the first that is missing.
    let (list, trace): (&[&str], _) = match loader.to_string_lossy().contains("ld-musl") {
        true => (&["--list"], None),
        false => (&[], Some(("LD_TRACE_LOADED_OBJECTS", "1"))),
    };
    let mut command = Command::new(loader);
    let output = command.args(list).arg(program).env_clear().envs(trace).output().expect("the loader runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut all = BTreeSet::new();
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("Error loading shared library ") {
            all.insert((rest.split_once(':').expect("a name").0.to_owned(), None));
        } else if let Some((name, rest)) = line.trim().split_once(" => ") {
            let found =
                rest.split_once(" (").map(|(path, _)| fs_err::canonicalize(path).expect("it is there"));
            all.insert((name.to_owned(), found));
        }
    }
    all.retain(|(name, _)| Linker::NAMES.contains(&name.as_str()));
    all
}

#[test]
fn real_loaders_find_the_same_files() {
    if !cfg!(target_arch = "x86_64") {
        return skip("an x86_64 machine");
    }
    let Some(mut linker) = Linker::new() else { return skip("binutils") };
    let mut loaders = Vec::new();
    let glibc = Path::new("/lib64/ld-linux-x86-64.so.2");
    match glibc.exists() {
        true => loaders.push((glibc.display().to_string(), fs_err::canonicalize(glibc).expect("its path"))),
        false => skip("glibc's loader"),
    }
    match Path::new(SHARED).exists() {
        true => {
            let mut tree = Tree::new();
            package(&mut tree, "main", "musl");
            let name = "/lib/ld-musl-x86_64.so.1";
            let (_, content) = tree.file(&path(Path::new(name))).expect("musl's loader");
            let copy = linker.at("ld-musl-x86_64.so.1");
            fs_err::write(&copy, content.read(1 << 24).expect("readable")).expect("written");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs_err::set_permissions(&copy, mode).expect("a mode");
            loaders.push((name.to_owned(), copy));
        }
        false => println!("SKIP: ../shared, with musl's loader, is absent"),
    }
    let mut incomplete = 0;
    for number in 0..120 {
        let Some((name, loader)) = loaders.get(number % loaders.len().max(1)) else { return };
        let (program, files) = linker.case(number, name);
        let mut tree = Tree::new();
        put(&mut tree, Path::new(name), loader);
        for file in &files {
            put(&mut tree, file, file);
        }
        let closure =
            libraries::close_program(&tree, Arch::X86_64, &path(&program)).expect("everything can be read");
        assert_eq!(closure.problems, []);
        let found = closure.resolved.values().flatten();
        let found = found.map(|(name, real)| (name.clone(), Some(PathBuf::from(real.to_string()))));
        let missing = closure.missing.iter().map(|missing| (missing.name.clone(), None));
        let ours: BTreeSet<_> =
            found.chain(missing).filter(|(name, _)| Linker::NAMES.contains(&name.as_str())).collect();
        let theirs = listed(loader, &program);
        incomplete += usize::from(theirs.iter().any(|(_, found)| found.is_none()));
        assert_eq!(ours, theirs, "{} with {name}", program.display());
    }
    assert!((10..110).contains(&incomplete), "{incomplete} of 120 lacked something");
}

/// The libraries that a package says it needs.
fn asked(archive: &Path) -> BTreeSet<String> {
    let file = fs_err::File::open(archive).expect("readable");
    let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(std::io::BufReader::new(file)));
    tar.set_ignore_zeros(true);
    let mut entries = tar.entries().expect("a package").map(|entry| entry.expect("an entry"));
    let mut info =
        entries.find(|entry| entry.path_bytes().as_ref() == b".PKGINFO").expect("every package has one");
    let mut text = String::new();
    info.read_to_string(&mut text).expect("text");
    let depends = text.lines().filter_map(|line| line.strip_prefix("depend = "));
    depends.filter(|name| name.starts_with("so:")).map(str::to_owned).collect()
}

#[test]
fn every_package_of_alpine_asks_for_what_its_files_need() {
    /// Kernel modules are no libraries, and forty megabytes of them are slow to unpack.
    const KERNEL: &str = "linux-virt-";
    if !Path::new(SHARED).exists() {
        println!("SKIP: ../shared is absent");
        return;
    }
    let main = Path::new(SHARED).join("mirror/v3.23/main/x86_64");
    let mut archives: Vec<PathBuf> =
        fs_err::read_dir(main).expect("a repository").map(|entry| entry.expect("an entry").path()).collect();
    archives.retain(|path| {
        let name = path.file_name().expect("a name").to_string_lossy();
        name.ends_with(".apk") && !name.starts_with(KERNEL)
    });
    // One for glibc.
    archives.push(Path::new(SHARED).join("real/v2/hello-wolfi-2.12.1-r0.apk"));
    let mut wrong = Vec::new();
    for archive in &archives {
        let mut tree = Tree::new();
        unpack(&mut tree, archive, "", LayerKind::Package);
        let ours: BTreeSet<String> = provides(&closed(&tree).missing).into_iter().collect();
        let theirs = asked(archive);
        if ours != theirs {
            wrong.push(format!("{}: {ours:?}, not {theirs:?}", archive.display()));
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(archives.len() > 50);
}

#[test]
fn a_system_of_alpine_is_closed() {
    if !Path::new(SHARED).exists() {
        println!("SKIP: ../shared is absent");
        return;
    }
    let mut tree = Tree::new();
    let archive = Path::new(SHARED).join("real/rootfs/alpine-minirootfs-3.20.3-x86_64.tar.gz");
    unpack(&mut tree, &archive, "", LayerKind::Package);
    let closure = closed(&tree);
    closure.check().expect("complete");
    assert!(closure.resolved.len() > 5);
    // On another architecture, every program of it is wrong.
    let closure = libraries::close(&tree, Arch::Aarch64).expect("everything can be read");
    assert!(closure.problems.iter().any(|problem| problem.to_string().starts_with("/bin/busybox (")));
    assert!(closure.check().is_err() && closure.missing.is_empty());
}
