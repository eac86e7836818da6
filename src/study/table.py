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

from src import environment, paths, registry
from src.spec.metric import TEST, Metric, meaning
from src.spec.settings import Tracking
from src.study.designs import equation
from src.study.plan import Row, Study
from src.terminal.progress import clock
from src.terminal.visible import counted, one_line
from src.tracking import provenance
from src.tracking.journal import FAILED, FINISHED
from src.tracking.outcome import Outcome
from src.trial.prepare import Prepared

MAX_LINES = 20
BATCH_MS, PADDING = meaning("time/batch_ms_median", ()), meaning("data/padding_fraction", ())
LESS_IMPORTANT = (PADDING.title, "range", BATCH_MS.title)  # in the order in which they are left out of a narrow table
MAX_SETS = 4  # data sets that are described


def console() -> Console:
    """Returns where tables go: as wide as the terminal, and wide enough for a file."""
    shown = Console()
    return shown if shown.is_terminal else Console(width=160)


def plan_text(
    study: Study,
    rows: Sequence[Row],
    known: Mapping[str, Outcome],
    *,
    todo: Sequence[Row],
    seconds: float | None,
    workers: int,
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
    is_first_of_path = design == "path" and all(row.is_reference for row in rows)
    done = [known[name] for name in trials if name in known and known[name].status == FINISHED]
    failed = sum(name in known and known[name].status == FAILED for name in trials)
    lines = [f"study {study.settings.study}: {_size(rows)}{f', {len(done):,} already done' if done else ''}"]
    if study.plan.question:
        lines.append(f"  question: {one_line(study.plan.question.strip())}")
    if study.levels and design != "grid":
        lines.append(f"  design: {design}")
    if done:
        lines += [f"  {text}" for text in _other_code(done)]
        lines += ["  rerun=true retrains the finished trials"] if study.settings.rerun else []
    if failed and not study.settings.retry_failed:
        lines.append(
            f"  {counted(failed, 'trial')} failed before; retry_failed=true retrains {'it' if failed == 1 else 'them'}"
        )
    if todo:
        lines.append(f"  to train: {counted(len(todo), 'trial')}, {_duration(seconds, workers)}")
    if design != "path" or is_first_of_path:  # later rounds of a path read the same
        lines += _read(rows)
    if is_first_of_path:
        most = 1 + len(study.levels) * (len(study.levels) + 1) // 2
        lines.append(
            f"  later rounds depend on the results of earlier ones: at most {most * len(study.seeds):,} trials in total"
        )
    if study.settings.plan_only:
        lines += ["  variants:", *_listed(rows, todo, known)]
    changes = [f"  dropped: {one_line(row.label)}: {row.dropped}" for row in rows if row.dropped]
    changes += [
        f"  normalised: {one_line(row.label)}: {change}" for row in rows if row.trial for change in row.trial.changes
    ]
    changes = list(dict.fromkeys(changes))
    lines += changes[:MAX_LINES]
    if len(changes) > MAX_LINES:
        lines.append(f"  … and {len(changes) - MAX_LINES:,} more, {_where_listed(study)}")
    groups = study.aliases()
    lines += [f"  aliased (this design cannot separate them): {equation(group)}" for group in groups[:MAX_LINES]]
    if len(groups) > MAX_LINES:
        lines.append(f"  … and {len(groups) - MAX_LINES:,} more groups, {_where_listed(study)}")
    return "\n".join(lines)


def _size(rows: Sequence[Row]) -> str:
    """Returns how many trials there are and why so many: `4 variants × 3 seeds = 12 trials`."""
    variants = {row.label: row.trial is not None for row in rows}
    trials = len({row.trial.identity for row in rows if row.trial})
    seeds = len(rows) // len(variants)
    if len(rows) == trials == 1:
        return "1 trial"
    product = f"{counted(len(variants), 'variant')} × {counted(seeds, 'seed')}"
    if trials == len(rows):
        return f"{product} = {counted(trials, 'trial')}"
    dropped = sum(not can_run for can_run in variants.values())
    same = len(variants) - dropped - trials // seeds
    less = [f"{dropped:,} cannot run"] * (dropped > 0) + [
        f"{same:,} {'equals another' if same == 1 else 'equal others'}"
    ] * (same > 0)
    return f"{product}, of which {' and '.join(less)}: {counted(trials, 'trial')}"


def _where_listed(study: Study) -> str:
    """Returns where the whole plan is, or will be: with plan_only nothing is written."""
    path = paths.study_folder(study.settings.study) / "plan.json"
    return (
        f"listed in {path} once the command runs without plan_only"
        if study.settings.plan_only
        else f"all listed in {path}"
    )


def _read(rows: Sequence[Row]) -> list[str]:
    """Returns what each of the data sets holds that the rows' trials read."""
    readers: dict[str, list[Prepared]] = {}
    for row in rows:
        if row.trial:
            readers.setdefault(row.trial.data.digest, []).append(row.trial)
    lines = []
    for trials in itertools.islice(readers.values(), MAX_SETS):
        lines += [f"  {line}" for line in trials[0].task.summary([trial.settings for trial in trials], trials[0].data)]
    return lines if len(readers) <= MAX_SETS else [*lines, f"  … and {len(readers) - MAX_SETS:,} more data sets"]


def _listed(rows: Sequence[Row], todo: Sequence[Row], known: Mapping[str, Outcome]) -> list[str]:
    """Returns one line a variant: how many of its trials would be trained, are done, and failed."""
    wanted = {row.trial.identity for row in todo if row.trial}
    trials: dict[str, set[str]] = {}
    for row in rows:
        trials.setdefault(row.label, set()).update([row.trial.identity] if row.trial else [])
    lines = []
    for label, mine in itertools.islice(trials.items(), MAX_LINES):
        rest = mine - wanted
        failed = sum(name in known and known[name].status == FAILED for name in rest)
        counts = ((len(mine & wanted), "to train"), (len(rest) - failed, "already done"), (failed, "failed before"))
        lines.append(
            f"    {one_line(label)}: {', '.join(f'{count:,} {what}' for count, what in counts if count) or 'dropped'}"
        )
    return lines if len(trials) <= MAX_LINES else [*lines, f"    … and {len(trials) - MAX_LINES:,} more variants"]


def outcomes(rows: Sequence[Row], known: Mapping[str, Outcome], *, first: Metric, width: int = 160) -> Table:
    """Returns one line a variant: n seeds, mean and range of the first metric on the test split, ms per batch, padded steps, health.

    Args:
      rows: of the whole study.
      known: identity → outcome.
      first: first metric of the study's task.
      width: characters that the table may take: where they are few, columns are left out and names are broken into lines.
    """
    variants: dict[str, list[Row]] = {}
    for row in rows:
        variants.setdefault(row.label, []).append(row)
    lines = []
    for name, of_name in variants.items():
        title = f"{name} (reference)" if of_name[0].is_reference and len(variants) > 1 and name != "reference" else name
        lines.append({"variant": one_line(title), **_numbers(of_name, known, first)})
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _fitting(lines, width):
        is_text = heading in ("variant", "health")
        shown.add_column(heading, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
    for line in lines:  # no markup: a file may be called x[v2].csv
        is_dropped = line["health"] == "dropped"
        shown.add_row(
            *(Text(line[str(column.header)]) for column in shown.columns), style="dim" if is_dropped else None
        )
    return shown


def _numbers(rows: Sequence[Row], known: Mapping[str, Outcome], first: Metric) -> dict[str, str]:
    """Returns heading → text of a variant's rows."""
    name = f"{TEST}{first.name}"
    headings = ("n", meaning(name, [first]).title, "range", BATCH_MS.title, PADDING.title, "health")
    if all(row.trial is None for row in rows):
        return {**dict.fromkeys(headings, "–"), "health": "dropped"}
    of_rows = [known.get(row.trial.identity) if row.trial else None for row in rows]
    ended = [outcome for outcome in of_rows if outcome and outcome.status == FINISHED]
    tested = _values(ended, name)
    padding = _values(ended, PADDING.name)
    texts = (
        f"{len(ended)}/{len(rows)}" if len(ended) < len(rows) else str(len(ended)),
        _mean(tested, first.digits + 1),
        f"{min(tested):.{first.digits}f}–{max(tested):.{first.digits}f}" if len(tested) > 1 else "",
        _mean(_values(ended, BATCH_MS.name), BATCH_MS.digits),
        _mean(padding, PADDING.digits) if padding or not ended else "",  # some tasks pad nothing
        one_line(_health(of_rows)),
    )
    return dict(zip(headings, texts, strict=True))


def _values(outcomes: Sequence[Outcome], name: str) -> list[float]:
    return [outcome.metrics[name] for outcome in outcomes if name in outcome.metrics]


def _fitting(lines: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """Returns the headings for which there is room, of the variants' names at least a third of the width."""
    wide = {heading: max(len(heading), *(len(line[heading]) for line in lines)) for heading in lines[0]}
    wide |= {heading: min(wide[heading], width // 3) for heading in ("variant", "health")}
    left = [heading for heading in wide if any(line[heading] for line in lines)]
    for heading in LESS_IMPORTANT:
        if heading in left and sum(wide[name] + 2 for name in left) > width + 2:
            left.remove(heading)
    return left


def changed_nothing(study: Study, rows: Sequence[Row], known: Mapping[str, Outcome]) -> list[str]:
    """Returns the variants whose trained weights equal those they are compared with, bit for bit and seed for seed.

    That is the reference; in a cumulative design it is the step before. Variants that were normalised to the same trial are left
    out: the plan says so already.
    """
    names = list(dict.fromkeys(row.label for row in rows))
    before = (
        dict(zip(names[1:], names, strict=False))
        if study.plan.design == "cumulative"
        else dict.fromkeys(names[1:], names[0])
    )
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
        f"changed nothing: {one_line(name)}: the trained weights are identical without it, for every seed"
        for name in names
    )


def failures(unfinished: Sequence[Row], why: Mapping[str, str]) -> str:
    """Returns one line an unfinished trial: its variant, the first line of its error (by identity), and where its log is."""
    if not unfinished:
        return ""
    lines = [f"{counted(len(unfinished), 'trial')} did not finish:"]
    for row in unfinished:
        assert row.trial is not None
        lines.append(f"  {one_line(row.name)}: {why[row.trial.identity]}")
        log = row.trial.folder / "trial.log"
        lines += [f"    log: {log}"] if log.is_file() else []
    lines.append(
        "The same command trains those that were stopped or never began; with retry_failed=true it retrains failed ones too."
    )
    return "\n".join(lines)


def diagnoses(rows: Sequence[Row], known: Mapping[str, Outcome]) -> str:
    """Returns the causes for which trials learnt nothing, as far as the numbers tell; below each, the variants that it holds for."""
    causes: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        outcome = known.get(row.trial.identity) if row.trial else None
        if outcome and "ablation.diagnosis" in outcome.tags:
            causes.setdefault(outcome.tags["ablation.diagnosis"], {}).setdefault(row.label, []).append(str(row.seed))
    lines = []
    for cause, variants in causes.items():
        count = sum(map(len, variants.values()))
        lines.append(f"{counted(count, 'trial')} learnt nothing; likely cause: {cause}")
        lines += [f"  {one_line(label)} seed={', '.join(seeds)}" for label, seeds in variants.items()]
    return "\n".join(lines)


def next_steps(rows: Sequence[Row], best: str | None, *, link: str | None = None) -> str:
    """Returns the commands that lead on from here.

    Args:
      rows: one for each trial.
      best: identity of the trial of best validation, with which a trained model's commands are shown; None before there is one.
      link: to the study's runs in MLflow's pages; None where there is none.
    """
    trials = {row.trial.identity: row.trial for row in rows if row.trial}
    settings = next(iter(trials.values())).settings
    outputs, here = paths.outputs(), Path.cwd()
    folder = str(outputs.relative_to(here)) if outputs.is_relative_to(here) else str(outputs)
    steps = [
        *_browsing(settings.tracking, link),
        ("curves", f"tensorboard --logdir {shlex.quote(folder)}"),
        ("report", f"python -m analysis report {settings.study}"),
        *([] if best is None else _using(trials[best])),
    ]
    return "\n".join(("", "Next:", *(f"  {what:<7}  {command}" for what, command in steps)))


def _using(trial: Prepared) -> list[tuple[str, str]]:
    """Returns the commands that one can try with a trained model."""
    place = f"--task {trial.settings.task} " if registry.is_place(trial.settings.task) else ""
    steps = []
    for name, command in trial.task.commands.items():
        typed = f"{command.module} {trial.identity}" if command.module else f"src.use {place}{trial.identity} {name}"
        steps += [(name, f"python -m {typed} {command.example}")] if command.example else []
    return steps


def _browsing(tracking: Tracking, link: str | None) -> list[tuple[str, str]]:
    """Returns how the runs are looked at; of a database's address the name and the password stay out of terminals and logs."""
    if tracking.name == "offline":
        return [("runs", "python -m src.sync    # sends the records to MLflow")]
    if tracking.uri is None:
        if paths.home() == Path.cwd():
            command = [("runs", "mlflow ui --workers 1")]
        else:
            command = [("runs", f"cd {shlex.quote(str(paths.home()))} && mlflow ui --workers 1")]
        return [*command, ("", f"then open {link or 'http://127.0.0.1:5000'}")]
    store = paths.tracking_uri(tracking.uri)
    if not paths.is_database(store):
        return [("runs", f"open {paths.shown(link or store)}")]
    command = [("runs", f"mlflow ui --workers 1 --backend-store-uri {shlex.quote(paths.shown(store))}")]
    command += [("", "(replace … by the user name and password)")] if paths.has_secret(store) else []
    return [*command, ("", f"then open {link}")] if link else command


def _other_code(done: Sequence[Outcome]) -> list[str]:
    """Returns which finished trials used other code or environment variables than trials would now, or may have."""
    now = _code(provenance.tags())
    others = Counter(_code(outcome.tags) for outcome in done if _code(outcome.tags) != now)
    lines = [_finished(sum(others.values()), f"used other code ({', '.join(others)})")] if others else []
    unsure = sum(_code(outcome.tags) == now for outcome in done) if "uncommitted" in now else 0
    lines += [_finished(unsure, f"may have used other code ({now}, as now)")] if unsure else []
    here = environment.understood()
    theirs = [outcome.tags.get("ablation.environment", here) for outcome in done]
    elsewhere = Counter(environment for environment in theirs if environment != here)
    return lines + [
        _finished(count, f"used other environment variables ({there}; now {here})")
        for there, count in elsewhere.items()
    ]


def _finished(count: int, what: str) -> str:
    return f"{counted(count, 'finished trial')} {what}; rerun=true retrains {'it' if count == 1 else 'them'}"


def _code(tags: Mapping[str, str]) -> str:
    is_dirty = tags.get("ablation.git_dirty") == "true"
    return f"commit {tags.get('ablation.git_commit', 'unknown')[:10]}" + (
        " with uncommitted changes" if is_dirty else ""
    )


def _duration(seconds: float | None, workers: int) -> str:
    if seconds is None:
        return "duration unknown (no recorded trial to estimate it from)"
    took = seconds / workers
    return f"about {clock(took)} ({'h:mm:ss' if took >= 3_600 else 'm:ss'}){f' on {workers} workers' if workers > 1 else ''}"


def _health(outcomes: Sequence[Outcome | None]) -> str:
    words = Counter(_word(outcome) for outcome in outcomes)
    return next(iter(words)) if len(words) == 1 else ", ".join(f"{count} {word}" for word, count in words.items())


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{statistics.fmean(values):.{digits}f}" if values else "–"


def _word(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not run"
    return outcome.tags.get("ablation.health", (outcome.status or "running").lower())
