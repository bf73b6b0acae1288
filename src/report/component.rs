//! What a file belongs to, in the words of those who look for what is large: the emulator, an application, a library.

use std::fmt;

use serde::Serialize;

use crate::beam::{Platform, platform_of};
use crate::tree::LayerKind;

/// The kinds of [`Component`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The Erlang runtime system: the emulator and its helpers.
    Erts,
    /// Applications of Erlang/OTP.
    Otp,
    /// Applications of Elixir itself.
    Elixir,
    /// The release's own applications, what they depend on, and the files of the release.
    Application,
    /// Shared libraries and what belongs to them.
    Library,
    /// Everything else that packages bring.
    Package,
    /// The kernel and its modules.
    Kernel,
    /// PID 1, the skeleton, and what the packages' scripts would have made.
    System,
    /// The user's own files.
    Overlay,
}

/// The title of a list of such components.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Erts => "Erlang runtime system",
            Self::Otp => "OTP applications",
            Self::Elixir => "Elixir",
            Self::Application => "The release and its dependencies",
            Self::Library => "Shared libraries",
            Self::Package => "Packages",
            Self::Kernel => "Kernel",
            Self::System => "PID 1 and skeleton",
            Self::Overlay => "Overlay",
        })
    }
}

/// What a file belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Component {
    /// Its kind.
    pub group: Group,
    /// Its name, without a version: `stdlib`, `openssl`, `PID 1`.
    pub name: String,
    /// Its version, where the file's path or origin says it.
    pub version: Option<String>,
}

/// Where applications stand (`lib/NAME-VERSION`), without a leading slash: the release, and Erlang and Elixir where
/// they come from packages or a tarball.
const ROOTS: [&str; 3] = ["app", "usr/lib/erlang", "usr/lib/elixir"];

/// Libraries and packages that are better known by another name: how their names begin, up to a digit, a dot or the
/// end.
const FAMILIES: [(&str, &[&str]); 8] = [
    ("musl", &["musl", "ld-musl-", "libc.musl-"]),
    (
        "glibc",
        &[
            "glibc",
            "ld-linux",
            "ld64",
            "libBrokenLocale",
            "libanl",
            "libc",
            "libdl",
            "libm",
            "libmvec",
            "libnsl",
            "libnss_",
            "libpthread",
            "libresolv",
            "librt",
            "libthread_db",
            "libutil",
        ],
    ),
    (
        "ncurses",
        &[
            "ncurses",
            "libncurses",
            "libncursesw",
            "libtinfo",
            "libtinfow",
            "libformw",
            "libmenuw",
            "libpanelw",
        ],
    ),
    ("openssl", &["openssl", "libcrypto", "libssl"]),
    ("zlib", &["zlib", "libz"]),
    ("zstd", &["zstd", "libzstd"]),
    ("xz", &["xz", "liblzma"]),
    ("libgcc", &["libgcc", "libgcc_s"]),
];

impl Component {
    fn new(group: Group, name: impl Into<String>, version: Option<&str>) -> Self {
        Self { group, name: name.into(), version: version.map(str::to_owned) }
    }

    /// The kernel image beside an image, which is no file of its tree.
    pub fn kernel_image() -> Self {
        Self::new(Group::Kernel, "kernel image", None)
    }

    /// What the file at `path` belongs to; path, layer and part as a [manifest](super::manifest::FileInfo) has them.
    pub fn of(path: &str, layer: LayerKind, part: &str) -> Self {
        let path = path.trim_start_matches('/');
        match layer {
            LayerKind::Package | LayerKind::Otp | LayerKind::Release => erlang(path, layer)
                .or_else(|| (layer == LayerKind::Package).then(|| package(part)))
                .unwrap_or_else(|| Self::new(Group::Application, "files of the release", None)),
            LayerKind::Sysroot => Self::new(Group::Library, library(part), None),
            LayerKind::Kernel => {
                Self::new(Group::Kernel, "kernel modules", (!part.is_empty()).then_some(part))
            }
            LayerKind::Skeleton if path == "init" || below(path, "etc/leanfs").is_some() => {
                Self::new(Group::System, "PID 1", None)
            }
            LayerKind::Skeleton => Self::new(Group::System, "skeleton", None),
            LayerKind::Script => Self::new(Group::System, "effects of the packages' scripts", None),
            LayerKind::Overlay => Self::new(Group::Overlay, "overlay", None),
        }
    }
}

