"""A Keras task with only a model and a phase: two inputs, no text, no recurrence, a metric to minimise."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import final

import numpy as np
import pandas as pd
import pytest

from src.paths import REPOSITORY
from src.spec.metric import LOSS, Metric
from src.spec.record import Record
from src.spec.settings import Settings, Tracking
from src.spec.task import Trial
from src.training.health import is_better_than_chance
from src.training.task import KerasTask

pytestmark = pytest.mark.training


@dataclass(frozen=True)
class Numbers:
    digest: str = "cafe"
    rows: dict[str, int] = field(default_factory=lambda: {"train": 12, "validation": 12, "test": 12})


@final
class Toy(KerasTask[Settings, Numbers]):
    name, about, settings = "toy", "a number from two inputs", Settings
    metrics = (Metric("perplexity", "lower", of="loss", finish="exp", target=5.0), LOSS, Metric("error", "lower"))

    def __init__(self, chance=None, draw=lambda *_: {}, tell=lambda _: (), draw_epoch=lambda _: {}):
        self.chance, self.draw, self.tell, self.draw_epoch = chance, draw, tell, draw_epoch

    def epoch_samples(self, trial, learner):
        return self.tell(learner)

    def epoch_pictures(self, trial, learner):
        return self.draw_epoch(learner)

    def pictures(self, trial, learner, trained):
        return self.draw(learner, trained)

    def load(self, settings):
        return Numbers()

    def model(self, settings, data):
        from tests.training.test_weights import model_of

        return model_of()

    def phase(self, settings, data):
        import dataclasses

        from tests.training.test_weights import batch, phase_of

        splits = {name: lambda: map(batch, [range(5, 12), range(5)]) for name in ("validation", "test")}
        return dataclasses.replace(phase_of(range(6), range(6, 12)), held_out=splits, chance=self.chance)


def trial_of(folder, **changes):
    tracking = Tracking(name="offline", histograms=True)
    changes = {"task": "toy", "batch_size": 6, "epochs": 2, "tracking": tracking, "learning_rate": 0.01, **changes}
    names = {"name": "toy seed=0", "is_alone": False, "attempt": "one", "identity": "cafe"}
    return Trial(settings=Settings(**changes), data=Numbers(), folder=folder, **names)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    return folder, list(Toy().records(trial_of(folder)))


def test_a_task_of_a_model_and_a_phase_has_a_complete_record(finished):
    _, records = finished
    kinds = [record.kind for record in records]

    assert kinds == ["start", "graph", "histograms", *["step", "step", "histograms", "evaluation"] * 2, "end"]
    assert records[0].detail["tags"] == {"ablation.kernel": "graph"}
    splits = {"step": "train", "evaluation": "val", "end": "test"}
    for record in records:
        if split := splits.get(record.kind):
            assert {f"{split}/{name}" for name in ("loss", "perplexity", "error")} <= set(record.metrics)
    assert records[-1].detail["status"] == "FINISHED" and records[-1].detail["tags"]["ablation.health"] == "ok"


def test_a_task_without_sequences_has_no_padding_and_no_tokens(finished):
    metrics = finished[1][-1].metrics

    assert not {"data/padding_fraction", "time/tokens_per_s"} & set(metrics)
    assert metrics["data/batches_per_epoch"] == 2 and metrics["time/batch_ms_median"] > 0


def test_the_test_results_of_every_example_are_written_in_the_order_of_the_rows(finished):
    from tests.training.test_weights import WEIGHTS

    folder, records = finished
    frame = pd.read_parquet(folder / "test_examples.parquet")

    assert list(frame) == ["row", "loss", "error", "loss_weight", "error_weight", "value"]
    assert frame["row"].tolist() == list(range(12)) and frame["loss_weight"].tolist() == WEIGHTS.tolist()
    assert frame["error"].mean() == pytest.approx(records[-1].metrics["test/error"], rel=1e-5)
    assert frame["loss"].sum() / WEIGHTS.sum() == pytest.approx(records[-1].metrics["test/loss"], rel=1e-5)
    assert records[-1].detail["artifacts"] == ["model.keras", "steps.parquet", "test_examples.parquet"]
    assert all((folder / name).is_file() for name in records[-1].detail["artifacts"])


def test_all_layers_but_the_inputs_are_shown(finished):
    *_, last = (record.detail for record in finished[1] if record.kind == "histograms")
    shown = {name.removeprefix("activations/") for name in last if name.startswith("activations/")}

    assert "head" in shown and len(shown) == 3 and not shown & {"values", "kinds"}


def test_a_trial_that_is_not_better_than_chance_learnt_nothing_and_has_a_diagnosis(tmp_path):
    end = list(Toy(chance=1.0).records(trial_of(tmp_path, learning_rate=1e-9)))[-1]

    assert end.detail["tags"]["ablation.health"] == "no_learning"
    assert end.detail["tags"]["ablation.diagnosis"].startswith(
        "learning rate too low: training changed the weights by only "
    )


def drawn(learner, trained):
    """A picture before and after training, and one of the result."""
    shade = np.full((2, 2), 100 if trained is None else 200, np.uint8)
    return {"weights": shade} | ({} if trained is None else {"result": shade})


def test_pictures_are_recorded_before_the_first_step_and_after_training_and_are_files_of_the_trial(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "of_an_earlier_attempt.png").touch()

    records = list(Toy(draw=drawn).records(trial_of(tmp_path)))

    found = [record for record in records if record.kind == "pictures"]
    assert [(record.step, sorted(record.detail["files"])) for record in found] == [
        (0, ["weights"]),
        (4, ["result", "weights"]),
    ]
    assert records.index(found[0]) < next(place for place, record in enumerate(records) if record.kind == "step")
    files = [file for record in found for file in record.detail["files"].values()]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("pictures/*")) == sorted(files)
    assert "pictures" in records[-1].detail["artifacts"]


def test_without_the_setting_or_after_an_error_there_are_no_pictures_and_the_trial_goes_on(tmp_path, caplog):
    def broken(learner, trained):
        raise RuntimeError("no canvas")

    off = Tracking(name="offline", pictures=False)
    for task, changes in ((Toy(draw=drawn), {"tracking": off}), (Toy(draw=broken), {})):
        records = list(task.records(trial_of(tmp_path, **changes)))
        assert "pictures" not in {record.kind for record in records} and records[-1].detail["status"] == "FINISHED"
    assert "the pictures of step 0 are missing" in caplog.text


def total(model):
    return float(sum(weight.sum() for weight in model.get_weights()))


def test_samples_of_an_epoch_come_before_its_evaluation_with_its_weights_and_an_error_loses_only_them(tmp_path, caplog):
    models, seen = [], []

    def tell(learner):
        models.append(learner.model)
        if len(models) == 2:
            raise RuntimeError("no words")
        yield {"text": "=1 | <b>\n", "total": total(learner.model)}

    for record in Toy(tell=tell).records(trial_of(tmp_path, epochs=3)):
        if record.kind in ("epoch_samples", "evaluation"):
            seen.append((record.kind, record.step, record.detail, total(models[0])))

    assert [kind for kind, *_ in seen] == ["epoch_samples", "evaluation", "evaluation", "epoch_samples", "evaluation"]
    for epoch, (_, step, detail, now) in ((1, seen[0]), (3, seen[3])):
        assert (step, detail) == (2 * epoch, {"samples": [{"epoch": epoch, "text": "=1 | <b>\n", "total": now}]})
    assert "the samples of this epoch are missing" in caplog.text
    assert record.detail["status"] == "FINISHED" and "samples_by_epoch.csv" in record.detail["artifacts"]
    table = pd.read_csv(tmp_path / "samples_by_epoch.csv")
    assert table["epoch"].tolist() == [1, 3] and table["text"].tolist() == 2 * ["'=1 | <b>\\n"]  # no formula
    assert table["total"].tolist() == pytest.approx([seen[0][-1], seen[3][-1]])


def test_samples_of_earlier_epochs_are_in_the_table_of_a_resumed_trial():
    from src.training.fit import Fit

    rows = [{"epoch": 1, "text": "a"}, {"epoch": 1, "text": "b"}, {"epoch": 2, "text": "c"}]
    records = [
        Record("epoch_samples", 2, detail={"samples": rows[:2]}),
        Record("epoch_samples", 4, detail={"samples": rows[2:]}),
    ]

    assert Fit.of_records(records, LOSS).samples == rows


def test_without_the_setting_there_are_no_samples_of_epochs(tmp_path):
    off = Tracking(name="offline", pictures=False)

    records = list(Toy(tell=lambda learner: [{"text": "a"}]).records(trial_of(tmp_path, tracking=off)))

    assert "epoch_samples" not in {record.kind for record in records}
    assert "samples_by_epoch.csv" not in records[-1].detail["artifacts"]


def test_pictures_of_an_epoch_come_before_its_evaluation_and_an_error_loses_only_them(tmp_path, caplog):
    models = []

    def draw(learner):
        models.append(learner.model)
        if len(models) == 2:
            raise RuntimeError("no colours")
        return {"weights": np.full([4, 4], len(models), "uint8")}

    kinds = ("pictures", "evaluation")
    seen = [r for r in Toy(draw_epoch=draw).records(trial_of(tmp_path, epochs=3)) if r.kind in kinds]

    assert [record.kind for record in seen] == ["pictures", "evaluation", "evaluation", "pictures", "evaluation"]
    assert [record.step for record in seen] == [2, 2, 4, 6, 6]
    files = [record.detail["files"]["weights"] for record in seen if record.kind == "pictures"]
    assert len({*files}) == 2 and all((tmp_path / file).is_file() for file in files)
    assert "the pictures of this epoch are missing" in caplog.text
    off = Tracking(name="offline", pictures=False)
    records = list(Toy(draw_epoch=draw).records(trial_of(tmp_path, tracking=off)))
    assert "pictures" not in {record.kind for record in records} and len(models) == 3


@pytest.mark.parametrize(("chance", "value", "is_better"), [(None, 9.0, True), (8.0, 9.0, False), (8.0, 7.0, True)])
def test_a_trial_has_learnt_for_its_diagnosis_if_its_test_is_better_than_chance(chance, value, is_better):
    chances = {} if chance is None else {Toy.metrics[0]: chance}

    assert is_better_than_chance(chances, {"test/perplexity": value}, "test/") == is_better


def test_inputs_of_any_structure_can_be_compared():
    from src.training.diagnosis import are_equal

    same = {"values": np.ones((2, 3)), "kinds": np.array([4, 4])}
    assert are_equal([same, same])
    assert not are_equal([same, {"values": np.ones((1, 3)), "kinds": np.array([5])}])
    assert not are_equal([{"values": np.ones((1, 3)), "kinds": np.array([4])}])


def test_a_trial_resumes_from_its_checkpoint(tmp_path):
    kept = {}

    def keep(epoch, *, variables, best, peak_mb):
        kept[epoch] = {
            "variables": [np.asarray(variable) for variable in variables],
            "best": list(best),
            "peak_mb": peak_mb,
        }

    import dataclasses

    whole = list(Toy().records(dataclasses.replace(trial_of(tmp_path, epochs=3), keep=keep)))
    evaluations = [place for place, record in enumerate(whole) if record.kind == "evaluation"]
    earlier = SimpleNamespace(records=whole[2 : evaluations[1] + 1], epochs=[2], **kept[2])
    later = list(Toy().records(dataclasses.replace(trial_of(tmp_path, epochs=3), earlier=earlier)))

    assert [record.kind for record in later] == ["start", "step", "step", "histograms", "evaluation", "end"]
    assert later[-1].detail["tags"]["ablation.weights"] == whole[-1].detail["tags"]["ablation.weights"]
    assert later[-2].metrics["val/perplexity"] == whole[-2].metrics["val/perplexity"]


def test_keras_tasks_can_be_imported_without_tensorflow():
    program = (
        "import sys, src.training.task; print(sorted({'tensorflow', 'keras', 'pandas', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
