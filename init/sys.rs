//! System calls, as safe functions with values in and out. Manual pages: section 2 of each name.

use alloc::vec::Vec;
use core::ffi::{CStr, c_char};
use core::ptr::null;

use crate::arch::{self, syscall};
use crate::conf::OnExit;
use crate::names::EINTR;

/// An error number (errno(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub u16);

/// An open file descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor(usize);

/// A process's number.
pub type Pid = i32;

/// Where lines for the console go.
pub const STDERR: Descriptor = Descriptor(2);

/// "The current directory" instead of a descriptor of one.
const AT_FDCWD: usize = -100_isize as usize;

pub const O_RDONLY: usize = 0;
pub const O_WRONLY: usize = 1;
pub const O_RDWR: usize = 2;
pub const O_CREAT: usize = 0o100;
pub const O_NOCTTY: usize = 0o400;
pub const O_TRUNC: usize = 0o1000;
const O_CLOEXEC: usize = 0o2_000_000;

/// An event of inotify(7): something was opened.
pub const IN_OPEN: u32 = 0x20;
/// That one of the events was about a directory.
pub const IN_ISDIR: u32 = 0x4000_0000;
/// An event of inotify(7): the queue was full, and further events are lost.
pub const IN_Q_OVERFLOW: u32 = 0x4000;

pub const MS_RDONLY: usize = 1;
pub const MS_NOSUID: usize = 2;
pub const MS_NODEV: usize = 4;
pub const MS_NOEXEC: usize = 8;
pub const MS_REMOUNT: usize = 32;
pub const MS_NOATIME: usize = 1024;
pub const MS_MOVE: usize = 8192;
/// Of umount2(2): what still uses the mount keeps it until it is done.
pub const MNT_DETACH: usize = 2;

/// The type bits of a character device in a mode.
pub const S_IFCHR: usize = 0o20_000;

/// Gives the result of a system call that takes no pointer, or only such as are valid.
fn result(value: isize) -> Result<usize, Errno> {
    /// Linux's `MAX_ERRNO`, negative.
    const LAST_ERRNO: isize = -4095;
    match value {
        LAST_ERRNO..=-1 => Err(Errno(value.unsigned_abs() as u16)),
        other => Ok(other as usize),
    }
}

fn path(path: &CStr) -> usize {
    path.as_ptr() as usize
}

/// The caller's process number.
pub fn getpid() -> Pid {
    // SAFETY: it takes nothing.
    (unsafe { syscall(arch::GETPID, [0; 6]) }) as Pid
}

/// Ends this process.
pub fn exit(status: u8) -> ! {
    loop {
        // SAFETY: it takes a number.
        let _ = unsafe { syscall(arch::EXIT_GROUP, [usize::from(status), 0, 0, 0, 0, 0]) };
    }
}

/// Maps `length` bytes of fresh memory and gives their address.
pub fn map_memory(length: usize) -> Result<usize, Errno> {
    const PROT_READ_WRITE: usize = 3;
    const MAP_PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: without an address that is asked for, the kernel only takes what is free.
    result(unsafe { syscall(arch::MMAP, [0, length, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, usize::MAX, 0]) })
}

/// Opens a file, for this process only unless it becomes one of the first three descriptors.
pub fn open(name: &CStr, flags: usize, mode: usize) -> Result<Descriptor, Errno> {
    // SAFETY: the name ends with a NUL byte.
    result(unsafe { syscall(arch::OPENAT, [AT_FDCWD, path(name), flags | O_CLOEXEC, mode, 0, 0]) })
        .map(Descriptor)
}

/// Closes a descriptor.
pub fn close(file: Descriptor) {
    // SAFETY: it takes a number; nothing here owns memory through a descriptor.
    let _ = unsafe { syscall(arch::CLOSE, [file.0, 0, 0, 0, 0, 0]) };
}

/// Makes `number` (0, 1 or 2) a copy of `file`; programs that are started get it.
pub fn duplicate_to(file: Descriptor, number: usize) {
    if file.0 != number {
        // SAFETY: it takes numbers.
        let _ = unsafe { syscall(arch::DUP3, [file.0, number, 0, 0, 0, 0]) };
    }
}

/// Whether the descriptor is one of the three that programs get.
pub fn is_standard(file: Descriptor) -> bool {
    file.0 <= 2
}

