//! The manifest of a run.

use std::collections::BTreeMap;
use std::path::Path;

use super::images::Made;
use super::inputs::parameters;
use super::packages::{needs, package_info};
use super::{Assembly, Image, MANIFEST, applications};
use crate::arch::Arch;
use crate::image::ImageError;
use crate::image::share;
use crate::report::manifest::{
    FileInfo, KernelInfo, KnownScript, Manifest, Output, PackageInfo, ReleaseInfo, RemovedFile, UnknownScript,
};
use crate::tree::{LayerKind, Node, NodeKind, TreePath};

pub(super) fn make(
    assembly: &Assembly<'_>,
    image: &Image,
    outputs: &[Made],
    notes: Vec<String>,
) -> Result<Manifest, ImageError> {
    let recipe = assembly.recipe;
    let release = &image.release;
    let shares = shares(assembly, image, outputs)?;
    let needed_by = needed_by(image);
    let hashes = image.tree.tree().hashes(recipe.jobs);
    let hashes = hashes.map_err(|(path, source)| ImageError::Content { path, source })?;
    let mut packages: Vec<PackageInfo> = image
        .packages
        .iter()
        .zip(needs(&image.packages))
        .map(|(used, needs)| PackageInfo {
            needs,
            wanted_by: used.wanted_by.clone(),
            ..package_info(&used.apk, used.repository.clone(), used.distribution.clone())
        })
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Manifest {
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
        source_date_epoch: recipe.source_date_epoch,
        parameters: parameters(recipe),
        inputs: image.inputs.all.clone(),
        applications: applications::all(image, &image.inputs.locked),
        kernel: kernel_info(image, outputs)?,
        packages,
        left_out: image.left_out.clone(),
        known_scripts: image
            .scripts
            .known
            .iter()
            .map(|known| KnownScript {
                package: format!("{}-{}", known.script.package, known.script.version),
                script: known.script.kind.clone(),
                effects: known.effects.clone(),
            })
            .collect(),
        unknown_scripts: image
            .scripts
            .unknown
            .iter()
            .map(|script| UnknownScript {
                package: format!("{}-{}", script.package, script.version),
                script: script.kind.clone(),
                text: script.text.clone(),
                accepted: recipe.scripts.accepts(&script.package, &script.kind),
            })
            .collect(),
        unfollowed: image.unfollowed.clone(),
        notes,
        outputs: outputs
            .iter()
            .map(|Made { kind, written, root_size, files, .. }| Output {
                name: written.name.clone(),
                kind: (*kind).to_owned(),
                size: written.size,
                sha256: written.sha256.map(hex::encode),
                root_size: *root_size,
                files: files.clone(),
            })
            .collect(),
        files: image
            .tree
            .iter()
            .zip(shares)
            .map(|((path, node), compressed)| {
                let (because, by) = reason(image, path, node, &needed_by);
                FileInfo {
                    path: path.to_string(),
                    kind: kind_name(&node.kind).to_owned(),
                    size: node.size(),
                    size_before: image.sizes_before.get(path).copied().unwrap_or_else(|| node.size()),
                    sha256: hashes.get(path).map(hex::encode),
                    compressed,
                    layer: node.origin.layer,
                    part: node.origin.part.to_string(),
                    because,
                    by: by.map(ToString::to_string),
                    leads_to: leads_to(image, path, node),
                    needed_by: needed_by.get(path).into_iter().flatten().map(ToString::to_string).collect(),
                }
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
    })
}

/// The kernel, with the hash of what was written of it, or would have been.
fn kernel_info(image: &Image, outputs: &[Made]) -> Result<Option<KernelInfo>, ImageError> {
    let Some(kernel) = &image.kernel else { return Ok(None) };
    let written = outputs.iter().find(|made| made.kind == "kernel").and_then(|made| made.written.sha256);
    let sha256 = match written {
        Some(sha256) => sha256,
        None => kernel.image.sha256().map_err(|source| ImageError::Input { what: "the kernel", source })?,
    };
    let sha256 = hex::encode(sha256);
    Ok(Some(KernelInfo { name: kernel.name.clone(), package: kernel.package.clone(), sha256 }))
}

/// What each node takes of the first image ([`Manifest::files`]), in the tree's order; nothing if none was written.
fn shares(assembly: &Assembly<'_>, image: &Image, outputs: &[Made]) -> Result<Vec<u64>, ImageError> {
    // Images come before everything else.
    match outputs.iter().find_map(|made| Some((made, made.tree_in?))) {
        Some((made, (format, compression))) => {
            let size = made.root_size.unwrap_or(made.written.size);
            share::of_image(&image.tree, format, compression, size, assembly.recipe.jobs, &assembly.memo)
        }
        None => Ok(vec![0; image.tree.iter().count()]),
    }
}

/// For each library, the ELF files that need it, in path order.
fn needed_by(image: &Image) -> BTreeMap<&TreePath, Vec<&TreePath>> {
    let mut needed_by: BTreeMap<&TreePath, Vec<&TreePath>> = BTreeMap::new();
    for (file, libraries) in &image.libraries.resolved {
        for library in libraries.values().filter(|&library| library != file) {
            let files = needed_by.entry(library).or_default();
            // An interpreter may be needed by name, too.
            if files.last() != Some(&file) {
                files.push(file);
            }
        }
    }
    needed_by
}

/// Why a node is there, in words, and the file that needs it.
fn reason<'a>(
    image: &'a Image,
    path: &TreePath,
    node: &Node,
    needed_by: &BTreeMap<&TreePath, Vec<&'a TreePath>>,
) -> (String, Option<&'a TreePath>) {
    if let Some(reason) = image.reasons.get(path) {
        return (reason.because.clone(), reason.by.as_ref());
    }
    let files = needed_by.get(path).map(Vec::as_slice).unwrap_or_default();
    // A program says more than a library that is itself needed by one.
    match files.iter().find(|file| !needed_by.contains_key(*file)).or_else(|| files.first()) {
        Some(file) => (format!("{} is linked with it", name_of(file)), Some(file)),
        None => (usual_reason(node), None),
    }
}

fn name_of(path: &TreePath) -> String {
    let text = path.to_string();
    text.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Where a link leads in the end.
fn leads_to(image: &Image, path: &TreePath, node: &Node) -> Option<String> {
    match &node.kind {
        NodeKind::Symlink(_) => image.tree.tree().resolve(path).map(|target| target.to_string()),
        NodeKind::Hardlink(target) => Some(target.to_string()),
        _ => None,
    }
}

/// What the kernel is told: where the console is, that only what matters is printed there, and that a panic
/// ends the machine instead of leaving it hanging.
pub(super) fn command_line(arch: Arch) -> String {
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
    // What every format of the manifest has: one of an older leanfs counts too.
    #[derive(serde::Deserialize)]
    struct Before {
        outputs: Vec<Name>,
    }
    #[derive(serde::Deserialize)]
    struct Name {
        name: String,
    }
    let Ok(before) = serde_json::from_slice::<Before>(&text) else { return Vec::new() };
    before
        .outputs
        .into_iter()
        .map(|output| output.name)
        .filter(|name| Path::new(name).file_name() == Some(name.as_ref()) && name != MANIFEST)
        .filter(|name| now.outputs.iter().all(|output| output.name != *name))
        .collect()
}
