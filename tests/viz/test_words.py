"""Tokens read as people write: with spaces where the language has them, and no letter lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.viz.words import is_right_to_left, words_from_tokens


def _joined(tokens, **kwargs):
    p = np.linspace(0, 1, len(tokens))
    return words_from_tokens(tokens, p, p > 0.5, np.ones(len(tokens), dtype=bool), **kwargs)


def _read(words):
    return "".join(
        "\n" * word.broken + " " * (word.spaced and not word.broken) + word.text for word in words
    ).strip()


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["the", "un", "##believ", "##able", "film", "!"], "the unbelievable film!"),
        (["▁The", "▁un", "believ", "able", "▁film", "!"], "The unbelievable film!"),
        (["The", "Ġun", "believ", "able", "Ġfilm", "!"], "The unbelievable film!"),
        (["The", " un", "believ", "able", " film", "!"], "The unbelievable film!"),
        (["the</w>", "un", "believ", "able</w>", "film</w>", "!</w>"], "the unbelievable film!"),
        (["the", "un@@", "believ@@", "able", "film", "!"], "the unbelievable film!"),
        (["the", "unbelievable", "film", "(", "2024", ")", ",", "was", "n't", "it", "'s"],
         "the unbelievable film (2024), wasn't it's"),
        (["这", "部", "电", "影", "\uff0c", "好", "看", "。"], "这部电影\uff0c好看。"),
        (["▁这部", "电影", "好看", "。"], "这部电影好看。"),
        (["ĠcafÃ©", "Ġâ", "Ģ", "ľ", "hi", "âĢĿ"], "café “hi”"),
        (["One", ".", "Ċ", "Two", "Ġthree"], "One. ↵\nTwo three"),
        (["[CLS]", "good", "##ness", "[SEP]", "[PAD]"], "[CLS] goodness [SEP] [PAD]"),
        (["<s>", "▁good", "ness", "</s>", "<pad>"], "<s> goodness </s> <pad>"),
        (["Ġgood", "ness", "<|endoftext|>"], "goodness <|endoftext|>"),
        ([], ""),
    ],
)  # fmt: skip
def test_reads_every_kind_of_tokens(tokens, text):
    assert _read(_joined(tokens)) == text


@pytest.mark.parametrize(
    ("decoder", "tokens"),
    [
        ("ByteLevel", ["The", "Ġun", "believ", "able", "ĠcafÃ©", "Ġâ", "Ģ", "ľ", "hi", "âĢĿ"]),
        ("Metaspace", ["▁The", "▁un", "believ", "able", "▁film", "!"]),
        ("WordPiece", ["the", "un", "##believ", "##able", "film", "!"]),
        ("BPEDecoder", ["the</w>", "un", "believ", "able</w>", "film</w>"]),
    ],
)
def test_the_text_is_that_of_the_tokenizers_own_decoder(decoder, tokens):
    decoders = pytest.importorskip("tokenizers.decoders")
    assert _read(_joined(tokens)) == getattr(decoders, decoder)().decode(tokens)


def test_a_word_is_as_active_as_its_most_active_token():
    tokens = ["▁un", "believ", "able", "!"]
    p = np.array([0.2, 0.9, 0.1, 0.3])
    word, mark = words_from_tokens(tokens, p, p > 0.5, np.ones(4, dtype=bool))
    assert (word.text, word.probability, word.selected) == ("unbelievable", 0.9, True)
    assert word.numbers == "0.90 (un 0.20, believ 0.90, able 0.10)"
    assert (mark.text, mark.numbers) == ("!", "0.30")


def test_ideographs_stay_alone_though_no_space_is_between_them():
    assert [word.text for word in _joined(["▁", "电", "影", "好"])] == ["␣", "电", "影", "好"]


def test_tokens_stay_alone_when_asked():
    words = _joined(["▁un", "believ", "able"], whole=False)
    assert [word.text for word in words] == ["un", "believ", "able"]
    assert _read(words) == "unbelievable"


def test_special_tokens_are_muted_and_never_joined():
    words = _joined(["[CLS]", "a", "##b", "[SEP]"])
    assert [word.muted for word in words] == [True, False, True]
    assert [word.muted for word in _joined(["[CLS]", "a"], special={"a"})] == [False, True]


def test_a_run_of_padding_is_one_word():
    words = _joined(["good", "[SEP]", "[PAD]", "[PAD]", "[PAD]"])
    assert [word.text for word in words] == ["good", "[SEP]", "[PAD] \u00d73"]


def test_tokens_without_a_gate_are_muted_and_say_so():
    words = words_from_tokens(["a", "b"], np.zeros(2), np.zeros(2, dtype=bool), np.array([False, True]))
    assert [(word.muted, word.numbers) for word in words] == [(True, "no gate"), (False, "0.00")]


@given(st.lists(st.text(max_size=4), max_size=8))
def test_every_token_is_in_exactly_one_word(tokens):
    words = _joined(tokens)
    assert sum(len(word.parts) for word in words) == len(tokens)


@pytest.mark.parametrize(
    ("text", "answer"),
    [("שלום", True), ("رائع", True), ("12 (שלום", True), ("ok שלום", False), ("12", False)],
)
def test_direction_is_that_of_the_first_letter(text, answer):
    assert is_right_to_left(text) is answer
