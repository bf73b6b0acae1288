//! Saying which files of the image are opened: `leanfs.trace=1`. What is said, and how, is described in
//! `src/layer/init_conf.rs`.
//!
//! Every directory of the image is watched with inotify(7), and PID 1 empties the queue whenever it wakes. Only files
//! that are there when the watching begins are said: they are the image's, and their number is bounded. Opening what
//! is not there makes no event, so that a search along a path leaves no trace.

use alloc::vec;
use alloc::vec::Vec;

use crate::files::{self, Entries, Entry, before_nul};
use crate::line;
use crate::names::{EINTR, EOPNOTSUPP};
use crate::sys::{self, Descriptor, Errno, IN_ISDIR, IN_OPEN, IN_Q_OVERFLOW};

/// What stands in the environment of a program that is traced: a release that a shell starts has its mode from there.
pub const ENV: &[u8] = b"RELEASE_MODE=interactive";

/// Directories that other file systems are mounted on, and where programs put what they make.
const NOT_WATCHED: [&[u8]; 5] = [b"/proc/", b"/sys/", b"/dev/", b"/run/", b"/tmp/"];
/// As many directories as a kernel can be told to watch for one user. Untold, older ones watch 8,192.
const MOST_WATCHES: &[u8] = b"1048576";
/// How much is read at a time.
const BUFFER_BYTES: usize = 16 * 1024;

/// Makes the BEAM load a module when it is first called, as far as its arguments say otherwise: in the mode
/// `embedded` it loads all that the release lists. What follows `-extra` is the application's.
pub fn load_on_demand(arguments: &mut [Vec<u8>]) {
    let mut is_mode = false;
    for argument in arguments.iter_mut().take_while(|argument| *argument != b"-extra") {
        if is_mode {
            *argument = b"interactive".to_vec();
        }
        is_mode = argument == b"-mode";
    }
}

/// An image that is watched.
pub struct Trace {
    queue: Descriptor,
    /// The console, opened for this alone: that a program sets its own not to wait doesn't count here.
    console: Descriptor,
    directories: Vec<Directory>,
    /// How many files were said.
    said: u64,
    buffer: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Directory {
    /// With a slash at the end.
    path: Vec<u8>,
    /// Its number in the queue's events.
    watch: i32,
    files: Vec<File>,
}

#[derive(Debug, PartialEq, Eq)]
struct File {
    name: Vec<u8>,
    is_said: bool,
}

/// Why an image can't be watched.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    what: &'static str,
    /// Empty when it is about no directory.
    directory: Vec<u8>,
    error: Errno,
}

impl Trace {
    /// Watches the image and says so, or why it can't be watched.
    pub fn start() -> Option<Self> {
        // That this fails shows when there are too many directories.
        let _ = files::write(c"/proc/sys/fs/inotify/max_user_watches", MOST_WATCHES);
        let console = sys::open(c"/dev/console", sys::O_WRONLY | sys::O_NOCTTY, 0).unwrap_or(sys::STDERR);
        match Self::watch(b"/", &NOT_WATCHED, console) {
            Ok(trace) => {
                line::trace(console).text("ready");
                Some(trace)
            }
            Err(Failure { what, directory, error }) => {
                line::trace(console).text("failed: ").text(what).bytes(&directory).error(error);
                None
            }
        }
    }

    fn watch(root: &[u8], left_out: &[&[u8]], console: Descriptor) -> Result<Self, Failure> {
        let failure = |what, directory: &[u8], error| Failure { what, directory: directory.to_vec(), error };
        let queue =
            sys::file_events().map_err(|error| failure("what is opened can't be watched", b"", error))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        // All are listed before the first is watched, because listing opens directories too.
        let mut directories = list(root, left_out, &mut buffer)?;
        for Directory { path, watch, .. } in &mut directories {
            *watch = files::name(path)
                .and_then(|name| sys::watch_opens(queue, &name))
                .map_err(|error| failure("what is opened can't be watched in ", path, error))?;
        }
        Ok(Self { queue, console, directories, said: 0, buffer })
    }

    /// Says every file that was opened for the first time.
    pub fn say_new(&mut self) {
        loop {
            match sys::read(self.queue, &mut self.buffer) {
                Err(Errno(EINTR)) => {}
                // "Try again" is an empty queue.
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    for event in Events(&self.buffer[..count]) {
                        say(event, &mut self.directories, &mut self.said, self.console);
                    }
                }
            }
        }
    }
}

