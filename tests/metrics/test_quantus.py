"""Quantus measures the same, and takes the attributions of the gates."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from stg_attr import Preserve, StochasticGates
from stg_attr.metrics import agreement, budget_curves, quantus_explainer
from tests.models import mlp


@pytest.fixture(scope="module")
def quantus():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own imports warn
        return pytest.importorskip(
            "quantus", reason="Quantus is not installed: pip install quantus", exc_type=ImportError
        )


@pytest.fixture
def problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), mlp(16, 8, 3)).eval()
    x = torch.rand(3, 1, 4, 4) + 0.1
    return model, x, torch.tensor([0, 1, 2])


def test_the_explainer_is_attribute_in_arrays(problem):
    model, x, y = problem
    found = quantus_explainer(lambda m: StochasticGates(m, objective=Preserve()))(
        model=model, inputs=x.double().numpy(), targets=y.numpy(), n_steps=4, method="gates", device="cpu"
    )
    expected = StochasticGates(model, objective=Preserve()).attribute(x, target=y, n_steps=4)
    np.testing.assert_array_equal(found, expected.numpy())


def test_it_explains_functions_without_parameters_and_predictions():
    x = torch.tensor([[1.0, 2.0, 0.0]])
    found = quantus_explainer()(lambda x: x, x.numpy(), None, n_steps=2)
    np.testing.assert_array_equal(found, StochasticGates(lambda x: x).attribute(x, n_steps=2).numpy())


@pytest.mark.filterwarnings("ignore")
def test_pixel_flipping_is_the_deletion_curve(quantus, problem):
    model, x, y = problem
    attributions = StochasticGates(model).attribute(x, target=y)
    attributions = attributions + torch.arange(16).reshape(1, 1, 4, 4) * 1e-6  # no ties: theirs are unstable
    metric = quantus.PixelFlipping(normalise=False, perturb_baseline="black", disable_warnings=True)
    theirs = metric(model, x.numpy(), y.numpy(), a_batch=attributions.numpy(), device="cpu", softmax=False)
    # "black" is the smallest pixel of each image there
    black = x.amin(dim=(1, 2, 3), keepdim=True).expand_as(x)
    ours = budget_curves(model, x, attributions, target=y, baselines=black)
    np.testing.assert_allclose(ours.removed[:, 1:], np.array(theirs), rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_max_sensitivity_is_the_sensitivity(quantus, problem):
    model, x, y = problem
    calls = []
    explain = quantus_explainer(lambda m: StochasticGates(m, objective=Preserve()))

    def recorded(model, inputs, targets, **settings):
        calls.append(torch.as_tensor(np.array(inputs)))
        return explain(model, inputs, targets, n_steps=3)

    metric = quantus.MaxSensitivity(nr_samples=4, lower_bound=0.2, abs=False, disable_warnings=True)
    theirs = metric(model, x.numpy(), y.numpy(), explain_func=recorded, device="cpu", softmax=False)
    stg = StochasticGates(model, objective=Preserve())
    runs = [stg.attribute(rows.float(), target=y, n_steps=3) for rows in (x, *calls[-4:])]
    np.testing.assert_allclose(agreement(runs).sensitivity, theirs, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_evaluate_takes_the_explainer(quantus, problem):
    model, x, y = problem
    results = quantus.evaluate(
        metrics={"flipping": quantus.PixelFlipping(disable_warnings=True), "avg": quantus.AvgSensitivity(
            nr_samples=2, disable_warnings=True)},
        xai_methods={"gates": quantus_explainer()},
        model=model, x_batch=x.numpy(), y_batch=y.numpy(), explain_func_kwargs={"n_steps": 3},
        call_kwargs={"cpu": {"device": "cpu"}},
    )  # fmt: skip
    assert np.array(results["gates"]["flipping"]).shape == (3, 16)
    assert np.isfinite(results["gates"]["avg"]).all()
