//! Whether outputs are as small as the recipe says they must be, and what has made them larger.

use std::fmt;

use super::analyze::{By, Row, analyze, is_kernel};
use super::bytes::{grouped, signed};
use super::diff::{Change, Fate, Side, diff};
use super::manifest::Manifest;
use crate::recipe::{ImageFormat, Limits};

/// How many parts an error names.
const MOST_PARTS: usize = 8;

/// An output that is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// Its name, or the names of image and kernel.
    pub what: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it may have.
    pub limit: u64,
    /// The setting: `image` or `total`.
    pub setting: &'static str,
}

/// Outputs that are larger than [`Limits`] allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct LimitError {
    /// Each that is, in the order of the outputs; at least one.
    pub excesses: Vec<Excess>,
    /// What makes the first image larger than it was in the run before, the largest difference first; nothing if
    /// there was none, or nothing has grown.
    pub grew: Vec<Change>,
    /// By how many bytes the kernel has grown since then.
    pub kernel_grew: u64,
    /// If nothing has grown: the largest parts of the first image.
    pub largest: Vec<Row>,
}

impl LimitError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(
            "nothing was written, what was there before still is; do without some of it, or raise [limits] in leanfs.toml"
                .to_owned(),
        )
    }
}

/// `stdlib 6.2 → 6.3`, `ssl 11.2, which is new`.
fn with_versions(change: &Change) -> String {
    let name = &change.name;
    let version = |side: &Option<Side>| side.as_ref().and_then(|side| side.version.clone());
    match (change.fate, version(&change.before), version(&change.after)) {
        (Fate::Came, _, Some(version)) => format!("{name} {version}, which is new"),
        (Fate::Came, _, None) => format!("{name}, which is new"),
        (_, Some(before), Some(after)) if before != after => format!("{name} {before} → {after}"),
        (_, _, Some(version)) => format!("{name} {version}"),
        (_, _, None) => name.clone(),
    }
}

/// Puts the numbers of these lines below each other.
fn lines(f: &mut fmt::Formatter<'_>, lines: &[(String, String)]) -> fmt::Result {
    let width = lines.iter().map(|(number, _)| number.len()).max().unwrap_or_default();
    lines.iter().try_for_each(|(number, what)| write!(f, "\n  {number:>width$}  {what}"))
}

