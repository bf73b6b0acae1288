//! Packages that reach into others.

use std::path::Path;
use std::process::Output;

use crate::cli::leanfs;
use crate::repo::{TestRepo, key_file};
use crate::tiny;

fn assemble(directory: &Path, repository: &TestRepo, packages: &[&str]) -> Output {
    tiny::release(&directory.join("release"));
    repository.build(&directory.join("repo"));
    let mut command =
        leanfs(directory, &["assemble", "--offline", "--repository", "repo", "--arch", "x86_64"]);
    command.args(["--release", "release", "--kernel", "none", "--compress", "none", "--prune", "none"]);
    command.arg("--key").arg(key_file());
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    command.output().expect("leanfs runs")
}

/// One author's two packages: a link, and a file that goes through it into a third package's.
#[test]
fn a_file_through_another_packages_link_is_where_the_link_leads() {
    for target in ["../../etc", "/etc", "../../../../../etc", "also"] {
        let repository = TestRepo::new()
            .package("base", "1-r0")
            .file("etc/secrets", "the real ones")
            .package("link", "1-r0")
            .symlink("usr/lib/evil", target)
            .symlink("usr/lib/also", "../../etc")
            .package("through", "1-r0")
            .file("usr/lib/evil/secrets", "others");
        let directory = tempfile::tempdir().expect("a directory");
        let output = assemble(directory.path(), &repository, &["base", "link", "through"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{target}: {text}");
        assert!(text.contains("/etc/secrets") && text.contains("through-1-r0"), "{target}: {text}");
        assert!(!directory.path().join("leanfs").exists(), "{target}");
        assert!(!directory.path().join("etc").exists(), "nothing is written through links of an image");
    }
}

/// Links that lead to each other.
#[test]
fn a_circle_of_links_is_an_error() {
    let repository = TestRepo::new()
        .package("link", "1-r0")
        .symlink("usr/lib/one", "two")
        .symlink("usr/lib/two", "one")
        .package("through", "1-r0")
        .file("usr/lib/one/file", "x");
    let directory = tempfile::tempdir().expect("a directory");
    let output = assemble(directory.path(), &repository, &["link", "through"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Without `replaces` nobody takes another's file, and in a package's own words nobody gets PID 1's place.
#[test]
fn no_package_takes_what_is_not_its_own() {
    for path in ["usr/bin/tool", "sbin/init", "init"] {
        let repository = TestRepo::new()
            .package("base", "1-r0")
            .program("usr/bin/tool", "the real one")
            .package("other", "1-r0")
            .program(path, "another");
        let directory = tempfile::tempdir().expect("a directory");
        let output = assemble(directory.path(), &repository, &["base", "other"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            // Only where PID 1 doesn't stand.
            assert_eq!(path, "sbin/init", "{text}");
            continue;
        }
        assert!(text.contains(&format!("/{path}")) && text.contains("other-1-r0"), "{path}: {text}");
    }
}
