//! Just enough of HTTP/1.1 (RFC 9112) to ask a guest whether it is there, and patience until it is.
//!
//! A real client is strict and reads whole answers; this one takes whatever an application under test sends, sees a
//! substring as soon as it has come, and keeps to the time it is given.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::HttpExpectation;

/// The most of an answer that is read, in bytes.
const ANSWER_LIMIT: usize = 4 << 20;

/// How much of a wrong answer is kept for the report, in bytes.
const EXCERPT: usize = 120;

/// The pause between two tries. It doubles while the same wrong answer comes, up to [`LAST_PAUSE`]: an application that
/// logs each request would fill the console, whose last lines are to explain what is wrong.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// How long the first try may take. QEMU accepts connections before the guest does, and then asks the guest less and
/// less often, so that trying anew finds a new listener sooner than waiting.
const FIRST_LIMIT: Duration = Duration::from_secs(1);

/// How long a try may take at most: an application that is slow to answer needs one long try.
const LAST_LIMIT: Duration = Duration::from_secs(15);

/// What one try came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The substring was in the body; the answer's status.
    Met { status: u16 },
    /// An answer without the substring: its status, the size of its body, and how that begins.
    Other { status: u16, size: usize, beginning: Vec<u8> },
    /// Something that is no HTTP answer; how it begins.
    NotHttp { beginning: Vec<u8> },
    /// The connection was closed without a word: most likely nothing listens on that port of the guest.
    Closed,
    /// Nothing came in time.
    NoAnswer,
}

/// Asks until the expectation is met or `stop` is set, and tells each outcome that differs from the one before.
pub(super) fn ask(
    expectation: &HttpExpectation,
    host_port: u16,
    stop: &AtomicBool,
    mut tell: impl FnMut(Outcome, Instant),
) {
    let mut limit = FIRST_LIMIT;
    let mut pause = PAUSE;
    let mut last = None;
    while !stop.load(Ordering::Relaxed) {
        let outcome = ask_once(expectation, host_port, limit);
        limit = match outcome {
            Outcome::NoAnswer => (limit * 3 / 2).min(LAST_LIMIT),
            _ => FIRST_LIMIT,
        };
        pause = match outcome {
            Outcome::Other { .. } if last.as_ref() == Some(&outcome) => (pause * 2).min(LAST_PAUSE),
            _ => PAUSE,
        };
        let met = matches!(outcome, Outcome::Met { .. });
        if last.as_ref() != Some(&outcome) {
            tell(outcome.clone(), Instant::now());
            last = Some(outcome);
        }
        if met {
            return;
        }
        std::thread::sleep(pause);
    }
}

fn ask_once(expectation: &HttpExpectation, host_port: u16, limit: Duration) -> Outcome {
    let mut answer = Vec::new();
    let result = exchange(expectation, host_port, Instant::now() + limit, &mut answer);
    let Some(response) = Response::parse(&answer) else {
        return match result {
            _ if !answer.is_empty() => Outcome::NotHttp { beginning: beginning(&answer) },
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Outcome::NoAnswer
            }
            Ok(()) | Err(_) => Outcome::Closed,
        };
    };
    if response.holds(&expectation.substring) {
        Outcome::Met { status: response.status }
    } else {
        let Response { status, body, .. } = response;
        Outcome::Other { status, size: body.len(), beginning: beginning(&body) }
    }
}

/// Sends the request, and reads until the answer holds the substring or is whole.
fn exchange(
    expectation: &HttpExpectation,
    host_port: u16,
    deadline: Instant,
    answer: &mut Vec<u8>,
) -> io::Result<()> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, host_port));
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let HttpExpectation { path, port, .. } = expectation;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: leanfs\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut buffer = vec![0; 16 << 10];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        answer.extend_from_slice(&buffer[..count.min(ANSWER_LIMIT - answer.len())]);
        let done = Response::parse(answer)
            .is_some_and(|response| response.whole || response.holds(&expectation.substring));
        if done || answer.len() == ANSWER_LIMIT {
            return Ok(());
        }
    }
}

fn beginning(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(EXCERPT)].to_vec()
}

/// An answer, or as much of it as has come.
#[derive(Debug, PartialEq, Eq)]
struct Response {
    status: u16,
    /// Without transfer coding.
    body: Vec<u8>,
    /// Whether nothing is missing. Never for an answer that only the connection's end delimits.
    whole: bool,
}

