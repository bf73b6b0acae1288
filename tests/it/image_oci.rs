//! Container images as the tools of that world take them: skopeo, which checks every digest on the way, and umoci.
//! What they unpack to is compared in `image_formats`.

use std::path::Path;
use std::process::Command;

use leanfs::image::oci::{self, Config, Layers, Settings};
use leanfs::image::output::OutputDirectory;
use leanfs::recipe::Compression;
use leanfs::tree::{Content, LayerKind, Metadata, Node, Origin, Tree, TreePath, ValidTree};
use serde_json::Value;

use crate::end_to_end::bench::tools;

fn tree(app: &[u8]) -> ValidTree {
    let mut tree = Tree::new();
    let mut put = |path: &str, layer, bytes: &[u8]| {
        let node = Node::file(Content::from_bytes(bytes), Metadata::PROGRAM, Origin::new(layer, ""));
        tree.insert_with_parents(path.parse().expect("a path"), node);
    };
    put("usr/lib/libc.so", LayerKind::Package, &b"libc".repeat(5000));
    put("otp/bin/beam", LayerKind::Otp, &b"beam".repeat(5000));
    put("app/hello", LayerKind::Release, app);
    tree.validate().expect("valid")
}

fn settings(compression: Compression) -> Settings<'static> {
    let layer_of: &dyn Fn(&TreePath, &Node) -> usize = &|_, node| match node.origin.layer {
        LayerKind::Package => 0,
        LayerKind::Otp => 1,
        _ => 2,
    };
    let config = Config {
        entrypoint: vec!["/app/hello".to_owned()],
        env: vec!["PORT=4000".to_owned()],
        working_dir: "/app".to_owned(),
        exposed_ports: ["4000/tcp".to_owned()].into(),
        stop_signal: "SIGTERM".to_owned(),
        ..Config::default()
    };
    Settings {
        config,
        name: Some("team/hello".to_owned()),
        tag: Some("1.0".to_owned()),
        layers: Layers::new(["packages", "otp", "app"].map(str::to_owned).into(), layer_of),
        compression,
        ..Settings::default()
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("it is there");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Copies an image from place to place, with all digests checked.
fn copy(from: &str, to: &str) {
    run(Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet", from, to]));
}

fn inspect(image: &str) -> Value {
    serde_json::from_str(&run(Command::new("skopeo").args(["inspect", image]))).expect("JSON")
}

fn layers(image: &Value) -> Vec<&str> {
    image["Layers"].as_array().expect("a list").iter().map(|layer| layer.as_str().expect("text")).collect()
}

fn layout(directory: &Path, tree: &ValidTree, settings: &Settings<'_>) -> String {
    let output = OutputDirectory::open(directory).expect("open");
    output.directory("oci", |layout| oci::write_layout(tree, settings, layout)).expect("written");
    output.commit(&[]).expect("committed");
    format!("oci:{}", directory.join("oci").display())
}

#[test]
fn skopeo_takes_layouts_and_archives() {
    let Some(()) = tools(&["skopeo"]) else { return };
    for compression in
        [Compression::Gzip { level: None }, Compression::Zstd { level: Some(3) }, Compression::None]
    {
        let place = tempfile::tempdir().expect("a directory");
        let path = |name: &str| place.path().join(name).display().to_string();
        let image = layout(place.path(), &tree(b"one"), &settings(compression));
        let seen = inspect(&image);
        assert_eq!(seen["Architecture"], "amd64");
        assert_eq!(seen["Env"], serde_json::json!(["PORT=4000"]));
        assert_eq!(layers(&seen).len(), 3, "{seen}");
        copy(&image, &format!("dir:{}", path("copied")));

        let archive = place.path().join("oci.tar");
        let mut file = fs_err::File::create(&archive).expect("room");
        oci::write_archive(&tree(b"one"), &settings(compression), place.path(), &mut file).expect("written");
        let as_oci = inspect(&format!("oci-archive:{}", archive.display()));
        assert_eq!(as_oci["Digest"], seen["Digest"]);
        let as_docker = format!("docker-archive:{}", archive.display());
        assert_eq!(layers(&inspect(&as_docker)).len(), 3);
        copy(&as_docker, &format!("dir:{}", path("from-docker")));
        let configuration = run(Command::new("skopeo").args(["inspect", "--config", &as_docker]));
        let configuration: Value = serde_json::from_str(&configuration).expect("JSON");
        assert_eq!(configuration["config"]["Entrypoint"], serde_json::json!(["/app/hello"]));
        assert_eq!(configuration["config"]["ExposedPorts"], serde_json::json!({"4000/tcp": {}}));
    }
}

/// What a registry already has isn't pushed again: the digests of the lower layers are the same.
#[test]
fn a_change_of_the_application_is_one_layer() {
    let Some(()) = tools(&["skopeo"]) else { return };
    let gzip = Compression::Gzip { level: None };
    let (first, second) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("one"));
    let before = inspect(&layout(first.path(), &tree(b"one"), &settings(gzip)));
    let after = inspect(&layout(second.path(), &tree(b"two"), &settings(gzip)));
    assert_eq!(layers(&before)[..2], layers(&after)[..2]);
    assert_ne!(layers(&before)[2], layers(&after)[2]);
}

#[test]
fn umoci_unpacks_a_bundle() {
    let Some(()) = tools(&["umoci"]) else { return };
    let place = tempfile::tempdir().expect("a directory");
    layout(place.path(), &tree(b"one"), &settings(Compression::Gzip { level: None }));
    let image = format!("{}:1.0", place.path().join("oci").display());
    let bundle = place.path().join("bundle");
    run(Command::new("umoci").args(["unpack", "--rootless", "--image", &image]).arg(&bundle));
    assert_eq!(fs_err::read(bundle.join("rootfs/app/hello")).expect("unpacked"), b"one");
    let runtime = fs_err::read_to_string(bundle.join("config.json")).expect("a configuration");
    let runtime: Value = serde_json::from_str(&runtime).expect("JSON");
    assert_eq!(runtime["process"]["args"], serde_json::json!(["/app/hello"]));
    assert_eq!(runtime["process"]["cwd"], "/app");
}
