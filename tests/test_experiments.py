"""The named studies: each composes, can be planned, and varies only what it names."""

from __future__ import annotations

import re

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from src import run
from src.config.settings import edited, from_hydra
from src.data import dates
from src.data.pair_corpora import READERS
from src.paths import REPOSITORY
from src.spec.section import SettingsError
from src.study import planning
from tests.data.test_pair_corpora import ENGLISH, SPANISH, unpacked

FILES = sorted((REPOSITORY / "experiments").glob("*.yaml"))
NAMES = [path.stem for path in FILES]
ABOUT_TIME = [
    "execution_by_size",
    "loops",
    "onehot",
    "padding_by_length",
    "retracing",
    "softmax_costs",
    "variable_lengths",
]
OF_TEXTS = ("sentiment", "language_model", "word_vectors")


@pytest.fixture(scope="module")
def few_dates():
    """At most 500 generated pairs in place of up to 30,000: a plan is the same with each number of them."""
    reader = READERS["dates"]

    def fewer(options):
        return reader.read(options.model_copy(update={"train_pairs": min(options.train_pairs, 500)}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dates, "SIZES", dict.fromkeys(dates.SIZES, 100))
        patch.setitem(READERS, "dates", reader._replace(read=fewer))
        yield


@pytest.fixture(scope="module", params=NAMES)
def planned(request, shared_home, few_dates, tmp_path_factory):
    """A name, its study, the rows of two seeds (all further seeds have the same rows), and its configuration."""
    name = request.param
    run.register_schema()
    run.register_experiments([name])
    GlobalHydra.instance().clear()

    def from_overrides(overrides):
        settings = from_hydra(compose("config", overrides=[f"+experiments={name}", *overrides]))
        if settings.task == "translation" and settings.data.name == "libreoffice_help":  # in two packages
            folder = tmp_path_factory.mktemp("help")
            unpacked(folder, "en-US", ENGLISH)
            unpacked(folder, "es", SPANISH)
            return edited(settings, {"data.path": str(folder)})
        limit = 1_200 if name == "pretexts_of_sentiment" else 300  # more than it takes labels from
        return edited(settings, {"data.limit": limit}) if settings.task in OF_TEXTS else settings

    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        study = planning.study({}, {}, compose=from_overrides)
        config = compose("config", overrides=[f"+experiments={name}"], return_hydra_config=True)
        return name, study, study.rows(next(study.rounds()), seeds=study.seeds[:2]), config


def flattened(settings):
    """Returns key → value; keys of a group have a dot, as on the command line."""
    sections = {key: value if isinstance(value, dict) else {"": value} for key, value in settings.model_dump().items()}
    return {f"{key}.{name}".rstrip("."): value for key, section in sections.items() for name, value in section.items()}


def test_the_variants_of_every_study_differ_only_in_the_keys_that_they_name(planned):
    name, study, rows, _ = planned
    flat = [flattened(row.trial.settings) for row in rows]
    reference, of_reference = flat[0], {change.key for change in rows[0].trial.changes}

    assert study.settings.study == name
    assert not [row.dropped for row in rows if row.dropped]
    assert rows[0].is_reference and len(rows) == len(study.seeds[:2]) * len({row.label for row in rows})
    for row, settings in zip(rows, flat, strict=True):
        changed = {key for key, value in settings.items() if reference[key] != value} - {"seed"}
        normalised = {change.key for change in row.trial.changes} | of_reference
        named = {key for key, value in row.values.items() if value != study.reference[key]}
        assert changed <= named | normalised


def test_every_study_has_a_question_and_an_expected_time(planned):
    name, study, _, config = planned
    text = (REPOSITORY / "experiments" / f"{name}.yaml").read_text(encoding="utf-8")
    header = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("#"))

    assert header.startswith("Design: ") and " Seeds: " in header
    assert re.search(r"Expected: (under )?\d+ minutes on 2 cores", header)
    assert f"Command: python -m src.run -m +experiments={name}" in header
    assert study.plan.question and (study.plan.claim or name == "smoke")
    assert ("JoblibLauncher" in config.hydra.launcher._target_) == (name not in ABOUT_TIME)


