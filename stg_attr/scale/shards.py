"""Shards: the folder of an output, with files that are whole or absent."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stg_attr.errors import ArgumentError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Manifest", "Output", "check_arrow"]

_VERSION = 1
_NAME = re.compile(r"part-(\d+)\.parquet")


def check_arrow() -> None:
    """Raise an ArgumentError where PyArrow, which reads and writes the files, is not installed."""
    try:
        importlib.import_module("pyarrow")
    except ModuleNotFoundError as error:
        raise ArgumentError(
            "stg_attr.scale",
            expected="PyArrow",
            found=str(error),
            mend="Install it with: pip install stg_attr[scale]",
        ) from error


@dataclass(frozen=True)
class Manifest:
    """What an output is of; it does not change while the output is made.

    Attributes:
        fingerprint: model, data, settings and versions, each as a short text.
        n_rows: of the data set; None where it is not known before its end.
        batch_rows: rows that are explained together.
        shard_rows: rows of a shard, a multiple of `batch_rows`.
        id_type: Arrow type of the row ids.
        version: of the layout.
    """

    fingerprint: Mapping[str, str]
    n_rows: int | None
    batch_rows: int
    shard_rows: int
    id_type: str
    version: int = _VERSION


@dataclass(frozen=True)
class Output:
    """The folder of an output: `manifest.json`, `rows/part-*.parquet`, and `unfinished/` while it is made.

    A shard is written to `unfinished/`, flushed to the disk, and moved to `rows/` in one step of the file
    system, so that every file in `rows/` is whole.

    Args:
        folder: seen by every process under this path.
    """

    folder: Path

    @property
    def rows(self) -> Path:
        """The folder of the shards."""
        return self.folder / "rows"

    def shard(self, number: int) -> Path:
        """Where a shard is when it is finished."""
        return self.rows / f"part-{number:06d}.parquet"

    def finished(self) -> list[int]:
        """Numbers of the finished shards, ascending."""
        found = (_NAME.fullmatch(entry.name) for entry in os.scandir(self.rows)) if self.rows.is_dir() else ()
        return sorted(int(match[1]) for match in found if match)

    def open(self, manifest: Manifest, overwrite: bool) -> None:
        """Begin an output, or go on with one.

        Raises:
            ArgumentError: the folder holds something else, or the output of another run.
        """
        if overwrite:
            self._clear()
        try:
            self._begin(manifest)
        except OSError as error:
            raise _full(self.folder, error) from error
        there = self.manifest()
        if there != manifest:
            raise _different(self.folder, there, manifest)

    def _clear(self) -> None:
        if self._is_foreign():
            raise self._foreign()
        shutil.rmtree(self.rows, ignore_errors=True)
        shutil.rmtree(self.folder / "unfinished", ignore_errors=True)
        (self.folder / "manifest.json").unlink(missing_ok=True)

    def _begin(self, manifest: Manifest) -> None:
        if self._is_foreign():
            raise self._foreign()
        for folder in (self.rows, self.folder / "unfinished"):
            folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "manifest.json").exists():
            return
        draft = self._draft("manifest.json")
        draft.write_text(json.dumps(asdict(manifest), indent=1))
        try:
            os.link(draft, self.folder / "manifest.json")  # unlike a move, leaves one that is there
        except FileExistsError:
            pass  # another process began this moment; they are compared
        except OSError:  # a file system without links
            shutil.copyfile(draft, self.folder / "manifest.json")
        draft.unlink()

    def _is_foreign(self) -> bool:
        there = {entry.name for entry in os.scandir(self.folder)} if self.folder.is_dir() else set()
        return bool(there) and "manifest.json" not in there and not there <= {"rows", "unfinished"}

    def _foreign(self) -> ArgumentError:
        return ArgumentError(
            "output",
            expected="a new folder, or one that explain_dataset made",
            found=f"other files in {self.folder}",
            mend="Choose another folder.",
        )

    def _draft(self, name: str) -> Path:
        return self.folder / "unfinished" / f"{name}.{socket.gethostname()}.{os.getpid()}"

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            ArgumentError: there is none, or it is damaged or of another version.
        """
        path = self.folder / "manifest.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            if found.get("version") != _VERSION:
                raise ValueError(f"version {found.get('version')}")
            return Manifest(**{field.name: found[field.name] for field in fields(Manifest)})
        except (OSError, ValueError, KeyError) as error:
            raise ArgumentError(
                "output",
                expected=f"the manifest of an output of explain_dataset, version {_VERSION}",
                found=f"{path}: {error}",
                mend="Check the path, or choose another folder.",
            ) from error

    def write(self, number: int, table: pa.Table, n_failed: int) -> None:
        """Write a shard, whole or not at all.

        Raises:
            ArgumentError: the disk is full, or the folder cannot be written.
        """
        import pyarrow.parquet as pq

        draft = self._draft(self.shard(number).name)
        draft.parent.mkdir(exist_ok=True)
        table = table.replace_schema_metadata({"stg_attr": json.dumps({"failed": n_failed})})
        try:
            with draft.open("wb") as file:
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave the name without the content
            os.replace(draft, self.shard(number))
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise _full(self.folder, error) from error

    def note_try(self, number: int) -> int:
        """Note that a shard is begun; how often that happened since `forget_tries`, 0 if it is finished."""
        if self.shard(number).exists():
            return 0
        with (self.folder / "unfinished" / f"{self.shard(number).name}.tries").open("ab") as file:
            file.write(b"x")
            return file.tell()

    def forget_tries(self) -> None:
        """Begin to count tries anew."""
        for path in (self.folder / "unfinished").glob("*.tries"):
            path.unlink()

    def tidy(self) -> None:
        """Remove what killed processes left unfinished."""
        shutil.rmtree(self.folder / "unfinished", ignore_errors=True)

    def counts(self, number: int) -> tuple[int, int]:
        """Rows of a finished shard, and how many of them failed.

        Raises:
            ArgumentError: it is damaged.
        """
        metadata = self.read_schema(number)
        return metadata.num_rows, json.loads(metadata.metadata[b"stg_attr"])["failed"]

    def read_schema(self, number: int) -> Any:
        """The footer of a finished shard.

        Raises:
            ArgumentError: it is damaged.
        """
        import pyarrow.parquet as pq

        return self._guarded(number, pq.read_metadata)

    def read(self, number: int) -> pa.Table:
        """A finished shard.

        Raises:
            ArgumentError: it is damaged.
        """
        import pyarrow.parquet as pq

        return self._guarded(number, pq.read_table)

    def _guarded(self, number: int, read: Any) -> Any:
        import pyarrow as pa

        try:
            return read(self.shard(number))
        except (OSError, pa.ArrowException) as error:
            raise ArgumentError(
                "output",
                expected="whole shards",
                found=f"{self.shard(number)}: {error}",
                mend="Delete this file and run the command that made it again.",
            ) from error


def _different(folder: Path, there: Manifest, here: Manifest) -> ArgumentError:
    old, new = _flat(there), _flat(here)
    differences = [
        f"{name} is {new.get(name)} and was {old.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    return ArgumentError(
        "output",
        expected=f"the model, data and settings of the run that began {folder}",
        found="; ".join(differences),
        mend="Choose another folder, or pass overwrite=True to throw the old results away.",
    )


def _flat(manifest: Manifest) -> dict[str, str]:
    others = {name: str(value) for name, value in asdict(manifest).items() if name != "fingerprint"}
    return others | dict(manifest.fingerprint)


def _full(folder: Path, error: OSError) -> ArgumentError:
    return ArgumentError(
        "output",
        expected="a folder with room for the next shard",
        found=f"{folder}: {error}",
        mend="Mend it and run the same command again; finished shards are kept.",
    )
