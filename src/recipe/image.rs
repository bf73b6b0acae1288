//! The outputs that a recipe asks for: formats, and what can be said of each.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::words::UnknownChoice;
use super::{Compression, SettingsError};

/// The image formats.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ImageFormat {
    /// A cpio archive that the kernel unpacks into its root file system.
    #[default]
    Initramfs,
    /// An ext4 file system.
    Ext4,
    /// A squashfs file system.
    Squashfs,
    /// An EROFS file system.
    Erofs,
    /// A tar archive.
    Tar,
    /// An OCI image layout, a directory.
    Oci,
    /// An OCI image layout in one tar file, which `docker load` takes too.
    OciArchive,
    /// A disk with a partition table, from which UEFI firmware boots.
    Disk,
    /// The same disk as a qcow2 file.
    Qcow2,
    /// What Firecracker starts: an uncompressed kernel, a root and the configuration that names both.
    Firecracker,
}

impl ImageFormat {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Initramfs,
        Self::Ext4,
        Self::Squashfs,
        Self::Erofs,
        Self::Tar,
        Self::Oci,
        Self::OciArchive,
        Self::Disk,
        Self::Qcow2,
        Self::Firecracker,
    ];

    /// Its name, in `leanfs.toml`, as a flag and in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initramfs => "initramfs",
            Self::Ext4 => "ext4",
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
            Self::Tar => "tar",
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::Disk => "disk",
            Self::Qcow2 => "qcow2",
            Self::Firecracker => "firecracker",
        }
    }

    /// Whether it is for container runtimes, which bring kernel and devices themselves.
    pub fn is_for_containers(self) -> bool {
        matches!(self, Self::Tar | Self::Oci | Self::OciArchive)
    }

    /// Whether it is a file system for a block device.
    pub fn is_file_system(self) -> bool {
        matches!(self, Self::Ext4 | Self::Squashfs | Self::Erofs)
    }

    /// Whether it is a machine that holds its root in another format, [`ImageSpec::root`].
    pub fn has_root(self) -> bool {
        matches!(self, Self::Disk | Self::Qcow2 | Self::Firecracker)
    }
}

/// The formats by their names.
impl FromStr for ImageFormat {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            UnknownChoice::new("image format", text, format!("{} are", listed(&Self::ALL.map(Self::name))))
        })
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One output. Make one with [`ImageSpec::new`] and set the fields that differ.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageSpec {
    /// The format.
    pub format: ImageFormat,
    /// How it is compressed; without a word, the format's own default ([`ImageSpec::compression`]).
    pub compress: Option<Compression>,
    /// The size in bytes: of an ext4 file system, or of a disk; as small as it can be without.
    pub size: Option<u64>,
    /// ext4: at least as many bytes are free.
    pub free: Option<u64>,
    /// ext4: whether it has a journal.
    pub journal: bool,
    /// ext4 and EROFS: the label; at most 16 bytes.
    pub label: Option<String>,
    /// ext4, EROFS and disks: the UUID; made from what the image holds without.
    pub uuid: Option<Uuid>,
    /// Disks and Firecracker: the format of the root, one of [`ImageSpec::roots`], of which the first is the default.
    pub root: Option<ImageFormat>,
    /// OCI: the name of the image, `NAME:TAG`; the release's name and version without.
    pub tag: Option<String>,
    /// OCI: ports that the application listens on, as `4000` or `53/udp`.
    pub ports: Vec<Port>,
    /// Disks: the UEFI stub that starts kernel and initramfs; systemd's of this machine without.
    pub efi_stub: Option<PathBuf>,
}

impl Default for ImageSpec {
    fn default() -> Self {
        Self::new(ImageFormat::Initramfs)
    }
}

impl ImageSpec {
    /// A format with its defaults.
    pub fn new(format: ImageFormat) -> Self {
        Self {
            format,
            compress: None,
            size: None,
            free: None,
            journal: false,
            label: None,
            uuid: None,
            root: None,
            tag: None,
            ports: Vec::new(),
            efi_stub: None,
        }
    }