/// Reads some bytes; 0 at the end.
pub fn read(file: Descriptor, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes to the buffer.
    result(unsafe { syscall(arch::READ, [file.0, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) })
}

/// Writes some bytes.
pub fn write(file: Descriptor, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel reads at most `bytes.len()` bytes of them.
    result(unsafe { syscall(arch::WRITE, [file.0, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) })
}

/// Writes all bytes, or gives up.
pub fn write_all(file: Descriptor, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match write(file, bytes) {
            Ok(count @ 1..) => bytes = &bytes[count..],
            Err(Errno(EINTR)) => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// A file's permission bits.
pub fn mode(file: Descriptor) -> Result<usize, Errno> {
    const AT_EMPTY_PATH: usize = 0x1000;
    const STATX_MODE: usize = 2;
    /// Where `struct statx`, of 256 bytes, has its 16-bit `stx_mode`.
    const MODE_OFFSET: usize = 28;
    #[repr(C, align(8))]
    struct Statx([u8; 256]);
    let mut statx = Statx([0; 256]);
    let address = &raw mut statx as usize;
    // SAFETY: the name is empty and ends with a NUL byte; the kernel writes one `struct statx`.
    result(unsafe { syscall(arch::STATX, [file.0, path(c""), AT_EMPTY_PATH, STATX_MODE, address, 0]) })?;
    Ok(usize::from(u16::from_ne_bytes([statx.0[MODE_OFFSET], statx.0[MODE_OFFSET + 1]])) & 0o7777)
}

/// Sets a file's permission bits.
pub fn set_mode(file: Descriptor, mode: usize) -> Result<(), Errno> {
    // SAFETY: it takes numbers.
    result(unsafe { syscall(arch::FCHMOD, [file.0, mode, 0, 0, 0, 0]) }).map(drop)
}

/// What access(2) can ask for.
#[derive(Clone, Copy)]
pub enum Access {
    /// That the file is there.
    Exists = 0,
    /// That it may be written.
    Write = 2,
}

/// Asks whether a file is there or may be written.
pub fn access(name: &CStr, access: Access) -> Result<(), Errno> {
    // SAFETY: the name ends with a NUL byte.
    result(unsafe { syscall(arch::FACCESSAT, [AT_FDCWD, path(name), access as usize, 0, 0, 0]) }).map(drop)
}

/// Makes a directory.
pub fn make_directory(name: &CStr, mode: usize) -> Result<(), Errno> {
    // SAFETY: the name ends with a NUL byte.
    result(unsafe { syscall(arch::MKDIRAT, [AT_FDCWD, path(name), mode, 0, 0, 0]) }).map(drop)
}

/// Makes a character device with the permission bits `mode`.
pub fn make_device(name: &CStr, mode: usize, major: usize, minor: usize) -> Result<(), Errno> {
    let device = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
    // SAFETY: the name ends with a NUL byte.
    result(unsafe { syscall(arch::MKNODAT, [AT_FDCWD, path(name), S_IFCHR | mode, device, 0, 0]) }).map(drop)
}

/// Makes a symbolic link.
pub fn make_link(target: &CStr, name: &CStr) -> Result<(), Errno> {
    // SAFETY: both end with a NUL byte.
    result(unsafe { syscall(arch::SYMLINKAT, [path(target), AT_FDCWD, path(name), 0, 0, 0]) }).map(drop)
}

/// Changes the working directory.
pub fn change_directory(name: &CStr) -> Result<(), Errno> {
    // SAFETY: the name ends with a NUL byte.
    result(unsafe { syscall(arch::CHDIR, [path(name), 0, 0, 0, 0, 0]) }).map(drop)
}

/// Mounts a file system, or changes or moves a mount, by its flags.
pub fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: usize, options: &CStr) -> Result<(), Errno> {
    // SAFETY: all four end with a NUL byte.
    result(unsafe { syscall(arch::MOUNT, [path(source), path(target), path(kind), flags, path(options), 0]) })
        .map(drop)
}

/// Ends a mount.
pub fn unmount(target: &CStr, flags: usize) -> Result<(), Errno> {
    // SAFETY: it ends with a NUL byte.
    result(unsafe { syscall(arch::UMOUNT2, [path(target), flags, 0, 0, 0, 0]) }).map(drop)
}

/// Removes a name that is no directory's.
pub fn unlink(name: &CStr) -> Result<(), Errno> {
    // SAFETY: it ends with a NUL byte.
    result(unsafe { syscall(arch::UNLINKAT, [AT_FDCWD, path(name), 0, 0, 0, 0]) }).map(drop)
}

/// Makes a directory the root of this process.
pub fn change_root(name: &CStr) -> Result<(), Errno> {
    // SAFETY: it ends with a NUL byte.
    result(unsafe { syscall(arch::CHROOT, [path(name), 0, 0, 0, 0, 0]) }).map(drop)
}

/// Sets the host's name.
pub fn set_hostname(name: &[u8]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `name.len()` bytes of it.
    result(unsafe { syscall(arch::SETHOSTNAME, [name.as_ptr() as usize, name.len(), 0, 0, 0, 0]) }).map(drop)
}

/// Loads a kernel module from an open file.
pub fn load_module(file: Descriptor) -> Result<(), Errno> {
    // SAFETY: the module's parameters are empty and end with a NUL byte.
    result(unsafe { syscall(arch::FINIT_MODULE, [file.0, path(c""), 0, 0, 0, 0]) }).map(drop)
}

/// Loads a kernel module from memory.
pub fn load_module_bytes(module: &[u8]) -> Result<(), Errno> {
    let address = module.as_ptr() as usize;
    // SAFETY: the kernel reads `module.len()` bytes; the parameters are empty and end with a NUL byte.
    result(unsafe { syscall(arch::INIT_MODULE, [address, module.len(), path(c""), 0, 0, 0]) }).map(drop)
}

/// Reads some entries of an open directory, each a `struct linux_dirent64` (getdents(2)); 0 at the end.
pub fn directory_entries(directory: Descriptor, buffer: &mut [u8]) -> Result<usize, Errno> {
    let address = buffer.as_mut_ptr() as usize;
    // SAFETY: the kernel writes at most `buffer.len()` bytes to the buffer.
    result(unsafe { syscall(arch::GETDENTS64, [directory.0, address, buffer.len(), 0, 0, 0]) })
}

/// A queue of what happens to files that are watched (inotify(7)). Reading it never waits.
pub fn file_events() -> Result<Descriptor, Errno> {
    const IN_NONBLOCK: usize = 0o4000;
    // SAFETY: it takes a number.
    result(unsafe { syscall(arch::INOTIFY_INIT1, [IN_NONBLOCK | O_CLOEXEC, 0, 0, 0, 0, 0]) }).map(Descriptor)
}

/// From now on, what is opened in a directory (not below it) comes to the queue, with the number that this gives.
pub fn watch_opens(queue: Descriptor, directory: &CStr) -> Result<i32, Errno> {
    const IN_ONLYDIR: usize = 0x0100_0000;
    let what = IN_OPEN as usize | IN_ONLYDIR;
    // SAFETY: the name ends with a NUL byte.
    result(unsafe { syscall(arch::INOTIFY_ADD_WATCH, [queue.0, path(directory), what, 0, 0, 0]) })
        .map(|number| number as i32)
}

/// A socket for network settings.
pub fn internet_socket() -> Result<Descriptor, Errno> {
    const AF_INET: usize = 2;
    const SOCK_DGRAM_CLOEXEC: usize = 2 | O_CLOEXEC;
    // SAFETY: it takes numbers.
    result(unsafe { syscall(arch::SOCKET, [AF_INET, SOCK_DGRAM_CLOEXEC, 0, 0, 0, 0]) }).map(Descriptor)
}

/// An ioctl(2) request that reads and writes one `T`, or an array that is one.
///
/// # Safety
/// `T` must be the C structure that `request` takes.
pub unsafe fn ioctl<T>(file: Descriptor, request: usize, argument: &mut T) -> Result<(), Errno> {
    // SAFETY: the caller vouches for the structure, and it is there for as long as the call takes.
    result(unsafe { syscall(arch::IOCTL, [file.0, request, &raw mut *argument as usize, 0, 0, 0]) }).map(drop)
}

/// Makes the terminal at standard input the controlling one of this session, even if it was another's.
pub fn take_terminal() {
    const TIOCSCTTY: usize = 0x540e;
    // SAFETY: this request takes a number: 1 for "even if".
    let _ = unsafe { syscall(arch::IOCTL, [0, TIOCSCTTY, 1, 0, 0, 0]) };
}

/// Waits until everything that was written to the console has left it.
fn drain_console() {
    const TCSBRK: usize = 0x5409;
    // SAFETY: this request takes a number: anything but 0 for "only wait".
    let _ = unsafe { syscall(arch::IOCTL, [STDERR.0, TCSBRK, 1, 0, 0, 0]) };
}

/// Begins a session of this process's own.
pub fn new_session() {
    // SAFETY: it takes nothing.
    let _ = unsafe { syscall(arch::SETSID, [0; 6]) };
}

/// How many files a process may have open: both limits.
pub fn limit_open_files(most: u64) {
    const RLIMIT_NOFILE: usize = 7;
    let limit = [most, most];
    // SAFETY: the kernel reads one `struct rlimit64`, two 64-bit numbers; it writes nothing without a pointer.
    let _ = unsafe { syscall(arch::PRLIMIT64, [0, RLIMIT_NOFILE, limit.as_ptr() as usize, 0, 0, 0]) };
}

/// Starts a copy of this process: 0 in the copy, and its number in this one.
pub fn fork() -> Result<Pid, Errno> {
    // SAFETY: without CLONE_VM the copy has its own memory, so nothing is shared; it goes on at this place.
    let pid = unsafe { syscall(arch::CLONE, [usize::from(crate::names::SIGCHLD), 0, 0, 0, 0, 0]) };
    result(pid).map(|pid| pid as Pid)
}

/// Becomes another program; comes back only when that fails.
///
/// # Safety
/// `arguments` and `env` must be pointers to NUL-terminated strings that end with a null pointer.
pub unsafe fn execute(program: &CStr, arguments: &[*const c_char], env: &[*const c_char]) -> Errno {
    let arguments = [path(program), arguments.as_ptr() as usize, env.as_ptr() as usize, 0, 0, 0];
    // SAFETY: the program's name ends with a NUL byte; the caller vouches for the rest.
    match result(unsafe { syscall(arch::EXECVE, arguments) }) {
        Err(error) => error,
        Ok(_) => Errno(0),
    }
}

/// What a program is started with: its arguments, the first of which is its own name, and its environment.
///
/// # Safety
/// `start` must be where execve(2) puts the number of the arguments, followed by the addresses of the arguments, a null
/// pointer, those of the environment, and a null pointer; the strings must stay as they are.
pub unsafe fn arguments(start: *const usize) -> (Vec<&'static [u8]>, Vec<&'static [u8]>) {
    /// The strings up to a null pointer, and where the next list begins.
    ///
    /// # Safety
    /// As above.
    unsafe fn list(mut place: *const *const c_char) -> (Vec<&'static [u8]>, *const *const c_char) {
        let mut strings = Vec::new();
        loop {
            // SAFETY: the caller vouches for the list, and that it ends with a null pointer.
            let (string, next) = unsafe { (*place, place.add(1)) };
            if string.is_null() {
                return (strings, next);
            }
            // SAFETY: and that these are strings.
            strings.push(unsafe { CStr::from_ptr(string) }.to_bytes());
            place = next;
        }
    }
    // SAFETY: the caller vouches for the lists; the number stands before them.
    unsafe {
        let (arguments, env) = list(start.add(1).cast());
        (arguments, list(env).0)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exit(u8),
    /// By this signal.
    Signal(u8),
}

impl Ended {
    /// Takes the status of wait(2).
    pub fn from_status(status: i32) -> Self {
        match (status & 0x7f) as u8 {
            0 => Self::Exit((status >> 8) as u8),
            signal => Self::Signal(signal),
        }
    }
}

/// Takes the end of any child that has ended, without waiting: none if there is no such child now. The error is
/// `ECHILD` when there are no children at all.
pub fn reap() -> Result<Option<(Pid, Ended)>, Errno> {
    const WNOHANG: usize = 1;
    let mut status: i32 = 0;
    let address = &raw mut status as usize;
    // SAFETY: the kernel writes one `int`; the last pointer is null, which it may be.
    match result(unsafe { syscall(arch::WAIT4, [usize::MAX, address, WNOHANG, 0, 0, 0]) })? {
        0 => Ok(None),
        pid => Ok(Some((pid as Pid, Ended::from_status(status)))),
    }
}

/// Sends a signal; -1 is every process but this one.
pub fn kill(pid: Pid, signal: u8) {
    // SAFETY: it takes numbers.
    let _ = unsafe { syscall(arch::KILL, [pid as isize as usize, usize::from(signal), 0, 0, 0, 0]) };
}

/// A set of signals: bit N-1 is signal N.
#[derive(Clone, Copy)]
pub struct Signals(u64);

impl Signals {
    /// None.
    pub const NONE: Self = Self(0);

    /// These.
    pub fn new(signals: &[u8]) -> Self {
        Self(signals.iter().fold(0, |set, signal| set | 1 << (signal - 1)))
    }

    /// Makes these the signals that wait until they are asked for.
    pub fn block(self) {
        const SIG_SETMASK: usize = 2;
        let set = &raw const self.0 as usize;
        // SAFETY: the kernel reads a set of 8 bytes; without a pointer it doesn't write the old one.
        let _ = unsafe { syscall(arch::RT_SIGPROCMASK, [SIG_SETMASK, set, 0, 8, 0, 0]) };
    }

    /// Waits for one of these, which must be blocked, for at most so long.
    pub fn wait(self, most: Milliseconds) -> Option<u8> {
        let set = &raw const self.0 as usize;
        let time = most.to_timespec();
        // SAFETY: the kernel reads a set of 8 bytes and one `struct timespec`; it writes nothing without a
        // pointer.
        let signal =
            result(unsafe { syscall(arch::RT_SIGTIMEDWAIT, [set, 0, time.as_ptr() as usize, 8, 0, 0]) });
        signal.ok().and_then(|signal| u8::try_from(signal).ok())
    }
}

/// A length of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Milliseconds(pub u32);

impl Milliseconds {
    /// `struct timespec`: seconds and nanoseconds.
    fn to_timespec(self) -> [i64; 2] {
        [i64::from(self.0 / 1000), i64::from(self.0 % 1000) * 1_000_000]
    }
}

/// Does nothing for a while.
pub fn sleep(time: Milliseconds) {
    let time = time.to_timespec();
    // SAFETY: the kernel reads one `struct timespec`; it writes nothing without a pointer.
    let _ = unsafe { syscall(arch::NANOSLEEP, [time.as_ptr() as usize, null::<u8>() as usize, 0, 0, 0, 0]) };
}

/// The magic numbers of reboot(2).
const REBOOT_MAGIC: [usize; 2] = [0xfee1_dead, 672_274_793];

fn reboot(command: usize) {
    // SAFETY: these commands take no further argument.
    let _ = unsafe { syscall(arch::REBOOT, [REBOOT_MAGIC[0], REBOOT_MAGIC[1], command, 0, 0, 0]) };
}

/// Makes Ctrl-Alt-Del a SIGINT for PID 1 instead of a restart without warning.
pub fn ctrl_alt_del_is_a_signal() {
    const CAD_OFF: usize = 0;
    reboot(CAD_OFF);
}

/// Writes what is not on disks yet, lets the console finish, and switches the machine off, restarts or halts it.
pub fn power(how: OnExit) -> ! {
    const RESTART: usize = 0x0123_4567;
    const HALT: usize = 0xcdef_0123;
    const POWER_OFF: usize = 0x4321_fedc;
    // SAFETY: it takes nothing.
    let _ = unsafe { syscall(arch::SYNC, [0; 6]) };
    drain_console();
    reboot(match how {
        OnExit::PowerOff => POWER_OFF,
        OnExit::Reboot => RESTART,
        OnExit::Halt => HALT,
    });
    loop {
        // The kernel couldn't, and PID 1 must not end.
        sleep(Milliseconds(60_000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_processes() {
        for (status, ended) in
            [(0, Ended::Exit(0)), (0x300, Ended::Exit(3)), (9, Ended::Signal(9)), (0x8b, Ended::Signal(11))]
        {
            assert_eq!(Ended::from_status(status), ended);
        }
    }

    #[test]
    fn the_kernel_understands() {
        assert_eq!(u32::try_from(getpid()).expect("positive"), std::process::id());
        assert_eq!(open(c"/nowhere/at/all", O_RDONLY, 0), Err(Errno(crate::names::ENOENT)));
        assert!(access(c"/proc/self", Access::Exists).is_ok());
        sleep(Milliseconds(1));
        let memory = map_memory(4096).expect("a page");
        assert_eq!(memory % 4096, 0);
    }
}
