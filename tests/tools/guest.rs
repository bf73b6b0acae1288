//! The first program of a guest that looks at images with its kernel's own file systems: it loads the modules, mounts
//! each image of its jobs, runs the lister on it, and writes to the virtio port `report` what came of it. All that it
//! has stands in `/.guest`, so that it can look at what else was unpacked into the initramfs, too.
//!
//! `jobs` has a line for each image, its words separated by tabs: what to do (`list`, or `change` and then list, or
//! `unpacked` to list the initramfs), a name, which is the drive's serial number, the file system, the mount options
//! (`-` for none). The report says
//!
//! ```text
//! == begin SERIAL
//! (what the lister prints)
//! == kernel (a line of the kernel's log since `begin`, of a warning or worse)
//! == failed (why it went wrong)
//! == took (milliseconds)
//! == end SERIAL
//! ```
//!
//! for each, and last `== done`. No line of a dump begins with `=`.

use std::ffi::{CString, c_char, c_int, c_ulong, c_void};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
    fn syscall(number: i64, ...) -> i64;
    fn reboot(command: c_int) -> c_int;
    fn sync();
    fn setrlimit(resource: c_int, limits: *const [u64; 2]) -> c_int;
    fn lsetxattr(
        path: *const c_char,
        name: *const c_char,
        value: *const c_void,
        size: usize,
        flags: c_int,
    ) -> c_int;
}

const MS_RDONLY: c_ulong = 1;
/// x86_64's number.
const SYS_FINIT_MODULE: i64 = 313;
const RLIMIT_NOFILE: c_int = 7;
const O_NONBLOCK: i32 = 0o4000;
const POWER_OFF: c_int = 0x4321_fedc;
const MOUNT_POINT: &str = "/.guest/mnt";
/// What every initramfs of this kernel has, and the guest's own.
const NOT_UNPACKED: [&str; 3] = ["/.guest", "/dev", "/root"];

fn main() {
    if let Err(error) = run() {
        eprintln!("guest: {error}");
    }
    // SAFETY: neither takes a pointer.
    unsafe {
        sync();
        reboot(POWER_OFF);
    }
}

fn run() -> io::Result<()> {
    // SAFETY: the limits are two numbers.
    unsafe { setrlimit(RLIMIT_NOFILE, &[1 << 20, 1 << 20]) };
    for (kind, place) in [("devtmpfs", "/.guest/dev"), ("sysfs", "/.guest/sys")] {
        mounted(kind, place, kind, 0, "")?;
    }
    for module in fs::read_to_string("/.guest/modules")?.lines() {
        let file = File::open(module)?;
        // SAFETY: an open file, a string and no flags, as finit_module(2) has them.
        if unsafe { syscall(SYS_FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), 0) } != 0 {
            eprintln!("guest: {module}: {}", io::Error::last_os_error());
        }
    }
    let mut report = OpenOptions::new().write(true).open(report_port()?)?;
    let mut log = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open("/.guest/dev/kmsg")?;
    log.seek(SeekFrom::End(0))?;
    for job in fs::read_to_string("/.guest/jobs")?.lines() {
        let words: Vec<&str> = job.split('\t').collect();
        let [what, serial, kind, options] = words[..] else {
            return Err(io::Error::other(format!("not a job: {job:?}")));
        };
        writeln!(report, "== begin {serial}")?;
        let started = Instant::now();
        let result = look(&mut report, what, serial, kind, if options == "-" { "" } else { options });
        for line in complaints(&mut log)? {
            writeln!(report, "== kernel {line}")?;
        }
        if let Err(error) = result {
            writeln!(report, "== failed {error}")?;
        }
        writeln!(report, "== took {}\n== end {serial}", started.elapsed().as_millis())?;
    }
    writeln!(report, "== done")
}

fn look(report: &mut File, what: &str, serial: &str, kind: &str, options: &str) -> io::Result<()> {
    if what == "unpacked" {
        return list(report, "/", &NOT_UNPACKED);
    }
    let device = drive(serial)?;
    if what == "change" {
        mounted(&device, MOUNT_POINT, kind, 0, options)?;
        let changed = change(Path::new(MOUNT_POINT));
        unmounted()?;
        changed?;
    }
    mounted(&device, MOUNT_POINT, kind, MS_RDONLY, options)?;
    let listed = list(report, MOUNT_POINT, &["/lost+found"]);
    unmounted()?;
    listed
}

