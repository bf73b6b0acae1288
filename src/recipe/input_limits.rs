//! How much is taken from outside: the one place where every limit on indexes, packages and downloads stands.
//!
//! A mirror, a network or the author of a package may send anything. Each limit is far above what real repositories
//! have and far below what would fill memory, the disk or the day. `--limit NAME=VALUE`, and the key NAME of `[limits]`
//! in `leanfs.toml`, set another; the error that a limit gives names it.

use std::fmt;
use std::str::FromStr;

use super::UnknownChoice;
use super::words::parse_size;

/// What a limit counts, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitUnit {
    /// Bytes: `64 MiB`.
    Bytes,
    /// Things: `100000`.
    Count,
    /// Milliseconds: `500 ms`, `30 s`, `10 min`, `1 h`.
    Milliseconds,
}

macro_rules! input_limits {
    ($($(#[doc = $doc:literal])* $variant:ident $field:ident $unit:ident = $default:expr;)*) => {
        /// The limits themselves, by their units; [`InputLimits::default`] has those that hold unless others are set.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct InputLimits {
            $($(#[doc = $doc])* pub $field: u64,)*
        }

        /// The name of one of [`InputLimits`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum InputLimit {
            $($(#[doc = $doc])* $variant,)*
        }

        impl InputLimit {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As it is written: `index_size`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($field),)* }
            }

            /// What it counts.
            pub fn unit(self) -> LimitUnit {
                match self { $(Self::$variant => LimitUnit::$unit,)* }
            }
        }

        impl InputLimits {
            /// The value of one.
            pub fn get(&self, limit: InputLimit) -> u64 {
                match limit { $(InputLimit::$variant => self.$field,)* }
            }

            /// Sets one.
            pub fn set(&mut self, limit: InputLimit, value: u64) {
                match limit { $(InputLimit::$variant => self.$field = value,)* }
            }
        }

        impl Default for InputLimits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

input_limits! {
    /// Bytes of an index file; Alpine's largest has 2 MB.
    IndexSize index_size Bytes = 64 << 20;
    /// Bytes of an index, unpacked; Alpine's largest has 12 MB.
    IndexUnpacked index_unpacked Bytes = 256 << 20;
    /// Packages that an index names; Alpine's largest names 27,000.
    IndexEntries index_entries Count = 500_000;
    /// What all packages of an index want and provide together; Alpine's largest has 150,000 such words.
    IndexRelations index_relations Count = 5_000_000;
    /// Bytes of a package file.
    PackageSize package_size Bytes = 4 << 30;
    /// Bytes of the files of a package, unpacked.
    PackageUnpacked package_unpacked Bytes = 16 << 30;
    /// Files, directories and links of a package; a large kernel has 10,000.
    PackageEntries package_entries Count = 1_000_000;
    /// Bytes of a package's `.PKGINFO` and scripts, unpacked.
    ControlSize control_size Bytes = 16 << 20;
    /// Bytes of a path in a package; Linux has no longer ones.
    PathLength path_length Bytes = 4095;
    /// Directories above a path in a package.
    PathDepth path_depth Count = 128;
    /// Bytes of all paths and link targets of a package together.
    NamesSize names_size Bytes = 256 << 20;
    /// Bytes of the extension header (pax records, a long name) of one entry of a package.
    PaxSize pax_size Bytes = 1 << 20;
    /// How many bytes may come of one compressed byte, where more than 64 MiB come in all. Programs and texts have 2 to 10,
    /// and DEFLATE ends at 1,032.
    Expansion expansion Count = 250;
    /// Bytes of an Erlang/OTP tarball.
    TarballSize tarball_size Bytes = 4 << 30;
    /// Redirects that one download follows; browsers follow 10 to 20.
    Redirects redirects Count = 10;
    /// How long making a connection may take, TLS included.
    ConnectTime connect_time Milliseconds = 20_000;
    /// How long a server may be silent.
    IdleTime idle_time Milliseconds = 30_000;
    /// How long one download may take in all, with everything that is tried again: a server that sends a byte now and then
    /// is never silent.
    DownloadTime download_time Milliseconds = 3_600_000;
}

impl InputLimit {
    /// What to write for another: `--limit index_size=SIZE`.
    pub fn flag(self) -> String {
        let value = match self.unit() {
            LimitUnit::Bytes => "SIZE",
            LimitUnit::Count => "NUMBER",
            LimitUnit::Milliseconds => "TIME",
        };
        format!("--limit {}={value}", self.name())
    }

    /// Its value in words: `64 MiB`, `30 s`.
    pub fn show(self, value: u64) -> String {
        let (units, rest): (&[(u64, &str)], &str) = match self.unit() {
            LimitUnit::Count => (&[], ""),
            LimitUnit::Bytes => (&[(1 << 30, " GiB"), (1 << 20, " MiB"), (1 << 10, " KiB")], " bytes"),
            LimitUnit::Milliseconds => (&[(3_600_000, " h"), (60_000, " min"), (1000, " s")], " ms"),
        };
        let whole = units.iter().find(|(size, _)| value >= *size && value.is_multiple_of(*size));
        match whole {
            Some((size, name)) => format!("{}{name}", value / size),
            None => format!("{value}{rest}"),
        }
    }

    /// Reads a value of it.
    ///
    /// # Errors
    /// What has not its unit, and 0: nothing could be had then.
    pub fn parse(self, text: &str) -> Result<u64, UnknownChoice> {
        let value = match self.unit() {
            LimitUnit::Bytes => return parse_size(text).and_then(|value| self.checked(text, value)),
            LimitUnit::Count => text.parse().ok(),
            LimitUnit::Milliseconds => parse_time(text),
        };
        self.checked(text, value.unwrap_or_default())
    }

    fn checked(self, text: &str, value: u64) -> Result<u64, UnknownChoice> {
        let allowed = match self.unit() {
            LimitUnit::Bytes => "a number above 0 with B, kB, MB, GB, KiB, MiB or GiB is",
            LimitUnit::Count => "a number above 0 is",
            LimitUnit::Milliseconds => "a number above 0 with ms, s, min or h is",
        };
        // Below 2^53, so that nothing overflows that is added to it.
        if value == 0 || value >= 1 << 53 {
            return Err(UnknownChoice::new(self.name(), text, allowed));
        }
        Ok(value)
    }
}

fn parse_time(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "ms" => 1,
        "s" | "" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A limit's name.
impl FromStr for InputLimit {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|limit| limit.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|limit| limit.name()).collect();
            UnknownChoice::new("limit", text, format!("{} are", names.join(", ")))
        })
    }
}

