"""Makes a study of runs that somebody else recorded: finds its design, and says what is missing, twice or unpaired.

    source.frame ─► settings, seeds, values (checked) ─► design ─► plan and runs ─► `adopted.write`

Nothing is guessed silently: what was understood is printed, and stays with the study as notes.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis import adopted
from analysis.rows import FINISHED, TRAINING
from analysis.sources import NAME, STARTED, STATUS, Source, distinct, is_missing, places, value
from analysis.store import StoreError, nearest
from src import paths
from src.config.settings import label
from src.spec.metric import TEST, TRAIN, VAL, Metric, as_records
from src.spec.record import DIVERGED
from src.spec.section import STUDY_NAME, as_typed
from src.terminal.visible import counted
from src.tracking import attempts
from src.tracking.attempts import Run

ORDER = "order"  # value of `seed`: the runs of a variant are numbered in their order
SPLITS = {TEST: ("test",), VAL: ("val", "valid", "validation", "eval", "dev"), TRAIN: ("train", "training")}
STATES = {
    "FINISHED": ("finished", "completed", "complete", "success", "succeeded", "done", "ok"),
    "FAILED": ("failed", "crashed", "error", "failure"),
    "KILLED": ("killed", "preempted", "cancelled", "canceled", "stopped"),
    "RUNNING": ("running", "scheduled", "pending", "queued"),
}
STARTS = (STARTED, "Created", "CreatedAt", "created_at", "_timestamp")  # columns with the beginning of a run
LARGEST_SEED = 2**32


class AskedMetric(NamedTuple):
    """A metric as the command line names it: the source's column, and which direction is better."""

    column: str
    direction: str


@dataclass(frozen=True)
class Options:
    """What the user said about a source.

    Attributes:
      toggles: columns of the settings that the study varies.
      seed: column of the seeds, or `ORDER`.
      metrics: the metrics, the first of which compares the variants.
      name: name of the study.
      reference: toggle → value of the reference; a toggle that is left out has the value that was found.
      status: column of the runs' states; None for `status` or `State`, if there is one.
      time: column with the seconds of a run, or None.
      decimal: the decimal separator of numbers in texts.
      duplicates: `latest` if the latest of several runs of one variant and seed counts; None refuses them.
    """

    toggles: tuple[str, ...]
    seed: str
    metrics: tuple[AskedMetric, ...]
    name: str
    reference: Mapping[str, Any]
    status: str | None = None
    time: str | None = None
    decimal: str = "."
    duplicates: str | None = None


class Design(NamedTuple):
    """A design that was found: its name in a plan, how to call it, levels with the reference's value first."""

    name: str
    about: str
    reference: dict[str, Any]
    levels: dict[str, list[Any]]


def adopt(source: Source, options: Options, *, command: str) -> tuple[Path, list[str]]:
    """Writes a study of the runs; returns its folder, and what was understood, line by line.

    Raises:
      StoreError: the options do not fit the source, or the runs are no study.
    """
    _check(source, options)
    frame, notes = source.frame, list(source.notes)
    metrics = [_metric(asked) for asked in options.metrics]
    table = pd.DataFrame(index=frame.index)
    table["values"] = pd.Series(list(_values(source, options.toggles, notes)), frame.index, object)
    table["key"] = [tuple(map(as_typed, each.values())) for each in table["values"]]
    for (full, _), asked in zip(metrics, options.metrics, strict=True):
        table[full] = _numbers(source, asked.column, options.decimal)
    if options.time:
        table[TRAINING] = _numbers(source, options.time, options.decimal)
    table["is_diverged"] = ~np.isfinite(table[metrics[0][0]])
    table["status"] = _states(source, options, table["is_diverged"], notes)
    table["started"] = _started(frame)
    table["seed"] = _seeds(source, options, table, notes)
    table = _once(source, table, options, notes)
    done = table[table["status"] == FINISHED]
    if done["key"].nunique() < 2:
        raise StoreError(f"the finished runs have {counted(done['key'].nunique(), 'variant')}; a study needs two")
    design = _design(options, list(dict(zip(done["key"], done["values"], strict=True)).values()))
    notes += [*_missing(done, design), *_others(source, options, done)]
    runs = [_run(row, options.name) for row in table.rename_axis("place").reset_index().to_dict("records")]
    rows = list(_rows(table, design, options.name))
    meanings = {meaning.name: meaning for _, meaning in metrics}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    plan = {
        "design": design.name, "levels": design.levels, "reference": design.reference,
        "seeds": sorted({row["seed"] for row in rows}), "metric": metrics[0][0],
        "also": [full for full, _ in metrics[1:]], "metrics": as_records(list(meanings.values())), "threshold": None,
        "rows": rows, "aliases": [], "commands": [{"command": command, "time": now}],
    }  # fmt: skip
    folder = adopted.write(options.name, plan, runs, [f"adopted from {source.about}", *notes])
    return folder, [source.about, *_understood(design, done, metrics, options), *notes]


