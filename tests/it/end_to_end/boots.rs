//! Images that boot in QEMU to their application.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bench::{Bench, Mirror, full, shared, skip, succeed, text, text as text_of, tools};

/// The flags of `assemble` that take a release and packages and write `output`.
pub(super) fn assemble_flags(release: &Path, mirror: &Mirror, output: &Path) -> Vec<OsString> {
    let mut flags: Vec<OsString> =
        ["assemble", "--initramfs", "--offline", "--release"].map(OsString::from).into();
    flags.push(release.into());
    flags.extend(mirror.flags().into_iter().map(PathBuf::into_os_string));
    // The fastest, for the tests' time.
    flags.extend(["--compress", "zstd:3"].map(OsString::from));
    flags.extend([OsString::from("-o"), output.into()]);
    flags
}

pub(super) fn boot_tools() -> Option<()> {
    tools(&["qemu-system-x86_64"])
}

pub(super) fn only_in_full() -> Option<()> {
    if full() { Some(()) } else { skip("this boot runs with `cargo xtask test --full`") }
}

/// `mix release` with its defaults has a glibc ERTS inside: its libraries come from this machine. Nothing is said on
/// the command line.
#[test]
fn a_release_of_the_hosts_mix_boots_after_a_bare_assemble() {
    let test = || -> Option<()> {
        boot_tools()?;
        tools(&["xz"])?;
        let mirror = Mirror::host()?;
        let bench = Bench::new();
        let project = bench.mix_project("hello", true)?;
        fs_err::write(project.join("leanfs.toml"), mirror.toml()).expect("a leanfs.toml");
        let said = text(&succeed(bench.leanfs(["assemble"]).current_dir(&project)));
        assert!(
            said.contains("glibc") || said.contains("this machine"),
            "where the libraries are from: {said}"
        );
        let output = project.join("leanfs");
        for name in ["initramfs.cpio.xz", "kernel", "manifest.json"] {
            assert!(output.join(name).is_file(), "{name}");
        }
        // Alpine's kernel has the filter for x86 code, its configuration says so, and it is used.
        let listed = text(&succeed(Command::new("xz").args(["-lvv"]).arg(output.join("initramfs.cpio.xz"))));
        assert!(listed.contains("--x86 --lzma2=dict=8MiB") && listed.contains("CRC32"), "{listed}");
        bench.verify(&output, ["--expect", "hello from hello on OTP [0-9]+"]);
        Some(())
    };
    let _ = test();
}

/// Without an ERTS: the `erlang` package of the same versions, the kernel's network modules, an address from the
/// kernel's command line, `config/runtime.exs` read at boot, a shared library below `:crypto`.
#[test]
fn web_answers_from_inside() {
    let test = || -> Option<()> {
        boot_tools()?;
        let mirror = Mirror::host()?;
        let bench = Bench::new();
        let project = bench.mix_project("web", false)?;
        let toml =
            format!("{}[run]\nhostname = \"web.test\"\nenv = {{ GREETING = \"moin\" }}\n", mirror.toml());
        fs_err::write(project.join("leanfs.toml"), toml).expect("a leanfs.toml");
        succeed(bench.leanfs(["assemble", "--compress", "zstd:3"]).current_dir(&project));
        let expected = [
            ":80/=hello from web on OTP",
            ":80/health=ok",
            ":80/runtime=greeting=moin read_at=boot host=web root=/app",
            // sha256 of "leanfs"
            ":80/crypto=124f67032fa3ea245defd3644ffc768d1328ba6aaae52c6c86f93a9d01931dce random=16",
            ":80/count=count=1",
            ":80/priv=a note from priv",
            ":80/port=no shell",
            ":80/protocol=consolidated=true the integer 7",
        ];
        let flags = expected.iter().flat_map(|expected| ["--expect-http", expected]);
        bench.verify(&project.join("leanfs"), flags.chain(["--expect", "web listens on port 80"]));
        Some(())
    };
    let _ = test();
}

