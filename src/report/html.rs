//! A page that shows an image: a map of its bytes that one can look into, and the same in tables, with what pruning
//! took and why.
//!
//! The page is one file and asks for nothing else: style and script stand in it, and its content security policy
//! allows these two, by their hashes, and nothing more. All text comes from manifests, and so from strangers: it is
//! written by `Text` alone, and the script sets it as text. The map is drawn from the tables, by the script;
//! without it the page says the same in words. The same manifest gives the same page.

mod palette;
mod text;

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

use self::text::Text;
use super::analyze::{Analysis, By, Row, Sizes, analyze};
use super::bytes::{grouped, short};
use super::component::{Component, Group};
use super::manifest::{FileInfo, Manifest, RemovedFile};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// The page of `manifest`.
pub fn page(manifest: &Manifest) -> String {
    let analysis = analyze(manifest, By::Component);
    let page = Page { manifest, analysis: &analysis, parts: parts(manifest) };
    let mut html = String::new();
    // Writing to a `String` can't fail.
    let _ = page.write(&mut html);
    html
}

/// The files of each component, in the order of the analysis.
fn parts(manifest: &Manifest) -> BTreeMap<(Group, String), Vec<&FileInfo>> {
    let mut parts: BTreeMap<_, Vec<&FileInfo>> = BTreeMap::new();
    for file in &manifest.files {
        let component = Component::of(&file.path, file.layer, &file.part);
        parts.entry((component.group, component.to_string())).or_default().push(file);
    }
    for files in parts.values_mut() {
        files.sort_by_key(|file| std::cmp::Reverse((file.compressed, file.size)));
    }
    parts
}

struct Page<'a> {
    manifest: &'a Manifest,
    analysis: &'a Analysis,
    parts: BTreeMap<(Group, String), Vec<&'a FileInfo>>,
}

