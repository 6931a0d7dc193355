//! `memory --json`: one object, schema `rdbtool.memory/1`.

use super::model::Estimate;
use super::prefix::Node;
use super::survey::{Class, EXPIRY_CLASSES, Large, Survey, Tally};
use ironkeep::cli::json::{self, Object};
use ironkeep::rdb::KeyHeader;

/// Begins the object and leaves it open, for keys that are written as they come.
pub fn open(out: &mut Vec<u8>, name: &str, survey: &Survey) {
    let mut report = Object::open(out);
    head(&mut report, name, survey);
}

fn head(report: &mut Object<'_>, name: &str, survey: &Survey) {
    let settings = &survey.settings;
    report.str("schema", "rdbtool.memory/1").str("file", name).str("header", &survey.header.to_string());
    report.str("server", survey.server.name).str("allocator", settings.allocator.name());
}

/// One key.
pub fn key(out: &mut Vec<u8>, key: &KeyHeader, estimate: &Estimate) {
    let mut object = Object::open(out);
    object.u64("db", key.db).bytes("key", &key.key).str("type", key.kind.type_name());
    object.str("encoding", estimate.encoding).u64("bytes", estimate.bytes);
    object.u64("elements", estimate.elements).u64("longest_element", estimate.longest);
    if let Some(at_ms) = key.expire_at_ms {
        object.i64("expire_at_ms", at_ms);
    }
    object.close();
}

/// Ends what [`open`] began, behind the keys.
pub fn close_keys(out: &mut Vec<u8>, survey: &Survey, complete: bool) {
    let mut rest = Vec::new();
    let mut report = Object::open(&mut rest);
    totals(&mut report, survey, complete);
    report.close();
    out.extend_from_slice(b"],");
    out.extend_from_slice(&rest[1..]);
    out.push(b'\n');
}

/// The whole report.
pub fn report(out: &mut Vec<u8>, name: &str, survey: &Survey, complete: bool) {
    let mut report = Object::open(out);
    head(&mut report, name, survey);
    totals(&mut report, survey, complete);
    report.array("types", &survey.types, |out, ((type_name, encoding), count)| {
        let mut row = Object::open(out);
        row.str("type", type_name).str("encoding", encoding);
        tally(&mut row, count);
        row.close();
    });
    report.array("databases", &survey.databases, |out, (db, count)| {
        let mut row = Object::open(out);
        row.u64("db", *db);
        tally(&mut row, count);
        row.close();
    });
    report.array("largest", survey.largest(), |out, key| large(out, &key));
    report.bool("prefixes_folded", survey.prefixes.folded);
    node(report.member(b"prefixes"), b"", &survey.prefixes.root);
    report.array("sizes", survey.sizes.rows(), row);
    report.array("element_counts", survey.elements.rows(), row);
    report.array("expiry", EXPIRY_CLASSES.iter().zip(&survey.expiry), |out, ((name, _), class)| {
        let mut row = Object::open(out);
        row.str("expires", name).u64("keys", class.keys).u64("bytes", class.bytes);
        row.close();
    });
    report.close();
    out.push(b'\n');
}

fn totals(report: &mut Object<'_>, survey: &Survey, complete: bool) {
    let total = survey.total();
    report.bool("complete", complete).u64("used_memory", survey.used_memory()).u64("data_bytes", survey.data_bytes());
    report.u64("server_base_bytes", survey.server.base).u64("table_bytes", survey.tables());
    report.u64("functions", survey.functions.keys).u64("function_bytes", survey.functions.bytes);
    if let Some(used) = survey.writer_used {
        report.u64("writer_used_memory", used);
    }
    let mut count = Object::open(report.member(b"total"));
    tally(&mut count, &total);
    count.close();
    let mut expired = Object::open(report.member(b"expired"));
    let counted = survey.settings.keeps_expired;
    let past = survey.expiry[0];
    expired.u64("keys", past.keys).u64("bytes", past.bytes).bool("counted", counted);
    expired.close();
    report.u64("empty_keys", survey.empty).u64("module_values", survey.modules);
}

fn tally(row: &mut Object<'_>, tally: &Tally) {
    row.u64("keys", tally.keys).u64("bytes", tally.bytes).u64("elements", tally.elements);
    row.u64("expiring", tally.expiring).u64("largest_bytes", tally.largest);
}

fn large(out: &mut Vec<u8>, large: &Large) {
    let mut row = Object::open(out);
    row.u64("db", large.db).bytes("key", &large.key).str("type", large.type_name).str("encoding", large.encoding);
    row.u64("bytes", large.bytes).u64("elements", large.elements).u64("longest_element", large.longest);
    if let Some(at_ms) = large.expire_at_ms {
        row.i64("expire_at_ms", at_ms);
    }
    row.close();
}

fn row(out: &mut Vec<u8>, (least, most, class): (u64, u64, Class)) {
    let mut row = Object::open(out);
    row.u64("least", least).u64("most", most).u64("keys", class.keys).u64("bytes", class.bytes);
    row.close();
}

/// A prefix and those below it.
fn node(out: &mut Vec<u8>, name: &[u8], below: &Node) {
    let mut object = Object::open(out);
    object.bytes("part", name).u64("keys", below.total.keys).u64("bytes", below.total.bytes);
    if below.other.keys > 0 {
        object.u64("other_keys", below.other.keys).u64("other_bytes", below.other.bytes);
    }
    if !below.children.is_empty() {
        let children = object.member(b"children");
        json::write_array(children, below.sorted(), |out, (name, child)| node(out, name, child));
    }
    object.close();
}
