"""The gallery: `python docs/make_gallery.py` draws every picture of `stg_attr.viz` and writes `gallery.md`.

Each function below is one picture. Its docstring is the caption, its body the code that the page shows, and
what it returns the picture beside it, so that no example can be out of date.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path

import gallery_models as models
import torch
from captum.attr import FeatureAblation, IntegratedGradients, LayerAttribution, LayerGradCam
from skimage.segmentation import slic
from torch import Tensor

from stg_attr import ComponentStochasticGates, Explanation, LayerStochasticGates, StochasticGates, viz
from stg_attr.components import head_sites, mlp_sites

HERE = Path(__file__).parent
DPI = 80
BLUR = 31
Drawing = Callable[[], viz.Picture | viz.Text]
ENTRIES: dict[str, list[Drawing]] = {}


def entry(section: str) -> Callable[[Drawing], Drawing]:
    """Put a picture on the page, under a heading."""

    def put(draw: Drawing) -> Drawing:
        ENTRIES.setdefault(section, []).append(draw)
        return draw

    return put


@cache
def digits() -> Explanation:
    model, x, _ = models.digits()
    return StochasticGates(model).explain(x[:6])


def superpixels_of(x: Tensor) -> Tensor:
    """About sixty superpixels of each image, [batch, 1, height, width]."""
    rows = [
        slic((image * 0.25 + 0.5).movedim(0, -1).numpy(), 60, compactness=15, start_label=0) for image in x
    ]
    return torch.stack([torch.tensor(row) for row in rows]).unsqueeze(1)


@cache
def photographs() -> Explanation:
    model, x, y = models.photographs()
    blurred = torch.nn.functional.avg_pool2d(x, BLUR, 1, BLUR // 2, count_include_pad=False)
    stg = StochasticGates(model[0])  # scores before the softmax, which says 1 to almost anything
    return stg.explain(x, baselines=blurred, target=y, feature_mask=superpixels_of(x))


@cache
def cancer() -> Explanation:
    model, x, _ = models.cancer()
    return StochasticGates(model).explain(x[:120])


@cache
def cancer_by_measure() -> Explanation:
    model, x, _ = models.cancer()
    return StochasticGates(model).explain(x[:120], feature_mask=torch.arange(30)[None] % 10)


@cache
def shares() -> Explanation:
    model, x, y = models.shares()
    spans = (torch.arange(60) // 5)[None] + 12 * torch.arange(4)[:, None]
    return StochasticGates(model).explain(x[y == 1][:120:40], target=1, feature_mask=spans[None])


@cache
def papers() -> tuple[Explanation, list[list[str]]]:
    model, labels, words, tokens = models.papers()
    rows = [int((labels == k).nonzero()[2]) for k in range(3)]
    stg = StochasticGates(model)
    return stg.explain(torch.ones(3, 40), additional_forward_args=(words[rows],)), [tokens[i] for i in rows]


@cache
def encoder() -> Explanation:
    net, tokenizer = models.topics()

    def score(ids: Tensor) -> Tensor:  # evidence for sport less that for food
        sport, food = net.head(net.mean(torch.ones_like(ids), input_ids=ids)).unbind(1)
        return sport - food

    sentences = ["the keeper saved a late penalty", "the baker sold a warm bread"]
    ids = tokenizer(sentences, return_tensors="pt")["input_ids"]
    return ComponentStochasticGates(score, [*head_sites(net), *mlp_sites(net)]).explain(ids[:1], ids[1:])


@entry("Images")
def panel() -> viz.Picture:
    """Original, kept and removed pixels with the model's score of each, and the active probabilities."""
    return viz.panel(digits(), 1)


@entry("Images")
def panel_photograph() -> viz.Picture:
    """The same for superpixels of a normalised photograph, where a closed gate shows a blur."""
    return viz.panel(photographs(), 1, mean=0.5, std=0.25)


@entry("Images")
def grid() -> viz.Picture:
    """Several examples."""
    return viz.grid(digits(), [0, 3, 5], names=[f"class {digits().target[i].item()}" for i in (0, 3, 5)])


@entry("Images")
def strip() -> viz.Picture:
    """One solve, read at five budgets."""
    return viz.strip(photographs(), 1, budgets=(0.05, 0.1, 0.2, 0.4, 0.8), mean=0.5, std=0.25)


@entry("Images")
def overlay() -> viz.Picture:
    """The selection outlined and plain; the rest is dimmed, the more the less active it is."""
    return viz.overlay(photographs(), 0, mean=0.5, std=0.25)


@entry("Images")
def superpixels() -> viz.Picture:
    """The borders of the features."""
    return viz.superpixels(photographs(), 0, mean=0.5, std=0.25)


