//! What the caller says of an image, and whether it can be so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::{FORMAT, Layers, model};
use crate::arch::Arch;
use crate::image::ImageError;
use crate::recipe::Compression;

/// How an image is written.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// What its programs are for.
    pub architecture: Arch,
    /// How a container is started.
    pub config: Config,
    /// When it was made, in seconds since 1970: 0–9999 by the calendar.
    pub created: i64,
    /// What made it, for the history.
    pub created_by: String,
    /// Its repository, `hello` or `registry.example:5000/team/hello`; `docker load` needs one to give a name.
    pub name: Option<String>,
    /// Its tag: `1.0`.
    pub tag: Option<String>,
    /// Annotations of the manifest: `org.opencontainers.image.title` and so on.
    pub annotations: BTreeMap<String, String>,
    /// How the tree is divided.
    pub layers: Layers<'a>,
    /// How layers are compressed: gzip, zstd or not at all. Everything takes gzip; zstd is newer (umoci 0.4 and Docker's
    /// own manifests don't have it).
    pub compression: Compression,
    /// How many threads compress, at most.
    pub threads: usize,
}

/// How a container is started: the `config` of an image's configuration. What is empty is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, which the user's own replace.
    pub cmd: Vec<String>,
    /// The environment, `NAME=value`.
    pub env: Vec<String>,
    /// Where it is started: an absolute path.
    pub working_dir: String,
    /// Who starts it: `user`, `uid`, `user:group`, `uid:gid` …
    pub user: String,
    /// The ports it listens on: `80`, `80/tcp`, `53/udp`.
    pub exposed_ports: BTreeSet<String>,
    /// Absolute paths of what should outlive a container.
    pub volumes: BTreeSet<String>,
    /// What ends it: `SIGTERM`, `SIGRTMIN+3` or a number.
    pub stop_signal: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl Default for Settings<'_> {
    /// An image for x86-64 without a name, made in 1970, of one layer that gzip compresses.
    fn default() -> Self {
        Self {
            architecture: Arch::X86_64,
            config: Config::default(),
            created: 0,
            created_by: "leanfs".to_owned(),
            name: None,
            tag: None,
            annotations: BTreeMap::new(),
            layers: Layers::default(),
            compression: Compression::Gzip { level: None },
            threads: 1,
        }
    }
}

pub(super) fn refused(reason: String) -> ImageError {
    ImageError::Settings { format: FORMAT, reason }
}

/// A repository's name by the grammar of `distribution/reference`: a host with a dot, a port or called `localhost`
/// before the first slash, then components of small letters and digits.
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    let host = "(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)";
    let component = "[a-z0-9]+(?:(?:[.]|_|__|-+)[a-z0-9]+)*";
    Regex::new(&format!("^(?:{host}(?:[.]{host})*(?::[0-9]+)?/)?{component}(?:/{component})*$"))
        .expect("a good expression")
});
static TAG: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}$").expect("a good expression"));
static PORT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^([0-9]{1,5})(/(tcp|udp|sctp))?$").expect("a good expression"));
static SIGNAL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^(SIG[A-Z0-9]+([+-][0-9]+)?|[1-9][0-9]?)$").expect("a good expression"));

impl Settings<'_> {
    /// Refuses what container runtimes would; gives the media type of the layers.
    pub(super) fn check(&self) -> Result<&'static str, ImageError> {
        let media_type = match self.compression {
            Compression::None => model::LAYER,
            Compression::Gzip { .. } => model::LAYER_GZIP,
            Compression::Zstd { .. } => model::LAYER_ZSTD,
            Compression::Xz { .. } | Compression::Lz4 => {
                return Err(refused("layers are compressed by gzip or zstd, or not at all".to_owned()));
            }
        };
        self.check_config()?;
        if let Some(name) = self.name.as_ref().filter(|name| !NAME.is_match(name) || name.len() > 255) {
            return Err(refused(format!("{name:?} is no name of a repository")));
        }
        if let Some(tag) = self.tag.as_ref().filter(|tag| !TAG.is_match(tag)) {
            return Err(refused(format!("{tag:?} is no tag")));
        }
        if self.annotations.contains_key("") {
            return Err(refused("an annotation needs a name".to_owned()));
        }
        Ok(media_type)
    }

    fn check_config(&self) -> Result<(), ImageError> {
        let Config { entrypoint, cmd, env, working_dir, user, exposed_ports, volumes, stop_signal, labels } =
            &self.config;
        let texts = entrypoint.iter().chain(cmd).chain(env).chain([working_dir, user]).chain(volumes);
        if let Some(text) = texts.chain(labels.keys()).chain(labels.values()).find(|text| text.contains('\0'))
        {
            return Err(refused(format!("{text:?} holds a NUL byte")));
        }
        if let Some(variable) = env.iter().find(|variable| variable.find('=').is_none_or(|at| at == 0)) {
            return Err(refused(format!("{variable:?} in the environment is not NAME=value")));
        }
        let mut paths = volumes.iter().chain(Some(working_dir).filter(|path| !path.is_empty()));
        if let Some(path) = paths.find(|path| !path.starts_with('/')) {
            return Err(refused(format!("{path:?} is no absolute path")));
        }
        let is_port = |port: &str| {
            let number = PORT.captures(port).and_then(|port| port[1].parse::<u16>().ok());
            number.is_some_and(|number| number != 0)
        };
        if let Some(port) = exposed_ports.iter().find(|port| !is_port(port)) {
            return Err(refused(format!("{port:?} is no port: 80, 80/tcp, 53/udp and 9/sctp are")));
        }
        if !stop_signal.is_empty() && !SIGNAL.is_match(stop_signal) {
            return Err(refused(format!("{stop_signal:?} is no signal: SIGTERM and 15 are")));
        }
        Ok(())
    }

    /// What `docker load` calls the image.
    pub(super) fn docker_tag(&self) -> Option<String> {
        let tag = self.tag.as_deref().unwrap_or("latest");
        self.name.as_ref().map(|name| format!("{name}:{tag}"))
    }

    /// The same with Docker's own registry, where no other is named.
    pub(super) fn full_name(&self) -> Option<String> {
        let tagged = self.docker_tag()?;
        Some(match self.name.as_ref()?.split_once('/') {
            Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => tagged,
            Some(_) => format!("docker.io/{tagged}"),
            None => format!("docker.io/library/{tagged}"),
        })
    }
}
