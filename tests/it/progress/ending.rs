//! How leanfs ends before its time: by signals, and when nobody reads what it prints.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Project, Session, shown};
use crate::server::Fault;

const PACKAGE: &str = "/main/x86_64/noise-1.0-r0.apk";

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8")).collect()
}

#[track_caller]
fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(child: &Child, signal: Signal) {
    let number = i32::try_from(child.id()).expect("a process number");
    kill_process(Pid::from_raw(number).expect("not zero"), signal).expect("it is running");
}

/// The same command; signals end it, however the tests were started.
fn unignored(command: &Command) -> Command {
    let mut all = Command::new("env");
    all.arg("--default-signal=INT,TERM").arg(command.get_program()).args(command.get_args()).env_clear();
    all.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    all.current_dir(command.get_current_dir().expect("set"));
    all
}

/// Files that take a compressor a while.
fn large_overlay(project: &Project) {
    let overlay = project.path("overlay");
    fs_err::create_dir_all(&overlay).expect("made");
    let words: Vec<u8> = (0..6_000_000_u32).flat_map(|n| (n.wrapping_mul(n) >> 7).to_le_bytes()).collect();
    fs_err::write(overlay.join("large"), words).expect("written");
}

fn is_unfinished(name: impl AsRef<str>) -> bool {
    name.as_ref().starts_with(".leanfs-")
}

#[test]
fn an_interrupted_run_leaves_nothing_unfinished() {
    let project = Project::new();
    large_overlay(&project);
    let out = project.path("leanfs");
    fs_err::create_dir(&out).expect("made");
    fs_err::write(out.join("rootfs.tar.xz"), "before").expect("written");
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15), (Signal::HUP, 1)] {
        let flags = ["--json", "--overlay", "overlay", "--tar", "--oci", "--initramfs", "--compress", "xz:9"];
        let mut command = unignored(&project.assemble(&flags));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        wait_until("an image is begun", || names(&out).iter().any(is_unfinished));
        send(&child, signal);
        let output = child.wait_with_output().expect("ours");
        assert_eq!(output.status.signal(), Some(number), "{}", output.status);
        assert_eq!(names(&out), ["rootfs.tar.xz"], "{signal:?}");
        assert_eq!(fs_err::read(out.join("rootfs.tar.xz")).expect("there"), b"before");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "Interrupted\n");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let last: serde_json::Value =
            serde_json::from_str(text.lines().last().expect("a line")).expect("whole lines");
        assert_eq!(
            (&last["event"], &last["exit_code"], &last["signal"]),
            (&"interrupted".into(), &(128 + number).into(), &number.into())
        );
    }
}

#[test]
fn ctrl_c_leaves_a_terminal_in_order() {
    let project = Project::new();
    project.server.fault(PACKAGE, Fault::StallAfter(100_000));
    let mut session = Session::start(&project.assemble(&[]), 80);
    let part = || names(&project.path("cache/partial")).iter().any(|name| name.ends_with(".part"));
    wait_until("a download is begun", || part() && project.server.requests_for(PACKAGE).len() == 1);
    // It has time to draw.
    std::thread::sleep(Duration::from_millis(300));
    session.keyboard.write_all(b"\x03").expect("typed");
    let (status, bytes) = session.end();
    assert_eq!(status.signal(), Some(2), "{status}");
    assert!(String::from_utf8_lossy(&bytes).contains("noise-1.0-r0.apk"), "a bar was drawn");
    let lines = shown(&bytes, 80);
    let [.., bar, stage, echo, last] = &lines[..] else { panic!("{lines:#?}") };
    assert!(bar.starts_with("  noise-1.0-r0.apk "), "{lines:#?}");
    assert!(stage.contains("Fetching and verifying"), "{lines:#?}");
    assert_eq!((echo.as_str(), last.as_str()), ("^C", "Interrupted"), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("noise-")).count(), 1, "{lines:#?}");
    assert!(bytes.ends_with(b"\n"), "the shell begins a line");
    // A cursor that was hidden would be shown again.
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("\x1b[?25l") || text.ends_with("\x1b[?25h"), "{text:?}");

    let (status, _) = Session::start(&project.assemble(&[]), 80).end();
    assert!(status.success());
}

