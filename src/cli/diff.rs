//! `leanfs diff`.

use std::path::PathBuf;

use clap::Args;
use leanfs::report::bytes::{grouped, signed};
use leanfs::report::diff::{Change, Changes, Difference, Fate, Side, diff};
use leanfs::report::manifest::Manifest;

use super::failure::Failure;
use super::table::Table;
use super::terminal::{OutputMode, Terminal};

/// Say what differs between two images: what grew, shrank, came and went
///
/// Parts and files are matched without their versions. The share that a file has of a compressed image depends a
/// little on all others: what has the same size and version as before is counted together.
#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// What was assembled before: a directory with manifest.json, or that file
    #[arg(value_name = "A")]
    before: PathBuf,
    /// What was assembled later
    #[arg(value_name = "B")]
    after: PathBuf,
    /// Show the N largest differences of parts and of files
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Print one JSON object, with all differences
    #[arg(long)]
    json: bool,
}

impl DiffArgs {
    pub(super) fn mode(&self) -> OutputMode {
        OutputMode { json: self.json, ..OutputMode::default() }
    }

    pub(super) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let difference = diff(&Manifest::read(&self.before)?, &Manifest::read(&self.after)?);
        terminal.object(&Line { event: "result", exit_code: 0, difference: &difference })?;
        terminal.answer(&render(&difference, self.top))
    }
}

#[derive(serde::Serialize)]
struct Line<'a> {
    event: &'static str,
    exit_code: u8,
    #[serde(flatten)]
    difference: &'a Difference,
}

fn render(difference: &Difference, top: usize) -> String {
    let mut table = Table::new(&["", "before", "now", "change"]);
    for output in &difference.outputs {
        table.line(output_cells(&output.name, output.before, output.after));
    }
    if difference.outputs.len() > 1 {
        let sum = |sizes: Vec<Option<u64>>| Some(sizes.into_iter().flatten().fold(0, u64::saturating_add));
        let before = sum(difference.outputs.iter().map(|output| output.before).collect());
        let after = sum(difference.outputs.iter().map(|output| output.after).collect());
        table.line(output_cells("all outputs", before, after));
    }
    let mut text = format!("Sizes are bytes\n\n{}", table.render(0));
    for (title, changes) in [("By component", &difference.components), ("By file", &difference.files)] {
        text += &format!("\n{title}\n");
        text += &table_of(changes, difference, top);
    }
    text
}

fn output_cells(name: &str, before: Option<u64>, after: Option<u64>) -> Vec<String> {
    let shown = |size: Option<u64>| size.map_or_else(|| "–".to_owned(), grouped);
    let (from, to) = (before.unwrap_or(0), after.unwrap_or(0));
    let change = i128::from(to) - i128::from(from);
    let percent = if change == 0 || from == 0 {
        String::new()
    } else {
        format!("{:+.2} %", change as f64 * 100.0 / from as f64)
    };
    vec![name.to_owned(), shown(before), shown(after), signed(change), percent]
}

fn table_of(changes: &Changes, difference: &Difference, top: usize) -> String {
    let mut table = Table::new(&["", "size", "change", "compressed", "change"]);
    for change in changes.changed.iter().take(top) {
        table.line(change_cells(&name(change), change.before.as_ref(), change.after.as_ref()));
    }
    let rest = &changes.changed[top.min(changes.changed.len())..];
    if !rest.is_empty() {
        let sum = |side: fn(&Change) -> Option<&Side>| {
            let mut sum = Side::default();
            for side in rest.iter().filter_map(side) {
                sum.size = sum.size.saturating_add(side.size);
                sum.compressed = sum.compressed.saturating_add(side.compressed);
            }
            sum
        };
        let (before, after) = (sum(|change| change.before.as_ref()), sum(|change| change.after.as_ref()));
        let name = format!("and {} smaller differences", grouped(rest.len() as u64));
        table.line(change_cells(&name, Some(&before), Some(&after)));
    }
    if changes.same > 0 {
        let name = format!("{} of the same size", grouped(changes.same as u64));
        table.line(change_cells(&name, Some(&changes.same_before), Some(&changes.same_after)));
    }
    table.line(change_cells("all files", Some(&difference.before), Some(&difference.after)));
    table.render(2)
}

