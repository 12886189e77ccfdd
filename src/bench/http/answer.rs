//! Reading answers off a connection: status, and the body in whichever way its length is told.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::NoAnswer;

/// More headers than any Vault sends.
const MAX_HEADERS: usize = 64;

/// A head longer than this is none of a Vault.
const MAX_HEAD: usize = 64 * 1024;

/// What came back. The body may hold secrets, so there is no `Debug`.
pub(in crate::bench) struct Answer {
    pub(in crate::bench) status: u16,
    pub(in crate::bench) body: Bytes,
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    Chunked,
    UntilClose,
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: Length,
    /// The connection can be used again.
    kept: bool,
    /// Bytes of the head.
    size: usize,
}

/// Reads one answer; whether the connection can be used again. `buffer` keeps what was read beyond.
pub(super) async fn read<S>(stream: &mut S, buffer: &mut BytesMut) -> Result<(Answer, bool), NoAnswer>
where
    S: AsyncRead + Unpin + ?Sized,
{
    let head = loop {
        match parse(buffer)? {
            // Interim answers, such as 100, announce the real one.
            Some(head) if head.status < 200 => buffer.advance(head.size),
            Some(head) => break head,
            None if buffer.len() > MAX_HEAD => return Err(odd("the answer's headers do not end")),
            None => more(stream, buffer).await?,
        }
    };
    buffer.advance(head.size);
    let body = match head.length {
        Length::Bytes(length) => {
            while buffer.len() < length {
                more(stream, buffer).await?;
            }
            buffer.split_to(length).freeze()
        }
        Length::Chunked => chunks(stream, buffer).await?,
        Length::UntilClose => {
            while fill(stream, buffer).await? > 0 {}
            buffer.split().freeze()
        }
    };
    Ok((Answer { status: head.status, body }, head.kept))
}

fn parse(buffer: &[u8]) -> Result<Option<Head>, NoAnswer> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let size = match parser.parse_response_with_uninit_headers(&mut response, buffer, &mut headers) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(odd(&format!("the answer is not HTTP: {error}"))),
    };
    let status = response.code.unwrap_or_default();
    let mut kept = response.version == Some(1);
    let mut length = Length::UntilClose;
    for header in response.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") && length != Length::Chunked {
            let text = std::str::from_utf8(header.value).ok();
            let bytes = text.and_then(|text| text.trim().parse().ok());
            length = Length::Bytes(bytes.ok_or_else(|| odd("the answer's Content-Length is no number"))?);
        } else if is("transfer-encoding") && ends_with(header.value, b"chunked") {
            length = Length::Chunked;
        } else if is("connection") {
            kept = !header.value.eq_ignore_ascii_case(b"close");
        }
    }
    if status < 200 || status == 204 || status == 304 {
        length = Length::Bytes(0);
    }
    Ok(Some(Head { status, length, kept: kept && length != Length::UntilClose, size }))
}

fn ends_with(value: &[u8], end: &[u8]) -> bool {
    value.len() >= end.len() && value[value.len() - end.len()..].eq_ignore_ascii_case(end)
}

/// A body in chunks, each after its length in hex; an empty one is the last.
async fn chunks<S>(stream: &mut S, buffer: &mut BytesMut) -> Result<Bytes, NoAnswer>
where
    S: AsyncRead + Unpin + ?Sized,
{
    let mut body = BytesMut::new();
    loop {
        let (start, length) = loop {
            match httparse::parse_chunk_size(buffer) {
                Ok(httparse::Status::Complete((start, length))) => break (start, length),
                Ok(httparse::Status::Partial) => more(stream, buffer).await?,
                Err(_) => return Err(odd("a chunk of the answer has no length")),
            }
        };
        let length = usize::try_from(length).map_err(|_| odd("a chunk of the answer is too long"))?;
        buffer.advance(start);
        if length == 0 {
            trailers(stream, buffer).await?;
            return Ok(body.freeze());
        }
        while buffer.len() < length + 2 {
            more(stream, buffer).await?;
        }
        body.extend_from_slice(&buffer.split_to(length));
        buffer.advance(2);
    }
}

/// Skips the lines after the last chunk, up to the empty one.
async fn trailers<S>(stream: &mut S, buffer: &mut BytesMut) -> Result<(), NoAnswer>
where
    S: AsyncRead + Unpin + ?Sized,
{
    loop {
        match buffer.windows(2).position(|pair| pair == b"\r\n") {
            Some(end) => {
                buffer.advance(end + 2);
                if end == 0 {
                    return Ok(());
                }
            }
            None => more(stream, buffer).await?,
        }
    }
}

/// Reads what has come, which must be something.
async fn more<S>(stream: &mut S, buffer: &mut BytesMut) -> Result<(), NoAnswer>
where
    S: AsyncRead + Unpin + ?Sized,
{
    match fill(stream, buffer).await? {
        0 => Err(odd("the connection was closed before the answer's end")),
        _ => Ok(()),
    }
}

async fn fill<S>(stream: &mut S, buffer: &mut BytesMut) -> Result<usize, NoAnswer>
where
    S: AsyncRead + Unpin + ?Sized,
{
    // One read takes a whole answer of the usual size.
    buffer.reserve(4096);
    stream.read_buf(buffer).await.map_err(|error| super::innermost(&error))
}

fn odd(text: &str) -> NoAnswer {
    NoAnswer(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an answer that comes in pieces of this size, and what is left of the bytes.
    async fn read_in(pieces: usize, bytes: &str) -> Result<(u16, String, bool, usize), String> {
        let mut stream = tokio_test_io(pieces, bytes.as_bytes());
        let mut buffer = BytesMut::new();
        let (answer, kept) = read(&mut stream, &mut buffer).await.map_err(|error| error.to_string())?;
        Ok((answer.status, String::from_utf8(answer.body.to_vec()).unwrap(), kept, buffer.len()))
    }

    /// A stream that gives so many bytes at a time.
    fn tokio_test_io(pieces: usize, bytes: &[u8]) -> impl AsyncRead + Unpin {
        let (mut writer, reader) = tokio::io::duplex(pieces);
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            let _ = writer.write_all(&bytes).await;
        });
        reader
    }

    #[tokio::test]
    async fn bodies_end_in_three_ways_whatever_the_pieces() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", (200, "hello", true)),
            ("HTTP/1.1 204 No Content\r\n\r\n", (204, "", true)),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 2\r\n\r\nhi", (200, "hi", false)),
            (
                "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
                (403, "hello0123456789", true),
            ),
            ("HTTP/1.0 200 OK\r\n\r\nall of it", (200, "all of it", false)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", (200, "x", true)),
        ];
        for (bytes, (status, body, kept)) in cases {
            for pieces in [1, 3, 4096] {
                let found = read_in(pieces, bytes).await.unwrap();
                assert_eq!(found, (status, body.to_owned(), kept, 0), "{bytes:?} in pieces of {pieces}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_told() {
        for (bytes, text) in [
            ("", "closed before"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "closed before"),
            ("HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", "no number"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no length"),
            ("SSH-2.0-OpenSSH_9\r\n\r\n", "not HTTP"),
        ] {
            let error = read_in(4096, bytes).await.unwrap_err();
            assert!(error.contains(text), "{bytes:?}: {error}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(2 * MAX_HEAD));
        assert!(read_in(4096, &endless).await.unwrap_err().contains("do not end"));
    }
}
