//! `leanfs lock` where there is a lock: what stays, what changes, and what is told.

use leanfs::arch::Arch;

use super::super::repo::TestRepo;
use super::{Project, pairs, with};

fn versions(a: &str, b: &str, c: &str) -> TestRepo {
    with(with(with(TestRepo::new(), "a", a), "b", b), "c", c)
}

#[test]
fn what_can_stay_stays() {
    let project = Project::new(&["a", "b"]);
    project.repository(&versions("1", "1", "1"));
    let said = project.succeed(&["lock"]);
    assert!(said.contains("x86_64: 2 packages") && said.contains("+ a-1, 0.00 MB"), "{said}");
    let newer = || with(with(with(versions("1", "1", "1"), "a", "2"), "b", "2"), "c", "2");
    project.repository(&newer());
    assert!(project.succeed(&["lock"]).contains("leanfs.lock is as it was"));

    // One more is taken as it is now, the others stay.
    project.recipe(&["a", "b", "c"], "");
    project.fail(&["assemble", "--locked"], 3, &["packages: locked with a b, now a b c"]);
    let said = project.succeed(&["lock"]);
    assert!(said.contains("+ c-2, ") && !said.contains("a 1"), "{said}");
    assert_eq!(pairs(&project.locked()), [("a", "1"), ("b", "1"), ("c", "2")]);
    project.image(&["--locked"]);

    let said = project.succeed(&["lock", "--update", "a"]);
    assert!(said.contains("~ a 1 → 2, 0.00 MB (+0.00 MB)") && !said.contains("~ b"), "{said}");
    assert_eq!(pairs(&project.locked()), [("a", "2"), ("b", "1"), ("c", "2")]);
    project.image(&["--locked"]);

    project.succeed(&["lock", "--update"]);
    assert_eq!(pairs(&project.locked()), [("a", "2"), ("b", "2"), ("c", "2")]);

    project.recipe(&["b"], "");
    let said = project.succeed(&["lock", "--json"]);
    let end: serde_json::Value =
        said.lines().rev().find_map(|line| serde_json::from_str(line).ok()).expect("JSON");
    let changes = end["archs"]["x86_64"]["changes"].as_array().expect("changes");
    assert!(changes.iter().any(|change| change["kind"] == "removed" && change["name"] == "a-2"), "{end}");
}

#[test]
fn what_a_renewed_package_needs_changes_with_it() {
    let project = Project::new(&["a", "c"]);
    let old = || with(with(with(TestRepo::new(), "a", "1").depends("b"), "b", "1"), "c", "1");
    project.repository(&old());
    project.succeed(&["lock"]);
    let newer = with(old(), "a", "2").depends("b>1");
    project.repository(&with(with(newer, "b", "2"), "c", "2"));
    assert!(project.succeed(&["lock"]).contains("is as it was"));
    project.succeed(&["lock", "--update", "a"]);
    assert_eq!(pairs(&project.locked()), [("a", "2"), ("b", "2"), ("c", "1")]);
    project.image(&["--locked"]);
}

#[test]
fn what_a_repository_has_no_more_stays_while_it_can_be_had() {
    let project = Project::new(&["a"]);
    project.repository(&versions("1", "1", "1"));
    project.succeed(&["lock"]);
    project.vendor(&[]);
    project.repository(&versions("2", "2", "2"));
    // From the vendor directory, and what is new beside it from the repository.
    project.recipe(&["a", "b"], "vendor = \"vendored\"");
    project.succeed(&["lock"]);
    assert_eq!(pairs(&project.locked()), [("a", "1"), ("b", "2")]);
    let text = project.lock_text();
    project.image(&["--locked"]);
    project.vendor(&[]);
    std::fs::remove_dir_all(project.path("repo")).expect("there");
    project.image(&["--locked", "--offline"]);
    assert_eq!(project.lock_text(), text);

    project.repository(&versions("2", "2", "2"));
    project.recipe(&["a", "b"], "");
    let said = project.succeed(&["lock"]);
    assert!(said.contains("is nowhere") && said.contains("another one may be taken"), "{said}");
    assert_eq!(pairs(&project.locked()), [("a", "2"), ("b", "2")]);
}

#[test]
fn an_index_that_is_older_than_the_lock_is_told() {
    let project = Project::new(&["a"]);
    let built = |time| with(TestRepo::new(), "a", "1").info(|info| info.build_time = Some(time));
    project.repository(&built(1_700_000_000));
    project.succeed(&["lock"]);
    assert!(project.lock_text().contains("\nnewest = 1700000000\n"));
    project.repository(&built(1_600_000_000));
    let said = project.succeed(&["lock", "--update"]);
    assert!(said.contains("is older than the index that leanfs.lock was made of"), "{said}");
    assert!(said.contains("2023-11-14") && said.contains("2020-09-13"), "{said}");
    assert!(project.lock_text().contains("\nnewest = 1700000000\n"), "what was seen is not forgotten");
}

#[test]
fn several_architectures_stand_for_themselves() {
    let project = Project::new(&["a"]);
    // PID 1 may be a script there.
    let of = |arch, version| {
        with(with(TestRepo::new().arch(arch), "a", version), "busybox", "1").provides("/bin/sh=1")
    };
    let arm = |version| {
        of(Arch::Aarch64, version).build(&project.path("repo"));
    };
    project.repository(&of(Arch::X86_64, "1"));
    arm("1");
    // A release without programs of one architecture.
    for directory in ["erts-15.0/bin"] {
        for file in fs_err::read_dir(project.path("release").join(directory)).expect("there") {
            let path = file.expect("an entry").path();
            let mut elf = fs_err::read(&path).expect("a program");
            elf[18] = 183;
            let arm = project.path("release-arm").join(directory);
            fs_err::create_dir_all(&arm).expect("made");
            fs_err::write(arm.join(path.file_name().expect("a name")), elf).expect("written");
        }
    }
    for directory in ["lib", "releases"] {
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .arg(project.path("release").join(directory))
            .arg(project.path("release-arm"))
            .status();
        assert!(copied.expect("cp runs").success());
    }
    project.succeed(&["lock"]);
    let only_x86 = project.lock_text();
    project.succeed(&["lock", "--arch", "aarch64", "--release", "release-arm"]);
    let both = project.lock_text();
    assert!(both.starts_with(&only_x86), "the other section is as it was");
    assert_eq!(pairs(&project.locked_for(Arch::Aarch64))[0], ("a", "1"));
    project.image(&["--locked"]);
    project.image(&["--locked", "--arch", "aarch64", "--release", "release-arm"]);

    arm("2");
    project.succeed(&["lock", "--arch", "aarch64", "--release", "release-arm", "--update"]);
    assert_eq!(pairs(&project.locked_for(Arch::Aarch64))[0], ("a", "2"));
    assert_eq!(pairs(&project.locked()), [("a", "1")]);
    let said = project.vendor(&[]);
    assert!(said.contains(" packages and 0 files"), "{said}");
    std::fs::remove_dir_all(project.path("repo")).expect("there");
    let vendored = ["--locked", "--offline", "--vendor", "vendored"];
    project.image(&vendored);
    project.image(&[&vendored[..], &["--arch", "aarch64", "--release", "release-arm"]].concat());
    project.fail(
        &["assemble", "--arch", "aarch64", "--arch", "x86_64"],
        2,
        &["--arch is given more than once"],
    );
    project.succeed(&["fetch", "--arch", "aarch64", "--arch", "x86_64", "--vendor", "vendored"]);
}