/// `systools:make_tar` alone: no `bin/`, no `vm.args`, no `start_erl.data`; and a NIF of C++ code.
#[test]
fn a_bare_systools_release_with_a_nif_boots() {
    let test = || -> Option<()> {
        boot_tools()?;
        let mirror = Mirror::host()?;
        let bench = Bench::new();
        // With its own ERTS in the short run, with the package's too in the long one.
        for erts in if full() { vec![true, false] } else { vec![true] } {
            let bench_release = bench.systools_release("jiffy_app", &[("erlang-jiffy", "jiffy-")], erts)?;
            let output = bench.path("out");
            succeed(&mut bench.leanfs(assemble_flags(&bench_release, &mirror, &output)));
            bench.verify(
                &output,
                ["--expect", r#"\{"hello":"from jiffy_app","otp":"[0-9]+","numbers":\[1,2.5,-3\]\}"#],
            );
        }
        Some(())
    };
    let _ = test();
}

/// relx's own layout, its `sys.config` and `vm.args`; in the long run also without ERTS, as a node with a name.
#[test]
fn a_release_of_rebar3_boots() {
    let test = || -> Option<()> {
        boot_tools()?;
        let mirror = Mirror::host()?;
        for (erts, node) in if full() { vec![(true, false), (false, true)] } else { vec![(true, false)] } {
            let bench = Bench::new();
            let release = bench.rebar3_release(erts)?;
            let output = bench.path("out");
            let mut command = bench.leanfs(assemble_flags(&release, &mirror, &output));
            if node {
                let toml = "[run]\ndistribution = { node = \"named@127.0.0.1\", long_names = true }\n";
                fs_err::write(bench.path("leanfs.toml"), toml).expect("a leanfs.toml");
            }
            let said = text(&succeed(command.current_dir(bench.path(""))));
            let node = if node { "named@127.0.0.1" } else { "nonode@nohost" };
            assert_eq!(said.contains("distribution is off"), node == "nonode@nohost", "{said}");
            let expected = format!("moin from relx_app on OTP [0-9]+, threads 5, node {node}");
            bench.verify(&output, ["--expect", &expected]);
        }
        Some(())
    };
    let _ = test();
}

/// Alpine's own Erlang, for musl.
#[test]
fn a_release_boots_on_the_erlang_package_of_alpine() {
    let test = || -> Option<()> {
        boot_tools()?;
        let release = shared()?.join("releases/hello-otp27-noerts.tar.gz");
        let bench = Bench::new();
        let output = bench.path("out");
        succeed(&mut bench.leanfs(assemble_flags(&release, &Mirror::shared()?, &output)));
        bench.verify(&output, ["--expect", "hello from"]);
        Some(())
    };
    let _ = test();
}

/// A release that was made with another patch of OTP 27 than the package has: its boot script is made anew.
#[test]
fn a_release_boots_on_another_patch_of_its_otp() {
    let test = || -> Option<()> {
        boot_tools()?;
        let tarball = shared()?.join("releases/hello-otp27-noerts.tar.gz");
        let bench = Bench::new();
        let release = bench.path("release");
        fs_err::create_dir(&release).expect("a directory");
        succeed(Command::new("tar").arg("-xzf").arg(tarball).arg("-C").arg(&release));
        let version = release.join("releases/0.1.0");
        let made_with = |text: &str| {
            text.replace("kernel-10.2.7.1", "kernel-10.2.6")
                .replace("\"10.2.7.1\"", "\"10.2.6\"")
                .replace("stdlib-6.2.2.1", "stdlib-6.2")
                .replace("\"6.2.2.1\"", "\"6.2\"")
                .replace("\"15.2.7\"", "\"15.2.6\"")
        };
        let rel = version.join("hello.rel");
        fs_err::write(&rel, made_with(&fs_err::read_to_string(&rel).expect("a .rel file"))).expect("written");
        let boot = fs_err::read(version.join("start.boot")).expect("a boot script");
        let text = format!("{}.", leanfs::beam::BootScript::parse(&boot).expect("a boot script").to_term());
        let changed = leanfs::beam::BootScript::parse_text(made_with(&text).as_bytes()).expect("still one");
        assert!(changed.paths().contains("$ROOT/lib/kernel-10.2.6/ebin"));
        fs_err::write(version.join("start.boot"), changed.to_bytes().expect("plain terms")).expect("written");

        // At every level, since the script has to change even where nothing is pruned.
        for level in if full() { vec!["modules", "none"] } else { vec!["modules"] } {
            let output = bench.path("out");
            let mut flags = assemble_flags(&release, &Mirror::shared()?, &output);
            flags.extend(["--prune", level].map(OsString::from));
            let said = text_of(&succeed(&mut bench.leanfs(flags)));
            assert!(said.contains("kernel 10.2.6 wanted, 10.2.7.1 there"), "{said}");
            bench.verify(&output, ["--expect", "hello from"]);
        }
        Some(())
    };
    let _ = test();
}

/// Each release in `../shared` with packages, and on the OTP tarball.
#[test]
fn every_shared_release_boots_on_packages_and_on_the_tarball() {
    let test = || -> Option<()> {
        boot_tools()?;
        let shared = shared()?;
        only_in_full()?;
        let mirror = Mirror::shared()?;
        let tarball = shared.join("otp/otp-27.3.4.1-x86_64-linux-musl.tar.xz");
        let bench = Bench::new();
        let mut releases: Vec<PathBuf> = fs_err::read_dir(shared.join("releases"))
            .expect("releases")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        releases.sort();
        for release in releases {
            for otp in [None, Some(&tarball)] {
                let output = bench.path("out");
                let mut flags = assemble_flags(&release, &mirror, &output);
                flags.extend(otp.iter().flat_map(|otp| [OsString::from("--otp"), (*otp).into()]));
                succeed(&mut bench.leanfs(flags));
                println!("{} {otp:?}", release.display());
                bench.verify(&output, ["--expect", "hello from"]);
            }
        }
        Some(())
    };
    let _ = test();
}

/// Every compressor that the kernel knows, and none.
#[test]
fn the_kernel_reads_every_compression() {
    let test = || -> Option<()> {
        boot_tools()?;
        let mirror = Mirror::host()?;
        only_in_full()?;
        let bench = Bench::new();
        let project = bench.mix_project("hello", true)?;
        for compression in ["zstd", "gzip", "lz4", "none"] {
            let output = bench.path("out");
            let mut flags = assemble_flags(&project.join("_build/prod/rel/hello"), &mirror, &output);
            let level = flags.iter().position(|flag| flag == "zstd:3").expect("the level is among the flags");
            flags[level] = compression.into();
            succeed(&mut bench.leanfs(flags));
            println!("{compression}");
            // An archive that is not compressed is in memory twice while the kernel unpacks it.
            bench.verify(&output, ["--expect", "hello from", "--memory", "384"]);
        }
        Some(())
    };
    let _ = test();
}
