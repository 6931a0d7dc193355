//! Completions and man pages of both tools.

use super::rdbtool::rdbtool;
use std::io::Read;
use std::process::{Command, Stdio};

fn tools() -> [Command; 2] {
    [rdbtool(), Command::new(env!("CARGO_BIN_EXE_aoftool"))]
}

fn output(mut tool: Command, words: &[&str]) -> String {
    let output = tool.args(words).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn completions_know_every_verb_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        for tool in tools() {
            let script = output(tool, &["completions", shell]);
            for verb in ["info", "check", "dump", "completions", "man"] {
                assert!(script.contains(verb), "{shell} {verb}");
            }
        }
    }
    let mut bash = Command::new("bash");
    bash.args(["-c", "source /dev/stdin && complete -p rdbtool"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut bash) = bash.spawn() else { return crate::rig::skip("no bash") };
    let script = output(rdbtool(), &["completions", "bash"]);
    std::io::Write::write_all(&mut bash.stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert!(bash.wait_with_output().unwrap().status.success());
}

#[test]
fn there_is_a_page_for_the_tool_and_one_for_each_verb() {
    let folder = tempfile::tempdir().unwrap();
    for (tool, name) in tools().into_iter().zip(["rdbtool", "aoftool"]) {
        let target = folder.path().join(name);
        output(tool, &["man", "--output-dir", target.to_str().unwrap()]);
        for page in [format!("{name}.1"), format!("{name}-check.1"), format!("{name}-dump.1")] {
            let text = std::fs::read_to_string(target.join(&page)).unwrap();
            assert!(text.contains(".SH SYNOPSIS") && text.contains(".SH OPTIONS"), "{page}");
        }
    }
    let main = output(rdbtool(), &["man"]);
    assert_eq!(main, std::fs::read_to_string(folder.path().join("rdbtool/rdbtool.1")).unwrap());
    assert!(main.contains("rdbtool\\-explain(1)"));
}

/// Symptom: the generators panic where `rdbtool completions bash | head -1` closes the pipe.
#[test]
fn a_closed_pipe_is_quiet_here_too() {
    for words in [&["completions", "zsh"][..], &["man"]] {
        let mut child = rdbtool().args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!((child.wait().unwrap().code(), told.as_str()), (Some(0), ""));
    }
}
