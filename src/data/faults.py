"""Rows of a file that cannot be used: all are counted, and the first few named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from src.data.files import DataError
from src.terminal.visible import shortened

FEW = 5  # rows that are named


class Unusable(ValueError):
    """A value that cannot be used, said of its row and of several rows."""

    def __init__(self, one: str, many: str, *, example: str = "", fix: str = "") -> None:
        """Takes what to say after `row 3: ` and after `37 rows `.

        Args:
          one: of the row alone.
          many: of all rows with this fault, the same for each.
          example: value of this row, shown after `many`.
          fix: what to do; `{it}` and `{its}` in it become `them` and `their` where it is said of several rows.
        """
        super().__init__(one)
        self.one, self.many, self.example, self.fix = one, many, example, fix


@dataclass
class _Kind:
    first: Unusable
    rows: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        """What is wrong, of how many rows, and the fix."""
        fault, is_one = self.first, len(self.rows) == 1
        such_as = f", such as {fault.example}" if fault.example else ""
        several = f": {len(self.rows):,} rows {fault.many}{such_as}: {named(self.rows)}"
        said = f", row {self.rows[0]}: {fault.one}" if is_one else several
        its, it = ("its", "it") if is_one else ("their", "them")
        return said + (f". {fault.fix.format(it=it, its=its)}" if fault.fix else "")


class Faults:
    """The rows of one file that cannot be used, by what is wrong with them."""

    def __init__(self, path: Path) -> None:
        """Takes the file's path."""
        self._path = path
        self._kinds: dict[str, _Kind] = {}

    def add(self, row: int, fault: Unusable) -> None:
        """Counts a row, by its number in the file. Faults are of one kind where they say the same of several rows."""
        self._kinds.setdefault(fault.many, _Kind(fault)).rows.append(row)

    def refuse(self) -> None:
        """Refuses the file if a row of it cannot be used.

        Raises:
          DataError: it says the first kind of fault in full and names the rows of the others.
        """
        if not self._kinds:
            return
        first, *others = self._kinds.values()
        said = f"{self._path}{first}"
        known = set(first.rows)
        rest = {row: kind.first.one for kind in reversed(others) for row in kind.rows if row not in known}
        if rest:
            rows = sorted(rest)
            example = f"row {rows[0]}: {shortened(rest[rows[0]], 100)}"
            said += f". {len(rows):,} more row{'s' * (len(rows) > 1)} cannot be used: {named(rows)} ({example})"
        raise DataError(said)


def named(rows: Sequence[int]) -> str:
    """Returns the numbers of rows for a reader, at most a few: `rows 3, 9, 12, 15, 18 and 32 more`."""
    shown = ", ".join(map(str, rows[:FEW]))
    more = f" and {len(rows) - FEW:,} more" if len(rows) > FEW else ""
    return f"row{'s' * (len(rows) > 1)} {shown}{more}"
