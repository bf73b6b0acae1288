//! What an output directory says of a guest: read from `manifest.json`, checked against the files.

use std::path::{Path, PathBuf};

use fs_err as fs;

use super::VmError;
use super::trace::Contents;
use crate::arch::Arch;
use crate::recipe::PruneLevel;
use crate::report::manifest::Manifest;

/// The files that a guest starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BootFiles {
    pub(super) arch: Arch,
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
    /// As the manifest has it, without what only a virtual machine needs.
    pub(super) command_line: String,
    /// What is in the image.
    pub(super) contents: Contents,
}

impl BootFiles {
    pub(super) fn read(directory: &Path) -> Result<Self, VmError> {
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
            if metadata.len() != output.size {
                return Err(VmError::OutputSize { path: file, found: metadata.len(), expected: output.size });
            }
            Ok(file)
        };
        let (kernel, initramfs) = (output("kernel")?, output("initramfs")?);
        let release = format!("{} {}", manifest.release.name, manifest.release.version);
        let regular = manifest.files.into_iter().filter(|file| matches!(&*file.kind, "file" | "hardlink"));
        let files = regular.map(|file| file.path).collect();
        Ok(Self {
            arch: manifest.arch,
            kernel,
            initramfs,
            command_line: manifest.command_line,
            contents: Contents { release, lacks_modules, files },
        })
    }
}

/// Output directories for the tests of this room.
#[cfg(test)]
pub(super) mod sample {
    /// A manifest with these outputs.
    pub(in crate::vm) fn manifest(format: u64, outputs: &str) -> String {
        format!(
            r#"{{"format":{format},"leanfs":"0.1.0","arch":"x86_64","prune":"apps","unfollowed":[],"release":{{"name":"a","version":"1","erts":"15",
            "otp_source":"release","applications":{{}}}},"packages":[],"left_out":[],"unknown_scripts":[],"notes":[],
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
        fs_err::write(directory.join("manifest.json"), manifest(2, &outputs)).expect("written");
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
        let files = BootFiles::read(directory.path()).expect("consistent");
        assert_eq!(files.arch, Arch::X86_64);
        assert_eq!(files.kernel, directory.path().join("kernel"));
        assert_eq!(files.initramfs, directory.path().join("initramfs.cpio.xz"));
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
            let contents = BootFiles::read(directory.path()).expect("consistent").contents;
            assert_eq!(contents.lacks_modules, lacks_modules);
            assert_eq!(contents.files, ["/a/x", "/a/y"].map(str::to_owned).into());
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let kernel = output("kernel", "kernel", 3);
        let table = [
            (None, "no manifest.json, so this is no output directory of leanfs"),
            (Some("{".to_owned()), "manifest.json: not a manifest"),
            (Some("{\"format\":2}".to_owned()), "manifest.json: not a manifest"),
            (Some(manifest(7, "")), "manifest.json: format 7, but this leanfs reads format 2"),
            (Some(manifest(2, "")), "manifest.json: lists no kernel, which a guest needs"),
            (Some(manifest(2, &kernel)), "manifest.json: lists no initramfs, which a guest needs"),
            (
                Some(manifest(2, &output("../kernel", "kernel", 3))),
                "manifest.json: the output name \"../kernel\" is no plain file name",
            ),
            (Some(manifest(2, &output("..", "kernel", 3))), "the output name \"..\" is no plain file name"),
            (Some(manifest(2, &output("kernel", "kernel", 4))), "kernel: 3 bytes, but the manifest says 4"),
            (Some(manifest(2, &output("vmlinuz", "kernel", 3))), "vmlinuz: cannot be read"),
        ];
        for (text, expected) in table {
            let directory = tempfile::tempdir().expect("a directory");
            fs::write(directory.path().join("kernel"), "abc").expect("written");
            if let Some(text) = text {
                fs::write(directory.path().join("manifest.json"), text).expect("written");
            }
            let error = BootFiles::read(directory.path()).expect_err(expected).to_string();
            assert!(error.ends_with(expected), "{error:?} should end with {expected:?}");
        }
        let error = BootFiles::read(Path::new("/nonexistent")).expect_err("nothing there");
        assert!(matches!(error, VmError::Manifest(ManifestError::Read { .. })), "{error}");
    }
}
