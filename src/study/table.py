"""Texts of a study for the terminal: its plan, its outcomes, its failures, and the next commands."""

from __future__ import annotations

import itertools
import shlex
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from src import environment, own_code, paths, registry
from src.config.settings import label
from src.inference.student import are_alike
from src.spec.metric import TEST, Metric, meaning
from src.spec.record import DIVERGED, NO_LEARNING
from src.spec.rules import Change
from src.spec.settings import Tracking
from src.study import looks
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
LESS_IMPORTANT = (PADDING.title, "range", BATCH_MS.title)  # columns that a narrow table omits, in this order
MAX_SETS = 4  # data sets that the plan describes
LIKELY = {NO_LEARNING: "learnt nothing; likely cause", DIVERGED: "diverged; likely cause"}  # health → before a cause


def console() -> Console:
    """Returns the console for tables: as wide as the terminal, or 160 characters for a file."""
    shown = Console(emoji=False)  # `own:bug` is a model's name
    return shown if shown.is_terminal else Console(width=160, emoji=False)


def plan_text(
    study: Study,
    rows: Sequence[Row],
    latest: Mapping[str, Outcome],
    *,
    todo: Sequence[Row],
    seconds: float | None,
    workers: int,
    is_first: bool = True,
) -> str:
    """Returns the plan: numbers of trials, the expected time, and what was dropped or normalised, with reasons.

    Args:
      study: the study.
      rows: the rows of this round.
      latest: identity → outcome of the trial's latest attempt.
      todo: the rows that will be trained.
      seconds: expected time to train them one after the other, or None if unknown.
      workers: number of trials that run at the same time.
      is_first: whether these are the first rows of the study.
    """
    trials = {row.trial.identity for row in rows if row.trial}
    design = study.plan.design
    is_first_of_path = design == "path" and all(row.is_reference for row in rows)
    done = [latest[name] for name in trials if name in latest and latest[name].status == FINISHED]
    failed = sum(name in latest and latest[name].status == FAILED for name in trials)
    lines = [f"study {study.settings.study}: {_size(rows)}{f', {len(done):,} already done' if done else ''}"]
    if study.plan.question:
        lines.append(f"  question: {one_line(study.plan.question.strip())}")
    if study.levels and design != "grid":
        lines.append(f"  design: {design}")
    if study.plan.within:
        lines.append(f"  compared at each value of {' and '.join(study.plan.within)}")
    if done:
        lines += [f"  {text}" for text in _other_code(study, done)]
        lines += ["  rerun=true retrains the finished trials"] if study.settings.rerun else []
    if failed and not study.settings.retry_failed:
        lines.append(
            f"  {counted(failed, 'trial')} failed before; retry_failed=true retrains {'it' if failed == 1 else 'them'}"
        )
    if todo:
        lines.append(f"  to train: {counted(len(todo), 'trial')}, {_duration(seconds, workers)}")
    lines += _unmeasured(study)
    if is_first:  # later rounds and looks read the same
        lines += _data_sets(rows)
    if is_first_of_path:
        most = 1 + len(study.levels) * (len(study.levels) + 1) // 2
        lines.append(
            f"  later rounds depend on the results of earlier ones: at most {most * len(study.seeds):,} trials in total"
        )
    if study.settings.plan_only:
        lines += ["  variants:", *_listed(rows, todo, latest)]
    changes = list(dict.fromkeys([*_dropped(rows), *_normalised(rows)]))
    lines += changes[:MAX_LINES]
    if len(changes) > MAX_LINES:
        lines.append(f"  … and {len(changes) - MAX_LINES:,} more, {_where_listed(study)}")
    groups = study.aliases()
    lines += [f"  aliased (this design cannot separate them): {equation(group)}" for group in groups[:MAX_LINES]]
    if len(groups) > MAX_LINES:
        lines.append(f"  … and {len(groups) - MAX_LINES:,} more groups, {_where_listed(study)}")
    return "\n".join(lines)


