use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::arch::Arch;
use crate::image::output::OutputDirectory;
use crate::tree::{Content, LayerKind, Metadata, Node, Origin, Tree, TreePath};

fn path(name: &str) -> TreePath {
    name.parse().expect("a path")
}

fn file(layer: LayerKind, content: &[u8]) -> Node {
    Node::file(Content::from_bytes(content), Metadata::FILE, Origin::new(layer, ""))
}

fn sample(app: &[u8]) -> Tree {
    let mut tree = Tree::new();
    tree.insert(path("lib/libc.so"), file(LayerKind::Package, b"libc"));
    tree.insert(path("otp/beam"), file(LayerKind::Otp, b"beam"));
    tree.insert(path("app/code"), file(LayerKind::Release, app));
    tree.insert(path("var/empty"), Node::directory(Metadata::DIRECTORY, Origin::new(LayerKind::Package, "")));
    tree
}

fn by_origin(_: &TreePath, node: &Node) -> usize {
    match node.origin.layer {
        LayerKind::Package => 0,
        LayerKind::Otp => 1,
        LayerKind::Sysroot => 2,
        _ => 3,
    }
}

fn layers() -> Layers<'static> {
    Layers::new(["packages", "otp", "never", "app"].map(str::to_owned).to_vec(), &by_origin)
}

struct Written {
    summary: Summary,
    _directory: tempfile::TempDir,
    layout: PathBuf,
}

impl Written {
    fn new(tree: &ValidTree, settings: &Settings<'_>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let output = OutputDirectory::open(directory.path()).expect("open");
        let summary =
            output.directory("oci", |layout| write_layout(tree, settings, layout)).expect("written");
        output.commit(&[]).expect("committed");
        Self { summary, layout: directory.path().join("oci"), _directory: directory }
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs_err::read(self.layout.join(name)).expect("there")).expect("JSON")
    }

    fn blob(&self, digest: &str) -> Value {
        self.json(&format!("blobs/sha256/{}", digest.strip_prefix("sha256:").expect("SHA-256")))
    }

    fn digests(&self) -> Vec<&str> {
        self.summary.layers.iter().map(|layer| layer.digest.as_str()).collect()
    }
}

fn valid(tree: Tree) -> ValidTree {
    tree.validate().expect("valid")
}

#[test]
fn documents_are_as_specified() {
    let settings = Settings {
        architecture: Arch::Aarch64,
        config: Config {
            entrypoint: vec!["/bin/app".into(), "start".into()],
            cmd: vec!["-v".into()],
            env: vec!["LANG=C.UTF-8".into(), "EMPTY=".into()],
            working_dir: "/app".into(),
            user: "1000:1000".into(),
            exposed_ports: ["80/tcp".to_owned(), "53/udp".to_owned()].into(),
            volumes: ["/data".to_owned()].into(),
            stop_signal: "SIGTERM".into(),
            labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
        },
        created: 1_700_000_000,
        name: Some("team/hello".into()),
        tag: Some("1.0".into()),
        annotations: [("org.opencontainers.image.title".to_owned(), "Hello".to_owned())].into(),
        layers: layers(),
        compression: Compression::None,
        ..Settings::default()
    };
    let written = Written::new(&valid(sample(b"1")), &settings);
    let summary = &written.summary;
    assert_eq!(written.json("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
    let index = written.json("index.json");
    let manifest_size = index["manifests"][0]["size"].as_u64().expect("a size");
    assert_eq!(
        index,
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": summary.manifest_digest,
                "size": manifest_size,
                "platform": {"architecture": "arm64", "os": "linux", "variant": "v8"},
                "annotations": {
                    "io.containerd.image.name": "docker.io/team/hello:1.0",
                    "org.opencontainers.image.ref.name": "1.0",
                },
            }],
        })
    );
    let names: Vec<&str> = summary.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["packages", "otp", "app"]);
    let of_layers: Vec<Value> = summary
        .layers
        .iter()
        .map(|layer| {
            assert_eq!(layer.digest, layer.diff_id, "nothing is compressed");
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer.digest,
                "size": layer.size,
            })
        })
        .collect();
    let manifest = written.blob(&summary.manifest_digest);
    let config_size = manifest["config"]["size"].as_u64().expect("a size");
    assert_eq!(
        manifest,
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": summary.config_digest,
                "size": config_size,
            },
            "layers": of_layers,
            "annotations": {"org.opencontainers.image.title": "Hello"},
        })
    );
    let history =
        |name: &str| json!({"created": "2023-11-14T22:13:20Z", "created_by": "leanfs", "comment": name});
    assert_eq!(
        written.blob(&summary.config_digest),
        json!({
            "created": "2023-11-14T22:13:20Z",
            "architecture": "arm64",
            "variant": "v8",
            "os": "linux",
            "config": {
                "User": "1000:1000",
                "ExposedPorts": {"53/udp": {}, "80/tcp": {}},
                "Env": ["LANG=C.UTF-8", "EMPTY="],
                "Entrypoint": ["/bin/app", "start"],
                "Cmd": ["-v"],
                "Volumes": {"/data": {}},
                "WorkingDir": "/app",
                "Labels": {"a": "1", "b": "2"},
                "StopSignal": "SIGTERM",
            },
            "rootfs": {"type": "layers", "diff_ids": written.digests()},
            "history": [history("packages"), history("otp"), history("app")],
        })
    );
    assert_eq!(fs_err::read_dir(written.layout.join("blobs/sha256")).expect("there").count(), 5);
}

