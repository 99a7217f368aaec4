//! The minimal HTTP/1.1 that a load generator needs: one request, written once, and where its answer ends.
//!
//! It shares two cores with the server that it measures, so it must cost next to nothing: no header except
//! `Content-Length` is parsed, and no body is read.

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request as bytes.
#[derive(Clone, Debug)]
pub struct Wire(Vec<u8>);

impl Wire {
    /// A request with a token and, if it has one, a JSON body.
    pub fn new(method: &str, path: &str, token: &str, body: Option<&str>) -> Wire {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n");
        if let Some(body) = body {
            text += &format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        } else {
            text += "\r\n";
        }
        Wire(text.into_bytes())
    }
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With success.
    Success,
    /// Otherwise, with this status.
    Status(u16),
}

/// A persistent connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn open(address: std::net::SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::new() })
    }

    /// Sends a request and reads its answer; returns the body.
    ///
    /// # Errors
    /// When the answer is not a success, or cannot be parsed.
    pub async fn call(&mut self, wire: &Wire) -> anyhow::Result<&[u8]> {
        self.send(wire).await?;
        self.answer().await
    }

    /// Sends a request.
    ///
    /// # Errors
    /// Those of the socket.
    pub async fn send(&mut self, wire: &Wire) -> anyhow::Result<()> {
        Ok(self.stream.write_all(&wire.0).await?)
    }

    /// Reads the answer to what was sent; returns the body.
    ///
    /// # Errors
    /// When it is not a success, or cannot be parsed.
    pub async fn answer(&mut self) -> anyhow::Result<&[u8]> {
        let (head, whole) = self.receive().await?;
        if !self.buffer.starts_with(b"HTTP/1.1 2") {
            anyhow::bail!("the server answered {}", String::from_utf8_lossy(&self.buffer[..whole]));
        }
        Ok(&self.buffer[head..whole])
    }

    /// Sends a request and returns how it was answered.
    ///
    /// # Errors
    /// When the answer cannot be parsed.
    pub async fn ask(&mut self, wire: &Wire) -> anyhow::Result<Answer> {
        self.send(wire).await?;
        self.receive().await?;
        let status = self.buffer.get(9..12).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let status = status.context("the answer has no status")?;
        Ok(if (200..300).contains(&status) { Answer::Success } else { Answer::Status(status) })
    }

    /// Reads an answer; returns where its body begins and ends.
    async fn receive(&mut self) -> anyhow::Result<(usize, usize)> {
        self.buffer.clear();
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let whole = head + content_length(&self.buffer[..head])?;
        while self.buffer.len() < whole {
            self.read().await?;
        }
        Ok((head, whole))
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        anyhow::ensure!(read > 0, "the server closed the connection");
        Ok(())
    }
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|window| window == pattern)
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)));
    let line = line.context("the answer does not state its length")?;
    let value = std::str::from_utf8(&line[NAME.len()..])?.trim();
    value.parse().with_context(|| format!("{value:?} is not a length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_found_whatever_its_case() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 42\r\n\r\n";
        assert_eq!(content_length(head).ok(), Some(42));
        assert!(content_length(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn the_end_of_the_head_is_found_once_it_is_there() {
        assert_eq!(find(b"a\r\nb\r\n\r", b"\r\n\r\n"), None);
        assert_eq!(find(b"a\r\nb\r\n\r\nc", b"\r\n\r\n"), Some(4));
    }
}
