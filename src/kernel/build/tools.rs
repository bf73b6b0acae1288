//! The host's programs that a kernel is built with.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::config::DotConfig;
use super::{BuildError, BuildSettings};
use crate::arch::Arch;

/// A program or header that a build needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// The program's name, or what the header is part of.
    pub name: String,
    /// The package of Debian that has it.
    pub package: String,
}

/// Which compiler builds kernels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toolchain {
    /// Clang and LLVM's linker in place of GCC and binutils.
    pub llvm: bool,
    /// What stands before the names of GCC and binutils: `aarch64-linux-gnu-`. Without, that of Debian's cross compiler
    /// where the architecture is another than this machine's.
    pub cross_compile: Option<String>,
}

impl Toolchain {
    /// The prefix for an architecture; empty for the machine's own.
    fn prefix(&self, arch: Arch) -> String {
        match &self.cross_compile {
            Some(prefix) => prefix.clone(),
            None if self.llvm || Arch::host() == Some(arch) => String::new(),
            None => debian_prefix(arch).to_owned(),
        }
    }
}

fn debian_prefix(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86_64-linux-gnu-",
        Arch::Aarch64 => "aarch64-linux-gnu-",
        Arch::Riscv64 => "riscv64-linux-gnu-",
    }
}

/// The kernel's name for an architecture, `ARCH` of its makefiles.
pub(super) fn kernel_arch(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86_64",
        Arch::Aarch64 => "arm64",
        Arch::Riscv64 => "riscv",
    }
}

/// The directory of an architecture below `arch/`, `SRCARCH`.
pub(super) fn source_arch(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86",
        other => kernel_arch(other),
    }
}

/// The programs that were found.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    /// `make`.
    pub(super) make: PathBuf,
    /// The compiler of the target.
    pub(super) compiler: PathBuf,
    /// What names the tools on make's command line: `LLVM=1`, `CROSS_COMPILE=…`.
    pub(super) arguments: Vec<String>,
    /// Whether the compiler is another one than builds this architecture: it only answers for a configuration.
    pub(super) is_stand_in: bool,
    linker: PathBuf,
}

impl Tools {
    /// Finds what a configuration is made with. `may_stand_in`: whether this machine's compiler may answer for one of
    /// another architecture that isn't there.
    pub(super) fn find(settings: &BuildSettings, may_stand_in: bool) -> Result<Self, BuildError> {
        let mut missing = Vec::new();
        let mut find = |name: &str, package: &str| {
            let found = program(settings, name);
            let tool = Tool { name: name.to_owned(), package: package.to_owned() };
            if found.is_none() && !missing.contains(&tool) {
                missing.push(tool);
            }
            found
        };
        let make = find("make", "make");
        // Whatever the target's compiler is, the kernel's own tools are built with the host's.
        find(
            if settings.toolchain.llvm { "clang" } else { "gcc" },
            if settings.toolchain.llvm { "clang" } else { "gcc" },
        );
        for (name, package) in [("flex", "flex"), ("bison", "bison"), ("sed", "sed"), ("awk", "mawk")] {
            find(name, package);
        }
        let (compiler, linker, arguments, is_stand_in);
        if settings.toolchain.llvm {
            compiler = find("clang", "clang");
            linker = find("ld.lld", "lld");
            find("llvm-ar", "llvm");
            arguments = vec!["LLVM=1".to_owned()];
            is_stand_in = false;
        } else {
            let prefix = settings.toolchain.prefix(settings.arch);
            is_stand_in = may_stand_in
                && settings.toolchain.cross_compile.is_none()
                && program(settings, &format!("{prefix}gcc")).is_none();
            let prefix = if is_stand_in { String::new() } else { prefix };
            // Of others it isn't known where they come from.
            let is_debian = prefix == debian_prefix(settings.arch);
            let package = |own: &str| match prefix.strip_suffix('-').filter(|_| is_debian) {
                None => own.to_owned(),
                Some(triplet) if own == "gcc" => format!("gcc-{}", triplet.replace('_', "-")),
                Some(triplet) => format!("binutils-{}", triplet.replace('_', "-")),
            };
            compiler = find(&format!("{prefix}gcc"), &package("gcc"));
            linker = find(&format!("{prefix}ld"), &package("binutils"));
            arguments = if prefix.is_empty() { Vec::new() } else { vec![format!("CROSS_COMPILE={prefix}")] };
        }
        match (make, compiler, linker) {
            (Some(make), Some(compiler), Some(linker)) if missing.is_empty() => {
                Ok(Self { make, compiler, arguments, is_stand_in, linker })
            }
            _ => Err(BuildError::MissingTools { missing }),
        }
    }

