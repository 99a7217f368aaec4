//! Plain HTTP on the port of TLS: a client that forgot the `s` of `https` gets an answer that says so instead of a
//! broken connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::listening::Peer;

const ANSWER: &str = "This port speaks TLS: use an address that begins with https://\n";
/// How much of the request is read after the answer, and for how long: a connection that is closed with unread data is
/// reset, and the client may lose the answer.
const LINGER_BYTES: u64 = 64 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// Whether the client begins with the name of an HTTP method. TLS begins with a byte that is not a letter. Consumes
/// nothing of the stream.
pub(super) async fn is_spoken(stream: &mut impl Peer) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? > 0 && first[0].is_ascii_uppercase())
}

/// Answers the client and closes the connection; returns the error to report.
pub(super) async fn refuse(mut stream: impl Peer) -> io::Error {
    let answering = async {
        let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close";
        stream.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{ANSWER}", ANSWER.len()).as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = (&mut stream).take(LINGER_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Whatever the outcome, the connection is closed.
    let _ = tokio::time::timeout(LINGER, answering).await;
    io::Error::new(io::ErrorKind::InvalidData, "the client speaks plain HTTP")
}
