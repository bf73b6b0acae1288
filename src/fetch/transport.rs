//! Downloads over HTTP: tried again after passing failures, resumed after a cut, bounded in time and size.
//!
//! A download goes into a [`Part`]. When a part is begun, the server's validators and the whole size are
//! written down beside it; a later try asks for the missing bytes only (`Range`, RFC 9110 section 14.2), and with
//! `If-Range` where there is a strong validator, so that the bytes of two versions never mix. Where there is
//! none, only a known size allows it, and the hash that is checked afterwards decides.
//!
//! Waits double from [`TransportSettings::retry_wait`] and have no random part. What a server or a broken
//! connection says goes into errors escaped.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy, SendBody};

use super::FetchError;
use super::address::Address;
use super::cache::{Part, PartState, Validators};
use super::error::shown;
use super::proxy::Agents;
use crate::recipe::{InputLimit, InputLimits, ProxySettings};
use crate::report::{Event, Reporter};

/// A try that brought as much counts as a success, and the tries are counted anew.
const PROGRESS: u64 = 64 * 1024;
/// How often progress is told: after so many bytes, or so long.
const TELL_EVERY: u64 = 128 * 1024;
const TELL_AFTER: Duration = Duration::from_millis(200);
/// No server makes us wait longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// More certificates than any system has.
const LARGEST_CA_FILE: u64 = 16 << 20;

/// How downloads behave.
#[derive(Debug, Clone)]
pub(crate) struct TransportSettings {
    pub(crate) proxy: ProxySettings,
    pub(crate) ca_file: Option<PathBuf>,
    /// How much is taken, and how long it may take.
    pub(crate) limits: InputLimits,
    /// How often a failed try is repeated.
    pub(crate) retries: u32,
    /// Before the second try; doubled for each further one.
    pub(crate) retry_wait: Duration,
}

/// What to download.
#[derive(Debug)]
pub(crate) struct Download<'a> {
    pub(crate) address: &'a Address,
    /// What it is called in events.
    pub(crate) name: &'a str,
    /// Its size in bytes, where that is known before.
    pub(crate) size: Option<u64>,
    /// Which limit its size has.
    pub(crate) limit: InputLimit,
    /// By which the server is asked whether it changed.
    pub(crate) validators: Option<&'a Validators>,
}

/// How a download ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is still what the validators stand for.
    NotModified,
    /// All of it is in the part.
    Complete(Validators),
}

/// Gets things from servers.
#[derive(Debug)]
pub(crate) struct Transport {
    agents: Agents,
    limits: InputLimits,
    retries: u32,
    retry_wait: Duration,
    /// Pairs of hosts between which a redirect has been told.
    redirects: Mutex<BTreeSet<(String, String)>>,
}

/// Why a try failed, and whether another may help.
#[derive(Debug)]
enum Failure {
    Final(Box<FetchError>),
    Passing { reason: Reason, wait: Option<Duration> },
}

#[derive(Debug)]
enum Reason {
    Broken(String),
    UnknownHost(String),
    Status(u16),
    Truncated { expected: u64 },
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Final(Box::new(error))
    }
}

impl Failure {
    fn broken(problem: impl Into<String>) -> Self {
        Self::Passing { reason: Reason::Broken(problem.into()), wait: None }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken(problem) | Self::UnknownHost(problem) => f.write_str(problem),
            Self::Status(status) => write!(f, "the server answers with status {status}"),
            Self::Truncated { .. } => f.write_str("the connection ended early"),
        }
    }
}

/// When a download must have come, with everything that is tried again. Without it a server could send a byte before
/// every time-out, or cut each answer after enough of it to be asked again.
struct Deadline {
    begun: Instant,
    time: Duration,
}

impl Deadline {
    fn new(limits: &InputLimits) -> Self {
        Self { begun: Instant::now(), time: Duration::from_millis(limits.download_time) }
    }

    fn check(&self, download: &Download<'_>, part: &Part) -> Result<(), FetchError> {
        if self.begun.elapsed() <= self.time {
            return Ok(());
        }
        Err(FetchError::TooSlow {
            url: download.address.to_string(),
            limit: InputLimit::DownloadTime.show(u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX)),
            received: part.length(),
        })
    }
}

