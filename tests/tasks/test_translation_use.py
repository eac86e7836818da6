"""What one does with a trained translation model: `python -m src.use RUN translate` and `compare-attention`."""

from __future__ import annotations

import itertools
import json
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from docs import beams
from src import use
from src.artifacts import MODEL, Artifacts
from src.config.settings import edited
from src.data.pair_contents import SIDES
from src.data.pair_vocabulary import Vocabulary
from src.data.sentence_tokens import learn
from src.data.tokens import END, START
from src.tasks.language_model.settings import Settings as OfLanguageModel
from src.tasks.translation import attended, figures, pictures, sentences, trained, translating, vocabulary
from src.tasks.translation.model import SAME
from src.tasks.translation.settings import Settings
from src.tasks.translation.task import TASK
from src.tasks.translation.translating import Options
from src.training import model_file

SMALL = {"embedding_dim": 3, "units": 4}
SOURCE_WORDS = ["the", "cat", "sat", "￭.", "a", "mat"]  # ids 4 to 9
TARGET_WORDS = ["le", "chat", "￭.", "assis", "un"]
LONGEST = 12


def design_of(settings, **changes):
    from src.models.encoder_decoder import Design

    sizes = {"source_size": 4 + len(SOURCE_WORDS), "target_size": 4 + len(TARGET_WORDS), "longest": LONGEST}
    return Design(**{**sizes, **{key: getattr(settings, key) for key in SAME}, **changes})


def written(folder, *, longest_source=None, words=SOURCE_WORDS, **changes):
    """Writes the files of a trained trial; returns a translator with its model."""
    from src.models.encoder_decoder import encoder_decoder
    from src.models.translator import Translator

    settings = edited(Settings(), {**SMALL, **changes})
    files_of(folder, settings, words)
    model = encoder_decoder(design_of(settings, longest_source=longest_source))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 1.5, weight.shape) for weight in model.get_weights()])
    model_file.write(folder, model)
    return Translator(model)


def files_of(folder, settings, words=SOURCE_WORDS):
    folder.mkdir(exist_ok=True, parents=True)
    Artifacts(folder).write_settings(settings)
    of_side = dict(zip(SIDES, (words, TARGET_WORDS), strict=True))
    vocabulary.write(folder, {side: Vocabulary(of_side[side], "word", settings.lowercase) for side in SIDES})


@pytest.fixture
def without_tensorflow(tmp_path, monkeypatch):
    """Writes files that describe a trained trial, but hold no weights; the import of TensorFlow raises an error."""

    def write(longest_source=None, **changes):
        settings = edited(Settings(), {**SMALL, **changes})
        files_of(tmp_path / "trial", settings)
        sizes = {"source_size": 4 + len(SOURCE_WORDS), "target_size": 4 + len(TARGET_WORDS)}
        design = {**sizes, "longest": LONGEST, "longest_source": longest_source, "attention": settings.attention}
        layer = {"module": None, "class_name": "Decoder", "registered_name": "ablation>Decoder"}
        config = {"class_name": "Functional", "config": [{**layer, "config": {"design": design}}]}
        with zipfile.ZipFile(tmp_path / "trial" / MODEL, "w") as archive:
            archive.writestr("config.json", json.dumps({"module": "keras", **config}))
        for name in ("tensorflow", "keras"):
            monkeypatch.setitem(sys.modules, name, None)
        return tmp_path / "trial"

    return write


def called(folder, *words):
    return use.main([str(folder), *map(str, words)])


def table_of(output):
    header, *rows = (line.split("\t") for line in output.splitlines() if "\t" in line)
    return [dict(zip(header, row, strict=True)) for row in rows]


def ids_of(text):
    """Returns the ids of a source of known words, its end included."""
    return [4 + [word.strip("￭") for word in SOURCE_WORDS].index(word) for word in text.split()] + [END]


def target_of(row):
    words = row["translation"].replace(".", " .").split()
    ids = [4 + [word.strip("￭") for word in TARGET_WORDS].index(word) for word in words if word != "<unknown>"]
    assert "<unknown>" not in words
    return ids + [END] * (row["ended"] == "yes")


