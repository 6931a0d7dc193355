//! `rdbtool report`: one page that needs nothing but itself, whatever the keys are called.

use super::rdbtool::{rdbtool, samples, stderr_of};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn report(file: &Path, output: &Path, more: &[&str]) -> String {
    let output_of = rdbtool().arg("report").arg(file).arg("--output").arg(output).args(more).output().unwrap();
    assert_eq!(output_of.status.code(), Some(0), "{}", stderr_of(&output_of));
    std::fs::read_to_string(output).unwrap()
}

fn data_of(page: &str) -> Value {
    let (_, rest) = page.split_once(r#"<script type="application/json" id="data">"#).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// A file of version 3: string keys in database 0.
fn made(dir: &Path, keys: &[&[u8]]) -> PathBuf {
    let mut file = b"REDIS0003\xfe\x00".to_vec();
    for key in keys {
        file.extend_from_slice(&[0, u8::try_from(key.len()).unwrap()]);
        file.extend_from_slice(key);
        file.extend_from_slice(b"\x05value");
    }
    file.push(0xff);
    let path = dir.join("dump.rdb");
    std::fs::write(&path, file).unwrap();
    path
}

const HOSTILE: [&[u8]; 5] =
    [b"<script>alert(1)</script>", b"</script><img src=x onerror=alert(1)>", b"<!--", b"\x1b[31m\xff\x00", b"a:<b>:c"];

#[test]
fn a_key_cannot_leave_its_place_in_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let page = report(&made(dir.path(), &HOSTILE), &dir.path().join("report.html"), &["--top", "9"]);
    let empty = report(&made(dir.path(), &[]), &dir.path().join("empty.html"), &[]);
    assert_eq!(page.matches('<').count(), empty.matches('<').count(), "no key brings a tag");
    let data = data_of(&page);
    let keys: Vec<&str> = data["largest"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap()).collect();
    assert!(keys.contains(&r#""<script>alert(1)</script>""#) && keys.contains(&r#""\x1b[31m\xff\x00""#), "{keys:?}");
}

#[test]
fn the_page_asks_the_network_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let page = report(&samples()[20], &dir.path().join("report.html"), &[]);
    for word in ["src=", "href=", "@import", "url(", "fetch(", "https:"] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
    assert_eq!(page.replace("http://www.w3.org/2000/svg", "").matches("http").count(), 1, "the policy's own name");
}

#[test]
fn the_page_holds_what_memory_says() {
    let dir = tempfile::tempdir().unwrap();
    for (index, sample) in samples().into_iter().enumerate().step_by(7) {
        let page = report(&sample, &dir.path().join(index.to_string()), &["--keep-expired"]);
        let memory = rdbtool().arg("memory").arg(&sample).args(["--json", "--keep-expired"]).output().unwrap();
        let (data, memory): (_, Value) = (data_of(&page), serde_json::from_slice(&memory.stdout).unwrap());
        assert_eq!(data["used_memory"], memory["used_memory"]);
        assert_eq!((&data["keys"], &data["key_bytes"]), (&memory["total"]["keys"], &memory["total"]["bytes"]));
        assert_eq!(sum_of_leaves(&data["tree"]), data["key_bytes"].as_u64().unwrap(), "{}", sample.display());
    }
}

fn sum_of_leaves(node: &Value) -> u64 {
    match node["children"].as_array() {
        Some(children) => children.iter().map(sum_of_leaves).sum(),
        None => node["bytes"].as_u64().unwrap(),
    }
}

#[test]
fn a_file_that_is_there_is_left_alone_and_damage_leaves_no_page() {
    let dir = tempfile::tempdir().unwrap();
    let (file, page) = (made(dir.path(), &HOSTILE), dir.path().join("page.html"));
    std::fs::write(&page, "mine").unwrap();
    let run = |file: &Path, page: &Path| rdbtool().arg("report").arg(file).arg("--output").arg(page).output().unwrap();
    assert_eq!(run(&file, &page).status.code(), Some(5));
    assert_eq!(std::fs::read_to_string(&page).unwrap(), "mine");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 4]).unwrap();
    let other = dir.path().join("other.html");
    assert_eq!(run(&file, &other).status.code(), Some(3));
    assert!(!other.exists(), "no page about half a file");
}

/// The page in a real browser: its script runs to the end, and draws boxes with names.
#[test]
fn a_browser_draws_the_page() {
    let browser = Path::new("/usr/bin/chromium");
    if !browser.exists() {
        println!("skipped: there is no /usr/bin/chromium");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html");
    report(&made(dir.path(), &HOSTILE), &page, &[]);
    let output = Command::new("timeout")
        .args(["60", "/usr/bin/chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    assert!(dom.matches("<rect").count() >= 10, "{dom:.2000}");
    assert!(dom.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && dom.contains("Made by rdbtool report"));
    assert!(!dom.contains("<img"), "a key became an element");
}
