//! Container images as skopeo and umoci read them: with the libraries that registries and Podman use, and with the
//! specification's own unpacker.

use std::path::{Path, PathBuf};
use std::process::Command;

use leanfs::arch::Arch;
use leanfs::image::oci::{self, Config, Layers, Settings, Summary};
use leanfs::image::output::OutputDirectory;
use leanfs::image::tar::{self, Part};
use leanfs::recipe::Compression;
use leanfs::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath, ValidTree};
use serde_json::Value;

use super::end_to_end::bench::{succeed, text, tools};
use super::image_tar::{assert_same, disk, root};

const COMPRESSIONS: [Compression; 3] =
    [Compression::None, Compression::Gzip { level: Some(1) }, Compression::Zstd { level: Some(1) }];

/// Three layers, by where things stand. The names of `usr/bin/tool` would be in all of them.
fn by_place(path: &TreePath, _: &Node) -> usize {
    match path.components().next() {
        Some(b"usr" | b"dev") => 0,
        Some(b"bin" | b"long" | b"run") => 1,
        _ => 2,
    }
}

fn settings() -> Settings<'static> {
    Settings {
        config: Config {
            entrypoint: vec!["/bin/tool".into()],
            cmd: vec!["start".into()],
            env: vec!["LANG=C.UTF-8".into()],
            working_dir: "/tmp".into(),
            user: "5:6".into(),
            exposed_ports: ["80/tcp".to_owned()].into(),
            volumes: ["/data".to_owned()].into(),
            stop_signal: "SIGTERM".into(),
            labels: [("label".to_owned(), "Ünïcode".to_owned())].into(),
        },
        created: 1_700_000_000,
        name: Some("example.org/team/hello".into()),
        tag: Some("1.0".into()),
        layers: Layers::new(["low", "middle", "high"].map(str::to_owned).to_vec(), &by_place),
        compression: Compression::Gzip { level: Some(1) },
        ..Settings::default()
    }
}

/// All that a layer can say to Go's reader: it loses extended attributes without a value.
fn everything() -> Tree {
    let mut tree = super::image_tar::everything();
    tree.get_mut(&path("usr/bin/tool")).expect("there").xattrs.remove(&b"user.empty"[..]);
    assert_eq!(oci::losses(&tree.clone().validate().expect("valid")), [""; 0]);
    tree
}

fn path(bytes: impl AsRef<[u8]>) -> TreePath {
    TreePath::parse(bytes.as_ref()).expect("a path")
}

/// A directory of a test's own, in which tools that want one find a home.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn layout(&self, tree: &ValidTree, settings: &Settings<'_>) -> Summary {
        let output = OutputDirectory::open(self.0.path()).expect("open");
        let summary =
            output.directory("oci", |layout| oci::write_layout(tree, settings, layout)).expect("written");
        output.commit(&[]).expect("committed");
        summary
    }

    fn archive(&self, tree: &ValidTree, settings: &Settings<'_>) -> Summary {
        let mut file = fs_err::File::create(self.path("image.tar")).expect("a file");
        oci::write_archive(tree, settings, self.0.path(), &mut file).expect("written")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.0.path());
        command.env("HOME", self.0.path()).env("TMPDIR", self.0.path());
        text(&succeed(&mut command))
    }

    fn copy(&self, from: &str, to: &str) {
        self.run("skopeo", &["--insecure-policy", "copy", "--quiet", from, to]);
    }

    fn json(&self, path: impl AsRef<Path>) -> Value {
        serde_json::from_slice(&fs_err::read(self.0.path().join(path)).expect("there")).expect("JSON")
    }

    /// What umoci makes of an image, `LAYOUT:TAG`, as it then stands on the disk.
    fn unpacked(&self, image: &str) -> String {
        dump(self.bundle(image, &[]))
    }

    fn bundle(&self, image: &str, flags: &[&str]) -> Tree {
        let bundle = format!("bundle-{}", image.replace(':', "-"));
        self.run("umoci", &[&["unpack", "--image", image][..], flags, &[&bundle]].concat());
        disk::tree_of(&self.path(&bundle).join("rootfs"))
    }
}

