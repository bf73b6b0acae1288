//! Modules and boot scripts as leanfs writes them, against the host's Erlang and Elixir.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::beam::container::Container;
use leanfs::beam::{BootScript, Code, Import, Module, StripOptions, literals, strip};

use crate::strip::{files_below, find, skip};

/// Where Debian has them.
const ERLANG: &str = "/usr/lib/erlang";
const ELIXIR: &str = "/usr/lib/elixir";

/// By name and number of arguments: whether a function is exported, and what it calls.
type Seen = BTreeMap<(String, u32), (bool, BTreeSet<String>)>;

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

/// A whole Erlang of rewritten modules: its own boot, and what it is used for; and Elixir on it.
#[test]
fn an_erlang_of_rewritten_modules_works() {
    let files = modules(ERLANG);
    let of_elixir = modules(ELIXIR);
    if files.is_empty() || of_elixir.is_empty() {
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
    let elixir = tempfile::tempdir().expect("a directory");
    for file in &of_elixir {
        let options = StripOptions { lines: false, attributes: false };
        let target = elixir.path().join(file.file_name().expect("a file"));
        fs_err::write(target, strip(&read(file), options).expect("a module")).expect("written");
    }
    fs_err::copy(format!("{ELIXIR}/lib/elixir/ebin/elixir.app"), elixir.path().join("elixir.app"))
        .expect("copied");
    for file in files_below(Path::new(ERLANG)) {
        if file.extension().is_some_and(|extension| extension == "app" || extension == "so") {
            let target = root.join(file.strip_prefix(ERLANG).expect("it stands there"));
            fs_err::create_dir_all(target.parent().expect("it has one")).expect("made");
            fs_err::copy(&file, target).expect("copied");
        }
    }
    let version = erl("io:format(\"~s\", [erlang:system_info(version)])");
    let bin = format!("{ERLANG}/erts-{version}/bin");
    let expression = r#"[Elixir] = init:get_plain_arguments(),
        Root = code:root_dir(), true = lists:prefix(Root, code:which(lists)),
        {ok, zz, B} = compile:forms([{attribute,1,module,zz},{attribute,1,export,[{a,0}]},
            {function,1,a,0,[{clause,1,[],[],[{atom,1,x}]}]}], []),
        {module, zz} = code:load_binary(zz, "zz", B), x = zz:a(),
        {match, ["b"]} = re:run("abc", "b", [{capture, all, list}]),
        "SS" = string:uppercase("ß"), #{a := 1} = maps:from_list([{a, 1}]),
        "<<1,2>> [a,{b}]" = lists:flatten(io_lib:format("~w ~p", [<<1, 2>>, [a, {b}]])),
        <<144, 1, 80, 152, 60, 210, 79, 176, _/binary>> = crypto:hash(md5, "abc"),
        Root = code:root_dir(), true = lists:prefix(Root, code:which(crypto)),
        true = lists:prefix(Elixir, code:which('Elixir.Enum')),
        {ok, _} = application:ensure_all_started(elixir),
        [2, 3] = 'Elixir.Enum':map([1, 2], fun(X) -> X + 1 end),
        <<"ÉA"/utf8>> = 'Elixir.String':upcase(<<"éa"/utf8>>),
        <<"%{a: [1..3]}">> = 'Elixir.Kernel':inspect(
            #{a => [#{'__struct__' => 'Elixir.Range', first => 1, last => 3, step => 1}]}),
        {5, _} = 'Elixir.Code':eval_string(<<"Enum.sum([2, 3])">>),
        {'EXIT', {{badmatch, 2}, [_ | _]}} = (catch begin X = hd([2]), 1 = X end),
        io:format("~p", [lists:sort([3, 1, 2])]), halt()."#;
    let output = Command::new(format!("{bin}/erlexec"))
        .envs([("ROOTDIR", root.as_os_str()), ("BINDIR", bin.as_ref()), ("EMU", "beam".as_ref())])
        .env("ERL_CRASH_DUMP", "/dev/null")
        .args(["-boot", &format!("{ERLANG}/bin/start_clean"), "-noshell", "-pa"])
        .arg(elixir.path())
        .args(["-eval", expression, "-extra"])
        .arg(elixir.path())
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

/// What `beam_disasm` of the compiler sees: every function and whether it is exported, every call of another module's,
/// and every `fun module:function/arity` in a literal. No more than that, either.
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
        Funs = fun Funs([H | T]) -> Funs(H) ++ Funs(T);
            Funs(T) when is_tuple(T) -> Funs(tuple_to_list(T));
            Funs(M) when is_map(M) -> Funs(maps:to_list(M));
            Funs(X) when is_function(X) -> {{module, M}} = erlang:fun_info(X, module),
                {{name, N}} = erlang:fun_info(X, name), {{arity, A}} = erlang:fun_info(X, arity), [{{M, N, A}}];
            Funs(_) -> [] end,
        [begin {{beam_file, _, Exports, _, _, Fs}} = beam_disasm:file(F),
            Exported = [{{N, A}} || {{N, A, _}} <- Exports],
            [io:format("~ts\t~ts\t~b\t~p\t~ts~n", [F, N, A, lists:member({{N, A}}, Exported), lists:join("\t",
                [io_lib:format("~ts ~ts ~b", [M, Fn, Ar]) || {{M, Fn, Ar}} <- Funs(Is) ++
                    [{{M, Fn, Ar}} || I <- Is, is_tuple(I),
                        lists:member(element(1, I), [call_ext, call_ext_last, call_ext_only]),
                        {{extfunc, M, Fn, Ar}} <- [element(3, I)]]])]) || {{function, N, A, _, Is}} <- Fs]
        end || F <- Files]"#,
        list.display()
    ));
    let mut theirs: BTreeMap<&str, Seen> = BTreeMap::new();
    for line in said.lines() {
        let mut fields = line.split('\t');
        let (Some(file), Some(name), Some(arity), Some(exported)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            panic!("{line}");
        };
        let calls = fields.filter(|call| !call.is_empty()).map(str::to_owned).collect();
        let arity = arity.parse().expect("a number");
        theirs.entry(file).or_default().insert((name.to_owned(), arity), (exported == "true", calls));
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
        for function in &code.functions {
            let name = (function.name.to_string(), function.arity);
            let (exported, expected) = &theirs[&name];
            assert_eq!(function.exported, *exported, "{} {name:?}", file.display());
            let ours: BTreeSet<String> = function
                .remote_calls
                .iter()
                .map(|Import { module, function, arity }| format!("{module} {function} {arity}"))
                .collect();
            assert_eq!(&ours, expected, "{} {name:?}", file.display());
            calls += expected.len();
        }
    }
    assert!(calls > 20_000, "{calls}");
}

