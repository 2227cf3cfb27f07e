"""Pictures compared with those that were looked at. STG_NEW_BASELINES=1 draws them anew: look at each one."""

import os
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.testing.compare import compare_images

from stg_attr import viz

BASELINES = Path(__file__).parent / "baseline"
TOLERANCE = 4  # root mean square of 0 to 255: edges of letters may differ between processors, nothing else
DRAWN_WITH = "3.11."  # other releases of matplotlib set letters elsewhere

pytestmark = pytest.mark.skipif(
    not mpl.__version__.startswith(DRAWN_WITH), reason=f"the baselines are those of matplotlib {DRAWN_WITH}"
)

HEADS = tuple(f"layers.{layer}.{part}" for layer in range(2) for part in ("attn[0]", "attn[1]", "mlp"))

PICTURES = {
    "panel": lambda get: viz.panel(get("image")),
    "grid": lambda get: viz.grid(get("images")),
    "strip": lambda get: viz.strip(get("image"), budgets=(0.1, 0.3, 0.5)),
    "overlay": lambda get: viz.overlay(get("image")),
    "superpixels": lambda get: viz.superpixels(get("image")),
    "bars": lambda get: viz.bars(get("table"), 3, names=list("uvwxyz")),
    "signed_bars": lambda get: viz.bars(get("signed"), 3, top=4),
    "doubtful_bars": lambda get: viz.bars(get("doubtful"), 3),
    "waterfall": lambda get: viz.waterfall(get("signed"), 3),
    "contributions": lambda get: viz.beeswarm(get("signed")),
    "mean_contributions": lambda get: viz.importance(get("signed")),
    "scatter": lambda get: viz.scatter(get("signed"), "v", colour="w"),
    "importance": lambda get: viz.importance(get("table")),
    "beeswarm": lambda get: viz.beeswarm(get("table")),
    "matrix": lambda get: viz.matrix(get("table")),
    "series": lambda get: viz.series(get("signal"), names=["sine", "cosine", "flat"]),
    "components": lambda get: viz.components(replace(get("table"), feature_names=HEADS)),
    "curve": lambda get: viz.curve(get("image")),
    "trace": lambda get: viz.trace(get("table")),
    "frequency": lambda get: viz.frequency(get("restarted"), 3, names=list("uvwxyz")),
    "comparison": lambda get: viz.comparison(
        {"gates": get("image"), "other": get("image").attributions - 0.5}
    ),
    "text": lambda get: viz.text(get("sentence"), get("tokens"), names=["positive"]).draw(),
}


@pytest.mark.parametrize("name", PICTURES)
def test_looks_as_it_did(name, request, tmp_path):
    drawn = tmp_path / f"{name}.png"
    PICTURES[name](request.getfixturevalue).save(drawn, dpi=50)
    if os.environ.get("STG_NEW_BASELINES"):
        (BASELINES / drawn.name).write_bytes(drawn.read_bytes())
    assert compare_images(str(BASELINES / drawn.name), str(drawn), tol=TOLERANCE) is None


def test_the_comparison_would_see_another_picture(request, tmp_path):
    wrong = tmp_path / "bars.png"
    viz.bars(request.getfixturevalue("table"), 4, names=list("uvwxyz")).save(wrong, dpi=50)
    assert compare_images(str(BASELINES / "bars.png"), str(wrong), tol=TOLERANCE) is not None


def test_every_baseline_is_of_a_picture():
    assert {path.stem for path in BASELINES.glob("*.png")} == set(PICTURES)