impl Transport {
    /// # Errors
    /// When the proxies or the file of certificate authorities can't be used.
    pub(crate) fn new(settings: &TransportSettings) -> Result<Self, FetchError> {
        let root_certs = match &settings.ca_file {
            None => RootCerts::WebPki,
            Some(path) => certificates(path)?,
        };
        let tls = TlsConfig::builder().root_certs(root_certs).build();
        let connect_time = Duration::from_millis(settings.limits.connect_time);
        let idle_time = Duration::from_millis(settings.limits.idle_time);
        let config = |proxy: Option<Proxy>| -> Config {
            Agent::config_builder()
                .proxy(proxy)
                .tls_config(tls.clone())
                .http_status_as_error(false)
                .max_redirects(0)
                .user_agent(concat!("leanfs/", env!("CARGO_PKG_VERSION")))
                .accept_encoding("identity")
                .timeout_resolve(Some(connect_time))
                .timeout_connect(Some(connect_time))
                .timeout_recv_response(Some(idle_time))
                .timeout_per_read(Some(idle_time))
                .timeout_per_write(Some(idle_time))
                .build()
        };
        Ok(Self {
            agents: Agents::new(&settings.proxy, config)?,
            limits: settings.limits,
            retries: settings.retries,
            retry_wait: settings.retry_wait,
            redirects: Mutex::new(BTreeSet::new()),
        })
    }

    /// Downloads into `part`, going on where it ends.
    ///
    /// # Errors
    /// When the last try failed, or one in a way that another would not change.
    pub(crate) fn download(
        &self,
        download: &Download<'_>,
        part: &mut Part,
        reporter: &dyn Reporter,
    ) -> Result<Outcome, FetchError> {
        let mut failures = 0;
        let mut tries = 0;
        let mut told = false;
        let deadline = Deadline::new(&self.limits);
        loop {
            deadline.check(download, part)?;
            let before = part.length();
            tries += 1;
            let (reason, wait) = match self.attempt(download, part, &mut told, &deadline, reporter) {
                Ok(outcome) => return Ok(outcome),
                Err(Failure::Final(error)) => return Err(*error),
                Err(Failure::Passing { reason, wait }) => (reason, wait),
            };
            if part.length().saturating_sub(before) >= PROGRESS {
                failures = 0;
            }
            failures += 1;
            // A host without an address rarely gets one a moment later.
            let retries =
                if matches!(reason, Reason::UnknownHost(_)) { self.retries.min(1) } else { self.retries };
            if failures > retries {
                let url = download.address.to_string();
                return Err(match reason {
                    Reason::Status(status) => FetchError::Status { url, status, tries },
                    Reason::Truncated { expected } => {
                        FetchError::Truncated { url, expected, received: part.length(), tries }
                    }
                    Reason::Broken(problem) | Reason::UnknownHost(problem) => {
                        FetchError::Unreachable { url, problem, tries }
                    }
                });
            }
            let doubled = self.retry_wait.saturating_mul(1 << (failures - 1).min(16));
            let wait = doubled.max(wait.unwrap_or_default()).min(LONGEST_WAIT);
            reporter.report(Event::DownloadRetry {
                name: download.name.to_owned(),
                reason: reason.to_string(),
                wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            });
            std::thread::sleep(wait);
        }
    }

