"""Code of the user: only a command line allows its import, and its source counts in the identity."""

from __future__ import annotations

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from src import own_code, registry, run
from src.artifacts import Artifacts
from src.config.settings import checked, edited
from src.spec.section import SettingsError
from src.study import job
from src.tasks.images.settings import Settings as Images
from src.tasks.integration.settings import Settings as Integration
from src.tasks.language_model.settings import Settings as LanguageModel
from src.tasks.sentiment.settings import Settings
from src.trial.identity import identity

NUMBER = "NUMBER = 7"


def of(settings: Settings) -> str:
    return identity(settings, registry.task(settings.task), data_digest="d")


def test_each_task_says_which_toggles_take_code():
    assert set(Settings.places()) == set(Integration.places()) == {"model", "cell"}
    assert Images.places() == ("model",) and LanguageModel.places() == ()


@pytest.mark.parametrize(
    "word",
    [
        "model=mine:NUMBER",
        "model=null,mine:NUMBER",
        "cell='mine:NUMBER'",
        'model="mine:NUMBER"',
        "x=[lstm, mine:NUMBER]",
    ],
)
def test_the_command_line_allows_the_code_that_it_names(own_module, word):
    own_module("mine", NUMBER)

    own_code.named(["seed=0", word])

    assert own_code.imported("model", "mine:NUMBER") == 7


def test_code_that_the_command_line_does_not_name_is_not_imported(own_module):
    path = own_module("mine", NUMBER)
    own_code.named(["model=mine:OTHER", "task=mine:NUMBER"])

    with pytest.raises(SettingsError, match="model: mine:NUMBER is imported only if the command line names it"):
        own_code.imported("model", "mine:NUMBER")
    assert not (path.parent / "imported").exists()


@pytest.mark.parametrize(
    "text",
    [
        "model: mine:NUMBER",
        "cell: 'mine:NUMBER'",
        "plan: {levels: {model: [null, 'mine:NUMBER']}}",
        "plan: {levels: {cell: [lstm, 'mine:NUMBER']}, reference: {cell: 'mine:NUMBER'}}",
        "plan: {design: listed, variants: [{model: 'mine:NUMBER'}]}",
        "plan: {levels: {cell: [lstm, gru]}, exclude: [{cell: 'mine:NUMBER'}]}",
    ],
)
@pytest.mark.parametrize("words", [["plan_only=true"], ["--cfg", "job"]])
def test_a_study_file_does_not_import_code(own_module, home, tmp_path, monkeypatch, capsys, text, words):
    path = own_module("mine", NUMBER)
    (tmp_path / "theirs.yaml").write_text(f"study: theirs\n{text}\n", encoding="utf-8")
    monkeypatch.setattr(run, "EXPERIMENTS", tmp_path)

    code = run.main(["+experiments=theirs", *words])

    err = capsys.readouterr().err
    assert code == 2 and "this study file names code, which only the command line can allow; read mine" in err
    assert len(err.splitlines()) == 1 and not (path.parent / "imported").exists()


def test_a_study_file_may_name_code_that_the_command_line_names_too(own_module, home, tmp_path, monkeypatch, capsys):
    own_module("mine", NUMBER)
    text = "study: theirs\nplan: {levels: {cell: [lstm, 'mine:NUMBER']}}\n"
    (tmp_path / "theirs.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(run, "EXPERIMENTS", tmp_path)

    code = run.main(["-m", "+experiments=theirs", "cell=lstm,mine:NUMBER", "data.limit=20", "plan_only=true"])

    why = "nothing is left to compare with the reference: cell=mine:NUMBER is an object of type int; write a class"
    assert code == 2 and why in capsys.readouterr().err


def test_a_worker_imports_the_code_that_its_command_line_names(own_module, monkeypatch):
    own_module("mine", NUMBER)
    trained = []
    monkeypatch.setattr(job.trial, "run", lambda settings, **more: trained.append(settings) or "FINISHED")
    for name, value in job.Sweep(1, name="a", parent=0).as_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    words = {"overrides": {"task": ["cell='mine:NUMBER'", "units=7"]}}
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create(words))

    assert job.run(OmegaConf.create(checked({"cell": "mine:NUMBER"}).model_dump())) == "FINISHED"
    assert trained[0].cell == "mine:NUMBER" and own_code.imported("cell", "mine:NUMBER") == 7


