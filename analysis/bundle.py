"""A study in one folder or zip file, for readers who have neither its store nor the machine that trained it.

The same study gives the same bytes: names are sorted, and nothing has a date that is not a trial's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from analysis import adopted, answer, findings, load, plans, private, report, tables, written
from analysis.findings import Findings
from analysis.load import Study
from analysis.private import Hide
from analysis.store import StoreError
from analysis.texts import csv, in_markdown
from src.artifacts import PATCH
from src.paths import REPOSITORY
from src.spec.section import as_typed
from src.terminal.visible import counted
from src.tracking import provenance

MARK, SUMS, TRIALS = "bundle.json", "SHA256SUMS", "trials.csv"
LOCK = "requirements.lock"
FILE_OF_STUDY = re.compile(r"\+experiments=([\w-]+)")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every file in a zip file
OF_TABLES = (".csv", ".md", ".tex", ".html")


class Bundle(NamedTuple):
    """What was written: where, how many files, and remarks for the one who sends it."""

    target: Path
    files: int
    remarks: list[str]


class _Code(NamedTuple):
    """The code of a study's trials.

    Attributes:
      commits: commits, the one of most trials first.
      patches: hash of uncommitted changes → the file with them, in the bundle.
      is_open: whether some trials had uncommitted changes that were not recorded.
      has_lock: whether the bundle has the lock of the packages.
      study_file: the study's file in the bundle, and of which version it is; None if it had none.
    """

    commits: list[str]
    patches: dict[str, str]
    is_open: bool
    has_lock: bool
    study_file: tuple[str, str] | None


def write(loaded: Study, target: Path, *, is_zip: bool, options: dict[str, Any]) -> Bundle:
    """Writes a study as a bundle.

    Args:
      loaded: the study.
      target: folder or zip file to write; an earlier bundle there is replaced.
      is_zip: whether to write a zip file.
      options: of `findings.find`.

    Raises:
      StoreError: something else than a bundle is there, or nothing of the study has finished.
      OSError: it cannot be written; what was there is as it was.
    """
    _refuse_other(target)
    settings = {
        str(row["identity"]): load.settings_of(loaded.store, row["run_id"])
        for row in loaded.rows.dropna(subset=["run_id"]).drop_duplicates("identity").to_dict("records")
    }
    recorded = _plans(loaded)
    hide = private.hiding([recorded, settings, _environments(loaded)])
    found = findings.find(private.study(loaded, hide), **options)
    with _whole(target, name=loaded.name, is_zip=is_zip) as folder:
        made = written.report(found, folder, is_shared=True)
        _move_tables(folder)
        _write_trials(found, folder)
        if any(settings.values()):
            _write_json(folder / "settings.json", private.everywhere(dict(sorted(settings.items())), hide))
        _write_json(folder / "plan.json", private.plans(recorded, hide))
        code = _write_code(loaded, folder, hide)
        _write_json(folder / MARK, {"bundle": 1, "study": loaded.name})
        (folder / "README.md").write_text(_readme(found, code), encoding="utf-8")
        _write_sums(folder)
        files = sum(path.is_file() for path in folder.rglob("*"))
        patched = [folder / name for name in code.patches.values()]
        exposed = sum(private.lines_with_paths(path.read_text("utf-8", "replace")) for path in patched)
    remarks = list(made.notes)
    if code.patches:
        shown = f", with paths in {counted(exposed, 'line')}" if exposed else ""
        remarks.append(f"code/ has uncommitted changes as they were recorded{shown}; read them before you share them")
    return Bundle(target, files, remarks)


def _plans(loaded: Study) -> list[dict[str, Any]]:
    path = loaded.store.artifact(loaded.run_id, plans.FILE)
    return json.loads(path.read_text(encoding="utf-8")) if path is not None else [loaded.plan]


def _environments(loaded: Study) -> list[str]:
    return [text for text in loaded.rows["environment"] if text]


def _refuse_other(target: Path) -> None:
    """Raises `StoreError` if something else than a bundle is at the target."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not ((target / MARK).is_file() if target.is_dir() else _has_mark(target)):
        raise StoreError(f"{target} exists and is no bundle; it is not replaced. Name another place with --out")


