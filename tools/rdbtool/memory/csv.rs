//! `memory --csv`: a header line, then a row per key, type or prefix (RFC 4180).
//!
//! Keys are byte strings: those that are UTF-8 are themselves, quoted where needed; others are `base64:` and their
//! base64, as in the JSON.

use super::model::Estimate;
use super::prefix::Node;
use super::survey::Survey;
use anyhow::Context;
use ironkeep::cli::json;
use ironkeep::rdb::KeyHeader;
use std::io::Write;

pub const KEY_HEADER: &[u8] = b"database,type,key,size_in_bytes,encoding,num_elements,len_largest_element,expiry\n";

/// Writes the row of a key; `line` is used again for each.
pub fn key(line: &mut Vec<u8>, out: &mut dyn Write, key: &KeyHeader, estimate: &Estimate) -> anyhow::Result<()> {
    line.clear();
    json::write_u64(line, key.db);
    line.push(b',');
    line.extend_from_slice(key.kind.type_name().as_bytes());
    line.push(b',');
    text(line, &key.key);
    line.push(b',');
    json::write_u64(line, estimate.bytes);
    line.push(b',');
    line.extend_from_slice(estimate.encoding.as_bytes());
    for number in [estimate.elements, estimate.longest] {
        line.push(b',');
        json::write_u64(line, number);
    }
    line.push(b',');
    if let Some(at_ms) = key.expire_at_ms {
        json::write_i64(line, at_ms);
    }
    line.push(b'\n');
    out.write_all(line).context("standard output")
}

/// Appends a field. One that a spreadsheet would take for a formula stays as it is: the data comes first.
fn text(line: &mut Vec<u8>, bytes: &[u8]) {
    let is_text = std::str::from_utf8(bytes).is_ok() && !bytes.starts_with(json::BASE64_PREFIX);
    if !is_text {
        let start = line.len();
        json::write_base64(line, bytes);
        line.remove(start); // the quotes of JSON, which base64 needs no other for
        line.pop();
        return;
    }
    if !bytes.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        return line.extend_from_slice(bytes);
    }
    line.push(b'"');
    for &byte in bytes {
        if byte == b'"' {
            line.push(b'"');
        }
        line.push(byte);
    }
    line.push(b'"');
}

fn numbers(line: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        line.push(b',');
        json::write_u64(line, *number);
    }
    line.push(b'\n');
}

pub fn types(out: &mut Vec<u8>, survey: &Survey) {
    out.extend_from_slice(b"type,encoding,keys,size_in_bytes,num_elements,expiring,largest_in_bytes\n");
    for ((type_name, encoding), tally) in &survey.types {
        out.extend_from_slice(format!("{type_name},{encoding}").as_bytes());
        numbers(out, &[tally.keys, tally.bytes, tally.elements, tally.expiring, tally.largest]);
    }
}

pub fn prefixes(out: &mut Vec<u8>, survey: &Survey) {
    out.extend_from_slice(b"prefix,depth,keys,size_in_bytes,largest_in_bytes,other_keys,other_bytes\n");
    let mut path = Vec::new();
    rows(out, &survey.prefixes.root, &mut path, 0);
}

fn rows(out: &mut Vec<u8>, node: &Node, path: &mut Vec<u8>, depth: u64) {
    text(out, path);
    let Node { total, other, .. } = node;
    numbers(out, &[depth, total.keys, total.bytes, total.largest, other.keys, other.bytes]);
    for (name, child) in node.sorted() {
        let len = path.len();
        path.extend_from_slice(name);
        rows(out, child, path, depth + 1);
        path.truncate(len);
    }
}
