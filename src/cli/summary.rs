//! The end of `assemble`, for people: what was written, what it holds, what is not in it, and how to start it.

use std::collections::BTreeMap;
use std::fmt::Write;

use leanfs::report::analyze::rule_in_words;
use leanfs::report::manifest::Manifest;
use leanfs::tree::LayerKind;

use super::terminal::megabytes;

/// How many parts are listed when not all are asked for.
const MOST_PARTS: usize = 16;

/// The summary. `all_parts` lists every part of the image, else the largest; `start` are the command lines, any of
/// which starts the image.
pub(super) fn render(manifest: &Manifest, directory: &str, all_parts: bool, start: &[String]) -> String {
    let mut text = String::new();
    let release = &manifest.release;
    line(
        &mut text,
        format_args!(
            "\n{} {} for {}, ERTS {} from {}\n",
            release.name,
            release.version,
            manifest.arch,
            release.erts,
            match release.otp_source.as_str() {
                "release" => "the release itself",
                "packages" => "packages",
                "tarball" => "the OTP tarball",
                other => other,
            }
        ),
    );
    let mut rows: Vec<Row> = (manifest.outputs.iter())
        .map(|output| Row { name: format!("{directory}/{}", output.name), size: output.size, files: None })
        .collect();
    rows.push(Row::total(&rows));
    table(&mut text, &rows);
    contents(&mut text, manifest, all_parts);
    libraries(&mut text, manifest);
    absences(&mut text, manifest);
    unfollowed(&mut text, manifest);
    if !manifest.notes.is_empty() {
        line(&mut text, format_args!("\nNotes"));
        for note in &manifest.notes {
            line(&mut text, format_args!("  {note}"));
        }
    }
    if !start.is_empty() {
        line(&mut text, format_args!("\nStart it"));
        for command in start {
            line(&mut text, format_args!("  {command}"));
        }
    }
    text
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a `String` can't fail.
    let _ = writeln!(text, "{content}");
}

/// A line of a table: a name, a size in bytes, perhaps a number of files.
struct Row {
    name: String,
    size: u64,
    files: Option<usize>,
}

impl Row {
    fn total(rows: &[Self]) -> Self {
        let size = rows.iter().map(|row| row.size).sum();
        let files = rows.iter().map(|row| row.files).sum();
        Self { name: "total".to_owned(), size, files }
    }
}

fn table(text: &mut String, rows: &[Row]) {
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
    for Row { name, size, files: count } in rows {
        let files = count.map_or(String::new(), |count| format!(" {count:>6} {}", files(count)));
        line(text, format_args!("  {name:<width$} {:>11}{files}", megabytes(*size)));
    }
}

fn contents(text: &mut String, manifest: &Manifest, all_parts: bool) {
    let mut parts: BTreeMap<(LayerKind, &str), (u64, usize)> = BTreeMap::new();
    for file in &manifest.files {
        // The parts of a sysroot are single libraries, which are listed by name below.
        let part = if file.layer == LayerKind::Sysroot && !all_parts { "" } else { file.part.as_str() };
        let (size, count) = parts.entry((file.layer, part)).or_default();
        *size += file.size;
        *count += 1;
    }
    let mut rows: Vec<Row> = parts
        .into_iter()
        .map(|((layer, part), (size, count))| Row { name: source(layer, part), size, files: Some(count) })
        .collect();
    rows.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
    let total = Row::total(&rows);
    if !all_parts && rows.len() > MOST_PARTS {
        let smaller = rows.split_off(MOST_PARTS - 1);
        rows.push(Row { name: format!("{} smaller parts", smaller.len()), ..Row::total(&smaller) });
    }
    rows.push(total);
    line(text, format_args!("\nInside, before compression"));
    table(text, &rows);
}

/// A part of a layer by name: `package zlib`, `skeleton`.
fn source(layer: LayerKind, part: &str) -> String {
    if part.is_empty() { layer.to_string() } else { format!("{layer} {part}") }
}

fn files(count: usize) -> &'static str {
    if count == 1 { "file" } else { "files" }
}

/// Where the shared libraries are from.
fn libraries(text: &mut String, manifest: &Manifest) {
    let mut sources: BTreeMap<(LayerKind, &str), Vec<&str>> = BTreeMap::new();
    for file in &manifest.files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let library = name.ends_with(".so") || name.contains(".so.");
        let in_library_directory =
            ["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/usr/local/lib/"].iter().any(|directory| {
                file.path.strip_prefix(directory).is_some_and(|rest| {
                    // The libraries themselves, also in Debian's directories by architecture, but no plugins.
                    rest.split_once('/')
                        .is_none_or(|(first, below)| first.contains("-linux-") && !below.contains('/'))
                })
            });
        if file.kind == "file" && library && in_library_directory {
            let part = if file.layer == LayerKind::Sysroot { "" } else { file.part.as_str() };
            sources.entry((file.layer, part)).or_default().push(name);
        }
    }
    if sources.is_empty() {
        return;
    }
    line(text, format_args!("\nShared libraries"));
    for ((layer, part), names) in sources {
        line(text, format_args!("  from {}: {}", source(layer, part), names.join(", ")));
    }
}

