//! A web server for tests, with all the faults that servers have: it counts, cuts, stalls, lies and redirects as
//! it is told, speaks TLS under an authority of its own, and can be a proxy.
//!
//! ```ignore
//! let server = Server::http();
//! server.put("/a", b"contents");
//! server.fault("/a", Fault::CutAfter(3));   // the first request for it; the next one gets everything
//! let url = server.url("/a");
//! assert_eq!(server.requests()[0].header("range"), None);
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What goes wrong with one request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The connection ends after so many bytes of the body.
    CutAfter(usize),
    /// So many bytes of the body come, and then nothing for a long time.
    StallAfter(usize),
    /// The connection ends before an answer.
    Close,
    /// This status, without a body, with these header lines.
    Status(u16, &'static str),
    /// `Content-Length` says so, whatever the body's length is; the connection ends after the body.
    ClaimLength(u64),
    /// The body comes without a length and ends with the connection.
    NoLength,
    /// The body comes in chunks, and the connection ends after so many bytes of it.
    ChunkedCutAfter(usize),
    /// The whole body with status 200, even if a range was asked for.
    IgnoreRange,
    /// A range, but another than was asked for.
    WrongRange,
    /// Status 302 to this address.
    Redirect(String),
    /// Another body than the right one, with status 200 and these header lines.
    Instead(Vec<u8>, &'static str),
    /// A bit of the body is another.
    Flip(usize),
    /// So many bytes at a time, with a pause in between.
    Trickle(usize, Duration),
    /// These bytes, which may be no HTTP, and then the end.
    Raw(Vec<u8>),
}

/// Says for each request what goes wrong with it, if nothing else was said of its path.
pub(crate) type Choose = Box<dyn FnMut(&str) -> Option<Fault> + Send>;

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// As it was in the request line: with scheme and host at a proxy.
    pub(crate) target: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    /// A header's value; the name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

#[derive(Default)]
struct State {
    bodies: BTreeMap<String, Arc<[u8]>>,
    directories: Vec<(String, PathBuf)>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    requests: Vec<Request>,
    /// For a proxy: where hosts really are.
    hosts: BTreeMap<String, SocketAddr>,
    /// `Authorization` (or at a proxy `Proxy-Authorization`) that every request must have.
    authorization: Option<String>,
    validators: bool,
    choose: Option<Choose>,
}

struct Shared {
    state: Mutex<State>,
    tls: Option<Arc<rustls::ServerConfig>>,
    is_proxy: bool,
    stopped: AtomicBool,
}

/// Runs until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    ca: Option<String>,
    _ca_directory: Option<tempfile::TempDir>,
}

impl Server {
    /// Speaks HTTP.
    pub(crate) fn http() -> Self {
        Self::start(None, false)
    }

