//! The command line: one file a verb. The only room that prints and that reads the environment.
//!
//! Results go to stdout, progress and errors to stderr. With `--json` each line of stdout is an object with a key
//! `event`: those of [`leanfs::report::Event`] as they happen, and last `result`, `error` (with `exit_code`) or
//! `interrupted`; `docs/events.md` has them all.
//!
//! An interrupt (Ctrl-C) ends the process by its signal, which a shell shows as 130. Nothing is left half-written,
//! because outputs and cache entries get their names when they are whole; what is unfinished is removed (`interrupt`), and
//! what a killed run left the next one clears away.

mod analyze;
mod assemble;
mod cache;
mod check;
mod diff;
mod environment;
mod failure;
mod fetch;
mod guest_flags;
mod index;
mod init;
mod interrupt;
mod kernel;
mod keys;
mod launch;
mod lock;
mod output_file;
mod pack;
mod progress;
mod provenance;
mod recipe_flags;
mod resolve;
mod sbom;
mod scripts;
mod signing;
mod summary;
mod table;
mod terminal;
mod vendor;
mod verify;
mod why;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::panic;
use std::process::ExitCode;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::environment::Environment;
use self::failure::{Exit, Failure};
use self::terminal::{ColorWhen, OutputMode, Terminal, escaped, escaped_but_styles};

/// Turns a BEAM release into a bootable image of a few megabytes: no Docker, no root, no shell
#[derive(Debug, Parser)]
#[command(name = "leanfs", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 can't be done (it says why), 2 wrong usage, 3 a signature or hash is \
    wrong, 4 network, 70 a bug in leanfs."
)]
struct Cli {
    /// Use colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = ColorWhen::Auto, hide_possible_values = true)]
    color: ColorWhen,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Assemble(Box<assemble::AssembleArgs>),
    Lock(Box<lock::LockArgs>),
    Fetch(Box<fetch::FetchArgs>),
    Vendor(Box<vendor::VendorArgs>),
    Launch(launch::LaunchArgs),
    Verify(verify::VerifyArgs),
    Check(check::CheckArgs),
    Analyze(analyze::AnalyzeArgs),
    Why(why::WhyArgs),
    Diff(diff::DiffArgs),
    Scripts(scripts::ScriptsArgs),
    Sbom(sbom::SbomArgs),
    Provenance(provenance::ProvenanceArgs),
    Resolve(Box<resolve::ResolveArgs>),
    Pack(Box<pack::PackArgs>),
    Index(index::IndexArgs),
    Keys(keys::KeysArgs),
    Cache(cache::CacheArgs),
    Kernel(kernel::KernelArgs),
    Init(init::InitArgs),
}

/// What is printed; for the verbs that have progress and results.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Messages")]
struct ModeFlags {
    /// Print JSON objects on stdout, one a line: events, then a result or an error
    #[arg(long)]
    json: bool,
    /// Print only warnings and errors
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Print more of what happens
    #[arg(short, long, action = ArgAction::SetTrue)]
    verbose: bool,
}

impl ModeFlags {
    fn mode(self) -> OutputMode {
        OutputMode { json: self.json, quiet: self.quiet, verbose: self.verbose }
    }
}

impl Verb {
    fn mode(&self) -> OutputMode {
        match self {
            Self::Assemble(args) => args.mode(),
            Self::Lock(args) => args.mode(),
            Self::Fetch(args) => args.mode(),
            Self::Vendor(args) => args.mode(),
            Self::Verify(args) => args.mode(),
            Self::Check(args) => args.mode(),
            Self::Analyze(args) => args.mode(),
            Self::Why(args) => args.mode(),
            Self::Diff(args) => args.mode(),
            Self::Scripts(args) => args.mode(),
            Self::Sbom(args) => args.mode(),
            Self::Provenance(args) => args.mode(),
            Self::Resolve(args) => args.mode(),
            Self::Pack(args) => args.mode(),
            Self::Index(args) => args.mode(),
            Self::Keys(args) => args.mode(),
            Self::Cache(args) => args.mode(),
            Self::Kernel(args) => args.mode(),
            Self::Launch(_) | Self::Init(_) => OutputMode::default(),
        }
    }

