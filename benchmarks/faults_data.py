"""Damaged caches, odd data files and odd trials, as a power cut, a bad disk or another program leaves them.

Each generator draws from a seed, and yields pairs of a name and a function of a folder. Equal seeds give equal faults.
This module does not import TensorFlow.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Fault = tuple[str, Callable[[Path], Any]]
Odd = tuple[str, Callable[[Path], Path]]
LONG = "n" * 300  # longer than file systems allow
DEEP = 60_000
HUGE = 100_000_000


def damaged_caches(seed: int, count: int) -> Iterator[Fault]:
    """Yields functions that damage the folder of an encoded corpus; each changes its content."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        kind = list(BYTES)[number % len(BYTES)]
        draw = int(rng.integers(2**32))
        yield f"{kind} {draw}", lambda folder, kind=kind, draw=draw: _damage(folder, kind, np.random.default_rng(draw))  # type: ignore[misc]
    for name, text in _ODD_JSON.items():
        for file in ("meta.json", "words.json"):
            yield f"{file} is {name}", lambda folder, file=file, text=text: _write(folder / file, text)  # type: ignore[misc]
    for name, change in _ODD_RECORDS.items():
        yield f"meta.json {name}", lambda folder, change=change: _edit(folder / "meta.json", change)  # type: ignore[misc]
    yield "two arrays change places", lambda folder: _swap(folder / "train.ids.npy", folder / "test.ids.npy")
    yield "the folder is a file", _become_file
    yield "the folder is empty", _empty


def damaged_notes(seed: int, count: int) -> Iterator[Fault]:
    """Yields functions that damage all notes of contents in a cache."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        kind = list(BYTES)[number % len(BYTES)]
        draw = int(rng.integers(2**32))
        yield f"{kind} {draw}", lambda cache, kind=kind, draw=draw: _damage_notes(cache, kind, draw)  # type: ignore[misc]
    for text in ("", "0" * 32, "\0" * 65, f"{'0' * 32} {'0' * 32}", "é", "[]"):
        yield f"notes are {text!r}", lambda cache, text=text: [_write(path, text) for path in cache.glob("*.content")]  # type: ignore[misc]


def damaged_tables(seed: int, count: int) -> Iterator[Odd]:
    """Yields functions that write a table of 40 rows with damaged bytes and return its path; some remain readable."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        kind = list(BYTES)[number % len(BYTES)]
        suffix = ("csv", "jsonl", "parquet")[(number // len(BYTES)) % 3]
        draw = int(rng.integers(2**32))

        def write(folder: Path, suffix: str = suffix, kind: str = kind, draw: int = draw) -> Path:
            path = whole_table(folder / f"t.{suffix}")
            BYTES[kind](path, np.random.default_rng(draw))
            return path

        yield f"{suffix} {kind} {draw}", write


def whole_table(path: Path) -> Path:
    """Writes a valid table of 40 rows and two classes, in the format of the path's suffix."""
    texts, labels = [f"text number {row}, {row % 7} words" for row in range(40)], ["bad", "good"] * 20
    if path.suffix == ".csv":
        lines = ["text,label", *(f'"{text}",{label}' for text, label in zip(texts, labels, strict=True))]
        _write(path, "\n".join(lines))
    elif path.suffix == ".jsonl":
        _write(
            path,
            "\n".join(json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)),
        )
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"text": texts, "label": labels}), path)
    return path


