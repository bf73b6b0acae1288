//! What is asked of the repositories: it grows until no library is missing.

use super::otp::OtpChoice;
use super::packages::{Packages, parse_dependency};
use super::tree::Draft;
use super::{AssembleError, Assembly};
use crate::apk::Dependency;
use crate::elf::Libc;
use crate::layer::init_conf;
use crate::layer::release::Release;
use crate::recipe::KernelSource;

/// The packages that are wanted, and whether a shell is.
pub(super) struct World {
    pub(super) wanted: Vec<Dependency>,
    /// Why a shell goes into the image, if one does.
    pub(super) shell: Option<String>,
}

impl World {
    /// What is known before anything is unpacked.
    pub(super) fn new(
        assembly: &Assembly<'_>,
        release: &Release,
        otp: &OtpChoice,
        packages: &Packages<'_>,
    ) -> Result<Self, AssembleError> {
        let mut world = Self { wanted: Vec::new(), shell: None };
        for text in &assembly.recipe.packages {
            world.wanted.push(parse_dependency(text)?);
        }
        if matches!(otp, OtpChoice::Packages) {
            world.wanted.extend(assembly.otp_packages(release, packages)?);
        }
        if assembly.recipe.shell {
            world.want_shell("--shell asks for it")?;
        } else if init_conf::pid1(assembly.recipe.arch).is_none() {
            world.want_shell("PID 1 is a busybox script on this architecture")?;
        } else if let Some((module, call)) =
            release.shell_callers().map_err(AssembleError::ReadRelease)?.first()
        {
            let reason = format!("{module} calls {call}");
            // Where no repository is read otherwise, a call that may never happen is no reason to need one.
            let repositories_are_read =
                matches!(assembly.recipe.kernel, KernelSource::Package(_)) || !world.wanted.is_empty();
            if repositories_are_read && packages.has("/bin/sh")? && packages.has("busybox")? {
                world.want_shell(&reason)?;
            } else {
                assembly.notes.warn(format!(
                    "{reason}, which needs a shell, but no repository has one: the call will fail"
                ));
            }
        }
        Ok(world)
    }

    fn want_shell(&mut self, reason: &str) -> Result<(), AssembleError> {
        self.shell = Some(reason.to_owned());
        for name in ["busybox", "/bin/sh"] {
            self.want(parse_dependency(name)?);
        }
        Ok(())
    }

    fn want(&mut self, dependency: Dependency) -> bool {
        let new = !self.wanted.contains(&dependency);
        if new {
            self.wanted.push(dependency);
        }
        new
    }

    /// Adds what the draft turned out to lack; `false` when there is nothing to add.
    ///
    /// Libraries of glibc programs are not asked for: a name like `so:libz.so.1` doesn't say for which libc a
    /// package's library is, and Alpine's are for musl.
    pub(super) fn widen(&mut self, draft: &Draft, packages: &Packages<'_>) -> Result<bool, AssembleError> {
        let mut grown = false;
        if let (Some(reason), None) = (&draft.start.needs_shell, &self.shell) {
            self.want_shell(reason)?;
            grown = true;
        }
        for library in draft.closure.missing.iter().filter(|library| library.libc != Libc::Glibc) {
            for name in [library.provide()] {
                if packages.has(&name)? {
                    grown |= self.want(parse_dependency(&name)?);
                    break;
                }
            }
        }
        Ok(grown)
    }
}
