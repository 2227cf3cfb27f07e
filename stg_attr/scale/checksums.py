"""Checksums of a Parquet file, inside the file, so that one that was damaged later is not read.

A Parquet file ends with a footer, the length of the footer in 4 bytes, and "PAR1". The footer says where the
columns begin, counted from the start of the file. So readers skip what lies between the last column and the
footer; there are the SHA-256 of what comes before and that of what comes after, 32 bytes each.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["has_intact_footer", "is_intact", "with_checksums"]

_SIZE = 64  # bytes of both checksums


def with_checksums(file: bytes) -> bytes:
    """The content of a Parquet file, with checksums."""
    start = len(file) - _footer_size(file)
    return file[:start] + _sums(file[:start], file[start:]) + file[start:]


def is_intact(file: bytes) -> bool:
    """Whether every byte of a file is as it was written; False for a file without checksums."""
    end = len(file) - _footer_size(file)
    start = end - _SIZE
    return start >= 0 and file[start:end] == _sums(file[:start], file[end:])


def has_intact_footer(path: Path) -> bool:
    """The same of the footer only, without reading the rest of the file."""
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(max(0, length - 8))
        size = _footer_size(file.read()) + _SIZE
        if size > length:
            return False
        file.seek(length - size)
        end = file.read()
    return end[_SIZE // 2 : _SIZE] == _sums(b"", end[_SIZE:])[_SIZE // 2 :]


def _footer_size(file: bytes) -> int:
    """Bytes of the footer, of its length and of "PAR1"."""
    return int.from_bytes(file[-8:-4], "little") + 8


def _sums(before: bytes, after: bytes) -> bytes:
    return hashlib.sha256(before).digest() + hashlib.sha256(after).digest()
