"""PNG files of one size out of a tar's bytes, decoded many at once by libdeflate and ``loops``."""

import struct
import zlib
from typing import NamedTuple

import deflate
import numpy as np

from pipeline.proof import loops
from pipeline.proof.image import largest
from pipeline.proof.samples import Sample
from pipeline.proof.stream import HashedStream

_PLACES = [loops.START, loops.LABEL, loops.DATA]
_DIGITS = 10  # of a label: ``MAX_LABEL`` has as many


class Names(NamedTuple):
    """What some samples' members must be called and say, as ``loops.samples`` takes it."""

    images: np.ndarray
    labels: np.ndarray
    texts: np.ndarray
    digits: np.ndarray


def names_of(samples: list[Sample]) -> Names:
    """Of samples whose keys are at most 96 bytes."""
    texts = [b"%d" % sample.label for sample in samples]
    return Names(
        _matrix([f"{sample.key}.png".encode().ljust(loops.NAME, b"\0") for sample in samples]),
        _matrix([f"{sample.key}.cls".encode().ljust(loops.NAME, b"\0") for sample in samples]),
        _matrix([text.ljust(_DIGITS) for text in texts]),
        np.array([len(text) for text in texts]),
    )


def _matrix(texts: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(texts), np.uint8).reshape(len(texts), -1)


def index_endings(samples: list[Sample]) -> list[tuple[str, str]]:
    """What each sample's line of a DALI index has behind its image's size, and behind its label's place."""
    return [(f" {key}.png cls ", f" {len(str(label))} {key}.cls\n") for _, key, _, label, _ in samples]


class PngReader:
    """Reads samples in order.

    Args:
        shape: (height, width) of every image.
    """

    def __init__(self, stream: HashedStream, shape: tuple[int, int]) -> None:
        self._stream, (self._height, self._width) = stream, shape
        header = b"IHDR" + struct.pack(">IIBBBBB", shape[1], shape[0], 8, 2, 0, 0, 0)
        head = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
        tail = bytes(4) + b"IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
        self._head, self._tail = np.frombuffer(head, np.uint8), np.frombuffer(tail, np.uint8)
        self._most = largest(shape, "png")
        self._spans = np.empty((0, loops.SPAN), np.int64)  # of the samples read last
        self._places: list[
            np.ndarray
        ] = []  # of all that have been read: start and size of the image, start of the label

    def read(self, samples: list[Sample], names: Names, pixels: np.ndarray) -> bool:
        """The next samples; False where they are not as they should be in every respect.

        Args:
            pixels: uint8 (n, h, 3 w), filled.

        Raises:
            OSError: the file cannot be read.
        """
        stream, count = self._stream, len(samples)
        spans = np.empty((count, loops.SPAN), np.int64)
        found, at = 0, stream.at
        while True:
            found, at = loops.samples(
                stream.buffer, at, stream.end, found, *names, self._head, self._tail, self._most, spans
            )
            if found in (-1, count):
                break
            moved = stream.at
            if not stream.more():
                return False
            at -= moved
            spans[:found, _PLACES] -= moved
        stream.at = at
        self._spans = spans
        self._places.append(spans[:, : loops.DATA] + (stream.offset, 0, stream.offset))
        return found == count and self._decode(spans, pixels)

    def _decode(self, spans: np.ndarray, pixels: np.ndarray) -> bool:
        view, size, checksums, rows = self._stream.buffer.data, self._height * (1 + 3 * self._width), [], []
        try:
            for data, length in spans[:, loops.DATA : loops.CHECKSUM].tolist():
                chunk = view[data - 4 : data + length]  # its kind belongs to what the checksum is of
                checksums.append(deflate.crc32(chunk))
                rows.append(deflate.zlib_decompress(chunk[4:], size))
        except deflate.DeflateError:
            return False
        if checksums != spans[:, loops.CHECKSUM].tolist() or set(map(len, rows)) != {size}:
            return False
        lines = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), self._height, -1)
        return bool(loops.unfilter(lines, pixels))

    def file(self, i: int) -> bytes:
        """A whole image file of the samples read last."""
        start, size = self._spans[i, : loops.LABEL].tolist()
        return bytes(self._stream.buffer.data[start : start + size])

    def index(self, endings: list[tuple[str, str]]) -> bytes:
        """The DALI index of all samples that have been read.

        Args:
            endings: of each, as ``index_endings`` gives them.
        """
        places = np.concatenate(self._places).tolist()
        lines = [
            f"png {image} {size}{middle}{label}{end}"
            for (image, size, label), (middle, end) in zip(places, endings, strict=True)
        ]
        return "".join([f"v1.2 {len(lines)}\n", *lines]).encode()

    def at_end(self) -> bool:
        """Whether nothing follows but the end of the archive: two blocks of zeros. Raises OSError."""
        stream = self._stream
        while stream.end - stream.at <= 2 * loops.BLOCK and stream.more():
            pass
        return stream.buffer[stream.at : stream.end].tobytes() == bytes(2 * loops.BLOCK)
