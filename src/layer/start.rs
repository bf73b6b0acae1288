//! How the release is started: what `erlexec` and the release's own shell scripts would have done, as a plan
//! that PID 1 follows without a shell.
//!
//! | release | what is followed |
//! |---|---|
//! | `mix release` | `bin/NAME start` → `releases/VERSION/elixir` → `erl` → `erlexec` |
//! | relx | `bin/NAME foreground` → `erlexec` |
//! | bare | `erts-VERSION/bin/start_erl` → `erlexec`, with `-noshell` |
//!
//! The arguments are those that `erlexec` would have passed to the emulator, word for word, with these
//! deliberate differences:
//! - Distribution is off unless [`RunSettings::distribution`] is set: `-name` and `-sname` of `vm.args` are
//!   left out. When it is on, `epmd` is a helper of PID 1 and not started by `erlexec`.
//! - Standard output counts as no terminal: no colours in logs.
//! - `RELEASE_TMP` is `/tmp`, and the name of the copied configuration has no time and no random number in it.
//! - Flags that save time and memory are added where the release's own say nothing ([`Profile`]).
//!   A release that a shell starts gets none.
//! - A locale of UTF-8 is assumed (`LANG=C.UTF-8`), and as no locale may be installed, Elixir's emulator gets
//!   `+fnu`, which Elixir itself recommends then (as `ELIXIR_ERL_OPTIONS`, which can be set to something else).
//!
//! [`RunSettings::env`] is the environment that the scripts would have seen, and wins over what `env.sh`
//! exports. Variables that the scripts and `erlexec` always set (`RELEASE_ROOT`, `BINDIR` …) they set here too.
//!
//! `$ROOT` of the boot script is where `kernel` is: the release, or the OTP beside it. Applications that the
//! boot script looks for there, and that stand at the other place, become links ([`StartPlan::links`]).

mod bare;
mod env_script;
mod erlexec;
mod mix;
mod profile;
mod relx;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub use erlexec::FlagError;

use crate::layer::otp::{Otp, application_of};
use crate::layer::release::{ROOT as RELEASE_ROOT, Release, ReleaseKind};
use crate::recipe::{Distribution, Profile, RunSettings};
use crate::tree::{Tree, TreePath};

/// The largest script or configuration file that is read.
const MOST_TEXT_BYTES: u64 = 16 << 20;

/// What PID 1 runs, and what it does before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartPlan {
    /// The program: `beam.smp`, or `/bin/sh` when a shell is needed.
    pub program: TreePath,
    /// Its arguments, `argv[0]` first.
    pub arguments: Vec<Vec<u8>>,
    /// Its environment, as names and values, in byte order of the names.
    pub env: Vec<(String, String)>,
    /// Files that are copied at boot, each as source and target.
    pub copies: Vec<(TreePath, TreePath)>,
    /// Its working directory.
    pub directory: TreePath,
    /// Programs that are started before it, in the background (`epmd`), each with its arguments, `argv[0]`
    /// first.
    pub helpers: Vec<(TreePath, Vec<Vec<u8>>)>,
    /// Why a shell is needed, if one is.
    pub needs_shell: Option<String>,
    /// What the summary should say about the start.
    pub notes: Vec<String>,
    /// Files that the start wants and the tree lacks (relx's configuration with its variables replaced): they
    /// must be put into the tree, over what stands there.
    pub files: Vec<(TreePath, Vec<u8>)>,
    /// Symbolic links that the start wants, each as the link and its target: they must be put into the tree.
    pub links: Vec<(TreePath, Vec<u8>)>,
    /// Programs that run beside `program`: nothing may prune them.
    pub programs: Vec<TreePath>,
}

/// A release that can't be started as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A program or file that the start needs is not in the tree.
    #[error("{path} is not in the image: {needed_for}")]
    NotThere {
        /// Where it should be.
        path: TreePath,
        /// What it is needed for.
        needed_for: &'static str,
    },
    /// A flag that `erlexec` would refuse.
    #[error("the release's flags for the emulator ({from})")]
    Flags {
        /// Where they come from.
        from: String,
        /// What is wrong.
        source: FlagError,
    },
    /// A variable with a value that can't be used.
    #[error("{name} is {value:?}: {reason}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        reason: &'static str,
    },
    /// The boot script uses a variable that nothing sets.
    #[error("the boot script looks into {path}, and nothing says what ${variable} is")]
    UnknownBootVariable {
        /// The directory, escaped.
        path: String,
        /// The variable, escaped.
        variable: String,
    },
    /// The release has no cookie.
    #[error("the release has no releases/COOKIE")]
    NoCookie,
    /// A file can't be read.
    #[error("{path} can't be read")]
    Io {
        /// The file in the image.
        path: TreePath,
        /// What is wrong.
        source: io::Error,
    },
}