# Translate


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--strategy", "greedy"], lambda model, source: model.greedy(source, longest=LONGEST + 4)),
        (["--strategy", "sample", "--seed", "3"], lambda model, source: model.sample(source, longest=16, seed=3)),
        ([], lambda model, source: model.beam(source, longest=16, size=5)),
        (
            ["--beam-size", "3", "--length-penalty", "10"],
            lambda model, source: model.beam(source, longest=16, size=3, length_penalty=10.0),
        ),
        (["--beam-size", "1"], lambda model, source: model.greedy(source, longest=16)),
        (["--length", "2", "--strategy", "greedy"], lambda model, source: model.greedy(source, longest=2)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_command_prints_the_translation_of_the_model(home, tmp_path, capsys, options, expected):
    model = written(tmp_path / "trial", attention="dot")

    assert called(tmp_path / "trial", "translate", "The sat.", *options) == 0

    output, notes = capsys.readouterr()
    (row,) = table_of(output)
    found = expected(model, np.array([ids_of("the sat .")]))
    ids = found.ids[0][: int(row["tokens"])].tolist()
    assert notes == ""
    assert row["translation"] == vocabulary.read(tmp_path / "trial")["target"].text(ids)
    assert row["ended"] == ("yes" if END in ids else "no") and not found.ids[0][len(ids) :].any()
    assert float(row["log-probability per token"]) == pytest.approx(found.log_probability[0] / len(ids), abs=6e-4)


def test_the_log_probability_is_that_of_scoring_the_printed_translation(home, tmp_path, capsys):
    model = written(tmp_path / "trial", attention="general", reverse_source=True)

    assert called(tmp_path / "trial", "translate", "a mat sat", "--beam-size", "2", "--length", "6") == 0

    (row,) = table_of(capsys.readouterr().out)
    *words, end = ids_of("a mat sat")
    labels = np.array([target_of(row)])
    read = np.concatenate([[[START]], labels[:, :-1]], axis=1)
    log_probability, _ = model.score(np.array([[*reversed(words), end]]), read, labels)
    assert int(row["tokens"]) == labels.shape[1]
    assert float(row["log-probability per token"]) == pytest.approx(log_probability[0] / labels.shape[1], abs=6e-4)


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_a_translation_does_not_depend_on_the_other_texts(home, tmp_path, capsys, strategy):
    written(tmp_path / "trial", mask_attention=False)
    texts = ["the cat sat", "a mat", "a mat", "the cat sat. the cat."]

    assert called(tmp_path / "trial", "translate", *texts, "--strategy", strategy) == 0
    together = table_of(capsys.readouterr().out)
    assert called(tmp_path / "trial", "translate", texts[3], "--strategy", strategy) == 0

    (alone,) = table_of(capsys.readouterr().out)
    assert [row["number"] for row in together] == ["1", "2", "3", "4"]
    assert {**together[1], "number": ""} == {**together[2], "number": ""}
    assert {**together[3], "number": "1"} == alone


def test_each_line_of_a_file_has_a_row_and_a_blank_one_its_reason(home, tmp_path, capsys):
    written(tmp_path / "trial")
    (tmp_path / "texts.txt").write_text("the cat\n\na dog sat\n", encoding="utf-8")

    assert called(tmp_path / "trial", "translate", "--file", tmp_path / "texts.txt") == 1

    output, notes = capsys.readouterr()
    rows = table_of(output)
    assert [row["number"] for row in rows] == ["1", "2", "3"] and rows[1]["ended"] == "na"
    assert notes.splitlines() == [
        "error: text 2: it is blank",
        "note: text 3: the model knows 2 of the text's 3 tokens, and reads the unknown token for: dog",
    ]


def test_a_text_of_unknown_words_only_is_translated_and_reported(home, tmp_path, capsys):
    written(tmp_path / "trial")

    assert called(tmp_path / "trial", "translate", "Xyz \x1b dog") == 0

    output, notes = capsys.readouterr()
    expected = "the model knows no token of the text, so its translation depends only on their number: xyz, \\x1b, dog"
    assert notes == f"note: {expected}\n" and len(table_of(output)) == 1


def test_subwords_are_divided_by_the_merges_of_the_trial(home, tmp_path, capsys):
    written(tmp_path / "trial", tokens="subword")
    merges = learn(["the cat sat"] * 5, 20)
    of_side = {
        side: Vocabulary(words, "subword", True, merges)
        for side, words in zip(SIDES, (["▁the", "▁ca", "t", "s", "a", "▁"], TARGET_WORDS), strict=True)
    }
    vocabulary.write(tmp_path / "trial", of_side)

    assert called(tmp_path / "trial", "translate", "the", "--length", "3") == 0

    output, notes = capsys.readouterr()
    assert notes == "" and int(table_of(output)[0]["tokens"]) <= 3


# Pictures


def test_the_picture_has_the_weights_in_reading_order_on_a_scale_from_0_to_1(home, tmp_path, monkeypatch):
    model = written(tmp_path / "trial", reverse_source=True, bidirectional=False)
    kept = []
    monkeypatch.setattr(pictures, "write", lambda path, figure: kept.append(figure) or True)

    assert called(tmp_path / "trial", "translate", "the dog.", "--length", "4", "--plot", tmp_path / "a.png") == 0

    axes, bar = kept[0].axes
    found = model.beam(np.array([[7, 2, 4, END]]), longest=4, size=5)
    steps = len(axes.get_yticklabels())
    (image,) = axes.images
    np.testing.assert_allclose(image.get_array(), found.weights[0, :steps][:, [2, 1, 0, 3]], atol=1e-6)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["the", "dog <unknown>", ".", "<end>"]
    assert (image.get_clim(), axes.get_xlabel(), axes.get_ylabel()) == ((0, 1), "source token", "written token")
    assert bar.get_ylabel() == "attention weight"


def test_labels_of_forty_tokens_do_not_overlap(tmp_path):
    panel = pictures.Attention(["word"] * 40, ["wort$_"] * 40, np.eye(40))

    drawn = pictures.figure([[panel]])
    pictures.write(tmp_path / "a.png", drawn)

    axes = drawn.axes[0]
    across = [label.get_window_extent() for label in axes.get_xticklabels()]
    down = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(one.x1 <= two.x0 for one, two in itertools.pairwise(across))
    assert all(two.y1 <= one.y0 for one, two in itertools.pairwise(down))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG" and all(1_000 < side < 3_000 for side in picture.size)


def test_attention_of_several_trials_is_compared_on_one_scale(home, tmp_path, capsys, monkeypatch):
    for name in ("dot", "general", "location"):
        written(tmp_path / name, attention=name, longest_source=9 if name == "location" else None)
    kept = []
    write = pictures.write
    monkeypatch.setattr(pictures, "write", lambda path, figure: kept.append(figure) or write(path, figure))
    picture = tmp_path / "c.png"

    assert (
        called(
            tmp_path / "dot",
            "compare-attention",
            tmp_path / "general",
            tmp_path / "location",
            "the cat",
            "--plot",
            picture,
        )
        == 0
    )

    output = capsys.readouterr().out
    *panels, _ = kept[0].axes
    assert [row["RUN"] for row in table_of(output)] == ["RUN", "general", "location"]
    assert [axes.get_title() for axes in panels] == [
        "RUN\nattention=dot", "general\nattention=general", "location\nattention=location"
    ]  # fmt: skip
    assert {axes.images[0].get_clim() for axes in panels} == {(0, 1)}
    with Image.open(picture) as image:
        assert image.format == "PNG" and min(image.size) > 200


# Bad input, before TensorFlow is imported


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "--beam-size", "0"], "--beam-size: got 0; allowed: 1 to 100 (1 is --strategy greedy)"),
        (["a", "--beam-size", "-1"], "--beam-size: got -1; allowed: 1 to 100"),
        (["a", "--beam-size", "101"], "--beam-size: got 101; allowed: 1 to 100"),
        (["a", "--length-penalty", "-1"], "--length-penalty: got -1.0; allowed: 0 to 10"),
        (["a", "--length-penalty", "nan"], "--length-penalty: got nan; allowed: 0 to 10"),
        (["a", "--length", "0"], "--length: got 0; allowed: 1 to 10,000 (tokens of a translation, its end included)"),
        (["a", "--strategy", "sample", "--seed", "-1"], "--seed: got -1; allowed: 0 to"),
        (
            ["a", "--strategy", "greedy", "--beam-size", "3"],
            "--beam-size belongs to --strategy beam, got --strategy greedy; remove it, or set --strategy beam",
        ),
        (["a", "--seed", "3"], "--seed belongs to --strategy sample, got --strategy beam"),
        ([], "no text; give one in quotes, or --file FILE"),
        ([""], "'': it is blank"),
        (["a", " \t"], "it is blank"),
        (["\u200b"], "it has no tokens; give it words"),
        (["a\0"], "it contains a zero byte"),
        (["a " * 2_001], "the text has 2,001 tokens; allowed: up to 2,000; divide it"),
        (
            ["a " * 1_000, "--beam-size", "100"],
            "so many translations of 1,000 tokens at a time do not fit in memory; lower --beam-size or --length",
        ),
        (["--file", "missing.txt"], "missing.txt: No such file or directory"),
        (["a", "b", "--plot", "a.png"], "--plot draws the attention of one text; give one text, and no --file"),
        (["--file", "-", "--plot", "a.png"], "--plot draws the attention of one text"),
        (["a", "--plot", "a.bmp"], "--plot 'a.bmp': allowed endings: .png, .svg, .pdf"),
        (["a", "--plot", "missing/a.png"], "--plot missing/a.png: cannot be written (No such file or directory); name"),
        (["a", "--plot", "folder.png"], "--plot folder.png: is a folder; name a file"),
        (["a " * 201, "--plot", "a.png"], "the text has 201 tokens; a picture shows up to 200"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_bad_input_is_refused_before_the_model_is_loaded(
    home, tmp_path, capsys, monkeypatch, without_tensorflow, words, message
):
    trial = without_tensorflow()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()

    assert called(trial, "translate", *words) == 2

    output, error = capsys.readouterr()
    assert output == "" and error.startswith("error: ") and message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "a.png").exists() and not list(tmp_path.glob("new-*"))


