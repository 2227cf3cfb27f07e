"""References: equal to their definitions, and taken by `attribute` as they come."""

import pytest
import torch
from scipy import ndimage

from stg_attr import ArgumentError, StochasticGates, references

DATA = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))


def _image(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sigma", [0.7, 2.0, 5.0])
def test_a_blur_is_that_of_scipy(sigma):
    x = _image(2, 3, 20, 31).double()
    expected = ndimage.gaussian_filter(
        x.numpy(), (0, 0, sigma, sigma), mode="nearest", radius=round(4 * sigma)
    )
    torch.testing.assert_close(references.blur(sigma)(x), torch.from_numpy(expected), rtol=0, atol=1e-12)


def test_the_kernel_of_a_blur_ends_where_it_is_told_to():
    x = _image(1, 1, 20, 20).double()
    expected = ndimage.gaussian_filter(x.numpy(), (0, 0, 2, 2), mode="nearest", radius=5)
    found = references.blur(2.0, truncate=2.5)(x)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-12)


def test_images_without_channels_are_blurred_too():
    x = _image(2, 1, 9, 7)
    assert torch.equal(references.blur(1.0)(x[:, 0]), references.blur(1.0)(x)[:, 0])


@pytest.mark.parametrize(
    ("shape", "there", "back"),
    [((2, 3, 14, 12), (0, 2, 3, 1), (0, 3, 1, 2)), ((1, 3, 16, 12, 14), (0, 2, 1, 3, 4), (0, 2, 1, 3, 4))],
)
def test_a_blur_does_not_mix_channels_wherever_they_are(shape, there, back):
    x = _image(*shape)
    found = references.blur(1.0)(x.permute(there))
    torch.testing.assert_close(found.permute(back), references.blur(1.0)(x), rtol=0, atol=0)


def test_a_blur_wider_than_the_image_is_flat():
    assert references.blur(60.0)(_image(1, 1, 8, 8)).std() < 0.02


@pytest.mark.parametrize("data", [DATA, torch.tensor([1.0, 2.0, 6.0])], ids=["rows", "numbers"])
def test_the_mean_is_one_row(data):
    torch.testing.assert_close(references.mean(data), torch.stack(list(data)).sum(0)[None] / len(data))


