from __future__ import annotations

import datetime
import re

import numpy as np
import pytest
from babel.dates import format_date

from src.data import dates
from src.data.dates import Part, generated, linked
from src.data.files import DataError
from src.data.pair_options import Dates
from src.data.pairs import Link, Span, key_of

SMALL = {"train_pairs": 300}


def small(**options):
    return dates.read(Dates.model_validate(SMALL | options))


@pytest.fixture(scope="module")
def corpus():
    return small()


def pieces(pair):
    return [(pair.target[slice(*link.target)], pair.source[slice(*link.source)]) for link in pair.links]


def test_a_date_is_what_babel_writes():
    date = datetime.date(2015, 3, 7)
    for locale in ("en_US", "en_GB", "de", "es", "fr"):
        for form in ("full", "long", "medium", "short"):
            parts = dates._writer(locale, form, is_named=True)(date, 0)

            assert "".join(part.text for part in parts) == format_date(date, form, locale)


def test_every_source_has_the_dates_of_its_target(corpus):
    months = month_names()
    for pair in corpus.splits["train"]:
        for year, number, day in re.findall(r"(\d{4})-(\d\d)-(\d\d)", pair.target):
            names = "|".join(name for name, n in months.items() if n == int(number))
            short = rf"\b{int(number)}/{int(day)}/{year[2:]}"
            written = rf"\b({names}) {int(day)}, {year}|\b{int(day)} ({names}) {year}"
            assert re.search(f"{written}|{short}", pair.source), pair


def month_names():
    return {
        format_date(datetime.date(2000, number, 1), width, locale): number
        for locale in ("en_US", "en_GB")
        for width in ("MMM", "MMMM")
        for number in range(1, 13)
    }


def test_the_target_of_a_period_begins_with_its_first_day():
    rng = np.random.default_rng(0)
    pairs = [generated(rng, source="en", target="iso", phrases=1) for _ in range(200)]
    backwards = [pair for pair in pairs if pair.source.startswith("until")]

    assert backwards
    for pair in backwards:
        first, last = pair.target.split("/")
        assert first < last
        year = next(link for link in pair.links if link.target.start < 4)
        assert pair.source[year.source.start :].count(" from ") == 0  # the first day stands at the end of the source


def test_a_link_joins_a_number_with_the_word_for_it(corpus):
    words = {("month", *each) for pair in corpus.splits["train"] for each in pieces(pair)}

    assert ("month", "03", "March") in words
    assert ("month", "EUR", "euros") in words
    assert ("month", "EUR", "€") in words


def test_links_are_right_for_every_part_of_a_target(corpus):
    names = {name: f"{number:02}" for name, number in month_names().items()}
    for pair in corpus.splits["train"]:
        reached = {place for link in pair.links for place in range(*link.target)}
        assert all(sign in "-/ " for place, sign in enumerate(pair.target) if place not in reached)
        for target, source in pieces(pair):
            if source in names:
                assert target == names[source]
            elif source.isdigit() and target not in ("0", "19", "20"):  # the beginnings of 03, 1998 and 2015
                assert target == source


def test_equal_ends_are_linked_character_by_character():
    pair = linked(
        [Part("3", (0, "d")), Part("."), Part("15", (0, "y"))], [Part("2015", (0, "y")), Part("-03", (0, "d"))]
    )

    assert pair.links == (
        Link(Span(0, 2), Span(2, 4)),
        Link(Span(2, 3), Span(2, 3)),
        Link(Span(3, 4), Span(3, 4)),
        Link(Span(4, 6), Span(0, 1)),
        Link(Span(6, 7), Span(0, 1)),
    )


def test_the_same_pairs_are_generated_every_time_and_fewer_are_the_first_of_more(corpus):
    fewer = small(train_pairs=100)

    assert small() == corpus
    assert fewer.splits["train"] == corpus.splits["train"][:100]
    assert fewer.splits["test"] == corpus.splits["test"]
    assert small(phrases=2).splits["train"] != corpus.splits["train"]


def test_no_source_is_in_two_splits(corpus):
    keys = [key_of(pair.source) for part in corpus.splits.values() for pair in part]

    assert len(keys) == 300 + 500 + 1_000
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(("source", "target"), [("en", "de"), ("de", "fr"), ("fr", "es"), ("es", "iso")])
def test_targets_in_a_language_follow_its_rules(source, target):
    pairs = small(source=source, target=target, train_pairs=50).splits["train"]
    form = {"de": r"\d+\. \w+ \d{4}", "fr": r"\d+ \w+ \d{4}", "es": r"\d+ de \w+ de \d{4}", "iso": r"\d{4}-\d\d-\d\d"}

    assert sum(re.search(form[target], pair.target) is not None for pair in pairs) > len(pairs) / 2


def test_one_language_is_refused():
    with pytest.raises(DataError, match=r"data\.source and data\.target are both en; set them to two languages"):
        dates.files(Dates.model_validate({"target": "en"}))


def test_the_files_of_the_languages_decide_what_is_cached():
    assert {path.name for path in dates.files(Dates.model_validate({}))} == {
        *["root.dat", "en.dat", "en_001.dat", "en_US.dat", "en_GB.dat"]
    }
