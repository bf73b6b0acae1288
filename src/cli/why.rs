//! `leanfs why`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use leanfs::report::analyze::{Sizes, rule_in_words};
use leanfs::report::bytes::grouped;
use leanfs::report::component::Component;
use leanfs::report::manifest::{FileInfo, Manifest, RemovedFile};
use leanfs::report::why::{Answer, Contents, Finding, Step, why};
use leanfs::tree::LayerKind;

use super::failure::Failure;
use super::table::{Table, count};
use super::terminal::{OutputMode, Terminal};

/// How many names of a list are shown when not all are asked for.
const MOST_NAMES: usize = 8;

/// Say why something is in the image, or why it isn't
///
/// Of a file: what needs it, what needs that, and so on; or the rule that took it. Of an application or a package: what
/// stayed and what went. What is not there at all is answered with names that are similar.
#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// A path or its end (bin/beam.smp), a module (Enum, lists), an application, a library, a package
    #[arg(value_name = "NAME")]
    subject: String,
    /// What was assembled: a directory with manifest.json, or that file
    #[arg(value_name = "DIR", default_value = "leanfs")]
    directory: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print whole lists
    #[arg(short, long)]
    verbose: bool,
}

impl WhyArgs {
    pub(super) fn mode(&self) -> OutputMode {
        OutputMode { json: self.json, quiet: false, verbose: self.verbose }
    }

    pub(super) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let manifest = Manifest::read(&self.directory)?;
        let answer = why(&manifest, &self.subject).map_err(|error| {
            let hint = error.hint();
            Failure::unmet(error).hinted(hint)
        })?;
        terminal.object(&Line { event: "result", exit_code: 0, answer: &answer })?;
        terminal.answer(&render(&answer, self.verbose))
    }
}

#[derive(serde::Serialize)]
struct Line<'a> {
    event: &'static str,
    exit_code: u8,
    #[serde(flatten)]
    answer: &'a Answer,
}

fn render(answer: &Answer, whole: bool) -> String {
    let findings: Vec<String> = answer.findings.iter().map(|finding| one(finding, whole)).collect();
    findings.join("\n")
}

fn one(finding: &Finding, whole: bool) -> String {
    match finding {
        Finding::File { file, component, needed_by, circle, below } => {
            let mut text = format!("{}\n", file.path);
            text += &format!("  {}{}\n", about(file), belongs(component, file.layer, &file.part));
            if let Some(target) = &file.leads_to {
                text += &format!("  leads to {target}\n");
            }
            text += &format!("  why: {}\n", file.because);
            text += &chain(needed_by, *circle);
            let names: Vec<&str> = file.needed_by.iter().map(String::as_str).collect();
            text += &list("needed by the programs and libraries", &names, whole);
            if let Some(below) = below {
                text += "  below it\n";
                text += &contents(below, whole);
            }
            text
        }
        Finding::Removed { file, component } => format!(
            "{}\n  not in the image: {}\n  taken by the rule {}\n  it had {} bytes{}\n",
            file.path,
            file.reason,
            rule(&file.rule),
            grouped(file.size),
            belongs(component, file.layer, &file.part),
        ),
        Finding::RemovedDirectory { path, below } => {
            format!("{path}\n  a directory of which everything went\n{}", contents(below, whole))
        }
        Finding::Component { component, listed, contents: there } => {
            let listed = if *listed { "  the release lists it\n" } else { "" };
            format!("{component} ({})\n{listed}{}", component.group, contents(there, whole))
        }
        Finding::Package { package, contents: there } => format!(
            "package {} {}\n  wanted by {}\n  from {}\n{}",
            package.name,
            package.version,
            package.wanted_by.join(" → "),
            package.repository,
            contents(there, whole)
        ),
        Finding::LeftOut { name, reason } => format!("package {name}\n  not in the image: {reason}\n"),
        _ => String::new(),
    }
}

