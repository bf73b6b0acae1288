//! Why something is in an image, or why it isn't, from the image's [`Manifest`].

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::analyze::Sizes;
use super::component::{Component, Group, package_name};
use super::manifest::{FileInfo, Manifest, PackageInfo, RemovedFile};

/// Everything that a name means in an image: a module may have the name of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The name that was asked for.
    pub subject: String,
    /// What it is; at least one thing.
    pub findings: Vec<Finding>,
}

/// One thing that a name means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Finding {
    /// Something in the image.
    File {
        /// It.
        file: FileInfo,
        /// What it belongs to.
        component: Component,
        /// What needs it, what needs that, and so on to something that stands for itself.
        needed_by: Vec<Step>,
        /// Whether the last of these is needed by something that has been named before.
        circle: bool,
        /// What stands below it, if it is a directory, and what went from there.
        below: Option<Contents>,
    },
    /// A file that pruning took.
    Removed {
        /// It, with the reason.
        file: RemovedFile,
        /// What it belonged to.
        component: Component,
    },
    /// A directory of which nothing is left.
    RemovedDirectory {
        /// Its path.
        path: String,
        /// What went from there.
        below: Contents,
    },
    /// An application, or another component.
    Component {
        /// It.
        component: Component,
        /// Whether the release lists it.
        listed: bool,
        /// What is there of it and what went.
        contents: Contents,
    },
    /// A package.
    Package {
        /// It, with what wanted it.
        package: PackageInfo,
        /// What it brought.
        contents: Contents,
    },
    /// A package that was resolved and not taken.
    LeftOut {
        /// Its name and version.
        name: String,
        /// Why.
        reason: String,
    },
}

/// A file that needs the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its path.
    pub path: String,
    /// Why it is in the image itself; nothing if the manifest doesn't list it.
    pub because: Option<String>,
}

/// What stayed and what went of something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// All together.
    pub sizes: Sizes,
    /// What is in the image, in path order.
    pub stayed: Vec<FileInfo>,
    /// What went, in path order.
    pub went: Vec<RemovedFile>,
}

impl Contents {
    /// Those that `belongs` says yes to; it is given path, layer and part.
    fn of(manifest: &Manifest, belongs: impl Fn(&str, &Component, &str) -> bool) -> Self {
        let mut contents = Self::default();
        for file in &manifest.files {
            if belongs(&file.path, &Component::of(&file.path, file.layer, &file.part), &file.part) {
                contents.sizes.add(Sizes::of(file));
                contents.stayed.push(file.clone());
            }
        }
        for file in &manifest.removed {
            if belongs(&file.path, &Component::of(&file.path, file.layer, &file.part), &file.part) {
                contents.sizes.add(Sizes::of_removed(file));
                contents.went.push(file.clone());
            }
        }
        contents
    }

    fn is_empty(&self) -> bool {
        self.stayed.is_empty() && self.went.is_empty()
    }
}

/// A name that means nothing in an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing in the image, and nothing that was taken out of it, is called {subject:?}")]
pub struct Unknown {
    /// The name.
    pub subject: String,
    /// Names that are written similarly, the most similar first.
    pub closest: Vec<String>,
}

impl Unknown {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self.closest.as_slice() {
            [] => Some(
                "ask for a path, a module, an application or a package; `leanfs analyze` lists what there is"
                    .to_owned(),
            ),
            [one] => Some(format!("is {one} meant?")),
            [first @ .., last] => Some(format!("is {} or {last} meant?", first.join(", "))),
        }
    }
}

/// Explains what `subject` is and why it is in the image of `manifest`, or why not. It may be a path (or its end, from a
/// slash on), a module (`lists`, `Enum`, `Elixir.Enum`), a file's name, an application or another component, or a package.
///
/// # Errors
/// [`Unknown`], with names that are similar.
pub fn why(manifest: &Manifest, subject: &str) -> Result<Answer, Unknown> {
    let search =
        Search { manifest, files: manifest.files.iter().map(|file| (file.path.as_str(), file)).collect() };
    let mut findings = if subject.contains('/') { search.by_path(subject) } else { search.by_name(subject) };
    search.follow_links(&mut findings);
    if findings.is_empty() {
        return Err(Unknown { subject: subject.to_owned(), closest: search.closest(subject) });
    }
    Ok(Answer { subject: subject.to_owned(), findings })
}

struct Search<'a> {
    manifest: &'a Manifest,
    files: BTreeMap<&'a str, &'a FileInfo>,
}

