//! The command with repositories that are served over HTTP and HTTPS, and then with what its cache holds: the images
//! are those of a repository on disk.

use std::path::{Path, PathBuf};

use super::cli::leanfs;
use super::server::Server;

/// Assembles Alpine's own Erlang for a release without one, without kernel and compression: only the way of the
/// packages counts here. Gives the image's bytes.
fn assemble(directory: &Path, shared: &Path, repositories: [&str; 2], flags: &[&str]) -> Vec<u8> {
    let mut command = leanfs(directory, &["assemble", "--kernel", "none", "--compress", "none", "-q"]);
    command.arg("--release").arg(shared.join("releases/hello-otp27-noerts.tar.gz"));
    command.arg("--key").arg(shared.join("mirror/keys")).args(["--arch", "x86_64", "-o", "out"]);
    for repository in repositories {
        command.args(["--repository", repository]);
    }
    let output = command.args(flags).output().expect("the binary was built with this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs_err::read(directory.join("out/initramfs.cpio")).expect("an image")
}

#[test]
fn images_do_not_depend_on_how_packages_come() {
    let shared = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    if !shared.join("mirror").is_dir() {
        println!("SKIP: ../shared is absent");
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let local =
        ["main", "community"].map(|name| shared.join("mirror/v3.23").join(name).display().to_string());
    let expected = assemble(directory.path(), &shared, [&local[0], &local[1]], &["--offline"]);
    for server in [Server::http(), Server::https()] {
        server.put_directory("/alpine", shared.join("mirror"));
        let served = ["main", "community"].map(|name| server.url(&format!("/alpine/v3.23/{name}")));
        let served = [served[0].as_str(), served[1].as_str()];
        let mut flags = vec!["--cache-dir", "cache"];
        let authority = served[0].starts_with("https").then(|| server.ca_file());
        if let Some(authority) = &authority {
            flags.extend(["--ca-file", authority.to_str().expect("temporary paths are UTF-8")]);
        }
        assert!(assemble(directory.path(), &shared, served, &flags) == expected, "{served:?}");
        assert!(!server.requests().is_empty());
        server.forget_requests();
        flags.push("--offline");
        assert!(assemble(directory.path(), &shared, served, &flags) == expected, "{served:?} from the cache");
        assert!(server.requests().is_empty());
    }
}
