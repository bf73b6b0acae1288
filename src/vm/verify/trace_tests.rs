//! A boot that is traced, with an emulator that is a shell script.

use std::time::{Duration, Instant};

use super::verify;
use crate::report::Silent;
use crate::vm::{Accelerator, VerifyReport, VerifySettings, VmError, console_regex, output, qemu};

/// Verifies with a trace of an image that has two files; the emulator does what a shell script says.
fn trace_with(script: &str, prune: &str) -> Result<VerifyReport, VmError> {
    let directory = tempfile::tempdir().expect("a directory");
    output::sample::write(directory.path());
    let manifest = directory.path().join("manifest.json");
    let text = fs_err::read_to_string(&manifest).expect("readable");
    let file = |path: &str| {
        serde_json::json!({"path": path, "kind": "file", "size": 1, "size_before": 1, "compressed": 1,
            "layer": "release", "part": "", "because": "", "by": null})
    };
    let files = serde_json::json!([file("/a/ebin/lists.beam"), file("/a/priv/x")]);
    let text = text
        .replace(r#""files":[]"#, &format!(r#""files":{files}"#))
        .replace(r#""prune":"apps""#, &format!(r#""prune":"{prune}""#));
    fs_err::write(&manifest, text).expect("written");
    let mut settings = VerifySettings::new(directory.path());
    settings.expect = vec![console_regex("^hello$").expect("a pattern")];
    settings.guest.accelerator = Accelerator::Tcg;
    settings.guest.qemu = Some(qemu::fake(directory.path(), script));
    settings.trace = true;
    verify(&settings, &Silent)
}

#[test]
fn a_trace_goes_on_until_nothing_new_is_opened() {
    let script = r"case $* in *leanfs.trace=1*) ;; *) exit 1 ;; esac
        printf 'leanfs-trace: ready\r\nhel'
        printf 'leanfs-trace: /a/ebin/lists.beam 1\r\nlo\r\n'
        sleep 1
        printf 'leanfs-trace: /etc/resolv.conf 2\r\n'
        sleep 1
        printf 'leanfs-trace: /a/priv/x 3\r\n'
        END";
    for (end, least) in [("exec sleep 60", Duration::from_secs(3)), ("exit 0", Duration::from_secs(2))] {
        let started = Instant::now();
        let report = trace_with(&script.replace("END", end), "chunks").expect("it comes up");
        assert_eq!(report.met[0].seen, "hello");
        assert!(report.elapsed < least, "the boot, and not the wait behind it: {report:?}");
        assert!(started.elapsed() >= least);
        let trace = report.trace.expect("it was asked for");
        assert_eq!((trace.release.as_str(), trace.modules.len()), ("a 1", 1));
        assert_eq!(trace.files, ["/a/priv/x".to_owned()].into());
    }
}

#[test]
fn a_trace_that_is_not_to_be_had() {
    let table = [
        ("echo hello; exec sleep 60", "did not trace it", "busybox"),
        (
            "echo 'leanfs-trace: failed: x: the kernel was built without this'; exec sleep 60",
            "PID 1 cannot trace it: x: the kernel was built without this",
            "CONFIG_INOTIFY_USER",
        ),
        ("echo 'leanfs-trace: ready'; echo 'leanfs-trace: lost'; exec sleep 60", "dropped", "again"),
        ("echo 'leanfs-trace: ready'; echo hello; echo 'leanfs-trace: /a 2'; exit 0", "damaged", "again"),
        (
            "echo 'leanfs-trace: ready'; echo hello; echo 'Kernel panic - not syncing: x'; exec sleep 60",
            "panicked",
            "",
        ),
        ("echo 'leanfs-trace: ready'; exit 0", "the guest switched itself off", ""),
    ];
    for (script, expected, hint) in table {
        let error = trace_with(script, "none").expect_err(script);
        assert!(error.to_string().contains(expected), "{script}: {error}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{script}: {error:?}");
        assert!(!error.is_usage());
    }
    let error = trace_with("exit 1", "modules").expect_err("it lacks modules");
    assert!(matches!(error, VmError::TraceOfPruned { .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--prune chunks -o /")), "{error:?}");
}
