//! One try at the tree: every layer laid, pruned, and its libraries looked up.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::kernel::ImageKernel;
use super::otp::OtpChoice;
use super::packages::{Selection, UsedPackage, parse_dependency};
use super::{AssembleError, Assembly};
use crate::beam::BootScript;
use crate::fetch::Owner;
use crate::kernel::depmod;
use crate::layer::accounts::Accounts;
use crate::layer::libraries::{self, Closure, Elves};
use crate::layer::merge::{self, Precedence};
use crate::layer::otp::{self, Otp};
use crate::layer::release::{self, Release};
use crate::layer::script::{self, PackageScript, ScriptReport};
use crate::layer::start::{self, StartPlan};
use crate::layer::{boot, init_conf, overlay, packages, skeleton};
use crate::prune::{self, PruneInput, Pruned};
use crate::recipe::{DataSettings, PruneLevel};
use crate::report::{Event, Stage};
use crate::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath};

/// A tree that may still lack libraries.
pub(super) struct Draft {
    pub(super) tree: Tree,
    pub(super) start: StartPlan,
    pub(super) pruned: Pruned,
    /// The boot script that the release is started with.
    pub(super) boot: BootScript,
    /// Where that is.
    pub(super) boot_path: TreePath,
    /// Where the Erlang/OTP installation is.
    pub(super) otp_root: TreePath,
    pub(super) scripts: ScriptReport,
    pub(super) closure: Closure,
}

/// What a tree is made from.
pub(super) struct Layers<'a> {
    pub(super) release: &'a Release,
    pub(super) choice: &'a OtpChoice,
    pub(super) selection: &'a Selection,
    pub(super) kernel: Option<&'a ImageKernel>,
    pub(super) laid_over: Option<&'a Tree>,
    /// Whether a shell is in the image.
    pub(super) shell: bool,
    /// Modules that traces saw.
    pub(super) traced: &'a BTreeSet<String>,
}

