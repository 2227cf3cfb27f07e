"""Data sets of every kind behind one interface that reads any range of rows."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler, TensorDataset

from stg_attr.errors import ArgumentError

from .fingerprint import digest
from .frames import arrow_columns, frame_columns
from .rows import Columns, Row, id_type_of, item_row, table_rows

if TYPE_CHECKING:
    import pandas as pd
    import ray.data

__all__ = ["DataSet", "Source", "as_source", "is_ray"]

#: What can be explained: a torch data set or loader, a DataFrame, a Parquet file or folder, a Ray data set.
DataSet: TypeAlias = "Dataset[Any] | DataLoader[Any] | pd.DataFrame | str | Path | ray.data.Dataset"

_ROWS_TOGETHER = 1024  # rows of a table that are converted together
_SAMPLED_ROWS = 16  # rows of a torch data set, besides the first, that its fingerprint reads


class Source(ABC):
    """A data set in a fixed order."""

    n_rows: int | None  # None if not known before the data set ends

    @abstractmethod
    def rows(self, start: int, stop: int, dtype: torch.dtype | None) -> Iterator[Row]:
        """The rows from `start` to `stop`, without the row at `stop`; fewer if the data set ends before.

        Args:
            start: position of the first row.
            stop: position after the last row.
            dtype: of the inputs that are made from a table; None keeps integers as integers. The tensors of a
                torch data set keep their own dtype.
        """

    @abstractmethod
    def identity(self) -> str:
        """A fingerprint of the data."""

    def id_type(self) -> str:
        """Arrow type of the row ids, `int64` or `string`: that of the first row."""
        first = next(self.rows(0, 1, torch.get_default_dtype()))
        return "int64" if isinstance(first.id, int) else "string"


@dataclass(frozen=True)
class Table(Source):
    """A table in memory.

    Args:
        table: columns of equal length.
        columns: which columns hold the inputs, the ids and the targets.
    """

    table: Mapping[str, NDArray[Any]]
    columns: Columns

    @property
    def n_rows(self) -> int:  # type: ignore[override]  # known from the columns
        """Number of rows."""
        return len(next(iter(self.table.values()), ()))

    def rows(self, start: int, stop: int, dtype: torch.dtype | None) -> Iterator[Row]:
        for first in range(start, min(stop, self.n_rows), _ROWS_TOGETHER):
            last = min(first + _ROWS_TOGETHER, stop, self.n_rows)
            part = {name: values[first:last] for name, values in self.table.items()}
            yield from table_rows(part, self.columns, range(first, last), dtype)

    def identity(self) -> str:
        return f"table of {self.n_rows} rows, {digest(self.table)}"

    def id_type(self) -> str:
        return "int64" if self.columns.id is None else id_type_of(self.table[str(self.columns.id)])


@dataclass(frozen=True)
class ParquetFiles(Source):
    """The rows of Parquet files, in the order of the names of the files.

    Args:
        paths: of the files.
        counts: number of rows in each file.
        footers: fingerprint of the footer of each file. A footer holds the number of values, the size and the
            range of every column, so it can be read in place of the data.
        columns: which columns hold the inputs, the ids and the targets.
    """

    paths: tuple[Path, ...]
    counts: tuple[int, ...]
    footers: tuple[str, ...]
    columns: Columns

    @property
    def n_rows(self) -> int:  # type: ignore[override]  # known from the footers
        """Number of rows."""
        return sum(self.counts)

    def rows(self, start: int, stop: int, dtype: torch.dtype | None) -> Iterator[Row]:
        first = 0
        for path, count in zip(self.paths, self.counts, strict=True):
            if start < first + count and stop > first:
                yield from self._file_rows(path, first, max(start, first), min(stop, first + count), dtype)
            first += count

    def _file_rows(
        self, path: Path, file_start: int, start: int, stop: int, dtype: torch.dtype | None
    ) -> Iterator[Row]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                for first, batch in _batches(file, self.columns, start - file_start, stop - file_start):
                    positions = range(file_start + first, file_start + first + len(batch))
                    yield from table_rows(arrow_columns(batch), self.columns, positions, dtype)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error

    def identity(self) -> str:
        return f"{len(self.paths)} Parquet files of {self.n_rows} rows, {digest(self.footers)}"

    def id_type(self) -> str:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.columns.id is None:
            return "int64"
        kind = pq.read_schema(self.paths[0]).field(str(self.columns.id)).type
        return "int64" if pa.types.is_integer(kind) and kind != pa.uint64() else "string"


def _batches(file: Any, columns: Columns, start: int, stop: int) -> Iterator[tuple[int, Any]]:
    """Record batches of the rows from `start` to `stop` of a file, each with the position of its first row.

    Row groups without such rows are not read.
    """
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    ends = list(itertools.accumulate(sizes))
    groups = [i for i, end in enumerate(ends) if end > start and end - sizes[i] < stop]
    position = ends[groups[0]] - sizes[groups[0]] if groups else 0
    names = columns.to_read(file.schema_arrow.names)
    for batch in file.iter_batches(_ROWS_TOGETHER, row_groups=groups, columns=names):
        first, last = max(position, start), min(position + len(batch), stop)
        if first < last:
            yield first, batch.slice(first - position, last - first)
        position += len(batch)
        if position >= stop:
            return


@dataclass(frozen=True)
class Indexed(Source):
    """A torch data set with a length.

    Args:
        dataset: returns the row at each index.
        columns: which elements of a row hold the inputs, the id and the target.
    """

    dataset: Any
    columns: Columns

    @property
    def n_rows(self) -> int:  # type: ignore[override]  # known from the data set
        """Number of rows."""
        return len(self.dataset)

    def rows(self, start: int, stop: int, dtype: torch.dtype | None) -> Iterator[Row]:
        for position in range(start, min(stop, self.n_rows)):
            yield self._row(position)

    def _row(self, position: int) -> Row:
        try:
            item = self.dataset[position]
        except Exception as error:  # a user's data set may raise anything; only this row fails
            return Row(position, position, error=f"{type(error).__name__}: {error}")
        return item_row(item, self.columns, position)

    def identity(self) -> str:
        if isinstance(self.dataset, TensorDataset):
            return f"tensors of {self.n_rows} rows, {digest(self.dataset.tensors)}"
        positions = sorted({round(i * (self.n_rows - 1) / _SAMPLED_ROWS) for i in range(_SAMPLED_ROWS + 1)})
        sample = [self._row(position) for position in positions if position >= 0]
        return f"{type(self.dataset).__name__} of {self.n_rows} rows, {digest(sample)}"


@dataclass
class Stream(Source):
    """A torch data set that can only be read from its beginning.

    Args:
        dataset: an iterable that gives the same rows each time.
        columns: which elements of a row hold the inputs, the id and the target.
    """

    dataset: Any
    columns: Columns
    n_rows: None = None
    _items: Iterator[Any] = field(default_factory=lambda: iter(()), repr=False)
    _next: int = -1

    def rows(self, start: int, stop: int, dtype: torch.dtype | None) -> Iterator[Row]:
        if self._next < 0 or start < self._next:  # not started, or already beyond the first row
            self._items, self._next = iter(self.dataset), 0
        while self._next < stop:
            try:
                item = next(self._items)
            except StopIteration:
                return
            except Exception as error:  # a user's data set may raise anything, and gives no further rows then
                raise _broken_stream(error, self._next) from error
            position, self._next = self._next, self._next + 1
            if position >= start:
                yield item_row(item, self.columns, position)

    def identity(self) -> str:
        sample = list(itertools.islice(iter(self.dataset), _SAMPLED_ROWS))
        return f"{type(self.dataset).__name__}, {digest(sample)}"


def _broken_stream(error: Exception, n_rows: int) -> ArgumentError:
    return ArgumentError(
        "dataset",
        expected="rows that can be read one after another",
        found=f"{type(error).__name__} after {n_rows} rows: {error}",
        mend="Let the data set leave such a row out. Finished shards are kept.",
    )


def is_ray(dataset: object) -> bool:
    """Whether it is a `ray.data.Dataset`. Does not import Ray."""
    return type(dataset).__module__.split(".")[:2] == ["ray", "data"]


def as_source(dataset: Any, columns: Columns) -> Source:
    """The source for a data set of any kind except Ray's.

    Raises:
        ArgumentError: it is of another kind or cannot be read, or has no rows, fixed order or such column.
    """
    source = _source(dataset, columns)
    if next(source.rows(0, 1, torch.get_default_dtype()), None) is None:
        raise ArgumentError(
            "dataset",
            expected="at least one row",
            found="none",
            mend="Check the path, or the code that makes the data set.",
        )
    return source


def _source(dataset: Any, columns: Columns) -> Source:
    if isinstance(dataset, DataLoader):
        dataset = _loaded_dataset(dataset)
    if isinstance(dataset, (str, Path)):
        return _parquet(Path(dataset), columns)
    if isinstance(dataset, IterableDataset):
        return Stream(dataset, columns)
    if isinstance(dataset, Dataset):
        return Indexed(dataset, columns)
    table = frame_columns(dataset)
    columns.to_read(list(table))
    return Table({str(name): values for name, values in table.items()}, columns)


def _loaded_dataset(loader: DataLoader[Any]) -> Dataset[Any]:
    """The data set that a DataLoader reads; its batches and processes are not used."""
    iterable = isinstance(loader.dataset, IterableDataset)
    if not iterable and not isinstance(loader.sampler, SequentialSampler):
        raise ArgumentError(
            "dataset",
            expected="a DataLoader that keeps the order of its data set",
            found=f"a {type(loader.sampler).__name__}",
            mend="Pass the data set itself, or a DataLoader with shuffle=False.",
        )
    return loader.dataset


def _parquet(root: Path, columns: Columns) -> ParquetFiles:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths, counts, footers = _parquet_paths(root), [], []
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                columns.to_read(file.schema_arrow.names)
                counts.append(file.metadata.num_rows)
            footers.append(f"{path.relative_to(root).as_posix()} {_footer(path)}")
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error
    return ParquetFiles(tuple(path.resolve() for path in paths), tuple(counts), tuple(footers), columns)


def _parquet_paths(root: Path) -> list[Path]:
    found = sorted(root.rglob("*.parquet")) if root.is_dir() else [root] if root.is_file() else []
    # Names that begin with a dot or an underscore are no data: Spark and others keep temporary files there.
    visible = [p for p in found if not any(part[0] in "._" for part in p.relative_to(root).parts)]
    if not visible:
        raise ArgumentError(
            "dataset",
            expected="a Parquet file, or a folder of files whose names end in .parquet",
            found=f"{'none in ' if root.is_dir() else 'nothing at '}{root}",
            mend="Check the path.",
        )
    return visible


def _footer(path: Path) -> str:
    """Size and fingerprint of the footer: a Parquet file ends with it, its length in 4 bytes, and "PAR1"."""
    with path.open("rb") as file:
        size = file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(size - length)
        return f"{size} {digest(file.read(length))}"


def _unreadable(path: Path, error: Exception) -> ArgumentError:
    return ArgumentError(
        "dataset",
        expected="Parquet files that can be read",
        found=f"{path}: {' '.join(str(error).split())}",
        mend="Replace the file and run the same command again. Finished shards are kept.",
    )