def asked_metric(text: str) -> AskedMetric:
    """Returns a metric from `COLUMN:higher` or `COLUMN:lower`.

    Raises:
      StoreError: the direction is missing.
    """
    column, _, direction = text.rpartition(":")
    if direction not in ("higher", "lower") or not column:
        raise StoreError(
            f"--metric {text!r}: write {text.rstrip(':')}:higher or {text.rstrip(':')}:lower: which is better"
        )
    return AskedMetric(column.strip(), direction)


def reference_of(text: str | None) -> dict[str, Any]:
    """Returns the settings in `lr=0.1,model=cnn`.

    Raises:
      StoreError: a part has no value.
    """
    parts = [part.strip() for part in text.split(",")] if text else []
    if wrong := [part for part in parts if "=" not in part]:
        raise StoreError(f"--reference: {wrong[0]!r} has no value; write {wrong[0]}=VALUE")
    return {key: value(each) for key, _, each in (part.partition("=") for part in parts)}


def _check(source: Source, options: Options) -> None:
    if not re.match(STUDY_NAME, options.name):
        raise StoreError(f"--name {options.name!r} is not allowed; use a-z, 0-9, _ and -")
    if options.duplicates not in (None, "latest"):
        raise StoreError(f"--duplicates {options.duplicates!r}: allowed: latest")
    if options.decimal not in (".", ","):
        raise StoreError(f"--decimal {options.decimal!r}: allowed: . and ,")
    if paths.study_folder(options.name).exists():
        raise StoreError(f"--name {options.name}: a study of this name was trained here; choose another name")
    named = [("--toggles", name) for name in options.toggles] + [("--metric", one.column) for one in options.metrics]
    named += [("--seed", options.seed)] if options.seed != ORDER else []
    named += [(flag, name) for flag, name in (("--status", options.status), ("--time", options.time)) if name]
    columns = [*map(str, source.frame.columns)]
    for flag, name in named:
        if name not in columns:
            raise StoreError(f"{flag}: the source has no column {name!r}; {nearest(name, columns)}")
    names = [name for _, name in named if _ != "--status"]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StoreError(f"{twice[0]!r} is named twice, as toggle, seed, metric or time; name it once")
    if unknown := [name for name in options.reference if name not in options.toggles]:
        raise StoreError(f"--reference: {unknown[0]!r} is no toggle; {nearest(unknown[0], options.toggles)}")


def _metric(asked: AskedMetric) -> tuple[str, Metric]:
    """Returns the recorded name of a metric and its meaning; a column without a split is one of the test."""
    for prefix, words in SPLITS.items():
        found = re.fullmatch(rf"(?:{'|'.join(words)})[/_. -]+(.+)", asked.column, re.IGNORECASE)
        if found:
            return _named_metric(prefix, found[1], asked)
    return _named_metric(TEST, asked.column, asked)


def _named_metric(prefix: str, name: str, asked: AskedMetric) -> tuple[str, Metric]:
    plain = re.sub(r"\W+", "_", name).strip("_") or "metric"
    direction: Any = asked.direction
    return f"{prefix}{plain}", Metric(plain, direction, title=name.replace("_", " "))


