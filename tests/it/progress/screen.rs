//! A terminal: a pseudo terminal that a program runs in, and what can be seen on it.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A program in a terminal.
pub(super) struct Session {
    pub(super) child: Child,
    reader: JoinHandle<Vec<u8>>,
    /// Types.
    pub(super) keyboard: File,
}

impl Session {
    /// Starts a program in a terminal of so many columns, which is its controlling terminal: Ctrl-C works.
    pub(super) fn start(command: &Command, columns: u16) -> Self {
        let ours =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&ours).expect("ours");
        unlockpt(&ours).expect("ours");
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).expect("a terminal");
        let name = ptsname(&ours, Vec::new()).expect("a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = || Stdio::from(rustix::fs::open(&name, flags, Mode::empty()).expect("the other side"));
        // setsid(1) becomes the program itself: the process has the same number.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "env", "--default-signal=INT,TERM"]).arg(command.get_program());
        session.args(command.get_args()).env_clear();
        for (name, value) in command.get_envs() {
            session.env(name, value.expect("set"));
        }
        session.current_dir(command.get_current_dir().expect("set"));
        let child =
            session.stdin(theirs()).stdout(theirs()).stderr(theirs()).spawn().expect("util-linux is there");
        // It holds the terminal open otherwise.
        drop(session);
        let keyboard = File::from(ours);
        let mut screen = keyboard.try_clone().expect("one more");
        let reader = std::thread::spawn(move || {
            let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
            // EIO when the last program has left the terminal.
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                all.extend(&buffer[..count]);
            }
            all
        });
        Self { child, reader, keyboard }
    }

    /// Waits for the end; gives what was written to the terminal.
    pub(super) fn end(mut self) -> (ExitStatus, Vec<u8>) {
        let status = self.child.wait().expect("ours");
        (status, self.reader.join().expect("no panic"))
    }
}

/// What stands on a screen without an end after all of `bytes`, as far as ECMA-48 and the wrapping of a VT100 go. A
/// sequence that is not known here is an error: leanfs needs few.
pub(super) fn shown(bytes: &[u8], columns: usize) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let mut rows: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => column = 0,
            '\n' => row += 1,
            '\x1b' => {
                assert_eq!(characters.next(), Some('['), "a sequence: {text:?}");
                let mut digits = String::new();
                while let Some(digit) = characters.next_if(|c| c.is_ascii_digit() || ";?".contains(*c)) {
                    digits.push(digit);
                }
                let number = digits.parse().unwrap_or(1_usize);
                match characters.next() {
                    Some('A') => row = row.saturating_sub(number),
                    Some('B') => row += number,
                    Some('C') => column += number,
                    Some('D') => column = column.saturating_sub(number),
                    Some('K') if digits == "2" => rows[row].clear(),
                    Some('K') => rows[row].truncate(column),
                    Some('J') if digits.is_empty() || digits == "0" => {
                        rows[row].truncate(column);
                        rows.truncate(row + 1);
                    }
                    Some('m') => {}
                    end => panic!("ESC [ {digits} {end:?} in {text:?}"),
                }
            }
            _ => {
                // The character after the last column begins a new line, and none before does.
                if column == columns {
                    (row, column) = (row + 1, 0);
                }
                while rows.len() <= row {
                    rows.push(Vec::new());
                }
                if rows[row].len() <= column {
                    rows[row].resize(column + 1, ' ');
                }
                rows[row][column] = character;
                column += 1;
            }
        }
        while rows.len() <= row {
            rows.push(Vec::new());
        }
    }
    let line = |row: Vec<char>| row.into_iter().collect::<String>().trim_end().to_owned();
    let mut lines: Vec<String> = rows.into_iter().map(line).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}
