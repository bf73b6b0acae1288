//! `leanfs.toml`: text in, [`Settings`] out.
//! [`EXAMPLE`] shows every table and key. A key that is not known is an error, with its line and column. Relative
//! paths are relative to the directory of the file.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::kernel::KernelEntry;
use super::parse_date;
use super::settings::Settings;
use super::words::{parse_sha256, parse_size};
use super::{
    AllImages, Compression, Distribution, ImageFormat, ImageSpec, InputLimit, KernelBuild, KernelSource,
    Limits, OnExit, OtpSource, Pattern, Port, Profile, PruneLevel, Repository, RepositorySource,
    ScriptPattern, TrustedKey, Uuid, parse_tag,
};
use crate::arch::Arch;
use crate::text::push_shown;

/// The name of the file in a project's directory.
pub const FILE_NAME: &str = "leanfs.toml";

/// A `leanfs.toml` with everything that can stand in one, explained; as it is, it says only defaults.
pub const EXAMPLE: &str = include_str!("example.toml");

/// What is wrong in a `leanfs.toml`, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {message}", .path.display())]
pub struct RecipeFileError {
    /// The file.
    pub path: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What was found, and what may stand there.
    pub message: String,
}

/// Reads the text of the `leanfs.toml` at `path`; no file is opened, `path` is for messages and for the
/// directory that relative paths start from.
///
/// # Errors
/// The first thing that is no TOML, an unknown key, or a value that can't stand there.
pub fn parse(text: &str, path: &Path) -> Result<Settings, RecipeFileError> {
    let file: RecipeFile = toml::from_str(text).map_err(|error| {
        let (line, column) = place(text, error.span());
        RecipeFileError { path: path.to_owned(), line, column, message: printable(error.message()) }
    })?;
    Ok(file.into_settings(path.parent().unwrap_or(Path::new(""))))
}