impl StartError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoCookie => Some("Set RELEASE_COOKIE in [run] env of leanfs.toml.".into()),
            Self::UnknownBootVariable { variable, .. } => {
                Some(format!("Say it in the release's vm.args: -boot_var {variable} DIRECTORY."))
            }
            Self::Variable { name, .. } => {
                Some(format!("Set {name} in [run] env of leanfs.toml, or in env.sh."))
            }
            _ => None,
        }
    }
}

/// Works out how `release` is started in the image `tree`, in which it stands at
/// [`crate::layer::release::ROOT`] and the OTP at [`Otp::prefix`].
///
/// # Errors
/// [`StartError`]: what `erlexec` or the scripts would refuse, and what is not in the tree.
pub fn plan(tree: &Tree, release: &Release, otp: &Otp, run: &RunSettings) -> Result<StartPlan, StartError> {
    let mut planner = Planner::new(tree, release, otp, run);
    let command = match release.kind {
        ReleaseKind::Mix => mix::command(&mut planner)?,
        ReleaseKind::Relx => relx::command(&mut planner)?,
        ReleaseKind::Bare => bare::command(&mut planner),
    };
    planner.finish(command)
}

/// A command line for `erlexec`, before it looks at it.
struct Command {
    /// What follows `erlexec`.
    arguments: Vec<Vec<u8>>,
    /// Contents of argument files that differ from what the tree holds, by path.
    virtual_files: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where flags come from, for messages.
    flags_from: String,
    /// A script that does the same with a shell, and why it must.
    shell: Option<(String, String)>,
}

/// What the start is planned from, and what has been planned.
struct Planner<'a> {
    tree: &'a Tree,
    release: &'a Release,
    otp: &'a Otp,
    run: &'a RunSettings,
    /// `-root`, with a leading slash.
    root: String,
    /// `-bindir`, with a leading slash.
    bin: String,
    env: BTreeMap<String, String>,
    plan: StartPlan,
}

