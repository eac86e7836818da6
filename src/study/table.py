"""What a study looks like on the terminal: its plan, its outcomes, its failures, and what to type next."""

from __future__ import annotations

import itertools
import shlex
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from src import environment, paths
from src.progress import clock
from src.study.designs import equation
from src.study.plan import Row, Study
from src.tracking import provenance
from src.tracking.journal import FAILED, FINISHED
from src.tracking.outcome import Outcome
from src.visible import one_line

MAX_LINES = 20
MAX_SETS = 4  # data sets that are described


def console() -> Console:
    """Returns where tables go: as wide as the terminal, and wide enough for a file."""
    shown = Console()
    return shown if shown.is_terminal else Console(width=160)


def plan_text(
    study: Study, rows: Sequence[Row], known: Mapping[str, Outcome], *, todo: Sequence[Row], seconds: float | None, workers: int
) -> str:
    """Returns the plan: how many trials, what is done, how long the rest will take, what was dropped or normalised and why.

    Args:
      study: the question.
      rows: of this round.
      known: identity → outcome.
      todo: the rows that will be trained.
      seconds: what they take one after the other, or None if nobody knows.
      workers: trials that run side by side.
    """
    trials = {row.trial.identity for row in rows if row.trial}
    design = study.plan.design
    lines = [f"study {study.settings.study}: {_counted(len(trials), 'trial')} for {_counted(len(rows), 'row')}"]
    if study.levels and design != "grid":
        lines[0] += f", design {design}, {_counted(len(study.seeds), 'seed')}"
    if study.plan.question:
        lines.append(f"  {one_line(study.plan.question.strip())}")
    done = [known[name] for name in trials if name in known and known[name].status == FINISHED]
    failed = sum(name in known and known[name].status == FAILED for name in trials)
    if done:
        again = ", and are trained again, as rerun=true asks" if study.settings.rerun else "; rerun=true trains them again"
        lines.append(f"  {len(done)} of {len(trials)} trials are done already{again}.")
        lines += _other_code(done)
    if failed and not study.settings.retry_failed:
        lines.append(f"  {_counted(failed, 'trial')} failed before; retry_failed=true trains {'it' if failed == 1 else 'them'} again.")
    if todo:
        lines.append(f"  to train: {len(todo)}, {_duration(seconds, workers)}")
    if design != "path" or all(row.is_reference for row in rows):  # later rounds of a path read the same
        lines += _read(rows)
    if design == "path" and all(row.is_reference for row in rows):
        most = 1 + len(study.levels) * (len(study.levels) + 1) // 2
        lines.append(f"  further rounds follow their results: at most {most * len(study.seeds)} trials in all")
    if study.settings.plan_only:
        lines += _listed(rows, todo)
    changes = [f"  dropped: {one_line(row.label)}: {row.dropped}" for row in rows if row.dropped]
    changes += [f"  normalised: {one_line(row.label)}: {change}" for row in rows if row.trial for change in row.trial.changes]
    changes = list(dict.fromkeys(changes))
    lines += changes[:MAX_LINES]
    if len(changes) > MAX_LINES:
        lines.append(f"  … and {len(changes) - MAX_LINES} more, {_where_listed(study)}")
    groups = study.aliases()
    lines += [f"  cannot be told apart: {equation(group)}" for group in groups[:MAX_LINES]]
    if len(groups) > MAX_LINES:
        lines.append(f"  … and {len(groups) - MAX_LINES} groups more, {_where_listed(study)}")
    return "\n".join(lines)


def _where_listed(study: Study) -> str:
    """Returns where the whole plan is, or will be: with plan_only nothing is written."""
    path = paths.study_folder(study.settings.study) / "plan.json"
    return f"which the command without plan_only writes to {path}" if study.settings.plan_only else f"all in {path}"


def _read(rows: Sequence[Row]) -> list[str]:
    """Returns what each of the data sets holds that the rows' trials read."""
    found = {row.trial.data.digest: row.trial.data for row in rows if row.trial}
    lines = [f"  {line}" for data in itertools.islice(found.values(), MAX_SETS) for line in data.summary()]
    return lines if len(found) <= MAX_SETS else [*lines, f"  … and {len(found) - MAX_SETS} data sets more"]


