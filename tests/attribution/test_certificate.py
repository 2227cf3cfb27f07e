"""Certificates: true on references that nobody saw, exact for one baseline, and never by silence."""

import pytest
import torch

from stg_attr import (
    ArgumentError,
    Delete,
    Explanation,
    Hybrid,
    LayerStochasticGates,
    OutputMatch,
    Preserve,
    ReferenceSet,
    ScoreFunction,
    Settings,
    StochasticGates,
    Sweep,
)
from stg_attr.select import CertificateSettings, OnAverage, OnMost
from tests.models import mlp

N_COLUMNS = 8


def _net(seed=0, n_outputs=3):
    return mlp(N_COLUMNS, 16, n_outputs, seed=seed).requires_grad_(False)


def _rows(n, seed):
    return torch.randn(n, N_COLUMNS, generator=torch.Generator().manual_seed(seed))


def _true(objective, net, x, selected, target, claim, retain=0.9):
    """Whether the claim is true of a selection over 20,000 fresh rows."""
    fresh = _rows(20_000, 999)
    shown = selected if objective.keeps else ~selected
    output, full = net(torch.where(shown, x, fresh)), float(net(x[None])[0, target])
    scores, baselines = output[:, target], net(fresh)[:, target]
    if isinstance(claim, OnMost) and claim.same_class:
        return float((output.argmax(1) == target).double().mean()) >= claim.share
    if isinstance(objective.fidelity, OutputMatch):
        spread = (full - baselines).square().mean().sqrt()
        shares = 1 - (scores - full).abs() / spread
    else:
        shares = (scores - baselines.mean()) / (full - baselines.mean())
        shares = shares if objective.keeps else 1 - shares
    if isinstance(claim, OnMost):
        return float((shares >= retain).double().mean()) >= claim.share
    return float(shares.mean()) >= retain


@pytest.mark.parametrize(
    ("objective", "claim"),
    [
        (Preserve(), OnAverage()),
        (Hybrid(), OnAverage()),
        (Delete(), OnAverage()),
        (Preserve(OutputMatch()), OnAverage()),
        (Preserve(), OnMost(share=0.8)),
        (Preserve(), OnMost(share=0.9, same_class=True)),
    ],
    ids=repr,
)
@pytest.mark.quick_cases(1)
def test_what_is_certified_is_true_on_rows_that_nobody_saw(objective, claim):
    """Of certificates at 95 %, far fewer than one in ten may be wrong."""
    right, certified = 0, 0
    for seed in range(3):
        net, x = _net(seed), _rows(30, 100 + seed)
        found = StochasticGates(net, objective=objective, sparsity=Sweep(claim=claim)).explain(
            x, ReferenceSet(_rows(256, 200 + seed))
        )
        for i in found.certificate.holds.nonzero().flatten().tolist():
            certified += 1
            target = int(found.target[i, 0])
            right += _true(objective, net, x[i], found.selected[i], target, claim)
    assert certified >= 20
    assert right >= 0.9 * certified


def test_sets_that_were_only_searched_do_not_hold_as_often():
    """So the test above can fail: without a certificate half of the sets keep less than they seem to."""
    net, x = _net(), _rows(40, 100)
    found = StochasticGates(net, objective=Preserve(), sparsity=Sweep(claim=None)).explain(
        x, ReferenceSet(_rows(256, 200))
    )
    assert found.certificate is None
    true = [
        _true(Preserve(), net, x[i], found.selected[i], int(found.target[i, 0]), OnAverage())
        for i in range(40)
    ]
    assert sum(true) < 34


