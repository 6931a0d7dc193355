//! What became of the keys of a load.

use ironkeep::cli::json::{self, Object};
use ironkeep::cli::plural::plural;
use std::io::{self, Write};

/// How many refusals are told one by one; all are counted.
const LISTED: usize = 20;

/// Everything in the input is in exactly one of these.
#[derive(Debug, Default)]
pub struct Counts {
    pub restored: u64,
    pub built: u64,
    pub functions: u64,
    /// By request.
    pub functions_left_out: u64,
    /// Left as they were.
    pub there: u64,
    /// Brought by an earlier load that was cut.
    pub before_cut: u64,
    pub expired: u64,
    pub empty: u64,
    pub not_selected: u64,
    pub refused: u64,
    /// What of the refused is told.
    pub refusals: Vec<String>,
    /// Data of modules beside the keys, which no command takes.
    pub module_aux: u64,
    /// Keys to which modules attached something, which no command takes either.
    pub key_metadata: u64,
    /// Of a dry run: keys that would be sent.
    pub would_load: u64,
}

impl Counts {
    pub fn refuse(&mut self, message: String) {
        self.refused += 1;
        if self.refusals.len() < LISTED {
            self.refusals.push(message);
        }
    }

    /// Keys that the server has now and had not before.
    pub fn loaded(&self) -> u64 {
        self.restored + self.built
    }
}

/// A load that came to its end.
pub struct Report<'a> {
    pub input: &'a str,
    pub server: &'a str,
    pub server_name: &'a str,
    pub dry_run: bool,
    pub seconds: f64,
    pub counts: &'a Counts,
}

impl Report<'_> {
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let counts = self.counts;
        let mut report = Object::open(out);
        report.str("schema", "rdbtool.load/1").str("file", self.input).str("server", self.server);
        report.str("server_name", self.server_name).bool("dry_run", self.dry_run);
        report.u64("loaded", counts.loaded()).u64("by_restore", counts.restored).u64("by_commands", counts.built);
        report.u64("functions", counts.functions).u64("functions_left_out", counts.functions_left_out);
        report.u64("there_already", counts.there);
        report.u64("loaded_before_cut", counts.before_cut).u64("expired", counts.expired).u64("empty", counts.empty);
        report.u64("not_selected", counts.not_selected).u64("refused", counts.refused);
        report.array("refusals", &counts.refusals, |out, text| json::write_str(out, text));
        report.u64("module_aux_left_out", counts.module_aux);
        report.u64("key_metadata_left_out", counts.key_metadata);
        if self.dry_run {
            report.u64("would_load", counts.would_load);
        }
        json::write_f64(report.member(b"seconds"), (self.seconds * 1000.0).round() / 1000.0);
        report.close();
        out.push(b'\n');
    }

    pub fn write_text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let counts = self.counts;
        let server = format!("{} ({})", self.server, self.server_name);
        if self.dry_run {
            let would = counts.would_load;
            writeln!(
                out,
                "{} would go to {server}: {}, {} of them there already",
                self.input,
                plural(would, "key"),
                counts.there
            )?;
        } else {
            let (loaded, restored, built) = (counts.loaded(), counts.restored, counts.built);
            writeln!(
                out,
                "{} into {server}: {} ({restored} by RESTORE, {built} by commands), {}, {:.1} s",
                self.input,
                plural(loaded, "key"),
                plural(counts.functions, "function library"),
                self.seconds
            )?;
        }
        let rest = [
            (if self.dry_run { 0 } else { counts.there }, "were there already and are as they were"),
            (counts.before_cut, "were there from the load before the cut"),
            (counts.expired, "have expired"),
            (counts.empty, "have no elements, or none that have not expired"),
            (counts.not_selected, "were not selected"),
            (counts.functions_left_out, "function libraries were left out, as asked"),
            (
                counts.module_aux,
                "pieces of data that modules store beside the keys were left out: no command takes them",
            ),
            (counts.key_metadata, "keys went without what modules had attached to them: no command takes it"),
            (counts.refused, "were refused:"),
        ];
        for (count, what) in rest.iter().filter(|(count, _)| *count > 0) {
            writeln!(out, "  {count} {what}")?;
        }
        for refusal in &counts.refusals {
            writeln!(out, "    {refusal}")?;
        }
        let hidden = counts.refused - counts.refusals.len() as u64; // never longer than the count
        if hidden > 0 { writeln!(out, "    and {hidden} more") } else { Ok(()) }
    }
}