def _listed(rows: Sequence[Row], todo: Sequence[Row]) -> list[str]:
    """Returns one line a variant: how many of its trials would be trained, and how many need not be."""
    wanted = {row.trial.identity for row in todo if row.trial}
    trials: dict[str, set[str]] = {}
    for row in rows:
        trials.setdefault(row.label, set()).update([row.trial.identity] if row.trial else [])
    lines = []
    for label, mine in itertools.islice(trials.items(), MAX_LINES):
        name = one_line(label)
        left = len(mine & wanted)
        rest = f", {len(mine) - left} not again" if left < len(mine) else ""
        lines.append(f"    {name}: {left} to train{rest}" if mine else f"    {name}: dropped")
    return lines if len(trials) <= MAX_LINES else [*lines, f"    … and {len(trials) - MAX_LINES:,} variants more"]


def outcomes(rows: Sequence[Row], known: Mapping[str, Outcome]) -> Table:
    """Returns one line a variant: n seeds, mean and range of the test accuracy, time per batch, padding, health."""
    variants: dict[str, list[Row]] = {}
    for row in rows:
        variants.setdefault(row.label, []).append(row)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("variant", overflow="fold")
    for heading in ("n", "test accuracy", "range", "ms per batch", "padding"):
        shown.add_column(heading, justify="right")
    shown.add_column("health")
    for name, of_name in variants.items():
        title = f"{name} (reference)" if of_name[0].is_reference and len(variants) > 1 and name != "reference" else name
        if all(row.trial is None for row in of_name):
            shown.add_row(Text(one_line(title)), "–", "–", "–", "–", "–", "dropped", style="dim")
            continue
        found = [known.get(row.trial.identity) if row.trial else None for row in of_name]
        ended = [one for one in found if one and one.status == FINISHED]
        accuracy = [one.metrics["test/accuracy"] for one in ended]
        shown.add_row(
            Text(one_line(title)),  # no markup: a file may be called x[v2].csv
            f"{len(ended)}/{len(of_name)}" if len(ended) < len(of_name) else str(len(ended)),
            _mean(accuracy, 4),
            f"{min(accuracy):.3f}–{max(accuracy):.3f}" if len(accuracy) > 1 else "",
            _mean([one.metrics.get("time/batch_ms_median") for one in ended], 1),
            _mean([one.metrics.get("data/padding_fraction") for one in ended], 3),
            Text(one_line(_health(found))),
        )
    return shown


def changed_nothing(study: Study, rows: Sequence[Row], known: Mapping[str, Outcome]) -> list[str]:
    """Returns the variants whose trained weights equal those they are compared with, bit for bit and seed for seed.

    That is the reference; in a cumulative design it is the step before. Variants that were normalised to the same trial are left
    out: the plan says so already.
    """
    names = list(dict.fromkeys(row.label for row in rows))
    before = dict(zip(names[1:], names, strict=False)) if study.plan.design == "cumulative" else dict.fromkeys(names[1:], names[0])
    trials = {(row.label, row.seed): row.trial.identity for row in rows if row.trial}
    same: dict[str, list[bool]] = {}
    for (name, seed), identity in trials.items():
        other = trials.get((before.get(name, name), seed), identity)
        ours, theirs = known.get(identity), known.get(other)
        if other != identity and ours and theirs and ours.status == theirs.status == FINISHED:
            same.setdefault(name, []).append(ours.tags["ablation.weights"] == theirs.tags["ablation.weights"])
    return [name for name, values in same.items() if all(values)]


def unchanged_text(names: Sequence[str]) -> str:
    """Returns which variants changed nothing; empty if there is none."""
    return "\n".join(
        f"changed nothing: {one_line(name)}: the trained weights are the same without it, bit for bit, seed for seed" for name in names
    )


def failures(unfinished: Sequence[Row], why: Mapping[str, str]) -> str:
    """Returns one line an unfinished trial: its variant, the first line of its error (by identity), and where its log is."""
    if not unfinished:
        return ""
    lines = [f"{_counted(len(unfinished), 'trial')} did not finish:"]
    for row in unfinished:
        assert row.trial is not None
        lines.append(f"  {one_line(row.name)}: {why[row.trial.identity]}")
        log = row.trial.folder / "trial.log"
        lines += [f"    log: {log}"] if log.is_file() else []
    lines.append("What failed is trained again with retry_failed=true, what was stopped or never began by the same command.")
    return "\n".join(lines)