/// No larger than what `beam_lib:strip` leaves, when the modules of kernel and stdlib are compressed together as an
/// image compresses them. Where lines stay, so that both hold the same.
#[test]
fn modules_compress_better_than_those_of_beam_lib() {
    let files: Vec<PathBuf> = modules(ERLANG)
        .into_iter()
        .filter(|path| ["/stdlib-", "/kernel-"].iter().any(|part| path.to_string_lossy().contains(part)))
        .collect();
    if files.is_empty() {
        return;
    }
    if find("xz").is_none() {
        skip("xz");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    // From bytes: given the name of a file, `beam_lib:strip` writes that file, which is the host's own.
    let (list, theirs) = (directory.path().join("files"), directory.path().join("theirs"));
    let names: Vec<String> =
        files.iter().map(|path| format!("{:?}.\n", path.display().to_string())).collect();
    fs_err::write(&list, names.concat()).expect("written");
    erl(&format!(
        r#"{{ok, Files}} = file:consult("{}"),
        Plain = fun(<<31, 139, _/binary>> = B) -> zlib:gunzip(B); (B) -> B end,
        ok = file:write_file("{}", [begin {{ok, B}} = file:read_file(F),
            {{ok, {{_, S}}}} = beam_lib:strip(B), Plain(S) end || F <- Files])"#,
        list.display(),
        theirs.display()
    ));
    let ours = directory.path().join("ours");
    let options = StripOptions { lines: true, attributes: false };
    let stripped: Vec<Vec<u8>> =
        files.iter().map(|file| strip(&read(file), options).expect("a module")).collect();
    fs_err::write(&ours, stripped.concat()).expect("written");
    let packed = |path: &Path| {
        let output = Command::new("xz").args(["-6", "--stdout"]).arg(path).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout.len()
    };
    let (ours, theirs) = (packed(&ours), packed(&theirs));
    println!("{} modules: {ours} bytes, those of beam_lib {theirs}", files.len());
    assert!(ours <= theirs, "{ours} bytes, those of beam_lib {theirs}");
}

/// Every module of a newer Erlang and Elixir than the host's is read, and written without anything left to strip.
#[test]
fn modules_of_a_newer_erlang_are_read() {
    let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/mirror/v3.23/community/x86_64");
    let Ok(entries) = fs_err::read_dir(packages) else {
        println!("SKIP: ../shared is absent");
        return;
    };
    let mut count = 0;
    for package in entries.map(|entry| entry.expect("readable").path()) {
        if package.extension().is_none_or(|extension| extension != "apk") {
            continue;
        }
        // Signature, control and data are gzip members, which one reader reads as one stream.
        let file = fs_err::File::open(&package).expect("readable");
        let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(file));
        archive.set_ignore_zeros(true);
        for entry in archive.entries().expect("a package") {
            let mut entry = entry.expect("an entry");
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if !name.ends_with(".beam") {
                continue;
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("readable");
            let container = Container::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let module = Module::of(&container).unwrap_or_else(|error| panic!("{name}: {error}"));
            let code = Code::of(&container, &module).unwrap_or_else(|error| panic!("{name}: {error}"));
            let exported = code.functions.iter().filter(|function| function.exported).count();
            assert_eq!(exported, module.exports.len(), "{name}");
            let options = StripOptions { lines: false, attributes: false };
            let stripped = strip(&bytes, options).unwrap_or_else(|error| panic!("{name}: {error}"));
            let container = Container::parse(&stripped).expect("a module");
            assert_eq!(Code::of(&container, &module).expect("code"), code, "{name}");
            count += 1;
        }
    }
    assert!(count > 1000, "{count}");
}

/// What reachability is made of, as the compiler really writes it.
#[test]
fn calls_that_are_no_constants() {
    if find("erlc").is_none() {
        skip("erlc");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let source = r#"-module(open). -export([a/2, b/2, c/1, d/1, e/2, f/1, g/1, h/0]).
        a(Function, X) -> lists:Function(X).
        b(Function, Arguments) -> apply(lists, Function, Arguments).
        c(Module) -> Module:init(1).
        d(Module) -> fun Module:handle/2.
        e(Module, Function) -> Module:Function(1, 2).
        f(X) -> case X of compared -> #{key => made, X => {tagged, [listed]}}; 'also' -> fun lists:map/2 end.
        g(X) -> #{'__struct__' => 'Elixir.Made', x => X}.
        h() -> spawn(lists, sort, [[]]).
    "#;
    fs_err::write(directory.path().join("open.erl"), source).expect("written");
    let status =
        Command::new("erlc").arg("open.erl").current_dir(directory.path()).status().expect("erlc runs");
    assert!(status.success());
    let bytes = read(&directory.path().join("open.beam"));
    let container = Container::parse(&bytes).expect("a module");
    let code = Code::of(&container, &Module::of(&container).expect("a module")).expect("code");
    let function = |name: &str| {
        code.functions.iter().find(|function| &*function.name == name).unwrap_or_else(|| panic!("{name}"))
    };
    let applies = |name: &str| -> Vec<(Option<&str>, Option<u32>)> {
        function(name).applies.keys().map(|apply| (apply.function.as_deref(), apply.arity)).collect()
    };
    let names = |atoms: &BTreeSet<leanfs::beam::Atom>| -> Vec<String> {
        atoms.iter().map(ToString::to_string).collect()
    };
    for name in ["a", "b"] {
        assert_eq!(names(&function(name).open_calls), ["lists"], "{name}");
        assert_eq!(applies(name), [], "{name}");
    }
    assert_eq!(applies("c"), [(Some("init"), Some(1))]);
    assert_eq!(applies("d"), [(Some("handle"), None)]);
    assert_eq!(applies("e"), [(None, Some(2))]);
    // Neither what is compared with nor the key of a map.
    assert_eq!(names(&function("f").atoms), ["listed", "made", "tagged"]);
    assert!(function("f").remote_calls.iter().any(|import| import.to_string() == "lists:map/2"));
    assert_eq!(names(&function("g").structs), ["Elixir.Made"]);
    assert!(function("h").atoms.contains("lists") && function("h").atoms.contains("sort"));

    // The types for the JIT stay, what only tools read goes.
    let kept = strip(&bytes, StripOptions { lines: false, attributes: false }).expect("a module");
    let kept: Vec<String> = Container::parse(&kept)
        .expect("a module")
        .chunks()
        .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
        .collect();
    for name in ["AtU8", "Code", "Type", "ImpT", "ExpT", "LitT"] {
        assert!(kept.iter().any(|kept| kept == name), "{name} is not in {kept:?}");
    }
    for name in ["Dbgi", "Docs", "CInf", "Line", "Attr"] {
        assert!(!kept.iter().any(|kept| kept == name), "{name} is in {kept:?}");
    }
}
