"""Pages: the explorer as HTML that needs no kernel; it contains a picture that needs no script."""

from __future__ import annotations

import uuid
from functools import cache
from importlib.resources import files

from stg_attr.viz.parts import as_json, render

from .packing import Json

__all__ = ["cell_output", "controls_output", "new_id", "script", "standalone_page", "style", "template"]

_PARTS = (
    "readings.js",
    "pictures.js",
    "chart.js",
    "tables.js",
    "export.js",
    "explorer.js",
)  # anywidget takes one text, so these parts become one ES module


@cache
def script() -> str:
    """The JavaScript of the explorer, as one ES module."""
    return "\n".join(_read(part) for part in _PARTS)


@cache
def style() -> str:
    """The style sheet of the explorer."""
    return _read("explorer.css")


def template() -> str:
    """A whole page with `%%name%%` in place of its parts.

    The browser fills these in, because it writes pages too (*Download HTML*), without a kernel.
    """
    places = {name: f"%%{name}%%" for name in ("picture", "payload", "page", "style", "script")}
    return render("widgets/templates/page.html", title="Explanation", id="stg", **places)


def standalone_page(state: Json, picture: str) -> str:
    """A whole page that needs no other file and no network.

    Args:
        state: the traits of the explorer.
        picture: HTML that is shown until the script has run, or where scripts do not run.
    """
    return render("widgets/templates/page.html", title="Explanation", id="stg", **_parts(state, picture))


def cell_output(state: Json, picture: str) -> str:
    """The explorer as an output of a notebook cell."""
    return render("widgets/templates/explorer.html", id=new_id(), **_parts(state, picture))


def controls_output(key: str, picture: str) -> str:
    """An output of a cell that shows a picture, or the widgets of the kernel if it runs."""
    return render(
        "widgets/templates/controls.html", place=new_id(), key=key, picture=picture, script=script()
    )


def new_id() -> str:
    """An id for an element that no other element has."""
    return f"stg-{uuid.uuid4().hex[:12]}"


def _parts(state: Json, picture: str) -> dict[str, str]:
    """What the templates of an explorer need."""
    return {
        "picture": picture,
        "payload": as_json(state),
        "page": as_json(template()),
        "style": style(),
        "script": script(),
    }


def _read(name: str) -> str:
    return (files("stg_attr.widgets") / "front" / name).read_text(encoding="utf-8")
