"""Letters that nobody sees, replaced by one that everybody sees, before a text is shown."""

from __future__ import annotations

__all__ = ["replace_invisible"]

_CONTROLS = [n for n in (*range(0x20), *range(0x7F, 0xA0)) if not chr(n).isspace()]
_SURROGATES = range(0xD800, 0xE000)  # halves of letters, which no file can hold
_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_UNSEEN = dict.fromkeys((*_CONTROLS, *_DIRECTIONS, *_SURROGATES), "\ufffd")


def replace_invisible(text: str) -> str:
    r"""Replace characters that cannot be written, and those that change the text around them unseen.

    These are control characters, the embeddings, overrides and isolates of Unicode's bidirectional
    algorithm (https://www.unicode.org/reports/tr9/), and halves of letters (surrogates).

    Example:
        >>> replace_invisible("evil\u202etxt.exe")
        'evil�txt.exe'
    """
    return text.translate(_UNSEEN)
