//! The command: help, exit codes, error texts, JSON.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// leanfs in `directory`, with nothing of this machine's environment but the search path.
pub(crate) fn leanfs(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leanfs"));
    command.args(arguments).current_dir(directory).env_clear().env("HOME", directory);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    leanfs(directory, arguments).output().expect("the binary was built with this test")
}

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("leanfs prints UTF-8")
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, starts: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(starts), "expected {starts:?} in:\n{stderr}");
    assert!(!stderr.contains('\x1b'), "colours where there is no terminal: {stderr:?}");
}

#[test]
fn help_of_every_verb() {
    let directory = scratch();
    let help = run(directory.path(), &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = text(&help.stdout);
    assert!(help.starts_with("Turns a BEAM release into a bootable image of a few megabytes"), "{help}");
    assert!(help.contains("Exit codes: 0 done"), "{help}");
    for (verb, usage, flags) in [
        (
            "assemble",
            "Usage: leanfs assemble [OPTIONS] [DIR]",
            &[
                "--release <PATH>",
                "--repository <URL|DIR>",
                "--key <FILE|DIR>",
                "--arch <ARCH>",
                "--package <NAME>",
                "--build",
                "--otp <PATH|URL|packages>",
                "--otp-sha256 <HEX>",
                "--sysroot <DIR>",
                "--overlay <DIR>",
                "--sign-manifest <FILE>",
                "--prune <LEVEL>",
                "--kernel <package:NAME|PATH|build:TARBALL|none>",
                "--shell",
                "--compress <NAME[:LEVEL]>",
                "-o <DIR>",
                "--initramfs",
                "--offline",
                "--jobs <N>",
                "--json",
                "--quiet",
                "--verbose",
                "--color <WHEN>",
                "--cache-dir <DIR>",
                "--allow-untrusted",
                "--ca-file <FILE>",
            ][..],
        ),
        (
            "launch",
            "Usage: leanfs launch [OPTIONS] [DIR]",
            &["--memory <MiB>", "--cpus <N>", "--machine <NAME>", "--forward <[ADDRESS:]HOST:GUEST>"],
        ),
        (
            "verify",
            "Usage: leanfs verify [OPTIONS] [DIR]",
            &[
                "--expect <REGEX>",
                "--expect-http <:PORT/path=SUBSTRING>",
                "--timeout <S>",
                "--trace <FILE>",
                "--memory <MiB>",
            ],
        ),
        (
            "analyze",
            "Usage: leanfs analyze [OPTIONS] [DIR]",
            &["--by <WHAT>", "--top <N>", "--html <FILE>", "--json"],
        ),
        ("why", "Usage: leanfs why [OPTIONS] <NAME> [DIR]", &["--json", "--verbose"]),
        ("diff", "Usage: leanfs diff [OPTIONS] <A> <B>", &["--top <N>", "--json"]),
        (
            "check",
            "Usage: leanfs check [OPTIONS] [DIR]",
            &["--key <FILE|DIR>", "--jobs <N>", "--json", "--quiet"],
        ),
        (
            "sbom",
            "Usage: leanfs sbom [OPTIONS] --format <NAME> [DIR]",
            &["--distribution <NAME>", "--output <FILE>"],
        ),
        ("provenance", "Usage: leanfs provenance [OPTIONS] [DIR]", &["--builder <URI>", "--output <FILE>"]),
        (
            "resolve",
            "Usage: leanfs resolve [OPTIONS] [NAME]...",
            &[
                "--repository <URL|DIR>",
                "--offline",
                "--installed <DIR|FILE>",
                "--world <FILE>",
                "--del <NAME>",
            ],
        ),
        (
            "pack",
            "Usage: leanfs pack [OPTIONS] --name <NAME> --pkgver <VERSION> <DIR>",
            &["--key <FILE>", "--depends <DEPENDENCY>", "--provides <NAME[=VERSION]>", "-o <FILE>"],
        ),
        ("index", "Usage: leanfs index [OPTIONS] <FILE>...", &["--key <FILE>", "-o <FILE>"]),
        ("keys", "Usage: leanfs keys [OPTIONS]", &["--check <FILE>...", "--repository-key <URL|DIR> <KEY>"]),
        (
            "lock",
            "Usage: leanfs lock [OPTIONS] [DIR]",
            &["--update [<NAME>...]", "--arch <ARCH>", "--vendor <DIR>", "--package <NAME>", "--json"],
        ),
        ("fetch", "Usage: leanfs fetch [OPTIONS] [DIR]", &["--arch <ARCH>", "--cache-dir <DIR>"]),
        (
            "vendor",
            "Usage: leanfs vendor [OPTIONS] <TARGET> [DIR]",
            &["--sign-key <FILE>", "--cache-dir <DIR>"],
        ),
        ("init", "Usage: leanfs init [OPTIONS] [DIR]", &[]),
    ] {
        let output = run(directory.path(), &[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        let verb_help = text(&output.stdout);
        assert!(verb_help.contains(usage), "{verb_help}");
        for flag in flags {
            assert!(verb_help.contains(flag), "{flag} in:\n{verb_help}");
        }
        assert!(help.contains(&format!("  {verb} ")), "{verb} in:\n{help}");
    }
}

#[test]
fn wrong_usage_is_2() {
    let directory = scratch();
    let here = directory.path();
    for (arguments, message) in [
        (&[][..], "Usage: leanfs"),
        (&["assembel"], "unrecognized subcommand 'assembel'"),
        (&["assemble", "--vhd"], "unexpected argument '--vhd'"),
        (&["assemble", "--compress", "bzip2"], "xz[:0-9], zstd[:1-22], gzip[:1-9], lz4 and none are"),
        (&["assemble", "--prune", "all"], "none, apps, chunks and modules are"),
        (&["assemble", "--arch", "vax"], "x86_64, aarch64 and riscv64 are"),
        (&["assemble", "--jobs", "0"], "invalid value '0' for '--jobs <N>'"),
        (&["assemble", "--otp-sha256", "00"], "64 hexadecimal digits are"),
        (&["assemble", "--repository", "ftp://a/b"], "\"ftp://a/b\" is no repository"),
        (&["assemble", "--quiet", "--verbose"], "cannot be used with"),
        (
            &["assemble", "--otp", "https://a/otp.tar.gz"],
            "Error: \"https://a/otp.tar.gz\" is no source of OTP: an address needs the SHA-256 of what it gives\n\
             Hint: give it with `--otp-sha256`\n",
        ),
        (&["verify"], "Hint: say what shows that it came up"),
        (&["verify", "--expect", "("], "\"(\" is no regular expression"),
        (&["verify", "--expect-http", "80"], "invalid value '80' for '--expect-http"),
        (&["launch", "--forward", "80"], "invalid value '80' for '--forward"),
        (&["launch", "--machine", "q35"], "invalid value 'q35' for '--machine"),
        (&["analyze", "--by", "size"], "invalid value 'size' for '--by <WHAT>'"),
        (&["why"], "<NAME>"),
        (&["diff", "leanfs"], "<B>"),
        (&["resolve"], "required arguments were not provided"),
        (&["resolve", "a", "--upgrade"], "--installed <DIR|FILE>"),
        (&["resolve", "a", "--installed", "r", "--del", "b"], "cannot be used with"),
        (&["resolve", "a b"], "invalid value 'a b' for '[NAME]...'"),
        (&["pack", "."], "--name <NAME>"),
        (&["pack", ".", "--name", "x", "--pkgver", "1-r0", "--key-name", "k"], "--key <FILE>"),
        (&["index", "x.apk", "--key", "nowhere.rsa"], "Error: nowhere.rsa can't be read\n"),
        (&["assemble", "nowhere"], "Error: nowhere is no directory\nHint: "),
        (&["assemble", "--release", "x", "--package", "a b"], "Error: \"a b\" is no package"),
        (&["assemble", "--build"], "Error: . has no mix.exs, so there is nothing to build\nHint: "),
    ] {
        assert_fails(&run(here, arguments), 2, message);
    }
}

#[test]
fn a_hash_belongs_to_an_otp() {
    let directory = scratch();
    let output = run(directory.path(), &["assemble", "--otp-sha256", &"ab".repeat(32)]);
    assert_fails(&output, 2, "--otp <PATH|URL|packages>");
}

#[test]
fn a_wrong_leanfs_toml_is_2_and_says_where() {
    let directory = scratch();
    fs_err::write(directory.path().join("leanfs.toml"), "[base]\npakages = [\"x\"]\n").expect("written");
    let output = run(directory.path(), &["assemble"]);
    assert_fails(&output, 2, "Error: leanfs.toml:2:1: unknown field `pakages`, expected one of");

    let elsewhere = scratch();
    let project = directory.path().to_str().expect("temporary paths are UTF-8");
    let output = run(elsewhere.path(), &["assemble", project]);
    assert_fails(&output, 2, &format!("Error: {project}/leanfs.toml:2:1: "));
}

#[test]
fn a_project_without_a_release_is_1() {
    let directory = scratch();
    let output = run(directory.path(), &["assemble"]);
    assert_fails(
        &output,
        1,
        "Error: there is no release in _build/prod/rel\nHint: run `MIX_ENV=prod mix release` first, or say `--build`, or \
         name a release with `--release PATH`\n",
    );
}

/// Before anything is booted.
#[test]
fn a_trace_that_cannot_be_written_is_1() {
    let directory = scratch();
    let output = run(directory.path(), &["verify", "--expect", "x", "--trace", "nowhere/hello.trace"]);
    assert_fails(&output, 1, "Error: nowhere/hello.trace can't be written\nCaused by: ");
    let output = run(directory.path(), &["verify", "--expect", "x", "--trace", "hello.trace"]);
    assert_fails(&output, 1, "Error: leanfs: cannot be read\n");
    let left = fs_err::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(left, 0, "what is given up leaves nothing");
}

#[test]
fn json_lines_are_objects_and_the_last_one_is_the_end() {
    let directory = scratch();
    let output = run(directory.path(), &["assemble", "--release", "nowhere", "--offline", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is one JSON value"))
        .collect();
    assert!(lines.iter().all(|line| line["event"].is_string()), "{lines:?}");
    let end = lines.last().expect("there is an end");
    assert_eq!(end["event"], "error");
    assert_eq!(end["exit_code"], 1);
    assert_eq!(end["error"], "the release can't be used");
    assert_eq!(end["causes"][0], "there is no release at nowhere");
    assert!(end["hint"].is_string(), "{end}");
    assert!(text(&output.stderr).starts_with("Error: "));
}

#[test]
fn variables_that_make_no_sense_are_2() {
    let directory = scratch();
    let output = leanfs(directory.path(), &["assemble", "--release", "x"])
        .env("SOURCE_DATE_EPOCH", "yesterday")
        .output()
        .expect("the binary was built with this test");
    assert_fails(&output, 2, "SOURCE_DATE_EPOCH is \"yesterday\": seconds since 1970");
    let output = leanfs(directory.path(), &["assemble", "--release", "x"])
        .env_remove("HOME")
        .output()
        .expect("the binary was built with this test");
    assert_fails(&output, 2, "Hint: name a directory with `--cache-dir`");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let directory = scratch();
    let output = run(directory.path(), &["assemble", "nowhere", "--color", "always"]);
    assert!(text(&output.stderr).starts_with("\x1b[31;1mError:\x1b[0m "), "{:?}", text(&output.stderr));
    let output = run(directory.path(), &["assemble", "--compress", "bzip2", "--color=always"]);
    assert!(text(&output.stderr).contains('\x1b'));
}

#[test]
fn text_of_others_does_not_move_the_cursor() {
    let directory = scratch();
    let output = run(directory.path(), &["assemble", "x\x1b[2J"]);
    assert_fails(&output, 2, "Error: x\\u{1b}[2J is no directory");
}

#[test]
fn a_broken_pipe_is_no_error() {
    let directory = scratch();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = leanfs(directory.path(), &["--help"]).stdout(writer).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn init_writes_a_leanfs_toml_once() {
    let directory = scratch();
    let output = run(directory.path(), &["init"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let written = fs_err::read_to_string(directory.path().join("leanfs.toml")).expect("it is there");
    assert_eq!(written, leanfs::recipe::file::EXAMPLE);
    assert_fails(&run(directory.path(), &["init"]), 1, "leanfs.toml is there already");
    // What it wrote is taken as it is: the release is all that is missing.
    assert_fails(&run(directory.path(), &["assemble"]), 1, "Error: there is no release in _build/prod/rel");
}
