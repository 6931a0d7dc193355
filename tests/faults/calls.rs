//! A fault at each system call by which the server's binary touches its folder, during each of the operations: the
//! process dies before or behind the call, or the call fails. Afterwards the server starts without help and holds
//! everything that it ever acknowledged.
//!
//! `IRONKEEP_DEATHS` and `IRONKEEP_INJECTIONS` are the numbers of cases of either kind: 60 by default, 0 for all. In CI
//! it is all deaths, and 1,000 errors. `IRONKEEP_INJECTION` plays the one case that a failure has printed.

use super::ledger::{Ledger, PATIENCE};
use super::operations::{OPERATIONS, Operation, Stages, wait_for_rest};
use super::tracer::{Call, End, Fault, Kind, Traced};
use crate::rig::{Program, Value, length};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long an operation may go on in the background while everything fails.
const BACKGROUND: Duration = Duration::from_millis(400);

const POLICIES: [&str; 3] = ["always", "everysec", "no"];
/// Errors that a call may end with. EINTR comes as often as signals do, so never for good.
const ERRORS: [Errno; 6] = [Errno::EIO, Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS, Errno::EMFILE, Errno::EINTR];
const FOR_GOOD: usize = usize::MAX;

/// One case.
#[derive(Clone, Copy)]
struct Case {
    operation: &'static Operation,
    policy: &'static str,
    fault: Fault,
}

impl std::fmt::Display for Case {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { operation, policy, fault } = self;
        match *fault {
            Fault::None => write!(out, "{}, {policy}", operation.name),
            Fault::Kill { at, is_done } => {
                let side = if is_done { "behind" } else { "before" };
                write!(out, "{}, {policy}: dies {side} change {at}", operation.name)
            }
            Fault::Fail { at, count, errno, .. } => {
                let times = match count {
                    FOR_GOOD => "until it is cured".to_owned(),
                    count => format!("{count} times"),
                };
                write!(out, "{}, {policy}: {:?} at call {at}, {times}", operation.name, Errno::from_raw(errno))
            }
        }
    }
}

impl Case {
    fn flushes_under_always(&self) -> bool {
        self.operation.name == "FLUSHALL" && self.policy == "always"
    }
}

/// What became of a case that went well.
#[derive(Debug, Default)]
struct Outcome {
    met: Vec<Call>,
    is_refused_start: bool,
    recovery: Duration,
    acknowledged: usize,
}

/// Plays a case to its end.
fn play(stages: &Stages, case: &Case) -> Result<Outcome, String> {
    let mut stage = stages.stage(case.operation);
    let first = if case.operation.act.is_none() { case.fault } else { Fault::None };
    let server = stage.start(first);
    let is_ready = server.is_ready_within(PATIENCE);
    let mut outcome = Outcome::default();
    let is_kill = matches!(case.fault, Fault::Kill { .. });
    if is_ready {
        let mut client = server.client().map_err(|error| format!("no connection: {error}"))?;
        if let Some(act) = case.operation.act {
            server.arm(case.fault);
            act(&mut stage.ledger, &mut client)?;
            wait_for_rest(&mut client, BACKGROUND);
        }
        outcome.met = server.met();
        if is_kill && !outcome.met.is_empty() {
            if server.end_within(PATIENCE).is_none() {
                return Err("it does not die".into());
            }
        } else if server.end_within(Duration::ZERO).is_none() && !case.operation.ends {
            answers_reads(&server, case)?;
        }
        server.cure();
        // A broken connection is the first that a client sees of an end.
        let is_broken = client.ask(&["ECHO", "anyone there"]).is_err();
        let is_over = server.end_within(if is_broken { PATIENCE } else { Duration::ZERO });
        match is_over {
            Some(end) => outcome.is_refused_start = ended_well(&server, end, case)?,
            None => outcome.recovery = recover(&server, &mut stage.ledger)?,
        }
        end(&server, case)?;
    } else {
        outcome.met = server.met();
        let ended =
            server.end_within(PATIENCE).ok_or_else(|| format!("neither ready nor ended:\n{}", server.output()))?;
        outcome.is_refused_start = ended_well(&server, ended, case)?;
    }
    drop(server);
    stage.check()?;
    outcome.acknowledged = stage.ledger.acknowledged();
    Ok(outcome)
}