fn absences(text: &mut String, manifest: &Manifest) {
    let mut pruned: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for removed in &manifest.removed {
        let (size, count) = pruned.entry(&removed.rule).or_default();
        *size += removed.size;
        *count += 1;
    }
    if pruned.is_empty()
        && manifest.left_out.is_empty()
        && manifest.unknown_scripts.iter().all(|script| script.accepted)
    {
        return;
    }
    line(text, format_args!("\nNot inside"));
    for left_out in &manifest.left_out {
        line(text, format_args!("  {}: {}", left_out.name, left_out.reason));
    }
    for (rule, (size, count)) in &pruned {
        line(
            text,
            format_args!("  {}: {} in {count} {}", rule_in_words(rule), megabytes(*size), files(*count)),
        );
    }
    for script in manifest.unknown_scripts.iter().filter(|script| !script.accepted) {
        line(
            text,
            format_args!(
                "  what the {} script of {} would do is not known, and was not done",
                script.script, script.package
            ),
        );
    }
}

/// Calls that pruning could not follow: what they reach may be missing.
fn unfollowed(text: &mut String, manifest: &Manifest) {
    /// How many are told; the manifest has all of them.
    const MOST_CALLS: usize = 8;
    if manifest.unfollowed.is_empty() {
        return;
    }
    line(text, format_args!("\nCould not be followed"));
    for call in manifest.unfollowed.iter().take(MOST_CALLS) {
        line(text, format_args!("  {} {}: {}", call.module, call.function, call.what));
    }
    if let Some(more @ 1..) = manifest.unfollowed.len().checked_sub(MOST_CALLS) {
        line(text, format_args!("  and {more} more, in manifest.json"));
    }
    line(
        text,
        format_args!("  A module that only these reach is not in the image; `--keep MODULE` puts it there."),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary() {
        let file = |path: &str, size: u64, layer: &str, part: &str| {
            serde_json::json!({"path": path, "kind": "file", "size": size, "size_before": size, "compressed": 0,
            "layer": layer, "part": part, "because": "", "by": null})
        };
        let removed = |path: &str| {
            serde_json::json!({"path": path, "size": 1_500_000, "layer": "otp", "part": "wx", "rule": "otp-application",
                "reason": "the release doesn't list wx"})
        };
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "format": 3, "source_date_epoch": 0, "inputs": [], "applications": [],
            "parameters": {"packages": [], "otp": "packages", "kernel": "none", "images": [], "keep": [], "shell": false},
            "leanfs": "0.1.0", "arch": "x86_64", "prune": "apps", "unfollowed": [{"path": "/a.beam", "module": "plugins", "function": "call/1", "count": 1,
                "what": "erlang:list_to_atom/1 makes a name"}],
            "release": {"name": "hello", "version": "0.1.0", "erts": "15.2.7", "otp_source": "packages",
                "applications": {"kernel": "10.2"}},
            "packages": [],
            "left_out": [{"name": "busybox", "reason": "only wrapper scripts want /bin/sh"}],
            "unknown_scripts": [{"package": "foo-1-r0", "script": "post-install", "text": "#!/bin/sh\n"}],
            "notes": ["the shell is not in the image"],
            "outputs": [
                {"name": "initramfs.cpio.xz", "kind": "initramfs", "size": 4_650_000, "sha256": "00"},
                {"name": "kernel", "kind": "kernel", "size": 12_600_000, "sha256": "00"}],
            "files": [
                file("/lib/ld-musl-x86_64.so.1", 650_000, "package", "musl"),
                file("/usr/lib/libz.so.1.3.1", 100_000, "package", "zlib"),
                file("/usr/lib/erlang/lib/crypto-5/priv/lib/crypto.so", 100_000, "package", "erlang27"),
                file("/lib/x86_64-linux-gnu/libc.so.6", 1_900_000, "sysroot", "lib/x86_64-linux-gnu/libc.so.6"),
                file("/lib/x86_64-linux-gnu/libm.so.6", 900_000, "sysroot", "lib/x86_64-linux-gnu/libm.so.6"),
                file("/init", 20_000, "skeleton", "")],
            "removed": [removed("/a"), removed("/b")],
            "command_line": "console=ttyS0"
        }))
        .expect("a manifest");
        let text = render(&manifest, "leanfs", false, &["leanfs launch leanfs".to_owned()]);
        let want = "
hello 0.1.0 for x86_64, ERTS 15.2.7 from packages

  leanfs/initramfs.cpio.xz     4.65 MB
  leanfs/kernel               12.60 MB
  total                       17.25 MB

Inside, before compression
  sysroot              2.80 MB      2 files
  package musl         0.65 MB      1 file
  package erlang27     0.10 MB      1 file
  package zlib         0.10 MB      1 file
  skeleton             0.02 MB      1 file
  total                3.67 MB      6 files

Shared libraries
  from package musl: ld-musl-x86_64.so.1
  from package zlib: libz.so.1.3.1
  from sysroot: libc.so.6, libm.so.6

Not inside
  busybox: only wrapper scripts want /bin/sh
  OTP applications that the release does not list: 3.00 MB in 2 files
  what the post-install script of foo-1-r0 would do is not known, and was not done

Could not be followed
  plugins call/1: erlang:list_to_atom/1 makes a name
  A module that only these reach is not in the image; `--keep MODULE` puts it there.

Notes
  the shell is not in the image

Start it
  leanfs launch leanfs
";
        assert_eq!(text, want, "{text}");
    }
}
