"""Letters: which of them stand in words without spaces between."""

from __future__ import annotations

__all__ = ["is_unspaced"]

_UNSPACED = (  # scripts without spaces between words, with their punctuation: from Thai to Chinese characters
    (0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3000, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF00, 0xFF9D), (0x20000, 0x323AF),
)  # fmt: skip


def is_unspaced(letter: str) -> bool:
    """Whether a letter belongs to a script that puts no spaces between words."""
    return bool(letter) and any(low <= ord(letter) <= high for low, high in _UNSPACED)
