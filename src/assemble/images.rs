//! The outputs: every image from the one tree, side by side, and what belongs to them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ring::digest;

use super::kernel::ImageKernel;
use super::{AssembleError, Assembly, Image, KERNEL};
use crate::image::compress::{Compressor, DecompressorFeatures};
use crate::image::output::{OutputDirectory, Written};
use crate::image::{ImageError, cpio, oci, squashfs, tar};
use crate::layer::init_conf;
use crate::recipe::{Compression, ImageFormat, ImageSpec, Uuid};
use crate::report::Event;
use crate::report::component::{Component, Group};
use crate::tree::{Content, LayerKind, Node, TreePath, ValidTree};

/// A file or directory that was written, and what it is ([`Output::kind`](crate::report::manifest::Output::kind)).
pub(super) struct Made {
    pub(super) kind: &'static str,
    pub(super) written: Written,
    /// Of a disk: the bytes of its root.
    pub(super) root_size: Option<u64>,
}

/// One output.
enum Task<'a> {
    Image(&'a ImageSpec),
    /// The initramfs that leads to the root file systems.
    Boot,
    Kernel(&'a ImageKernel),
}

/// Writes everything that the recipe asks for, several at a time, and gives it in the order of the recipe, images
/// first.
pub(super) fn write(
    assembly: &Assembly<'_>,
    image: &Image,
    output: &OutputDirectory,
) -> Result<Vec<Made>, AssembleError> {
    let recipe = assembly.recipe;
    let mut tasks = Vec::new();
    for spec in &recipe.images {
        for loss in losses(&image.tree, spec) {
            assembly.notes.warn(loss);
        }
        tasks.push(Task::Image(spec));
    }
    if let Some(kernel) = &image.kernel {
        if recipe.images.iter().any(|spec| spec.format.is_file_system()) {
            tasks.push(Task::Boot);
        }
        // Disks hold theirs.
        if recipe.images.iter().any(|spec| spec.format == ImageFormat::Initramfs || spec.format.is_file_system()) {
            tasks.push(Task::Kernel(kernel));
        }
    }

    let workers = recipe.jobs.clamp(1, tasks.len().max(1));
    let writer = Writer { assembly, image, output, threads: recipe.jobs.div_ceil(workers) };
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<Made, AssembleError>>>> =
        Mutex::new(tasks.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((place, task)) = {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    tasks.get(place).map(|task| (place, task))
                } {
                    let result = writer.task(task);
                    if result.is_err() {
                        // What has not begun would be thrown away.
                        next.store(tasks.len(), Ordering::Relaxed);
                    }
                    if let Ok(results) = results.lock().as_mut() {
                        results[place] = Some(result);
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    // The first error in the order of the tasks, whichever came first: the same run gives the same message.
    results.into_iter().flatten().collect()
}

struct Writer<'a> {
    assembly: &'a Assembly<'a>,
    image: &'a Image,
    output: &'a OutputDirectory,
    /// For each output.
    threads: usize,
}

impl Writer<'_> {
    fn task(&self, task: &Task<'_>) -> Result<Made, AssembleError> {
        let made = match task {
            Task::Image(spec) => self.image(spec)?,
            Task::Boot => {
                let compression = ImageSpec::new(ImageFormat::Initramfs).compression();
                let name = format!("boot.cpio{}", compression.suffix());
                let written = self.initramfs(&name, &self.boot_tree()?, compression)?;
                Made { kind: "boot", written, root_size: None }
            }
            Task::Kernel(kernel) => {
                let written = self.output.file(KERNEL, |file| copy(&kernel.image, file))?;
                Made { kind: "kernel", written, root_size: None }
            }
        };
        let Written { name, size, .. } = &made.written;
        self.assembly.reporter.report(Event::ImageWritten { name: name.clone(), size: *size });
        Ok(made)
    }

    fn image(&self, spec: &ImageSpec) -> Result<Made, AssembleError> {
        let name = spec.file_name();
        let tree = &self.image.tree;
        let written = match spec.format {
            ImageFormat::Initramfs => self.initramfs(&name, tree, spec.compression())?,
            ImageFormat::Squashfs => {
                self.output.target(&name, |target| squashfs::write(tree, &self.squashfs(spec), target))?
            }
            ImageFormat::Tar => self.output.file(&name, |file| {
                let features = DecompressorFeatures::default();
                let mut compressor = Compressor::new(file, spec.compression(), features, self.threads)?;
                tar::write(tree, tar::Settings::default(), &mut compressor)?;
                compressor.finish().map_err(ImageError::Write)?;
                Ok(())
            })?,
            ImageFormat::Oci => {
                let mut size = 0;
                let summary = self.output.directory(&name, |directory| {
                    let summary = oci::write_layout(tree, &self.oci(spec), directory)?;
                    size = directory.size();
                    Ok(summary)
                })?;
                Written { name, size, sha256: digest_bytes(&summary.manifest_digest) }
            }
            ImageFormat::OciArchive => self.output.file(&name, |file| {
                oci::write_archive(tree, &self.oci(spec), &self.assembly.spool_directory, file).map(drop)
            })?,
            _ => return Err(AssembleError::Bug("not merged".to_owned())),
        };
        Ok(Made { kind: spec.format.name(), written, root_size: None })
    }

    /// What mounts a root file system and becomes its PID 1.
    fn boot_tree(&self) -> Result<ValidTree, AssembleError> {
        let recipe = self.assembly.recipe;
        let modules = self.image.kernel.as_ref().map(|kernel| kernel.root_modules.as_slice()).unwrap_or_default();
        let tree = init_conf::boot_initramfs(recipe.arch, modules, recipe.run.on_exit, recipe.source_date_epoch);
        Ok(tree.ok_or(AssembleError::NoPid1 { arch: recipe.arch })?.validate()?)
    }

    fn squashfs(&self, spec: &ImageSpec) -> squashfs::Settings {
        squashfs::Settings {
            compression: spec.compression(),
            features: self.features(),
            mtime: u32::try_from(self.assembly.recipe.source_date_epoch).unwrap_or_default(),
            threads: self.threads,
            ..squashfs::Settings::default()
        }
    }

    /// What the kernel that will read the image can decompress.
    fn features(&self) -> DecompressorFeatures {
        self.image.kernel.as_ref().map(|kernel| kernel.decompressor).unwrap_or_default()
    }

    /// A container image in three layers, of which the lower ones rarely change.
    fn oci(&self, spec: &ImageSpec) -> oci::Settings<'static> {
        let recipe = self.assembly.recipe;
        let release = &self.image.release;
        let (name, tag) = match &spec.tag {
            Some(reference) => match reference.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => (name.to_owned(), tag.to_owned()),
                _ => (reference.clone(), "latest".to_owned()),
            },
            // A release's version may be `1.0.0+build`, and its name begin with capitals.
            None => (release.name.to_lowercase(), release.version.replace(|c: char| !is_tag(c), "-")),
        };
        let start = &self.image.start;
        // Everybody who may pull the image can read its configuration.
        let is_secret = |name: &str| name == "RELEASE_COOKIE";
        let env = start.env.iter().filter(|(name, _)| !is_secret(name)).map(|(name, value)| format!("{name}={value}"));
        let settings =
            recipe.run.env.iter().filter(|(name, _)| !start.env.iter().any(|(planned, _)| planned == *name));
        let config = oci::Config {
            entrypoint: vec![format!("/{}", init_conf::PID1_PATH), "container".to_owned()],
            env: env.chain(settings.map(|(name, value)| format!("{name}={value}"))).collect(),
            working_dir: format!("/{}", String::from_utf8_lossy(start.directory.as_bytes())),
            exposed_ports: spec.ports.iter().map(ToString::to_string).collect(),
            volumes: recipe.data.iter().map(|data| data.mount.clone()).collect(),
            stop_signal: "SIGTERM".to_owned(),
            ..oci::Config::default()
        };
        let annotation =
            |name: &str, value: &str| (format!("org.opencontainers.image.{name}"), value.to_owned());
        oci::Settings {
            architecture: recipe.arch,
            config,
            created: recipe.source_date_epoch,
            created_by: format!("leanfs {}", env!("CARGO_PKG_VERSION")),
            annotations: [annotation("title", &release.name), annotation("version", &release.version)].into(),
            name: Some(name),
            tag: Some(tag),
            layers: oci::Layers::new(LAYERS.map(str::to_owned).into(), &layer_of),
            compression: spec.compression(),
            threads: self.threads,
        }
    }

    fn initramfs(
        &self,
        name: &str,
        tree: &ValidTree,
        compression: Compression,
    ) -> Result<Written, AssembleError> {
        let features = self.features();
        if let Some(kernel) = &self.image.kernel {
            kernel.check_compression(compression)?;
        }
        Ok(self.output.file(name, |file| {
            let mut compressor = Compressor::new(file, compression, features, self.threads)?;
            cpio::write(tree, &mut compressor)?;
            compressor.finish().map_err(ImageError::Write)?;
            Ok(())
        })?)
    }
}

