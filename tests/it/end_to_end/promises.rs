//! What every run promises: the same bytes whoever runs it, no other program, archives that others read.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::bench::{Bench, Mirror, succeed, tools};

/// `assemble` with the mirror's packages, to `output`.
fn assemble(release: &Path, mirror: &Mirror, output: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> =
        ["assemble", "--initramfs", "--offline", "--compress", "zstd:3", "--release"]
            .map(OsString::from)
            .into();
    words.push(release.into());
    words.extend(mirror.flags().into_iter().map(PathBuf::into_os_string));
    words.extend([OsString::from("-o"), output.into()]);
    words
}

/// Bytes of all outputs, by name.
fn outputs(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs_err::read_dir(directory)
        .expect("an output directory")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs_err::read(entry.path()).expect("an output"))
        })
        .collect();
    files.sort();
    files
}

/// In another directory, with another umask, by another user, later.
#[test]
fn two_runs_are_byte_identical() {
    let test = || -> Option<()> {
        let mirror = Mirror::host()?;
        let bench = Bench::new();
        let project = bench.mix_project("hello", false)?;
        let release = project.join("_build/prod/rel/hello");
        let first = bench.path("first");
        succeed(&mut bench.leanfs(assemble(&release, &mirror, &first)));

        // Another user may neither write here nor, often, read the directories above the program.
        let other = tempfile::Builder::new().prefix("leanfs-other").tempdir().expect("a directory");
        let open = |path: &Path| {
            fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("a mode");
        };
        open(other.path());
        let program = other.path().join("leanfs");
        fs_err::copy(env!("CARGO_BIN_EXE_leanfs"), &program).expect("a copy of the program");
        let copies = other.path().join("copies");
        succeed(Command::new("cp").arg("-r").arg(&mirror.directory).arg(&copies));
        succeed(Command::new("cp").arg("-r").arg(&release).arg(other.path().join("release")));
        let theirs = other.path().join("work/deeper/out");
        let mut command = Command::new("sh");
        bench.tame(&mut command);
        command
            .current_dir(other.path())
            .env("HOME", other.path())
            .env("TZ", "Asia/Tokyo")
            .env("LC_ALL", "C");
        command.env("LEANFS_CACHE_DIR", other.path().join("cache"));
        command.args(["-c", "umask 077; mkdir -p work/deeper; exec \"$0\" \"$@\""]).arg(&program);
        command.args(assemble(&other.path().join("release"), &Mirror { directory: copies }, &theirs));
        if rustix::process::getuid().is_root() {
            use std::os::unix::process::CommandExt;
            command.uid(65534).gid(65534);
        }
        succeed(&mut command);

        let (ours, theirs) = (outputs(&first), outputs(&theirs));
        let names =
            |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs));
        for ((name, one), (_, two)) in ours.iter().zip(&theirs) {
            if name == "manifest.json" {
                // It names the repositories, which stand at other places.
                continue;
            }
            assert!(one == two, "{name} differs: {} and {} bytes", one.len(), two.len());
        }
        Some(())
    };
    let _ = test();
}

#[test]
fn assembling_starts_no_other_program() {
    let test = || -> Option<()> {
        tools(&["strace"])?;
        let mirror = Mirror::host()?;
        let bench = Bench::new();
        let project = bench.mix_project("hello", true)?;
        let log = bench.path("strace.log");
        let mut command = Command::new("strace");
        bench.tame(&mut command);
        command.args(["-f", "-qq", "-e", "trace=execve,execveat", "-e", "signal=none", "-o"]).arg(&log);
        command.arg(env!("CARGO_BIN_EXE_leanfs"));
        command.args(assemble(&project.join("_build/prod/rel/hello"), &mirror, &bench.path("out")));
        succeed(&mut command);
        let log = fs_err::read_to_string(&log).expect("strace's log");
        let started: Vec<&str> = log.lines().filter(|line| line.contains("exec")).collect();
        assert_eq!(started.len(), 1, "only leanfs itself is started: {log}");
        Some(())
    };
    let _ = test();
}

/// Where the archives in a file of several end.
fn ends_of_archives(bytes: &[u8]) -> Vec<usize> {
    const TRAILER: &[u8] = b"TRAILER!!!\0";
    let trailers = bytes.windows(TRAILER.len()).enumerate().filter(|(_, window)| *window == TRAILER);
    trailers.map(|(place, _)| (place + TRAILER.len()).next_multiple_of(512)).collect()
}

/// GNU cpio lists exactly what the manifest says: it reads one archive at a time, and each is one by itself, with the
/// directories that its files are in.
#[test]
fn gnu_cpio_reads_the_archive() {
    let test = || -> Option<()> {
        tools(&["cpio", "zstd"])?;
        let mirror = Mirror::host()?;
        let bench = Bench::new();
        let project = bench.mix_project("hello", true)?;
        let output = bench.path("out");
        succeed(&mut bench.leanfs(assemble(&project.join("_build/prod/rel/hello"), &mirror, &output)));
        let plain = bench.path("initramfs.cpio");
        succeed(Command::new("zstd").args(["-dq", "-o"]).arg(&plain).arg(output.join("initramfs.cpio.zst")));
        let bytes = fs_err::read(&plain).expect("the archives");
        let ends = ends_of_archives(&bytes);
        assert_eq!((ends.len(), ends.last()), (2, Some(&bytes.len())));
        let mut listed: BTreeSet<String> = BTreeSet::new();
        let mut start = 0;
        for end in ends {
            let member = bench.path("member.cpio");
            fs_err::write(&member, &bytes[start..end]).expect("room");
            start = end;
            let archive = fs_err::File::open(&member).expect("the archive").into_file();
            let output = succeed(Command::new("cpio").args(["-t", "--quiet"]).stdin(Stdio::from(archive)));
            let mut seen: BTreeSet<String> = BTreeSet::new();
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                let path = match line.trim_start_matches("./").trim_matches('/') {
                    "." | "" => "/".to_owned(),
                    path => format!("/{path}"),
                };
                let parent = std::path::Path::new(&path).parent().map(|parent| parent.display().to_string());
                assert!(
                    parent.is_none_or(|parent| seen.contains(&parent)),
                    "{path} stands before its directory"
                );
                seen.insert(path);
            }
            assert!(!seen.is_empty());
            listed.extend(seen);
        }
        let manifest = fs_err::read(output.join("manifest.json")).expect("a manifest");
        let manifest: leanfs::report::manifest::Manifest =
            serde_json::from_slice(&manifest).expect("a manifest of this version");
        let named: BTreeSet<String> = manifest.files.iter().map(|file| file.path.clone()).collect();
        assert_eq!(listed, named);
        Some(())
    };
    let _ = test();
}
