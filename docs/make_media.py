"""The pictures of `media.md`, light and dark: `python docs/make_media.py`, or names of some after it.

Each picture is drawn by the block of code above it on the page. The models and the inputs, which the page
leaves to its reader, are made here. `sound` needs silero-vad, and `detection` facenet-pytorch; these packages
bring the weights of a net.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

import stg_attr
from stg_attr.viz.dark import on_dark

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # the models of the tests

from tests.recipes import models  # noqa: E402

PAGE = (HERE / "media.md").read_text(encoding="utf-8")
DPI = 100


def blocks_before(name: str) -> list[str]:
    """The blocks of code on the page up to a picture; the last one draws it."""
    return re.findall(r"```python\n(.*?)```", PAGE[: PAGE.index(f"](gallery/{name}.png)")], re.DOTALL)


def detection() -> dict[str, Any]:
    """MTCNN and a photograph, which the block below the picture makes."""
    after = PAGE[PAGE.index("](gallery/detection.png)") :]
    (block, *_) = re.findall(r"```python\n(.*?)```", after, re.DOTALL)
    found: dict[str, Any] = {"torch": torch}
    exec(block, found)
    found["detector"] = lambda images, boxes=found["detector"]: list(boxes(images))
    return found


def video() -> dict[str, Any]:
    """A square that is always lit, and one that lights up for four frames."""
    return {"clip": models.clip_with_a_flash(), "video_model": models.flashes}


def volume() -> dict[str, Any]:
    """A noisy volume with a bright ball."""
    return {"scan": models.scan_with_a_ball()[0], "scan_model": models.thick}


def sound() -> dict[str, Any]:
    """A detector of speech, and three vowels."""
    from silero_vad import load_silero_vad

    return {"net": load_silero_vad(), "wave": models.wave_with_vowels()}


def image_and_words() -> dict[str, Any]:
    """Two squares, and a rule that answers with the colour of one of them."""
    pixels = np.full((64, 64, 3), 20, np.uint8)
    pixels[20:40, 8:24], pixels[26:46, 40:56] = (220, 30, 30), (30, 60, 220)
    known = {"seeing": models.Looks(), "process": models.process, "tokenizer": models.tokenizer}
    return {"pixels": pixels, "picture": Image.fromarray(pixels), **known}


PICTURES: dict[str, Callable[[], dict[str, Any]]] = {
    given.__name__: given for given in (detection, video, volume, sound, image_and_words)
}


def drawn(name: str) -> Figure:
    """The figure that the block before a picture leaves, or that its last line returns."""
    known = {part: getattr(stg_attr, part) for part in stg_attr.__all__}
    names = {**known, "viz": stg_attr.viz, "torch": torch, "Figure": Figure, **PICTURES[name]()}
    *lines, last = ast.parse(blocks_before(name)[-1]).body
    exec(compile(ast.Module(lines, []), name, "exec"), names)
    if isinstance(last, ast.Expr):
        shown = eval(compile(ast.Expression(last.value), name, "eval"), names)
        return shown.fig
    exec(compile(ast.Module([last], []), name, "exec"), names)
    return names["figure"]


def main(chosen: list[str]) -> None:
    """Draw these pictures, or all."""
    torch.set_num_threads(1)
    for name in chosen or PICTURES:
        torch.manual_seed(0)
        figure, path = drawn(name), HERE / "gallery" / f"{name}.png"
        figure.savefig(path, dpi=DPI)
        with on_dark(figure):
            figure.savefig(path.with_stem(f"{name}-dark"), dpi=DPI, transparent=True)


if __name__ == "__main__":
    main(sys.argv[1:])
