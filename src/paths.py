"""Where things lie: everything that a run writes is below one folder."""

import importlib.util
import os
import re
import urllib.parse
from pathlib import Path

from src.spec.section import SettingsError

REPOSITORY = Path(__file__).resolve().parent.parent
USER = re.compile(
    r"(?<=://)(?<!sqlite://)(?:[^\s/?]*:[^\s?]*|[^\s/?]*)@"
)  # up to the last @: passwords are typed with @ and / in them
SECRET = re.compile(r"([?&][^=&\s]*(?:password|passwd|pwd|secret|token)[^=&\s]*=)[^&\s]+", re.IGNORECASE)
DRIVERS = {  # database → its Python modules, SQLAlchemy's own choice first, and what to install where there is none
    "postgresql": (("psycopg", "psycopg2", "pg8000"), "psycopg2-binary"),
    "mysql": (("MySQLdb", "pymysql"), "pymysql"),
    "mssql": (("pyodbc", "pymssql"), "pyodbc"),
}


def home() -> Path:
    """Returns the folder of outputs and of the default MLflow database: `$ABLATION_HOME`, or the repository root."""
    return Path(os.environ.get("ABLATION_HOME") or REPOSITORY).resolve()


def outputs() -> Path:
    """Returns the folder with one sub-folder a study; `tensorboard --logdir` takes it as it is."""
    return home() / "outputs"


def study_folder(study: str) -> Path:
    """Returns the folder of one study, with one sub-folder a trial, named by the trial's identity."""
    return outputs() / study


def cache() -> Path:
    """Returns the folder of encoded corpora. The dot keeps it apart from studies, whose names have none."""
    return outputs() / ".cache"


def default_tracking_uri() -> str:
    """Returns the MLflow store that plain `mlflow ui` shows when it is started in `home()`."""
    return sqlite_address(home() / "mlflow.db")


def sqlite_address(path: Path) -> str:
    """Returns the address of a SQLite file; it is quoted where the path would mean another file otherwise.

    The slashes are quoted as well then: MLflow makes the folders of an address as it is, and finds that / is there.

    Args:
      path: absolute.
    """
    if not re.search(r"\?|%[0-9a-f]{2}", str(path), re.IGNORECASE):
        return f"sqlite:///{path}"
    return f"sqlite:////{urllib.parse.quote(str(path).removeprefix('/'), safe='')}"


def artifacts() -> Path:
    """Returns the folder of MLflow's copies of the trials' files, where MLflow itself does not decide."""
    return home() / "mlartifacts"


def tracking_uri(given: str | None) -> str:
    """Returns the address of a store: the default one for None, and a database's with a Python driver that is installed.

    SQLAlchemy takes one driver a database by default, and raises where another is installed.

    Raises:
      SettingsError: no driver of the database is installed.
    """
    if given is None:
        return default_tracking_uri()
    database, is_address, rest = given.partition("://")
    if not is_address or database not in DRIVERS:
        return given
    drivers, package = DRIVERS[database]
    found = next((driver for driver in drivers if importlib.util.find_spec(driver)), None)
    if found is None:
        raise SettingsError(
            f"tracking.uri: got {shown(given)}, but no Python driver for it is installed; run pip install {package}"
        )
    return f"{database}+{found.lower()}://{rest}"


def absolute(uri: str) -> str:
    """Returns an address that means the same store in every folder: a SQLite file's relative path is one of the current folder."""
    scheme, _, path = uri.partition(":///")
    if scheme.partition("+")[0] != "sqlite" or not path or path.startswith(("/", ":memory:", "file:")):
        return uri
    path, *options = path.split("?", maxsplit=1)
    address = sqlite_address(Path.cwd() / urllib.parse.unquote(path))
    return "?".join([address.replace("sqlite", scheme, 1), *options])


def is_database(uri: str) -> bool:
    """Returns whether an address is that of a database, and not of a tracking server."""
    return uri.split(":", maxsplit=1)[0].split("+", maxsplit=1)[0] in ("sqlite", *DRIVERS)


def shown(uri: str) -> str:
    """Returns a store's address, or a text that holds one, without the name and the password that may be in it."""
    return SECRET.sub(r"\1…", USER.sub("…@", uri))


def has_secret(uri: str | None) -> bool:
    """Returns whether a password may be in an address."""
    return uri is not None and shown(uri) != uri


def is_without_password(uri: str) -> bool:
    """Returns whether an address is only what `shown` has left of one."""
    return "…" in uri