def _has_mark(target: Path) -> bool:
    """Returns whether a file is a zip file with a bundle."""
    if not zipfile.is_zipfile(target):
        return False
    with zipfile.ZipFile(target) as archive:
        return any(name.endswith(f"/{MARK}") for name in archive.namelist())


@contextmanager
def _whole(target: Path, *, name: str, is_zip: bool) -> Iterator[Path]:
    """Yields a folder to fill; only after the block, its content is put at the target, in place of a bundle there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as made:
        folder = Path(made) / name
        folder.mkdir()
        yield folder
        new, old = folder, Path(made) / "old"
        if is_zip:
            new = Path(made) / "new.zip"
            _write_zip(folder, new)
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(new, target)
        except OSError:
            if old.exists():
                os.replace(old, target)
            raise


def _write_zip(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(folder.parent).as_posix(), EPOCH)
                entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
                archive.writestr(entry, path.read_bytes(), compresslevel=6)


def _move_tables(folder: Path) -> None:
    (folder / "tables").mkdir()
    for path in sorted(folder.iterdir()):
        if path.suffix in OF_TABLES and path.name not in ("report.html", TRIALS):
            shutil.move(path, folder / "tables" / path.name)


def _write_trials(found: Findings, folder: Path) -> None:
    """Writes the rows that have a trial; what was dropped or not run is in the report and in the plan."""
    rows = load.trials_of_tables(found.study)
    (folder / TRIALS).write_text(csv(rows[found.study.rows["run_id"].notna()]), encoding="utf-8")


def _write_code(loaded: Study, folder: Path, hide: Hide) -> _Code:
    """Writes the environment of the trials, their uncommitted changes, and the study's file."""
    rows = loaded.finished.drop_duplicates("run_id")
    commits = [str(one) for one, _ in Counter(rows["git_commit"].dropna()).most_common() if one not in ("", "unknown")]
    facts = [f"{name}: {hide(text)}" for name, text in report.provenance(loaded.finished)]
    (folder / "environment").mkdir()
    (folder / "environment" / "versions.txt").write_text("\n".join(facts) + "\n", encoding="utf-8")
    lock = provenance.file_at(commits[0], LOCK) if commits else None
    if lock is not None:
        (folder / "environment" / LOCK).write_bytes(lock)
    patches = {}
    for row in rows.dropna(subset=["git_diff"]).drop_duplicates("git_diff").to_dict("records"):
        path = loaded.store.artifact(row["run_id"], PATCH)
        if path is not None:
            name = report.patch_in_bundle(row["git_diff"])
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / name)
            patches[str(row["git_diff"])] = name
    is_dirty = rows["git_dirty"] == "true"
    is_open = bool((is_dirty & ~rows["git_diff"].isin(patches)).any())
    return _Code(commits, patches, is_open, lock is not None, _write_study_file(loaded, folder, commits, hide))


