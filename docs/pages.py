"""Adds the repository's documents to the site, at the same relative addresses as in the repository.

MkDocs calls this module during the build (`hooks` in mkdocs.yml). So the same link works in the repository and on the
site, also between documents outside docs/.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/*.md",
    "docs/notebook.ipynb",
    "docs/site.css",
    "docs/images/*",
    "experiments/*.md",
    "experiments/results/*/*.md",
    "experiments/results/*/*.png",
    "benchmarks/results/*.png",
    "tests/plugin/ablation_prices.py",  # the example of docs/tasks.md
    "tests/own/my_module.py",  # the example of docs/own_model.md
    "tests/plain/ablation_line.py",  # its example without Keras
    "experiments/programs/*.py",  # the examples of docs/any_program.md
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Returns the theme's files, and the documents with their pictures instead of the files in docs/."""
    root = Path(config.config_file_path).parent
    names = [path.relative_to(root).as_posix() for pattern in PAGES for path in sorted(root.glob(pattern))]
    theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*theme, *(File(name, str(root), config.site_dir, config.use_directory_urls) for name in names)])
