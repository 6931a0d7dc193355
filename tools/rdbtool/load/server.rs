//! What the server takes: learned from what it says of itself, before anything is sent.

use anyhow::Context;
use ironkeep::cli::client::{Client, refusal, unreachable};
use ironkeep::cli::url::Address;
use ironkeep::rdb::{Kind, Version};

/// A server and its ways.
#[derive(Clone, Debug)]
pub struct Server {
    /// `Redis 7.2.4`, `Valkey 9.1.2`.
    pub name: String,
    /// The newest payloads that it takes.
    version: Version,
    /// Whether RESTORE knows ABSTTL, IDLETIME and FREQ (5.0).
    pub has_options: bool,
}

/// First release and the version it takes, newest first.
const REDIS: &[(u32, u32, Version)] = &[
    (8, 10, Version::Rdb15),
    (8, 8, Version::Rdb14),
    (8, 6, Version::Rdb13),
    (7, 4, Version::Rdb12),
    (7, 2, Version::Rdb11),
    (7, 0, Version::Rdb10),
    (5, 0, Version::Rdb9),
    (4, 0, Version::Rdb8),
    (3, 2, Version::Rdb7),
];

impl Server {
    pub fn of(client: &mut Client, address: &Address) -> anyhow::Result<Server> {
        let answer = client.ask(&["INFO", "server"]).map_err(|error| unreachable(address, &error))?;
        if let Some(text) = answer.error() {
            return Err(refusal(address, "INFO", text));
        }
        let info = String::from_utf8_lossy(answer.bytes().unwrap_or_default()).into_owned();
        Server::told(&info).with_context(|| format!("{address}: INFO names no redis_version"))
    }

    /// Reads what INFO says.
    fn told(info: &str) -> Option<Server> {
        let field =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let (family, text, version) = match (field("valkey_version"), field("redis_version")?) {
            (Some(text), _) if numbers(text)? >= (9, 0) => ("Valkey", text, Version::Valkey80),
            (Some(text), _) => ("Valkey", text, Version::Rdb11),
            (None, text) => {
                let release = numbers(text)?;
                let row = REDIS.iter().find(|(major, minor, _)| release >= (*major, *minor));
                ("Redis", text, row.map_or(Version::Rdb6, |(.., version)| *version))
            }
        };
        let has_options = version.number() >= Version::Rdb9.number();
        Some(Server { name: format!("{family} {text}"), version, has_options })
    }

    /// The version to write values anew in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The version that a payload is to say whose value is of this type as it stands; `None` where the server does not
    /// know the type. The lowest that has the type: no server refuses it.
    pub fn takes(&self, kind: Kind) -> Option<u16> {
        const FIRST_PAYLOAD: u32 = 6;
        let row = kind.row();
        let is_known = kind.is_known_to(self.version.header());
        // Values of a template stand on it.
        let is_whole = !matches!(kind, Kind::HashTemplateListpackRef | Kind::HashTemplateArrayRef);
        let version = row.since.max(FIRST_PAYLOAD);
        (is_known && is_whole && row.supported).then(|| u16::try_from(version).ok()).flatten()
    }
}

/// Major and minor release.
fn numbers(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_gets_what_it_knows() {
        let server = |text: &str| Server::told(text).unwrap();
        let redis_7 = server("# Server\r\nredis_version:7.0.15\r\n");
        assert_eq!((redis_7.name.as_str(), redis_7.version), ("Redis 7.0.15", Version::Rdb10));
        assert_eq!((redis_7.takes(Kind::HashListpack), redis_7.takes(Kind::SetListpack)), (Some(10), None));
        let valkey_9 = server("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n");
        assert_eq!((valkey_9.takes(Kind::ValkeyHash2), valkey_9.takes(Kind::HashMetadata)), (Some(80), None));
        assert_eq!((valkey_9.takes(Kind::String), valkey_9.takes(Kind::SetListpack)), (Some(6), Some(11)));
        let redis_8 = server("redis_version:8.0.6\r\n");
        assert_eq!((redis_8.takes(Kind::HashMetadata), redis_8.takes(Kind::ValkeyHash2)), (Some(12), None));
        assert!(!server("redis_version:4.0.14").has_options && server("redis_version:5.0.0").has_options);
        assert!(Server::told("nothing").is_none());
    }
}
