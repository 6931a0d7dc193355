//! A disk that has no room for another base: the rewrite is refused before it writes a byte, and what is kept of the past
//! makes room for the next attempt.

use super::*;

async fn wait_for(client: &mut Client, field: &str, value: &str) {
    let since = Instant::now();
    while client.info(field).await != value {
        assert!(since.elapsed() < PATIENCE, "{field} does not become {value}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_rewrite_without_room_is_refused_and_history_gives_way_to_the_next() {
    let memory = empty_disk();
    run(async {
        let mut config = config(true, AppendFsync::Always);
        config.aof_history_retention = 3600;
        let shared = start_server(config, Arc::new(memory.clone())).await.unwrap();
        shared.engine.borrow_mut().memory.pretend(1 << 30);
        let mut client = Client::connect(&shared);
        let value = "v".repeat(100_000);
        client.ask(&format!("SET key {value}")).await;
        client.ask("BGREWRITEAOF").await;
        client.wait_for_jobs().await;
        client.ask(&format!("SET other {value}")).await;
        wait_for(&mut client, "aof_history_files", "2").await;
        memory.say_free(50_000);
        let before = memory.steps();
        client.ask("BGREWRITEAOF").await;
        client.wait_for_jobs().await;
        assert_eq!(client.info("aof_last_bgrewrite_status").await, "err");
        assert_eq!(client.info("aof_rewrites_consecutive_failures").await, "1");
        let error = client.info("aof_last_bgrewrite_error").await;
        assert!(error.starts_with("/data/appendonlydir: 50000 bytes are free, and a new base may take 10"), "{error}");
        let since = memory.trace(memory.steps()).split_off(memory.trace(before).len());
        assert!(since.iter().all(|line| line.starts_with("write") || line.starts_with("sync")), "{since:?}");
        wait_for(&mut client, "aof_history_files", "0").await;
        memory.say_free(1 << 30);
        client.ask("BGREWRITEAOF").await;
        client.wait_for_jobs().await;
        assert_eq!(client.info("aof_last_bgrewrite_status").await, "ok");
        assert_eq!(client.info("aof_last_bgrewrite_error").await, "");
    });
}
