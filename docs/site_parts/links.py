"""Sphinx extension: after a build, every link inside the site must lead somewhere; the others are listed."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
_FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class _Page(HTMLParser):
    """Links, ids and what a browser fetches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a tag in."""
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if (
            given.get(_FETCHED.get(tag, ""), "").startswith(("http:", "https:", "//"))
            and given.get("rel") != "canonical"
        ):
            self.fetched.append(given[_FETCHED[tag]])


def read(folder: Path) -> dict[Path, _Page]:
    """Every page below a folder."""
    pages = {}
    for path in folder.rglob("*.html"):
        pages[path] = page = _Page()
        page.feed(path.read_text(encoding="utf-8"))
    return pages


def check(folder: Path) -> tuple[list[str], list[str]]:
    """What is wrong with the pages below a folder, and the addresses elsewhere."""
    pages, wrong, elsewhere = read(folder), [], set()
    for path, page in pages.items():
        here = path.relative_to(folder).as_posix()
        wrong += [f"{here}: fetches {address}" for address in page.fetched]
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                elsewhere.add(link)
            elif not parts.scheme and not _leads_somewhere(
                folder, path, pages, parts.path, _fragment(here, parts)
            ):
                wrong.append(f"{here}: no {link}")
    return sorted(wrong), sorted(elsewhere)


def _fragment(here: str, parts: SplitResult) -> str:
    """The place on a page; source pages link back to names by which the API page may not list them."""
    return "" if here.startswith("_modules/") and parts.path else parts.fragment


def _leads_somewhere(folder: Path, path: Path, pages: dict[Path, _Page], to: str, fragment: str) -> bool:
    target = path if not to else (path.parent / unquote(to)).resolve()
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file() or folder not in target.parents:
        return False
    return not fragment or target not in pages or unquote(fragment) in pages[target].ids


def _finished(app: Sphinx, failure: Exception | None) -> None:
    if failure is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir).resolve()
    wrong, elsewhere = check(folder)
    (folder / "external-links.txt").write_text("\n".join(elsewhere) + "\n")
    for line in wrong:
        LOGGER.warning(line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Check when a build is finished."""
    app.connect("build-finished", _finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