def test_permuted_rows_follow_their_seed_alone():
    first, again, other = (references.permuted(DATA, n=9, seed=seed).rows for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (9, 3)


def test_permuted_columns_keep_their_values_and_lose_their_pairs():
    data = torch.arange(40.0).reshape(-1, 1) * torch.tensor([1.0, 100.0])
    rows = references.permuted(data, n=40).rows
    assert torch.equal(rows.sort(0).values, data)
    assert (rows[:, 0] * 100 != rows[:, 1]).float().mean() > 0.8


def test_a_sample_has_distinct_rows_of_the_data_and_follows_its_seed():
    rows = references.sample(DATA, n=20, seed=3).rows
    matches = (rows.unsqueeze(1) == DATA).all(2)
    assert matches.sum(1).tolist() == [1] * 20
    assert int(matches.any(0).sum()) == 20
    assert torch.equal(rows, references.sample(DATA, n=20, seed=3).rows)
    assert not torch.equal(rows, references.sample(DATA, n=20, seed=4).rows)


@pytest.mark.parametrize("outputs", ["score", "column", "classes"])
def test_opposites_are_the_nearest_rows_of_another_class(outputs):
    def model(x):
        score = x[:, :1]
        return {"score": score[:, 0], "column": score, "classes": torch.cat([-score, score], 1)}[outputs]

    x = DATA[:4]
    shown = references.opposite(DATA.double(), model, n=2)(x)
    assert shown.dtype == x.dtype
    assert shown.shape == (2, 4, 3)
    for i in range(4):
        unlike = [row for row in DATA if (row[0] > 0) != (x[i, 0] > 0)]
        unlike.sort(key=lambda row, i=i: float((row - x[i]).norm()))
        assert torch.equal(shown[:, i], torch.stack(unlike[:2]))


def test_a_score_of_zero_is_in_the_class_of_those_below():
    rows = torch.tensor([[-2.0], [0.0], [3.0]])
    shown = references.opposite(rows, lambda x: x[:, 0], n=1)(rows)
    assert shown[0].tolist() == [[3.0], [3.0], [0.0]]


def test_opposites_say_when_there_are_too_few():
    with pytest.raises(ArgumentError, match="rows of another class"):
        references.opposite(DATA, lambda x: x[:, 0] * 0 + 1)(DATA)


def test_noise_is_the_same_for_every_example_and_call():
    x = torch.zeros(2, 3)
    shown = references.noise(0.5, n=200)(x)
    assert torch.equal(shown[:, 0], shown[:, 1])
    assert torch.equal(shown, references.noise(0.5, n=200)(x))
    assert abs(float(shown.std()) - 0.5) < 0.1


IMAGES = _image(2, 1, 4, 4)
EVERY = {
    "mean": (DATA[:2], references.mean(DATA)),
    "blur": (IMAGES, references.blur(1.0)),
    "photograph": (_image(2, 3, 40, 40), references.photograph()),
    "inpaint": (IMAGES, references.inpaint(1.0)),
    "nearest": (DATA[:2], references.nearest(DATA)),
    "noise": (DATA[:2], references.noise(0.3)),
    "sample": (DATA[:2], references.sample(DATA)),
    "permuted": (DATA[:2], references.permuted(DATA)),
    "opposite": (DATA[:2], references.opposite(DATA, lambda x: x[:, 0])),
    "token": (_image(2, 5, 4), references.token(torch.nn.Embedding(3, 4), 1)),
}


def test_every_reference_is_tried():
    assert set(EVERY) == set(references.__all__)


@pytest.mark.parametrize("name", EVERY)
def test_attribute_takes_them(name):
    x, baselines = EVERY[name]
    attributions = StochasticGates(lambda x: x.flatten(1)[:, 0] * 3).attribute(
        x, baselines=baselines, n_steps=3
    )
    assert attributions.shape == x.shape


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: references.blur(0), "sigma"),
        (lambda: references.blur(1.0, truncate=0), "truncate"),
        (lambda: references.blur(1.0)(torch.zeros(2, 3)), "images"),
        (lambda: references.mean([1, 2]), "rows"),
        (lambda: references.sample(torch.empty(0, 3)), "rows"),
    ],
)
def test_what_cannot_be_a_reference_is_refused(make, what):
    with pytest.raises(ArgumentError, match=what):
        make()


def test_nearest_rows_are_those_of_a_search_by_hand():
    data, x = DATA[:30], DATA[30:34]
    shown = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0.5, 1], [1, 1, 1]])
    found = references.nearest(data, n=3).fill(torch.where(shown > 0, x, 0.0), shown)
    spread = data.double().std(0, correction=0)
    for i in range(4):
        distance = (shown[i] * ((x[i] - data) / spread).square()).sum(1)
        assert found[:, i].tolist() == data[distance.argsort()[:3]].tolist()


def test_where_nothing_is_shown_nearest_rows_are_a_random_draw():
    fill = references.nearest(DATA, n=5)
    assert fill(DATA[:2]).shape == (5, 2, 3)
    assert torch.equal(fill(DATA[:2])[:, 0], references.sample(DATA, n=5).rows)
    assert not torch.equal(fill(DATA[:2]), references.nearest(DATA, n=5, seed=1)(DATA[:2]))


def test_an_inpainted_image_is_the_blur_of_what_is_shown():
    x, shown = _image(2, 3, 12, 12), (_image(2, 1, 12, 12) > 0.4).float().expand(2, 3, 12, 12)
    found = references.inpaint(1.5).fill(x * shown, shown)
    expected = references.blur(1.5)(x * shown) / references.blur(1.5)(shown)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    far = torch.zeros(1, 1, 1, 40)
    far[..., 0] = 3.0
    assert references.inpaint(1.0).fill(far, (far > 0).float())[0, 0, 0, -1] == pytest.approx(3.0, abs=1e-3)
    assert references.inpaint(1.0, background=0.5)(far)[0, 0, 0, 7] == pytest.approx(0.5)


@pytest.mark.parametrize(("n", "message"), [(51, "at most 50"), (0, "at least 1")])
def test_too_many_or_no_nearest_rows(n, message):
    with pytest.raises(ArgumentError, match=message):
        references.nearest(DATA, n=n)