fn list(report: &mut File, directory: &str, skipped: &[&str]) -> io::Result<()> {
    let status = Command::new("/.guest/lister")
        .args(["--strict"])
        .args(skipped.iter().flat_map(|path| ["--skip", path]))
        .args(fs::read_to_string("/.guest/lister-options")?.lines())
        .arg(directory)
        .stdout(Stdio::from(report.try_clone()?))
        .status()?;
    // What the lister complains of stands in what it prints.
    match status.code() {
        Some(0 | 1) => Ok(()),
        _ => Err(io::Error::other("the lister crashed")),
    }
}

fn mounted(source: &str, place: &str, kind: &str, flags: c_ulong, options: &str) -> io::Result<()> {
    let [source, target, c_kind, options] = [source, place, kind, options].map(CString::new);
    let (source, target, c_kind, options) = (source?, target?, c_kind?, options?);
    // SAFETY: all of them are strings that end with a NUL.
    let result =
        unsafe { mount(source.as_ptr(), target.as_ptr(), c_kind.as_ptr(), flags, options.as_ptr().cast()) };
    checked(result, format_args!("mounting {kind} at {place}"))
}

fn unmounted() -> io::Result<()> {
    let target = CString::new(MOUNT_POINT)?;
    // SAFETY: a string that ends with a NUL.
    checked(unsafe { umount2(target.as_ptr(), 0) }, format_args!("unmounting"))
}

fn checked(result: c_int, what: std::fmt::Arguments<'_>) -> io::Result<()> {
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(io::Error::new(error.kind(), format!("{what}: {error}")))
}

/// The device of the drive with this serial number.
fn drive(serial: &str) -> io::Result<String> {
    for entry in fs::read_dir("/.guest/sys/block")? {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("serial")).is_ok_and(|found| found.trim() == serial) {
            return Ok(format!("/.guest/dev/{}", entry.file_name().to_string_lossy()));
        }
    }
    Err(io::Error::other(format!("there is no drive {serial}")))
}

fn report_port() -> io::Result<PathBuf> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        for entry in fs::read_dir("/.guest/sys/class/virtio-ports").into_iter().flatten() {
            let entry = entry?;
            let device = Path::new("/.guest/dev").join(entry.file_name());
            if fs::read_to_string(entry.path().join("name")).is_ok_and(|name| name.trim() == "report")
                && device.exists()
            {
                return Ok(device);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(io::Error::other("there is no port for the report"))
}

/// What kernels complain of when their machine is slow, as emulated ones are.
const OF_SLOWNESS: [&str; 6] = ["hrtimer:", "clocksource:", "rcu:", "workqueue:", "sched:", "watchdog:"];

/// What the kernel has said since the last call that was a warning or worse; a record of its log has
/// `PRIORITY,NUMBER,TIME,FLAGS;TEXT`.
fn complaints(log: &mut File) -> io::Result<Vec<String>> {
    const WARNING: u32 = 4;
    const EPIPE: i32 = 32;
    let mut lines = Vec::new();
    let mut record = [0; 8192];
    loop {
        let count = match log.read(&mut record) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(lines),
            // Records were overwritten before they were read.
            Err(error) if error.raw_os_error() == Some(EPIPE) => {
                lines.push("(more than its log holds)".to_owned());
                continue;
            }
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&record[..count]);
        let Some((head, text)) = text.split_once(';') else { continue };
        let priority = head.split(',').next().and_then(|number| number.parse::<u32>().ok());
        let is_slowness = OF_SLOWNESS.iter().any(|start| text.starts_with(start));
        if priority.is_some_and(|priority| priority & 7 <= WARNING) && !is_slowness {
            lines.push(text.lines().next().unwrap_or_default().to_owned());
        }
    }
}

