//! A kernel that is built from source, as leanfs.toml has it.

use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{KernelSource, parse_sha256};

/// A kernel that is built from source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelBuild {
    /// The tarball of the source: a path, or an address, which needs the hash.
    pub source: String,
    /// What it must hash to.
    pub sha256: Option<[u8; 32]>,
    /// The fragments of its configuration, by name or path; without, those that the images need.
    pub configs: Option<Vec<String>>,
    /// Where paths of fragments begin.
    pub directory: PathBuf,
    /// Build with Clang and LLVM's tools.
    pub llvm: bool,
    /// What stands before the names of GCC and binutils.
    pub cross_compile: Option<String>,
}

impl KernelBuild {
    /// Whether the source is to be downloaded.
    pub fn is_remote(&self) -> bool {
        self.source.contains("://")
    }
}

/// `"package:NAME"`, a path, `"none"`, or a table with `build`.
pub(super) struct KernelEntry(pub(super) KernelSource);

impl<'de> Deserialize<'de> for KernelEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            build: String,
            sha256: Option<String>,
            configs: Option<Vec<String>>,
            #[serde(default)]
            llvm: bool,
            cross_compile: Option<String>,
        }

        struct EntryVisitor;

        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = KernelSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "\"package:NAME\", a path, \"none\", or { build = \"linux.tar.xz\", configs = [\"…\"] }",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                use de::Error;
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                let build = KernelBuild {
                    sha256: table
                        .sha256
                        .as_deref()
                        .map(parse_sha256)
                        .transpose()
                        .map_err(A::Error::custom)?,
                    source: table.build,
                    configs: table.configs,
                    directory: PathBuf::new(),
                    llvm: table.llvm,
                    cross_compile: table.cross_compile,
                };
                if build.source.is_empty() {
                    return Err(A::Error::custom("the path of the kernel's source is empty"));
                }
                if build.is_remote() && build.sha256.is_none() {
                    return Err(A::Error::custom("a kernel's source from an address needs a `sha256`"));
                }
                if build.llvm && build.cross_compile.is_some() {
                    return Err(A::Error::custom("`llvm` and `cross_compile` exclude each other"));
                }
                Ok(KernelSource::Build(build))
            }
        }

        deserializer.deserialize_any(EntryVisitor).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        source: KernelEntry,
    }

    fn read(text: &str) -> Result<KernelSource, String> {
        toml::from_str::<File>(&format!("source = {text}"))
            .map(|file| file.source.0)
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn kernels_are_named_or_built() {
        assert_eq!(read("\"package:linux-lts\""), Ok(KernelSource::Package("linux-lts".to_owned())));
        let build = KernelBuild {
            source: "linux.tar.xz".to_owned(),
            configs: Some(vec!["microvm".to_owned(), "tiny".to_owned()]),
            cross_compile: Some("aarch64-linux-gnu-".to_owned()),
            ..KernelBuild::default()
        };
        let text = "{ build = \"linux.tar.xz\", configs = [\"microvm\", \"tiny\"], cross_compile = \"aarch64-linux-gnu-\" }";
        assert_eq!(read(text), Ok(KernelSource::Build(build)));
        for (wrong, message) in [
            ("{ build = \"\" }", "the path of the kernel's source is empty"),
            ("{ build = \"https://a/l.tar.xz\" }", "a kernel's source from an address needs a `sha256`"),
            (
                "{ build = \"l\", llvm = true, cross_compile = \"x-\" }",
                "`llvm` and `cross_compile` exclude each other",
            ),
            ("{ build = \"l\", sha256 = \"ab\" }", "\"ab\" is no SHA-256: 64 hexadecimal digits are"),
            ("{ configs = [] }", "missing field `build`"),
        ] {
            assert_eq!(read(wrong), Err(message.to_owned()));
        }
    }
}
