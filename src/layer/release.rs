//! The release: what `mix release`, rebar3 (relx) or a bare `systools:make_tar` made, from a directory or a
//! tarball.
//!
//! A release is recognised by `releases/VERSION/` with a boot script (`start.boot` or `NAME.boot`) and a `.rel`
//! file that fits it, there or in `releases/`. `releases/start_erl.data` says which version counts; without it
//! there must be only one.
//!
//! What is put into the tree does not depend on who built the release, when, or with which umask: everything
//! belongs to root, modes are 0755 and 0644 by the owner's executable bit, and every time is the epoch that is
//! given (build times differ from build to build, and nothing at run time reads them). Symbolic links are kept
//! as they are. The `tmp/` directory of a release that has been run is left out.

mod find;
mod read;

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;
use crate::beam::{BeamError, BootScript, Module, ReleaseFile, StartType, is_platform_application};
use crate::tree::{NodeKind, Tree, TreePath};

/// Where the release stands in an image, without a leading slash.
pub const ROOT: &str = "app";

/// The largest `.rel`, script or configuration file that is read.
const MOST_TEXT_BYTES: u64 = 16 << 20;
/// The largest boot script and the largest module that are read.
const MOST_BINARY_BYTES: u64 = 64 << 20;

/// A release, opened.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its name, from the `.rel` file.
    pub name: String,
    /// Its version, from the `.rel` file.
    pub version: String,
    /// The version of ERTS that it was made with.
    pub erts_version: String,
    /// Its applications, in the order of the `.rel` file.
    pub applications: Vec<Application>,
    /// The version of the emulator that it brings in `erts-VERSION/`, if it does.
    pub own_erts: Option<String>,
    /// Everything in it, relative to its root.
    pub tree: Tree,
    /// What made it, which decides how it is started.
    pub kind: ReleaseKind,
    /// Where its version's files stand: `releases/VERSION`.
    pub version_directory: TreePath,
    /// The name of its boot script, without `.boot`.
    pub boot_name: String,
    /// Its boot script.
    pub boot: BootScript,
    /// What the summary should say about it.
    pub notes: Vec<String>,
}

/// An application of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it is started.
    pub start_type: StartType,
    /// Whether the release brings it, in `lib/NAME-VERSION`; the others must come from OTP.
    pub own: bool,
}

/// What made a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseKind {
    /// `mix release`: `bin/NAME`, `releases/VERSION/{elixir,env.sh,vm.args,sys.config}`.
    Mix,
    /// relx (`rebar3 release`): `bin/NAME`, `releases/VERSION/{vm.args,sys.config}` or their `.src`.
    Relx,
    /// `systools:make_tar`: no scripts; `sys.config` perhaps.
    Bare,
}

/// A release that can't be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// There is nothing.
    #[error("there is no release at {}", .path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is something else.
    #[error("{} is not a release: {reason}", .path.display())]
    NotARelease {
        /// What was looked at.
        path: PathBuf,
        /// What was looked for.
        reason: String,
        /// What it is, as far as leanfs knows.
        is: Lookalike,
    },
    /// Several versions, and nothing that says which.
    #[error("{} holds several versions ({}) and no releases/start_erl.data that says which counts", .path.display(), .versions.join(", "))]
    SeveralVersions {
        /// The release.
        path: PathBuf,
        /// The versions, in byte order.
        versions: Vec<String>,
    },
    /// A file of the release that can't be understood.
    #[error("{} of {}", .inside, .path.display())]
    File {
        /// The release.
        path: PathBuf,
        /// The file in it.
        inside: TreePath,
        /// What is wrong.
        source: BeamError,
    },
    /// Files of the release that contradict each other.
    #[error("{}: {reason}", .path.display())]
    Contradiction {
        /// The release.
        path: PathBuf,
        /// What contradicts what.
        reason: String,
    },
    /// Something that has no place in an image.
    #[error("{}: {inside} is {what}", .path.display())]
    Unsupported {
        /// The release.
        path: PathBuf,
        /// Where it stands in it.
        inside: TreePath,
        /// What it is.
        what: &'static str,
    },
    /// An application or the emulator is only a link to what is not in the release.
    #[error("{}: {inside} is a link to {target}, which is not in the release", .path.display())]
    LinkLeadsOut {
        /// The release.
        path: PathBuf,
        /// The link.
        inside: TreePath,
        /// Where it leads, escaped.
        target: String,
    },
    /// A tarball that can't be read.
    #[error("{} can't be read", .path.display())]
    Archive {
        /// The tarball.
        path: PathBuf,
        /// What is wrong.
        source: ArchiveError,
    },
    /// Something can't be read.
    #[error("{} can't be read", .path.display())]
    Io {
        /// The release.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

/// What stands where a release should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookalike {
    /// A Mix project, whose release has not been made or is in `_build/prod/rel`.
    MixProject,
    /// A rebar3 project.
    RebarProject,
    /// An archive that can't be read as one, or of another kind.
    Archive,
    /// Anything else.
    Unknown,
}

