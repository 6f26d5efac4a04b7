//! Reads the last index of etcd's write-ahead log.
//!
//! A record is a length of eight bytes (the lower 56 bits; padding follows the record if the
//! highest bit is set) and a protobuf message. A length of 0 ends the log.

use std::io::{self, Read};

use prost::Message;

/// The type of a record with a log entry.
const ENTRY: i64 = 2;

/// Maximum length of a record; etcd's requests are far shorter.
const RECORD_LIMIT: u64 = 256 << 20;

/// `walpb.Record`.
#[derive(Clone, PartialEq, prost::Message)]
struct WalRecord {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(bytes = "bytes", tag = "3")]
    data: bytes::Bytes,
}

/// `raftpb.Entry`.
#[derive(Clone, PartialEq, prost::Message)]
struct LogEntry {
    #[prost(uint64, tag = "3")]
    index: u64,
}

/// The index of the last entry in a log file; `None` if it has none. An incomplete record ends the
/// log, because it was never acknowledged.
pub(crate) fn last_log_index(mut file: impl Read) -> io::Result<Option<u64>> {
    let mut last = None;
    let mut bytes = Vec::new();
    loop {
        let mut head = [0; 8];
        match file.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(last),
            Err(error) => return Err(error),
        }
        let head = u64::from_le_bytes(head);
        let padding = if head >> 63 == 1 { head >> 56 & 7 } else { 0 };
        let length = head & ((1 << 56) - 1);
        if length == 0 || length > RECORD_LIMIT {
            return Ok(last);
        }
        bytes.clear();
        (&mut file).take(length + padding).read_to_end(&mut bytes)?;
        let message = usize::try_from(length)
            .ok()
            .and_then(|length| bytes.get(..length));
        let Some(record) = message.and_then(|bytes| WalRecord::decode(bytes).ok()) else {
            return Ok(last);
        };
        if record.kind == ENTRY {
            match LogEntry::decode(record.data) {
                Ok(entry) => last = Some(entry.index),
                Err(_) => return Ok(last),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: i64, index: u64) -> Vec<u8> {
        let data = LogEntry { index }.encode_to_vec().into();
        let message = WalRecord { kind, data }.encode_to_vec();
        let padding = (8 - message.len() % 8) % 8;
        let mut head = message.len() as u64;
        if padding > 0 {
            head |= (0x80 | padding as u64) << 56;
        }
        [&head.to_le_bytes()[..], &message, &vec![0; padding]].concat()
    }

    #[test]
    fn the_last_entry_gives_the_index() {
        let file = [record(1, 99), record(2, 300), record(2, 7), record(3, 50)].concat();
        assert_eq!(last_log_index(file.as_slice()).unwrap(), Some(7));
        let preallocated = [file.clone(), vec![0; 4096]].concat();
        assert_eq!(last_log_index(preallocated.as_slice()).unwrap(), Some(7));
        assert_eq!(last_log_index(&[][..]).unwrap(), None);
        assert_eq!(last_log_index(record(3, 50).as_slice()).unwrap(), None);
    }

    #[test]
    fn an_incomplete_record_ends_the_log() {
        let file = [record(2, 300), record(2, 301)].concat();
        let first = record(2, 300).len();
        for end in first..file.len() {
            let last = last_log_index(&file[..end]).unwrap();
            assert!(
                last == Some(300) || (end > first && last == Some(301)),
                "{end}"
            );
        }
        for head in [u64::MAX, 1 << 40, 5] {
            let file = [record(2, 300), head.to_le_bytes().to_vec(), vec![0xff; 5]].concat();
            assert_eq!(last_log_index(file.as_slice()).unwrap(), Some(300));
        }
    }
}
