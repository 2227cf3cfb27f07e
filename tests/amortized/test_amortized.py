"""Gates that a net proposes: what is taken, what is solved instead, and what a file keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import stg_attr
from stg_attr import (
    AmortizedSettings,
    AmortizedStochasticGates,
    Budget,
    Delete,
    LayerStochasticGates,
    OutputMatch,
    Preserve,
    ReferenceSet,
    ScoreFunction,
    Status,
    StochasticGates,
)
from tests.models import Counted

ROWS = torch.randn(1200, 6, generator=torch.Generator().manual_seed(0))
FRESH = torch.randn(60, 6, generator=torch.Generator().manual_seed(1))
QUICK = AmortizedSettings(width=64, batch=128, learning_rate=3e-3)


def switch(x):
    """The first column says which of the next two decides."""
    share = torch.sigmoid(8 * x[:, 0] - 4)  # 0.02 where it is hidden
    return (share * (1 + x[:, 1].square()) + (1 - share) * x[:, 2].square()).unsqueeze(1)


def clear(x):
    """Rows of which it is clear what they need: the first column, which brings the 1, or the third alone."""
    return ((x[:, 0] > 1) & (x[:, 1].abs() < 0.2)) | ((x[:, 0] < 0) & (x[:, 2].abs() > 1))


@pytest.fixture(scope="module")
def fast():
    return AmortizedStochasticGates(StochasticGates(switch), settings=QUICK).fit(ROWS, n_epochs=15)


class Wrong(nn.Module):
    """Proposes the columns that play no part."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * torch.tensor([-2.0, -3.0, -3.0, 2.0, 2.5, 3.0]).expand(len(x), -1)


def test_the_net_learns_what_switches_with_the_row(fast):
    found = fast.explain(FRESH, fallback=False)
    some = clear(FRESH)
    expected = torch.where(FRESH[:, 0] > 0, 0, 2)[some]
    assert len(set(expected.tolist())) == 2
    assert (found.log_alpha[some].argmax(1) == expected).double().mean() >= 0.9
    assert bool(found.certificate.holds.all())
    assert fast.trained.held_out_losses[-1] < fast.trained.held_out_losses[0]


@pytest.mark.parametrize("fallback", [True, False])
def test_a_row_that_scores_as_the_baseline_has_nothing_to_explain(fast, fallback):
    rows = torch.cat([torch.zeros(1, 6), FRESH[:2]])
    found = fast.explain(rows, fallback=fallback)
    plain = StochasticGates(switch).explain(rows)
    assert found.status[0] is plain.status[0] is Status.NOTHING_TO_EXPLAIN
    assert Status.NOTHING_TO_EXPLAIN not in found.status[1:]


def test_what_is_claimed_is_what_a_plain_forward_says(fast):
    found = fast.explain(FRESH)
    shown = torch.where(found.selected, FRESH, torch.zeros(6))
    torch.testing.assert_close(found.scores.kept, switch(shown)[:, 0])
    nothing = switch(torch.zeros(1, 6))[0, 0]
    share = (switch(shown)[:, 0] - nothing) / (switch(FRESH)[:, 0] - nothing)
    assert bool((share[found.certificate.holds] >= 0.9 - 1e-5).all())


def test_a_wrong_proposal_is_mended():
    """It costs evaluations, and its sets are those of a solve from scratch: the one column that decides."""
    net = Wrong()
    wrong = AmortizedStochasticGates(StochasticGates(switch), net)
    settings = AmortizedSettings(learning_rate=1e-9, largest=0.5, most_measured=1)
    wrong.settings = settings
    wrong.fit(ROWS[:200], n_epochs=1)
    proposed, found = wrong.explain(FRESH, fallback=False), wrong.explain(FRESH)
    plain = StochasticGates(switch).explain(FRESH)
    assert proposed.n_selected.double().mean() > 3
    assert (found.selected == plain.selected).all(1).double().mean() >= 0.9
    assert bool(found.certificate.holds.all())
    assert Status.PROPOSED not in found.status
    assert bool((found.n_evaluations > proposed.n_evaluations).all())


