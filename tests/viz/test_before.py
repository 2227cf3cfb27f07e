"""The preview: the features and the baseline of an image, before anything is solved."""

import numpy as np
import pytest
import torch

from stg_attr import ArgumentError, viz
from stg_attr.gates import default_masks, references

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(8)[:, None] // 4 * 2 + torch.arange(8) // 4)[None, None]


def _drawn(ax):
    return np.asarray(ax.get_images()[0].get_array())


def test_it_draws_the_image_its_features_and_the_baseline():
    picture = viz.preview(IMAGES, MASK, references.blur(1.0), example=1)
    left, right = picture.ax[0]
    assert np.allclose(_drawn(left), IMAGES[1].movedim(0, -1), atol=1e-6)
    assert np.allclose(_drawn(right), references.blur(1.0)(IMAGES)[1].movedim(0, -1), atol=1e-6)
    assert left.get_title() == "4 features"
    lines = left.collections[0].get_segments()
    assert sorted(line.tolist() for line in lines) == [[[-0.5, 3.5], [7.5, 3.5]], [[3.5, -0.5], [3.5, 7.5]]]


def test_of_several_references_it_draws_the_mean():
    rows = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    picture = viz.preview(IMAGES, MASK, rows)
    assert np.allclose(_drawn(picture.ax[0, 1]), rows.mean(0).movedim(0, -1), atol=1e-6)


def test_without_a_mask_the_features_are_those_of_explain():
    assert viz.preview(IMAGES).ax[0, 0].get_title() == "192 features"
    large = torch.rand(1, 3, 70, 70)
    count = len(default_masks((large,))[0].unique())
    assert viz.preview(large).ax[0, 0].get_title() == f"{count} features"
    assert not list(viz.preview(torch.rand(1, 60, 60)).ax[0, 0].collections)  # of pixels there are no borders


@pytest.mark.parametrize("shape", [(3, 4), (1, 2, 3, 4, 5)])
def test_only_images_are_drawn(shape):
    with pytest.raises(ArgumentError, match="inputs: expected images"):
        viz.preview(torch.rand(shape))