    /// Checks what the build of a configuration needs beside.
    pub(super) fn check(&self, settings: &BuildSettings, config: &DotConfig) -> Result<(), BuildError> {
        /// The option that needs it (none for all), the program, its package.
        const PROGRAMS: [(Option<&str>, &str, &str); 11] = [
            (None, "bc", "bc"),
            (None, "gzip", "gzip"),
            (Some("KERNEL_XZ"), "xz", "xz-utils"),
            (Some("KERNEL_ZSTD"), "zstd", "zstd"),
            (Some("KERNEL_LZ4"), "lz4", "lz4"),
            (Some("KERNEL_LZO"), "lzop", "lzop"),
            (Some("MODULES"), "depmod", "kmod"),
            (Some("OID_REGISTRY"), "perl", "perl"),
            (Some("DEBUG_INFO_BTF"), "pahole", "pahole"),
            (Some("IKHEADERS"), "cpio", "cpio"),
            (Some("MODULE_SIG"), "openssl", "openssl"),
        ];
        const HEADERS: [(&str, &str, &str, &str); 2] = [
            ("OBJTOOL", "gelf.h", "libelf", "libelf-dev"),
            ("SYSTEM_TRUSTED_KEYRING", "openssl/bio.h", "libcrypto", "libssl-dev"),
        ];
        let mut missing: Vec<Tool> = PROGRAMS
            .into_iter()
            .filter(|(option, name, _)| {
                option.is_none_or(|option| config.has(option)) && program(settings, name).is_none()
            })
            .map(|(_, name, package)| Tool { name: name.to_owned(), package: package.to_owned() })
            .collect();
        for (option, header, name, package) in HEADERS {
            if config.has(option) && !self.host_has_header(settings, header) {
                missing.push(Tool { name: format!("{name} ({header})"), package: package.to_owned() });
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(BuildError::MissingTools { missing }) }
    }

    /// Asks the compiler of this machine, which builds the kernel's own tools.
    fn host_has_header(&self, settings: &BuildSettings, header: &str) -> bool {
        let compiler = program(settings, if settings.toolchain.llvm { "clang" } else { "gcc" });
        let Some(compiler) = compiler else { return false };
        let Ok(mut child) = Command::new(compiler)
            .args(["-E", "-x", "c", "-", "-o", "/dev/null"])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
        else {
            return false;
        };
        if let Some(mut input) = child.stdin.take() {
            // A compiler that doesn't read fails, which its status tells.
            let _ = writeln!(input, "#include <{header}>");
        }
        child.wait().is_ok_and(|status| status.success())
    }

    /// What the compiler and the linker say that they are.
    pub(super) fn versions(&self) -> Result<String, BuildError> {
        let mut text = String::new();
        for program in [&self.compiler, &self.linker] {
            let output = Command::new(program)
                .arg("--version")
                .env("LC_ALL", "C")
                .stdin(Stdio::null())
                .output()
                .map_err(|source| BuildError::Start { program: program.clone(), source })?;
            text.push_str(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default());
            text.push('\n');
        }
        Ok(text)
    }
}

fn program(settings: &BuildSettings, name: &str) -> Option<PathBuf> {
    let is_program = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| is_program(path));
    }
    settings.program_directories.iter().map(|directory| directory.join(name)).find(|path| is_program(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(directory: &Path, arch: Arch) -> BuildSettings {
        BuildSettings {
            program_directories: vec![directory.to_owned()],
            ..BuildSettings::new(arch, Vec::new(), directory)
        }
    }

    fn fake(directory: &Path, names: &[&str]) {
        for name in names {
            let path = directory.join(name);
            fs_err::write(&path, "").expect("written");
            fs_err::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("set");
        }
    }

    fn missing(result: Result<Tools, BuildError>) -> (String, String) {
        let error = result.expect_err("something is missing");
        (error.to_string(), error.hint().expect("what to install"))
    }

    #[test]
    fn what_is_missing_is_named_with_its_packages() {
        let directory = tempfile::tempdir().expect("a directory");
        let host = Arch::host().expect("a known machine");
        let other = if host == Arch::Aarch64 { Arch::Riscv64 } else { Arch::Aarch64 };
        fake(directory.path(), &["make", "gcc", "ld", "sed", "awk"]);
        let (text, hint) = missing(Tools::find(&settings(directory.path(), host), false));
        assert_eq!(text, "this machine lacks what builds a kernel: flex, bison");
        assert_eq!(hint, "on Debian: apt-get install bison flex");
        fake(directory.path(), &["flex", "bison"]);
        let tools = Tools::find(&settings(directory.path(), host), false).expect("all is there");
        assert_eq!((tools.arguments.len(), tools.is_stand_in), (0, false));

        let prefix = debian_prefix(other);
        let (text, hint) = missing(Tools::find(&settings(directory.path(), other), false));
        assert!(text.ends_with(&format!("{prefix}gcc, {prefix}ld")), "{text}");
        let triplet = prefix.trim_end_matches('-');
        assert!(hint.ends_with(&format!("binutils-{triplet} gcc-{triplet}")), "{hint}");
        let tools = Tools::find(&settings(directory.path(), other), true).expect("this machine's stands in");
        assert!(tools.is_stand_in);
        let mut llvm = settings(directory.path(), other);
        llvm.toolchain.llvm = true;
        let (_, hint) = missing(Tools::find(&llvm, true));
        assert_eq!(hint, "on Debian: apt-get install clang lld llvm");
    }

    #[test]
    fn options_need_programs() {
        let directory = tempfile::tempdir().expect("a directory");
        let host = Arch::host().expect("a known machine");
        fake(directory.path(), &["make", "gcc", "ld", "sed", "awk", "flex", "bison", "gzip", "bc"]);
        let settings = settings(directory.path(), host);
        let tools = Tools::find(&settings, false).expect("all is there");
        tools.check(&settings, &DotConfig::parse("CONFIG_KERNEL_GZIP=y\n")).expect("nothing more is needed");
        let config = DotConfig::parse("CONFIG_KERNEL_XZ=y\nCONFIG_MODULES=y\nCONFIG_OBJTOOL=y\n");
        let error = tools.check(&settings, &config).expect_err("something is missing");
        assert_eq!(error.to_string(), "this machine lacks what builds a kernel: xz, depmod, libelf (gelf.h)");
        assert_eq!(error.hint().as_deref(), Some("on Debian: apt-get install kmod libelf-dev xz-utils"));
    }
}
