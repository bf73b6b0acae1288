//! A server with all the faults that servers have.

use std::path::Path;
use std::time::Duration;

use leanfs::arch::Arch;
use leanfs::fetch::{FetchError, FetchErrorKind, FetchSettings, Fetcher};
use leanfs::recipe::Repository;
use leanfs::tree::NodeKind;

use super::place::{Place, Variant, check_cache, left_over, make_old, names, said};
use super::{Random, full};
use crate::fetch::{Recorder, quick};
use crate::repo::{TestRepo, public_key};
use crate::server::{Choose, Fault, Server};

/// A page as hotels and airports send it instead of everything.
const PORTAL: &str =
    "<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please log in</body></html>";

/// Of ten requests `bad` get something that is wrong, by chance.
fn misbehaving(mut random: Random, bad: u64, server: &Server, [dead, other]: &[String; 2]) -> Choose {
    let (dead, other) = (dead.clone(), other.clone());
    let here = server.url("");
    let choose = move |path: &str| {
        if random.below(10) >= bad {
            return None;
        }
        let length = random.below(100_000);
        let count = usize::try_from(length).expect("small");
        Some(match random.below(25) {
            0 => Fault::CutAfter(count),
            1 => Fault::ChunkedCutAfter(count),
            2 => Fault::StallAfter(count),
            3 => Fault::Close,
            4 => Fault::ClaimLength(length),
            5 => Fault::NoLength,
            6 => Fault::IgnoreRange,
            7 => Fault::WrongRange,
            8 => Fault::Status(404, ""),
            9 => Fault::Status(500, ""),
            10 => Fault::Status(503, "Retry-After: 0\r\n"),
            11 => Fault::Status([206, 302, 304, 400, 403, 416, 429, 999][count % 8], ""),
            12 => Fault::Redirect(format!("{here}{path}")),
            13 => Fault::Redirect(path.rsplit('/').next().unwrap_or_default().to_owned()),
            14 => Fault::Redirect(format!("{dead}{path}")),
            15 => Fault::Redirect(["http://", "ftp://x/y", "//[", "\u{1}", ""][count % 5].to_owned()),
            16 => Fault::Redirect(format!("{here}/elsewhere")),
            17 => Fault::Instead(PORTAL.into(), "Content-Type: text/html\r\n"),
            18 => Fault::Instead(
                vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3],
                "Content-Encoding: gzip\r\n",
            ),
            19 => Fault::Instead(Vec::new(), ""),
            20 | 21 => Fault::Flip(count * 8 + count % 8),
            // Another mirror that has it all.
            22 => Fault::Redirect(format!("{other}{path}")),
            23 => Fault::Trickle(8_192, Duration::from_millis(2)),
            _ => Fault::Raw(
                [
                    &b"HTTP/1.1 200"[..],
                    b"SSH-2.0-x\r\n",
                    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
                    b"\0",
                ][count % 4]
                    .to_vec(),
            ),
        })
    };
    Box::new(choose)
}

/// An address where nobody listens.
fn dead() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("bound"))
}

/// What a run of the library gives: contents of files in packages.
fn fetched(cache: &Path, repository: &Repository) -> Result<Vec<Vec<u8>>, FetchError> {
    let recorder = Recorder::default();
    let mut settings = FetchSettings { keys: vec![public_key()], retries: 2, ..quick(cache) };
    settings.limits.idle_time = 150;
    let fetcher = Fetcher::new(settings, &recorder).expect("a fetcher");
    let index = fetcher.index(repository, Arch::X86_64)?;
    let wanted: Vec<_> = index.index().entries.iter().map(|entry| (&index, entry)).collect();
    let packages = fetcher.packages(&wanted, &|_, _| true)?;
    let content = |package: &leanfs::fetch::VerifiedApk| {
        let path = "data".parse().expect("a path");
        match &package.tree().get(&path).expect("it is in there").kind {
            NodeKind::File(content) => content.read(1 << 20).expect("readable"),
            kind => panic!("{kind:?}"),
        }
    };
    Ok(packages.iter().map(content).collect())
}

