"""Figures for both themes: where a page is dark, `name-dark.png` is shown in place of `name.png`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.transforms import SphinxTransform


class DarkFigures(SphinxTransform):
    """Puts the picture for dark pages beside each picture that has one; the theme shows one of them."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        """Change the images of the document."""
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for light in list(self.document.findall(nodes.image)):
            path = Path(light["uri"])
            dark = path.with_name(f"{path.stem}-dark{path.suffix}")
            if "://" in light["uri"] or not (folder / dark).exists():
                continue
            twin = light.deepcopy()
            twin["uri"] = dark.as_posix()
            light["classes"].append("only-light")
            twin["classes"].append("only-dark")
            light.parent.insert(light.parent.index(light) + 1, twin)


def setup(app: Any) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(DarkFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
