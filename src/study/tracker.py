"""The MLflow store of a study. A study also runs without it, because the journals contain every record."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from src import environment, paths
from src.spec.section import SettingsError
from src.spec.settings import Settings
from src.study.journals import Journals
from src.terminal.errors import first_line, is_permanent
from src.terminal.progress import waiting
from src.terminal.visible import counted
from src.tracking.deleted import how_to_restore
from src.tracking.mlflow_replay import Deleted, Store

Answer = TypeVar("Answer")


class Tracker:
    """The MLflow store of one study, and which records it does not have.

    Attributes:
      unsent: identity → why the store could not take the trial's record.
      is_refused: whether the store rejects a record that it will reject again.
    """

    def __init__(self, settings: Settings, journals: Journals, say: Callable[[str], None]) -> None:
        """Takes the study's settings and journals, and a function that prints a message; does not connect yet."""
        self._settings, self._journals, self._say = settings, journals, say
        self._store: Store | None = None
        self._unanswered: str | None = None
        self.unsent: dict[str, str] = {}
        self.is_refused = False

    @property
    def link(self) -> str | None:
        """Address of the study's runs in MLflow's web pages; None without a store."""
        return self._store.link if self._store else None

    @property
    def lacks(self) -> str:
        """What the store does not have, why, and how to send it; empty if it has every record."""
        if self.unsent:
            what = f"MLflow {'rejects' if self.is_refused else 'cannot receive'} {counted(len(self.unsent), 'trial')}"
            fix = (
                "fix that, then run `python -m src.sync`"
                if self.is_refused
                else "`python -m src.sync` sends them later"
            )
            return f"warning: {what} ({next(iter(self.unsent.values()))}); {fix}"
        if self._unanswered:
            fix = "`python -m src.sync` sends what it lacks"
            return f"warning: MLflow did not answer every call ({self._unanswered}); {fix}"
        return ""

    def look(self) -> None:
        """Connects to an existing store without creating one; a trial that was deleted there is not done."""
        uri = self._settings.tracking.uri
        is_there = uri is not None or (paths.home() / "mlflow.db").is_file()
        if self._settings.tracking.name == "offline" or not is_there:
            return
        try:
            self._store = Store(uri, self._settings.study, is_new=False)
            self._say_notes(self._store)
        except Deleted as error:
            self._say(f"{error} (or run this command without plan_only)")
        except LookupError:
            pass  # a new study
        except Exception as error:
            self._say(f"MLflow could not be read ({first_line(error)}); the journals are used instead")

    def connect(self) -> None:
        """Creates the database, the experiment and the study's run, and sends what earlier processes did not send.

        Raises:
          SettingsError: the store cannot be used, now or later.
        """
        self._journals.close_dead()
        if self._settings.tracking.name == "offline":
            return
        try:
            with waiting("opening the MLflow store"):
                self._store = Store(self._settings.tracking.uri, self._settings.study, restores=True)
                self._store.open_study()
            self._say_notes(self._store)
        except SettingsError:
            raise
        except Exception as error:  # an unreachable server must not stop a study: the journals keep every record
            if is_permanent(error):
                where = paths.shown(self._settings.tracking.uri or paths.default_tracking_uri())
                why = f"{where} cannot be used ({first_line(error)})"
                raise SettingsError(
                    f"tracking.uri: {why}; fix that, set another address, or set tracking=offline"
                ) from None
            self._say(f"warning: MLflow cannot be reached ({first_line(error)})")
            self._say("All records are kept in the journals; `python -m src.sync` sends them later.")
            self._store = None
        self.replay()

    def replay(self) -> None:
        """Sends the records of the journals that the store does not have."""
        store = self._store
        errors = {} if store is None else self._journals.replay(f"{store.uri} {store.study_run_id}", store.replay)
        self.unsent = {name: first_line(error) for name, error in errors.items()}
        self.is_refused = any(map(is_permanent, errors.values()))

    def ask(self, question: Callable[[Store], Answer], *, otherwise: Answer) -> Answer:
        """Returns the store's answer; `otherwise` without a store or on an error, which `lacks` then reports."""
        if self._store is None:
            return otherwise
        try:
            return question(self._store)
        except Exception as error:  # MLflow's stores raise what their drivers raise
            self._unanswered = self._unanswered or first_line(error)
            return otherwise

    def close(self, status: str) -> None:
        """Ends the study's run."""
        self.ask(lambda store: store.close_study(status), otherwise=None)

    def _say_notes(self, store: Store) -> None:
        """Says what was deleted or moved in MLflow, and which address is ignored."""
        unused = environment.unused_address()
        if unused and self._settings.tracking.uri is None:
            self._say(f"note: MLFLOW_TRACKING_URI={paths.shown(unused)} is ignored (tracking.uri sets another store)")
            self._say(f"Records go to {paths.shown(store.uri)}")
        if store.moved:
            self._say(store.moved)
        if store.is_restored:
            self._say(
                f"warning: study {self._settings.study} had been deleted in MLflow; it was restored with its trials."
            )
            self._say("To start from scratch, choose another name (study=NAME) or set rerun=true.")
        deleted = store.deleted_trials()
        if deleted:
            command = how_to_restore(store.uri, run_id=next(iter(deleted)))
            count = counted(len(deleted), "trial")
            self._say(f"warning: {count} of this study: deleted in MLflow; those in this plan are retrained.")
            self._say(f"To restore {next(iter(deleted.values()))!r} instead, stop this command and run: {command}")
