//! The two halves of a client's socket, of either kind: one reads, the other writes and ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

/// What the reading task holds.
pub(super) enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

/// What replies leave through.
pub(super) enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

pub(super) fn split_tcp(stream: TcpStream) -> (ReadHalf, WriteHalf) {
    let (reader, writer) = stream.into_split();
    (ReadHalf::Tcp(reader), WriteHalf::Tcp(writer))
}

pub(super) fn split_unix(stream: UnixStream) -> (ReadHalf, WriteHalf) {
    let (reader, writer) = stream.into_split();
    (ReadHalf::Unix(reader), WriteHalf::Unix(writer))
}

impl ReadHalf {
    /// One read(2), unless the last one has shown that there is nothing: after a short read no second call is made to
    /// learn it. 0 is the end.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut space = ReadBuf::new(space);
        let outcome = match self {
            ReadHalf::Tcp(half) => Pin::new(half).poll_read(context, &mut space),
            ReadHalf::Unix(half) => Pin::new(half).poll_read(context, &mut space),
        };
        outcome.map_ok(|()| space.filled().len())
    }
}

impl WriteHalf {
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            WriteHalf::Tcp(half) => half.writable().await,
            WriteHalf::Unix(half) => half.writable().await,
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            WriteHalf::Tcp(half) => half.try_write(bytes),
            WriteHalf::Unix(half) => half.try_write(bytes),
        }
    }

    /// Ends both directions: both kinds of waiting wake up. A socket whose peer is gone already needs no end.
    pub(super) fn shut_down(&self) {
        let _ = match self {
            WriteHalf::Tcp(half) => rustix::net::shutdown(half.as_ref(), rustix::net::Shutdown::Both),
            WriteHalf::Unix(half) => rustix::net::shutdown(half.as_ref(), rustix::net::Shutdown::Both),
        };
    }
}