    /// Speaks HTTPS, as `localhost` and `127.0.0.1`, with a certificate by [`Server::ca_file`].
    pub(crate) fn https() -> Self {
        let (config, ca) = certificates();
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, ca).expect("written");
        let mut server = Self::start(Some(config), false);
        server.ca = Some(file.to_str().expect("text").to_owned());
        server._ca_directory = Some(directory);
        server
    }

    /// A proxy that knows `CONNECT` and requests in absolute form.
    pub(crate) fn proxy() -> Self {
        Self::start(None, true)
    }

    fn start(tls: Option<Arc<rustls::ServerConfig>>, is_proxy: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Mutex::new(State { validators: true, ..State::default() });
        let shared = Arc::new(Shared { state, tls, is_proxy, stopped: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&accepting);
                // What a broken connection says is the client's to judge.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { address, shared, ca: None, _ca_directory: None }
    }

    /// The address of a path that begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The PEM file of the authority that an HTTPS server's certificate is from.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.ca.as_ref().expect("an HTTPS server").into()
    }

    /// Serves some bytes.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        self.state().bodies.insert(path.to_owned(), bytes.into());
    }

    /// Serves the files of a directory below a path.
    pub(crate) fn put_directory(&self, path: &str, directory: impl Into<PathBuf>) {
        self.state().directories.push((path.trim_end_matches('/').to_owned(), directory.into()));
    }

    /// What goes wrong with the next request for `path` that nothing else was said of.
    pub(crate) fn fault(&self, path: &str, fault: Fault) {
        self.state().faults.entry(path.to_owned()).or_default().push_back(fault);
    }

    /// What goes wrong with requests from now on.
    pub(crate) fn misbehave(&self, choose: Option<Choose>) {
        self.state().choose = choose;
    }

    /// No `ETag` and no `Last-Modified` from now on.
    pub(crate) fn without_validators(&self) {
        self.state().validators = false;
    }

    /// Every request must have this `Authorization`, or at a proxy `Proxy-Authorization`.
    pub(crate) fn demand(&self, authorization: &str) {
        self.state().authorization = Some(authorization.to_owned());
    }

    /// A proxy finds this host there, whatever its port.
    pub(crate) fn knows_host(&self, host: &str, address: SocketAddr) {
        self.state().hosts.insert(host.to_owned(), address);
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// The requests for a path.
    pub(crate) fn requests_for(&self, path: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.target == path).collect()
    }

    /// Forgets the requests so far.
    pub(crate) fn forget_requests(&self) {
        self.state().requests.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        match &self.tls {
            None => {
                let socket = stream.try_clone()?;
                self.converse(BufReader::new(stream), &socket)
            }
            Some(config) => {
                let socket = stream.try_clone()?;
                let connection =
                    rustls::ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                self.converse(BufReader::new(rustls::StreamOwned::new(connection, stream)), &socket)
            }
        }
    }

    /// Answers requests until one side has enough.
    fn converse<S: Read + Write>(&self, mut stream: BufReader<S>, socket: &TcpStream) -> io::Result<()> {
        while let Some(request) = read_request(&mut stream)? {
            self.state().requests.push(request.clone());
            if self.is_proxy {
                return self.forward(&request, stream, socket);
            }
            if !self.answer(&request, stream.get_mut())? {
                stream.get_mut().flush()?;
                return socket.shutdown(Shutdown::Both);
            }
        }
        Ok(())
    }

    /// Whether the connection may go on.
    fn answer(&self, request: &Request, to: &mut impl Write) -> io::Result<bool> {
        let path = request.target.split('?').next().unwrap_or_default().to_owned();
        let (fault, body, validators, demanded) = {
            let mut state = self.state();
            let fault = state.faults.get_mut(&path).and_then(VecDeque::pop_front);
            let fault = fault.or_else(|| state.choose.as_mut()?(&path));
            (fault, state.body(&path), state.validators, state.authorization.clone())
        };
        if demanded.as_deref().is_some_and(|demanded| request.header("authorization") != Some(demanded)) {
            return empty(to, 401, "");
        }
        match &fault {
            Some(Fault::Close) => return Ok(false),
            Some(Fault::Status(status, lines)) => return empty(to, *status, lines),
            Some(Fault::Raw(bytes)) => {
                to.write_all(bytes)?;
                return Ok(false);
            }
            Some(Fault::Instead(body, lines)) => {
                write!(to, "HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n", body.len())?;
                to.write_all(body)?;
                to.flush()?;
                return Ok(true);
            }
            Some(Fault::Redirect(target)) => return empty(to, 302, &format!("Location: {target}\r\n")),
            _ => {}
        }
        let Some(mut body) = body else { return empty(to, 404, "") };
        if let Some(Fault::Flip(bit)) = fault {
            let mut bytes = body.to_vec();
            let count = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(bit / 8 % count) {
                *byte ^= 1 << (bit % 8);
            }
            body = bytes.into();
        }
        let etag = format!(
            "\"{:x}\"",
            body.iter().fold(5381_u64, |sum, &byte| sum.wrapping_mul(33) ^ u64::from(byte))
        );
        let mut lines = String::new();
        if validators {
            lines.push_str(&format!("ETag: {etag}\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"));
            if request.header("if-none-match") == Some(&etag) {
                return empty(to, 304, &lines);
            }
        }
        let whole = body.len();
        let fits = request.header("if-range").is_none_or(|validator| validator == etag);
        let start = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
            .filter(|_| fits && !matches!(fault, Some(Fault::IgnoreRange)));
        let (status, part) = match start {
            Some(start) if start >= whole => {
                return empty(to, 416, &format!("Content-Range: bytes */{whole}\r\n"));
            }
            Some(start) => {
                let start = if matches!(fault, Some(Fault::WrongRange)) { start / 2 } else { start };
                lines.push_str(&format!("Content-Range: bytes {start}-{}/{whole}\r\n", whole - 1));
                (206, &body[start..])
            }
            None => (200, &body[..]),
        };
        let length = match fault {
            Some(Fault::NoLength) => None,
            Some(Fault::ClaimLength(length)) => Some(length),
            Some(Fault::ChunkedCutAfter(_)) => None,
            _ => Some(part.len() as u64),
        };
        match length {
            None if matches!(fault, Some(Fault::ChunkedCutAfter(_))) => {
                lines.push_str("Transfer-Encoding: chunked\r\n");
            }
            Some(length) => lines.push_str(&format!("Content-Length: {length}\r\n")),
            None => lines.push_str("Connection: close\r\n"),
        }
        write!(to, "HTTP/1.1 {status} x\r\n{lines}\r\n")?;
        match fault {
            Some(Fault::CutAfter(count)) => {
                to.write_all(&part[..count.min(part.len())])?;
                Ok(false)
            }
            Some(Fault::ChunkedCutAfter(count)) => {
                let part = &part[..count.min(part.len())];
                write!(to, "{:x}\r\n", part.len())?;
                to.write_all(part)?;
                to.write_all(b"\r\n")?;
                Ok(false)
            }
            Some(Fault::StallAfter(count)) => {
                to.write_all(&part[..count.min(part.len())])?;
                to.flush()?;
                thread::sleep(Duration::from_secs(5));
                Ok(false)
            }
            Some(Fault::Trickle(count, pause)) => {
                for part in part.chunks(count.max(1)) {
                    to.write_all(part)?;
                    to.flush()?;
                    thread::sleep(pause);
                }
                Ok(true)
            }
            Some(Fault::NoLength | Fault::ClaimLength(_)) => {
                to.write_all(part)?;
                Ok(false)
            }
            _ => {
                to.write_all(part)?;
                to.flush()?;
                Ok(true)
            }
        }
    }

    fn forward<S: Read + Write>(
        &self,
        request: &Request,
        mut stream: BufReader<S>,
        socket: &TcpStream,
    ) -> io::Result<()> {
        let (hosts, demanded) = {
            let state = self.state();
            (state.hosts.clone(), state.authorization.clone())
        };
        if demanded.as_deref().is_some_and(|demanded| request.header("proxy-authorization") != Some(demanded))
        {
            empty(stream.get_mut(), 407, "")?;
            return socket.shutdown(Shutdown::Both);
        }
        let connect = |authority: &str| match hosts
            .get(authority.rsplit_once(':').map_or(authority, |(host, _)| host))
        {
            Some(address) => TcpStream::connect(address),
            None if authority.contains(':') => TcpStream::connect(authority),
            None => TcpStream::connect((authority, 80)),
        };
        if request.method == "CONNECT" {
            let upstream = connect(&request.target)?;
            stream.get_mut().write_all(b"HTTP/1.1 200 x\r\n\r\n")?;
            let (mut up, mut down) = (upstream.try_clone()?, socket.try_clone()?);
            let upwards = thread::spawn(move || {
                let _ = io::copy(&mut down, &mut up);
                let _ = up.shutdown(Shutdown::Write);
            });
            let (mut from, mut to) = (upstream, socket);
            let _ = io::copy(&mut from, &mut to);
            let _ = socket.shutdown(Shutdown::Both);
            drop(upwards.join());
            return Ok(());
        }
        let Some((authority, path)) = request
            .target
            .strip_prefix("http://")
            .map(|rest| rest.split_at(rest.find('/').unwrap_or(rest.len())))
        else {
            empty(stream.get_mut(), 400, "")?;
            return socket.shutdown(Shutdown::Both);
        };
        let mut upstream = connect(authority)?;
        write!(upstream, "{} {path} HTTP/1.1\r\n", request.method)?;
        for (name, value) in request.headers.iter().filter(|(name, _)| !name.starts_with("proxy-")) {
            write!(upstream, "{name}: {value}\r\n")?;
        }
        write!(upstream, "\r\n")?;
        // The answer ends when the server has nothing to say for a moment, which is enough for tests.
        upstream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let _ = io::copy(&mut upstream, stream.get_mut());
        stream.get_mut().flush()?;
        socket.shutdown(Shutdown::Both)
    }
}

