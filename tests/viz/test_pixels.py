"""Lines between regions are found where they are, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg_attr.errors import ArgumentError
from stg_attr.viz.pixels import borders, channel_axis


def _naive_edges(labels, outer):
    """Unit edges, one by one."""
    height, width = labels.shape
    edges = set()
    for r, c in np.ndindex(height, width):
        around = {
            (r - 1, c): ((c, r), (c + 1, r)),
            (r + 1, c): ((c, r + 1), (c + 1, r + 1)),
            (r, c - 1): ((c, r), (c, r + 1)),
            (r, c + 1): ((c + 1, r), (c + 1, r + 1)),
        }
        for (y, x), edge in around.items():
            inside = 0 <= y < height and 0 <= x < width
            if labels[r, c] != labels[y, x] if inside else outer and labels[r, c]:
                edges.add(edge)
    return edges


def _units(lines):
    edges = []
    for line in lines:
        (x0, y0), (x1, y1) = (line + 0.5).astype(int).tolist()
        steps = max(x1 - x0, y1 - y0)
        dx, dy = (x1 - x0) // steps, (y1 - y0) // steps
        edges += [((x0 + i * dx, y0 + i * dy), (x0 + (i + 1) * dx, y0 + (i + 1) * dy)) for i in range(steps)]
    return edges


@given(st.integers(1, 5), st.integers(1, 5), st.booleans(), st.randoms(use_true_random=False))
def test_borders_are_the_edges_between_unlike_neighbours(height, width, outer, random):
    labels = np.array([[random.randrange(2) for _ in range(width)] for _ in range(height)])
    found = _units(borders(labels, outer=outer))
    assert len(found) == len(set(found))
    assert set(found) == _naive_edges(labels, outer)


def test_runs_are_one_line():
    assert len(borders(np.array([[0, 0, 0], [1, 1, 1]]))) == 1


@pytest.mark.parametrize(
    ("shape", "channel"),
    [
        ((1, 8, 8), 0),
        ((3, 8, 8), 0),
        ((8, 8, 4), 2),
        ((8, 8), None),
        ((3, 5, 3), 0),
        ((2, 8, 8), 0),
        ((13, 8, 9), 0),
        ((13, 32, 32), 0),
        ((32, 40, 13), 2),
        ((8, 8, 2), 2),
        ((8, 8, 8), 0),
    ],
)
def test_channels_are_found(shape, channel):
    assert channel_axis(shape) == channel


@pytest.mark.parametrize("shape", [(8,), (1, 3, 8, 8)])
def test_other_shapes_are_no_images(shape):
    with pytest.raises(ArgumentError, match="image: expected"):
        channel_axis(shape)