impl fmt::Display for InputLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A limit and its value, as `--limit` takes them: `index_size=128 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSetting(pub InputLimit, pub u64);

impl FromStr for LimitSetting {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| UnknownChoice::new("limit", text, "NAME=VALUE, as in index_size=128MiB, is"))?;
        let limit: InputLimit = name.parse()?;
        Ok(Self(limit, limit.parse(value)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_by_name_and_unit() {
        for (text, limit, value) in [
            ("index_size=128MiB", InputLimit::IndexSize, 128 << 20),
            ("redirects=3", InputLimit::Redirects, 3),
            ("idle_time=500ms", InputLimit::IdleTime, 500),
            ("idle_time=5", InputLimit::IdleTime, 5000),
            ("download_time=2 h", InputLimit::DownloadTime, 7_200_000),
        ] {
            assert_eq!(text.parse(), Ok(LimitSetting(limit, value)), "{text}");
            let mut limits = InputLimits::default();
            limits.set(limit, value);
            assert_eq!(limits.get(limit), value);
            assert_ne!(limits, InputLimits::default());
        }
        for wrong in [
            "",
            "index_size",
            "index_size=",
            "index_size=0",
            "index_size=-1",
            "size=1",
            "redirects=1 MiB",
            "idle_time=1 d",
            "idle_time=99999999999999999999 h",
            "path_depth=18446744073709551615",
        ] {
            assert!(wrong.parse::<LimitSetting>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_are_shown_as_they_are_written() {
        for &limit in InputLimit::ALL {
            let value = InputLimits::default().get(limit);
            assert_eq!(limit.parse(&limit.show(value).replace(" bytes", "")), Ok(value), "{limit}");
            assert!(limit.flag().starts_with(&format!("--limit {limit}=")));
        }
        assert_eq!(InputLimit::IndexSize.show(64 << 20), "64 MiB");
        assert_eq!(InputLimit::PathLength.show(4095), "4095 bytes");
    }
}