/// What a file is and how large.
fn about(file: &FileInfo) -> String {
    let before = if file.size_before == file.size {
        String::new()
    } else {
        format!(" ({} before pruning)", grouped(file.size_before))
    };
    match file.kind.as_str() {
        "file" => format!("{} bytes{before}, {} of the image", grouped(file.size), grouped(file.compressed)),
        "directory" => "a directory".to_owned(),
        "symlink" => "a symbolic link".to_owned(),
        "hardlink" => "a further name of a file".to_owned(),
        "char-device" => "a character device".to_owned(),
        "block-device" => "a block device".to_owned(),
        "fifo" => "a named pipe".to_owned(),
        kind => kind.to_owned(),
    }
}

/// `; stdlib 6.2, from package erlang27-27.3.4.1-r0`.
fn belongs(component: &Component, layer: LayerKind, part: &str) -> String {
    let source = match layer {
        LayerKind::Package | LayerKind::Kernel => format!(", from package {part}"),
        LayerKind::Sysroot => format!(", from the sysroot's {part}"),
        LayerKind::Otp => ", from the OTP tarball".to_owned(),
        LayerKind::Release => ", from the release".to_owned(),
        LayerKind::Skeleton | LayerKind::Script | LayerKind::Overlay => String::new(),
    };
    format!("; {component}{source}")
}

fn chain(steps: &[Step], circle: bool) -> String {
    let mut text = String::new();
    for step in steps {
        text += &format!("  ← {}\n", step.path);
        text += &match &step.because {
            Some(because) => format!("    {because}\n"),
            None => "    (the manifest does not list it)\n".to_owned(),
        };
    }
    if circle {
        text += "  ← and so on in a circle\n";
    }
    text
}

fn list(title: &str, names: &[&str], whole: bool) -> String {
    if names.is_empty() {
        return String::new();
    }
    let shown = if whole { names.len() } else { names.len().min(MOST_NAMES) };
    let mut text = format!("  {title}\n");
    for name in &names[..shown] {
        text += &format!("    {name}\n");
    }
    if shown < names.len() {
        text += &format!("    and {} more (--verbose lists them)\n", names.len() - shown);
    }
    text
}

/// What stayed, what went and by which rules.
fn contents(contents: &Contents, whole: bool) -> String {
    let Sizes { before, size, compressed, files, removed } = contents.sizes;
    let mut text = if files == 0 {
        "  nothing of it is in the image\n".to_owned()
    } else {
        let bytes = grouped(size);
        format!(
            "  {bytes} bytes in {}, {} of the image\n",
            count(files, "entry", "entries"),
            grouped(compressed)
        )
    };
    if removed > 0 || before > size {
        text += &format!("  {} bytes before pruning\n", grouped(before));
    }
    let mut rules: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for file in &contents.went {
        let (bytes, files) = rules.entry(&file.rule).or_default();
        *bytes += file.size;
        *files += 1;
    }
    let mut table = Table::default();
    for (name, (bytes, files)) in rules {
        table.line([
            format!("{} went by the rule {}", count(files, "file", "files"), rule(name)),
            format!("{} bytes", grouped(bytes)),
        ]);
    }
    text += &table.render(2);
    if whole {
        let stayed: Vec<String> = contents.stayed.iter().map(stays).collect();
        text += &list("what stays", &stayed.iter().map(String::as_str).collect::<Vec<_>>(), true);
        let went: Vec<String> = contents.went.iter().map(goes).collect();
        text += &list("what went", &went.iter().map(String::as_str).collect::<Vec<_>>(), true);
    }
    text
}

fn stays(file: &FileInfo) -> String {
    format!("{}: {}", file.path, file.because)
}

fn goes(file: &RemovedFile) -> String {
    format!("{}: {}", file.path, file.reason)
}

