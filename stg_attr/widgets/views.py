"""Views: how one example is drawn in the browser and as a static picture, for each kind of inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stg_attr import viz
from stg_attr.attribution import Explanation
from stg_attr.errors import ArgumentError, check_count
from stg_attr.explanation import value_texts
from stg_attr.viz.parts import (
    Array,
    ColourScale,
    Numbers,
    channel_axis,
    draws_image,
    draws_series,
    feature_names,
    feature_values,
    is_right_to_left,
    own_tokens,
    read_example,
    replace_invisible,
    rows_of,
    time_first,
    words_from_tokens,
)

from .code import Variable, call_text
from .packing import Json, given_names, pack, rounded_numbers

__all__ = ["ImageView", "SeriesView", "TableView", "TextView", "View", "fitting_view"]

_MODES = ("all", "kept", "removed")


class View(ABC):
    """How an example is drawn."""

    @abstractmethod
    def scene(self, explanation: Explanation, example: int) -> Json:
        """What the browser needs to draw one example at every budget.

        Raises:
            ArgumentError: the example cannot be drawn in this way.
        """

    @abstractmethod
    def picture(self, explanation: Explanation, example: int) -> str:
        """A static picture of the example, as HTML without scripts and style sheets."""

    @abstractmethod
    def code(self, example: int) -> dict[str, str]:
        """A call of `viz` that draws the variable `view`, for every mode: all, kept, removed, ..."""

    def alone(self, example: int) -> View:
        """The view for an explanation that has only this example."""
        return self


@dataclass(frozen=True)
class ImageView(View):
    """Images: what is kept, what is removed, and active probabilities over the image.

    Args:
        mean: undoes the normalisation `(x - mean) / std`, a number or one per channel.
        std: see `mean`.
        which: the input to draw, where an explanation has several.
        longest_side: pixels; of larger images every second, third, ... row and column is sent to the browser.
    """

    mean: Numbers | None = None
    std: Numbers | None = None
    which: int = 0
    longest_side: int = 384

    def __post_init__(self) -> None:
        check_count("longest_side", self.longest_side, mend="It is a number of pixels.")

    def scene(self, explanation: Explanation, example: int) -> Json:
        one = read_example(explanation, example, dims=(2, 3), which=self.which)
        scale = ColourScale.of(one, self.mean, self.std)
        assert one.shown is not None  # ColourScale.of has refused what has none
        assert one.baseline is not None
        shown, hidden = _bytes(scale.colours(one.shown)), _bytes(scale.colours(one.baseline))
        step = -(-max(shown.shape[:2]) // self.longest_side)
        shown, hidden = shown[::step, ::step], hidden[::step, ::step]
        columns = _channels_first(one.columns)[:, ::step, ::step]
        constant = bool((hidden == hidden[:1, :1]).all())
        return {
            "kind": "image",
            "size": [shown.shape[0], shown.shape[1], shown.shape[2]],
            "pixels": pack(shown),
            "hidden": pack(hidden[:1, :1] if constant else hidden),
            "columns": pack(columns.astype(np.int32)),
            "layers": len(columns),
            "ids": _ids(explanation, example),
            "names": given_names(explanation),
        }

    def picture(self, explanation: Explanation, example: int) -> str:
        drawn = viz.panel(explanation, example, which=self.which, mean=self.mean, std=self.std)
        return drawn.markup(follows_theme=False)

    def code(self, example: int) -> dict[str, str]:
        calls = {"all": "contour", "kept": "kept", "removed": "removed", "veil": "overlay"}
        settings = {"which": self.which or None, "mean": self.mean, "std": self.std}
        return {mode: call_text(call, example, **settings) for mode, call in calls.items()}


@dataclass(frozen=True)
class TextView(View):
    """Words, shaded by active probability and underlined where selected.

    Args:
        tokens: of every example of the batch, one list each; or one list for all of them. None for those of
            an explanation of strings.
        special: tokens to mute; by default those that look like `[CLS]`, `<s>` or `<|end|>`.
        which: the input to draw, where an explanation has several; None as for `viz.text`.
    """

    tokens: Sequence[str] | Sequence[Sequence[str]] | None = None
    special: Collection[str] | None = None
    which: int | None = None

    def scene(self, explanation: Explanation, example: int) -> Json:
        given = self._tokens(explanation, example)
        columns = self._columns(explanation, example, len(given))
        # a shorter text of a batch is filled up with nothing
        there = [i for i, token in enumerate(given) if token or self.tokens is not None]
        tokens, columns = [given[i] for i in there], [columns[i] for i in there]
        gated = np.array([bool(own) for own in columns], dtype=bool)
        nothing, own = np.zeros(len(tokens)), self.tokens is None
        none = nothing.astype(bool)
        words = words_from_tokens(tokens, nothing, none, gated, special=self.special, with_spaces=own)
        ends = np.cumsum([len(word.parts) for word in words]).tolist()
        return {
            "kind": "text",
            "rtl": is_right_to_left("".join(word.text for word in words if not word.muted)),
            "words": [
                {"t": word.text, "s": word.spaced, "b": word.broken, "m": word.muted,
                 "g": sorted({c for own in columns[end - len(word.parts) : end] for c in own})}
                for word, end in zip(words, ends, strict=True)
            ],
            "names": _by_gate(columns, tokens, explanation.feature_ids.shape[1]),
        }  # fmt: skip

    def picture(self, explanation: Explanation, example: int) -> str:
        return viz.text(
            explanation,
            None if self.tokens is None else self._tokens(explanation, example),
            examples=[example],
            which=self.which,
            special=self.special,
        ).markup()

    def code(self, example: int) -> dict[str, str]:
        first = f"examples=[{example}]" if self.tokens is None else f"tokens, examples=[{example}]"
        return dict.fromkeys(_MODES, call_text("text", first, which=self.which or None))

    def alone(self, example: int) -> TextView:
        if self.tokens is None or all(isinstance(token, str) for token in self.tokens):
            return self
        return replace(self, tokens=[str(token) for token in self.tokens[example]])

    def _tokens(self, explanation: Explanation, example: int) -> list[str]:
        if self.tokens is None:
            return own_tokens(explanation, example, self.which)
        if all(isinstance(token, str) for token in self.tokens):
            return [str(token) for token in self.tokens]
        if len(self.tokens) != len(explanation):
            raise ArgumentError(
                "tokens",
                expected=f"one list for each of {len(explanation)} examples, or one list for all",
                found=f"{len(self.tokens)} lists",
                mend="Pass them in the order of the batch.",
            )
        return [str(token) for token in self.tokens[example]]

    def _columns(self, explanation: Explanation, example: int, count: int) -> list[list[int]]:
        """The indices of the gates of each token."""
        everything = (
            self.tokens is None and self.which is None and isinstance(explanation.attributions, tuple)
        )
        parts = range(len(explanation.attributions)) if everything else [self.which or 0]
        read = [read_example(explanation, example, dims=(1,), which=part).columns for part in parts]
        if sum(map(len, read)) == count:
            rows = [row for columns in read for row in columns.reshape(len(columns), -1)]
            return [sorted({int(column) for column in row if column >= 0}) for row in rows]
        there = [int(column) for column in np.unique(read[0]) if column >= 0]
        if len(there) != count:
            raise ArgumentError(
                "tokens",
                expected=f"{len(read[0])}, one per position, or {len(there)}, one per gate",
                found=str(count),
                mend="Pass what the model was given, special and padding tokens too.",
            )
        return [[column] for column in there]


@dataclass(frozen=True)
class TableView(View):
    """Bars, one per feature, filled where needed: of what it adds to the score, where that was measured.

    Args:
        names: of the features, or of the input's elements; a DataFrame hands over its columns.
        most_named: the largest number of features whose names and values are sent to the browser.
    """

    names: Iterable[str] | None = None
    most_named: int = 4000

    def __post_init__(self) -> None:
        check_count("most_named", self.most_named, mend="It is a number of features.")
        if self.names is not None:  # an iterator can be read only once
            object.__setattr__(self, "names", tuple(str(name) for name in self.names))

    def scene(self, explanation: Explanation, example: int) -> Json:
        (row,) = rows_of(explanation, [example])
        shown = min(len(row.ids), self.most_named)
        hidden = value_texts(explanation, example, baselines=True)
        gates = (explanation.feature_ids[example] >= 0).nonzero().squeeze(1).tolist()[:shown]
        return {
            "kind": "table",
            "names": feature_names(self.names, row)[:shown],
            "values": feature_values(None, row)[:shown],
            "adds": None if row.contributions is None else rounded_numbers(row.contributions[:shown]),
            "hidden": [hidden.get(gate, "") for gate in gates],
        }

    def picture(self, explanation: Explanation, example: int) -> str:
        return viz.bars(explanation, example, names=self.names).markup(follows_theme=False)

    def code(self, example: int) -> dict[str, str]:
        return dict.fromkeys(_MODES, call_text("bars", example, names=self.names and Variable("names")))


@dataclass(frozen=True)
class SeriesView(View):
    """Channels over time, shaded where gates are active, with a bar below selected spans.

    Args:
        names: of the channels.
        channels_last: inputs are [batch, time, channels] instead of [batch, channels, time]; None as for
            `viz.series`.
        which: the input to draw, where an explanation has several.
    """

    names: Sequence[str] | None = None
    channels_last: bool | None = None
    which: int = 0

    def scene(self, explanation: Explanation, example: int) -> Json:
        one = read_example(explanation, example, dims=(1, 2), which=self.which)
        if one.attribution.ndim not in (1, 2):
            raise ArgumentError(
                "explanation",
                expected="inputs of [batch, channels, time]",
                found=str(tuple(one.attribution.shape)),
                mend="Leave the view out to get the one that fits.",
            )
        is_transposed = time_first(one.columns.shape, self.channels_last)
        columns, shown, hidden = (
            values.T if is_transposed else np.atleast_2d(values)
            for values in (one.columns, one.shown, one.baseline)
            if values is not None
        )
        return {
            "kind": "series",
            "size": list(columns.shape),
            "values": pack(shown.astype(np.float32)),
            "hidden": pack(hidden.astype(np.float32)),
            "columns": pack(columns.astype(np.int32)),
            "channels": self._channel_names(len(columns)),
            "ids": _ids(explanation, example),
            "names": given_names(explanation),
        }

    def picture(self, explanation: Explanation, example: int) -> str:
        names = None if self.names is None else [str(name) for name in self.names]
        return viz.series(
            explanation, example, which=self.which, names=names, channels_last=self.channels_last
        ).markup(follows_theme=False)

    def code(self, example: int) -> dict[str, str]:
        names = self.names and Variable("names")
        call = call_text(
            "series", example, which=self.which or None, names=names, channels_last=self.channels_last
        )
        return dict.fromkeys(_MODES, call)

    def _channel_names(self, count: int) -> list[str]:
        if self.names is None:
            return [f"channel {i}" for i in range(count)] if count > 1 else ["series"]
        if len(self.names) != count:
            raise ArgumentError(
                "names",
                expected=f"{count}, one per channel",
                found=str(len(self.names)),
                mend="Name every channel, or set channels_last if time comes first.",
            )
        return [replace_invisible(str(name)) for name in self.names]


def fitting_view(explanation: Explanation) -> View:
    """The view for the inputs: strings, images, [channels, time] as a series, bars for all else."""
    if explanation.tokens is not None:
        return TextView()
    attributions = explanation.attributions
    gated = attributions if isinstance(attributions, Tensor) else attributions[0]
    if gated.shape == explanation.inputs[0].shape:
        if draws_image(explanation) and bool(explanation.inputs[0].isfinite().all()):
            return ImageView()
        if draws_series(explanation):
            return SeriesView()
    return TableView()


def _bytes(colours: Array) -> NDArray[np.uint8]:
    """Colours in [0, 1] as bytes, [height, width, 1, 3 or 4]."""
    whole = np.rint(255 * colours).astype(np.uint8)
    return whole[..., None] if whole.ndim == 2 else whole


def _channels_first(columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gates of pixels, [layers, height, width]; one layer if all channels have the same gates."""
    channel = channel_axis(columns.shape)
    layers = columns[None] if channel is None else np.moveaxis(columns, channel, 0)
    return layers[:1] if bool((layers == layers[:1]).all()) else layers


def _ids(explanation: Explanation, example: int) -> list[int] | None:
    """Ids of the gates; None if they are 0, 1, 2, ..."""
    ids: list[int] = explanation.feature_ids[example].tolist()
    return None if ids == list(range(len(ids))) else ids


def _by_gate(columns: list[list[int]], tokens: Sequence[str], count: int) -> list[str]:
    """A name for each gate: its tokens."""
    names: list[list[str]] = [[] for _ in range(count)]
    for own, token in zip(columns, tokens, strict=True):
        for column in own:
            names[column].append(replace_invisible(token))
    return [" ".join(own) for own in names]
