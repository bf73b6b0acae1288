//! Programs made in every way that changes how a file is laid out: they run after they were stripped.

use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::elf::{KeptWhole, Kind};

use super::oracle::{self, HOST};
use super::{SHARED, find, output, skip, strip_file};

/// Thread-local and zeroed data, a constructor, unwinding, relocated pointers.
const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <execinfo.h>
#include <stdio.h>
#ifdef WITH_LIBRARY
int answer(int);
#else
static int answer(int question) { return question; }
#endif
static __thread int counter = 40;
static int zeros[100000];
static const char *const names[] = {"one", "two", "three"};
const char *const *volatile table = names;
__attribute__((constructor)) static void begin(void) { counter++; }
int main(int count, char **arguments) {
    void *frames[8];
    int sum = 0;
    for (int i = 0; i < 100000; i++) sum += zeros[i];
    printf("%d %d %s %d %d\n", counter + answer(1), sum, table[count + 1], count, backtrace(frames, 8) > 1);
    return 7;
}
"#;

const LIBRARY: &str = r#"
#include <stdio.h>
static __thread int calls;
static int zeros[1000];
static int begun;
__attribute__((constructor)) static void begin(void) { begun = 1; }
int answer(int question) { return question * begun + zeros[calls++]; }
"#;

/// A way to compile.
struct Way {
    name: &'static str,
    options: &'static [&'static str],
    /// Whether there is a library, too.
    dynamic: bool,
    /// A program without which it can't be done.
    needs: Option<&'static str>,
}

