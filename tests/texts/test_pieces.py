"""Pieces of texts: joined they are the text, and a text with hidden pieces reads as one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.texts.pieces import PlainText, split


def pieces(text):
    return [text[start:end] for start, end in split(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The film wasn't bad.", ["The", "film", "wasn't", "bad", "."]),
        ("a state-of-the-art 3.50 at 12:30...", ["a", "state-of-the-art", "3.50", "at", "12:30", "..."]),
        ("'quoted' (U.S.)!?", ["'", "quoted", "'", "(", "U", ".", "S", ".", ")", "!", "?"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),  # signs of vowels are marks, not letters
        ("我爱你。", ["我", "爱", "你", "。"]),
        ("good 👍🏽👍 👨‍👩‍👧 🇩🇪", ["good", "👍🏽", "👍", "👨‍👩‍👧", "🇩🇪"]),
        ("a^b x_1", ["a", "^", "b", "x_1"]),
        ("  \n", []),
    ],
)
def test_a_text_is_split_into_words_and_marks(text, expected):
    assert pieces(text) == expected


@pytest.mark.parametrize(
    ("text", "hidden", "left_out", "replaced"),
    [
        ("A great, long film.", "great", "A, long film.", "A [MASK], long film."),
        ("great film", "great", "film", "[MASK] film"),
        ("great film!", "film", "great!", "great [MASK]!"),
        ("well,great", ",", "well great", "well [MASK] great"),
        ("say (very) good", "very", "say () good", "say ([MASK]) good"),
        ("one (two)", "two )", "one (", "one ([MASK] [MASK]"),
        ("Title\n\nthe body", "the", "Title\n\nbody", "Title\n\n[MASK] body"),
        ("我爱你", "爱", "我你", "我[MASK]你"),
        ("a film, (very) good", "( film", "a, very) good", "a [MASK], [MASK] very) good"),
        ("1 x.2", "x", "1 .2", "1 [MASK].2"),
    ],
)
def test_hidden_words_are_left_out_or_replaced_and_spaces_and_marks_survive(text, hidden, left_out, replaced):
    keep = [piece not in hidden.split() for piece in pieces(text)]
    assert PlainText.of(text).shown(keep) == left_out
    assert PlainText.of(text).shown(keep, "[MASK]") == replaced


def joined_marks(kept, shown):
    """Pieces, with equal marks that have come to touch each other as one, such as `..`."""
    found = []
    for piece in kept:
        touch = found and not piece.isalnum() and piece[0] == found[-1][-1] and found[-1] + piece in shown
        if touch:
            found[-1] += piece
        else:
            found.append(piece)
    return found


TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=40) | st.text(
    "a1é '-.,()\n!我ก̈👍", max_size=25
)


@given(TEXTS)
def test_pieces_joined_are_the_text(text):
    one = PlainText.of(text)
    assert "".join(one.pieces) == (text if one.places else "")
    assert one.shown([True] * len(one.places)) == (text if one.places else "")
    assert not any(letter.isspace() for piece in pieces(text) for letter in piece)


@given(TEXTS, st.data())
def test_what_is_shown_of_a_text_has_its_pieces_in_order_and_no_others(text, data):
    one = PlainText.of(text)
    keep = data.draw(st.lists(st.booleans(), min_size=len(one.places), max_size=len(one.places)))
    kept = [piece for piece, is_kept in zip(pieces(text), keep, strict=True) if is_kept]
    assert "".join(one.shown(keep).split()) == "".join(kept)
    if text.isascii():  # two words never become one
        assert pieces(one.shown(keep)) == joined_marks(kept, one.shown(keep))