/// A rule's name, and in words if it has some.
fn rule(name: &str) -> String {
    match rule_in_words(name) {
        words if words == name => name.to_owned(),
        words => format!("{name} ({words})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(subject: &str, whole: bool, want: &str) {
        let manifest: Manifest =
            serde_json::from_str(include_str!("../report/manifest/sample.json")).expect("a manifest");
        let text = render(&why(&manifest, subject).expect("known"), whole);
        assert_eq!(text, want, "{text}");
    }

    #[test]
    fn a_chain_of_files() {
        check(
            "Enum",
            false,
            "\
/app/lib/elixir-1.18.3/ebin/Elixir.Enum.beam
  60,000 bytes (118,000 before pruning), 21,000 of the image; elixir 1.18.3, from the release
  why: Elixir.Hello.Worker calls it
  ← /app/lib/hello-0.1.0/ebin/Elixir.Hello.Worker.beam
    Elixir.Hello.Application calls it
  ← /app/lib/hello-0.1.0/ebin/Elixir.Hello.Application.beam
    a module of the release itself
",
        );
    }

    #[test]
    fn a_library_behind_a_link() {
        check(
            "libz.so.1",
            false,
            "\
/usr/lib/libz.so.1
  a symbolic link; zlib 1.3.2-r0, from package zlib-1.3.2-r0
  leads to /usr/lib/libz.so.1.3.2
  why: package zlib-1.3.2-r0 brings it

/usr/lib/libz.so.1.3.2
  100,000 bytes, 47,000 of the image; zlib 1.3.2-r0, from package zlib-1.3.2-r0
  why: beam.smp is linked with it
  ← /usr/lib/erlang/erts-15.2.7/bin/beam.smp
    the release is run by it
  needed by the programs and libraries
    /usr/lib/erlang/erts-15.2.7/bin/beam.smp
",
        );
    }

    #[test]
    fn a_circle() {
        check(
            "code",
            false,
            "\
/usr/lib/erlang/lib/kernel-10.2.7/ebin/code.beam
  20,000 bytes (52,000 before pruning), 8,000 of the image; kernel 10.2.7, from package erlang27-27.3.4.1-r0
  why: code_server calls it
  ← /usr/lib/erlang/lib/kernel-10.2.7/ebin/code_server.beam
    code calls it
  ← and so on in a circle
",
        );
    }

    #[test]
    fn what_went_and_the_application_of_that_name() {
        check(
            "wx",
            true,
            "\
/usr/lib/erlang/lib/wx-2.4.3/ebin/wx.beam
  not in the image: the release does not list the application wx
  taken by the rule otp-application (OTP applications that the release does not list)
  it had 900,000 bytes; wx 2.4.3, from package erlang27-27.3.4.1-r0

wx 2.4.3 (OTP applications)
  nothing of it is in the image
  3,000,000 bytes before pruning
  2 files went by the rule otp-application (OTP applications that the release does not list)  3,000,000 bytes
  what went
    /usr/lib/erlang/lib/wx-2.4.3/ebin/wx.beam: the release does not list the application wx
    /usr/lib/erlang/lib/wx-2.4.3/priv/wxe_driver.so: the release does not list the application wx
",
        );
    }

    #[test]
    fn an_application_and_a_package() {
        check(
            "zlib",
            false,
            "\
zlib 1.3.2-r0 (Shared libraries)
  100,013 bytes in 2 entries, 47,020 of the image

package zlib 1.3.2-r0
  wanted by erlang27 → so:libz.so.1
  from repo
  100,013 bytes in 2 entries, 47,020 of the image
",
        );
    }

    #[test]
    fn directories_and_what_was_left_out() {
        check(
            "/app",
            false,
            "\
/app
  a directory; files of the release, from the release
  why: a directory of what stands below it
  below it
  122,000 bytes in 9 entries, 44,650 of the image
  322,300 bytes before pruning
  2 files went by the rule module (modules that nothing reaches)  51,000 bytes
",
        );
        check(
            "/usr/lib/erlang/lib/wx-2.4.3",
            false,
            "\
/usr/lib/erlang/lib/wx-2.4.3
  a directory of which everything went
  nothing of it is in the image
  3,000,000 bytes before pruning
  2 files went by the rule otp-application (OTP applications that the release does not list)  3,000,000 bytes
",
        );
        check(
            "busybox",
            false,
            "\
package busybox-1.37.0-r30
  not in the image: only a shell for package scripts wanted it, and those never run
",
        );
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = list("all", &names, false);
        assert!(text.ends_with("    7\n    and 12 more (--verbose lists them)\n"), "{text}");
        assert_eq!(list("all", &names, true).lines().count(), 21);
        assert_eq!(list("all", &[], true), "");
    }
}