/// Uses a file system as a running system does: takes away half of what is there, changes the rest, makes directories
/// grow and shrink, and fills the disk.
fn change(root: &Path) -> io::Result<()> {
    let mut names: Vec<PathBuf> = fs::read_dir(root)?
        .map(|entry| Ok(entry?.path()))
        .filter(|path| path.as_ref().is_ok_and(|path| !path.ends_with("lost+found")))
        .collect::<io::Result<_>>()?;
    names.sort();
    for (number, path) in names.iter().enumerate() {
        if number % 2 == 0 {
            let gone = if path.symlink_metadata()?.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
            gone.map_err(|error| at("removing", path, &error))?;
        } else {
            alter(path, 0)?;
        }
    }

    let work = root.join("changed");
    fs::create_dir(&work)?;
    let file = |number: usize| work.join(format!("file {number} with a name that makes the directory grow"));
    for number in 0..2000 {
        fs::write(file(number), number.to_string().repeat(number % 50))
            .map_err(|error| at("writing", &file(number), &error))?;
    }
    for number in (0..2000).step_by(3) {
        fs::remove_file(file(number))?;
    }
    for number in (1..2000).step_by(3) {
        fs::rename(file(number), file(number + 1))?;
    }
    fs::create_dir_all(work.join("a/b/c"))?;
    fs::rename(work.join("a/b"), work.join("moved"))?;
    fs::hard_link(file(2), work.join("moved/link"))?;
    // Longer than what an inode holds, and short enough for blocks of 1 KiB.
    std::os::unix::fs::symlink("x".repeat(1000), work.join("long"))?;
    let sparse = File::create(work.join("sparse"))?;
    for place in [1, 50_000_000, 700_000_000_u64] {
        sparse.write_all_at(b"data", place)?;
    }
    sparse.set_len(600_000_000)?;

    let filler = work.join("filler");
    let mut full = File::create(&filler)?;
    let block = vec![0xa5; 1 << 20];
    let mut written = 0_u64;
    loop {
        match full.write(&block).and_then(|count| full.sync_data().map(|()| count)) {
            Ok(count) => written += count as u64,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
            Err(error) => return Err(at("filling", &filler, &error)),
        }
        if written > 1 << 30 {
            return Err(io::Error::other("more than 1 GiB was free: give it a smaller image"));
        }
    }
    full.set_len(written / 2)?;
    full.sync_all()?;
    let last = work.join("after it was full");
    fs::write(&last, b"there is room again").map_err(|error| at("writing", &last, &error))
}

/// Changes what stands at `path` and below: longer, shorter, other modes, further attributes and entries.
fn alter(path: &Path, depth: usize) -> io::Result<()> {
    const MOST: usize = 200;
    // A path that is handed to the kernel has an end.
    if depth > 4 || path.as_os_str().len() > 3000 {
        return Ok(());
    }
    let failed = |what| move |error| at(what, path, &error);
    let metadata = path.symlink_metadata()?;
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    let value = b"a value that was set later";
    // SAFETY: strings that end with a NUL, and a value of its length.
    let set = unsafe {
        lsetxattr(c_path.as_ptr(), c"trusted.later".as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    // ENOSPC: what is there already fills the room for attributes.
    match checked(set, format_args!("an extended attribute")) {
        Err(error) if error.kind() != io::ErrorKind::StorageFull => {
            return Err(failed("setting an attribute of")(error));
        }
        _ => {}
    }
    if metadata.is_file() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .map_err(failed("changing the mode of"))?;
        let file = OpenOptions::new().write(true).open(path).map_err(failed("opening"))?;
        if metadata.len() % 2 == 0 {
            file.write_all_at(b"appended", metadata.len()).map_err(failed("appending to"))?;
        } else {
            file.set_len(metadata.len() / 2).map_err(failed("truncating"))?;
        }
    } else if metadata.is_dir() {
        for (number, entry) in fs::read_dir(path)?.enumerate() {
            let entry = entry?.path();
            match number % 3 {
                0 if !entry.symlink_metadata()?.is_dir() => fs::remove_file(&entry)?,
                _ if number < MOST => alter(&entry, depth + 1)?,
                _ => {}
            }
        }
        for number in 0..20 {
            let name = path.join(format!("added {number}"));
            fs::write(&name, b"x").map_err(|error| at("writing", &name, &error))?;
        }
    }
    Ok(())
}

fn at(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {path:.200?}: {error}", path = path.to_string_lossy()))
}
