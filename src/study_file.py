"""A study file as it is written: YAML turns names such as 2024_01, 1e3, on or 1:30 into numbers and truth values, and this does not."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf._utils import get_yaml_loader

from src.settings import SettingsError, takes_text

TEXT, NULL, MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "null", "merge"))
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
OF_TOGGLES = ("plan.levels", "plan.reference", "plan.variants")  # whose keys are toggles
UNUSUAL = re.compile(r"[-+]?0[0-9_]+|.*:.*")  # what YAML reads in base 8 or 60


def load(path: Path) -> DictConfig | ListConfig:
    """Returns what a file holds, with names and texts as they are written.

    Raises:
      SettingsError: a name that YAML reads as nothing, or a number that it reads as another.
      OSError, UnicodeDecodeError, yaml.YAMLError: the file cannot be read.
    """
    loader = get_yaml_loader()(path.read_text(encoding="utf-8"))
    try:
        node = loader.get_single_node()
        if node is None:
            return OmegaConf.create({})
        _as_written(node, "", loader)
        held: DictConfig | ListConfig = OmegaConf.create(loader.construct_document(node))
        return held
    finally:
        loader.dispose()


def _as_written(node: yaml.Node, key: str, loader: yaml.SafeLoader) -> None:
    """Makes texts of the plain words below a node that stand where a text is wanted.

    Args:
      node: to be constructed.
      key: its place, dotted; of the values of toggles in a plan the toggle.
      loader: that constructs it.
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
            raise SettingsError(f'{key}: got {node.value}; write null for none, or "{node.value}" in quotes for the text')
        if node.tag != NULL:
            node.tag = TEXT
    elif node.style is None and node.tag in NUMBERS and UNUSUAL.fullmatch(node.value):
        read = loader.construct_object(node)
        raise SettingsError(f"{key}: got {node.value}, which YAML reads as {read}; write {read}, or what you mean without 0 or :")
