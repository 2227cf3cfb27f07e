"""Reading what is drawn: one example of an explanation, or of plain tensors, as checked numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError
from stg_attr.explanation import claim, percent, replace_invisible, status_sentence, takes_away

__all__ = [
    "SELECTED_FROM",
    "Array",
    "Example",
    "Source",
    "as_array",
    "checked_explanation",
    "checked_position",
    "checked_probabilities",
    "evidence_line",
    "percent",
    "read_example",
    "replace_invisible",
    "verdict",
]

Array = NDArray[np.float64]
Source = Explanation | Tensor | NDArray[np.generic]

SELECTED_FROM = 0.5  # attributions without an explanation: the probability from which a feature is selected
_SLACK = 1e-6  # a probability can lie this far outside [0, 1] because of rounding


@dataclass(frozen=True)
class Example:
    """One input of one example.

    Attributes:
        attribution: active probability of each element, any shape.
        selected: whether the gate of each element is selected, in that shape.
        columns: index of each element's gate, -1 for elements without a gate, in that shape.
        shown: the input, in that shape; None if only attributions were given.
        baseline: what closed gates show, in that shape; None if `shown` is.
        integral: the input came as integers, so an image runs from 0 to 255.
        explanation: the explanation it is read from; None for plain tensors.
        number: its place in the batch.
    """

    attribution: Array
    selected: NDArray[np.bool_]
    columns: NDArray[np.int64]
    shown: Array | None
    baseline: Array | None
    integral: bool
    explanation: Explanation | None
    number: int

    @property
    def doubtful(self) -> bool:
        """Whether the status of the explanation, if there is one, says to read it with care."""
        return self.explanation is not None and self.explanation.status[self.number].doubtful

    @property
    def kept(self) -> Array | None:
        """The input with everything but the selection at the baseline; the kept score was measured on it."""
        return self._blended(self.selected | (self.columns < 0))

    @property
    def removed(self) -> Array | None:
        """The input with the selection at the baseline; the removed score was measured on it."""
        return self._blended(~self.selected | (self.columns < 0))

    def _blended(self, is_open: NDArray[np.bool_]) -> Array | None:
        if self.shown is None or self.baseline is None:
            return None
        return np.where(is_open, self.shown, self.baseline)


def read_example(
    source: Source,
    example: int = 0,
    *,
    dims: Sequence[int],
    which: int = 0,
    inputs: Tensor | NDArray[np.generic] | None = None,
    baselines: Tensor | NDArray[np.generic] | float | None = None,
) -> Example:
    """Read one example and check it.

    Args:
        source: an explanation, or attributions as a tensor or array, with or without a batch dimension.
        example: its place in the batch.
        dims: numbers of dimensions that one example may have; one more means a batch.
        which: the input to draw, where an explanation has several.
        inputs: what the attributions belong to, in their shape; only with plain tensors.
        baselines: what hidden elements show, broadcastable to the inputs; None for 0; as above.

    Raises:
        ArgumentError: the example or input does not exist, shapes do not match, or attributions are not
            probabilities.
    """
    if isinstance(source, Explanation):
        if inputs is not None or baselines is not None:
            raise ArgumentError(
                "inputs",
                expected="none beside an Explanation, which holds its inputs and baselines",
                found="both",
                mend="Leave inputs and baselines out.",
            )
        return _from_explanation(source, example, which)
    return _from_tensors(source, example, dims, inputs, baselines)


def _from_explanation(explanation: Explanation, example: int, which: int) -> Example:
    number = checked_position("example", example, len(explanation))
    single = isinstance(explanation.attributions, Tensor)
    attributions = (explanation.attributions,) if single else explanation.attributions
    part = checked_position("which", which, len(attributions))
    attribution = checked_probabilities(as_array(attributions[part][number]))
    columns = _row(explanation.feature_mask[part], number, attribution.shape)
    chosen = np.append(
        as_array(explanation.selected[number]) > 0.5, False
    )  # the last entry is for column -1, which has no gate
    given = explanation.inputs[part] if part < len(explanation.inputs) else explanation.inputs[0]
    shown, baseline = as_array(given[number]), None
    if shown.shape == attribution.shape:  # gates on an inner layer have another shape than the inputs
        baseline = np.broadcast_to(_row(explanation.baselines[part], number, None), shown.shape)
    return Example(
        attribution=attribution,
        selected=chosen[columns],
        columns=columns,
        shown=None if baseline is None else shown,
        baseline=baseline,
        integral=not given.is_floating_point(),
        explanation=explanation,
        number=number,
    )


def _row(values: Tensor, number: int, shape: tuple[int, ...] | None) -> NDArray:  # type: ignore[type-arg]
    row = values[number if len(values) > 1 else 0].detach().cpu()
    if shape is None:
        return as_array(row)
    return np.broadcast_to(row.numpy(), shape)


def _from_tensors(
    source: Tensor | NDArray[np.generic],
    example: int,
    dims: Sequence[int],
    inputs: Tensor | NDArray[np.generic] | None,
    baselines: Tensor | NDArray[np.generic] | float | None,
) -> Example:
    values = as_array(source)
    batched = values.ndim == max(dims) + 1
    if not batched and values.ndim not in dims:
        raise ArgumentError(
            "attributions",
            expected=f"{' or '.join(str(n) for n in dims)} dimensions, or {max(dims) + 1} with a batch",
            found=str(values.shape),
            mend="Pass the attributions of one example, or of a batch with its number.",
        )
    number = checked_position("example", example, len(values) if batched else 1)
    attribution = checked_probabilities(values[number] if batched else values)
    shown = None if inputs is None else _matching(inputs, values.shape)
    baseline = np.broadcast_to(as_array(0.0 if baselines is None else baselines), values.shape)
    return Example(
        attribution=attribution,
        selected=attribution >= SELECTED_FROM,
        columns=np.arange(attribution.size).reshape(attribution.shape),
        shown=None if shown is None else shown[number] if batched else shown,
        baseline=None if shown is None else baseline[number] if batched else baseline,
        integral=inputs is not None and _is_integral(inputs),
        explanation=None,
        number=number,
    )


def _matching(inputs: Tensor | NDArray[np.generic], shape: tuple[int, ...]) -> Array:
    array = as_array(inputs)
    if array.shape != shape:
        raise ArgumentError(
            "inputs",
            expected=f"the shape of the attributions, {shape}",
            found=str(array.shape),
            mend="Pass the inputs that these attributions explain.",
        )
    return array


def checked_position(what: str, index: int, count: int) -> int:
    """The index as a number from 0 on; as in Python, -1 is the last of `count`.

    Raises:
        ArgumentError: there is no such place.
    """
    if not -count <= index < count:
        raise ArgumentError(
            what,
            expected=f"a number from 0 to {count - 1}",
            found=str(index),
            mend=f"There {'is' if count == 1 else 'are'} {count}, counted from 0.",
        )
    return index % count


def as_array(values: Tensor | NDArray[np.generic] | float | Sequence[float]) -> Array:
    """Numbers of any kind as a float64 array."""
    if isinstance(values, Tensor):
        return values.detach().cpu().to(torch.float64).numpy()
    return np.asarray(values, dtype=np.float64)


def _is_integral(values: Tensor | NDArray[np.generic]) -> bool:
    if isinstance(values, Tensor):
        return not values.is_floating_point()
    return bool(np.issubdtype(np.asarray(values).dtype, np.integer))


def checked_probabilities(values: Array) -> Array:
    """Check that all values are finite and in [0, 1], and return them.

    Raises:
        ArgumentError: NaN, infinite or outside [0, 1].
    """
    if not np.isfinite(values).all():
        raise ArgumentError(
            "attributions",
            expected="finite numbers",
            found=f"{int((~np.isfinite(values)).sum())} that are NaN or infinite",
            mend="Look for them in the inputs or the model; stg_attr itself returns none.",
        )
    if values.size and (values.min() < -_SLACK or values.max() > 1 + _SLACK):
        raise ArgumentError(
            "attributions",
            expected="active probabilities in [0, 1]",
            found=f"values from {values.min():.4g} to {values.max():.4g}",
            mend="Draw attributions of other methods with viz.comparison, which scales each to itself.",
        )
    return values.clip(0.0, 1.0)


def checked_explanation(source: Source, what: str) -> Explanation:
    """Check that the source is an explanation, for pictures that need measured scores, and return it.

    Raises:
        ArgumentError: it is a plain tensor.
    """
    if isinstance(source, Explanation):
        return source
    raise ArgumentError(
        what,
        expected="an Explanation, whose scores were measured",
        found=type(source).__name__,
        mend="Call explain instead of attribute.",
    )


def evidence_line(explanation: Explanation, example: int) -> str:
    """The evidence of one example in one line, for titles and alternative texts, after a doubtful status."""
    status, certificate = explanation.status[example], explanation.certificate
    said = claim(explanation, example)
    if certificate is not None and certificate.short(example) and status.tells_shares:
        said = f"{said} ({certificate.short(example)})"
    return f"{status.short}: {said}" if status.doubtful else said


def verdict(explanation: Explanation, example: int) -> str:
    """The certificate and the status of one example, as sentences that stand below a picture."""
    status, certificate = explanation.status[example], explanation.certificate
    said = status_sentence(explanation, example)
    if certificate is None or not status.tells_shares or not bool(explanation.selected[example].any()):
        return said
    return f"The needed features {certificate.sentence(example, takes_away(explanation))}. {said}"