impl ReleaseError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { .. } => {
                "Make one with `MIX_ENV=prod mix release`, or name a directory or a tarball with --release.".into()
            }
            Self::NotARelease { is: Lookalike::MixProject, .. } => {
                "This is a Mix project: make its release with `MIX_ENV=prod mix release` (or pass --build); it comes \
                 to stand under _build/prod/rel."
                    .into()
            }
            Self::NotARelease { is: Lookalike::RebarProject, .. } => {
                "This is a rebar3 project: make its release with `rebar3 as prod release`; it comes to stand under \
                 _build/prod/rel."
                    .into()
            }
            Self::NotARelease { is: Lookalike::Archive, .. } | Self::Archive { .. } => {
                "A release's tarball is a .tar, plain or compressed with gzip, xz or zstd.".into()
            }
            Self::NotARelease { is: Lookalike::Unknown, .. } => {
                "A release is what `mix release`, `rebar3 release` or `systools:make_tar` makes.".into()
            }
            Self::SeveralVersions { .. } => {
                "Keep one directory below releases/, or write \"ERTS-VERSION VERSION\" into releases/start_erl.data."
                    .into()
            }
            Self::LinkLeadsOut { .. } => {
                "The release was made for development (relx's dev_mode); make one with `rebar3 as prod release`."
                    .into()
            }
            Self::Unsupported { .. } => "A release holds files, directories and symbolic links.".into(),
            Self::File { .. } | Self::Contradiction { .. } | Self::Io { .. } => return None,
        })
    }
}

impl Release {
    /// Opens the release at `path`: a directory, or a tarball (plain, gzip, xz or zstd, told apart by content),
    /// whose contents are unpacked into a nameless file in `spool_dir`. In a tarball everything may stand in
    /// one directory. `epoch` (seconds since 1970) is the time that every node gets.
    ///
    /// # Errors
    /// [`ReleaseError`] says what was looked for.
    pub fn open(path: &Path, spool_dir: &Path, epoch: i64) -> Result<Self, ReleaseError> {
        let metadata = match fs_err::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ReleaseError::Missing { path: path.to_owned() });
            }
            Err(source) => return Err(ReleaseError::Io { path: path.to_owned(), source }),
        };
        let mut notes = Vec::new();
        let tree = if metadata.is_dir() {
            if !path.join("releases").is_dir() {
                return Err(find::no_releases(path));
            }
            read::directory(path, epoch, &mut notes)?
        } else {
            read::tarball(path, spool_dir, epoch)?
        };
        let found = find::find(path, &tree)?;
        read::check_links(path, &tree)?;
        Ok(Self::assemble(tree, found, notes))
    }

    fn assemble(mut tree: Tree, found: find::Found, mut notes: Vec<String>) -> Self {
        let find::Found { version_directory, boot_name, boot, file } = found;
        let ReleaseFile { name, version, erts_version, applications } = file;
        let applications: Vec<Application> = applications
            .into_iter()
            .map(|(name, version, start_type)| {
                let own = is_directory(&tree, &format!("lib/{name}-{version}/ebin"));
                Application { name, version, start_type, own }
            })
            .collect();
        let own_erts = own_erts(&tree, &erts_version, &mut notes);
        let kind = find::kind(&tree, &name, &version_directory);
        read::set_origins(&mut tree);
        Self {
            name,
            version,
            erts_version,
            applications,
            own_erts,
            tree,
            kind,
            version_directory,
            boot_name,
            boot,
            notes,
        }
    }

    /// Whether it holds Elixir.
    pub fn is_elixir(&self) -> bool {
        self.applications.iter().any(|application| application.name == "elixir")
    }

    /// The text of one of its files, if it is there: `releases/VERSION/vm.args` as `vm.args` and so on.
    ///
    /// # Errors
    /// When it can't be read, or is larger than 16 MiB.
    pub fn version_file(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Ok(path) = self.version_directory.join(name) else { return Ok(None) };
        match self.tree.file(&path) {
            Some((_, content)) => content.read(MOST_TEXT_BYTES).map(Some),
            None => Ok(None),
        }
    }

    /// The modules of its own applications, Elixir's and OTP's apart, that call a function which runs a shell
    /// ([`crate::beam::SHELL_FUNCTIONS`]): the module's path and the function. For such a release an image
    /// without a shell may lack one.
    ///
    /// # Errors
    /// When a module can't be read. One that can't be understood is passed over: the emulator will say so.
    pub fn shell_callers(&self) -> io::Result<Vec<(TreePath, String)>> {
        let library = TreePath::parse(b"lib").expect("a good path");
        let mut callers = Vec::new();
        for (path, node) in self.tree.below(&library) {
            let NodeKind::File(content) = &node.kind else { continue };
            if !path.as_bytes().ends_with(b".beam") || is_of_platform(path) {
                continue;
            }
            let bytes = content.read(MOST_BINARY_BYTES)?;
            if let Ok(module) = Module::parse(&bytes)
                && let Some(call) = module.shell_call()
            {
                callers.push((path.clone(), call.to_string()));
            }
        }
        Ok(callers)
    }
}