def test_a_linear_model_is_certified_with_the_columns_that_carry_it():
    weight = torch.tensor([4.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    x = torch.full((2, N_COLUMNS), 2.0)
    found = StochasticGates(lambda rows: rows @ weight).explain(x, ReferenceSet(_rows(300, 0)))
    assert found.selected.tolist() == [[True, True] + [False] * 6] * 2
    assert found.certificate.holds.tolist() == [True, True]
    assert bool((found.certificate.lower >= 0.9).all())
    assert bool((found.certificate.n_references >= 29).all())
    assert "at 95% confidence" in found.describe(0)
    assert found.to_frame().certified.sum() == 4


def test_one_baseline_is_exact_and_costs_nothing():
    net, x = _net(), _rows(3, 1)
    found = StochasticGates(net).explain(x)
    plain = StochasticGates(net, sparsity=Sweep(claim=None)).explain(x)
    assert torch.equal(found.n_evaluations, plain.n_evaluations)
    assert torch.equal(found.attributions, plain.attributions)
    assert found.certificate.exact
    assert found.certificate.n_references.tolist() == [1] * 3
    torch.testing.assert_close(found.certificate.mean, found.retained)
    assert torch.equal(found.certificate.holds, found.retained >= 0.9)
    assert "exactly, for this baseline" in found.describe(0)


def test_a_few_baselines_are_exact_too_and_a_few_more_are_too_few():
    net, x = _net(), _rows(2, 1)
    few = StochasticGates(net).explain(x, _rows(3, 5))
    assert few.certificate.exact
    assert "these 3 baselines" in few.describe(0)
    more = StochasticGates(net).explain(x, ReferenceSet(_rows(20, 5)))
    assert not bool(more.certificate.holds.any())
    assert more.certificate.n_references.tolist() == [0, 0]
    assert "for want of references" in more.describe(0)


def test_without_evaluations_it_says_so():
    net, x = _net(), _rows(3, 1)
    found = StochasticGates(net).explain(x, ReferenceSet(_rows(256, 5)), max_evals=150)
    assert int(found.n_evaluations.max()) <= 150
    assert not bool(found.certificate.holds.any())
    assert "not certified" in found.describe(0)


def test_the_evidence_is_measured_on_references_that_were_held_out():
    """The scores of the curve are those of the last five of the order in which references are shown."""
    net, x, rows = _net(), _rows(2, 1), _rows(256, 5)
    found = StochasticGates(net, objective=Preserve()).explain(x, ReferenceSet(rows), target=1)
    last = torch.randperm(256, generator=torch.Generator().manual_seed(0))[-5:]
    for i in range(2):
        kept = net(torch.where(found.selected[i], x[i], rows[last]))[:, 1].mean()
        torch.testing.assert_close(found.scores.kept[i], kept)
        removed = net(torch.where(found.selected[i], rows[last], x[i]))[:, 1].mean()
        torch.testing.assert_close(found.scores.removed[i], removed)


def test_held_out_references_are_shown_to_no_search():
    """References that differ only among those held out select the same first set, and the same order."""
    net, x, rows = _net(), _rows(2, 1), _rows(256, 5)
    held = torch.randperm(256, generator=torch.Generator().manual_seed(0))[-200:]
    other = rows.clone()
    other[held] = _rows(200, 6)
    asked = {"objective": Preserve(), "settings": Settings(certificate=CertificateSettings(weights=(0.5,)))}
    one = StochasticGates(net, **asked).explain(x, ReferenceSet(rows), target=0)
    two = StochasticGates(net, **asked).explain(x, ReferenceSet(other), target=0)
    assert torch.equal(one.selected, two.selected)
    assert torch.equal(one.log_alpha, two.log_alpha)


@pytest.mark.parametrize("internal_batch_size", [1, 2])
def test_an_example_alone_is_certified_as_in_a_batch(internal_batch_size):
    net, x, rows = _net().double(), _rows(4, 1).double(), ReferenceSet(_rows(200, 5).double())
    stg = StochasticGates(net, objective=Preserve())
    whole = stg.explain(x, rows, target=0)
    parts = stg.explain(x, rows, target=0, internal_batch_size=internal_batch_size)
    for name in ("holds", "n_references"):
        assert torch.equal(getattr(whole.certificate, name), getattr(parts.certificate, name))
    torch.testing.assert_close(whole.certificate.mean, parts.certificate.mean)
    torch.testing.assert_close(whole.attributions, parts.attributions)
    # an example of each part with several is also scored without the other one
    alone = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 1]][internal_batch_size - 1])
    assert torch.equal(whole.n_evaluations - torch.tensor([1, 0, 0, 1]), parts.n_evaluations - alone)


def test_evaluations_are_those_of_a_counter():
    rows = []
    net = _net()

    def counted(x):
        rows.append(len(x))
        return net(x)

    found = StochasticGates(counted).explain(_rows(3, 1), ReferenceSet(_rows(200, 5)), target=0)
    assert int(found.n_evaluations.sum()) == sum(rows)


def test_a_certificate_is_kept_in_a_file_and_left_out_of_other_readings(tmp_path):
    claim = OnMost(confidence=0.9, share=0.8)
    stg = StochasticGates(_net(), sparsity=Sweep(claim=claim))
    found = stg.explain(_rows(2, 1), ReferenceSet(_rows(200, 5)))
    found.save(tmp_path / "certified.safetensors")
    again = Explanation.load(tmp_path / "certified.safetensors")
    assert again.certificate.claim == claim
    assert again.certificate.retain == 0.9
    for name in ("holds", "lower", "mean", "n_references"):
        torch.testing.assert_close(
            getattr(again.certificate, name), getattr(found.certificate, name), equal_nan=True
        )
    assert found.at(budget=0.5).certificate is None
    assert again.describe(0) == found.describe(0)


def test_a_class_is_claimed_only_where_there_are_classes():
    stg = StochasticGates(lambda x: x.sum(1), sparsity=Sweep(claim=OnMost(share=0.9, same_class=True)))
    with pytest.raises(ArgumentError, match=r"claim: expected outputs \[rows, classes\]"):
        stg.explain(_rows(2, 1), ReferenceSet(_rows(200, 5)))


