"""Ways to write a text, such as `greedy`, `sample` and `beam`, and their options on a command line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from src.spec.section import SettingsError

if TYPE_CHECKING:
    import typer

Strategies = Mapping[str, Mapping[str, float]]  # strategy → its own options and their defaults


def flag(name: str) -> str:
    """Returns an option as it is typed: `--beam-size`."""
    return f"--{name.replace('_', '-')}"


def option(strategies: Strategies, name: str, about: str) -> typer.models.OptionInfo:
    """Returns an option of some strategies, whose help names them and their defaults."""
    import typer

    owners = {strategy: own[name] for strategy, own in strategies.items() if name in own}
    if len(owners) == 1:
        ((strategy, default),) = owners.items()
        text = f"{strategy}: {about} [default: {default}]"
    else:
        text = f"{about} [default: {', '.join(f'{default} for {strategy}' for strategy, default in owners.items())}]"
    found: typer.models.OptionInfo = typer.Option(help=text, show_default=False)
    return found


def check_owner(strategies: Strategies, strategy: str, given: Collection[str]) -> None:
    """Checks that a strategy has all options that a command line gives.

    Raises:
      SettingsError: an option belongs to another strategy.
    """
    for name in given:
        if name not in strategies[strategy]:
            owner = next(other for other, own in strategies.items() if name in own)
            fix = f"remove it, or set --strategy {owner}"
            raise SettingsError(f"{flag(name)} belongs to --strategy {owner}, got --strategy {strategy}; {fix}")
