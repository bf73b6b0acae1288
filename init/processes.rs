//! Starting programs, and what PID 1 does while they run.

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::c_char;
use core::ptr::null;

use crate::conf::OnExit;
use crate::files;
use crate::line::{Line, say};
use crate::names::{
    self, ECHILD, ENOENT, SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGPWR, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
};
use crate::sys::{self, Access, Ended, Errno, Milliseconds, Pid, Signals};
use crate::trace::Trace;

/// The signals that PID 1 waits for.
const WAITED_FOR: [u8; 8] = [SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGPWR];
/// How many files a program may have open. More than Linux's 1,024, because every connection is one; not more
/// than the BEAM's default number of ports, because the BEAM sizes tables by it.
const MOST_OPEN_FILES: u64 = 65_536;
/// How long the program may take to end after it was asked to.
const MOST_STOPPING: Milliseconds = Milliseconds(60_000);
/// How long what is left may take to end when the program has ended.
const MOST_LEFTOVERS: Milliseconds = Milliseconds(2000);
/// How long between two looks while something is expected to end, or the program is traced.
const POLL: Milliseconds = Milliseconds(20);
/// What a program's copy of PID 1 exits with when the program can't be started, as in a shell.
pub const NOT_STARTED: u8 = 127;

/// A program and how it is started.
pub struct Program<'a> {
    program: &'a [u8],
    path: Option<CString>,
    arguments: Vec<CString>,
    directory: Option<CString>,
    env: &'a [CString],
}

impl<'a> Program<'a> {
    /// Without arguments, `argv[0]` is the program's path.
    pub fn new(program: &'a [u8], arguments: &[Vec<u8>], directory: &[u8], env: &'a [CString]) -> Self {
        let mut arguments: Vec<CString> =
            arguments.iter().filter_map(|argument| files::name(argument).ok()).collect();
        if arguments.is_empty() {
            arguments.extend(files::name(program).ok());
        }
        Self {
            program,
            path: files::name(program).ok(),
            arguments,
            directory: files::name(directory).ok(),
            env,
        }
    }

    /// Starts it in a session of its own; `is_main` gives it the console as its terminal, and another gets no
    /// input.
    fn start(&self, is_main: bool) -> Option<Pid> {
        match sys::fork() {
            Ok(0) => self.become_it(is_main),
            Ok(pid) => Some(pid),
            Err(error) => {
                say("").bytes(self.program).text(" can't be started").error(error);
                None
            }
        }
    }

    fn become_it(&self, is_main: bool) -> ! {
        sys::new_session();
        if is_main {
            sys::take_terminal();
        } else if let Ok(null) = sys::open(c"/dev/null", sys::O_RDONLY, 0) {
            sys::duplicate_to(null, 0);
        }
        sys::limit_open_files(MOST_OPEN_FILES);
        Signals::NONE.block();
        if let Some(directory) = &self.directory
            && let Err(error) = sys::change_directory(directory)
        {
            say("").bytes(self.program).text(" isn't started in ").bytes(directory.to_bytes()).error(error);
        }
        let path = self.path.as_deref().unwrap_or_default();
        // SAFETY: both lists are of strings that live in `self`, and end with a null pointer.
        let error = unsafe { sys::execute(path, &pointers(&self.arguments), &pointers(self.env)) };
        let line = say("").bytes(self.program).text(" can't be started");
        if error == Errno(ENOENT) && sys::access(path, Access::Exists).is_ok() {
            line.text(": the interpreter or the dynamic loader that it names is not in the image");
        } else {
            line.error(error);
        }
        sys::exit(NOT_STARTED);
    }
}

/// The strings' addresses, and a null pointer at the end.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([null()]).collect()
}

/// From now on signals wait until they are asked for.
pub fn block_signals() {
    Signals::new(&WAITED_FOR).block();
}

/// Starts a program in the background. That it fails is a line on the console.
pub fn start_helper(program: &Program) {
    program.start(false);
}

/// Starts the program, reaps every child and passes signals on until it has ended. Gives back what a signal asked
/// for, against the settings, and how the program ended; as a shell would, if it could not be started.
pub fn run(program: &Program, mut trace: Option<&mut Trace>) -> (Option<OnExit>, Ended) {
    let Some(main) = program.start(true) else { return (None, Ended::Exit(NOT_STARTED)) };
    let signals = Signals::new(&WAITED_FOR);
    let mut end = None;
    let mut left = None;
    loop {
        let wait = if left.is_some() || trace.is_some() { POLL } else { Milliseconds(3_600_000) };
        let signal = signals.wait(wait);
        if let Some(trace) = &mut trace {
            trace.say_new();
        }
        match signal {
            Some(SIGCHLD) => {}
            Some(signal @ (SIGTERM | SIGINT | SIGPWR | SIGUSR2)) => {
                if matches!(signal, SIGPWR | SIGUSR2) {
                    end = Some(OnExit::PowerOff);
                }
                say("passing ").text(names::signal(signal).unwrap_or("a signal")).text(" on as SIGTERM");
                sys::kill(main, SIGTERM);
                left.get_or_insert(MOST_STOPPING);
            }
            Some(signal) => sys::kill(main, signal),
            None => {
                if let Some(Milliseconds(time)) = left {
                    if time == 0 {
                        say("").bytes(program.program).text(" hasn't ended within a minute, and is killed");
                        sys::kill(main, SIGKILL);
                        left = None;
                    } else {
                        left = Some(Milliseconds(time.saturating_sub(POLL.0)));
                    }
                }
            }
        }
        while let Ok(Some((pid, ended))) = sys::reap() {
            if pid == main {
                if let Some(trace) = &mut trace {
                    trace.say_new();
                }
                describe(say("").bytes(program.program), ended);
                return (end, ended);
            }
        }
    }
}

fn describe(line: Line, ended: Ended) {
    match ended {
        Ended::Exit(status) => drop(line.text(" ended with exit status ").number(u64::from(status))),
        Ended::Signal(signal) => {
            let line = line.text(" was ended by signal ").number(u64::from(signal));
            if let Some(name) = names::signal(signal) {
                line.text(" (").text(name).text(")");
            }
        }
    }
}

/// Ends every process but this one: asks them, and kills what is left two seconds later.
pub fn stop_all() {
    sys::kill(-1, SIGTERM);
    for _ in 0..MOST_LEFTOVERS.0 / POLL.0 {
        loop {
            match sys::reap() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(Errno(ECHILD)) => return,
                Err(_) => break,
            }
        }
        sys::sleep(POLL);
    }
    sys::kill(-1, SIGKILL);
}
