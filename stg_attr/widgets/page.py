"""Pages: the explorer as markup that needs no kernel, around a picture that needs no script either."""

from __future__ import annotations

import json
import uuid
from functools import cache
from importlib.resources import files

from .packing import Json

__all__ = ["fragment", "new_id", "portal", "script", "stand_alone", "style", "template"]

_PARTS = (
    "pictures.js",
    "chart.js",
    "tables.js",
    "export.js",
    "explorer.js",
)  # of one ES module, which anywidget takes as one text
_BODY = """<div id="{id}">%%picture%%</div>
<script type="application/json" id="{id}-data">%%payload%%</script>
<script type="application/json" id="{id}-page">%%page%%</script>
<style id="{id}-style">%%style%%</style>
<script type="module" id="{id}-code">%%script%%
// start
mount("{id}");
</script>"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Explanation</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ background: Canvas; color: CanvasText; font-family: sans-serif; margin: 2em; }}
</style>
</head>
<body>
<main>
<h1>Explanation</h1>
{body}
</main>
</body>
</html>
"""


@cache
def script() -> str:
    """The ES module of the front end."""
    return "\n".join(_read(part) for part in _PARTS)


@cache
def style() -> str:
    """Its style sheet."""
    return _read("explorer.css")


def template() -> str:
    """A page that stands alone, with places for its parts."""
    return _PAGE.format(body=_BODY.format(id="stg"))


def stand_alone(state: Json, picture: str) -> str:
    """A page with everything inside: nothing is fetched.

    Args:
        state: payload, example, budget and show, as the front end has them.
        picture: markup that stands there until the script has run, or where none does.
    """
    return _filled(template(), state, picture)


def fragment(state: Json, picture: str) -> str:
    """The same as an output of a notebook cell."""
    return _filled(_BODY.format(id=new_id()), state, picture)


def portal(key: str, picture: str) -> str:
    """A place in an output of a cell to which the widgets of a live kernel come; a picture until then."""
    place = new_id()
    return (
        f'<div id="{place}" data-key="{key}">{picture}</div>\n'
        f'<script type="module">{script()}\nsummon("{place}");\n</script>'
    )


def new_id() -> str:
    """A name for a part of a document that no other has."""
    return f"stg-{uuid.uuid4().hex[:12]}"


def _filled(text: str, state: Json, picture: str) -> str:
    parts = {
        "picture": picture,
        "payload": _inert(state),
        "page": _inert(template()),
        "style": style(),
        "script": script(),
    }
    pieces = text.split("%%")  # one pass: what is filled in is not looked at again
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def _inert(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )


def _read(name: str) -> str:
    return (files("stg_attr.widgets") / "front" / name).read_text(encoding="utf-8")