def _values(source: Source, toggles: Sequence[str], notes: list[str]) -> Iterator[dict[str, Any]]:
    """Yields the settings of each run. A column with numbers and texts has texts only."""
    columns = {}
    for name in toggles:
        entries = source.frame[name]
        typed = [value(entry) for entry in entries]
        missing = pd.Series([is_missing(entry) for entry in entries], entries.index)
        if missing.any():
            notes.append(f"{name} has no value in {places(source, missing)}: read as null, a value of its own")
        texts = [each for each in typed if isinstance(each, str)]
        numbers = [each for each in typed if isinstance(each, int | float) and not isinstance(each, bool)]
        if texts and numbers:
            typed = [each if each is None else str(entry).strip() for each, entry in zip(typed, entries, strict=True)]
            notes.append(f"{name} has numbers and texts ({texts[0]!r}): all of its values are read as texts")
        columns[name] = typed
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def _numbers(source: Source, column: str, decimal: str) -> pd.Series:
    """Returns the numbers of a column, NaN where a cell is empty.

    Raises:
      StoreError: a entry is no number.
    """
    entries = source.frame[column]
    missing = pd.Series([is_missing(entry) for entry in entries], entries.index)
    texts = entries.where(~missing, "nan").astype(str).str.strip()
    if decimal != ".":
        texts = texts.str.replace(".", "", regex=False).str.replace(decimal, ".", regex=False)
    numbers = pd.to_numeric(texts, errors="coerce").astype(float)
    wrong = numbers.isna() & ~missing & ~texts.str.lower().isin(["nan", "+nan", "-nan"])
    if wrong.any():
        first = str(entries[wrong].iloc[0])
        is_comma = decimal == "." and re.fullmatch(r"-?\d+,\d+", first)
        fix = "--decimal , reads commas as decimal points" if is_comma else "correct the entry, or empty it"
        what = f"{column} is no number in {places(source, wrong)}: {first[:40]!r} ({wrong.sum():,} of {len(entries):,})"
        raise StoreError(f"{what}; {fix}")
    return numbers


def _states(source: Source, options: Options, is_diverged: pd.Series, notes: list[str]) -> pd.Series:
    """Returns the status of each run: that of its column, and FAILED without a finite value of the first metric."""
    name = options.status or next((one for one in (STATUS, "Status", "State", "state") if one in source.frame), None)
    states = pd.Series(FINISHED, source.frame.index)
    if name is not None:
        known = {word: state for state, words in STATES.items() for word in words}
        texts = source.frame[name].astype(str).str.strip().str.lower()
        unknown = ~texts.isin(known.keys())
        if unknown.any():
            what = f"{name} is {texts[unknown].iloc[0]!r} in {places(source, unknown)}"
            raise StoreError(
                f"{what}; known states: {', '.join(known)}; drop the column, or name another with --status"
            )
        states = texts.map(known)
        counts = states[states != FINISHED].value_counts()
        notes += [f"{counted(count, 'run')} {str(state).lower()} ({name})" for state, count in counts.items()]
    is_open = (states == FINISHED) & is_diverged
    if is_open.any():
        notes.append(f"no finite {options.metrics[0].column} in {places(source, is_open)}: counted as failed")
    return states.mask(is_open, "FAILED")


