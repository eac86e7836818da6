"""The links of the documents work, and their site loads nothing from other servers."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import generated
from src import registry
from src.config import command_line
from src.paths import REPOSITORY

PAGES = [*generated.documents(), *sorted(REPOSITORY.glob("experiments/results/*/*.md"))]
NOTEBOOK = REPOSITORY / "docs" / "notebook.ipynb"
FENCED = re.compile(r"```.*?```|`[^`\n]*`|<!--.*?-->", re.DOTALL)


def links(page: Path) -> list[str]:
    """Returns the targets of a page's links and pictures that are in the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text(encoding="utf-8")))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings by GitHub's rules."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    counts: dict[str, int] = {}
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = counts[name] = counts.get(name, -1) + 1
        found.add(f"{name}-{count}" if count else name)
    return found


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", [*generated.documents(), NOTEBOOK], ids=name_of)
def test_links_of_the_documents_lead_to_files_and_headings(page):
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page

        assert target.is_file(), f"{link}: no such file"
        assert not anchor or anchor in anchors(target), f"{link}: {name_of(target)} has {sorted(anchors(target))}"


def test_the_notebook_has_about_ten_cells_of_code_and_no_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]

    assert 8 <= len(code) <= 12
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []


def test_the_readme_links_to_every_document():
    readme = REPOSITORY / "README.md"
    reached = {(readme.parent / link.partition("#")[0]).resolve() for link in links(readme)} | {readme}

    assert set(generated.documents()) <= reached


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_the_page_of_a_task_leads_to_its_toggles_data_metrics_and_commands(name):
    index = REPOSITORY / "experiments" / "README.md"
    row = re.search(rf"^\| `{name}` \| .*?\]\((\S+?)\)", index.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert row, f"{name} is not in the table of tasks of {name_of(index)}"
    page = index.parent / row[1]
    beginning = page.read_text(encoding="utf-8").partition("\n## ")[0]
    reached = re.findall(r"\]\((\S+?)\)", beginning)

    assert re.search(rf"^python -m src\.run .*task={name}\b", beginning, flags=re.MULTILINE)
    if name != "program":  # whose toggles, metrics and commands are those of a program; its page is no page of studies
        assert f"../docs/toggles.md#toggles-of-task{name}" in reached
        assert any(link.startswith("../docs/data.md") for link in reached)
        assert "etrics" in beginning
        assert not registry.task(name).commands or any(link.startswith("../docs/predicting.md") for link in reached)


def test_a_document_shows_every_picture_and_pictures_are_small():
    shown = {(page.parent / link).resolve() for page in generated.documents() for link in links(page)}
    pictures = sorted((REPOSITORY / "docs" / "images").iterdir())

    assert pictures
    assert [path.name for path in pictures if path not in shown or path.stat().st_size > 200_000] == []


def test_the_page_of_toggles_is_made_from_the_settings():
    assert (REPOSITORY / "docs" / "toggles.md").read_text(encoding="utf-8") == generated.toggles(), "run `make docs`"


@pytest.mark.parametrize("task", registry.BUILT_IN)
def test_the_page_of_toggles_has_every_key_of_the_help(task):
    keys = re.findall(r"^  ([\w.]+)=", command_line.help_text(task), flags=re.MULTILINE)
    page = generated.toggles()

    assert len(keys) > 50
    assert [key for key in keys if f"| `{key}` |" not in page] == []


def test_the_page_of_toggles_lists_a_toggle_under_its_own_task_or_with_another_default():
    sections = dict(part.partition("\n")[::2] for part in generated.toggles().split("\n## "))
    sentiment, integration, vectors, every = (
        sections[f"Toggles of {name}"]
        for name in ("task=sentiment", "task=integration", "task=word_vectors", "every task")
    )

    assert "| `masking` |" in sentiment and "| `masking` |" not in integration + every
    assert "| `num_samples` |" in integration and "| `num_samples` |" not in sentiment + every
    assert "| `batch_size` | `64` |" in every and "| `batch_size` |" not in sentiment + integration
    assert "| `batch_size` | `4096` |" in vectors
    assert "| `task` |" not in sentiment + integration + vectors


def test_a_table_in_a_document_is_replaced_and_the_text_around_it_stays(tmp_path):
    (tmp_path / "table.md").write_text("| a |\n| --- |\n| 2 |\n", encoding="utf-8")
    before = "Before.\n\n<!-- table: table.md -->\n\n| a |\n| --- |\n| 1 |\n\n<!-- end of table -->\n\nAfter.\n"

    after = generated.with_tables(before, tmp_path)

    assert after == before.replace("| 1 |", "| 2 |")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_document(site):
    pages = [path.relative_to(REPOSITORY) for path in generated.documents()]
    addresses = [
        page.with_name("index.html") if page.name == "README.md" else page.with_suffix(".html") for page in pages
    ]

    assert [str(address) for address in addresses if not (site / address).is_file()] == []


def test_the_site_loads_nothing_from_other_servers(site):
    in_pages = r"""<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)"""
    in_styles = r"""(?:url\(|@import )["']?((?:https?:)?//[^)\s]+)"""

    for pattern, loads in (("*.html", in_pages), ("*.css", in_styles)):
        pages = list(site.rglob(pattern))
        assert pages
        assert [(page.name, url) for page in pages for url in re.findall(loads, page.read_text(encoding="utf-8"))] == []


def test_links_of_the_site_lead_to_files_and_headings(site):
    ids = {path: set(re.findall(r'\bid="([^"]+)"', path.read_text(encoding="utf-8"))) for path in site.rglob("*.html")}
    for page in ids:
        if page.name == "404.html":  # its links begin at the root of the server
            continue
        for link in re.findall(r'\b(?:href|src)="([^"]+)"', page.read_text(encoding="utf-8")):
            file, _, anchor = html.unescape(link).partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            target = (page.parent / file.partition("?")[0]).resolve() if file else page
            target = target / "index.html" if target.is_dir() else target

            assert target.is_file(), (page.name, link)
            assert not anchor or anchor in ids[target] or anchor.startswith("__"), (page.name, link)


def test_the_site_shows_every_list_and_table_as_such(site):
    """Without an empty line before a list, GitHub shows a list, but the site a paragraph with dashes."""
    for page in site.rglob("*.html"):
        text = re.sub(r"<pre.*?</pre>|<script.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)

        assert re.findall(r"^(?:<p>)?(?:- |\d+\. |\| ).*", text, flags=re.MULTILINE) == [], page.name
