//! Where the tests get releases, packages and the command from, and what they skip without.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Alpine's release that both mirrors stand for.
const ALPINE: &str = "v3.23";

/// Says that a test can't test here; `None`, for `?`-like returns.
pub(crate) fn skip<T>(reason: &str) -> Option<T> {
    println!("SKIP: {reason}");
    None
}

/// Like [`skip`], but a failure in CI: there, this has to be.
pub(crate) fn missing<T>(what: &str) -> Option<T> {
    assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "{what} is missing, and CI has to have it");
    skip(&format!("{what} is missing"))
}

/// Whether what CI only samples runs too.
pub(crate) fn full() -> bool {
    std::env::var_os("LEANFS_TEST_FULL").is_some()
}

/// Whether all of the programs are there.
pub(crate) fn tools(names: &[&str]) -> Option<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for name in names {
        if !std::env::split_paths(&path).any(|directory| directory.join(name).is_file()) {
            return missing(name);
        }
    }
    Some(())
}

/// Whether this machine's Erlang has applications: pairs of the Debian package and the beginning of the name of the
/// application's directory.
fn erlang_applications(needed: &[(&str, &str)]) -> Option<()> {
    let entries = fs_err::read_dir("/usr/lib/erlang/lib").into_iter().flatten().flatten();
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    for (package, directory) in needed {
        if !names.iter().any(|name| name.starts_with(directory)) {
            return missing(&format!("the Debian package {package}"));
        }
    }
    Some(())
}

/// The checkout.
pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `../shared`, or a visible skip.
pub(crate) fn shared() -> Option<PathBuf> {
    let shared = checkout().join("../shared");
    if shared.join("mirror").is_dir() { Some(shared) } else { skip("../shared is absent") }
}

/// A repository of packages with its keys.
pub(crate) struct Mirror {
    pub(crate) directory: PathBuf,
}

impl Mirror {
    /// The one that `cargo xtask mirror` made: this machine's own Erlang.
    pub(crate) fn host() -> Option<Self> {
        match std::env::var_os("LEANFS_TEST_MIRROR") {
            Some(directory) => Some(Self { directory: directory.into() }),
            None => missing("LEANFS_TEST_MIRROR (`cargo xtask test` makes a test mirror and sets it)"),
        }
    }

    /// Erlang 27 for musl.
    pub(crate) fn shared() -> Option<Self> {
        Some(Self { directory: shared()?.join("mirror") })
    }

    fn repositories(&self) -> [PathBuf; 2] {
        ["main", "community"].map(|name| self.directory.join(ALPINE).join(name))
    }

    /// The flags that take packages from here.
    pub(crate) fn flags(&self) -> Vec<PathBuf> {
        let mut flags = Vec::new();
        for repository in self.repositories() {
            flags.extend([PathBuf::from("--repository"), repository]);
        }
        flags.extend([PathBuf::from("--key"), self.directory.join("keys")]);
        flags
    }

    /// A `leanfs.toml` that takes packages from here, and says nothing else.
    pub(crate) fn toml(&self) -> String {
        let [main, community] = self.repositories();
        format!(
            "[base]\nrepositories = [{main:?}, {community:?}]\nkeys = [{:?}]\n",
            self.directory.join("keys")
        )
    }
}

/// A directory of a test's own, with a cache that all tests share.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command, without what the environment of the tests' caller might change of it.
    pub(crate) fn leanfs<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leanfs"));
        self.tame(&mut command);
        command.args(arguments);
        command
    }

    /// Gives a command the environment and the directory of this bench.
    pub(crate) fn tame(&self, command: &mut Command) {
        command.env_clear().current_dir(self.directory.path()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.directory.path());
        command.env("LEANFS_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("leanfs-cache"));
    }

    /// A sample Mix project in a directory of this bench, and its release made by the host's `mix`: with ERTS as
    /// is mix's default, or without.
    pub(crate) fn mix_project(&self, name: &str, erts: bool) -> Option<PathBuf> {
        tools(&["mix"])?;
        if name == "web" {
            erlang_applications(&[("erlang-ssl", "ssl-")])?;
        }
        let project = self.path(name);
        copy(&checkout().join("fixtures/apps").join(name), &project);
        let mut mix = Command::new("mix");
        mix.current_dir(&project).args(["release", "--quiet"]).env("MIX_ENV", "prod");
        mix.env("INCLUDE_ERTS", erts.to_string()).env("HOME", self.directory.path());
        succeed(&mut mix);
        Some(project)
    }

    /// A sample Erlang application, released by systools alone; the tarball. `needed` is as for
    /// [`erlang_applications`].
    pub(crate) fn systools_release(
        &self,
        name: &str,
        needed: &[(&str, &str)],
        erts: bool,
    ) -> Option<PathBuf> {
        erlang_applications(needed)?;
        self.systools(name, erts.then_some("erts".as_ref()))
    }

    /// A sample Erlang application with the ERTS and the applications of the OTP that stands in `otp`; compiled and
    /// released by the machine's own.
    pub(crate) fn systools_release_with(&self, name: &str, otp: &Path) -> Option<PathBuf> {
        self.systools(name, Some(otp.as_os_str()))
    }

    fn systools(&self, name: &str, otp: Option<&OsStr>) -> Option<PathBuf> {
        tools(&["escript"])?;
        let applications = checkout().join("fixtures/apps");
        let directory = self.path(name);
        let mut escript = Command::new("escript");
        escript.arg(applications.join("systools.escript")).arg(applications.join(name)).arg(&directory);
        succeed(escript.args(otp));
        Some(directory.join(format!("{name}.tar.gz")))
    }

    /// The Erlang application that the host's `rebar3` releases: with its ERTS, or without.
    pub(crate) fn rebar3_release(&self, erts: bool) -> Option<PathBuf> {
        tools(&["rebar3"])?;
        let project = self.path("relx_app");
        copy(&checkout().join("fixtures/apps/relx_app"), &project);
        let mut rebar3 = Command::new("rebar3");
        rebar3.current_dir(&project).env("HOME", self.directory.path());
        let profile = if erts { "default" } else { "slim" };
        succeed(rebar3.args(["as", profile, "release"]));
        Some(project.join("_build").join(profile).join("rel/relx_app"))
    }

    /// Boots what stands in `output` and waits for what `flags` expect.
    pub(crate) fn verify<S: AsRef<OsStr>>(
        &self,
        output: &Path,
        flags: impl IntoIterator<Item = S>,
    ) -> String {
        let mut command = self.leanfs([OsStr::new("verify"), output.as_os_str()]);
        // A loaded machine without virtualisation is slow, not broken.
        command.args(["--timeout", "300"]).args(flags);
        text(&succeed(&mut command))
    }
}

/// Runs a command that must succeed.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, text(&output));
    output
}

/// All that a command said.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Copies a directory without what was built in it.
pub(crate) fn copy(source: &Path, target: &Path) {
    fs_err::create_dir_all(target).expect("a directory");
    for entry in fs_err::read_dir(source).expect("a directory of the checkout") {
        let entry = entry.expect("an entry");
        let to = target.join(entry.file_name());
        if entry.file_name() == "_build" {
            continue;
        }
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs_err::copy(entry.path(), &to).expect("a copy");
        }
    }
}
