"""The report as a file, and as rendered by a browser."""

from __future__ import annotations

import functools
import html
import json
import os
import re
import subprocess
from xml.etree import ElementTree

import pytest
from omegaconf import OmegaConf
from typer.testing import CliRunner

from analysis import figures, findings, load, report, store
from analysis.__main__ import app
from benchmarks import generated
from src import registry
from src.paths import REPOSITORY
from src.spec.metric import meaning
from tests.test_browser import CHROMIUM

NASTY = "$a$\\frac$b <script>alert('x')</script> & \"y\" {{ 7 * 7 }} -->"


def find(name, uri):
    return findings.find(load.study(name, store.connect(uri)))


@pytest.fixture(scope="module")
def written(uri, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    done = CliRunner().invoke(app, ["report", "whole", "--uri", uri, "--out", str(folder), "--no-attach"])
    assert done.exit_code == 0, done.output
    return folder


def test_the_page_needs_no_other_file_and_no_network(written):
    text = (written / "report.html").read_text(encoding="utf-8")

    addresses = set(re.findall(r'\b(?:src|href|action|data)="([^"]*)"', text))
    assert not [
        one for one in addresses if not one.startswith(("#", "data:image/png;base64,", "http://127.0.0.1:5000/#/"))
    ]
    assert not re.search(r"@import|url\((?!#)|<link|<img|<iframe|fetch\(", text)
    assert text.count("<figure ") == 7


def test_everything_is_written_beside_it(written):
    names = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert {
        "table.csv",
        "table.md",
        "table.tex",
        "factorial.csv",
        "factorial.md",
        "factorial.tex",
        "report.html",
    } <= names
    assert {f"figures/forest.{kind}" for kind in ("png", "svg", "pdf")} <= names


def test_users_texts_are_shown_and_never_executed(own):
    levels = {"data.path": [NASTY, "b"], "cell": ["lstm", "gru"]}
    generated.study(
        own,
        "s",
        levels,
        lambda values, seed: {"test/accuracy": 0.5 + 0.01 * seed},
        question=NASTY,
        claim=NASTY,
        steps=3,
    )
    found = find("s", f"sqlite:///{own}")
    drawn = [(one, own.parent / f"{one.name}.svg") for one in figures.draw(found)]
    for one, where in drawn:
        one.figure.savefig(where)
    text = report.page(found, drawn)

    assert "<script>alert" not in text and "&lt;script&gt;alert" in text and "{{ 7 * 7 }}" in text


HOSTILE = "x[v2].csv \x1b[31m \x00 \u202e \ufffe -- > ]]> \"' onerror=alert(1)"


def test_hostile_names_break_no_figure_and_no_page(own):
    def outcome(values, seed):
        return {
            "test/accuracy": 0.5 + 0.01 * seed + 0.1 * (values["cell"] == "gru"),
            "tags": {"health": HOSTILE, "processor": HOSTILE},
        }

    levels = {"data.path": [HOSTILE, "b"], "cell": ["lstm", "gru"]}
    generated.study(own, "s", levels, outcome, question=HOSTILE, steps=3)
    found = find("s", f"sqlite:///{own}")
    drawn = [(one, own.parent / f"{one.name}.svg") for one in figures.draw(found)]
    for one, where in drawn:
        one.figure.savefig(where)
        ElementTree.parse(where)
    text = report.page(found, drawn)

    assert len(drawn) >= 4 and r"\x1b[31m \x00 \u202e" in text
    assert not set(text) & set("\x1b\x00\u202e") and "' onerror" not in text


def test_links_of_a_page_are_addresses_alone(uri):
    found = find("whole", uri)
    found.study.rows["run_id"] = '"><script>/../x'

    links = {trial["link"] for _, trials in report.details(found, has_pages=True) for trial in trials}

    assert {link.rpartition("/")[2] for link in links} == {"%22%3E%3Cscript%3E%2F..%2Fx?workflowType=machine_learning"}


def test_a_study_without_a_question_and_with_one_seed_has_a_page_that_says_so(uri):
    text = report.page(find("one_seed", uri), [])
    assert "Single seed: no interval, and so no verdict" in text and "What did these settings change?" in text
    assert re.search(r"run <code>python -m src\.run [^<`]*seed=&#39;range\(0,8\)&#39;</code> for intervals", text)


def test_deviations_from_the_plan_are_listed_with_their_reasons(uri):
    kinds = dict(report.remarks(find("troubled", uri)))

    assert kinds["Failed or stopped"] == ["masking=true cell=gru seed=2: FAILED (the loss was nan at step 7)"]
    assert kinds["Not run"] == ["masking=false cell=lstm: seeds 1"]


def test_each_problem_of_trials_is_listed_once_with_its_variants(uri):
    (line,) = dict(report.remarks(find("troubled", uri)))["Unhealthy"]

    assert line.startswith("no_learning: masking=true cell=lstm seed=0, 3; ") and line.count("no_learning") == 1


def test_provenance_and_commands_are_there(uri):
    found = find("whole", uri)
    text = report.page(found, [])

    assert dict(report.provenance(found.study.finished))["threads"] == "2"
    assert (
        "git checkout " + "0" * 40 in text
        and "python -m src.run -m study=whole …" in text
        and "python -m analysis report whole" in text
    )


def test_metrics_of_single_trials_have_the_names_of_the_table(uri):
    found = find("whole", uri)
    (heads, *_) = re.findall(r"<thead><tr>(<th>seed</th>.*?)</tr></thead>", report.page(found, []))
    names = ("test/accuracy", "best/val_accuracy", "time/batch_ms_median", "memory/peak_mb")

    titles = {meaning(name, found.study.metrics).title for name in names}
    assert set(re.findall(r"<th>(.*?)</th>", heads)) - {"seed", "status", "best epoch", "health", "trial"} == titles


PROBE = """
<script>
addEventListener("load", () => {
  const table = document.querySelector("table.sortable"), found = {};
  const texts = column => [...table.tBodies[0].rows].map(row => row.cells[column].textContent);
  const place = [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent === "test accuracy");
  const button = table.tHead.rows[0].cells[place].querySelector("button");
  button.click(); found.up = texts(place);
  button.click(); found.down = texts(place);
  found.sorted = table.tHead.rows[0].cells[place].getAttribute("aria-sort");
  const boxes = [...document.querySelectorAll("figure svg")].map(image => image.getBoundingClientRect());
  found.images = boxes.map(box => box.width > 100 && box.height > 100);
  const cards = [...document.querySelectorAll(".figures figure")].map(card => card.getBoundingClientRect());
  const rows = Object.groupBy(cards, card => Math.round(card.top));
  found.uneven = Object.values(rows).filter(row => new Set(row.map(card => Math.round(card.height))).size > 1).length;
  const right = Math.max(...cards.map(card => card.right));
  found.holes = Object.values(rows).filter(row => Math.max(...row.map(card => card.right)) < right - 2).length;
  const caption = document.querySelector("caption span") ?? document.querySelector("caption");
  caption.textContent = "A caption of many words ".repeat(12);
  const ids = [...document.querySelectorAll("[id]")].map(one => one.id);
  found.twice = ids.filter((id, place) => ids.indexOf(id) < place);
  found.dangling = [...document.querySelectorAll("use, nav a, button.copy")].map(
    one => one.dataset.from ? "#" + one.dataset.from : one.getAttribute("href") || one.getAttribute("xlink:href")
  ).filter(target => !document.getElementById(target.slice(1)));
  found.titles = document.querySelectorAll("figure svg title").length;
  found.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const range = document.createRange();
  range.selectNodeContents(document.querySelector(".scroll caption"));
  found.caption = range.getBoundingClientRect().right - innerWidth;
  found.cut = [...document.querySelectorAll(".scroll")].filter(box => box.scrollWidth > box.clientWidth).length;
  document.body.dataset.probe = JSON.stringify(found);
});
</script>
"""


def probed(written, folder, *, width):
    page = folder / f"probed{width}.html"
    page.write_text((written / "report.html").read_text(encoding="utf-8") + PROBE, encoding="utf-8")
    flags = f"--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --window-size={width},900"
    flags += " --disable-background-networking --disable-component-update --disable-sync"
    flags += " --enable-logging=stderr --virtual-time-budget=5000 --dump-dom"
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={folder / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    [text] = re.findall(r'data-probe="([^"]*)"', done.stdout)
    return json.loads(text.replace("&quot;", '"')), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [500, 1440])  # a window of Chromium is at least 500 wide
def test_a_browser_shows_it_whole_and_sorts_its_table(written, tmp_path, width):
    found, console = probed(written, tmp_path, width=width)

    assert console == []
    assert (
        found["up"] == sorted(found["up"])
        and found["down"] == sorted(found["up"], reverse=True)
        and found["sorted"] == "descending"
    )
    assert len(found["images"]) == 7 and all(found["images"])
    assert found["wide"] == 0 and found["caption"] < 0
    assert found["cut"] == 0 or width < 1440
    assert (found["uneven"], found["holes"], found["twice"], found["dangling"]) == (0, 0, [], [])
    assert found["titles"] > 20


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="no Chromium on this machine")
def test_nothing_is_cut_off_on_a_phone(written, tmp_path):
    frame = '<iframe id="telephone" src="probed500.html" style="width:375px;height:800px"></iframe>'
    probed(written, tmp_path, width=500)
    (tmp_path / "outer.html").write_text(
        frame
        + """<script>addEventListener("load", () => {
          const inner = document.getElementById("telephone").contentDocument.documentElement;
          document.body.dataset.wide = inner.scrollWidth - inner.clientWidth;
        });</script>""",
        encoding="utf-8",
    )
    flags = "--headless --no-sandbox --disable-gpu --allow-file-access-from-files --virtual-time-budget=5000 --dump-dom"
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "outer.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

    assert 'data-wide="0"' in done.stdout


