//! Modules and boot scripts as leanfs writes them, against the host's Erlang and Elixir.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::beam::container::Container;
use leanfs::beam::{BootScript, Code, Import, Module, StripOptions, literals, strip};

use crate::strip::{files_below, skip};

/// Where Debian has them.
const ERLANG: &str = "/usr/lib/erlang";
const ELIXIR: &str = "/usr/lib/elixir";

/// What `erl` prints for an expression.
fn erl(expression: &str) -> String {
    let output = Command::new("erl")
        .args(["-noshell", "-eval", &format!("{expression}, halt().")])
        .output()
        .expect("erl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The modules of applications below a root, by file; none where Erlang is missing.
fn modules(root: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = files_below(Path::new(root))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "beam"))
        .filter(|path| path.parent().is_some_and(|parent| parent.ends_with("ebin")))
        .collect();
    found.sort();
    if found.len() < 100 {
        skip(&format!("{root} has no modules"));
        return Vec::new();
    }
    found
}

fn read(path: &Path) -> Vec<u8> {
    fs_err::read(path).expect("readable")
}

/// The loader itself says whether it would take them; nothing of the running system is replaced.
#[test]
fn every_module_of_the_host_still_loads() {
    let files = [modules(ERLANG), modules(ELIXIR)].concat();
    if files.is_empty() {
        return;
    }
    for lines in [true, false] {
        let directory = tempfile::tempdir().expect("a directory");
        let (mut before, mut after) = (0, 0);
        for (number, file) in files.iter().enumerate() {
            let bytes = read(file);
            let rewritten = strip(&bytes, StripOptions { lines, attributes: lines }).expect("a module");
            let module = Module::parse(&bytes).expect("a module");
            assert_eq!(Module::parse(&rewritten).expect("a module"), module, "{}", file.display());
            // Stripping what is stripped changes nothing.
            let again = strip(&rewritten, StripOptions { lines, attributes: lines }).expect("a module");
            assert!(again == rewritten, "{}", file.display());
            before += bytes.len();
            after += rewritten.len();
            fs_err::write(directory.path().join(format!("{number}.beam")), rewritten).expect("written");
        }
        let said = erl(&format!(
            r#"Files = filelib:wildcard("{}/*.beam"),
            Bad = [{{F, M, R}} || F <- Files, {{ok, B}} <- [file:read_file(F)],
                {{ok, {{M, _}}}} <- [beam_lib:chunks(B, [imports, exports, atoms])],
                R <- [erlang:prepare_loading(M, B)], not is_reference(R)],
            io:format("~p ~p", [length(Files), Bad])"#,
            directory.path().display()
        ));
        assert_eq!(said, format!("{} []", files.len()));
        assert!(after < before, "{after} of {before} bytes");
    }
}

/// A whole Erlang of rewritten modules: its own boot, and what it is used for.
#[test]
fn an_erlang_of_rewritten_modules_works() {
    let files = modules(ERLANG);
    if files.is_empty() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    for file in &files {
        let below = file.strip_prefix(ERLANG).expect("it stands there");
        let target = root.join(below);
        fs_err::create_dir_all(target.parent().expect("it has one")).expect("made");
        let options = StripOptions { lines: false, attributes: false };
        fs_err::write(target, strip(&read(file), options).expect("a module")).expect("written");
    }
    for file in files_below(Path::new(ERLANG)) {
        if file.extension().is_some_and(|extension| extension == "app" || extension == "so") {
            let target = root.join(file.strip_prefix(ERLANG).expect("it stands there"));
            fs_err::create_dir_all(target.parent().expect("it has one")).expect("made");
            fs_err::copy(&file, target).expect("copied");
        }
    }
    let version = erl("io:format(\"~s\", [erlang:system_info(version)])");
    let bin = format!("{ERLANG}/erts-{version}/bin");
    let expression = r#"Root = code:root_dir(), true = lists:prefix(Root, code:which(lists)),
        {ok, zz, B} = compile:forms([{attribute,1,module,zz},{attribute,1,export,[{a,0}]},
            {function,1,a,0,[{clause,1,[],[],[{atom,1,x}]}]}], []),
        {module, zz} = code:load_binary(zz, "zz", B), x = zz:a(),
        {match, ["b"]} = re:run("abc", "b", [{capture, all, list}]),
        "SS" = string:uppercase("ß"), #{a := 1} = maps:from_list([{a, 1}]),
        {ok, [{foo, [1]}], _} = {ok, [{foo, [1]}], 0},
        {'EXIT', {{badmatch, 2}, [_ | _]}} = (catch begin X = hd([2]), 1 = X end),
        io:format("~p", [lists:sort([3, 1, 2])]), halt()."#;
    let output = Command::new(format!("{bin}/erlexec"))
        .envs([("ROOTDIR", root.as_os_str()), ("BINDIR", bin.as_ref()), ("EMU", "beam".as_ref())])
        .args(["-boot", &format!("{ERLANG}/bin/start_clean"), "-noshell", "-eval", expression])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "[1,2,3]", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn boot_scripts_are_the_same_terms() {
    let boots: Vec<PathBuf> = files_below(Path::new(ERLANG))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "boot"))
        .collect();
    if boots.is_empty() {
        skip("no boot scripts");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut pairs = Vec::new();
    for (number, boot) in boots.iter().enumerate() {
        let script = BootScript::parse(&read(boot)).expect("a boot script");
        let written = directory.path().join(format!("{number}.boot"));
        fs_err::write(&written, script.to_bytes().expect("plain terms")).expect("written");
        pairs.push(format!("{{\"{}\",\"{}\"}}", boot.display(), written.display()));
    }
    let said = erl(&format!(
        r#"Read = fun(F) -> {{ok, B}} = file:read_file(F), binary_to_term(B) end,
        io:format("~p", [[A || {{A, B}} <- [{}], Read(A) =/= Read(B)]])"#,
        pairs.join(",")
    ));
    assert_eq!(said, "[]");
}

