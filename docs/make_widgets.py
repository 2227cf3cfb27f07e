"""The pictures of `widgets.md`, and the widget of the first page: `python docs/make_widgets.py`.

It explores real data in a browser and takes pictures, light and dark.

Needs a Chromium, and the packages that `python run.py test-browser` installs. Those of JupyterLab
itself are taken by hand.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import gallery_models as models
import torch
from captum.attr import FeatureAblation, IntegratedGradients
from make_gallery import photographs
from playwright.sync_api import Browser, sync_playwright
from skimage.segmentation import slic

from stg_attr import StochasticGates, widgets

HERE = Path(__file__).parent / "widgets"


def photograph() -> widgets.Explorer:
    """A photograph, its superpixels."""
    view = widgets.ImageView(mean=[0.5] * 3, std=[0.25] * 3)
    return widgets.explore(photographs(), view=view, names=["pagoda", "flower"])


def compared() -> widgets.Explorer:
    """A digit, by three methods."""
    model, x, y = models.digits()
    x, y = x[:4], y[:4]
    ablation = FeatureAblation(model).attribute(x, target=y)
    gradients = IntegratedGradients(model).attribute(x, target=y, n_steps=50).float()
    methods = {
        "stochastic gates": StochasticGates(model).explain(x, target=y),
        "integrated gradients": gradients,
        "feature ablation": ablation,
    }
    return widgets.compare(methods, forward_func=model)


def words() -> widgets.Explorer:
    """A passage of forty words."""
    model, _, numbers, tokens = models.papers()
    numbers, present = numbers[:3], torch.ones(3, 40)
    explanation = StochasticGates(model).explain(present, additional_forward_args=numbers)
    classes = ["breast cancer", "wine", "diabetes"]
    return widgets.explore(explanation, view=widgets.TextView(tokens[:3]), classes=classes)


def row() -> widgets.Explorer:
    """A row of a table."""
    model, x, measured = models.cancer()
    view = widgets.TableView(measured.columns)
    return widgets.explore(StochasticGates(model).explain(x[:3]), view=view, classes=["malignant", "benign"])


def landing() -> widgets.Explorer:
    """A photograph in a few large regions, with the scores of all their sets, for a page without a kernel."""
    model, x, y = models.photographs()
    image = x[:1]
    pixels = (image[0] * 0.25 + 0.5).movedim(0, -1).numpy()
    regions = torch.tensor(slic(pixels, 12, compactness=40, start_label=0))[None, None]
    explanation = StochasticGates(model[0]).explain(image, target=y[:1], feature_mask=regions)
    view = widgets.ImageView(mean=[0.5] * 3, std=[0.25] * 3)
    explorer = widgets.explore(explanation, view=view, names=["pagoda"])
    n = explanation.selected.shape[1]
    explorer.measure_ahead((torch.arange(2**n)[:, None] >> torch.arange(n)) % 2 == 1)
    explorer.show = "kept"
    return explorer


def take(browser: Browser, explorer: widgets.Explorer, name: str, scheme: str) -> None:
    """Save what a reader of the page sees."""
    with tempfile.TemporaryDirectory() as folder:
        explorer.to_html(Path(folder) / "page.html")
        page = browser.new_page(viewport={"width": 860, "height": 900}, color_scheme=scheme)
        page.goto(f"file://{folder}/page.html")
        page.wait_for_selector(".stg")
        page.add_style_tag(
            content="h1 { display: none } body { margin: 0; padding: 1em; width: fit-content }"
        )
        page.locator("body").screenshot(path=HERE / f"{name}.png")
        page.close()


def main() -> None:
    """Take all of them."""
    explorer = landing()
    parts = {"state": explorer.page_state(), "picture": explorer.static()}
    (HERE / "landing.json").write_text(
        json.dumps(parts, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for make in (photograph, compared, words, row):
            explorer = make()
            take(browser, explorer, make.__name__, "light")
            take(browser, explorer, f"{make.__name__}-dark", "dark")
        browser.close()


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