def odd_tables() -> Iterator[Odd]:
    """Yields functions that write an unusable table and return its path: too long, too deep, too wide, or no file."""
    nests = {"lists": ("[", "]"), "objects": ('{"a":', "}"), "open lists": ("[", ""), "open objects": ('{"a":', "")}
    for name, (left, right) in nests.items():
        value = left * DEEP + "1" + right * DEEP
        lines = {
            "text": f'{{"label": "b", "text": {value}}}',
            "other": f'{{"text": "a", "label": "b", "other": {value}}}',
        }
        for key, line in lines.items():
            yield f"jsonl {name} in {key}", lambda folder, line=line: _write(folder / "t.jsonl", line)  # type: ignore[misc]
        yield f"jsonl {name} alone", lambda folder, value=value: _write(folder / "t.jsonl", value)  # type: ignore[misc]
    many = ",".join(f'"k{number}": 1' for number in range(DEEP))
    yield (
        "jsonl repeated key",
        lambda folder: _write(folder / "t.jsonl", f'{{"text": "a", {many}, "label": 1, "label": 2}}'),
    )
    yield "jsonl many keys", lambda folder: _write(folder / "t.jsonl", f"{{{many}}}")
    yield "jsonl long number", lambda folder: _write(folder / "t.jsonl", f'{{"label": "b", "text": {"1" * 1_000_000}}}')
    yield "csv many columns", lambda folder: _write(folder / "t.csv", ",".join(f"c{n}" for n in range(DEEP)) + "\n")
    yield "csv many fields", lambda folder: _write(folder / "t.csv", "text,label\n" + "," * DEEP + "\n")
    yield "csv one name many times", lambda folder: _write(folder / "t.csv", "text," * DEEP + "label\na,b\n")
    yield "parquet many columns", lambda folder: _parquet(folder, {f"c{n}": [1] for n in range(5_000)})
    yield (
        "parquet not UTF-8",
        lambda folder: _parquet(folder, {"text": [b"good", b"\xff\xfe"], "label": ["a", "b"]}, cast=True),
    )
    yield (
        "parquet class not UTF-8",
        lambda folder: _parquet(folder, {"label": [b"good", b"\xff\xfe"], "text": ["a", "b"]}, cast=True),
    )
    for suffix in ("csv", "jsonl", "parquet"):
        yield f"{suffix} empty", lambda folder, suffix=suffix: _write(folder / f"t.{suffix}", "")  # type: ignore[misc]
        yield f"{suffix} folder", lambda folder, suffix=suffix: _folder(folder / f"t.{suffix}")  # type: ignore[misc]
        yield f"{suffix} long name", lambda folder, suffix=suffix: folder / f"{LONG}.{suffix}"  # type: ignore[misc]
        yield f"{suffix} in a file", lambda folder, suffix=suffix: _write(folder / "file", "x") / f"t.{suffix}"  # type: ignore[misc]
        yield f"{suffix} link to itself", lambda folder, suffix=suffix: _loop(folder / f"t.{suffix}")  # type: ignore[misc]


