//! The log's bytes.
//!
//! ```text
//! file   = header frame*
//! header = "VLABLOG\n" format:u32 reader:u32 crc:u32          crc over the 16 bytes before
//! frame  = length:u32 body_crc:u32 head_crc:u32 body           head_crc over the 8 before
//! body   = op*                                                 `length` bytes
//! op     = 1 key_len:u32 value_len:u32 key value               put
//!        | 2 key_len:u32 key                                   delete
//! ```
//! Numbers are little-endian, sums are CRC-32 (IEEE). A frame is what one write puts at the
//! end; it counts as a whole or not at all. `reader` is the oldest reader version that
//! understands the file, so a format can grow in ways old readers may ignore.

use std::sync::Arc;

use super::Op;

pub(super) const MAGIC: &[u8; 8] = b"VLABLOG\n";
/// The format this version writes.
pub(super) const FORMAT: u32 = 1;
/// The newest format requirement this version can read.
pub(super) const READER: u32 = 1;
pub(super) const HEADER_LEN: usize = 20;
pub(super) const FRAME_HEAD_LEN: usize = 12;
/// A frame body's largest size.
pub(super) const MAX_BODY: usize = 256 << 20;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// The header of a new log.
pub(super) fn header() -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..16].copy_from_slice(&READER.to_le_bytes());
    let crc = crc32fast::hash(&header[..16]);
    header[16..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What a log's first bytes say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    Readable,
    TooNew { format: u32, needed: u32 },
    Foreign,
    Damaged,
}

pub(super) fn read_header(bytes: &[u8]) -> Header {
    if !bytes.starts_with(MAGIC) {
        return Header::Foreign;
    }
    let (Some(format), Some(needed), Some(crc)) = (u32_at(bytes, 8), u32_at(bytes, 12), u32_at(bytes, 16))
    else {
        return Header::Damaged;
    };
    if crc32fast::hash(&bytes[..16]) != crc {
        return Header::Damaged;
    }
    if needed > READER {
        return Header::TooNew { format, needed };
    }
    Header::Readable
}

/// A frame under construction.
pub(super) struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; FRAME_HEAD_LEN] }
    }

    pub(super) fn body_len(&self) -> usize {
        self.bytes.len() - FRAME_HEAD_LEN
    }

    pub(super) fn push(&mut self, op: &Op) {
        match op {
            Op::Put(key, value) => self.put(key, value),
            Op::Delete(key) => {
                self.bytes.push(DELETE);
                self.bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
                self.bytes.extend_from_slice(key.as_bytes());
            }
        }
    }

    pub(super) fn put(&mut self, key: &str, value: &[u8]) {
        self.bytes.push(PUT);
        self.bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// The finished frame with its sums.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = self.body_len() as u32;
        let body_crc = crc32fast::hash(&self.bytes[FRAME_HEAD_LEN..]);
        self.bytes[..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&body_crc.to_le_bytes());
        let head_crc = crc32fast::hash(&self.bytes[..8]);
        self.bytes[8..12].copy_from_slice(&head_crc.to_le_bytes());
        self.bytes
    }
}

/// What a put takes in a frame's body.
pub(super) fn put_size(key: &str, value: &[u8]) -> u64 {
    (9 + key.len() + value.len()) as u64
}

/// What an operation takes in a frame's body.
pub(super) fn op_size(op: &Op) -> usize {
    match op {
        Op::Put(key, value) => 9 + key.len() + value.len(),
        Op::Delete(key) => 5 + key.len(),
    }
}

