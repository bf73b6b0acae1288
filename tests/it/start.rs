//! Start plans, compared with what the real scripts and the real `erlexec` pass to the emulator: a program in
//! the emulator's place writes down how it was called.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::layer::otp::Otp;
use leanfs::layer::release::{ROOT, Release, ReleaseKind};
use leanfs::layer::start::{StartError, StartPlan, plan};
use leanfs::recipe::{Distribution, Profile, RunSettings};
use leanfs::tree::{Content, Metadata, Node, Origin, Tree, TreePath};

fn path(text: &str) -> TreePath {
    text.parse().expect("a good path")
}

fn put(tree: &mut Tree, name: &str, bytes: &[u8]) {
    let node = Node::file(Content::from_bytes(bytes.to_vec()), Metadata::PROGRAM, Origin::skeleton());
    tree.insert_with_parents(path(name), node);
}

/// A tree with the release where it belongs.
fn image(release: &Release) -> Tree {
    let mut tree = Tree::new();
    leanfs::layer::merge::lay(&mut tree, &path(ROOT), &release.tree).expect("an empty tree takes all");
    tree
}

fn tool(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|path| path.join(name).is_file()));
    assert!(found || std::env::var_os("CI").is_none(), "{name} is missing, and this is CI");
    if !found {
        println!("SKIP: {name} is missing");
    }
    found
}

/// A program that writes its arguments and its environment to `FILE.arguments` and `FILE.env`.
fn recorder(at: &Path, file: &Path) {
    let file = file.display();
    let script = format!(
        "#!/bin/sh\nprintf '%s\\0' \"$@\" > '{file}.arguments'\n\
         tr '\\0' '\\n' < /proc/$$/environ > '{file}.env'\n"
    );
    let _ = fs_err::remove_file(at);
    fs_err::write(at, script).expect("written");
    fs_err::set_permissions(at, PermissionsExt::from_mode(0o755)).expect("executable");
}

/// What a recorder wrote, with `root` shown as `/app`.
fn recorded(file: &Path, root: &Path) -> (Vec<String>, BTreeMap<String, String>) {
    let root = root.to_str().expect("a plain path");
    let read = |end: &str| {
        let text = fs_err::read_to_string(format!("{}.{end}", file.display())).expect("it ran");
        text.replace(root, "/app")
    };
    let arguments = read("arguments");
    let arguments = arguments.strip_suffix('\0').expect("arguments").split('\0').map(str::to_owned).collect();
    let env = read("env");
    let env = env.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned()));
    (arguments, env.collect())
}

/// The plan's arguments behind `argv[0]`.
fn arguments(plan: &StartPlan) -> Vec<String> {
    plan.arguments[1..].iter().map(|word| String::from_utf8(word.clone()).expect("text")).collect()
}

/// A release that the host's `mix` makes, once for all tests.
fn mix_release() -> Option<&'static Path> {
    static RELEASE: std::sync::OnceLock<Option<PathBuf>> = std::sync::OnceLock::new();
    let made = RELEASE.get_or_init(|| {
        if !tool("mix") || !tool("erl") {
            return None;
        }
        // Of this process: nextest runs each test in one of its own, several at a time.
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("start-{}", std::process::id()));
        let project = directory.join("hello");
        let _ = fs_err::remove_dir_all(&directory);
        fs_err::create_dir_all(project.join("lib")).expect("a directory");
        fs_err::create_dir_all(project.join("config")).expect("a directory");
        fs_err::write(
            project.join("mix.exs"),
            "defmodule Hello.MixProject do\n  use Mix.Project\n  def project, do: [app: :hello, version: \
             \"0.1.0\", releases: [hello: [], plain: [include_erts: \
             false, reboot_system_after_config: true]]]\n  def application, do: \
             [extra_applications: [:logger]]\nend\n",
        )
        .expect("written");
        fs_err::write(
            project.join("lib/hello.ex"),
            "defmodule Hello do\n  def run, do: System.shell(\"true\")\nend\n",
        )
        .expect("written");
        fs_err::write(project.join("config/runtime.exs"), "import Config\n").expect("written");
        for name in ["hello", "plain"] {
            let output = Command::new("mix")
                .args(["release", name, "--quiet"])
                .current_dir(&project)
                .env("MIX_ENV", "prod")
                .env("MIX_HOME", directory.join("mix"))
                .output()
                .expect("mix runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Some(project.join("_build/prod/rel"))
    });
    made.as_deref()
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["-a", "--"]).arg(from).arg(to).status().expect("cp runs");
    assert!(status.success());
}

