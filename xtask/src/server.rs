//! A small HTTP server for a directory, on this machine only: what the demo downloads from where Alpine's own
//! servers are not reachable.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

/// Serves `directory` for as long as this process lives; the server's address.
pub(crate) fn serve(directory: &Path) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let directory = directory.to_path_buf();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let directory = directory.clone();
            std::thread::spawn(move || {
                // A client that goes away is its own affair.
                let _ = answer(connection, &directory);
            });
        }
    });
    Ok(address)
}

fn answer(mut connection: TcpStream, directory: &Path) -> Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(connection.try_clone()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut from = 0;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("range")
            {
                let range = value.trim().strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
                from = range.and_then(|start| start.parse().ok()).unwrap_or(0);
            }
        }
        let mut words = request.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let body = match file(directory, target) {
            Some(path) if method == "GET" || method == "HEAD" => std::fs::read(path).ok(),
            _ => None,
        };
        match body {
            Some(body) => {
                let (status, start) = match usize::try_from(from) {
                    Ok(start) if start > 0 && start < body.len() => ("206 Partial Content", start),
                    _ => ("200 OK", 0),
                };
                let rest = body.get(start..).unwrap_or_default();
                write!(connection, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n", rest.len())?;
                if start > 0 {
                    write!(connection, "Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len())?;
                }
                write!(connection, "\r\n")?;
                if method == "GET" {
                    connection.write_all(rest)?;
                }
            }
            None => write!(connection, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
        }
    }
}

/// The file that a request's target names, below `directory` and nowhere else.
fn file(directory: &Path, target: &str) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?.replace("%2B", "+").replace("%2b", "+");
    let path = Path::new(&path);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| directory.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_directory_is_served() {
        let root = Path::new("/srv");
        assert_eq!(file(root, "/a/b%2B1?x"), Some(PathBuf::from("/srv/a/b+1")));
        assert_eq!(file(root, "/../etc/passwd"), None);
        assert_eq!(file(root, "//etc/passwd"), None);
        assert_eq!(file(root, "relative"), None);
    }
}