fn words(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn parse(path: &str) -> TreePath {
    // What can't be a path is nowhere in the tree either; an empty path is its root, which is no file.
    TreePath::parse(path.as_bytes()).unwrap_or_default()
}

impl<'a> Planner<'a> {
    fn new(tree: &'a Tree, release: &'a Release, otp: &'a Otp, run: &'a RunSettings) -> Self {
        let kernel_elsewhere = release.boot.paths().iter().any(|path| {
            path.starts_with("$ROOT/")
                && application_of(path).is_some_and(|(name, version)| {
                    name == "kernel"
                        && tree.resolve(&parse(&format!("{RELEASE_ROOT}/lib/kernel-{version}"))).is_none()
                })
        });
        let root = if kernel_elsewhere { otp.prefix.to_string() } else { format!("/{RELEASE_ROOT}") };
        let mut planner = Self {
            tree,
            release,
            otp,
            run,
            root,
            bin: otp.bin_directory().to_string(),
            env: run.env.clone(),
            plan: StartPlan { directory: parse(RELEASE_ROOT), ..StartPlan::default() },
        };
        let home = if tree.resolve(&parse("root")).is_some() { "/root" } else { "/" };
        planner.set("HOME", home);
        planner.set("LANG", "C.UTF-8");
        planner
    }

    /// Sets a variable unless the settings have it, and says what it is now.
    fn set(&mut self, name: &str, value: &str) -> String {
        if !self.run.env.contains_key(name) {
            self.env.insert(name.to_owned(), value.to_owned());
        }
        self.env.get(name).cloned().unwrap_or_default()
    }

    /// What a script does with `NAME="${NAME:-value}"; export NAME`.
    fn default(&mut self, name: &str, value: &str) -> String {
        let current = self.env.entry(name.to_owned()).or_default();
        if current.is_empty() {
            value.clone_into(current);
        }
        current.clone()
    }

    fn note(&mut self, note: impl Into<String>) {
        self.plan.notes.push(note.into());
    }

    /// Where a file of the release's version stands, with a leading slash.
    fn version_path(&self, name: &str) -> String {
        format!("/{RELEASE_ROOT}{}/{name}", self.release.version_directory)
    }

    /// The bytes of a file in the image, if there is one.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StartError> {
        let path = parse(path);
        match self.tree.file(&path) {
            Some((_, content)) => {
                content.read(MOST_TEXT_BYTES).map(Some).map_err(|source| StartError::Io { path, source })
            }
            None => Ok(None),
        }
    }

    fn must_be_there(&self, path: &str, needed_for: &'static str) -> Result<TreePath, StartError> {
        let path = parse(path);
        if self.tree.file(&path).is_some() {
            Ok(path)
        } else {
            Err(StartError::NotThere { path, needed_for })
        }
    }

    /// The flags for the node's name, if it gets one.
    fn name_flags(&self) -> Vec<Vec<u8>> {
        match &self.run.distribution {
            Some(Distribution { node, long_names, .. }) => {
                words(&[if *long_names { "-name" } else { "-sname" }, node])
            }
            None => Vec::new(),
        }
    }

    /// The flags for the cookie, if the settings have one.
    fn cookie_flags(&self) -> Vec<Vec<u8>> {
        match self.run.distribution.as_ref().and_then(|distribution| distribution.cookie.as_deref()) {
            Some(cookie) => words(&["-setcookie", cookie]),
            None => Vec::new(),
        }
    }

    fn finish(mut self, command: Command) -> Result<StartPlan, StartError> {
        for (name, value) in
            [("BINDIR", self.bin.clone()), ("ROOTDIR", self.root.clone()), ("EMU", "beam".into())]
        {
            self.env.insert(name.to_owned(), value);
        }
        self.default("PROGNAME", "erl");

        let erts_major =
            self.otp.erts_version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        let flags_error = |source| StartError::Flags { from: command.flags_from.clone(), source };
        let read = |path: &[u8]| -> Result<Vec<u8>, String> {
            if let Some(text) = command.virtual_files.get(path) {
                return Ok(text.clone());
            }
            let path = match path.first() {
                Some(b'/') => TreePath::parse(path),
                _ => self.plan.directory.join(path),
            };
            let path = path.map_err(|error| error.reason.to_owned())?;
            match self.tree.file(&path) {
                Some((_, content)) => content.read(MOST_TEXT_BYTES).map_err(|error| error.to_string()),
                None => Err("it is not in the image".to_owned()),
            }
        };
        let sources = erlexec::Sources { env: &self.env, erts_major, read: &read };
        let mut merged = erlexec::merge(&command.arguments, &sources).map_err(flags_error)?;
        self.settle_distribution(&mut merged.flags, command.shell.is_some());
        self.check_boot_paths(&merged.flags)?;
        let mut translated = erlexec::translate(merged, erts_major).map_err(flags_error)?;
        profile::add(&mut translated.emulator_flags, self.run.profile);

        let emulator = format!("{}/{}", self.bin, translated.emulator);
        let emulator_path =
            self.must_be_there(&emulator, "it is the emulator that the release is started with")?;
        let child_setup = parse(&format!("{}/erl_child_setup", self.bin));
        self.plan.programs.extend(self.tree.file(&child_setup).map(|_| child_setup));
        // As erlexec: the emulator finds its own programs (inet_gethost) there.
        let path = self.env.get("PATH").map_or(USUAL_PATH, String::as_str);
        let path = format!("{}:{}/bin:{path}", self.bin, self.root);
        self.env.insert("PATH".to_owned(), path);

        if let Some((script, reason)) = command.shell {
            let erlexec =
                self.must_be_there(&format!("{}/erlexec", self.bin), "the release's env.sh needs a shell")?;
            self.plan.program = parse("bin/sh");
            self.plan.arguments = words(&["sh", "-c", &script]);
            self.plan.programs.extend([erlexec, emulator_path]);
            self.plan.needs_shell = Some(reason);
            if self.run.profile == Profile::Tiny {
                self.note("profile tiny adds no flags: a shell starts the release with its own");
            }
            if translated.distributed && translated.epmd {
                let epmd = self.must_be_there(&format!("{}/epmd", self.bin), "distribution is on")?;
                self.plan.programs.push(epmd);
            }
        } else {
            for (name, value) in translated.env {
                // The plan's environment is text, as everything that sets variables in releases is.
                let (name, value) = (String::from_utf8_lossy(&name), String::from_utf8_lossy(&value));
                self.env.insert(name.into_owned(), value.into_owned());
            }
            if translated.detached {
                self.note("-detached is not followed: PID 1 keeps the emulator in the foreground");
            }
            if translated.distributed && translated.epmd {
                let epmd = self.must_be_there(&format!("{}/epmd", self.bin), "distribution is on")?;
                self.plan.helpers.push((epmd, words(&["epmd"])));
            }
            let variable = |name: &str| self.env.get(name).cloned().unwrap_or_default();
            let mut arguments = words(&[self.env.get("ESCRIPT_NAME").unwrap_or(&emulator)]);
            arguments.extend(translated.emulator_flags);
            arguments.extend(words(&["--", "-root", &self.root, "-bindir", &self.bin]));
            arguments.extend(words(&["-progname", &variable("PROGNAME"), "--", "-home", &variable("HOME")]));
            if let Some(port) = self.env.get("ERL_EPMD_PORT") {
                arguments.extend(words(&["-epmd_port", port]));
            }
            arguments.extend(words(&["--"]));
            arguments.extend(translated.init_flags);
            self.plan.program = emulator_path;
            self.plan.arguments = arguments;
        }
        self.plan.env = self.env.into_iter().collect();
        Ok(self.plan)
    }

    /// Leaves only the names that the settings gave, and one cookie if they gave one.
    fn settle_distribution(&mut self, flags: &mut Vec<Vec<u8>>, shell: bool) {
        let ours = self.name_flags();
        let our_cookie = self.cookie_flags();
        let (mut kept_name, mut kept_cookie) = (false, false);
        let mut dropped = Vec::new();
        let mut left = Vec::with_capacity(flags.len());
        let mut all = std::mem::take(flags).into_iter().peekable();
        while let Some(flag) = all.next() {
            let is_name = flag == b"-name" || flag == b"-sname";
            let is_cookie = flag == b"-setcookie" && !our_cookie.is_empty();
            if !is_name && !is_cookie {
                left.push(flag);
                continue;
            }
            let mut group = vec![flag];
            while let Some(value) = all.next_if(|next| !next.starts_with(b"-") && !next.starts_with(b"+")) {
                group.push(value);
            }
            let (wanted, kept) =
                if is_name { (&ours, &mut kept_name) } else { (&our_cookie, &mut kept_cookie) };
            if group == *wanted && !*kept {
                *kept = true;
                left.append(&mut group);
            } else if is_name {
                dropped.push(group.join(&b' ').escape_ascii().to_string());
            }
        }
        *flags = left;
        if dropped.is_empty() {
            return;
        }
        let dropped = dropped.join(", ");
        self.note(match (shell, self.run.distribution.is_some()) {
            (true, _) => format!("{dropped} in vm.args is followed, because a shell starts the release"),
            (false, true) => {
                format!("{dropped} in vm.args is not followed: [run] distribution names the node")
            }
            (false, false) => format!(
                "{dropped} in vm.args is not followed: distribution is off unless [run] \
                distribution asks for it"
            ),
        });
    }

    /// Finds every directory that the boot script looks into; links what stands elsewhere.
    fn check_boot_paths(&mut self, flags: &[Vec<u8>]) -> Result<(), StartError> {
        let mut variables: BTreeMap<String, String> =
            BTreeMap::from([("ROOT".to_owned(), self.root.clone())]);
        for window in flags.windows(3).filter(|window| window[0] == b"-boot_var") {
            let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
            variables.entry(text(&window[1])).or_insert_with(|| text(&window[2]));
        }
        let mut missing = BTreeSet::new();
        for path in self.release.boot.paths() {
            let Some((variable, below)) = path.strip_prefix('$').and_then(|path| path.split_once('/')) else {
                continue;
            };
            let Some(value) = variables.get(variable) else {
                return Err(StartError::UnknownBootVariable {
                    path: path.escape_debug().to_string(),
                    variable: variable.escape_debug().to_string(),
                });
            };
            if application_of(path).is_none()
                || self.tree.resolve(&parse(&format!("{value}/{below}"))).is_some()
            {
                continue;
            }
            // lib/kernel-10.2 of lib/kernel-10.2/ebin; with other variables than $ROOT there is no lib/.
            let Some(directory) = below.strip_suffix("/ebin") else { continue };
            let name = directory.rsplit('/').next().unwrap_or(directory);
            let elsewhere =
                [format!("/{RELEASE_ROOT}/lib/{name}"), format!("{}/lib/{name}", self.otp.prefix)]
                    .into_iter()
                    .find(|place| self.tree.resolve(&parse(place)).is_some());
            match elsewhere {
                Some(place) => {
                    self.plan.links.push((parse(&format!("{value}/{directory}")), place.into_bytes()));
                }
                None => {
                    missing.insert(name.escape_debug().to_string());
                }
            }
        }
        if !missing.is_empty() {
            let missing: Vec<String> = missing.into_iter().collect();
            self.note(format!(
                "the boot script looks into applications that are not in the image: {}",
                missing.join(", ")
            ));
        }
        Ok(())
    }
}

/// Where programs are, behind OTP's own.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