@pytest.mark.parametrize("path", sorted((REPOSITORY / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_named_study_has_a_report(path, own):
    content = OmegaConf.to_container(OmegaConf.load(path))
    plan = content["plan"]
    levels = {
        key: values[:2] for key, values in plan.pop("levels", {}).items()
    }  # further levels are further rows of the same
    asked = {key: value for key, value in plan.items() if key != "seeds"}
    chosen = [group["override /task"] for group in content.get("defaults", []) if "override /task" in group]
    settings = registry.task(chosen[0] if chosen else "sentiment").settings()
    for variant in plan.get("variants", []):
        for key, value in variant.items():
            default = functools.reduce(getattr, key.split("."), settings)
            levels.setdefault(key, [content.get(key, default)]).append(value)

    def outcome(values, seed):
        place = sum(list(levels[key]).index(value) for key, value in values.items())
        accuracy = plan.get("threshold", 0.7) + 0.01 * place + 0.003 * ((seed + place) % 3)
        reached = [accuracy - 0.1, accuracy - 0.02, accuracy]
        return {
            **({plan["metric"]: accuracy} if plan.get("metric", "").startswith("test/") else {}),
            "test/accuracy": accuracy,
            "test/loss": 1 - accuracy,
            "validation": reached,
            "time/epoch_s": 2.0 + 0.1 * place + 0.01 * seed,
        }

    generated.study(own, path.stem, levels, outcome, seeds=plan["seeds"][:2], steps=5, examples=20, **asked)
    found = find(path.stem, f"sqlite:///{own}")
    text = report.page(found, [])

    assert next(figures.draw(found)).name == "forest"
    assert found.metric.name in found.study.rows and plan["question"].split("?")[0].strip() in html.unescape(text)