/// Runs `bin/NAME start` of a copy of the release with a recorder as its emulator; gives what was recorded and
/// the release as leanfs sees it.
fn run_script(
    made: &Path,
    files: &[(&str, &str)],
    env: &[(&str, &str)],
) -> (Vec<String>, BTreeMap<String, String>, Release, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("app");
    copy(made, &root);
    for (name, text) in files {
        fs_err::write(root.join("releases/0.1.0").join(name), text).expect("written");
    }
    let release = Release::open(&root, directory.path(), 0).expect("a release");
    let erts = format!("erts-{}", release.erts_version);
    let record = directory.path().join("record");
    if root.join(&erts).is_dir() {
        recorder(&root.join(&erts).join("bin/beam.smp"), &record);
    }
    let status = Command::new(root.join("bin").join(&release.name))
        .arg("start")
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/")
        .envs(env.iter().copied())
        .current_dir(&root)
        .output()
        .expect("the script runs");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let (arguments, env) = recorded(&record, &root);
    // Open it again: the recorder is in it now, and its size changed.
    let release = Release::open(&root, directory.path(), 0).unwrap_or(release);
    (arguments, env, release, directory)
}

/// Nothing beside what the scripts do.
fn as_released() -> RunSettings {
    let mut run = RunSettings::default();
    run.profile = Profile::None;
    run
}

fn settings(env: &[(&str, &str)], distribution: Option<Distribution>) -> RunSettings {
    let mut run = as_released();
    run.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    run.distribution = distribution;
    run
}

fn node(name: &str, long_names: bool, cookie: Option<&str>) -> Option<Distribution> {
    Some(Distribution { node: name.to_owned(), long_names, cookie: cookie.map(str::to_owned) })
}

#[test]
fn mix_releases_start_as_their_scripts_start_them() {
    let Some(made) = mix_release() else { return };
    let made = made.join("hello");
    let plain_config = ("sys.config", "%% RUNTIME_CONFIG=false\n[].\n");
    type Case<'a> = (Vec<(&'a str, &'a str)>, Vec<(&'a str, &'a str)>, Option<Distribution>);
    let cases: Vec<Case<'_>> = vec![
        (vec![], vec![], None),
        (vec![("vm.args", "")], vec![], None),
        (
            vec![(
                "vm.args",
                "## comment\n+S 2:2\n+sbwt none +MBas aobf\n-env FOO \"a b\"\n-kernel x 'y z'\n+Bd -heart\n",
            )],
            vec![],
            None,
        ),
        (vec![("vm.args", "+P 5000\n-a\\ b c#d\n-extra more args\n")], vec![], None),
        (
            vec![("vm.args", "-args_file releases/0.1.0/more\n-x"), ("more", "+A 7\n-y -extra z")],
            vec![],
            None,
        ),
        (
            vec![("env.sh", "#!/bin/sh\nexport RELEASE_MODE=interactive\nexport RELEASE_COOKIE='s e'\n")],
            vec![],
            None,
        ),
        (vec![("env.sh", "export ERL_AFLAGS='+A 3 -proto_dist inet6_tcp'\nexport FOO=bar")], vec![], None),
        (
            vec![],
            vec![("ERL_FLAGS", "+A 3 -q 'a b'"), ("ERL_ZFLAGS", "-z -extra k"), ("RELEASE_NAME", "other")],
            None,
        ),
        (vec![], vec![("RELEASE_BOOT_SCRIPT", "start_clean"), ("ELIXIR_ERL_OPTIONS", "+fnu  +W w")], None),
        (vec![], vec![("ERL_EPMD_PORT", "4999")], node("hello", false, None)),
        (vec![], vec![], node("hello@leanfs.local", true, Some("secret"))),
    ];
    for (mut files, env, distribution) in cases {
        files.push(plain_config);
        let mut script_env = env.clone();
        script_env.push(("RELEASE_TMP", "/tmp"));
        script_env.push(("LANG", "C.UTF-8"));
        if !env.iter().any(|(name, _)| *name == "ELIXIR_ERL_OPTIONS") {
            script_env.push(("ELIXIR_ERL_OPTIONS", "+fnu"));
        }
        match &distribution {
            None => script_env.push(("RELEASE_DISTRIBUTION", "none")),
            Some(distribution) => {
                let kind = if distribution.long_names { "name" } else { "sname" };
                script_env.extend([("RELEASE_DISTRIBUTION", kind), ("RELEASE_NODE", &distribution.node)]);
                script_env.extend(distribution.cookie.as_deref().map(|cookie| ("RELEASE_COOKIE", cookie)));
            }
        }
        let (expected, expected_env, release, _directory) = run_script(&made, &files, &script_env);
        let tree = image(&release);
        let otp = Otp::of_release(&release).expect("its own");
        let plan = plan(&tree, &release, &otp, &settings(&env, distribution.clone())).expect("a plan");
        assert_eq!(arguments(&plan), expected, "{files:?} {env:?}");
        assert_eq!(plan.needs_shell, None);
        assert_eq!(plan.program.to_string(), format!("/app/erts-{}/bin/beam.smp", release.erts_version));
        assert_eq!(plan.arguments[0], plan.program.to_string().as_bytes());
        assert_eq!(plan.helpers.len(), usize::from(distribution.is_some()));

        let env: BTreeMap<String, String> = plan.env.iter().cloned().collect();
        let mut expected_env = expected_env;
        // What shells set by themselves.
        for name in ["PWD", "OLDPWD", "SHLVL", "_"] {
            expected_env.remove(name);
        }
        assert_eq!(env, expected_env, "{files:?}");
    }
}

