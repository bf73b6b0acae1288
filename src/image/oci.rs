//! Container images: OCI image layouts, and archives that hold one and are what `docker load` takes.
//!
//! Source: the [OCI image specification](https://github.com/opencontainers/image-spec/tree/v1.1.0), version 1.1
//! (layout, index, manifest, configuration, layers). An archive is such a layout as a tar file with the
//! `manifest.json` of [Docker's image specification](https://github.com/moby/docker-image-spec) beside its index, as
//! Docker itself writes them since version 25.
//!
//! A tree is divided into layers by the caller, the lowest first, so that what changes together is pushed together:
//!
//! - What is no directory, and a directory that holds nothing, is in one layer. The directories above it are in the
//!   same layer too, with their owner and mode: a directory may be in several layers, always the same.
//! - All names of a file are in the highest layer that one of them belongs to, because a hardlink can't lead into
//!   another layer: so a layer never changes with what only a higher one brings.
//! - A layer that nothing belongs to is not written.

mod layers;
mod model;
mod settings;
mod sink;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

pub use layers::Layers;
use model::Descriptor;
pub use settings::{Config, Settings};
use sink::{ArchiveSink, LayoutSink, Sink};

use super::ImageError;
use super::compress::{Compressor, DecompressorFeatures};
use super::hashing::Hashing;
use super::output::DirectoryWriter;
use super::tar::{self, Part};
use crate::recipe::{Compression, rfc3339};
use crate::tree::{NodeKind, ValidTree};

/// The format's name in errors.
const FORMAT: &str = "OCI";

/// What an image came to. Digests are as OCI writes them: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The digest of the manifest: what a registry knows the image by.
    pub manifest_digest: String,
    /// The digest of the configuration: Docker's image ID.
    pub config_digest: String,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// One layer as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The name that the caller gave it.
    pub name: String,
    /// The digest of the blob.
    pub digest: String,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The digest of the layer before compression.
    pub diff_id: String,
}

/// Writes an image layout: `oci-layout`, `index.json` and `blobs/sha256/`. The same tree and settings always give
/// the same files.
///
/// # Errors
/// Before anything is written: [`ImageError::Settings`], and [`ImageError::CannotHold`] as
/// [`tar::write_part`] gives it. Errors of reading contents and of `directory`.
pub fn write_layout(
    tree: &ValidTree,
    settings: &Settings<'_>,
    directory: &mut DirectoryWriter,
) -> Result<Summary, ImageError> {
    write(tree, settings, &mut LayoutSink { directory }).map(|(summary, _)| summary)
}

/// Writes one archive that is an image layout (`oci-archive:` for skopeo) and what `docker load` takes. Layers are put
/// into nameless files in `scratch` first: their digests stand before them.
///
/// # Errors
/// As [`write_layout`]; [`ImageError::Output`] with `scratch` when there is no room in it.
pub fn write_archive(
    tree: &ValidTree,
    settings: &Settings<'_>,
    scratch: &Path,
    output: &mut dyn Write,
) -> Result<Summary, ImageError> {
    let mut sink = ArchiveSink::new(scratch, settings.created);
    let (summary, manifest) = write(tree, settings, &mut sink)?;
    let list = model::docker_manifest(&manifest, settings.docker_tag());
    sink.file("manifest.json", &list)?;
    sink.finish(output)?;
    Ok(summary)
}

/// What an image can't express, or not everywhere.
pub fn losses(tree: &ValidTree) -> Vec<String> {
    let mut losses = tar::losses(tree);
    for (path, node) in tree.iter() {
        if matches!(node.kind, NodeKind::CharDevice { major: 0, minor: 0 }) {
            losses.push(format!(
                "where layers are put over each other by overlayfs, the character device 0:0 at {path} deletes what is \
                 below it"
            ));
        }
        for name in node.xattrs.keys().filter(|name| name.starts_with(b"trusted.overlay.")) {
            losses.push(format!(
                "where layers are put over each other by overlayfs, {} of {path} is an instruction to it",
                name.escape_ascii()
            ));
        }
    }
    losses
}

fn write(
    tree: &ValidTree,
    settings: &Settings<'_>,
    sink: &mut dyn Sink,
) -> Result<(Summary, model::Manifest), ImageError> {
    let media_type = settings.check()?;
    let created = rfc3339(settings.created).ok_or_else(|| {
        settings::refused(format!("{} s since 1970 is no time of RFC 3339", settings.created))
    })?;
    let assignment = settings.layers.assign(tree)?;
    tar::check_part(tree, Part { contains: &|_, _| true, whiteouts: &[] })?;

    let mut summary =
        Summary { manifest_digest: String::new(), config_digest: String::new(), layers: Vec::new() };
    let mut descriptors = Vec::new();
    for (number, name) in assignment.layers() {
        let contains = |path: &_, _: &_| assignment.is_in(path, number);
        let part = Part { contains: &contains, whiteouts: &[] };
        let mut diff_id = None;
        let blob = sink.blob(&mut |output| {
            diff_id = write_layer(tree, part, settings, output)?;
            Ok(())
        })?;
        let diff_id = diff_id.unwrap_or(blob.sha256);
        let descriptor = Descriptor::new(media_type, &blob);
        summary.layers.push(Layer {
            name: name.to_owned(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            diff_id: model::digest(&diff_id),
        });
        descriptors.push(descriptor);
    }

    let config = sink.blob(&mut |output| {
        let bytes = model::image_config(settings, &created, &summary.layers);
        output.write_all(&bytes).map_err(ImageError::Write)
    })?;
    let config = Descriptor::new(model::CONFIG, &config);
    summary.config_digest = config.digest.clone();
    let manifest = model::Manifest::new(config, descriptors, settings.annotations.clone());
    let blob = sink.blob(&mut |output| output.write_all(&manifest.to_json()).map_err(ImageError::Write))?;
    let mut descriptor = Descriptor::new(model::MANIFEST, &blob);
    summary.manifest_digest = descriptor.digest.clone();
    descriptor.describe(settings.architecture, reference(settings));
    sink.file("index.json", &model::index(descriptor))?;
    sink.file("oci-layout", &model::layout())?;
    Ok((summary, manifest))
}

/// Writes one layer; gives the hash of what it is before compression, if there is any.
fn write_layer(
    tree: &ValidTree,
    part: Part<'_>,
    settings: &Settings<'_>,
    output: &mut dyn Write,
) -> Result<Option<[u8; 32]>, ImageError> {
    if settings.compression == Compression::None {
        tar::write_part(tree, part, tar::Settings::default(), output)?;
        return Ok(None);
    }
    let features = DecompressorFeatures::default();
    let compressor = Compressor::new(output, settings.compression, features, settings.threads)?;
    let mut hashing = Hashing::new(compressor);
    tar::write_part(tree, part, tar::Settings::default(), &mut hashing)?;
    let (compressor, _, hash) = hashing.finish();
    compressor.finish().map_err(ImageError::Write)?;
    Ok(Some(hash))
}

/// The annotations by which a layout's index names its image: OCI's has only room for the tag, containerd's for all.
fn reference(settings: &Settings<'_>) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    if let Some(tag) = &settings.tag {
        annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag.clone());
    }
    if let Some(name) = settings.full_name() {
        annotations.insert("io.containerd.image.name".to_owned(), name);
    }
    annotations
}

#[cfg(test)]
mod tests;
