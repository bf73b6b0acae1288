//! The BEAM's formats, on real files and against the host's Erlang.

use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::beam::{BootScript, Module, ReleaseFile, consult, decode};
use leanfs::layer::release::Release;
use leanfs::tree::NodeKind;

fn shared_release(name: &str) -> Option<Release> {
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    if !shared.exists() {
        println!("SKIP: ../shared is absent");
        return None;
    }
    let path = shared.join("releases").join(name);
    Some(Release::open(&path, &std::env::temp_dir(), 0).expect("a release"))
}

fn content(release: &Release, path: &str) -> Vec<u8> {
    let path = path.parse().expect("a path");
    release.tree.file(&path).expect("there").1.read(64 << 20).expect("readable")
}

#[test]
fn boot_and_script_files_say_the_same() {
    let Some(release) = shared_release("hello-otp27-musl-erts.tar.gz") else { return };
    for name in ["start", "start_clean"] {
        let binary =
            BootScript::parse(&content(&release, &format!("releases/0.1.0/{name}.boot"))).expect("boot");
        let text = BootScript::parse_text(&content(&release, &format!("releases/0.1.0/{name}.script")));
        assert_eq!(binary, text.expect("script"), "{name}");
        // iex is in the code path, and is not loaded.
        assert_eq!(binary.applications().len(), release.applications.len() - 1, "{name}");
        assert!(binary.modules().contains(&"application_controller"));
    }
}

#[test]
fn every_module_of_a_release_is_read() {
    let Some(release) = shared_release("hello-otp27-musl-erts.tar.gz") else { return };
    let mut count = 0;
    for (path, node) in release.tree.iter() {
        let NodeKind::File(bytes) = &node.kind else { continue };
        let Some(name) = path.file_name().and_then(|name| name.strip_suffix(b".beam")) else { continue };
        let module = Module::parse(&bytes.read(64 << 20).expect("readable")).expect("a module");
        assert_eq!(module.name.as_bytes(), name, "{path}");
        count += 1;
    }
    assert!(count > 400, "{count}");
    let module =
        Module::parse(&content(&release, "lib/elixir-1.18.3/ebin/Elixir.System.beam")).expect("a module");
    assert_eq!(module.shell_call(), None, "System.shell opens a port by itself");
}

/// Changes real files in a fixed pseudo-random way: whatever comes of it is a value or an error.
#[test]
fn changed_files_are_values_or_errors() {
    let Some(release) = shared_release("hello-otp27-noerts.tar.gz") else { return };
    let boot = content(&release, "releases/0.1.0/start.boot");
    let script = content(&release, "releases/0.1.0/start.script");
    let rel = content(&release, "releases/0.1.0/hello.rel");
    let beam = content(&release, "lib/hello-0.1.0/ebin/Elixir.Hello.Application.beam");
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for _ in 0..200 {
        for original in [&boot, &script, &rel, &beam] {
            let mut bytes = original.clone();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                match random(3) {
                    0 => bytes[at] = random(256) as u8,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            let _ = BootScript::parse(&bytes);
            let _ = BootScript::parse_text(&bytes);
            let _ = ReleaseFile::parse(&bytes);
            let _ = Module::parse(&bytes);
        }
    }
}

fn erl(program: &str) -> Option<String> {
    let found = std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|path| path.join("erl").is_file()));
    if !found {
        assert!(std::env::var_os("CI").is_none(), "erl is missing, and this is CI");
        println!("SKIP: erl is missing");
        return None;
    }
    let output = Command::new("erl").args(["-noshell", "-eval", program]).output().expect("erl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn terms_are_what_erlang_takes_them_for() {
    let texts = [
        "{a,'B c',\"d\\x41\\x{e9}\\101\\^A\\e\\s\",$\\n,$a,[1,2|c],[],\"\",#{k=>v,1=>#{}}}",
        "[16#fF,2#101,36#zZ,1_000_000,-7,- 8,1.5,-2.5e-3,1.0E10,123456789012345678901234567890]",
        "<<\"abc\",1,2,255,\"\\n\">>",
        "[\"a\" \"b\"\n \"c\", 'it''s', 'x\\'y', '\\x{1F600}']",
        "[97,98,{99}]. % and a comment",
    ];
    for text in texts {
        let text = text.replace("'it''s'", "its");
        let text = if text.contains(". %") { text } else { format!("{text}.") };
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("terms");
        fs_err::write(&file, &text).expect("written");
        let program = format!(
            "{{ok,[T]}} = file:consult(\"{}\"), ok = file:write_file(\"{}\", term_to_binary(T)), \
             ok = file:write_file(\"{}\", term_to_binary(T, [compressed])), halt().",
            file.display(),
            directory.path().join("plain").display(),
            directory.path().join("packed").display()
        );
        if erl(&program).is_none() {
            return;
        }
        let ours = consult(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        for name in ["plain", "packed"] {
            let bytes = fs_err::read(directory.path().join(name)).expect("written by erl");
            let theirs = decode(&bytes).expect("an external term");
            // Maps have an order of their own in the external format.
            assert_eq!(sorted(&ours[0].to_string()), sorted(&theirs.to_string()), "{text}");
        }
    }
}

fn sorted(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.sort_unstable();
    bytes
}

#[test]
fn imports_are_what_beam_lib_says() {
    let modules = ["lists", "gen_server", "os", "httpc", "ssl"];
    let program = format!(
        "[begin {{ok,{{M,[{{imports,I}}]}}}} = beam_lib:chunks(code:which(M), [imports]), \
         [io:format(\"~s ~s ~w:~w/~w~n\", [code:which(M), M, X, F, A]) || {{X,F,A}} <- lists:sort(I)] end \
         || M <- [{}], is_list(code:which(M))], halt().",
        modules.join(",")
    );
    let Some(output) = erl(&program) else { return };
    let mut files: Vec<PathBuf> =
        output.lines().filter_map(|line| line.split(' ').next()).map(PathBuf::from).collect();
    files.dedup();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let module = Module::parse(&fs_err::read(&file).expect("readable")).expect("a module");
        let mut ours: Vec<String> = module
            .imports
            .iter()
            .map(|import| format!("{} {} {import}", file.display(), module.name))
            .collect();
        let prefix = format!("{} ", file.display());
        let mut theirs: Vec<&str> = output.lines().filter(|line| line.starts_with(&prefix)).collect();
        ours.sort();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
    }
}
