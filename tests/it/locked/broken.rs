//! Locks that somebody edited, merged, or made with another leanfs.

use super::super::repo::TestRepo;
use super::{Project, with};

#[test]
fn what_is_wrong_in_a_lock_is_said_with_its_line() {
    let project = Project::new(&["a"]);
    project.repository(&with(TestRepo::new(), "a", "1-r0"));
    project.succeed(&["lock"]);
    let text = project.lock_text();
    let line = |start: &str| text.lines().position(|line| line.starts_with(start)).expect(start) + 1;
    let package = line("[[arch.x86_64.package]]");
    // The other digit of a hash: what it is of can't be had any more.
    let turned = |key: &str| -> String {
        let start = text.find(&format!("\n{key} = \"")).expect(key) + key.len() + 5;
        let start = start + if key == "identity" { "Q1".len() } else { "sha256:".len() };
        let digit = if &text[start..=start] == "a" { "b" } else { "a" };
        format!("{}{digit}{}", &text[..start], &text[start + 1..])
    };
    let at = format!("a-1-r0 (leanfs.lock:{package})");
    for (changed, code, holds) in [
        (turned("file"), 3, vec![at.as_str(), "changed by hand"]),
        (turned("control"), 3, vec!["the control member of", at.as_str()]),
        (turned("data"), 3, vec!["the data member of", at.as_str()]),
        (turned("identity"), 3, vec!["the identity of", at.as_str()]),
        (text.replacen("size = ", "size = 9", 1), 3, vec!["the size of", at.as_str()]),
        (text.replacen("version = \"1-r0\"", "version = \"2-r0\"", 1), 3, vec!["a-2-r0 (leanfs.lock:"]),
        (
            text.replacen("packages = [\n    \"a\",\n]", "packages = []", 1),
            2,
            vec!["leanfs.lock:6:", "by hand", "run `leanfs lock`"],
        ),
        (
            text.replacen("format = 1", "format = 7", 1),
            2,
            vec!["leanfs.lock:3: its format is 7", "formats up to 1"],
        ),
        (text.replacen("[arch.x86_64]", "[arch.x86_64", 1), 2, vec!["leanfs.lock:5:", "version control"]),
        (
            text.replacen("shell = false", "shell = false\ncolour = \"red\"", 1),
            2,
            vec!["unknown field `colour`"],
        ),
        (
            text.replacen("\n[[arch.x86_64.package]]", "\n<<<<<<< HEAD\n[[arch.x86_64.package]]", 1),
            2,
            vec!["a conflict of a merge stands there", "git checkout --ours leanfs.lock"],
        ),
    ] {
        assert_ne!(changed, text);
        project.write("leanfs.lock", &changed);
        project.fail(&["assemble", "--locked"], code, &holds);
    }
    // Settings that were edited are what `leanfs lock` mends.
    project.write("leanfs.lock", &text.replacen("packages = [\n    \"a\",\n]", "packages = []", 1));
    project.succeed(&["lock"]);
    assert_eq!(project.lock_text(), text);
    // Of the others it makes nothing.
    for broken in ["", "format = 7\n", "<<<<<<< HEAD\n"] {
        project.write("leanfs.lock", broken);
        project.fail(&["lock"], 2, &["leanfs.lock:1:"]);
        assert_eq!(project.lock_text(), broken);
    }
    project.write("leanfs.lock", &text);
    project.fail(&["lock", "--update", "nothing"], 2, &["nothing can't be renewed"]);
    project.fail(&["vendor", "x", "--arch", "x86_64"], 2, &["for all of its architectures"]);
    std::fs::remove_file(project.path("leanfs.lock")).expect("there");
    project.fail(&["vendor", "x"], 2, &["there is no leanfs.lock"]);
}
