"""What closed gates of a photograph show where no baseline is given: a blur, chosen by what the image is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stg_attr import (
    ArgumentError,
    LayerStochasticGates,
    StochasticGates,
    grid_mask,
    pixel_mask,
    references,
    superpixel_mask,
    viz,
)
from stg_attr.gates import FeatureGroups, default_masks, photograph_baseline


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 0.5


def chosen(x: Tensor, mask: Tensor | None = None) -> Tensor | None:
    groups = FeatureGroups.from_mask(default_masks((x,)) if mask is None else mask, (x,))
    found = photograph_baseline((x,), groups)
    return None if found is None else found(x)


class Net(nn.Module):
    """Scores of two classes: the mean of a part of an image, after a layer of three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return torch.stack([x[:, :, :16, :16].mean((1, 2, 3)), x[:, 1].mean((1, 2))], 1)


def test_a_photograph_gets_a_blur_in_proportion_to_its_size() -> None:
    x = picture(2, 3, 112, 224)
    assert torch.equal(references.photograph()(x), references.blur(5.0)(x))
    x = picture(1, 3, 224, 224)
    found = chosen(x)
    assert found is not None
    assert torch.equal(found, references.blur(10.0)(x))


@pytest.mark.parametrize("mask", [lambda x: grid_mask(x, 16), superpixel_mask])
def test_regions_of_every_kind_get_it(mask) -> None:
    x = nn.functional.interpolate(picture(1, 3, 6, 6), (48, 48), mode="bilinear")
    assert chosen(x, mask(x)) is not None


def test_channels_may_come_last() -> None:
    x = picture(1, 3, 48, 48)
    last = x.movedim(1, 3)
    with pytest.warns(UserWarning, match="is taken as"):
        found = chosen(last)
    assert found is not None
    assert torch.equal(found.movedim(3, 1), references.photograph()(x))


@pytest.mark.parametrize(
    ("x", "mask"),
    [
        (picture(2, 1, 8, 8), None),  # a digit
        (picture(2, 3, 32, 32), None),  # no cells, since it has few elements
        (picture(2, 1, 80, 80), None),  # a spectrogram, or a scan
        (picture(2, 13, 40, 40), None),  # other bands than colours
        (picture(1, 3, 20, 20, 20), None),  # a volume
        (picture(1, 3, 5000), None),  # a signal
        (torch.ones(1, 3, 48, 48, dtype=torch.uint8), None),
        (picture(1, 3, 40, 40), pixel_mask(picture(1, 3, 40, 40))),
        (picture(1, 3, 40, 40), torch.arange(3 * 40 * 40).reshape(1, 3, 40, 40)),
    ],
)
def test_other_inputs_keep_zero(x: Tensor, mask: Tensor | None) -> None:
    assert chosen(x, mask) is None


def test_an_image_on_black_or_without_details_keeps_zero_alone_and_in_a_batch() -> None:
    photo, drawing, plain = picture(1, 3, 48, 48), torch.zeros(1, 3, 48, 48), torch.full((1, 3, 48, 48), 0.3)
    drawing[..., 10:30, 10:30] = 1.0
    found = references.photograph()(torch.cat([drawing, photo, plain]))
    assert not found[0].any()
    assert not found[2].any()
    assert torch.equal(found[1:2], references.photograph()(photo))
    assert references.photograph(plain=0.9)(drawing).any()  # 83 % of it are 0


def test_explain_takes_it_and_says_so() -> None:
    x = torch.cat([picture(1, 3, 48, 48) + 1, picture(1, 3, 48, 48, seed=1) * 3])
    stg = StochasticGates(Net())
    found = stg.explain(x, target=0, max_evals=40)
    blurred = references.photograph()(x)
    assert torch.equal(found.baselines[0], blurred)
    given = stg.explain(x, references.photograph(), target=0, max_evals=40)
    assert torch.equal(found.attributions, given.attributions)
    torch.testing.assert_close(found.scores.baseline, Net()(blurred)[:, 0])
    zero = stg.explain(x, 0, target=0, max_evals=40)
    assert not zero.baselines[0].any()
    assert not torch.equal(zero.attributions, found.attributions)


def test_activations_of_three_channels_keep_zero() -> None:
    x, net = picture(1, 3, 48, 48) + 1, Net()
    method = LayerStochasticGates(net, net.layer)
    found = method.explain(x, target=0, feature_mask=grid_mask(x, 4), max_evals=40)
    assert not found.baselines[0].any()


def test_the_preview_shows_it() -> None:
    x = picture(1, 3, 48, 48) + 1
    drawn, blurred, zero = (
        viz.preview(x, baselines=shown).ax[0, 1].images[0].get_array()
        for shown in (None, references.photograph(), 0)
    )
    assert (drawn == blurred).all()
    assert (drawn != zero).any()


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": True}, {"plain": 0.0}, {"plain": 1.1}])
def test_wrong_numbers_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match=r"expected a number"):
        references.photograph(**wrong)
