"""The folder of an output: a manifest, and one Parquet file per shard, written completely or not at all."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stg_attr.errors import ArgumentError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Manifest", "Output", "ShardSizes", "check_arrow"]

_VERSION = 1  # of the layout of the folder
_SHARD_NAME = re.compile(r"part-(\d+)\.parquet")


def check_arrow() -> None:
    """Raise an ArgumentError if PyArrow, which reads and writes the files, is not installed."""
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
class ShardSizes:
    """How many rows a shard has by default: many shards share the work evenly, few shards are few files.

    Attributes:
        most_shards: a data set has at most so many shards, unless `most_batches` makes shards smaller.
        most_batches: a shard has at most so many batches, because a crash loses the work on one shard.
        batches_of_stream: batches of a shard where the number of rows is not known.
    """

    most_shards: int = 4096
    most_batches: int = 256
    batches_of_stream: int = 16

    def rows(self, n_rows: int | None, batch_rows: int) -> int:
        """Rows of a shard.

        Args:
            n_rows: of the data set; None if not known.
            batch_rows: rows that are explained together.
        """
        if n_rows is None:
            return self.batches_of_stream * batch_rows
        batches = -(-n_rows // (batch_rows * self.most_shards))  # rounded up
        return min(max(1, batches), self.most_batches) * batch_rows


@dataclass(frozen=True)
class Manifest:
    """What the rows of an output were computed from; it never changes after the first shard.

    Attributes:
        fingerprint: model, data, settings and versions, each as a short text.
        n_rows: of the data set; None if not known before the data set ends.
        batch_rows: rows that are explained together.
        shard_rows: rows of a shard, a multiple of `batch_rows`.
        id_type: Arrow type of the row ids.
        version: of the layout of the folder.
    """

    fingerprint: Mapping[str, str]
    n_rows: int | None
    batch_rows: int
    shard_rows: int
    id_type: str
    version: int = _VERSION


@dataclass(frozen=True)
class Output:
    """The folder of an output: `manifest.json`, `rows/part-*.parquet`, and `unfinished/` during a run.

    A shard is written to `unfinished/`, flushed to the disk and then renamed into `rows/`. A file system
    renames a file completely or not at all, so every file in `rows/` is complete.

    Args:
        folder: every process finds it under this path.
    """

    folder: Path

    @property
    def rows(self) -> Path:
        """The folder of the shards."""
        return self.folder / "rows"

    def shard(self, number: int) -> Path:
        """Path of a finished shard."""
        return self.rows / f"part-{number:06d}.parquet"

    def finished(self) -> list[int]:
        """Numbers of the finished shards, ascending."""
        names = [entry.name for entry in os.scandir(self.rows)] if self.rows.is_dir() else []
        matches = (_SHARD_NAME.fullmatch(name) for name in names)
        return sorted(int(match[1]) for match in matches if match)

    def open(self, manifest: Manifest, overwrite: bool) -> None:
        """Start a new output, or continue one that has the same manifest.

        Args:
            manifest: of this run.
            overwrite: delete an output that is already in the folder.

        Raises:
            ArgumentError: the folder holds other files, or the output of a different run.
        """
        if overwrite:
            self._clear()
        try:
            self._create(manifest)
        except OSError as error:
            raise _not_writable(self.folder, error) from error
        existing = self.manifest()
        if existing != manifest:
            raise _different(self.folder, existing, manifest)

    def _clear(self) -> None:
        self._check_folder()
        shutil.rmtree(self.rows, ignore_errors=True)
        shutil.rmtree(self.folder / "unfinished", ignore_errors=True)
        (self.folder / "manifest.json").unlink(missing_ok=True)

    def _create(self, manifest: Manifest) -> None:
        self._check_folder()
        for folder in (self.rows, self.folder / "unfinished"):
            folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "manifest.json").exists():
            return
        draft = self._draft("manifest.json")
        draft.write_text(json.dumps(asdict(manifest), indent=1))
        try:
            os.link(draft, self.folder / "manifest.json")  # unlike a rename, it never replaces a file
        except FileExistsError:
            pass  # another process wrote its manifest at the same time; `open` compares the two
        except OSError:  # a file system without hard links
            shutil.copyfile(draft, self.folder / "manifest.json")
        draft.unlink()

    def _check_folder(self) -> None:
        """Raise an ArgumentError if the folder holds files that no run has written."""
        names = {entry.name for entry in os.scandir(self.folder)} if self.folder.is_dir() else set()
        if names and "manifest.json" not in names and not names <= {"rows", "unfinished"}:
            raise ArgumentError(
                "output",
                expected="a new folder, or one that explain_dataset has written",
                found=f"other files in {self.folder}",
                mend="Choose another folder.",
            )

    def _draft(self, name: str) -> Path:
        """Path of a file that only this process writes."""
        return self.folder / "unfinished" / f"{name}.{socket.gethostname()}.{os.getpid()}"

    def manifest(self) -> Manifest:
        """Read the manifest.

        Raises:
            ArgumentError: it is missing or damaged, or another version of the package wrote it.
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
                expected=f"the manifest of an output of explain_dataset, of version {_VERSION}",
                found=f"{path}: {error}",
                mend="Check the path, or choose another folder.",
            ) from error

    def write(self, number: int, table: pa.Table, n_failed: int) -> None:
        """Write a shard, completely or not at all.

        Args:
            number: of the shard.
            table: its rows.
            n_failed: rows with status FAILED.

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
                os.fsync(file.fileno())  # otherwise a power cut could leave a file with a name and no content
            os.replace(draft, self.shard(number))
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise _not_writable(self.folder, error) from error

    def count_attempt(self, number: int) -> int:
        """Count one more attempt to explain a shard.

        Each attempt adds one byte to a file, so the length of the file is the number of attempts. The file
        system adds a byte in one step, so no attempt is lost if a process is killed or two processes count
        at the same time.

        Returns:
            Attempts since `reset_attempts`; 0 if the shard is finished.
        """
        if self.shard(number).exists():
            return 0
        with (self.folder / "unfinished" / f"{self.shard(number).name}.attempts").open("ab") as file:
            file.write(b"x")
            return file.tell()

    def reset_attempts(self) -> None:
        """Set the number of attempts of every shard to 0."""
        for path in (self.folder / "unfinished").glob("*.attempts"):
            path.unlink()

    def remove_unfinished(self) -> None:
        """Remove the files that killed processes did not finish."""
        shutil.rmtree(self.folder / "unfinished", ignore_errors=True)

    def counts(self, number: int) -> tuple[int, int]:
        """Number of rows of a finished shard, and how many of them failed.

        Raises:
            ArgumentError: the file is damaged.
        """
        metadata = self.read_metadata(number)
        return metadata.num_rows, json.loads(metadata.metadata[b"stg_attr"])["failed"]

    def read_metadata(self, number: int) -> Any:
        """Metadata of the Parquet file of a finished shard.

        Raises:
            ArgumentError: the file is damaged.
        """
        import pyarrow.parquet as pq

        return self._read_with(pq.read_metadata, number)

    def read(self, number: int) -> pa.Table:
        """Rows of a finished shard.

        Raises:
            ArgumentError: the file is damaged.
        """
        import pyarrow.parquet as pq

        return self._read_with(pq.read_table, number)

    def _read_with(self, read: Callable[[Path], Any], number: int) -> Any:
        import pyarrow as pa

        try:
            return read(self.shard(number))
        except (OSError, pa.ArrowException) as error:
            raise ArgumentError(
                "output",
                expected="shards that can be read",
                found=f"{self.shard(number)}: {error}",
                mend="Delete this file and run the same command again.",
            ) from error


def _different(folder: Path, existing: Manifest, this: Manifest) -> ArgumentError:
    old, new = _flat(existing), _flat(this)
    differences = [
        f"{name} is {new.get(name)} and was {old.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    return ArgumentError(
        "output",
        expected=f"the same model, data and settings as in the run that created {folder}",
        found="; ".join(differences),
        mend="Choose another folder, or delete the old results with overwrite=True.",
    )


def _flat(manifest: Manifest) -> dict[str, str]:
    others = {name: str(value) for name, value in asdict(manifest).items() if name != "fingerprint"}
    return others | dict(manifest.fingerprint)


def _not_writable(folder: Path, error: OSError) -> ArgumentError:
    return ArgumentError(
        "output",
        expected="a folder that files can be written to",
        found=f"{folder}: {error}",
        mend="Free some space or correct the permissions, and run the same command again. Finished shards "
        "are kept.",
    )