#[test]
fn a_server_that_lies_is_found_out_or_endured() {
    let mut random = Random::new("a_server_that_lies_is_found_out_or_endured");
    let directory = tempfile::tempdir().expect("a directory");
    let mut contents = Vec::new();
    let mut repo = TestRepo::new();
    for (number, size) in [200_000, 90_000, 4_000, 10].into_iter().enumerate() {
        let content: Vec<u8> = std::iter::repeat_with(|| random.next() as u8).take(size).collect();
        repo = repo.package(&format!("p{number}"), "1-r0").file("data", content.clone());
        contents.push(content);
    }
    repo.build(&directory.path().join("r"));
    let server = Server::http();
    server.put_directory("/r", directory.path().join("r"));
    let repository = Repository::Url(server.url("/r"));
    let other = Server::http();
    other.put_directory("/r", directory.path().join("r"));
    let hosts = [dead(), other.url("")];
    let rounds = if full() { 500 } else { 50 };
    let mut ends = std::collections::BTreeMap::new();
    let cache = directory.path().join("cache");
    for round in 0..rounds {
        // What one run left is what the next one finds.
        if random.below(3) == 0 {
            let _ = std::fs::remove_dir_all(&cache);
        }
        let bad = 1 + random.below(7);
        server.misbehave(Some(misbehaving(Random::of(random.next()), bad, &server, &hosts)));
        let result = fetched(&cache, &repository);
        server.misbehave(None);
        let end = match result {
            Ok(found) => {
                assert!(found == contents, "round {round}: other bytes");
                "right"
            }
            Err(error) => {
                let texts = error.to_string();
                assert!(texts.contains("127.0.0.1"), "round {round}: it names the address: {texts}");
                match error.kind() {
                    FetchErrorKind::Network => "network",
                    FetchErrorKind::Unverified => "unverified",
                    FetchErrorKind::Missing => "missing",
                    kind => panic!("round {round}: {kind:?}: {texts}"),
                }
            }
        };
        *ends.entry(end).or_insert(0) += 1;
        check_cache(&cache);
        if random.below(2) == 0 {
            match fetched(&cache, &repository) {
                Ok(found) => assert!(found == contents, "round {round}: other bytes after it"),
                Err(error) => panic!("round {round}: the server is well again: {error}"),
            }
            assert_eq!(left_over(&cache), [""; 0], "round {round}");
        }
    }
    println!("{rounds} runs: {ends:?}");
    assert!(ends.len() >= 3, "too few different ends: {ends:?}");
}

/// The command: exit codes, texts, outputs.
#[test]
fn runs_from_a_server_that_lies_say_so() {
    const RUNNING: usize = 6;
    let mut random = Random::new("runs_from_a_server_that_lies_say_so");
    let place = Place::new();
    let other = Server::http();
    other.put_directory("/main", place.path("repository"));
    let hosts = [dead(), other.url("")];
    let (mut done, mut failed) = (0, 0);
    for _ in 0..if full() { 20 } else { 1 } {
        let bad = 1 + random.below(5);
        place.server.misbehave(Some(misbehaving(Random::of(random.next()), bad, &place.server, &hosts)));
        let run = |number: usize| {
            let [out, cache] = ["out", "cache"].map(|name| place.path(&format!("{name}-{number}")));
            let mut command = place.command(Variant::Two, &out, &cache);
            command.args(["--limit", "idle_time=200"]).output().expect("it runs")
        };
        let outputs: Vec<_> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..RUNNING).map(|number| scope.spawn(move || run(number))).collect();
            runs.into_iter().map(|run| run.join().expect("no panic")).collect()
        });
        place.server.misbehave(None);
        for (number, output) in outputs.iter().enumerate() {
            let [out, cache] = ["out", "cache"].map(|name| place.path(&format!("{name}-{number}")));
            let text = said(output);
            match output.status.code() {
                Some(0) => {
                    done += 1;
                    place.check_all(&out, Variant::Two, &text);
                }
                Some(1 | 3 | 4) => {
                    failed += 1;
                    for part in ["Error: ", "Caused by: ", "Hint: ", "127.0.0.1"] {
                        assert!(text.contains(part), "{part:?} is not in:\n{text}");
                    }
                    place.check_outputs(&out, false);
                }
                _ => panic!("{}: {text}", output.status),
            }
            check_cache(&cache);
            place.succeed_and_check(Variant::One, &out, &cache);
            make_old(&cache);
            place.succeed_and_check(Variant::Two, &out, &cache);
            assert_eq!(left_over(&cache), [""; 0]);
            if random.below(2) == 0 {
                fs_err::remove_dir_all(&cache).expect("removed");
            }
            assert!(names(&out).iter().all(|name| !name.starts_with('.')));
        }
    }
    println!("{done} runs succeeded, {failed} failed");
    assert!(done + failed > 0);
}
