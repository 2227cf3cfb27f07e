"""Activation map: Grad-CAM of the last feature maps, where a model has some, for one row of each example."""

import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch.nn.modules import module as hooks

from stg_attr import Hybrid, grid_mask
from stg_attr.gates import Blend, FeatureGroups
from stg_attr.model import GatedModel, Scorer
from stg_attr.model.activation_map import activation_map


def _net(seed=0):
    torch.manual_seed(seed)
    layers = torch.nn
    return layers.Sequential(
        layers.Conv2d(3, 6, 3, 2, 1),
        layers.ReLU(),
        layers.Conv2d(6, 8, 3, 2, 1),
        layers.ReLU(inplace=True),
        layers.AdaptiveAvgPool2d(1),
        layers.Flatten(),
        layers.Linear(8, 4),
    )


def _images(n=3, seed=1):
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def _model(forward, x, target=(1,), cell=8):
    groups = FeatureGroups.from_mask(grid_mask(x, cell), (x,))
    index = torch.tensor([list(target)])
    return GatedModel(Blend.of((x,), None, groups), Scorer(forward, (), len(x)), Hybrid(), index, None)


@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: lambda x: net(x)])
def test_it_is_the_grad_cam_of_captum(wrap):
    net, x = _net(), _images()
    model = _model(wrap(net), x)
    cam = LayerGradCam(net, net[3]).attribute(x, target=1, relu_attributions=False)
    expected = torch.nn.functional.avg_pool2d(LayerAttribution.interpolate(cam, (32, 32), "bilinear"), 8)
    found = activation_map(model).reshape(expected.shape) * model.direction.reshape(-1, 1, 1, 1)
    torch.testing.assert_close(found, expected, check_dtype=False, rtol=1e-4, atol=1e-6)


def test_it_speaks_for_what_the_objective_calls_the_score():
    net, x = _net(), _images()
    negative = activation_map(_model(lambda x: -net(x), x))
    torch.testing.assert_close(negative, activation_map(_model(net, x)))


def test_it_takes_one_row_of_each_example():
    model = _model(_net(), _images())
    before = model.evaluations.clone()
    activation_map(model)
    assert (model.evaluations - before).tolist() == [1, 1, 1]


def test_an_example_has_the_same_map_alone():
    net, x = _net(), _images()
    torch.testing.assert_close(activation_map(_model(net, x))[1:2], activation_map(_model(net, x[1:2])))


@pytest.mark.parametrize(
    ("forward", "target"),
    [
        (lambda x: x.mean((2, 3)) @ torch.ones(3, 4), [1]),  # no modules
        (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 4)), [1]),  # no maps
        (torch.nn.Conv2d(3, 4, 3), [1, 5, 5]),  # an output for each place
    ],
)
def test_there_is_none_without_feature_maps_of_a_class(forward, target):
    assert activation_map(_model(forward, _images(), target)) is None


def test_no_hook_is_left_behind():
    class Broken(torch.nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if torch.is_grad_enabled():
                raise ValueError("broken")
            return x.mean((2, 3))

    before = dict(hooks._global_forward_hooks)
    with pytest.raises(ValueError, match="broken"):
        activation_map(_model(Broken(), _images()))
    activation_map(_model(_net(), _images()))
    assert dict(hooks._global_forward_hooks) == before