/// Whether a path stands in an application of Elixir or OTP: they have functions that would run a shell if the
/// release asked for it (`os:cmd/1` is called by `System.shell`, `Mix`, `inet_db` …).
fn is_of_platform(path: &TreePath) -> bool {
    let Some(directory) = path.components().nth(1) else { return false };
    let name = directory.rsplitn(2, |&byte| byte == b'-').last().unwrap_or(directory);
    std::str::from_utf8(name).is_ok_and(is_platform_application)
}

/// The emulator that stands in the release.
fn own_erts(tree: &Tree, wanted: &str, notes: &mut Vec<String>) -> Option<String> {
    let root = TreePath::root();
    let mut there: Vec<String> = tree
        .below(&root)
        .filter_map(|(path, _)| {
            let mut components = path.components();
            let name = std::str::from_utf8(components.next()?).ok()?.strip_prefix("erts-")?;
            let rest: Vec<&[u8]> = components.collect();
            (rest == [&b"bin"[..], b"beam.smp"]).then(|| name.to_owned())
        })
        .collect();
    if there.iter().any(|version| version == wanted) {
        return Some(wanted.to_owned());
    }
    let other = there.pop()?;
    notes.push(format!(
        "the release brings erts-{other}, but its .rel file wants erts-{wanted}: the one that it brings is taken"
    ));
    Some(other)
}

fn is_directory(tree: &Tree, path: &str) -> bool {
    TreePath::parse(path.as_bytes())
        .ok()
        .and_then(|path| tree.resolve(&path))
        .and_then(|path| tree.get(&path).map(|node| matches!(node.kind, NodeKind::Directory)))
        .unwrap_or(false)
}

/// The newest release under `_build/prod/rel` of a project: where `mix release` and `rebar3 as prod release`
/// put them. The one whose `releases/start_erl.data` (or else the directory itself) was written last; of equal
/// times the last name.
///
/// # Errors
/// When a directory can't be read.
pub fn newest_in_project(project: &Path) -> io::Result<Option<PathBuf>> {
    let releases = project.join("_build/prod/rel");
    if !releases.is_dir() {
        return Ok(None);
    }
    let mut newest = None;
    for entry in fs_err::read_dir(&releases)? {
        let path = entry?.path();
        if !path.join("releases").is_dir() {
            continue;
        }
        let written = fs_err::metadata(path.join("releases/start_erl.data"))
            .or_else(|_| fs_err::metadata(&path))?
            .modified()?;
        newest = newest.max(Some((written, path)));
    }
    Ok(newest.map(|(_, path)| path))
}