/// Reads go on while nothing can be written.
fn answers_reads(server: &Traced, case: &Case) -> Result<(), String> {
    let mut client = server.client().map_err(|error| format!("no connection while calls fail: {error}"))?;
    match client.ask(&["EXISTS", "one:1"]) {
        Ok(Value::Int(_)) => Ok(()),
        // After a failed fsync nothing may be shown that a power cut could take back; FLUSHALL concerns every key.
        Ok(Value::Error(text)) if text.starts_with("MISCONF") && case.flushes_under_always() => Ok(()),
        other => Err(format!("a read while calls fail: {other:?}\n{}", server.output())),
    }
}

/// An end of the server's own must be told in words; whether it was a start that was given up.
fn ended_well(server: &Traced, end: End, case: &Case) -> Result<bool, String> {
    let output = server.output();
    match end {
        Err(Signal::SIGKILL) if matches!(case.fault, Fault::Kill { .. }) => Ok(false),
        Ok(0) if case.operation.act.is_some() && case.operation.ends => Ok(false),
        Ok(1) if case.operation.act.is_none() && output.contains("os error") => Ok(true),
        other => Err(format!("ended with {other:?}:\n{output}")),
    }
}

/// Writes come back by themselves; the time that it took.
fn recover(server: &Traced, ledger: &mut Ledger) -> Result<Duration, String> {
    let mut client = server.client().map_err(|error| format!("no connection after the cure: {error}"))?;
    ledger.recover(&mut client).map_err(|reason| format!("{reason}\n{}", server.output()))
}

/// Every second server is told to end, and does; the others are killed.
fn end(server: &Traced, case: &Case) -> Result<(), String> {
    let is_told = matches!(case.fault, Fault::Fail { at, .. } if at.is_multiple_of(2));
    server.signal(if is_told { Signal::SIGTERM } else { Signal::SIGKILL });
    match server.end_within(PATIENCE) {
        Some(Ok(0) | Err(Signal::SIGKILL)) => Ok(()),
        other => Err(format!("SIGTERM ended it with {other:?}:\n{}", server.output())),
    }
}

/// The calls of an operation that nothing happens to.
fn calls_of(stages: &Stages, operation: &'static Operation) -> Vec<Call> {
    let mut stage = stages.stage(operation);
    let server = stage.start(Fault::None);
    assert!(server.is_ready_within(PATIENCE), "{}", server.output());
    let mut client = server.client().unwrap();
    if let Some(act) = operation.act {
        server.arm(Fault::None);
        act(&mut stage.ledger, &mut client).unwrap();
        wait_for_rest(&mut client, PATIENCE);
    }
    server.calls()
}

/// What a run over many cases reached.
#[derive(Debug, Default)]
struct Tally {
    played: usize,
    /// Cases whose call did not come, as threads may change the order.
    missed: usize,
    refused_starts: usize,
    acknowledged: usize,
    slowest: Duration,
    slowest_case: String,
    by_call: BTreeMap<&'static str, usize>,
}

/// Plays a sample of `cases`, as many as the environment says, on all processors.
fn play_all(what: &str, variable: &str, mut cases: Vec<Case>) {
    let (all, began) = (cases.len(), Instant::now());
    if let Ok(wanted) = std::env::var("IRONKEEP_INJECTION") {
        cases.retain(|case| case.to_string() == wanted);
    } else {
        let wanted = match length(variable, 60) {
            0 => all,
            wanted => wanted.min(all),
        };
        fastrand::shuffle(&mut cases);
        cases.truncate(wanted);
    }
    let stages: Vec<_> = POLICIES.iter().map(|policy| (policy, Stages::new(Program::ours(), policy))).collect();
    let (next, tally, failures) = (AtomicUsize::new(0), Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (_, stages) = stages.iter().find(|(policy, _)| **policy == case.policy).unwrap();
                    match play(stages, case) {
                        Ok(outcome) => tally.lock().unwrap().add(case, outcome),
                        Err(reason) => {
                            println!("IRONKEEP_INJECTION='{case}': {reason}\n");
                            failures.lock().unwrap().push(case.to_string());
                        }
                    }
                }
            });
        }
    });
    let (tally, failures) = (tally.into_inner().unwrap(), failures.into_inner().unwrap());
    println!("{what}: {} of {all} cases in {:.0} s: {tally:?}", cases.len(), began.elapsed().as_secs_f64());
    assert!(failures.is_empty(), "{} failed: {failures:#?}", failures.len());
    assert!(tally.missed * 10 <= tally.played, "too many cases met no call: {tally:?}");
}