    /// How it is compressed: as was said, else the default of the format. A disk is as its root is.
    pub fn compression(&self) -> Compression {
        self.compress.unwrap_or(match self.root_format() {
            ImageFormat::Initramfs | ImageFormat::Squashfs => Compression::Xz { level: None },
            ImageFormat::Erofs => Compression::Lz4,
            ImageFormat::Tar | ImageFormat::Oci | ImageFormat::OciArchive => {
                Compression::Gzip { level: None }
            }
            _ => Compression::None,
        })
    }

    /// The format of the root: the format itself, if it is one.
    pub fn root_format(&self) -> ImageFormat {
        match self.root {
            Some(root) => root,
            None => Self::roots(self.format).first().copied().unwrap_or(self.format),
        }
    }

    /// The formats that a root can have, the default first; none if the format is a root itself.
    pub fn roots(format: ImageFormat) -> &'static [ImageFormat] {
        use ImageFormat::{Disk, Erofs, Ext4, Firecracker, Initramfs, Qcow2, Squashfs};
        match format {
            Disk | Qcow2 => &[Squashfs, Erofs, Ext4, Initramfs],
            Firecracker => &[Ext4, Squashfs, Erofs, Initramfs],
            _ => &[],
        }
    }

    /// The name of its file, or its directory, in the output directory.
    pub fn file_name(&self) -> String {
        let suffix = self.compression().suffix();
        match self.format {
            ImageFormat::Initramfs => format!("initramfs.cpio{suffix}"),
            ImageFormat::Ext4 => "rootfs.ext4".to_owned(),
            ImageFormat::Squashfs => "rootfs.squashfs".to_owned(),
            ImageFormat::Erofs => "rootfs.erofs".to_owned(),
            ImageFormat::Tar => format!("rootfs.tar{suffix}"),
            ImageFormat::Oci => "oci".to_owned(),
            ImageFormat::OciArchive => "oci.tar".to_owned(),
            ImageFormat::Disk => "disk.img".to_owned(),
            ImageFormat::Qcow2 => "disk.qcow2".to_owned(),
            ImageFormat::Firecracker => "firecracker.json".to_owned(),
        }
    }

    /// Whether this format can be had so.
    ///
    /// # Errors
    /// The first setting that this format doesn't have, or a value that it can't have.
    pub fn check(&self) -> Result<(), SettingsError> {
        let format = self.format;
        let refuse = |setting, reason: String| Err(SettingsError::Image { format, setting, reason });
        if let Some(root) = self.root
            && !Self::roots(format).contains(&root)
        {
            let roots: Vec<&str> = Self::roots(format).iter().map(|root| root.name()).collect();
            return refuse(
                "root",
                if roots.is_empty() {
                    "it is a root itself".to_owned()
                } else {
                    format!("it can be {}", listed(&roots))
                },
            );
        }
        let root = self.root_format();
        let is_ext4 = root == ImageFormat::Ext4;
        let is_disk = matches!(format, ImageFormat::Disk | ImageFormat::Qcow2);
        let is_oci = matches!(format, ImageFormat::Oci | ImageFormat::OciArchive);
        let has_label = is_ext4 || root == ImageFormat::Erofs;
        for (is_set, may_be, setting, of) in [
            (self.size.is_some(), is_ext4 || is_disk, "size", "ext4 and disks"),
            (self.free.is_some(), is_ext4, "free", "ext4"),
            (self.journal, is_ext4, "journal", "ext4"),
            (self.label.is_some(), has_label, "label", "ext4 and erofs"),
            (self.uuid.is_some(), has_label || is_disk, "uuid", "ext4, erofs and disks"),
            (self.tag.is_some(), is_oci, "tag", "oci"),
            (!self.ports.is_empty(), is_oci, "ports", "oci"),
            (self.efi_stub.is_some(), is_disk, "efi_stub", "disks"),
        ] {
            if is_set && !may_be {
                return refuse(setting, format!("only {of} can have it"));
            }
        }
        if self.size.is_some() && self.free.is_some() && !is_disk {
            return refuse("free", "`size` and `free` exclude each other".to_owned());
        }
        if let Some(label) = &self.label
            && (label.is_empty() || label.len() > 16 || label.contains(|c: char| c.is_control() || c == '/'))
        {
            return refuse("label", "1 to 16 bytes without control characters and `/` can be one".to_owned());
        }
        if let Some(tag) = &self.tag
            && !is_reference(tag)
        {
            return refuse(
                "tag",
                "it is NAME or NAME:TAG, in letters, digits, `.`, `_`, `-`, and `/` in NAME".to_owned(),
            );
        }
        if let Some(compress) = self.compress
            && !compressions(root).contains(&compress.name())
        {
            return refuse("compress", format!("it can be {}", listed(compressions(root))));
        }
        Ok(())
    }
}