fn sha256(path: &Path) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, &fs_err::read(path).expect("there"));
    format!("sha256:{}", hex::encode(hash))
}

fn dump(tree: Tree) -> String {
    tree.validate().expect("valid").dump().expect("readable")
}

/// Layers with zstd are beyond it: [`skopeo_copies_to_and_from_everything`] unpacks those too.
#[test]
fn umoci_unpacks_all_of_it() {
    let place = Place::new();
    let (Some(()), Some(())) = (tools(&["umoci"]), root(place.0.path())) else { return };
    let tree = everything().validate().expect("valid");
    for compression in [Compression::None, Compression::Gzip { level: Some(1) }] {
        let tag = format!("with{}", compression.suffix());
        let summary = place.layout(&tree, &Settings { compression, tag: Some(tag.clone()), ..settings() });
        let names: Vec<&str> = summary.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["low", "middle", "high"]);
        assert_same(
            &tree.dump().expect("readable"),
            &place.unpacked(&format!("oci:{tag}")),
            &format!("umoci, {compression:?}"),
        );
    }
}

/// Without root it makes files of devices, owns everything, and leaves out most extended attributes.
#[test]
fn umoci_without_root_unpacks_what_it_can() {
    let Some(()) = tools(&["umoci"]) else { return };
    let place = Place::new();
    let tree = everything();
    place.layout(&tree.clone().validate().expect("valid"), &settings());
    let plain = |tree: Tree| {
        let mut plain = Tree::new();
        for (path, node) in tree.iter() {
            let mut node = node.clone();
            node.xattrs.clear();
            (node.metadata.uid, node.metadata.gid) = (0, 0);
            if matches!(node.kind, NodeKind::CharDevice { .. } | NodeKind::BlockDevice { .. }) {
                node.kind = NodeKind::File(Content::from_bytes(*b""));
            }
            plain.insert(path.clone(), node);
        }
        dump(plain)
    };
    assert_same(&plain(tree), &plain(place.bundle("oci:1.0", &["--rootless"])), "umoci --rootless");
}

#[test]
fn skopeo_copies_to_and_from_everything() {
    let place = Place::new();
    let Some(()) = tools(&["skopeo", "umoci"]) else { return };
    let may_compare = root(place.0.path()).is_some();
    let tree = everything().validate().expect("valid");
    for compression in COMPRESSIONS {
        let place = Place::new();
        let settings = Settings { compression, ..settings() };
        let summary = place.layout(&tree, &settings);
        assert_eq!(place.archive(&tree, &settings), summary);
        // What it only passes on stays byte for byte.
        for (number, from) in ["oci:oci:1.0", "oci-archive:image.tar:1.0"].into_iter().enumerate() {
            let to = format!("dir-{number}");
            place.copy(from, &format!("dir:{to}"));
            let digest = |name: &str| sha256(&place.path(&to).join(name));
            assert_eq!(digest("manifest.json"), summary.manifest_digest);
            for layer in &summary.layers {
                assert_eq!(digest(layer.digest.trim_start_matches("sha256:")), layer.digest);
            }
        }
        // As docker load and docker save see it: by layers that are not compressed, under the same configuration.
        place.copy("docker-archive:image.tar", "oci:loaded:1.0");
        let mut layouts = vec!["loaded"];
        // Docker's own manifests have no word for zstd.
        if !matches!(compression, Compression::Zstd { .. }) {
            place.copy("oci:oci:1.0", "docker-archive:saved.tar");
            place.copy("docker-archive:saved.tar", "oci:saved:1.0");
            layouts.push("saved");
        }
        for layout in layouts {
            let index = place.json(format!("{layout}/index.json"));
            let blob = |digest: &Value| {
                let digest = digest.as_str().expect("a digest").trim_start_matches("sha256:");
                place.json(format!("{layout}/blobs/sha256/{digest}"))
            };
            let manifest = blob(&index["manifests"][0]["digest"]);
            let config = blob(&manifest["config"]["digest"]);
            let diff_ids: Vec<&str> = summary.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
            assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!(diff_ids), "{layout}");
            if layout == "loaded" {
                assert_eq!(manifest["config"]["digest"], summary.config_digest.as_str());
            }
            if may_compare {
                let found = place.unpacked(&format!("{layout}:1.0"));
                assert_same(&tree.dump().expect("readable"), &found, &format!("{layout}, {compression:?}"));
            }
        }
    }
}