impl State {
    fn body(&self, path: &str) -> Option<Arc<[u8]>> {
        if let Some(body) = self.bodies.get(path) {
            return Some(Arc::clone(body));
        }
        let (below, directory) = self.directories.iter().find_map(|(prefix, directory)| {
            Some((path.strip_prefix(prefix.as_str())?.strip_prefix('/')?, directory))
        })?;
        if below.split('/').any(|component| component == "..") {
            return None;
        }
        std::fs::read(directory.join(below)).ok().map(Into::into)
    }
}

fn empty(to: &mut impl Write, status: u16, lines: &str) -> io::Result<bool> {
    // 304 has no body by definition, and a length would be that of the body it stands for.
    let length = if status == 304 { "" } else { "Content-Length: 0\r\n" };
    write!(to, "HTTP/1.1 {status} x\r\n{lines}{length}\r\n")?;
    to.flush()?;
    Ok(true)
}

fn read_request(from: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Some(Request { method, target, headers }))
}

/// A server's configuration with a certificate, and the PEM of the authority that made it.
fn certificates() -> (Arc<rustls::ServerConfig>, String) {
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "authority of the tests");
    let ca_pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = ["localhost", "127.0.0.1", "mirror.test"].map(str::to_owned);
    let parameters = rcgen::CertificateParams::new(names).expect("parameters");
    let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("they belong together");
    (Arc::new(config), ca_pem)
}
