"""The code of the documentation runs, its links lead somewhere, and its sources are in the bibliography."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from stg_attr import Status

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CONCEPTS = DOCS / "concepts"
GENERATED = {"_build", "tutorials", "jupyter_execute"}
PAGES = sorted(
    page
    for page in DOCS.rglob("*.md")
    if not GENERATED & set(page.relative_to(DOCS).parts) and page.name != "gallery.md"
)
TEXTS = [
    *sorted(ROOT.glob("*.md")),
    *PAGES,
    DOCS / "gallery.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "tutorials" / "README.md",
]
LEFT_OUT = ("# needs a download", "# with SHAP", "# with LIME")  # first words of blocks that are not run here
SHOWS_OUTPUT = {
    "coming_from.md",
    "dataframe.md",
    "reading.md",
    "status.md",
}  # what a block prints stands below it

# what a page takes for granted: a model and inputs of the reader
IMAGES = """
import torch
from torch import nn
from stg_attr import StochasticGates, grid_mask
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
images = inputs = torch.rand(2, 3, 16, 16)
superpixels, mean, std, names = grid_mask(images, 4), 0.5, 0.25, list("abcde")
"""
TABLE = """
import torch
from torch import nn
torch.manual_seed(0)
train = torch.randn(100, 2)
"""
PREFACES = {
    "index.md": IMAGES,
    "guide.md": IMAGES,
    "choose.md": """
import torch
from sklearn.ensemble import RandomForestClassifier
from stg_attr import ScoreFunction, StochasticGates
table = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)).numpy()
forest = RandomForestClassifier(5, random_state=0).fit(table, table[:, 0] > 0)
rows = table[:2]
""",
    "pictures.md": IMAGES
    + """
from matplotlib.figure import Figure
my_axes = Figure().subplots()
tokens = [["a", "very", "fine", "film"]]
explanation_of_words = StochasticGates(lambda x: x[:, 2]).explain(torch.ones(1, 4))
""",
    "widgets.md": IMAGES
    + """
from stg_attr import StochasticGates as Gates
attributions = torch.rand(images.shape)
""",
    "scale.md": TABLE
    + """
import pandas as pd
from pathlib import Path
Path("rows").mkdir()
pd.DataFrame(train.numpy(), columns=["age", "income"]).to_parquet("rows/one.parquet")
def factory():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
""",
    "media.md": """
import numpy as np, torch
from types import SimpleNamespace
from PIL import Image
from torch import nn
from tests.recipes.models import Looks, RightSquare, flashes, process, scan_with_a_ball, thick, tokenizer
image = torch.zeros(1, 3, 64, 64)
image[:, :, 16:32, 16:32] = 1
detector, segment, video_model, seeing = RightSquare(), nn.Conv2d(3, 2, 3, padding=1), flashes, Looks()
segment.bias.data = torch.tensor([0.0, 1.0])
clip, wave = torch.rand(1, 1, 12, 16, 16), torch.randn(1, 22528)
scan, scan_model = scan_with_a_ball()[0], thick
net = SimpleNamespace(audio_forward=lambda w, rate: w.unflatten(1, (-1, 512)).abs().mean(2).clamp(0, 1))
pixels = np.full((64, 64, 3), 20, np.uint8)
pixels[20:40, 8:24], pixels[26:46, 40:56] = (220, 30, 30), (30, 60, 220)
picture = Image.fromarray(pixels)
""",
    "text.md": """