def _size(rows: Sequence[Row]) -> str:
    """Returns the number of trials and how it results: `4 variants × 3 seeds = 12 trials`."""
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
    without_trial = [f"{dropped:,} cannot run"] * (dropped > 0)
    without_trial += [f"{same:,} {'equals another' if same == 1 else 'equal others'}"] * (same > 0)
    return f"{product}, of which {' and '.join(without_trial)}: {counted(trials, 'trial')}"


def _where_listed(study: Study) -> str:
    """Returns where the whole plan is, or will be: plan_only=true writes nothing."""
    path = paths.study_folder(study.settings.study) / "plan.json"
    return (
        f"listed in {path} once the command runs without plan_only"
        if study.settings.plan_only
        else f"all listed in {path}"
    )


def _data_sets(rows: Sequence[Row]) -> list[str]:
    """Returns a description of each data set that the rows' trials read, by each task that reads it."""
    readers: dict[tuple[str, str], list[Prepared]] = {}
    for row in rows:
        if row.trial:
            readers.setdefault((row.trial.task.name, row.trial.data.digest), []).append(row.trial)
    lines = []
    for trials in itertools.islice(readers.values(), MAX_SETS):
        lines += [f"  {line}" for line in trials[0].task.summary([trial.settings for trial in trials], trials[0].data)]
    return lines if len(readers) <= MAX_SETS else [*lines, f"  … and {len(readers) - MAX_SETS:,} more data sets"]


def _listed(rows: Sequence[Row], todo: Sequence[Row], latest: Mapping[str, Outcome]) -> list[str]:
    """Returns one line per variant: how many of its trials are to train, done, and failed."""
    wanted = {row.trial.identity for row in todo if row.trial}
    trials: dict[str, set[str]] = {}
    for row in rows:
        trials.setdefault(row.label, set()).update([row.trial.identity] if row.trial else [])
    lines = []
    for name, mine in itertools.islice(trials.items(), MAX_LINES):
        rest = mine - wanted
        failed = sum(each in latest and latest[each].status == FAILED for each in rest)
        counts = ((len(mine & wanted), "to train"), (len(rest) - failed, "already done"), (failed, "failed before"))
        lines.append(
            f"    {one_line(name)}: {', '.join(f'{count:,} {what}' for count, what in counts if count) or 'dropped'}"
        )
    return lines if len(trials) <= MAX_LINES else [*lines, f"    … and {len(trials) - MAX_LINES:,} more variants"]


def _dropped(rows: Sequence[Row]) -> Iterator[str]:
    """Yields why variants cannot run; a reason that begins with a variant's label does not repeat it."""
    for row in rows:
        if row.dropped:
            name = one_line(row.label)
            yield f"  dropped: {row.dropped if row.dropped.startswith(name) else f'{name}: {row.dropped}'}"


def _normalised(rows: Sequence[Row]) -> Iterator[str]:
    """Yields the values that are used in place of those that have no effect: a line for each variant and reason."""
    for row in rows:
        reasons: dict[str, list[Change]] = {}
        for change in row.trial.changes if row.trial else ():
            reasons.setdefault(change.reason, []).append(change)
        for reason, changes in reasons.items():
            used = label({change.key: change.used for change in changes})
            yield f"  normalised: {one_line(row.label)}: {used} {'are' if len(changes) > 1 else 'is'} used: {reason}"


