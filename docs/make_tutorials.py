"""The tutorials: `python docs/make_tutorials.py [NAMES]` runs scripts of `tutorials` and saves notebooks.

A script in percent format is what people edit. The notebook of the same name is made of its cells and of what
they printed and drew in a kernel of its own; no path of the machine and no warning may be in it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "tutorials").glob("*.py"))
LARGEST = 2_000_000  # bytes of a notebook
SECONDS = 300  # for one cell
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}
_ROOTS = "home|root|tmp|usr|opt|var|mnt|srv|work|media|content|workspace|Users|private"
_PATH = re.compile(rf"(?<![\w/:.+])/(?:{_ROOTS})/[\w.~+-]+|\b[A-Z]:\\\w+|\bfile://")
_RAY = re.compile(r"^\[[\d: ,-]+ [IWE] \d+ \d+\] .*\n?", re.MULTILINE)
_ENCODED = re.compile(r"base64,[A-Za-z0-9+/=\n]+")


def unexecuted(script: Path) -> NotebookNode:
    """The cells of a script as a notebook without outputs."""
    cells = jupytext.read(script).cells
    for i, cell in enumerate(cells):
        cell["id"], cell["metadata"] = f"cell-{i}", {}
    notebook: NotebookNode = nbformat.v4.new_notebook(cells=cells, metadata=KERNEL)
    return notebook


def executed(script: Path) -> NotebookNode:
    """The same, after running it in a new kernel, in an empty folder, on one thread."""
    notebook = unexecuted(script)
    packages = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {"PYTHONPATH": packages, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as sockets:
        client = NotebookClient(
            notebook, timeout=SECONDS, record_timing=False, resources={"metadata": {"path": folder}}
        )
        if os.name != "nt":  # a port that was free may be taken when the kernel starts; a socket file is not
            client.config.KernelManager.transport = "ipc"
            client.config.KernelManager.ip = str(Path(sockets) / "kernel")
        client.execute(env={**os.environ, **settings})
    for cell in notebook.cells:
        _drop_log_of_ray(cell)
    notebook.metadata = KERNEL
    return notebook


def _drop_log_of_ray(cell: NotebookNode) -> None:
    """What Ray's own processes log about themselves goes to stderr, and no setting of ours stops it."""
    for output in cell.get("outputs", ()):
        if output.get("name") == "stderr":
            output["text"] = _RAY.sub("", output["text"])
    if cell["cell_type"] == "code":
        cell["outputs"] = [output for output in cell["outputs"] if output.get("text") != ""]


def faults(notebook: NotebookNode) -> list[str]:
    """What must not be in a notebook's outputs: paths of the machine, warnings, errors, too many bytes."""
    found = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            text = _text(output)
            where = f"cell {number}: "
            if output.output_type == "error" or output.get("name") == "stderr":
                found.append(where + text[:300])
            if path := _PATH.search(text):
                found.append(where + f"path {path.group()}")
            if str(ROOT) in text or sys.prefix in text:
                found.append(where + "path of this environment")
            if "Warning" in text:
                found.append(where + "a warning")
    size = len(nbformat.writes(notebook).encode())
    return found + ([f"{size} bytes"] if size > LARGEST else [])


def _text(output: NotebookNode) -> str:
    """Everything that an output says, without its pictures; of HTML only what is shown."""
    if output.output_type == "error":
        return "\n".join(output.traceback)
    parts = [output.get("text", "")]
    parts += [str(value) for kind, value in output.get("data", {}).items() if not kind.startswith("image/")]
    return re.sub(r"</\w+>|\w+/>", " ", _ENCODED.sub("", "\n".join(parts)))


def main(names: list[str]) -> int:
    """Run and save the named tutorials, or all; 1 if something is wrong with one of them."""
    wrong = 0
    for script in SCRIPTS:
        if names and script.stem not in names:
            continue
        start = time.perf_counter()
        notebook = executed(script)
        nbformat.write(notebook, script.with_suffix(".ipynb"))
        found = faults(notebook)
        wrong = max(wrong, int(bool(found)))
        print(f"{script.stem}: {time.perf_counter() - start:.0f} s", *found, sep="\n  ", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
