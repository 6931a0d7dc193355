//! The log switched on and off while the server runs: power cuts and errors at every step, and clients that go on.

use super::*;
use crate::disk::{Fault, FaultyDisk, Pace};

const YES: &str = "CONFIG SET appendonly yes";
const NO: &str = "CONFIG SET appendonly no";

fn folder() -> std::path::PathBuf {
    Path::new(DIR).join("appendonlydir")
}

/// Sends a request on a connection of its own, and does `beside` until it is answered.
async fn ask_beside(shared: &Rc<Shared>, line: &'static str, mut beside: impl AsyncFnMut()) -> Answer {
    let mut client = Client::connect(shared);
    let answered = Rc::new(std::cell::RefCell::new(None));
    let told = Rc::clone(&answered);
    seat::spawn(async move { *told.borrow_mut() = client.ask(line).await });
    loop {
        if let Some(answer) = answered.borrow_mut().take() {
            return answer;
        }
        beside().await;
    }
}

/// Switches the log with writes beside that nothing is promised of.
async fn switch(shared: &Rc<Shared>, line: &'static str, client: &mut Client, history: &mut History) -> Answer {
    let write = async || {
        history.write(client, 2, || usize::MAX).await;
    };
    ask_beside(shared, line, write).await
}

fn ok() -> Answer {
    Answer::Simple(b"OK".to_vec())
}

/// A dump, a log switched on, off and on again, with writes all the while. What was acknowledged before the log was on is
/// promised from its reply on.
fn switched(policy: AppendFsync) -> (Config, MemoryDisk, History) {
    let (disk, mut history) = (empty_disk(), History::default());
    run(async {
        let shared = start_server(config(false, policy), Arc::new(disk.clone())).await.unwrap();
        let mut client = Client::connect(&shared);
        history.write(&mut client, 3, || usize::MAX).await;
        client.ask("SAVE").await;
        history.promised.push((disk.steps(), history.next - 1));
        for _ in 0..2 {
            let before = history.next - 1;
            assert_eq!(switch(&shared, YES, &mut client, &mut history).await, ok());
            // What was sent before the switch was answered before it was.
            history.promised.push((disk.steps(), before));
            // What a power cut may not take was acknowledged behind the reply.
            assert!(history.write(&mut client, 1, || disk.steps()).await);
            for burst in [4, 1, 2] {
                assert!(history.write(&mut client, burst, || disk.steps()).await);
            }
            assert_eq!(switch(&shared, NO, &mut client, &mut history).await, ok());
            history.write(&mut client, 3, || usize::MAX).await;
        }
        assert_eq!(switch(&shared, YES, &mut client, &mut history).await, ok());
        assert!(history.write(&mut client, 2, || disk.steps()).await);
        history.note_list(&mut client).await;
    });
    (config(true, policy), disk, history)
}

#[test]
fn a_log_switched_on_and_off_survives_power_cuts() {
    let mut tried = 0;
    for policy in [AppendFsync::Always, AppendFsync::Everysec] {
        let (config, disk, history) = switched(policy);
        let mut random = fastrand::Rng::with_seed(9);
        let steps = disk.steps();
        for at in (0..=steps).chain((0..length("IRONKEEP_POWER_CUTS", 4_000) / 8).map(|index| index % (steps + 1))) {
            let cut = PowerCut::ALL[random.usize(..5)];
            let image = disk.after(at, cut, &mut random);
            let is_promised = cut == PowerCut::Kept || policy == AppendFsync::Always;
            let needed = history.needed(at).filter(|_| is_promised);
            if let Err(wrong) = check(&config, &image, &history, needed) {
                let trace = disk.trace(at);
                let last = trace[trace.len().saturating_sub(12)..].join("\n");
                panic!("{policy:?}, step {at} of {steps}, {cut:?}: {wrong}\nthe last steps:\n{last}");
            }
            tried += 1;
        }
    }
    tell(&format!("{tried} power cuts while the log is switched on and off: acknowledged writes lost 0"));
}

