//! The outputs: every image from the one tree, side by side, and what belongs to them.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use ring::digest;

use super::kernel::ImageKernel;
use super::{AssembleError, Assembly, Image, KERNEL};
use crate::arch::Arch;
use crate::image::compress::{Compressor, DecompressorFeatures};
use crate::image::disk::{self, Guid, Partition, fat, qcow2, uki};
use crate::image::output::{OutputDirectory, Written};
use crate::image::target::Target;
use crate::image::{ImageError, cpio, erofs, ext4, oci, squashfs, tar};
use crate::kernel;
use crate::layer::init_conf;
use crate::lock::FileRole;
use crate::recipe::{Compression, DataSettings, ImageFormat, ImageSpec, Uuid};
use crate::report::Event;
use crate::report::component::{Component, Group};
use crate::report::manifest::OutputFile;
use crate::report::progress::{Progress, while_telling};
use crate::tree::{Content, LayerKind, Metadata, Node, Origin, Tree, TreePath, ValidTree};
use crate::vm::firecracker;

/// A file or directory that was written, and what it is ([`Output::kind`](crate::report::manifest::Output::kind)).
pub(super) struct Made {
    pub(super) kind: &'static str,
    pub(super) written: Written,
    /// Of a disk: the bytes of its root.
    pub(super) root_size: Option<u64>,
    /// Of a directory: what is in it.
    pub(super) files: Vec<OutputFile>,
    /// What the tree stands in, if it does: the format and how that is compressed.
    pub(super) tree_in: Option<(ImageFormat, Compression)>,
}

impl Made {
    fn beside(kind: &'static str, written: Written) -> Self {
        Self { kind, written, root_size: None, files: Vec::new(), tree_in: None }
    }
}

