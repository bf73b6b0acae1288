//! A guest that runs while a test talks with it: `leanfs launch` with its console and one of its ports.
//!
//! `leanfs verify` asks everything at once and in no order; here one thing is asked after the other, answers are had
//! whole, and so is the console.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use regex::Regex;

use super::bench::Bench;

/// How long anything may take: a loaded machine without virtualisation is slow, not broken.
const PATIENCE: Duration = Duration::from_secs(300);

/// What came to the console, as far as it has come.
type Console = Arc<Mutex<Vec<u8>>>;

/// A guest.
pub(crate) struct Running {
    leanfs: Child,
    console: Console,
    reader: Option<JoinHandle<()>>,
    port: u16,
}

impl Running {
    /// Starts what stands in `output`; port 80 of the guest can be asked.
    pub(crate) fn launch<S: AsRef<OsStr>>(
        bench: &Bench,
        output: &Path,
        flags: impl IntoIterator<Item = S>,
    ) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        let mut command = bench.leanfs([OsStr::new("launch"), output.as_os_str()]);
        command.args(["--forward", &format!("{port}:80")]).args(flags);
        let mut leanfs = command.stdout(Stdio::piped()).spawn().expect("leanfs");
        let mut stdout = leanfs.stdout.take().expect("piped");
        let console = Console::default();
        let kept = Arc::clone(&console);
        let read = move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                kept.lock().expect("no panic").extend_from_slice(&buffer[..count]);
            }
        };
        Self { leanfs, console, reader: Some(std::thread::spawn(read)), port }
    }

    /// What came to the console up to now, in lines that end with `\n` alone.
    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&self.console.lock().expect("no panic")).replace('\r', "")
    }

    /// Waits until the console matches.
    pub(crate) fn wait_for(&mut self, pattern: &str) {
        let regex = Regex::new(pattern).expect("a pattern");
        let deadline = Instant::now() + PATIENCE;
        while !regex.is_match(&self.console()) {
            let ended = self.leanfs.try_wait().expect("waited");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{pattern} did not come ({ended:?}):\n{}",
                self.console()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks for a path, once; status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let answer = self.exchange(path);
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.console()));
        let parsed = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
            let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
            Some((status, body.to_owned()))
        });
        parsed.unwrap_or_else(|| panic!("{path} was answered with {answer:?}\n{}", self.console()))
    }

    fn exchange(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Ends the emulator as a loss of power would.
    pub(crate) fn kill_emulator(self) {
        let parent = self.leanfs.id().to_string();
        let emulator = fs_err::read_dir("/proc").expect("readable").flatten().find_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            // "NUMBER (NAME) STATE PARENT …", and NAME may hold anything.
            let stat = fs_err::read_to_string(entry.path().join("stat")).ok()?;
            let is_child = stat.rsplit_once(") ")?.1.split(' ').nth(1) == Some(&parent);
            if is_child { rustix::process::Pid::from_raw(number) } else { None }
        });
        let emulator = emulator.unwrap_or_else(|| panic!("leanfs has a child:\n{}", self.console()));
        rustix::process::kill_process(emulator, rustix::process::Signal::KILL).expect("it runs");
        self.end();
    }

    /// Waits for the guest's end; how `leanfs` ended, and the whole console.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.leanfs.try_wait().expect("waited") {
                break status;
            }
            assert!(Instant::now() < deadline, "the guest did not end:\n{}", self.console());
            std::thread::sleep(Duration::from_millis(50));
        };
        let reader = self.reader.take().expect("only taken here");
        reader.join().expect("no panic");
        (status, self.console())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Told to end, leanfs ends the emulator first. It fails for a process that has ended.
        if self.leanfs.try_wait().is_ok_and(|ended| ended.is_none()) {
            let process = rustix::process::Pid::from_child(&self.leanfs);
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
            let _ = self.leanfs.wait();
        }
    }
}
