//! A program that embeds the crate: recipe in code, typed progress events, the manifest as a value, errors to match
//! on.

use std::path::Path;
use std::sync::Mutex;

use leanfs::AssembleError;
use leanfs::arch::Arch;
use leanfs::assemble::FailureKind;
use leanfs::recipe::{Compression, ImageFormat, ImageSpec, KernelSource, Recipe};
use leanfs::report::manifest::Manifest;
use leanfs::report::{Event, Reporter, Stage};

use super::tiny;

/// The program.
fn image_of(release: &Path, output: &Path, progress: &dyn Reporter) -> Result<Manifest, AssembleError> {
    let mut recipe = Recipe::new(release, Arch::X86_64, output, output.with_extension("cache"));
    recipe.offline = true;
    recipe.kernel = KernelSource::None;
    let mut image = ImageSpec::new(ImageFormat::Initramfs);
    image.compress = Some(Compression::Zstd { level: Some(3) });
    recipe.images = vec![image];
    recipe.run.env.insert("GREETING".to_owned(), "hello".to_owned());
    leanfs::assemble(&recipe, progress)
}

/// Its progress: the stages that were reached.
#[derive(Default)]
struct Stages(Mutex<Vec<Stage>>);

impl Reporter for Stages {
    fn report(&self, event: Event) {
        if let Event::Stage { stage } = event {
            self.0.lock().expect("no reporter panics").push(stage);
        }
    }
}

#[test]
fn a_program_that_embeds_leanfs() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (release, output) = (directory.path().join("release"), directory.path().join("out"));
    tiny::release(&release);
    let stages = Stages::default();
    let manifest = image_of(&release, &output, &stages).expect("nothing is missing");

    assert_eq!((manifest.release.name.as_str(), manifest.release.otp_source.as_str()), ("tiny", "release"));
    assert_eq!(manifest.outputs[0].name, "initramfs.cpio.zst");
    assert!(
        manifest.files.iter().any(|file| file.path == "/app/lib/tiny-1/priv/greeting.txt" && file.size == 6)
    );
    let shares: u64 = manifest.files.iter().map(|file| file.compressed).sum();
    assert_eq!(shares, manifest.outputs[0].size, "every byte of the image belongs to a file");
    let written = fs_err::read(output.join("manifest.json")).expect("the manifest is written too");
    assert_eq!(serde_json::from_slice::<Manifest>(&written).expect("a manifest"), manifest);
    assert_eq!(Manifest::read(&output).expect("it is read by its directory"), manifest);
    let stages = stages.0.into_inner().expect("no reporter panics");
    assert_eq!((stages.first(), stages.last()), (Some(&Stage::Release), Some(&Stage::Image)));
}

#[test]
fn errors_to_match_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (release, output) = (directory.path().join("release"), directory.path().join("out"));
    let error = image_of(&release, &output, &leanfs::report::Silent).expect_err("there is no release");
    assert_eq!(error.kind(), FailureKind::Unmet);
    match error {
        AssembleError::Release(error) => assert!(error.to_string().contains("release"), "{error}"),
        other => panic!("{other}"),
    }
}
