"""The folder of an output: a manifest, and one Parquet file per shard, written completely or not at all."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stg_attr.errors import ArgumentError

from .checksums import has_intact_footer, is_intact, with_checksums
from .manifest import Manifest
from .run_error import RunError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Output", "ShardSizes", "check_arrow"]

_SHARD_NAME = re.compile(r"part-(\d{6,})\.parquet")


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
class Output:
    """The folder of an output: `manifest.json`, `rows/part-*.parquet`, and `unfinished/` during a run.

    A shard is written to `unfinished/`, flushed to the disk and then renamed into `rows/`. A file system
    renames a file completely or not at all, so every file in `rows/` is complete.

    Every shard repeats the identity of its run, which follows from the manifest. So two equal runs can share
    a folder, and a shard of a different run, which still ran when `overwrite=True` began, is not taken
    for one of this.

    Args:
        folder: every process finds it under this path.
        run: identity of the run that writes, or is read.
    """

    folder: Path
    run: str = ""

    @property
    def rows(self) -> Path:
        """The folder of the shards."""
        return self.folder / "rows"

    @property
    def _unfinished(self) -> Path:
        return self.folder / "unfinished"

    @property
    def _manifest(self) -> Path:
        return self.folder / "manifest.json"

    def shard(self, number: int) -> Path:
        """Path of a finished shard."""
        return self.rows / f"part-{number:06d}.parquet"

    def numbers(self) -> list[int]:
        """Numbers of the shards in the folder, ascending, whichever run has written them."""
        names = [entry.name for entry in os.scandir(self.rows)] if self.rows.is_dir() else []
        matches = (_SHARD_NAME.fullmatch(name) for name in names)
        return sorted(int(match[1]) for match in matches if match)

    def finished(self) -> dict[int, tuple[int, int]]:
        """The shards that this run, or an equal one, has finished: `counts` of each, by its number.

        Raises:
            ArgumentError: a file is damaged.
        """
        found = {number: self.counts(number) for number in self.numbers()}
        return {number: counts for number, counts in found.items() if counts is not None}

    def open(self, manifest: Manifest, overwrite: bool) -> Output:
        """Start a new output, or continue one that has the same manifest.

        Args:
            manifest: of this run.
            overwrite: delete an output that is already in the folder.

        Returns:
            The folder, for this run to write to.

        Raises:
            ArgumentError: the folder holds other files, or the output of a different run.
        """
        self._check_folder()
        try:
            if overwrite:
                self._clear()
            self._create(manifest)
        except OSError as error:
            raise _not_writable(self.folder, error) from error
        manifest.check_equal(Manifest.of(self._manifest), self.folder)
        return replace(self, run=manifest.identity)

    def to_read(self) -> Output:
        """The folder with the identity of the run that its manifest describes.

        Raises:
            ArgumentError: the manifest is missing or damaged, or another version of the package wrote it.
        """
        return replace(self, run=Manifest.of(self._manifest).identity)

    def _clear(self) -> None:
        """Delete the files one by one: `rows` may be a link to a folder on another disk.

        The manifest goes first, so that an older run which is still at work notices and writes no more.
        """
        self._manifest.unlink(missing_ok=True)
        drafts = list(self._unfinished.iterdir()) if self._unfinished.is_dir() else []
        for path in [*(self.shard(number) for number in self.numbers()), *drafts]:
            path.unlink(missing_ok=True)

    def _create(self, manifest: Manifest) -> None:
        for folder in (self.rows, self._unfinished):
            folder.mkdir(parents=True, exist_ok=True)
        if self._manifest.exists():
            return
        draft = self._draft("manifest.json")
        draft.write_text(manifest.text())
        try:
            os.link(draft, self._manifest)  # unlike a rename, it never replaces a file
        except OSError:  # another process was quicker, or the file system has no hard links
            if not self._manifest.exists():
                os.replace(draft, self._manifest)
        draft.unlink(missing_ok=True)

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
        """Path of a file that nobody else writes."""
        return self._unfinished / f"{name}.{uuid.uuid4().hex}"

    def write(self, number: int, table: pa.Table, n_failed: int) -> None:
        """Write a shard, completely or not at all.

        Args:
            number: of the shard.
            table: its rows.
            n_failed: rows with status FAILED.

        Raises:
            ArgumentError: the disk is full, or the folder cannot be written.
            RunError: the folder belongs to another run now.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        about = {"failed": n_failed, "run": self.run, "checksums": "sha256"}
        content = pa.BufferOutputStream()
        pq.write_table(
            table.replace_schema_metadata({"stg_attr": json.dumps(about)}), content, compression="zstd"
        )
        self._check_run()
        try:
            self._write(self.shard(number), with_checksums(content.getvalue().to_pybytes()))
        except OSError as error:
            if self.counts(number) is None:  # otherwise an equal run has just written it, and tidied up
                raise _not_writable(self.folder, error) from error

    def _write(self, path: Path, content: bytes) -> None:
        draft = self._draft(path.name)
        draft.parent.mkdir(exist_ok=True)
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # otherwise a power cut could leave a file with a name and no content
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def _check_run(self) -> None:
        """Raise a RunError if a different run has begun in the folder."""
        if self._manifest.exists() and Manifest.of(self._manifest).identity == self.run:
            return
        raise RunError(
            f"A different run has begun in {self.folder} with overwrite=True, so this one writes no more.",
            mend="Choose another folder for one of the two.",
        )

    def count_attempt(self, number: int) -> int:
        """Count one more attempt to explain a shard.

        Each attempt adds one byte to a file, so the length of the file is the number of attempts. The file
        system adds a byte in one step, so no attempt is lost if a process is killed or two processes count
        at the same time.

        Returns:
            Attempts since `reset_attempts`; 0 if the shard is finished.
        """
        if self.counts(number) is not None:
            return 0
        self._unfinished.mkdir(exist_ok=True)
        with (self._unfinished / f"{self.shard(number).name}.attempts").open("ab") as file:
            file.write(b"x")
            return file.tell()

    def reset_attempts(self) -> None:
        """Set the number of attempts of every shard to 0."""
        for path in self._unfinished.glob("*.attempts"):
            path.unlink(missing_ok=True)

    def remove_unfinished(self) -> None:
        """Remove the files that killed processes did not finish; an equal run may still be writing others."""
        for path in self._unfinished.glob("part-*"):
            if (self.rows / path.stem).exists():  # the name of a draft is that of the shard, and an ending
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or removed by an equal run
            self._unfinished.rmdir()

    def counts(self, number: int) -> tuple[int, int] | None:
        """Number of rows of a shard, and how many of them failed; None if this run has not finished it.

        Raises:
            ArgumentError: the file is damaged.
        """
        import pyarrow.parquet as pq

        path = self.shard(number)
        if not path.exists():
            return None
        with _readable(path):
            metadata = pq.read_metadata(path)
            about = _about(metadata.metadata, has_intact_footer(path))
            return (metadata.num_rows, about["failed"]) if about.get("run") == self.run else None

    def read(self, number: int) -> pa.Table:
        """Rows of a finished shard.

        Raises:
            ArgumentError: the file is damaged, or a different run has written it.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.shard(number)
        with _readable(path):
            content = path.read_bytes()
            table = pq.read_table(pa.BufferReader(content))
            about = _about(table.schema.metadata, is_intact(content))
            if about.get("run", self.run) != self.run:
                raise ValueError("a different run has written it")
            return table


def _about(metadata: Mapping[bytes, bytes] | None, is_intact: bool) -> dict[str, Any]:
    """What the footer of a shard says about it.

    Args:
        metadata: of the footer.
        is_intact: whether the checksums agree.

    Raises:
        ValueError: the file is damaged, or another program has written it.
    """
    about: dict[str, Any] = json.loads((metadata or {}).get(b"stg_attr", b"{}"))
    if "failed" not in about:
        raise ValueError("explain_dataset has not written it")
    if not is_intact and about.keys() != {"failed"}:  # what releases without checksums have written
        raise ValueError("its checksum differs, so that it was changed after it was written")
    return about


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what a damaged file raises into an ArgumentError that names the file."""
    import pyarrow as pa

    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ArgumentError(
            "output",
            expected="shards that can be read",
            found=f"{path}: {' '.join(str(error).split())}",
            mend="Delete this file and run the same command again.",
        ) from error


def _not_writable(folder: Path, error: OSError) -> ArgumentError:
    return ArgumentError(
        "output",
        expected="a folder that files can be written to",
        found=f"{folder}: {error}",
        mend="Free some space or correct the permissions, and run the same command again. Finished shards "
        "are kept.",
    )