fn change_cells(name: &str, before: Option<&Side>, after: Option<&Side>) -> Vec<String> {
    let none = Side::default();
    let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
    let change = |from: u64, to: u64| signed(i128::from(to) - i128::from(from));
    vec![
        name.to_owned(),
        grouped(after.size),
        change(before.size, after.size),
        grouped(after.compressed),
        change(before.compressed, after.compressed),
    ]
}

/// `grew     stdlib 6.2 → 6.3`.
fn name(change: &Change) -> String {
    let fate = match change.fate {
        Fate::Came => "came",
        Fate::Went => "went",
        Fate::Grew => "grew",
        Fate::Shrank => "shrank",
        Fate::Changed => "changed",
    };
    let version = |side: &Option<Side>| side.as_ref().and_then(|side| side.version.clone());
    let versions = match (version(&change.before), version(&change.after)) {
        (Some(before), Some(after)) if before != after => format!(" {before} → {after}"),
        (_, Some(version)) | (Some(version), None) => format!(" {version}"),
        (None, None) => String::new(),
    };
    format!("{fate:<7}  {}{versions}", change.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        serde_json::from_str(include_str!("../report/manifest/sample.json")).expect("a manifest")
    }

    /// The sample with one thing of each fate.
    fn later() -> Manifest {
        let mut manifest = sample();
        manifest.files.retain(|file| !file.path.contains("jason"));
        for file in &mut manifest.files {
            match file.path.rsplit('/').next() {
                Some("lists.beam") => {
                    file.path = file.path.replace("6.2.2", "6.3");
                    (file.size, file.compressed) = (54_000, 18_500);
                }
                Some("code.beam") => (file.size, file.compressed) = (19_000, 7_700),
                Some("Elixir.Logger.beam") => {
                    file.path = file.path.replace("1.18.3", "1.18.4");
                    file.part = "logger-1.18.4".to_owned();
                }
                Some("hi") => file.path = "/usr/bin/ho".to_owned(),
                Some("beam.smp") => file.compressed -= 11,
                _ => {}
            }
        }
        manifest.outputs[0].size = manifest.files.iter().map(|file| file.compressed).sum();
        manifest
    }

    #[test]
    fn everything() {
        let text = render(&diff(&sample(), &later()), 20);
        let want = "\
Sizes are bytes

                       before         now  change
initramfs.cpio.xz   2,188,580   2,185,669  -2,911  -0.13 %
kernel             12,640,000  12,640,000       0
all outputs        14,828,580  14,825,669  -2,911  -0.02 %

By component
                                        size  change  compressed  change
  went     jason 1.4.4                     0  -9,000           0  -4,100
  grew     stdlib 6.2.2 → 6.3         54,000  +4,000      18,500  +1,500
  shrank   kernel 10.2.7              73,000  -1,000      29,300    -300
  changed  logger 1.18.3 → 1.18.4     14,000       0       6,000       0
  13 of the same size              5,946,823       0   2,131,869     -11
  all files                        6,087,823  -6,000   2,185,669  -2,911

By file
                                                                  size  change  compressed  change
  went     /app/lib/jason-1.4.4/ebin/Elixir.Jason.beam               0  -9,000           0  -4,100
  went     /usr/bin/hi                                               0  -4,000           0  -1,800
  came     /usr/bin/ho                                           4,000  +4,000       1,800  +1,800
  grew     /usr/lib/erlang/lib/stdlib-6.3/ebin/lists.beam       54,000  +4,000      18,500  +1,500
  shrank   /usr/lib/erlang/lib/kernel-10.2.7/ebin/code.beam     19,000  -1,000       7,700    -300
  27 of the same size                                        6,010,823       0   2,157,669     -11
  all files                                                  6,087,823  -6,000   2,185,669  -2,911
";
        assert_eq!(text, want, "{text}");
    }

    #[test]
    fn the_largest_only() {
        let text = render(&diff(&sample(), &later()), 1);
        let components = text.split("\nBy file\n").next().expect("it is there");
        assert!(components.contains("and 3 smaller differences"), "{components}");
        assert_eq!(components.lines().count(), 13, "{components}");
    }

    #[test]
    fn outputs_that_came_and_went() {
        assert_eq!(output_cells("a", None, Some(5)), ["a", "–", "5", "+5", ""]);
        assert_eq!(output_cells("a", Some(1_000), None), ["a", "1,000", "–", "-1,000", "-100.00 %"]);
    }
}
