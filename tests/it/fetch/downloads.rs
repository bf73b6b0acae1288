//! HTTP: cuts, retries, lies, redirects, proxies, TLS.

use std::path::PathBuf;

use leanfs::fetch::{FetchError, FetchErrorKind, FetchSettings};
use leanfs::recipe::ProxySettings;
use leanfs::report::Event;

use super::{Recorder, fetcher, noise, quick, sha256};
use crate::server::{Fault, Server};

/// A cache of its own, a server with one file, and what fetches it.
struct Case {
    directory: tempfile::TempDir,
    server: Server,
    body: Vec<u8>,
    recorder: Recorder,
}

impl Case {
    fn new(server: Server, length: usize) -> Self {
        let body = noise(length);
        server.put("/otp.tar.gz", &body);
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            server,
            body,
            recorder: Recorder::default(),
        }
    }

    fn settings(&self) -> FetchSettings {
        quick(&self.directory.path().join("cache"))
    }

    fn fetch_with(&self, settings: FetchSettings, url: &str) -> Result<PathBuf, FetchError> {
        fetcher(settings, &self.recorder).tarball(url, sha256(&self.body))
    }

    fn fetch(&self) -> Result<PathBuf, FetchError> {
        self.fetch_with(self.settings(), &self.server.url("/otp.tar.gz"))
    }

    fn assert_fetched(&self, path: &std::path::Path) {
        assert_eq!(std::fs::read(path).expect("readable"), self.body);
    }
}

#[test]
fn a_download_that_is_cut_goes_on_where_it_ended() {
    let case = Case::new(Server::http(), 200_000);
    case.server.fault("/otp.tar.gz", Fault::CutAfter(150_000));
    case.assert_fetched(&case.fetch().expect("fetched"));
    let requests = case.server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].header("range"), None);
    assert_eq!(requests[1].header("range"), Some("bytes=150000-"), "only what is missing is asked for");
    assert!(requests[1].header("if-range").is_some());
    assert_eq!(case.recorder.count(|event| matches!(event, Event::DownloadRetry { .. })), 1);
    assert_eq!(case.recorder.count(|event| matches!(event, Event::DownloadStarted { .. })), 1);
    let size = 200_000;
    assert_eq!(
        case.recorder
            .count(|event| *event == Event::DownloadFinished { name: "otp.tar.gz".to_owned(), size }),
        1
    );
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_ended() {
    let case = Case::new(Server::http(), 200_000);
    for _ in 0..3 {
        case.server.fault("/otp.tar.gz", Fault::CutAfter(40_000));
    }
    let error = case.fetch().expect_err("cut each time");
    assert!(
        matches!(error, FetchError::Truncated { expected: 200_000, received: 120_000, tries: 3, .. }),
        "{error}"
    );
    assert_eq!(error.kind(), FetchErrorKind::Network);
    case.assert_fetched(&case.fetch().expect("fetched"));
    let last = case.server.requests().pop().expect("a request");
    assert_eq!(last.header("range"), Some("bytes=120000-"));
}

#[test]
fn a_file_that_changed_after_a_cut_is_fetched_whole() {
    let case = Case::new(Server::http(), 200_000);
    let old = noise(300_000)[100_000..].to_vec();
    case.server.put("/otp.tar.gz", &old);
    for _ in 0..3 {
        case.server.fault("/otp.tar.gz", Fault::CutAfter(40_000));
    }
    case.fetch().expect_err("cut each time");
    case.server.put("/otp.tar.gz", &case.body);
    case.assert_fetched(&case.fetch().expect("fetched"));
}

#[test]
fn a_server_without_validators_is_not_asked_for_the_rest_of_something_unknown() {
    let case = Case::new(Server::http(), 200_000);
    case.server.without_validators();
    case.server.fault("/otp.tar.gz", Fault::CutAfter(150_000));
    case.assert_fetched(&case.fetch().expect("fetched"));
    assert!(case.server.requests().iter().all(|request| request.header("range").is_none()));
}

#[test]
fn servers_that_do_not_understand_ranges() {
    for fault in [Fault::IgnoreRange, Fault::WrongRange, Fault::Status(416, "")] {
        let case = Case::new(Server::http(), 200_000);
        case.server.fault("/otp.tar.gz", Fault::CutAfter(150_000));
        case.server.fault("/otp.tar.gz", fault);
        case.assert_fetched(&case.fetch().expect("fetched"));
    }
}

