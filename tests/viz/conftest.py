"""Explanations made by hand, so that pictures are judged without a solve, and matplotlib as installed."""

from dataclasses import replace

import matplotlib as mpl
import pytest
import torch

from stg_attr.attribution import Curve, Explanation, Restarts, Scores, Status
from stg_attr.gates import BinaryConcrete, FeatureGroups


@pytest.fixture(autouse=True)
def _plain_style():
    """The user's own matplotlibrc must not decide what a test sees."""
    with mpl.rc_context():
        mpl.rcdefaults()
        yield


def _curve(ranks, count):
    """Kept scores that rise and removed ones that fall in the number of open gates."""
    n_open = torch.tensor([[0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 10**6]]).clamp_max(count)
    n_open = n_open.unique().unsqueeze(0).expand(ranks, -1)
    share = 1 - torch.exp(-n_open / 3.0)
    share = share / share[:, -1:]
    return n_open, share


@pytest.fixture
def explain():
    """`explain(inputs, log_alpha, ...)`: an explanation with these gates, of a score from .1 to .9."""

    def make(inputs, log_alpha, feature_mask=None, status=Status.CONVERGED, baselines=None, n_selected=None):
        several = isinstance(inputs, tuple)
        inputs = inputs if several else (inputs,)
        groups = FeatureGroups.from_mask(feature_mask, inputs)
        batch, count = log_alpha.shape
        chosen = log_alpha > 0
        if n_selected is not None:
            chosen = log_alpha.argsort(1, descending=True).argsort(1) < n_selected
        gates = BinaryConcrete()
        probabilities = gates.active_probability(log_alpha)
        n_open, share = _curve(batch, count)
        low, high = torch.full((batch,), 0.1), torch.full((batch,), 0.9)
        if status is Status.NOTHING_TO_EXPLAIN:
            high = low
        kept, removed = 0.1 + 0.8 * share, 0.9 - 0.8 * share.sqrt()
        measured = 1 - torch.exp(-chosen.sum(1) / 3.0)
        ids = groups.feature_ids.expand(batch, -1)
        layout = tuple(
            groups.expand(probabilities.unsqueeze(0), i, ungated=0.0)[0].expand(x.shape).float()
            for i, x in enumerate(inputs)
        )
        return Explanation(
            attributions=layout if several else layout[0],
            log_alpha=log_alpha,
            active_probabilities=probabilities,
            selected=chosen,
            influence=torch.ones_like(log_alpha),
            effect=torch.zeros_like(log_alpha),
            feature_ids=ids,
            feature_mask=groups.index,
            target=None,
            scores=Scores(high, low, low + 0.8 * measured, high - 0.8 * measured.sqrt()),
            curve=Curve(n_open, kept, removed, share),
            loss_trace=torch.exp(-torch.arange(60.0) / 12)[:, None].expand(60, batch).clone(),
            status=(status,) * batch,
            n_evaluations=torch.full((batch,), 480),
            seed=0,
            gates=gates,
            inputs=inputs,
            baselines=baselines or tuple(torch.zeros_like(x[:1]) for x in inputs),
        )

    return make


@pytest.fixture
def photo():
    """A picture of coloured slopes, [1, 3, 12, 16]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 12), torch.linspace(0, 1, 16), indexing="ij")
    return torch.stack([x, y, (x - y).abs()]).unsqueeze(0)


@pytest.fixture
def blocks():
    """Twelve square features of a picture of 12 by 16 pixels, [1, 1, 12, 16]."""
    rows, columns = torch.arange(12) // 4, torch.arange(16) // 4
    return (rows[:, None] * 4 + columns)[None, None]


@pytest.fixture
def image(explain, photo, blocks):
    """Three of twelve blocks of a photograph are selected."""
    log_alpha = torch.full((1, 12), -6.0)
    log_alpha[0, [5, 6, 10]] = torch.tensor([9.0, 5.0, 2.0])
    log_alpha[0, 1] = -1.5
    return explain(photo, log_alpha, feature_mask=blocks)


@pytest.fixture
def images(explain, photo, blocks):
    """Two photographs."""
    log_alpha = torch.full((2, 12), -6.0)
    log_alpha[0, [5, 6, 10]] = torch.tensor([9.0, 5.0, 2.0])
    log_alpha[1, [0, 3]] = torch.tensor([7.0, 1.0])
    return explain(torch.cat([photo, photo.flip(-1)]), log_alpha, feature_mask=blocks)


@pytest.fixture
def table(explain):
    """Twelve rows of six features."""
    rows, columns = torch.arange(12.0)[:, None], torch.arange(6.0)
    return explain((rows - 6) * (columns + 1) / 10, 6 * torch.cos(rows * 0.7 + columns * 1.3))


@pytest.fixture
def signed(table):
    """The table, with names and with contributions of both signs that add up to the difference, .8."""
    raw = table.inputs[0] * torch.tensor([1.0, -0.4, 0.2, 0.1, 0.5, -0.3])
    raw = raw - (raw.sum(1, keepdim=True) - 0.8) / 6
    return replace(table, contributions=raw, feature_names=tuple("uvwxyz"))


@pytest.fixture
def doubtful(signed):
    """The same with a status that says so."""
    return replace(signed, status=(Status.NOT_CONVERGED,) * len(signed))


@pytest.fixture
def restarted(table):
    """The table, with sixteen restarts, which select by chance what the gates say is likely."""
    chance = torch.rand(16, 12, 6, generator=torch.Generator().manual_seed(0))
    selected = chance < table.active_probabilities.clamp(0.05, 0.95)
    return replace(table, restarts=Restarts(torch.cat([table.selected[None], selected[1:]])))


@pytest.fixture
def signal(explain):
    """Three channels over forty steps, features of five steps."""
    t = torch.arange(40.0)
    x = torch.stack([torch.sin(t / 4), torch.cos(t / 7), torch.zeros(40)]).unsqueeze(0)
    mask = (torch.arange(40) // 5)[None] + 8 * torch.arange(3)[:, None]
    log_alpha = torch.full((1, 24), -5.0)
    log_alpha[0, [2, 3, 12]] = torch.tensor([6.0, 4.0, 1.0])
    return explain(x, log_alpha, feature_mask=mask[None])


@pytest.fixture
def sentence(explain):
    """Eight positions with gates, between two special tokens without."""
    log_alpha = torch.tensor([[-5.0, -4.0, 4.0, 3.0, -2.0, -5.0, 8.0, -1.0]])
    mask = torch.tensor([[-1, 0, 1, 2, 3, 4, 5, 6, 7, -1]])
    return explain(torch.zeros(1, 10), log_alpha, feature_mask=mask)


@pytest.fixture
def tokens():
    return ["[CLS]", "the", "plot", "un", "##believ", "##able", "but", "great", "!", "[SEP]"]
