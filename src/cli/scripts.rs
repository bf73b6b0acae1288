//! `leanfs scripts`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use leanfs::report::manifest::{KnownScript, Manifest, UnknownScript};

use super::failure::Failure;
use super::terminal::{OutputMode, Terminal};

/// Show the scripts of packages in an image: what was made in their place, and the text of those that are not known
///
/// Scripts never run. What one would have done that leanfs doesn't know is not in the image: read it, and then accept it
/// in leanfs.toml (`[scripts]`, or `--accept-script`), put its result into the overlay, or leave the package out.
#[derive(Debug, Args)]
pub(super) struct ScriptsArgs {
    /// What was assembled: a directory with manifest.json, or that file
    #[arg(value_name = "DIR", default_value = "leanfs")]
    directory: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Line<'a> {
    event: &'static str,
    exit_code: u8,
    known: &'a [KnownScript],
    unknown: &'a [UnknownScript],
}

impl ScriptsArgs {
    pub(super) fn mode(&self) -> OutputMode {
        OutputMode { json: self.json, ..OutputMode::default() }
    }

    pub(super) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let manifest = Manifest::read(&self.directory)?;
        let (known, unknown) = (&*manifest.known_scripts, &*manifest.unknown_scripts);
        terminal.object(&Line { event: "result", exit_code: 0, known, unknown })?;
        terminal.answer(&render(known, unknown))
    }
}

fn render(known: &[KnownScript], unknown: &[UnknownScript]) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    for script in known {
        let effects = match &*script.effects {
            [] => "nothing that an image needs".to_owned(),
            effects => effects.join("; "),
        };
        let _ = writeln!(text, "{} {}: {effects}", script.package, script.script);
    }
    for script in unknown {
        let fate = if script.accepted { "accepted, and not run" } else { "not known, and not run" };
        let _ = writeln!(text, "{} {}: {fate}", script.package, script.script);
        for line in script.text.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    if text.is_empty() {
        text.push_str("No package in the image has a script that runs when it is installed\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_shown() {
        let (package, script) = ("a-1-r0".to_owned(), "trigger".to_owned());
        let known = [
            KnownScript { package: package.clone(), script: script.clone(), effects: vec![] },
            KnownScript {
                package: package.clone(),
                script: script.clone(),
                effects: vec!["x".into(), "y".into()],
            },
        ];
        let unknown = UnknownScript { package, script, text: "#!/bin/sh\nfoo\n".to_owned(), accepted: false };
        assert_eq!(
            render(&known, &[unknown.clone(), UnknownScript { accepted: true, ..unknown }]),
            "a-1-r0 trigger: nothing that an image needs\na-1-r0 trigger: x; y\n\
             a-1-r0 trigger: not known, and not run\n    #!/bin/sh\n    foo\n\
             a-1-r0 trigger: accepted, and not run\n    #!/bin/sh\n    foo\n"
        );
        assert!(render(&[], &[]).starts_with("No package"));
    }
}