def test_a_picture_of_a_trial_without_attention_is_refused(home, tmp_path, capsys, without_tensorflow):
    trial = without_tensorflow(attention="none")

    assert called(trial, "translate", "a cat", "--plot", tmp_path / "a.png") == 2
    assert called(trial, "compare-attention", trial, "a cat", "--plot", tmp_path / "a.png") == 2

    alone, compared = capsys.readouterr().err.splitlines()
    reason = "was trained with attention=none, so there are no weights to draw"
    fix = "or name a trial with attention, such as attention=additive"
    assert alone == f"error: this trial {reason}; leave out --plot, {fix}"
    assert compared == f"error: RUN {reason}; leave out this trial, {fix}"


def test_a_text_longer_than_the_location_score_knows_is_refused(home, capsys, without_tensorflow):
    trial = without_tensorflow(attention="location", longest_source=4)

    assert called(trial, "translate", "the cat sat.") == 2

    reason = "the text has 4 tokens; attention=location has weights for the 3 tokens of the longest sentence"
    assert reason in capsys.readouterr().err


def test_trials_of_another_task_are_refused(home, tmp_path, capsys, without_tensorflow):
    other = tmp_path / "other"
    other.mkdir()
    Artifacts(other).write_settings(OfLanguageModel())
    (other / MODEL).touch()
    trial = without_tensorflow()

    assert called(other, "translate", "a") == 2
    assert called(trial, "compare-attention", other, "a", "--plot", tmp_path / "a.png") == 2
    assert called(trial, "compare-attention", "missing", "a", "--plot", tmp_path / "a.png") == 2
    assert called(trial, "compare-attention", *[trial] * 8, "a") == 2

    first, second, third, fourth = capsys.readouterr().err.splitlines()
    assert first == "error: task=language_model has no command 'translate'; allowed: generate, score"
    assert second == f"error: {other}: trained with task=language_model; this command reads a trial of task=translation"
    assert third.startswith("error: RUN: got 'missing'; allowed: a trial's folder, its identity")
    assert fourth == "error: got 9 trials; allowed: up to 8 side by side"