    /// Whether it runs programs, a machine or a build, which it ends itself when a signal comes.
    fn tidies_itself(&self) -> bool {
        matches!(self, Self::Launch(_) | Self::Verify(_) | Self::Kernel(_))
    }

    fn run(&self, terminal: &Terminal, environment: &Environment) -> Result<(), Failure> {
        if !self.tidies_itself() {
            interrupt::watch(*terminal);
        }
        match self {
            Self::Assemble(args) => args.run(terminal, environment),
            Self::Lock(args) => args.run(terminal, environment),
            Self::Fetch(args) => args.run(terminal, environment),
            Self::Vendor(args) => args.run(terminal, environment),
            Self::Launch(args) => args.run(terminal, environment),
            Self::Verify(args) => args.run(terminal, environment),
            Self::Check(args) => args.run(terminal),
            Self::Analyze(args) => args.run(terminal),
            Self::Why(args) => args.run(terminal),
            Self::Diff(args) => args.run(terminal),
            Self::Scripts(args) => args.run(terminal),
            Self::Sbom(args) => args.run(terminal),
            Self::Provenance(args) => args.run(terminal),
            Self::Resolve(args) => args.run(terminal, environment),
            Self::Pack(args) => args.run(terminal, environment),
            Self::Index(args) => args.run(terminal),
            Self::Keys(args) => args.run(terminal),
            Self::Cache(args) => args.run(terminal, environment),
            Self::Kernel(args) => args.run(terminal, environment),
            Self::Init(args) => args.run(terminal),
        }
    }
}

/// Runs the command with the process's arguments and environment.
pub(crate) fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        let text = format!(
            "{info}\nThis is a bug in leanfs. Please report it with these lines, the command line, and \
             `leanfs --version`.\n"
        );
        let _ = std::io::stderr().lock().write_all(escaped(&text).as_bytes());
    }));
    panic::catch_unwind(run).unwrap_or(ExitCode::from(Exit::Bug as u8))
}

fn run() -> ExitCode {
    let environment = Environment::of_process();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let no_color = environment.as_ref().is_ok_and(|environment| environment.no_color);
    let color = color_choice(&arguments, no_color);
    let cli = match parse(&arguments, color) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version go to stdout with exit code 0, the rest to stderr with 2.
            tell_usage(&error, color);
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    let mode = cli.verb.mode();
    let (terminal, result) = match environment {
        Ok(environment) => {
            let terminal = Terminal::new(mode, cli.color, &environment);
            (terminal, cli.verb.run(&terminal, &environment))
        }
        Err(failure) => (Terminal::new(mode, cli.color, &Environment::default()), Err(failure)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            interrupt::wait_for_the_end();
            failure.tell(&terminal)
        }
    }
}

/// As clap would print it, but for arguments that steer a terminal: they may be a script's, and so anyone's.
fn tell_usage(error: &clap::Error, color: clap::ColorChoice) {
    if !error.use_stderr() {
        let _ = error.print();
        return;
    }
    let styled = match color {
        clap::ColorChoice::Always => true,
        clap::ColorChoice::Never => false,
        clap::ColorChoice::Auto => std::io::stderr().is_terminal(),
    };
    let text = error.render();
    let text = if styled { text.ansi().to_string() } else { text.to_string() };
    let _ = std::io::stderr().lock().write_all(escaped_but_styles(&text).as_bytes());
}

/// clap would print its own errors with colours before it knows `--color`.
fn color_choice(arguments: &[OsString], no_color: bool) -> clap::ColorChoice {
    let asked = arguments.windows(2).find_map(|pair| {
        let second = (pair[0] == "--color").then(|| pair[1].to_str()).flatten();
        second.or_else(|| pair[1].to_str()?.strip_prefix("--color="))
    });
    match asked {
        Some("always") => clap::ColorChoice::Always,
        Some("never") => clap::ColorChoice::Never,
        _ if no_color => clap::ColorChoice::Never,
        _ => clap::ColorChoice::Auto,
    }
}

fn parse(arguments: &[OsString], color: clap::ColorChoice) -> Result<Cli, clap::Error> {
    let matches = Cli::command().color(color).try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
