"""`bench shapley`: the exact values are SHAP's on trees, and estimators are exact where they must be."""

import pytest
import torch

from benchmarks import shapley


def _case(forward, n=5, n_references=3, slopes=False):
    generator = torch.Generator().manual_seed(0)
    rows, references = (
        torch.randn(2, n, generator=generator),
        torch.randn(n_references, n, generator=generator),
    )
    return shapley.Case(forward, rows, references, slopes, 0)


def test_exact_values_of_trees_are_those_of_shap():
    shap = pytest.importorskip("shap", reason="SHAP is not installed")
    from sklearn.ensemble import GradientBoostingRegressor

    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(1))
    model = GradientBoostingRegressor(n_estimators=20, random_state=0)
    model.fit(x.numpy(), (x[:, 0] * x[:, 1] + x[:, 2]).numpy())
    case = _case(lambda rows: torch.as_tensor(model.predict(rows.numpy())))
    explainer = shap.TreeExplainer(model, case.references.numpy(), feature_perturbation="interventional")
    expected = torch.as_tensor(explainer.shap_values(case.rows.numpy()))
    torch.testing.assert_close(shapley.exact(case), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_references", [1, 3])
def test_permutations_of_a_model_of_pairs_are_exact(n_references):
    """An order and the same backwards give exact values where only pairs of columns interact."""
    case = _case(lambda rows: rows[:, 0] * rows[:, 1] + rows[:, 2] * rows[:, 4], n_references=n_references)
    found = shapley.permutation_shap(1, case)
    assert found.evaluations == (2 + 2 * 4) * n_references
    torch.testing.assert_close(found.contributions, shapley.exact(case), atol=1e-6, rtol=0)


def test_permutations_of_other_models_add_up():
    case = _case(lambda rows: rows.prod(1).tanh())
    found = shapley.permutation_shap(60, case)
    torch.testing.assert_close(found.contributions.sum(1), shapley.exact(case).sum(1))
    assert found.evaluations <= 60


@pytest.mark.parametrize("name", ["KernelSHAP", "kADDSHAP", "SVARM"])
def test_estimators_of_shapiq_are_exact_for_all_sets(name):
    pytest.importorskip("shapiq", reason="shapiq is not installed")
    case = _case(lambda rows: rows[:, 0] * rows[:, 1] + rows[:, 2])
    found = shapley.from_shapiq(name, 3 * 2**5, case)
    atol = 1e-4 if name != "SVARM" else 0.2  # that one still samples
    torch.testing.assert_close(found.contributions, shapley.exact(case), atol=atol, rtol=0)
