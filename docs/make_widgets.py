"""The pictures of `widgets.md`: `python docs/make_widgets.py` explores real data in a browser and takes them.

Needs a Chromium, and the packages that `python run.py test-browser` installs. Those of JupyterLab
itself are taken by hand.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import gallery_models as models
import torch
from captum.attr import FeatureAblation, IntegratedGradients
from make_gallery import photographs
from playwright.sync_api import Browser, sync_playwright

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


def take(browser: Browser, explorer: widgets.Explorer, name: str, scheme: str = "light") -> None:
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
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        take(browser, photograph(), "photograph")
        take(browser, compared(), "compared")
        take(browser, words(), "words", "dark")
        take(browser, row(), "row")
        browser.close()


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
