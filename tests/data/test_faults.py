"""Damaged and odd data files are read, or refused quickly in one line. `benchmarks/faults_data.py` draws the faults."""

from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks import faults_data
from src.data.corpora import CORPORA
from src.data.files import DataError
from src.data.options import AclImdb, KerasImdb, Table
from tests.data.test_corpora import RAW, saved

SECONDS = 2
DAMAGED = list(faults_data.damaged_tables(seed=0, count=105))
ODD = list(faults_data.odd_tables())
HUGE = list(faults_data.huge_tables())
ARCHIVES = list(faults_data.odd_archives())


def refusal(path, options=None):
    """Returns the error about a corpus, or None if it can be read; the error must be quick and one short line."""
    options = options or Table(path=str(path))
    begin = time.process_time()
    try:
        CORPORA[options.name].files(options)
        CORPORA[options.name].read(options)
        message = None
    except DataError as error:
        message = str(error)
        assert str(path) in message and "\n" not in message and len(message) < len(str(path)) + 500
    assert time.process_time() - begin < SECONDS
    return message


@pytest.mark.parametrize("write", [write for _, write in DAMAGED], ids=[name for name, _ in DAMAGED])
def test_a_table_with_damaged_bytes_is_read_or_refused_in_one_line(tmp_path, write):
    path = write(tmp_path)

    refusal(path)


@pytest.mark.parametrize("write", [write for _, write in ODD], ids=[name for name, _ in ODD])
def test_an_unusable_table_is_refused_quickly_in_one_line(tmp_path, write):
    path = write(tmp_path)

    assert refusal(path)


@pytest.mark.parametrize("write", [write for _, write in HUGE], ids=[name for name, _ in HUGE])
def test_a_table_with_a_huge_text_is_refused_quickly_in_one_line(tmp_path, write):
    path = write(tmp_path)
    try:
        assert refusal(path)
    finally:
        path.unlink()


@pytest.mark.parametrize("spoil", [spoil for _, spoil in ARCHIVES], ids=[name for name, _ in ARCHIVES])
def test_an_unusable_keras_archive_is_refused_quickly_in_one_line(tmp_path, spoil):
    options = saved(tmp_path, RAW)
    assert refusal(tmp_path, options) is None
    spoil(tmp_path)

    assert refusal(tmp_path, options)


@pytest.mark.parametrize("name", [faults_data.LONG, f"~{faults_data.LONG}", "file", "file/inside", "a\0b", "\udcff"])
@pytest.mark.parametrize("corpus", ["aclimdb", "keras_imdb", "table"])
def test_an_invalid_path_is_refused_in_one_line(tmp_path, corpus, name):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    path = name if name.startswith("~") else str(tmp_path / name)
    options = {"aclimdb": AclImdb, "keras_imdb": KerasImdb, "table": Table}[corpus](path=path)

    assert refusal(path, options)


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_keras_archive_gives_the_same_texts_or_is_refused(tmp_path, seed):
    options = saved(tmp_path, RAW)
    whole = str(CORPORA["keras_imdb"].read(options))
    kind, damage = list(faults_data.BYTES.items())[seed % len(faults_data.BYTES)]
    damage(tmp_path / "imdb.npz", np.random.default_rng(seed))

    if refusal(tmp_path, options) is None:
        assert str(CORPORA["keras_imdb"].read(options)) == whole, kind