/// What lies at an offset of the log.
#[derive(Debug)]
pub(super) enum Read {
    /// A whole frame and the offset after it.
    Frame { ops: Vec<Op>, next: usize },
    /// The file ends here.
    End,
    /// The file ends within the frame: what a write cut short leaves.
    Cut,
    /// Bytes that are no frame.
    Bad(&'static str),
}

/// Reads the frame at `offset`, which is at most the length of `log`.
pub(super) fn read_frame(log: &[u8], offset: usize) -> Read {
    if offset == log.len() {
        return Read::End;
    }
    if log.len() - offset < FRAME_HEAD_LEN {
        return Read::Cut;
    }
    let Some(length) = frame_length(log, offset) else {
        return Read::Bad("the record's head fails its check");
    };
    let start = offset + FRAME_HEAD_LEN;
    let Some(body) = start.checked_add(length).and_then(|end| log.get(start..end)) else {
        return Read::Cut;
    };
    if u32_at(log, offset + 4) != Some(crc32fast::hash(body)) {
        return Read::Bad("the record's content fails its check");
    }
    match parse_body(body) {
        Some(ops) => Read::Frame { ops, next: start + length },
        None => Read::Bad("the record's content is malformed"),
    }
}

/// Whether a whole frame starts anywhere after `offset`: then what is bad at `offset` is not
/// just the end of the file.
pub(super) fn valid_frame_after(log: &[u8], offset: usize) -> bool {
    (offset + 1..log.len()).any(|at| matches!(read_frame(log, at), Read::Frame { .. }))
}

/// The body length in the frame head at `offset` when the head is whole.
fn frame_length(log: &[u8], offset: usize) -> Option<usize> {
    let head_crc = u32_at(log, offset + 8)?;
    if crc32fast::hash(&log[offset..offset + 8]) != head_crc {
        return None;
    }
    Some(u32_at(log, offset)? as usize)
}

fn parse_body(mut body: &[u8]) -> Option<Vec<Op>> {
    let mut ops = Vec::new();
    while let Some((&tag, rest)) = body.split_first() {
        body = rest;
        match tag {
            PUT => {
                let key_len = take_length(&mut body)?;
                let value_len = take_length(&mut body)?;
                let key = take_key(&mut body, key_len)?;
                let value = body.split_off(..value_len)?;
                ops.push(Op::Put(key, value.into()));
            }
            DELETE => {
                let key_len = take_length(&mut body)?;
                ops.push(Op::Delete(take_key(&mut body, key_len)?));
            }
            _ => return None,
        }
    }
    Some(ops)
}

fn take_length(body: &mut &[u8]) -> Option<usize> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    *body = rest;
    Some(u32::from_le_bytes(*length) as usize)
}

fn take_key(body: &mut &[u8], length: usize) -> Option<Arc<str>> {
    let key = body.split_off(..length)?;
    Some(std::str::from_utf8(key).ok()?.into())
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let four = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(ops: &[Op]) -> Vec<u8> {
        let mut frame = Frame::new();
        for op in ops {
            frame.push(op);
        }
        frame.finish()
    }

    #[test]
    fn a_header_is_recognised_and_a_newer_one_refused() {
        assert_eq!(read_header(&header()), Header::Readable);
        assert_eq!(read_header(b"SQLite format 3\0"), Header::Foreign);
        assert_eq!(read_header(&header()[..12]), Header::Damaged);
        let mut damaged = header();
        damaged[9] = 1;
        assert_eq!(read_header(&damaged), Header::Damaged);

        let mut newer = header();
        newer[8] = 9;
        newer[12] = 2;
        let crc = crc32fast::hash(&newer[..16]).to_le_bytes();
        newer[16..].copy_from_slice(&crc);
        assert_eq!(read_header(&newer), Header::TooNew { format: 9, needed: 2 });
    }

    #[test]
    fn sizes_are_those_of_the_encoding() {
        for op in [Op::Put("a/b".into(), vec![1, 2].into()), Op::Delete("key".into())] {
            let mut frame = Frame::new();
            frame.push(&op);
            assert_eq!(frame.body_len(), op_size(&op));
        }
    }

    proptest! {
        #[test]
        fn frames_survive_the_round_trip(
            entries in prop::collection::vec((".{0,20}", prop::option::of(prop::collection::vec(any::<u8>(), 0..50))), 0..10)
        ) {
            let ops: Vec<Op> = entries
                .iter()
                .map(|(key, value)| match value {
                    Some(value) => Op::Put(key.as_str().into(), value.as_slice().into()),
                    None => Op::Delete(key.as_str().into()),
                })
                .collect();
            let bytes = frame(&ops);
            let Read::Frame { ops: read, next } = read_frame(&bytes, 0) else {
                panic!("not read back");
            };
            prop_assert_eq!(next, bytes.len());
            prop_assert_eq!(format!("{read:?}"), format!("{ops:?}"));
        }

        #[test]
        fn a_flipped_bit_is_always_noticed(
            value in prop::collection::vec(any::<u8>(), 1..80),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let mut bytes = frame(&[Op::Put("some/key".into(), value.into())]);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(matches!(read_frame(&bytes, 0), Read::Bad(_)));
            bytes.truncate(at);
            prop_assert!(matches!(read_frame(&bytes, 0), Read::Cut | Read::Bad(_) | Read::End));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_header(&bytes);
            let _ = read_frame(&bytes, 0);
            let _ = valid_frame_after(&bytes, 0);
            let _ = parse_body(&bytes);
        }
    }
}
