//! Shell completions and man pages, made of the same table that parses a tool's command line.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::Exit;
use super::locate::show;
use crate::disk::{Disk, RealDisk, publish_bytes};

/// Print completions for a shell
///
/// bash: `source <(rdbtool completions bash)` in ~/.bashrc. zsh: write it to a file `_rdbtool` in a folder of $fpath.
/// fish: write it to ~/.config/fish/completions/rdbtool.fish.
#[derive(clap::Args)]
pub struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Print the man page, or write one page per verb into a folder
#[derive(clap::Args)]
pub struct ManArguments {
    /// Write the main page and one per verb into this folder, which is created if its parent exists
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

/// Prints the completions of the tool that `command` describes.
pub fn write_completions(arguments: &CompletionsArguments, mut command: Command) -> anyhow::Result<Exit> {
    let name = command.get_name().to_owned();
    // Into memory first: the generator panics where a pipe is closed.
    let mut out = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut out);
    print(&out)
}

/// Writes the man pages of the tool that `command` describes.
pub fn write_pages(arguments: &ManArguments, command: Command) -> anyhow::Result<Exit> {
    let pages = pages(command)?;
    let Some(folder) = &arguments.output_dir else { return print(&pages[0].1) };
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    if !disk.exists(folder) {
        disk.create_dir(folder).with_context(|| show(folder))?;
    }
    for (name, page) in &pages {
        publish_bytes(&disk, folder, OsStr::new(name), page).with_context(|| show(&folder.join(name)))?;
    }
    Ok(Exit::Fine)
}

/// File names and pages: the tool's first, then its verbs'.
fn pages(command: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let verbs: Vec<Command> = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect();
    let page = |command: Command| {
        let man = Man::new(command);
        let mut page = Vec::new();
        man.render(&mut page)?;
        Ok((man.get_filename(), page))
    };
    std::iter::once(command).chain(verbs).map(page).collect()
}

fn print(out: &[u8]) -> anyhow::Result<Exit> {
    io::stdout().write_all(out).and_then(|()| io::stdout().flush()).context("standard output")?;
    Ok(Exit::Fine)
}