impl Page<'_> {
    fn write(&self, html: &mut String) -> std::fmt::Result {
        let release = &self.manifest.release;
        let (name, version) = (Text(&release.name), Text(&release.version));
        let style = format!("{STYLE}{}", palette::css());
        writeln!(
            html,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
             style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
             <link rel=\"icon\" href=\"data:,\">\n<title>{name} {version}: what is in the image</title>\n\
             <style>{style}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#parts\">To the tables</a>",
            sha256(&style),
            sha256(SCRIPT)
        )?;
        self.header(html)?;
        html.push_str("<main>\n");
        self.map(html)?;
        self.parts_table(html)?;
        self.went(html)?;
        self.unfollowed(html)?;
        self.left_out(html)?;
        self.files(html)?;
        self.outputs(html)?;
        html.push_str("</main>\n");
        writeln!(
            html,
            "<footer><p>Made by leanfs {} from manifest.json. MB are 10<sup>6</sup> bytes.</p></footer>\n\
             <script>{SCRIPT}</script>\n</body>\n</html>",
            Text(&self.manifest.leanfs)
        )
    }

    fn header(&self, html: &mut String) -> std::fmt::Result {
        let release = &self.manifest.release;
        let source = match release.otp_source.as_str() {
            "release" => "the release itself",
            "packages" => "packages",
            "tarball" => "a tarball",
            other => other,
        };
        writeln!(
            html,
            "<header>\n<h1>{} <span class=\"version\">{}</span></h1>\n\
             <p class=\"about\">{}, ERTS {} from {}, pruned to level {}</p>\n<dl class=\"figures\">",
            Text(&release.name),
            Text(&release.version),
            self.manifest.arch,
            Text(&release.erts),
            Text(source),
            self.manifest.prune
        )?;
        let mut figure = |what: &str, bytes: u64, note: &str| {
            writeln!(
                html,
                "<div><dt>{}</dt><dd>{}</dd><dd class=\"note\">{}</dd></div>",
                Text(what),
                data(bytes, ""),
                Text(note)
            )
        };
        let total = &self.analysis.total;
        if let Some(image) = &self.analysis.image {
            figure(&image.name, image.size, "compressed as it is loaded")?;
        }
        if let Some(kernel) = &self.analysis.kernel {
            figure(&kernel.name, kernel.size, "beside the image")?;
            if self.analysis.image.is_some() {
                figure("image and kernel", self.analysis.all_outputs(), "what is shipped")?;
            }
        }
        let entries = |count: usize, one: &str, many: &str| {
            format!("{} {}", grouped(count as u64), if count == 1 { one } else { many })
        };
        figure("unpacked", total.size, &entries(total.files, "entry", "entries"))?;
        let went = entries(total.removed, "file went", "files went");
        figure("before pruning", total.before, &went)?;
        html.push_str("</dl>\n</header>\n");
        Ok(())
    }

    fn map(&self, html: &mut String) -> std::fmt::Result {
        let name = self.analysis.image.as_ref().map_or("all files", |image| &image.name);
        writeln!(
            html,
            "<section id=\"map-room\" aria-labelledby=\"map-title\" hidden>\n\
             <h2 id=\"map-title\">Where the bytes are</h2>\n\
             <p class=\"hint\" id=\"map-hint\">Areas are shares of the compressed image. Choose a part to look into it.\
             <span class=\"unseen\"> Arrow keys move between parts, Enter looks inside, Escape goes back. The tables \
             below say the same.</span></p>\n\
             <nav aria-label=\"Place in the map\"><ol id=\"crumbs\"></ol></nav>\n\
             <div id=\"map\" role=\"group\" aria-labelledby=\"map-title\" aria-describedby=\"map-hint\" \
             data-name=\"{}\"></div>\n<div id=\"detail\" role=\"status\"></div>\n<ul class=\"legend\">",
            Text(name)
        )?;
        for (group, ..) in palette::GROUPS {
            if self.parts.keys().any(|(there, _)| *there == group) {
                writeln!(html, "<li class=\"g-{}\">{group}</li>", palette::class(group))?;
            }
        }
        html.push_str("</ul>\n</section>\n");
        Ok(())
    }

    /// The components with their sizes, by group.
    fn parts_table(&self, html: &mut String) -> std::fmt::Result {
        html.push_str(
            "<section id=\"parts\" aria-labelledby=\"parts-title\">\n<h2 id=\"parts-title\">Parts</h2>\n\
             <div class=\"scroll\"><table class=\"parts\" role=\"table\">\n<thead role=\"rowgroup\"><tr role=\"row\">",
        );
        for name in ["Part", "Before pruning", "Now", "In the image", "Share"] {
            write!(html, "<th scope=\"col\" role=\"columnheader\">{name}</th>")?;
        }
        html.push_str("</tr></thead>\n");
        let mut groups: BTreeMap<Group, Vec<&Row>> = BTreeMap::new();
        for row in &self.analysis.rows {
            if let Some(group) = row.group {
                groups.entry(group).or_default().push(row);
            }
        }
        let sum = |rows: &[&Row]| Sizes::sum(rows.iter().map(|row| row.sizes));
        let mut groups: Vec<(Group, Vec<&Row>)> = groups.into_iter().collect();
        groups.sort_by_key(|(group, rows)| (std::cmp::Reverse(sum(rows).compressed), *group));
        for (group, rows) in &groups {
            writeln!(html, "<tbody class=\"g-{}\" role=\"rowgroup\">", palette::class(*group))?;
            let name = format!("<span class=\"key\"></span>{group}");
            self.line(html, "group", "rowgroup", &name, &sum(rows))?;
            let (gone, there): (Vec<&Row>, Vec<&Row>) =
                rows.iter().copied().partition(|row| row.sizes.is_gone());
            for row in there {
                let shown = shown(row);
                let link = match self.number(*group, &shown) {
                    Some(number) => format!("<a href=\"#part-{number}\">{}</a>", Text(&shown)),
                    None => Text(&shown).to_string(),
                };
                self.line(html, "in", "row", &link, &row.sizes)?;
            }
            if !gone.is_empty() {
                let name = format!("and {} that went", grouped(gone.len() as u64));
                self.line(html, "in gone", "row", &name, &sum(&gone))?;
            }
            html.push_str("</tbody>\n");
        }
        html.push_str("<tfoot role=\"rowgroup\">\n");
        let image = self.analysis.image.as_ref().map_or("all files", |image| &image.name);
        self.line(html, "", "row", &Text(image).to_string(), &self.analysis.total)?;
        if let Some(kernel) = &self.analysis.kernel {
            let mut only = |name: &str, size: u64| {
                let name = Text(name);
                let size = data(size, "");
                writeln!(
                    html,
                    "<tr><th scope=\"row\">{name}</th><td></td><td></td><td>{size}</td><td></td></tr>"
                )
            };
            only(&kernel.name, kernel.size)?;
            if self.analysis.image.is_some() {
                only("image and kernel", self.analysis.all_outputs())?;
            }
        }
        html.push_str("</tfoot>\n</table></div>\n</section>\n");
        Ok(())
    }

    /// A row; `name` is HTML. The roles are there because narrow screens get the cells in other places, and some
    /// browsers take what is no table to the eye for none.
    fn line(
        &self,
        html: &mut String,
        class: &str,
        scope: &str,
        name: &str,
        sizes: &Sizes,
    ) -> std::fmt::Result {
        let percent = self.analysis.percent(sizes);
        writeln!(
            html,
            "<tr class=\"{class}\" role=\"row\"><th scope=\"{scope}\" role=\"rowheader\">{name}</th>\
             <td role=\"cell\">{}</td><td role=\"cell\">{}</td><td role=\"cell\">{}</td>\
             <td role=\"cell\">{percent:.1} %<svg class=\"bar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" \
             aria-hidden=\"true\"><rect width=\"{percent:.2}\" height=\"10\"/></svg></td></tr>",
            data(sizes.before, ""),
            data(sizes.size, ""),
            data(sizes.compressed, "")
        )
    }

    /// Which list of files belongs to a component.
    fn number(&self, group: Group, name: &str) -> Option<usize> {
        self.parts.keys().position(|(there, other)| *there == group && other == name)
    }

    fn went(&self, html: &mut String) -> std::fmt::Result {
        html.push_str(
            "<section aria-labelledby=\"went-title\">\n<h2 id=\"went-title\">What pruning took</h2>\n",
        );
        if self.analysis.pruned.is_empty() && self.analysis.rewritten.files == 0 {
            html.push_str("<p>Nothing.</p>\n");
        }
        if self.analysis.rewritten.files > 0 {
            writeln!(
                html,
                "<p>{} of the files that stay are smaller by {} altogether: what no running system reads is not in \
                 them any more.</p>",
                grouped(self.analysis.rewritten.files as u64),
                data(self.analysis.rewritten.saved, "")
            )?;
        }
        for rule in &self.analysis.pruned {
            let mut reasons: BTreeMap<&str, Vec<&RemovedFile>> = BTreeMap::new();
            for file in self.manifest.removed.iter().filter(|file| file.rule == rule.rule) {
                reasons.entry(&file.reason).or_default().push(file);
            }
            writeln!(
                html,
                "<details><summary>{} <span class=\"amount\">{} in {}</span></summary>\n<div class=\"scroll\"><table>\n\
                 <caption>Files that the rule <code>{}</code> took, by reason</caption>\n\
                 <thead><tr><th scope=\"col\">Path</th><th scope=\"col\">Size</th></tr></thead>",
                Text(&capitalised(&rule.what)),
                data(rule.size, ""),
                files(rule.files),
                Text(&rule.rule)
            )?;
            for reason in &rule.reasons {
                let gone = reasons.get(reason.reason.as_str()).map(Vec::as_slice).unwrap_or_default();
                let size = gone.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size));
                writeln!(
                    html,
                    "<tbody>\n<tr class=\"group\"><th scope=\"rowgroup\">{}: {}</th><td>{}</td></tr>",
                    Text(&reason.reason),
                    files(reason.files),
                    data(size, "")
                )?;
                for file in gone {
                    writeln!(
                        html,
                        "<tr class=\"in\"><th scope=\"row\"><bdi class=\"path\">{}</bdi></th><td>{}</td></tr>",
                        Text(&file.path),
                        data(file.size, "")
                    )?;
                }
                html.push_str("</tbody>\n");
            }
            html.push_str("</table></div></details>\n");
        }
        html.push_str("</section>\n");
        Ok(())
    }

    fn unfollowed(&self, html: &mut String) -> std::fmt::Result {
        let calls = &self.manifest.unfollowed;
        if calls.is_empty() {
            return Ok(());
        }
        html.push_str(
            "<section aria-labelledby=\"unfollowed-title\">\n\
             <h2 id=\"unfollowed-title\">Calls that could not be followed</h2>\n\
             <p>The name of the module that they call is made at run time. If one of them needs a module that went, \
             name it in <code>keep</code>.</p>\n<div class=\"scroll\"><table>\n\
             <thead><tr><th scope=\"col\">Caller</th><th scope=\"col\">Places</th></tr></thead>\n<tbody>\n",
        );
        for call in calls {
            writeln!(
                html,
                "<tr><th scope=\"row\"><bdi class=\"path\">{}.{}</bdi> <span class=\"why\">{}</span></th><td>{}</td></tr>",
                Text(&call.module),
                Text(&call.function),
                Text(&call.what),
                grouped(call.count as u64)
            )?;
        }
        html.push_str("</tbody>\n</table></div>\n</section>\n");
        Ok(())
    }

    fn left_out(&self, html: &mut String) -> std::fmt::Result {
        let (left_out, notes) = (&self.manifest.left_out, &self.manifest.notes);
        if !left_out.is_empty() {
            html.push_str(
                "<section aria-labelledby=\"left-out-title\">\n<h2 id=\"left-out-title\">Packages that were not taken</h2>\n\
                 <ul class=\"plain\">\n",
            );
            for package in left_out {
                writeln!(html, "<li><bdi>{}</bdi>: {}</li>", Text(&package.name), Text(&package.reason))?;
            }
            html.push_str("</ul>\n</section>\n");
        }
        if !notes.is_empty() {
            html.push_str("<section aria-labelledby=\"notes-title\">\n<h2 id=\"notes-title\">Notes</h2>\n<ul class=\"plain\">\n");
            for note in notes {
                writeln!(html, "<li>{}</li>", Text(note))?;
            }
            html.push_str("</ul>\n</section>\n");
        }
        Ok(())
    }

    /// Every file with its reason, by component. The map is drawn from this.
    fn files(&self, html: &mut String) -> std::fmt::Result {
        html.push_str("<section aria-labelledby=\"files-title\">\n<h2 id=\"files-title\">Every file</h2>\n");
        let mut parts: Vec<_> = self.parts.iter().enumerate().collect();
        let sum = |files: &[&FileInfo]| Sizes::sum(files.iter().map(|file| Sizes::of(file)));
        parts.sort_by_key(|(number, (_, files))| (std::cmp::Reverse(sum(files).compressed), *number));
        for (number, ((group, name), there)) in parts {
            let class = palette::class(*group);
            let name = Text(name);
            writeln!(
                html,
                "<details class=\"part g-{class}\" id=\"part-{number}\" data-group=\"{class}\" data-title=\"{group}\" \
                 data-name=\"{name}\"><summary>{name} <span class=\"amount\">{} in {}</span></summary>\n\
                 <div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Path</th>\
                 <th scope=\"col\" class=\"wide\">Before pruning</th><th scope=\"col\">Now</th>\
                 <th scope=\"col\">In the image</th></tr></thead>\n<tbody>",
                data(sum(there).compressed, ""),
                entries(there.len())
            )?;
            for file in there {
                writeln!(
                    html,
                    "<tr><th scope=\"row\"><bdi class=\"path\">{}</bdi> <span class=\"why\">{}</span></th>\
                     <td class=\"wide\">{}</td><td>{}</td><td>{}</td></tr>",
                    Text(&file.path),
                    Text(&reason(file)),
                    data(file.size_before, ""),
                    data(file.size, "now"),
                    data(file.compressed, "share")
                )?;
            }
            html.push_str("</tbody>\n</table></div></details>\n");
        }
        html.push_str("</section>\n");
        Ok(())
    }

    fn outputs(&self, html: &mut String) -> std::fmt::Result {
        html.push_str(
            "<section aria-labelledby=\"outputs-title\">\n<h2 id=\"outputs-title\">Outputs</h2>\n\
             <div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">File</th><th scope=\"col\">Bytes</th></tr></thead>\n\
             <tbody>\n",
        );
        for output in &self.manifest.outputs {
            writeln!(
                html,
                "<tr><th scope=\"row\">{} <span class=\"why\">SHA-256 <span class=\"path\">{}</span></span></th>\
                 <td>{}</td></tr>",
                Text(&output.name),
                Text(output.sha256.as_deref().unwrap_or_default()),
                grouped(output.size)
            )?;
        }
        html.push_str("</tbody>\n</table></div>\n</section>\n");
        Ok(())
    }
}