import torch
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast
from tokenizers import Tokenizer, models, pre_tokenizers
from stg_attr import ScoreFunction, StochasticGates
torch.manual_seed(0)
texts = ["a great film", "not a great film"]
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "not", "great", "film", "cast"]
raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]", eos_token="[SEP]",
    model_input_names=["input_ids", "token_type_ids", "attention_mask"],
)
size = dict(vocab_size=10, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
model = BertForSequenceClassification(BertConfig(**size)).eval()
causal = LlamaForCausalLM(LlamaConfig(**size, num_key_value_heads=2, pad_token_id=0)).eval()
labels = torch.tensor([1, 0])
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
said = ["a great film", "great cast, great plot", "a poor film", "poor cast, poor plot"]
pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(said, [1, 1, 0, 0])
from transformers import BertForMaskedLM
masked = BertForMaskedLM(BertConfig(**size)).eval()
class Encoder:
    def encode(self, texts):
        return torch.tensor([[1.0, float("password" in text), len(text) / 40] for text in texts]).numpy()
encoder = Encoder()
""",
}
NEEDS = {
    "widgets.md": "anywidget",
    "scale.md": "pyarrow",
    "text.md": "transformers",
    "media.md": "transformers",
}


def blocks(page: Path) -> list[str]:
    """Python blocks of a page, without those that download something or need a package we do not install."""
    found = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for block in found if not block.startswith(LEFT_OUT)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client.*", "ignore:.*pin_memory:UserWarning")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: page.relative_to(DOCS).as_posix()
)
def test_the_code_of_a_page_runs_as_it_stands(page, tmp_path, monkeypatch):
    if page.name in NEEDS:
        pytest.importorskip(NEEDS[page.name], reason=f"{NEEDS[page.name]} is not installed")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": f"docs.{page.stem}"}
    monkeypatch.setitem(sys.modules, f"docs.{page.stem}", type(sys)(f"docs.{page.stem}"))
    with torch.random.fork_rng():
        exec(PREFACES.get(page.name, ""), names)
        for number, block in enumerate(blocks(page)):
            exec(compile(block, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name in SHOWS_OUTPUT], ids=lambda page: page.stem
)
def test_what_a_page_shows_below_its_code_is_printed_by_it(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "docs"}
    pairs = re.findall(
        r"^```python\n(.*?)^```(?:\n\n```\n(.*?)^```)?",
        page.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    with torch.random.fork_rng():
        for code, shown in pairs:
            if code.startswith(LEFT_OUT):
                continue
            exec(code, names)
            printed = capsys.readouterr().out
            assert not shown or printed == shown
    assert page.name == "coming_from.md" or any(shown for _, shown in pairs)


def test_the_site_can_be_searched_for_a_pipeline_of_scikit_learn():
    words = [set(re.findall(r"\w+", page.read_text(encoding="utf-8").lower())) for page in PAGES]
    assert any({"sklearn", "pipeline", "scikit", "dataframe"} <= found for found in words)


def test_the_code_of_the_gallery_is_that_which_draws_it(monkeypatch):
    for package in ("skimage", "pandas"):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(DOCS)
    gallery = importlib.import_module("make_gallery")
    drawn = [gallery._code(draw) for drawings in gallery.ENTRIES.values() for draw in drawings]
    assert [block.rstrip() for block in blocks(DOCS / "gallery.md")] == [code.rstrip() for code in drawn]


@pytest.mark.quick_cases
@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    inside = [link for link in links if not re.match(r"[a-z]+:", link)]
    for link in inside:
        to, _, anchor = link.partition("#")
        target = (page.parent / to).resolve() if to else page
        if target.parent == DOCS / "tutorials":  # copied there by the build
            target = ROOT / "tutorials" / target.name
        if target.is_relative_to(DOCS / "project") and target.suffix == ".html":
            continue
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in _anchors(target), f"{page.name}: {link}"
    for link in (link for link in links if link.startswith("http")):
        assert re.fullmatch(r"https://[\w.-]+\.[a-z]{2,}(/\S*)?", link), link


def test_pictures_of_the_documentation_have_a_twin_for_dark_pages():
    shown = {
        page.parent / link
        for page in (*PAGES, DOCS / "gallery.md")
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+\.png)\)", page.read_text(encoding="utf-8"))
    }
    without = {path.name for path in shown if not path.with_stem(f"{path.stem}-dark").exists()}
    assert without <= {"watched.png"}  # taken by hand in JupyterLab


def test_every_status_has_advice():
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| (.+) \| (.+) \|$", (CONCEPTS / "status.md").read_text(), re.MULTILINE
    )
    assert [name for name, *_ in rows] == [status.name for status in Status]


def test_headings_have_empty_lines_around_them():
    for page in TEXTS:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert re.findall(r"[^\n]\n##+ .+", text) == [], page


def test_install_lines_work_before_there_is_a_package_on_an_index():
    for page in [*TEXTS, *(ROOT / "tutorials").glob("*.py")]:
        found = re.findall(r"pip install [^`\n]*stg_attr", page.read_text(encoding="utf-8"))
        assert found == [], f"{page.name}: say pip install . or pip install '.[extra]', in a clone"


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_source_that_is_cited_is_in_the_bibliography():
    cited = re.compile(r"https://(?:arxiv\.org/abs|doi\.org|openreview\.net)/[^\s>\"'`]+")
    listed = {_address(url) for url in cited.findall((DOCS / "project" / "bibliography.md").read_text())}
    files = [*(ROOT / "stg_attr").rglob("*.py"), *(ROOT / "tutorials").glob("*.py"), *PAGES]
    missing = {
        _address(url): file.name for file in files for url in cited.findall(file.read_text(encoding="utf-8"))
    }
    assert {url: file for url, file in missing.items() if url not in listed} == {}


def _address(url: str) -> str:
    url = url.rstrip(".,;:")
    return url[:-1] if url.endswith(")") and url.count("(") < url.count(")") else url


def test_the_import_diagram_shows_what_is_imported(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "site_parts")
    pytest.importorskip("sphinx", reason="sphinx is not installed: python run.py docs")
    architecture = importlib.import_module("architecture")
    found = architecture.imports()
    assert found["solve"] == {"batch", "gates", "select"}
    assert found["gates"] == {"batch", "modules", "distributions", "errors"}
    assert found["modules"] == {"distributions", "errors"}
    assert found["objective"] == {"batch", "errors"}
    assert found["distributions"] == {"errors"}
    level = {name: i for i, layer in enumerate(architecture.layers()) for name in layer}
    assert all(level[name] < level[other] for name, others in found.items() for other in others)
    folders = {path.name for path in (ROOT / "stg_attr").iterdir() if (path / "__init__.py").exists()}
    assert folders <= set(found)
    assert architecture.svg().count("<rect") == len(found)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("myst_nb") is None, reason="myst-nb is not installed: python run.py docs"
)
def test_the_site_builds_without_a_warning(tmp_path):
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        str(DOCS),
        str(tmp_path / "html"),
    ]
    built = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert built.returncode == 0, built.stderr[-3000:]
    index = json.loads(
        (tmp_path / "html" / "searchindex.js").read_text().removeprefix("Search.setIndex(").rstrip(";)")
    )
    found = [index["terms"][stem] for stem in ("sklearn", "pipelin")]
    pages = [{number} if isinstance(number, int) else set(number) for number in found]
    assert "dataframe" in [index["docnames"][number] for number in pages[0] & pages[1]]
    elsewhere = (tmp_path / "html" / "external-links.txt").read_text().split()
    assert all(link.startswith("https://") for link in elsewhere)
