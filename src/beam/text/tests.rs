use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Term {
    let mut terms = consult(format!("{text}.").as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(terms.len(), 1, "{text}");
    terms.remove(0)
}

#[test]
fn terms_and_their_canonical_text() {
    for (text, expected) in [
        ("foo", "foo"),
        ("'Elixir.Foo'", "'Elixir.Foo'"),
        ("'it\\'s'", "'it\\'s'"),
        ("'end'", "'end'"),
        ("été@1_B", "'été@1_B'"),
        ("\"abc\" \"def\"", "\"abcdef\""),
        ("\"\"", "[]"),
        ("\"a\\x41\\x{1F600}\\101\\^A\"", "[97,65,128512,65,1]"),
        ("\"a\\x41\\s\\n\"", "\"aA \\n\""),
        ("[97,98]", "\"ab\""),
        ("[1,2|[3]]", "[1,2,3]"),
        ("[a|b]", "[a|b]"),
        ("[a|[b|c]]", "[a,b|c]"),
        ("{}", "{}"),
        ("{ a , [ b ] , #{ } , #{ k => \"v\" , 1 => 2 } }", "{a,[b],#{},#{k => \"v\",1 => 2}}"),
        ("16#fF", "255"),
        ("2#1_0", "2"),
        ("1_000", "1000"),
        ("-5", "-5"),
        ("- 5", "-5"),
        ("+3", "3"),
        ("$a", "97"),
        ("$\\n", "10"),
        ("$ ", "32"),
        ("1.5", "1.5"),
        ("-1.5e-3", "-0.0015"),
        ("-2.0e-9", "-2.0e-9"),
        ("1.0e16", "1.0e16"),
        ("2.5e300", "2.5e300"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551616", "16#010000000000000000"),
        ("-16#10000000000000000", "-16#010000000000000000"),
        ("<<>>", "<<>>"),
        ("<<\"abc\">>", "<<\"abc\">>"),
        ("<<1,2,\"a\">>", "<<\"\\x{1}\\x{2}a\">>"),
        ("\"\"\"a\"\"\"", "\"a\""),
        ("<<\"é\"/utf8>>", "<<195,169>>"),
        ("<<\"é\">>", "<<233>>"),
        ("\"\"\"\n  a\n   b\n  \"\"\"", "\"a\\n b\""),
        ("% comment\n foo % more\n", "foo"),
    ] {
        assert_eq!(one(text).to_string(), expected, "{text}");
    }
}

#[test]
fn what_is_no_term_says_where() {
    for (text, line, expected) in [
        ("foo", 1, "a full stop"),
        ("\n{a", 2, "`,` or a closing bracket"),
        ("{a b}.", 1, "`,` or a closing bracket"),
        ("[a|b c].", 1, "]"),
        ("\"a", 1, "a closing quote"),
        ("Foo.", 1, "a term"),
        ("fun() -> ok end.", 1, "a term"),
        ("1#0.", 1, "a base from 2 to 36"),
        ("16#.", 1, "digits of that base"),
        ("a.b.", 1, "a full stop"),
        ("#{a=>}.", 1, "a term"),
        ("<<\"a\":8>>.", 1, "`,` or `>>`"),
        ("\"\\x{110000}\".", 1, "a character's code"),
        ("\"\\xé\".", 1, "a character's code"),
    ] {
        match consult(text.as_bytes()) {
            Err(BeamError::Text { line: at, expected: wanted, .. }) => {
                assert_eq!((at, wanted), (line, expected), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(consult(deep.as_bytes()), Err(BeamError::TooLarge { .. })));
    let escapes = consult(b"\x1b[31m.").expect_err("an escape sequence is no term");
    assert!(!escapes.to_string().contains('\x1b'));
}

#[test]
fn encodings() {
    assert_eq!(consult("\u{feff}a.".as_bytes()), Ok(vec![Term::atom("a")]));
    assert_eq!(consult(b"%% -*- coding: latin-1 -*-\n\"\xe9\"."), Ok(vec![Term::text("é")]));
    assert_eq!(consult("%% coding: utf-8\n\"é\".".as_bytes()), Ok(vec![Term::text("é")]));
    assert!(matches!(consult(b"a.\n\"\xe9\"."), Err(BeamError::Text { line: 2, .. })));
}

fn any_term() -> impl Strategy<Value = Term> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Term::Integer),
        ".{0,8}".prop_map(|name| Term::atom(&name)),
        "[a-zé\n\"\\\\]{0,8}".prop_map(|text| Term::text(&text)),
        proptest::collection::vec(any::<u8>(), 0..8).prop_map(Term::Binary),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Term::Tuple),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Term::list),
            proptest::collection::vec((inner.clone(), inner), 0..3).prop_map(Term::Map),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(term in any_term()) {
        prop_assert_eq!(consult(format!("{term}.").as_bytes()), Ok(vec![term]));
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = consult(&bytes);
    }

    #[test]
    fn nothing_that_looks_like_terms_panics(
        text in "([a-z'\"$\\\\{}\\[\\]<>#=|,.%0-9eE_+ \n-]|\\\\x|<<|>>|=>|16#|\"\"\"\n|é){0,40}"
    ) {
        let _ = consult(text.as_bytes());
    }
}