#[test]
fn skopeo_says_what_was_said() {
    let Some(()) = tools(&["skopeo"]) else { return };
    let place = Place::new();
    let tree = everything().validate().expect("valid");
    for (architecture, name, variant) in [
        (Arch::X86_64, "amd64", None),
        (Arch::Aarch64, "arm64", Some("v8")),
        (Arch::Riscv64, "riscv64", None),
    ] {
        let settings = Settings { architecture, ..settings() };
        let summary = place.layout(&tree, &settings);
        place.archive(&tree, &settings);
        let inspect = |flags: &[&str]| -> Value {
            let arguments = [&["--override-arch", name, "inspect"], flags, &["oci:oci:1.0"]].concat();
            serde_json::from_str(&place.run("skopeo", &arguments)).expect("JSON")
        };
        let said = inspect(&[]);
        assert_eq!(said["Digest"], summary.manifest_digest.as_str());
        assert_eq!(said["Created"], "2023-11-14T22:13:20Z");
        assert_eq!((&said["Architecture"], &said["Os"]), (&name.into(), &"linux".into()));
        assert_eq!(said["Labels"]["label"], "Ünïcode");
        assert_eq!(said["Layers"].as_array().map(Vec::len), Some(3));
        let said = inspect(&["--config"]);
        assert_eq!(said["variant"].as_str(), variant);
        let config = &said["config"];
        for (field, expected) in [
            ("User", serde_json::json!("5:6")),
            ("ExposedPorts", serde_json::json!({"80/tcp": {}})),
            ("Env", serde_json::json!(["LANG=C.UTF-8"])),
            ("Entrypoint", serde_json::json!(["/bin/tool"])),
            ("Cmd", serde_json::json!(["start"])),
            ("Volumes", serde_json::json!({"/data": {}})),
            ("WorkingDir", serde_json::json!("/tmp")),
            ("StopSignal", serde_json::json!("SIGTERM")),
        ] {
            assert_eq!(config[field], expected, "{field}");
        }
        assert_eq!(said["history"][2]["comment"], "high");
        let tags = place.run("skopeo", &["list-tags", "docker-archive:image.tar"]);
        assert!(tags.contains("\"example.org/team/hello:1.0\""), "{tags}");
    }
}

#[test]
fn umoci_takes_whiteouts() {
    let place = Place::new();
    let Some(()) = tools(&["umoci"]) else { return };
    let mut tree = everything();
    place.layout(&tree.clone().validate().expect("valid"), &settings());
    let gone = ["usr/bin/alias", "long", "dev/null"].map(path);
    let mut layer = fs_err::File::create(place.path("layer.tar")).expect("a file");
    let contains = |path: &TreePath, _: &Node| path.as_bytes() == b"new/file";
    tree.insert_with_parents(
        path("new/file"),
        Node::file(Content::from_bytes(*b"new"), Metadata::FILE, Origin::skeleton()),
    );
    let whole = tree.clone().validate().expect("valid");
    let part = Part { contains: &contains, whiteouts: &gone };
    tar::write_part(&whole, part, tar::Settings::default(), &mut layer).expect("written");
    place.run("umoci", &["raw", "add-layer", "--image", "oci:1.0", "layer.tar"]);
    let found = place.bundle("oci:1.0", &["--rootless"]);
    let names = |tree: &Tree| tree.iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>();
    let below_long: Vec<TreePath> = tree.below(&path("long")).map(|(path, _)| path.clone()).collect();
    for path in gone.iter().chain(&below_long) {
        tree.remove(path);
    }
    assert_eq!(names(&found), names(&tree.validate().expect("valid").into_tree()));
}
