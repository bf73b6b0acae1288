//! What an output directory says of a guest: read from `manifest.json`, checked against the files.

use std::path::{Path, PathBuf};

use fs_err as fs;

use super::VmError;
use super::trace::Contents;
use crate::arch::Arch;
use crate::recipe::{ImageFormat, PruneLevel};
use crate::report::manifest::Manifest;

/// How a guest is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Boot {
    /// The emulator loads the kernel and an initramfs.
    Kernel {
        kernel: PathBuf,
        initramfs: PathBuf,
        /// The disk with the root, if that isn't the initramfs.
        root: Option<PathBuf>,
    },
    /// Firmware loads what is on the disk.
    Disk {
        disk: PathBuf,
        /// QEMU's name of the file's format.
        format: &'static str,
    },
}

/// The files that a guest starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BootFiles {
    pub(super) arch: Arch,
    pub(super) boot: Boot,
    /// A disk for what the application writes.
    pub(super) data: Option<PathBuf>,
    /// As the manifest has it, without what only a virtual machine needs.
    pub(super) command_line: String,
    /// What is in the image.
    pub(super) contents: Contents,
}

impl BootFiles {
    /// Takes what is there of `format`, or the first that can be started of the formats in the order of
    /// [`ImageFormat::ALL`].
    pub(super) fn read(directory: &Path, format: Option<ImageFormat>) -> Result<Self, VmError> {
        let manifest = Manifest::read(directory)?;
        let path = directory.join(Manifest::FILE_NAME);
        let lacks_modules = manifest.prune >= PruneLevel::Modules;
        if manifest.command_line.contains('\0') {
            return Err(VmError::CommandLine { manifest: path, text: manifest.command_line });
        }
        let output = |kind: &'static str| {
            let output = manifest
                .outputs
                .iter()
                .find(|output| output.kind == kind)
                .ok_or_else(|| VmError::NoOutput { manifest: path.clone(), kind })?;
            let name = Path::new(&output.name);
            if name.file_name() != Some(name.as_os_str()) || output.name.contains('\0') {
                return Err(VmError::OutputName { manifest: path.clone(), name: output.name.clone() });
            }
            let file = directory.join(name);
            let metadata =
                fs::metadata(&file).map_err(|source| VmError::Read { path: file.clone(), source })?;
            // What machines write to grows, and its owner may make it larger.
            let is_written = matches!(kind, "data" | "disk" | "qcow2");
            if !is_written && metadata.len() != output.size {
                return Err(VmError::OutputSize { path: file, found: metadata.len(), expected: output.size });
            }
            Ok(file)
        };
        let is_there = |kind: &str| manifest.outputs.iter().any(|output| output.kind == kind);
        let format = match format {
            Some(format) => format,
            None => ImageFormat::ALL
                .into_iter()
                .find(|format| is_bootable(*format) && is_there(format.name()))
                .unwrap_or_default(),
        };
        let boot = match format {
            ImageFormat::Initramfs => {
                Boot::Kernel { kernel: output("kernel")?, initramfs: output("initramfs")?, root: None }
            }
            ImageFormat::Disk => Boot::Disk { disk: output("disk")?, format: "raw" },
            ImageFormat::Qcow2 => Boot::Disk { disk: output("qcow2")?, format: "qcow2" },
            format if is_bootable(format) => Boot::Kernel {
                kernel: output("kernel")?,
                initramfs: output("boot")?,
                root: Some(output(format.name())?),
            },
            format => {
                return Err(VmError::Setting {
                    what: "format",
                    text: format.name().to_owned(),
                    expected: "initramfs, ext4, squashfs, erofs, disk or qcow2",
                });
            }
        };
        // A disk has its own.
        let has_data = matches!(boot, Boot::Kernel { .. }) && is_there("data");
        let data = if has_data { Some(output("data")?) } else { None };
        let release = format!("{} {}", manifest.release.name, manifest.release.version);
        let regular = manifest.files.into_iter().filter(|file| matches!(&*file.kind, "file" | "hardlink"));
        let files = regular.map(|file| file.path).collect();
        Ok(Self {
            arch: manifest.arch,
            boot,
            data,
            command_line: manifest.command_line,
            contents: Contents { release, lacks_modules, files },
        })
    }
}