/// The name with the version, where there is one.
impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.version {
            Some(version) => write!(f, " {version}"),
            None => Ok(()),
        }
    }
}

/// What stands where releases, Erlang and Elixir do.
fn erlang(path: &str, layer: LayerKind) -> Option<Component> {
    let (root, rest) = ROOTS.iter().find_map(|root| Some((*root, below(path, root)?)))?;
    let mut parts = rest.split('/');
    let first = parts.next()?;
    if let Some(version) = first.strip_prefix("erts-") {
        return Some(Component::new(Group::Erts, "ERTS", Some(version)));
    }
    let directory = parts.next().filter(|directory| first == "lib" && !directory.is_empty());
    let Some(directory) = directory else {
        return (root != ROOTS[0] || layer == LayerKind::Otp)
            .then(|| Component::new(Group::Otp, "scripts and boot files", None));
    };
    let (name, version) = match directory.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => (name, Some(version)),
        _ => (directory, None),
    };
    let group = match platform_of(name) {
        Some(Platform::Elixir) => Group::Elixir,
        Some(Platform::Otp) => Group::Otp,
        None if layer == LayerKind::Otp || root == ROOTS[1] => Group::Otp,
        None => Group::Application,
    };
    Some(Component::new(group, name, version))
}

/// The path with `*` for the versions in it: of applications, the emulator, the release, kernels and libraries. Where
/// Erlang's applications stand does not count either: a release with its own has them elsewhere than a package.
pub(crate) fn without_version(path: &str) -> String {
    let starts_with_digit = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    let relative = path.trim_start_matches('/');
    let mut names: Vec<String> = path.split('/').map(str::to_owned).collect();
    let root = ROOTS.iter().find_map(|root| Some((root, below(relative, root)?)));
    if let Some((root, rest)) = root {
        let mut parts: Vec<String> = rest.split('/').map(str::to_owned).collect();
        let second = parts.get(1).cloned().unwrap_or_default();
        let mut anywhere = false;
        if parts[0].strip_prefix("erts-").is_some_and(starts_with_digit) {
            parts[0] = "erts-*".to_owned();
            anywhere = true;
        } else if parts[0] == "releases" && starts_with_digit(&second) {
            parts[1] = "*".to_owned();
        } else if parts[0] == "lib"
            && let Some((name, version)) = second.rsplit_once('-')
            && starts_with_digit(version)
        {
            parts[1] = format!("{name}-*");
            anywhere = true;
        }
        names = vec![String::new(), if anywhere { "*" } else { root }.to_owned()];
        names.extend(parts.into_iter().filter(|part| !part.is_empty()));
    } else if relative.starts_with("lib/modules/") && names.len() > 4 {
        names[3] = "*".to_owned();
    }
    if let Some(file) = names.last_mut()
        && let Some(end) = file.find(".so.")
    {
        file.replace_range(end + ".so.".len().., "*");
    }
    names.join("/")
}

/// What a package (`ncurses-terminfo-base-6.5-r0`) is, or is a part of.
fn package(full_name: &str) -> Component {
    let (name, version) = package_name(full_name);
    match family(name) {
        Some(family) => Component::new(Group::Library, family, version),
        None if name.starts_with("lib") || name.ends_with("-libs") => {
            Component::new(Group::Library, name, version)
        }
        None => Component::new(Group::Package, name, version),
    }
}

/// Name and version of a package; all of it is the name where there is no version of apk's form.
pub(crate) fn package_name(full_name: &str) -> (&str, Option<&str>) {
    let version = || {
        let (rest, release) = full_name.rsplit_once("-r")?;
        let (name, version) = rest.rsplit_once('-')?;
        let is_version = !release.is_empty()
            && release.bytes().all(|byte| byte.is_ascii_digit())
            && version.starts_with(|first: char| first.is_ascii_digit());
        is_version.then(|| (name, Some(&full_name[name.len() + 1..])))
    };
    version().unwrap_or((full_name, None))
}

/// What a library of a sysroot is called, by the path that it has there.
fn library(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    let stem = match file.find(".so") {
        Some(end) => &file[..end],
        None => file,
    };
    let known = path.split('/').find_map(|directory| match directory {
        "ossl-modules" | "engines-3" => Some("openssl"),
        "gconv" => Some("glibc"),
        _ => None,
    });
    let name = known.or_else(|| family(stem)).unwrap_or(stem);
    if name.is_empty() { "other libraries".to_owned() } else { name.to_owned() }
}