fn say(event: Event, directories: &mut [Directory], said: &mut u64, console: Descriptor) {
    if event.kind & IN_Q_OVERFLOW != 0 {
        line::trace(console).text("lost");
    }
    if let Some((directory, name)) = first_opening(event, directories) {
        *said += 1;
        // In one piece, which a terminal takes as such: lines of others come before or after it.
        line::trace(console).printable(directory).printable(name).text(" ").number(*said);
    }
}

/// The directory and the name of the file that an event is about, if that was opened and had not been before.
fn first_opening<'a>(event: Event, directories: &'a mut [Directory]) -> Option<(&'a [u8], &'a [u8])> {
    if event.kind & (IN_OPEN | IN_ISDIR) != IN_OPEN {
        return None;
    }
    let directory = directories.iter_mut().find(|directory| directory.watch == event.watch)?;
    let file = directory.files.iter_mut().find(|file| file.name == event.name)?;
    let was_said = core::mem::replace(&mut file.is_said, true);
    (!was_said).then_some((&directory.path, &file.name))
}

/// Lists a directory and all below it, but those that are left out. Paths end with a slash.
fn list(root: &[u8], left_out: &[&[u8]], buffer: &mut [u8]) -> Result<Vec<Directory>, Failure> {
    let mut directories = vec![Directory { path: root.to_vec(), watch: -1, files: Vec::new() }];
    let mut index = 0;
    while let Some(directory) = directories.get_mut(index) {
        let below = list_one(directory, left_out, buffer).map_err(|error| Failure {
            what: "a directory can't be listed: ",
            directory: directory.path.clone(),
            error,
        })?;
        directories.extend(below);
        index += 1;
    }
    Ok(directories)
}

/// Fills in the regular files of a directory, and gives the directories in it.
fn list_one(
    directory: &mut Directory,
    left_out: &[&[u8]],
    buffer: &mut [u8],
) -> Result<Vec<Directory>, Errno> {
    let open = sys::open(&files::name(&directory.path)?, sys::O_RDONLY, 0)?;
    let mut below = Vec::new();
    let result = loop {
        let count = match sys::directory_entries(open, buffer) {
            Ok(0) => break Ok(below),
            Ok(count) => count,
            Err(error) => break Err(error),
        };
        let mut is_known = true;
        for Entry { kind, name } in Entries(&buffer[..count]) {
            match kind {
                _ if name == b"." || name == b".." => {}
                DT_DIR => {
                    let path = [&directory.path, name, b"/"].concat();
                    if !left_out.contains(&path.as_slice()) {
                        below.push(Directory { path, watch: -1, files: Vec::new() });
                    }
                }
                DT_REG => directory.files.push(File { name: name.to_vec(), is_said: false }),
                // Not so in any file system that an image is in.
                DT_UNKNOWN => is_known = false,
                _ => {}
            }
        }
        if !is_known {
            break Err(Errno(EOPNOTSUPP));
        }
    };
    sys::close(open);
    result
}

const DT_UNKNOWN: u8 = 0;
const DT_DIR: u8 = 4;
const DT_REG: u8 = 8;