@entry("Images")
def preview() -> viz.Picture:
    """Before a solve: the features, and the baseline that stands in their place."""
    images, borders = photographs().inputs[0], photographs().feature_mask[0]
    return viz.preview(images, borders, photographs().baselines[0], example=0, mean=0.5, std=0.25)


@entry("Images")
def contour() -> viz.Picture:
    """Only the outline of the selection."""
    return viz.contour(photographs(), 1, mean=0.5, std=0.25)


@entry("Images")
def heatmap() -> viz.Picture:
    """Active probabilities alone, always from 0 to 1."""
    return viz.heatmap(photographs(), 1)


@entry("Images")
def kept() -> viz.Picture:
    """The image that the model was given when only the selection was kept."""
    return viz.kept(photographs(), 1, mean=0.5, std=0.25)


@entry("Images")
def removed() -> viz.Picture:
    """The image that the model was given without the selection."""
    return viz.removed(photographs(), 1, mean=0.5, std=0.25)


@entry("Text")
def text() -> viz.Text:
    """Words in the descriptions of three data sets, by which a model recognises them."""
    explanation, tokens = papers()
    return viz.text(explanation, tokens, names=["breast cancer", "wine", "diabetes"])


@entry("Text")
def words() -> viz.Text:
    """Strings, a pretrained encoder with a small head for sport and food, and its tokenizer."""
    net, tokenizer = models.topics()
    reports = [
        "On the train, my neighbour told me that the goalkeeper had saved a penalty.",
        "On the train, my neighbour told me about a recipe for soup!",
    ]
    explanation = LayerStochasticGates.for_text(net, tokenizer).explain(reports)
    return viz.text(explanation, names=["sport", "food"])


@entry("Text")
def scripts() -> viz.Text:
    """Sub-words joined, special tokens muted, scripts from right to left and without spaces."""
    reviews = {
        "English": [
            "[CLS]",
            "a",
            "won",
            "##der",
            "##ful",
            "film",
            ",",
            "and",
            "only",
            "a",
            "bit",
            "boring",
            "[SEP]",
        ],
        "Hebrew": ["▁הסרט", "▁הזה", "▁נפלא", ",", "▁אבל", "▁ארוך", "."],
        "Arabic": ["▁كان", "▁الفيلم", "▁رائع", "▁جدا", "،", "▁لكنه", "▁طويل", "."],
        "Chinese": ["这", "部", "电", "影", "非", "常", "好", "看", "。"],
    }
    lengths = max(len(tokens) for tokens in reviews.values())
    shown = [[*tokens, *["[PAD]"] * (lengths - len(tokens))] for tokens in reviews.values()]
    weights = torch.cat([models.lexicon(tokens) for tokens in shown])
    weights[0, 2] = 2.0  # the first token of "wonderful"
    explanation = StochasticGates(lambda x, w: (x * w).sum(1)).explain(
        torch.ones(weights.shape), additional_forward_args=(weights,)
    )
    return viz.text(explanation, shown, names=list(reviews))


@entry("Tables")
def bars() -> viz.Picture:
    """What each feature adds to the score of one row, under its measured value; needed features are solid."""
    _, _, measured = models.cancer()
    return viz.bars(cancer(), 4, names=measured, values=measured.iloc[4])


@entry("Tables")
def waterfall() -> viz.Picture:
    """The same as steps from the score of the baseline to that of the row."""
    _, _, measured = models.cancer()
    return viz.waterfall(cancer(), 4, names=measured, values=measured.iloc[4])


@entry("Tables")
def bars_of_groups() -> viz.Picture:
    """Mean, error and worst value of a measure share one gate."""
    _, _, measured = models.cancer()
    measures = [name.removeprefix("mean ") for name in measured.columns[:10]]
    return viz.bars(cancer_by_measure(), 4, names=measures)


@entry("Tables")
def bars_of_a_customer() -> viz.Picture:
    """Strings, dates and missing cells: a DataFrame, and a pipeline of scikit-learn on its raw columns."""
    pipeline, frame = models.customers()
    stg = StochasticGates(pipeline.decision_function)
    return viz.bars(stg.explain(frame.iloc[[58]], baselines=frame.sample(200, random_state=0)))


@entry("Tables")
def importance() -> viz.Picture:
    """Global importance: the mean size of contributions over the data, and how often a feature is needed."""
    _, _, measured = models.cancer()
    return viz.importance(cancer(), names=measured)


@entry("Tables")
def beeswarm() -> viz.Picture:
    """The contribution of each feature in each row, coloured by the rank of its value."""
    _, _, measured = models.cancer()
    return viz.beeswarm(cancer(), names=measured)


@entry("Tables")
def scatter() -> viz.Picture:
    """Contribution against value for one feature, coloured by the value of another."""
    _, _, measured = models.cancer()
    return viz.scatter(cancer(), "worst texture", colour="worst radius", names=measured)


