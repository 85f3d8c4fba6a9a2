//! `nodekiln man`: manual pages, made of the same words as `--help`.

use super::terminal::{Failure, Terminal};
use crate::output::pages;
use anyhow::Context as _;
use clap_mangen::Man;
use std::{collections::BTreeMap, io, path::PathBuf};

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Manual {
    /// Write a page per command to this folder, such as /usr/local/share/man/man1; without it nodekiln's own goes to
    /// stdout.
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

impl Manual {
    /// Prints or writes the pages of `command`.
    ///
    /// # Errors
    /// The folder cannot be written, or stdout is full.
    pub fn run(self, terminal: &Terminal, command: clap::Command) -> Result<(), Failure> {
        // Manual pages are the help.
        let mut command = command.disable_help_subcommand(true);
        command.build();
        let Some(folder) = self.output else {
            let mut page = Vec::new();
            Man::new(command).render(&mut page).map_err(Failure::environment)?;
            return terminal.data(&page);
        };
        let mut all = BTreeMap::new();
        render(command, "nodekiln", &mut all).map_err(Failure::environment)?;
        pages::write(&folder, &all)
            .with_context(|| format!("writing manual pages to {}", folder.display()))
            .map_err(Failure::Environment)?;
        terminal.say(format!("wrote {} manual pages to {}", all.len(), folder.display()));
        Ok(())
    }
}

/// The pages of `command` and of all below it, by file name.
fn render(command: clap::Command, name: &str, pages: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for below in command.get_subcommands() {
        render(below.clone(), &format!("{name}-{}", below.get_name()), pages)?;
    }
    let mut page = Vec::new();
    // roff has pages with one word for a name.
    Man::new(command.display_name(name.to_owned())).title(name).render(&mut page)?;
    pages.insert(format!("{name}.1"), page);
    Ok(())
}