    fn attempt(
        &self,
        download: &Download<'_>,
        part: &mut Part,
        told: &mut bool,
        deadline: &Deadline,
        reporter: &dyn Reporter,
    ) -> Result<Outcome, Failure> {
        let url = || download.address.to_string();
        let known = download.size.or(part.state().total);
        if let Some(size) = known.filter(|&size| size <= part.length()) {
            if size == part.length() && size > 0 {
                return Ok(Outcome::Complete(part.state().validators.clone()));
            }
            part.restart(PartState::default())?;
        }
        let mut headers: Vec<(header::HeaderName, String)> = Vec::new();
        let if_range = part.state().validators.for_if_range();
        if part.length() > 0 && (if_range.is_some() || download.size.is_some()) {
            headers.push((header::RANGE, format!("bytes={}-", part.length())));
            headers.extend(if_range.map(|value| (header::IF_RANGE, value)));
        } else {
            if part.length() > 0 {
                part.restart(PartState::default())?;
            }
            if let Some(validators) = download.validators {
                headers.extend(validators.etag.clone().map(|etag| (header::IF_NONE_MATCH, etag)));
                headers
                    .extend(validators.last_modified.clone().map(|time| (header::IF_MODIFIED_SINCE, time)));
            }
        }
        let asked_from = part.length();
        let response = self.get(download.address, &headers, reporter)?;
        let status = response.status();
        let announced = match status {
            StatusCode::OK => {
                let total = content_length(&response);
                part.restart(PartState { validators: Validators::of(&response), total })?;
                total
            }
            StatusCode::PARTIAL_CONTENT => {
                let range = text_of(&response, header::CONTENT_RANGE);
                match range.as_deref().and_then(content_range) {
                    Some((start, total)) if start == asked_from && asked_from > 0 => {
                        part.mark_resumed();
                        total.or(known)
                    }
                    _ => {
                        part.restart(PartState::default())?;
                        return Err(Failure::broken("the server sends another range than it was asked for"));
                    }
                }
            }
            StatusCode::NOT_MODIFIED if download.validators.is_some() && asked_from == 0 => {
                return Ok(Outcome::NotModified);
            }
            StatusCode::RANGE_NOT_SATISFIABLE if asked_from > 0 => {
                part.restart(PartState::default())?;
                return Err(Failure::broken("the server has fewer bytes than came before"));
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(FetchError::NotFound { url: url(), status: status.as_u16() }.into());
            }
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                let wait = text_of(&response, header::RETRY_AFTER)
                    .and_then(|seconds| seconds.trim().parse().ok())
                    .map(Duration::from_secs);
                return Err(Failure::Passing { reason: Reason::Status(status.as_u16()), wait });
            }
            _ => return Err(FetchError::Status { url: url(), status: status.as_u16(), tries: 1 }.into()),
        };
        if let (Some(expected), Some(found)) = (download.size, announced)
            && expected != found
        {
            return Err(FetchError::WrongSize { location: url(), expected, found }.into());
        }
        let total = download.size.or(announced);
        let limit = self.limits.get(download.limit);
        if total.is_some_and(|total| total > limit) {
            return Err(FetchError::TooLarge { url: url(), limit, setting: Some(download.limit) }.into());
        }
        if !std::mem::replace(told, true) {
            reporter.report(Event::DownloadStarted {
                name: download.name.to_owned(),
                url: url(),
                size: total,
            });
        }
        receive(response.into_body(), download, limit, total, part, deadline, reporter)?;
        Ok(Outcome::Complete(part.state().validators.clone()))
    }

    /// One answer of at most `limit` bytes, without a second try; `Ok(None)` if the server has nothing there.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn fetch_into(
        &self,
        address: &Address,
        limit: u64,
        to: &mut dyn Write,
        reporter: &dyn Reporter,
    ) -> Result<Option<u64>, String> {
        let response = self.get(address, &[], reporter).map_err(|failure| match failure {
            Failure::Final(error) => error.to_string(),
            Failure::Passing { reason, .. } => reason.to_string(),
        })?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status => return Err(Reason::Status(status.as_u16()).to_string()),
        }
        let expected = content_length(&response);
        let mut body = response.into_body().into_reader().take(limit.saturating_add(1));
        let length = std::io::copy(&mut body, to).map_err(|error| shown(&error.to_string()))?;
        if length > limit {
            return Err(format!("the answer has more than {limit} bytes"));
        }
        if expected.is_some_and(|expected| expected != length) {
            return Err("the connection ended early".to_owned());
        }
        Ok(Some(length))
    }

    /// Puts the `length` bytes of `body` there.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn put(&self, address: &Address, mut body: impl Read, length: u64) -> Result<(), String> {
        let (agent, proxy_authorization) = self.agents.for_address(address);
        let mut request =
            agent.put(address.request_target()).header(header::CONTENT_LENGTH, length.to_string());
        if let Some(value) = address.authorization() {
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(value) = proxy_authorization {
            request = request.header(header::PROXY_AUTHORIZATION, value);
        }
        let response =
            request.send(SendBody::from_reader(&mut body)).map_err(|error| shown(&error.to_string()))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(Reason::Status(status.as_u16()).to_string()),
        }
    }

    /// One request, and those that redirects lead to.
    fn get(
        &self,
        address: &Address,
        headers: &[(header::HeaderName, String)],
        reporter: &dyn Reporter,
    ) -> Result<Response<Body>, Failure> {
        let mut here = address.clone();
        for _ in 0..=self.limits.redirects {
            let (agent, proxy_authorization) = self.agents.for_address(&here);
            let mut request = agent.get(here.request_target());
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(value) = here.authorization() {
                request = request.header(header::AUTHORIZATION, value);
            }
            if let Some(value) = proxy_authorization {
                request = request.header(header::PROXY_AUTHORIZATION, value);
            }
            let response = request.call().map_err(|error| failure(address, &error))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let Some(location) = text_of(&response, header::LOCATION) else {
                return Err(Failure::broken("the server redirects to nowhere"));
            };
            let target = here.redirect(&location)?;
            if !target.is_same_origin(&here) {
                self.tell_redirect(&here, &target, reporter);
            }
            here = target;
        }
        Err(FetchError::RedirectRefused {
            url: address.to_string(),
            target: here.to_string(),
            reason: "there were too many redirects before it (--limit redirects=NUMBER)",
        }
        .into())
    }

    fn tell_redirect(&self, from: &Address, to: &Address, reporter: &dyn Reporter) {
        let (from, to) = (shown(&from.authority()), shown(&to.authority()));
        let mut told = self.redirects.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.insert((from.clone(), to.clone())) {
            drop(told);
            reporter.report(Event::Note { text: format!("{from} redirects downloads to {to}") });
        }
    }
}

