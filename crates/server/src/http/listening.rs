//! The source of connections: the sockets of the system. A simulation has others.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A source of connections.
pub trait Listening: Send + Sync {
    /// Its connections.
    type Stream: Peer;

    /// The next connection, and who made it.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

/// A connection.
pub trait Peer: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes written data be sent at once.
    ///
    /// # Errors
    /// When it cannot be set.
    fn set_nodelay(&self) -> io::Result<()>;

    /// Waits for bytes, and copies some without consuming them; 0 means that there will be none.
    fn peek(&mut self, bytes: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
}

impl Listening for TcpListener {
    type Stream = TcpStream;

    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        TcpListener::accept(self)
    }
}

impl Peer for TcpStream {
    fn set_nodelay(&self) -> io::Result<()> {
        TcpStream::set_nodelay(self, true)
    }

    fn peek(&mut self, bytes: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        TcpStream::peek(self, bytes)
    }
}
