//! `leanfs analyze`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use leanfs::report::analyze::{Analysis, By, Row, Sizes, analyze};
use leanfs::report::bytes::{grouped, short};
use leanfs::report::component::Group;
use leanfs::report::html;
use leanfs::report::manifest::Manifest;

use super::failure::{Because, Failure};
use super::output_file::write_whole;
use super::table::{Table, count};
use super::terminal::{OutputMode, Terminal};

/// How many files are shown if nothing else is asked for.
const USUAL_FILES: usize = 40;

/// Say what the image's bytes are spent on, and what pruning took
///
/// Every file counts in one row, and the rows add up to the image. A compressed image has no borders between its
/// files: each one's share is what it comes to when it is compressed alone, in proportion.
#[derive(Debug, Args)]
pub(super) struct AnalyzeArgs {
    /// What was assembled: a directory with manifest.json, or that file
    #[arg(value_name = "DIR", default_value = "leanfs")]
    directory: PathBuf,
    /// What makes a row: component, package, app, kind or file
    #[arg(long, value_enum, value_name = "WHAT", default_value = "component", hide_possible_values = true)]
    by: ByWord,
    /// Show the N largest rows, and the rest as one [default: all; 40 by file]
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Write a page with a map to look into, everything that went and why; it opens in any browser
    #[arg(long, value_name = "FILE", conflicts_with_all = ["by", "top"])]
    html: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// List what is gone altogether, too
    #[arg(short, long)]
    verbose: bool,
}

/// [`By`] as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ByWord {
    Component,
    Package,
    App,
    Kind,
    File,
}

impl From<ByWord> for By {
    fn from(word: ByWord) -> Self {
        match word {
            ByWord::Component => Self::Component,
            ByWord::Package => Self::Package,
            ByWord::App => Self::App,
            ByWord::Kind => Self::Kind,
            ByWord::File => Self::File,
        }
    }
}

impl AnalyzeArgs {
    pub(super) fn mode(&self) -> OutputMode {
        OutputMode { json: self.json, quiet: false, verbose: self.verbose }
    }

    pub(super) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let manifest = Manifest::read(&self.directory)?;
        if let Some(file) = &self.html {
            return write_page(&manifest, file, terminal);
        }
        let by = By::from(self.by);
        let analysis = analyze(&manifest, by);
        let top = self.top.or_else(|| (by == By::File && !self.json).then_some(USUAL_FILES));
        terminal.object(&object(&analysis, top))?;
        terminal.answer(&render(&manifest, &analysis, top, self.verbose))
    }
}

fn write_page(manifest: &Manifest, file: &Path, terminal: &Terminal) -> Result<(), Failure> {
    let page = html::page(manifest);
    let failed = |error| Failure::unmet(Because::new(format!("{} can't be written", file.display()), error));
    let ((), size) = write_whole(file, |output| output.write_all(page.as_bytes()).map_err(failed))?;
    let name = file.display().to_string();
    terminal.object(&serde_json::json!({"event": "result", "exit_code": 0, "html": name, "size": size}))?;
    terminal.answer(&format!("{name}: a page of {}, to be opened in a browser\n", short(size)))
}

/// The analysis as an object; of `top`, if it is given, only the first rows.
fn object(analysis: &Analysis, top: Option<usize>) -> serde_json::Value {
    let rows: Vec<serde_json::Value> = (analysis.rows.iter().take(top.unwrap_or(usize::MAX)))
        .map(|row| {
            serde_json::json!({
                "group": row.group, "name": row.name, "version": row.version, "sizes": row.sizes,
                "percent": percent_number(analysis, &row.sizes),
            })
        })
        .collect();
    serde_json::json!({
        "event": "result",
        "exit_code": 0,
        "by": analysis.by,
        "rows": rows,
        "total": analysis.total,
        "image": analysis.image,
        "kernel": analysis.kernel,
        "all_outputs": analysis.all_outputs(),
        "pruned": analysis.pruned,
        "rewritten": analysis.rewritten,
    })
}

/// Percent with two digits behind the point.
fn percent_number(analysis: &Analysis, sizes: &Sizes) -> f64 {
    (analysis.percent(sizes) * 100.0).round() / 100.0
}