/// Nobody reads what it has to say, so that it can't end well at once: the second signal ends it.
#[test]
fn a_second_signal_ends_it_at_once() {
    let project = Project::new();
    project.server.fault(PACKAGE, Fault::StallAfter(0));
    let (_reader, mut writer) = std::io::pipe().expect("a pipe");
    // Full, but for what doesn't fit anyway.
    let full = writer.try_clone().expect("one more");
    rustix::fs::fcntl_setfl(&full, rustix::fs::OFlags::NONBLOCK).expect("set");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    rustix::fs::fcntl_setfl(&full, rustix::fs::OFlags::empty()).expect("set");
    drop(full);
    let mut command = unignored(&project.assemble(&["--json"]));
    let mut child = command.stdout(writer).stderr(Stdio::null()).spawn().expect("it runs");
    drop(command);
    // It waits to print its first line.
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    send(&child, Signal::TERM);
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().expect("ours").is_none(), "it tries to say that it ends");
    send(&child, Signal::TERM);
    assert_eq!(child.wait().expect("ours").signal(), Some(15));
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
}

#[test]
fn signals_that_are_ignored_stay_ignored() {
    let project = Project::new();
    project.server.fault(PACKAGE, Fault::Trickle(20_000, Duration::from_millis(60)));
    let inner = project.assemble(&[]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' INT HUP; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(inner.get_current_dir().expect("set")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it runs");
    wait_until("a download is begun", || !project.server.requests_for(PACKAGE).is_empty());
    send(&child, Signal::INT);
    send(&child, Signal::HUP);
    let status: ExitStatus = child.wait().expect("ours");
    assert!(status.success(), "{status}");
}

/// Also of a file that is written beside its place.
#[test]
fn an_interrupted_pack_leaves_nothing_unfinished() {
    let project = Project::new();
    large_overlay(&project);
    let mut command =
        crate::cli::leanfs(&project.path(""), &["pack", "overlay", "--name", "x", "--pkgver", "1-r0"]);
    command.args(["--arch", "x86_64", "-o", "out/x.apk"]);
    fs_err::create_dir(project.path("out")).expect("made");
    let child = unignored(&command).stderr(Stdio::null()).spawn().expect("it runs");
    wait_until("it is begun", || names(&project.path("out")).iter().any(is_unfinished));
    send(&child, Signal::INT);
    let status = { child }.wait().expect("ours");
    assert_eq!(status.signal(), Some(2), "{status}");
    assert_eq!(names(&project.path("out")), [""; 0]);
}

#[test]
fn nobody_needs_to_read() {
    let project = Project::new();
    for (flags, closes_stderr) in
        [(&["--json"][..], false), (&[], false), (&["-v"], true), (&["--json"], true)]
    {
        let mut command = project.assemble(flags);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        drop(child.stdout.take());
        let mut stderr = child.stderr.take().filter(|_| !closes_stderr);
        let mut text = String::new();
        if let Some(stderr) = &mut stderr {
            stderr.read_to_string(&mut text).expect("UTF-8");
        }
        drop(stderr);
        let status = child.wait().expect("ours");
        assert!(status.success(), "{flags:?} {status}: {text}");
        assert!(!text.contains("panicked"), "{text}");
        assert!(project.path("leanfs/manifest.json").is_file(), "the work is done all the same");
        fs_err::remove_dir_all(project.path("leanfs")).expect("removed");
    }
    // Closed before it began.
    let inner = project.assemble(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" >&- 2>&-", "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let status = command.current_dir(project.path("")).status().expect("it runs");
    assert!(status.success(), "{status}");
}
