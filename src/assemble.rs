//! The pipeline, from a [`Recipe`] to images, kernel and manifest. The only place that knows every stage.

mod applications;
mod error;
mod images;
mod inputs;
mod kernel;
mod lock;
mod manifest;
mod otp;
mod packages;
mod tree;
mod vendor;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use error::{AssembleError, FailureKind};
pub use lock::{LockRequest, Update, lock};
pub use vendor::{Vendored, fetch_locked, vendor};

use self::inputs::Inputs;
use self::kernel::ImageKernel;
use self::lock::{Locked, Locking};
use self::packages::{Packages, Selection, UsedPackage};
use self::tree::{Draft, Layers};
use self::world::World;
use crate::apk::Quoted;
use crate::cache::Memo;
use crate::elf::Libc;
use crate::fetch::{FetchSettings, Fetcher, load_keys, load_repository_keys};
use crate::image::ImageError;
use crate::image::output::OutputDirectory;
use crate::layer::libraries::{self, Closure, MissingLibrary};
use crate::layer::overlay;
use crate::layer::package_db;
use crate::layer::release::{self, Release};
use crate::layer::script::ScriptReport;
use crate::layer::special;
use crate::layer::start::StartPlan;
use crate::layer::sysroot;
use crate::lock::{ArchLock, LockedLibrary};
use crate::prune::{self, Reason, Removal, RewriteInput};
use crate::recipe::{Recipe, Repository, RepositorySource};
use crate::report::manifest::{LeftOut, Manifest, UnfollowedCall};
use crate::report::progress::{Progress, while_telling};
use crate::report::signature::{self, SigningKey};
use crate::report::trace::Trace;
use crate::report::{Event, Reporter, Stage, limit};
use crate::tree::{Tree, TreePath, ValidTree};

/// The name of the manifest in the output directory.
pub const MANIFEST: &str = Manifest::FILE_NAME;
/// The name of the manifest's signature in the output directory.
pub const SIGNATURE: &str = signature::FILE_NAME;
/// The name of the kernel in the output directory.
pub const KERNEL: &str = "kernel";

/// Assembles what `recipe` says and writes it to [`Recipe::output`]: the images, the kernel beside them, and
/// `manifest.json`, which is also the result.
///
/// No other program is started, nothing outside of the output and cache directories is written, and a run that
/// fails (or is killed) leaves what was there before.
///
/// # Errors
/// [`AssembleError`]; its [`kind`](AssembleError::kind) says whose fault it is, its
/// [`hint`](AssembleError::hint) what to do.
///
/// ```no_run
/// use leanfs::{arch::Arch, recipe::Recipe, report::Silent};
///
/// let recipe = Recipe::new("_build/prod/rel/hello", Arch::X86_64, "leanfs", "/var/cache/leanfs");
/// let manifest = leanfs::assemble(&recipe, &Silent)?;
/// for output in &manifest.outputs {
///     println!("{}: {} bytes", output.name, output.size);
/// }
/// # Ok::<(), leanfs::AssembleError>(())
/// ```
pub fn assemble(recipe: &Recipe, reporter: &dyn Reporter) -> Result<Manifest, AssembleError> {
    let locking = Locked::of(recipe)?.map_or(Locking::None, |locked| Locking::Locked(Box::new(locked)));
    let mut assembly = Assembly::new(recipe, reporter, locking)?;
    let result = assembly.assemble();
    // What the cache has for this run may turn out to be damaged when it is read; then the run goes on without.
    if result.is_ok() || !assembly.warn_of_damage() {
        return result;
    }
    assembly.forget_memo()?;
    assembly.assemble()
}

/// By what the cache knows a release: its next version has the same name.
fn memo_name(recipe: &Recipe) -> String {
    let name = recipe.release.file_name().unwrap_or_default().to_string_lossy();
    format!("{name} {}", recipe.arch)
}

fn load_signing_key(path: &Path) -> Result<SigningKey, AssembleError> {
    let pem =
        fs_err::read(path).map_err(|source| AssembleError::ReadInput { path: path.to_owned(), source })?;
    SigningKey::from_pem(&pem).map_err(|source| AssembleError::SigningKey { path: path.to_owned(), source })
}

/// What stays the same while the tree is made, again and again, until nothing is missing.
struct Assembly<'a> {
    recipe: &'a Recipe,
    reporter: &'a dyn Reporter,
    fetcher: Fetcher<'a>,
    spool_directory: PathBuf,
    /// What was worked out for this release before.
    memo: Arc<Memo>,
    /// What signs the manifest.
    signing_key: Option<SigningKey>,
    notes: Notes<'a>,
    /// Whether packages come from a lock, or one is made.
    locking: Locking<'a>,
    /// What came from the sysroot, to be locked.
    libraries: Mutex<Vec<LockedLibrary>>,
}

