"""Solves that are watched: the same result, pictures on the way, and what was learned when stopped."""

import pytest
import torch

from stg_attr import ArgumentError, LayerStochasticGates, StochasticGates
from stg_attr.attribution import Status

widgets = pytest.importorskip("stg_attr.widgets")  # whose error says what is missing
live = pytest.importorskip("stg_attr.widgets.live")


def test_without_a_notebook_a_bar_is_shown(net, images, blocks, capsys):
    explanation = widgets.watch(StochasticGates(net), images, feature_mask=blocks, target=1)
    assert explanation.converged.all()
    assert "12/12" in capsys.readouterr().err


def test_watching_changes_nothing_but_the_count(net, images, blocks, image, untouched):
    seen = []
    stg = StochasticGates(net)
    with untouched(net, images):
        explanation = stg.explain(
            images,
            feature_mask=blocks,
            target=1,
            on_step=lambda done, n_steps, so_far: seen.append((done, n_steps, so_far())),
        )
    assert torch.equal(explanation.log_alpha, image.log_alpha)
    assert [done for done, _, _ in seen] == list(range(1, 13))
    assert (explanation.n_evaluations > image.n_evaluations).all()
    assert torch.equal(seen[-1][2].selected, image.selected)
    assert len(seen[4][2].loss_trace) == 5
    assert [b.shape for b in seen[4][2].baselines] == [b.shape for b in image.baselines]


@pytest.mark.filterwarnings("ignore::stg_attr.errors.Interrupted")
def test_a_watcher_that_interrupts_gets_what_was_learned(net, images, blocks):
    def stop(done, n_steps, so_far):
        if done == 5:
            raise KeyboardInterrupt

    explanation = StochasticGates(net).explain(images, feature_mask=blocks, target=1, on_step=stop)
    assert explanation.status == (Status.INTERRUPTED,) * 3
    assert len(explanation.loss_trace) == 5


class Shown:
    """Stands for the cell of a notebook."""

    def __init__(self):
        self.updates = []

    def update(self, what, **_):
        self.updates.append(what)


def _notebook(monkeypatch):
    shown = Shown()
    monkeypatch.setattr(live, "get_ipython", lambda: type("Shell", (), {"kernel": object()})())
    monkeypatch.setattr(live, "display", lambda *_, **__: shown)
    return shown


def test_in_a_notebook_the_cell_ends_with_the_result(net, images, blocks, image, monkeypatch):
    shown = _notebook(monkeypatch)
    explanation = widgets.watch(StochasticGates(net), images, feature_mask=blocks, target=1)
    assert torch.equal(explanation.log_alpha, image.log_alpha)
    explorer = shown.updates[-1]
    assert isinstance(explorer, widgets.Explorer)
    assert explorer.explanation is explanation
    assert explorer.budget == int(explanation.n_selected[0])
    assert explorer.progress["text"].startswith(f"{len(explanation.loss_trace)} steps in")


def test_parts_of_a_batch_have_no_picture_until_all_are_done(net, images, blocks, monkeypatch):
    shown = _notebook(monkeypatch)
    widgets.watch(StochasticGates(net), images, feature_mask=blocks, target=1, internal_batch_size=2)
    assert all(isinstance(update, dict) for update in shown.updates[:-1])
    assert len(shown.updates[-1].explanation) == 3


@pytest.mark.filterwarnings("ignore::stg_attr.errors.Interrupted")
def test_an_interruption_of_the_last_reading_returns_the_latest(net, images, blocks, monkeypatch):
    _notebook(monkeypatch)
    from stg_attr.attribution.reading import Reading

    real, calls = Reading.read, []

    def read(*arguments, **settings):
        calls.append(settings)
        if len(calls) == 2:  # the first is that of the first picture; a solve so short has no other
            raise KeyboardInterrupt
        return real(*arguments, **settings)

    monkeypatch.setattr(Reading, "read", read)
    explanation = widgets.watch(StochasticGates(net), images, feature_mask=blocks, target=1)
    assert explanation.status == (Status.INTERRUPTED,) * 3
    assert bool(explanation.scores.kept.isfinite().all())  # those of the last picture, which were measured


def test_layers_are_watched_too():
    embedding = torch.nn.Embedding.from_pretrained(torch.eye(4))
    weight = torch.tensor([0.0, 1.0, 0.0, 5.0])
    stg = LayerStochasticGates(lambda ids: embedding(ids).sum(1) @ weight, embedding)
    ids, seen = torch.tensor([[2, 3, 0]]), []
    explanation = stg.explain(ids, on_step=lambda done, n_steps, so_far: seen.append(so_far()))
    assert explanation.selected.tolist() == [[False, True, False]]
    assert torch.equal(seen[-1].selected, explanation.selected)
    explorer = widgets.explore(explanation, view=widgets.TextView(["a", "good", "film"]))
    assert explorer.payload["examples"][0]["scene"]["kind"] == "text"
    assert widgets.explore(explanation).payload["examples"][0]["scene"]["kind"] == "table"  # not a series


def test_restarts_are_watched_as_one(net, images, blocks):
    seen = []
    StochasticGates(net).explain(
        images,
        feature_mask=blocks,
        target=1,
        n_restarts=2,
        on_step=lambda done, n_steps, so_far: seen.append(so_far()),
    )
    assert {len(explanation) for explanation in seen} == {3}


def test_the_pace_has_a_say_in_how_many_pictures_are_read(net, images, blocks, monkeypatch):
    _notebook(monkeypatch)
    stg, arguments = StochasticGates(net), {"feature_mask": blocks, "target": 1, "n_steps": 8}
    often = widgets.watch(stg, images, pace=widgets.Pace(pause=0, times=0), **arguments)
    seldom = widgets.watch(stg, images, pace=widgets.Pace(pause=1000), **arguments)
    assert (often.n_evaluations > seldom.n_evaluations).all()


def test_a_pace_is_of_numbers_of_at_least_zero():
    with pytest.raises(ArgumentError, match=r"pause: .*at least 0; found -1"):
        widgets.Pace(pause=-1)
