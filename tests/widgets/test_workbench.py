"""The workbench: what its controls say is what is solved; runs are kept and compared."""

import re
import time

import pytest
import torch

from stg_attr import Delete, OutputMatch, Preserve, Status, StochasticGates
from stg_attr.errors import ArgumentError
from stg_attr.gates import references
from stg_attr.select import Budget

widgets = pytest.importorskip("stg_attr.widgets")  # whose error says what is missing
workbench = pytest.importorskip("stg_attr.widgets.workbench")


@pytest.fixture
def bench(net, images, blocks, hostile):
    return widgets.Workbench(
        net, images, feature_mask=blocks, names=["one", hostile, "three"], classes=["a", "b", "c"]
    )


def _control(bench, name):
    found = [bench]
    while found:
        widget = found.pop()
        if getattr(widget, "description", None) == name:
            return widget
        found += getattr(widget, "children", ())
    raise AssertionError(name)


def test_the_controls_decide_what_is_solved(bench, net, images, blocks):
    _control(bench, "Example").value = 1
    _control(bench, "Target").value = 2
    _control(bench, "Objective").value = "Delete"
    _control(bench, "Budget").value = "20% of the features"
    _control(bench, "Steps").value = 7
    run = bench.explain()
    stg = StochasticGates(net, objective=Delete(), sparsity=Budget(0.2))
    alone = stg.explain(images[1:2], feature_mask=blocks, target=2, n_steps=7)
    assert torch.equal(run.explanation.selected, alone.selected)
    assert run.explanation.target.tolist() == [[2]]
    assert bench.history == [run]


def test_the_model_is_left_as_it_was(images, untouched):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 3), torch.nn.BatchNorm1d(3)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with untouched(model, images):
        widgets.Workbench(model, images).explain()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_baselines_are_chosen_by_name(net, images, blocks):
    bench = widgets.Workbench(net, images, feature_mask=blocks, baselines={"grey": 0.5})
    assert float(bench.explain().explanation.baselines[0].mean()) == 0.5


def test_a_blur_and_the_output_match_are_in_the_menus(bench, net, images, blocks):
    _control(bench, "Baseline").value = "blur"
    _control(bench, "Objective").value = "Preserve, match the output"
    stg = StochasticGates(net, objective=Preserve(OutputMatch()))
    alone = stg.explain(images[:1], references.blur(1.0), feature_mask=blocks)
    found = bench.explain().explanation
    assert torch.equal(found.log_alpha, alone.log_alpha)
    assert torch.equal(found.baselines[0], alone.baselines[0])


def test_only_images_are_blurred(table):
    bench = widgets.Workbench(lambda x: x.sum(1), table.inputs[0])
    assert _control(bench, "Baseline").options == ("zeros", "mean of the examples")


def _shown(bench):
    (only,) = bench._place.children
    return only.value


def test_the_features_are_shown_before_a_solve(bench):
    before = _shown(bench)
    assert "Before the solve: 16 features" in before
    assert 'alt="Image divided into 16 features, and the baseline."' in before
    _control(bench, "Example").value = 1
    other = _shown(bench)
    assert other != before
    _control(bench, "Baseline").value = "blur"
    assert _shown(bench) != other
    assert "Before the solve" in bench._markup()[0]["text/html"]
    bench.explain()
    assert "Before the solve" not in bench._markup()[0]["text/html"]
    _control(bench, "Example").value = 0
    assert _shown(bench) != other


def test_rows_are_listed_with_their_names_and_baselines(hostile):
    rows = torch.tensor([[70.0, 0.0, 3.5], [30.0, 2.0, 4.5]])
    names = ["age", hostile, "rate"]
    bench = widgets.Workbench(lambda x: x.sum(1), rows, feature_names=names)
    _control(bench, "Baseline").value = "mean of the examples"
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", _shown(bench))
    assert cells[:6] == ["feature", "input", "baseline", "age", "70", "50"]
    assert cells[-3:] == ["rate", "3.5", "4"]
    assert "&lt;img src=x" in _shown(bench)
    assert "<img" not in _shown(bench)
    assert bench.explain().explanation.feature_names == tuple(names)


def test_words_and_groups_are_listed(text, tokens):
    mask = torch.tensor([-1, 0, 1, 1, 1, 4, 5, -1])[None, :, None]
    model = lambda x: x[:, 4].sum(1)  # noqa: E731
    bench = widgets.Workbench(model, text.inputs[0], view=widgets.TextView(tokens), feature_mask=mask)
    assert "un ##believ ##able</th><td>12 elements, mean " in _shown(bench)


def test_a_mask_that_does_not_fit_is_told(net, images):
    bench = widgets.Workbench(net, images, feature_mask=torch.zeros(1, 1, 5, 5, dtype=torch.long))
    assert bench._status.value.startswith("feature_mask")


def test_a_change_during_a_solve_hides_nothing(net, images, blocks):
    def slow(x):
        time.sleep(0.05)
        return net(x)

    bench = widgets.Workbench(slow, images, feature_mask=blocks)
    _control(bench, "Explain").click()
    _wait(lambda: bench._explorer is not None)
    _control(bench, "Example").value = 2
    assert bench._explorer is not None
    bench._explorer.chosen = [1]
    assert bench._explorer.answer["problem"]  # the model is busy, or not known before the end
    bench.stop()
    _wait(lambda: not _control(bench, "Explain").disabled)


