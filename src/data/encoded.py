"""Encoded corpora on disk: tokenised once, then memory-mapped by every trial and worker.

The folder's name is a hash of everything that its content depends on: the bytes of the corpus' files, the options of
the corpus, the tokenisation, and the versions of the rules. Ids are ranks in the whole training vocabulary, so one
folder serves every `vocab_size`, `max_length` and truncation.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.data.cache import content_hash, stored
from src.data.contents import Contents, describe
from src.data.options import Running
from src.data.running import READING as RUNNING
from src.data.splits import SPLITS, SPLITTING, TEST, TRAIN, first_of_each_class
from src.data.tokens import FIRST_WORD, TOKENISER, encode, vocabulary, words_of
from src.files import digest

ORIGINALS = "test.originals.jsonl"  # a line for each text of the test split of a corpus with classes


@dataclass(frozen=True)
class Sequences:
    """N sequences of ids in one flat array.

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


class Original(NamedTuple):
    """A text as its corpus has it.

    Attributes:
      text: the text; a list of words is joined by spaces.
      file: name of its file.
      row: its row there, from 1; None for a file with a single text.
    """

    text: str
    file: str
    row: int | None


@dataclass(frozen=True)
class Encoded:
    """A corpus as ids.

    Attributes:
      digest: hash of the content, the tag `ablation.data`.
      classes: name of each class.
      folder: folder with its files.
      origin: name and path of the corpus, as in the settings.
      contents: counts for the plan and the record.
      file: name of the file with the test texts, if one file has them all.
    """

    digest: str
    classes: list[str]
    folder: Path
    origin: str
    contents: Contents
    file: str

    def split(self, name: str) -> Sequences:
        """Returns one split, memory-mapped: ids are read when they are used."""
        arrays = (np.load(self.folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("ids", "starts", "labels"))
        return Sequences(*arrays)

    @functools.cached_property
    def longest(self) -> int:
        """Steps of the longest sequence of all splits."""
        return max(int(self.split(name).lengths.max()) for name in SPLITS)

    @functools.cached_property
    def examples(self) -> int:
        """Number of sequences in the training split."""
        return len(self.split(TRAIN).labels)

    @property
    def rows(self) -> dict[str, int]:
        """Split → number of its examples."""
        return {name: sum(counts) for name, counts in self.contents.counts.items()}

    def words(self, vocab_size: int) -> list[str]:
        """Returns the words with an id below `vocab_size`; the word at position r has id r + 4."""
        words = json.loads((self.folder / "words.json").read_text(encoding="utf-8"))
        return list(words[: max(0, vocab_size - FIRST_WORD)])

    def originals(self, rows: Sequence[int]) -> list[Original]:
        """Returns texts of the test split of a corpus with classes, by row from 0, as the corpus has them."""
        lines = (self.folder / ORIGINALS).read_bytes().split(b"\n")
        found = (Original(*json.loads(lines[row])) for row in rows)
        return [one._replace(file=one.file or self.file) for one in found]


def load(options: Running, *, tokens: str = "word") -> Encoded:
    """Returns the encoded corpus, from the cache if possible. If the cache is damaged, the log says why it is rebuilt.

    Args:
      options: the corpus and its options.
      tokens: how texts are tokenised, a key of `tokens.DIVISIONS`.

    Raises:
      DataError: the corpus' files are missing, damaged or too large for the memory, or a split lacks a class.
    """
    from src.data.corpora import CORPORA  # scikit-learn and SciPy take half a second

    origin = f"{options.name} {path}" if (path := getattr(options, "path", None)) else options.name

    def find() -> list[Path]:
        return CORPORA[options.name].files(options)

    files = find()
    content = content_hash(files)
    key = digest({"options": _content_options(options, files), "versions": _versions(options, tokens)})
    key = hashlib.blake2b(f"{key} {content}".encode(), digest_size=8).hexdigest()
    folder, about = stored(
        key,
        origin=origin,
        files=files,
        find=find,
        content=content,
        write=functools.partial(_write, options, tokens=tokens),
        check=_check,
    )
    return Encoded(key, about["classes"], folder, origin, Contents(**about["contents"]), files[-1].name)


def _check(about: dict[str, Any]) -> None:
    """Raises KeyError or TypeError for a record of another version; earlier ones have no original texts."""
    Contents(**about["contents"])
    if len(about["classes"]) > 1 and ORIGINALS not in about["digests"]:
        raise KeyError(ORIGINALS)


def _content_options(options: Running, files: list[Path]) -> dict[str, Any]:
    """Returns the options that the content depends on, in addition to the files' bytes.

    Options of later versions are omitted if they have no effect: so digests of earlier versions stay valid.
    """
    plain = options.model_dump(exclude={"path", "validation_path", "test_path", "delimiter"})
    if options.name == "table":
        from src.data.tables import sign_of

        if not plain["drop_empty"]:
            del plain["drop_empty"]
        signs = [sign_of(path, options.delimiter) for path in files]
        if set(signs) - {",", ""}:
            plain["delimiters"] = signs
    return plain


def _versions(options: Running, tokens: str) -> list[int | str]:
    """Returns the versions of all rules that the content depends on."""
    if options.name == "movie_reviews":  # the current rules give the same words and splits: earlier trials stay valid
        versions: list[int | str] = ["1", "2"]
    else:
        versions = [TOKENISER, SPLITTING]
    if options.name in ("shakespeare", "text"):
        versions += [RUNNING]
    if options.name == "table":
        from src.data.tables import READING

        draws = [importlib.metadata.version(name) for name in ("scikit-learn", "scipy")]  # they draw the splits
        versions += [READING, *draws]
    return versions if tokens == "word" else [*versions, tokens, TOKENISER]


def _write(options: Running, parts: Path, *, tokens: str) -> dict[str, Any]:
    """Writes the encoded corpus into a folder; returns its classes and contents."""
    from src.data.corpora import CORPORA, Examples
    from src.data.files import DataError

    corpus = CORPORA[options.name].read(options)
    examples, tokenised = {}, {}
    for name in SPLITS:
        origin = getattr(options, f"{name}_path", None) or getattr(options, "path", None) or options.name
        texts, labels = corpus.splits[name]
        if not texts:
            raise DataError(f"{origin}: the {name} split is empty")
        rows = first_of_each_class(labels, options.limit or len(labels))
        examples[name] = Examples([texts[i] for i in rows], labels[rows])
        if name == TEST and corpus.tested:
            _write_originals(parts / ORIGINALS, examples[name].texts, [corpus.tested[i] for i in rows])
        tokenised[name] = [words_of(text, tokens=tokens) for text in examples[name].texts]
        missing = set(range(len(corpus.classes))) - set(labels.tolist())
        if missing:
            absent = f"no {'training' if name == TRAIN else name} example of class {corpus.classes[min(missing)]!r}"
            raise DataError(
                f"{origin}: {absent}; every split needs every class: move rows of the class there, or remove the class"
            )
    if tokens != "word" and any(isinstance(part.texts[0], list) for part in examples.values()):
        raise DataError(f"{origin}: contains lists of words, which tokens={tokens} cannot split; set tokens=word")
    words = vocabulary(tokenised[TRAIN])
    if not words:
        raise DataError(f"{origin}: no training text contains a word (a letter or a digit); check the text column")
    ids = {word: FIRST_WORD + rank for rank, word in enumerate(words)}

    for name, split in tokenised.items():
        flat, starts = encode(split, ids)
        for part, array in (("ids", flat), ("starts", starts), ("labels", examples[name].labels.astype(np.int32))):
            np.save(parts / f"{name}.{part}.npy", array)
    (parts / "words.json").write_text(json.dumps(words), encoding="utf-8")
    contents = describe(
        examples, tokenised, vocabulary=ids, classes=corpus.classes, tokens=tokens, dropped=corpus.dropped
    )
    return {"classes": corpus.classes, "contents": asdict(contents)}


def _write_originals(path: Path, texts: Sequence[str | list[str]], places: Sequence[tuple[str, int | None]]) -> None:
    """Writes the texts with the file and row of each; half a surrogate pair, which JSON allows, becomes `?`."""
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        for text, place in zip(texts, places, strict=True):
            one = text if isinstance(text, str) else " ".join(text)
            file.write(json.dumps([one, *place], ensure_ascii=False) + "\n")