/// Everything that the outputs are made from.
struct Image {
    tree: ValidTree,
    release: Release,
    /// How the release is started.
    start: StartPlan,
    otp_source: &'static str,
    kernel: Option<ImageKernel>,
    packages: Vec<UsedPackage>,
    left_out: Vec<LeftOut>,
    scripts: ScriptReport,
    removals: Vec<Removal>,
    /// Which ELF files need which libraries; nothing is missing.
    libraries: Closure,
    /// Why files stayed that pruning looked at.
    reasons: BTreeMap<TreePath, Reason>,
    /// How large files were that pruning rewrote.
    sizes_before: BTreeMap<TreePath, u64>,
    unfollowed: Vec<UnfollowedCall>,
    inputs: Inputs,
    /// What is to be locked, if that is what the run is for.
    lock: Option<ArchLock>,
}

impl<'a> Assembly<'a> {
    fn new(
        recipe: &'a Recipe,
        reporter: &'a dyn Reporter,
        locking: Locking<'a>,
    ) -> Result<Self, AssembleError> {
        // A key that can't sign is better known before all the work.
        let signing_key = recipe.sign_manifest.as_deref().map(load_signing_key).transpose()?;
        let fetcher = fetcher(recipe, reporter)?;
        let spool_directory = fetcher.temporary_directory();
        let memo = Arc::new(fetcher.memo(&memo_name(recipe))?);
        Ok(Self {
            recipe,
            reporter,
            fetcher,
            spool_directory,
            memo,
            signing_key,
            notes: Notes { reporter, all: Mutex::default() },
            locking,
            libraries: Mutex::default(),
        })
    }

    /// Drops what was found damaged in the cache, and says so; whether there was something.
    fn warn_of_damage(&self) -> bool {
        self.fetcher.tell_of_shared();
        let damaged = self.fetcher.derived().start_again();
        for path in &damaged {
            self.notes.tell(format!("{} was damaged and is dropped from the cache", path.display()));
        }
        !damaged.is_empty()
    }

    /// Begins with what the cache has now.
    fn forget_memo(&mut self) -> Result<(), AssembleError> {
        self.memo = Arc::new(self.fetcher.memo(&memo_name(self.recipe))?);
        Ok(())
    }

    fn assemble(&self) -> Result<Manifest, AssembleError> {
        let recipe = self.recipe;
        // One that is there is locked at once; one that is not is made when there is something to put in.
        let there = recipe.output.is_dir().then(|| OutputDirectory::open(&recipe.output)).transpose()?;
        let is_new = there.is_none();
        let image = self.run().map_err(|error| self.locking.explain(error))?;
        let output = match there {
            Some(output) => output,
            None => OutputDirectory::open(&recipe.output)?,
        };

        self.reporter.report(Event::Stage { stage: Stage::Image });
        let outputs = images::write(self, &image, &output)?;
        let manifest = manifest::make(self, &image, &outputs, self.notes.all())?;
        if let Err(error) = limit::check(&manifest, recipe.limits, || Manifest::read(&recipe.output).ok()) {
            // Takes what was written with it.
            drop(output);
            if is_new {
                let _ = fs_err::remove_dir(&recipe.output);
            }
            return Err(error.into());
        }
        let text =
            serde_json::to_string_pretty(&manifest).map_err(|error| AssembleError::Bug(error.to_string()))?;
        let text = text + "\n";
        output.file(MANIFEST, |file| file.write_all(text.as_bytes()).map_err(ImageError::Write))?;
        let mut stale = manifest::stale_outputs(&recipe.output, &manifest);
        match &self.signing_key {
            Some(key) => {
                let signature = key.sign(text.as_bytes());
                output.file(SIGNATURE, |file| file.write_all(&signature).map_err(ImageError::Write))?;
            }
            // It would be of the manifest before.
            None => stale.push(SIGNATURE.to_owned()),
        }
        output.commit(&stale)?;
        // What was found damaged on the way was made anew.
        self.warn_of_damage();
        // What can't be kept is worked out again.
        let _ = self.memo.save(self.fetcher.derived(), &memo_name(recipe));
        Ok(manifest)
    }