def _write_study_file(loaded: Study, folder: Path, commits: Sequence[str], hide: Hide) -> tuple[str, str] | None:
    """Writes the file that the study's command names, as its commit has it, or as it is now."""
    commands = [str(each["command"]) for each in loaded.plan["commands"]]
    named = next((match[1] for command in reversed(commands) if (match := FILE_OF_STUDY.search(command))), None)
    if named is None:
        return None
    place = f"experiments/{named}.yaml"
    content, version = (provenance.file_at(commits[0], place) if commits else None), "at the commit of the trials"
    if content is None and (REPOSITORY / place).is_file():
        content, version = (REPOSITORY / place).read_bytes(), "as it is now; the commit of the trials does not have it"
    if content is None:
        return None
    (folder / place).parent.mkdir()
    (folder / place).write_text(hide(content.decode("utf-8", "replace")), encoding="utf-8")
    return place, version


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _write_sums(folder: Path) -> None:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}" for path in files
    ]
    (folder / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _readme(found: Findings, code: _Code) -> str:
    """Returns the page that explains the bundle: the answer, how to reproduce it, and its files."""
    study = found.study
    question = [in_markdown(study.plan["question"])] if study.plan["question"] else []
    answers = "\n".join(f"- {in_markdown(sentence)}" for sentence in answer.sentences(found))
    parts = [
        f"# Study {study.name}", *question, f"Trials: {study.counts}.", answers,
        tables.ablation(found).markdown().strip(), tables.explanation(found),
        "## Reproduce", *_reproduce(found, code), "## Read the trials again", *_adopt(found),
        "## Files", _files(code, has_settings=not isinstance(study.store, adopted.AdoptedStore)),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _reproduce(found: Findings, code: _Code) -> Iterator[str]:
    """Yields how to reproduce a study: the state of the code, and the commands that were typed."""
    study = found.study
    commands = list(dict.fromkeys(str(each["command"]) for each in study.plan["commands"]))
    if isinstance(study.store, adopted.AdoptedStore):
        yield "These runs were recorded elsewhere; their code is not known. They were adopted with:"
        yield _block(commands)
        return
    if not code.commits:
        yield "The commit of the code is not known."
    elif len(code.commits) > 1:
        others = ", ".join(code.commits[1:])
        yield f"The trials are of {len(code.commits)} commits; the commands name that of most trials. Others: {others}."
    if code.patches:
        yield (
            "The code had uncommitted changes. `code/` has them as patches, named by their hashes; the lines "
            "`not in git: …` at the beginning name files that only existed there."
        )
    if code.is_open:
        yield "Some trials had uncommitted changes that were not recorded."
    lines = [f"git checkout {code.commits[0]}"] if code.commits else []
    lines += [f"git apply {name}" for name in code.patches.values()] if len(code.patches) == 1 else []
    lines += [f"pip install -r environment/{LOCK}"] if code.has_lock else []
    yield _block([*lines, *commands, f"python -m analysis report {study.name}"])
    if code.study_file:
        yield f"`{code.study_file[0]}` is the file of the study, {code.study_file[1]}."
    yield "A path that begins with … was on the machine of the trials. `plan.json` has the whole plan."


def _adopt(found: Findings) -> Iterator[str]:
    """Yields the command that makes a study of the file with the trials."""
    study, name = found.study, found.metric.name
    if not study.toggles or not found.metric.direction:
        yield f"`{TRIALS}` has one row per variant and seed, with all metrics."
        return
    yield f"`{TRIALS}` has one row per variant and seed, with all metrics. As a study of its own:"
    reference = ",".join(f"{key}={as_typed(value)}" for key, value in study.plan["reference"].items())
    metric = f"{name}:{found.metric.direction}"
    words = ["python", "-m", "analysis", "adopt", TRIALS, "--toggles", ",".join(study.toggles), "--seed", "seed",
             "--metric", metric, "--reference", reference, "--name", f"{study.name}_adopted"]  # fmt: skip
    yield _block([shlex.join(words)])


def _files(code: _Code, *, has_settings: bool) -> str:
    rows = {
        "report.html": "the report, one page that needs no network",
        TRIALS: "one row per variant and seed: toggles, status and all metrics",
        "tables/": "the tables as CSV, Markdown, LaTeX and HTML",
        "figures/": "the figures as PNG, SVG and PDF",
        "plan.json": "the recorded plans: design, levels, seeds, rows, commands",
        **({"settings.json": "the resolved settings of each trial, by its identity"} if has_settings else {}),
        "environment/": "versions, processor and threads as recorded"
        + (f"; {LOCK}, the packages of that commit" if code.has_lock else ""),
        **({"code/": "uncommitted changes of the code"} if code.patches else {}),
        **({code.study_file[0]: "the file of the study"} if code.study_file else {}),
        SUMS: f"hashes of the files: `sha256sum -c {SUMS}`",
    }
    return "\n".join(["| file | holds |", "| --- | --- |", *(f"| `{name}` | {text} |" for name, text in rows.items())])


def _block(lines: Sequence[str]) -> str:
    return "\n".join(["```bash", *lines, "```"])
