//! Licences: SPDX expressions (annex D of the [SPDX specification 2.3](https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/)),
//! or a name where that is all there is.

use spdx::{Expression, ParseMode};

/// A licence as a package names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum License {
    /// A valid expression of identifiers of the SPDX licence list. They may be deprecated ones.
    Expression(String),
    /// Anything else: `custom`, several identifiers without an operator, an identifier that is not in the list.
    Named(String),
}

impl License {
    /// What a text says; nothing if it says nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        // A `LicenseRef` is explained in the document that names it; nobody has explained these.
        let mode = ParseMode { allow_deprecated: true, allow_postfix_plus_on_gpl: true, ..ParseMode::STRICT };
        let is_of_the_list = Expression::parse_mode(text, mode).is_ok_and(|expression| {
            expression.requirements().all(|requirement| {
                let addition = requirement.req.addition.as_ref();
                // `NONE` and `NOASSERTION` say that there is no expression.
                requirement.req.license.id().is_some_and(|id| !matches!(id.name, "NONE" | "NOASSERTION"))
                    && addition.is_none_or(|addition| addition.id().is_some())
            })
        });
        Some(if is_of_the_list { Self::Expression(text.to_owned()) } else { Self::Named(text.to_owned()) })
    }

    /// Several licences that something is under; where more than one is named, all are taken to count.
    pub fn parse_all(texts: &[String]) -> Option<Self> {
        let all: Vec<Self> = texts.iter().filter_map(|text| Self::parse(text)).collect();
        let expression = |license: &Self| match license {
            Self::Expression(text) if all.len() > 1 && text.contains(" OR ") => Some(format!("({text})")),
            Self::Expression(text) => Some(text.clone()),
            Self::Named(_) => None,
        };
        match all.iter().map(expression).collect::<Option<Vec<_>>>() {
            Some(expressions) if expressions.is_empty() => None,
            Some(expressions) => Some(Self::Expression(expressions.join(" AND "))),
            None => {
                let names = all.iter().map(|license| match license {
                    Self::Expression(text) | Self::Named(text) => text.as_str(),
                });
                Some(Self::Named(names.collect::<Vec<_>>().join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_and_names() {
        for good in [
            "MIT",
            "BSD-3-Clause OR GPL-2.0-only",
            "GPL-2.0-or-later AND (MIT OR 0BSD)",
            "GPL-2.0-or-later WITH cryptsetup-OpenSSL-exception",
            "curl",
            "X11",
            "GPL-2.0",
            "GPL-2.0+",
            "Apache-1.0+",
        ] {
            assert_eq!(
                License::parse(&format!(" {good} ")),
                Some(License::Expression(good.to_owned())),
                "{good}"
            );
        }
        for named in [
            "custom",
            "custom ISC",
            "MIT BSD-2-Clause",
            "GPL-2.0-or-later AND 0BSD AND Public-Domain AND LGPL-2.1-or-later",
            "mit",
            "MIT/Apache-2.0",
            "(MIT",
            "MIT AND",
            "LicenseRef-mine",
            "MIT OR LicenseRef-mine",
            "GPL-2.0-only WITH my-exception",
            "NOASSERTION",
            "\u{1b}[2J",
        ] {
            assert_eq!(License::parse(named), Some(License::Named(named.to_owned())), "{named}");
        }
        assert_eq!(License::parse("  "), None);
    }

    #[test]
    fn several() {
        let all = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            License::parse_all(&texts)
        };
        let expression = |text: &str| Some(License::Expression(text.to_owned()));
        assert_eq!(all(&[]), None);
        assert_eq!(all(&[""]), None);
        assert_eq!(all(&["Apache-2.0"]), expression("Apache-2.0"));
        assert_eq!(all(&["MIT OR ISC"]), expression("MIT OR ISC"));
        assert_eq!(all(&["MIT OR ISC", "Zlib"]), expression("(MIT OR ISC) AND Zlib"));
        assert_eq!(all(&["Apache 2", "MIT"]), Some(License::Named("Apache 2, MIT".to_owned())));
    }
}