/// A number of bytes for people, and for programs.
fn data(bytes: u64, class: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<data{class} value=\"{bytes}\" title=\"{} bytes\">{}</data>", grouped(bytes), short(bytes))
}

fn files(count: usize) -> String {
    format!("{} {}", grouped(count as u64), if count == 1 { "file" } else { "files" })
}

fn entries(count: usize) -> String {
    format!("{} {}", grouped(count as u64), if count == 1 { "entry" } else { "entries" })
}

fn shown(row: &Row) -> String {
    match &row.version {
        Some(version) => format!("{} {version}", row.name),
        None => row.name.clone(),
    }
}

/// Why a file is there, and where it leads if it is a link.
fn reason(file: &FileInfo) -> String {
    let mut reason = file.because.clone();
    if let Some(by) = &file.by {
        reason += &format!(" ({by})");
    }
    if let Some(target) = &file.leads_to {
        reason += &format!("; leads to {target}");
    }
    reason
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(char::to_uppercase).into_iter().flatten().chain(letters).collect()
}

fn sha256(text: &str) -> String {
    STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::manifest::sample;

    #[test]
    fn the_same_manifest_gives_the_same_page_and_it_asks_for_nothing_else() {
        let html = page(&sample::manifest());
        assert_eq!(html, page(&sample::manifest()));
        for elsewhere in ["http://", "https://", "url(", "@import", " src=", "<form", "<iframe", "fetch("] {
            assert!(!html.contains(elsewhere), "{elsewhere}");
        }
        for link in html.split(" href=\"").skip(1) {
            assert!(link.starts_with('#') || link.starts_with("data:,\""), "{}", &link[..40]);
        }
        assert!(html.contains("<meta name=\"viewport\" content=\"width=device-width"));
    }

    #[test]
    fn its_policy_allows_its_own_style_and_script() {
        let html = page(&sample::manifest());
        let between = |start: &str, end: &str| {
            let rest = html.split_once(start).expect(start).1;
            rest.split_once(end).expect(end).0
        };
        let policy = between("Content-Security-Policy\" content=\"", "\"");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        for (element, start) in [("style", "<style>"), ("script", "<script>")] {
            let hash = sha256(between(start, &format!("</{element}>")));
            assert!(policy.contains(&format!("{element}-src 'sha256-{hash}'")), "{element}: {policy}");
        }
        // What ends these elements stands in neither.
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
    }

    #[test]
    fn everything_of_the_manifest_is_on_it() {
        let manifest = sample::manifest();
        let html = page(&manifest);
        for path in
            manifest.files.iter().map(|file| &file.path).chain(manifest.removed.iter().map(|file| &file.path))
        {
            assert_eq!(html.matches(&format!("<bdi class=\"path\">{path}</bdi>")).count(), 1, "{path}");
        }
        for text in [
            "<h1>hello <span class=\"version\">0.1.0</span></h1>",
            "pruned to level modules",
            "<data value=\"2188580\" title=\"2,188,580 bytes\">2.19 MB</data>",
            "<data value=\"14828580\" title=\"14,828,580 bytes\">14.8 MB</data>",
            "the release does not list the application wx: 2 files",
            "Elixir.Jason.encode/2",
            "busybox-1.37.0-r30",
            "11 of the files that stay are smaller by",
        ] {
            assert!(html.contains(text), "{text}");
        }
    }

    #[test]
    fn an_image_of_nothing() {
        let mut manifest = sample::manifest();
        manifest.files.clear();
        manifest.removed.clear();
        manifest.outputs.clear();
        manifest.unfollowed.clear();
        let html = page(&manifest);
        assert!(html.contains("<p>Nothing.</p>") && !html.contains("NaN"), "{html}");
    }
}
