//! Where clients come in.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use crate::engine::params::Config;
use crate::engine::{Engine, Session};

use super::connection::{Connection, serve};
use super::log;
use super::shared::Shared;
use super::socket::{ReadHalf, WriteHalf, split_tcp, split_unix};

/// An open door.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Opens all addresses that the configuration names. One that is marked as optional by a `-` may be missing, as may
/// IPv6 behind a `*`.
pub(super) fn open(config: &Config) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    let mut last_error = None;
    if config.port != 0 {
        for text in &config.bind {
            let (text, is_optional) = text.strip_prefix('-').map_or((text.as_str(), false), |rest| (rest, true));
            match open_tcp(text, config) {
                Ok(listener) => listeners.push(Listener::Tcp(listener)),
                Err(error) if is_optional && !is_taken(&error) => {}
                Err(error) => {
                    last_error = Some(io::Error::new(
                        error.kind(),
                        format!("Could not create server TCP listening socket {text}:{}: bind: {error}", config.port),
                    ));
                }
            }
        }
    }
    if let Some(error) = last_error {
        return Err(error);
    }
    if !config.unixsocket.is_empty() {
        listeners.push(Listener::Unix(open_unix(config)?));
    }
    if listeners.is_empty() {
        return Err(io::Error::other("Configured to not listen anywhere, exiting."));
    }
    Ok(listeners)
}

/// Open files that a server needs beside its clients' sockets.
const OTHER_FILES: u64 = 32;

/// Has the system allow as many open files as `maxclients` needs, or brings `maxclients` down to what it allows.
pub(super) fn make_room_for_clients(config: &mut Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = (config.maxclients as u64).saturating_add(OTHER_FILES); // usize has at most 64 bits
    let limit = getrlimit(Resource::Nofile);
    let Some(allowed) = limit.current.filter(|allowed| *allowed < wanted) else { return };
    let raised = limit.maximum.map_or(wanted, |most| most.min(wanted));
    let is_raised = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }).is_ok();
    let allowed = if is_raised { raised } else { allowed };
    if allowed < wanted {
        let clients = allowed.saturating_sub(OTHER_FILES).max(1);
        log::warning(format!(
            "maxclients {} needs {wanted} open files, but the system allows {allowed}: maxclients is {clients} now. \
             Raise 'ulimit -n' for more.",
            config.maxclients
        ));
        config.maxclients = usize::try_from(clients).unwrap_or(usize::MAX);
    }
}

/// Says that the kernel queues fewer connections than `tcp-backlog` asks for.
pub(super) fn warn_of_short_backlog(config: &Config, disk: &dyn crate::disk::Disk) {
    let text = disk.read_small(Path::new("/proc/sys/net/core/somaxconn"), 64).unwrap_or_default();
    let most = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse::<u32>().ok());
    if let Some(most) = most.filter(|most| *most < config.tcp_backlog && config.port != 0) {
        log::warning(format!(
            "WARNING: The TCP backlog setting of {} cannot be enforced because /proc/sys/net/core/somaxconn is set to \
             the lower value of {most}.",
            config.tcp_backlog
        ));
    }
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn open_tcp(text: &str, config: &Config) -> io::Result<TcpListener> {
    let address: IpAddr = match text {
        "*" => IpAddr::from([0, 0, 0, 0]),
        "::*" => IpAddr::from([0u16; 8]),
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        text => text.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not an IP address"))?,
    };
    let socket = match address {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(address, config.port))?;
    socket.listen(config.tcp_backlog)
}

fn open_unix(config: &Config) -> io::Result<UnixListener> {
    let path = Path::new(&config.unixsocket);
    crate::disk::real::remove_socket(path)?;
    let listener = UnixListener::bind(path)?;
    if config.unixsocketperm.0 != 0 {
        crate::disk::real::set_mode(path, config.unixsocketperm.0)?;
    }
    Ok(listener)
}

