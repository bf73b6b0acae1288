//! What [`crate::prune`] is told.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::UnknownChoice;

/// How much goes, and what stays whatever is found out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PruneSettings {
    /// How much of the tree goes.
    pub level: PruneLevel,
    /// Modules and applications that stay at every level, with what they reach.
    pub keep: Vec<Pattern>,
    /// Line numbers in stack traces go too.
    pub strip_lines: bool,
    /// What `leanfs verify --trace` wrote: the modules in it stay, with what they reach.
    pub traces: Vec<PathBuf>,
    /// apk's database of installed packages is written, with what of which package is in the image in the end. Where
    /// `apk` is in the image, no library of a package goes: what is installed later may need it.
    pub keep_package_db: bool,
}

impl Default for PruneSettings {
    fn default() -> Self {
        Self {
            level: PruneLevel::Modules,
            keep: Vec::new(),
            strip_lines: false,
            traces: Vec::new(),
            keep_package_db: false,
        }
    }
}

/// How much of the tree goes. Each level holds the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PruneLevel {
    /// Nothing: every file of every layer, byte for byte.
    None,
    /// Applications of OTP that the release doesn't list, what no running system reads (sources, headers,
    /// manuals), and libraries that nothing loads.
    Apps,
    /// What only debuggers, documentation and compilers read inside of files: chunks of modules, symbols of ELF
    /// files.
    Chunks,
    /// Modules that nothing reaches.
    Modules,
}

/// Which modules or applications: their name, in which `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Whether `name` is meant: of a module (`Elixir.Enum`, `lists`; Elixir's also without its prefix, as people
    /// write them) or of an application.
    pub fn matches(&self, name: &str) -> bool {
        fits(self.0.as_bytes(), name.as_bytes())
            || name.strip_prefix("Elixir.").is_some_and(|name| fits(self.0.as_bytes(), name.as_bytes()))
    }
}

/// The text that it was made from.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name with `*` where anything may stand.
impl FromStr for Pattern {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.chars().any(|c| c.is_control() || c == '/') {
            let allowed = "the name of a module or an application is, with `*` for any characters";
            return Err(UnknownChoice::new("pattern of what to keep", text, allowed));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether `*` in `pattern` can stand for something such that it becomes `name`. Time is at most the product of
/// both lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    // Where to go on when the last `*` has to stand for one more byte.
    let mut again = None;
    while here < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                again = Some((at + 1, here));
                at += 1;
            }
            Some(&byte) if byte == name[here] => {
                at += 1;
                here += 1;
            }
            _ => match &mut again {
                Some((after, from)) => {
                    *from += 1;
                    (at, here) = (*after, *from);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, fits) in [
            ("ssh", "ssh", true),
            ("ssh", "ssh_sftp", false),
            ("ssh*", "ssh_sftp", true),
            ("*", "x", true),
            ("Elixir.MyApp.Plugin.*", "Elixir.MyApp.Plugin.A", true),
            ("MyApp.Plugin.*", "Elixir.MyApp.Plugin.A.B", true),
            ("MyApp.Plugin.*", "Elixir.MyApp.Plugin", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("a*", "", false),
        ] {
            let parsed: Pattern = pattern.parse().expect("a pattern");
            assert_eq!(parsed.matches(name), fits, "{pattern} {name}");
            assert_eq!(parsed.to_string(), pattern);
        }
        for text in ["", "a/b", "a\nb"] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern: Pattern = "*a".repeat(40).parse().expect("a pattern");
        assert!(!pattern.matches(&"a".repeat(39)));
        assert!(pattern.matches(&"a".repeat(400)));
    }
}