@entry("Tables")
def matrix() -> viz.Picture:
    """Every row of the data at once."""
    _, _, measured = models.cancer()
    return viz.matrix(cancer(), names=measured)


@entry("Time series")
def series() -> viz.Picture:
    """Sixty days of a share; the model was asked for a daily move of 6 % or more."""
    return viz.series(shares(), 1, names=["return", "overnight", "range", "volume"])


@entry("Components of a model")
def components() -> viz.Picture:
    """Heads and MLP blocks of a pretrained encoder that tell a sentence about sport from one about food."""
    return viz.components(encoder())


@entry("Curves")
def curve() -> viz.Picture:
    """Retained score against the number of features, for what is kept and what is removed."""
    return viz.curve(digits(), 1)


@entry("Curves")
def curve_row() -> viz.Picture:
    """The same for a row of a table."""
    return viz.curve(cancer(), 4)


@entry("Curves")
def trace() -> viz.Picture:
    """The loss of the solve, and whether it converged."""
    return viz.trace(digits(), 1)


@entry("Methods")
def comparison() -> viz.Picture:
    """Stochastic gates and attributions of Captum for the same image."""
    model, x, _ = models.digits()
    target = model(x[:6]).argmax(1)
    methods = {
        "stochastic gates": digits(),
        "integrated gradients": IntegratedGradients(model).attribute(x[:6], target=target),
        "feature ablation": FeatureAblation(model).attribute(x[:6], target=target),
    }
    return viz.comparison(methods, 1)


@entry("Methods")
def comparison_photograph() -> viz.Picture:
    """The same for a photograph, beside the class activation map of Grad-CAM."""
    model, x, y = models.photographs()
    layer = [part for part in model[0].modules() if isinstance(part, torch.nn.Conv2d)][-1]
    cam = LayerGradCam(model[0], layer).attribute(x, target=y, relu_attributions=True)
    enlarged = LayerAttribution.interpolate(cam, x.shape[2:], "bilinear").expand_as(x) / x.shape[1]
    methods = {"stochastic gates": photographs(), "Grad-CAM": enlarged.detach()}
    return viz.comparison(methods, 1, mean=0.5, std=0.25)


@entry("Methods")
def comparison_row() -> viz.Picture:
    """The same for a row of a table."""
    model, x, measured = models.cancer()
    target = model(x[:120]).argmax(1)
    methods = {
        "stochastic gates": cancer(),
        "integrated gradients": IntegratedGradients(model).attribute(x[:120], target=target),
        "feature ablation": FeatureAblation(model).attribute(x[:120], target=target),
    }
    return viz.comparison(methods, 4, names=measured)


def write(folder: Path) -> None:
    """Draw everything into `folder/gallery`, and the page into `folder/gallery.md`."""
    pictures = folder / "gallery"
    pictures.mkdir(parents=True, exist_ok=True)
    page = [INTRODUCTION]
    for section, drawings in ENTRIES.items():
        page.append(f"## {section}\n")
        page += [_part(draw, pictures) for draw in drawings]
    (folder / "gallery.md").write_text("\n".join(page), encoding="utf-8")


def _part(draw: Drawing, folder: Path) -> str:
    picture, name = draw(), draw.__name__
    shown = picture.draw() if isinstance(picture, viz.Text) else picture
    shown.save(folder / f"{name}.png", dpi=DPI)
    shown.save(folder / f"{name}-dark.png", dpi=DPI, dark=True)
    link = ""
    if isinstance(picture, viz.Text):
        picture.to_html(folder / f"{name}.html")
        link = f"\n[The same as HTML, with the numbers on hover](gallery/{name}.html).\n"
    code = f"```python\n{_code(draw)}\n```\n"
    alt = picture.alt.replace("[", "(").replace("]", ")").replace("\n", " ")
    return f"{inspect.getdoc(draw)}\n\n{code}\n![{alt}](gallery/{name}.png)\n{link}"


def _code(draw: Drawing) -> str:
    """The body of a function, as one would write it in a notebook."""
    lines = inspect.getsource(draw).splitlines()
    start = next(i for i, line in enumerate(lines) if line.rstrip().endswith('"""')) + 1
    return textwrap.dedent("\n".join(lines[start:])).replace("return viz", "viz")


INTRODUCTION = """# Gallery

Every picture on this page was drawn by the code above it, by `python run.py gallery`. The models are small
and were trained on data that comes with scikit-learn and matplotlib, or have the weights of a package;
`docs/gallery_models.py` and `docs/make_gallery.py` hold all of it. `digits()`, `photographs()`, `cancer()`,
`shares()`, `papers()` and `encoder()` give explanations, as `explain(inputs)` returns them.
"""

if __name__ == "__main__":
    torch.set_num_threads(1)
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
