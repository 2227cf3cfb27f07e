"""What is asked: fidelities against their formulas, objectives against their views, per example."""

import itertools
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.errors import ArgumentError
from stg_attr.objective import Anchors, Delete, Hybrid, OutputMatch, Preserve, RetainedScore
from tests.examples import examples

FIDELITIES = [RetainedScore(), OutputMatch()]
OBJECTIVES = [kind(fidelity) for kind, fidelity in itertools.product([Preserve, Delete, Hybrid], FIDELITIES)]
numbers = st.floats(-100, 100)


def _anchors(seed=0, batch=3, references=4):
    generator = torch.Generator().manual_seed(seed)
    full = torch.randn(batch, generator=generator, dtype=torch.float64)
    return Anchors.measure(full, torch.randn(references, batch, generator=generator, dtype=torch.float64))


def _scores(rows, seed=1, batch=3):
    return torch.randn(rows, batch, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(numbers, st.lists(numbers, min_size=1, max_size=5))
@examples(50)
def test_anchors_are_the_mean_and_the_root_mean_square(full, references):
    tensor = torch.tensor([[b] for b in references], dtype=torch.float64)
    anchors = Anchors.measure(torch.tensor([full], dtype=torch.float64), tensor)
    n = len(references)
    assert float(anchors.baseline) == pytest.approx(sum(references) / n, abs=1e-9)
    assert float(anchors.spread) ** 2 == pytest.approx(
        sum((full - b) ** 2 for b in references) / n, rel=1e-9, abs=1e-12
    )


def test_rows_of_anchors_are_those_of_the_examples():
    anchors, rows = _anchors(), torch.tensor([2, 0])
    for name, value in vars(anchors.rows(rows)).items():
        assert torch.equal(value, getattr(anchors, name)[rows])


@given(numbers, numbers, numbers)
@examples(50)
def test_fidelities_are_their_formulas(full, baseline, score):
    if abs(full - baseline) < 1e-3:
        return
    s, x, b = (torch.tensor([value], dtype=torch.float64) for value in (score, full, baseline))
    anchors = Anchors.measure(x, b.unsqueeze(0))
    kept = (score - baseline) / (full - baseline)
    assert float(RetainedScore().retained(s, anchors)) == pytest.approx(kept, rel=1e-9, abs=1e-9)
    assert float(RetainedScore().remaining(s, anchors)) == pytest.approx(kept, rel=1e-9, abs=1e-9)
    missed = abs(score - full) / abs(full - baseline)
    left = abs(score - baseline) / abs(full - baseline)
    assert float(OutputMatch().retained(s, anchors)) == pytest.approx(1 - missed, rel=1e-9, abs=1e-9)
    assert float(OutputMatch().remaining(s, anchors)) == pytest.approx(left, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("fidelity", FIDELITIES, ids=repr)
def test_the_whole_input_retains_all_and_a_single_baseline_nothing(fidelity):
    full, baseline = torch.tensor([3.0, -2.0]), torch.tensor([1.0, 5.0])
    anchors = Anchors.measure(full, baseline.unsqueeze(0))
    for share in (fidelity.retained, fidelity.remaining):
        assert torch.equal(share(full, anchors), torch.ones(2))
        assert torch.equal(share(baseline, anchors), torch.zeros(2))


@pytest.mark.parametrize("fidelity", FIDELITIES, ids=repr)
@pytest.mark.parametrize(("factor", "shift"), [(1e-6, 0.0), (1e6, 0.0), (1.0, 100.0), (-3.0, 7.0)])
def test_scale_and_shift_of_the_score_do_not_matter(fidelity, factor, shift):
    full, references, scores = _scores(1)[0], _scores(4, seed=2), _scores(5, seed=3)
    anchors = Anchors.measure(full, references)
    moved = Anchors.measure(factor * full + shift, factor * references + shift)
    for share in (fidelity.retained, fidelity.remaining):
        torch.testing.assert_close(share(factor * scores + shift, moved), share(scores, anchors))


def test_output_match_counts_both_directions_as_an_error_and_retained_score_does_not():
    anchors = Anchors.measure(torch.tensor([1.0]), torch.tensor([[0.0]]))
    above = torch.tensor([1.5])
    assert float(RetainedScore().retained(above, anchors)) == 1.5
    assert float(OutputMatch().retained(above, anchors)) == 0.5


def test_output_match_has_a_scale_where_references_cancel_out():
    """The mean baseline equals the score, single references do not."""
    anchors = Anchors.measure(torch.tensor([0.0]), torch.tensor([[1.0], [-1.0]]))
    assert bool(anchors.explainable)
    assert float(OutputMatch().retained(torch.tensor([0.5]), anchors)) == 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-10, 1.0, 1e10])
