//! The two halves of a client's socket, of either kind: one reads, the other writes and ends.
//!
//! The system is called without the C library, whose recv and send are points where a thread may be cancelled, and pay
//! for that with two locked instructions each.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
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

/// What became of bytes that were to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) count: usize,
    /// Why it was not all.
    pub(super) stop: Option<Stop>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The socket takes no more now.
    Full,
    /// It never will.
    Broken,
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
    /// One recv(2), unless the last one has shown that there is nothing: after a short read no second call is made to
    /// learn it. 0 is the end.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut count = 0;
            let mut receive = |fd: BorrowedFd<'_>| {
                count = recv(fd, &mut *space, RecvFlags::empty())?.0;
                // An error tells the runtime that the socket is empty.
                if 0 < count && count < space.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            };
            let outcome = match self {
                ReadHalf::Tcp(half) => {
                    let stream: &TcpStream = half.as_ref();
                    ready!(stream.poll_read_ready(context))?;
                    stream.try_io(Interest::READABLE, || receive(stream.as_fd()))
                }
                ReadHalf::Unix(half) => {
                    let stream: &UnixStream = half.as_ref();
                    ready!(stream.poll_read_ready(context))?;
                    stream.try_io(Interest::READABLE, || receive(stream.as_fd()))
                }
            };
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && count == 0 => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                _ => return Poll::Ready(Ok(count)),
            }
        }
    }
}

impl WriteHalf {
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            WriteHalf::Tcp(half) => half.writable().await,
            WriteHalf::Unix(half) => half.writable().await,
        }
    }

    /// Sends as much as the socket takes.
    pub(super) fn write(&self, bytes: &[u8]) -> Sent {
        let mut count = 0;
        while count < bytes.len() {
            match self.try_write(&bytes[count..]) {
                Ok(sent @ 1..) => count += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Sent { count, stop: Some(Stop::Full) };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return Sent { count, stop: Some(Stop::Broken) },
            }
        }
        Sent { count, stop: None }
    }

    /// One recv(2), of whatever is there now: 0 is the end. The runtime is not asked, and learns of it when it looks itself.
    pub(super) fn receive(&self, space: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.fd(), space, RecvFlags::DONTWAIT)?.0)
    }

    /// One send(2), likewise; how many bytes it took.
    pub(super) fn send_now(&self, bytes: &[u8]) -> usize {
        send(self.fd(), bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).unwrap_or(0)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            WriteHalf::Tcp(half) => {
                let stream: &TcpStream = half.as_ref();
                stream.as_fd()
            }
            WriteHalf::Unix(half) => {
                let stream: &UnixStream = half.as_ref();
                stream.as_fd()
            }
        }
    }

    /// One send(2).
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let send = |fd: BorrowedFd<'_>| Ok(send(fd, bytes, SendFlags::NOSIGNAL)?);
        match self {
            WriteHalf::Tcp(half) => {
                let stream: &TcpStream = half.as_ref();
                stream.try_io(Interest::WRITABLE, || send(stream.as_fd()))
            }
            WriteHalf::Unix(half) => {
                let stream: &UnixStream = half.as_ref();
                stream.try_io(Interest::WRITABLE, || send(stream.as_fd()))
            }
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