def diagnoses(rows: Sequence[Row], known: Mapping[str, Outcome]) -> str:
    """Returns the trials that learnt nothing and of which the numbers tell why, a line for each variant and cause."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        found = known.get(row.trial.identity) if row.trial else None
        if found and "ablation.diagnosis" in found.tags:
            seeds.setdefault((row.label, found.tags["ablation.diagnosis"]), []).append(str(row.seed))
    if not seeds:
        return ""
    count = sum(len(of) for of in seeds.values())
    lines = [f"  {one_line(label)} seed={', '.join(of)}: {cause}" for (label, cause), of in seeds.items()]
    return "\n".join([f"{_counted(count, 'trial')} learnt nothing, and the numbers tell why:", *lines])


def next_steps(rows: Sequence[Row], known: Mapping[str, Outcome], *, link: str | None = None) -> str:
    """Returns the commands that lead on from here; predictions with the trial of highest validation accuracy.

    Args:
      rows: one for each trial.
      known: identity → outcome.
      link: to the study's runs in MLflow's pages; None where there is none.
    """
    trials = [row.trial for row in rows if row.trial]
    settings = trials[0].settings
    best = max(trials, key=lambda trial: _best_validation(known.get(trial.identity)))
    reads_texts = _best_validation(known.get(best.identity)) >= 0 and best.settings.task.name == "sentiment"
    outputs, here = paths.outputs(), Path.cwd()
    folder = str(outputs.relative_to(here)) if outputs.is_relative_to(here) else str(outputs)
    store = settings.tracking.uri and paths.tracking_uri(settings.tracking.uri)
    if settings.tracking.name == "offline":
        browse = "python -m src.sync                        # tell MLflow what the journals have"
    elif store is None:
        there = "" if paths.home() == here else f"cd {shlex.quote(str(paths.home()))} && "
        browse = f"{there}mlflow ui --workers 1                    # then open {link or 'http://127.0.0.1:5000'}"
    else:
        browse = (
            f"mlflow ui --workers 1 --backend-store-uri {shlex.quote(store)}{f'  # then open {link}' if link else ''}"
            if "://" in store and not store.startswith("http")
            else f"open {link or store}"
        )
    return "\n".join(
        (
            "",
            "Next:",
            f"  {browse}",
            f"  tensorboard --logdir {shlex.quote(folder)}              # curves, histograms, HParams",
            f"  python -m analysis report {settings.study}           # what it says: table, figures, one page",
            *([f'  python -m src.predict {best.identity} "a film I would see again"'] if reads_texts else []),
        )
    )


def _other_code(done: Sequence[Outcome]) -> list[str]:
    now = _code(provenance.tags())
    others = Counter(_code(one.tags) for one in done if _code(one.tags) != now or "uncommitted" in now)
    lines = []
    if others:
        listed = ", ".join(f"{count} by {code}" for code, count in others.items())
        lines.append(f"  of these, {listed} were trained by code that is not surely this ({now})")
    here = environment.understood()
    elsewhere = Counter(one.tags["ablation.environment"] for one in done if one.tags.get("ablation.environment", here) != here)
    lines += [f"  of these, {count} were trained with {there}, and others would be now with {here}" for there, count in elsewhere.items()]
    return lines


def _code(tags: Mapping[str, str]) -> str:
    is_dirty = tags.get("ablation.git_dirty") == "true"
    return tags.get("ablation.git_commit", "unknown")[:10] + (" with uncommitted changes" if is_dirty else "")


def _duration(seconds: float | None, workers: int) -> str:
    if seconds is None:
        return "time unknown: nothing like it was recorded yet"
    side_by_side = f" on {workers} workers" if workers > 1 else ""
    return (
        f"about {clock(seconds / workers)} (h:mm:ss){side_by_side}"
        if seconds / workers >= 3_600
        else (f"about {clock(seconds / workers)} (m:ss){side_by_side}")
    )


def _health(found: Sequence[Outcome | None]) -> str:
    words = Counter(one.tags.get("ablation.health", (one.status or "running").lower()) if one else "not run" for one in found)
    return next(iter(words)) if len(words) == 1 else ", ".join(f"{count} {word}" for word, count in words.items())


def _best_validation(found: Outcome | None) -> float:
    if found is None or found.status != FINISHED:
        return -1.0
    return found.best_validation if found.best_validation is not None else 0.0


def _mean(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.fmean(known):.{digits}f}" if known else "–"


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