/// Events as the kernel gives them: `struct inotify_event` (inotify(7)).
struct Events<'a>(&'a [u8]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Event<'a> {
    watch: i32,
    kind: u32,
    /// Empty when it is about the directory itself.
    name: &'a [u8],
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let (watch, rest) = self.0.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (_cookie, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
        self.0 = rest;
        Some(Event {
            watch: i32::from_ne_bytes(*watch),
            kind: u32::from_ne_bytes(*kind),
            name: before_nul(name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;
    use std::string::String;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn only_the_mode_of_the_beam_changes() {
        for (given, expected) in [
            (
                "beam -A 1 -- -mode embedded -boot /x -mode embedded -extra -mode embedded",
                "beam -A 1 -- -mode interactive -boot /x -mode interactive -extra -mode embedded",
            ),
            ("beam -mode", "beam -mode"),
            ("beam embedded", "beam embedded"),
        ] {
            let mut arguments = words(given);
            load_on_demand(&mut arguments);
            assert_eq!(arguments, words(expected));
        }
    }

    #[test]
    fn records_of_the_kernel() {
        let event = |watch: i32, kind: u32, name: &[u8]| {
            let length = name.len() as u32;
            [&watch.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 4], &length.to_ne_bytes(), name].concat()
        };
        let bytes = [
            event(1, IN_OPEN, b"a.beam\0\0\0\0\0\0\0\0\0\0"),
            event(-1, IN_Q_OVERFLOW, b""),
            event(2, IN_OPEN | IN_ISDIR, b""),
        ]
        .concat();
        let expected = [
            Event { watch: 1, kind: IN_OPEN, name: b"a.beam" },
            Event { watch: -1, kind: IN_Q_OVERFLOW, name: b"" },
            Event { watch: 2, kind: IN_OPEN | IN_ISDIR, name: b"" },
        ];
        assert_eq!(Events(&bytes).collect::<Vec<_>>(), expected);
        let entry = |length: u16, kind: u8, name: &[u8]| {
            [&[1; 16][..], &length.to_ne_bytes(), &[kind], name].concat()
        };
        let bytes = [entry(24, DT_REG, b"a.b\0\xff"), entry(24, DT_DIR, b"long\0")].concat();
        let expected = [Entry { kind: DT_REG, name: b"a.b" }, Entry { kind: DT_DIR, name: b"long" }];
        assert_eq!(Entries(&bytes).collect::<Vec<_>>(), expected);
        // What is cut off, or says a length that can't be, ends it.
        assert_eq!(Entries(&bytes[..47]).count(), 1);
        assert_eq!(Entries(&entry(0, DT_REG, b"abcde\0")).count(), 0);
        assert_eq!(Entries(&entry(9999, DT_REG, b"abcde\0")).count(), 0);
        assert_eq!(Events(&event(1, IN_OPEN, b"a\0")[..17]).count(), 0);
    }

    /// A directory of this test's own.
    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(std::format!("leanfs-trace-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        path
    }

    /// A file that stands in for the console.
    fn log(base: &std::path::Path) -> (PathBuf, Descriptor) {
        let path = base.join("log");
        std::fs::write(&path, "").expect("written");
        let name = files::name(path.as_os_str().as_bytes()).expect("no NUL");
        (path, sys::open(&name, sys::O_WRONLY, 0).expect("open"))
    }

    fn slashed(path: &std::path::Path) -> Vec<u8> {
        [path.as_os_str().as_bytes(), b"/"].concat()
    }

    /// On this kernel: what is opened is said once, in order, and nothing else is.
    #[test]
    fn opened_files_are_said_once() {
        let base = directory("said");
        let root = base.join("root");
        for place in ["lib/a/ebin", "proc", "empty"] {
            std::fs::create_dir_all(root.join(place)).expect("made");
        }
        for place in ["lib/a/ebin/a.beam", "lib/a/ebin/b.beam", "lib/grün \\.txt", "top", "proc/x"] {
            std::fs::write(root.join(place), place).expect("written");
        }
        std::os::unix::fs::symlink("lib/a", root.join("link")).expect("linked");
        let (log, console) = log(&base);
        let left_out = slashed(&root.join("proc"));
        let mut trace = Trace::watch(&slashed(&root), &[&left_out], console).expect("this kernel has it");
        trace.say_new();

        let read = |place: &str| drop(std::fs::read(root.join(place)));
        for place in ["top", "lib/a/ebin/b.beam", "absent", "lib/a/ebin/absent.beam", "proc/x", "top"] {
            read(place);
        }
        std::fs::read_dir(root.join("lib")).expect("a directory").for_each(drop);
        std::fs::metadata(root.join("lib/a/ebin/a.beam")).expect("there");
        trace.say_new();
        std::fs::write(root.join("lib/later"), "x").expect("written");
        read("lib/later");
        read("link/ebin/a.beam");
        read("link/ebin/b.beam");
        read("lib/grün \\.txt");
        trace.say_new();
        trace.say_new();

        let root = root.to_str().expect("a name in UTF-8");
        let expected: String =
            ["top 1", "lib/a/ebin/b.beam 2", "lib/a/ebin/a.beam 3", "lib/gr\\xc3\\xbcn \\x5c.txt 4"]
                .map(|said| std::format!("leanfs-trace: {root}/{said}\n"))
                .concat();
        assert_eq!(std::fs::read_to_string(&log).expect("readable"), expected);
        sys::close(console);
        std::fs::remove_dir_all(&base).expect("clean");
    }

    #[test]
    fn what_cannot_be_listed_is_a_failure() {
        let failure = Trace::watch(b"/nowhere/", &[], sys::STDERR).map(drop).expect_err("it is not there");
        let error = Errno(crate::names::ENOENT);
        let what = "a directory can't be listed: ";
        assert_eq!(failure, Failure { what, directory: b"/nowhere/".to_vec(), error });
    }

    #[test]
    fn a_lost_event_is_said() {
        let base = directory("lost");
        let (log, console) = log(&base);
        say(Event { watch: -1, kind: IN_Q_OVERFLOW, name: b"" }, &mut [], &mut 0, console);
        say(Event { watch: 1, kind: IN_OPEN, name: b"unknown" }, &mut [], &mut 0, console);
        assert_eq!(std::fs::read(&log).expect("readable"), b"leanfs-trace: lost\n");
        sys::close(console);
        std::fs::remove_dir_all(&base).expect("clean");
    }
}
