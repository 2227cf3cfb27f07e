"""Functions of strings: words as features, beside the encoding by hand and all subsets of the words."""

from itertools import product

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from stg_attr import (
    ArgumentError,
    Explanation,
    LayerStochasticGates,
    Reparameterized,
    ScoreFunction,
    StochasticGates,
    sentence_mask,
    token_mask,
    viz,
    widgets,
)

GOOD = ["a great film", "lovely music, great cast", "super plot and lovely actors", "the film was great"]
BAD = ["an awful film", "boring plot, poor cast", "poor music and awful actors", "the plot was boring"]
TEXTS = ["The cast was great, lovely  music!", "A boring film."]


@pytest.fixture(scope="module")
def pipeline():
    steps = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10))
    return steps.fit(GOOD + BAD, [1] * len(GOOD) + [0] * len(BAD))


# ---------------------------------------------------------------- numbers


def test_the_numbers_are_those_of_the_encoding_by_hand(pipeline):
    """Presence of each word as a tensor, joined with spaces: what a user writes without us."""
    texts = ["the cast was great", "a boring film and plot"]
    words = [text.split() for text in texts]
    longest = max(map(len, words))
    shown = torch.tensor([[1] * len(own) + [0] * (longest - len(own)) for own in words])
    mask = torch.where(shown == 1, torch.arange(longest), -1)

    def by_hand(shown, number):
        rows = zip(shown.tolist(), number.tolist(), strict=True)
        kept = [" ".join(w for w, k in zip(words[i], row, strict=False) if k) for row, i in rows]
        return pipeline.predict_proba(kept)

    expected = StochasticGates(by_hand, estimator=ScoreFunction()).explain(
        shown, baselines=0, additional_forward_args=torch.arange(2), feature_mask=mask
    )
    found = StochasticGates(pipeline.predict_proba).explain(texts)
    torch.testing.assert_close(found.attributions, expected.attributions, rtol=0, atol=0)
    torch.testing.assert_close(found.scores.kept, expected.scores.kept, rtol=0, atol=0)
    torch.testing.assert_close(found.contributions, expected.contributions, rtol=0, atol=0)
    assert torch.equal(found.n_evaluations, expected.n_evaluations)


def test_the_selected_words_are_the_smallest_set_that_suffices():
    """By brute force over all 2^n subsets of a sentence, with a function whose words add and interact."""

    def score(texts):
        sets = [set(text.lower().split()) for text in texts]
        return [3.0 * ("not" in s and "bad" in s) + 2.0 * ("music" in s) + 0.1 * ("a" in s) for s in sets]

    text = "a film that was not bad with music"
    found = StochasticGates(score).explain(text)
    words = text.split()
    full = score([text])[0]
    enough = [
        keep
        for keep in product([False, True], repeat=len(words))
        if score([" ".join(w for w, k in zip(words, keep, strict=True) if k)])[0] >= 0.9 * full
    ]
    smallest = min(enough, key=sum)
    assert found.selected[0].tolist() == list(smallest)
    named = found.describe().split(" bring the score from 0")[0]
    assert sorted(named.replace(",", "").replace(" and", "").split()) == ['"bad"', '"music"', '"not"']


def test_the_scores_are_those_of_plain_calls(pipeline):
    found = StochasticGates(pipeline.predict_proba).explain(TEXTS, target=1)
    probability = pipeline.predict_proba([*TEXTS, ""])[:, 1]
    np.testing.assert_allclose(found.scores.full, probability[:2], rtol=1e-12)
    np.testing.assert_allclose(found.scores.baseline, probability[[2, 2]], rtol=1e-12)
    assert [t for t, s in zip(found.tokens[1], found.selected[1], strict=True) if s] == [" boring"]
    assert pipeline.predict_proba(["boring"])[0, 1] == pytest.approx(float(found.scores.kept[1]))


def test_every_row_is_counted():
    rows = []

    def score(texts):
        rows.extend(texts)
        return [float("great" in text) for text in texts]

    found = StochasticGates(score).explain("a great film", max_evals=60)
    assert len(rows) == int(found.n_evaluations.sum()) <= 60


def test_an_example_alone_is_the_same_as_in_a_batch(pipeline):
    stg = StochasticGates(pipeline.predict_proba)
    both = stg.explain(TEXTS, target=0)
    alone = stg.explain(TEXTS[1], target=0)
    torch.testing.assert_close(alone.attributions[0], both.attributions[1, :4])
    assert both.attributions[1, 4:].tolist() == [0.0] * 4


# ---------------------------------------------------------------- what is shown of a text


def shown_to(explain, **kwargs):
    """All texts that a function is asked about."""
    seen = []

    def score(texts):
        seen.extend(texts)
        return [float(len(str(text))) for text in texts]

    explain(StochasticGates(score), **kwargs)
    return set(seen)


