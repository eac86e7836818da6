"""Generated sentences about dates, periods and amounts, and what they are in ISO's notation or another language.

    from Tuesday, March 3, 2015 to 4 May 2016; 12 euros    →    2015-03-03/2016-05-04 EUR 12

The dates are formatted by Babel, with the patterns of the Unicode Common Locale Data Repository (CLDR). Every part of a
target knows the part of the source that it comes from, so that attention can be compared with the truth. A target does
not follow the order of its source: an ISO date begins with the year, and a period with its first day.

A sentence is made of parts. Parts of source and target with the same key belong together.
"""

from __future__ import annotations

import datetime
import functools
import importlib.util
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from src.data.files import DataError, existing
from src.data.pair_options import Dates
from src.data.pairs import Corpus, Link, Pair, Span, key_of, refuse_equal_languages
from src.data.splits import TEST, TRAIN, VALIDATION

if TYPE_CHECKING:
    from babel import Locale

GENERATION = 1  # part of the cache key: increment it when other sentences are generated
SIZES = {TEST: 1_000, VALIDATION: 500}  # they do not depend on the options
FIRST, DAYS = datetime.date(1950, 1, 1), 36_525  # until 2049, so that two digits name a year
CURRENCIES = ("EUR", "USD", "GBP", "JPY", "CHF")
LOCALES = {"en": ("en_US", "en_GB"), "de": ("de",), "es": ("es",), "fr": ("fr",)}  # the first writes the targets
ISO = "iso"

DATE, PERIOD, AMOUNT = "date", "period", "amount"
KINDS = {DATE: 0.5, PERIOD: 0.3, AMOUNT: 0.2}  # probability of each kind of phrase
TEMPLATES: dict[
    str, dict[str, tuple[str, ...]]
] = {  # the first of each kind writes the targets; {b} is the last day of a period
    "en": {
        DATE: ("{a}", "on {a}"),
        PERIOD: ("from {a} to {b}", "until {b} from {a}", "between {a} and {b}"),
        "and": ("; ", ", then "),
    },
    "de": {
        DATE: ("{a}", "am {a}"),
        PERIOD: ("vom {a} bis zum {b}", "bis zum {b} ab dem {a}", "zwischen dem {a} und dem {b}"),
        "and": ("; ", ", dann "),
    },
    "es": {
        DATE: ("{a}", "el {a}"),
        PERIOD: ("del {a} al {b}", "hasta el {b} desde el {a}", "entre el {a} y el {b}"),
        "and": ("; ", ", luego "),
    },
    "fr": {
        DATE: ("{a}", "le {a}"),
        PERIOD: ("du {a} au {b}", "jusqu'au {b} à partir du {a}", "entre le {a} et le {b}"),
        "and": ("; ", ", puis "),
    },
    ISO: {DATE: ("{a}",), PERIOD: ("{a}/{b}",), "and": (" ",)},
}


class Part(NamedTuple):
    """A part of a sentence. The key names the value that it stands for; None if it stands for none."""

    text: str
    key: tuple[int, str] | None = None


class Amount(NamedTuple):
    """A whole number of units of a currency."""

    number: int
    currency: str


class Phrase(NamedTuple):
    """One date, the first and the last day of a period, or one amount."""

    kind: str
    values: tuple[datetime.date | Amount, ...]


Form = Literal["full", "long", "medium", "short"]  # names of CLDR's patterns
Writer = Callable[[datetime.date | Amount, int], list[Part]]  # a value and its number in the sentence → its parts


def files(options: Dates) -> list[Path]:
    """Returns Babel's files of the languages.

    Raises:
      DataError: both languages are the same, or Babel is not installed.
    """
    refuse_equal_languages(options.source, options.target, name="dates")
    package = importlib.util.find_spec("babel")
    if package is None or package.origin is None:
        raise DataError("data=dates: the package Babel is not installed; run `make setup`")
    names = [name for language in (options.source, options.target) for name in LOCALES.get(language, ())]
    parents = ["root", *(name.split("_")[0] for name in names), *(["en_001"] if "en_GB" in names else [])]
    folder = Path(package.origin).parent / "locale-data"
    return [existing(folder / f"{name}.dat") for name in dict.fromkeys([*parents, *names])]


def read(options: Dates) -> Corpus:
    """Returns generated pairs. No source is in two splits; fewer training pairs are the first ones of more."""
    seen: set[str] = set()
    sizes = {**SIZES, TRAIN: options.train_pairs}
    splits = {
        name: list(itertools.islice(_unseen(options, stream, seen), size))
        for stream, (name, size) in enumerate(sizes.items())
    }
    return Corpus(splits, {}, is_aligned=True)


def _unseen(options: Dates, stream: int, seen: set[str]) -> Iterator[Pair]:
    """Yields pairs without end whose sources were not seen before, and adds their sources."""
    rng = np.random.default_rng([GENERATION, stream])
    while True:
        pair = generated(rng, source=options.source, target=options.target, phrases=options.phrases)
        if (key := key_of(pair.source)) not in seen:
            seen.add(key)
            yield pair


def generated(rng: np.random.Generator, *, source: str, target: str, phrases: int) -> Pair:
    """Returns a random sentence of 1 to `phrases` phrases, with its target."""
    several = [_phrase(rng) for _ in range(rng.integers(1, phrases + 1))]
    first = TEMPLATES[target]
    left = _sentence(several, lambda kind: str(rng.choice(TEMPLATES[source][kind])), _random_writer(rng, source))
    write = _iso if target == ISO else _writer(LOCALES[target][0], "long", is_named=True)
    return linked(left, _sentence(several, lambda kind: first[kind][0], write))


