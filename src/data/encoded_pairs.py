"""Parallel corpora as ids on disk: tokenised once, then memory-mapped by every trial and worker.

The folder's name is a hash of everything that its content depends on. Ids are ranks in the whole vocabulary of a side
(or of both), so one folder serves every `vocab_size`, except with `tokens=subword`, whose merges depend on it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.data.cache import content_hash, stored
from src.data.files import DataError
from src.data.pair_contents import SIDES, SOURCE, TARGET, PairContents, describe
from src.data.pair_options import Parallel
from src.data.pair_vocabulary import Vocabulary
from src.data.pairs import SPLITTING, Corpus, Link
from src.data.sentence_tokens import RULES, Token, division, learn, normalised
from src.data.splits import SPLITS, TRAIN
from src.data.tokens import FIRST_WORD, UNKNOWN, vocabulary
from src.files import digest

Texts = Mapping[str, Mapping[str, list[list[Token]]]]  # split → side → the tokens of each text


@dataclass(frozen=True)
class Tokenisation:
    """How texts become ids.

    Attributes:
      tokens: word, character or subword.
      lowercase: whether texts are in lower case.
      share_vocabulary: whether both sides have one vocabulary.
      vocab_size: number of ids of a side; only subwords depend on it.
    """

    tokens: str = "word"
    lowercase: bool = True
    share_vocabulary: bool = False
    vocab_size: int = 8_000


@dataclass(frozen=True)
class Flat:
    """N sequences in one array: sequence i is `values[starts[i]:starts[i + 1]]`; starts are int64[N + 1]."""

    values: np.ndarray
    starts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """int64[N]."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class EncodedPairs:
    """A parallel corpus as ids.

    Attributes:
      digest: hash of the content, the tag `ablation.data`.
      folder: folder with its files.
      origin: name and path of the corpus, as in the settings.
      tokenisation: how its texts became ids.
      contents: counts for the plan and the record.
      is_aligned: whether every target token knows the source tokens that it comes from.
    """

    digest: str
    folder: Path
    origin: str
    tokenisation: Tokenisation
    contents: PairContents
    is_aligned: bool

    def side(self, split: str, side: str) -> Flat:
        """Returns the ids of the texts of one side of a split, int32 without start and end, memory-mapped."""
        return self._flat(f"{split}.{side}")

    def links(self, split: str) -> Flat | None:
        """Returns of each pair which tokens belong together, int32[n, 2]: a place in the target, one in the source.

        None if the corpus is not aligned. Places are counted from 0, without the start.
        """
        return self._flat(f"{split}.links") if self.is_aligned else None

    def _flat(self, name: str) -> Flat:
        return Flat(*(np.load(self.folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("values", "starts")))

    def texts(self, split: str, side: str) -> list[str]:
        """Returns the texts of one side of a split as the corpus has them."""
        return list(json.loads((self.folder / f"{split}.{side}.json").read_text(encoding="utf-8")))

    def vocabulary(self, side: str, vocab_size: int) -> Vocabulary:
        """Returns the tokens of a side with an id below `vocab_size`."""
        how = self.tokenisation
        words = json.loads((self.folder / f"{side}.words.json").read_text(encoding="utf-8"))
        merges = (self.folder / f"{side}.merges").read_bytes() if how.tokens == "subword" else None
        return Vocabulary(words[: max(0, vocab_size - FIRST_WORD)], how.tokens, how.lowercase, merges)

    @property
    def ids(self) -> int:
        """Number of ids that all tokens of training need, on the side that needs more."""
        sizes = self.contents.vocabulary
        common = self.contents.common
        return FIRST_WORD + (
            sum(sizes.values()) - common if self.tokenisation.share_vocabulary else max(sizes.values())
        )

    @property
    def rows(self) -> dict[str, int]:
        """Split → number of its pairs."""
        return dict(self.contents.pairs)


def load(options: Parallel, how: Tokenisation) -> EncodedPairs:
    """Returns the encoded corpus, from the cache if possible.

    Raises:
      DataError: the corpus' files are missing, damaged or unusable, or a split is empty.
    """
    from src.data.pair_corpora import READERS

    path = getattr(options, "path", None)
    if options.name in ("pairs", "multi30k") and not path:
        what = "FILE" if options.name == "pairs" else "FOLDER"
        raise DataError(f"data={options.name} needs a path; add data.path={what}")
    origin = f"{options.name} {path}" if path else options.name
    reader = READERS[options.name]

    def find() -> list[Path]:
        return reader.files(options)

    files = find()
    content = content_hash(files)
    plain = {"options": options.model_dump(exclude={"path"}), "how": _relevant(how)}
    key = digest({**plain, "versions": [reader.version, SPLITTING, RULES]})
    key = hashlib.blake2b(f"{key} {content}".encode(), digest_size=8).hexdigest()
    folder, about = stored(
        key,
        origin=origin,
        files=files,
        find=find,
        content=content,
        write=functools.partial(_write, options, how, origin),
        check=lambda about: (PairContents(**about["contents"]), about["is_aligned"]),
    )
    return EncodedPairs(key, folder, origin, how, PairContents(**about["contents"]), about["is_aligned"])


def _relevant(how: Tokenisation) -> dict[str, Any]:
    """Returns what the content depends on."""
    plain = asdict(how)
    return plain if how.tokens == "subword" else {**plain, "vocab_size": None}


def _write(options: Parallel, how: Tokenisation, origin: str, parts: Path) -> dict[str, Any]:
    """Writes the encoded corpus into a folder; returns its contents."""
    from src.data.pair_corpora import READERS

    corpus = _limited(READERS[options.name].read(options), options, origin)
    normal = {
        name: {side: [normalised(getattr(pair, side), lowercase=how.lowercase) for pair in pairs] for side in SIDES}
        for name, pairs in corpus.splits.items()
    }
    merges = _merges(normal[TRAIN], how)
    divisions = {side: division(how.tokens, merges[side]) for side in SIDES}
    texts = {
        name: {side: [divisions[side].split(text) for text in normal[name][side]] for side in SIDES} for name in SPLITS
    }
    vocabularies = _vocabularies(texts[TRAIN], how)
    for name, pairs in corpus.splits.items():
        for side in SIDES:
            ids = [[vocabularies[side].get(token.text, UNKNOWN) for token in text] for text in texts[name][side]]
            _save(parts / f"{name}.{side}", [np.array(text, np.int32) for text in ids])
            plain = [getattr(pair, side) for pair in pairs]
            (parts / f"{name}.{side}.json").write_text(json.dumps(plain), encoding="utf-8")
        if corpus.is_aligned:
            sides = (pairs, texts[name][TARGET], texts[name][SOURCE])
            _save(parts / f"{name}.links", [token_links(pair.links, *both) for pair, *both in zip(*sides, strict=True)])
    for side in SIDES:
        (parts / f"{side}.words.json").write_text(json.dumps(list(vocabularies[side])), encoding="utf-8")
        if (learnt := merges[side]) is not None:
            (parts / f"{side}.merges").write_bytes(learnt)
    contents = describe(corpus, _as_words(texts), vocabularies)
    return {"contents": asdict(contents), "is_aligned": corpus.is_aligned}


def _limited(corpus: Corpus, options: Parallel, origin: str) -> Corpus:
    """Returns the first pairs of each split, as many as the options allow."""
    splits = {}
    for name, pairs in corpus.splits.items():
        limits = [options.limit, options.train_pairs if name == TRAIN else None]
        splits[name] = pairs[: min(limit for limit in (*limits, len(pairs)) if limit is not None)]
        if not splits[name]:
            raise DataError(f"{origin}: the {name} split is empty; raise data.max_words, or use more pairs")
    return corpus._replace(splits=splits)


def _merges(train: Mapping[str, list[str]], how: Tokenisation) -> dict[str, bytes | None]:
    """Returns side → the merges that the training texts teach; None without subwords."""
    if how.tokens != "subword":
        return dict.fromkeys(SIDES)
    if how.share_vocabulary:
        return dict.fromkeys(SIDES, learn([text for side in SIDES for text in train[side]], how.vocab_size))
    return {side: learn(train[side], how.vocab_size) for side in SIDES}


def _vocabularies(train: Mapping[str, list[list[Token]]], how: Tokenisation) -> dict[str, dict[str, int]]:
    """Returns side → token → id. Only the tokens of training have one, the most frequent ones the lowest."""
    words = {side: [[token.text for token in text] for text in train[side]] for side in SIDES}
    if how.share_vocabulary:
        both = [text for side in SIDES for text in words[side]]
        words = {SOURCE: both, TARGET: both}
    return {
        side: {word: FIRST_WORD + rank for rank, word in enumerate(vocabulary(texts))} for side, texts in words.items()
    }


def _as_words(texts: Texts) -> dict[str, dict[str, list[list[str]]]]:
    return {
        name: {side: [[token.text for token in text] for text in part] for side, part in sides.items()}
        for name, sides in texts.items()
    }


def token_links(links: Sequence[Link], target: Sequence[Token], source: Sequence[Token]) -> np.ndarray:
    """Returns which tokens belong together: those with characters that do.

    Args:
      links: of the characters.
      target: tokens of the target.
      source: tokens of the source.

    Returns:
      int32[n, 2] places, in the target and in the source, ordered, each pair once.
    """
    of_target, of_source = _owners(target), _owners(source)
    places = {
        (of_target[left], of_source[right])
        for link in links
        for left in range(*link.target)
        for right in range(*link.source)
        if left in of_target and right in of_source
    }
    return np.array(sorted(places), np.int32).reshape(-1, 2)


def _owners(tokens: Sequence[Token]) -> dict[int, int]:
    """Returns character of a text → the token that it belongs to."""
    return {place: number for number, token in enumerate(tokens) for place in range(token.start, token.end)}


def _save(path: Path, sequences: Sequence[np.ndarray]) -> None:
    starts = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
    np.save(f"{path}.values.npy", np.concatenate(sequences))
    np.save(f"{path}.starts.npy", starts)
