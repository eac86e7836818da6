from __future__ import annotations

import importlib.util

import pytest

from src import paths
from src.spec.section import SettingsError
from src.tracking import database


@pytest.fixture
def installed(monkeypatch):
    """The installed Python drivers."""
    names = set()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in names else None)
    return names


@pytest.mark.parametrize(
    ("drivers", "given", "used"),
    [
        ({"psycopg2"}, "postgresql://u@h/d", "postgresql+psycopg2://u@h/d"),
        ({"psycopg2", "psycopg"}, "postgresql://u@h/d", "postgresql+psycopg://u@h/d"),
        ({"pymysql"}, "mysql://u@h/d", "mysql+pymysql://u@h/d"),
        ({"MySQLdb"}, "mysql://u@h/d", "mysql+mysqldb://u@h/d"),
        (set(), "postgresql+psycopg2://u@h/d", "postgresql+psycopg2://u@h/d"),
        (set(), "http://h:5000", "http://h:5000"),
        (set(), "sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
        (set(), "nonsense", "nonsense"),
    ],
)
def test_a_database_is_reached_with_an_installed_driver(installed, drivers, given, used):
    installed |= drivers

    assert paths.tracking_uri(given) == used


def test_a_database_without_a_driver_is_refused_with_the_package_to_install_and_no_password(installed):
    with pytest.raises(SettingsError) as caught:
        paths.tracking_uri("postgresql://me:secret@host/db")

    assert "no Python driver for it is installed; run pip install psycopg2-binary" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("postgresql://me:secret@host/db", "postgresql://…@host/db"),
        ("postgresql+psycopg2://me:se/cr@et@host/db", "postgresql+psycopg2://…@host/db"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=me&password=…&x=1"),
        ("tracking.uri=https://me:secret@host:5000", "tracking.uri=https://…@host:5000"),
        ("https://token@host", "https://…@host"),
        ("mssql://h/d?odbc_connect_token=secret", "mssql://h/d?odbc_connect_token=…"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////home/me@there/mlflow.db", "sqlite:////home/me@there/mlflow.db"),
        ("data.path=https://host/a@b.csv", "data.path=https://host/a@b.csv"),
    ],
)
def test_an_address_is_shown_without_its_password(address, text):
    assert paths.shown(address) == text
    assert paths.has_secret(address) == paths.is_without_password(text) == (address != text)


@pytest.mark.parametrize(
    ("given", "scheme", "rest"),
    [
        ("sqlite:///x.db", "sqlite", "x.db"),
        ("sqlite:///a/x.db", "sqlite", "a/x.db"),
        ("sqlite:///../x.db", "sqlite", "../x.db"),
        ("sqlite+pysqlite:///x.db", "sqlite+pysqlite", "x.db"),
        ("sqlite:///x.db?timeout=5", "sqlite", "x.db?timeout=5"),
    ],
)
def test_a_relative_database_has_an_absolute_address(given, scheme, rest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert paths.absolute(given) == f"{scheme}:///{tmp_path}/{rest}" == paths.absolute(paths.absolute(given))


@pytest.mark.parametrize("name", ["what?", "100%25", "a b"])
def test_the_absolute_address_of_a_relative_database_works_with_special_characters(name, tmp_path, monkeypatch):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    address = paths.absolute("sqlite:///x.db")

    assert database.sqlite_file(address) == tmp_path / name / "x.db"


@pytest.mark.parametrize(
    "given", ["sqlite:////x.db", "sqlite:///:memory:", "sqlite://", "http://h:5000", "postgresql://h/d"]
)
def test_an_absolute_address_stays_unchanged(given):
    assert paths.absolute(given) == given


def test_the_default_store_is_the_database_in_the_home(home):
    assert paths.tracking_uri(None) == f"sqlite:///{home}/mlflow.db"