/// Whether QEMU can start it.
fn is_bootable(format: ImageFormat) -> bool {
    matches!(format, ImageFormat::Initramfs | ImageFormat::Disk | ImageFormat::Qcow2)
        || format.is_file_system()
}

/// Output directories for the tests of this room.
#[cfg(test)]
pub(super) mod sample {
    /// A manifest with these outputs.
    pub(in crate::vm) fn manifest(format: u64, outputs: &str) -> String {
        format!(
            r#"{{"format":{format},"leanfs":"0.1.0","arch":"x86_64","prune":"apps","unfollowed":[],"release":{{"name":"a","version":"1","erts":"15",
            "otp_source":"release","applications":{{}}}},"source_date_epoch":0,"parameters":{{"packages":[],"otp":"release","kernel":"file",
            "images":[],"keep":[],"shell":false}},"inputs":[],
            "applications":[],"packages":[],"left_out":[],"unknown_scripts":[],"notes":[],
            "outputs":[{outputs}],"files":[],"removed":[],"command_line":"console=ttyS0"}}"#
        )
    }

    /// An entry of the list of outputs.
    pub(in crate::vm) fn output(name: &str, kind: &str, size: u64) -> String {
        serde_json::json!({"name": name, "kind": kind, "size": size, "sha256": "00"}).to_string()
    }

    /// Writes a directory that is consistent.
    pub(in crate::vm) fn write(directory: &std::path::Path) {
        let outputs = [output("kernel", "kernel", 3), output("initramfs.cpio.xz", "initramfs", 2)].join(",");
        fs_err::write(directory.join("manifest.json"), manifest(3, &outputs)).expect("written");
        fs_err::write(directory.join("kernel"), "abc").expect("written");
        fs_err::write(directory.join("initramfs.cpio.xz"), "ab").expect("written");
    }
}

#[cfg(test)]
mod tests {
    use super::sample::{manifest, output};
    use super::*;
    use crate::report::manifest::ManifestError;

