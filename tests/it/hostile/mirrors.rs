//! Servers that send too much, for too long, or elsewhere.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use leanfs::fetch::{FetchError, FetchErrorKind};
use leanfs::recipe::{InputLimit, Repository};

use super::{fetch, trusting};
use crate::repo::TestRepo;
use crate::server::{Fault, Server};

const INDEX: &str = "/r/x86_64/APKINDEX.tar.gz";

/// A server that answers each connection as `answer` does, until it is dropped or its client goes.
fn raw_server(
    answer: impl Fn(&mut std::net::TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> Repository {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/r", listener.local_addr().expect("bound"));
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let answer = std::sync::Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let _ = answer(&mut stream);
            });
        }
    });
    Repository::Url(url)
}

#[test]
fn an_endless_answer_ends_at_the_limit() {
    let repository = raw_server(|stream| {
        stream.write_all(b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all(&[0x1f; 64 * 1024])?;
        }
    });
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = trusting(directory.path());
    settings.limits.index_size = 1 << 20;
    let error = fetch(settings, &repository).expect_err("endless");
    assert!(matches!(&error, FetchError::TooLarge { setting: Some(InputLimit::IndexSize), .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--limit index_size=SIZE")));
}

#[test]
fn an_announced_size_beyond_the_limit_is_not_waited_for() {
    let repository = raw_server(|stream| {
        stream.write_all(b"HTTP/1.1 200 x\r\nContent-Length: 18446744073709551615\r\n\r\n")?;
        std::thread::sleep(Duration::from_secs(20));
        Ok(())
    });
    let directory = tempfile::tempdir().expect("a directory");
    let begun = Instant::now();
    let error = fetch(trusting(directory.path()), &repository).expect_err("far too large");
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// Slow loris: never silent for long, never at an end.
#[test]
fn a_byte_now_and_then_does_not_hold_a_download_for_ever() {
    let repository = raw_server(|stream| {
        stream.write_all(b"HTTP/1.1 200 x\r\nContent-Length: 1000000\r\n\r\n")?;
        loop {
            stream.write_all(&[0x1f])?;
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = trusting(directory.path());
    settings.limits.download_time = 1000;
    let begun = Instant::now();
    let error = fetch(settings, &repository).expect_err("too slow");
    assert!(matches!(error, FetchError::TooSlow { .. }), "{error}");
    assert_eq!(error.kind(), FetchErrorKind::Network);
    assert!(error.hint().is_some_and(|hint| hint.contains("--limit download_time=TIME")));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// The same in the head of the answer.
#[test]
fn a_head_that_never_ends_is_given_up() {
    let repository = raw_server(|stream| {
        stream.write_all(b"HTTP/1.1 200 x\r\n")?;
        for number in 0.. {
            write!(stream, "X-{number}: x\r\n")?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let directory = tempfile::tempdir().expect("a directory");
    let begun = Instant::now();
    let error = fetch(trusting(directory.path()), &repository).expect_err("too slow");
    assert_eq!(error.kind(), FetchErrorKind::Network, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(15));
}

/// Each cut answer brought enough to be asked again: tries are counted anew after progress.
#[test]
fn answers_that_are_cut_after_some_progress_are_not_asked_for_ever() {
    let number = std::sync::atomic::AtomicUsize::new(0);
    let repository = raw_server(move |stream| {
        // Always another file, so that nothing goes on; by turns less and more of it.
        let turn = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let length = if turn.is_multiple_of(2) { 70_000 } else { 200_000 };
        write!(stream, "HTTP/1.1 200 x\r\nContent-Length: 1000000\r\nETag: \"{turn}\"\r\n\r\n")?;
        stream.write_all(&vec![0x1f; length])
    });
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = trusting(directory.path());
    settings.limits.download_time = 1500;
    let begun = Instant::now();
    let error = fetch(settings, &repository).expect_err("never whole");
    assert!(matches!(error, FetchError::TooSlow { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn redirects_lead_neither_out_of_the_web_nor_round_for_ever() {
    let directory = tempfile::tempdir().expect("a directory");
    TestRepo::new().package("a", "1.0-r0").build(&directory.path().join("r"));
    let local = format!("file://{}/r/x86_64/APKINDEX.tar.gz", directory.path().display());
    let server = Server::http();
    server.put_directory("/r", directory.path().join("r"));
    let repository = Repository::Url(server.url("/r"));
    let cache = directory.path().join("cache");
    for target in [&*local, "ftp://127.0.0.1/x", "data:text/plain,x", "gopher://x", "//", "http://"] {
        server.fault(INDEX, Fault::Redirect(target.to_owned()));
        let error = fetch(trusting(&cache), &repository).expect_err(target);
        assert!(matches!(error, FetchError::RedirectRefused { .. }), "{target}: {error}");
    }
    // As many as are allowed, and one more.
    for (redirects, limit, good) in [(3, 3, true), (4, 3, false)] {
        for _ in 0..redirects {
            server.fault(INDEX, Fault::Redirect(server.url(INDEX)));
        }
        let mut settings = trusting(&cache);
        settings.limits.redirects = limit;
        let result = fetch(settings, &repository);
        assert_eq!(result.is_ok(), good, "{redirects} redirects: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("--limit redirects="), "{error}");
        }
    }
}

#[test]
fn https_is_never_left_for_http() {
    let (secure, plain) = (Server::https(), Server::http());
    let directory = tempfile::tempdir().expect("a directory");
    TestRepo::new().package("a", "1.0-r0").build(&directory.path().join("r"));
    plain.put_directory("/r", directory.path().join("r"));
    secure.fault(INDEX, Fault::Redirect(plain.url(INDEX)));
    let mut settings = trusting(&directory.path().join("cache"));
    settings.ca_file = Some(secure.ca_file());
    let error = fetch(settings, &Repository::Url(secure.url("/r"))).expect_err("a downgrade");
    assert!(matches!(error, FetchError::RedirectRefused { .. }), "{error}");
    assert!(plain.requests().is_empty());
}

#[test]
fn another_host_never_sees_the_credentials() {
    let (first, second) = (Server::http(), Server::http());
    let directory = tempfile::tempdir().expect("a directory");
    TestRepo::new().package("a", "1.0-r0").build(&directory.path().join("r"));
    second.put_directory("/r", directory.path().join("r"));
    for path in [INDEX, "/r/x86_64/a-1.0-r0.apk"] {
        first.fault(path, Fault::Redirect(second.url(path)));
    }
    let url = first.url("/r").replace("http://", "http://me:secret@");
    fetch(trusting(&directory.path().join("cache")), &Repository::Url(url)).expect("redirected");
    assert!(first.requests().iter().all(|request| request.header("authorization").is_some()));
    assert_eq!(second.requests().len(), 2);
    for request in second.requests() {
        for name in ["authorization", "cookie", "referer", "proxy-authorization"] {
            assert_eq!(request.header(name), None, "{name}");
        }
    }
}

#[test]
fn every_limit_has_a_documented_flag_and_key() {
    let directory = tempfile::tempdir().expect("a directory");
    TestRepo::new().package("a", "1.0-r0").build(&directory.path().join("r"));
    let leanfs = |arguments: &[&str]| {
        let output = crate::cli::leanfs(directory.path(), arguments).output().expect("leanfs runs");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (_, help) = leanfs(&["resolve", "--help"]);
    let key = crate::repo::key_file();
    let key = key.to_str().expect("text");
    let resolve = ["resolve", "a", "--arch", "x86_64", "--repository", "r", "--key", key];
    for &limit in InputLimit::ALL {
        assert!(help.contains(limit.name()), "{limit} in:\n{help}");
        let (code, text) = leanfs(&[&resolve[..], &["--limit", &format!("{limit}=1000000")]].concat());
        assert_eq!(code, Some(0), "{limit}: {text}");
        let (code, text) = leanfs(&[&resolve[..], &["--limit", &format!("{limit}=0")]].concat());
        assert_eq!(code, Some(2), "{limit}: {text}");
        let file = directory.path().join("leanfs.toml");
        std::fs::write(&file, format!("[limits]\n{limit} = 1000000\n")).expect("written");
        let (code, text) = leanfs(&resolve);
        assert_eq!(code, Some(0), "{limit}: {text}");
        std::fs::remove_file(file).expect("removed");
    }
    // The file's limits hold, and flags win over them.
    std::fs::write(directory.path().join("leanfs.toml"), "[limits]\nindex_size = 10\n").expect("written");
    let (code, text) = leanfs(&resolve);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("--limit index_size=SIZE"), "{text}");
    let (code, text) = leanfs(&[&resolve[..], &["--limit", "index_size=1 MiB"]].concat());
    assert_eq!(code, Some(0), "{text}");
}
