"""The settings of a program: its command, the toggles and metrics that the user declares, and how it reports."""

from __future__ import annotations

import warnings
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from src.spec.section import Count, Section, Value
from src.spec.settings import Settings as Core

Name = Annotated[str, Field(pattern=r"^[A-Za-z]\w{0,49}$")]
DIRECTIONS = ("higher", "lower", "none")


class Meaning(Section):
    """The meaning of a metric that the program reports."""

    direction: Literal["higher", "lower", "none"] = Field("higher", description="which values are better")
    unit: str = Field("", max_length=20, description="shown after its values")
    title: str = Field("", max_length=60, description="its name in tables and figures")
    digits: int = Field(3, ge=0, le=12, description="decimals that are shown")
    margin: float | None = Field(None, gt=0, description="largest irrelevant difference")
    target: float | None = Field(None, description="validation value to reach, for steps_to")


class Declared(Section):
    """The type, the range and the meaning of a toggle of the program."""

    type: Literal["bool", "int", "float", "text"] | None = Field(None, description="type of its values")
    low: float | None = Field(None, description="least value")
    high: float | None = Field(None, description="greatest value")
    choices: list[Value] = Field([], description="allowed values; empty for all")
    about: str = Field("", max_length=500, description="its meaning")


class Program(Section):
    """How a program runs and reports; no key of it is a toggle."""

    metrics: dict[Name, Literal["higher", "lower", "none"] | Meaning] = Field(
        {},
        description="metrics that the program reports, the first compares; none = accuracy (higher) and loss (lower)",
        json_schema_extra={"words": "{name: higher, lower, none, or {direction, unit, title, digits, margin, target}}"},
    )
    toggles: dict[Name, Declared] = Field(
        {},
        description="type, range and meaning of toggles",
        json_schema_extra={"words": "{toggle: {type, low, high, choices, about}}"},
    )
    files: list[str] = Field(
        [], description="files that the program reads, or patterns such as src/*.py; their content is in the identity"
    )
    folder: str | None = Field(None, description="folder in which the program runs; null = the current folder")
    passes: Literal["arguments", "environment"] = Field(
        "arguments",
        description="arguments = every toggle and the seed stand in the command; "
        "environment = the program reads them from the environment",
    )
    patterns: list[str] = Field(
        [],
        description="regular expressions for lines of its output: named groups are metrics, step and epoch, "
        "or (?P<name>…) and (?P<value>…)",
    )
    mlflow: bool = Field(False, description="read the metrics of the MLflow run that the program writes")
    names: dict[str, str] = Field({}, description="a name that the program reports → its name here, as test/accuracy")
    timeout_minutes: float | None = Field(
        None, gt=0, le=100_000, description="end the program after this many minutes; null = no limit"
    )
    log_mb: Count = Field(10, description="keep at most this much of its output, the first and the last half")


with warnings.catch_warnings():
    # A field hides the class method `toggles` of an instance; the class keeps it, and the core asks the class.
    warnings.filterwarnings("ignore", "Field name", UserWarning)

    class Settings(Core):
        """A command with toggles of the user."""

        COMMANDS: ClassVar[tuple[str, ...]] = ("command",)

        task: str = "program"
        command: str = Field("", description="command of a trial, without a shell; {NAME} is a toggle, {seed} the seed")
        toggles: dict[Name, Value] = Field(  # type: ignore[assignment]
            {},
            description="toggles of the program, as in toggles.lr=0.1,0.01",
            json_schema_extra={"words": "{name: value}"},
        )
        program: Program = Field(Program.model_construct(), description="how the program runs and reports")
