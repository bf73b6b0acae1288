//! Configuring and building kernels: with a make(1) of the tests' own, and from Debian's `linux-source`.

mod other;
mod real;

use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;

const LEANFS: &str = env!("CARGO_BIN_EXE_leanfs");

/// What a kernel's makefiles do, as far as leanfs sees it: configurations are what they were told, but for a symbol
/// that is dropped; a kernel is its configuration and the environment that matters.
const MAKE: &str = r#"#!/bin/sh
echo "$*" >>"$RECORD"
for word; do
    case $word in
        O=*) out=${word#O=} ;;
        KCONFIG_ALLCONFIG=*) all=${word#KCONFIG_ALLCONFIG=} ;;
        -C | -j*) ;;
        *=* | /*) ;;
        *) targets="$targets $word" ;;
    esac
done
for target in $targets; do
    case $target in
        tinyconfig) echo 'CONFIG_TINY=y' >"$out/.config" ;;
        allnoconfig) grep -v CONFIG_DROPPED "$all" >"$out/.config" ;;
        olddefconfig) ;;
        bzImage)
            echo '  CC      kernel/fork.o'
            grep -q CONFIG_SLOW=y "$out/.config" && { echo $$ >"$RECORD.pid"; sleep 600; }
            grep -q CONFIG_BROKEN=y "$out/.config" && { echo 'kernel/fork.c:1: error: it is broken' >&2; exit 2; }
            mkdir -p "$out/arch/x86/boot" "$out/include/config"
            { head -c 514 /dev/zero; printf 'HdrS'; head -c 2000 /dev/zero; echo; cat "$out/.config"
              env | grep -e ^KBUILD -e ^SOURCE -e ^LC_ALL -e ^LEANFS_TEST | sort; } >"$out/arch/x86/boot/bzImage"
            echo vmlinux >"$out/vmlinux"; echo map >"$out/System.map"
            echo 6.1.99 >"$out/include/config/kernel.release" ;;
    esac
done
"#;

/// A directory with a source, the programs and a cache.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let bin = path.join("bin");
        fs::create_dir(&bin).expect("made");
        for tool in ["gcc", "ld", "flex", "bison", "awk", "bc", "xz", "gzip"] {
            fs::write(bin.join(tool), "#!/bin/sh\necho 1.0\n").expect("written");
        }
        let make = MAKE.replace("$RECORD", &path.join("record").display().to_string());
        fs::write(bin.join("make"), make).expect("written");
        for entry in fs::read_dir(&bin).expect("there") {
            let path = entry.expect("an entry").path();
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("set");
        }
        for tool in ["sh", "sed", "grep", "cat", "head", "mkdir", "env", "sort", "sleep"] {
            let place = ["/bin", "/usr/bin"].map(|place| Path::new(place).join(tool));
            let place = place.into_iter().find(|place| place.exists()).expect("every Unix has it");
            symlink(place, bin.join(tool)).expect("linked");
        }
        fs::write(path.join("record"), "").expect("written");
        let mut tar = tar::Builder::new(fs::File::create(path.join("linux.tar")).expect("created"));
        for (name, text) in [
            ("linux-6.1/Makefile", "VERSION = 6\nPATCHLEVEL = 1\n"),
            ("linux-6.1/Kconfig", "config DROPPED\n\tbool \"d\"\n\tdepends on ELSEWHERE\n"),
            ("linux-6.1/scripts/kconfig/Makefile", ""),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            tar.append_data(&mut header, name, text.as_bytes()).expect("written");
        }
        tar.into_inner().expect("finished");
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, verb: &str, fragment: &str, rest: &[&str]) -> Command {
        fs::write(self.path("own.config"), fragment).expect("written");
        let mut command = Command::new(LEANFS);
        command.args([
            "kernel",
            verb,
            "--arch",
            "x86_64",
            "--config",
            "./own.config",
            "--cache-dir",
            "cache",
        ]);
        command.args(rest).current_dir(self.directory.path());
        command.env("PATH", self.path("bin")).env("LEANFS_TEST_NOISE", "1").env("LC_ALL", "de_DE.UTF-8");
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, verb: &str, fragment: &str, rest: &[&str]) -> Output {
        self.command(verb, fragment, rest).output().expect("started")
    }

    /// How often make ran.
    fn runs(&self) -> usize {
        fs::read_to_string(self.path("record")).expect("there").lines().count()
    }

    /// What is left below the directory of running builds.
    fn left(&self) -> usize {
        fs::read_dir(self.path("cache/kernels/work")).expect("there").count()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn kernels_are_built_once_and_installed() {
    let bench = Bench::new();
    let build = |fragment: &str, rest: &[&str]| {
        let output = bench.run("build", fragment, &[&["linux.tar", "-o", "out"], rest].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let said = build("CONFIG_A=y\n", &[]);
    assert!(said.starts_with("out/bzImage (") && said.ends_with("Linux 6.1.99\n"), "{said}");
    let mut names: Vec<String> = fs::read_dir(bench.path("out"))
        .expect("there")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("ASCII"))
        .collect();
    names.sort();
    assert_eq!(names, ["System.map", "bzImage", "config", "kernel.json", "vmlinux"]);
    let image = text(&fs::read(bench.path("out/bzImage")).expect("there"));
    for line in [
        "CONFIG_TINY=y",
        "CONFIG_A=y",
        "CONFIG_EPOLL=y",
        "KBUILD_BUILD_HOST=leanfs",
        "KBUILD_BUILD_TIMESTAMP=1970-01-01 00:00:00 UTC",
        "KBUILD_BUILD_USER=leanfs",
        "KBUILD_BUILD_VERSION=1",
        "LC_ALL=C",
        "SOURCE_DATE_EPOCH=0",
    ] {
        assert!(image.lines().any(|found| found == line), "{line} in {}", image.trim_start_matches('\0'));
    }
    assert!(!image.contains("NOISE"), "the caller's environment got in");
    assert_eq!((bench.runs(), bench.left()), (4, 0));

    fs::remove_dir_all(bench.path("out")).expect("removed");
    let said = build("# Another reason.\nCONFIG_A=y\n", &[]);
    assert!(said.ends_with("Linux 6.1.99, from the cache\n"), "{said}");
    assert_eq!(bench.runs(), 4, "nothing was made");
    build("CONFIG_A=y\nCONFIG_B=y\n", &[]);
    assert_eq!(bench.runs(), 8, "another configuration is another kernel");

    let wrong = "0".repeat(64);
    let output = bench.run("build", "", &["linux.tar", "--sha256", &wrong]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let output = bench.run("build", "", &["https://localhost/linux.tar"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn what_was_dropped_ends_the_build_and_is_explained() {
    let bench = Bench::new();
    let fragment = "CONFIG_A=y\nCONFIG_DROPPED=y\n";
    for (verb, rest) in [("config", &["--source", "linux.tar"][..]), ("build", &["linux.tar"])] {
        let output = bench.run(verb, fragment, rest);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let expected = "DROPPED=y (./own.config:2) became n: it needs ELSEWHERE (which this kernel doesn't know) (Kconfig:1)";
        assert!(said.contains(expected) && said.contains("# leanfs: optional"), "{said}");
        assert_eq!((text(&output.stdout).as_str(), bench.left()), ("", 0));
    }
    let output = bench.run("config", fragment, &["--source", "linux.tar", "--json"]);
    let objects = text(&output.stdout);
    assert!(
        objects.contains(r#""event":"dropped""#) && objects.contains(r#""symbol":"DROPPED""#),
        "{objects}"
    );

    let fragment = "CONFIG_A=y\n# leanfs: optional\nCONFIG_DROPPED=y\nCONFIG_EPOLL=n\n";
    let output = bench.run("config", fragment, &["--source", "linux.tar"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let config = text(&output.stdout);
    assert!(config.contains("CONFIG_A=y\n") && config.contains("# CONFIG_EPOLL is not set\n"), "{config}");
    let said = text(&output.stderr);
    assert!(said.contains("EPOLL is n (./own.config:4), which takes the place of y (base:"), "{said}");
}

#[test]
fn the_end_of_a_failed_build_is_shown() {
    let bench = Bench::new();
    let output = bench.run("build", "CONFIG_BROKEN=y\n", &["linux.tar"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`make bzImage` failed (exit status: 2)"), "{said}");
    assert!(said.contains("kernel/fork.c:1: error: it is broken"), "{said}");
    let log = fs::read_dir(bench.path("cache/kernels/logs"))
        .expect("there")
        .next()
        .expect("one")
        .expect("an entry");
    let log = fs::read_to_string(log.path()).expect("there");
    assert!(log.contains("# make tinyconfig\n") && log.contains("  CC      kernel/fork.o\n"), "{log}");
    assert_eq!(bench.left(), 0);

    fs::remove_file(bench.path("bin/bison")).expect("removed");
    let output = bench.run("build", "", &["linux.tar"]);
    let said = text(&output.stderr);
    assert!(said.contains("lacks what builds a kernel: bison"), "{said}");
    assert!(said.contains("apt-get install bison"), "{said}");
}

#[test]
fn an_interrupt_ends_all_of_a_build() {
    let bench = Bench::new();
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut child = bench
            .command("build", "CONFIG_SLOW=y\n", &["linux.tar"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let pid_file = bench.path("record.pid");
        let deadline = Instant::now() + Duration::from_secs(60);
        let make = loop {
            match fs::read_to_string(&pid_file) {
                Ok(pid) if pid.ends_with('\n') => break pid.trim().to_owned(),
                _ => assert!(Instant::now() < deadline, "the build doesn't begin"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        fs::remove_file(&pid_file).expect("removed");
        let kill = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(kill.expect("started").success());
        // A descendant that lived on would hold the pipe.
        let mut said = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        assert_eq!(child.wait().expect("ended").code(), Some(code), "{said}");
        assert!(!Path::new("/proc").join(&make).exists(), "make lives on");
        assert_eq!(bench.left(), 0, "what was unpacked is gone");
    }
}
