use proptest::prelude::*;

use super::*;

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

fn text(words: &[Vec<u8>]) -> String {
    words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")
}

#[test]
fn argument_files() {
    for (given, expected) in [
        ("-a  b\t-c\n", &["-a", "b", "-c"][..]),
        ("# comment\n-a # more\n", &["-a"]),
        ("-name \"a b\"#c\n", &["-name", "a b"]),
        ("'a\\b' \"c\\d\" e\\ f", &["a\\b", "c\\d", "e f"]),
        ("\"\" ''", &["", ""]),
        ("a\"b c\"d", &["ab cd"]),
        ("\"unclosed", &["unclosed"]),
        ("end\\", &["end"]),
        ("", &[]),
        ("#", &[]),
        ("a\0b", &["a"]),
    ] {
        let expected: Vec<Vec<u8>> = expected.iter().map(|word| word.as_bytes().to_vec()).collect();
        assert_eq!(split(given.as_bytes(), true), expected, "{given:?}");
    }
    assert_eq!(split(b"d#e", false), [b"d#e"]);
}

/// What `erlexec` of OTP 25 and of OTP 27 were seen to do.
#[test]
fn sources_are_merged_as_by_both_generations() {
    let file = |path: &[u8]| match path {
        b"af" => Ok(b"-b\n-extra q -- r\n".to_vec()),
        b"af2" => Ok(b"-args_file af3\n-x y\n".to_vec()),
        b"af3" => Ok(b"-three".to_vec()),
        b"empty" => Ok(b"# nothing\n".to_vec()),
        _ => Err("not there".to_owned()),
    };
    for (command_line, variables, in_25, in_27) in [
        ("-a b", "", "-a b", "-a b --"),
        ("", "", "", ""),
        ("-a -extra k -- m", "", "-a -extra k -- m", "-a -- -- -extra k -- m"),
        ("-args_file af -z", "", "-b -z -- -extra q -- r --", "-b -z -- -extra q -- r"),
        ("-args_file af2 -z", "", "-three -- -x y -- -z --", "-three -- -x y -- -z --"),
        ("-args_file empty -z", "", "-z --", "-z --"),
        ("-args_file af3 -extra k", "", "-three -- -- -extra k", "-three -- -- -- -extra k"),
        ("-extra -args_file af", "", "-extra -args_file af", "-- -- -extra -args_file af"),
        ("-a", "ERL_FLAGS=-q -extra r", "-a -- -q -extra r --", "-a -- -q -- -extra r"),
        ("-a", "ERL_AFLAGS=-q", "-q -- -a --", "-q -- -a --"),
        ("", "ERL_ZFLAGS=-q", "-q --", "-q --"),
        (
            "-a -extra f",
            "ERL_AFLAGS=-extra g|ERL_ZFLAGS=-q -extra r",
            "-a -- -q -extra g -- f r --",
            "-- -a -- -- -q -- -extra g f r",
        ),
    ] {
        let env = variables
            .split('|')
            .filter_map(|variable| variable.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (erts_major, expected) in [(13, in_25), (15, in_27)] {
            let sources = Sources { env: &env, erts_major, read: &file };
            let merged = merge(&words(command_line), &sources).expect("good");
            let translated = translate(merged, erts_major).expect("good");
            assert_eq!(text(&translated.init_flags), expected, "{command_line} {variables} {erts_major}");
        }
    }
}

#[test]
fn flags_are_separated() {
    for (given, emulator, init) in [
        ("+S 4 -noshell", "-S 4", "-noshell"),
        ("+S4 +SPx 1 +SDcpu 2 +SDio3 4", "-S4 -SPx -SDcpu 2 -SDio3", "1 4"),
        ("+sbt -x +sbwt none +sbtx y", "-sbt -x -sbwt none -sbtx", "y"),
        ("+MBe true +Mea min +MMlp on +Mu x", "-MBe true -Mea min -MMlp on -Mu", "x"),
        ("+hms 1 +h 2 +hx 3 +hmaxib true", "-hms 1 -h 2 -hx -hmaxib true", "3"),
        ("+JPperf true +zdbbl 9 +rg 1 +r 2", "-JPperf true -zdbbl 9 -rg 1 -r", "2"),
        ("+B i +Bd +B -x +B ix +c true +c x", "-B i -Bd -B -B -c true -c", "-x ix x"),
        ("+fnu +pc unicode +K true +W w", "-fnu -pc unicode -K true -W w", ""),
        ("-noinput -emu_type opt", "", "-noshell -noinput -emu_type opt"),
        ("-epmd x -keep_window -emu_args -y", "", "-y"),
    ] {
        let merged = Merged { flags: words(given), extra: None };
        let translated = translate(merged, 15).expect(given);
        assert_eq!(text(&translated.emulator_flags), emulator, "{given}");
        assert_eq!(text(&translated.init_flags), init, "{given}");
        assert_eq!(translated.emulator, "beam.smp");
    }
    let older = translate(Merged { flags: words("+MMlp on +zhft 1"), extra: None }, 13).expect("good");
    assert_eq!(text(&older.init_flags), "on 1");
}

#[test]
fn side_effects() {
    let run = |given: &str| translate(Merged { flags: words(given), extra: None }, 15).expect(given);
    assert_eq!(run("-env A B").env, [(b"A".to_vec(), b"B".to_vec())]);
    assert!(run("-sname a").distributed && run("-name a").distributed && !run("-a").distributed);
    assert!(run("-sname a").epmd && !run("-sname a -start_epmd false").epmd);
    assert!(!run("-no_epmd -proto_dist x").epmd);
    assert!(run("-detached").detached);
    assert_eq!(run("-emu_type debug").emulator, "beam.debug.smp");
    assert_eq!(run("-emu_flavor emu").emulator, "beam.emu.smp");
    assert_eq!(run("-emu_flavor jit").emulator, "beam.smp");
}

#[test]
fn what_is_refused() {
    for given in [
        "+S",
        "+sbt",
        "+IO 1",
        "+I",
        "+SDx 3",
        "+Bx",
        "-env A",
        "-name",
        "-sname",
        "-start_epmd",
        "-epmd",
        "-start_epmd x",
        "-no_epmd",
        "-smp disable",
        "-make",
        "-version",
        "-emu_type",
        "-emu_type ../x",
    ] {
        assert!(translate(Merged { flags: words(given), extra: None }, 15).is_err(), "{given}");
    }
    let env = BTreeMap::new();
    let endless = Sources { env: &env, erts_major: 15, read: &|_| Ok(b"-args_file x".to_vec()) };
    assert!(matches!(merge(&words("-args_file x"), &endless), Err(FlagError::TooMany(_))));
    let bomb = Sources { env: &env, erts_major: 15, read: &|_| Ok(b"-a -args_file x -args_file x".to_vec()) };
    assert!(matches!(merge(&words("-args_file x"), &bomb), Err(FlagError::TooMany(_))));
    let missing = Sources { env: &env, erts_major: 15, read: &|_| Err("not there".into()) };
    assert_eq!(
        merge(&words("-args_file x"), &missing).expect_err("missing").to_string(),
        "the arguments file x: not there"
    );
    assert!(matches!(merge(&words("-args_file"), &missing), Err(FlagError::NoValue { .. })));
}

proptest! {
    #[test]
    fn nothing_panics(text in "([-+#\"'\\\\ \n]|[a-zA-Z]{1,3}|-extra|-args_file|[+]S|[+]M){0,30}") {
        let env = BTreeMap::from([("ERL_FLAGS".to_owned(), text.clone())]);
        let file = text.clone();
        let read = move |path: &[u8]| if path.len() < 3 { Ok(file.as_bytes().to_vec()) } else { Err("x".into()) };
        for erts_major in [13, 15] {
            let sources = Sources { env: &env, erts_major, read: &read };
            if let Ok(merged) = merge(&split(text.as_bytes(), true), &sources) {
                let _ = translate(merged, erts_major);
            }
        }
    }
}