impl Assembly<'_> {
    /// Lays packages, OTP, release, skeleton, script effects and overlay in this order.
    pub(super) fn draft(&self, layers: &Layers<'_>) -> Result<Draft, AssembleError> {
        let &Layers { release, choice, selection, kernel, laid_over, .. } = layers;
        let recipe = self.recipe;
        let epoch = recipe.source_date_epoch;
        self.reporter.report(Event::Stage { stage: Stage::Layers });
        let mut tree = Tree::new();
        packages::lay(&mut tree, &selection.layers())?;
        let release_root = constant_path(release::ROOT);
        let release_tree = choice.release_tree(release);
        if let Some(files) = choice.files() {
            merge::lay(&mut tree, &constant_path(otp::ROOT), files)?;
        }
        merge::lay(&mut tree, &release_root, &release_tree)?;
        let otp = match choice {
            OtpChoice::Tarball { otp } => Otp::clone(otp),
            OtpChoice::Packages => Otp::in_tree(&tree, &constant_path(otp::ROOT))?,
            OtpChoice::Release => Otp::of_release(release)?,
        };
        let version_directory = below(&release_root, &release.version_directory);
        let boot_path = below(&version_directory, &constant_path(&format!("{}.boot", release.boot_name)));
        let release = &self.adapted(release, &otp, &mut tree, &boot_path)?;
        let start = start::plan(&tree, release, &otp, &recipe.run)?;
        lay_start(&mut tree, &start, epoch);

        let modules = kernel.map(|kernel| kernel.lay(&mut tree, epoch)).unwrap_or_default();
        skeleton::lay(&mut tree, epoch);
        if let Some(data) = &recipe.data {
            lay_data(&mut tree, data, epoch)?;
        }
        let scripts = script::apply(&mut tree, &scripts_of(&selection.packages));
        for text in give_owners(&mut tree, &selection.packages) {
            self.reporter.report(Event::Warning { text });
        }
        lay_pid1(&mut tree, self, &init_conf::render(&start, &recipe.run, &modules, recipe.data.as_ref()))?;

        self.reporter.report(Event::Stage { stage: Stage::Prune });
        let applications: BTreeSet<String> =
            release.applications.iter().map(|application| application.name.clone()).collect();
        let programs = [&start.program]
            .into_iter()
            .chain(&start.programs)
            .chain(start.helpers.iter().map(|(program, _)| program))
            .cloned()
            .collect();
        let mut pruned = prune::prune(
            &mut tree,
            &PruneInput {
                level: recipe.prune.level,
                otp_root: &otp.prefix,
                release_root: &release_root,
                version_directory: &version_directory,
                applications: &applications,
                distribution: recipe.run.distribution.is_some(),
                boot: &release.boot,
                boot_path: &boot_path,
                arguments: &start.arguments,
                programs: &programs,
                shell: layers.shell || start.needs_shell.is_some(),
                overlay: laid_over,
                keep: &recipe.prune.keep,
                traced: layers.traced,
                keep_package_db: recipe.prune.keep_package_db,
                memo: &self.memo,
            },
        )?;
        if let Some(laid_over) = laid_over {
            overlay::lay(&mut tree, laid_over);
        }
        // Who can load modules by their names finds those that nobody listed.
        if ["sbin/modprobe", "usr/sbin/modprobe"]
            .iter()
            .any(|path| tree.resolve(&constant_path(path)).is_some())
        {
            for directory in depmod::complete_lists(&mut tree, epoch)? {
                self.notes.note(format!("the lists of the modules in {directory} are made, as depmod would"));
            }
        }
        let closure = self.close(&mut tree, &mut pruned, &otp, selection)?;
        Ok(Draft {
            tree,
            start,
            pruned,
            boot: release.boot.clone(),
            boot_path,
            otp_root: otp.prefix,
            scripts,
            closure,
        })
    }

    /// The release with a boot script for the Erlang/OTP at hand, which may be another patch than it was made with.
    fn adapted<'r>(
        &self,
        release: &'r Release,
        otp: &Otp,
        tree: &mut Tree,
        boot_path: &TreePath,
    ) -> Result<Cow<'r, Release>, AssembleError> {
        let differences = otp::check(release, otp)?;
        if differences.is_empty() {
            return Ok(Cow::Borrowed(release));
        }
        let boot = boot::adapt(&release.boot, tree, otp, &differences)?;
        let bytes = boot.to_bytes().map_err(|error| AssembleError::Bug(error.to_string()))?;
        if let Some(node) = tree.get_mut(boot_path) {
            node.kind = NodeKind::File(Content::from_bytes(bytes));
        }
        let named: Vec<String> = differences.iter().map(ToString::to_string).collect();
        self.notes.note(format!(
            "the boot script is made anew for another patch of Erlang/OTP than the release was made with: {}",
            named.join("; ")
        ));
        Ok(Cow::Owned(Release { boot, ..release.clone() }))
    }

    /// Finds every library, and takes out those that nothing loads.
    fn close(
        &self,
        tree: &mut Tree,
        pruned: &mut Pruned,
        otp: &Otp,
        selection: &Selection,
    ) -> Result<Closure, AssembleError> {
        let recipe = self.recipe;
        let mut elves = Elves::known_by(Arc::clone(&self.memo));
        let closure = libraries::close_with(tree, recipe.arch, &mut elves)?;
        // To a package that `apk` installs later, the database promises the libraries of those that are there.
        let promised = recipe.prune.keep_package_db
            && ["sbin/apk", "usr/sbin/apk", "usr/bin/apk"]
                .iter()
                .any(|path| tree.file(&constant_path(path)).is_some());
        if recipe.prune.level == PruneLevel::None || promised {
            return Ok(closure);
        }
        let mut asked = BTreeSet::new();
        for text in &recipe.packages {
            let name = parse_dependency(text)?.name;
            let named = selection.packages.iter().filter(|used| used.apk.entry().name == name);
            asked.extend(named.map(|used| used.apk.entry().full_name()));
        }
        let release_root = constant_path(release::ROOT);
        let mut closure = closure;
        // A library that only another needed which has gone is found in the next round.
        loop {
            let needs = closure.libcs.keys().map(|path| (path.clone(), closure.needs(path))).collect();
            let (removals, reasons) =
                prune::unused_libraries(tree, &needs, &[&otp.prefix, &release_root], &asked, &self.memo)?;
            pruned.reasons.extend(reasons);
            if removals.is_empty() {
                pruned.removals.sort_by(|a, b| a.path.cmp(&b.path));
                return Ok(closure);
            }
            pruned.removals.extend(removals);
            closure = libraries::close_with(tree, recipe.arch, &mut elves)?;
        }
    }
}

