"""The options of parallel corpora: the choices of the config group `data` for translation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from src.data.options import LIMIT
from src.spec.section import Count, Section

MAX_WORDS = 500  # of a sentence, split at spaces; a longer one is a whole text
TRAIN_PAIRS = "use only this many training pairs, the same ones in every trial; null = all"
LONGER = "leave out pairs with a side of more words than this, in every split"


class Dates(Section):
    """Generated dates, periods and amounts, written out, with their ISO forms or in another language (CLDR, Babel)."""

    name: Literal["dates"] = "dates"
    source: Literal["en", "de", "es", "fr"] = Field("en", description="language of the source")
    target: Literal["iso", "en", "de", "es", "fr"] = Field(
        "iso", description="language of the target; iso = ISO 8601 dates and ISO 4217 currencies"
    )
    phrases: int = Field(3, ge=1, le=20, description="maximum number of dates, periods and amounts of a source")
    train_pairs: Count = Field(10_000, description="number of training pairs")
    limit: Count | None = Field(None, description=LIMIT)


class Pairs(Section):
    """Your own file of sentence pairs, tab-separated, as those of Tatoeba and Anki."""

    name: Literal["pairs"] = "pairs"
    path: str | None = Field(
        None, description="file with a source, a tab and a target in each line; a third column is ignored"
    )
    direction: Literal["forward", "backward"] = Field(
        "forward", description="forward = from the first column to the second, backward = from the second to the first"
    )
    max_words: int | None = Field(None, ge=1, le=MAX_WORDS, description=f"{LONGER}; null = all pairs")
    drop_empty: bool = Field(False, description="drop lines with an empty side instead of refusing the file")
    train_pairs: Count | None = Field(None, description=TRAIN_PAIRS)
    limit: Count | None = Field(None, description=LIMIT)


Help = Literal["en-US", "es", "de", "fr"]


class LibreOfficeHelp(Section):
    """Sentences of LibreOffice's help, from two Debian packages."""

    name: Literal["libreoffice_help"] = "libreoffice_help"
    path: str | None = Field(
        None, description="folder with the two packages (.deb) or their unpacked files; null = the installed packages"
    )
    source: Help = Field("en-US", description="language of the source")
    target: Help = Field("es", description="language of the target")
    max_words: int = Field(15, ge=1, le=MAX_WORDS, description=LONGER)
    train_pairs: Count | None = Field(None, description=TRAIN_PAIRS)
    limit: Count | None = Field(None, description=LIMIT)


class Multi30k(Section):
    """Multi30k (Elliott et al., 2016): descriptions of pictures, two parallel files for each split."""

    name: Literal["multi30k"] = "multi30k"
    path: str | None = Field(None, description="folder with train.de, train.en, val.de, …, plain or gzip (.gz)")
    source: Literal["de", "en", "fr", "cs"] = Field("de", description="language of the source")
    target: Literal["de", "en", "fr", "cs"] = Field("en", description="language of the target")
    max_words: int | None = Field(None, ge=1, le=MAX_WORDS, description=f"{LONGER}; null = all pairs")
    train_pairs: Count | None = Field(None, description=TRAIN_PAIRS)
    limit: Count | None = Field(None, description=LIMIT)


Parallel = Dates | LibreOfficeHelp | Multi30k | Pairs
