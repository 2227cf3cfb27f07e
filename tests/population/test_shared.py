"""Gates that all rows share: the smallest set for a whole data set, and what is said of it."""

from __future__ import annotations

import itertools
from dataclasses import fields

import pytest
import torch

import stg_attr
from stg_attr import (
    Explanation,
    OutputMatch,
    Preserve,
    ReferenceSet,
    SharedStochasticGates,
    StochasticGates,
    Sweep,
    viz,
)
from stg_attr.gates import FillIn, Pairs
from tests.models import Counted, TanhNet

ROWS = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
REFERENCES = torch.randn(64, 5, generator=torch.Generator().manual_seed(1))
UNEVEN = torch.tensor([2.0, 1.0, 0.6, 0.1, 0.0])


def classes(x):
    """Two classes, by an interaction and a sum of columns of different weight; the last one plays no part."""
    score = torch.tanh(2 * x[:, 0] * x[:, 1] + x[:, 2] + 0.1 * x[:, 3])
    return torch.stack([score, -score], 1)


@torch.no_grad()
def true_share(model, kept, rows=ROWS, references=REFERENCES):
    """Share of the mean score of each row's class that a set keeps, over all rows and references."""
    own = model(rows).argmax(1)
    mixed = torch.where(kept, rows.unsqueeze(1), references).flatten(0, 1)
    alone = model(mixed).reshape(len(rows), len(references), -1)
    hidden = model(references).expand(len(rows), -1, -1)
    index = own.reshape(-1, 1, 1).expand(-1, len(references), 1)
    kept_score, none = alone.gather(2, index).mean(), hidden.gather(2, index).mean()
    full = model(rows).gather(1, own.unsqueeze(1)).mean()
    return float((kept_score - none) / (full - none))


def all_sets(n):
    return [torch.tensor(bits, dtype=torch.bool) for bits in itertools.product([False, True], repeat=n)]


@pytest.mark.parametrize("model", [classes, TanhNet(5, 1), TanhNet(5, 2)], ids=["rule", "one", "two"])
def test_the_set_is_the_smallest_that_truly_suffices(model):
    """Of all 32 sets. It is searched on 512 draws, whose means are off by some percent of the score."""
    made = torch.Generator().manual_seed(2)
    rows, references = torch.randn(2000, 5, generator=made), torch.randn(256, 5, generator=made)
    gates = SharedStochasticGates(StochasticGates(model, sparsity=Sweep(claim=None)))
    found = gates.explain(rows, baselines=references)
    share = {tuple(kept.tolist()): true_share(model, kept, rows, references) for kept in all_sets(5)}
    smallest = min(sum(kept) for kept, value in share.items() if value >= 0.94)
    assert share[tuple(found.selected[0].tolist())] >= 0.86
    assert int(found.n_selected) <= smallest


def test_a_certificate_is_about_rows_and_references():
    found = SharedStochasticGates(StochasticGates(classes)).explain(ROWS, baselines=REFERENCES)
    truth = true_share(classes, found.selected[0])
    assert bool(found.certificate.holds)
    assert found.retained.item() == pytest.approx(truth, abs=0.05)
    assert float(found.certificate.lower) <= truth


def test_every_row_counts_and_the_class_of_a_row_is_its_own():
    """A set that suffices for one half of the rows alone does not suffice for all."""

    def either(x):
        score = torch.where(x[:, 0] > 0, x[:, 1], x[:, 2]).tanh() * 3
        return torch.stack([score, -score], 1)

    some = ROWS[ROWS[:, 0] > 0.3]
    gates = SharedStochasticGates(StochasticGates(either, objective=Preserve()))
    everyone, half = (gates.explain(rows, baselines=REFERENCES) for rows in (ROWS, some))
    assert everyone.selected.tolist() == [[True, True, True, False, False]]
    assert bool(half.selected[0, 1])
    assert int(half.n_selected) < 3 or not bool(half.selected[0, 2])


def test_one_number_a_row_is_matched():
    model = lambda x: x @ UNEVEN  # noqa: E731
    found = SharedStochasticGates(StochasticGates(model)).explain(ROWS, baselines=REFERENCES)
    assert found.objective == repr(Preserve(OutputMatch()))
    order = found.log_alpha[0].argsort(descending=True)
    assert order[:3].tolist() == [0, 1, 2]
    assert not bool(found.visible[0, 4])


