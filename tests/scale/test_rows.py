"""Columns of Arrow tables become rows: one array for each row, and a reason where a row cannot be used."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from stg_attr.scale.frames import arrow_columns
from stg_attr.scale.rows import Columns, table_rows

TWO = pa.list_(pa.float32(), 2)
SIX = np.arange(6.0)

# name: column of an Arrow table, and its rows: a nested list, or a part of the reason for refusing the row
COLUMNS = {
    "lists": (pa.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "large lists": (pa.array([[1, 2], [3, 4]], pa.large_list(pa.int16())), [[1, 2], [3, 4]]),
    "lists of fixed length": (pa.array([[1, 2], None, [3, 4]], TWO), [[1, 2], "nothing", [3, 4]]),
    "a part of a column": (
        pa.array([[1, 2], [3, 4], None, [5, 6]], TWO).slice(1),
        [[3, 4], "nothing", [5, 6]],
    ),
    "lists in lists": (pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]), [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
    "rows of different lengths": (pa.array([[1, 2], [3]]), [[1, 2], [3]]),
    "parts of different lengths": (pa.array([[[1, 2], [3]], [[5], [6]]]), ["inhomogeneous", [[5], [6]]]),
    "a missing row": (pa.array([[1, 2], None]), [[1, 2], "nothing"]),
    "a missing number": (pa.array([[1, 2], [None, 4]]), [[1, 2], "1 of 2 NaN"]),
    "a missing number inside": (pa.array([[[1, None]], [[3, 4]]]), ["1 of 2 NaN", [[3, 4]]]),
    "a missing part": (pa.array([[None, [3]], [[5], [7]]]), ["inhomogeneous", [[5], [7]]]),
    "only missing parts": (pa.array([[None, None], [[5], [7]]]), ["object", [[5], [7]]]),
    "empty lists": (pa.array([[], [1.0]]), [[], [1.0]]),
    "empty lists in lists": (pa.array([[[], []], [[1], [2]]]), [[[], []], [[1], [2]]]),
    "truth values": (pa.array([[True, False]]), [[1, 0]]),
    "words": (pa.array([["a"], ["b"]]), ["expected numbers", "expected numbers"]),
    "several chunks": (
        pa.chunked_array([pa.array([[1, 2]]), pa.array([None, [3]])]),
        [[1, 2], "nothing", [3]],
    ),
    "tensors": (
        pa.FixedShapeTensorArray.from_numpy_ndarray(SIX.reshape(1, 3, 2)),
        [SIX.reshape(3, 2).tolist()],
    ),
    "no chunk": (pa.chunked_array([], pa.list_(pa.int64())), []),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_lists_gives_one_array_for_each_row(name):
    column, expected = COLUMNS[name]
    if not expected:
        assert len(arrow_columns(pa.table({"x": column}))["x"]) == 0
        return
    table = pa.table({"x": column})
    rows = list(table_rows(arrow_columns(table), Columns(), range(len(table)), torch.float32))
    assert len(rows) == len(expected)
    for row, values in zip(rows, expected, strict=True):
        if isinstance(values, str):
            assert values in row.error
        else:
            assert row.inputs[0].tolist() == values


def test_integers_stay_exact_beside_a_row_with_a_missing_number():
    table = pa.table({"x": pa.array([[2**60 + 1, 2], [None, 4]])})
    whole, broken = table_rows(arrow_columns(table), Columns(), range(2), None)
    assert whole.inputs[0].tolist() == [2**60 + 1, 2]
    assert broken.error is not None
