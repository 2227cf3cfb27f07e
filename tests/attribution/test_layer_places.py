"""Layers in any place: rows that are not those of the batch, several runs, the batch in any dimension."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from stg_attr import ArgumentError, LayerStochasticGates, StochasticGates, position_mask
from stg_attr.model import LayerSite
from tests.models import seeded

VOCABULARY, WIDTH, LENGTH, CHOICES = 12, 6, 5, 3


class Part(nn.Module):
    """An embedding and a nonlinear head, which the models below call in different ways."""

    def __init__(self, outputs=3):
        super().__init__()
        with seeded(0):
            self.embedding = nn.Embedding(VOCABULARY, WIDTH)
            self.mixing = nn.Linear(WIDTH, WIDTH)
            self.head = nn.Linear(WIDTH, outputs)
        self.rows = 0
        self.eval()

    def score(self, hidden):
        """[rows, positions, width] -> [rows, outputs]."""
        return self.head(self.mixing(hidden).tanh().amax(1))


class Choices(Part):
    """A question with several answers: [batch, choices, positions] of ids, one score for each choice."""

    def forward(self, ids):
        self.rows += len(ids)
        return self.of_hidden(self.embedding(ids.flatten(0, 1)).unflatten(0, ids.shape[:2]))

    def of_hidden(self, hidden):
        return self.score(hidden.flatten(0, 1))[:, 0].reshape(len(hidden), -1)


class Pair(Part):
    """Two texts, encoded in one call, all first ones before all second ones."""

    def forward(self, one, other):
        self.rows += len(one)
        return self.of_hidden(self.embedding(torch.cat([one, other])).unflatten(0, (2, -1)).transpose(0, 1))

    def of_hidden(self, hidden):
        one, other = self.score(hidden[:, 0]), self.score(hidden[:, 1])
        return torch.stack([(one * other).sum(1), (one - other).square().sum(1)], 1)


class Siamese(Pair):
    """Two texts, of different lengths, encoded in two calls."""

    def forward(self, one, other):
        self.rows += len(one)
        return self.of_both(self.embedding(one), self.embedding(other))

    def of_both(self, one, other):
        return self.of_hidden([self.score(one), self.score(other)])

    def of_hidden(self, pair):
        one, other = pair
        return torch.stack([(one * other).sum(1), (one - other).square().sum(1)], 1)


class TimeFirst(Part):
    def forward(self, ids):
        self.rows += len(ids)
        return self.score(self.embedding(ids.T).view(*ids.T.shape, WIDTH).transpose(0, 1))


def ids(*shape, seed=0):
    return torch.randint(0, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def check_same(found, expected, atol=1e-4):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_the_choices_of_a_question_have_gates_of_their_own(batch):
    net, x = Choices(), ids(batch, CHOICES, LENGTH)
    hidden = net.embedding(x).detach()
    mask = torch.arange(CHOICES * LENGTH).reshape(1, CHOICES, LENGTH, 1)
    found = LayerStochasticGates(net, net.embedding).explain(x)
    expected = StochasticGates(net.of_hidden).explain(hidden, feature_mask=mask)
    assert found.attributions.shape == (batch, CHOICES, LENGTH, WIDTH)
    assert torch.equal(found.inputs[0], hidden)
    check_same(found.attributions, expected.attributions)
    assert torch.equal(found.target, expected.target)


def test_words_of_choices_and_baselines_of_ids_are_understood():
    net, x = Choices(), ids(2, CHOICES, LENGTH)
    mask = torch.tensor([[0, 0, 1, 2, -1]]) + torch.tensor([[0], [3], [6]]) * torch.tensor([[1, 1, 1, 1, 0]])
    found = LayerStochasticGates(net, net.embedding).explain(x, baselines=0, feature_mask=mask.unsqueeze(0))
    expected = StochasticGates(net.of_hidden).explain(
        net.embedding(x).detach(), net.embedding.weight[0].detach().expand(1, CHOICES, LENGTH, -1),
        feature_mask=mask.unsqueeze(-1).unsqueeze(0),
    )  # fmt: skip
    assert found.feature_ids.shape == (2, 9)
    check_same(found.attributions, expected.attributions)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_two_texts_in_one_call_are_told_apart_by_their_values(batch):
    net, one, other = Pair(), ids(batch, LENGTH), ids(batch, LENGTH, seed=1)
    hidden = torch.stack([net.embedding(one), net.embedding(other)], 1).detach()
    found = LayerStochasticGates(net, net.embedding).explain((one, other))
    expected = StochasticGates(net.of_hidden).attribute(
        hidden, feature_mask=torch.arange(2 * LENGTH).reshape(1, 2, LENGTH, 1)
    )
    assert torch.equal(found.inputs[0], hidden)
    check_same(found.attributions, expected)


@pytest.mark.parametrize("batch", [1, 3])
def test_frames_of_a_video_that_are_folded_into_rows_have_maps_of_their_own(batch):
    with seeded(0):
        convolution, head = nn.Conv2d(3, 4, 3, stride=2), nn.Linear(4, 2)

    def of_maps(maps):
        return head(maps.relu().mean((3, 4)).amax(1))

    def model(video):
        return of_maps(convolution(video.flatten(0, 1)).unflatten(0, video.shape[:2]))

    video = torch.rand(batch, 5, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    maps = convolution(video.flatten(0, 1)).unflatten(0, (batch, 5)).detach()
    found = LayerStochasticGates(model, convolution).attribute(video, target=0)
    mask = torch.arange(5 * 16).reshape(1, 5, 1, 4, 4)
    check_same(found, StochasticGates(of_maps).attribute(maps, target=0, feature_mask=mask))


@pytest.mark.parametrize("batch", [1, 3])
def test_each_run_of_a_shared_encoder_is_gated(batch):
    net, one, other = Siamese(), ids(batch, LENGTH), ids(batch, LENGTH + 2, seed=1)
    hidden = net.embedding(one).detach(), net.embedding(other).detach()
    masks = torch.arange(LENGTH).reshape(1, -1, 1), torch.arange(LENGTH, 2 * LENGTH + 2).reshape(1, -1, 1)
    found = LayerStochasticGates(net, net.embedding).explain((one, other))
    expected = StochasticGates(net.of_both).attribute(hidden, feature_mask=masks)
    assert len(found.attributions) == 2
    for a, b in zip(found.attributions, expected, strict=True):
        check_same(a, b)


def test_one_of_two_runs_is_explained_where_the_other_has_no_gates():
    net, one, other = Siamese(), ids(2, LENGTH), ids(2, LENGTH, seed=1)
    masks = torch.arange(LENGTH).reshape(1, -1), torch.full((1, 1), -1)
    found = LayerStochasticGates(net, net.embedding).attribute((one, other), feature_mask=masks)
    second = net.embedding(other).detach()
    expected = StochasticGates(net.of_both).attribute(
        net.embedding(one).detach(), additional_forward_args=second, feature_mask=masks[0].unsqueeze(2)
    )
    check_same(found[0], expected)
    assert not found[1].any()
    with pytest.raises(
        ArgumentError, match=r"feature_mask: expected one mask per activation.*\(2, 5, 6\).*found 1"
    ):
        LayerStochasticGates(net, net.embedding).attribute((one, other), feature_mask=masks[0])


@pytest.mark.parametrize("batch", [1, 2, LENGTH])
@pytest.mark.parametrize("at_input", [False, True])
def test_the_batch_may_be_second(batch, at_input):
    net, x = TimeFirst(), ids(batch, LENGTH)
    hidden = net.embedding(x).detach()
    layer = nn.Identity() if at_input else net.embedding

    def model(x):
        return net.score(layer(net.embedding(x.T)).transpose(0, 1))

    found = LayerStochasticGates(model if at_input else net, layer).explain(
        x, attribute_to_layer_input=at_input
    )
    assert torch.equal(found.inputs[0], hidden)
    check_same(
        found.attributions, StochasticGates(net.score).attribute(hidden, feature_mask=position_mask(hidden))
    )


@pytest.mark.parametrize("batch", [1, 2, LENGTH])
def test_tables_that_all_examples_share_have_no_gates(batch):
    net, x = Part(), ids(batch, LENGTH)
    table = torch.randn(1, LENGTH, WIDTH, generator=torch.Generator().manual_seed(3))

    class Block(nn.Module):
        def forward(self, hidden, tables):
            return hidden * tables[0] + tables[1], tables

    block = Block()

    def of_hidden(hidden):
        return net.score(block(hidden, (table, -table))[0])

    def model(x):
        return of_hidden(net.embedding(x))

    found = LayerStochasticGates(model, block).attribute(x, attribute_to_layer_input=True)
    hidden = net.embedding(x).detach()
    check_same(found, StochasticGates(of_hidden).attribute(hidden, feature_mask=position_mask(hidden)))


@pytest.mark.parametrize(
    ("make", "inputs", "extra"),
    [
        (Part, (1, LENGTH), 0),
        (Choices, (3, CHOICES, LENGTH), 2),
        (Choices, (1, CHOICES, LENGTH), 2),
        (TimeFirst, (LENGTH, LENGTH), 1),
        (Siamese, (3, LENGTH), 2),
        (Siamese, (1, LENGTH), 3),
    ],
)
def test_the_evaluations_that_find_the_places_are_counted_and_part_of_a_budget(make, inputs, extra):
    net, x = make(), ids(*inputs)
    x = (x, ids(*inputs, seed=1)) if make is Siamese else x
    if make is Part:
        net.forward = lambda x: (setattr(net, "rows", net.rows + len(x)), net.score(net.embedding(x)))[1]
    stg = LayerStochasticGates(net, net.embedding)
    found = stg.explain(x)
    assert int(found.n_evaluations.sum()) == net.rows
    net.rows = 0
    stg.attribute(x, max_evals=60)
    assert net.rows <= 60 * inputs[0]
    with pytest.raises(
        ArgumentError, match=f"max_evals: expected .*found {1 - extra - 1}" if extra else "max_evals"
    ):
        stg.attribute(x, max_evals=1)


def test_an_example_alone_is_the_same_in_a_batch_and_in_shards():
    net, x = Choices(), ids(4, CHOICES, LENGTH)
    stg = LayerStochasticGates(net, net.embedding)
    together = stg.attribute(x)
    for size in (1, 3):
        check_same(stg.attribute(x, internal_batch_size=size), together)
    check_same(stg.attribute(x[2:3]), together[2:3])


class Packed(Part):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(WIDTH, WIDTH, batch_first=True).eval()

    def forward(self, ids, lengths):
        packed = pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        return self.score(pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)[0])


class Chained(Part):
    def forward(self, ids):
        return self.score(self.mixing(self.mixing(self.embedding(ids)).tanh()))


class RowByRow(Part):
    def forward(self, ids):
        return torch.cat([self.score(self.embedding(row.unsqueeze(0))) for row in ids])


@pytest.mark.parametrize(
    ("make", "name", "arguments", "kwargs", "message"),
    [
        (Packed, "recurrent", (torch.tensor([5, 3, 4]),), {"attribute_to_layer_input": True},
         "found a PackedSequence as input.*before pack_padded_sequence, such as the embedding"),
        (Chained, "mixing", (), {}, r"runs 3 times, and is given what came of an earlier run\. .*embedding"),
        (RowByRow, "embedding", (), {}, r"runs 3 times, and 1 times with other rows\. .*once for each row"),
    ],
    ids=["packed", "chained", "row by row"],
)  # fmt: skip
def test_where_it_cannot_be_the_error_says_what_works(make, name, arguments, kwargs, message, untouched):
    net, x = make(), ids(3, LENGTH)
    with untouched(net, x), pytest.raises(ArgumentError, match=message):
        LayerStochasticGates(net, getattr(net, name)).attribute(x, None, 0, arguments, **kwargs)


def test_what_the_errors_advise_works():
    x = ids(3, LENGTH)
    lengths = torch.tensor([5, 3, 4])
    packed = Packed()
    found = LayerStochasticGates(packed, packed.embedding).explain(x, None, 0, lengths)
    assert found.selected.any()
    assert not found.selected[torch.arange(LENGTH) >= lengths.unsqueeze(1)].any()
    chained = Chained()
    assert LayerStochasticGates(chained, chained.embedding).attribute(x, target=0).shape == (3, LENGTH, WIDTH)


class Chosen(Part):
    """Runs a layer on the tokens that it chooses, as a mixture of experts does."""

    def __init__(self):
        super().__init__()
        self.expert = nn.Identity()

    def forward(self, ids):
        hidden, chosen = self.embedding(ids), (ids > 5).unsqueeze(2)
        return self.score(hidden.masked_scatter(chosen, self.expert(hidden[chosen.squeeze(2)])))


@pytest.mark.parametrize("counts", [(1, 2, 4), (2, 1, 3), (2, 3, 1)], ids=str)
def test_rows_that_are_chosen_by_their_values_are_refused(counts):
    net, x = Chosen(), ids(3, LENGTH) % 6 + 6 * (torch.arange(LENGTH) < torch.tensor(counts).unsqueeze(1))
    with pytest.raises(ArgumentError, match=r"rows go with the examples.*chosen.*Take a layer before that"):
        LayerStochasticGates(net, net.expert).attribute(x, target=0)


def test_tokens_that_are_folded_into_rows_have_a_gate_each():
    net, x = Part(), ids(3, LENGTH)

    def model(x):
        return net.head(net.mixing(net.embedding(x).flatten(0, 1)).unflatten(0, x.shape).tanh().amax(1))

    found = LayerStochasticGates(model, net.mixing).attribute(x, attribute_to_layer_input=True)
    check_same(found, LayerStochasticGates(model, net.embedding).attribute(x))


def test_a_model_that_takes_no_other_number_of_rows_is_read_by_its_shapes():
    net, x = Part(), ids(LENGTH, LENGTH)

    def model(x):
        assert len(x) == LENGTH
        return net.score(net.embedding(x))

    site = LayerSite([net.embedding], at_input=False)
    (found,) = site.read(model, lambda rows: [x[list(rows)]], range(LENGTH))
    assert torch.equal(found, net.embedding(x))


class ChannelsLast(nn.Module):
    """Maps [batch, height, width, channels], as between the blocks of a Swin transformer."""

    def __init__(self):
        super().__init__()
        self.part = nn.Identity()

    def forward(self, images):
        cells = images.unfold(2, 2, 2).unfold(3, 2, 2).movedim(1, 3).flatten(3)  # [batch, 5, 5, 12]
        return self.part(cells)[:, 1, 3].sum(1)


@pytest.mark.parametrize("batch", [1, 2])
def test_square_maps_with_channels_last_have_a_gate_for_each_place(batch):
    model, images = ChannelsLast(), torch.rand(batch, 3, 10, 10)
    stg = LayerStochasticGates(model, model.part)
    with pytest.warns(
        UserWarning, match=r"\[batch, 5, 5, 12\], is taken as \[batch, height, width, channels\]"
    ):
        found = stg.explain(images)
    assert found.selected.shape == (batch, 25)
    assert found.selected.nonzero()[:, 1].tolist() == [8] * batch
    given = stg.explain(images, feature_mask=torch.arange(25).reshape(1, 5, 5))
    assert torch.equal(given.selected, found.selected)


class Tied(Part):
    """An encoder and a decoder whose embeddings have one weight, as in T5; a third module with it is idle."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(VOCABULARY, WIDTH)
        self.encoder.weight = self.decoder.weight = self.embedding.weight

    def forward(self, one, other):
        return self.of_decoder(self.encoder(one), other)

    def of_decoder(self, hidden, other):
        return self.score(hidden) * self.score(self.decoder(other))


def test_of_a_layer_that_does_not_run_those_with_its_weights_are_named():
    net, one, other = Tied(), ids(2, LENGTH), ids(2, LENGTH, seed=1)
    with pytest.raises(ArgumentError, match=r"does not run.*instead: encoder, decoder\. Take one"):
        LayerStochasticGates(net, net.embedding).attribute((one, other))
    found = LayerStochasticGates(net, net.encoder).attribute((one, other))
    hidden = net.encoder(one).detach()
    expected = StochasticGates(net.of_decoder).attribute(
        hidden, additional_forward_args=other, feature_mask=position_mask(hidden)
    )
    check_same(found, expected)