#[test]
fn a_release_without_erts_takes_its_root_from_otp() {
    let Some(made) = mix_release() else { return };
    let release = Release::open(&made.join("plain"), &std::env::temp_dir(), 0).expect("a release");
    assert_eq!((release.kind, release.own_erts.as_deref()), (ReleaseKind::Mix, None));
    let mut tree = image(&release);
    put(&mut tree, &format!("usr/lib/erlang/erts-{}/bin/beam.smp", release.erts_version), b"");
    for application in release.applications.iter().filter(|application| !application.own) {
        let name = format!("usr/lib/erlang/lib/{}-{}/ebin/x.app", application.name, application.version);
        put(&mut tree, &name, b"");
    }
    let otp = Otp::in_tree(&tree, &path("usr/lib/erlang")).expect("an OTP");
    leanfs::layer::otp::check(&release, &otp).expect("it fits");
    let plan = plan(&tree, &release, &otp, &as_released()).expect("a plan");
    let arguments = arguments(&plan);
    let after =
        |flag: &str| arguments[1 + arguments.iter().position(|word| word == flag).expect(flag)].clone();
    assert_eq!(after("-root"), "/usr/lib/erlang");
    assert_eq!(after("-bindir"), format!("/usr/lib/erlang/erts-{}/bin", release.erts_version));
    assert_eq!(after("RELEASE_LIB"), "/app/lib");
    assert_eq!((plan.links, plan.notes), (vec![], vec![]));
    // config/runtime.exs: the configuration is copied to where it can be written.
    let copies: Vec<String> = plan.copies.iter().map(|(from, to)| format!("{from} {to}")).collect();
    assert_eq!(copies, ["/app/releases/0.1.0/sys.config /tmp/plain-0.1.0.runtime.config"]);
    assert_eq!(after("-config"), "/tmp/plain-0.1.0.runtime");
    assert!(plan.env.contains(&("RELEASE_SYS_CONFIG".into(), "/tmp/plain-0.1.0.runtime".into())));

    // And it is seen that the release's own code runs a shell.
    let callers = release.shell_callers().expect("readable");
    let callers: Vec<String> = callers.iter().map(|(path, call)| format!("{path} {call}")).collect();
    assert_eq!(callers, ["/lib/hello-0.1.0/ebin/Elixir.Hello.beam 'Elixir.System':shell/1"]);
}