def test_files_of_different_trials_are_refused(home, tmp_path, capsys, without_tensorflow):
    trial = without_tensorflow()
    files_of(trial, edited(Settings(), SMALL), [*SOURCE_WORDS, "dog"])
    assert called(trial, "translate", "a") == 2
    files_of(trial, edited(Settings(), {**SMALL, "attention": "dot"}))
    assert called(trial, "translate", "a") == 2

    first, second = capsys.readouterr().err.splitlines()
    assert "model.keras has 10 ids of the source, but vocabularies.json has 11; the files belong to" in first
    assert "model.keras has attention=additive, but the settings dot; the files belong to different trials" in second


def test_a_batch_of_long_texts_and_wide_beams_stays_small():
    class Model:
        longest, settings = 20, Settings()

    sources = [translating.Source([], np.zeros(100, np.int32), [])] * 300
    wide, narrow = (Options("beam", None, {"beam_size": size}) for size in (100, 1))

    of_wide, of_narrow = (list(translating._batches(sources, options, Model())) for options in (wide, narrow))

    assert [row for rows in of_wide for row in rows] == list(range(300))
    assert max(map(len, of_wide)) * 100 * 100 * 160 <= translating.MOST_NUMBERS
    assert max(map(len, of_narrow)) == translating.MOST_ROWS


