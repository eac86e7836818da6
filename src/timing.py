"""Times the training steps of a study's variants in turn: `python -m src.timing STUDY`.

Run it when nothing else uses the machine. The study's tables and its report then show these times, with intervals over
rounds, instead of those of whole trials.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from src import environment, own_code, paths, registry
from src.artifacts import SETTINGS
from src.config.settings import of_file
from src.spec.record import START, Record
from src.spec.section import SettingsError
from src.study import plan_record, running, stopwatch
from src.study.stopwatch import ROUNDS, Variant
from src.study.table import console
from src.study.timing import BUSY_CORES, FILE, Pass
from src.terminal.errors import first_line, nearest
from src.terminal.progress import LINE_EVERY_S, say
from src.terminal.visible import counted, one_line, visible
from src.tracking import journal, provenance
from src.trial import locate
from src.trial.prepare import Prepared, prepare

STEPS = 6
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
MOST = 40  # variants: each keeps its model and its graphs in memory
MACHINE = ("processor", "threads", "environment", "versions", "git_commit", "git_dirty")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, 1 if the machine is busy, 2 for an invalid command, 130 if stopped."""
    environment.draw_to_files()
    options = _parser().parse_args(arguments)
    try:
        for task in options.task:
            registry.allow(task)
        for place in options.code:
            own_code.allow(place)
        return _time(options, console())
    except KeyboardInterrupt:
        print("\nStopped; an earlier timing pass of the study is kept.")
        return 130
    except SettingsError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m src.timing", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", metavar="STUDY", help="a study with trained trials in outputs/")
    parser.add_argument(
        "--rounds", type=_count(2), help=f"rounds over all variants (default: {ROUNDS}, and more where steps are short)"
    )
    parser.add_argument(
        "--steps",
        type=_count(1),
        default=STEPS,
        help=f"least number of timed steps of a turn (default: {STEPS})",
    )
    parser.add_argument(
        "--threads", type=_count(1), help="threads of TensorFlow (default: those of the reference's trial)"
    )
    parser.add_argument(
        "--only", metavar="TEXT", help="time the reference and the variants whose label contains this text"
    )
    parser.add_argument("--busy", action="store_true", help="measure on a busy machine, too, and mark the times")
    parser.add_argument(
        "--task", metavar="module:NAME", action="append", default=[], help="a task of another package to import"
    )
    parser.add_argument(
        "--code", metavar="module:NAME", action="append", default=[], help="a model or cell of your own to import"
    )
    return parser


def _count(least: int) -> Any:
    def parsed(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"got {text!r}; allowed: a whole number from {least} on")
        return int(text)

    return parsed


def _time(options: argparse.Namespace, shown: Console) -> int:
    folder = paths.study_folder(options.study)
    rows = _rows(options.study, folder, only=options.only)
    variants, left_out = _variants(rows, folder)
    threads = options.threads or _threads(variants[0][1].folder)
    os.environ.update(dict.fromkeys(THREADS if threads else (), str(threads)))
    busy, programs = stopwatch.load()
    if busy > BUSY_CORES and not options.busy:
        used = f"other programs use {busy:.1f} of its {os.cpu_count()} cores{': ' if programs else ''}"
        print(f"error: the machine is busy: {used}{', '.join(programs)}", file=sys.stderr)
        print("Wait until they end, or add --busy to measure now and mark the times as rough.", file=sys.stderr)
        return 1
    if running.is_held(folder):
        say(shown, f"note: study {options.study} is being trained now; its workers share the machine")
    found = _measured(options, variants, left_out, busy, shown)
    found.write(folder / FILE)
    _attach(folder, variants[0][1])
    _print(found, shown)
    return 0


def _rows(study: str, folder: Path, *, only: str | None) -> list[Mapping[str, Any]]:
    """Returns one row of the study's latest plan per variant that has a trial, the reference first.

    Raises:
      SettingsError: there is no such study, no plan, no reference, or too many variants.
    """
    try:
        record = plan_record.from_text((folder / "plan.json").read_text(encoding="utf-8"))[-1]
    except FileNotFoundError:
        names = sorted(path.parent.name for path in paths.outputs().glob("*/plan.json"))
        near = nearest(study, names)
        hint = f"did you mean {near}?" if near else f"studies: {', '.join(names[:5]) or 'none yet'}"
        raise SettingsError(f"no study {study!r} in {paths.outputs()}; {hint}") from None
    except (OSError, ValueError, IndexError):
        raise SettingsError(
            f"{folder / 'plan.json'}: not a valid plan; run the study's command again to write it"
        ) from None
    of_variant = {row["identity"]: row for row in reversed(record["rows"]) if row["identity"]}
    firsts = list({row["label"]: row for row in of_variant.values()}.values())[::-1]
    rows = sorted(firsts, key=lambda row: row["role"] != "reference")
    if not rows or rows[0]["role"] != "reference":
        raise SettingsError(f"study {study!r}: its reference was dropped, so there is nothing to compare times with")
    if only is not None:
        rows = [rows[0], *(row for row in rows[1:] if only in row["label"])]
    if len(rows) > MOST:
        many = f"study {study!r} has {len(rows):,} variants, and a timing pass keeps at most {MOST} in memory"
        raise SettingsError(f"{many}; choose some with --only TEXT, such as --only '{rows[1]['label'].split(' ')[0]}'")
    return rows