#[test]
fn a_change_changes_its_layer_only() {
    let settings = Settings { layers: layers(), ..Settings::default() };
    let first = Written::new(&valid(sample(b"1")), &settings);
    let again = Written::new(&valid(sample(b"1")), &settings);
    let other = Written::new(&valid(sample(b"2")), &settings);
    assert_eq!(first.summary, again.summary);
    assert_eq!(first.digests()[..2], other.digests()[..2]);
    assert_ne!(first.digests()[2], other.digests()[2]);
    assert_ne!(first.summary.manifest_digest, other.summary.manifest_digest);
}

#[test]
fn threads_do_not_change_digests() {
    let mut tree = sample(b"1");
    let noise: Vec<u8> =
        (0..400_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    tree.insert(path("app/noise"), file(LayerKind::Release, &noise));
    let tree = valid(tree);
    for compression in
        [Compression::None, Compression::Gzip { level: Some(1) }, Compression::Zstd { level: Some(1) }]
    {
        let with = |threads| {
            Written::new(&tree, &Settings { layers: layers(), compression, threads, ..Settings::default() })
        };
        assert_eq!(with(1).summary, with(3).summary, "{compression:?}");
    }
}

#[test]
fn every_node_is_in_its_layer_and_all_names_of_a_file_in_one() {
    let mut tree = sample(b"1");
    let link = |layer| Node { kind: NodeKind::Hardlink(path("otp/beam")), ..file(layer, b"") };
    tree.insert(path("lib/beam"), link(LayerKind::Package));
    tree.insert(path("app/beam"), link(LayerKind::Release));
    let tree = valid(tree);
    let layers = layers();
    let assignment = layers.assign(&tree).expect("good");
    let of = |name: &str| (0..4).find(|&number| assignment.is_in(&path(name), number));
    for (name, layer) in [
        ("lib/libc.so", Some(0)),
        ("app/code", Some(3)),
        ("otp/beam", Some(3)),
        ("lib/beam", Some(3)),
        ("app/beam", Some(3)),
        ("var/empty", Some(0)),
        ("var", None),
        ("", None),
    ] {
        assert_eq!(of(name), layer, "{name}");
    }
    let names: Vec<(usize, &str)> = assignment.layers().collect();
    assert_eq!(names, [(0, "packages"), (3, "app")], "otp has nothing left of its own");
    let empty = valid(Tree::new());
    let default = Layers::default();
    let assignment = default.assign(&empty).expect("good");
    assert_eq!(assignment.layers().count(), 1, "the root alone is in a layer too");
    assert!(assignment.is_in(&TreePath::root(), 0));
}

#[test]
fn an_archive_is_a_layout_and_what_docker_loads() {
    let settings = Settings {
        layers: layers(),
        created: 1_700_000_000,
        name: Some("localhost/hello".into()),
        ..Settings::default()
    };
    let tree = valid(sample(b"1"));
    let layout = Written::new(&tree, &settings);
    let scratch = tempfile::tempdir().expect("a directory");
    let mut archive = Vec::new();
    let summary = write_archive(&tree, &settings, scratch.path(), &mut archive).expect("written");
    assert_eq!(summary, layout.summary);
    assert_eq!(fs_err::read_dir(scratch.path()).expect("readable").count(), 0);
    let spool = crate::tree::SpoolWriter::new_in(scratch.path()).expect("a spool");
    let unpacked =
        crate::archive::read_whole_tar(&archive[..], spool, &Origin::skeleton()).expect("readable");
    let mut files = 0;
    for (path, node) in unpacked.iter() {
        let NodeKind::File(content) = &node.kind else { continue };
        assert_eq!(node.metadata.mtime, 1_700_000_000, "{path}");
        let bytes = content.read(1 << 20).expect("readable");
        let name = path.to_string();
        if name == "/manifest.json" {
            let blob = |digest: &str| digest.replace("sha256:", "blobs/sha256/");
            let blobs: Vec<String> = layout.digests().into_iter().map(blob).collect();
            let expected = json!([{
                "Config": blob(&summary.config_digest), "RepoTags": ["localhost/hello:latest"], "Layers": blobs,
            }]);
            assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("JSON"), expected);
        } else {
            files += 1;
            assert_eq!(bytes, fs_err::read(layout.layout.join(&name[1..])).expect("the same"), "{name}");
        }
    }
    assert_eq!(files, 2 + 5, "the layout's two files and its blobs");
}

