//! One cache, several runs: at the same time, killed, and on a disk that fails.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use leanfs::arch::Arch;
use leanfs::fetch::{FetchError, FetchErrorKind, FetchSettings};
use leanfs::recipe::Repository;
use leanfs::report::Event;

use super::{Recorder, fetcher, files_below, noise, quick, sha256};
use crate::repo::{TestRepo, public_key};
use crate::server::{Fault, Server};

#[test]
fn several_threads_fetch_one_thing_once() {
    let (server, body) = (Server::http(), noise(300_000));
    server.put("/a", &body);
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let recorder = Recorder::default();
                let path = fetcher(quick(&cache), &recorder).tarball(&server.url("/a"), sha256(&body));
                assert_eq!(std::fs::read(path.expect("fetched")).expect("readable"), body);
            });
        }
    });
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_poisoned_object_is_dropped_and_fetched_again() {
    let (server, body) = (Server::http(), noise(300_000));
    server.put("/a", &body);
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    let fetch =
        |recorder: &Recorder, settings| fetcher(settings, recorder).tarball(&server.url("/a"), sha256(&body));
    let path = fetch(&Recorder::default(), quick(&cache)).expect("fetched");
    for damage in [&b""[..], b"poison", &body[..299_999]] {
        std::fs::write(&path, damage).expect("written");
        let recorder = Recorder::default();
        let offline = FetchSettings { offline: true, ..quick(&cache) };
        let error = fetch(&recorder, offline).expect_err("damaged");
        assert!(matches!(error, FetchError::Offline { .. }), "{error}");
        assert_eq!(recorder.count(|event| matches!(event, Event::Warning { .. })), 1, "it is said");
        assert_eq!(fetch(&Recorder::default(), quick(&cache)).expect("fetched"), path);
        assert_eq!(std::fs::read(&path).expect("readable"), body);
    }
}

/// What the test below starts and kills.
#[test]
fn a_run_to_be_killed() {
    let Ok(arguments) = std::env::var("LEANFS_TEST_RUN_TO_BE_KILLED") else { return };
    let (cache, url) = arguments.split_once(' ').expect("two words");
    let mut settings = quick(Path::new(cache));
    settings.limits.idle_time = 60_000;
    drop(fetcher(settings, &Recorder::default()).tarball(url, [0; 32]));
}

#[test]
fn a_killed_run_leaves_nothing_half_written() {
    let (server, body) = (Server::http(), noise(300_000));
    server.put("/a", &body);
    server.fault("/a", Fault::StallAfter(200_000));
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    let mut run = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "fetch::sharing::a_run_to_be_killed"])
        .env("LEANFS_TEST_RUN_TO_BE_KILLED", format!("{} {}", cache.display(), server.url("/a")))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let part = || {
        let path = std::fs::read_dir(cache.join("partial")).ok()?.flatten().map(|entry| entry.path());
        let part =
            path.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "part"))?;
        Some(part.metadata().ok()?.len())
    };
    let begun = Instant::now();
    while part().unwrap_or(0) < 200_000 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the run should have come so far");
        std::thread::sleep(Duration::from_millis(20));
    }
    run.kill().expect("killed");
    run.wait().expect("ended");

    let objects =
        files_below(&cache).into_iter().filter(|file| !file.starts_with("partial/")).collect::<Vec<_>>();
    assert_eq!(objects, ["CACHEDIR.TAG"]);
    let path = fetcher(quick(&cache), &Recorder::default())
        .tarball(&server.url("/a"), sha256(&body))
        .expect("the lock of the killed run holds nobody up");
    assert_eq!(std::fs::read(path).expect("readable"), body);
    assert_eq!(server.requests()[1].header("range"), Some("bytes=200000-"), "its bytes are used");
    assert!(files_below(&cache).iter().all(|file| !file.starts_with("partial/")));
}

/// A file system of 256 kB, if this user may mount one.
struct TinyDisk {
    directory: tempfile::TempDir,
}

impl TinyDisk {
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Self { directory })
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.directory.path()).status());
    }
}

#[test]
fn a_full_disk_is_said_and_harms_nothing() {
    let Some(disk) = TinyDisk::mount() else {
        println!("SKIP: no tmpfs can be mounted here (that needs root)");
        return;
    };
    let (server, body) = (Server::http(), noise(400_000));
    server.put("/a", &body);
    let small = noise(1000);
    server.put("/small", &small);
    let cache = disk.directory.path().join("cache");
    let recorder = Recorder::default();
    let fetcher = fetcher(quick(&cache), &recorder);
    let kept = fetcher.tarball(&server.url("/small"), sha256(&small)).expect("it fits");
    let error = fetcher.tarball(&server.url("/a"), sha256(&body)).expect_err("it doesn't fit");
    assert!(matches!(&error, FetchError::DiskFull { path, .. } if path.starts_with(&cache)), "{error:?}");
    assert_eq!(error.kind(), FetchErrorKind::Io);
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!(server.requests_for("/a").len(), 1, "another try would not help");
    assert_eq!(std::fs::read(kept).expect("readable"), small);
    assert_eq!(
        fetcher.tarball(&server.url("/small"), sha256(&small)).map(drop).map_err(|error| error.to_string()),
        Ok(())
    );
}

#[test]
fn a_disk_that_is_full_while_unpacking_is_said() {
    let Some(disk) = TinyDisk::mount() else {
        println!("SKIP: no tmpfs can be mounted here (that needs root)");
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let repository =
        TestRepo::new().package("a", "1-r0").file("big", vec![0; 1 << 20]).build(directory.path());
    let cache = disk.directory.path().join("cache");
    let recorder = Recorder::default();
    let settings = FetchSettings { keys: vec![public_key()], ..quick(&cache) };
    let fetcher = fetcher(settings, &recorder);
    let index = fetcher.index(&repository, Arch::X86_64).expect("verified");
    let error =
        fetcher.packages(&[(&index, &index.index().entries[0])], &|_, _| true).expect_err("it doesn't fit");
    assert!(matches!(&error, FetchError::DiskFull { path, .. } if path.starts_with(&cache)), "{error:?}");
}

#[test]
fn several_runs_share_indexes_and_packages() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut repo = TestRepo::new();
    for number in 0..6 {
        repo = repo.package(&format!("p{number}"), "1-r0").file("etc/x", noise(50_000 + number));
    }
    repo.build(&directory.path().join("r"));
    let server = Server::http();
    server.put_directory("/r", directory.path().join("r"));
    let repository = Repository::Url(server.url("/r"));
    let cache = directory.path().join("cache");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let recorder = Recorder::default();
                let settings = FetchSettings { keys: vec![public_key()], ..quick(&cache) };
                let fetcher = fetcher(settings, &recorder);
                let index = fetcher.index(&repository, Arch::X86_64).expect("verified");
                let wanted: Vec<_> = index.index().entries.iter().map(|entry| (&index, entry)).collect();
                assert_eq!(fetcher.packages(&wanted, &|_, _| true).expect("verified").len(), 6);
            });
        }
    });
    let packages = server.requests().iter().filter(|request| request.target.ends_with(".apk")).count();
    assert_eq!(packages, 6, "each is downloaded once");
    assert_eq!(files_below(&cache).len(), 1 + 7 + 7, "a tag, objects and references");
}
