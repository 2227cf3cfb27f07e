"""Behaviours: logit difference, divergence from the full model, and accuracy, each measured by hand too."""

import torch
from torch.nn.functional import kl_div

from stg_attr import Preserve
from stg_attr.components import ComponentStochasticGates, named_sites
from stg_attr.solve import ScoreFunction
from tests.models import mlp


def net_of(seed):
    return mlp(5, 6, 4, seed=seed).requires_grad_(False)


NET = net_of(0)
MADE = torch.Generator().manual_seed(1)
X, OTHER = 2 * torch.randn(200, 5, generator=MADE), 2 * torch.randn(200, 5, generator=MADE)
RIGHT, WRONG = NET(X).argmax(1), NET(OTHER).argmax(1)
DIFFERENT = RIGHT != WRONG
X, OTHER, RIGHT, WRONG = X[DIFFERENT], OTHER[DIFFERENT], RIGHT[DIFFERENT], WRONG[DIFFERENT]
SITES = named_sites(NET, "0", n_parts=6)


def output_of(keep, x=X, other=OTHER):
    """The output with some units, the others as on the counterfactual inputs."""
    return NET[1:](torch.where(keep, NET[0](x), NET[0](other)))


def test_a_logit_difference_is_a_function_of_the_inputs_and_two_tokens():
    def difference(x, right, wrong):
        output, row = NET(x), torch.arange(len(x))
        return output[row, right] - output[row, wrong]

    stg = ComponentStochasticGates(difference, SITES, objective=Preserve())
    found = stg.explain(X[:6], OTHER[:6], None, (RIGHT[:6], WRONG[:6]))
    output = output_of(found.selected, X[:6], OTHER[:6])
    expected = output.gather(1, RIGHT[:6, None]) - output.gather(1, WRONG[:6, None])
    torch.testing.assert_close(found.scores.kept, expected[:, 0])
    assert bool((found.scores.full > found.scores.baseline).all())


def test_a_divergence_from_the_full_model_is_a_score_of_at_most_0():
    def agreement(x, full):
        return -kl_div(NET(x).log_softmax(1), full, reduction="none", log_target=True).sum(1)

    full = NET(X).log_softmax(1)
    found = ComponentStochasticGates(agreement, SITES, objective=Preserve()).explain(
        X[:6], OTHER[:6], None, full[:6]
    )

    def divergence(keep):
        p, q = NET(X[:6]).softmax(1), output_of(keep, X[:6], OTHER[:6]).softmax(1)
        return (p * (p / q).log()).sum(1)

    kept, nothing = divergence(found.selected), divergence(torch.zeros_like(found.selected))
    torch.testing.assert_close(-found.scores.kept, kept, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.scores.full, torch.zeros(6), rtol=0, atol=1e-6)
    assert bool((kept <= 0.1 * nothing + 1e-6).all())


def divergence_of(output, full):
    return kl_div(output.log_softmax(1), full, reduction="none", log_target=True).sum(1)


def test_the_divergence_of_one_set_for_all_inputs():
    """One input many times, so that the mean over those kept from the search is that of the one."""
    x, other = X[:1].expand(120, -1), OTHER[:1].expand(120, -1)
    full = NET(x).log_softmax(1)
    stg = ComponentStochasticGates(NET, SITES, objective=Preserve())
    found = stg.explain_shared(x, other, RIGHT[:1].expand(120), labels=full, loss=divergence_of, n_steps=4)
    at = found.population.n_open[0] == found.n_selected
    expected = divergence_of(output_of(found.selected[0], X[:1], OTHER[:1]), full[:1]).double()
    torch.testing.assert_close(found.population.loss[0, at][:1], expected, rtol=1e-4, atol=1e-6)
    assert float(found.population.full_loss) < 1e-6


def test_the_accuracy_of_one_set_for_all_inputs():
    stg = ComponentStochasticGates(NET, SITES, objective=Preserve())
    found = stg.explain_shared(X, OTHER, RIGHT, labels=RIGHT, n_steps=4)
    assert float(found.population.full_accuracy) == 1
    accuracy = found.population.accuracy[0]
    assert float(accuracy[found.population.n_open[0] == 0][0]) == 0  # other inputs have other answers
    expected = (output_of(found.selected[0]).argmax(1) == RIGHT).double().mean()
    error = (expected * (1 - expected) / found.population.n_rows).sqrt()  # of those kept from the search
    at = found.population.n_open[0] == found.n_selected
    assert abs(float(accuracy[at][0] - expected)) <= 3 * float(error)


def test_accuracy_as_the_score_needs_no_slopes():
    def right(x, labels):
        return (NET(x).argmax(1) == labels).double()

    stg = ComponentStochasticGates(right, SITES, objective=Preserve(), estimator=ScoreFunction())
    found = stg.explain(X[:6], OTHER[:6], None, RIGHT[:6])
    assert torch.equal(output_of(found.selected, X[:6], OTHER[:6]).argmax(1), RIGHT[:6])
    assert int(found.n_selected.max()) < 6