/// The layers of a container image, the lowest first.
const LAYERS: [&str; 3] = ["packages", "Erlang/OTP and Elixir", "release"];

/// Which of [`LAYERS`] a node is in: what the application brings, and what is worked out from it, is the highest.
fn layer_of(path: &TreePath, node: &Node) -> usize {
    let origin = &node.origin;
    match Component::of(&path.to_string(), origin.layer, &origin.part).group {
        Group::Erts | Group::Otp | Group::Elixir => 1,
        Group::Application | Group::Overlay => 2,
        _ if origin.layer == LayerKind::Release || path.as_bytes() == init_conf::PATH.as_bytes() => 2,
        _ => 0,
    }
}

fn is_tag(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

/// The bytes of `sha256:HEX`.
fn digest_bytes(digest: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(digest.strip_prefix("sha256:")?, &mut bytes).ok()?;
    Some(bytes)
}

/// What the format leaves out, in words.
fn losses(tree: &ValidTree, spec: &ImageSpec) -> Vec<String> {
    match spec.root_format() {
        ImageFormat::Initramfs => cpio::losses(tree),
        ImageFormat::Squashfs => squashfs::losses(tree),
        ImageFormat::Oci | ImageFormat::OciArchive => oci::losses(tree),
        _ => Vec::new(),
    }
}

/// The UUID of an image or of a part of it: the same for the same paths, owners, modes, times and sizes.
fn uuid(tree: &ValidTree, purpose: &str) -> Uuid {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(purpose.as_bytes());
    context.update(&[0]);
    context.update(tree.outline().as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Uuid::from_hash(&hash)
}

fn copy(content: &Content, file: &mut dyn std::io::Write) -> Result<(), ImageError> {
    let mut reader = content.reader().map_err(ImageError::Write)?;
    std::io::copy(&mut reader, file).map_err(ImageError::Write)?;
    Ok(())
}