/// Lets clients in for as long as the server runs.
pub(super) async fn accept_forever(shared: Rc<Shared>, listener: Listener) {
    loop {
        let accepted = match &listener {
            Listener::Tcp(listener) => {
                let accepted = listener.accept().await;
                accepted.map(|(stream, peer)| welcome_tcp(&shared.engine.borrow().config, stream, peer))
            }
            Listener::Unix(listener) => {
                let accepted = listener.accept().await;
                accepted.map(|(stream, _)| welcome_unix(&shared.engine.borrow().config, stream))
            }
        };
        match accepted {
            Ok(guest) => admit(&shared, &mut shared.engine.borrow_mut(), guest),
            Err(error) => {
                // Out of descriptors, most likely: the clients that are there go on.
                log::warning(format!("Accepting client connection: {error}"));
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

const PROTECTED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is \
set for the default user. In this mode connections are only accepted from the loopback interface. If you want to \
connect from external computers, set a password with requirepass, or turn the mode off with 'protected-mode no'.\r\n";

/// Who is at the door.
pub(super) struct Caller {
    address: String,
    local_address: String,
    is_local: bool,
}

/// A caller, and the two halves of the socket.
type Guest = ((ReadHalf, WriteHalf), Caller);

fn welcome_tcp(config: &Config, stream: TcpStream, peer: SocketAddr) -> Guest {
    // Both are hints for the kernel; a socket that refuses them works too.
    let _ = stream.set_nodelay(true);
    if config.tcp_keepalive > 0 {
        keep_alive(&stream, config.tcp_keepalive);
    }
    let local = stream.local_addr().map(|address| address.to_string()).unwrap_or_default();
    let is_local = peer.ip().to_canonical().is_loopback();
    (split_tcp(stream), Caller { address: peer.to_string(), local_address: local, is_local })
}

fn welcome_unix(config: &Config, stream: UnixStream) -> Guest {
    let path = format!("{}:0", config.unixsocket);
    (split_unix(stream), Caller { address: path.clone(), local_address: path, is_local: true })
}

/// Another handle of a listener, at which nobody waits: it is looked at while the executor can do nothing else.
pub(super) enum Door {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Door {
    pub(super) fn of(listener: &Listener) -> io::Result<Self> {
        Ok(match listener {
            Listener::Tcp(listener) => Door::Tcp(listener.as_fd().try_clone_to_owned()?.into()),
            Listener::Unix(listener) => Door::Unix(listener.as_fd().try_clone_to_owned()?.into()),
        })
    }

    /// Lets in who is at the door; none if nobody is, or nobody can be let in now.
    pub(super) fn try_accept(&self, config: &Config) -> Option<Guest> {
        match self {
            Door::Tcp(listener) => {
                let (stream, peer) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                Some(welcome_tcp(config, TcpStream::from_std(stream).ok()?, peer))
            }
            Door::Unix(listener) => {
                let (stream, _) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                Some(welcome_unix(config, UnixStream::from_std(stream).ok()?))
            }
        }
    }
}

pub(super) fn admit(shared: &Rc<Shared>, engine: &mut Engine, ((reader, writer), caller): Guest) {
    engine.stats.connections_received += 1;
    let refusal = if engine.clients.len() >= engine.config.maxclients {
        Some("-ERR max number of clients reached\r\n")
    } else if engine.config.protected_mode && engine.config.requirepass.is_empty() && !caller.is_local {
        Some(PROTECTED)
    } else {
        None
    };
    if let Some(refusal) = refusal {
        engine.stats.rejected_connections += 1;
        writer.write(refusal.as_bytes()); // who is turned away need not hear why
        return;
    }
    let id = engine.clients.next_id();
    let mut session = Session::new(id, caller.address, engine.clock.now_ms());
    session.local_address = caller.local_address;
    session.is_local = caller.is_local;
    session.is_authenticated = engine.config.requirepass.is_empty();
    engine.clients.update(&session, 0);
    let connection = Connection::new(writer, session);
    shared.connections.borrow_mut().insert(id, Rc::downgrade(&connection));
    super::seat::spawn(serve(Rc::clone(shared), connection, reader));
}

/// Has the kernel probe a silent peer, as often as Redis does.
fn keep_alive(stream: &tokio::net::TcpStream, seconds: u32) {
    use rustix::net::sockopt;
    use std::time::Duration;
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(seconds.into()));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs((seconds / 3).max(1).into()));
    let _ = sockopt::set_tcp_keepcnt(stream, 3);
}
