"""A report says what is known of the rows, measures what it can, and says what it did not measure."""

import io
import json
from html.parser import HTMLParser

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from stg_attr import OutputMatch, Preserve, ReferenceSet, StochasticGates
from stg_attr.errors import ArgumentError
from stg_attr.report import ReportSettings, report
from stg_attr.scale import load_attributions

from .conftest import NAMES, SMALL, Scores, whole


def rows(made, name):
    return pq.read_table(io.BytesIO(made.files[f"rows/{name}.parquet"])).to_pandas()


class Page(HTMLParser):
    """The elements of a page, and every address in it."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.loaded = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name == "href":
                self.links.append(value)
            if name in ("src", "srcset", "data", "xlink:href", "poster", "action"):
                self.loaded.append(value)


def test_counts_are_those_of_the_rows(made, run):
    found = load_attributions(run)
    certified = pd.concat([pd.read_parquet(part) for part in sorted((run / "rows").iterdir())])["certified"]
    content = made.content
    assert content["certified"]["explained"] == len(found) == 159
    assert content["certified"]["failed"] == 1
    assert content["certified"]["certified"]["rows"] == int(certified.eq(True).sum())
    assert {one["status"]: one["rows"] for one in content["statuses"]}["FAILED"] == 1
    counted = found.selected[torch.tensor(certified.dropna().astype(bool).to_numpy())]
    sizes = {one["size"]: one["rows"] for one in content["sets"]["sizes"]}
    assert sizes == pd.Series(counted.sum(1).numpy()).value_counts().to_dict()
    needs = {one["feature"]: one["rows"] for one in content["sets"]["needs"]}
    assert needs == dict(zip(NAMES, counted.sum(0).tolist(), strict=True))


def test_every_claim_on_a_linear_model_is_true_on_fresh_references(made):
    coverage = made.content["coverage"]
    assert coverage["measured"]
    table = rows(made, "coverage")
    assert len(table) == coverage["true"]["of"] == 20
    # the claim as it is written, measured by the model alone
    fresh = torch.tensor(pd.DataFrame(_table(200, 3)).to_numpy())
    sets = rows(made, "sets").set_index("id")
    for one in table.itertuples():
        chosen = torch.tensor([name in sets.loc[one.id, "features"] for name in NAMES])
        x, target = torch.tensor(_table(160, 1).loc[one.id].to_numpy()), int(sets.loc[one.id, "target"])
        full, baseline = (Scores()(rows)[:, target] for rows in (x.unsqueeze(0), fresh))
        error = (Scores()(torch.where(chosen, x, fresh))[:, target] - full).abs().mean()
        kept = 1 - error / (baseline - full).square().mean().sqrt()
        assert one.kept == pytest.approx(float(kept), abs=1e-4)
        assert one.claim_is_true == (kept >= 0.9)


def _table(n, seed):
    from .conftest import table

    return table(n, seed)


def test_the_population_needs_what_the_model_reads(made):
    shared = made.content["shared"]
    assert {one["feature"] for one in shared["features"] if one["needed"]} == {"income", "debt"}
    assert shared["full_accuracy"] == pytest.approx(0.875, abs=0.05)  # every eighth label is wrong


def test_contributions_are_those_of_a_linear_model(made):
    table = rows(made, "contributions")
    data, sets = _table(160, 1), rows(made, "sets").set_index("id")
    references = _table(128, 2)
    income = table[table["feature"] == "income"]
    sign = sets.loc[income["id"], "target"].map({"0": -1, "1": 1}).to_numpy()
    truth = sign * 2 * (data.loc[income["id"], "income"].to_numpy() - references["income"].mean())
    # references are sampled, so that a contribution is an estimate
    assert pd.Series(truth).corr(income["contribution"].reset_index(drop=True)) > 0.98


def test_cohorts_differ_where_the_sets_do(made):
    by = {one["column"]: one for one in made.content["cohorts"]["columns"]}
    assert list(by) == ["explained class", "prediction", "town", "age"]
    groups = rows(made, "cohorts")
    hits = groups["prediction"].value_counts().to_dict()
    assert hits["error"] == 20
    assert {c["cohort"]: c["rows"] for c in by["prediction"]["cohorts"]}["error"] == 20
    assert sum(c["rows"] for c in by["age"]["cohorts"]) == 159
    sets = rows(made, "sets")
    for one in by["town"]["cohorts"]:
        inside = sets[(groups["town"] == one["cohort"]) & sets["counted"]]
        share = inside["features"].map(lambda names: "debt" in names).mean()
        assert {need["feature"]: need["share"] for need in one["needs"]}["debt"] == pytest.approx(share)


def test_stability_is_measured_on_a_sample(made):
    stability, table = made.content["stability"], rows(made, "stability")
    assert stability["rows"] == len(table) == 20
    assert stability["over_seeds"]["mean"] == pytest.approx(table["overlap_of_seeds"].mean())
    assert stability["under_noise"]["mean"] == pytest.approx(table["overlap_under_noise"].mean())
    assert 0.5 < stability["over_seeds"]["mean"] <= 1


def test_without_the_explainer_it_says_what_was_not_measured(run):
    alone = report(run, date="2026-01-01")
    for name in ("coverage", "stability", "shared"):
        assert not alone.content[name]["measured"]
        assert "not given" in alone.content[name]["why"]
    page = alone.html()
    assert page.count("Not measured.") >= 3
    assert "Not measured" in str(alone)
    assert "at least 90 % of the score on average" in str(alone)  # the folder holds the question in words


def test_two_reports_are_equal_but_for_the_date(made, run, frame, stg, arguments):
    again = whole(run, frame, stg, arguments, date="2027-07-07")
    assert again.html().replace("2027-07-07", "2026-01-01") == made.html()
    assert again.json().replace("2027-07-07", "2026-01-01") == made.json()
    assert again.files == made.files


def test_the_json_is_strict_and_holds_the_numbers(made, tmp_path):
    page = made.save(tmp_path / "out")
    read = json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=_refuse)
    assert read == made.content
    assert page.read_text(encoding="utf-8") == made.html()
    for one in read["files"]:
        assert len(pq.read_table(tmp_path / "out" / one["name"])) == one["rows"]


def _refuse(name):
    raise AssertionError(name)


def test_the_page_runs_no_script_and_loads_nothing(made):
    page = Page(made.html())
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "iframe", "object", "embed", "link", "base", "form"}
    assert page.loaded == []
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert all(link.startswith(("#", "rows/")) or link == "report.json" for link in page.links)
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "http:" not in made.html()
    assert "https:" not in made.html()
    assert "url(" not in made.html()
    assert "@import" not in made.html()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made.html()
    assert "&lt;img src=x&gt;" in made.html()


def test_letters_that_nobody_sees_are_shown(run):
    page = report(run, model_name="credit\u202etxt\ud800", date="2026-01-01").html()
    assert "\u202e" not in page
    assert "credit\ufffdtxt\ufffd" in page


def test_each_figure_has_a_name_and_rows_behind_it(made):
    page = Page(made.html())
    assert len(page.ids) == len(set(page.ids))
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))
    assert {link for link in page.links if link.startswith("rows/")} == set(made.files)
    drawings = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(drawings) > 5
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in drawings)


def test_rows_that_are_not_certified_or_failed_are_named(made):
    uncertain = made.content["uncertain"]
    first = uncertain["rows"][0]
    assert (first["id"], first["status"]) == (3, "FAILED")
    assert "NaN" in first["message"]


def test_typical_rows_have_the_most_frequent_sets(made):
    sets = rows(made, "sets")
    counted = [set(names) for names in sets[sets["counted"]]["features"]]
    first = made.content["typical"]["most"][0]
    own = set(first["features"])
    expected = sum(len(own & other) / len(own | other) for other in counted) / len(counted)
    assert first["overlap"] == pytest.approx(expected, abs=1e-6)
    assert first["overlap"] == pytest.approx(sets["overlap"].max())
    assert made.content["typical"]["least"][0]["overlap"] == pytest.approx(sets["overlap"].min())


def test_an_explanation_in_memory_needs_no_folder(stg, arguments):
    found = stg.explain(torch.tensor(_table(40, 1).to_numpy()), **arguments)
    made = report(found, date="2026-01-01", settings=SMALL, baselines=arguments["baselines"])
    assert made.content["sets"]["rows"] == int(found.certificate.holds.sum())
    assert made.content["contributions"]["measured"]  # the explanation holds them
    assert [one["column"] for one in made.content["population"]["columns"]] == NAMES
    assert "128 reference rows" in made.html()


def test_features_of_a_frame_with_texts(tmp_path):
    frame = pd.DataFrame({"job": ["none", "clerk", "cook"] * 20, "pay": range(60)})

    def model(rows):
        return torch.tensor(((rows["job"] == "none") * 2.0 + rows["pay"] * 0).to_numpy())

    stg = StochasticGates(model)
    others = pd.concat([frame] * 3)
    found = stg.explain(frame, baselines=others, max_evals=600)
    made = report(
        found, frame, explainer=stg, cohorts=["job"], settings=SMALL, baselines=others, max_evals=600
    )
    cohorts = {c["cohort"]: c for c in made.content["cohorts"]["columns"][0]["cohorts"]}
    assert {name: c["rows"] for name, c in cohorts.items()} == {"none": 20, "clerk": 20, "cook": 20}
    assert {n["feature"]: n["share"] for n in cohorts["none"]["needs"]} == {"job": 1.0, "pay": 0.0}
    by_value = next(f for f in made.content["contributions"]["features"] if f["feature"] == "job")["by_value"]
    means = {value["value"]: value["mean"] for value in by_value[0]["values"]}
    assert means["none"] > 1
    assert means["clerk"] < 0
    assert made.content["stability"]["under_noise"] is None
    assert "Noise: not measured." in made.html()


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"explainer": StochasticGates(Scores())}, "explainer: expected the one that explained the rows"),
        ({"cohorts": ["nothing"]}, "cohorts: expected columns of the data"),
        ({"labels": [1, 2]}, "labels: expected one value for each of 160"),
        ({"columns": ["nothing"]}, "columns: expected columns of the data"),
        ({"id_column": "nothing"}, "id_column: expected columns of the data"),
        ({"data": _table(10, 1)}, "data: expected a row for each of 160"),
        ({"data": "nothing.parquet"}, "data: expected a Parquet file"),
        ({"n_stepz": 1}, "arguments: expected some of"),
    ],
)
def test_what_does_not_fit_the_run_is_refused(run, frame, changed, match):
    data = changed.pop("data", frame)
    with pytest.raises(ArgumentError, match=match):
        report(run, data, **changed)


def test_settings_outside_their_range_are_refused():
    with pytest.raises(ArgumentError, match="n_seeds"):
        ReportSettings(n_seeds=1)
    with pytest.raises(ArgumentError, match="confidence"):
        ReportSettings(confidence=1)


def test_superpixels_are_refused():
    images = torch.rand(2, 1, 4, 4)
    masks = torch.stack([torch.arange(16).reshape(1, 4, 4), torch.arange(16).reshape(1, 4, 4) // 2])
    found = StochasticGates(lambda x: x.sum((1, 2, 3)), objective=None or StochasticGates(Scores()).objective)
    explanation = found.explain(images, feature_mask=masks, n_steps=2)
    with pytest.raises(ArgumentError, match="rows that all have the same features"):
        report(explanation)


def test_claims_about_one_baseline_are_measured_and_not_tested():
    rows = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    stg = StochasticGates(lambda x: 3 * x[:, 1] + x[:, 2], objective=Preserve(OutputMatch()))
    exact = report(stg.explain(rows))
    said = [part["words"] for part in exact.content["question"]["parts"]]
    assert (
        "The selected features keep at least 90% of the score. This was measured with the one baseline"
        in said[2]
    )
    assert said[3].startswith("Not needed")
    assert "on average over the reference rows" not in exact.content["summary"][0]
    assert not any("is tested by itself" in limit for limit in exact.content["limits"])
    tested = report(stg.explain(rows, ReferenceSet(torch.randn(99, 4))))
    assert "Each claim was tested" in tested.content["question"]["parts"][2]["words"]


@pytest.mark.parametrize("changed", [{}, {"baselines": 0.0}, {"target": 1}], ids=str)
def test_an_explainer_measures_only_what_the_run_was_asked(run, frame, stg, arguments, changed):
    """Forgotten baselines would measure other sets, on a page that names those of the run."""
    given = ({} if "baselines" in changed or not changed else arguments) | changed
    with pytest.raises(ArgumentError, match=r"(baselines|target): expected .* as in the run"):
        report(run, frame, explainer=stg, columns=NAMES, **given)
