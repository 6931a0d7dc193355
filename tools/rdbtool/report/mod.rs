//! `rdbtool report`: the figures of `memory` as one HTML page that needs nothing but itself.
//!
//! The page is a template (page.html) with a style, a script and the data in it. The data is JSON inside a script element
//! that is not run; no `<` of it reaches the page, and the script puts names into the page as text only, so that a key
//! can be whatever it likes. Control characters and bytes that are no UTF-8 are shown escaped.

mod data;

use crate::Place;
use crate::memory::{Model, Survey};
use crate::opened;
use crate::selection::Selection;
use anyhow::Context;
use ironkeep::cli::exit::Exit;
use ironkeep::cli::target::Target;
use ironkeep::disk::{Disk, RealDisk};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// How many of the largest keys have a box of their own in the pictures.
const LARGEST: usize = 300;

/// Draw what the keys cost in memory: one HTML page with treemap, flame graph, histograms and the largest keys
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Where the page goes; `-` for standard output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    selection: Selection,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let input = opened::open_quietly(&arguments.place)?;
    let name = input.name.clone();
    let mut target = Target::create(&disk, &arguments.output, arguments.force)?;
    let options = arguments.place.options();
    let mut reader = opened::reader(input, options).map_err(|error| opened::failure(&name, &error))?;
    let mut settings = arguments.model.settings();
    let listed = settings.top;
    settings.top = listed.max(LARGEST);
    let mut survey = Survey::new(settings, &mut reader);
    // A page about half a file would be taken for one about the whole.
    survey.walk(&mut reader, &arguments.selection, |_, _| Ok(()))?.map_err(|error| opened::failure(&name, &error))?;
    let page = page(&data::json(&name, &survey, listed));
    target.write_all(page.as_bytes()).with_context(|| target.name().to_owned())?;
    target.commit()?;
    Ok(Exit::Fine)
}

fn page(data: &str) -> String {
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + data.len());
    let mut rest = PAGE;
    for (mark, text) in [("{{style}}", STYLE), ("{{data}}", data), ("{{script}}", SCRIPT)] {
        let (before, behind) = rest.split_once(mark).unwrap_or((rest, ""));
        page.push_str(before);
        page.push_str(text);
        rest = behind;
    }
    page.push_str(rest);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_takes_its_parts_in_order() {
        let page = page("{\"x\":1}");
        assert!(page.contains(">{\"x\":1}</script>") && page.ends_with("</html>\n"));
        assert!(!page.contains("{{"), "every mark is filled");
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"), "nothing closes its element early");
    }
}