/// One error, or errors until the disk is cured, at a call of a switch to a log: the answer tells the truth.
fn fail_at(first: usize, count: usize, errno: i32) -> Result<bool, String> {
    let memory = empty_disk();
    let disk = FaultyDisk::new(memory.clone(), None);
    let mut history = History::default();
    let is_reached = run(async {
        let shared = start_server(config(false, AppendFsync::Always), Arc::new(disk.clone())).await.unwrap();
        let mut client = Client::connect(&shared);
        history.write(&mut client, 5, || usize::MAX).await;
        disk.fail(Fault { first, count, errno, is_short: false });
        let answer = switch(&shared, YES, &mut client, &mut history).await;
        disk.cure();
        let is_reached = disk.failed() > 0;
        // The log is on also where only writes behind its beginning have failed: MISCONF is what those get.
        let is_on = match &answer {
            Answer::Error(text) => text.starts_with(b"MISCONF"),
            _ => true,
        };
        let Some(Answer::Array(shown)) = client.ask("CONFIG GET appendonly").await else {
            return Err("CONFIG GET has no answer".to_owned());
        };
        let value = if is_on { &b"yes"[..] } else { b"no" };
        if shown[1].bytes() != Some(value) {
            return Err(format!("{answer:?}, but CONFIG GET says {shown:?}"));
        }
        if !is_on {
            // What could not be removed at once is removed when the disk is well.
            let since = Instant::now();
            // A temporary file, and a manifest that names nothing that is there, the next start removes or passes over.
            let is_left = |name: &std::ffi::OsString| {
                !is_temporary(name) && [".rdb", ".aof"].iter().any(|end| name.to_string_lossy().ends_with(end))
            };
            while memory.list(&folder()).unwrap_or_default().iter().any(is_left) {
                if since.elapsed() > PATIENCE {
                    return Err(format!("left behind: {:?}", memory.list(&folder())));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if switch(&shared, YES, &mut client, &mut history).await != ok() {
                return Err("a sound disk refuses the log".to_owned());
            }
        }
        let since = Instant::now();
        while !history.write(&mut client, 1, || memory.steps()).await {
            if since.elapsed() > PATIENCE {
                return Err("writes do not come back".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        history.note_list(&mut client).await;
        Ok(is_reached)
    })?;
    let (last, mut random) = (memory.steps(), fastrand::Rng::with_seed(1));
    let image = memory.after(last, PowerCut::Lost, &mut random);
    check(&config(true, AppendFsync::Always), &image, &history, history.needed(last))?;
    Ok(is_reached)
}

#[test]
fn an_error_at_any_call_of_a_switch_is_told_and_leaves_the_log_off_or_on() {
    let mut cases = 0;
    for (count, errno) in [(1, 5), (1, 28), (usize::MAX, 28)] {
        for first in 0.. {
            let is_reached =
                fail_at(first, count, errno).unwrap_or_else(|wrong| panic!("call {first}, {count}: {wrong}"));
            if !is_reached {
                break;
            }
            cases += 1;
        }
    }
    assert!(cases > 60, "{cases} cases");
    tell(&format!("{cases} errors of the disk while the log is switched on: none left anything behind"));
}

#[test]
fn other_clients_go_on_while_a_slow_disk_takes_a_log() {
    let memory = empty_disk();
    let disk = FaultyDisk::new(memory.clone(), None);
    run(async {
        let shared = start_server(config(false, AppendFsync::Always), Arc::new(disk.clone())).await.unwrap();
        let mut client = Client::connect(&shared);
        disk.set_pace(Pace::Slow(Duration::from_millis(40)));
        let (mut answered, mut longest) = (0, Duration::ZERO);
        let outcome = ask_beside(&shared, YES, async || {
            let asked = Instant::now();
            client.ask("SET key value").await;
            client.ask("GET key").await;
            longest = longest.max(asked.elapsed());
            answered += 1;
        });
        assert_eq!(outcome.await, ok());
        assert!(answered > 20, "{answered} exchanges beside the switch");
        assert!(longest < Duration::from_secs(1), "{longest:?}");
        // What a client sends behind a switch waits for it; another client is refused a second one meanwhile.
        let mut switcher = Client::connect(&shared);
        switcher.send(&[encode(NO), encode("CONFIG GET appendonly")].concat()).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let second = client.ask(YES).await.unwrap();
        assert!(is_failure(&second), "{second:?}");
        assert_eq!(switcher.answer().await, Some(ok()));
        let Some(Answer::Array(shown)) = switcher.answer().await else { panic!("CONFIG GET is answered") };
        assert_eq!(shown[1].bytes(), Some(&b"no"[..]));
    });
}
