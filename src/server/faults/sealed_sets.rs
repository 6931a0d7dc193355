//! BACKUP START and SEAL beside a disk that fails at any call: what is sealed is whole, what failed leaves nothing, and both
//! are told; nobody else notices.

use super::*;
use crate::disk::{Fault, FaultyDisk};

/// The data folder of a server that takes the set for its log.
const LOADED: &str = "/data/loaded";

/// What BACKUP STATUS says first.
async fn state(client: &mut Client) -> String {
    let Some(Answer::Array(fields)) = client.ask("BACKUP STATUS").await else { panic!("BACKUP STATUS is answered") };
    String::from_utf8_lossy(fields[1].bytes().unwrap()).into_owned()
}

/// Tries to make a set in which `a` is 2; the state that it comes to.
async fn make(client: &mut Client) -> String {
    let is_well = Some(Answer::Simple(b"OK".to_vec()));
    client.ask("SET a 1").await;
    if client.ask("BACKUP START").await == is_well {
        let since = Instant::now();
        while ["pending", "snapshotting"].contains(&state(client).await.as_str()) {
            assert!(since.elapsed() < PATIENCE, "the base is written, or not");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(client.ask("SET a 2").await, is_well, "writes go on");
    let sealed = client.ask("BACKUP SEAL").await;
    assert_eq!(client.ask("SET a 3").await, is_well, "writes go on");
    let state = state(client).await;
    assert_eq!(sealed == is_well, state == "sealed", "{state}");
    state
}

/// The set holds what it should.
fn assert_whole(config: &Config, disk: &MemoryDisk) {
    let (mut config, disk) = (config.clone(), disk.clone());
    let set = Path::new(DIR).join(&config.backupdirname);
    disk.create_dir(Path::new(LOADED)).unwrap();
    (config.dir, config.preload_file) = (LOADED.to_owned(), format!("aof:{}", set.display()));
    let mut engine = load_engine(&config, &disk).unwrap();
    let mut out = Vec::new();
    command::execute(&mut engine, &mut Session::replay(), &[b"GET", b"a"], &mut out);
    assert_eq!(out, b"$1\r\n2\r\n");
}

#[test]
fn a_set_is_sealed_whole_or_fails_and_leaves_nothing() {
    let config = config(true, AppendFsync::Everysec);
    let set = Path::new(DIR).join(&config.backupdirname);
    let (mut sealed, mut failed, mut in_doubt) = (0, 0, 0);
    for (errno, count) in [(28, 1), (5, 1), (5, 1000)] {
        for first in 0.. {
            let memory = empty_disk();
            let disk = FaultyDisk::new(memory.clone(), None).below(&set);
            disk.fail(Fault { first, count, errno, is_short: false });
            let has_failed = run(async {
                let shared = start_server(config.clone(), Arc::new(disk.clone())).await.unwrap();
                let mut client = Client::connect(&shared);
                let state = make(&mut client).await;
                let has_failed = disk.failed() > 0;
                disk.cure();
                if state == "sealed" {
                    sealed += 1;
                    return has_failed;
                }
                failed += 1;
                assert!(state == "failed" && has_failed, "call {first}, errno {errno}: {state}");
                // After a start there is none, and another can be made.
                let image = memory.after(memory.steps(), PowerCut::Kept, &mut fastrand::Rng::with_seed(0));
                let start =
                    loading::load_here(config.clone(), &(Arc::new(image.clone()) as Arc<dyn Disk>), Arc::default());
                match start.unwrap().sealed_set {
                    None => assert!(image.list(&set).unwrap_or_default().is_empty(), "call {first}, errno {errno}"),
                    // It was, but for the last sync, and nothing could be taken back.
                    Some(_) => {
                        in_doubt += 1;
                        assert_whole(&config, &image);
                    }
                }
                assert_eq!(make(&mut client).await, "sealed", "call {first}, errno {errno}");
                true
            });
            assert_whole(&config, &memory);
            if !has_failed {
                break;
            }
        }
    }
    tell(&format!(
        "{failed} errors of the disk while a set was made: each was told, {in_doubt} left a set that was whole"
    ));
    assert!(sealed == 3 && failed > 30 && in_doubt <= 1, "{sealed} sealed, {failed} failed, {in_doubt} in doubt");
}