def test_hidden_words_are_left_out_by_default_and_replaced_by_a_word():
    out = shown_to(lambda stg: stg.explain("so good, friends"))
    assert {"so good, friends", ""} <= out
    assert out <= {
        "so good, friends", "so good,", "so good friends", "so, friends", "good, friends", "so good", "so,",
        "good,", ", friends", "so friends", "good friends", "so", "good", ",", "friends", "",
    }  # fmt: skip
    masked = shown_to(lambda stg: stg.explain("so good, friends", baselines="<m>"))
    assert "<m> <m> <m> <m>" in {text.replace("<m><m>", "<m> <m>") for text in masked}
    assert all(len(text.replace("<m>", " <m> ").replace(",", " , ").split()) == 4 for text in masked)


def test_sentences_and_groups_of_words_are_features():
    text = "It is long. It is good! Is it?"
    found = shown_to(lambda stg: stg.explain(text, feature_mask=sentence_mask))
    assert found <= {
        text, "It is long. It is good!", "It is long. Is it?", "It is good! Is it?", "It is long.",
        "It is good!", "Is it?", "",
    }  # fmt: skip
    groups = torch.tensor([[0, 0, -1]])
    assert shown_to(lambda stg: stg.explain("one two three", feature_mask=groups)) == {
        "one two three",
        "three",
    }
    by_function = shown_to(lambda stg: stg.explain("one two three", feature_mask=lambda encoding: groups))
    assert by_function == {"one two three", "three"}


def test_the_names_of_sentences_are_their_texts():
    score = StochasticGates(lambda texts: [float("good" in text) for text in texts])
    found = score.explain("It is long. It is good! Is it?", feature_mask=sentence_mask)
    assert found.describe().startswith('"It is good!" brings the score from 0')
    assert list(found.to_frame().name) == ["It is long.", "It is good!", "Is it?"]
    by_token = score.explain("It is good", feature_mask=token_mask)
    assert list(by_token.to_frame().name) == ["It", "is", "good"]


def test_pairs_of_texts_are_handed_on_as_pairs():
    pairs = [("is it good?", "very good"), ("is it?", "no")]

    def score(given):
        assert all(isinstance(pair, tuple) and len(pair) == 2 for pair in given)
        return [float("good" in first and "good" in second) for first, second in given]

    found = StochasticGates(score).explain(pairs)
    assert found.tokens[0] == ("is", " it", " good", "?", "\nvery", " good")
    assert found.selected[0].tolist() == [False, False, True, False, False, True]
    assert found.scores.full.tolist() == [1.0, 0.0]


def test_a_column_of_a_frame_is_taken_as_texts(pipeline):
    pandas = pytest.importorskip("pandas")
    stg = StochasticGates(pipeline.predict_proba)
    expected = stg.attribute(TEXTS)
    for column in (pandas.Series(TEXTS), np.array(TEXTS), np.array(TEXTS, dtype=object)):
        assert torch.equal(stg.attribute(column), expected)


def test_further_arguments_and_targets_reach_the_function(pipeline):
    def score(texts, scale, offset):
        assert len(scale) == len(texts)
        return torch.tensor(pipeline.predict_proba(list(texts))) * scale[:, None] + offset

    found = StochasticGates(score).explain(
        TEXTS, target=[1, 0], additional_forward_args=(torch.tensor([1.0, 2.0]), 5.0)
    )
    plain = pipeline.predict_proba(TEXTS)
    np.testing.assert_allclose(found.scores.full, [plain[0, 1] + 5, 2 * plain[1, 0] + 5])


# ---------------------------------------------------------------- transformers and scikit-learn


def test_a_vectorizer_of_its_own_and_a_decision_function_work():
    steps = make_pipeline(CountVectorizer(ngram_range=(1, 2)), LogisticRegression())
    steps.fit(["not good", "good", "not bad", "bad"], [0, 1, 1, 0])
    found = StochasticGates(steps.decision_function).explain("this is not bad")
    assert {"not", "bad"} >= set(found.to_frame().query("selected").name)
    np.testing.assert_allclose(found.scores.full, steps.decision_function(["this is not bad"]))


# ---------------------------------------------------------------- files, pictures, widgets


def test_files_and_rows_keep_the_words(pipeline, tmp_path):
    found = StochasticGates(pipeline.predict_proba).explain(TEXTS)
    found.save(tmp_path / "a.safetensors")
    loaded = Explanation.load(tmp_path / "a.safetensors")
    assert loaded.tokens == found.tokens
    assert "".join(loaded.tokens[0]) == TEXTS[0]
    assert loaded.describe(0) == found.describe(0)
    second = loaded.rows(slice(1, 2))
    assert second.describe(0) == found.describe(1)
    assert Explanation.joined([loaded.rows(slice(0, 1)), second]).tokens == found.tokens


def test_a_file_whose_words_do_not_fit_is_refused(pipeline, tmp_path):
    from dataclasses import replace

    found = StochasticGates(pipeline.predict_proba).explain(TEXTS)
    replace(found, tokens=(("a",), ("b",))).save(tmp_path / "a.safetensors")
    with pytest.raises(ArgumentError, match="tokens are not 8 for each example"):
        Explanation.load(tmp_path / "a.safetensors")