def test_what_is_said_of_rows_is_what_a_plain_forward_says():
    labels = (classes(ROWS).argmax(1) + (torch.arange(300) % 10 == 0)).remainder(2)
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    gates = SharedStochasticGates(StochasticGates(classes))
    found = gates.explain(ROWS, baselines=REFERENCES, labels=labels, loss=loss)
    pairs = found.question.blend.pairs
    fresh = torch.arange(len(pairs))[-150:]
    x, y = ROWS[pairs.row[fresh]], labels[pairs.row[fresh]]
    place = (found.population.n_open[0] == found.n_selected).nonzero()[0]
    output = classes(torch.where(found.selected, x, REFERENCES[pairs.reference[fresh]]))
    said = found.population
    assert int(said.n_rows) == 150
    same = (output.argmax(1) == classes(x).argmax(1)).double().mean()
    assert said.same_class[0, place].item() == pytest.approx(float(same))
    assert said.accuracy[0, place].item() == pytest.approx(float((output.argmax(1) == y).double().mean()))
    assert said.loss[0, place].item() == pytest.approx(float(loss(output, y).mean()))
    assert float(said.full_loss) == pytest.approx(float(loss(classes(x), y).mean()))
    assert float(said.full_accuracy) == pytest.approx(float((classes(x).argmax(1) == y).double().mean()))
    assert f"keep the class of {float(same):.0%} of 150 rows" in found.describe()


def test_scores_are_those_of_the_model_and_can_be_asked_again():
    found = SharedStochasticGates(StochasticGates(classes)).explain(ROWS, baselines=REFERENCES)
    everything = torch.ones_like(found.selected)
    own = classes(ROWS).amax(1)
    assert float(found.scores.full) == pytest.approx(float(own.mean()), abs=0.05)
    assert found.score_of(everything).item() == pytest.approx(float(found.scores.full), abs=1e-5)
    assert found.contributions.sum().item() == pytest.approx(
        float(found.scores.full - found.scores.baseline), abs=0.06
    )
    assert bool(found.minimal().selected.any())


def test_evaluations_are_counted_and_limited():
    model = Counted(classes)
    found = SharedStochasticGates(StochasticGates(model)).explain(ROWS, baselines=REFERENCES, max_evals=9000)
    assert sum(model.rows) == int(found.n_evaluations) <= 9000


def test_rows_that_test_a_set_are_not_those_that_it_was_searched_on():
    found = SharedStochasticGates(StochasticGates(classes)).explain(ROWS, baselines=REFERENCES)
    pairs, n = found.question.blend.pairs, found.question.blend.n_held_out
    assert n == pairs.n_fresh == 150
    assert not set(pairs.row[-n:].tolist()) & set(pairs.row[:-n].tolist())
    assert not set(pairs.reference[-n:].tolist()) & set(pairs.reference[:-n].tolist())
    assert len(set(pairs.row[-n:].tolist())) == n


def test_a_black_box_over_a_table():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS[:, :3].numpy(), columns=["income", "age", "noise"])
    frame["town"] = ["north" if value > 0 else "south" for value in ROWS[:, 3].tolist()]

    def predict(rows):
        yes = (rows["income"] > 0) & (rows["town"] == "north")
        return torch.stack([torch.tensor(yes.to_numpy()).float(), torch.tensor(~yes.to_numpy()).float()], 1)

    found = SharedStochasticGates(StochasticGates(predict)).explain(frame, baselines=frame, max_evals=20_000)
    assert found.selected.tolist() == [[True, False, False, True]]
    assert "income" in found.describe()


def test_a_file_keeps_what_is_said_of_rows(tmp_path):
    found = SharedStochasticGates(StochasticGates(classes)).explain(ROWS, baselines=REFERENCES)
    found.save(tmp_path / "a.safetensors")
    again = Explanation.load(tmp_path / "a.safetensors")
    for f in fields(found.population):
        torch.testing.assert_close(
            getattr(found.population, f.name), getattr(again.population, f.name), equal_nan=True
        )
    assert again.describe() == found.describe()


def test_the_same_seed_gives_the_same_result_and_torch_is_left_alone():
    before = torch.get_rng_state()
    one, other = (
        SharedStochasticGates(StochasticGates(classes)).explain(ROWS, baselines=REFERENCES, seed=3)
        for _ in range(2)
    )
    assert torch.equal(one.log_alpha, other.log_alpha)
    assert torch.equal(before, torch.get_rng_state())


