//! `memory` for a terminal.

use super::model::Estimate;
use super::prefix::Node;
use super::survey::{Class, EXPIRY_CLASSES, Histogram, Survey, Tally};
use anyhow::Context;
use ironkeep::cli::escape::{Escaped, Quoted};
use ironkeep::cli::plural::plural;
use ironkeep::rdb::KeyHeader;
use std::fmt;
use std::io::{self, Write};

/// How many prefixes the summary lists.
const LISTED_PREFIXES: usize = 20;
/// Characters of a name that the summary shows whole.
const LONGEST_NAME: usize = 100;
/// Characters of the longest bar.
const BAR: u64 = 40;

/// A number of bytes as people say it.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["KB", "MB", "GB", "TB", "PB"];
        if self.0 < 1000 {
            return out.pad(&format!("{} B", self.0));
        }
        let mut amount = self.0 as f64 / 1000.0; // to be shown with one digit
        let mut unit = 0;
        while amount >= 999.95 && unit + 1 < units.len() {
            amount /= 1000.0;
            unit += 1;
        }
        out.pad(&format!("{amount:.1} {}", units[unit]))
    }
}

pub fn key(out: &mut dyn Write, key: &KeyHeader, estimate: &Estimate) -> anyhow::Result<()> {
    let Estimate { bytes, elements, encoding, .. } = estimate;
    let (db, type_name, name) = (key.db, key.kind.type_name(), Quoted(&key.key));
    writeln!(out, "{bytes:>12}  db{db}  {type_name:<7} {encoding:<10} {elements:>9}  {name}").context("standard output")
}

/// The whole summary.
pub fn report(out: &mut Vec<u8>, name: &str, survey: &Survey) -> io::Result<()> {
    let (settings, total) = (&survey.settings, survey.total());
    let server = survey.server;
    let source = if server.measured { "measured" } else { "derived" };
    writeln!(out, "{name}: {}, {}", survey.header, plural(total.keys, "key"))?;
    writeln!(out, "as {} ({source} layouts) with {} would hold it:", server.name, settings.allocator.name())?;
    line(out, "used_memory", survey.used_memory(), "an empty server included")?;
    line(out, "  data", survey.data_bytes(), "all below but the empty server")?;
    line(out, "    keys and values", total.bytes, "")?;
    line(out, "    tables", survey.tables(), "of keys and expiries")?;
    if survey.functions.keys > 0 {
        line(out, "    functions", survey.functions.bytes, &plural(survey.functions.keys, "library"))?;
    }
    line(out, "  empty server", server.base, "")?;
    if let Some(used) = survey.writer_used {
        let writer = survey.writer.as_deref().unwrap_or("the writer");
        line(out, "at the time of saving", used, &format!("used by {writer}, by its own account"))?;
    }
    notes(out, survey)?;
    writeln!(out)?;
    types(out, survey)?;
    if survey.databases.len() > 1 {
        for (db, tally) in &survey.databases {
            writeln!(out, "{:<19} {}", format!("database {db}"), Row(tally, total.bytes))?;
        }
    }
    prefixes(out, survey)?;
    largest(out, survey)?;
    histogram(out, "bytes per key", &survey.sizes)?;
    histogram(out, "elements per collection", &survey.elements)?;
    expiry(out, survey)
}

fn line(out: &mut Vec<u8>, what: &str, bytes: u64, remark: &str) -> io::Result<()> {
    let text = format!("  {what:<22} {:>10}  {bytes:>14}  {remark}", Bytes(bytes));
    writeln!(out, "{}", text.trim_end())
}

fn notes(out: &mut Vec<u8>, survey: &Survey) -> io::Result<()> {
    let Class { keys, bytes } = survey.expired;
    if survey.is_writer_unknown() {
        let writer = Escaped(survey.writer.as_deref().unwrap_or_default().as_bytes()).to_string();
        writeln!(out, "  the layouts of {writer} are not known: --server names others than {}", survey.server.name)?;
    }
    if keys > 0 {
        writeln!(
            out,
            "  expired: {} ({}), which a server drops at load, so they are not counted",
            plural(keys, "key"),
            Bytes(bytes)
        )?;
    }
    if survey.empty > 0 {
        writeln!(out, "  without elements: {}, which servers skip", plural(survey.empty, "key"))?;
    }
    if survey.modules > 0 {
        writeln!(out, "  counted by their bytes in the file: {}", plural(survey.modules, "module value"))?;
    }
    Ok(())
}

/// A tally in columns, with its share of `of` bytes.
struct Row<'a>(&'a Tally, u64);

impl fmt::Display for Row<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row(tally, of) = self;
        let share = tally.bytes as f64 * 100.0 / (*of).max(1) as f64; // to be shown with one digit
        let average = tally.bytes / tally.keys.max(1);
        let Tally { keys, bytes, elements, largest, .. } = tally;
        write!(out, "{keys:>10} {:>10} {share:>5.1} % {average:>9} {largest:>11} {elements:>11}", Bytes(*bytes))
    }
}

pub fn types(out: &mut Vec<u8>, survey: &Survey) -> io::Result<()> {
    let of = survey.total().bytes;
    writeln!(out, "type                      keys     memory   share   average     largest    elements")?;
    for (type_name, tally) in survey.by_type() {
        writeln!(out, "{type_name:<19} {}", Row(&tally, of))?;
        for ((_, encoding), tally) in survey.types.iter().filter(|((of_type, _), _)| *of_type == type_name) {
            writeln!(out, "  {encoding:<17} {}", Row(tally, of))?;
        }
    }
    Ok(())
}

