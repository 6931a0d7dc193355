//! The page: two plots and a table, drawn here, so that it needs no script and nothing from elsewhere.

use std::fmt::Write;

use ironkeep::cli::escape::Quoted;
use ironkeep::cli::utc::Utc;

use super::{Stats, Tally};
use crate::report;

const HEAD: &str = include_str!("page.html");
/// Of one plot, in the units of its drawing.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 180.0;

/// The whole page.
pub fn page(name: &str, stats: &Stats<'_>) -> String {
    let mut page = String::from(HEAD);
    let Tally { writes, bytes } = stats.total;
    let (writes, bytes) = (report::plural(writes, "write"), report::plural(bytes, "byte"));
    let step = report::plural(stats.step.unsigned_abs(), "second");
    // Writing to a string does not fail.
    let _ = writeln!(page, "<h1>{}</h1>\n<p>{writes}, {bytes}, in steps of {step}</p>", escaped(name));
    if stats.untimed.writes > 0 {
        let before = report::plural(stats.untimed.writes, "write");
        let _ = writeln!(page, "<p>{before} before the first time that the log tells</p>");
    }
    let rows = stats.rows();
    let rows: Vec<(Utc, Tally)> = rows.into_iter().map(|(time, tally, _)| (time, tally)).collect();
    plot(&mut page, "Writes", &rows, |tally| tally.writes);
    plot(&mut page, "Bytes", &rows, |tally| tally.bytes);
    let _ = writeln!(page, "<h2>Hot keys</h2>\n<table>\n<tr><th>writes</th><th>db</th><th>key</th></tr>");
    for ((db, key), count) in stats.keys.top(stats.arguments.top) {
        let key = escaped(&Quoted(key).to_string());
        let _ = writeln!(page, "<tr><td>{count}</td><td>{db}</td><td>{key}</td></tr>");
    }
    page.push_str("</table>\n</html>\n");
    page
}

/// A bar for every step; the exact figures show where one points at it.
fn plot(page: &mut String, title: &str, rows: &[(Utc, Tally)], value: impl Fn(&Tally) -> u64) {
    let most = rows.iter().map(|(_, tally)| value(tally)).max().unwrap_or(0);
    let (Some((first, _)), Some((last, _)), true) = (rows.first(), rows.last(), most > 0) else { return };
    let _ = writeln!(page, "<h2>{title}</h2>\n<p>at most {most} in a step</p>");
    let _ = writeln!(page, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">");
    let width = WIDTH / rows.len() as f64; // at most 10,000
    for (index, (time, tally)) in rows.iter().enumerate() {
        let (left, count) = (index as f64 * width, value(tally)); // at most 10,000
        let height = count as f64 / most as f64 * HEIGHT; // a bar needs no more digits
        let top = HEIGHT - height;
        let _ = writeln!(
            page,
            "<rect x=\"{left:.2}\" y=\"{top:.2}\" width=\"{:.2}\" height=\"{height:.2}\"><title>{time}: {count}</title></rect>",
            width * 0.9
        );
    }
    let _ = writeln!(page, "</svg>\n<p class=\"axis\"><span>{first}</span><span>{last}</span></p>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
