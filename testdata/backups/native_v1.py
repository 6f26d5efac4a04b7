"""Writes native-v1.mmb, following docs/backup-format.md and nothing else."""

import hashlib
import json
import struct
import sys
import zlib

MAGIC = b"\x89MMB\r\n\x1a\n"


def zstd_stored(data):
    """A zstd frame with one stored block: single segment, content size in one byte."""
    assert len(data) < 256
    block_head = (len(data) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + bytes([0x20, len(data)]) + block_head + data


def block(kind, payload, raw_bytes, entries):
    head = kind + struct.pack("<IIII", len(payload), raw_bytes, entries, zlib.crc32(payload))
    return head + struct.pack("<I", zlib.crc32(head)) + payload


def entry(key, value):
    return struct.pack("<II", len(key), len(value)) + key + value


prologue = MAGIC + struct.pack("<I", 1)
header = json.dumps(
    {
        "tool_version": "0.1.0",
        "created_at": "2026-11-22T18:30:00Z",
        "cluster_id": "cdf818194e3a8c32",
        "revision": 42,
        "meta_root": "/by-dev/meta",
        "source_version": "2.1.4",
    }
).encode()
first = entry(b"/by-dev/meta/indexes/7", b"\x08\x07") + entry(b"/by-dev/meta/root-coord/collection/5", b"")
second = entry(b"/by-dev/meta/session/id", b"12") + entry(
    b"/by-dev/meta/snapshots/root-coord/collection/5_ts400", b"\xe2\x9b\xbc"
)
tail = struct.pack("<QQQQ", 4, 2, len(first) + len(second), 3) + hashlib.sha256(first + second).digest()

sys.stdout.buffer.write(
    prologue
    + struct.pack("<I", zlib.crc32(prologue))
    + block(b"HEAD", header, len(header), 0)
    + block(b"DATA", zstd_stored(first), len(first), 2)
    + block(b"DATA", zstd_stored(second), len(second), 2)
    + block(b"TAIL", tail, len(tail), 0)
    + MAGIC
)
