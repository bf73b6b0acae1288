//! Starting programs: what is run is shown, and a failure says what failed.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Says what comes now.
pub(crate) fn heading(text: &str) {
    eprintln!("\n== {text}");
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words
        .map(|word| {
            let word = word.to_string_lossy();
            if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "'\"\\$*;&|<>()".contains(c)) {
                format!("'{}'", word.replace('\'', r"'\''"))
            } else {
                word.into_owned()
            }
        })
        .collect();
    words.join(" ")
}

/// Shows and runs a command on the terminal; its standard input is empty.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("+ {}", shown(command));
    let started = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{} can't be started", command.get_program().to_string_lossy()))?;
    if !status.success() {
        bail!("{status}: {}", shown(command));
    }
    let seconds = started.elapsed().as_secs_f64();
    if seconds > 2.0 {
        eprintln!("  ({seconds:.1} s)");
    }
    Ok(())
}

/// Runs a command silently; what it printed on standard output. A failure shows what it said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} can't be started", command.get_program().to_string_lossy()))?;
    if !output.status.success() {
        bail!(
            "{}: {}\n{}{}",
            output.status,
            shown(command),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `program` is on the search path.
pub(crate) fn on_path(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Whether missing tools are failures.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}
