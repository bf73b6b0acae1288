//! Programs and libraries of the host run after they were stripped, with every library that they load stripped, too.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{find, is_loadable, output, skip, strip_file};

/// What glibc's loader loads for a program: names and paths.
fn loaded(program: &Path, libraries: Option<&Path>) -> BTreeMap<String, PathBuf> {
    let mut command = Command::new(program);
    command.env("LD_TRACE_LOADED_OBJECTS", "1").envs(libraries.map(|path| ("LD_LIBRARY_PATH", path)));
    let text = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.trim().split_once(" => "));
    lines.filter_map(|(name, rest)| Some((name.to_owned(), rest.split_once(" (")?.0.into()))).collect()
}

/// Strips the libraries of a program into a directory.
fn strip_libraries(program: &Path, directory: &Path) {
    fs_err::create_dir_all(directory).expect("a directory");
    for (name, path) in loaded(program, None) {
        let to = directory.join(name);
        if !to.exists() {
            strip_file(&fs_err::canonicalize(path).expect("it is there"), &to);
        }
    }
}

/// Asserts that the loader takes every library from a directory.
fn assert_loads_from(program: &Path, directory: &Path) {
    let found = loaded(program, Some(directory));
    assert_eq!(found.len(), loaded(program, None).len(), "{}", program.display());
    for (name, path) in found {
        assert!(path.starts_with(directory), "{}: {name} is {}", program.display(), path.display());
    }
}

/// Programs that are known to be harmless, and what they are asked to do with a text.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("awk", &["{ print $1 }"]),
    ("bash", &["-c", "echo $((6 * 7)); wc -l"]),
    ("bzip2", &["-c"]),
    ("cat", &[]),
    ("cpio", &["--version"]),
    ("curl", &["--version"]),
    ("diff", &["--version"]),
    ("dpkg-deb", &["--version"]),
    ("find", &["--version"]),
    ("gawk", &["{ print $1 }"]),
    ("git", &["hash-object", "--stdin"]),
    ("grep", &["-c", "a"]),
    ("gzip", &["-cn"]),
    ("ls", &["--version"]),
    ("lz4", &["-c"]),
    ("make", &["--version"]),
    ("objdump", &["--version"]),
    ("openssl", &["dgst", "-sha256"]),
    ("openssl", &["version"]),
    ("perl", &["-ne", "print if /a/"]),
    ("qemu-img", &["--version"]),
    ("readelf", &["--version"]),
    ("sed", &["s/a/b/"]),
    ("sha256sum", &[]),
    ("sort", &[]),
    ("strace", &["--version"]),
    ("tar", &["--version"]),
    ("xz", &["-c"]),
    ("zstd", &["-c"]),
];

