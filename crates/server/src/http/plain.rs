//! Plain HTTP on the port of TLS: a client that forgot the `s` of `https` gets an answer that says so, and not a
//! connection that breaks.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::listening::Peer;

const ANSWER: &str = "This port speaks TLS: use an address that begins with https://\n";
/// How much of the request, and for how long, is taken after the answer: a connection that is closed with unread data
/// is reset, and the client may lose the answer.
const LINGER_BYTES: u64 = 64 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// Whether the client begins with the name of a method. TLS begins with a number that is no letter. Takes nothing from
/// the stream.
pub(super) async fn is_spoken(stream: &mut impl Peer) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? > 0 && first[0].is_ascii_uppercase())
}

/// Answers the client and closes the connection; returns why there is none.
pub(super) async fn refuse(mut stream: impl Peer) -> io::Error {
    let told = async {
        let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close";
        stream.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{ANSWER}", ANSWER.len()).as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = (&mut stream).take(LINGER_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // However that ends, the connection is closed.
    let _ = tokio::time::timeout(LINGER, told).await;
    io::Error::new(io::ErrorKind::InvalidData, "the client speaks plain HTTP")
}