def huge_tables() -> Iterator[Odd]:
    """Yields functions that write a table of 100 MB with one text or name in it, and return its path."""
    long = "word " * (HUGE // 5)
    yield "csv field", lambda folder: _write(folder / "t.csv", f"text,label\n{long},a\n")
    yield "csv quoted field", lambda folder: _write(folder / "t.csv", f'text,label\n"{long}",a\n')
    yield "csv open quote", lambda folder: _write(folder / "t.csv", f'text,label\n"{long},a\n')
    yield "csv header", lambda folder: _write(folder / "t.csv", long)
    yield "jsonl line", lambda folder: _write(folder / "t.jsonl", f'{{"text": "{long}", "label": "a"}}\n')
    yield "jsonl class", lambda folder: _write(folder / "t.jsonl", f'{{"text": "a", "label": "{long}"}}\n')
    yield "parquet text", lambda folder: _parquet(folder, {"text": [long], "label": ["a"]})


def odd_archives() -> Iterator[Fault]:
    """Yields functions that make a folder with Keras' `imdb.npz` and `imdb_word_index.json` unusable."""
    index = {
        "a list": "[1]", "a text": '"a"', "null": "null", "deep": "[" * DEEP, "deep values": '{"a":' * DEEP,
        "cut": '{"the": 1', "empty": "", "no ranks": '{"the": "one"}', "half ranks": '{"the": 1.5}',
        "true ranks": '{"the": true}', "no number": '{"the": null}', "infinite": '{"the": Infinity}',
        "negative": '{"the": -1}', "zero": '{"the": 0}',
        "one rank twice": '{"the": 1, "and": 1}', "no UTF-8": "\udcff",
    }  # fmt: skip
    for name, text in index.items():
        yield f"index {name}", lambda folder, text=text: _write(folder / "imdb_word_index.json", text)  # type: ignore[misc]
    labels: dict[str, Any] = {
        "texts": ["neg", "pos"] * 10, "none": [None] * 20, "lists": [[0, 1]] * 20,
        "dates": [np.datetime64("2020-01-01")] * 20, "nan": [float("nan")] * 20,
        "structured": np.zeros(20, [("a", "i4"), ("b", "i4")]), "one": 1, "complex": [1j] * 20,
    }  # fmt: skip
    for name, values in labels.items():
        yield f"labels {name}", lambda folder, values=values: _archive(folder, y_train=np.array(values))  # type: ignore[misc]
    ragged = np.empty(20, object)
    ragged[:] = [np.array([0, 1])] * 20
    yield "labels arrays", lambda folder: _archive(folder, y_train=ragged)
    yield "reviews numbers", lambda folder: _archive(folder, x_train=np.arange(20))
    yield "reviews one number", lambda folder: _archive(folder, x_train=np.array(1))
    yield "reviews texts", lambda folder: _archive(folder, x_train=np.array(["a good film"] * 20))
    yield "a member that says it is huge", _huge_member
    for member in ("x_train", "y_train"):
        for cut in (0, 5, 9, 30, 90):
            yield f"{member} cut at {cut}", lambda folder, member=member, cut=cut: _cut_member(folder, member, cut)  # type: ignore[misc]


def odd_preprocessing() -> Iterator[Fault]:
    """Yields functions that make the `preprocessing.json` of a trial with two classes unusable."""
    changes: dict[str, dict[str, Any]] = {
        "no words": {"words": []}, "a word twice": {"words": ["a", "a"]}, "words are numbers": {"words": [1, 2]},
        "an empty word": {"words": ["a", ""]}, "too many words": {"words": [f"w{number}" for number in range(20_000)]},
        "no classes": {"classes": []}, "one class": {"classes": ["a"]}, "a class twice": {"classes": ["a", "a"]},
        "more classes than a sigmoid has": {"classes": ["a", "b", "c"]},
        "no edges": {"edges": []}, "edges that are texts": {"edges": ["four"]},
        "edges that are null": {"edges": [None]},
        "half edges": {"edges": [1.5]}, "infinite edges": {"edges": [float("inf")]},
        "edges are a number": {"edges": 4}, "a negative edge": {"edges": [-4]}, "an edge at zero": {"edges": [0, 4]},
        "decreasing edges": {"edges": [4, 2]}, "equal edges": {"edges": [4, 4]}, "a huge edge": {"edges": [10**9]},
        "an edge beyond all numbers": {"edges": [10**30]}, "an unknown side": {"side": "middle"},
        "unknown tokens": {"tokens": "syllable"}, "longest is not a boolean": {"to_longest": 7},
    }  # fmt: skip
    for name, change in changes.items():
        yield name, lambda folder, change=change: _edit_preprocessing(folder / "preprocessing.json", change)  # type: ignore[misc]
    for name, text in _ODD_JSON.items():
        yield name, lambda folder, text=text: _write(folder / "preprocessing.json", text)  # type: ignore[misc]


def odd_models() -> Iterator[Fault]:
    """Yields functions that write a `model.keras` that must not or cannot be loaded; its code would create `ran`."""
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l"}, "registered_name": None}
    code = {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}}
    configs: dict[str, Any] = {
        "a Lambda layer": _functional(layer),
        "a Lambda layer with code": _functional({**layer, "config": {"function": code}}),
        "a saved function": _functional({**layer, "class_name": "TFSMLayer", "config": {"filepath": "/nowhere"}}),
        "a pickled module": _functional(
            {**layer, "class_name": "TorchModuleWrapper", "config": {"module": "gASVAAAA"}}
        ),
        "another module": _functional(
            {"module": "os", "class_name": "system", "config": "touch ran", "registered_name": "system"}
        ),
        "a module that runs code on import": _functional({"module": "antigravity", "class_name": "fly", "config": {}}),
        "a Keras function that writes": _functional(
            {"module": "keras.utils", "class_name": "get_file", "config": {"origin": "x"}}
        ),
        "a name that is not a text": _functional({**layer, "class_name": 7}),
        "a module that is not a text": _functional({**layer, "module": ["os"]}),
        "a list": [], "null": None, "no class": {"module": "keras", "config": {}},
    }  # fmt: skip
    for name, config in configs.items():
        yield name, lambda folder, config=config: _model(folder / "model.keras", json.dumps(config))  # type: ignore[misc]
    yield "a deep configuration", lambda folder: _model(folder / "model.keras", '{"config":' * DEEP)
    yield "no JSON", lambda folder: _model(folder / "model.keras", "{")
    yield "an archive without a configuration", lambda folder: _model(folder / "model.keras", None)
    for name, text in {"empty": "", "no archive": "nonsense", "half an archive": "PK\x03\x04"}.items():
        yield name, lambda folder, text=text: _write(folder / "model.keras", text)  # type: ignore[misc]
    yield "a folder", lambda folder: _folder(folder / "model.keras")


def models_of_others() -> Iterator[Fault]:
    """Yields functions that write a `model.keras` without code that only Keras can recognise as unusable."""
    layer = {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"units": 1, "name": "d"},
        "registered_name": None,
    }
    configs: dict[str, Any] = {
        "a layer that does not exist": _functional({**layer, "class_name": "NoSuchLayer"}),
        "a layer without its sizes": _functional({**layer, "config": {}}),
        "a layer with a negative size": _functional({**layer, "config": {"units": -1}}),
        "missing weights": _functional(layer),
        "no layers": {"module": "keras", "class_name": "Sequential", "config": {}},
        "an object that is not a model": layer,
    }  # fmt: skip
    for name, config in configs.items():
        yield name, lambda folder, config=config: _model(folder / "model.keras", json.dumps(config))  # type: ignore[misc]


