"""Corrects checksums after a mutation, so that the parser reads past them."""

import json
import struct
import zlib

from pipeline.formats.sealed_json import seal

_BLOCK = 512


def tar(data: bytes) -> bytes:
    """Corrects the checksum of every block that looks like a tar header, in nested archives as well."""
    blocks = bytearray(data)
    for at in range(0, len(blocks) - _BLOCK + 1, _BLOCK):
        if blocks[at + 257 : at + 262] == b"ustar":
            blocks[at + 148 : at + 156] = b" " * 8
            blocks[at + 148 : at + 156] = b"%06o\0 " % sum(blocks[at : at + _BLOCK])
    return bytes(blocks)


def png(data: bytes) -> bytes:
    """Corrects the CRC-32 of every chunk, if ``data`` is a PNG file."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return data
    chunks, at = bytearray(data), 8
    while at + 12 <= len(chunks):
        end = at + 8 + int.from_bytes(chunks[at : at + 4], "big")
        if end + 4 > len(chunks):
            break
        chunks[end : end + 4] = struct.pack(">I", zlib.crc32(chunks[at + 4 : end]))
        at = end + 4
    return bytes(chunks)


def images(data: bytes) -> bytes:
    """Corrects the CRC-32 of every PNG file that begins at a block of a tar."""
    repaired = bytearray(data)
    for at in range(_BLOCK, len(data), _BLOCK):
        if data[at : at + 4] == b"\x89PNG":
            repaired[at:] = png(bytes(repaired[at:]))
    return bytes(repaired)


def sealed(data: bytes) -> bytes:
    """Corrects the checksum inside a JSON document."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if not isinstance(document, dict):
        return data
    return seal({key: value for key, value in document.items() if key != "checksum"})