/// A line for each output, then one for each part that matters.
impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Excess { what, size, limit, setting }) in self.excesses.iter().enumerate() {
            let line = if index == 0 { "" } else { "\n" };
            let over = grouped(size.saturating_sub(*limit));
            let (size, limit) = (grouped(*size), grouped(*limit));
            write!(f, "{line}{what}: {size} bytes, {over} more than the limit `{setting}` of {limit}")?;
        }
        if !self.grew.is_empty() || self.kernel_grew > 0 {
            f.write_str("\nsince the run before, this has grown:")?;
            let mut grew = Vec::new();
            if self.kernel_grew > 0 {
                grew.push((signed(self.kernel_grew.into()), "kernel".to_owned()));
            }
            grew.extend(self.grew.iter().map(|change| (signed(change.compressed()), with_versions(change))));
            lines(f, &grew)?;
        }
        if !self.largest.is_empty() {
            f.write_str("\nits largest parts are:")?;
            let largest = self.largest.iter().map(|row| {
                let version = row.version.as_ref().map_or_else(String::new, |version| format!(" {version}"));
                (grouped(row.sizes.compressed), format!("{}{version}", row.name))
            });
            lines(f, &largest.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// The kinds of output that an image is started with; nothing for what only names others.
fn beside(format: ImageFormat) -> Option<&'static [&'static str]> {
    match format {
        ImageFormat::Initramfs => Some(&["kernel"]),
        ImageFormat::Ext4 | ImageFormat::Squashfs | ImageFormat::Erofs => Some(&["boot", "kernel"]),
        ImageFormat::Firecracker => None,
        // These hold all that is needed, or the container's host has it.
        _ => Some(&[]),
    }
}

/// Checks the outputs of `manifest`; `before` gives the manifest of the run before, if there was one.
///
/// # Errors
/// [`LimitError`].
pub fn check(
    manifest: &Manifest,
    limits: Limits,
    before: impl FnOnce() -> Option<Manifest>,
) -> Result<(), LimitError> {
    let mut excesses = Vec::new();
    for image in &manifest.outputs {
        let Some(beside) = image.format().and_then(beside) else { continue };
        let mut check = |what: String, size: u64, limit: Option<u64>, setting| {
            if let Some(limit) = limit.filter(|&limit| size > limit) {
                excesses.push(Excess { what, size, limit, setting });
            }
        };
        check(image.name.clone(), image.size, limits.image, "image");
        let mut all = vec![image];
        all.extend(manifest.outputs.iter().filter(|output| beside.contains(&output.kind.as_str())));
        let names: Vec<&str> = all.iter().map(|output| output.name.as_str()).collect();
        let size = all.iter().fold(0_u64, |sum, output| sum.saturating_add(output.size));
        check(names.join(" and "), size, limits.total, "total");
    }
    if excesses.is_empty() {
        return Ok(());
    }
    let mut error = LimitError { excesses, grew: Vec::new(), kernel_grew: 0, largest: Vec::new() };
    if let Some(before) = &before() {
        let grew = diff(before, manifest).components.changed.into_iter();
        error.grew = grew.filter(|change| change.compressed() > 0).take(MOST_PARTS).collect();
        let size = |manifest: &Manifest| {
            manifest.outputs.iter().find(|output| is_kernel(output)).map_or(0, |kernel| kernel.size)
        };
        if limits.total.is_some() {
            error.kernel_grew = size(manifest).saturating_sub(size(before));
        }
    }
    if error.grew.is_empty() && error.kernel_grew == 0 {
        error.largest = analyze(manifest, By::Component).rows;
        error.largest.truncate(MOST_PARTS);
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::super::diff::tests::later;
    use super::*;
    use crate::report::manifest::sample;

    #[track_caller]
    fn fails(limits: Limits, before: Option<&Manifest>, manifest: &Manifest, want: &str) {
        let error = check(manifest, limits, || before.cloned()).expect_err("too large");
        assert_eq!(error.to_string(), want);
        assert!(error.hint().is_some());
    }

    #[test]
    fn what_fits_fits() {
        let manifest = sample::manifest();
        let (image, total) = (2_188_580, 2_188_580 + 12_640_000);
        for limits in [
            Limits::default(),
            Limits { image: Some(image), total: Some(total) },
            Limits { image: None, total: Some(total) },
        ] {
            assert_eq!(check(&manifest, limits, || None), Ok(()));
        }
        assert!(check(&manifest, Limits { image: Some(image - 1), total: None }, || None).is_err());
        assert!(check(&manifest, Limits { image: None, total: Some(total - 1) }, || None).is_err());
    }

    #[test]
    fn what_grew_is_named() {
        let limits = Limits { image: Some(2_200_000), total: Some(14_800_000) };
        fails(
            limits,
            Some(&sample::manifest()),
            &later(),
            "initramfs.cpio.zst: 2,216,669 bytes, 16,669 more than the limit `image` of 2,200,000\n\
             initramfs.cpio.zst and kernel: 14,856,669 bytes, 56,669 more than the limit `total` of 14,800,000\n\
             since the run before, this has grown:\n  +31,000  ssl 11.2, which is new\n   +1,500  stdlib 6.2.2 → 6.3",
        );
        let mut manifest = sample::manifest();
        manifest.outputs[1].size += 7;
        fails(
            Limits { image: None, total: Some(1) },
            Some(&sample::manifest()),
            &manifest,
            "initramfs.cpio.xz and kernel: 14,828,587 bytes, 14,828,586 more than the limit `total` of 1\n\
             since the run before, this has grown:\n  +7  kernel",
        );
    }

    #[test]
    fn else_what_is_largest() {
        let manifest = sample::manifest();
        let want = "initramfs.cpio.xz: 2,188,580 bytes, 188,580 more than the limit `image` of 2,000,000\n\
             its largest parts are:\n  1,552,000  ERTS 15.2.7\n    330,020  musl 1.2.5-r23\n    120,150  ncurses 6.5-r0\n     \
             47,020  zlib 1.3.2-r0\n     31,000  kernel modules linux-virt-6.18.56-r0\n     30,900  elixir 1.18.3\n     \
             29,600  kernel 10.2.7\n     17,000  stdlib 6.2.2";
        let limits = Limits { image: Some(2_000_000), total: None };
        fails(limits, None, &manifest, want);
        fails(limits, Some(&manifest), &manifest, want);
    }
}