def _started(frame: pd.DataFrame) -> pd.Series:
    """Returns when each run began, in milliseconds since 1970; its place in the source where that is not known."""
    order = pd.Series(np.arange(len(frame)), frame.index)
    name = next((one for one in STARTS if one in frame), None)
    if name is None:
        return order
    numbers = pd.to_numeric(frame[name], errors="coerce")
    if numbers.notna().all():
        return (numbers * (1 if numbers.max() > 1e11 else 1e3)).astype("int64")  # seconds, or milliseconds
    times = pd.to_datetime(frame[name], errors="coerce", utc=True, format="mixed")
    return order if times.isna().any() else (times - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(milliseconds=1)


def _seeds(source: Source, options: Options, table: pd.DataFrame, notes: list[str]) -> pd.Series:
    """Returns the seed of each run: integers as they are, other values numbered in order.

    Raises:
      StoreError: a run has no seed.
    """
    if options.seed == ORDER:
        notes.append("seeds are the order of a variant's runs: runs of one number are paired, and share nothing")
        return table.sort_values("started", kind="stable").groupby("key").cumcount().reindex(table.index)
    entries = source.frame[options.seed]
    missing = pd.Series([is_missing(entry) for entry in entries], entries.index) & (table["status"] == FINISHED)
    if missing.any():
        fix = f"--seed {ORDER} numbers the runs of each variant"
        raise StoreError(f"{options.seed} has no value in {places(source, missing)}; {fix}")
    values = [value(entry) for entry in entries]
    if all(each is None or (type(each) is int and 0 <= each < LARGEST_SEED) for each in values):
        return pd.Series([0 if each is None else int(each) for each in values], entries.index)  # type: ignore[arg-type]
    texts = sorted({as_typed(each) for each in values if each is not None})
    numbered = {text: number for number, text in enumerate(texts)}
    shown = ", ".join(f"{text} is {number}" for text, number in itertools.islice(numbered.items(), 3))
    notes.append(
        f"{options.seed} has other values than 0, 1, 2, …: they are numbered ({shown}{', …' if len(texts) > 3 else ''})"
    )
    return pd.Series([numbered.get(as_typed(each), 0) for each in values], entries.index)


def _once(source: Source, table: pd.DataFrame, options: Options, notes: list[str]) -> pd.DataFrame:
    """Returns the runs with one for each variant and seed: the latest finished one, or else the latest.

    Raises:
      StoreError: several runs of a variant and seed finished, and the user did not say which counts.
    """
    done = table[table["status"] == FINISHED]
    twice = done.duplicated(["key", "seed"], keep=False)
    if twice.any() and options.duplicates is None:
        first = done[twice].iloc[0]
        same = twice & (done["key"] == first["key"]) & (done["seed"] == first["seed"])
        what = f"{label(first['values'])} with seed {first['seed']} finished {same.sum()} times"
        others = done[twice].groupby(["key", "seed"]).ngroups - 1
        what = f"{what} ({places(source, same)}){f', and {others} other variants and seeds, too' if others else ''}"
        fix = "--duplicates latest takes the latest; if a setting differs, name it in --toggles"
        raise StoreError(f"{what}; {fix}; if these are repetitions without seeds, --seed {ORDER} numbers them")
    rank = table.assign(is_done=table["status"] == FINISHED).sort_values(["is_done", "started"], kind="stable")
    kept = table.loc[table.index.isin(rank.drop_duplicates(["key", "seed"], keep="last").index)]
    if len(kept) < len(table):
        why = "a later or finished run of the same variant and seed counts"
        notes.append(f"{counted(len(table) - len(kept), 'run')} left out: {why}")
    return kept


def _design(options: Options, variants: Sequence[dict[str, Any]]) -> Design:
    """Returns the design of the variants, in the order in which they appear.

    Raises:
      StoreError: no run is the reference that was asked for.
    """
    keys = [tuple(map(as_typed, each.values())) for each in variants]
    asked = {name: as_typed(each) for name, each in options.reference.items()}
    candidates = [each for each in variants if all(as_typed(each[name]) == text for name, text in asked.items())]
    if not candidates:
        have = "; ".join(map(label, variants[:3]))
        raise StoreError(f"--reference: no finished run has {label(options.reference)}; the runs have {have}, …")
    reference = max(
        candidates, key=lambda each: sum(_distance(each, other) <= 1 for other in variants)
    )  # first of equals
    levels = {name: distinct([reference[name], *(each[name] for each in variants)]) for name in options.toggles}
    if len({*keys}) == math.prod(map(len, levels.values())):
        return Design("grid", "a grid", reference, levels)
    if all(_distance(reference, each) <= 1 for each in variants):
        is_on = [reference[name] for name in options.toggles]
        if all(each is True for each in is_on):
            return Design("leave_one_out", "leave one out", reference, levels)
        if all(each is False for each in is_on):
            return Design("add_one_in", "add one in", reference, levels)
        return Design("one_at_a_time", "one at a time", reference, levels)
    return Design("listed", "no regular design: every variant is compared with the reference", reference, levels)


def _distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    return sum(as_typed(one[name]) != as_typed(other[name]) for name in one)


def _missing(done: pd.DataFrame, design: Design) -> Iterator[str]:
    """Yields notes on variants that lack seeds of the reference, which cannot be paired there."""
    reference = tuple(map(as_typed, design.reference.values()))
    seeds: dict[Any, set[int]] = {key: {*map(int, part)} for key, part in done.groupby("key")["seed"]}
    of_reference = seeds.get(reference, set())
    values = dict(zip(done["key"], done["values"], strict=True))
    for key, own in seeds.items():
        if key != reference and (unpaired := sorted(own ^ of_reference)):
            pairs = len(own & of_reference)
            shown = ", ".join(map(str, unpaired[:5])) + (", …" if len(unpaired) > 5 else "")
            yield f"{label(values[key])}: {counted(pairs, 'pair')} with the reference; unpaired seeds: {shown}"


def _others(source: Source, options: Options, done: pd.DataFrame) -> Iterator[str]:
    """Yields notes on settings that vary though nobody named them.

    A column that is constant within each variant and differs between variants may be the cause of a difference. Columns
    with more different values than half of the runs are measurements or names. If the source tells settings from
    measurements, only settings are looked at.
    """
    frame = source.frame.loc[done.index]
    used = {*options.toggles, options.seed, options.status, options.time, *(one.column for one in options.metrics)}
    used |= {STATUS, "Status", "State", "state", NAME, "Name", *STARTS}
    for name in source.settings or [*map(str, frame.columns)]:
        if name in used:
            continue
        values = pd.Series(["null" if is_missing(entry) else str(entry) for entry in frame[name]], frame.index)
        count = values.nunique()
        if not 1 < count <= max(2, len(frame) // 2):
            continue
        per_variant = values.groupby(done["key"]).nunique()
        if (per_variant == 1).all():
            firsts = pd.DataFrame({"text": values, "of": done["values"].map(label)}).drop_duplicates("text").head(3)
            shown = "; ".join(f"{row['text'][:40]} with {row['of']}" for row in firsts.to_dict("records"))
            what = f"confounder: {name} differs between variants, and was not named as a toggle ({shown})"
            yield f"{what}; it may explain a change"
        else:
            yield f"{name} has {count} values, also within a variant, and was not named as a toggle"


def _identity(study: str, key: Sequence[str], seed: int) -> str:
    return hashlib.sha256("\0".join([study, str(seed), *key]).encode()).hexdigest()[:16]


def _run(row: Mapping[Any, Any], study: str) -> Run:
    """Returns a run as the analysis reads it; its id ends with its place in the source."""
    identity = _identity(study, row["key"], row["seed"])
    tags = {attempts.KIND: "trial", attempts.IDENTITY: identity, "ablation.source": str(row["place"])}
    if row["status"] != FINISHED and row["is_diverged"]:
        tags["ablation.health"] = DIVERGED
    metrics = {name: float(number) for name, number in row.items() if "/" in name and not math.isnan(number)}
    params = {name: as_typed(each) for name, each in row["values"].items()} | {"seed": str(row["seed"])}
    started = int(row["started"])
    return Run(f"{study}/{row['place']}", label(row["values"]), row["status"], started, started, tags, params, metrics)


def _rows(table: pd.DataFrame, design: Design, study: str) -> Iterator[dict[str, Any]]:
    """Yields the rows of the plan: every variant with every seed, the reference first."""
    of_reference = tuple(map(as_typed, design.reference.values()))
    values = dict(zip(table["key"], table["values"], strict=True))
    seeds = sorted({*map(int, table["seed"])})
    known = {*zip(table["key"], table["seed"], strict=True)}
    for key in sorted(values, key=lambda each: each != of_reference):  # the others stay in their order
        changed = {
            name: each for name, each in values[key].items() if as_typed(each) != as_typed(design.reference[name])
        }
        shown = label(values[key]) if design.name == "grid" else label(changed) or "reference"
        for seed in seeds:
            yield {
                "label": shown, "role": "variant" if changed else "reference", "values": values[key], "seed": seed,
                "identity": _identity(study, key, seed) if (key, seed) in known else None,
                "normalised": [], "dropped": None,
            }  # fmt: skip


def _understood(
    design: Design, done: pd.DataFrame, metrics: Sequence[tuple[str, Metric]], options: Options
) -> Iterator[str]:
    """Yields what was understood of the source."""
    counts = done.groupby("key")["seed"].nunique()
    of_seeds = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    finished = counted(len(done), "finished run")
    yield f"{finished}: {counted(len(counts), 'variant')} with {of_seeds} seeds each; design: {design.about}"
    for name, values in design.levels.items():
        shown = ", ".join(map(as_typed, values[:8])) + (f" and {len(values) - 8} more" if len(values) > 8 else "")
        yield f"  {name}: {shown}"
    yield f"reference: {label(design.reference)}"
    for (full, meaning), asked in zip(metrics, options.metrics, strict=True):
        has_split = full.startswith(TEST) and not re.match(r"test[/_. -]", asked.column, re.IGNORECASE)
        taken = "; its name has no split, so it counts as a value of the test" if has_split else ""
        yield f"metric: {asked.column} as {full}, {meaning.direction} is better{taken}"
