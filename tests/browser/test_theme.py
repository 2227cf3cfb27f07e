"""Figures in notebooks follow the theme, and the widget of the site's first page answers without a kernel."""

import json
from pathlib import Path

from stg_attr.widgets.page import cell_output

SETUP = "import torch\nfrom stg_attr import viz\npicture = viz.heatmap(torch.rand(8, 8))"
LANDING = Path(__file__).parents[2] / "docs" / "widgets" / "landing.json"


def _shown(page):
    """Which of the pictures for light and dark pages can be seen."""
    found = {}
    for image in page.locator(".jp-OutputArea-output img.stg-picture").all():
        box = image.bounding_box()
        found[image.get_attribute("class").split("-")[-1]] = box is not None and box["width"] > 0
    return found


def test_figures_follow_the_theme_of_jupyterlab(lab):
    notebook = lab("theme", SETUP, "picture")
    notebook.run()
    notebook.page.locator("img.stg-picture").first.wait_for()
    for theme in ("Dark", "Light"):
        notebook.command("apputils:change-theme", {"theme": f"JupyterLab {theme}"})
        light = str(theme == "Light").lower()
        notebook.page.wait_for_selector(f"body[data-jp-theme-light={light}]", state="attached")
        assert _shown(notebook.page) == {"light": theme == "Light", "dark": theme == "Dark"}
    saved = json.dumps(notebook.save()).replace("picture = viz", "picture =  viz")  # not what was signed
    (notebook.root / "strange.ipynb").write_text(saved)
    opened = lab("strange")
    opened.page.locator("img.stg-picture").first.wait_for()
    assert _shown(opened.page) == {"light": True, "dark": False}


def test_every_set_of_regions_on_the_first_page_is_measured(look, axe, tmp_path):
    parts = json.loads(LANDING.read_text(encoding="utf-8"))
    (tmp_path / "landing.html").write_text(cell_output(**parts), encoding="utf-8")
    opened = look(tmp_path / "landing.html")
    page = opened.page
    area = page.locator(".stg-canvas").bounding_box()
    for across, down in ((0.5, 0.5), (0.1, 0.1), (0.9, 0.2), (0.2, 0.9), (0.5, 0.5)):
        page.mouse.click(area["x"] + across * area["width"], area["y"] + down * area["height"])
        assert "chosen by hand, bring" in page.locator(".stg-sentence").inner_text()
        assert "the score was" in page.locator(".stg-hover").inner_text()
    assert axe(page, ".stg") == []
    assert opened.errors == []
    assert opened.outside == []
