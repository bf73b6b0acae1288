//! Text from outside, made fit to be shown. Every room may use this one, which knows no other.
//!
//! Names of packages, files and keys, descriptions, and what servers say, are chosen by strangers. In a terminal control
//! characters move the cursor and paint over what stands there; marks of Unicode turn the direction of writing (U+202E),
//! or take no room at all (U+200B), so that one name reads as another.

/// Whether a character must not be shown as it is: it steers a terminal, changes how its neighbours are shown, or
/// can't be seen.
///
/// These are Unicode's general categories Cc, Cf, Zl and Zp, the fillers and variation selectors, which are letters and marks
/// without a shape, and the tag characters.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
            | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// With hidden characters written as `\u{202e}`.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        push_shown(&mut shown, c);
    }
    shown
}

/// As [`shown`], of one character.
pub fn push_shown(shown: &mut String, c: char) {
    if is_hidden(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
}

/// JSON with hidden characters in its strings as `\u202e`: the same value. JSON's own rules ask that only of
/// those below U+0020, but what is printed may be read in a terminal.
pub fn json_shown(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // Between strings there are none but the newlines of indented JSON.
        if is_hidden(c) && !matches!(c, '\n' | '\r' | '\t') {
            for unit in c.encode_utf16(&mut [0; 2]) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_seen_is_written_out() {
        for hidden in [
            '\0',
            '\n',
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\u{ad}',
            '\u{61c}',
            '\u{200b}',
            '\u{200d}',
            '\u{200f}',
            '\u{202e}',
            '\u{2028}',
            '\u{2060}',
            '\u{2066}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{e0041}',
            '\u{e0100}',
        ] {
            assert!(is_hidden(hidden), "{hidden:?}");
            let text = format!("a{hidden}b");
            assert_eq!(shown(&text), format!("a\\u{{{:x}}}b", u32::from(hidden)));
        }
        for plain in ['a', ' ', 'ü', '→', '…', '✓', '中', 'и', '\u{1f600}'] {
            assert!(!is_hidden(plain), "{plain:?}");
            assert_eq!(shown(&plain.to_string()), plain.to_string());
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let text = "a\u{9b}31m\u{202e}\u{e0041}\u{7f}\u{1b}\n\"\\ü";
        let json = serde_json::json!({ "key": text, "list": [1, 2] });
        for plain in [json.to_string(), serde_json::to_string_pretty(&json).expect("JSON")] {
            let printed = json_shown(&plain);
            assert!(!printed.chars().any(|c| is_hidden(c) && c != '\n'), "{printed}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).expect("JSON"), json);
        }
    }
}