#[test]
fn an_env_script_that_is_one_is_run_by_a_shell() {
    let Some(made) = mix_release() else { return };
    let env_script = "#!/bin/sh\nexport RELEASE_NODE=\"n-$RELEASE_NAME\"\nexport RELEASE_MODE=\"${RELEASE_MODE:-interactive}\"\n\
                      export FROM_SCRIPT=$(echo yes)\n";
    let files = [("env.sh", env_script), ("sys.config", "[].\n"), ("vm.args", "+A 5\n")];
    let env = [("RELEASE_TMP", "/tmp"), ("RELEASE_DISTRIBUTION", "none"), ("ELIXIR_ERL_OPTIONS", "+fnu")];
    let (expected, _, release, directory) = run_script(&made.join("hello"), &files, &env);
    let tree = image(&release);
    let otp = Otp::of_release(&release).expect("its own");
    let plan = plan(&tree, &release, &otp, &as_released()).expect("a plan");
    assert_eq!(plan.program.to_string(), "/bin/sh");
    let reason = plan.needs_shell.expect("a shell");
    assert!(reason.starts_with("line 2 of env.sh, `export RELEASE_NODE"), "{reason}");
    assert!(plan.programs.iter().any(|program| program.file_name() == Some(b"erlexec")));

    // The script does what the release's own script did, where the release really stands.
    let root = directory.path().join("app");
    let here = |text: &str| text.replace("/app/", &format!("{}/", root.display()));
    let script = here(std::str::from_utf8(&plan.arguments[2]).expect("text"));
    let status = Command::new("/bin/sh")
        .args(["-c", &script])
        .env_clear()
        .envs(plan.env.iter().map(|(name, value)| {
            (name, if name == "ROOTDIR" { root.display().to_string() } else { here(value) })
        }))
        .current_dir(&root)
        .status()
        .expect("a shell");
    assert!(status.success());
    let (arguments, env) = recorded(&directory.path().join("record"), &root);
    assert_eq!(arguments, expected);
    assert_eq!(env["FROM_SCRIPT"], "yes");
    assert_eq!((env["RELEASE_NODE"].as_str(), env["RELEASE_MODE"].as_str()), ("n-hello", "interactive"));
}

/// A bare release that has only what the tests need: its boot script names kernel and itself.
fn bare(vm_args: Option<&str>, kernel_in_release: bool) -> (Release, Tree, Otp, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let write = |name: &str, bytes: &[u8]| {
        let path = root.join(name);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs_err::write(path, bytes).expect("written");
    };
    let path_term = |path: &str| {
        let mut bytes = vec![0x6b, 0, path.len() as u8];
        bytes.extend(path.as_bytes());
        bytes
    };
    let paths = ["$ROOT/lib/kernel-8.5.3/ebin", "$ROOT/lib/jiffy-1.1.1/ebin", "$ROOT/lib/r-1/ebin"];
    // {script,{"r","1"},[{path,[…]}]}
    let mut boot = b"\x83\x68\x03\x77\x06script\x68\x02\x6b\x00\x01r\x6b\x00\x011".to_vec();
    boot.extend(b"\x6c\x00\x00\x00\x01\x68\x02\x77\x04path\x6c\x00\x00\x00\x03");
    boot.extend(paths.iter().flat_map(|path| path_term(path)));
    boot.extend(b"\x6a\x6a");
    write("releases/1/start.boot", &boot);
    write(
        "releases/r.rel",
        b"{release,{\"r\",\"1\"},{erts,\"13.1.5\"},[{kernel,\"8.5.3\"},{jiffy,\"1.1.1\"},{r,\"1\"}]}.",
    );
    write("releases/1/sys.config", b"[].");
    write("lib/r-1/ebin/r.app", b"");
    if kernel_in_release {
        write("lib/kernel-8.5.3/ebin/kernel.app", b"");
    }
    if let Some(vm_args) = vm_args {
        write("releases/1/vm.args", vm_args.as_bytes());
    }
    let release = Release::open(root, root, 0).expect("a release");
    assert_eq!(release.kind, ReleaseKind::Bare);
    let mut tree = image(&release);
    for name in [
        "erts-13.1.5/bin/beam.smp",
        "erts-13.1.5/bin/epmd",
        "lib/jiffy-1.1.1/ebin/x",
        "lib/kernel-8.5.3/ebin/x",
    ] {
        put(&mut tree, &format!("usr/lib/erlang/{name}"), b"");
    }
    let otp = Otp::in_tree(&tree, &path("usr/lib/erlang")).expect("an OTP");
    (release, tree, otp, directory)
}

