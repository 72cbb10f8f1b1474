"""A deflate encoder that uses Huffman codes only (RFC 1951), compiled.

It never searches for repeated bytes: filtered photographs and their parts have almost none, so the search of other
encoders takes time and saves little. Its output is defined completely by docs/format.md. So the bytes of an output depend
on this program alone, not on the version of a library: the authors of zlib-ng and libdeflate promise no equal bytes.

- ``huffman``: lengths of a Huffman code, and the canonical codes of these lengths.
- ``code_header``: how a block describes its code.
- ``blocks``: blocks and the stream of bits.
- ``adler``: the checksum of a zlib stream (RFC 1950).

Compiled functions take typed arrays and whole numbers. ``scratch`` arguments are arrays that the caller allocates once for
many calls; their content before a call has no meaning.
"""