#[test]
fn settings_that_can_not_be() {
    let config = |config: Config| Settings { config, ..Settings::default() };
    let text = |text: &str| Some(text.to_owned());
    let far: &dyn Fn(&TreePath, &Node) -> usize = &|_, _| 7;
    let cases = [
        (Settings { compression: Compression::Xz { level: None }, ..Settings::default() }, "gzip or zstd"),
        (Settings { compression: Compression::Lz4, ..Settings::default() }, "gzip or zstd"),
        (Settings { created: i64::MAX, ..Settings::default() }, "RFC 3339"),
        (Settings { layers: Layers::new(vec!["one".into()], far), ..Settings::default() }, "layer 7"),
        (Settings { layers: Layers::new(vec![], far), ..Settings::default() }, "there are 0"),
        (Settings { tag: text("-x"), ..Settings::default() }, "no tag"),
        (Settings { tag: text(&"x".repeat(129)), ..Settings::default() }, "no tag"),
        (Settings { name: text("Hello"), ..Settings::default() }, "no name"),
        (Settings { name: text("a//b"), ..Settings::default() }, "no name"),
        (Settings { name: text("a:1"), ..Settings::default() }, "no name"),
        (
            Settings { annotations: [(String::new(), String::new())].into(), ..Settings::default() },
            "annotation",
        ),
        (config(Config { env: vec!["PATH".into()], ..Config::default() }), "NAME=value"),
        (config(Config { env: vec!["=x".into()], ..Config::default() }), "NAME=value"),
        (config(Config { cmd: vec!["a\0".into()], ..Config::default() }), "NUL"),
        (config(Config { working_dir: "app".into(), ..Config::default() }), "absolute"),
        (config(Config { volumes: ["data".to_owned()].into(), ..Config::default() }), "absolute"),
        (config(Config { exposed_ports: ["http".to_owned()].into(), ..Config::default() }), "no port"),
        (config(Config { exposed_ports: ["0/tcp".to_owned()].into(), ..Config::default() }), "no port"),
        (config(Config { exposed_ports: ["65536".to_owned()].into(), ..Config::default() }), "no port"),
        (config(Config { stop_signal: "TERM".into(), ..Config::default() }), "no signal"),
    ];
    let scratch = tempfile::tempdir().expect("a directory");
    for (settings, expected) in cases {
        let mut archive = Vec::new();
        let error =
            write_archive(&valid(sample(b"1")), &settings, scratch.path(), &mut archive).expect_err(expected);
        assert!(matches!(error, ImageError::Settings { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(archive.is_empty());
    }
    let good = Settings {
        name: text("registry.example:5000/a/b-c__d.e"),
        config: Config { stop_signal: "SIGRTMIN+3".into(), ..Config::default() },
        ..Settings::default()
    };
    good.check().expect("good");
    for (name, full) in [
        ("hello", "docker.io/library/hello:latest"),
        ("me/hello", "docker.io/me/hello:latest"),
        ("ghcr.io/me/hello", "ghcr.io/me/hello:latest"),
        ("localhost/hello", "localhost/hello:latest"),
        ("host:5000/hello", "host:5000/hello:latest"),
    ] {
        let settings = Settings { name: text(name), ..Settings::default() };
        settings.check().expect("good");
        assert_eq!(settings.full_name().as_deref(), Some(full));
    }
}

#[test]
fn what_a_layer_can_not_say_is_refused_or_told() {
    let mut tree = sample(b"1");
    tree.insert(path("app/.wh.x"), file(LayerKind::Release, b""));
    let scratch = tempfile::tempdir().expect("a directory");
    let mut archive = Vec::new();
    let error = write_archive(&valid(tree), &Settings::default(), scratch.path(), &mut archive)
        .expect_err("it would be a whiteout");
    assert!(matches!(error, ImageError::CannotHold { .. }), "{error}");
    assert!(archive.is_empty());

    let mut tree = sample(b"1");
    let whiteout = NodeKind::CharDevice { major: 0, minor: 0 };
    tree.insert(path("app/x"), Node { kind: whiteout, ..file(LayerKind::Release, b"") });
    let mut opaque = file(LayerKind::Release, b"");
    opaque.xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    opaque.xattrs.insert(b"user.empty".to_vec(), Vec::new());
    tree.insert(path("app/y"), opaque);
    let losses = losses(&valid(tree));
    assert_eq!(losses.len(), 3, "{losses:?}");
    for (loss, expected) in losses.iter().zip(["user.empty of /app/y", "/app/x", "overlay.opaque of /app/y"])
    {
        assert!(loss.contains(expected), "{losses:?}");
    }
}

#[test]
fn a_scratch_directory_that_is_not_there_is_named() {
    let place = tempfile::tempdir().expect("a directory");
    let scratch = place.path().join("none");
    let error = write_archive(&valid(sample(b"1")), &Settings::default(), &scratch, &mut std::io::sink())
        .expect_err("no scratch");
    assert!(matches!(&error, ImageError::Output { path, .. } if *path == scratch), "{error}");
}
