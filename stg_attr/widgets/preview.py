"""Preview: the features and the baseline of an example as HTML, before anything is solved."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from stg_attr import viz
from stg_attr.errors import ArgumentError
from stg_attr.explanation import as_feature_names
from stg_attr.gates import Baseline, FeatureGroups, as_references, default_masks
from stg_attr.viz.parts import is_image, render, replace_invisible

from .views import ImageView, TextView, View

__all__ = ["preview"]

_LISTED = 12  # features


def preview(
    inputs: Tensor,
    view: View | None,
    feature_mask: Tensor | None,
    baselines: Baseline,
    names: Iterable[str] | None,
) -> str:
    """The features and the baseline of one example as HTML: images as pictures, all else as a table.

    Args:
        inputs: the example, [1, ...].
        view: how it will be drawn; None for the one that fits.
        feature_mask: see `StochasticGates.attribute`.
        baselines: see there.
        names: of the features or elements.

    Raises:
        ArgumentError: mask, baselines or names do not fit the example.
    """
    masks = default_masks((inputs,)) if feature_mask is None else feature_mask
    groups = FeatureGroups.from_mask(masks, (inputs,))
    named, number = as_feature_names(names, groups), int(groups.exists.sum())
    if named is None and isinstance(view, TextView):
        named = _words(view, groups)
    said = f"Before the solve: {number} feature{'' if number == 1 else 's'}; in their place, the baseline."
    picture = _picture(inputs, view, groups.index[0], baselines)
    rows = [] if picture else _rows(inputs, groups, baselines, named)
    if len(rows) < number and not picture:
        said += f" The first {len(rows)}:"
    return render("widgets/templates/preview.html", said=said, picture=picture, rows=rows)


def _picture(inputs: Tensor, view: View | None, columns: Tensor, baselines: Baseline) -> str:
    """The picture of an image; empty for all else."""
    settings = view if isinstance(view, ImageView) else ImageView()
    if not (isinstance(view, ImageView) or (view is None and is_image(tuple(inputs.shape[1:])))):
        return ""
    try:
        return viz.preview(inputs, columns, baselines, mean=settings.mean, std=settings.std).markup()
    except ArgumentError:  # some pixels are not finite, or it is no image after all
        return ""


def _rows(
    inputs: Tensor, groups: FeatureGroups, baselines: Baseline, names: tuple[str, ...] | None
) -> list[tuple[str, str, str]]:
    """Name, value and baseline of the first features."""
    (references,) = as_references(baselines, (inputs,))
    shown = inputs[0].flatten()
    hidden = references.double().mean(0)[0].expand(inputs.shape[1:]).flatten()
    columns = groups.index[0][0].expand(inputs.shape[1:]).flatten()
    ids, rows = groups.feature_ids[0].tolist(), []
    for column, number in enumerate(ids[:_LISTED]):
        own = columns == column
        name = f"feature {number}" if names is None else replace_invisible(names[column])
        rows.append((name, _value(shown[own]), _value(hidden[own])))
    return rows


def _words(view: TextView, groups: FeatureGroups) -> tuple[str, ...] | None:
    """The tokens of each feature; None where positions and tokens do not fit together."""
    positions = groups.index[0][0].reshape(groups.index[0].shape[1], -1)[:, 0].tolist()
    if view.tokens is None or len(positions) != len(view.tokens):
        return None
    words: list[list[str]] = [[] for _ in range(groups.n_gates)]
    for column, token in zip(positions, view.tokens, strict=True):
        if column >= 0:
            words[column].append(str(token))
    return tuple(" ".join(own) for own in words)


def _value(elements: Tensor) -> str:
    """The value of one element, or the mean of several."""
    mean = f"{float(elements.to(torch.float64).mean()):.4g}"
    return mean if len(elements) == 1 else f"{len(elements)} elements, mean {mean}"