def test_as_many_references_as_rows_are_references():
    given = REFERENCES.repeat(5, 1)[:300]
    gates = SharedStochasticGates(StochasticGates(classes))
    one, other = gates.explain(ROWS, given, seed=1), gates.explain(ROWS, ReferenceSet(given), seed=1)
    assert torch.equal(one.log_alpha, other.log_alpha)


def test_what_cannot_be_shared_is_refused():
    gates = SharedStochasticGates(StochasticGates(classes))
    with pytest.raises(stg_attr.ArgumentError, match=r"baselines.*found FillIn"):
        gates.explain(ROWS, baselines=FillIn(lambda x, shown: x))
    with pytest.raises(stg_attr.ArgumentError, match=r"feature_mask.*one mask for all rows"):
        gates.explain(ROWS, REFERENCES, feature_mask=torch.arange(5).repeat(300, 1))
    with pytest.raises(stg_attr.ArgumentError, match=r"labels.*300 rows.*\(2,\)"):
        gates.explain(ROWS, REFERENCES, labels=torch.zeros(2))
    with pytest.raises(stg_attr.ArgumentError, match=r"method.*StochasticGates"):
        SharedStochasticGates(classes)
    hybrid = StochasticGates(classes, objective=stg_attr.Hybrid(OutputMatch()))
    with pytest.raises(stg_attr.ArgumentError, match=r"objective.*Preserve\(OutputMatch\(\)\)"):
        SharedStochasticGates(hybrid).explain(ROWS, REFERENCES)
    with pytest.raises(stg_attr.ArgumentError, match="n_draws"):
        SharedStochasticGates(StochasticGates(classes), n_draws=0)


def test_pairs_of_few_references_use_all_of_them():
    blend = stg_attr.gates.Blend.of((ROWS,), ReferenceSet(REFERENCES[:3]), _groups())
    pairs = Pairs.of(blend, 50, 100, 32)
    assert set(pairs.reference[-100:].tolist()) == set(pairs.reference[:50].tolist()) == {0, 1, 2}


def _groups():
    return stg_attr.gates.FeatureGroups.from_mask(None, (ROWS,))


@pytest.mark.parametrize("baselines", [None, 0.0], ids=str)
@pytest.mark.parametrize("seed", [3, 4, 5])
def test_one_number_as_the_baseline_of_few_rows(seed, baselines):
    """Contributions of a function without slopes in its first column, with a reference of one element."""
    rows = torch.randn(40, 4, generator=torch.Generator().manual_seed(seed))
    stg = StochasticGates(lambda x: torch.where(x[:, 0] > 0, 3 * x[:, 1], 3 * x[:, 2]))
    found = SharedStochasticGates(stg).explain(rows, baselines=baselines)
    assert not bool(found.selected[0, 3])
    assert found.contributions[0].isfinite().all()


def test_a_column_of_numbers_is_asked_what_single_numbers_are():
    def sums(x):
        return 3 * x[:, 0] + x[:, 2]

    rows = ROWS + torch.tensor([0.0, 0, 2, 0, 0])
    found = [
        SharedStochasticGates(StochasticGates(model)).explain(rows, baselines=REFERENCES)
        for model in (sums, lambda x: sums(x).unsqueeze(1))
    ]
    assert torch.equal(found[0].selected, found[1].selected)
    assert found[0].objective == found[1].objective
    assert found[0].selected[0].tolist() == [True, False, True, False, False]


def test_the_class_that_stays_is_that_of_the_model_also_with_a_given_target():
    found = SharedStochasticGates(StochasticGates(classes)).explain(ROWS, baselines=REFERENCES, target=1)
    assert found.population is not None
    assert float(found.population.same_class[0, -1]) == 1


def test_the_mean_of_all_rows_is_not_named_as_a_row():
    """The model has not seen a row with these values."""
    found = SharedStochasticGates(StochasticGates(classes)).explain(
        ROWS, baselines=REFERENCES, feature_names=list("abcde")
    )
    assert " = " not in found.describe(0)
    axes = viz.bars(found).ax
    assert "mean of the rows" in axes.get_xlabel()
    assert not any("=" in label.get_text() for label in axes.get_yticklabels())
