"""Report: the content as data, as a page, and as files with the rows behind each figure."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stg_attr.errors import ArgumentError

__all__ = ["Report", "as_parquet", "described_files", "read_report", "without_nan"]

FORMAT = 1  # of the content
_PAGE, _DATA = "report.html", "report.json"


@dataclass(frozen=True, eq=False)
class Report:
    """A report, or the difference of two: its content, and the rows behind each figure.

    Attributes:
        content: what the page says, as numbers and texts, by section.
        files: Parquet files by their path beside the page.
    """

    content: Mapping[str, Any]
    files: Mapping[str, bytes]

    def __str__(self) -> str:
        return "\n".join(self.content["summary"])

    def __repr__(self) -> str:
        return f"Report(\n  {str(self).replace(chr(10), chr(10) + '  ')}\n)"

    def json(self) -> str:
        """The content for machines; equal for equal arguments, but for the date."""
        return json.dumps(self.content, indent=1, allow_nan=False) + "\n"

    def html(self) -> str:
        """The content as one page that needs no network; equal for equal arguments, but for the date."""
        from .page import rendered

        return rendered(self.content)

    def save(self, folder: str | Path) -> Path:
        """Write the page, the JSON, and the Parquet files that the page links to.

        Args:
            folder: it is made if it is not there; files of these names in it are replaced.

        Returns:
            The path of the page.

        Raises:
            ArgumentError: the folder cannot be written.
        """
        home = Path(folder)
        texts = {_PAGE: self.html(), _DATA: self.json()}
        try:
            for name, content in {**self.files, **{n: t.encode() for n, t in texts.items()}}.items():
                path = home / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        except OSError as error:
            raise ArgumentError(
                "folder",
                expected="a folder that files can be written to",
                found=f"{folder}: {error}",
                mend="Choose another folder.",
            ) from error
        return home / _PAGE


def read_report(source: Report | str | Path) -> Report:
    """A report, or what `Report.save` wrote.

    Raises:
        ArgumentError: the folder holds no report.
    """
    if isinstance(source, Report):
        return source
    home = Path(source)
    try:
        content = json.loads((home / _DATA).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        files = {one["name"]: (home / one["name"]).read_bytes() for one in content["files"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArgumentError(
            "report",
            expected=f"a folder that Report.save has written, of format {FORMAT}",
            found=f"{source}: {type(error).__name__}: {error}",
            mend="Check the path.",
        ) from error
    return Report(content, files)


def as_parquet(columns: Mapping[str, Any]) -> bytes:
    """Columns as the bytes of a Parquet file; the same columns give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = io.BytesIO()
    table = pa.table({name: pa.array(_writable(values)) for name, values in columns.items()})
    pq.write_table(table, content, compression="zstd")
    return content.getvalue()


def _writable(values: Any) -> Any:
    """Texts without halves of letters (surrogates), which no file can hold."""
    if isinstance(values, str):
        return values.encode("utf-8", "replace").decode()
    return [_writable(value) for value in values] if isinstance(values, list) else values


def described_files(files: Mapping[str, bytes], rows: Mapping[str, int]) -> list[dict[str, Any]]:
    """Name, number of rows and checksum of each file."""
    return [
        {"name": name, "rows": rows[name], "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    ]


def without_nan(value: Any) -> Any:
    """The same with None for numbers that JSON does not have, and with plain numbers of Python."""
    if isinstance(value, Mapping):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