/// One output.
enum Task<'a> {
    Image(&'a ImageSpec),
    /// The initramfs that leads to the root file systems.
    Boot,
    Kernel(&'a ImageKernel),
    /// The kernel, uncompressed.
    Vmlinux(&'a ImageKernel),
    /// The file system for what the application writes.
    Data(&'a DataSettings),
}

impl Task<'_> {
    fn name(&self) -> String {
        match self {
            Self::Image(spec) => spec.file_name(),
            Self::Boot => boot_name(),
            Self::Kernel(_) => KERNEL.to_owned(),
            Self::Vmlinux(_) => VMLINUX.to_owned(),
            Self::Data(_) => DATA.to_owned(),
        }
    }

    /// How often its files are read.
    fn passes(&self) -> u64 {
        match self {
            // A survey finds what is the same, and where the holes are.
            Self::Image(spec) if spec.root_format() == ImageFormat::Erofs => 2,
            _ => 1,
        }
    }

    /// The error with the output's name, unless it says which file it is about.
    fn failed(&self, error: AssembleError) -> AssembleError {
        match error {
            AssembleError::Image(source @ (ImageError::Output { .. } | ImageError::Busy(_))) => source.into(),
            AssembleError::Image(source) => AssembleError::Output { name: self.name(), source },
            other => other,
        }
    }
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
    let specs = with_roots(&recipe.images);
    let has = |wanted: &dyn Fn(ImageFormat) -> bool| specs.iter().any(|spec| wanted(spec.format));
    for spec in &specs {
        for loss in losses(&image.tree, spec) {
            assembly.notes.warn(loss);
        }
        tasks.push(Task::Image(spec));
    }
    if let Some(kernel) = &image.kernel {
        for spec in specs.iter().filter(|spec| spec.root_format().is_file_system()) {
            kernel.check_root(spec.root_format(), spec.compression())?;
        }
        if recipe.data.is_some() {
            kernel.check_data()?;
        }
        if has(&ImageFormat::is_file_system) {
            tasks.push(Task::Boot);
        }
        // Disks hold theirs.
        if has(&|format| format == ImageFormat::Initramfs || format.is_file_system()) {
            tasks.push(Task::Kernel(kernel));
        }
        if has(&|format| format == ImageFormat::Firecracker) {
            tasks.push(Task::Vmlinux(kernel));
        }
    }
    if let Some(data) = &recipe.data
        && has(&|format| format == ImageFormat::Initramfs || format.is_file_system())
    {
        tasks.push(Task::Data(data));
    }

    let workers = recipe.jobs.clamp(1, tasks.len().max(1));
    let threads = recipe.jobs.div_ceil(workers);
    let writer = Writer { assembly, image, output, threads, outline: OnceLock::new() };
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
                    let result = writer.told(task).map_err(|error| task.failed(error));
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

fn output_file((name, size, sha256): (&str, u64, &[u8; 32])) -> OutputFile {
    OutputFile { name: name.to_owned(), size, sha256: hex::encode(sha256) }
}

struct Writer<'a> {
    assembly: &'a Assembly<'a>,
    image: &'a Image,
    output: &'a OutputDirectory,
    /// For each output.
    threads: usize,
    /// The hash of the tree's outline, which identifiers are made from.
    outline: OnceLock<[u8; 32]>,
}

impl Writer<'_> {
    /// Does a task, and tells how far it is.
    fn told(&self, task: &Task<'_>) -> Result<Made, AssembleError> {
        let reporter = self.assembly.reporter;
        let (name, bytes) = (task.name(), self.bytes_of(task));
        reporter.report(Event::ImageStarted { name: name.clone(), total: bytes });
        let passes = task.passes();
        let progress = Progress::of(bytes.saturating_mul(passes));
        let mut before = 0;
        let tell = || {
            let done = progress.get().0 / passes;
            if std::mem::replace(&mut before, done) != done {
                reporter.report(Event::ImageProgress { name: name.clone(), done, total: bytes });
            }
        };
        let made = while_telling(tell, || self.task(task, &progress))?;
        reporter.report(Event::ImageWritten { name: name.clone(), size: made.written.size });
        Ok(made)
    }

    /// How many bytes of files go into an output.
    fn bytes_of(&self, task: &Task<'_>) -> u64 {
        match task {
            Task::Image(ImageSpec { format: ImageFormat::Firecracker, .. }) | Task::Boot | Task::Data(_) => 0,
            Task::Image(_) => self.image.tree.bytes(),
            Task::Kernel(kernel) | Task::Vmlinux(kernel) => kernel.image.len(),
        }
    }

    fn task(&self, task: &Task<'_>, progress: &Progress) -> Result<Made, AssembleError> {
        let made = match task {
            Task::Image(spec) => self.image(spec, &self.image.tree.watched(&progress.counter()))?,
            Task::Boot => {
                let compression = ImageSpec::new(ImageFormat::Initramfs).compression();
                let written = self.initramfs(&boot_name(), &self.boot_tree()?, compression, Members::One)?;
                Made::beside("boot", written)
            }
            Task::Kernel(kernel) => {
                let content = kernel.image.watched(progress.counter());
                let written = self.output.file(KERNEL, |file| copy(&content, file))?;
                Made::beside("kernel", written)
            }
            Task::Vmlinux(kernel) => {
                let mut result = Ok(0);
                let written = self.output.file(VMLINUX, |file| {
                    let content = kernel.image.watched(progress.counter());
                    result = kernel::unpack(&content, &kernel.name, self.assembly.recipe.arch, file);
                    Ok(())
                })?;
                result?;
                Made::beside("vmlinux", written)
            }
            Task::Data(data) => {
                let written = self.output.target(DATA, |target| self.data(data, target))?;
                Made::beside("data", written)
            }
        };
        Ok(made)
    }

    /// Writes `tree`, which is that of the image.
    fn image(&self, spec: &ImageSpec, tree: &ValidTree) -> Result<Made, AssembleError> {
        let name = spec.file_name();
        let mut root_size = None;
        let mut files = Vec::new();
        let written = match spec.format {
            ImageFormat::Initramfs => self.initramfs(&name, tree, spec.compression(), Members::Layers)?,
            ImageFormat::Ext4 | ImageFormat::Squashfs | ImageFormat::Erofs => {
                self.output.target(&name, |target| self.file_system(spec, spec.format, tree, target))?
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
                    files = directory.files().map(output_file).collect();
                    Ok(summary)
                })?;
                Written { name, size, sha256: digest_bytes(&summary.manifest_digest) }
            }
            ImageFormat::OciArchive => self.output.file(&name, |file| {
                oci::write_archive(tree, &self.oci(spec), &self.assembly.spool_directory, file).map(drop)
            })?,
            ImageFormat::Disk => {
                let boot = self.boot_program(spec, tree)?;
                self.output.target(&name, |target| {
                    let (length, root) = self.disk(spec, &boot, tree, target)?;
                    root_size = Some(root);
                    Ok(length)
                })?
            }
            ImageFormat::Qcow2 => {
                let boot = self.boot_program(spec, tree)?;
                let raw = self.scratch_file()?;
                let (length, root) = self.disk(spec, &boot, tree, Target::new(&raw))?;
                root_size = Some(root);
                let raw = Content::from_range(Arc::new(raw), 0, length);
                let settings = qcow2::Settings { threads: self.threads, ..qcow2::Settings::default() };
                self.output.target(&name, |target| qcow2::write(&raw, &settings, target))?
            }
            ImageFormat::Firecracker => {
                let text = self.firecracker(spec)?;
                self.output.file(&name, |file| file.write_all(text.as_bytes()).map_err(ImageError::Write))?
            }
        };
        let tree_in =
            (spec.format != ImageFormat::Firecracker).then(|| (spec.root_format(), spec.compression()));
        Ok(Made { kind: spec.format.name(), written, root_size, files, tree_in })
    }

    /// Writes the tree as a file system.
    fn file_system(
        &self,
        spec: &ImageSpec,
        format: ImageFormat,
        tree: &ValidTree,
        target: Target<'_>,
    ) -> Result<u64, ImageError> {
        // Of a disk, size and UUID are its own.
        let is_whole = spec.format == format;
        let uuid = spec.uuid.filter(|_| is_whole).unwrap_or_else(|| self.uuid(spec, format.name()));
        let label = spec.label.clone().unwrap_or_default();
        match format {
            ImageFormat::Ext4 => {
                let size = match (spec.size.filter(|_| is_whole), spec.free) {
                    (Some(size), _) => ext4::Size::Exact(size),
                    (None, Some(free)) => ext4::Size::Free(free),
                    (None, None) => ext4::Size::Fit,
                };
                let journal = if spec.journal { ext4::Journal::Default } else { ext4::Journal::None };
                let hash_seed = self.uuid(spec, "hash seed").0;
                let created = self.assembly.recipe.source_date_epoch;
                let settings = ext4::Settings {
                    size,
                    journal,
                    label: label.into(),
                    uuid: uuid.0,
                    hash_seed,
                    created,
                    ..Default::default()
                };
                ext4::write(tree, &settings, target)
            }
            ImageFormat::Erofs => {
                let settings = erofs::Settings {
                    compression: spec.compression(),
                    uuid: uuid.0,
                    label,
                    threads: self.threads,
                    ..Default::default()
                };
                erofs::write(tree, &settings, target)
            }
            _ => squashfs::write(tree, &self.squashfs(spec), target),
        }
    }

    /// Writes an empty file system for the data.
    fn data(&self, data: &DataSettings, target: Target<'_>) -> Result<u64, ImageError> {
        let mut tree = Tree::new();
        let mtime = self.assembly.recipe.source_date_epoch;
        let root = Node::directory(Metadata { mtime, ..Metadata::DIRECTORY }, Origin::skeleton());
        tree.insert(TreePath::root(), root);
        let tree = tree
            .validate()
            .map_err(|error| ImageError::Settings { format: "data", reason: error.to_string() })?;
        let settings = ext4::Settings {
            size: ext4::Size::Exact(data.size),
            journal: ext4::Journal::Default,
            label: DataSettings::LABEL.into(),
            uuid: self.identifier("data").0,
            hash_seed: self.identifier("hash seed of data").0,
            created: mtime,
            ..Default::default()
        };
        ext4::write(&tree, &settings, target)
    }

    /// The configuration that Firecracker starts the outputs with, in their directory.
    fn firecracker(&self, spec: &ImageSpec) -> Result<String, AssembleError> {
        let recipe = self.assembly.recipe;
        if self.image.kernel.is_none() {
            return Err(AssembleError::NoKernel { format: spec.format });
        }
        // As `with_roots` has it.
        let format = spec.root_format();
        let root = recipe.images.iter().find(|other| other.format == format).cloned();
        let root = root.unwrap_or_else(|| ImageSpec { format, root: None, ..spec.clone() });
        let has_device = format.is_file_system();
        let initramfs = if has_device { boot_name() } else { root.file_name() };
        let mut config = firecracker::Config::new(firecracker::BootSource {
            kernel_image_path: VMLINUX.to_owned(),
            boot_args: firecracker::boot_args(&super::manifest::command_line(recipe.arch), recipe.arch),
            initrd_path: Some(initramfs),
        });
        let drive = |id: &str, path: String, is_root_device: bool| firecracker::Drive {
            drive_id: id.to_owned(),
            path_on_host: path,
            is_root_device,
            is_read_only: is_root_device,
            partuuid: None,
        };
        if has_device {
            config.drives.push(drive("root", root.file_name(), true));
        }
        if recipe.data.is_some() {
            config.drives.push(drive("data", DATA.to_owned(), false));
        }
        config.to_json().map_err(|error| AssembleError::Bug(error.to_string()))
    }

    /// Writes a disk; gives its length and that of its root.
    fn disk(
        &self,
        spec: &ImageSpec,
        boot: &BootProgram,
        root: &ValidTree,
        target: Target<'_>,
    ) -> Result<(u64, u64), ImageError> {
        let recipe = self.assembly.recipe;
        let guid = |purpose: &str| Guid::from_bytes(self.uuid(spec, purpose).0);
        let tree = disk::esp_tree(recipe.arch, boot.program.clone(), recipe.source_date_epoch)
            .validate()
            .map_err(|error| ImageError::Settings { format: "disk", reason: error.to_string() })?;
        let mut volume_id = [0; 4];
        volume_id.copy_from_slice(&self.uuid(spec, "ESP volume").0[..4]);
        let esp = fat::Settings { volume_id: u32::from_le_bytes(volume_id), ..fat::Settings::default() };
        let mut partitions = vec![Partition::esp(guid("ESP"), &tree, esp)];
        let root_size = Cell::new(boot.initramfs_size);
        if spec.root_format().is_file_system() {
            partitions.push(Partition::root(recipe.arch, guid(ROOT_PARTITION), |target| {
                let length = self.file_system(spec, spec.root_format(), root, target)?;
                root_size.set(length);
                Ok(length)
            }));
        }
        if let Some(data) = &recipe.data {
            let write = |target: Target<'_>| self.data(data, target);
            partitions.push(Partition::data(guid("data partition"), DataSettings::LABEL, write));
        }
        let disk_guid = spec.uuid.map_or_else(|| guid("disk"), |uuid| Guid::from_bytes(uuid.0));
        let layout = disk::write(partitions, &disk::Settings { disk_guid, size: spec.size }, target)?;
        Ok((layout.length, root_size.get()))
    }

    /// What the firmware starts: kernel, initramfs and command line in one program.
    fn boot_program(&self, spec: &ImageSpec, root: &ValidTree) -> Result<BootProgram, AssembleError> {
        let recipe = self.assembly.recipe;
        let Some(kernel) = &self.image.kernel else {
            return Err(AssembleError::NoKernel { format: spec.format });
        };
        let stub_path = efi_stub(spec, recipe.arch);
        let locked = self.assembly.locked_file(FileRole::EfiStub, &stub_path.to_string_lossy())?;
        let found = locked.as_ref().unwrap_or(&stub_path);
        let size = fs_err::metadata(found).map_err(|source| AssembleError::NoEfiStub { source })?.len();
        let stub = Content::from_path(found.clone(), size);
        let mut command_line = super::manifest::command_line(recipe.arch);
        let initramfs = if spec.root_format().is_file_system() {
            let partition = Guid::from_bytes(self.uuid(spec, ROOT_PARTITION).0);
            command_line.push_str(&format!(" root=PARTUUID={partition} ro"));
            let compression = ImageSpec::new(ImageFormat::Initramfs).compression();
            self.spooled_initramfs(&self.boot_tree()?, compression, Members::One)?
        } else {
            self.spooled_initramfs(root, spec.compression(), Members::Layers)?
        };
        let initramfs_size = initramfs.len();
        let program = uki::build(&uki::Parts {
            arch: recipe.arch,
            stub,
            kernel: kernel.image.clone(),
            initramfs: Some(initramfs),
            command_line,
            os_release: None,
            release: None,
        })
        .map_err(|source| AssembleError::BootProgram {
            stub: stub_path,
            kernel: kernel.name.clone(),
            source,
        })?;
        Ok(BootProgram { program, initramfs_size })
    }

    /// An initramfs in a nameless file.
    fn spooled_initramfs(
        &self,
        tree: &ValidTree,
        compression: Compression,
        members: Members,
    ) -> Result<Content, AssembleError> {
        let mut file = self.scratch_file()?;
        self.write_initramfs(tree, compression, members, &mut file)?;
        let length = file.metadata().map_err(|source| self.scratch_failed(source))?.len();
        Ok(Content::from_range(Arc::new(file), 0, length))
    }

    fn scratch_file(&self) -> Result<std::fs::File, ImageError> {
        tempfile::tempfile_in(&self.assembly.spool_directory).map_err(|source| self.scratch_failed(source))
    }

    fn scratch_failed(&self, source: std::io::Error) -> ImageError {
        ImageError::Output { path: self.assembly.spool_directory.clone(), source }
    }

    /// The identifier of a part of an image.
    fn uuid(&self, spec: &ImageSpec, purpose: &str) -> Uuid {
        match spec.uuid {
            Some(uuid) => self.identifier(&format!("{uuid} {purpose}")),
            None => self.identifier(&format!("{} {purpose}", spec.format)),
        }
    }

    /// The same for the same paths, owners, modes, times and sizes.
    fn identifier(&self, purpose: &str) -> Uuid {
        let sha256 = |parts: &[&[u8]]| {
            let mut context = digest::Context::new(&digest::SHA256);
            parts.iter().for_each(|part| context.update(part));
            let mut hash = [0; 32];
            hash.copy_from_slice(context.finish().as_ref());
            hash
        };
        let outline = self.outline.get_or_init(|| sha256(&[self.image.tree.outline().as_bytes()]));
        Uuid::from_hash(&sha256(&[purpose.as_bytes(), &[0], outline]))
    }

    /// What mounts a root file system and becomes its PID 1.
    fn boot_tree(&self) -> Result<ValidTree, AssembleError> {
        let recipe = self.assembly.recipe;
        let modules =
            self.image.kernel.as_ref().map(|kernel| kernel.root_modules.as_slice()).unwrap_or_default();
        let tree =
            init_conf::boot_initramfs(recipe.arch, modules, recipe.run.on_exit, recipe.source_date_epoch);
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
        let env = start
            .env
            .iter()
            .filter(|(name, _)| !is_secret(name))
            .map(|(name, value)| format!("{name}={value}"));
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
        members: Members,
    ) -> Result<Written, AssembleError> {
        if let Some(kernel) = &self.image.kernel {
            kernel.check_compression(compression)?;
        }
        Ok(self.output.file(name, |file| self.write_initramfs(tree, compression, members, file))?)
    }

    fn write_initramfs(
        &self,
        tree: &ValidTree,
        compression: Compression,
        members: Members,
        output: &mut dyn std::io::Write,
    ) -> Result<(), ImageError> {
        // The kernel unpacks one member after the other. Without compression there is nothing to save.
        if members == Members::Layers && compression != Compression::None {
            // What changes least is unpacked first.
            self.write_member(tree, compression, &|path, node| layer_of(path, node) < TOP_LAYER, output)?;
            self.write_member(tree, compression, &|path, node| layer_of(path, node) == TOP_LAYER, output)
        } else {
            self.write_member(tree, compression, &|_, _| true, output)
        }
    }

    /// One member of an initramfs, as it may have been compressed before.
    fn write_member(
        &self,
        tree: &ValidTree,
        compression: Compression,
        wanted: cpio::Wanted<'_>,
        output: &mut dyn std::io::Write,
    ) -> Result<(), ImageError> {
        let derived = self.assembly.fetcher.derived();
        let features = self.features();
        let sum = cpio::member_sum(tree, wanted)?;
        let key = format!("{compression:?} {features:?} {}", hex::encode(sum));
        if let Some(member) = derived.blob("member", &key) {
            return copy(&member, output);
        }
        let mut kept = match derived.nameless() {
            Ok(file) => file,
            // Without it there is only nothing for the next run.
            Err(_) => return self.compress_member(tree, compression, wanted, output),
        };
        self.compress_member(tree, compression, wanted, &mut kept)?;
        let length = kept.metadata().map_err(ImageError::Write)?.len();
        let member = Content::from_range(Arc::new(kept), 0, length);
        copy(&member, output)?;
        let _ = derived.keep_blob("member", &key, &member);
        Ok(())
    }

    fn compress_member(
        &self,
        tree: &ValidTree,
        compression: Compression,
        wanted: cpio::Wanted<'_>,
        output: &mut dyn std::io::Write,
    ) -> Result<(), ImageError> {
        // Headers and names make some of it too.
        let bytes = tree.bytes().saturating_add(tree.bytes() / 8);
        let threads = Compressor::<Vec<u8>>::useful_threads(compression, bytes, self.threads);
        let mut compressor = Compressor::new(output, compression, self.features(), threads)?;
        cpio::write_member(tree, wanted, &mut compressor)?;
        compressor.finish().map_err(ImageError::Write)?;
        Ok(())
    }
}

