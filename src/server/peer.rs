//! The connection of [`peer`](crate::engine::peer): a blocking socket, as nothing else is to happen meanwhile.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use crate::engine::peer::{Ask, Fault};
use crate::resp::Answer;
use crate::resp::answer::Decoder;

/// Bytes that one read takes.
const READ: usize = 16 << 10;

pub(super) fn ask(ask: &Ask<'_>) -> (Vec<Answer>, Option<Fault>) {
    let mut answers = Vec::new();
    let fault = converse(ask, &mut answers).err();
    (answers, fault)
}

fn converse(ask: &Ask<'_>, answers: &mut Vec<Answer>) -> Result<(), Fault> {
    let mut stream = connect(ask)?;
    stream.write_all(ask.requests).map_err(|_| Fault::Writing)?;
    let (mut decoder, mut buffer, mut start) = (Decoder::new(), Vec::new(), 0);
    while answers.len() < ask.answers_wanted {
        let (used, answer) = decoder.decode(&buffer[start..]).map_err(|_| Fault::Reading)?;
        start += used;
        if let Some(answer) = answer {
            answers.push(answer);
            continue;
        }
        buffer.drain(..std::mem::take(&mut start));
        let held = buffer.len();
        buffer.resize(held + READ, 0);
        let read = stream.read(&mut buffer[held..]).map_err(|_| Fault::Reading)?;
        buffer.truncate(held + read);
        if read == 0 {
            return Err(Fault::Reading);
        }
    }
    Ok(())
}

/// A connection that is refused shows at the first write, as with a socket that connects in the background.
fn connect(ask: &Ask<'_>) -> Result<TcpStream, Fault> {
    let mut fault = Fault::Connecting;
    let addresses = (ask.host, ask.port).to_socket_addrs().map_err(|_| fault)?;
    for address in addresses {
        match TcpStream::connect_timeout(&address, ask.timeout) {
            Ok(stream) => {
                let options = [stream.set_read_timeout(Some(ask.timeout)), stream.set_write_timeout(Some(ask.timeout))];
                return if options.iter().all(Result::is_ok) { Ok(stream) } else { Err(Fault::Connecting) };
            }
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => fault = Fault::Connecting,
            Err(_) => fault = Fault::Writing,
        }
    }
    Err(fault)
}