impl Response {
    /// `None` if the head has not come yet, or is none.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = split_head(bytes)?;
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let mut words = lines.next()?.split(' ');
        if !words.next()?.starts_with("HTTP/") {
            return None;
        }
        let status = words.find(|word| !word.is_empty())?.trim().parse().ok()?;
        let mut length = None;
        let mut chunked = false;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.trim().eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<usize>().ok();
            } else if name.trim().eq_ignore_ascii_case("transfer-encoding") {
                chunked |= value.trim().to_ascii_lowercase().ends_with("chunked");
            }
        }
        let (body, whole) = match length {
            _ if chunked => unchunk(rest),
            Some(length) => (rest[..rest.len().min(length)].to_vec(), rest.len() >= length),
            None => (rest.to_vec(), false),
        };
        Some(Self { status, body, whole })
    }

    fn holds(&self, substring: &str) -> bool {
        let substring = substring.as_bytes();
        substring.is_empty() || self.body.windows(substring.len()).any(|window| window == substring)
    }
}

/// Head and body; the lines of the head end in CR LF or LF.
fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut start = 0;
    loop {
        let end = start + bytes.get(start..)?.iter().position(|byte| *byte == b'\n')?;
        if matches!(&bytes[start..end], b"" | b"\r") {
            return Some((&bytes[..start], &bytes[end + 1..]));
        }
        start = end + 1;
    }
}

/// Takes the chunked transfer coding off (RFC 9112, 7.1), as far as it goes; and whether the last chunk is there.
fn unchunk(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return (body, false) };
        let line = String::from_utf8_lossy(&bytes[..end]);
        let digits = line.split(';').next().unwrap_or_default().trim();
        let Ok(size) = usize::from_str_radix(digits, 16) else { return (body, false) };
        if size == 0 {
            return (body, true);
        }
        bytes = &bytes[end + 1..];
        body.extend_from_slice(&bytes[..bytes.len().min(size)]);
        bytes = bytes.get(size..).unwrap_or_default();
        bytes = bytes.strip_prefix(b"\r").unwrap_or(bytes);
        bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn responses() {
        /// Status, body, whether it is whole.
        type Parsed = (u16, &'static str, bool);
        let table: [(&str, Option<Parsed>); 12] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Some((200, "ok", true))),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok", Some((200, "ok", false))),
            ("HTTP/1.0 404 Not Found\n\nnothing here", Some((404, "nothing here", false))),
            ("HTTP/1.1 200\r\n\r\n", Some((200, "", false))),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
                Some((200, "hello", true)),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhe", Some((200, "he", false))),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhe", Some((200, "", false))),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhe",
                Some((200, "he", false)),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", None),
            ("SSH-2.0-OpenSSH\r\n\r\n", None),
            ("HTTP/1.1 fine\r\n\r\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            let found = Response::parse(text.as_bytes());
            let found = found.map(|response| {
                (response.status, String::from_utf8(response.body).expect("text"), response.whole)
            });
            let expected = expected.map(|(status, body, whole)| (status, body.to_owned(), whole));
            assert_eq!(found, expected, "{text:?}");
        }
    }

    /// A server that answers one connection after the other with these texts; an empty one closes at once.
    fn server(answers: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut request = [0; 1024];
                let count = stream.read(&mut request).expect("a request");
                let request = String::from_utf8_lossy(&request[..count]);
                assert!(request.starts_with("GET /a?b HTTP/1.1\r\nHost: localhost:80\r\n"), "{request}");
                stream.write_all(answer.as_bytes()).expect("taken");
                if answer.ends_with("stays open") {
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_secs(30));
                        drop(stream);
                    });
                }
            }
        });
        port
    }

    fn outcomes(answers: &'static [&'static str]) -> Vec<Outcome> {
        let expectation = ":80/a?b=ready".parse().expect("an expectation");
        let mut outcomes = Vec::new();
        ask(&expectation, server(answers), &AtomicBool::new(false), |outcome, _| outcomes.push(outcome));
        outcomes
    }

    #[test]
    fn asks_until_it_is_met() {
        let other = Outcome::Other { status: 503, size: 8, beginning: b"starting".to_vec() };
        let found = outcomes(&[
            "",
            "",
            "HTTP/1.1 503 No\r\n\r\nstarting",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nI am ready",
        ]);
        let not_http = Outcome::NotHttp { beginning: b"SSH-2.0\r\n\r\n".to_vec() };
        assert_eq!(found, [Outcome::Closed, other, not_http, Outcome::Met { status: 200 }]);
    }

    #[test]
    fn a_connection_that_stays_open_is_no_hindrance() {
        let found = outcomes(&["HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nready, stays open"]);
        assert_eq!(found, [Outcome::Met { status: 200 }]);
    }

    #[test]
    fn silence_and_stopping() {
        // Nobody accepts, but the kernel completes connections for the backlog.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let expectation: HttpExpectation = ":80/=x".parse().expect("an expectation");
        assert_eq!(ask_once(&expectation, port, Duration::from_millis(50)), Outcome::NoAnswer);
        drop(listener);
        assert_eq!(ask_once(&expectation, port, Duration::from_secs(5)), Outcome::Closed);
        ask(&expectation, port, &AtomicBool::new(true), |_, _| panic!("it was told to stop"));
    }
}