#[test]
fn a_bare_release_and_otp_share_the_applications() {
    for (kernel_in_release, root, links) in [
        (true, "/app", vec!["/app/lib/jiffy-1.1.1 /usr/lib/erlang/lib/jiffy-1.1.1"]),
        (false, "/usr/lib/erlang", vec!["/usr/lib/erlang/lib/r-1 /app/lib/r-1"]),
    ] {
        let (release, tree, otp, _directory) = bare(None, kernel_in_release);
        let plan = plan(&tree, &release, &otp, &as_released()).expect("a plan");
        let expected = format!(
            "-- -root {root} -bindir /usr/lib/erlang/erts-13.1.5/bin -progname erl -- -home / -- -noshell -boot \
             /app/releases/1/start -config /app/releases/1/sys"
        );
        assert_eq!(arguments(&plan).join(" "), expected);
        let made: Vec<String> = plan
            .links
            .iter()
            .map(|(link, target)| format!("{link} {}", String::from_utf8_lossy(target)))
            .collect();
        assert_eq!(made, links);
        assert_eq!(plan.notes, Vec::<String>::new());
    }
}

#[test]
fn the_settings_name_the_node() {
    let (release, tree, otp, _directory) = bare(Some("-name own@host -setcookie own +A 3"), true);
    let off = plan(&tree, &release, &otp, &as_released()).expect("a plan");
    assert!(!arguments(&off).contains(&"-name".to_owned()));
    assert!(arguments(&off).contains(&"-setcookie".to_owned()));
    assert!(off.notes[0].contains("-name own@host in vm.args is not followed"), "{:?}", off.notes);
    assert!(off.helpers.is_empty());
    let run = settings(&[], node("n", false, Some("theirs")));
    let on = plan(&tree, &release, &otp, &run).expect("a plan");
    let all = arguments(&on).join(" ");
    assert!(all.contains("-noshell -sname n -setcookie theirs -boot"), "{all}");
    assert!(!all.contains("own"), "{all}");
    assert_eq!(on.helpers[0].0.to_string(), "/usr/lib/erlang/erts-13.1.5/bin/epmd");
    assert_eq!(on.helpers[0].1, [b"epmd"]);
}

#[test]
fn what_can_not_be_started_says_why() {
    let check = |vm_args: &str, expected: &str| {
        let (release, tree, otp, _directory) = bare(Some(vm_args), true);
        let error = plan(&tree, &release, &otp, &as_released()).expect_err(expected);
        let text = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        assert!(text.contains(expected), "{text}");
    };
    check("+S", "the flag +S wants a value");
    check("-args_file /nowhere", "the arguments file /nowhere: it is not in the image");
    check("-args_file ../../up", "the arguments file ../../up: it holds `..`");
    check("-emu_type debug", "beam.debug.smp is not in the image");
    let (release, mut tree, otp, _directory) = bare(None, true);
    tree.remove(&path("usr/lib/erlang/erts-13.1.5/bin/epmd"));
    let run = settings(&[], node("n", false, None));
    let error = plan(&tree, &release, &otp, &run).expect_err("no epmd");
    assert!(matches!(error, StartError::NotThere { needed_for: "distribution is on", .. }), "{error}");
}

