//! Text of others inside a page.

use std::fmt;

/// A text as it stands in HTML, in an element or in an attribute with quotes: nothing of it is markup, and nothing of
/// it is invisible or turns the direction of what stands around it.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if c.is_control() || is_invisible(c) => write!(f, "{}", c.escape_unicode())?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// Marks of direction, joiners, variation selectors and tags: they show nothing, or change what is around them.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_markup() {
        for (text, shown) in [
            ("plain/ä✓", "plain/ä✓"),
            ("</script><img src=x onerror=alert(1)>", "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;"),
            ("\" onmouseover='x' &amp;", "&quot; onmouseover=&#39;x&#39; &amp;amp;"),
            ("a\u{202e}b\u{0}\n\u{200b}", "a\\u{202e}b\\u{0}\\u{a}\\u{200b}"),
        ] {
            assert_eq!(Text(text).to_string(), shown);
        }
    }
}
