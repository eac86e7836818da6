"""Folders and addresses of stores; every file that a run writes is below one folder."""

import importlib.util
import os
import re
import urllib.parse
from pathlib import Path

from src.spec.section import SettingsError

REPOSITORY = Path(__file__).resolve().parent.parent
USER = re.compile(
    r"(?<=://)(?<!sqlite://)(?:[^\s/?]*:[^\s?]*|[^\s/?]*)@"
)  # up to the last @, because passwords may contain @ and /
SECRET = re.compile(r"([?&][^=&\s]*(?:password|passwd|pwd|secret|token)[^=&\s]*=)[^&\s]+", re.IGNORECASE)
DRIVERS = {  # database → its Python drivers, SQLAlchemy's default first, and the package to install
    "postgresql": (("psycopg", "psycopg2", "pg8000"), "psycopg2-binary"),
    "mysql": (("MySQLdb", "pymysql"), "pymysql"),
    "mssql": (("pyodbc", "pymssql"), "pyodbc"),
}


def home() -> Path:
    """Returns the folder of outputs and of the default MLflow database: `$ABLATION_HOME`, or the repository root."""
    return Path(os.environ.get("ABLATION_HOME") or REPOSITORY).resolve()


def outputs() -> Path:
    """Returns the folder with one sub-folder per study, which is also the argument of `tensorboard --logdir`."""
    return home() / "outputs"


def study_folder(study: str) -> Path:
    """Returns the folder of one study, with one sub-folder per trial, named by the trial's identity."""
    return outputs() / study


def adopted() -> Path:
    """Returns the folder with one sub-folder per adopted study: runs of other programs, which the analysis reads."""
    return home() / "adopted"


def cache() -> Path:
    """Returns the folder of encoded corpora. Its name has a dot, which names of studies cannot have."""
    return outputs() / ".cache"


def shared(name: str) -> str:
    """Returns the name under which first phases of trials are kept, in place of a study's.

    Its dot keeps it apart from studies, and its second part from searches for the trials of all studies.
    """
    return f".shared/{name}"


def default_tracking_uri() -> str:
    """Returns the MLflow store that `mlflow ui` shows by default in the folder `home()`."""
    return sqlite_address(home() / "mlflow.db")


def sqlite_address(path: Path) -> str:
    """Returns the address of a SQLite file, percent-encoded if the plain path would be decoded to another file.

    The slashes are encoded too: MLflow creates the folders of the encoded path, and without slashes that is only `/`.

    Args:
      path: absolute path of the file.
    """
    if not re.search(r"\?|%[0-9a-f]{2}", str(path), re.IGNORECASE):
        return f"sqlite:///{path}"
    return f"sqlite:////{urllib.parse.quote(str(path).removeprefix('/'), safe='')}"


def artifacts() -> Path:
    """Returns the folder of MLflow's copies of the trials' files, for stores that do not choose a folder themselves."""
    return home() / "mlartifacts"


def tracking_uri(uri: str | None) -> str:
    """Returns the address of a store: the default for None; for a database, with an installed Python driver.

    By default SQLAlchemy tries one driver per database, and raises an error if only another one is installed.

    Raises:
      SettingsError: no driver of the database is installed.
    """
    if uri is None:
        return default_tracking_uri()
    database, is_address, rest = uri.partition("://")
    if not is_address or database not in DRIVERS:
        return uri
    drivers, package = DRIVERS[database]
    driver = next((driver for driver in drivers if importlib.util.find_spec(driver)), None)
    if driver is None:
        raise SettingsError(
            f"tracking.uri: got {shown(uri)}, but no Python driver for it is installed; run pip install {package}"
        )
    return f"{database}+{driver.lower()}://{rest}"


def absolute(uri: str) -> str:
    """Returns an address that is valid in every folder: makes the relative path of a SQLite file absolute."""
    scheme, _, path = uri.partition(":///")
    if scheme.partition("+")[0] != "sqlite" or not path or path.startswith(("/", ":memory:", "file:")):
        return uri
    path, *options = path.split("?", maxsplit=1)
    address = sqlite_address(Path.cwd() / urllib.parse.unquote(path))
    return "?".join([address.replace("sqlite", scheme, 1), *options])


def is_database(uri: str) -> bool:
    """Returns whether an address names a database, and not a tracking server."""
    return uri.split(":", maxsplit=1)[0].split("+", maxsplit=1)[0] in ("sqlite", *DRIVERS)


def shown(uri: str) -> str:
    """Returns an address, or a text that contains one, with the user name and the password replaced by `…`."""
    return SECRET.sub(r"\1…", USER.sub("…@", uri))


def has_secret(uri: str | None) -> bool:
    """Returns whether an address may contain a password."""
    return uri is not None and shown(uri) != uri


def is_without_password(uri: str) -> bool:
    """Returns whether `shown` has removed a password from an address."""
    return "…" in uri