_ODD_JSON = {
    "empty": "", "a list": "[]", "null": "null", "a number": "7", "no keys": "{}", "zeros": "\0" * 100,
    "cut": '{"classes": [', "deep": "[" * DEEP, "not UTF-8": "\udcff\udcfe", "a long number": "1" * 10_000,
}  # fmt: skip
_ODD_RECORDS: dict[str, dict[str, Any]] = {
    "has other classes": {"classes": ["good", "bad"]}, "has no classes": {"classes": None},
    "has no digests": {"digests": {}}, "has digests that are a list": {"digests": []},
    "names a file outside": {"digests": {"../../x": "0"}},
    "has no digest": {"digest": None},
    "has other contents": {"contents": {}}, "has contents that are a number": {"contents": 1},
}  # fmt: skip


def _flip(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def _zeros(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    begin = int(rng.integers(len(content) - 1))
    path.write_bytes(content[:begin] + bytes(len(content) - begin))


def _cut(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(len(content)))])


def _longer(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(path.read_bytes() + rng.bytes(int(rng.integers(1, 64))))


def _noise(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    begin = int(rng.integers(len(content)))
    noise = rng.bytes(min(16, len(content) - begin))
    content[begin : begin + len(noise)] = (
        noise if noise != content[begin : begin + len(noise)] else bytes(byte ^ 255 for byte in noise)
    )
    path.write_bytes(content)


def _gone(path: Path, rng: np.random.Generator) -> None:
    path.unlink()


def _to_folder(path: Path, rng: np.random.Generator) -> None:
    path.unlink()
    path.mkdir()


BYTES: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "flip": _flip, "zeros": _zeros, "cut": _cut, "longer": _longer, "noise": _noise, "gone": _gone,
    "folder": _to_folder,
}  # fmt: skip


def _damage(folder: Path, kind: str, rng: np.random.Generator) -> None:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    BYTES[kind](files[int(rng.integers(len(files)))], rng)


def _damage_notes(cache: Path, kind: str, draw: int) -> None:
    for path in cache.glob("*.content"):
        BYTES[kind](path, np.random.default_rng(draw))


def _write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def _edit(path: Path, change: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")


def _edit_preprocessing(path: Path, change: dict[str, Any]) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    padding = {key: value for key, value in change.items() if key in values["padding"]}
    rest = {key: value for key, value in change.items() if key not in padding}
    _write(path, json.dumps(values | rest | {"padding": values["padding"] | padding}))


def _swap(first: Path, second: Path) -> None:
    first_content, second_content = first.read_bytes(), second.read_bytes()
    first.write_bytes(second_content)
    second.write_bytes(first_content)


def _become_file(folder: Path) -> None:
    _empty(folder)
    folder.rmdir()
    folder.write_bytes(b"x")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


def _parquet(folder: Path, columns: dict[str, list[Any]], *, cast: bool = False) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {name: pa.array(values) for name, values in columns.items()}
    if cast:  # bytes become texts without a check of their encoding
        arrays = {
            name: array.view(pa.string()) if array.type == pa.binary() else array for name, array in arrays.items()
        }
    pq.write_table(pa.table(arrays), folder / "t.parquet")
    return folder / "t.parquet"


def _archive(folder: Path, **changes: Any) -> None:
    with np.load(folder / "imdb.npz", allow_pickle=True) as arrays:
        whole = dict(arrays)
    np.savez(folder / "imdb.npz", **{**whole, **changes})


def _cut_member(folder: Path, member: str, cut: int) -> None:
    with zipfile.ZipFile(folder / "imdb.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / "imdb.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content[:cut] if name == f"{member}.npy" else content)


def _huge_member(folder: Path) -> None:
    with zipfile.ZipFile(folder / "imdb.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = "{'descr': '<i8', 'fortran_order': False, 'shape': (100000000000000,), }"
    members["y_train.npy"] = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117).encode() + b"\n"
    with zipfile.ZipFile(folder / "imdb.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _functional(layer: dict[str, Any]) -> dict[str, Any]:
    first = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 3], "name": "ids"}}
    layers = [{**first, "registered_name": None}, layer]
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "s", "layers": layers},
        "registered_name": None,
    }


def _model(path: Path, config: str | None) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        if config is not None:
            archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", b"")
