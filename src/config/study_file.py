"""Reads study files without YAML's conversion of names such as 2024_01, 1e3, on or 1:30 to numbers and booleans."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf._utils import get_yaml_loader

from src.config.admission import MAX_DEPTH, check_file
from src.config.explain import takes_text
from src.spec.section import SettingsError
from src.terminal.visible import echoed

TEXT, NULL, MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "null", "merge"))
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
OF_TOGGLES = ("plan.levels", "plan.reference", "plan.variants", "plan.exclude")  # sections whose keys are toggles
MAX_NODES = 5_000  # keys and values, counted at each alias
MAX_BYTES = 1_000_000
UNUSUAL = re.compile(r"[-+]?0[0-9_]+|.*:.*")  # YAML reads these in base 8 or 60


def load(path: Path) -> DictConfig | ListConfig:
    """Returns the content of a file, with names and texts exactly as written.

    Raises:
      SettingsError: a name that YAML reads as null, a number that it reads as another one, a file that is too large, or
        a value that `admission.check_file` refuses.
      OSError, UnicodeDecodeError, yaml.YAMLError: the file cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        raise SettingsError(
            f"the file has {path.stat().st_size:,} bytes; allowed: up to {MAX_BYTES:,}. Use fewer levels or variants"
        )
    text = path.read_text(encoding="utf-8")
    _check_size(text)
    loader = get_yaml_loader()(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return OmegaConf.create({})
        _measured(node, {})
        _as_written(node, "", loader)
        plain = loader.construct_document(node)
        check_file(plain)
        content: DictConfig | ListConfig = OmegaConf.create(plain)
        return content
    finally:
        loader.dispose()


def _check_size(text: str) -> None:
    """Refuses a text that is too long or too deep before recursive code reads it: parsing is quadratic in the depth."""
    loader = get_yaml_loader()(text)
    depth = count = 0
    try:
        while loader.check_event():
            event = loader.get_event()
            count += isinstance(event, yaml.NodeEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            _refuse_size(count, depth)
    finally:
        loader.dispose()


def _measured(node: yaml.Node, sizes: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Returns the number of nodes in a tree and its depth, with aliases followed.

    Args:
      node: root of the tree.
      sizes: id of a node → its result; None while it is measured.
    """
    if id(node) in sizes:
        size = sizes[id(node)]
        if size is None:
            raise SettingsError("a YAML alias contains itself; remove it")
        return size
    sizes[id(node)] = None
    below: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        below = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    inner = [_measured(part, sizes) for part in below]
    count, depth = 1 + sum(size for size, _ in inner), (1 + max(height for _, height in inner)) if inner else 0
    _refuse_size(count, depth)
    sizes[id(node)] = count, depth
    return count, depth


def _refuse_size(count: int, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise SettingsError(f"more than {MAX_DEPTH} levels of nesting; a study file needs 5")
    if count > MAX_NODES:
        raise SettingsError(
            f"more than {MAX_NODES:,} keys and values, aliases included; use fewer levels, seeds or variants"
        )


def _as_written(node: yaml.Node, key: str, loader: yaml.SafeLoader) -> None:
    """Tags the unquoted values of text keys below a node as text.

    Args:
      node: the node, before construction.
      key: its dotted place; for the values of a toggle in a plan, the toggle.
      loader: the loader that constructs it.
    """
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            place = key if key in OF_TOGGLES or name.tag == MERGE else f"{key}.{name.value}".lstrip(".")
            _as_written(value, str(name.value) if key in OF_TOGGLES else place, loader)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _as_written(value, key, loader)
    elif node.style is None and node.tag != TEXT and takes_text(key):
        if node.tag == NULL and node.value not in ("", "null"):
            raise SettingsError(
                f'{echoed(key)}: got {node.value}; write null for no value, or "{node.value}" in quotes for the text'
            )
        if node.tag != NULL:
            node.tag = TEXT
    elif node.style is None and node.tag in NUMBERS and UNUSUAL.fullmatch(node.value):
        read = echoed(str(loader.construct_object(node)))
        got = echoed(node.value)
        raise SettingsError(
            f"{echoed(key)}: got {got}, which YAML reads as {read}; "
            f"write {read}, or the number without a leading 0 or :"
        )