def test_slopes_at_measured_sets_mend_an_order(fast):
    """The proposed order is wrong, and the sets are nearly as small as those of a solve."""
    wrong = AmortizedStochasticGates(StochasticGates(switch), Wrong(), settings=AmortizedSettings(failures=3))
    wrong.fit(ROWS[:200], n_epochs=1)
    found, plain = wrong.explain(FRESH, fallback=False), StochasticGates(switch).explain(FRESH)
    assert bool(found.certificate.holds.all())
    assert (
        int(found.n_evaluations.max()) <= 3 + AmortizedSettings().most_measured
    )  # both ends, and what is left
    assert found.n_selected.double().mean() <= 1.5 * plain.n_selected.double().mean()


@pytest.mark.parametrize("objective", [Preserve(), Delete(), Preserve(OutputMatch())])
def test_each_objective_is_measured_as_it_asks(objective):
    """The kept share of every set that is certified is what `score_of` says of it."""
    method = StochasticGates(switch, objective=objective)
    fast = AmortizedStochasticGates(method, settings=QUICK).fit(ROWS[:300], n_epochs=4)
    found = fast.explain(FRESH[:20], fallback=False)
    shown = torch.where(found.selected, FRESH[:20], torch.zeros(6))
    hidden = torch.where(found.selected, torch.zeros(6), FRESH[:20])
    torch.testing.assert_close(found.scores.kept, switch(shown)[:, 0])
    torch.testing.assert_close(found.scores.removed, switch(hidden)[:, 0])
    score, nothing, full = found.scores.kept, found.scores.baseline, found.scores.full
    share = (score - nothing) / (full - nothing)
    if isinstance(objective, Delete):
        share = 1 - (found.scores.removed - nothing) / (full - nothing)
    elif objective == Preserve(OutputMatch()):
        share = 1 - (score - full).abs() / (full - nothing).abs()
    assert bool((share[found.certificate.holds] >= 0.9 - 1e-5).all())
    assert found.certificate.holds.double().mean() >= 0.9
    assert found.n_selected.double().mean() < 4


def test_rows_that_are_solved_and_others_come_back_in_order():
    """Some rows are taken, and others are solved; each has its own inputs and scores."""
    half = AmortizedStochasticGates(StochasticGates(switch), settings=QUICK).fit(ROWS, n_epochs=3)
    half._typical = 1.0
    half.settings = AmortizedSettings(width=64, largest=1.0, most_measured=2)
    found = half.explain(FRESH)
    statuses = [status is Status.PROPOSED for status in found.status]
    assert any(statuses)
    assert not all(statuses)
    torch.testing.assert_close(found.scores.full, switch(FRESH)[:, 0])
    shown = torch.where(found.selected, FRESH, torch.zeros(6))
    torch.testing.assert_close(found.scores.kept, switch(shown)[:, 0])


def test_evaluations_are_those_that_the_model_counts(fast):
    model = Counted(switch)
    again = AmortizedStochasticGates(StochasticGates(model), settings=QUICK)
    again._net, again._typical, again._gradient = fast._net, fast._typical, fast._gradient
    found = again.explain(FRESH, fallback=False)
    assert sum(model.rows) == int(found.n_evaluations.sum())
    assert float(found.n_evaluations.double().mean()) <= 12


def test_training_counts_its_evaluations():
    model = Counted(switch)
    fast = AmortizedStochasticGates(StochasticGates(model), settings=QUICK).fit(ROWS[:300], n_epochs=2)
    assert fast.trained.n_rows == 2 * 240
    assert (
        0 <= sum(model.rows) - fast.trained.n_evaluations <= 60 * 3
    )  # the first rows only say what shapes are


def test_a_file_gives_the_same_proposals(fast, tmp_path):
    fast.save(tmp_path / "net.safetensors")
    again = AmortizedStochasticGates(StochasticGates(switch), settings=QUICK).load(
        tmp_path / "net.safetensors"
    )
    one, other = fast.explain(FRESH), again.explain(FRESH)
    assert torch.equal(one.log_alpha, other.log_alpha)
    assert one.status == other.status
    one.save(tmp_path / "found.safetensors")
    assert stg_attr.Explanation.load(tmp_path / "found.safetensors").status == one.status


def test_a_file_of_another_net_is_refused(fast, tmp_path):
    fast.save(tmp_path / "net.safetensors")
    other = AmortizedStochasticGates(StochasticGates(switch), nn.Linear(6, 6))
    with pytest.raises(stg_attr.ArgumentError, match=r"with the same net"):
        other.load(tmp_path / "net.safetensors")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(stg_attr.ArgumentError, match=r"path"):
        other.load(tmp_path / "text")