# The attention of a study


@pytest.mark.parametrize(
    "changes", [{"reverse_source": True, "tokens": "character"}, {"attention": "location"}], ids=str
)
def test_a_trial_keeps_the_attention_of_a_few_test_sentences_in_a_small_file(home, tmp_path, changes):
    from src.models.translator import Translator

    data_of = {"name": "dates", "limit": 30, "train_pairs": 60}
    settings = edited(Settings(), {**SMALL, "data": data_of, "mask_attention": False, **changes})
    data = TASK.load(settings)
    model = TASK.model(settings, data)

    assert attended.write(tmp_path, settings, data, model) == ["attention.json"]

    panels, texts = attended.read(tmp_path / "attention.json"), data.texts("test", "source")
    names = attended.chosen(texts)
    source = sentences.pairs(settings, data, "test").source
    translator = Translator(model)
    assert len(panels) == len(names) == 3 and (tmp_path / "attention.json").stat().st_size < 50_000
    for name, panel in zip(names, panels, strict=True):
        row = texts.index(name)
        begin, end = source.starts[row : row + 2]
        ids = np.array([source.values[begin:end]])  # noqa: PD011 - no frame
        expected = translator.greedy(ids, longest=translator.design.longest).weights[0, : len(panel.written)]
        words = np.arange(ids.shape[1] - 1)
        order = [*(words[::-1] if settings.reverse_source else words), ids.shape[1] - 1]
        np.testing.assert_allclose(panel.weights, expected[:, order], atol=0.0051)
        assert panel.source[-1] == "<end>" and len(panel.source) == ids.shape[1]


def test_the_file_is_small_for_the_longest_sentences_and_missing_without_attention(home, tmp_path):
    tokens = attended.LETTERS + 1
    weights = np.random.default_rng(0).dirichlet(np.ones(tokens), 200).astype(np.float32)
    panel = attended._plain(pictures.Attention(["文"] * tokens, ["文"] * 200, weights))

    assert len(json.dumps([panel] * attended.SENTENCES)) < 50_000 and len(panel["weights"]) == attended.STEPS
    assert attended.chosen(["a" * 41, "b", "ccc", "b", "dd", "e"]) == ["b", "ccc", "dd"]
    settings = edited(Settings(), {"data": {"name": "dates", "limit": 30, "train_pairs": 60}, "attention": "none"})
    assert attended.write(tmp_path, settings, TASK.load(settings), None) == []


def study_of(tmp_path, *trials):
    """Returns what the figure asks of a study: the finished trials (label, seed, has attention?) and their files."""
    rows = [
        {"run_id": str(number), "label": label, "seed": seed, "is_reference": label == "reference"}
        for number, (label, seed, _) in enumerate(trials)
    ]
    for number, (*_, has_attention) in enumerate(trials):
        if has_attention:
            one = {"source": ["a", "<end>"], "written": ["b"], "weights": [[number / 10, 1 - number / 10]]}
            (tmp_path / str(number)).write_text(json.dumps([one] * 3), encoding="utf-8")
    store = SimpleNamespace(artifact=lambda run, name: file if (file := tmp_path / run).is_file() else None)
    return SimpleNamespace(finished=pd.DataFrame(rows), store=store)


def test_the_report_shows_each_variant_of_one_seed_with_attention(tmp_path):
    study = study_of(
        tmp_path,
        *(("dot", 2, True), ("dot", 1, True), ("none", 0, False), ("reference", 1, True), ("general", 1, True)),
        ("none", 1, False),
    )

    figure, caption = figures.attention(study)

    *panels, _ = figure.axes
    variants = {"reference": 0.3, "dot": 0.1, "general": 0.4}
    shown = [(axes.get_title(), axes.images[0].get_array()[0, 0]) for axes in panels]
    assert shown == [variant for variant in variants.items() for _ in range(3)]
    assert "translates 3 test sentences greedily, for seed 1" in caption
    assert caption.endswith("1 more variant is not shown.")