def _variants(rows: Sequence[Mapping[str, Any]], folder: Path) -> tuple[list[tuple[str, Prepared]], dict[str, str]]:
    """Returns the label and the trial of each variant, and label → reason for those without a trial here.

    Raises:
      SettingsError: the reference has none.
    """
    variants, left_out = [], {}
    for row in rows:
        try:
            variants.append((row["label"], _prepared(folder, row)))
        except SettingsError as error:
            if row["role"] == "reference":
                raise SettingsError(f"the reference, {row['label']}, cannot be timed: {error}") from None
            left_out[row["label"]] = str(error)
    return variants, left_out


def _prepared(folder: Path, row: Mapping[str, Any]) -> Prepared:
    """Returns the trial of a row, from the settings that it was trained with."""
    path = folder / row["identity"] / SETTINGS
    if path.is_file() and not registry.is_importable(task := locate.task_of(path.parent)):
        raise SettingsError(f"it was trained with task={task}; add --task {task} to import it")
    try:
        prepared = prepare(of_file(json.loads(path.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        raise SettingsError("no trial of it was trained in this folder; run the study first") from None
    except (OSError, ValueError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"{path} cannot be read ({first_line(error)})") from None
    if prepared.identity != row["identity"]:
        raise SettingsError("its data or its rules have changed since it was trained; train it again")
    return prepared


def _threads(trial: Path) -> int | None:
    """Returns the number of threads that a trial recorded; None if it recorded none."""
    try:
        starts = journal.last_attempt(trial, kinds=(START,))
        return int(starts[-1].record.detail["tags"]["ablation.threads"])
    except (OSError, LookupError, ValueError, journal.JournalError):
        return None


def _measured(
    options: argparse.Namespace,
    variants: Sequence[tuple[str, Prepared]],
    left_out: dict[str, str],
    busy: float,
    shown: Console,
) -> Pass:
    begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    (reference, trial), threads = variants[0], provenance.tags()["ablation.threads"]
    lanes = [Variant(label, each.identity, _training(each)) for label, each in variants]
    rounds = f"{options.rounds or ROUNDS}{'' if options.rounds else ' or more'} rounds"
    what = f"{counted(len(lanes), 'variant')}, {rounds} of {counted(options.steps, 'step')} of each"
    say(shown, f"study {options.study}: timing {what}, {counted(int(threads), 'thread')}")
    lanes.append(Variant(f"{reference} again", trial.identity, _training(trial)))
    others = stopwatch.Others()
    with _shown(shown) as show:
        timed, failed = stopwatch.measure(lanes, rounds=options.rounds, steps=options.steps, show=show)
    if reference in failed:
        raise SettingsError(f"the reference, {reference}, cannot be timed: {failed[reference]}")
    return Pass(
        study=options.study,
        begun=begun,
        rounds=len(timed[0].turns),
        steps=options.steps,
        machine={name: provenance.tags()[f"ablation.{name}"] for name in MACHINE},
        busy_before=busy,
        busy_during=others.cores(),
        variants=timed[:-1],
        again=timed[-1],
        left_out=left_out | failed,
    )


def _training(trial: Prepared) -> Callable[[int], Iterator[Record]]:
    return lambda every: trial.task.timed(trial.settings, trial.data, every=every)


@contextmanager
def _shown(console: Console) -> Iterator[Callable[[str], None]]:
    """Shows what happens: in one changing line on a terminal, elsewhere as a line now and then."""
    if console.is_terminal:
        with console.status("importing TensorFlow") as status:
            yield lambda text: status.update(Text(one_line(text)))
        return
    last = [time.monotonic()]

    def show(text: str) -> None:
        if time.monotonic() - last[0] > LINE_EVERY_S:
            last[0] = time.monotonic()
            say(console, text)

    yield show


def _attach(folder: Path, trial: Prepared) -> None:
    """Sends the pass to the study's run in MLflow; says how to send it later if that fails."""
    from src.tracking.mlflow_replay import Store

    tracking = trial.settings.tracking
    try:
        if tracking.name == "offline":
            raise SettingsError("tracking=offline")
        Store(tracking.uri, trial.settings.study, is_new=False).attach(folder / FILE, tags={})
    except Exception as error:  # MLflow's stores raise what their drivers raise
        print(f"The times are in {folder / FILE}, but not in MLflow ({first_line(error)});")
        print(f"`python -m src.sync {trial.settings.study}` sends them.")


def _print(found: Pass, shown: Console) -> None:
    """Prints the times, the check of the reference against itself, and the next command."""
    from analysis import times  # late: it imports pandas and SciPy

    blocks, rows = times.of_pass(found), [*found.variants, found.again]
    table = Table(box=None, pad_edge=False, header_style="bold")
    has_tokens = any(one.tokens_per_s for one in rows)
    for heading in ("variant", "ms per step", "p10 to p90", "ratio [95 %]", *(["tokens/s"] * has_tokens), "kernel"):
        table.add_column(heading, justify="left" if heading in ("variant", "kernel") else "right", overflow="fold")
    for place, one in enumerate(rows):
        compared = "1" if place == 0 else _ratio(times.columns(blocks.log_ratio(place, 0)))
        tokens = [f"{one.tokens_per_s or 0:,.0f}"] if has_tokens else []
        cells = [f"{one.median:.2f}", f"{one.p10:.2f} to {one.p90:.2f}", compared, *tokens, one.kernel]
        table.add_row(Text(one_line(one.label)), *map(Text, cells))
    shown.print(table)
    for label, why in found.left_out.items():
        say(shown, f"not timed: {one_line(label)}: {why}")
    say(shown, times.check(found))
    say(shown, f"next: python -m analysis table {found.study}")


def _ratio(row: Mapping[str, float]) -> str:
    return f"{row['time_ratio']:.3f} [{row['time_low']:.3f}, {row['time_high']:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