def test_that_a_class_is_kept_is_no_claim_about_what_is_taken_away():
    stg = StochasticGates(
        _net(), objective=Delete(), sparsity=Sweep(claim=OnMost(share=0.9, same_class=True))
    )
    with pytest.raises(ArgumentError, match=r"claim: expected .*Delete\(\)"):
        stg.explain(_rows(2, 1), ReferenceSet(_rows(200, 5)))


def test_what_no_number_of_references_could_show_is_not_tested():
    found = StochasticGates(_net(), sparsity=Sweep(retain=1.0)).explain(
        _rows(2, 1), ReferenceSet(_rows(200, 5))
    )
    assert not bool(found.certificate.holds.any())
    assert found.certificate.n_references.tolist() == [0, 0]


def test_a_model_that_fails_in_the_test_certifies_nothing():
    net, calls = _net(), []

    def failing(x):
        calls.append(len(x))
        if len(calls) > 40:
            raise RuntimeError("out of order")
        return net(x)

    with pytest.warns(UserWarning, match="out of order"):
        found = StochasticGates(failing).explain(_rows(2, 1), ReferenceSet(_rows(200, 5)), target=0)
    assert not bool(found.certificate.holds.any())


def test_black_boxes_and_layers_are_certified_too():
    net, rows = _net(), ReferenceSet(_rows(200, 5))
    stg = StochasticGates(net, objective=Preserve(), estimator=ScoreFunction())
    assert bool(stg.explain(_rows(4, 1), rows).certificate.holds.any())
    layers = LayerStochasticGates(net, net[1], objective=Preserve())
    found = layers.explain(_rows(4, 1), layer_baselines=ReferenceSet(torch.tanh(_rows(200, 5)).repeat(1, 2)))
    assert bool(found.certificate.holds.any())


def test_restarts_carry_the_certificate_of_the_first():
    net, rows = _net(), ReferenceSet(_rows(200, 5))
    one = StochasticGates(net).explain(_rows(3, 1), rows, target=0)
    several = StochasticGates(net).explain(_rows(3, 1), rows, target=0, n_restarts=2)
    assert torch.equal(one.certificate.holds, several.certificate.holds)


@pytest.mark.slow
def test_a_minimal_set_has_a_certificate_of_its_own():
    """Of the set itself: with references it is as likely as not too small for fresh ones, and says so."""
    net, x = _net(), _rows(20, 100)
    n_certified, n_true = 0, 0
    for seed in range(200, 208):
        found = StochasticGates(net, objective=Preserve()).explain(x, ReferenceSet(_rows(256, seed)))
        minimal = found.minimal()
        holds = minimal.certificate.holds
        assert int(holds.sum()) < int(found.certificate.holds.sum())
        for i in holds.nonzero().flatten().tolist():
            n_certified += 1
            n_true += _true(Preserve(), net, x[i], minimal.selected[i], int(found.target[i, 0]), OnAverage())
    assert n_certified >= 60
    assert n_true >= 0.95 * n_certified
    fixed = StochasticGates(net, objective=Preserve()).explain(x[:2]).minimal()
    assert fixed.certificate.exact
    torch.testing.assert_close(fixed.certificate.mean, fixed.retained)


@pytest.mark.parametrize("n", [1, 5, 30, 200])
def test_baseline_and_its_score_are_of_the_same_references(n):
    """Of a linear model the score of the mean is the mean of the scores."""
    weight = torch.arange(1.0, N_COLUMNS + 1)
    found = StochasticGates(lambda x: x @ weight).explain(_rows(3, 1), ReferenceSet(_rows(n, 2)))
    expected = (found.baselines[0] @ weight).expand(3)
    torch.testing.assert_close(found.scores.baseline, expected, rtol=1e-4, atol=1e-4)
    apart = (_rows(n, 2).mean(0) @ weight - expected).abs().max()
    assert n < 200 or float(apart) > 0.1  # the mean of all rows would be seen to be another one


def _certified_of_a_sum(seed, mean):
    """Certified examples whose inputs score `6 * mean` more than the references, and how many are wrong."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 6, generator=generator)
    x = x - x.mean(1, keepdim=True) + mean
    references = ReferenceSet(torch.randn(256, 6, generator=generator))
    found = StochasticGates(lambda x: x.sum(1)).explain(x, references)
    kept = (x * found.selected).sum(1) / x.sum(1)  # the references add 0 in the mean
    holds = found.certificate.holds
    return int(holds.sum()), int((holds & (kept < 0.9)).sum())


@pytest.mark.slow
def test_inputs_that_score_almost_as_the_references_are_not_certified_with_the_wrong_sign():
    """The score of one reference differs from the mean by up to a hundred times what the input's does.

    All examples of a draw share its references, so a draw counts once; two of forty are 5 %.
    """
    draws = [(seed, mean) for seed in range(20) for mean in (0.01, 0.05)]
    assert sum(_certified_of_a_sum(*draw)[1] > 0 for draw in draws) <= 2


def test_a_difference_that_references_show_clearly_is_certified():
    certified, wrong = _certified_of_a_sum(0, 0.2)
    assert certified >= 17
    assert wrong == 0