def test_nothing_is_to_explain_where_scores_differ_by_rounding_only(dtype, size):
    full = size * torch.tensor([1.0, 1.0, 1.0], dtype=dtype)
    eps = torch.finfo(dtype).eps
    references = size * torch.tensor([[1.0, 1.0 + 2 * eps, 1.0 + 1000 * eps]], dtype=dtype)
    assert Anchors.measure(full, references).explainable.tolist() == [False, False, True]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_nothing_is_divided_by_zero(objective):
    anchors = Anchors.measure(torch.zeros(3), torch.zeros(2, 3))
    loss = objective.loss(torch.zeros(2 * objective.n_views, 3), anchors)
    assert bool(loss.isfinite().all())


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_views_are_the_gates_the_complement_or_both(objective):
    gates = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
    kept = [gates] if isinstance(objective, (Preserve, Hybrid)) else []
    removed = [1 - gates] if isinstance(objective, (Delete, Hybrid)) else []
    assert torch.equal(objective.views(gates), torch.cat(kept + removed))
    assert objective.n_views == len(kept + removed)


def _missed(fidelity, scores, anchors):
    """Loss of what is kept, and of what is removed, written out."""
    if isinstance(fidelity, OutputMatch):
        return (
            torch.log(1 + (scores - anchors.full).abs() / anchors.spread),
            torch.log(1 + (scores - anchors.baseline).abs() / anchors.spread),
        )
    share = (scores - anchors.baseline) / (anchors.full - anchors.baseline)
    return 1 - share, share


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_the_loss_is_what_is_missed_plus_what_is_left(objective):
    anchors, scores = _anchors(), _scores(5 * objective.n_views)
    loss = objective.loss(scores, anchors)
    assert loss.shape == (5, 3)
    expected = torch.zeros(5, 3, dtype=torch.float64)
    if isinstance(objective, (Preserve, Hybrid)):
        expected += _missed(objective.fidelity, scores[:5], anchors)[0]
    if isinstance(objective, (Delete, Hybrid)):
        expected += _missed(objective.fidelity, scores[-5:], anchors)[1]
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_losses_of_some_views_are_those_of_all(objective):
    anchors, scores = _anchors(), _scores(4 * objective.n_views)
    whole = objective.losses(scores, anchors, 0, 4)
    torch.testing.assert_close(objective.summed(whole), objective.loss(scores, anchors))
    for first in range(len(scores)):
        for stop in range(first + 1, len(scores) + 1):
            some = objective.losses(scores[first:stop], anchors, first, 4)
            assert torch.equal(some, whole[first:stop])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_slopes_in_the_gates_are_those_through_the_views(objective):
    leaf = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    views = objective.views(leaf)
    slopes = torch.randn(views.shape, generator=torch.Generator().manual_seed(1))
    (through,) = torch.autograd.grad(views, leaf, slopes)
    torch.testing.assert_close(objective.in_gates(slopes), through)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_faithful_gates_have_no_loss(objective):
    full, baseline = torch.tensor([2.0, -3.0]), torch.tensor([-1.0, 4.0])
    anchors = Anchors.measure(full, baseline.unsqueeze(0))
    kept = [full] if isinstance(objective, (Preserve, Hybrid)) else []
    removed = [baseline] if isinstance(objective, (Delete, Hybrid)) else []
    assert torch.equal(objective.loss(torch.stack(kept + removed), anchors), torch.zeros(1, 2))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_rows_do_not_depend_on_each_other(objective):
    """Neither the losses, nor their gradients, nor where one row is not finite."""
    anchors = _anchors()
    scores = _scores(2 * objective.n_views)
    broken = scores.clone()
    broken[:, 1] = torch.nan
    gradients = []
    for value in (scores, broken):
        leaf = value.clone().requires_grad_()
        objective.loss(leaf, anchors).sum().backward()
        gradients.append(leaf.grad)
    losses = [objective.loss(value, anchors)[:, [0, 2]] for value in (scores, broken)]
    assert torch.equal(*losses)
    assert torch.equal(gradients[0][:, [0, 2]], gradients[1][:, [0, 2]])
    assert bool((gradients[0] != 0).all())


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_the_gradient_is_the_one_of_finite_differences(objective):
    anchors, scores = _anchors(), _scores(2 * objective.n_views)
    assert torch.autograd.gradcheck(lambda s: objective.loss(s, anchors), scores.requires_grad_())


@pytest.mark.parametrize("kind", [Preserve, Delete, Hybrid])
@pytest.mark.parametrize("wrong", [OutputMatch, "OutputMatch", None, 0.9, Preserve()], ids=repr)
def test_a_fidelity_that_is_none_is_refused(kind, wrong):
    found = re.escape(repr(wrong))
    with pytest.raises(ArgumentError, match=rf"fidelity: .*Fidelity; found {found}\. .*OutputMatch\(\)"):
        kind(wrong)