def test_the_source_counts_in_the_identity_of_trials_with_this_code_only(own_module):
    path = own_module("mine", NUMBER)
    settings = edited(Settings(), {"cell": "mine:NUMBER"})
    before, without = of(settings), of(Settings())
    assert of(settings) == before
    path.write_text(path.read_text(encoding="utf-8") + "# changed", encoding="utf-8")
    registry.code.cache_clear()

    assert of(settings) != before and of(Settings()) == without == "5bff8939cfea8e0e"
    assert not (path.parent / "imported").exists()  # the hash needs no import


def test_all_sources_of_a_package_count(own_module):
    path = own_module("mine.models", NUMBER)
    (path.parent / "__init__.py").touch()
    own_module("mine.layers", NUMBER)
    settings = edited(Settings(), {"model": "mine.models:NUMBER"})
    before = of(settings)
    own_module("mine.layers", "NUMBER = 8")

    assert of(settings) != before
    assert "(3 files of its package, code" in own_code.described(settings)


@pytest.mark.parametrize(
    ("place", "source", "message"),
    [
        ("nowhere:build", "", "model=nowhere:build: there is no module nowhere with a source file; run the command in"),
        ("sys:exit", "", "model=sys:exit: there is no module sys with a source file"),
        ("mine.deep:build", NUMBER, "importing mine.deep raised ModuleNotFoundError: No module named 'mine.deep'"),
        ("mine:NUMBR", NUMBER, "model=mine:NUMBR: mine has no NUMBR; did you mean mine:NUMBER?"),
        ("mine:build", "x = 1", "mine has no build; define it there, or correct the name"),
        ("mine:build", "\nraise ValueError('no licence')", "raised ValueError: no licence \\(mine.py, line 2\\)"),
        ("mine:build", "raise SystemExit(3)", "importing mine raised SystemExit: 3 \\(mine.py, line 1\\)"),
        ("mine:build", "import nothing_there", "ModuleNotFoundError: No module named 'nothing_there' \\(mine.py, line"),
        ("mine:build", "def build(:", "SyntaxError: invalid syntax \\(mine.py, line 1\\)"),
    ],
)
def test_code_that_cannot_be_imported_is_an_error_of_one_line(own_module, place, source, message):
    own_module("mine", source)
    own_code.allow(place)

    with pytest.raises(SettingsError, match=message) as error:
        own_code.imported("model", place)
    assert len(str(error.value).splitlines()) == 1


def test_copies_of_the_source_tell_whether_it_has_changed(own_module, tmp_path):
    path = own_module("mine", NUMBER)
    settings = edited(Settings(), {"model": "mine:NUMBER", "cell": "mine:NUMBER"})

    assert Artifacts(tmp_path).write_code(own_code.sources(settings)) == ["own_code"]
    assert (tmp_path / "own_code/mine/mine.py").read_bytes() == path.read_bytes()
    assert own_code.of_trial(tmp_path) == ["mine"] and not own_code.has_changed("mine:NUMBER", tmp_path)

    own_module("mine", "NUMBER = 8")
    assert own_code.has_changed("mine:NUMBER", tmp_path)
    assert Artifacts(tmp_path).write_code({}) == [] and own_code.of_trial(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "gru"}, "model: got 'gru'; allowed: module:NAME or null. Did you mean cell=gru?"),
        ({"model": "mine"}, "allowed: module:NAME or null. NAME of my_module.py is model=my_module:NAME"),
        (
            {"cell": "lsmt"},
            "cell: got 'lsmt'; allowed: one of simple_rnn, gru, lstm or module:NAME. Did you mean lstm?",
        ),
        ({"cell": "mine.py:x y"}, "cell: got 'mine.py:x y'; allowed: one of simple_rnn, gru, lstm or module:NAME"),
    ],
)
def test_an_error_about_a_value_says_what_was_meant(changes, message):
    with pytest.raises(SettingsError) as error:
        edited(Settings(), changes)

    assert message in str(error.value) and len(str(error.value).splitlines()) == 1