def test_runs_of_one_example_are_compared(bench):
    first = bench.explain()
    _control(bench, "Objective").value = "Preserve"
    second = bench.explain()
    shown = bench.compare([first, second])
    assert [m["name"] for m in shown.methods] == ["1. Hybrid", "2. Preserve"]
    _control(bench, "Runs").value = (1,)
    _control(bench, "Show or compare").click()
    assert [m["name"] for m in bench._explorer.methods] == ["run 2"]
    assert _control(bench, "Runs").options[0][0].startswith("1. one, predicted class")


def test_runs_of_several_examples_are_not(bench):
    first = bench.explain()
    _control(bench, "Example").value = 2
    with pytest.raises(ArgumentError, match=r"runs: .*one example.*found .*\[0, 2\]"):
        bench.compare([first, bench.explain()])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::stg_attr.errors.Interrupted")
def test_stop_keeps_what_was_learned(net, images, blocks):
    def slow(x):
        time.sleep(0.2)
        return net(x)

    bench = widgets.Workbench(slow, images, feature_mask=blocks)
    _control(bench, "Steps").value = 10_000
    _control(bench, "Explain").click()
    _wait(lambda: bench._explorer is not None)
    _control(bench, "Stop").click()
    _wait(lambda: bench.history)
    stopped = bench.history[0].explanation
    assert stopped.status == (Status.INTERRUPTED,)
    assert bool(stopped.scores.kept.isfinite().all())  # those of the last picture, which were measured
    _wait(lambda: not _control(bench, "Explain").disabled)


def test_what_goes_wrong_in_the_thread_is_told(net, images, blocks):
    def broken(x):
        return net(x) / (0 if broken.on else 1)

    broken.on = False
    bench = widgets.Workbench(broken, images, feature_mask=blocks)
    broken.on = True
    bench._explain_and_say()
    assert bench._status.value.startswith("ArgumentError: forward_func: expected finite scores")


def _wait(ready):
    for _ in range(600):
        if ready():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_saved_notebooks_show_the_runs(bench, monkeypatch, hostile):
    shown = []
    update = lambda _, data, raw: shown.append(data)  # noqa: E731
    monkeypatch.setattr(workbench, "display", lambda *_, **__: type("Cell", (), {"update": update})())
    bench._ipython_display_()
    _control(bench, "Example").value = 1
    bench.explain()
    (data,) = shown
    assert set(data) == {"text/html", "text/plain"}
    assert "1. &lt;img src=x onerror=&#34;harm()" in data["text/html"]
    assert "<img src=x" not in data["text/html"]
    assert "data:image/png;base64," in data["text/html"]


def test_masks_may_have_a_row_for_each_example(net, images, blocks):
    own = torch.cat([blocks, blocks // 10, blocks])
    bench = widgets.Workbench(net, images, feature_mask=own)
    _control(bench, "Example").value = 1
    alone = StochasticGates(net).explain(images[1:2], feature_mask=own[1:2])
    assert bench.explain().explanation.feature_ids.tolist() == alone.feature_ids.tolist() == [[0, 1, 2, 3]]


def test_a_run_is_named_by_the_controls_it_began_with(net, images, blocks):
    def changing(x):
        _control(bench, "Objective").value = "Delete"
        _control(bench, "Example").value = 2
        return net(x)

    bench = widgets.Workbench(net, images, feature_mask=blocks)
    bench._model = changing
    assert bench.explain().settings[:1] + bench.history[0].settings[3:4] == ("example 0", "Hybrid")


def test_messages_are_shown_in_full(net, images):
    bench = widgets.Workbench(lambda x: 1 / 0 if len(x) > 1 else net(x), images)
    bench._explain_and_say()
    assert bench._status.value == "ZeroDivisionError: division by zero"
    assert type(bench._status).__name__ == "HTML"  # wraps; a Label ends with an ellipsis
    bench._say("<b>" + "long " * 50)
    assert bench._status.value == "&lt;b&gt;" + "long " * 50


def test_text_views_follow_the_example(text, tokens):
    view = widgets.TextView([tokens, [token.upper() for token in tokens]])
    model = lambda x: x[:, 4].sum(1) + 0.5 * x[:, 6].sum(1)  # noqa: E731
    mask = torch.tensor([-1, 0, 1, 2, 3, 4, 5, -1])[None, :, None]
    bench = widgets.Workbench(model, text.inputs[0], view=view, feature_mask=mask)
    _control(bench, "Example").value = 1
    bench.explain()
    assert "FILM" in bench._explorer.markup()


def test_one_example_is_singular(net, images):
    assert "Workbench of 1 example<" in widgets.Workbench(net, images[:1])._markup()[0]["text/html"]
    assert "Workbench of 3 examples<" in widgets.Workbench(net, images)._markup()[0]["text/html"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"names": ["a"]}, "names: expected one for each of 3 examples; found 1"),
        ({"classes": ["a"]}, "classes: expected one for each of 3 outputs; found 1"),
    ],
)
def test_counts_must_match(settings, message, net, images):
    with pytest.raises(ArgumentError, match=message):
        widgets.Workbench(net, images, **settings)


def test_budgets_are_chosen_by_name(net, images, blocks):
    bench = widgets.Workbench(net, images, feature_mask=blocks, budgets={"half": Budget(0.5)})
    assert _control(bench, "Budget").options == ("half",)
    assert int(bench.explain().explanation.n_selected) <= 8