fn family(name: &str) -> Option<&'static str> {
    let begins = |start: &&str| {
        name.strip_prefix(*start).is_some_and(|rest| {
            start.ends_with(['-', '_'])
                || rest.is_empty()
                || rest.starts_with(|next: char| next.is_ascii_digit() || next == '.' || next == '-')
        })
    };
    FAMILIES.iter().find(|(_, starts)| starts.iter().any(begins)).map(|(family, _)| *family)
}

/// The part of `path` below `directory`; empty for the directory itself.
fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(directory)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(layer: LayerKind, part: &str, path: &str, group: Group, shown: &str) {
        let component = Component::of(path, layer, part);
        assert_eq!((component.group, component.to_string().as_str()), (group, shown), "{path}");
    }

    #[test]
    fn erlang_by_place_and_name() {
        use LayerKind::{Otp, Package, Release};
        let package = "erlang27-27.3.4.1-r0";
        for (layer, part, path, group, shown) in [
            (Package, package, "/usr/lib/erlang/erts-15.2.7/bin/beam.smp", Group::Erts, "ERTS 15.2.7"),
            (Package, package, "/usr/lib/erlang/lib/kernel-10.2/ebin/code.beam", Group::Otp, "kernel 10.2"),
            (Package, package, "/usr/lib/erlang/lib/kernel-10.2", Group::Otp, "kernel 10.2"),
            (Package, package, "/usr/lib/erlang/lib/later-1.0/ebin/later.beam", Group::Otp, "later 1.0"),
            (Package, package, "/usr/lib/erlang/lib", Group::Otp, "scripts and boot files"),
            (Package, package, "/usr/lib/erlang/bin/start.boot", Group::Otp, "scripts and boot files"),
            (Package, package, "/usr/bin/erl", Group::Package, "erlang27 27.3.4.1-r0"),
            (Package, "elixir-1.18.3-r0", "/usr/lib/elixir/lib/mix/ebin/mix.app", Group::Elixir, "mix"),
            (Otp, "stdlib-6.2", "/usr/lib/erlang/lib/stdlib-6.2/ebin/lists.beam", Group::Otp, "stdlib 6.2"),
            (Otp, "", "/usr/lib/erlang/releases/27/OTP_VERSION", Group::Otp, "scripts and boot files"),
            (Release, "erts-15.2.7", "/app/erts-15.2.7/bin/beam.smp", Group::Erts, "ERTS 15.2.7"),
            (Release, "stdlib-6.2", "/app/lib/stdlib-6.2/ebin/lists.beam", Group::Otp, "stdlib 6.2"),
            (Release, "iex-1.18.3", "/app/lib/iex-1.18.3/ebin/Elixir.IEx.beam", Group::Elixir, "iex 1.18.3"),
            (Release, "my-app-0.1", "/app/lib/my-app-0.1/ebin/x.beam", Group::Application, "my-app 0.1"),
            (Release, "plain", "/app/lib/plain/ebin/x.beam", Group::Application, "plain"),
            (Release, "", "/app/lib", Group::Application, "files of the release"),
            (Release, "", "/app/releases/0.1.0/sys.config", Group::Application, "files of the release"),
            (Release, "", "/app", Group::Application, "files of the release"),
            (Release, "start", "/etc/start", Group::Application, "files of the release"),
            (Release, "", "/apple/lib/x-1/y", Group::Application, "files of the release"),
        ] {
            check(layer, part, path, group, shown);
        }
    }

    #[test]
    fn libraries_and_packages() {
        use LayerKind::{Package, Sysroot};
        for (layer, part, path, group, shown) in [
            (Package, "musl-1.2.5-r23", "/lib/ld-musl-x86_64.so.1", Group::Library, "musl 1.2.5-r23"),
            (Package, "libcrypto3-3.5.8-r0", "/etc/ssl/openssl.cnf", Group::Library, "openssl 3.5.8-r0"),
            (
                Package,
                "libncursesw-6.5_p20251123-r0",
                "/usr/lib/x",
                Group::Library,
                "ncurses 6.5_p20251123-r0",
            ),
            (Package, "ncurses-terminfo-base-6.5-r0", "/etc/terminfo", Group::Library, "ncurses 6.5-r0"),
            (
                Package,
                "sqlite-libs-3.51-r0",
                "/usr/lib/libsqlite3.so.0",
                Group::Library,
                "sqlite-libs 3.51-r0",
            ),
            (
                Package,
                "libstdc++-15.2.0-r2",
                "/usr/lib/libstdc++.so.6",
                Group::Library,
                "libstdc++ 15.2.0-r2",
            ),
            (Package, "musl-utils-1.2.5-r23", "/usr/bin/ldd", Group::Library, "musl 1.2.5-r23"),
            (Package, "busybox-1.37.0-r30", "/bin/busybox", Group::Package, "busybox 1.37.0-r30"),
            (Package, "odd", "/odd", Group::Package, "odd"),
            (Package, "a-r1", "/odd", Group::Package, "a-r1"),
            (Sysroot, "usr/lib/x86_64-linux-gnu/libc.so.6", "/lib/x/libc.so.6", Group::Library, "glibc"),
            (Sysroot, "lib64/ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2", Group::Library, "glibc"),
            (Sysroot, "usr/lib/libcap.so.2.66", "/lib/libcap.so.2", Group::Library, "libcap"),
            (Sysroot, "usr/lib/libtinfo.so.6.4", "/lib/libtinfo.so.6", Group::Library, "ncurses"),
            (Sysroot, "usr/lib/libstdc++.so.6.0.30", "/lib/x86_64-linux-gnu", Group::Library, "libstdc++"),
            (
                Sysroot,
                "usr/lib/ossl-modules/legacy.so",
                "/usr/lib/ossl-modules/legacy.so",
                Group::Library,
                "openssl",
            ),
            (Sysroot, "", "/lib", Group::Library, "other libraries"),
        ] {
            check(layer, part, path, group, shown);
        }
    }

    #[test]
    fn the_rest_by_its_layer() {
        use LayerKind::{Kernel, Overlay, Script, Skeleton};
        let kernel = "linux-virt-6.18.56-r0";
        for (layer, part, path, group, shown) in [
            (Kernel, kernel, "/lib/modules/x.ko", Group::Kernel, "kernel modules linux-virt-6.18.56-r0"),
            (Skeleton, "", "/init", Group::System, "PID 1"),
            (Skeleton, "", "/etc/leanfs/init.conf", Group::System, "PID 1"),
            (Skeleton, "", "/etc/leanfs-other", Group::System, "skeleton"),
            (Skeleton, "", "/", Group::System, "skeleton"),
            (Script, "busybox-1.37.0-r30", "/bin/ls", Group::System, "effects of the packages' scripts"),
            (Overlay, "", "/app/lib/hello-0.1.0/priv/x", Group::Overlay, "overlay"),
        ] {
            check(layer, part, path, group, shown);
        }
    }

    #[test]
    fn paths_without_versions() {
        for (path, without) in [
            ("/app/lib/my-app-0.1.0/ebin/x.beam", "/*/lib/my-app-*/ebin/x.beam"),
            ("/app/lib/plain/ebin/x.beam", "/app/lib/plain/ebin/x.beam"),
            ("/app/lib", "/app/lib"),
            ("/app", "/app"),
            ("/usr/lib/erlang/releases/27/OTP_VERSION", "/usr/lib/erlang/releases/*/OTP_VERSION"),
            ("/app/releases/0.1.0/sys.config", "/app/releases/*/sys.config"),
            ("/app/releases/COOKIE", "/app/releases/COOKIE"),
            ("/app/erts-15.2/bin/erl", "/*/erts-*/bin/erl"),
            ("/usr/lib/erlang/erts-15.2", "/*/erts-*"),
            ("/usr/lib/erlang/lib/kernel-10.2/ebin/code.beam", "/*/lib/kernel-*/ebin/code.beam"),
            ("/lib/modules/6.18.1-0-virt/kernel/x.ko", "/lib/modules/*/kernel/x.ko"),
            ("/lib/modules", "/lib/modules"),
            ("/usr/lib/libz.so.1.3.2", "/usr/lib/libz.so.*"),
            ("/srv/lib/a-1/x", "/srv/lib/a-1/x"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(without_version(path), without);
        }
    }
}
