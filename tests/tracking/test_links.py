from __future__ import annotations

import json
import urllib.parse

import pytest

from src.spec.metric import IMPLIED, Metric
from src.tasks.sentiment.settings import Settings
from src.tracking import links
from src.tracking.mlflow_replay import Store
from src.tracking.stored import VALUE


def state(tags):
    return json.loads(json.loads(tags[links.VIEW_TAG])["state"])


PERPLEXITY = Metric("perplexity", "lower", digits=1)


def view(varied, compared="test/accuracy", first=IMPLIED[0]):
    return links.view(varied, first=first, compared=compared, study="s", time_ms=7)


def test_the_link_opens_the_runs_with_the_studys_saved_view():
    address, _, route = links.study_link("http://127.0.0.1:5000", "3").partition("#")
    path, _, query = route.partition("?")

    assert (address, path) == ("http://127.0.0.1:5000/", "/experiments/3/runs")
    assert urllib.parse.parse_qs(query) == {"workflowType": ["machine_learning"], "viewStateShareKey": [links.VIEW]}


def test_without_a_view_the_link_itself_sorts_the_trials_by_their_best_validation():
    query = urllib.parse.parse_qs(links.study_link("http://h", "3", sorted_by=IMPLIED[0]).partition("?")[2])

    assert (query["orderByKey"], query["orderByAsc"]) == (["metrics.`best/val_accuracy`"], ["false"])


def test_the_lowest_comes_first_if_lower_is_better():
    shown = state(view(["cell"], "test/perplexity", PERPLEXITY))
    query = urllib.parse.parse_qs(links.study_link("http://h", "3", sorted_by=PERPLEXITY).partition("?")[2])

    assert (shown["orderByKey"], shown["orderByAsc"]) == ("metrics.`best/val_perplexity`", True)
    assert (query["orderByKey"], query["orderByAsc"]) == (["metrics.`best/val_perplexity`"], ["true"])


def test_the_columns_and_charts_are_those_of_the_first_metric():
    shown = state(view(["cell"], "steps_to", PERPLEXITY))

    assert shown["selectedColumns"][:2] == ["metrics.`test/perplexity`", "metrics.`best/val_perplexity`"]
    keys = [card.get("metricKey") for card in shown["compareRunCharts"]]
    assert keys == ["test/perplexity", "best/val_perplexity", None, "val/perplexity", "train/loss"]


@pytest.mark.parametrize(
    ("uri", "pages"),
    [
        ("sqlite:////home/u/mlflow.db", "http://127.0.0.1:5000"),
        ("postgresql+psycopg2://u:p@db/mlflow", "http://127.0.0.1:5000"),
        ("https://ada:secr@et@host:8443/prefix/?token=x", "https://host:8443/prefix"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_the_pages_are_at_the_server_without_its_password_or_at_mlflow_ui(uri, pages):
    assert links.pages_of(uri) == pages


def test_the_view_shows_toggles_seed_test_best_validation_and_time_and_sorts_by_validation():
    shown = state(view(["masking", "cell"]))

    assert shown["selectedColumns"] == [
        *("metrics.`test/accuracy`", "metrics.`best/val_accuracy`", "metrics.`time/train_s`"),
        *("params.`masking`", "params.`cell`", "params.`seed`", "metrics.`time/batch_ms_median`"),
    ]
    assert (shown["orderByKey"], shown["orderByAsc"]) == ("metrics.`best/val_accuracy`", False)


@pytest.mark.parametrize("metric", ["test/loss", "time/epoch_s"])
def test_the_view_begins_with_the_compared_metric(metric):
    assert state(view(["cell"], metric))["selectedColumns"][0] == f"metrics.`{metric}`"


@pytest.mark.parametrize("metric", ["val/accuracy", "steps_to"])
def test_the_test_accuracy_comes_first_if_the_compared_metric_has_no_column(metric):
    columns = state(view(["cell"], metric))["selectedColumns"]

    assert columns[0] == "metrics.`test/accuracy`" and len(columns) == len(set(columns))


def test_a_view_of_every_toggle_fits_a_tag_and_too_many_toggles_are_cut():
    assert state(view(Settings.toggles()))["selectedColumns"][-2] == "params.`seed`"

    many = view([f"a_toggle_with_a_long_name_{number}" for number in range(200)])

    assert len(many[links.VIEW_TAG].encode()) <= VALUE
    assert "params.`a_toggle_with_a_long_name_0`" in state(many)["selectedColumns"]


def test_the_experiment_has_the_view_and_the_study_run_has_the_link(home, blank):
    store = Store(None, "s")

    store.present({"experiment": view(["cell"]), "description": "what it asks", "tags": {}, "metrics": {}})

    assert store.client.get_experiment(store.experiment_id).tags[links.VIEW_TAG] == view(["cell"])[links.VIEW_TAG]
    assert store.client.get_run(store.study_run_id).data.tags["ablation.link"] == store.link
    assert store.link.startswith(f"http://127.0.0.1:5000/#/experiments/{store.experiment_id}/runs?")


def test_a_description_that_a_user_edited_stays_and_ours_is_updated(home, blank):
    store = Store(None, "s")

    def described(text):
        store.present(
            {
                "experiment": {},
                "description": text,
                "tags": {"ablation.varied": "cell"},
                "metrics": {"study/trials": 2.0},
            }
        )
        return store.client.get_run(store.study_run_id).data.tags["mlflow.note.content"]

    assert [described("before"), described("after")] == ["before", "after"]
    store.client.set_tag(store.study_run_id, "mlflow.note.content", "mine")
    assert described("later") == "mine"
    assert store.client.get_run(store.study_run_id).data.metrics == {"study/trials": 2.0}


def test_the_charts_begin_with_outcomes_and_toggles_in_their_own_section():
    shown = state(view(["masking", "cell"]))

    assert [(card["type"], card.get("metricKey")) for card in shown["compareRunCharts"]] == [
        *(("BAR", "test/accuracy"), ("BAR", "best/val_accuracy"), ("PARALLEL", None)),
        *(("LINE", "val/accuracy"), ("LINE", "train/loss")),
    ]
    assert shown["compareRunCharts"][2]["selectedParams"] == ["masking", "cell"]
    assert [section["name"] for section in shown["compareRunSections"]] == ["outcomes"]