def outcomes(rows: Sequence[Row], latest: Mapping[str, Outcome], *, metric: Metric, width: int = 160) -> Table:
    """Returns one row per variant: number of seeds, mean and range of a metric, time, padding and health.

    Args:
      rows: the rows of the whole study.
      latest: identity → outcome of the trial's latest attempt.
      metric: the metric by which the study compares, `Study.compared`.
      width: characters per line; a narrow table omits columns and wraps names.
    """
    variants: dict[str, list[Row]] = {}
    for row in rows:
        variants.setdefault(row.label, []).append(row)
    lines = []
    for name, of_name in variants.items():
        title = f"{name} (reference)" if of_name[0].is_reference and len(variants) > 1 and name != "reference" else name
        lines.append({"variant": one_line(title), **_numbers(of_name, latest, metric)})
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _fitting(lines, width):
        is_text = heading in ("variant", "health")
        shown.add_column(heading, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
    for line in lines:  # `Text` has no markup: a file may be called x[v2].csv
        is_dropped = line["health"] == "dropped"
        shown.add_row(
            *(Text(line[str(column.header)]) for column in shown.columns), style="dim" if is_dropped else None
        )
    return shown


def _numbers(rows: Sequence[Row], latest: Mapping[str, Outcome], metric: Metric) -> dict[str, str]:
    """Returns heading → text for a variant."""
    headings = ("n", metric.title, "range", BATCH_MS.title, PADDING.title, "health")
    if all(row.trial is None for row in rows):
        return {**dict.fromkeys(headings, "–"), "health": "dropped"}
    of_rows = [latest.get(row.trial.identity) if row.trial else None for row in rows]
    ended = [outcome for outcome in of_rows if outcome and outcome.status == FINISHED]
    values = _values(ended, metric.name)
    padding = _values(ended, PADDING.name)
    texts = (
        f"{len(ended)}/{len(rows)}" if len(ended) < len(rows) else str(len(ended)),
        _mean(values, metric.digits + 1),
        f"{min(values):.{metric.digits}f}–{max(values):.{metric.digits}f}" if len(values) > 1 else "",
        _mean(_values(ended, BATCH_MS.name), BATCH_MS.digits),
        _mean(padding, PADDING.digits) if padding or not ended else "",  # some tasks pad nothing
        one_line(_health(of_rows)),
    )
    return dict(zip(headings, texts, strict=True))


def _values(outcomes: Sequence[Outcome], name: str) -> list[float]:
    return [outcome.metrics[name] for outcome in outcomes if name in outcome.metrics]


def _fitting(lines: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """Returns the headings that fit; names of variants and health take at most a third of the width each."""
    wide = {heading: max(len(heading), *(len(line[heading]) for line in lines)) for heading in lines[0]}
    wide |= {heading: min(wide[heading], width // 3) for heading in ("variant", "health")}
    kept = [heading for heading in wide if any(line[heading] for line in lines)]
    for heading in LESS_IMPORTANT:
        if heading in kept and sum(wide[name] + 2 for name in kept) > width + 2:
            kept.remove(heading)
    return kept


def of_test_only(rows: Sequence[Row], latest: Mapping[str, Outcome], metrics: Sequence[Metric]) -> str:
    """Returns the values of metrics that only the test has: those that all trials share, then a line per variant."""
    wanted = [metric for metric in metrics if metric.test_only]
    variants: dict[str, list[Outcome]] = {}
    for row in rows:
        if row.trial and (outcome := latest.get(row.trial.identity)) and outcome.status == FINISHED:
            variants.setdefault(row.label, []).append(outcome)

    def said(outcomes: Sequence[Outcome], shown: Sequence[Metric]) -> str:
        values = ((metric, _values(outcomes, f"{TEST}{metric.name}")) for metric in shown)
        return ", ".join(f"{metric.shown} {_mean(numbers, metric.digits)}" for metric, numbers in values if numbers)

    every = [outcome for outcomes in variants.values() for outcome in outcomes]
    shared = [metric for metric in wanted if len({*_values(every, f"{TEST}{metric.name}")}) == 1]
    own = [metric for metric in wanted if metric not in shared]
    if len(variants) == 1:
        shared, own = wanted, []
    lines = [f"also measured in the test: {text}"] if (text := said(every, shared)) else []
    for name, outcomes in itertools.islice(variants.items(), MAX_LINES):
        lines += [f"  {one_line(name)}: {text}"] if (text := said(outcomes, own)) else []
    return "\n".join(lines)


def equal_weights(study: Study, rows: Sequence[Row], latest: Mapping[str, Outcome]) -> dict[str, bool]:
    """Returns the variants whose trained weights equal those of their baseline in every bit, for every seed.

    The baseline is what the variant is compared with (`looks.baselines`). Variants that were normalised to the
    same trial are left out, because the plan names them already.

    Returns:
      Variant → whether all that the test measured is equal, too.
    """
    baselines = looks.baselines(study, rows)
    trials = {(row.label, row.seed): row.trial.identity for row in rows if row.trial}
    same: dict[str, list[bool]] = {}
    alike: dict[str, list[bool]] = {}
    for (name, seed), identity in trials.items():
        compared = trials.get((baselines.get(name, name), seed), identity)
        variant, baseline = latest.get(identity), latest.get(compared)
        if compared != identity and variant and baseline and variant.status == baseline.status == FINISHED:
            weights = variant.tags.get("ablation.weights")  # some tasks record none
            is_same = weights is not None and weights == baseline.tags.get("ablation.weights")
            same.setdefault(name, []).append(is_same)
            alike.setdefault(name, []).append(_are_tested_alike(variant, baseline))
    return {name: all(alike[name]) for name, values in same.items() if all(values)}


def _are_tested_alike(one: Outcome, other: Outcome) -> bool:
    """Returns whether the tests of two trials measured the same."""
    ours, theirs = (
        {name: value for name, value in outcome.metrics.items() if name.startswith(TEST)} for outcome in (one, other)
    )
    return ours.keys() == theirs.keys() and all(are_alike(value, theirs[name]) for name, value in ours.items())


def unchanged_text(names: Mapping[str, bool]) -> str:
    """Returns one line per variant with equal weights, as `equal_weights` returns them; empty if there is none."""
    same = "the trained weights are identical without it, for every seed"
    return "\n".join(
        f"changed nothing: {one_line(name)}: {same}"
        if is_equal
        else f"same weights: {one_line(name)}: {same}; only what the test decides from the outputs differs"
        for name, is_equal in names.items()
    )


def failures(unfinished: Sequence[Row], why: Mapping[str, str]) -> str:
    """Returns the unfinished trials, each with the first line of its error (by identity) and the path of its log."""
    if not unfinished:
        return ""
    lines = [f"{counted(len(unfinished), 'trial')} did not finish:"]
    for row in unfinished:
        assert row.trial is not None
        lines.append(f"  {one_line(row.name)}: {why[row.trial.identity]}")
        log = row.trial.folder / "trial.log"
        lines += [f"    log: {log}"] if log.is_file() else []
    lines.append(
        "The same command trains trials that were stopped or not started, and with retry_failed=true those that failed."
    )
    return "\n".join(lines)


def diagnoses(rows: Sequence[Row], latest: Mapping[str, Outcome]) -> str:
    """Returns what is wrong with trials: each cause once, with the finding in its first trial, and its variants."""
    causes: dict[tuple[str, str], dict[str, list[str]]] = {}
    findings: dict[tuple[str, str], str] = {}
    for row in rows:
        outcome = latest.get(row.trial.identity) if row.trial else None
        if outcome and (finding := outcome.tags.get("ablation.diagnosis")):
            what = LIKELY.get(outcome.tags.get("ablation.health", ""), "with a fault")
            cause = what, finding.split(":")[0]
            findings.setdefault(cause, finding)
            causes.setdefault(cause, {}).setdefault(row.label, []).append(str(row.seed))
    lines = []
    for cause, variants in causes.items():
        count = sum(map(len, variants.values()))
        lines.append(f"{counted(count, 'trial')} {cause[0]}: {findings[cause]}")
        lines += [f"  {one_line(label)} seed={', '.join(seeds)}" for label, seeds in variants.items()]
    return "\n".join(lines)


def next_steps(rows: Sequence[Row], best: str | None, *, link: str | None = None) -> str:
    """Returns the commands that a user may type next.

    Args:
      rows: one row per trial.
      best: identity of the trial with the best validation value, for commands that use a trained model; None if none.
      link: address of the study's runs in MLflow's web pages; None if there is none.
    """
    trials = {row.trial.identity: row.trial for row in rows if row.trial}
    settings = next(iter(trials.values())).settings
    outputs, current = paths.outputs(), Path.cwd()
    of_task = f" --task {settings.task}" if registry.is_place(settings.task) else ""
    folder = str(outputs.relative_to(current)) if outputs.is_relative_to(current) else str(outputs)
    steps = [
        *_browsing(settings.tracking, link),
        ("curves", f"tensorboard --logdir {shlex.quote(folder)}"),
        ("report", f"python -m analysis report {settings.study}{of_task}"),
        *([] if best is None else _using(trials[best])),
    ]
    width = max(7, *(len(what) for what, _ in steps))
    return "\n".join(("", "Next:", *(f"  {what:<{width}}  {command}" for what, command in steps)))


def _using(trial: Prepared) -> list[tuple[str, str]]:
    """Returns the commands of the task that use a trained model."""
    place = f"--task {trial.settings.task} " if registry.is_place(trial.settings.task) else ""
    code = "".join(f"--code {own} " for own in list(own_code.of(trial.settings).values())[:1])
    steps = []
    for name, command in trial.task.commands.items():
        module = f"{command.module} {code}" if command.module else f"src.use {place}{code}"
        typed = f"{module}{trial.identity}{'' if command.module else f' {name}'}"
        steps += [(name, f"python -m {typed} {command.example}")] if command.example else []
    return steps


def _browsing(tracking: Tracking, link: str | None) -> list[tuple[str, str]]:
    """Returns the commands that show the runs in MLflow, without user name and password of a database."""
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


def _unmeasured(study: Study) -> list[str]:
    """Returns a warning for each task of the study that does not have the metric by which the study compares."""
    name = study.metric.removeprefix(TEST)
    lacking = [
        task
        for task in study.levels.get("task", [])
        if study.metric.startswith(TEST) and all(metric.name != name for metric in study.metrics_of(task))
    ]
    return [f"  warning: task={task} does not measure {study.metric}, so it gets no verdict" for task in lacking]


def _other_code(study: Study, done: Sequence[Outcome]) -> list[str]:
    """Returns how many finished trials used, or may have used, other code or other environment variables than now."""
    now = _code(provenance.tags())
    tasks = {registry.version(name) for name in study.levels.get("task", [study.settings.task])}
    packages = Counter(package for outcome in done if (package := outcome.tags.get("ablation.package")) not in tasks)
    other_code = Counter(_code(outcome.tags) for outcome in done if _code(outcome.tags) != now)
    lines = [_finished(other_code.total(), f"used other code ({', '.join(other_code)})")] if other_code else []
    lines += [
        _finished(count, f"used the task of {package}; now {', '.join(filter(None, tasks))}")
        for package, count in packages.items()
        if package
    ]
    unsure = sum(_code(outcome.tags) == now for outcome in done) if "uncommitted" in now else 0
    lines += [_finished(unsure, f"may have used other code ({now}, as now)")] if unsure else []
    current = environment.understood()
    recorded = [outcome.tags.get("ablation.environment", current) for outcome in done]
    differing = Counter(variables for variables in recorded if variables != current)
    return lines + [
        _finished(count, f"used other environment variables ({variables}; now {current})")
        for variables, count in differing.items()
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
    elapsed = seconds / workers
    unit, where = "h:mm:ss" if elapsed >= 3_600 else "m:ss", f" on {workers} workers" if workers > 1 else ""
    return f"about {clock(elapsed)} ({unit}){where}"


def _health(outcomes: Sequence[Outcome | None]) -> str:
    words = Counter(_word(outcome) for outcome in outcomes)
    return next(iter(words)) if len(words) == 1 else ", ".join(f"{count} {word}" for word, count in words.items())


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{statistics.fmean(values):.{digits}f}" if values else "–"


def _word(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not run"
    return outcome.tags.get("ablation.health", (outcome.status or "running").lower())
