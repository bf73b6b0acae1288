//! `leanfs init`.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use clap::Args;
use leanfs::recipe::file;

use super::failure::{Because, Failure};
use super::recipe_flags::recipe_file;
use super::terminal::Terminal;

/// Write a leanfs.toml that shows everything that can stand in it
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The project
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

impl InitArgs {
    pub(super) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let path = recipe_file(&self.directory);
        let written = fs_err::File::create_new(&path)
            .and_then(|mut created| created.write_all(file::EXAMPLE.as_bytes()));
        match written {
            Ok(()) => terminal.result(&format!("{}\n", path.display())),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(Failure::unmet(format!("{} is there already", path.display())))
            }
            Err(error) => {
                Err(Failure::unmet(Because::new(format!("{} can't be written", path.display()), error)))
            }
        }
    }
}
