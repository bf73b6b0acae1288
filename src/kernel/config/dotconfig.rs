//! A finished configuration, `.config`.

use std::collections::BTreeMap;

use super::fragment::Value;

/// The symbols of a `.config` and their values; what is not in it, is `n`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DotConfig {
    values: BTreeMap<String, Value>,
}

impl DotConfig {
    /// Reads a `.config` as `conf` writes it; what is no setting is passed over.
    pub fn parse(text: &str) -> Self {
        let values = text
            .lines()
            .filter_map(|line| {
                let (symbol, text) = line.trim_end().strip_prefix("CONFIG_")?.split_once('=')?;
                Some((symbol.to_owned(), Value::parse(text)?))
            })
            .collect();
        Self { values }
    }

    /// The value of a symbol.
    pub fn get(&self, symbol: &str) -> &Value {
        self.values.get(symbol).unwrap_or(&Value::No)
    }

    /// Whether it is built in.
    pub fn has(&self, symbol: &str) -> bool {
        *self.get(symbol) == Value::Yes
    }
}
