//! The manifest of a run.

use std::path::Path;

use super::{Image, MANIFEST};
use crate::arch::Arch;
use crate::image::output::Written;
use crate::recipe::Recipe;
use crate::report::manifest::{
    FileInfo, Manifest, Output, PackageInfo, ReleaseInfo, RemovedFile, UnknownScript,
};
use crate::tree::{LayerKind, Node, NodeKind};

pub(super) fn make(
    recipe: &Recipe,
    image: &Image,
    outputs: &[(&'static str, Written)],
    notes: Vec<String>,
) -> Manifest {
    let release = &image.release;
    let mut packages: Vec<PackageInfo> = image
        .packages
        .iter()
        .map(|used| PackageInfo {
            name: used.apk.entry().name.clone(),
            version: used.apk.entry().version.clone(),
            repository: used.repository.clone(),
            data_sha256: hex::encode(used.apk.info().data_hash.unwrap_or_default()),
            wanted_by: used.wanted_by.clone(),
        })
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Manifest {
        format: Manifest::FORMAT,
        leanfs: env!("CARGO_PKG_VERSION").to_owned(),
        arch: recipe.arch,
        prune: recipe.prune.level,
        release: ReleaseInfo {
            name: release.name.clone(),
            version: release.version.clone(),
            erts: release.erts_version.clone(),
            otp_source: image.otp_source.to_owned(),
            applications: release
                .applications
                .iter()
                .map(|application| (application.name.clone(), application.version.clone()))
                .collect(),
        },
        packages,
        left_out: image.left_out.clone(),
        unknown_scripts: image
            .unknown_scripts
            .iter()
            .map(|script| UnknownScript {
                package: format!("{}-{}", script.package, script.version),
                script: script.kind.clone(),
                text: script.text.clone(),
            })
            .collect(),
        unfollowed: image.unfollowed.clone(),
        notes,
        outputs: outputs
            .iter()
            .map(|(kind, written)| Output {
                name: written.name.clone(),
                kind: (*kind).to_owned(),
                size: written.size,
                sha256: hex::encode(written.sha256),
            })
            .collect(),
        files: image
            .tree
            .iter()
            .map(|(path, node)| FileInfo {
                path: path.to_string(),
                kind: kind_name(&node.kind).to_owned(),
                size: node.size(),
                size_before: image.sizes_before.get(path).copied().unwrap_or_else(|| node.size()),
                compressed: 0,
                layer: node.origin.layer,
                part: node.origin.part.to_string(),
                because: image.reasons.get(path).map_or_else(|| usual_reason(node), |r| r.because.clone()),
                by: image.reasons.get(path).and_then(|r| r.by.as_ref()).map(ToString::to_string),
            })
            .collect(),
        removed: image
            .removals
            .iter()
            .map(|removal| RemovedFile {
                path: removal.path.to_string(),
                size: removal.node.size(),
                layer: removal.node.origin.layer,
                part: removal.node.origin.part.to_string(),
                rule: removal.rule.name().to_owned(),
                reason: removal.reason.clone(),
            })
            .collect(),
        command_line: command_line(recipe.arch),
    }
}

/// What the kernel is told: where the console is, that only what matters is printed there, and that a panic
/// ends the machine instead of leaving it hanging.
fn command_line(arch: Arch) -> String {
    let console = match arch {
        Arch::X86_64 | Arch::Riscv64 => "ttyS0",
        Arch::Aarch64 => "ttyAMA0",
    };
    format!("console={console} quiet panic=-1")
}

/// Why a node is there that nothing in particular wants.
fn usual_reason(node: &Node) -> String {
    let part = &node.origin.part;
    match node.origin.layer {
        LayerKind::Package => format!("package {part} brings it"),
        LayerKind::Otp => "the Erlang/OTP installation brings it".to_owned(),
        LayerKind::Release => "the release brings it".to_owned(),
        LayerKind::Sysroot => "a library of the machine that assembled, or of --sysroot".to_owned(),
        LayerKind::Kernel => "a module of the kernel that the image loads at its start".to_owned(),
        LayerKind::Skeleton => "every image gets it".to_owned(),
        LayerKind::Script => "what the packages' scripts would have made".to_owned(),
        LayerKind::Overlay => "the overlay brings it".to_owned(),
    }
}

fn kind_name(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Directory => "directory",
        NodeKind::File(_) => "file",
        NodeKind::Symlink(_) => "symlink",
        NodeKind::Hardlink(_) => "hardlink",
        NodeKind::CharDevice { .. } => "char-device",
        NodeKind::BlockDevice { .. } => "block-device",
        NodeKind::Fifo => "fifo",
    }
}

/// Outputs of the run before that this one does not replace (the image was compressed otherwise, say): they
/// would be taken for current. Only what the old manifest names is ever removed.
pub(super) fn stale_outputs(directory: &Path, now: &Manifest) -> Vec<String> {
    let Ok(text) = fs_err::read(directory.join(MANIFEST)) else { return Vec::new() };
    let Ok(before) = serde_json::from_slice::<Manifest>(&text) else { return Vec::new() };
    before
        .outputs
        .into_iter()
        .map(|output| output.name)
        .filter(|name| !name.contains('/') && name != MANIFEST)
        .filter(|name| now.outputs.iter().all(|output| output.name != *name))
        .collect()
}