/// What `beam_disasm` of the compiler sees: every function, and every call of another module's.
#[test]
fn the_code_is_read_as_the_compiler_reads_it() {
    let all = [modules(ERLANG), modules(ELIXIR)].concat();
    let files: Vec<&PathBuf> = all
        .iter()
        .filter(|path| {
            let text = path.to_string_lossy();
            ["/stdlib-", "/kernel-", "/lib/elixir/ebin", "/lib/logger/ebin"]
                .iter()
                .any(|part| text.contains(part))
        })
        .collect();
    if files.is_empty() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let list = directory.path().join("files");
    let names: Vec<String> =
        files.iter().map(|path| format!("{:?}.\n", path.display().to_string())).collect();
    fs_err::write(&list, names.concat()).expect("written");
    // One line a function: the file, name, arity and what it calls, with tabs between.
    let said = erl(&format!(
        r#"{{ok, Files}} = file:consult("{}"),
        [begin {{beam_file, _, _, _, _, Fs}} = beam_disasm:file(F),
            [io:format("~ts\t~ts\t~b\t~ts~n", [F, N, A, lists:join("\t",
                [io_lib:format("~ts ~ts ~b", [M, Fn, Ar]) || I <- Is, is_tuple(I),
                    lists:member(element(1, I), [call_ext, call_ext_last, call_ext_only]),
                    {{extfunc, M, Fn, Ar}} <- [element(3, I)]])]) || {{function, N, A, _, Is}} <- Fs]
        end || F <- Files]"#,
        list.display()
    ));
    let mut theirs: BTreeMap<&str, BTreeMap<(String, u32), BTreeSet<String>>> = BTreeMap::new();
    for line in said.lines() {
        let mut fields = line.split('\t');
        let (Some(file), Some(name), Some(arity)) = (fields.next(), fields.next(), fields.next()) else {
            panic!("{line}");
        };
        let calls = fields.filter(|call| !call.is_empty()).map(str::to_owned).collect();
        let arity = arity.parse().expect("a number");
        theirs.entry(file).or_default().insert((name.to_owned(), arity), calls);
    }
    let mut calls = 0;
    for file in files {
        let bytes = read(file);
        let container = Container::parse(&bytes).expect("a module");
        let module = Module::of(&container).expect("a module");
        let code = Code::of(&container, &module).expect("code");
        literals(&container).expect("literals");
        let theirs = &theirs[file.to_str().expect("text")];
        assert_eq!(code.functions.len(), theirs.len(), "{}", file.display());
        let exported = code.functions.iter().filter(|function| function.exported).count();
        assert_eq!(exported, module.exports.len(), "{}", file.display());
        for function in &code.functions {
            let name = (function.name.to_string(), function.arity);
            let expected = &theirs[&name];
            let ours: BTreeSet<String> = function
                .remote_calls
                .iter()
                .map(|Import { module, function, arity }| format!("{module} {function} {arity}"))
                .collect();
            let missing: Vec<&String> = expected.difference(&ours).collect();
            assert!(missing.is_empty(), "{} {name:?}: {missing:?}", file.display());
            calls += expected.len();
        }
    }
    assert!(calls > 20_000, "{calls}");
}