fn render(manifest: &Manifest, analysis: &Analysis, top: Option<usize>, gone_too: bool) -> String {
    let release = &manifest.release;
    let mut table = Table::new(&["", "before", "now", "compressed", "share"]);
    let lines = Lines { analysis, top: top.unwrap_or(usize::MAX), gone_too };
    match analysis.by {
        By::Component => lines.by_group(&mut table),
        By::Package | By::App | By::Kind | By::File => lines.all(&mut table),
    }
    let image = analysis.image.as_ref().map_or("all files", |image| &image.name);
    table.line(lines.cells(image, &analysis.total));
    if let Some(kernel) = &analysis.kernel {
        let only = |name: &str, size| [name.to_owned(), String::new(), String::new(), grouped(size)];
        table.line(only(&kernel.name, kernel.size));
        if analysis.image.is_some() {
            table.line(only("image and kernel", analysis.all_outputs()));
        }
    }
    let mut text = format!(
        "{} {} for {}, pruned to level {}; sizes are bytes\n\n{}",
        release.name,
        release.version,
        manifest.arch,
        manifest.prune,
        table.render(0)
    );
    text += &went(analysis);
    if !manifest.unfollowed.is_empty() {
        let calls = count(manifest.unfollowed.iter().map(|call| call.count).sum(), "call", "calls");
        text += &format!(
            "\n{calls} could not be followed: the module's name is made at run time. The manifest lists them.\n"
        );
    }
    text
}

/// What pruning took.
fn went(analysis: &Analysis) -> String {
    let mut table = Table::default();
    for rule in &analysis.pruned {
        table.line([rule.what.clone(), grouped(rule.size), count(rule.files, "file", "files")]);
    }
    if analysis.rewritten.files > 0 {
        table.line([
            "what running systems don't read inside of files that stay".to_owned(),
            grouped(analysis.rewritten.saved),
            count(analysis.rewritten.files, "file", "files"),
        ]);
    }
    let lines = table.render(2);
    if lines.is_empty() { lines } else { format!("\nPruning took\n{lines}") }
}

/// The rows of a table.
struct Lines<'a> {
    analysis: &'a Analysis,
    /// How many are shown by name.
    top: usize,
    /// Whether what is gone altogether is.
    gone_too: bool,
}

impl Lines<'_> {
    fn cells(&self, name: &str, sizes: &Sizes) -> Vec<String> {
        let share = format!("{:.1} %", self.analysis.percent(sizes));
        vec![name.to_owned(), grouped(sizes.before), grouped(sizes.size), grouped(sizes.compressed), share]
    }

    /// Groups with their rows; a group of one row is that row.
    fn by_group(&self, table: &mut Table) {
        let mut groups: BTreeMap<Option<Group>, Vec<(usize, &Row)>> = BTreeMap::new();
        for (rank, row) in self.analysis.rows.iter().enumerate() {
            groups.entry(row.group).or_default().push((rank, row));
        }
        let sum = |rows: &[(usize, &Row)]| Sizes::sum(rows.iter().map(|(_, row)| row.sizes));
        let mut groups: Vec<_> = groups.into_iter().map(|(group, rows)| (sum(&rows), group, rows)).collect();
        groups.sort_by_key(|(sizes, group, _)| (std::cmp::Reverse((sizes.compressed, sizes.before)), *group));
        for (sizes, group, rows) in groups {
            match (group, rows.as_slice()) {
                (_, [(_, row)]) => table.line(self.cells(&shown(row), &row.sizes)),
                (Some(group), rows) => {
                    table.line(self.cells(&group.to_string(), &sizes));
                    if rows.iter().any(|(rank, _)| *rank < self.top) {
                        self.rows(table, rows, "  ");
                    }
                }
                (None, rows) => self.rows(table, rows, ""),
            }
        }
    }

    fn all(&self, table: &mut Table) {
        let rows: Vec<(usize, &Row)> = self.analysis.rows.iter().enumerate().collect();
        self.rows(table, &rows, "");
    }

    fn rows(&self, table: &mut Table, rows: &[(usize, &Row)], indent: &str) {
        let (gone, there): (Vec<_>, Vec<_>) =
            rows.iter().copied().partition(|(_, row)| row.sizes.is_gone() && !self.gone_too);
        let (named, smaller): (Vec<_>, Vec<_>) = there.into_iter().partition(|(rank, _)| *rank < self.top);
        for (_, row) in named {
            table.line(self.cells(&format!("{indent}{}", shown(row)), &row.sizes));
        }
        for (what, rows) in [("smaller", smaller), ("that went", gone)] {
            if !rows.is_empty() {
                let name = format!("{indent}and {} {what}", grouped(rows.len() as u64));
                table.line(self.cells(&name, &Sizes::sum(rows.iter().map(|(_, row)| row.sizes))));
            }
        }
    }
}