/// How many archives an initramfs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Members {
    /// One.
    One,
    /// The application, and what it stands on.
    Layers,
}

/// What firmware starts.
struct BootProgram {
    program: Content,
    initramfs_size: u64,
}

/// What the identifier of a disk's root partition is made for: the command line names it.
const ROOT_PARTITION: &str = "root partition";
/// The name of the initramfs that leads to a root file system in the output directory.
fn boot_name() -> String {
    format!("boot.cpio{}", ImageSpec::new(ImageFormat::Initramfs).compression().suffix())
}

/// The name of the uncompressed kernel in the output directory.
const VMLINUX: &str = "vmlinux";
/// The name of the file system for data in the output directory.
const DATA: &str = "data.ext4";

/// The images that are asked for, and the roots of those that have theirs in a file of its own.
fn with_roots(images: &[ImageSpec]) -> Vec<ImageSpec> {
    let mut specs = images.to_vec();
    for spec in images.iter().filter(|spec| spec.format == ImageFormat::Firecracker) {
        let format = spec.root_format();
        if !specs.iter().any(|other| other.format == format) {
            specs.push(ImageSpec { format, root: None, ..spec.clone() });
        }
    }
    specs
}

/// Where the program is that starts kernel and initramfs in a unified kernel image.
pub(super) fn efi_stub(spec: &ImageSpec, arch: Arch) -> PathBuf {
    spec.efi_stub.clone().unwrap_or_else(|| {
        let name = match arch {
            Arch::X86_64 => "x64",
            Arch::Aarch64 => "aa64",
            Arch::Riscv64 => "riscv64",
        };
        PathBuf::from(format!("/usr/lib/systemd/boot/efi/linux{name}.efi.stub"))
    })
}

/// The layers of a container image, the lowest first.
const LAYERS: [&str; 3] = ["packages", "Erlang/OTP and Elixir", "release"];

/// What the application brings, and what is worked out from it.
const TOP_LAYER: usize = LAYERS.len() - 1;

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
        ImageFormat::Erofs => erofs::losses(tree),
        ImageFormat::Tar => tar::losses(tree),
        ImageFormat::Oci | ImageFormat::OciArchive => oci::losses(tree),
        _ => Vec::new(),
    }
}

fn copy(content: &Content, file: &mut dyn std::io::Write) -> Result<(), ImageError> {
    content.copy_to(file).map_err(ImageError::Write)
}
