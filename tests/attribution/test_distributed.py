"""Two ranks, each with its share of the rows, find what one process finds."""

import socket

import pytest
import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from stg_attr import LayerStochasticGates, StochasticGates

from ..models import mlp

RANKS = 2
X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def _methods(model, net):
    return StochasticGates(model), LayerStochasticGates(model, net[0])


def _explain(rank, port, results):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    try:
        net = mlp(6, 8, 3)
        wrapped = DistributedDataParallel(net)
        found = [method.attribute(X[rank::RANKS]) for method in _methods(wrapped, wrapped.module)]
        # a training step afterwards: the reducer of DDP still waits for a backward pass of every rank
        wrapped(X[rank::RANKS]).sum().backward()
        results[rank] = [value.tolist() for value in found]
        results[f"gradient {rank}"] = net[0].weight.grad.tolist()
    finally:
        distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_of_distributed_data_parallel():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with multiprocessing.get_context("spawn").Manager() as manager:
        results = manager.dict()
        multiprocessing.spawn(_explain, (port, results), RANKS)
        found, gradients = (
            [results[rank] for rank in range(RANKS)],
            [results[f"gradient {r}"] for r in (0, 1)],
        )
    net = mlp(6, 8, 3)
    for place, method in enumerate(_methods(net, net)):
        expected = method.attribute(X)
        for rank in range(RANKS):
            close = {"rtol": 0, "atol": 1e-5}
            torch.testing.assert_close(torch.tensor(found[rank][place]), expected[rank::RANKS], **close)
    assert gradients[0] == gradients[1]  # DDP still averages them
