"""Chunks: run the model on samples x examples in calls that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import TracebackType

import torch
from torch import Tensor

__all__ = ["ChunkSettings", "Chunks", "is_out_of_memory"]

_LARGEST_LEARNED = 2**25 - 2**16  # bytes; glibc adapts its threshold to freed blocks of less than 2**25 bytes


@dataclass(frozen=True)
class ChunkSettings:
    """The size of one call of the model, where the user does not set the number of samples.

    Attributes:
        cpu_elements: input elements in one call on a CPU. If the activations of a call do not fit into the
            CPU's caches, a row takes up to three times as long.
        elements: input elements in one call on other devices, where many small calls are slow.
        least_rows: smallest number of rows in one call, however large a row is.
    """

    cpu_elements: int = 2**18
    elements: int = 2**22
    least_rows: int = 4


@dataclass(eq=False)
class Chunk:
    """Some samples of some examples, for one call of the model.

    It is a context manager. If memory runs out inside, the error is suppressed, and `Chunks.over` gives out
    the same samples and examples again, in smaller chunks.

    Attributes:
        samples: which samples.
        examples: which examples.
        size: number of all samples and of all examples.
        is_out: whether memory ran out inside.
    """

    samples: slice
    examples: slice
    size: tuple[int, int]
    is_out: bool = False

    def put(self, whole: Tensor | None, part: Tensor) -> Tensor:
        """Write the results of this chunk into those of all chunks, [samples, examples, ...].

        Args:
            whole: the results so far; None before the first chunk.
            part: the results of this chunk, [some samples, some examples, ...].
        """
        if part.shape[:2] == self.size:
            return part
        if whole is None:
            # Preallocated, so that results do not fragment the memory freed by each chunk's graph.
            whole = part.new_empty(*self.size, *part.shape[2:])
        whole[self.samples, self.examples] = part
        return whole

    def __enter__(self) -> Chunk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        rows = (self.samples.stop - self.samples.start) * (self.examples.stop - self.examples.start)
        if error is None or not is_out_of_memory(error) or rows == 1:
            return False  # a single row cannot be cut further
        # The frames of the traceback refer to the tensors that did not fit, and would keep their memory.
        error.__traceback__ = None
        torch.cuda.empty_cache()  # smaller calls need blocks of other sizes than those that torch has kept
        self.is_out = True
        return True


@dataclass
class Chunks:
    """The samples and examples in one call of the model; halved for all later calls if memory runs out.

    Attributes:
        samples: gate samples in a call.
        examples: examples in a call.
    """

    samples: int
    examples: int

    @classmethod
    def of(
        cls,
        elements: int,
        batch: int,
        samples: int | None,
        device: torch.device,
        settings: ChunkSettings = ChunkSettings(),  # frozen
    ) -> Chunks:
        """Choose the size of a call.

        Args:
            elements: input elements of one example.
            batch: number of examples.
            samples: gate samples in a call, if the user sets them; a call then has all examples.
            device: where the model is run.
            settings: the size of a call where the user does not set it.
        """
        if device.type == "cpu":
            _keep_freed_memory()
        if samples is not None:
            return cls(samples, batch)
        most = settings.cpu_elements if device.type == "cpu" else settings.elements
        rows = max(settings.least_rows, most // elements)
        n_calls = -(-batch // rows)  # rounded up
        examples = -(-batch // n_calls)  # calls of equal size: 10 examples in calls of at most 8 are 5 and 5
        return cls(max(1, rows // examples), examples)

    def over(self, samples: int, examples: int) -> Iterator[Chunk]:
        """All samples of all examples in chunks; the body of the loop runs each one inside `with chunk:`."""
        done = 0
        while done < samples:
            step = min(self.samples, samples - done)
            width = self.examples * (self.samples // step)  # the last samples may be fewer
            for i in range(0, examples, width):
                some = slice(i, min(i + width, examples))
                chunk = Chunk(slice(done, done + step), some, (samples, examples))
                yield chunk
                if chunk.is_out:
                    self._halve(step, min(width, examples))
                    break  # all examples come again with the same samples, in smaller chunks
            else:
                done += step

    def _halve(self, samples: int, examples: int) -> None:
        """Halve the samples of a call; where it has one sample, halve its examples."""
        self.samples, self.examples = max(1, samples // 2), examples if samples > 1 else max(1, examples // 2)


@cache
def _keep_freed_memory() -> None:
    """Make the C allocator keep freed memory, so that the next call of the model reuses it.

    glibc gives free memory back to the system when there is more of it than a threshold. This threshold is
    twice the size of the largest block that the process has freed so far; blocks of more than 32 MiB do not
    count: mallopt(3), M_MMAP_THRESHOLD. Here one block of almost that size is allocated and freed. Its pages
    are never written, so it costs no memory. From then on the process keeps up to 64 MiB of free memory.
    Other allocators ignore it. Without it, each step of a solve of a small net caused up to 8,000 page
    faults.
    """
    torch.empty(_LARGEST_LEARNED, dtype=torch.uint8, device="cpu")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a device, or of the machine, is used up."""
    said = str(error).lower()
    known = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
    return known or (isinstance(error, RuntimeError) and _says_so(said))


def _says_so(said: str) -> bool:
    return "out of memory" in said or "allocate memory" in said
