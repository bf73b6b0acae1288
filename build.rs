//! Builds PID 1 (`init/`) for every architecture that this toolchain can build it for, with the compiler alone:
//! as a package of its own it would not be part of the published crate. `layer::init_conf` embeds the programs.
//!
//! The flags don't depend on the profile, and no path gets into the program, so that the same toolchain makes the
//! same bytes wherever it runs. An architecture whose `core` isn't installed (`rustup target add …`) has none,
//! and images for it get the busybox script.

use std::env;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An architecture by the name of its constant, and the targets that a program without a C library can be built
/// for there, in the order of preference.
const ARCHITECTURES: [(&str, &[&str]); 3] = [
    ("X86_64", &["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"]),
    ("AARCH64", &["aarch64-unknown-linux-gnu", "aarch64-unknown-linux-musl"]),
    ("RISCV64", &["riscv64gc-unknown-linux-gnu", "riscv64gc-unknown-linux-musl"]),
];

fn main() {
    for input in ["build.rs", "init", "src", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={input}");
    }
    println!(
        "cargo::rustc-env=LEANFS_RULES={}",
        sum_of(&[Path::new("src"), Path::new("init"), Path::new("Cargo.lock")])
    );
    let variable = |name| env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let builder = Builder {
        rustc: variable("RUSTC"),
        host: env::var("HOST").expect("cargo sets HOST"),
        sources: PathBuf::from(variable("CARGO_MANIFEST_DIR")),
        out: PathBuf::from(variable("OUT_DIR")),
    };
    let mut components = String::new();
    // `rustup target add` changes this list, and then there may be more to build for.
    if let Some(sysroot) = builder.print(&["--print", "sysroot"]) {
        let list = Path::new(&sysroot).join("lib/rustlib/components");
        if list.is_file() {
            println!("cargo::rerun-if-changed={}", list.display());
            components = std::fs::read_to_string(list).unwrap_or_default();
        }
    }
    // Most changes are none of PID 1's.
    let version = builder.print(&["-vV"]).unwrap_or_default();
    let stamp = format!("{} {version} {components}", sum_of(&[Path::new("init"), Path::new("build.rs")]));
    let (stamp_file, file) = (builder.out.join("pid1.stamp"), builder.out.join("pid1.rs"));
    if file.is_file() && std::fs::read_to_string(&stamp_file).is_ok_and(|before| before == stamp) {
        return;
    }
    let mut constants = String::new();
    for (arch, targets) in ARCHITECTURES {
        let value = match targets.iter().find(|target| builder.has_core(target)) {
            None => "None".to_owned(),
            Some(target) => match builder.build(target) {
                Ok(program) => format!("Some(include_bytes!({program:?}))"),
                Err(reason) => {
                    let reason = reason.trim().replace('\n', " | ");
                    println!("cargo::warning=PID 1 is not built for {target}, images get a script: {reason}");
                    "None".to_owned()
                }
            },
        };
        constants.push_str(&format!("pub(super) const {arch}: Option<&[u8]> = {value};\n"));
    }
    for (file, text) in [(file, constants), (stamp_file, stamp)] {
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

/// A number that tells whether any of the files at and below `places` is another.
fn sum_of(places: &[&Path]) -> String {
    let mut files = Vec::new();
    let mut directories: Vec<PathBuf> = places.iter().map(|place| place.to_path_buf()).collect();
    while let Some(place) = directories.pop() {
        match std::fs::read_dir(&place) {
            Ok(entries) => directories.extend(entries.flatten().map(|entry| entry.path())),
            // The published crate has no Cargo.lock.
            Err(_) if place.is_file() => files.push(place),
            Err(_) => {}
        }
    }
    files.sort();
    let mut sums = [DefaultHasher::new(), DefaultHasher::new()];
    sums[1].write_u8(1);
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for sum in &mut sums {
            (&file, &bytes).hash(sum);
        }
    }
    sums.iter().map(|sum| format!("{:016x}", sum.finish())).collect()
}

struct Builder {
    rustc: OsString,
    host: String,
    sources: PathBuf,
    out: PathBuf,
}

impl Builder {
    /// Whether the toolchain has what a program without `std` is linked from.
    fn has_core(&self, target: &str) -> bool {
        let Some(directory) = self.print(&["--print", "target-libdir", "--target", target]) else {
            return false;
        };
        let Ok(entries) = std::fs::read_dir(directory) else { return false };
        let names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
        ["libcore-", "liballoc-", "libcompiler_builtins-"].iter().all(|library| {
            names.iter().any(|name| name.to_str().is_some_and(|name| name.starts_with(library)))
        })
    }

    /// What the compiler answers, if it does.
    fn print(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new(&self.rustc).args(arguments).output().ok()?;
        output.status.success().then_some(())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    }

    /// Builds it, and gives the program's name in `OUT_DIR`; or what every linker that was tried said.
    fn build(&self, target: &str) -> Result<String, String> {
        let program = format!("pid1-{target}");
        let mut said = String::new();
        for linker in self.linkers(target) {
            let output = self
                .command(target, &program)
                .args(linker)
                .output()
                .map_err(|error| format!("{}: {error}", Path::new(&self.rustc).display()))?;
            if output.status.success() {
                return Ok(program);
            }
            said.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        if said.is_empty() {
            said.push_str("the toolchain has no rust-lld, which could link it here");
        }
        Err(said)
    }

    /// Flags for the linker that came with the toolchain, which is the same wherever the toolchain is; and for
    /// the C compiler, where a distribution's toolchain comes without one.
    fn linkers(&self, target: &str) -> Vec<Vec<String>> {
        const FLAGS: [&str; 5] =
            ["-static", "-nostdlib", "--build-id=none", "--gc-sections", "--no-eh-frame-hdr"];
        const CC_FLAGS: [&str; 5] =
            ["-static", "-nostartfiles", "-nostdlib", "-Wl,--build-id=none", "-Wl,--gc-sections"];
        // A musl target would bring start-up code of its own.
        const OWN_START: &str = "-Clink-self-contained=no";
        let arguments = |flags: [&str; 5]| flags.map(|flag| format!("-Clink-arg={flag}"));
        let mut linkers = Vec::new();
        if let Some(sysroot) = self.print(&["--print", "sysroot"]) {
            let lld = Path::new(&sysroot).join("lib/rustlib").join(&self.host).join("bin/rust-lld");
            if lld.is_file() {
                let mut flags =
                    vec![format!("-Clinker={}", lld.display()), "-Clinker-flavor=ld.lld".to_owned()];
                flags.push(OWN_START.to_owned());
                flags.extend(arguments(FLAGS));
                linkers.push(flags);
            }
        }
        if target.split('-').next() == self.host.split('-').next() {
            let mut flags = vec!["-Clinker=cc".to_owned()];
            if target.ends_with("-musl") {
                flags.push(OWN_START.to_owned());
            }
            flags.extend(arguments(CC_FLAGS));
            linkers.push(flags);
        }
        linkers
    }

    fn command(&self, target: &str, program: &str) -> Command {
        let mut command = Command::new(&self.rustc);
        command
            .current_dir(&self.sources)
            .args(["--edition=2024", "--crate-name=leanfs_init", "--crate-type=bin", "--cap-lints=warn"])
            .args(["--target", target, "init/main.rs", "-o"])
            .arg(self.out.join(program))
            .arg(remap(&self.sources, "leanfs"))
            .arg(remap(&self.out, "out"))
            .args([
                "-Cpanic=abort",
                "-Copt-level=s",
                "-Clto=fat",
                "-Ccodegen-units=1",
                "-Cdebuginfo=0",
                "-Cstrip=symbols",
                "-Crelocation-model=static",
                "-Cforce-unwind-tables=no",
            ])
            // What cargo and its caller set for the crate itself is not for PID 1.
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTFLAGS");
        command
    }
}

fn remap(from: &Path, to: &str) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(from);
    flag.push("=");
    flag.push(to);
    flag
}
