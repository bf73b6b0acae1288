//! The JSON documents of an image, field by field as the specification has them. Maps are sorted and nothing else is
//! left to chance: equal values are equal bytes, and so have equal digests.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use super::sink::Blob;
use super::{Config, Layer, Settings};
use crate::arch::Arch;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(super) const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(super) const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Every architecture runs Linux.
const OS: &str = "linux";

/// The name of an architecture, and of its variant, as Go has them (`GOARCH`).
fn platform(arch: Arch) -> (&'static str, Option<&'static str>) {
    match arch {
        Arch::X86_64 => ("amd64", None),
        Arch::Aarch64 => ("arm64", Some("v8")),
        Arch::Riscv64 => ("riscv64", None),
    }
}

/// A hash as a digest.
pub(super) fn digest(sha256: &[u8; 32]) -> String {
    format!("sha256:{}", hex::encode(sha256))
}

/// Where a blob stands in a layout.
pub(super) fn blob_path(sha256: &[u8; 32]) -> String {
    format!("blobs/sha256/{}", hex::encode(sha256))
}

/// Points to a blob.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    media_type: &'static str,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(skip)]
    path: String,
}

#[derive(Debug, Clone, Serialize)]
struct Platform {
    architecture: &'static str,
    os: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'static str>,
}

impl Descriptor {
    pub(super) fn new(media_type: &'static str, blob: &Blob) -> Self {
        Self {
            media_type,
            digest: digest(&blob.sha256),
            size: blob.size,
            platform: None,
            annotations: BTreeMap::new(),
            path: blob_path(&blob.sha256),
        }
    }

    /// Says what a manifest is for and what it is called.
    pub(super) fn describe(&mut self, arch: Arch, annotations: BTreeMap<String, String>) {
        let (architecture, variant) = platform(arch);
        self.platform = Some(Platform { architecture, os: OS, variant });
        self.annotations = annotations;
    }
}

/// `manifest.md`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    pub(super) fn new(
        config: Descriptor,
        layers: Vec<Descriptor>,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        Self { schema_version: 2, media_type: MANIFEST, config, layers, annotations }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        json(self)
    }
}

/// `image-index.md`: of one image.
pub(super) fn index(manifest: Descriptor) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Index {
        schema_version: u32,
        media_type: &'static str,
        manifests: [Descriptor; 1],
    }
    json(&Index { schema_version: 2, media_type: INDEX, manifests: [manifest] })
}

/// `image-layout.md`: the file `oci-layout`.
pub(super) fn layout() -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: &'static str,
    }
    json(&Layout { image_layout_version: "1.0.0" })
}

/// The file `manifest.json` of what `docker save` writes: of one image.
pub(super) fn docker_manifest(manifest: &Manifest, tag: Option<String>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Image<'a> {
        config: &'a str,
        repo_tags: Option<[String; 1]>,
        layers: Vec<&'a str>,
    }
    json(&[Image {
        config: &manifest.config.path,
        repo_tags: tag.map(|tag| [tag]),
        layers: manifest.layers.iter().map(|layer| layer.path.as_str()).collect(),
    }])
}

/// `config.md`.
pub(super) fn image_config(settings: &Settings<'_>, created: &str, layers: &[Layer]) -> Vec<u8> {
    let (architecture, variant) = platform(settings.architecture);
    json(&ImageConfig {
        created,
        architecture,
        variant,
        os: OS,
        config: Execution::from(&settings.config),
        rootfs: RootFs {
            kind: "layers",
            diff_ids: layers.iter().map(|layer| layer.diff_id.as_str()).collect(),
        },
        history: layers
            .iter()
            .map(|layer| History { created, created_by: &settings.created_by, comment: &layer.name })
            .collect(),
    })
}

#[derive(Serialize)]
struct ImageConfig<'a> {
    created: &'a str,
    architecture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    os: &'a str,
    config: Execution<'a>,
    rootfs: RootFs<'a>,
    history: Vec<History<'a>>,
}

#[derive(Serialize)]
struct RootFs<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    diff_ids: Vec<&'a str>,
}

#[derive(Serialize)]
struct History<'a> {
    created: &'a str,
    created_by: &'a str,
    comment: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Execution<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "BTreeSet::is_empty", serialize_with = "as_keys")]
    exposed_ports: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    env: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cmd: &'a [String],
    #[serde(skip_serializing_if = "BTreeSet::is_empty", serialize_with = "as_keys")]
    volumes: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    working_dir: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    stop_signal: &'a str,
}

impl<'a> From<&'a Config> for Execution<'a> {
    fn from(config: &'a Config) -> Self {
        Self {
            user: &config.user,
            exposed_ports: &config.exposed_ports,
            env: &config.env,
            entrypoint: &config.entrypoint,
            cmd: &config.cmd,
            volumes: &config.volumes,
            working_dir: &config.working_dir,
            labels: &config.labels,
            stop_signal: &config.stop_signal,
        }
    }
}

/// A set as Go's `map[string]struct{}`: `{"80/tcp":{}}`.
fn as_keys<S: Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Empty {}
    serializer.collect_map(set.iter().map(|key| (key, Empty {})))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and numbers under names that are strings")
}