impl Search<'_> {
    fn by_path(&self, subject: &str) -> Vec<Finding> {
        let names: Vec<&str> = subject.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        let path = format!("/{}", names.join("/"));
        if let Some(file) = self.files.get(path.as_str()) {
            return vec![self.file(file)];
        }
        let exact = |file: &&RemovedFile| file.path == path;
        if let Some(file) = self.manifest.removed.iter().find(exact) {
            return vec![removed(file)];
        }
        let below = self.below(&path);
        if !below.is_empty() {
            return vec![Finding::RemovedDirectory { path, below }];
        }
        self.files_that(|there| there.ends_with(&path))
    }

    fn by_name(&self, subject: &str) -> Vec<Finding> {
        if subject.is_empty() {
            return Vec::new();
        }
        let module = subject.strip_prefix(':').unwrap_or(subject);
        let names = [format!("{module}.beam"), format!("Elixir.{module}.beam"), subject.to_owned()];
        let mut findings =
            self.files_that(|path| names.iter().any(|name| Some(name.as_str()) == path.rsplit('/').next()));
        findings.extend(self.components(subject));
        findings.extend(self.packages(subject));
        findings
    }

    /// The files that stayed and went whose paths are like this.
    fn files_that(&self, fits: impl Fn(&str) -> bool) -> Vec<Finding> {
        let stayed = self.manifest.files.iter().filter(|file| fits(&file.path)).map(|file| self.file(file));
        stayed.chain(self.manifest.removed.iter().filter(|file| fits(&file.path)).map(removed)).collect()
    }

    fn components(&self, subject: &str) -> Vec<Finding> {
        let subject = subject.to_lowercase();
        let named = |component: &Component| {
            let name = component.name.to_lowercase();
            name == subject
                || component.version.as_ref().is_some_and(|version| {
                    subject.strip_prefix(&name).is_some_and(|rest| {
                        [format!("-{version}"), format!(" {version}")]
                            .iter()
                            .any(|end| *rest == end.to_lowercase())
                    })
                })
        };
        let mut components = BTreeSet::new();
        let stayed = self.manifest.files.iter().map(|file| Component::of(&file.path, file.layer, &file.part));
        let went = self.manifest.removed.iter().map(|file| Component::of(&file.path, file.layer, &file.part));
        components.extend(stayed.chain(went).filter(named));
        let finding = |component: Component| Finding::Component {
            listed: matches!(component.group, Group::Otp | Group::Elixir | Group::Application)
                && self.manifest.release.applications.contains_key(&component.name),
            contents: Contents::of(self.manifest, |_, of, _| *of == component),
            component,
        };
        components.into_iter().map(finding).collect()
    }

    fn packages(&self, subject: &str) -> Vec<Finding> {
        let taken = self.manifest.packages.iter().filter_map(|package| {
            let full_name = format!("{}-{}", package.name, package.version);
            (package.name == subject || full_name == subject).then(|| Finding::Package {
                package: package.clone(),
                contents: Contents::of(self.manifest, |_, _, part| part == full_name),
            })
        });
        let left_out = (self.manifest.left_out.iter())
            .filter(|left_out| left_out.name == subject || package_name(&left_out.name).0 == subject)
            .map(|left_out| Finding::LeftOut {
                name: left_out.name.clone(),
                reason: left_out.reason.clone(),
            });
        taken.chain(left_out).collect()
    }

    fn file(&self, file: &FileInfo) -> Finding {
        let (needed_by, circle) = self.chain(file);
        Finding::File {
            component: Component::of(&file.path, file.layer, &file.part),
            needed_by,
            circle,
            below: (file.kind == "directory").then(|| self.below(&file.path)),
            file: file.clone(),
        }
    }

    /// What needs `file`, step by step; and whether that comes back to where it has been.
    fn chain(&self, file: &FileInfo) -> (Vec<Step>, bool) {
        let mut steps = Vec::new();
        let mut seen = BTreeSet::from([file.path.as_str()]);
        let mut next = file.by.as_deref();
        while let Some(path) = next {
            if !seen.insert(path) {
                return (steps, true);
            }
            let there = self.files.get(path);
            steps.push(Step { path: path.to_owned(), because: there.map(|file| file.because.clone()) });
            next = there.and_then(|file| file.by.as_deref());
        }
        (steps, false)
    }

    fn below(&self, directory: &str) -> Contents {
        let start = format!("{}/", directory.trim_end_matches('/'));
        Contents::of(self.manifest, |path, _, _| path != directory && path.starts_with(&start))
    }

    /// Adds what links lead to.
    fn follow_links(&self, findings: &mut Vec<Finding>) {
        let mut named = BTreeSet::new();
        let mut targets = Vec::new();
        for finding in &*findings {
            if let Finding::File { file, .. } = finding {
                named.insert(file.path.clone());
                targets.extend(file.leads_to.clone());
            }
        }
        for target in targets {
            if let Some(file) = self.files.get(target.as_str()).filter(|_| named.insert(target.clone())) {
                findings.push(self.file(file));
            }
        }
    }

    /// At most three names that differ from `subject` by few letters.
    fn closest(&self, subject: &str) -> Vec<String> {
        /// Longer ones are no names that someone has mistyped.
        const MOST_LETTERS: usize = 300;
        const MOST_NAMES: usize = 3;
        let wanted: Vec<char> = subject.to_lowercase().chars().take(MOST_LETTERS + 1).collect();
        if wanted.len() > MOST_LETTERS {
            return Vec::new();
        }
        let most = (wanted.len() / 3).max(1);
        let mut found = BTreeSet::new();
        let mut consider = |name: &str| {
            let letters: Vec<char> = name.to_lowercase().chars().take(MOST_LETTERS + most).collect();
            if letters.len().abs_diff(wanted.len()) <= most {
                let distance = strsim::generic_damerau_levenshtein(&wanted, &letters);
                if distance <= most {
                    found.insert((distance, name.to_owned()));
                }
            }
        };
        let paths = self.manifest.files.iter().map(|file| (&file.path, file.layer, &file.part));
        let gone = self.manifest.removed.iter().map(|file| (&file.path, file.layer, &file.part));
        let mut components = BTreeSet::new();
        for (path, layer, part) in paths.chain(gone) {
            if subject.contains('/') {
                consider(path);
                continue;
            }
            let name = path.rsplit('/').next().unwrap_or_default();
            match name.strip_suffix(".beam") {
                Some(module) if subject.starts_with("Elixir.") => consider(module),
                Some(module) => consider(module.strip_prefix("Elixir.").unwrap_or(module)),
                None => consider(name),
            }
            components.insert(Component::of(path, layer, part).name);
        }
        if !subject.contains('/') {
            components.iter().for_each(|name| consider(name));
            self.manifest.packages.iter().for_each(|package| consider(&package.name));
        }
        found.into_iter().map(|(_, name)| name).take(MOST_NAMES).collect()
    }
}