/// By what a format can be compressed, by name.
fn compressions(format: ImageFormat) -> &'static [&'static str] {
    match format {
        ImageFormat::Initramfs | ImageFormat::Squashfs => &["xz", "zstd", "gzip", "lz4", "none"],
        ImageFormat::Erofs => &["lz4", "zstd", "none"],
        ImageFormat::Tar => &["gzip", "xz", "zstd", "none"],
        ImageFormat::Oci | ImageFormat::OciArchive => &["gzip", "zstd", "none"],
        _ => &["none"],
    }
}

/// `NAME[:TAG]` by the grammar of OCI's `org.opencontainers.image.ref.name` and of Docker's references: lower-case
/// path components in the name.
fn is_reference(text: &str) -> bool {
    let (name, tag) = text.rsplit_once(':').unwrap_or((text, "latest"));
    let component = |part: &str| {
        part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
            && part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && part.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric())
    };
    name.split('/').all(component)
        && (1..=128).contains(&tag.len())
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !tag.starts_with(['.', '-'])
        && text.len() <= 255
}

/// `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A port of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its number, not 0.
    pub number: u16,
    /// Whether it is UDP's; TCP's otherwise.
    pub udp: bool,
}

/// `4000`, `4000/tcp` or `53/udp`.
impl FromStr for Port {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown =
            || UnknownChoice::new("port", text, "a number from 1 to 65535, alone or with /tcp or /udp, is");
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|&number| number > 0 && digits).ok_or_else(unknown)?;
        match protocol {
            "tcp" => Ok(Self { number, udp: false }),
            "udp" => Ok(Self { number, udp: true }),
            _ => Err(unknown()),
        }
    }
}

/// The form that OCI's configuration has.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, if self.udp { "udp" } else { "tcp" })
    }
}

/// A UUID: the 16 bytes in the order in which they are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// One of version 8 (RFC 9562, section 5.8: its own kind of bits) from a hash's first bytes.
    pub fn from_hash(hash: &[u8; 32]) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        bytes[6] = 0x80 | bytes[6] & 0x0f;
        bytes[8] = 0x80 | bytes[8] & 0x3f;
        Self(bytes)
    }
}

/// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` in hexadecimal digits.
impl FromStr for Uuid {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || {
            UnknownChoice::new(
                "UUID",
                text,
                "32 hexadecimal digits in groups of 8, 4, 4, 4 and 12, with `-` between, are",
            )
        };
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        let mut bytes = [0; 16];
        hex::decode_to_slice(text.replace('-', ""), &mut bytes).map_err(|_| unknown())?;
        if groups == [8, 4, 4, 4, 12] { Ok(Self(bytes)) } else { Err(unknown()) }
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = hex::encode(self.0);
        write!(
            f,
            "{}-{}-{}-{}-{}",
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..]
        )
    }
}

/// A file system for what the application writes and what must outlive a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSettings {
    /// Its size in bytes.
    pub size: u64,
    /// Where it is mounted: an absolute path.
    pub mount: String,
}

