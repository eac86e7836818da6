"""Rows of a file that cannot be used: all are counted, and the error names the first few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from src.data.files import DataError
from src.terminal.visible import shortened

FEW = 5  # rows that an error names


class Unusable(ValueError):
    """A value that cannot be used, described for its own row and for several rows."""

    def __init__(self, single: str, several: str, *, example: str = "", fix: str = "") -> None:
        """Takes the text after `row 3: ` and the text after `37 rows `.

        Args:
          single: describes the fault of this row.
          several: describes the fault of several rows; equal for all rows with this fault.
          example: value of this row, shown after `several`.
          fix: what to do; `{it}` and `{its}` become `them` and `their` if several rows have the fault.
        """
        super().__init__(single)
        self.single, self.several, self.example, self.fix = single, several, example, fix


@dataclass
class _Kind:
    first: Unusable
    rows: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        """The fault, the number of rows that have it, and the fix."""
        fault, is_single = self.first, len(self.rows) == 1
        example = f", such as {fault.example}" if fault.example else ""
        several = f": {len(self.rows):,} rows {fault.several}{example}: {row_numbers(self.rows)}"
        message = f", row {self.rows[0]}: {fault.single}" if is_single else several
        its, it = ("its", "it") if is_single else ("their", "them")
        return message + (f". {fault.fix.format(it=it, its=its)}" if fault.fix else "")


class Faults:
    """The rows of one file that cannot be used, grouped by fault."""

    def __init__(self, path: Path) -> None:
        """Takes the file's path."""
        self._path = path
        self._kinds: dict[str, _Kind] = {}

    def add(self, row: int, fault: Unusable) -> None:
        """Counts a row, by its number in the file. Faults with equal texts for several rows are of one kind."""
        self._kinds.setdefault(fault.several, _Kind(fault)).rows.append(row)

    def refuse(self) -> None:
        """Refuses the file if any of its rows cannot be used.

        Raises:
          DataError: the text describes the first kind of fault in full and names the rows of the others.
        """
        if not self._kinds:
            return
        first, *others = self._kinds.values()
        message = f"{self._path}{first}"
        named = set(first.rows)
        rest = {row: kind.first.single for kind in reversed(others) for row in kind.rows if row not in named}
        if rest:
            rows = sorted(rest)
            which = f"{row_numbers(rows)} (row {rows[0]}: {shortened(rest[rows[0]], 100)})"
            message += f". {len(rows):,} more row{'s' * (len(rows) > 1)} cannot be used: {which}"
        raise DataError(message)


def row_numbers(rows: Sequence[int]) -> str:
    """Returns the numbers of rows as text, at most the first few: `rows 3, 9, 12, 15, 18 and 32 more`."""
    shown = ", ".join(map(str, rows[:FEW]))
    more = f" and {len(rows) - FEW:,} more" if len(rows) > FEW else ""
    return f"row{'s' * (len(rows) > 1)} {shown}{more}"
