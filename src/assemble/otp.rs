//! Where Erlang/OTP comes from.

use std::borrow::Cow;
use std::path::Path;

use super::packages::{Packages, parse_dependency};
use super::tree::constant_path;
use super::{AssembleError, Assembly};
use crate::apk::Dependency;
use crate::layer::otp::{self, Otp};
use crate::layer::release::Release;
use crate::lock::FileRole;
use crate::recipe::OtpSource;
use crate::tree::{Tree, TreePath};

/// The source that was chosen.
pub(super) enum OtpChoice {
    /// The release's own ERTS and applications.
    Release,
    /// Packages.
    Packages,
    /// An installation from a tarball.
    Tarball {
        /// It.
        otp: Box<Otp>,
    },
}

impl OtpChoice {
    /// Its name in manifests.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Packages => "packages",
            Self::Tarball { .. } => "tarball",
        }
    }

    /// The files of the installation, if they are not in packages or in the release.
    pub(super) fn files(&self) -> Option<&Tree> {
        match self {
            Self::Tarball { otp } => otp.tree.as_ref(),
            Self::Release | Self::Packages => None,
        }
    }

    /// What goes into the image of the release: without its own emulator when another one was asked for.
    pub(super) fn release_tree<'r>(&self, release: &'r Release) -> Cow<'r, Tree> {
        let (Some(version), false) = (&release.own_erts, matches!(self, Self::Release)) else {
            return Cow::Borrowed(&release.tree);
        };
        let erts = constant_path(&format!("erts-{version}"));
        let mut tree = release.tree.clone();
        let doomed: Vec<TreePath> =
            tree.below(&erts).map(|(path, _)| path.clone()).chain([erts.clone()]).collect();
        for path in doomed {
            tree.remove(&path);
        }
        Cow::Owned(tree)
    }
}

impl Assembly<'_> {
    pub(super) fn otp_choice(&self, release: &Release) -> Result<OtpChoice, AssembleError> {
        let epoch = self.recipe.source_date_epoch;
        let open = |path: &Path| -> Result<OtpChoice, AssembleError> {
            let otp = Otp::open_tarball(path, &self.spool_directory, epoch)?;
            Ok(OtpChoice::Tarball { otp: Box::new(otp) })
        };
        match &self.recipe.otp {
            OtpSource::Automatic if release.own_erts.is_some() => Ok(OtpChoice::Release),
            OtpSource::Automatic | OtpSource::Packages => Ok(OtpChoice::Packages),
            OtpSource::Tarball { path, sha256 } => {
                if let Some(path) = self.locked_file(FileRole::Otp, &path.to_string_lossy())? {
                    return open(&path);
                }
                if let Some(expected) = sha256 {
                    self.fetcher.local_tarball(path, *expected)?;
                }
                open(path)
            }
            OtpSource::Url { url, sha256 } => match self.locked_file(FileRole::Otp, url)? {
                Some(path) => open(&path),
                None => open(&self.fetcher.tarball(url, *sha256)?),
            },
        }
    }

    /// The packages that bring the OTP that the release was made with: the package for its major version, or the
    /// unversioned one, and those that hold single applications.
    pub(super) fn otp_packages(
        &self,
        release: &Release,
        packages: &Packages<'_>,
    ) -> Result<Vec<Dependency>, AssembleError> {
        let candidates = otp::package_candidates(&release.erts_version);
        let mut main = None;
        for candidate in &candidates {
            if packages.has(candidate.as_str())? {
                main = Some(candidate.clone());
                break;
            }
        }
        let Some(main) = main else {
            return Err(AssembleError::NoOtpPackage {
                otp: release.erts_version.clone(),
                candidates,
                repositories: packages.repositories(),
            });
        };
        let mut wanted = vec![parse_dependency(&main)?];
        for name in otp::extra_packages(release, &main) {
            if packages.named(&name)?.is_some() {
                wanted.push(parse_dependency(&name)?);
            }
        }
        Ok(wanted)
    }
}