fn shown(row: &Row) -> String {
    match &row.version {
        Some(version) => format!("{} {version}", row.name),
        None => row.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        serde_json::from_str(include_str!("../report/manifest/sample.json")).expect("a manifest")
    }

    #[track_caller]
    fn check(by: By, top: Option<usize>, gone_too: bool, want: &str) {
        let manifest = sample();
        let text = render(&manifest, &analyze(&manifest, by), top, gone_too);
        // What follows the table is the same for all of them.
        let table = text.split("\nPruning took").next().unwrap_or_default();
        assert_eq!(if want.contains("Pruning took") { &text } else { table }, want, "{text}");
    }

    #[test]
    fn by_component() {
        check(
            By::Component,
            None,
            false,
            "\
hello 0.1.0 for x86_64, pruned to level modules; sizes are bytes

                                         before        now  compressed    share
ERTS 15.2.7                           4,988,000  4,640,000   1,552,000   70.9 %
Shared libraries                      1,080,331  1,080,331     497,190   22.7 %
  musl 1.2.5-r23                        650,018    650,018     330,020   15.1 %
  ncurses 6.5-r0                        330,300    330,300     120,150    5.5 %
  zlib 1.3.2-r0                         100,013    100,013      47,020    2.1 %
OTP applications                      3,368,000    124,000      46,600    2.1 %
  kernel 10.2.7                         246,000     74,000      29,600    1.4 %
  stdlib 6.2.2                          122,000     50,000      17,000    0.8 %
  and 1 that went                     3,000,000          0           0    0.0 %
Elixir                                  275,000    101,000      36,900    1.7 %
  elixir 1.18.3                         235,000     87,000      30,900    1.4 %
  logger 1.18.3                          40,000     14,000       6,000    0.3 %
kernel modules linux-virt-6.18.56-r0     90,000     90,000      31,000    1.4 %
PID 1 and skeleton                       33,480     33,480      15,300    0.7 %
  PID 1                                  33,400     33,400      15,200    0.7 %
  effects of the packages' scripts           80         80          60    0.0 %
  skeleton                                    0          0          40    0.0 %
The release and its dependencies         47,300     21,000       7,770    0.4 %
  jason 1.4.4                            30,000      9,000       4,100    0.2 %
  files of the release                    9,300      9,300       2,170    0.1 %
  hello 0.1.0                             8,000      2,700       1,500    0.1 %
hello-tools 1.0-r0                        4,000      4,000       1,800    0.1 %
overlay                                      12         12          20    0.0 %
initramfs.cpio.xz                     9,886,123  6,093,823   2,188,580  100.0 %
kernel                                                      12,640,000
image and kernel                                            14,828,580

Pruning took
  OTP applications that the release does not list                          3,000,000   2 files
  what only development needs (sources, headers, examples, documentation)     61,000   2 files
  modules that nothing reaches                                                51,000   2 files
  Erlang's port mapper, as distribution is off                                48,000    1 file
  what running systems don't read inside of files that stay                  632,300  11 files

2 calls could not be followed: the module's name is made at run time. The manifest lists them.
",
        );
    }

    #[test]
    fn the_largest_files() {
        check(
            By::File,
            Some(3),
            false,
            "\
hello 0.1.0 for x86_64, pruned to level modules; sizes are bytes

                                             before        now  compressed    share
/usr/lib/erlang/erts-15.2.7/bin/beam.smp  4,900,000  4,600,000   1,540,000   70.4 %
/lib/ld-musl-x86_64.so.1                    650,000    650,000     330,000   15.1 %
/usr/lib/libncursesw.so.6.5                 330,000    330,000     120,000    5.5 %
and 28 smaller                              846,123    513,823     198,580    9.1 %
and 7 that went                           3,160,000          0           0    0.0 %
initramfs.cpio.xz                         9,886,123  6,093,823   2,188,580  100.0 %
kernel                                                          12,640,000
image and kernel                                                14,828,580
",
        );
    }

    #[test]
    fn few_rows() {
        check(
            By::Component,
            Some(4),
            false,
            "\
hello 0.1.0 for x86_64, pruned to level modules; sizes are bytes

                                         before        now  compressed    share
ERTS 15.2.7                           4,988,000  4,640,000   1,552,000   70.9 %
Shared libraries                      1,080,331  1,080,331     497,190   22.7 %
  musl 1.2.5-r23                        650,018    650,018     330,020   15.1 %
  ncurses 6.5-r0                        330,300    330,300     120,150    5.5 %
  zlib 1.3.2-r0                         100,013    100,013      47,020    2.1 %
OTP applications                      3,368,000    124,000      46,600    2.1 %
Elixir                                  275,000    101,000      36,900    1.7 %
kernel modules linux-virt-6.18.56-r0     90,000     90,000      31,000    1.4 %
PID 1 and skeleton                       33,480     33,480      15,300    0.7 %
The release and its dependencies         47,300     21,000       7,770    0.4 %
hello-tools 1.0-r0                        4,000      4,000       1,800    0.1 %
overlay                                      12         12          20    0.0 %
initramfs.cpio.xz                     9,886,123  6,093,823   2,188,580  100.0 %
kernel                                                      12,640,000
image and kernel                                            14,828,580
",
        );
    }

    #[test]
    fn what_is_gone_too() {
        check(
            By::App,
            None,
            true,
            "\
hello 0.1.0 for x86_64, pruned to level modules; sizes are bytes

                            before        now  compressed    share
ERTS 15.2.7              4,988,000  4,640,000   1,552,000   70.9 %
outside of applications  1,207,823  1,207,823     545,310   24.9 %
elixir 1.18.3              235,000     87,000      30,900    1.4 %
kernel 10.2.7              246,000     74,000      29,600    1.4 %
stdlib 6.2.2               122,000     50,000      17,000    0.8 %
logger 1.18.3               40,000     14,000       6,000    0.3 %
jason 1.4.4                 30,000      9,000       4,100    0.2 %
files of the release         9,300      9,300       2,170    0.1 %
hello 0.1.0                  8,000      2,700       1,500    0.1 %
wx 2.4.3                 3,000,000          0           0    0.0 %
initramfs.cpio.xz        9,886,123  6,093,823   2,188,580  100.0 %
kernel                                         12,640,000
image and kernel                               14,828,580
",
        );
    }

    #[test]
    fn by_package() {
        check(
            By::Package,
            None,
            true,
            "\
hello 0.1.0 for x86_64, pruned to level modules; sizes are bytes

                                 before        now  compressed    share
erlang27 27.3.4.1-r0          8,356,000  4,764,000   1,598,600   73.0 %
musl 1.2.5-r23                  650,018    650,018     330,020   15.1 %
libncursesw 6.5-r0              330,000    330,000     120,000    5.5 %
zlib 1.3.2-r0                   100,013    100,013      47,020    2.1 %
the release                     322,300    122,000      44,670    2.0 %
the kernel's modules             90,000     90,000      31,000    1.4 %
the skeleton                     33,400     33,400      15,240    0.7 %
hello-tools 1.0-r0                4,000      4,000       1,800    0.1 %
ncurses-terminfo-base 6.5-r0        300        300         150    0.0 %
the packages' scripts                80         80          60    0.0 %
the overlay                          12         12          20    0.0 %
initramfs.cpio.xz             9,886,123  6,093,823   2,188,580  100.0 %
kernel                                              12,640,000
image and kernel                                    14,828,580
",
        );
    }
}