def test_references_are_tested_as_for_a_solve():
    method = StochasticGates(switch)
    fast = AmortizedStochasticGates(method, settings=QUICK).fit(
        ROWS, baselines=ReferenceSet(ROWS), n_epochs=5
    )
    found = fast.explain(FRESH[:20], baselines=ReferenceSet(ROWS))
    assert bool((found.certificate.n_references[found.certificate.holds] > 8).all())
    assert not found.certificate.exact


def test_a_black_box_and_a_loader():
    box = lambda x: [[float(row[0] > 0 and row[1] > 0)] for row in x]  # noqa: E731
    data = torch.utils.data.TensorDataset(ROWS[:600].abs(), torch.zeros(600))
    loader = torch.utils.data.DataLoader(data, 100)
    fast = AmortizedStochasticGates(StochasticGates(box, estimator=ScoreFunction()), settings=QUICK)
    found = fast.fit(loader, n_epochs=8).explain(FRESH[:10].abs(), fallback=False)
    assert found.selected[:, :2].all(1).double().mean() >= 0.9


def test_images_and_tokens_have_nets_of_their_own():
    images = torch.rand(60, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    fast = AmortizedStochasticGates(StochasticGates(lambda x: x[:, 0, :2].sum((1, 2)).unsqueeze(1)))
    assert fast.fit(images, n_epochs=2).attribute(images[:3]).shape == (3, 1, 6, 6)
    embedding = nn.Embedding.from_pretrained(torch.randn(20, 8, generator=torch.Generator().manual_seed(0)))
    model = lambda ids: embedding(ids).sum(1)[:, :3]  # noqa: E731
    ids = torch.randint(20, (60, 7), generator=torch.Generator().manual_seed(0))
    words = AmortizedStochasticGates(LayerStochasticGates(model, embedding)).fit(ids, n_epochs=2)
    assert words.explain(ids[:4]).selected.shape == (4, 7)


def test_the_same_seed_gives_the_same_net_and_torch_is_left_alone():
    before = torch.get_rng_state()
    nets = [
        AmortizedStochasticGates(StochasticGates(switch), settings=QUICK).fit(ROWS[:200], n_epochs=2)
        for _ in range(2)
    ]
    assert torch.equal(before, torch.get_rng_state())
    one, other = (net.explain(FRESH, fallback=False).log_alpha for net in nets)
    assert torch.equal(one, other)


def test_what_cannot_be_learned_from_is_refused():
    fast = AmortizedStochasticGates(StochasticGates(switch))
    with pytest.raises(stg_attr.ArgumentError, match=r"fit.*learned"):
        fast.explain(FRESH)
    with pytest.raises(stg_attr.ArgumentError, match=r"inputs.*at least 10 rows.*found 3"):
        fast.fit(ROWS[:3])
    with pytest.raises(stg_attr.ArgumentError, match=r"inputs.*found generator"):
        fast.fit(rows for rows in [ROWS])
    with pytest.raises(stg_attr.ArgumentError, match=r"method.*Sweep"):
        AmortizedStochasticGates(StochasticGates(switch, sparsity=Budget(0.2)))
    with pytest.raises(stg_attr.ArgumentError, match=r"net.*torch module"):
        AmortizedStochasticGates(StochasticGates(switch), net=switch)
    with pytest.raises(stg_attr.ArgumentError, match=r"net.*\[batch, gates\] = \[\d+, 6\]"):
        AmortizedStochasticGates(StochasticGates(switch), nn.Linear(6, 5)).fit(ROWS)  # one output too few


def test_a_data_set_is_explained_on_shards_as_by_one_call(tmp_path):
    pytest.importorskip("pyarrow")
    from stg_attr.scale import explain_dataset, load_attributions

    fast = AmortizedStochasticGates(StochasticGates(switch), settings=QUICK).fit(ROWS[:300], n_epochs=3)
    dataset = torch.utils.data.TensorDataset(FRESH)
    explain_dataset(fast, dataset, tmp_path / "out", batch_rows=20)
    found, one = load_attributions(tmp_path / "out"), fast.explain(FRESH)
    torch.testing.assert_close(found.attributions.double(), one.attributions.double(), rtol=1e-4, atol=1e-4)
    assert list(found.status) == list(one.status)
    assert Status.PROPOSED in found.status