def _phrase(rng: np.random.Generator) -> Phrase:
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind == AMOUNT:
        return Phrase(kind, (Amount(int(rng.integers(2, 100)), str(rng.choice(CURRENCIES))),))
    days = [int(rng.integers(DAYS - 1_000))]
    if kind == PERIOD:
        days.append(days[0] + int(rng.integers(1, 1_000)))
    return Phrase(kind, tuple(FIRST + datetime.timedelta(day) for day in days))


def _sentence(phrases: Sequence[Phrase], template: Callable[[str], str], write: Writer) -> list[Part]:
    """Returns the parts of a sentence: its phrases with a conjunction between two of them."""
    parts: list[Part] = []
    number = 0
    for phrase in phrases:
        if parts:
            parts.append(Part(template("and")))
        values = {"a": write(phrase.values[0], number), "b": write(phrase.values[-1], number + len(phrase.values) - 1)}
        number += len(phrase.values)
        form = "{a}" if phrase.kind == AMOUNT else template(phrase.kind)
        for text, slot in _slots(form):
            parts += [*([Part(text)] if text else []), *(values[slot] if slot else [])]
    return parts


@functools.cache
def _slots(template: str) -> list[tuple[str, str]]:
    """Returns the literal texts of a template, each with the name of the slot after it, which may be empty."""
    pieces = template.replace("{", "}").split("}")
    return list(itertools.zip_longest(pieces[::2], pieces[1::2], fillvalue=""))


def _random_writer(rng: np.random.Generator, language: str) -> Writer:
    """Returns a writer that draws a pattern of a language for each value."""
    patterns = [(locale, form) for locale in LOCALES[language] for form in get_args(Form)]
    patterns = [pattern for pattern in patterns if pattern != ("en_GB", "short")]  # day and month would be ambiguous

    def write(value: datetime.date | Amount, number: int) -> list[Part]:
        locale, form = patterns[rng.integers(len(patterns))]
        return _writer(locale, form, is_named=bool(rng.integers(2)))(value, number)

    return write


def _writer(locale: str, form: Form, *, is_named: bool) -> Writer:
    """Returns a writer with a pattern of CLDR (full, long, medium, short); `is_named` writes currencies by name."""

    def write(value: datetime.date | Amount, number: int) -> list[Part]:
        if isinstance(value, Amount):
            return _amount(value, number, locale, is_named=is_named)
        return [
            Part(_field(value, text, locale), (number, text[0])) if is_field else Part(text)
            for is_field, text in _pattern(locale, form)
        ]

    return write


def _amount(value: Amount, number: int, locale: str, *, is_named: bool) -> list[Part]:
    from babel.numbers import get_currency_name

    about = _about(locale)
    digits = Part(str(value.number), (number, "n"))
    if is_named:
        name = get_currency_name(value.currency, value.number, about)
        return [digits, Part(" "), Part(name, (number, "c"))]
    symbol = about.currency_symbols.get(value.currency, value.currency)
    space = [Part(" ")] if symbol[-1].isalpha() else []
    if about.currency_formats["standard"].pattern.startswith("¤"):
        return [Part(symbol, (number, "c")), *space, digits]
    return [digits, Part(" "), Part(symbol, (number, "c"))]


def _iso(value: datetime.date | Amount, number: int) -> list[Part]:
    if isinstance(value, Amount):
        return [Part(value.currency, (number, "c")), Part(" "), Part(str(value.number), (number, "n"))]
    year, month, day = value.isoformat().split("-")
    return [Part(year, (number, "y")), Part("-"), Part(month, (number, "M")), Part("-"), Part(day, (number, "d"))]


@functools.cache
def _pattern(locale: str, form: Form) -> list[tuple[bool, str]]:
    """Returns the pieces of a date pattern: (True, a field such as `MMMM`) or (False, a text between fields)."""
    from babel.dates import get_date_format, tokenize_pattern

    pieces = tokenize_pattern(get_date_format(form, locale).pattern)
    return [(kind == "field", value if isinstance(value, str) else value[0] * value[1]) for kind, value in pieces]


@functools.lru_cache(maxsize=100_000)
def _field(date: datetime.date, field: str, locale: str) -> str:
    """Returns one field of a date, such as its month in letters for `MMMM`."""
    from babel.dates import format_date

    return str(format_date(date, field, _about(locale)))


@functools.cache
def _about(locale: str) -> Locale:
    from babel import Locale

    return Locale.parse(locale)


def linked(source: Sequence[Part], target: Sequence[Part]) -> Pair:
    """Returns the sentences of these parts, with a link from each part of the target to those with its key.

    Where a part of the target ends with the whole text of its source (3 in 03, 15 in 2015), equal characters are linked
    one by one, and those before them to the whole.
    """
    places: dict[tuple[int, str], list[tuple[Span, str]]] = {}
    for part, span in _spans(source):
        if part.key is not None:
            places.setdefault(part.key, []).append((span, part.text))
    links = [
        link
        for part, span in _spans(target)
        if part.key is not None
        for origin, text in places.get(part.key, [])
        for link in _links(span, part.text, origin, text)
    ]
    return Pair("".join(part.text for part in source), "".join(part.text for part in target), tuple(links))


def _spans(parts: Sequence[Part]) -> Iterator[tuple[Part, Span]]:
    end = 0
    for part in parts:
        yield part, Span(end, end + len(part.text))
        end += len(part.text)


def _links(target: Span, text: str, source: Span, origin: str) -> Iterator[Link]:
    if not text.endswith(origin):
        yield Link(target, source)
        return
    equal = target.end - len(origin)
    if target.start < equal:
        yield Link(Span(target.start, equal), source)
    for place in range(len(origin)):
        yield Link(Span(equal + place, equal + place + 1), Span(source.start + place, source.start + place + 1))