/// Every flag of the emulator in every form, against the host's `erlexec`.
#[test]
fn flags_are_translated_as_by_erlexec() {
    if !tool("erl") {
        return;
    }
    let root = Command::new("erl")
        .args([
            "-noshell",
            "-eval",
            "io:format(\"~s ~s\", [code:root_dir(), erlang:system_info(version)]), halt().",
        ])
        .output()
        .expect("erl runs");
    let root = String::from_utf8(root.stdout).expect("text");
    let (root, erts) = root.split_once(' ').expect("both");
    let erlexec = Path::new(root).join(format!("erts-{erts}/bin/erlexec"));
    let directory = tempfile::tempdir().expect("a directory");
    recorder(&directory.path().join("beam.smp"), &directory.path().join("record"));

    let mut flags: Vec<String> = Vec::new();
    for first in ('a'..='z').chain('A'..='Z') {
        flags.push(first.to_string());
    }
    for family in [
        "sbt sbwt sbwtdcpu sbwtdio scl sct secio sfwi stbt swct swt swtdcpu swtdio sws sss sssdcpu sssdio spp sub sx",
        "hms hmbs hpds hmax hmaxk hmaxel hmaxib hmqd hx zdbbl zdntgc zebwt zhft zosrl zx rg rx pc px SP SPx SDcpu SDPcpu",
        "SDio SDio1 Sx IOt IOp IOs IOPt IOPp IOt1 Bi Bc Bd JPperf JMsingle fnu fna dcg Mea Mummc Muycs Musac Mim Mis",
        "Mit Mlpm MMamcbf MMrmcbf MMmcs MMscs MMscrfsd MMsco MMscrpm MMlp MYe MYm MYtp MYtt MIscs MXscs Mdai Mx MXas",
        "Muas Masbcst MBatags MHacul MHacful MEacnl MFacfml MLcp MRe MSt MTlmbcs MZmbcgs MDmbsd MBmmbcs MBmmmbc MBmmsbc",
        "MBmsbclt MBramv MBrmbcmt MBrsbcmt MBrsbcst MBsbct MBsmbcs MBx MBummc A5 W w K V v l d",
    ] {
        flags.extend(family.split(' ').map(str::to_owned));
    }
    // Groups, because a process each takes a while; what separates them is seen in the output.
    for group in flags.chunks(12) {
        let mut lines: Vec<String> = Vec::new();
        for flag in group {
            if flag == "I" {
                continue; // refused, see the unit tests
            }
            lines.push(format!("+{flag} v-{flag} -after-{flag}"));
        }
        lines.push("+B i +B x +c true +c x +r -x +S -x 'q \"q' \"d 'd\" e\\ e # comment\n-last".to_owned());
        let vm_args = lines.join("\n");
        let file = directory.path().join("vm.args");
        fs_err::write(&file, &vm_args).expect("written");
        let output = Command::new(&erlexec)
            .args([
                "-noshell",
                "-boot",
                "/app/releases/1/start",
                "-config",
                "/app/releases/1/sys",
                "-args_file",
            ])
            .arg(&file)
            .env_clear()
            .env("BINDIR", directory.path())
            .env("ROOTDIR", "/app")
            .env("EMU", "beam")
            .env("PROGNAME", "erl")
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", "/")
            .output()
            .expect("erlexec runs");
        assert!(output.status.success(), "{vm_args}: {}", String::from_utf8_lossy(&output.stderr));
        let (mut expected, _) = recorded(&directory.path().join("record"), Path::new("/nowhere"));
        let (release, mut tree, mut otp, _directory) = bare(Some(&vm_args), true);
        erts.clone_into(&mut otp.erts_version);
        put(&mut tree, &format!("usr/lib/erlang/erts-{erts}/bin/beam.smp"), b"");
        for word in &mut expected {
            if Path::new(word.as_str()) == directory.path() {
                *word = format!("/usr/lib/erlang/erts-{erts}/bin");
            }
        }
        let plan = plan(&tree, &release, &otp, &as_released()).expect("a plan");
        assert_eq!(arguments(&plan), expected, "{vm_args}");
    }
}

/// The release of OTP 27 in ../shared, started by its own scripts; musl's loader from the mirror runs its
/// `erlexec`.
#[test]
fn a_release_of_otp_27_starts_as_its_scripts_start_it() {
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    if !shared.exists() || std::env::consts::ARCH != "x86_64" {
        println!("SKIP: ../shared is absent, or this is another architecture");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let unpack = |archive: &Path, to: &Path| {
        fs_err::create_dir_all(to).expect("a directory");
        // A package's members are no whole archives for tar, which says so and unpacks them.
        let _ = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(to).output().expect("tar runs");
    };
    let made = directory.path().join("made");
    unpack(&shared.join("releases/hello-otp27-musl-erts.tar.gz"), &made);
    let musl = fs_err::read_dir(shared.join("mirror/v3.23/main/x86_64"))
        .expect("the mirror")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("musl-1")))
        .expect("musl");
    unpack(&musl, &directory.path().join("musl"));
    let loader = directory.path().join("musl/lib/ld-musl-x86_64.so.1");
    let erlexec = made.join("erts-15.2.7/bin/erlexec");
    let real = directory.path().join("erlexec");
    fs_err::rename(&erlexec, &real).expect("moved");
    fs_err::write(&erlexec, format!("#!/bin/sh\nexec '{}' '{}' \"$@\"\n", loader.display(), real.display()))
        .expect("written");
    fs_err::set_permissions(&erlexec, PermissionsExt::from_mode(0o755)).expect("executable");

    for (vm_args, env) in [
        ("", vec![]),
        ("+S 2\n-env A b\n+hmaxib true\n+MMlp on\n-q -extra k -- l\n", vec![]),
        ("-args_file releases/0.1.0/more\n", vec![("ERL_AFLAGS", "-extra g"), ("ERL_FLAGS", "+zhft 3 -f")]),
    ] {
        let files = [("vm.args", vm_args), ("more", "-m # c\n'+A' 3\n")];
        let mut script_env = env.clone();
        script_env.extend([
            ("RELEASE_DISTRIBUTION", "none"),
            ("ELIXIR_ERL_OPTIONS", "+fnu"),
            ("RELEASE_TMP", "/tmp"),
        ]);
        let (expected, _, release, _directory) = run_script(&made, &files, &script_env);
        let tree = image(&release);
        let otp = Otp::of_release(&release).expect("its own");
        let plan = plan(&tree, &release, &otp, &settings(&env, None)).expect("a plan");
        assert_eq!(arguments(&plan), expected, "{vm_args} {env:?}");
    }
}