    fn run(&self) -> Result<Image, AssembleError> {
        let recipe = self.recipe;
        self.reporter.report(Event::Stage { stage: Stage::Release });
        let mut release = Release::open(&recipe.release, &self.spool_directory, recipe.source_date_epoch)?;
        let laid_over = match &recipe.overlay {
            Some(directory) => Some(overlay::read(directory, recipe.source_date_epoch)?),
            None => None,
        };
        let inputs = self.inputs(&release.tree, laid_over.as_ref())?;
        if let Some(laid_over) = &laid_over {
            overlay::lay_over_release(&mut release.tree, laid_over, &tree::constant_path(release::ROOT));
        }
        for note in &release.notes {
            self.notes.note(note.clone());
        }
        let otp = self.otp_choice(&release)?;

        self.reporter.report(Event::Stage { stage: Stage::Resolve });
        let traced = self.traced()?;
        let packages = Packages::new(self);
        let mut world = World::new(self, &release, &otp, &packages)?;
        let kernel = kernel::select(self, &packages)?;
        loop {
            let shell = world.shell.is_some();
            let selection = packages.select(&world.wanted, shell)?;
            let layers = Layers {
                release: &release,
                choice: &otp,
                selection: &selection,
                kernel: kernel.as_ref(),
                laid_over: laid_over.as_ref(),
                shell,
                traced: &traced,
            };
            let draft = self.draft(&layers)?;
            if world.widen(&draft, &packages)? {
                continue;
            }
            for note in &draft.start.notes {
                self.notes.note(note.clone());
            }
            if let Some(reason) = &world.shell {
                self.notes.note(format!("a shell (busybox) is in the image: {reason}"));
            }
            let Draft { mut tree, start, pruned, scripts, closure, boot, boot_path, otp_root } = draft;
            self.tell_scripts(&scripts)?;
            let libraries = self.libraries_from_sysroot(&mut tree, closure)?;
            let progress = Progress::default();
            let rewrite = || {
                let input = RewriteInput {
                    level: recipe.prune.level,
                    strip_lines: recipe.prune.strip_lines,
                    kept_modules: pruned.kept_modules.as_ref(),
                    boot: &boot,
                    boot_path: &boot_path,
                    otp_root: &otp_root,
                    release_root: &tree::constant_path(release::ROOT),
                    jobs: recipe.jobs,
                    memo: &self.memo,
                    progress: &progress,
                };
                prune::rewrite(&mut tree, &input)
            };
            let rewritten = while_telling(self.telling(Stage::Prune, &progress), rewrite)?;
            for (path, reason) in rewritten.left {
                self.notes.note(format!("{path} keeps its symbols: {reason}"));
            }
            if recipe.prune.keep_package_db {
                self.keep_package_db(&mut tree, &selection, &world)?;
            }
            let tree = tree.validate()?;
            special::check(&tree, &recipe.allow_special)?;
            let lock = self.lock_chosen(&packages, &selection, &world.wanted)?;
            return Ok(Image {
                tree,
                release,
                start,
                otp_source: otp.name(),
                kernel,
                packages: selection.packages,
                left_out: selection.left_out,
                scripts,
                removals: pruned.removals,
                libraries,
                reasons: pruned.reasons,
                sizes_before: rewritten.sizes_before,
                unfollowed: pruned.unfollowed,
                inputs,
                lock,
            });
        }
    }

    /// Tells how far a stage is.
    fn telling<'p>(&'p self, stage: Stage, progress: &'p Progress) -> impl FnMut() + Send + 'p {
        let mut before = 0;
        move || {
            let (done, total) = progress.get();
            if std::mem::replace(&mut before, done) != done {
                self.reporter.report(Event::StageProgress { stage, done, total });
            }
        }
    }

    /// Warns of scripts whose effects were not made, as far as the recipe doesn't say something else.
    fn tell_scripts(&self, scripts: &ScriptReport) -> Result<(), AssembleError> {
        for note in &scripts.notes {
            self.notes.note(note.clone());
        }
        let settings = &self.recipe.scripts;
        for script in &scripts.unknown {
            let (package, kind) = (format!("{}-{}", script.package, script.version), script.kind.clone());
            if settings.refuses(&script.package, &kind) {
                return Err(AssembleError::Script { package, kind, text: Quoted::new(&script.text) });
            }
            if !settings.accepts(&script.package, &kind) {
                self.notes.warn(format!(
                    "the {kind} script of {package} is not known to leanfs and has not been run \
                     (`leanfs scripts` shows it)"
                ));
            }
        }
        Ok(())
    }

