"""Detection, video, sound, and images with text: the code of their page finds what is known to decide."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stg_attr import ScoreFunction, StochasticGates, grid_mask
from tests.recipes.models import clip_with_a_flash, flashes, scan_with_a_ball, thick, wave_with_vowels
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
    found = StochasticGates(flashes).explain(clip_with_a_flash())
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


@pytest.mark.slow
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