#[test]
fn relx_releases_start_in_the_foreground() {
    let script = "#!/bin/sh\nPRE_START_HOOKS=\"\"\n# foreground) …\nexec -boot_var SYSTEM_LIB_DIR\n";
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let (bare_release, _, _, _bare_directory) = bare(None, true);
    let boot = path("releases/1/start.boot");
    let boot = bare_release.tree.file(&boot).expect("there").1.read(1 << 20).expect("readable");
    for (name, bytes) in [
        ("bin/r", script.as_bytes()),
        ("releases/1/start.boot", &boot),
        ("releases/1/r.rel", b"{release,{\"r\",\"1\"},{erts,\"13.1.5\"},[{kernel,\"8.5.3\"},{r,\"1\"}]}."),
        ("releases/1/vm.args.src", b"-sname ${NODE:-r}\n-setcookie c\n+P ${PROCESSES:-9}${UNSET}\n"),
        ("releases/1/sys.config.src", b"[{r,[{port,${PORT}}]}]."),
        ("releases/start_erl.data", b"13.1.5 1"),
        ("erts-13.1.5/bin/beam.smp", b""),
        ("lib/kernel-8.5.3/ebin/kernel.app", b""),
        ("lib/jiffy-1.1.1/ebin/jiffy.app", b""),
        ("lib/r-1/ebin/r.app", b""),
    ] {
        let path = root.join(name);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs_err::write(path, bytes).expect("written");
    }
    let release = Release::open(root, root, 0).expect("a release");
    assert_eq!(release.kind, ReleaseKind::Relx);
    let tree = image(&release);
    let otp = Otp::of_release(&release).expect("its own");
    let plan = plan(&tree, &release, &otp, &settings(&[("PORT", "80")], None)).expect("a plan");
    assert_eq!(
        arguments(&plan).join(" "),
        "-Bd -P 9 -- -root /app -bindir /app/erts-13.1.5/bin -progname app/bin/r -- -home / -- -noshell -noinput \
         -boot /app/releases/1/start -mode embedded -boot_var SYSTEM_LIB_DIR /app/lib -config \
         /app/releases/1/sys.config -setcookie c -- -- foreground --"
    );
    assert_eq!(plan.arguments[0], b"/app/bin/r", "as ESCRIPT_NAME says");
    let files: Vec<String> =
        plan.files.iter().map(|(path, text)| format!("{path} {}", String::from_utf8_lossy(text))).collect();
    assert_eq!(files, ["/app/releases/1/sys.config [{r,[{port,80}]}]."]);
    assert_eq!(plan.notes.len(), 4, "{:?}", plan.notes);
    assert!(plan.notes[1].contains("UNSET has no value"), "{:?}", plan.notes);
}