    /// Puts in what `apk` must know of the packages that are in the tree as it is now.
    fn keep_package_db(
        &self,
        tree: &mut Tree,
        selection: &Selection,
        world: &World,
    ) -> Result<(), AssembleError> {
        let recipe = self.recipe;
        let database = package_db::database(tree, &selection.layers())?;
        // A directory of this machine means nothing in the image.
        let (addresses, directories): (Vec<&RepositorySource>, Vec<&RepositorySource>) =
            recipe.repositories.iter().partition(|source| matches!(source.repository, Repository::Url(_)));
        let repositories: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        if let Some(first) = directories.first() {
            self.notes.note(format!(
                "/etc/apk/repositories has no line for {}{}, which is a directory of this machine",
                first.repository,
                if directories.len() > 1 { " and the others" } else { "" }
            ));
        }
        // For apk a key is good for every repository.
        let has_own = |source: &&RepositorySource| !source.keys.is_empty();
        let keys = match recipe.repositories.iter().all(|source| has_own(&source)) {
            true => Vec::new(),
            false => load_keys(&recipe.keys)?,
        };
        if let Some(source) = recipe.repositories.iter().find(has_own) {
            self.notes.note(format!(
                "/etc/apk/keys has no key that only {} trusts: apk would trust it everywhere",
                source.repository
            ));
        }
        let configuration = package_db::Configuration {
            arch: recipe.arch,
            world: &world.wanted,
            repositories: &repositories,
            keys: &keys,
        };
        Ok(package_db::lay(tree, &database, &configuration, recipe.source_date_epoch)?)
    }

    /// The modules that traces saw.
    fn traced(&self) -> Result<BTreeSet<String>, AssembleError> {
        let mut modules = BTreeSet::new();
        for path in &self.recipe.prune.traces {
            let text = fs_err::read_to_string(path)
                .map_err(|source| AssembleError::ReadTrace { path: path.clone(), source })?;
            let trace =
                Trace::parse(&text).map_err(|source| AssembleError::Trace { path: path.clone(), source })?;
            modules.extend(trace.modules);
        }
        Ok(modules)
    }

    /// Adds what programs of glibc lack from the sysroot, and checks that nothing is missing any more.
    fn libraries_from_sysroot(&self, tree: &mut Tree, closure: Closure) -> Result<Closure, AssembleError> {
        let glibc: Vec<MissingLibrary> =
            closure.missing.iter().filter(|library| library.libc == Libc::Glibc).cloned().collect();
        if glibc.is_empty() {
            closure.check()?;
            return Ok(closure);
        }
        let root = self.recipe.sysroot.clone().unwrap_or_else(|| PathBuf::from("/"));
        let number = match &self.locking {
            Locking::Locked(locked) => locked.add_libraries(self, tree, &root)?,
            Locking::None | Locking::Renewed(_) => {
                let epoch = self.recipe.source_date_epoch;
                let added = sysroot::add(tree, &root, &glibc, self.recipe.arch, epoch)?;
                if let Locking::Renewed(_) = &self.locking {
                    let locked = lock::libraries(tree, &added)?;
                    *self.libraries.lock().unwrap_or_else(PoisonError::into_inner) = locked;
                }
                added.len()
            }
        };
        self.notes.note(format!(
            "{number} shared libraries for glibc come from {}",
            match &self.recipe.sysroot {
                Some(root) => format!("the sysroot {}", root.display()),
                None => "this machine".to_owned(),
            }
        ));
        let closure = libraries::close(tree, self.recipe.arch)?;
        closure.check()?;
        Ok(closure)
    }
}

/// As the recipe says.
fn fetcher<'a>(recipe: &Recipe, reporter: &'a dyn Reporter) -> Result<Fetcher<'a>, AssembleError> {
    let mut settings = FetchSettings::new(&recipe.cache);
    settings.offline = recipe.offline;
    settings.jobs = recipe.jobs;
    settings.keys = load_keys(&recipe.keys)?;
    settings.repository_keys = load_repository_keys(&recipe.repositories, &settings.keys)?;
    settings.limits = recipe.input_limits;
    settings.not_before = recipe.not_before;
    settings.allow_untrusted = recipe.allow_untrusted;
    settings.ca_file = recipe.ca_file.clone();
    settings.proxy = recipe.proxy.clone();
    settings.shared = recipe.shared_cache.clone();
    Ok(Fetcher::new(settings, reporter)?)
}

/// What the user is told beside the result: each thing once, as an event and in the manifest.
struct Notes<'a> {
    reporter: &'a dyn Reporter,
    all: Mutex<Vec<String>>,
}

impl Notes<'_> {
    fn note(&self, text: String) {
        if self.is_new(&text) {
            self.reporter.report(Event::Note { text });
        }
    }

    fn warn(&self, text: String) {
        if self.is_new(&text) {
            self.reporter.report(Event::Warning { text });
        }
    }

    /// A warning that is none of the image's: it does not stand in the manifest.
    fn tell(&self, text: String) {
        self.reporter.report(Event::Warning { text });
    }

    fn is_new(&self, text: &str) -> bool {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let new = !all.iter().any(|there| there == text);
        if new {
            all.push(text.to_owned());
        }
        new
    }

    fn all(&self) -> Vec<String> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