const fn way(name: &'static str, options: &'static [&'static str]) -> Way {
    Way { name, options, dynamic: true, needs: None }
}

const WAYS: &[Way] = &[
    way("plain", &[]),
    way("debugging", &["-g"]),
    way("compressed", &["-g", "-gz"]),
    way("split", &["-g3", "-gsplit-dwarf"]),
    way("relocations", &["-g", "-Wl,--emit-relocs"]),
    way("separate", &["-g", "-Wl,-z,separate-code"]),
    way("together", &["-g", "-Wl,-z,noseparate-code"]),
    way("build-id", &["-g", "-Wl,--build-id=sha1"]),
    way("no-build-id", &["-g", "-Wl,--build-id=none"]),
    way("large-pages", &["-g", "-Wl,-z,max-page-size=65536", "-Wl,-z,common-page-size=65536"]),
    way("huge-pages", &["-g", "-Wl,-z,max-page-size=2097152"]),
    way("packed-relocations", &["-g", "-Wl,-z,pack-relative-relocs"]),
    way("old-hash", &["-g", "-Wl,--hash-style=sysv", "-Wl,-z,norelro"]),
    way("sections", &["-g", "-ffunction-sections", "-fdata-sections", "-Wl,--unique"]),
    Way { dynamic: false, ..way("fixed", &["-g", "-no-pie"]) },
    Way { dynamic: false, ..way("static", &["-g", "-static"]) },
    Way { dynamic: false, ..way("static-pie", &["-g", "-static-pie"]) },
    Way { dynamic: false, ..way("static-relocations", &["-g", "-static", "-Wl,--emit-relocs"]) },
    Way { needs: Some("ld.gold"), ..way("gold", &["-g", "-fuse-ld=gold"]) },
    Way { needs: Some("ld.lld"), ..way("lld", &["-g", "-fuse-ld=lld"]) },
];

/// Compiles a program, and its library into the same directory if there is one. Debugging information names neither.
fn compile(way: &Way, directory: &Path) -> Vec<PathBuf> {
    let write = |name: &str, text: &str| fs_err::write(directory.join(name), text).expect("written");
    write("program.c", PROGRAM);
    write("library.c", LIBRARY);
    let cc = |arguments: &[&str]| {
        output(Command::new("cc").current_dir(directory).args(arguments).args(way.options));
    };
    if way.dynamic {
        cc(&["-shared", "-fPIC", "library.c", "-o", "libanswer.so"]);
        cc(&["-DWITH_LIBRARY", "program.c", "-o", "program", "-L.", "-lanswer", "-Wl,-rpath,$ORIGIN"]);
        vec![directory.join("libanswer.so"), directory.join("program")]
    } else {
        cc(&["program.c", "-o", "program"]);
        vec![directory.join("program")]
    }
}

fn run(program: &Path) -> (Option<i32>, String) {
    let output =
        Command::new(program).output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether there is what these tests need.
fn can_compile() -> bool {
    if find("cc").is_none() {
        skip("a C compiler");
    }
    find("cc").is_some() && oracle::available()
}

/// Strips files that are not stripped, and runs the program before and after.
fn check(files: &[PathBuf], name: &str) {
    let program = files.last().expect("a program");
    let expected = run(program);
    assert_eq!(expected, (Some(7), "42 0 three 1 1\n".to_owned()), "{name}");
    let stripped = tempfile::tempdir().expect("a directory");
    for file in files {
        let outcome = oracle::check(file, stripped.path(), HOST);
        assert_eq!(outcome.reason, None, "{name}: {}", file.display());
        assert!(outcome.theirs.is_some() && outcome.after < outcome.before, "{name}");
        let ours = stripped.path().join(file.file_name().expect("a name"));
        let sections = output(Command::new("readelf").arg("-SW").arg(ours));
        for gone in [".symtab", ".strtab", ".debug", ".zdebug", ".comment", ".rela.text", ".gnu_debuglink"] {
            assert!(!sections.contains(gone), "{name}: {gone} is still there\n{sections}");
        }
        for there in [".text", ".eh_frame", ".shstrtab"] {
            assert!(sections.contains(there), "{name}: {there} is gone\n{sections}");
        }
    }
    assert_eq!(run(&stripped.path().join("program")), expected, "{name}");
}

#[test]
fn whatever_the_compiler_made_runs() {
    if !can_compile() {
        return;
    }
    for way in WAYS {
        if way.needs.is_some_and(|tool| find(tool).is_none()) {
            println!("{}: {} is absent", way.name, way.needs.unwrap_or_default());
            continue;
        }
        let directory = tempfile::tempdir().expect("a directory");
        check(&compile(way, directory.path()), way.name);
    }
}

/// A program without a C library, in one segment that begins behind the headers and on no page's boundary.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_program_of_one_segment_runs() {
    const SOURCE: &str = r#"
void _start(void) {
    static char text[] = "small\n";
    long result;
    text[0] = 'S';
    __asm__ volatile("syscall" : "=a"(result) : "a"(1), "D"(1), "S"(text), "d"(6) : "rcx", "r11", "memory");
    __asm__ volatile("syscall" : : "a"(60), "D"(7));
    __builtin_unreachable();
}
"#;
    if !can_compile() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (source, program) = (directory.path().join("small.c"), directory.path().join("small"));
    fs_err::write(&source, SOURCE).expect("written");
    for layout in ["-Wl,-N", "-Wl,-n", "-Wl,-z,noseparate-code"] {
        let options =
            ["-g", "-nostdlib", "-static", "-no-pie", "-fno-stack-protector", "-Wl,--build-id=none", layout];
        output(Command::new("cc").args(options).arg("-o").args([&program, &source]));
        let stripped = tempfile::tempdir().expect("a directory");
        let outcome = oracle::check(&program, stripped.path(), HOST);
        assert_eq!(outcome.reason, None, "{layout}");
        assert_eq!(run(&stripped.path().join("small")), (Some(7), "Small\n".to_owned()), "{layout}");
    }
}

#[test]
fn whatever_patchelf_was_at_runs() {
    if !can_compile() {
        return;
    }
    if find("patchelf").is_none() {
        return skip("patchelf");
    }
    for way in [way("patched", &["-g3"]), Way { dynamic: false, ..way("patched-fixed", &["-g3", "-no-pie"]) }]
    {
        let directory = tempfile::tempdir().expect("a directory");
        let files = compile(&way, directory.path());
        let before = oracle::check(&files[0], tempfile::tempdir().expect("a directory").path(), HOST).after;
        for file in &files {
            let path = format!("$ORIGIN:{}", "/somewhere/that/is/long".repeat(100));
            output(Command::new("patchelf").args(["--set-rpath", &path]).arg(file));
            output(Command::new("patchelf").args(["--add-needed", "libm.so.6"]).arg(file));
        }
        check(&files, way.name);
        let after = oracle::check(&files[0], tempfile::tempdir().expect("a directory").path(), HOST).after;
        assert!(after < before + 20_000, "{}: no hole is left: {before} became {after}", way.name);
    }
}

#[test]
fn sections_and_payloads_of_a_program_stay() {
    if !can_compile() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let program = compile(&way("payload", &["-g"]), directory.path()).remove(1);
    let at = |name: &str| directory.path().join(name);
    let payload: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    fs_err::write(at("payload"), &payload).expect("written");

    // A section, as PyInstaller adds it.
    let objcopy = |option: &str, value: &str, from: &Path, to: &Path| {
        output(Command::new("objcopy").arg(option).arg(value).args([from, to]));
    };
    let section = format!("pydata={}", at("payload").display());
    objcopy("--add-section", &section, &program, &at("with-section"));
    let stripped = tempfile::tempdir_in(directory.path()).expect("a directory");
    let outcome = oracle::check(&at("with-section"), stripped.path(), HOST);
    assert_eq!(outcome.reason, None);
    let section = format!("pydata={}", at("found").display());
    objcopy("--dump-section", &section, &stripped.path().join("with-section"), &at("unused"));
    assert_eq!(fs_err::read(at("found")).expect("dumped"), payload);

    // An archive behind the program.
    let mut bytes = fs_err::read(&program).expect("readable");
    let offset = bytes.len() as u64;
    bytes.extend_from_slice(b"PK\x03\x04");
    fs_err::write(at("with-payload"), &bytes).expect("written");
    let reason = strip_file(&at("with-payload"), &at("kept"));
    assert_eq!(reason, Some(KeptWhole::Payload { offset, size: 4 }));
    assert_eq!(fs_err::read(at("kept")).expect("readable"), bytes);
}

#[test]
fn object_files_and_debugging_information_stay() {
    if !can_compile() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let program = compile(&way("kept", &["-g"]), directory.path()).remove(1);
    let at = |name: &str| directory.path().join(name);
    output(Command::new("cc").args(["-g", "-c", "-o"]).args([at("object.o"), at("library.c")]));
    output(Command::new("objcopy").arg("--only-keep-debug").args([&program, &at("debug")]));
    assert_eq!(strip_file(&at("object.o"), &at("kept")), Some(KeptWhole::Kind(Kind::Relocatable)));
    assert_eq!(strip_file(&at("debug"), &at("kept")), Some(KeptWhole::NothingLoaded));
    // gdb joins the two by the addresses of sections, which are still there.
    assert_eq!(strip_file(&program, &at("stripped")), None);
    if find("gdb").is_some() {
        let mut gdb = Command::new("gdb");
        gdb.args(["-nx", "-batch", "-ex", "info line main", "-s"]).args([
            at("debug"),
            PathBuf::from("-e"),
            at("stripped"),
        ]);
        let said = output(&mut gdb);
        assert!(said.contains("of \"program.c\" starts at address"), "{said}");
    }
}

/// OTP for musl, linked by lld with all debugging information.
#[test]
fn an_otp_that_nobody_stripped() {
    let archive = Path::new(SHARED).join("otp/otp-27.3.4.1-x86_64-linux-musl.tar.xz");
    if !archive.exists() {
        println!("SKIP: {} is absent", archive.display());
        return;
    }
    if !oracle::available() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut tar = Command::new("tar");
    tar.args(["--wildcards", "--strip-components=1", "-xf"]).arg(&archive).arg("-C").arg(directory.path());
    output(tar.args(["*/erts-*/bin/*", "*/priv/lib/*.so"]));
    let files: Vec<PathBuf> =
        super::files_below(directory.path()).into_iter().filter(|path| super::is_loadable(path)).collect();
    let stripped = tempfile::tempdir().expect("a directory");
    let mut names = Vec::new();
    for file in files {
        let outcome = oracle::check(&file, stripped.path(), HOST);
        assert_eq!(outcome.reason, None, "{}", file.display());
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        println!("{name}: {} became {}, strip leaves {:?}", outcome.before, outcome.after, outcome.theirs);
        if name == "beam.smp" {
            assert!(outcome.before > 30_000_000 && outcome.after < 4_600_000, "{}", outcome.after);
        }
        names.push(name);
    }
    for name in ["beam.smp", "erl_child_setup", "crypto.so"] {
        assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
    }
}
