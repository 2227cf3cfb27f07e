"""In JupyterLab: run, look, move, pick, interrupt, save, and open again without trust."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("stg_attr.widgets")  # whose error says what is missing

SETUP = """
import time
import torch
from torch import nn
from stg_attr import StochasticGates, widgets

torch.manual_seed(0)
images = torch.rand(2, 3, 16, 16)
mask = (torch.arange(16)[:, None] // 4 * 4 + torch.arange(16) // 4)[None, None]
net = nn.Sequential(nn.Flatten(), nn.Linear(768, 3)).eval()
"""
EXPLORE = """
explanation = StochasticGates(net).explain(images, feature_mask=mask, target=1)
explorer = widgets.explore(explanation, classes=["cat", "<img src=x onerror=alert(1)>", "dog"])
explorer
"""
WATCH = """
def slow(x):
    time.sleep(0.4)
    return net(x)

seen = widgets.watch(StochasticGates(slow), images, n_steps=500, feature_mask=mask, target=0)
"""
WORKBENCH = """
def slow(x):
    time.sleep(0.4)
    return net(x)

bench = widgets.Workbench(slow, images, feature_mask=mask, names=["first", "<b>second</b>"])
bench
"""


@pytest.fixture(scope="module")
def explored(lab):
    notebook = lab("explored", SETUP, EXPLORE)
    notebook.run()
    notebook.page.wait_for_selector(".stg input[type=range]")
    return notebook


def _sentence(page):
    return page.locator(".stg-sentence").inner_text()


def _python(notebook, **expected):
    """Wait until the kernel knows what the browser shows."""
    for _ in range(40):
        known = notebook.ask("{n: getattr(explorer, n) for n in ('example', 'budget', 'show')}")
        if all(known[name] == value for name, value in expected.items()):
            return known
        notebook.page.wait_for_timeout(100)
    raise AssertionError(f"{known} is not {expected}")


def test_keys_move_the_slider_the_picture_and_the_kernel(explored, pixels):
    page = explored.page
    slider = page.locator(".stg input[type=range]")
    slider.focus()
    page.keyboard.press("Home")
    before, said = pixels(page), _sentence(page)
    assert said.startswith("0 of 16 features")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert int(slider.input_value()) == 3
    assert pixels(page) != before
    assert _sentence(page) != said
    count = int(_sentence(page).split()[0])
    _python(explored, budget=count)
    assert explored.ask("int(explorer.reading.n_selected[0])") == count


def test_the_mouse_moves_it_too(explored, pixels):
    page = explored.page
    box = page.locator(".stg input[type=range]").bounding_box()
    before = pixels(page)
    page.mouse.click(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    assert _sentence(page).startswith("16 of 16 features")
    assert pixels(page) != before
    _python(explored, budget=16)


def test_python_moves_the_browser(explored):
    explored.ask("setattr(explorer, 'budget', 1)")
    explored.page.wait_for_function(
        "document.querySelector('.stg-sentence').textContent.startsWith('1 of 16')"
    )


def test_the_toggle_shows_what_is_kept_or_removed(explored, pixels):
    page = explored.page
    explored.ask("setattr(explorer, 'budget', 5)")
    pictures = set()
    for mode in ("Everything", "Kept", "Removed", "Probability"):
        page.get_by_label(mode, exact=True).check()
        pictures.add(pixels(page))
    assert len(pictures) == 4
    _python(explored, show="veil")
    page.get_by_label("Everything", exact=True).check()


def test_another_example_is_picked(explored, pixels):
    page = explored.page
    before = pixels(page)
    page.get_by_label("Example").select_option("1")
    page.wait_for_function("document.querySelector('.stg').parentElement.stgExplorer.place === 1")
    assert pixels(page) != before
    known = _python(explored, example=1)
    assert known["budget"] == explored.ask("int(explanation.n_selected[1])")
    page.get_by_label("Example").select_option("0")
    _python(explored, example=0)


def test_numbers_show_on_hover_and_as_a_table(explored):
    page = explored.page
    box = page.locator(".stg-canvas").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    assert page.locator(".stg-hover").inner_text().startswith("feature 0: active probability 0.")
    page.get_by_text("The same in numbers").click()
    rows = page.locator("caption:has-text('best first') ~ tbody tr")
    rows.nth(15).wait_for()
    assert rows.count() == 16


def test_a_click_asks_the_model(explored):
    page = explored.page
    explored.ask("setattr(explorer, 'budget', 5)")
    page.wait_for_function("document.querySelector('.stg-sentence').textContent.startsWith('5 of 16')")
    page.locator(".stg-canvas").scroll_into_view_if_needed()
    box = page.locator(".stg-canvas").bounding_box()
    page.mouse.click(box["x"] + 5, box["y"] + 5)
    page.wait_for_function("document.querySelector('.stg-hover').textContent.includes('the score was')")
    chosen = explored.ask("explorer.chosen")
    assert len(chosen) in (4, 6)
    score = explored.ask("float(explanation.score_of(explorer.selection[None], examples=[0]))")
    cells = page.locator("caption:has-text('Measured on the model') ~ tbody td").all_inner_texts()
    assert float(cells[3]) == pytest.approx(score, rel=1e-3)
    page.get_by_role("button", name="Copy as code").click()
    code = (
        page.locator(".stg pre").inner_text().replace("explanation.score_of", "again = explanation.score_of")
    )
    assert explored.ask(f"exec({code!r}, globals()) or float(again)") == pytest.approx(score)
    explored.ask("setattr(explorer, 'chosen', [0, 3])")
    page.wait_for_function("document.querySelector('.stg-sentence').textContent.startsWith('2 of 16')")
    page.wait_for_function("!document.querySelector('.stg-sentence').textContent.includes('asking')")
    page.get_by_role("button", name="Back to the slider").click()
    _python(explored, budget=5)
    assert explored.ask("explorer.chosen") is None


def test_code_reproduces_the_view(explored):
    page = explored.page
    explored.ask("setattr(explorer, 'budget', 5)")
    page.wait_for_function("document.querySelector('.stg-sentence').textContent.startsWith('5 of 16')")
    page.get_by_role("button", name="Copy as code").click()
    code = page.locator(".stg pre").inner_text()
    assert explored.ask(f"exec({code!r}, globals() | dict(viz=__import__('stg_attr.viz').viz)) is None")
    assert "budget=5 / 16" in code


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_axe_finds_nothing(theme, explored, axe):
    explored.command("apputils:change-theme", {"theme": theme})
    light = "true" if theme.endswith("Light") else "false"
    explored.page.wait_for_selector(f"body[data-jp-theme-light={light}]", state="attached")
    explored.page.wait_for_timeout(300)
    assert axe(explored.page, ".stg") == []


def test_nothing_is_fetched_and_nothing_fails(explored):
    assert explored.outside == []
    assert explored.dialogs == []
    assert explored.errors == []


def test_a_saved_notebook_shows_its_picture_without_trust(explored, lab):
    explored.command("apputils:change-theme", {"theme": "JupyterLab Light"})
    saved = explored.save()
    assert "widgets" not in saved["metadata"]
    stranger = json.dumps(saved).replace("explorer = widgets", "explorer = (widgets)")  # not what was signed
    (explored.root / "stranger.ipynb").write_text(stranger.replace("(widgets).explore", "widgets.explore  "))
    opened = lab("stranger")
    output = opened.page.locator(".jp-OutputArea-output").last
    output.locator("img").wait_for()
    assert output.locator("img").evaluate("i => i.complete && i.naturalWidth") > 300
    assert "of 16 features bring" in output.inner_text()
    assert "oading widget" not in opened.page.content()
    assert opened.page.locator(".stg").count() == 0
    assert opened.dialogs == []
    assert opened.outside == []


def test_a_trusted_copy_has_a_live_slider_without_its_kernel(explored, lab):
    (explored.root / "copy.ipynb").write_text(json.dumps(explored.save()))
    opened = lab("copy")
    opened.page.wait_for_selector(".stg input[type=range]")
    _has_a_live_slider(opened)
    assert opened.outside == []


def test_a_page_made_of_the_notebook_has_a_slider_without_a_kernel(explored, look):
    explored.save()
    _convert(explored.root / "explored.ipynb")
    exported = look(explored.root / "explored.html", offline=True)
    _has_a_live_slider(exported)


def test_so_has_a_notebook_that_was_run_without_a_server(server, look, tmp_path, write_notebook):
    write_notebook(tmp_path / "run.ipynb", SETUP, EXPLORE)
    _convert(tmp_path / "run.ipynb", "--execute")
    exported = look(tmp_path / "run.html", offline=True)
    _has_a_live_slider(exported)
    static = look(tmp_path / "run.html", ready=None, java_script_enabled=False, offline=True)
    assert static.page.locator("img[alt*='Original, baseline, kept']").is_visible()


def _convert(path, *options):
    command = [sys.executable, "-m", "nbconvert", "--to", "html", *options, str(path)]
    subprocess.run(command, check=True, capture_output=True)


def _has_a_live_slider(exported):
    slider = exported.page.locator(".stg input[type=range]")
    slider.focus()
    exported.page.keyboard.press("End")
    assert _sentence(exported.page).startswith("16 of 16 features")
    assert exported.dialogs == []


def test_a_solve_is_watched_and_interrupted(lab):
    notebook = lab("watched", SETUP, WATCH)
    notebook.run(wait=False)
    page = notebook.page
    page.wait_for_selector(".stg-progress:not([hidden])", timeout=60_000)
    said = page.locator(".stg-progress").inner_text()
    page.wait_for_function(f"document.querySelector('.stg-progress')?.innerText !== {json.dumps(said)}")
    assert "left" in page.locator(".stg-progress").inner_text()
    assert page.locator(".stg-curve polyline").count() > 1
    notebook.interrupt()
    notebook.idle()
    status, steps = notebook.ask("[seen.status[0].name, len(seen.loss_trace)]")
    assert status == "INTERRUPTED"
    assert 1 <= steps < 500
    page.wait_for_function("document.querySelector('.stg-progress')?.innerText.match(/steps? in/)")
    assert "this is what was learned until then" in page.locator(".stg-doubt").inner_text()
    saved = notebook.save()
    shown = [output["data"] for output in saved["cells"][1]["outputs"] if "data" in output]  # no warning
    assert "Interrupted before the" in "".join(shown[-1]["text/html"])
    assert notebook.errors == []
    assert notebook.outside == []


def _has_runs(page, count):
    page.wait_for_function(
        f"document.querySelector('select[multiple]')?.options.length === {count}", timeout=60_000
    )


def test_the_workbench_explains_stops_and_compares(lab, axe):
    notebook = lab("bench", SETUP, WORKBENCH)
    notebook.run()
    page = notebook.page
    page.get_by_label("Steps", exact=True).fill("300")
    page.get_by_label("Steps", exact=True).press("Tab")
    page.get_by_role("button", name="Explain").click()
    page.wait_for_selector(".stg-progress:not([hidden])", timeout=60_000)
    page.get_by_role("button", name="Stop").click()
    _has_runs(page, 1)
    assert notebook.ask("bench.history[0].explanation.status[0].name") == "INTERRUPTED"
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_label("Steps", exact=True).press("Tab")
    page.get_by_label("Objective").select_option("Delete")
    page.get_by_role("button", name="Explain").click()
    _has_runs(page, 2)
    page.get_by_label("Runs").select_option(index=[0, 1])
    page.get_by_role("button", name="Show or compare").click()
    page.wait_for_selector(".stg-several figure:nth-of-type(2)")
    assert notebook.ask("len(bench.history)") == 2
    assert axe(page, ".jp-OutputArea-output .widget-vbox") == []
    for _ in range(50):  # the kernel sends the page that is saved after it has answered
        html = "".join(notebook.save()["cells"][1]["outputs"][-1]["data"]["text/html"])
        if "2. first, predicted class, zeros, Delete" in html:
            break
        page.wait_for_timeout(200)
    assert "2. first, predicted class, zeros, Delete" in html
    assert notebook.dialogs == []
    assert notebook.errors == []
    assert notebook.outside == []
