"""Writes milvus-2.1.4.bak from a dump of JSON lines ({"k": key, "v": base64, "lease": true}).

    python3 make.py DUMP.jsonl > milvus-2.1.4.bak

The file has the official tool's format: frames of an unsigned 64-bit little-endian length and a
protobuf message: first the header, then a key and its value for each key below the meta root without a lease.
"""

import base64
import json
import struct
import sys

ROOT, META = b"by-dev", b"meta"


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def text(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value if value else b""


def frame(message):
    return struct.pack("<Q", len(message)) + message


prefix = ROOT + b"/" + META + b"/"
pairs = []
for line in open(sys.argv[1], encoding="utf-8"):
    entry = json.loads(line)
    key = entry["k"].encode()
    if key.startswith(prefix) and not entry.get("lease"):
        pairs.append((key, base64.b64decode(entry["v"])))

count = varint(4 << 3) + varint(len(pairs))
extra = json.dumps({"entry_include_root_path": True}, separators=(",", ":")).encode()
out = sys.stdout.buffer
out.write(frame(text(2, ROOT) + text(3, META) + count + text(6, extra)))
for key, value in sorted(pairs):
    out.write(frame(text(1, key) + text(2, value)))
