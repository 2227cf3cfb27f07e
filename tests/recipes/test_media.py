"""Detection, video, sound, and images with text: the code of their page finds what is known to decide."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stg_attr import ScoreFunction, StochasticGates, grid_mask
from tests.recipes.models import scan_with_a_ball, thick
from tests.test_docs import PREFACES, blocks

PAGE = Path(__file__).parents[2] / "docs" / "media.md"


@pytest.fixture(scope="module")
def explained():
    """What each block of the page leaves, by the title of its section."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    names, found = {"__name__": "page"}, []
    with torch.random.fork_rng():
        exec(PREFACES["media.md"], names)
        for block in blocks(PAGE):
            exec(block, names)
            found.append(dict(names))
    return found


def test_a_box_needs_the_cell_that_it_is_in(explained):
    found = explained[0]["explanation"]
    assert found.selected.nonzero().tolist() == [[0, 5]]  # of 4 x 4 cells
    assert float(found.scores.full) == float(found.scores.kept) > 0.9
    assert float(found.scores.removed) == 0


def test_the_overlap_is_that_of_sets_of_pixels(explained):
    boxes = torch.tensor([[0.0, 0, 4, 4], [2, 1, 6, 7], [5, 5, 9, 9]])

    def pixels(box):
        x0, y0, x1, y1 = box.int().tolist()
        return {(x, y) for x in range(x0, x1) for y in range(y0, y1)}

    sets = [pixels(box) for box in boxes]
    known = [len(sets[0] & other) / len(sets[0] | other) for other in sets]
    torch.testing.assert_close(explained[0]["overlap"](boxes, boxes[0]), torch.tensor(known))


def test_the_score_of_a_region_is_the_mean_of_its_pixels(explained):
    after = explained[1]
    region, known = after["region"], after["segment"](after["image"])[0, 1]
    torch.testing.assert_close(after["explanation"].scores.full[0], known[region].mean().detach())


def test_a_flash_needs_blocks_at_its_place():
    names: dict[str, object] = {}
    exec(PREFACES["media.md"], names)
    clip = 0.1 * torch.rand(1, 1, 12, 32, 32, generator=torch.Generator().manual_seed(0))
    clip[0, 0, :, 4:10, 4:10] += 0.6  # is always lit
    clip[0, 0, 5:9, 16:26, 14:26] += 0.9
    found = StochasticGates(names["flashes"]).explain(clip)
    frames, rows, columns = (found.attributions[0, 0] * found.selected.any() > 0.5).nonzero().T
    assert set(frames.tolist()) <= {4, 5, 6, 7, 8, 9}  # hidden frames are dark, so each lit one may flash
    assert int(rows.min()) >= 12
    assert int(rows.max()) <= 29
    assert int(columns.min()) >= 8


def test_a_volume_needs_blocks_of_the_ball():
    scan, ball = scan_with_a_ball()
    found = StochasticGates(thick).explain(scan, feature_mask=grid_mask(scan, (4, 8, 8)))
    assert found.scores.kept >= 0.9 * found.scores.full
    touched = set(grid_mask(scan, (4, 8, 8))[0, 0][ball].tolist())
    assert set(found.selected[0].nonzero().flatten().tolist()) <= touched


def test_an_answer_needs_a_part_of_the_square_and_the_word_that_names_its_side(explained):
    after = explained[-1]
    answer, asked = after["answer"], after["asked"]
    regions, words = answer[: asked.n_regions] > 0.5, answer[asked.n_regions :] > 0.5
    assert [word for word, on in zip(after["words"], words, strict=True) if on] == ["right"]
    blue = torch.tensor(after["pixels"])[:, :, 2] == 220
    assert bool(regions.any())
    assert all(bool((blue & (after["mask"] == i)).any()) for i in regions.nonzero().flatten().tolist())


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


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of the net itself
def test_speech_needs_the_windows_with_speech():
    """A real net, whose wheel brings its weights."""
    silero = pytest.importorskip("silero_vad", reason="silero-vad is not installed")
    net, wave = silero.load_silero_vad(), wave_with_vowels()

    def speaks(waves):
        with torch.no_grad():
            probability = net.audio_forward(waves, 16000)
        return torch.logit(probability[:, 34:44].clamp(1e-4, 1 - 1e-4)).mean(1)

    windows = torch.arange(wave.shape[1])[None] // 3200  # a fifth of a second
    found = StochasticGates(speaks, estimator=ScoreFunction()).explain(
        wave, feature_mask=windows, max_evals=150
    )
    assert float(found.scores.full) > 2 > -2 > float(found.scores.baseline)
    needed = found.selected[0].nonzero().flatten().tolist()
    assert {5, 6} <= set(needed)  # from 1.0 to 1.4 s
    assert len(needed) <= 4
    others = torch.ones_like(found.selected).index_fill(1, torch.tensor(needed), False)
    assert float(found.score_of(found.selected[None])) > 2 > float(found.score_of(others[None]))