    #[test]
    fn reads_what_is_consistent() {
        let directory = tempfile::tempdir().expect("a directory");
        sample::write(directory.path());
        let files = BootFiles::read(directory.path(), None).expect("consistent");
        assert_eq!(files.arch, Arch::X86_64);
        let path = |name: &str| directory.path().join(name);
        let boot = Boot::Kernel { kernel: path("kernel"), initramfs: path("initramfs.cpio.xz"), root: None };
        assert_eq!((files.boot, files.data), (boot, None));
        assert_eq!(files.command_line, "console=ttyS0");
        let contents = Contents { release: "a 1".to_owned(), ..Contents::default() };
        assert_eq!(files.contents, contents);

        let text = fs::read_to_string(directory.path().join("manifest.json")).expect("readable");
        let entry = |path: &str, kind: &str| {
            serde_json::json!({"path": path, "kind": kind, "size": 1, "size_before": 1, "compressed": 1,
                "layer": "release", "part": "", "because": "", "by": null})
            .to_string()
        };
        let entries = [entry("/a", "directory"), entry("/a/x", "file"), entry("/a/y", "hardlink")].join(",");
        for (level, lacks_modules) in [("apps", false), ("modules", true)] {
            let changed = text
                .replace(r#""files":[]"#, &format!(r#""files":[{entries}]"#))
                .replace(r#""prune":"apps""#, &format!(r#""prune":"{level}""#));
            fs::write(directory.path().join("manifest.json"), changed).expect("written");
            let contents = BootFiles::read(directory.path(), None).expect("consistent").contents;
            assert_eq!(contents.lacks_modules, lacks_modules);
            assert_eq!(contents.files, ["/a/x", "/a/y"].map(str::to_owned).into());
        }
    }

    #[test]
    fn the_format_decides_what_is_started() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let all = [
            ("disk.img", "disk"),
            ("rootfs.erofs", "erofs"),
            ("rootfs.ext4", "ext4"),
            ("boot.cpio.xz", "boot"),
            ("data.ext4", "data"),
            ("kernel", "kernel"),
            ("oci", "oci"),
        ];
        for (name, _) in all {
            fs::write(path(name), "ab").expect("written");
        }
        let outputs = all.map(|(name, kind)| output(name, kind, 2)).join(",");
        fs::write(path("manifest.json"), manifest(3, &outputs)).expect("written");
        let read = |format| BootFiles::read(directory.path(), format);
        let rooted = |root: &str| Boot::Kernel {
            kernel: path("kernel"),
            initramfs: path("boot.cpio.xz"),
            root: Some(path(root)),
        };
        let files = read(None).expect("ext4");
        assert_eq!((files.boot, files.data), (rooted("rootfs.ext4"), Some(path("data.ext4"))));
        let files = read(Some(ImageFormat::Erofs)).expect("erofs");
        assert_eq!(files.boot, rooted("rootfs.erofs"));
        let files = read(Some(ImageFormat::Disk)).expect("a disk");
        assert_eq!((files.boot, files.data), (Boot::Disk { disk: path("disk.img"), format: "raw" }, None));
        for (format, expected) in [
            (ImageFormat::Squashfs, "lists no squashfs, which a guest needs"),
            (ImageFormat::Oci, "\"oci\" is not initramfs, ext4, squashfs, erofs, disk or qcow2"),
        ] {
            let error = read(Some(format)).expect_err(expected).to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }

    #[test]
    fn what_machines_write_to_may_grow() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let all = [
            ("kernel", "kernel"),
            ("boot.cpio.xz", "boot"),
            ("rootfs.ext4", "ext4"),
            ("data.ext4", "data"),
            ("disk.img", "disk"),
            ("disk.qcow2", "qcow2"),
        ];
        for (name, _) in all {
            fs::write(path(name), "ab").expect("written");
        }
        let outputs = all.map(|(name, kind)| output(name, kind, 2)).join(",");
        fs::write(path("manifest.json"), manifest(3, &outputs)).expect("written");
        for name in ["data.ext4", "disk.img", "disk.qcow2"] {
            fs::write(path(name), "abc").expect("written");
        }
        for format in [ImageFormat::Ext4, ImageFormat::Disk, ImageFormat::Qcow2] {
            BootFiles::read(directory.path(), Some(format)).expect("it may have grown");
        }
        fs::write(path("rootfs.ext4"), "abc").expect("written");
        let error =
            BootFiles::read(directory.path(), Some(ImageFormat::Ext4)).expect_err("a root never changes");
        assert!(matches!(error, VmError::OutputSize { .. }), "{error}");
    }

    #[test]
    fn says_what_is_wrong() {
        let kernel = output("kernel", "kernel", 3);
        let table = [
            (None, "no manifest.json, so this is no output directory of leanfs"),
            (Some("{".to_owned()), "manifest.json: not a manifest"),
            (Some("{\"format\":3}".to_owned()), "manifest.json: not a manifest"),
            (Some(manifest(7, "")), "manifest.json: format 7, but this leanfs reads format 3"),
            (Some(manifest(3, "")), "manifest.json: lists no kernel, which a guest needs"),
            (Some(manifest(3, &kernel)), "manifest.json: lists no initramfs, which a guest needs"),
            (
                Some(manifest(3, &output("../kernel", "kernel", 3))),
                "manifest.json: the output name \"../kernel\" is no plain file name",
            ),
            (Some(manifest(3, &output("..", "kernel", 3))), "the output name \"..\" is no plain file name"),
            (Some(manifest(3, &output("kernel", "kernel", 4))), "kernel: 3 bytes, but the manifest says 4"),
            (Some(manifest(3, &output("vmlinuz", "kernel", 3))), "vmlinuz: cannot be read"),
        ];
        for (text, expected) in table {
            let directory = tempfile::tempdir().expect("a directory");
            fs::write(directory.path().join("kernel"), "abc").expect("written");
            if let Some(text) = text {
                fs::write(directory.path().join("manifest.json"), text).expect("written");
            }
            let error = BootFiles::read(directory.path(), None).expect_err(expected).to_string();
            assert!(error.ends_with(expected), "{error:?} should end with {expected:?}");
        }
        let error = BootFiles::read(Path::new("/nonexistent"), None).expect_err("nothing there");
        assert!(matches!(error, VmError::Manifest(ManifestError::Read { .. })), "{error}");
    }
}