def test_pictures_show_the_text_as_it_was(pipeline):
    found = StochasticGates(pipeline.predict_proba).explain(TEXTS)
    picture = viz.text(found)
    written = ["".join((" " if w.spaced else "") + w.text for w in p.words) for p in picture.passages]
    assert written == ["The cast was great, lovely music!", "A boring film."]
    assert "selected words: boring" in picture.alt
    assert "boring" in viz.html(found, 1)
    assert "shade" not in viz.text(found, examples=[1]).alt
    labels = [label.get_text() for label in viz.bars(found, 1).ax.get_yticklabels()]
    assert {"A", "boring", "film", "."} >= set(labels)
    assert "boring" in labels


def test_a_picture_of_tensors_still_needs_tokens():
    with pytest.raises(ArgumentError, match=r"tokens: expected the tokens of each example.*encoding\.tokens"):
        viz.text(StochasticGates(lambda x: x.sum(1)).explain(torch.ones(1, 3)))


def test_the_pair_of_a_picture_begins_a_new_line():
    found = StochasticGates(lambda pairs: [float(len(a + b)) for a, b in pairs]).explain(
        [("one", "two three")]
    )
    (passage,) = viz.text(found).passages
    assert [word.broken for word in passage.words] == [False, True, False]


def test_widgets_show_the_words(pipeline):
    found = StochasticGates(pipeline.predict_proba).explain(TEXTS)
    explorer = widgets.explore(found)
    scene = explorer.payload["examples"][1]["scene"]
    assert [word["t"] for word in scene["words"]] == ["A", "boring", "film", "."]
    assert [word["s"] for word in scene["words"]] == [False, True, True, False]
    assert "music" in explorer.static()
    assert widgets.TextView().code(1)["all"] == "viz.text(view, examples=[1])"


def test_a_watcher_and_a_continued_solve_have_the_words(pipeline):
    stg, seen = StochasticGates(pipeline.predict_proba), []
    first = stg.explain(
        TEXTS, n_steps=4, internal_batch_size=1, on_step=lambda done, n, read: seen.append(read().tokens)
    )
    assert {own[0] for own in seen} == set(first.tokens)
    assert stg.explain(TEXTS, n_steps=4, resume=first).tokens == first.tokens


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "at least one text; found an empty list"),
        (["a film", "  "], r"at least one word; found nothing but white space in examples \[1\]"),
        (np.array(["a film", None], dtype=object), "found NoneType in example 1"),
        ("", r"at least one word; found nothing but white space in examples \[0\]"),
        (["a film", 3], "a text for each example, or a pair of texts; found int in example 1"),
        ([b"a film"], "found bytes in example 0"),
        ([("a", None)], "found NoneType in example 0"),
        (
            ["a film", ("a", "b")],
            "one text for each example, or a pair for each; found examples of 1 and of 2",
        ),
    ],
)
def test_texts_that_cannot_be_used_are_refused_before_the_function_runs(texts, message):
    def never(texts):
        raise AssertionError("it was run")

    with pytest.raises(ArgumentError, match=message):
        StochasticGates(never).explain(texts)


def test_a_function_that_takes_something_else_is_refused(pipeline):
    with pytest.raises(ArgumentError, match=r"a list of tuples of texts.*AttributeError in its first call"):
        StochasticGates(pipeline.predict_proba).explain([("a film", "great")])
    with pytest.raises(ArgumentError, match=r"a list of strings.*TypeError in its first call.*for_text"):
        StochasticGates(torch.nn.Linear(2, 2)).explain(["a film"])
    with pytest.raises(ArgumentError, match=r"output.*found list of str\. Labels"):
        StochasticGates(lambda texts: ["good"] * len(texts)).explain(["a film"])
    with pytest.raises(ArgumentError, match=r"ZeroDivisionError for an empty text.*baselines='\[MASK\]'"):
        StochasticGates(lambda texts: [1 / len(text) for text in texts]).explain(["a film"])
    assert StochasticGates(lambda texts: [1 / len(text) for text in texts]).explain("a film", baselines="x")
    with pytest.raises(ArgumentError, match=r"found \['str', 'str'\]\..*a list"):
        StochasticGates(pipeline.predict_proba).explain(("a film", "a plot"))


def test_other_arguments_that_do_not_go_with_texts_are_refused():
    stg = StochasticGates(lambda texts: [0.0] * len(texts))
    with pytest.raises(ArgumentError, match=r"baselines: expected the word.*found 0"):
        stg.explain("a film", baselines=0)
    with pytest.raises(ArgumentError, match=r"feature_mask: .*integers \[1, 2\]; found shape \(1, 3\)"):
        stg.explain("a film", feature_mask=torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ArgumentError, match=r"feature_mask: .*found list"):
        stg.explain("a film", feature_mask=[0, 1])
    with pytest.raises(ArgumentError, match=r"estimator: .*words are shown or hidden"):
        StochasticGates(lambda texts: [0.0], estimator=Reparameterized()).explain("a film")


def test_a_layer_takes_no_plain_strings():
    net = torch.nn.Embedding(3, 2)
    with pytest.raises(ArgumentError, match=r"inputs: expected a tensor, .*found list"):
        LayerStochasticGates(net, net).explain(["a film"])
