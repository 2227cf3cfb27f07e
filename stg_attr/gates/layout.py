"""Layout: which dimensions of an input are channels, and which are space or time."""

from __future__ import annotations

from dataclasses import dataclass

from stg_attr.errors import warn

__all__ = ["FEWER", "Layout", "is_square_with_channels"]

_CHANNELS = (1, 3, 4)  # of grey, coloured and transparent images, and of a video of them
FEWER = 4  # a dimension is that of the channels if it is this many times smaller than all others


@dataclass(frozen=True)
class Layout:
    """The dimensions of an input, read from its shape.

    Attributes:
        channel: the dimension of the channels.
        clear: whether the shape allows no other reading that is likely.
        names: what the dimensions are, in words.
    """

    channel: int
    clear: bool
    names: str

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Layout:
        """Read a shape of at least four dimensions, [batch, channels, ...] unless it looks otherwise.

        Channels come last if the last dimension is far smaller than all others, or the others form a square,
        and second after the frames if only the dimension after the first is as small as those of a video.

        Args:
            shape: [batch, ...]; a dimension of a mask may have length 1.

        Example:
            >>> Layout.of((8, 224, 224, 3)).channel, Layout.of((8, 3, 224, 224)).channel
            (3, 1)
            >>> Layout.of((8, 16, 3, 112, 112)).names
            '[batch, frames, channels, height, width]'
        """
        space = ("depth", "height", "width")[-(len(shape) - 2) :] if len(shape) < 6 else ("...",)
        usual = _named("channels", *space)
        if shape[1] in _CHANNELS:
            return cls(1, len(shape) < 5 or shape[2] not in _CHANNELS[1:], usual)
        if FEWER * shape[-1] <= min(shape[1:-1]) or is_square_with_channels(shape):
            return cls(len(shape) - 1, False, _named(*space, "channels"))
        if len(shape) == 5 and shape[2] in _CHANNELS and FEWER * shape[2] <= min(shape[3:]):
            return cls(2, False, _named("frames", "channels", *space[1:]))
        return cls(1, True, usual)

    def warn_if_unclear(self, what: str, shape: tuple[int, ...], mend: str) -> None:
        """Say how an input is read whose shape could be read in another way."""
        if not self.clear:
            warn(f"{what} of shape {tuple(shape)} is taken as {self.names}. {mend}")


def is_square_with_channels(shape: tuple[int, ...]) -> bool:
    """Whether a shape is likely that of a square map with channels last, [batch, n, n, channels]."""
    return len(shape) == 4 and shape[1] == shape[2] != shape[3] and shape[1] not in _CHANNELS


def _named(*dimensions: str) -> str:
    return f"[batch, {', '.join(dimensions)}]"
