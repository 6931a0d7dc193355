//! Where a server is: `redis://[user[:password]@]host[:port][/db]`, and the same with `valkey://`.
//!
//! User and password may be percent-encoded; `redis://:password@host` has no user. Without a password in it,
//! `REDISCLI_AUTH` (or `VALKEYCLI_AUTH`) holds one, which keeps it out of the process list. Neither is ever shown:
//! `Display` and `Debug` leave them out.

use std::fmt;

use super::exit::{Exit, Failure};

const PLAIN_SCHEMES: [&str; 2] = ["redis://", "valkey://"];
const TLS_SCHEMES: [&str; 2] = ["rediss://", "valkeys://"];
const PASSWORD_VARIABLES: [&str; 2] = ["REDISCLI_AUTH", "VALKEYCLI_AUTH"];
const DEFAULT_PORT: u16 = 6379;

/// A URL as the user wrote it, not yet looked into.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

/// Where a server listens, and who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    password: Option<String>,
    /// The database, where the URL names one.
    pub db: Option<u64>,
}

impl ServerUrl {
    /// The text as a URL; `None` where it does not begin like one.
    pub fn of(text: &str) -> Option<ServerUrl> {
        let begins = PLAIN_SCHEMES.iter().chain(&TLS_SCHEMES).any(|scheme| text.starts_with(scheme));
        begins.then(|| ServerUrl(text.to_owned()))
    }

    /// Looks into it; the password may come from the environment.
    pub fn address(&self) -> anyhow::Result<Address> {
        let from_environment = || PASSWORD_VARIABLES.iter().find_map(|name| std::env::var(name).ok());
        parse(&self.0, from_environment).map_err(|what| Failure::error(Exit::Usage, what).context(self.to_string()))
    }

    /// Scheme, and what stands behind the last `@` of the part that names the host.
    fn parts(&self) -> (&str, &str) {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        // A password may hold a slash, written as it is: what is hidden reaches up to the last `@`.
        (scheme, rest.rsplit_once('@').map_or(rest, |(_, place)| place))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, place) = self.parts();
        write!(out, "{scheme}://{}", super::escape::Escaped(place.as_bytes()))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ServerUrl({self})")
    }
}

impl Address {
    /// The password, for AUTH and nothing else.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = super::escape::Escaped(self.host.as_bytes());
        if self.host.contains(':') {
            write!(out, "[{host}]:{}", self.port)
        } else {
            write!(out, "{host}:{}", self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Address({self})")
    }
}

fn parse(text: &str, other_password: impl Fn() -> Option<String>) -> Result<Address, &'static str> {
    if TLS_SCHEMES.iter().any(|scheme| text.starts_with(scheme)) {
        return Err("TLS is not spoken here: put stunnel or `socat` in front, or fetch on the server's own host");
    }
    let rest = PLAIN_SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme));
    let rest = rest.ok_or("a server is written redis://[user[:password]@]host[:port][/db]")?;
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
        None => (None, None),
    };
    let (place, db) = match place.split_once('/') {
        None | Some((_, "")) => (place.trim_end_matches('/'), None),
        Some((place, db)) => (place, Some(db.parse().map_err(|_| "what follows the slash is no database number")?)),
    };
    let (host, port) = host_and_port(place)?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (user, password) = (given(user), given(password).or_else(other_password).filter(|text| !text.is_empty()));
    // redis-cli takes such a word for the password. Taken for nothing, another user would be at work.
    if user.is_some() && password.is_none() {
        return Err(
            "a user without a password: write redis://user:password@host, redis://:password@host where there is \
                    no user, or put the password into REDISCLI_AUTH",
        );
    }
    Ok(Address { host: host.to_owned(), port, user, password, db })
}

fn host_and_port(place: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = match place.strip_prefix('[') {
        // An IPv6 address stands in brackets.
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or("the address has no closing bracket")?;
            match behind.strip_prefix(':') {
                None if !behind.is_empty() => return Err("behind the closing bracket a colon and the port may follow"),
                port => (host, port),
            }
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    match port {
        None => Ok((host, DEFAULT_PORT)),
        Some(port) => Ok((host, port.parse().map_err(|_| "the port is no number below 65536")?)),
    }
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Result<String, &'static str> {
    const BROKEN: &str = "a % in user or password is written %25, and two hexadecimal digits follow every other";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2).ok_or(BROKEN)?;
        // The parser would take a sign too.
        let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits).ok_or(BROKEN)?;
        let digits = std::str::from_utf8(digits).map_err(|_| BROKEN)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| BROKEN)?);
        rest = behind;
    }
    String::from_utf8(bytes).map_err(|_| "user and password are UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Address, &'static str> {
        parse(text, || Some("from the environment".to_owned()))
    }

    #[test]
    fn every_part_may_be_left_out() {
        let all = address("redis://al%69ce:p%40ss@example.org:7000/3").unwrap();
        assert_eq!((all.host.as_str(), all.port, all.db), ("example.org", 7000, Some(3)));
        assert_eq!((all.user.as_deref(), all.password()), (Some("alice"), Some("p@ss")));
        let bare = address("valkey://").unwrap();
        assert_eq!((bare.to_string().as_str(), bare.db), ("127.0.0.1:6379", None));
        assert_eq!((bare.user.as_deref(), bare.password()), (None, Some("from the environment")));
        let six = address("redis://:secret@[::1]:7001/").unwrap();
        assert_eq!((six.to_string().as_str(), six.user, six.password.as_deref()), ("[::1]:7001", None, Some("secret")));
    }

    #[test]
    fn nonsense_is_refused() {
        let places = ["redis://host:port", "redis://host:70000", "redis://host/x", "redis://[::1", "redis://[::1]7001"];
        for text in places.into_iter().chain(["redis://a%zz:b@h", "redis://a%+f:b@h"]) {
            assert!(address(text).is_err(), "{text}");
        }
        assert!(parse("redis://word@host", || None).unwrap_err().contains("user without a password"));
        assert!(address("rediss://host").unwrap_err().contains("TLS"));
        assert!(ServerUrl::of("redis.rdb").is_none() && ServerUrl::of("/redis://x").is_none());
    }

    #[test]
    fn a_password_is_never_shown() {
        for text in
            ["redis://user:s3cret@host:1/0", "redis://:s3cret@host/x", "redis://u:a/s3cret@host", "rediss://x:s3cret@h"]
        {
            let url = ServerUrl::of(text).unwrap();
            let shown = format!("{url} {url:?} {:?}", parse(text, || None));
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}
