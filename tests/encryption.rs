//! Backups and archives that only the holder of a key can read: what a server writes that has no such key.

use std::io::{BufReader, Read};
use std::path::Path;

use age::secrecy::ExposeSecret;
use age::x25519::Identity;

use crate::archive::{ARCHIVED, wait_until_archived};
use crate::backups::{backup, backup_fine, info, json, start, wait_until};
use crate::rig::{Program, Server, differences, files_below, rdb_files, read_contents};

/// A key, and the file in which its owner has it.
fn key_in(folder: &Path) -> (Identity, String) {
    let (identity, file) = (Identity::generate(), folder.join("key.txt"));
    std::fs::write(&file, format!("# a key\n{}\n", identity.to_string().expose_secret())).unwrap();
    (identity, file.to_str().unwrap().to_owned())
}

#[test]
fn only_the_holder_of_the_key_reads_what_a_server_keeps() {
    let (dir, repo, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (identity, file) = key_in(keys.path());
    let recipient = identity.to_public().to_string();
    let options = [&ARCHIVED[..], &[("backup-encryption-recipient", recipient.as_str())]].concat();
    let server = start(dir.path(), repo.path(), &options);
    let mut client = server.client();
    wait_until("a backup to begin with", || info(&mut client, "archive_has_base") == "1");
    (0..200).for_each(|index| drop(client.line(&format!("SET plain:{index} plaintext{index}"))));
    let id = client.line("BACKUP CREATE").text();
    client.line("SET behind plaintext");
    wait_until("the archive", || info(&mut client, "archive_lag_sec") == "0");
    assert!(server.terminate().success());
    // Who starts again has no key, and goes on with the same archive.
    let server = start(dir.path(), repo.path(), &options);
    let mut client = server.client();
    wait_until("the archive", || info(&mut client, "archive_has_base") == "1");
    client.line("SET last plaintext");
    let wanted = read_contents(&mut client);
    let plan = ["restore", "--to", "latest", "--dir", "/nowhere", "--dry-run", "--json", "--identity", &file];
    wait_until_archived("last", || backup(repo.path(), &plan));
    assert_eq!(info(&mut client, "archive_branches"), "0");
    drop(server);
    assert_eq!(std::fs::read_dir(repo.path().join("log")).unwrap().count(), 1, "one timeline");
    for path in files_below(repo.path()) {
        let content = std::fs::read(&path).unwrap();
        assert!(!content.windows(9).any(|window| window == b"plaintext"), "{}", path.display());
        let is_encrypted = content.starts_with(b"age-encryption.org/v1\n");
        let is_named = path.extension().is_some_and(|extension| extension == "age");
        assert_eq!(is_encrypted, is_named, "{}", path.display());
    }
    // Without the key nothing is read, and nothing is called damaged.
    let refused = backup(repo.path(), &["verify", &id]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(5) && told.contains("--identity FILE"), "{told}");
    let shown = json(&backup_fine(repo.path(), &["show", &id]));
    assert!(shown["verification"]["fault"].is_null() && shown["verification"]["level"] == "restore", "{shown}");
    let nowhere = dir.path().join("nowhere");
    for target in [&[id.as_str()][..], &["--to", "latest"]] {
        let refused = backup(repo.path(), &[&["restore", "--dir", nowhere.to_str().unwrap()], target].concat());
        assert!(refused.status.code() == Some(5) && !nowhere.exists(), "{refused:?}");
    }
    // What is put in by hand is encrypted too; and where a byte has changed, it is seen without the key.
    let own = tempfile::tempdir().unwrap();
    let sample = rdb_files().remove(0);
    backup_fine(own.path(), &["import", sample.to_str().unwrap(), "--encryption-recipient", &recipient]);
    let dump = files_below(own.path()).into_iter().find(|path| path.ends_with("dump.rdb.zst.age")).unwrap();
    let mut content = std::fs::read(&dump).unwrap();
    content[60] ^= 1;
    std::fs::write(&dump, content).unwrap();
    assert_eq!(backup(own.path(), &["verify"]).status.code(), Some(1));
    // With it everything is.
    backup_fine(repo.path(), &["verify", &id, "--identity", &file]);
    let restored = dir.path().join("restored");
    let to = restored.to_str().unwrap();
    backup_fine(repo.path(), &["restore", "--to", "latest", "--dir", to, "--identity", &file]);
    let server = Server::start(&Program::ours(), &restored, &[("appendonly", "yes")]);
    assert_eq!(differences(&read_contents(&mut server.client()), &wanted), Vec::<String>::new());
    assert_is_an_rdb(&repo.path().join("backups").join(&id).join("dump.rdb.zst.age"), &identity);
}

/// What `age -d | zstd -d` would give.
fn assert_is_an_rdb(path: &Path, identity: &Identity) {
    let file = age::Decryptor::new_buffered(BufReader::new(std::fs::File::open(path).unwrap())).unwrap();
    let opened = file.decrypt(std::iter::once(identity as &dyn age::Identity)).unwrap();
    let mut rdb = Vec::new();
    zstd::stream::read::Decoder::new(opened).unwrap().read_to_end(&mut rdb).unwrap();
    assert!(rdb.starts_with(b"REDIS0"), "{} bytes", rdb.len());
}

#[test]
fn a_recipient_that_is_none_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let options = [("backup-encryption-recipient", "age1nobody")];
    let told = Server::try_start(&Program::ours(), dir.path(), &options).err().unwrap();
    assert!(told.contains("age1nobody is no recipient of age"), "{told}");
}
