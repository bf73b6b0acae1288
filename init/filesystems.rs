//! The file systems that every program expects, and the devices that must be there.

use core::ffi::CStr;

use crate::line::say;
use crate::names::{EBUSY, EEXIST, EROFS};
use crate::sys::{self, Access, Errno, MNT_DETACH, MS_NODEV, MS_NOEXEC, MS_NOSUID};

/// Character devices by name, mode, major and minor number (Linux's `Documentation/admin-guide/devices.txt`).
const DEVICES: [(&CStr, usize, usize, usize); 8] = [
    (c"/dev/null", 0o666, 1, 3),
    (c"/dev/zero", 0o666, 1, 5),
    (c"/dev/full", 0o666, 1, 7),
    (c"/dev/random", 0o666, 1, 8),
    (c"/dev/urandom", 0o666, 1, 9),
    (c"/dev/tty", 0o666, 5, 0),
    (c"/dev/console", 0o600, 5, 1),
    (c"/dev/ptmx", 0o666, 5, 2),
];

/// Names that devtmpfs leaves to user space.
const LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
];

/// Mounts devtmpfs and adds what a program may miss in it. Without devtmpfs the devices are made where they are:
/// a BEAM without `/dev/null` runs in a circle for ever.
pub fn mount_devices() {
    mount(c"devtmpfs", c"/dev", MS_NOSUID, c"mode=0755");
    for (name, mode, major, minor) in DEVICES {
        if sys::access(name, Access::Exists).is_err()
            && let Err(error) = sys::make_device(name, mode, major, minor)
        {
            say("").bytes(name.to_bytes()).text(" is not there and can't be made").error(error);
        }
    }
    for (target, name) in LINKS {
        // A link that is there leads to the same place.
        let _ = sys::make_link(target, name);
    }
}

/// Makes the console standard input, output and error. Without a console they lead nowhere.
pub fn open_console() {
    let console = sys::open(c"/dev/console", sys::O_RDWR | sys::O_NOCTTY, 0)
        .or_else(|_| sys::open(c"/dev/null", sys::O_RDWR, 0));
    if let Ok(console) = console {
        for number in 0..=2 {
            sys::duplicate_to(console, number);
        }
        if !sys::is_standard(console) {
            sys::close(console);
        }
    }
}

/// Mounts everything but devtmpfs, which [`mount_devices`] did.
pub fn mount_the_rest() {
    const NOTHING_SPECIAL: usize = MS_NOSUID | MS_NODEV;
    mount(c"proc", c"/proc", NOTHING_SPECIAL | MS_NOEXEC, c"");
    mount(c"sysfs", c"/sys", NOTHING_SPECIAL | MS_NOEXEC, c"");
    mount(c"devpts", c"/dev/pts", MS_NOSUID | MS_NOEXEC, c"gid=5,mode=0620,ptmxmode=0666");
    mount(c"tmpfs", c"/dev/shm", NOTHING_SPECIAL, c"mode=1777");
    mount(c"tmpfs", c"/run", NOTHING_SPECIAL, c"mode=0755");
    if sys::access(c"/tmp", Access::Write) == Err(Errno(EROFS)) {
        mount(c"tmpfs", c"/tmp", NOTHING_SPECIAL, c"mode=1777");
    }
}

/// Lets go of everything that was mounted here: the next root mounts its own.
pub fn unmount_all() {
    for target in [c"/run", c"/dev/shm", c"/dev/pts", c"/sys", c"/proc", c"/dev"] {
        // What isn't mounted can stay so.
        let _ = sys::unmount(target, MNT_DETACH);
    }
}

fn mount(kind: &CStr, target: &CStr, flags: usize, options: &CStr) {
    let made = match sys::make_directory(target, 0o755) {
        Err(Errno(EEXIST)) => Ok(()),
        other => other,
    };
    match made.and_then(|()| sys::mount(kind, target, kind, flags, options)) {
        // The kernel was told to mount it itself.
        Ok(()) | Err(Errno(EBUSY)) => {}
        Err(error) => {
            say("")
                .bytes(kind.to_bytes())
                .text(" can't be mounted at ")
                .bytes(target.to_bytes())
                .error(error);
        }
    }
}
