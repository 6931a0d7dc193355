//! `create`: asks a running server for a backup.

use ironkeep::cli::client::{self, Client};
use ironkeep::cli::escape::Escaped;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::url::ServerUrl;
use ironkeep::resp::answer::Answer;
use std::time::Duration;

use super::print;

/// Have a running server make a backup, and wait until it is durable and has been read back
#[derive(clap::Args)]
pub struct Arguments {
    /// The server, as redis://[user[:password]@]host[:port]; the password may be in REDISCLI_AUTH
    #[arg(value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    server: String,
    /// A name for it
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// How long to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Its name as one JSON object (schema ironkeep.backup-create/1)
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let Some(url) = ServerUrl::of(&arguments.server) else {
        let message = "is no URL of a server: say it as in redis://127.0.0.1:6379";
        return Err(Failure::error(Exit::Usage, message).context(arguments.server.clone()));
    };
    let address = url.address()?;
    let mut client = Client::connect(&address, Duration::from_secs(arguments.timeout))?;
    let mut request = vec!["BACKUP", "CREATE"];
    request.extend(arguments.label.iter().flat_map(|label| ["LABEL", label]));
    match client.ask(&request).map_err(|error| client::unreachable(&address, &error))? {
        Answer::Bulk(id) if arguments.json => {
            let id = String::from_utf8_lossy(&id);
            print(&format!("{}\n", serde_json::json!({ "schema": "ironkeep.backup-create/1", "id": id })))?;
        }
        Answer::Bulk(id) => print(&format!("{}\n", Escaped(&id)))?,
        Answer::Error(text) => return Err(client::refusal(&address, "BACKUP CREATE", &text)),
        other => anyhow::bail!("{address}: this is no answer to BACKUP CREATE: {other:?}"),
    }
    Ok(Exit::Fine)
}
