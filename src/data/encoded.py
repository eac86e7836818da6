"""Encoded corpora on disk: tokenised once, memory-mapped by every trial and worker after.

The folder's name is a hash of everything the content depends on: the bytes of the corpus' files, the options of the corpus, what a text
is divided into, and the versions of the rules. Ids are ranks in the whole training vocabulary, so one folder serves every `vocab_size`,
`max_length` and truncation.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from src import paths
from src.data.contents import Contents, of
from src.data.splits import SPLITS, SPLITTING, TRAIN, first_of_each_class
from src.data.tokens import FIRST_WORD, TOKENISER, encode, vocabulary, words_of
from src.identity import digest
from src.settings import Data


@dataclass(frozen=True)
class Sequences:
    """N sequences of ids in one row.

    Attributes:
      ids: int32[total].
      starts: int64[N + 1]; sequence i is `ids[starts[i]:starts[i + 1]]`.
      labels: int32[N], classes counted from 0.
    """

    ids: np.ndarray
    starts: np.ndarray
    labels: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """int64[N] steps of each sequence, the start id included."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class Encoded:
    """A corpus as ids.

    Attributes:
      digest: hash of the content, the tag `ablation.data`.
      classes: name of each class.
      folder: where it lies.
      origin: what the user calls it.
      contents: what was found in it.
    """

    digest: str
    classes: list[str]
    folder: Path
    origin: str
    contents: Contents

    def split(self, name: str) -> Sequences:
        """Returns one split, memory-mapped; nothing is read before it is used."""
        arrays = (np.load(self.folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("ids", "starts", "labels"))
        return Sequences(*arrays)

    @functools.cached_property
    def longest(self) -> int:
        """Steps of the longest sequence of any split."""
        return max(int(self.split(name).lengths.max()) for name in SPLITS)

    @functools.cached_property
    def examples(self) -> int:
        """Sequences of the training split."""
        return len(self.split(TRAIN).labels)

    def words(self, vocab_size: int) -> list[str]:
        """Returns the words with an id below `vocab_size`; the word at position r has id r + 4."""
        every = json.loads((self.folder / "words.json").read_text(encoding="utf-8"))
        return list(every[: max(0, vocab_size - FIRST_WORD)])

    def summary(self) -> list[str]:
        """Returns what was read, in a few lines for the terminal."""
        return self.contents.lines(self.origin, self.classes)


def load(options: Data, *, tokens: str = "word") -> Encoded:
    """Returns the encoded corpus, from the cache where it is there.

    Args:
      options: which corpus.
      tokens: what a text is divided into, a key of `tokens.DIVISIONS`.

    Raises:
      DataError: the corpus' files are missing or broken, or a split or a class is.
    """
    from src.data.corpora import CORPORA  # scikit-learn and SciPy take half a second

    files = CORPORA[options.name].files(options)
    plain = options.model_dump(exclude={"path", "validation_path", "test_path"})
    key = digest({"options": plain, "versions": _versions(options, tokens)})
    key = hashlib.blake2b(f"{key} {_content(files)}".encode(), digest_size=8).hexdigest()
    folder = paths.cache() / key
    if not _is_whole(folder):
        paths.cache().mkdir(parents=True, exist_ok=True)
        with FileLock(paths.cache() / f"{key}.lock"):  # one worker encodes, the others wait and then find it
            if not _is_whole(folder):
                _write(options, folder, tokens=tokens)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    origin = options.name if not getattr(options, "path", None) else f"{options.name} {options.path}"  # type: ignore[union-attr]
    return Encoded(key, meta["classes"], folder, origin, Contents(**meta["contents"]))


def _versions(options: Data, tokens: str) -> list[int | str]:
    """Returns the versions of all rules that the content depends on."""
    if options.name == "movie_reviews":  # today's rules give the same words and splits there as these did, and old trials stay
        versions: list[int | str] = ["1", "2"]
    else:
        versions = [TOKENISER, SPLITTING]
    if options.name == "table":
        from src.data.tables import READING

        versions += [READING, *(importlib.metadata.version(name) for name in ("scikit-learn", "scipy"))]  # which draw its splits
    return versions if tokens == "word" else [*versions, tokens, TOKENISER]


def _write(options: Data, folder: Path, *, tokens: str) -> None:
    """Encodes the corpus beside its place and moves it there whole, so that nobody ever sees half of it."""
    from src.data.corpora import CORPORA, Examples
    from src.data.files import DataError

    corpus = CORPORA[options.name].read(options)
    examples, divided = {}, {}
    for name in SPLITS:
        origin = getattr(options, f"{name}_path", None) or getattr(options, "path", None) or options.name
        texts, labels = corpus.splits[name]
        if not texts:
            raise DataError(f"{origin}: the {name} split is empty")
        rows = first_of_each_class(labels, options.limit or len(labels))
        examples[name] = Examples([texts[i] for i in rows], labels[rows])
        divided[name] = [words_of(text, tokens=tokens) for text in examples[name].texts]
        missing = set(range(len(corpus.classes))) - set(labels.tolist())
        if missing:
            what = f"no {'training' if name == TRAIN else name} example of class {corpus.classes[min(missing)]!r}"
            raise DataError(f"{origin}: {what}; each split needs each class: move rows of it there, or leave the class out")
    if tokens != "word" and any(isinstance(part.texts[0], list) for part in examples.values()):
        raise DataError(f"{origin}: it holds lists of words, which tokens={tokens} cannot divide; set tokens=word")
    every = vocabulary(divided[TRAIN])
    if not every:
        raise DataError(f"{origin}: no training text has a word (a letter or a digit); look at the column of the texts")
    ids = {word: FIRST_WORD + rank for rank, word in enumerate(every)}

    parts = Path(tempfile.mkdtemp(prefix="writing-", dir=folder.parent))
    try:
        for name, split in divided.items():
            flat, starts = encode(split, ids)
            for part, array in (("ids", flat), ("starts", starts), ("labels", examples[name].labels.astype(np.int32))):
                np.save(parts / f"{name}.{part}.npy", array)
        (parts / "words.json").write_text(json.dumps(every), encoding="utf-8")
        sizes = {path.name: path.stat().st_size for path in parts.iterdir()}
        contents = of(examples, divided, vocabulary=ids, classes=corpus.classes, tokens=tokens)
        meta = {"classes": corpus.classes, "sizes": sizes, "contents": asdict(contents)}
        (parts / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(parts, folder)
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    """Returns whether all of an encoded corpus is there; one of an earlier version, without its contents, is encoded again."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        Contents(**meta["contents"])
        return all((folder / name).stat().st_size == size for name, size in meta["sizes"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _content(files: list[Path]) -> str:
    """Returns a hash of the files' bytes, remembered by their names, sizes and times of change."""
    stats = [path.stat() for path in files]
    seen = digest([[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in zip(files, stats, strict=True)])
    note = paths.cache() / f"{seen}.content"
    if note.is_file() and (remembered := note.read_text(encoding="ascii")):
        return remembered
    total = hashlib.blake2b(digest_size=16)
    for path in files:
        total.update(hashlib.blake2b(path.read_bytes(), digest_size=16).digest())
    paths.cache().mkdir(parents=True, exist_ok=True)
    note.write_text(total.hexdigest(), encoding="ascii")
    return total.hexdigest()