/// A bare release whose application is not in OTP, with the host's emulator beside it, as an image would have
/// it: the plan's command runs here, and the application says so.
#[test]
fn a_planned_bare_release_really_starts() {
    if !tool("erl") || !tool("erlc") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let work = directory.path();
    let write = |name: &str, text: &str| fs_err::write(work.join(name), text).expect("written");
    write(
        "said.erl",
        "-module(said).\n-export([start/2, stop/1]).\nstart(_, _) -> io:format(\"root ~s, env ~p, args ~p, limits ~p/~p~n\", \
         [code:root_dir(), application:get_env(said, key), init:get_plain_arguments(), \
         erlang:system_info(process_limit), erlang:system_info(port_limit)]), erlang:halt(0).\nstop(_) -> ok.\n",
    );
    write(
        "said.app",
        "{application,said,[{description,\"\"},{vsn,\"1\"},{modules,[said]},{registered,[]},{applications,[kernel,stdlib]},{mod,{said,[]}}]}.",
    );
    write("sys.config", "[{said,[{key,<<\"value\">>}]}].");
    let make = "application:load(sasl), V = fun(A) -> application:load(A), {ok,X} = application:get_key(A,vsn), X end, \
        R = {release,{\"said\",\"1\"},{erts,erlang:system_info(version)},[{kernel,V(kernel)},{stdlib,V(stdlib)},{said,\"1\"}]}, \
        ok = file:write_file(\"said.rel\", io_lib:format(\"~p.\", [R])), ok = systools:make_script(\"said\", []), \
        ok = systools:make_tar(\"said\", []), io:format(\"~s\", [code:root_dir()]), halt().";
    let erlc = Command::new("erlc").arg("said.erl").current_dir(work).status().expect("erlc runs");
    assert!(erlc.success());
    let output =
        Command::new("erl").args(["-noshell", "-eval", make]).current_dir(work).output().expect("erl runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let otp_root = text.lines().last().expect("the root").to_owned();

    let release = Release::open(&work.join("said.tar.gz"), work, 0).expect("a release");
    assert_eq!((release.kind, release.own_erts.as_deref()), (ReleaseKind::Bare, None));
    assert!(release.applications.iter().all(|application| application.own));
    let mut tree = image(&release);
    put(&mut tree, &format!("usr/lib/erlang/erts-{}/bin/beam.smp", release.erts_version), b"");
    let otp = Otp::in_tree(&tree, &path("usr/lib/erlang")).expect("an OTP");
    leanfs::layer::otp::check(&release, &otp).expect("it fits");
    let app = work.join("app");
    fs_err::create_dir(&app).expect("a directory");
    let status = Command::new("tar").arg("xzf").arg(work.join("said.tar.gz")).arg("-C").arg(&app).status();
    assert!(status.expect("tar runs").success());
    let here = |text: &str| match text.strip_prefix("/app") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{}{rest}", app.display()),
        _ => text.replace("/usr/lib/erlang", &otp_root),
    };
    for (profile, flags, limits) in [
        (Profile::None, "", "262144/65536"),
        (Profile::Server, "", "262144/65536"),
        (Profile::Tiny, "", "1024/1024"),
        // What the release says wins, in any spelling.
        (Profile::Tiny, "+P 4096 +Q2048 +S 1:1 ", "4096/2048"),
    ] {
        let mut run = settings(&[("ERL_ZFLAGS", &format!("{flags}-extra one two"))], None);
        run.profile = profile;
        let plan = plan(&tree, &release, &otp, &run).expect("a plan");
        let output = Command::new(here(&plan.program.to_string()))
            .args(arguments(&plan).iter().map(|word| here(word)))
            .env_clear()
            .envs(plan.env.iter().map(|(name, value)| (name, here(value))))
            .output()
            .expect("the emulator runs");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let args = if said.contains("\"--\"") { "[\"one\",\"two\",\"--\"]" } else { "[\"one\",\"two\"]" };
        let want =
            format!("root {}, env {{ok,<<\"value\">>}}, args {args}, limits {limits}\n", app.display());
        assert_eq!(said, want, "{profile:?} {flags}");
    }
}

/// What `vm.args` says of the mode is `erlexec`'s affair; what the script would have put there is the profile's, unless
/// somebody says it.
#[test]
fn a_tiny_system_loads_modules_when_they_are_called() {
    let Some(made) = mix_release() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let release = Release::open(&made.join("hello"), directory.path(), 0).expect("a release");
    let otp = Otp::of_release(&release).expect("it has an ERTS");
    let tree = image(&release);
    for (profile, env, mode) in [
        (Profile::Tiny, &[][..], "interactive"),
        (Profile::Tiny, &[("RELEASE_MODE", "embedded")], "embedded"),
        (Profile::Server, &[], "embedded"),
        (Profile::Server, &[("RELEASE_MODE", "interactive")], "interactive"),
    ] {
        let mut run = settings(env, None);
        run.profile = profile;
        let plan = plan(&tree, &release, &otp, &run).expect("a plan");
        let words = arguments(&plan);
        let at = words.iter().position(|word| word == "-mode").expect("the script says it");
        assert_eq!(words[at + 1], mode, "{profile:?} {env:?}");
        let told = plan.env.iter().find(|(name, _)| name == "RELEASE_MODE").map(|(_, value)| value.as_str());
        assert_eq!(told, Some(mode), "{profile:?} {env:?}");
    }
}