def test_a_study_without_attention_has_no_such_figure(tmp_path):
    with pytest.raises(LookupError, match=r"no finished trial has attention\.json"):
        figures.attention(study_of(tmp_path, ("none", 1, False)))


def translated(tmp_path, *trials):
    """Returns what the figure asks of a study: finished trials (label, seed, words that are right) and their files."""
    rows = []
    for number, (label, seed, right) in enumerate(trials):
        texts = [" ".join("abcdefghijkl"[: 4 + word]) for word in range(8)]  # BLEU needs four words
        pairs = [{"source": text, "reference": text, "translation": text[: 2 * right]} for text in texts]
        values = {"signatures": {"bleu": "nrefs:1|case:lc"}, "pairs": pairs}
        (tmp_path / str(number)).write_text(json.dumps(values), encoding="utf-8")
        rows.append({"run_id": str(number), "label": label, "seed": seed, "is_reference": label == "reference"})
    store = SimpleNamespace(artifact=lambda run, name: file if (file := tmp_path / run).is_file() else None)
    return SimpleNamespace(finished=pd.DataFrame(rows), store=store)


def test_the_report_shows_scores_by_length_paired_by_seed(tmp_path):
    study = translated(tmp_path, *(("b", 0, 8), ("b", 1, 9), ("reference", 0, 12), ("reference", 1, 12), ("b", 2, 8)))

    figure, caption = figures.by_length(study)

    left, right = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in left.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["reference", "b"] and lines["reference"] == pytest.approx(100 * np.ones(5))
    assert lines["b"][-1] < lines["b"][1] == pytest.approx(100)
    (change,) = (line.get_ydata() for line in right.lines if line.get_label() == "b")
    of_pairs = [figures._by_seed(study)["b"][seed][-1].bleu - 100 for seed in (0, 1)]  # seed 2 has no pair
    assert change[-1] == pytest.approx(np.mean(of_pairs)) and "paired by seed" in caption
    assert "over 2 to 3 seeds" in caption


def test_a_study_without_translations_has_no_figure_by_length(tmp_path):
    with pytest.raises(LookupError, match=r"no finished trial has translations\.json"):
        figures.by_length(study_of(tmp_path, ("none", 1, False)))


def test_ways_to_search_are_compared_by_their_test_translations_paired_by_model(home, tmp_path, monkeypatch, capsys):
    data = {"name": "dates", "limit": 6, "train_pairs": 20, "phrases": 1}
    folders = [tmp_path / "first", tmp_path / "second"]
    ways = {name: way for name, way in beams.WAYS.items() if way[1] in ({}, {"beam_size": 2})}  # each needs a graph
    monkeypatch.setattr(beams, "WAYS", ways)
    for seed, folder in enumerate(folders):
        written(folder, data=data, seed=seed)
    monkeypatch.setattr(beams, "FILE", tmp_path / "beams.md")

    assert beams.main([*map(str, folders)]) == 0

    table = (tmp_path / "beams.md").read_text(encoding="utf-8")
    assert "6 test pairs" in table and "over 2 trained models" in table and "`units=4`" in table
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) == 2 * len(ways) - 1 == 3
    corpus = TASK.load(edited(Settings(), {"data": data}))
    sources = corpus.texts("test", "source")
    tokens, total = 0, 0.0
    model = trained.load(folders[0])
    translator = model.translator()
    for text in sources:  # one at a time
        options = Options("greedy", None, {})
        (found,) = translating.translate([translating.encoded(text, model, options)], options, model, translator)
        tokens, total = tokens + len(found.ids), total + found.log_probability
    first, *_ = beams.measured(model, sources, corpus.texts("test", "target")).values()
    assert first[3] == pytest.approx(total / tokens, rel=1e-4)


def test_trials_of_different_settings_or_of_one_seed_are_not_compared(home, tmp_path, capsys):
    folders = [tmp_path / name for name in ("first", "second", "third")]
    written(folders[0])
    written(folders[1])
    written(folders[2], seed=1, dropout=0.5)

    for other in folders[1:]:
        assert beams.main([str(folders[0]), str(other)]) == 2
        assert "equal settings and different seeds" in capsys.readouterr().err
    assert beams.main([]) == 2 and "usage" in capsys.readouterr().err