/// A long name with its middle left out, for the summary; the listings have it whole.
fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= LONGEST_NAME {
        return name.to_owned();
    }
    let kept = LONGEST_NAME / 2;
    let (front, back): (String, String) =
        (name.chars().take(kept).collect(), name.chars().skip(count - kept).collect());
    format!("{front}... {} characters ...{back}", count - 2 * kept)
}

/// The prefixes that hold most, each below the one that it belongs to.
fn prefixes(out: &mut Vec<u8>, survey: &Survey) -> io::Result<()> {
    let root = &survey.prefixes.root;
    if root.children.is_empty() {
        return Ok(());
    }
    // What is listed is what is larger than the n-th largest.
    let mut sizes = Vec::new();
    collect(root, &mut sizes);
    sizes.sort_unstable_by(|left, right| right.cmp(left));
    // At least one byte, which tells the summary from the listing of all.
    let least = sizes.get(LISTED_PREFIXES - 1).copied().unwrap_or(0).max(1);
    writeln!(out, "\nprefix                                    keys     memory   share")?;
    write_prefixes(out, root, &mut Vec::new(), 0, least, root.total.bytes)?;
    let hidden = sizes.iter().filter(|size| **size < least).count();
    if hidden > 0 {
        writeln!(out, "and {hidden} smaller ones: --by prefix lists all")?;
    }
    folded(out, survey)
}

fn folded(out: &mut Vec<u8>, survey: &Survey) -> io::Result<()> {
    if survey.prefixes.folded {
        let most = survey.settings.max_prefixes;
        writeln!(out, "more than {most} prefixes: small ones are folded into (other), their figures are lower bounds")?;
    }
    Ok(())
}

pub fn all_prefixes(out: &mut Vec<u8>, survey: &Survey) -> io::Result<()> {
    let root = &survey.prefixes.root;
    writeln!(out, "prefix                                    keys     memory   share")?;
    write_prefixes(out, root, &mut Vec::new(), 0, 0, root.total.bytes)?;
    folded(out, survey)
}

fn collect(node: &Node, sizes: &mut Vec<u64>) {
    for child in node.children.values() {
        sizes.push(child.total.bytes);
        collect(child, sizes);
    }
}

fn write_prefixes(
    out: &mut Vec<u8>,
    node: &Node,
    path: &mut Vec<u8>,
    depth: usize,
    least: u64,
    of: u64,
) -> io::Result<()> {
    let row = |out: &mut Vec<u8>, name: &str, keys: u64, bytes: u64| {
        let share = bytes as f64 * 100.0 / of.max(1) as f64; // to be shown with one digit
        writeln!(out, "{:<34} {keys:>11} {:>10} {share:>5.1} %", format!("{:1$}{name}", "", depth * 2), Bytes(bytes))
    };
    for (name, child) in node.sorted() {
        if child.total.bytes < least {
            break;
        }
        let len = path.len();
        path.extend_from_slice(name);
        let shown = Escaped(path).to_string();
        let shown = if least > 0 { shortened(&shown) } else { shown };
        row(out, &shown, child.total.keys, child.total.bytes)?;
        write_prefixes(out, child, path, depth + 1, least, of)?;
        path.truncate(len);
    }
    if node.other.bytes > 0 && node.other.bytes >= least {
        row(out, "(other)", node.other.keys, node.other.bytes)?;
    }
    let own = node.own();
    if depth == 0 && own.bytes > 0 && own.bytes >= least {
        row(out, "(no prefix)", own.keys, own.bytes)?;
    }
    Ok(())
}

fn largest(out: &mut Vec<u8>, survey: &Survey) -> io::Result<()> {
    let largest = survey.largest();
    if largest.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nlargest keys")?;
    for key in largest {
        let (name, size) = (shortened(&Quoted(&key.key).to_string()), Bytes(key.bytes));
        let elements = match key.type_name {
            "string" => String::new(),
            _ => format!(", {}", plural(key.elements, "element")),
        };
        writeln!(out, "{size:>10}  db {} {name} ({} as {}{elements})", key.db, key.type_name, key.encoding)?;
    }
    Ok(())
}

fn bar(part: u64, most: u64) -> String {
    let len = if part == 0 { 0 } else { (part * BAR / most.max(1)).max(1) };
    "#".repeat(len as usize) // at most BAR
}

fn histogram(out: &mut Vec<u8>, title: &str, histogram: &Histogram) -> io::Result<()> {
    let most = histogram.rows().map(|(.., class)| class.keys).max().unwrap_or(0);
    if most == 0 {
        return Ok(());
    }
    writeln!(out, "\n{title:<27}     keys     memory")?;
    for (least, greatest, Class { keys, bytes }) in histogram.rows() {
        let range = if least == greatest { least.to_string() } else { format!("{least}-{greatest}") };
        let text = format!("{range:>25} {keys:>10} {:>10} {}", Bytes(bytes), bar(keys, most));
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn expiry(out: &mut Vec<u8>, survey: &Survey) -> io::Result<()> {
    let most = survey.expiry.iter().map(|class| class.keys).max().unwrap_or(0);
    writeln!(out, "\nexpires                         keys     memory")?;
    for ((name, _), Class { keys, bytes }) in EXPIRY_CLASSES.iter().zip(survey.expiry) {
        if keys > 0 {
            let text = format!("{name:>25} {keys:>10} {:>10} {}", Bytes(bytes), bar(keys, most));
            writeln!(out, "{}", text.trim_end())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_as_people_do() {
        let said = |bytes| Bytes(bytes).to_string();
        assert_eq!([said(0), said(999), said(1000), said(999_949)], ["0 B", "999 B", "1.0 KB", "999.9 KB"]);
        assert_eq!([said(999_950), said(1_234_567_890)], ["1.0 MB", "1.2 GB"]);
    }
}