/// The line, and the column in characters, both from 1, at which a range of bytes of `text` begins.
pub(crate) fn place(text: &str, range: Option<Range<usize>>) -> (usize, usize) {
    let start = range.map_or(0, |range| range.start.min(text.len()));
    let before = text.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Without control characters: a message may quote the file, and it goes to a terminal.
pub(crate) fn printable(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for c in message.chars() {
        match c {
            '\n' => text.push_str("; "),
            c => push_shown(&mut text, c),
        }
    }
    text
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    overlay: Option<PathBuf>,
    shell: Option<bool>,
    #[serde(default)]
    release: ReleaseTable,
    #[serde(default)]
    base: BaseTable,
    #[serde(default)]
    otp: OtpTable,
    #[serde(default)]
    prune: PruneTable,
    #[serde(default)]
    scripts: ScriptsTable,
    #[serde(default)]
    kernel: KernelTable,
    image: Option<Vec<ImageTable>>,
    #[serde(default)]
    data: DataTable,
    #[serde(default)]
    run: RunTable,
    #[serde(default)]
    sign: SignTable,
    #[serde(default)]
    limits: LimitsTable,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ReleaseTable {
    path: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct BaseTable {
    arch: Option<Word<Arch>>,
    repositories: Option<Vec<RepositoryEntry>>,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    allow_special: Vec<String>,
    keys: Option<Vec<PathBuf>>,
    sysroot: Option<PathBuf>,
    vendor: Option<PathBuf>,
    not_before: Option<Word<Date>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct OtpTable {
    #[serde(default, deserialize_with = "otp_source")]
    source: Option<OtpSource>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PruneTable {
    level: Option<Word<PruneLevel>>,
    #[serde(default)]
    keep: Vec<Word<Pattern>>,
    strip_lines: Option<bool>,
    #[serde(default)]
    traces: Vec<PathBuf>,
    keep_package_db: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ScriptsTable {
    #[serde(default)]
    accept: Vec<Word<ScriptPattern>>,
    #[serde(default)]
    refuse: Vec<Word<ScriptPattern>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct KernelTable {
    source: Option<KernelEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageTable {
    format: Word<ImageFormat>,
    compress: Option<Word<Compression>>,
    size: Option<Word<Size>>,
    free: Option<Word<Size>>,
    #[serde(default)]
    journal: bool,
    label: Option<String>,
    uuid: Option<Word<Uuid>>,
    root: Option<Word<ImageFormat>>,
    tag: Option<String>,
    #[serde(default)]
    ports: Vec<Word<Port>>,
    efi_stub: Option<PathBuf>,
}

impl ImageTable {
    fn into_spec(self, at: impl Fn(PathBuf) -> PathBuf) -> ImageSpec {
        ImageSpec {
            compress: self.compress.map(|word| word.0),
            size: self.size.map(|word| word.0.0),
            free: self.free.map(|word| word.0.0),
            journal: self.journal,
            label: self.label,
            uuid: self.uuid.map(|word| word.0),
            root: self.root.map(|word| word.0),
            tag: self.tag,
            ports: self.ports.into_iter().map(|word| word.0).collect(),
            efi_stub: self.efi_stub.map(at),
            ..ImageSpec::new(self.format.0)
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct DataTable {
    size: Option<Word<Size>>,
    mount: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RunTable {
    hostname: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    distribution: Option<DistributionTable>,
    on_exit: Option<OnExit>,
    profile: Option<Word<Profile>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct SignTable {
    manifest: Option<PathBuf>,
}

/// Limits of outputs, and [`InputLimit`]s.
#[derive(Default)]
struct LimitsTable {
    image: Option<u64>,
    total: Option<u64>,
    input: BTreeMap<InputLimit, u64>,
}

impl<'de> Deserialize<'de> for LimitsTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableVisitor;

        impl<'de> Visitor<'de> for TableVisitor {
            type Value = LimitsTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of limits")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LimitsTable, A::Error> {
                let mut table = LimitsTable::default();
                while let Some(LimitName(name)) = map.next_key()? {
                    let input = match name.as_str() {
                        "image" => {
                            table.image = Some(map.next_value::<Word<Size>>()?.0.0);
                            continue;
                        }
                        "total" => {
                            table.total = Some(map.next_value::<Word<Size>>()?.0.0);
                            continue;
                        }
                        name => name.parse::<InputLimit>().map_err(A::Error::custom)?,
                    };
                    table.input.insert(input, map.next_value_seed(LimitValue(input))?);
                }
                Ok(table)
            }
        }
        deserializer.deserialize_map(TableVisitor)
    }
}

/// The name of a limit; an error has the position of the name.
struct LimitName(String);

impl<'de> Deserialize<'de> for LimitName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.as_str() {
            "image" | "total" => Ok(Self(name)),
            input => match input.parse::<InputLimit>() {
                Ok(_) => Ok(Self(name)),
                Err(error) => Err(D::Error::custom(format!(
                    "unknown field `{name}`, expected image, total, {}",
                    error.allowed.trim_end_matches(" are")
                ))),
            },
        }
    }
}

/// The value of a limit: a number, or a text with a unit.
struct LimitValue(InputLimit);

impl<'de> de::DeserializeSeed<'de> for LimitValue {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for LimitValue {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a text as in \"64 MiB\" and \"30 s\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        self.0.parse(text).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
        self.visit_str(&number.to_string())
    }
}

/// A day, as [`parse_date`] reads it.
struct Date(i64);

impl FromStr for Date {
    type Err = super::UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_date(text).map(Self)
    }
}

/// Bytes, as [`parse_size`] reads them.
struct Size(u64);

impl FromStr for Size {
    type Err = super::UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_size(text).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DistributionTable {
    node: String,
    #[serde(default)]
    long_names: bool,
    cookie: Option<String>,
}

/// A string that [`FromStr`] reads, so that its error has the position of the string.
struct Word<T>(T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// `"URL"`, `"@TAG URL"`, or a table.
struct RepositoryEntry(RepositorySource);

impl<'de> Deserialize<'de> for RepositoryEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            url: Word<Repository>,
            tag: Option<String>,
            keys: Option<Vec<Word<TrustedKey>>>,
        }

        struct EntryVisitor;

        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = RepositorySource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a directory, or { url = \"…\", tag = \"…\", keys = [\"…\"] }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                let tag = table.tag.as_deref().map(parse_tag).transpose().map_err(A::Error::custom)?;
                // Naming no key is not the same as having none of one's own.
                if table.keys.as_ref().is_some_and(Vec::is_empty) {
                    return Err(A::Error::custom(format!("the list of keys of {} is empty", table.url.0)));
                }
                let keys = table.keys.into_iter().flatten().map(|word| word.0).collect();
                Ok(RepositorySource { repository: table.url.0, tag, keys })
            }
        }

        deserializer.deserialize_any(EntryVisitor).map(Self)
    }
}

fn otp_source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OtpSource>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Source {
        path: Option<PathBuf>,
        url: Option<String>,
        sha256: Option<String>,
    }

    struct SourceVisitor;
    impl<'de> Visitor<'de> for SourceVisitor {
        type Value = OtpSource;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"packages\", { path = …, sha256 = … } or { url = …, sha256 = … }")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<OtpSource, E> {
            match text {
                "packages" => Ok(OtpSource::Packages),
                _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OtpSource, A::Error> {
            let source = Source::deserialize(MapAccessDeserializer::new(map))?;
            let sha256 = source.sha256.as_deref().map(parse_sha256).transpose().map_err(A::Error::custom)?;
            match (source.path, source.url) {
                (Some(path), None) => Ok(OtpSource::Tarball { path, sha256 }),
                (None, Some(url)) if url.contains("://") => {
                    OtpSource::parse(&url, sha256).map_err(A::Error::custom)
                }
                (None, Some(url)) => Err(A::Error::custom(format!("{url:?} is no address: https://… is"))),
                _ => Err(A::Error::custom("a source has a `path` or a `url`, one of them")),
            }
        }
    }
    deserializer.deserialize_any(SourceVisitor).map(Some)
}

impl RecipeFile {
    fn into_settings(self, directory: &Path) -> Settings {
        let at = |path: PathBuf| below(directory, path);
        Settings {
            release: self.release.path.map(at),
            arch: self.base.arch.map(|word| word.0),
            repositories: self.base.repositories.map(|words| {
                words
                    .into_iter()
                    .map(|RepositoryEntry(source)| RepositorySource {
                        repository: match source.repository {
                            Repository::Directory(path) => Repository::Directory(at(path)),
                            url => url,
                        },
                        keys: source
                            .keys
                            .into_iter()
                            .map(|key| match key {
                                TrustedKey::File(path) => TrustedKey::File(at(path)),
                                fingerprint => fingerprint,
                            })
                            .collect(),
                        ..source
                    })
                    .collect()
            }),
            keys: self.base.keys.map(|keys| keys.into_iter().map(at).collect()),
            packages: self.base.packages,
            allow_special: self.base.allow_special,
            otp: self.otp.source.map(|source| match source {
                OtpSource::Tarball { path, sha256 } => OtpSource::Tarball { path: at(path), sha256 },
                other => other,
            }),
            sysroot: self.base.sysroot.map(at),
            vendor: self.base.vendor.map(at),
            overlay: self.overlay.map(at),
            prune: self.prune.level.map(|word| word.0),
            keep: self.prune.keep.into_iter().map(|word| word.0).collect(),
            strip_lines: self.prune.strip_lines,
            traces: self.prune.traces.into_iter().map(at).collect(),
            keep_package_db: self.prune.keep_package_db,
            accept_scripts: self.scripts.accept.into_iter().map(|word| word.0).collect(),
            refuse_scripts: self.scripts.refuse.into_iter().map(|word| word.0).collect(),
            shell: self.shell,
            kernel: self.kernel.source.map(|entry| match entry.0 {
                KernelSource::File(path) => KernelSource::File(at(path)),
                KernelSource::Build(build) => KernelSource::Build(KernelBuild {
                    source: match build.is_remote() {
                        true => build.source,
                        false => at(build.source.into()).to_string_lossy().into_owned(),
                    },
                    directory: at(PathBuf::new()),
                    ..build
                }),
                other => other,
            }),
            images: self.image.map(|images| images.into_iter().map(|image| image.into_spec(at)).collect()),
            formats: None,
            all_images: AllImages::default(),
            data_size: self.data.size.map(|word| word.0.0),
            data_mount: self.data.mount,
            hostname: self.run.hostname,
            env: self.run.env,
            distribution: self.run.distribution.map(|table| Distribution {
                node: table.node,
                long_names: table.long_names,
                cookie: table.cookie,
            }),
            sign_manifest: self.sign.manifest.map(at),
            on_exit: self.run.on_exit,
            profile: self.run.profile.map(|word| word.0),
            limits: Limits { image: self.limits.image, total: self.limits.total },
            not_before: self.base.not_before.map(|word| word.0.0),
            input_limits: self.limits.input,
        }
    }
}

fn below(directory: &Path, path: PathBuf) -> PathBuf {
    if directory == Path::new(".") || directory == Path::new("") { path } else { directory.join(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        parse(text, Path::new("leanfs.toml")).expect_err(text).to_string()
    }

    #[test]
    fn everything_that_can_be_said() {
        let text = r#"
overlay = "rootfs"
shell = true
[release]
path = "_build/prod/rel/hello"
[base]
arch = "arm64"
repositories = [
    "https://mirror.example/v3.23/main/",
    "mirror/main",
    "@local /srv/mirror",
    { url = "https://packages.example/stable", tag = "ours", keys = [
        "ours.rsa.pub",
        "sha256:abababababababababababababababababababababababababababababababab",
    ] },
]
packages = ["ca-certificates-bundle"]
allow_special = ["/usr/bin/sudo"]
keys = ["keys", "/etc/apk/keys"]
sysroot = "/"
vendor = "vendor"
not_before = "2026-11-25"
[otp]
source = { path = "otp.tar.xz", sha256 = "abababababababababababababababababababababababababababababababab" }
[prune]
level = "none"
keep = ["Elixir.MyApp.Plugin.*", "ssh"]
strip_lines = true
traces = ["trace.toml"]
keep_package_db = true
[scripts]
accept = ["foo:trigger"]
refuse = ["*"]
[kernel]
source = "boot/vmlinuz"
[[image]]
format = "initramfs"
compress = "zstd:19"
[[image]]
format = "disk"
root = "ext4"
size = "1 GiB"
free = "10 MB"
journal = true
label = "root"
uuid = "01234567-89ab-cdef-0123-456789abcdef"
efi_stub = "stub.efi"
[[image]]
format = "oci"
tag = "hello:1"
ports = ["4000", "53/udp"]
[data]
size = "64 MiB"
mount = "/var/data"
[run]
hostname = "hello.local"
env = { PORT = "4000" }
on_exit = "reboot"
profile = "tiny"
distribution = { node = "hello@hello.local", long_names = true, cookie = "secret" }
[sign]
manifest = "image.pem"
[limits]
image = "4 MiB"
total = "5 MB"
index_size = "1 MiB"
redirects = 3
idle_time = "5 s"
"#;
        let settings = parse(text, Path::new("project/leanfs.toml")).expect("all of it is known");
        let want = Settings {
            release: Some("project/_build/prod/rel/hello".into()),
            arch: Some(Arch::Aarch64),
            repositories: Some(vec![
                Repository::Url("https://mirror.example/v3.23/main".to_owned()).into(),
                Repository::Directory("project/mirror/main".into()).into(),
                RepositorySource {
                    tag: Some("local".to_owned()),
                    ..Repository::Directory("/srv/mirror".into()).into()
                },
                RepositorySource {
                    repository: Repository::Url("https://packages.example/stable".to_owned()),
                    tag: Some("ours".to_owned()),
                    keys: vec![
                        TrustedKey::File("project/ours.rsa.pub".into()),
                        TrustedKey::Fingerprint([0xab; 32]),
                    ],
                },
            ]),
            keys: Some(vec!["project/keys".into(), "/etc/apk/keys".into()]),
            packages: vec!["ca-certificates-bundle".to_owned()],
            allow_special: vec!["/usr/bin/sudo".to_owned()],
            otp: Some(OtpSource::Tarball { path: "project/otp.tar.xz".into(), sha256: Some([0xab; 32]) }),
            sysroot: Some("/".into()),
            vendor: Some("project/vendor".into()),
            overlay: Some("project/rootfs".into()),
            prune: Some(PruneLevel::None),
            keep: vec!["Elixir.MyApp.Plugin.*".parse().expect("good"), "ssh".parse().expect("good")],
            strip_lines: Some(true),
            traces: vec!["project/trace.toml".into()],
            keep_package_db: Some(true),
            accept_scripts: vec!["foo:trigger".parse().expect("good")],
            refuse_scripts: vec!["*".parse().expect("good")],
            shell: Some(true),
            kernel: Some(KernelSource::File("project/boot/vmlinuz".into())),
            images: Some(vec![
                ImageSpec {
                    compress: Some(Compression::Zstd { level: Some(19) }),
                    ..ImageSpec::new(ImageFormat::Initramfs)
                },
                ImageSpec {
                    root: Some(ImageFormat::Ext4),
                    size: Some(1 << 30),
                    free: Some(10_000_000),
                    journal: true,
                    label: Some("root".to_owned()),
                    uuid: Some("01234567-89ab-cdef-0123-456789abcdef".parse().expect("good")),
                    efi_stub: Some("project/stub.efi".into()),
                    ..ImageSpec::new(ImageFormat::Disk)
                },
                ImageSpec {
                    tag: Some("hello:1".to_owned()),
                    ports: ["4000", "53/udp"].map(|port| port.parse().expect("good")).into(),
                    ..ImageSpec::new(ImageFormat::Oci)
                },
            ]),
            formats: None,
            all_images: AllImages::default(),
            data_size: Some(64 << 20),
            data_mount: Some("/var/data".to_owned()),
            hostname: Some("hello.local".to_owned()),
            env: [("PORT".to_owned(), "4000".to_owned())].into(),
            distribution: Some(Distribution {
                node: "hello@hello.local".to_owned(),
                long_names: true,
                cookie: Some("secret".to_owned()),
            }),
            on_exit: Some(OnExit::Reboot),
            profile: Some(Profile::Tiny),
            sign_manifest: Some("project/image.pem".into()),
            limits: Limits { image: Some(4 << 20), total: Some(5_000_000) },
            not_before: Some(1_795_564_800),
            input_limits: [
                (InputLimit::IndexSize, 1 << 20),
                (InputLimit::Redirects, 3),
                (InputLimit::IdleTime, 5000),
            ]
            .into(),
        };
        assert_eq!(settings, want);
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(parse("", Path::new("leanfs.toml")), Ok(Settings::default()));
    }

    #[test]
    fn the_example_says_defaults_and_every_key_in_it_is_known() {
        let path = Path::new("leanfs.toml");
        let said = parse(EXAMPLE, path).expect("the example is right");
        let arch = Some(Arch::X86_64);
        let said =
            Settings { release: Some("rel".into()), arch, ..said }.into_recipe("o", "c").expect("complete");
        let defaults = crate::recipe::Recipe::new("rel", Arch::X86_64, "o", "c");
        assert_eq!(format!("{said:?}"), format!("{defaults:?}"));

        let uncommented: String = EXAMPLE
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(setting) if setting.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => {
                    format!("{setting}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        let all = parse(&uncommented, path).expect("the settings that are commented out are right");
        assert!(
            all.overlay.is_some()
                && all.repositories == Some(RepositorySource::defaults())
                && all.distribution.is_some()
        );
    }

    #[test]
    fn the_readme_shows_what_is_right() {
        let readme = include_str!("../../README.md");
        let blocks: Vec<&str> =
            readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty(), "README.md shows a leanfs.toml");
        for block in blocks {
            parse(block, Path::new("README.md")).expect("it is right");
        }
    }

    #[test]
    fn a_file_here_leaves_paths_as_they_are() {
        for path in ["leanfs.toml", "./leanfs.toml"] {
            let settings = parse("overlay = \"rootfs\"", Path::new(path)).expect("fine");
            assert_eq!(settings.overlay, Some("rootfs".into()));
        }
    }

    #[test]
    fn other_sources_of_otp() {
        let source = |text: &str| {
            parse(&format!("[otp]\nsource = {text}\n"), Path::new("leanfs.toml")).map(|settings| settings.otp)
        };
        assert_eq!(source("\"packages\""), Ok(Some(OtpSource::Packages)));
        assert_eq!(
            source(&format!("{{ url = \"https://a/b.tar.gz\", sha256 = \"{}\" }}", "ab".repeat(32))),
            Ok(Some(OtpSource::Url { url: "https://a/b.tar.gz".to_owned(), sha256: [0xab; 32] }))
        );
        assert_eq!(
            source("{ path = \"a.tar.gz\" }"),
            Ok(Some(OtpSource::Tarball { path: "a.tar.gz".into(), sha256: None }))
        );
    }

    #[test]
    fn errors_name_place_and_choices() {
        for (text, want) in [
            ("[release]\npth = \"x\"\n", "leanfs.toml:2:1: unknown field `pth`, expected `path`"),
            ("[firmware]\nimage = 4\n", "leanfs.toml:1:2: unknown field `firmware`, expected one of"),
            ("[limits]\nimage = \"4 megs\"\n", "leanfs.toml:2:9: \"4 megs\" is no size: a number with B, kB"),
            ("[prune]\nlevel = \"all\"", "leanfs.toml:2:9: \"all\" is no prune level: none, apps, chunks"),
            (
                "[[image]]\nformat = \"initramfs\"\ncompress = \"xz:10\"",
                "leanfs.toml:3:12: \"xz:10\" is no compression",
            ),
            (
                "[[image]]\nformat = \"ext5\"",
                "leanfs.toml:2:10: \"ext5\" is no image format: initramfs, ext4, squashfs,",
            ),
            ("[[image]]\n", "leanfs.toml:1:1: missing field `format`"),
            ("[base]\nrepositories = [\"ftp://a\"]", "leanfs.toml:2:17: \"ftp://a\" is no repository"),
            (
                "[limits]\nindex_sise = 4",
                "leanfs.toml:2:1: unknown field `index_sise`, expected image, total, index_size,",
            ),
            (
                "[limits]\nindex_size = \"4 megs\"",
                "leanfs.toml:2:14: \"4 megs\" is no size: a number with B, kB",
            ),
            ("[limits]\nredirects = 0", "leanfs.toml:2:13: \"0\" is no redirects: a number above 0 is"),
            ("[base]\nnot_before = \"today\"", "leanfs.toml:2:14: \"today\" is no date: YYYY-MM-DD,"),
            (
                "[base]\nrepositories = [{ url = \"a\", keys = [] }]",
                "leanfs.toml:2:17: the list of keys of a is empty",
            ),
            ("[base]\narch = \"vax\"", "leanfs.toml:2:8: \"vax\" is no architecture that leanfs knows"),
            ("shell = \"yes\"", "leanfs.toml:1:9: invalid type: string \"yes\", expected a boolean"),
            (
                "[otp]\nsource = \"latest\"",
                "leanfs.toml:2:10: invalid value: string \"latest\", expected \"packages\"",
            ),
            (
                "[otp]\nsource = { url = \"https://a/b\" }",
                "leanfs.toml:2:10: \"https://a/b\" is no source of OTP: an address needs the SHA-256",
            ),
            (
                "[otp]\nsource = { path = \"a\", url = \"https://a\" }",
                "leanfs.toml:2:10: a source has a `path` or a `url`",
            ),
            ("[otp]\nsource = { path = \"a\", sha256 = \"ab\" }", "leanfs.toml:2:10: \"ab\" is no SHA-256"),
            (
                "[run]\non_exit = \"stop\"",
                "leanfs.toml:2:11: unknown variant `stop`, expected one of `poweroff`, `reboot`, `halt`",
            ),
            (
                "[kernel]\nsource = { path = \"x\" }",
                "leanfs.toml:2:12: unknown field `path`, expected one of `build`",
            ),
            ("a = \n", "leanfs.toml:1:"),
            ("\u{fc} = 1\n", "leanfs.toml:1:"),
            ("overlay = \"a\"\n\"x\\u001b[31m\" = 1\n", "leanfs.toml:2:1: unknown field `x\\u{1b}[31m`"),
        ] {
            let message = message(text);
            assert!(message.starts_with(want), "{text:?}\n gives {message}\n  want {want}");
            assert!(!message.contains(|c: char| c.is_control()), "{message:?}");
        }
    }
}
