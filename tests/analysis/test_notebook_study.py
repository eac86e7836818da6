"""The functions for Python and notebooks, and the page that lists them."""

from __future__ import annotations

import inspect
import math
import re

import pytest

import analysis
from analysis import notebook
from analysis.store import StoreError
from src.paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "notebooks.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def names(text: str) -> list[str]:
    """Returns the names in the first column of the tables of a text."""
    firsts = re.findall(r"^\| ([^|]+) \|", text, flags=re.MULTILINE)
    return [name for first in firsts for name in re.findall(r"`([^`]+)`", first)]


@pytest.mark.parametrize("name", analysis.__all__)
def test_the_page_has_every_argument_of_every_function_with_its_default(name):
    parameters = inspect.signature(getattr(analysis, name)).parameters
    rows = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", section(f"`analysis.{name}`"), flags=re.MULTILINE))

    defaults = {key: "" if one.default is one.empty else str(one.default) for key, one in parameters.items()}
    assert {key: value.strip(" `") for key, value in rows.items()} == defaults


def test_the_page_has_every_member_of_a_study_and_the_arguments_of_its_methods(place):
    study = analysis.study("s")
    members = {name for name in dir(study) if not name.startswith("_")}
    written = section("A study")

    assert {name for text in names(written) for name in re.findall(r"^study\.(\w+)", text)} == members
    assert (
        f"`study.figure({inspect.signature(study.figure).parameters['name'].default!r})`".replace("'", '"') in written
    )
    assert [key for key in inspect.signature(study.report).parameters if f"`{key}`" not in written] == []


def test_the_columns_on_the_page_are_those_of_the_effects(place):
    columns = names(section("A study").split("### Columns of effects")[1])

    assert len(columns) > 15 and set(columns) <= set(analysis.study("s").effects().columns)


def test_a_study_shows_itself_as_its_table(place):
    study = analysis.study("s")

    assert study._repr_html_() == study.table().html() and "gru" in study._repr_html_()
    assert repr(study) == "<study s: 12 finished>" and repr(study.table()) == study.table().markdown()


def test_a_further_metric_may_be_one_name_or_several(place):
    one, several = (analysis.study("s", also=also).table().headings for also in ("val/accuracy", ["val/accuracy"]))

    assert (
        one == several
        and "validation accuracy" in one
        and "validation accuracy" not in analysis.study("s").table().headings
    )


@pytest.mark.parametrize("margin", [-0.1, math.nan, math.inf])
def test_a_margin_that_no_difference_can_have_is_refused(place, margin):
    with pytest.raises(StoreError, match=r"^margin: got .*; give a number above 0, in the metric's unit$"):
        analysis.study("s", margin=margin)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "t"}, r"no study 't' in sqlite:.*; there are s$"),
        ({"name": "s", "metric": "test/acuracy"}, "no trial of s has the metric 'test/acuracy'; did you mean"),
        ({"name": "s", "also": "time/epoch"}, "no trial of s has the metric 'time/epoch'; did you mean"),
        ({"name": "s", "uri": "sqlite:////nowhere/mlflow.db"}, "no MLflow database at /nowhere/mlflow.db"),
    ],
)
def test_an_error_says_what_was_got_and_what_there_is(place, arguments, message):
    with pytest.raises(StoreError, match=message):
        notebook.study(**arguments)


def test_a_study_draws_the_figures_of_its_task_too(place):
    study = analysis.study("s")

    assert study.figure("confusion").axes and study.figure().axes  # as a notebook calls them, by name and by default
    assert study.figure("confusion")._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(StoreError, match=r"no figure 'confusio'; did you mean 'confusion'.* forest"):
        study.figure("confusio")
    with pytest.raises(StoreError, match="s has no data for the figure 'waterfall'"):
        study.figure("waterfall")
