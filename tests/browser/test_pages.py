"""Pages that stand alone: no kernel, no network, no script needed for the picture, nothing hostile runs."""

from dataclasses import replace

import pytest
import torch

from stg_attr import Status, StochasticGates

widgets = pytest.importorskip("stg_attr.widgets")  # whose error says what is missing


@pytest.fixture(scope="module")
def pages(photograph, hostile, tmp_path_factory):
    """Name -> a page with hostile names, one for each kind of input and a comparison."""
    explanation, net = photograph
    folder = tmp_path_factory.mktemp("pages")
    rows = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([3.0, -2.0, 0.0, 1.0, 0.5, 0.0])
    table = StochasticGates(lambda x: x @ weight).explain(rows)
    tokens = ["[CLS]", "a", "great", *hostile, "[SEP]"]
    embedded = torch.rand(2, 11, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([-1, *range(9), -1])[None, :, None]
    text = StochasticGates(lambda x: x[:, 2].sum(1) + 0.5 * x[:, 4].sum(1)).explain(
        embedded, feature_mask=mask
    )
    wave = torch.sin(torch.arange(80.0) / 5).expand(1, 3, 80).contiguous()
    spans = (torch.arange(80) // 8)[None] + 10 * torch.arange(3)[:, None]
    series = StochasticGates(lambda x: x[:, 1, 20:40].square().sum(1)).explain(wave, feature_mask=spans[None])
    gradients = torch.autograd.functional.jacobian(lambda x: net(x)[:, 1].sum(), explanation.inputs[0])
    shown = {
        "image": widgets.explore(explanation, names=hostile[:2], classes=hostile[4:]),
        "text": widgets.explore(text, view=widgets.TextView(tokens), names=hostile[1:3]),
        "table": widgets.explore(table, view=widgets.TableView(hostile[1:])),
        "series": widgets.explore(series, view=widgets.SeriesView(hostile[4:])),
        "compared": widgets.compare({"gates": explanation, hostile[6]: gradients}, forward_func=net),
    }
    for name, explorer in shown.items():
        explorer.to_html(folder / f"{name}.html")
    return folder


kinds = pytest.mark.parametrize("kind", ["image", "text", "table", "series", "compared"])


def _sentence(page):
    return page.locator(".stg-sentence").inner_text()


def _picture(page, pixels):
    if page.locator(".stg-canvas").count():
        return pixels(page)
    return page.locator(".stg-text").inner_html()


@kinds
def test_slider_and_toggle_work_and_nothing_hostile_runs(kind, pages, look, pixels, inert):
    opened = look(pages / f"{kind}.html")
    page = opened.page
    page.locator("input[type=range]").focus()
    page.keyboard.press("Home")
    before = _picture(page, pixels)
    page.keyboard.press("End")
    assert _picture(page, pixels) != before
    page.get_by_label("Kept", exact=True).check()
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("Removed", exact=True).is_checked()
    for summary in page.locator("summary:visible").all():
        summary.click()
    page.get_by_role("button", name="Copy as code").click()
    inert(opened)
    assert page.locator("img, script[src], link").count() == 0
    assert opened.requests == [f"file://{pages / kind}.html"]
    assert opened.errors == []


@kinds
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(kind, scheme, pages, look, axe):
    opened = look(pages / f"{kind}.html", color_scheme=scheme)
    for summary in opened.page.locator("summary:visible").all():
        summary.click()
    opened.page.get_by_role("button", name="Copy as code").click()
    assert axe(opened.page) == []


@kinds
def test_without_scripts_a_picture_and_the_evidence_stand_there(kind, pages, look):
    page = look(pages / f"{kind}.html", ready="#stg", java_script_enabled=False).page
    if kind == "text":
        assert page.get_by_text("great").first.is_visible()
    else:
        image = page.locator("#stg img")
        assert image.evaluate("i => i.naturalWidth") > 300
        assert len(image.get_attribute("alt")) > 20
    assert page.locator("th:has-text('gates')" if kind == "compared" else "li").first.is_visible()
    assert page.locator("script, style").filter(visible=True).count() == 0


@kinds
def test_a_downloaded_page_works_as_well(kind, pages, look, pixels, inert, tmp_path):
    opened = look(pages / f"{kind}.html", accept_downloads=True)
    opened.page.locator("input[type=range]").focus()
    opened.page.keyboard.press("Home")
    with opened.page.expect_download() as download:
        opened.page.get_by_role("button", name="Download HTML").click()
    download.value.save_as(tmp_path / "again.html")
    again = look(tmp_path / "again.html")
    assert _picture(again.page, pixels) == _picture(opened.page, pixels)
    again.page.locator("input[type=range]").focus()
    again.page.keyboard.press("End")
    assert _picture(again.page, pixels) != _picture(opened.page, pixels)
    inert(again)
    still = look(tmp_path / "again.html", ready="#stg", java_script_enabled=False)
    assert still.page.locator("#stg img").evaluate("i => i.naturalWidth") > 300


@kinds
def test_a_downloaded_picture_is_one(kind, pages, look, tmp_path):
    from matplotlib.image import imread

    opened = look(pages / f"{kind}.html", accept_downloads=True)
    with opened.page.expect_download() as download:
        opened.page.get_by_role("button", name="Download PNG").click()
    download.value.save_as(tmp_path / "picture.png")
    image = imread(tmp_path / "picture.png")
    assert image.shape[1] >= 700
    assert image.std() > 0.02


def test_the_browser_reads_what_python_reads(pages, look, photograph):
    """At every stop the selection and the probabilities are those of `Explanation.at`."""
    explanation, _ = photograph
    page = look(pages / "image.html").page
    for example in range(2):
        page.get_by_label("Example").select_option(str(example))
        page.wait_for_function(f"document.querySelector('#stg').stgExplorer.place === {example}")
        stops = page.evaluate("document.querySelector('#stg').stgExplorer.stops")
        for stop in stops:
            read = page.evaluate(
                "n => { const r = document.querySelector('#stg').stgExplorer.readings[0].at(n);"
                " return [Array.from(r.p), Array.from(r.open)]; }",
                stop,
            )
            known = explanation.at(budget=stop / 196)
            assert torch.allclose(torch.tensor(read[0]), known.active_probabilities[example], atol=2e-4)
            assert torch.equal(torch.tensor(read[1]).bool(), known.selected[example])


def test_what_is_kept_is_what_the_model_was_given(pages, look, photograph):
    explanation, _ = photograph
    page = look(pages / "image.html").page
    page.get_by_label("Kept", exact=True).check()
    values = page.evaluate("""() => {
        const picture = document.querySelector('#stg').stgExplorer.pictures[0];
        return Array.from(picture.data.data);
    }""")
    drawn = torch.tensor(values, dtype=torch.float32).reshape(224, 224, 4)[..., :3].permute(2, 0, 1) / 255
    cells = explanation.selected[0][explanation.feature_mask[0][0]]
    shown = torch.where(cells, explanation.inputs[0][0], explanation.baselines[0][0])
    assert torch.allclose(drawn, shown.clamp(0, 1), atol=0.5 / 255 + 1e-6)


def test_memory_stays_flat_over_500_steps(pages, look):
    page = look(pages / "image.html").page
    used = "() => { gc(); return performance.memory.usedJSHeapSize; }"
    step = """count => {
        const slider = document.querySelector('#stg input[type=range]'), last = Number(slider.max) + 1;
        for (let i = 0; i < count; i++) {
            slider.value = String(i % last);
            slider.dispatchEvent(new Event('input'));
        }
    }"""
    page.evaluate(step, 1000)  # until the browser has compiled what it will
    before = page.evaluate(used)
    page.evaluate(step, 500)
    assert page.evaluate(used) - before < 50_000


def test_a_theme_that_changes_repaints_the_bars(pages, look, pixels):
    page = look(pages / "table.html").page
    before = pixels(page)
    page.evaluate("document.body.style.color = 'rgb(200, 0, 0)'; document.body.dataset.theme = 'red'")
    page.wait_for_timeout(100)
    assert pixels(page) != before


@pytest.fixture(scope="module")
def switched(photograph, tmp_path_factory):
    """A page of an explorer that has measured what one click makes of the sets along the curve."""
    explanation, _ = photograph
    explorer = widgets.explore(explanation, examples=[1])
    explorer.measure_ahead()
    path = tmp_path_factory.mktemp("switched") / "page.html"
    explorer.to_html(path)
    return path, explanation


def _centre(page, column):
    """Where a feature of 16 by 16 pixels is on the screen."""
    area = page.locator(".stg-canvas").bounding_box()
    row, place = divmod(column, 14)
    return area["x"] + (place + 0.5) / 14 * area["width"], area["y"] + (row + 0.5) / 14 * area["height"]


def _measured(explanation, on):
    kept = torch.zeros_like(explanation.selected[[1]])
    kept[0, on] = True
    return explanation.score_of(torch.stack([kept, ~kept]), examples=[1]).flatten().tolist()


def _scores(page):
    """The scores of what is kept and removed, as the table has them."""
    cells = page.locator("caption:has-text('Measured on the model') ~ tbody td").all_inner_texts()
    return [float(text) for text in cells[3:5]]


def test_a_click_on_a_region_shows_the_score_without_it(switched, look, pixels):
    path, explanation = switched
    opened = look(path)
    page, selected = opened.page, explanation.selected[1].nonzero().flatten().tolist()
    before = pixels(page)
    page.mouse.click(*_centre(page, selected[0]))
    assert _sentence(page).startswith(f"{len(selected) - 1} of 196 features, chosen by hand, bring")
    assert _scores(page) == pytest.approx(_measured(explanation, selected[1:]), rel=1e-3)
    assert (
        page.locator(".stg-hover")
        .inner_text()
        .startswith(f"Switched off feature {selected[0]}: the score was")
    )
    assert pixels(page) != before
    page.mouse.click(*_centre(page, selected[0]))
    assert _scores(page) == pytest.approx(_measured(explanation, selected), rel=1e-3)
    page.get_by_role("button", name="Back to the slider").click()
    page.mouse.move(0, 0)
    assert pixels(page) == before
    assert opened.errors == []


def test_a_feature_is_switched_by_keyboard(switched, look):
    path, explanation = switched
    page, selected = look(path).page, explanation.selected[1].nonzero().flatten().tolist()
    other = next(column for column in range(196) if column not in selected)
    page.locator("label:has-text('Feature ') select").select_option(str(other))
    page.get_by_role("button", name="Switch on").focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("button", name="Switch off").is_visible()
    assert _scores(page) == pytest.approx(_measured(explanation, [*selected, other]), rel=1e-3)
    page.locator("input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    assert "chosen by hand" not in _sentence(page)


def test_what_was_not_measured_is_said_to_be_unknown(switched, look, axe):
    path, explanation = switched
    page, selected = look(path).page, explanation.selected[1].nonzero().flatten().tolist()
    for column in (selected[0], *[c for c in range(100, 196) if c not in selected][:2]):
        page.mouse.click(*_centre(page, column))
    assert "was not measured; it needs the notebook with its kernel" in _sentence(page)
    assert page.locator("td:has-text('not measured')").count() == 4
    assert axe(page) == []


def test_pointing_at_a_region_names_and_outlines_it(switched, look, pixels):
    page = look(switched[0]).page
    before = pixels(page)
    page.mouse.move(*_centre(page, 20))
    assert page.locator(".stg-hover").inner_text().startswith("feature 20: active probability")
    assert pixels(page) != before
    page.mouse.move(0, 0)
    assert pixels(page) == before


def test_a_click_on_the_curve_moves_the_slider(switched, look):
    page = look(switched[0]).page
    chart = page.locator("svg.stg-curve").first
    area = chart.bounding_box()
    page.mouse.move(area["x"] + area["width"] - 20, area["y"] + 40)
    assert page.locator(".stg-hover").inner_text().startswith("196 features: score")
    page.mouse.click(area["x"] + area["width"] - 20, area["y"] + 40)
    assert _sentence(page).startswith("196 of 196 features")


@pytest.mark.parametrize(
    ("kind", "piece"), [("text", ".stg-gated"), ("table", "canvas"), ("series", "canvas")]
)
def test_words_bars_and_spans_are_switched_too(kind, piece, pages, look):
    page = look(pages / f"{kind}.html").page
    page.get_by_label("Everything", exact=True).check()
    before = int(_sentence(page).split()[0])
    if kind == "text":
        page.locator(piece).first.click()
    else:
        area = page.locator(piece).first.bounding_box()
        page.mouse.click(area["x"] + 0.5 * area["width"], area["y"] + 10)
    count = int(_sentence(page).split()[0])
    assert abs(count - before) == 1
    assert "chosen by hand" in _sentence(page)


def test_charts_are_as_wide_as_the_page(pages, look):
    opened = look(pages / "table.html")
    opened.page.set_viewport_size({"width": 390, "height": 800})
    opened.page.wait_for_function("document.querySelector('svg.stg-curve').viewBox.baseVal.width < 390")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    chart = opened.page.locator("svg.stg-curve").first
    assert chart.evaluate("s => s.getBoundingClientRect().width / s.viewBox.baseVal.width") == pytest.approx(
        1
    )


def test_axes_have_titles(pages, look):
    page = look(pages / "table.html").page
    page.get_by_text("How the solve went").click()
    said = [set(chart.locator("text").all_text_contents()) for chart in page.locator("svg.stg-curve").all()]
    assert "features kept" in said[0]
    assert said[0] & {"share of score", "score"}  # no shares where input and baseline score nearly the same
    assert {"step", "loss"} < said[1]


def test_of_a_small_difference_scores_are_drawn_without_shares(photograph, tmp_path, look):
    explanation, said = photograph[0], []
    for name, status in (("known", Status.CONVERGED), ("small", Status.SMALL_DIFFERENCE)):
        shown = replace(explanation, status=(status,) * len(explanation))
        widgets.explore(shown).to_html(tmp_path / f"{name}.html")
        page = look(tmp_path / f"{name}.html").page
        chart = page.locator(".stg-chart svg").first
        said.append((chart.get_attribute("aria-label"), chart.text_content(), _sentence(page)))
    assert ["%" in chart for _, chart, _ in said] == [True, False]
    assert "%" not in said[1][2]
    assert [label.partition(" against")[0] for label, *_ in said] == ["Retained score", "Score"]