def test_all_studies_but_leave_one_out_fit_into_a_few_sessions():
    minutes = {
        path.stem: int(re.search(r"Expected:\s+(?:#\s+)?(?:under )?(\d+)", path.read_text(encoding="utf-8"))[1])
        for path in FILES
    }

    from_scratch = [
        "loops",
        "retracing",
        "forget_bias",
        "truncated_bptt",
        "class_or_integral",
        "readouts",
        "one_or_two_outputs",
    ]
    from_scratch += ["learned_state", "variable_lengths", "initialisers"]
    assert minutes.pop("leave_one_out") <= 60
    assert sum(minutes.pop(name) for name in from_scratch) <= 130
    limits = {"images": 240, "language_model": 360, "translation": 360, "word_vectors": 360, "pretraining": 360}
    for task, most in limits.items():
        own = [path.stem for path in FILES if f"override /task: {task}\n" in path.read_text(encoding="utf-8")]
        assert sum(minutes.pop(name) for name in own) <= most
    assert minutes.pop("recurrent_faults") <= 15
    assert minutes.pop("encoders") <= 45
    assert minutes.pop("spread_of_reviews") + minutes.pop("spread_of_sums") <= 45
    assert minutes.pop("pretexts_of_sentiment") <= 60
    assert sum(minutes.values()) <= 130


def test_every_study_is_in_the_index_of_its_task_with_a_link_to_its_answer():
    index = (REPOSITORY / "experiments" / "README.md").read_text(encoding="utf-8")
    sections = {part.partition("\n")[0].lower().replace(" ", "-"): part for part in index.split("\n## ")}
    of_task = dict(re.findall(r"^\| `(\w+)` \|.*\[index\]\(#([\w-]+)\) \|$", index, flags=re.MULTILINE))
    missing = []
    for path in FILES:
        named = re.search(r"override /task: (\w+)", path.read_text(encoding="utf-8"))
        rows = sections[of_task[named[1] if named else "sentiment"]] + sections["all-tasks"]
        if not re.search(rf"\[`{path.stem}`\]\(\S*[#-]{path.stem}[)-]", rows):  # a heading ends with its studies
            missing.append(path.stem)

    assert missing == ["smoke"], "experiments/README.md"  # which has no answer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- a\n", "a study file contains keys with values"),
        ("study: other\n", "study is 'other', but must be the name of the file; write study: mine"),
        ("epochs: 1\n", "study is None, but must be the name of the file"),
    ],
)
def test_the_error_for_a_broken_study_file_names_it(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=rf"mine\.yaml: {message}"):
        run.register_experiments(["mine"], tmp_path)
    run.register_experiments(["another"], tmp_path)  # which does not read mine.yaml


@pytest.mark.parametrize(
    ("text", "typed", "message"),
    [
        ("units: abc\n", [], "error: experiments/mine.yaml: units: got 'abc'; allowed: an integer"),
        ("units: abc\n", ["units=xyz"], "error: units: got 'xyz'"),
        ("unitz: 3\n", [], "error: experiments/mine.yaml: unknown key 'unitz'"),
        ("plan: {levels: {cell: [lstm, foo]}}\n", [], "error: experiments/mine.yaml: cell: got 'foo'"),
    ],
)
def test_an_error_names_the_study_file_that_caused_it(
    home, tmp_path, monkeypatch, capsys, request, text, typed, message
):
    (tmp_path / "mine.yaml").write_text(f"study: mine\n{text}", encoding="utf-8")
    monkeypatch.setattr(run, "EXPERIMENTS", tmp_path)
    request.addfinalizer(lambda: ConfigStore.instance().repo["experiments"].pop("mine.yaml"))

    assert run.main(["+experiments=mine", *typed, "plan_only=true"]) == 2
    assert capsys.readouterr().err.startswith(message)


def test_the_error_for_a_binary_study_file_names_it(home, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.yaml").write_bytes(b"study: mine\nunits: \xff\xfe\n")
    monkeypatch.setattr(run, "EXPERIMENTS", tmp_path)

    assert run.main(["+experiments=mine", "plan_only=true"]) == 2
    assert "mine.yaml: not valid YAML" in capsys.readouterr().err