/// Joins two paths of the image, both of which are there.
fn below(directory: &TreePath, path: &TreePath) -> TreePath {
    directory.join(path.as_bytes()).unwrap_or_else(|_| directory.clone())
}

/// Gives the files of packages that name their owners the numbers of those, now that all accounts are there. Says
/// what names nobody.
fn give_owners(tree: &mut Tree, packages: &[UsedPackage]) -> Vec<String> {
    let mut unknown = BTreeSet::new();
    if packages.iter().all(|used| used.apk.owners().is_empty()) {
        return Vec::new();
    }
    let accounts = Accounts::of(tree);
    for used in packages {
        let name = used.apk.entry().full_name();
        for Owner { path, user, group } in used.apk.owners() {
            let place = tree.resolve_parent(path).unwrap_or_else(|| path.clone());
            // Another package may have it now.
            let Some(node) = tree.get_mut(&place).filter(|node| *node.origin.part == name) else { continue };
            let mut id = |what: &str, owner: &str, id: Option<u32>| match (id, owner) {
                (Some(id), _) => Some(id),
                (None, "root") => Some(0),
                (None, _) => {
                    unknown
                        .insert(format!("{name} has files of the {what} {owner:?}, who is not in the image"));
                    None
                }
            };
            if let Some(uid) = id("user", user, accounts.user_id(user)) {
                node.metadata.uid = uid;
            }
            if let Some(gid) = id("group", group, accounts.group_id(group)) {
                node.metadata.gid = gid;
            }
        }
    }
    unknown.into_iter().collect()
}

fn scripts_of(packages: &[UsedPackage]) -> Vec<PackageScript> {
    packages
        .iter()
        .flat_map(|used| {
            used.apk.scripts().iter().map(|(kind, text)| PackageScript {
                package: used.apk.entry().name.clone(),
                version: used.apk.entry().version.clone(),
                kind: kind.trim_start_matches('.').to_owned(),
                text: String::from_utf8_lossy(text).into_owned(),
            })
        })
        .collect()
}

/// What the start wants beside the release's own files.
fn lay_start(tree: &mut Tree, start: &StartPlan, mtime: i64) {
    let origin = Origin::new(LayerKind::Release, "start");
    for (path, bytes) in &start.files {
        let content = Content::from_bytes(bytes.clone());
        let node = Node::file(content, Metadata { mtime, ..Metadata::FILE }, origin.clone());
        tree.insert_with_parents(path.clone(), node);
    }
    for (path, target) in &start.links {
        let mut node = Node::symlink(target.clone(), origin.clone());
        node.metadata.mtime = mtime;
        tree.insert_with_parents(path.clone(), node);
    }
}

/// The directory that the data is mounted on.
fn lay_data(tree: &mut Tree, data: &DataSettings, mtime: i64) -> Result<(), AssembleError> {
    let path =
        TreePath::parse(data.mount.as_bytes()).map_err(|error| AssembleError::Bug(error.to_string()))?;
    let directory = Node::directory(Metadata { mtime, ..Metadata::DIRECTORY }, Origin::skeleton());
    if tree.resolve(&path).is_none() {
        tree.insert_with_parents(path, directory);
    }
    Ok(())
}

/// PID 1 and its configuration. The overlay may replace both, nothing else.
fn lay_pid1(tree: &mut Tree, assembly: &Assembly<'_>, conf: &[u8]) -> Result<(), AssembleError> {
    let mtime = assembly.recipe.source_date_epoch;
    let origin = Origin::skeleton();
    let program = init_conf::pid1(assembly.recipe.arch).unwrap_or(init_conf::BUSYBOX_PID1);
    let files = [
        (init_conf::PID1_PATH, Content::from_bytes(program.to_vec()), Metadata::PROGRAM),
        // It may hold the cookie of Erlang's distribution.
        (init_conf::PATH, Content::from_bytes(conf.to_vec()), Metadata { mode: 0o600, ..Metadata::FILE }),
    ];
    for (path, content, metadata) in files {
        let node = Node::file(content, Metadata { mtime, ..metadata }, origin.clone());
        merge::claim(tree, &constant_path(path), node, |_| Precedence::Equal)?;
    }
    Ok(())
}

pub(super) fn constant_path(path: &str) -> TreePath {
    TreePath::parse(path.as_bytes()).expect("paths in the code are good")
}