#[test]
fn failures_that_pass_are_tried_again() {
    for fault in [
        Fault::Status(500, ""),
        Fault::Status(503, "Retry-After: 0\r\n"),
        Fault::Status(429, ""),
        Fault::Close,
        Fault::StallAfter(10),
        Fault::ClaimLength(300_000),
        Fault::ChunkedCutAfter(100_000),
    ] {
        let case = Case::new(Server::http(), 200_000);
        let what = format!("{fault:?}");
        case.server.fault("/otp.tar.gz", fault);
        case.assert_fetched(&case.fetch().expect(&what));
        assert!(case.recorder.count(|event| matches!(event, Event::DownloadRetry { .. })) > 0, "{what}");
    }
}

#[test]
fn waits_double() {
    let case = Case::new(Server::http(), 10);
    for _ in 0..3 {
        case.server.fault("/otp.tar.gz", Fault::Status(502, ""));
    }
    let error = case.fetch().expect_err("never better");
    assert!(matches!(error, FetchError::Status { status: 502, tries: 3, .. }), "{error}");
    let waits: Vec<u64> = case
        .recorder
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::DownloadRetry { wait_ms, .. } => Some(wait_ms),
            _ => None,
        })
        .collect();
    assert_eq!(waits, [5, 10]);
}

#[test]
fn what_is_not_there_is_not_asked_for_again() {
    let case = Case::new(Server::http(), 10);
    let url = case.server.url("/other.tar.gz");
    let error = case.fetch_with(case.settings(), &url).expect_err("not there");
    assert_eq!(error.kind(), FetchErrorKind::Missing);
    assert!(error.to_string().contains(&url), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(case.server.requests().len(), 1);

    case.server.fault("/otp.tar.gz", Fault::Status(403, ""));
    let error = case.fetch().expect_err("forbidden");
    assert!(matches!(error, FetchError::Status { status: 403, .. }), "{error}");
    assert_eq!(case.server.requests().len(), 2);
}

#[test]
fn a_body_without_a_length_is_complete_if_its_hash_fits() {
    let case = Case::new(Server::http(), 200_000);
    case.server.fault("/otp.tar.gz", Fault::NoLength);
    case.assert_fetched(&case.fetch().expect("fetched"));
}

#[test]
fn a_length_that_lies_is_found_out() {
    // Too short: what was sent is not what was asked for.
    let case = Case::new(Server::http(), 200_000);
    case.server.fault("/otp.tar.gz", Fault::ClaimLength(100_000));
    let error = case.fetch().expect_err("half of it");
    assert!(matches!(error, FetchError::WrongHash { .. }), "{error}");
    assert_eq!(error.kind(), FetchErrorKind::Unverified);
    // Nothing of it is left to go on from.
    case.assert_fetched(&case.fetch().expect("fetched"));

    // Too long, each time: truncated.
    let case = Case::new(Server::http(), 1000);
    for _ in 0..3 {
        case.server.fault("/otp.tar.gz", Fault::ClaimLength(2000));
        case.server.fault("/otp.tar.gz", Fault::Status(416, ""));
    }
    let error = case.fetch().expect_err("never more");
    assert_eq!(error.kind(), FetchErrorKind::Network, "{error}");
}

#[test]
fn the_wrong_file_is_refused_and_not_kept() {
    let case = Case::new(Server::http(), 1000);
    case.server.put("/otp.tar.gz", b"something else");
    let error = case.fetch().expect_err("something else");
    assert!(
        matches!(&error, FetchError::WrongHash { location, .. } if location.ends_with("/otp.tar.gz")),
        "{error}"
    );
    let left = super::files_below(&case.directory.path().join("cache"));
    assert_eq!(left, ["CACHEDIR.TAG"]);
}

#[test]
fn redirects_are_followed_and_told() {
    let case = Case::new(Server::http(), 1000);
    let other = Server::http();
    other.put("/there", &case.body);
    case.server.fault("/otp.tar.gz", Fault::Redirect("/moved".to_owned()));
    case.server.fault("/moved", Fault::Redirect(other.url("/there")));
    case.assert_fetched(&case.fetch().expect("fetched"));
    let notes =
        case.recorder.count(|event| matches!(event, Event::Note { text } if text.contains("redirects")));
    assert_eq!(notes, 1, "the other host is told, the other path is not");
}

#[test]
fn redirects_that_are_refused() {
    let ftp = "ftp://127.0.0.1/otp.tar.gz";
    for target in [ftp, "file:///etc/passwd", "/otp.tar.gz"] {
        let case = Case::new(Server::http(), 1000);
        for _ in 0..20 {
            case.server.fault("/otp.tar.gz", Fault::Redirect(target.to_owned()));
        }
        let error = case.fetch().expect_err(target);
        assert!(matches!(error, FetchError::RedirectRefused { .. }), "{error}");
        assert_eq!(error.kind(), FetchErrorKind::Network);
    }
    let plain = Server::http();
    let case = Case::new(Server::https(), 1000);
    plain.put("/otp.tar.gz", &case.body);
    case.server.fault("/otp.tar.gz", Fault::Redirect(plain.url("/otp.tar.gz")));
    let settings = FetchSettings { ca_file: Some(case.server.ca_file()), ..case.settings() };
    let error = case.fetch_with(settings, &case.server.url("/otp.tar.gz")).expect_err("https to http");
    assert!(matches!(error, FetchError::RedirectRefused { .. }), "{error}");
    assert_eq!(plain.requests().len(), 0);
}

#[test]
fn credentials_are_sent_to_their_host_only_and_never_shown() {
    let case = Case::new(Server::http(), 1000);
    let other = Server::http();
    other.put("/there", &case.body);
    case.server.demand("Basic bWU6c2VjcmV0");
    case.server.fault("/otp.tar.gz", Fault::Redirect(other.url("/there")));
    let url = case.server.url("/otp.tar.gz").replace("http://", "http://me:secret@");
    case.assert_fetched(&case.fetch_with(case.settings(), &url).expect("fetched"));
    assert_eq!(other.requests()[0].header("authorization"), None);
    let told = format!("{:?}", case.recorder.events());
    assert!(!told.contains("secret"), "{told}");

    let wrong = url.replace("secret", "wrong-secret");
    let cache = case.directory.path().join("other-cache");
    let error = case.fetch_with(quick(&cache), &wrong).expect_err("not let in");
    assert!(matches!(error, FetchError::Status { status: 401, .. }), "{error}");
    assert!(!format!("{error:?} {error} {:?}", error.hint()).contains("wrong-secret"), "{error:?}");
    assert!(error.hint().is_some());
}

#[test]
fn nobody_listens() {
    let case = Case::new(Server::http(), 10);
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let error = case.fetch_with(case.settings(), &format!("http://127.0.0.1:{port}/x")).expect_err("nobody");
    assert!(matches!(error, FetchError::Unreachable { tries: 3, .. }), "{error}");
    assert_eq!(error.kind(), FetchErrorKind::Network);
    let error = case.fetch_with(case.settings(), "http://no-such-host.invalid/x").expect_err("no host");
    assert!(matches!(error, FetchError::Unreachable { tries: 2, .. }), "{error}");
}

#[test]
fn https_needs_a_certificate_by_a_trusted_authority() {
    let case = Case::new(Server::https(), 100_000);
    let error = case.fetch().expect_err("an authority that nobody knows");
    assert!(matches!(error, FetchError::Tls { .. }), "{error:?}");
    assert_eq!(error.kind(), FetchErrorKind::Network);
    let settings = FetchSettings { ca_file: Some(case.server.ca_file()), ..case.settings() };
    case.server.fault("/otp.tar.gz", Fault::CutAfter(50_000));
    case.assert_fetched(&case.fetch_with(settings, &case.server.url("/otp.tar.gz")).expect("fetched"));

    let empty = case.directory.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").expect("written");
    for path in [empty, case.directory.path().join("absent.pem")] {
        let settings = FetchSettings { ca_file: Some(path.clone()), ..case.settings() };
        let error = leanfs::fetch::Fetcher::new(settings, &case.recorder).err().expect("no certificate");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn http_goes_through_a_proxy_in_absolute_form() {
    let case = Case::new(Server::http(), 100_000);
    let proxy = Server::proxy();
    // A name that only the proxy knows.
    proxy.knows_host("mirror.test", case.server.address());
    proxy.demand("Basic bWU6c2VjcmV0");
    let settings = |http_proxy: String| FetchSettings {
        proxy: ProxySettings { http_proxy: Some(http_proxy), ..ProxySettings::default() },
        ..case.settings()
    };
    let with_password = proxy.url("").replace("http://", "http://me:secret@");
    let path = case.fetch_with(settings(with_password), "http://mirror.test/otp.tar.gz").expect("fetched");
    case.assert_fetched(&path);
    assert_eq!(proxy.requests()[0].target, "http://mirror.test/otp.tar.gz");
    assert_eq!(case.server.requests()[0].header("host"), Some("mirror.test"));
    assert_eq!(case.server.requests()[0].header("proxy-authorization"), None);

    let error = Case::new(Server::http(), 10)
        .fetch_with(settings(proxy.url("")), "http://mirror.test/otp.tar.gz")
        .map(drop);
    // The cache of `case` has another hash, so the proxy is asked, and wants its password.
    assert!(matches!(error, Err(FetchError::Status { status: 407, .. })), "{error:?}");
}

#[test]
fn https_goes_through_a_proxy_by_connect() {
    let case = Case::new(Server::https(), 100_000);
    let proxy = Server::proxy();
    proxy.knows_host("mirror.test", case.server.address());
    let settings = FetchSettings {
        proxy: ProxySettings { all_proxy: Some(proxy.address().to_string()), ..ProxySettings::default() },
        ca_file: Some(case.server.ca_file()),
        ..case.settings()
    };
    case.assert_fetched(&case.fetch_with(settings, "https://mirror.test/otp.tar.gz").expect("fetched"));
    let request = &proxy.requests()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("CONNECT", "mirror.test:443"));
}

#[test]
fn a_proxy_that_wants_a_password() {
    let case = Case::new(Server::https(), 10);
    let proxy = Server::proxy();
    proxy.demand("Basic bWU6c2VjcmV0");
    let settings = FetchSettings {
        proxy: ProxySettings { https_proxy: Some(proxy.url("")), ..ProxySettings::default() },
        ..case.settings()
    };
    let error = case.fetch_with(settings, "https://mirror.test/otp.tar.gz").expect_err("not let in");
    assert!(matches!(error, FetchError::Status { status: 407, .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("credentials")));
    assert_eq!(proxy.requests().len(), 1);
}

#[test]
fn no_proxy_is_asked_directly() {
    let case = Case::new(Server::http(), 1000);
    let proxy = Server::proxy();
    let settings = FetchSettings {
        proxy: ProxySettings {
            http_proxy: Some(proxy.url("")),
            no_proxy: Some("example.com,127.0.0.0/8".to_owned()),
            ..ProxySettings::default()
        },
        ..case.settings()
    };
    case.assert_fetched(&case.fetch_with(settings, &case.server.url("/otp.tar.gz")).expect("fetched"));
    assert_eq!(proxy.requests().len(), 0);
}

#[test]
fn a_local_tarball_stays_where_it_is() {
    let case = Case::new(Server::http(), 1000);
    let file = case.directory.path().join("otp.tar.gz");
    std::fs::write(&file, &case.body).expect("written");
    let text = file.display().to_string();
    for url in [text.clone(), format!("file://{text}")] {
        assert_eq!(case.fetch_with(case.settings(), &url).expect("there"), file);
    }
    std::fs::write(&file, b"other").expect("written");
    let error = case.fetch_with(case.settings(), &text).expect_err("other");
    assert!(matches!(error, FetchError::WrongHash { .. }), "{error}");
    std::fs::remove_file(&file).expect("removed");
    let error = case.fetch_with(case.settings(), &text).expect_err("not there");
    assert_eq!(error.kind(), FetchErrorKind::Missing);
}

#[test]
fn offline_takes_only_what_is_in_the_cache() {
    let case = Case::new(Server::http(), 1000);
    let url = case.server.url("/otp.tar.gz");
    let offline = || FetchSettings { offline: true, ..case.settings() };
    let error = case.fetch_with(offline(), &url).expect_err("not in the cache");
    assert!(matches!(error, FetchError::Offline { .. }), "{error}");
    assert_eq!(case.server.requests().len(), 0);
    case.fetch().expect("fetched");
    case.assert_fetched(&case.fetch_with(offline(), &url).expect("in the cache"));
    assert_eq!(case.server.requests().len(), 1);
}