impl DataSettings {
    /// The label by which the image finds it.
    pub const LABEL: &'static str = "leanfs-data";
    /// Where it is mounted if nothing is said.
    pub const MOUNT: &'static str = "/data";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for format in ImageFormat::ALL {
            assert_eq!(format.name().parse(), Ok(format));
            assert_eq!(serde_json::to_string(&format).expect("text"), format!("\"{format}\""));
            assert_eq!(ImageSpec::new(format).check(), Ok(()), "{format}");
        }
        let error = "floppy".parse::<ImageFormat>().expect_err("none").to_string();
        assert!(error.ends_with("qcow2 and firecracker are"), "{error}");
    }

    #[test]
    fn what_a_format_does_not_have_is_refused() {
        let spec = |format: ImageFormat, change: &dyn Fn(&mut ImageSpec)| {
            let mut spec = ImageSpec::new(format);
            change(&mut spec);
            spec.check().map_err(|error| error.to_string())
        };
        use ImageFormat::{Disk, Erofs, Ext4, Initramfs, Oci, Squashfs};
        type Row<'a> = (ImageFormat, &'a dyn Fn(&mut ImageSpec), Option<&'a str>);
        let table: &[Row<'_>] = &[
            (Ext4, &|s| s.size = Some(1), None),
            (Disk, &|s| s.size = Some(1), None),
            (
                Squashfs,
                &|s| s.size = Some(1),
                Some("squashfs has no `size`: only ext4 and disks can have it"),
            ),
            (Squashfs, &|s| s.journal = true, Some("only ext4 can have it")),
            (Disk, &|s| (s.root, s.journal) = (Some(Ext4), true), None),
            (Disk, &|s| s.journal = true, Some("disk has no `journal`")),
            (Disk, &|s| s.root = Some(Oci), Some("it can be squashfs, erofs, ext4 and initramfs")),
            (Ext4, &|s| s.root = Some(Ext4), Some("it is a root itself")),
            (Ext4, &|s| (s.size, s.free) = (Some(1), Some(1)), Some("exclude each other")),
            (Ext4, &|s| s.label = Some("x".repeat(16)), None),
            (Ext4, &|s| s.label = Some("x".repeat(17)), Some("1 to 16 bytes")),
            (Ext4, &|s| s.compress = Some(Compression::Lz4), Some("it can be none")),
            (
                Erofs,
                &|s| s.compress = Some(Compression::Xz { level: None }),
                Some("it can be lz4, zstd and none"),
            ),
            (Oci, &|s| s.tag = Some("a/b:1.2".to_owned()), None),
            (Oci, &|s| s.tag = Some("A".to_owned()), Some("NAME:TAG")),
            (Oci, &|s| s.tag = Some("a:".to_owned()), Some("NAME:TAG")),
            (Oci, &|s| s.tag = Some("a//b".to_owned()), Some("NAME:TAG")),
            (Initramfs, &|s| s.tag = Some("a".to_owned()), Some("only oci")),
        ];
        for (format, change, want) in table {
            match (spec(*format, change), want) {
                (Ok(()), None) => {}
                (Err(error), Some(want)) if error.contains(want) => {}
                (found, want) => panic!("{format}: {found:?}, where {want:?} is wanted"),
            }
        }
    }

    #[test]
    fn defaults_follow_the_root() {
        let mut disk = ImageSpec::new(ImageFormat::Disk);
        assert_eq!(disk.compression(), Compression::Xz { level: None });
        disk.root = Some(ImageFormat::Erofs);
        assert_eq!(disk.compression(), Compression::Lz4);
        assert_eq!(ImageSpec::new(ImageFormat::Tar).file_name(), "rootfs.tar.gz");
        assert_eq!(ImageSpec::new(ImageFormat::Firecracker).root_format(), ImageFormat::Ext4);
    }

    #[test]
    fn uuids_and_ports() {
        let text = "01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(text.parse::<Uuid>().expect("one").to_string(), text);
        for wrong in ["", "0123456789abcdef0123456789abcdef", "0123456-789ab-cdef-0123-456789abcdef", "g"] {
            assert!(wrong.parse::<Uuid>().is_err(), "{wrong}");
        }
        let made = Uuid::from_hash(&[0xff; 32]).to_string();
        assert_eq!(made, "ffffffff-ffff-8fff-bfff-ffffffffffff");
        assert_eq!("53/udp".parse::<Port>().expect("one").to_string(), "53/udp");
        assert_eq!("4000".parse::<Port>().expect("one").to_string(), "4000/tcp");
        for wrong in ["", "0", "65536", "+1", "1/", "1/sctp", "a"] {
            assert!(wrong.parse::<Port>().is_err(), "{wrong}");
        }
    }
}
