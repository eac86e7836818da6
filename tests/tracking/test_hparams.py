"""TensorBoard's HParams page, through the requests of its server: a filter must find every trial that matches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from google.protobuf import json_format
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, get_experiment, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context

from src import paths
from src.config.settings import edited
from src.spec.record import START, Record
from src.tasks.sentiment.settings import Settings
from src.tasks.sentiment.task import TASK
from src.tracking import replay_state, tensorboard_replay
from src.tracking.journal import FINISHED, Journal, end
from src.trial.run import _params


def prepared(settings):
    """Stands for a prepared trial with these settings."""
    return SimpleNamespace(settings=settings, task=TASK)


def trial(study, name, params):
    folder = paths.study_folder(study) / name
    with Journal(folder) as book:
        book.append(Record(START, 0, detail={"attempt": name, "name": f"{name} seed=0", "tags": {}, "params": params}))
        book.append(
            end(step=1, status=FINISHED, metrics={"test/accuracy": 0.5 if name == "one" else 0.7, "time/train_s": 3.0})
        )
    tensorboard_replay.replay(folder)
    return folder


class Page:
    """The HParams page over all studies."""

    def __init__(self):
        runs = EventMultiplexer().AddRunsFromDirectory(str(paths.outputs()))
        runs.Reload()
        provider = MultiplexerDataProvider(runs, str(paths.outputs()))
        self.context = Context(base_plugin.TBContext(data_provider=provider, logdir=str(paths.outputs())))

    @property
    def columns(self):
        experiment = get_experiment.Handler(
            RequestContext(), self.context, "", api_pb2.GetExperimentRequest(hparams_limit=0)
        ).run()
        return {column.name: column for column in experiment.hparam_infos}

    def rows(self, key, **filters):
        states = [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING, api_pb2.STATUS_FAILURE, api_pb2.STATUS_UNKNOWN]
        column = api_pb2.ColParams(hparam=key, **filters)
        request = api_pb2.ListSessionGroupsRequest(col_params=[column], slice_size=100, allowed_statuses=states)
        answer = list_session_groups.Handler(RequestContext(), self.context, "", request).run()
        json_format.MessageToJson(answer)  # as the server sends it
        return sorted(row.name.split("/")[1].removesuffix(" seed=0") for row in answer.session_groups)


@pytest.fixture
def page(home):
    """Trials of two studies, with null and with a number for the same toggles."""
    for study, name, changes in (
        ("s", "one", {}),
        ("s", "two", {"clip_norm": 0.5, "max_length": 90}),
        ("t", "three", {"clip_norm": 2.0, "max_length": None, "masking": False}),
    ):
        trial(study, name, _params(prepared(edited(Settings(), changes))))
    return Page()


def test_every_toggle_has_one_type_in_all_trials_and_numbers_have_a_range(page):
    columns = page.columns

    assert columns["clip_norm"].type == columns["max_length"].type == columns["units"].type == api_pb2.DATA_TYPE_FLOAT64
    assert (columns["clip_norm"].domain_interval.min_value, columns["clip_norm"].domain_interval.max_value) == (
        0.5,
        2.0,
    )
    assert (columns["max_length"].domain_interval.min_value, columns["max_length"].domain_interval.max_value) == (
        90,
        200,
    )
    assert columns["masking"].type == api_pb2.DATA_TYPE_BOOL and columns["cell"].type == api_pb2.DATA_TYPE_STRING
    json_format.MessageToJson(columns["clip_norm"])


def test_a_range_finds_the_numbers_in_it_and_null_counts_as_missing(page):
    interval = api_pb2.Interval(min_value=0.1, max_value=1)

    assert page.rows("clip_norm", filter_interval=interval, exclude_missing_values=True) == ["two"]
    assert page.rows("clip_norm", filter_interval=interval) == ["one", "two"]
    assert page.rows("clip_norm", exclude_missing_values=True) == ["three", "two"]


def test_trials_of_one_name_in_two_studies_are_not_averaged(page):
    assert page.rows("cell") == ["one", "three", "two"]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("clip_norm", [None, 1, 0.5]),
        ("forget_bias", [0, None]),
        ("dropout", [0, 0.5]),
        ("unknown", [None, "x"]),
        ("cell", ["lstm", "gru"]),
    ],
)
def test_integers_floats_and_null_have_one_type(home, key, values):
    for number, value in enumerate(values):
        trial("s", str(number), {key: value})

    assert len({value.type for name, value in Page().columns.items() if name == key}) == 1
    assert key in Page().columns and Page().columns[key].type != api_pb2.DATA_TYPE_UNSET


def test_the_test_metric_comes_first_and_fixed_toggles_last(page):
    names = [name.strip() for name in page.columns]

    assert names[0] == "test/accuracy" and names.index("masking") < names.index("accumulate")
    assert page.rows(" test/accuracy", filter_interval=api_pb2.Interval(min_value=0.4, max_value=0.6)) == ["one"]


def test_results_are_not_charts(page):
    runs = page.context.tb_context.data_provider.list_scalars(RequestContext(), experiment_id="", plugin_name="scalars")

    assert not any(runs.values())


def test_an_event_file_of_an_older_format_is_written_again(home):
    folder = trial("s", "one", {"clip_norm": None, "cell": "gru"})
    (file,) = folder.parent.glob("one seed=0/events*")
    whole, state = file.read_bytes(), replay_state.load(folder / "tensorboard.json")
    del state["form"]
    replay_state.save(folder / "tensorboard.json", state)
    file.write_bytes(b"of another form")

    tensorboard_replay.replay(folder)

    assert file.read_bytes() == whole
