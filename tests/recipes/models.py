"""Models whose rule is known, for the recipes of the page on detection, video, sound and images with text."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from torch.nn.functional import avg_pool3d

WORDS = ["<pad>", "<eos>", "which", "colour", "is", "on", "the", "left", "right", "?", "red", "green", "blue"]
_raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
_raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=_raw, pad_token="<pad>", unk_token="<pad>", eos_token="<eos>"
)


class RightSquare:
    """Finds bright squares of 16 pixels, in the places of a grid, and says how bright they are."""

    def __call__(self, images):
        places = torch.tensor([[x, y, x + 16, y + 16] for y in range(0, 64, 16) for x in range(0, 64, 16)])
        bright = nn.functional.avg_pool2d(images.mean(1, keepdim=True), 16).flatten(1)
        return [
            {"boxes": places[one > 0.5].float(), "scores": one[one > 0.5]} for one in bright.detach().float()
        ]


def clip_with_a_flash():
    """Twelve noisy frames [1, 1, 12, 32, 32]: one square is always lit, another one from frame 5 to 8."""
    clip = 0.1 * torch.rand(1, 1, 12, 32, 32, generator=torch.Generator().manual_seed(0))
    clip[0, 0, :, 4:10, 4:10] += 0.6
    clip[0, 0, 5:9, 16:26, 14:26] += 0.9
    return clip


def flashes(clips):
    """How much brighter places get from one frame to the next, [rows]."""
    smooth = avg_pool3d(clips, (1, 4, 4))
    return (smooth[:, :, 1:] - smooth[:, :, :-1] - 0.3).clamp(min=0).sum((1, 2, 3, 4))


def scan_with_a_ball():
    """A noisy volume [1, 1, 16, 32, 32] with a bright ball and a patch that is thin; where the ball is."""
    scan = 0.2 * torch.rand(1, 1, 16, 32, 32, generator=torch.Generator().manual_seed(0))
    depth, height, width = torch.meshgrid(*map(torch.arange, scan.shape[2:]), indexing="ij")
    ball = ((depth - 10) * 2) ** 2 + (height - 20) ** 2 + (width - 9) ** 2 < 36
    scan[0, 0] += 0.8 * ball
    scan[0, 0, 3:5, 4:12, 20:28] += 0.4
    return scan, ball


def thick(scans):
    """By how much the means of cubes of four voxels are above a limit, in all, [rows]."""
    return (avg_pool3d(scans, 4, 2) - 0.5).clamp(min=0).sum((1, 2, 3, 4))


def wave_with_vowels(rate=16000):
    """Noise of two seconds with three vowels of 0.22 s, from 0.7 s on; [1, samples]."""
    wave = 0.01 * torch.randn(2 * rate, generator=torch.Generator().manual_seed(0))
    formants = [((700, 90), (1220, 110), (2600, 160)), ((300, 60), (2300, 100), (3000, 150))]
    formants.append(((500, 80), (900, 90), (2500, 150)))
    t = torch.arange(int(0.22 * rate)) / rate
    phase = 2 * torch.pi * (120 * (1 + 0.05 * torch.sin(2 * torch.pi * 3 * t)) / rate).cumsum(0)
    for start, peaks in zip((0.7, 0.95, 1.2), formants, strict=True):
        tones = [
            sum(1 / (1 + ((k * 120 - f) / width) ** 2) for f, width in peaks) * torch.sin(k * phase)
            for k in range(1, 30)
        ]
        tone = torch.stack(tones).sum(0)
        shape = torch.sin(torch.pi * t / 0.22).clamp(min=0).sqrt()
        wave[int(start * rate) :][: len(t)] += 0.4 * tone / tone.abs().max() * shape
    return wave[None]


class Looks(nn.Module):
    """Answers with the colour of the half of the image that the question names."""

    device = torch.device("cpu")

    def forward(self, input_ids, pixel_values, **_):
        halves = pixel_values.unflatten(3, (2, -1)).amax((2, 4)).permute(0, 2, 1)  # rows, halves, colours
        asked = [(input_ids == WORDS.index(word)).any(1).float() for word in ("left", "right")]
        colours = (halves * torch.stack(asked, 1)[..., None]).sum(1)
        logits = torch.zeros(*input_ids.shape, len(WORDS))
        logits[:, :, WORDS.index("red") :] = 6 * colours[:, None]
        return SimpleNamespace(logits=logits)


def process(picture, text):
    """The inputs of `Looks`; a question mark follows the words."""
    pixels = torch.tensor(np.asarray(picture) / 255, dtype=torch.float32).permute(2, 0, 1)[None]
    return {"input_ids": tokenizer(f"{text} ?", return_tensors="pt")["input_ids"], "pixel_values": pixels}