fn removed(file: &RemovedFile) -> Finding {
    Finding::Removed { component: Component::of(&file.path, file.layer, &file.part), file: file.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::manifest::sample;

    /// The findings in short.
    #[track_caller]
    fn ask(subject: &str) -> Vec<String> {
        let answer = why(&sample::manifest(), subject).expect("known");
        let path_of = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let short = |finding: &Finding| match finding {
            Finding::File { file, needed_by, circle, below, .. } => {
                let steps: Vec<String> =
                    needed_by.iter().map(|step| format!(" < {}", path_of(&step.path))).collect();
                let circle = if *circle { " < …" } else { "" };
                let below =
                    below.as_ref().map(|below| format!(" with {}", below.stayed.len())).unwrap_or_default();
                format!("{}{}{circle}{below}", file.path, steps.concat())
            }
            Finding::Removed { file, .. } => format!("{} went by {}", file.path, file.rule),
            Finding::RemovedDirectory { path, below } => format!("{path} went with {}", below.went.len()),
            Finding::Component { component, listed, contents } => {
                format!("{component} {listed} {}/{}", contents.stayed.len(), contents.went.len())
            }
            Finding::Package { package, contents } => {
                format!("package {} {}/{}", package.name, contents.stayed.len(), contents.went.len())
            }
            Finding::LeftOut { name, .. } => format!("{name} was left out"),
        };
        answer.findings.iter().map(short).collect()
    }

    #[test]
    fn paths_and_their_ends() {
        let enum_beam = "/app/lib/elixir-1.18.3/ebin/Elixir.Enum.beam";
        let chain = format!("{enum_beam} < Elixir.Hello.Worker.beam < Elixir.Hello.Application.beam");
        for path in [
            enum_beam,
            &enum_beam[1..],
            "ebin/Elixir.Enum.beam",
            "/app/lib//elixir-1.18.3/./ebin/Elixir.Enum.beam/",
        ] {
            assert_eq!(ask(path), [chain.as_str()], "{path}");
        }
        assert_eq!(
            ask("/usr/lib/erlang/lib/wx-2.4.3/ebin/wx.beam"),
            ["/usr/lib/erlang/lib/wx-2.4.3/ebin/wx.beam went by otp-application"]
        );
        assert_eq!(ask("/usr/lib/erlang/lib/wx-2.4.3"), ["/usr/lib/erlang/lib/wx-2.4.3 went with 2"]);
        assert_eq!(ask("/app"), ["/app with 9"]);
        assert_eq!(ask("/"), ["/ with 30"]);
    }

    #[test]
    fn modules_by_any_of_their_names() {
        for name in ["Enum", "Elixir.Enum", "Elixir.Enum.beam"] {
            assert!(ask(name)[0].starts_with("/app/lib/elixir-1.18.3/ebin/Elixir.Enum.beam < "), "{name}");
        }
        for name in ["lists", ":lists"] {
            assert!(
                ask(name)[0].starts_with("/usr/lib/erlang/lib/stdlib-6.2.2/ebin/lists.beam < "),
                "{name}"
            );
        }
        assert_eq!(ask("Version"), ["/app/lib/elixir-1.18.3/ebin/Elixir.Version.beam went by module"]);
    }

    #[test]
    fn a_name_may_mean_several_things() {
        let logger = ask("logger");
        assert_eq!(logger.len(), 2, "{logger:?}");
        assert!(logger[0].contains("/kernel-10.2.7/ebin/logger.beam < start.boot"), "{logger:?}");
        assert_eq!(logger[1], "logger 1.18.3 true 1/0");
        assert_eq!(ask("zlib"), ["zlib 1.3.2-r0 false 2/0", "package zlib 2/0"]);
        assert_eq!(ask("erts"), ["ERTS 15.2.7 false 2/1"]);
        assert_eq!(ask("kernel-10.2.7"), ["kernel 10.2.7 true 3/1"]);
        assert_eq!(
            ask("wx"),
            ["/usr/lib/erlang/lib/wx-2.4.3/ebin/wx.beam went by otp-application", "wx 2.4.3 false 0/2"]
        );
        assert_eq!(ask("busybox"), ["busybox-1.37.0-r30 was left out"]);
    }

    #[test]
    fn links_are_followed() {
        assert_eq!(ask("libz.so.1"), ["/usr/lib/libz.so.1", "/usr/lib/libz.so.1.3.2 < beam.smp"]);
        assert_eq!(ask("/usr/bin/hello"), ["/usr/bin/hello", "/usr/bin/hi"]);
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(ask("code"), ["/usr/lib/erlang/lib/kernel-10.2.7/ebin/code.beam < code_server.beam < …"]);
        let mut manifest = sample::manifest();
        for file in &mut manifest.files {
            file.by = Some(file.path.clone());
        }
        let answer = why(&manifest, "lists").expect("known");
        assert!(
            matches!(&answer.findings[0], Finding::File { needed_by, circle: true, .. } if needed_by.is_empty())
        );
    }

    #[test]
    fn what_needs_something_need_not_be_listed() {
        let mut manifest = sample::manifest();
        manifest.files.iter_mut().for_each(|file| file.by = Some("/gone".to_owned()));
        let answer = why(&manifest, "lists").expect("known");
        let Finding::File { needed_by, circle, .. } = &answer.findings[0] else { panic!("{answer:?}") };
        assert_eq!(
            (needed_by.as_slice(), *circle),
            (&[Step { path: "/gone".into(), because: None }][..], false)
        );
    }

    #[test]
    fn what_is_mistyped() {
        for (subject, closest) in [
            ("Enmu", &["Enum"][..]),
            ("Elixir.Enums", &["Elixir.Enum"]),
            ("lsits", &["lists"]),
            ("musll", &["musl"]),
            ("erlang72", &["erlang27"]),
            ("libz.so.2", &["libz.so.1"]),
            ("/usr/lib/libz.so", &["/usr/lib/libz.so.1"]),
            ("Something.Else.Entirely", &[]),
            ("", &[]),
            (&"x".repeat(100_000), &[]),
        ] {
            let unknown = why(&sample::manifest(), subject).expect_err("unknown");
            assert!(
                closest.iter().all(|name| unknown.closest.iter().any(|there| there == name)),
                "{unknown:?}"
            );
            assert!(unknown.closest.len() <= 3);
            assert!(unknown.hint().is_some());
        }
        let unknown = why(&sample::manifest(), "Enmu").expect_err("unknown");
        assert_eq!(unknown.hint().as_deref(), Some("is Enum meant?"));
    }
}