impl Tally {
    fn add(&mut self, case: &Case, outcome: Outcome) {
        self.played += 1;
        self.missed += usize::from(outcome.met.is_empty());
        self.refused_starts += usize::from(outcome.is_refused_start);
        self.acknowledged += outcome.acknowledged;
        if outcome.recovery > self.slowest {
            (self.slowest, self.slowest_case) = (outcome.recovery, case.to_string());
        }
        if let Some(call) = outcome.met.first() {
            *self.by_call.entry(call.name).or_default() += 1;
        }
    }
}

/// The cases that `of` makes of each operation's calls under each policy.
fn cases(of: impl Fn(&[Call]) -> Vec<Fault>) -> Vec<Case> {
    let mut cases = Vec::new();
    for policy in POLICIES {
        let stages = Stages::new(Program::ours(), policy);
        for operation in OPERATIONS {
            let faults = of(&calls_of(&stages, operation));
            cases.extend(faults.into_iter().map(|fault| Case { operation, policy, fault }));
        }
    }
    cases
}

#[test]
fn a_death_before_or_behind_any_change_loses_nothing() {
    let cases = cases(|calls| {
        let changes = calls.iter().filter(|call| call.is(Kind::Change)).count();
        (0..changes).flat_map(|at| [false, true].map(|is_done| Fault::Kill { at, is_done })).collect()
    });
    play_all("deaths", "IRONKEEP_DEATHS", cases);
}

#[test]
fn an_error_of_any_call_loses_nothing_and_passes() {
    let cases = cases(|calls| {
        let mut faults = Vec::new();
        for errno in ERRORS {
            let kind = if errno == Errno::EMFILE { Kind::Open } else { Kind::Any };
            let reached = calls.iter().filter(|call| call.is(kind)).count();
            let counts = if errno == Errno::EINTR { &[1, 3][..] } else { &[1, 3, FOR_GOOD] };
            let fail = |at| counts.iter().map(move |&count| Fault::Fail { at, count, errno: errno as i32, kind });
            faults.extend((0..reached).flat_map(fail));
        }
        faults
    });
    play_all("errors", "IRONKEEP_INJECTIONS", cases);
}

/// Shows that these cases could fail. `IRONKEEP_FAULT_BIN` is a server built with the feature `fault-reply-first`;
/// `.ci/run` builds it.
#[test]
#[ignore = "needs IRONKEEP_FAULT_BIN"]
fn a_build_that_replies_before_it_writes_is_caught_at_a_call() {
    let path = std::env::var_os("IRONKEEP_FAULT_BIN").expect("IRONKEEP_FAULT_BIN names a build that replies first");
    let stages = Stages::new(Program::at("ironkeep that replies first", Path::new(&path)), "everysec");
    let operation = OPERATIONS.iter().find(|operation| operation.name == "append").unwrap();
    let caught = (0..4).find_map(|at| {
        let case = Case { operation, policy: "everysec", fault: Fault::Kill { at, is_done: false } };
        play(&stages, &case).err().map(|reason| format!("{case}: {reason}"))
    });
    let caught = caught.expect("four deaths passed on a build that replies before it writes");
    println!("caught: {}", caught.lines().next().unwrap_or_default());
    assert!(caught.contains("acknowledged writes are lost"), "it was caught for something else: {caught}");
}