#[test]
fn programs_of_the_host_do_what_they_did() {
    if !cfg!(target_env = "gnu") {
        return skip("glibc's loader");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let text = directory.path().join("text");
    fs_err::write(&text, include_str!("../../../Cargo.toml")).expect("written");
    let mut count = 0;
    for (name, arguments) in PROGRAMS {
        let Some(program) = find(name).map(|path| fs_err::canonicalize(path).expect("it is there")) else {
            continue;
        };
        if !is_loadable(&program) {
            continue;
        }
        let (ours, libraries) =
            (directory.path().join(name), directory.path().join(format!("{name}-libraries")));
        strip_file(&program, &ours);
        strip_libraries(&program, &libraries);
        assert_loads_from(&ours, &libraries);
        let run = |program: &Path, libraries: Option<&Path>| -> Output {
            let input = fs_err::File::open(&text).expect("readable").into_file();
            let mut command = Command::new(program);
            command.arg0(name).args(*arguments).env("LC_ALL", "C").stdin(Stdio::from(input));
            command.envs(libraries.map(|path| ("LD_LIBRARY_PATH", path)));
            command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
        };
        let (before, after) = (run(&program, None), run(&ours, Some(&libraries)));
        assert!(before.status.success() && !before.stdout.is_empty(), "{name}: {before:?}");
        assert_eq!(after, before, "{name}");
        count += 1;
    }
    println!("{count} programs");
    if count < 10 {
        skip("a host with common programs");
    }
}

/// Libraries whose constructors are known to be harmless.
const LIBRARIES: &[&str] = &[
    "libacl.so.1",
    "libattr.so.1",
    "libblkid.so.1",
    "libbz2.so.1.0",
    "libcap.so.2",
    "libcom_err.so.2",
    "libcrypt.so.1",
    "libcrypto.so.3",
    "libcurl.so.4",
    "libdw.so.1",
    "libelf.so.1",
    "libexpat.so.1",
    "libffi.so.8",
    "libgcc_s.so.1",
    "libgmp.so.10",
    "libgnutls.so.30",
    "libgomp.so.1",
    "libhogweed.so.6",
    "libidn2.so.0",
    "liblz4.so.1",
    "liblzma.so.5",
    "libm.so.6",
    "libmagic.so.1",
    "libmount.so.1",
    "libmpfr.so.6",
    "libncursesw.so.6",
    "libnettle.so.8",
    "libnghttp2.so.14",
    "libp11-kit.so.0",
    "libpcre2-8.so.0",
    "libpng16.so.16",
    "libreadline.so.8",
    "libresolv.so.2",
    "libselinux.so.1",
    "libsqlite3.so.0",
    "libssl.so.3",
    "libstdc++.so.6",
    "libtasn1.so.6",
    "libtinfo.so.6",
    "libunistring.so.2",
    "libuuid.so.1",
    "libxml2.so.2",
    "libz.so.1",
    "libzstd.so.1",
];

/// Loads each library at once and for good, asserts that it is this file that is in memory, and asks it for its version
/// if it is one of those that tell it.
const LOAD: &str = r#"
import ctypes, os, sys
VERSIONS = ["zlibVersion", "lzma_version_string", "ZSTD_versionString", "LZ4_versionString", "BZ2_bzlibVersion",
            "sqlite3_libversion", "XML_ExpatVersion", "curl_version", "crypt_preferred_method", "idn2_check_version"]
for path in sys.argv[1:]:
    library = ctypes.CDLL(path, mode=os.RTLD_NOW)
    assert os.path.realpath(path) in open("/proc/self/maps").read(), path
    print(os.path.basename(path), end="")
    for name in VERSIONS:
        # One that is in a library that this one needs is found, too.
        if hasattr(library, name):
            function = getattr(library, name)
            function.restype = ctypes.c_char_p
            print("", name, function(None).decode(), end="")
    print()
"#;

#[test]
fn libraries_of_the_host_load() {
    let python = find("python3")
        .map(|path| output(Command::new(path).args(["-c", "import sys; print(sys.executable)"])));
    let (Some(python), Some(libc)) = (python, loaded(Path::new("/bin/sh"), None).remove("libc.so.6")) else {
        return skip("python3");
    };
    let (python, from) = (PathBuf::from(python.trim()), libc.parent().expect("a directory"));
    let directory = tempfile::tempdir().expect("a directory");
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for name in LIBRARIES {
        let path = from.join(name);
        if path.exists() {
            let to = directory.path().join(name);
            strip_file(&fs_err::canonicalize(&path).expect("it is there"), &to);
            before.push(path);
            after.push(to);
        }
    }
    if before.len() < 10 {
        return skip("a host with common libraries");
    }
    let load = |libraries: &[PathBuf], first: Option<&Path>| {
        let mut command = Command::new(&python);
        output(command.args(["-c", LOAD]).args(libraries).envs(first.map(|path| ("LD_LIBRARY_PATH", path))))
    };
    let expected = load(&before, None);
    assert!(expected.contains("libz.so.1 zlibVersion 1."), "{expected}");
    assert_eq!(load(&after, Some(directory.path())), expected);
    println!("{} libraries", after.len());
}

#[test]
fn the_emulator_runs() {
    const ASK: &str = "io:format(\"~ts~n~ts~n~ts~n\", [code:root_dir(), erlang:system_info(version), \
        code:lib_dir(crypto)]), halt().";
    const DO: &str = "io:format(\"~ts ~ts~ts\", [binary:encode_hex(crypto:hash(sha256, <<\"abc\">>)), \
        os:cmd(\"echo from a port\"), code:which(crypto)]), halt().";
    let Some(erl) = find("erl") else { return skip("Erlang") };
    let told = output(Command::new(erl).args(["-noshell", "-eval", ASK]));
    let [root, version, crypto] = told.lines().collect::<Vec<_>>()[..] else { panic!("{told}") };
    let from = Path::new(root).join(format!("erts-{version}/bin"));
    let directory = tempfile::tempdir().expect("a directory");
    let (bin, libraries) = (directory.path().join("bin"), directory.path().join("libraries"));
    fs_err::create_dir(&bin).expect("a directory");
    for name in ["beam.smp", "erl_child_setup", "inet_gethost"] {
        strip_file(&from.join(name), &bin.join(name));
        strip_libraries(&from.join(name), &libraries);
    }
    let crypto = Path::new(crypto);
    let own = directory.path().join(crypto.file_name().expect("a name"));
    for below in ["ebin", "priv/lib"] {
        fs_err::create_dir_all(own.join(below)).expect("a directory");
        for entry in fs_err::read_dir(crypto.join(below)).expect("readable") {
            let (from, to) = {
                let entry = entry.expect("an entry");
                (entry.path(), own.join(below).join(entry.file_name()))
            };
            match is_loadable(&from) {
                true => drop(strip_file(&from, &to)),
                false => drop(fs_err::copy(&from, &to).expect("copied")),
            }
        }
    }
    strip_libraries(&crypto.join("priv/lib/crypto.so"), &libraries);
    assert_loads_from(&bin.join("beam.smp"), &libraries);
    let mut command = Command::new(bin.join("beam.smp"));
    command.args(["--", "-root", root, "-bindir"]).arg(&bin).args(["-progname", "erl", "--", "-home", "/"]);
    command
        .args(["-noshell", "-boot"])
        .arg(Path::new(root).join("bin/start_clean"))
        .arg("-pa")
        .arg(own.join("ebin"));
    command.args(["-eval", DO]).env("BINDIR", &bin).env("LD_LIBRARY_PATH", &libraries).stdin(Stdio::null());
    let said = output(&mut command);
    let expected = format!(
        "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD from a port\n{}",
        own.join("ebin/crypto.beam").display()
    );
    assert_eq!(said, expected);
}

/// What Rust's own linker makes, with all its debugging information.
#[test]
fn this_test_runs() {
    let program = std::env::current_exe().expect("this test");
    let directory = tempfile::tempdir().expect("a directory");
    let ours = directory.path().join("ours");
    assert_eq!(strip_file(&program, &ours), None);
    let sizes = [&program, &ours].map(|path| fs_err::metadata(path).expect("readable").len());
    assert!(sizes[1] < sizes[0] / 2, "{sizes:?}");
    assert_eq!(output(Command::new(&ours).arg("--list")), output(Command::new(&program).arg("--list")));
}
