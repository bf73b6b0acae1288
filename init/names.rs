//! Error numbers and signals in words (errno(3), signal(7); the numbers are those of every architecture that
//! this is built for).

/// "No such file" as an error number.
pub const ENOENT: u16 = 2;
/// "File exists".
pub const EEXIST: u16 = 17;
/// "Function not implemented".
pub const ENOSYS: u16 = 38;
/// "Read-only file system".
pub const EROFS: u16 = 30;
/// "Device or resource busy".
pub const EBUSY: u16 = 16;
/// "Interrupted".
pub const EINTR: u16 = 4;
/// "No child processes".
pub const ECHILD: u16 = 10;
/// "Operation not supported".
pub const EOPNOTSUPP: u16 = 95;
/// "Network is unreachable".
pub const ENETUNREACH: u16 = 101;

/// Hangup.
pub const SIGHUP: u8 = 1;
/// Ctrl-C, and for PID 1 Ctrl-Alt-Del.
pub const SIGINT: u8 = 2;
/// Ctrl-\.
pub const SIGQUIT: u8 = 3;
/// Can't be caught.
pub const SIGKILL: u8 = 9;
/// For programs' own use.
pub const SIGUSR1: u8 = 10;
/// For programs' own use.
pub const SIGUSR2: u8 = 12;
/// Please end.
pub const SIGTERM: u8 = 15;
/// A child has ended.
pub const SIGCHLD: u8 = 17;
/// Power fails.
pub const SIGPWR: u8 = 30;

/// What an error means here.
pub fn error(number: u16) -> Option<&'static str> {
    Some(match number {
        1 => "it is not permitted",
        ENOENT => "it is not there",
        5 => "input or output failed",
        7 => "the arguments and the environment are too long",
        8 => "it is no program or module for this machine",
        12 => "there is not enough memory",
        13 => "it may not be read or not be executed",
        EBUSY => "it is in use",
        EEXIST => "it exists already",
        19 => "the kernel has no such device or file system",
        20 => "a part of the path is no directory",
        21 => "it is a directory",
        22 => "the kernel refuses a value",
        27 => "it is too large",
        28 => "no space is left",
        EROFS => "the file system is read-only",
        ENOSYS => "the kernel was built without this",
        40 => "links lead in a circle",
        EOPNOTSUPP => "the file system can't do this",
        97 => "the kernel was built without IPv4",
        ENETUNREACH => "the network can't be reached from this address",
        _ => return None,
    })
}

/// A signal's name, if it is one that ends programs.
pub fn signal(number: u8) -> Option<&'static str> {
    Some(match number {
        SIGHUP => "SIGHUP",
        SIGINT => "SIGINT",
        SIGQUIT => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        SIGKILL => "SIGKILL",
        SIGUSR1 => "SIGUSR1",
        11 => "SIGSEGV",
        SIGUSR2 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        SIGTERM => "SIGTERM",
        SIGPWR => "SIGPWR",
        31 => "SIGSYS",
        _ => return None,
    })
}