fn receive(
    body: Body,
    download: &Download<'_>,
    limit: u64,
    total: Option<u64>,
    part: &mut Part,
    deadline: &Deadline,
    reporter: &dyn Reporter,
) -> Result<(), Failure> {
    let mut body = body.into_reader();
    let mut buffer = vec![0; 64 * 1024];
    let (mut told, mut told_at) = (part.length(), Instant::now());
    let mut ended_early = false;
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                ended_early = true;
                break;
            }
            Err(error) => return Err(Failure::broken(shown(&error.to_string()))),
        };
        let length = part.length() + count as u64;
        if let Some(expected) = download.size.filter(|&size| length > size) {
            return Err(FetchError::WrongSize {
                location: download.address.to_string(),
                expected,
                found: length,
            }
            .into());
        }
        if length > limit {
            let url = download.address.to_string();
            return Err(FetchError::TooLarge { url, limit, setting: Some(download.limit) }.into());
        }
        part.append(&buffer[..count])?;
        // Each read ends in time, so this is asked often enough.
        deadline.check(download, part)?;
        if length - told >= TELL_EVERY || told_at.elapsed() >= TELL_AFTER {
            (told, told_at) = (length, Instant::now());
            let name = download.name.to_owned();
            reporter.report(Event::DownloadProgress { name, received: length });
        }
    }
    match total {
        Some(expected) if part.length() < expected => {
            Err(Failure::Passing { reason: Reason::Truncated { expected }, wait: None })
        }
        // In chunks, without a whole length before.
        _ if ended_early => Err(Failure::broken("the connection ended early")),
        _ => Ok(()),
    }
}

impl Validators {
    fn of(response: &Response<Body>) -> Self {
        Self {
            etag: text_of(response, header::ETAG),
            last_modified: text_of(response, header::LAST_MODIFIED),
        }
    }

    /// A validator that stands for the very bytes. A date does so only to the second (RFC 9110, section
    /// 8.8.2.2); the hash is checked afterwards in any case.
    fn for_if_range(&self) -> Option<String> {
        match &self.etag {
            Some(etag) if etag.starts_with('"') => Some(etag.clone()),
            Some(_) => None,
            None => self.last_modified.clone(),
        }
    }
}

/// A header's value, if it is text of a reasonable length.
fn text_of(response: &Response<Body>, name: header::HeaderName) -> Option<String> {
    /// Longer than any real address or validator.
    const LONGEST: usize = 8 * 1024;
    let value = response.headers().get(name)?.to_str().ok()?.trim();
    (value.len() <= LONGEST).then(|| value.to_owned())
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    text_of(response, header::CONTENT_LENGTH)?.parse().ok()
}

/// `bytes START-END/TOTAL` (RFC 9110, section 14.4), with `*` for an unknown total.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    let total: Option<u64> = if total == "*" { None } else { Some(total.parse().ok()?) };
    // A range that ends before the last byte would need further requests; nobody asked for one.
    (start <= end && total.is_none_or(|total| end.checked_add(1) == Some(total))).then_some((start, total))
}

fn failure(address: &Address, error: &ureq::Error) -> Failure {
    let url = address.to_string();
    let text = shown(&error.to_string());
    match error {
        ureq::Error::HostNotFound => unknown_host(address),
        // A name that does not exist, as std words what getaddrinfo(3) says; a passing failure of the name
        // server ("Temporary failure …") is one like others.
        ureq::Error::Io(_) if text.contains("lookup address") && !text.contains("Temporary") => {
            unknown_host(address)
        }
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::Pem(_) | ureq::Error::TlsRequired => {
            FetchError::Tls { url, problem: text }.into()
        }
        // rustls reports a refused certificate as an I/O error during the handshake.
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            FetchError::Tls { url, problem: text }.into()
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => FetchError::BadAddress { url, problem: text }.into(),
        // Asking again would not change the proxy's mind.
        ureq::Error::ConnectProxyFailed(reason) if reason.contains("407") => {
            FetchError::Status { url, status: 407, tries: 1 }.into()
        }
        ureq::Error::Timeout(what) => Failure::broken(format!("no answer in time ({what})")),
        _ => Failure::broken(text),
    }
}

fn unknown_host(address: &Address) -> Failure {
    let problem = format!("no address is known for the host {}", shown(address.host()));
    Failure::Passing { reason: Reason::UnknownHost(problem), wait: None }
}

fn certificates(path: &std::path::Path) -> Result<RootCerts, FetchError> {
    let bad = |problem: &str| FetchError::BadCaFile { path: path.to_owned(), problem: problem.to_owned() };
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST_CA_FILE + 1).read_to_end(&mut pem))
        .map_err(|error| FetchError::io(path, "read", error))?;
    if pem.len() as u64 > LARGEST_CA_FILE {
        return Err(bad("it is too large for a file of certificates"));
    }
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(bad("it holds wrong PEM")),
        }
    }
    if certificates.is_empty() {
        return Err(bad("it holds no certificate"));
    }
    Ok(certificates.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_answers() {
        for (text, range) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 5-9/*", Some((5, None))),
            ("bytes 5-8/10", None),
            ("bytes 9-5/10", None),
            ("bytes */10", None),
            ("items 0-1/2", None),
            ("bytes 0-18446744073709551614/18446744073709551615", Some((0, Some(u64::MAX)))),
        ] {
            assert_eq!(content_range(text), range, "{text}");
        }
    }

    #[test]
    fn weak_validators_are_not_for_ranges() {
        let of = |etag: Option<&str>, time: Option<&str>| Validators {
            etag: etag.map(str::to_owned),
            last_modified: time.map(str::to_owned),
        };
        assert_eq!(of(Some("\"x\""), Some("t")).for_if_range().as_deref(), Some("\"x\""));
        assert_eq!(of(Some("W/\"x\""), Some("t")).for_if_range(), None);
        assert_eq!(of(None, Some("t")).for_if_range().as_deref(), Some("t"));
        assert_eq!(of(None, None).for_if_range(), None);
    }
}
