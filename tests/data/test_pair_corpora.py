from __future__ import annotations

import gzip
import io
import lzma
import random
import tarfile

import numpy as np
import pytest

from src.data import encoded_pairs
from src.data.encoded_pairs import Tokenisation
from src.data.files import DataError
from src.data.libreoffice_help import sentences
from src.data.pair_corpora import READERS
from src.data.pair_options import LibreOfficeHelp, Multi30k, Pairs
from src.data.pairs import Pair, by_source, key_of
from src.data.splits import SPLITS


def read(options):
    READERS[options.name].files(options)
    return READERS[options.name].read(options)


def everything(corpus):
    return {(pair.source, pair.target) for part in corpus.splits.values() for pair in part}


def lines(count=40):
    return [f"sentence {i}\tSatz {i}\tCC-BY 2.0 (France) #{i}" for i in range(count)]


def write(path, rows, end="\n"):
    path.write_bytes((end.join(rows) + end).encode())
    return Pairs(path=str(path))


def test_a_third_column_is_ignored_and_either_direction_is_read(tmp_path):
    options = write(tmp_path / "deu.txt", lines())

    assert everything(read(options)) == {(f"sentence {i}", f"Satz {i}") for i in range(40)}
    backward = read(options.model_copy(update={"direction": "backward"}))
    assert everything(backward) == {(f"Satz {i}", f"sentence {i}") for i in range(40)}


@pytest.mark.parametrize("kind", ["crlf", "bom", "utf-16", "two columns", "numbered", "blank lines"])
def test_every_form_of_a_file_gives_the_same_pairs(tmp_path, kind):
    expected = read(write(tmp_path / "plain.txt", lines()))
    rows, encoding = lines(), "utf-8"
    end = "\r\n" if kind == "crlf" else "\n"
    if kind == "two columns":
        rows = [row.rpartition("\t")[0] for row in rows]
    if kind == "numbered":
        rows = ["\t".join(["12", row.split("\t")[0], "345", row.split("\t")[1]]) for row in rows]
    if kind == "blank lines":
        end = "\n \n\n"
    if kind in ("bom", "utf-16"):
        encoding = {"bom": "utf-8-sig", "utf-16": "utf-16"}[kind]
    path = tmp_path / "other.txt"
    path.write_bytes((end.join(rows) + end).encode(encoding))

    assert read(Pairs(path=str(path))).splits == expected.splits


def test_no_source_of_validation_or_test_is_trained_on_with_another_translation(tmp_path):
    rng = random.Random(0)
    rows = [f"{rng.choice(['Word', 'word'])} {i % 50}{rng.choice(['.', '!', ''])}\tWort {i}" for i in range(400)]
    rng.shuffle(rows)

    splits = read(write(tmp_path / "p.txt", rows)).splits

    words = {name: {pair.source.lower().strip(".!") for pair in part} for name, part in splits.items()}
    assert [len(words[name]) for name in SPLITS] == [40, 5, 5]
    assert not words["train"] & words["validation"]
    assert not words["train"] & words["test"]
    assert not words["validation"] & words["test"]
    assert sum(map(len, splits.values())) == 400


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Go!", "go", True),
        ("“Go”", "Go...", True),
        ("$5", "€5", False),
        ("!", "?", False),
        ("E\u0301t\u00e9", "été", True),
    ],
)
def test_sources_count_as_one_without_case_and_punctuation(one, other, same):
    assert (key_of(one) == key_of(other)) == same


def test_splits_do_not_depend_on_the_order_of_a_file(tmp_path):
    rows = lines(200)
    first = read(write(tmp_path / "a.txt", rows))
    second = read(write(tmp_path / "b.txt", rows[::-1]))

    assert second.splits == first.splits
    assert [pair.source for pair in first.splits["train"]] != sorted(pair.source for pair in first.splits["train"])


def test_validation_and_test_have_at_most_a_thousand_sources():
    parts = by_source((Pair(f"s {i}", f"t {i}") for i in range(15_000)), origin="x")

    assert {name: len(part) for name, part in parts.items()} == {"train": 13_000, "validation": 1_000, "test": 1_000}


def test_repeated_and_longer_pairs_are_left_out_and_counted(tmp_path):
    options = write(tmp_path / "p.txt", [*lines(), *lines(), "one two three four\teins"])

    corpus = read(options.model_copy(update={"max_words": 3}))

    assert everything(corpus) == {(f"sentence {i}", f"Satz {i}") for i in range(40)}
    assert corpus.dropped == {"repeated": 40, "longer than data.max_words=3": 1, "with an empty side": 0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("only one", "p.txt, row 3: 1 column separated by tabs. A line has a source, a tab, a target"),
        ("a\tb\tc\td", "p.txt, row 3: 4 columns separated by tabs"),
        ("a\t \tc", "p.txt, row 3: the second column is empty. Set data.drop_empty=true to drop it"),
        ("\tb", "p.txt, row 3: the first column is empty"),
        ("a\t" + "b " * 10_000, "p.txt, row 3: the second column has 10,000 words; allowed: up to 500. Divide it into"),
    ],
)
def test_an_error_names_a_broken_line(tmp_path, row, message):
    rows = lines()
    rows.insert(2, row)

    with pytest.raises(DataError) as caught:
        read(write(tmp_path / "p.txt", rows))

    assert message in str(caught.value)


def test_empty_sides_and_long_sentences_can_be_left_out(tmp_path):
    options = write(tmp_path / "p.txt", [*lines(), "a\t", "b " * 10_000 + "\tc"])

    corpus = read(options.model_copy(update={"drop_empty": True, "max_words": 100}))

    assert corpus.dropped == {"repeated": 0, "longer than data.max_words=100": 1, "with an empty side": 1}
    assert len(everything(corpus)) == 40


def test_an_error_names_the_line_with_another_encoding(tmp_path):
    path = tmp_path / "p.txt"
    path.write_bytes("Mädchen\tgirl\n".encode() + "Straße\tstreet\n".encode("latin-1"))

    with pytest.raises(DataError, match=r"p\.txt, line 2: byte 0xdf is not UTF-8"):
        read(Pairs(path=str(path)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([""], "no pairs; a line has a source, a tab and a target"),
        (lines(9), "9 different source sentences; at least 10 are required"),
        ([f"a {i}\ta {i}" for i in range(40)], "both columns are equal in 40 of 40 lines"),
    ],
)
def test_files_without_enough_translations_are_refused(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "p.txt", rows))


def test_a_missing_path_or_file_is_named(home, tmp_path):
    with pytest.raises(DataError, match=r"data=pairs needs a path; add data\.path=FILE"):
        encoded_pairs.load(Pairs.model_validate({}), Tokenisation())
    with pytest.raises(DataError, match=r"gone\.txt: no such file"):
        encoded_pairs.load(Pairs(path=str(tmp_path / "gone.txt")), Tokenisation())


# LibreOffice's help


def page(paragraphs):
    return "".join(
        f'<p id="par_id{i}" class="x">{text}</p><h2 id="hd_id{i}">Title</h2>' for i, text in enumerate(paragraphs)
    )


ENGLISH = [f"Opens dialog {i} &amp; <b>closes</b> it.  Is it number {i}? Yes, it is." for i in range(12)]
SPANISH = [f"Abre el diálogo {i} y lo cierra. ¿Es el número {i}? Sí, lo es." for i in range(12)]


def unpacked(folder, language, paragraphs):
    path = folder / "usr/share/libreoffice/help" / language / "text/shared"
    path.mkdir(parents=True, exist_ok=True)
    (path / "01.html").write_text(page(paragraphs), encoding="utf-8")


def package(path, language, paragraphs, *, data="data.tar.xz"):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        content = page(paragraphs).encode()
        member = tarfile.TarInfo(f"./usr/share/libreoffice/help/{language}/text/shared/01.html")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", data: lzma.compress(archive.getvalue())}
    parts = [
        f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
        for name, content in members.items()
    ]
    path.write_bytes(b"!<arch>\n" + b"".join(parts))


EXPECTED = {
    *((f"Opens dialog {i} & closes it.", f"Abre el diálogo {i} y lo cierra.") for i in range(12)),
    *((f"Is it number {i}?", f"¿Es el número {i}?") for i in range(12)),
    ("Yes, it is.", "Sí, lo es."),
}


@pytest.mark.parametrize("kind", ["packages", "folders"])
def test_sentences_of_the_help_are_read_from_packages_and_from_their_files(tmp_path, kind):
    if kind == "packages":
        package(tmp_path / "libreoffice-help-en-us_7.4.deb", "en-US", ENGLISH)
        package(tmp_path / "libreoffice-help-es_7.4.deb", "es", SPANISH)
    else:
        unpacked(tmp_path, "en-US", ENGLISH)
        unpacked(tmp_path / "other", "es", SPANISH)

    assert everything(read(LibreOfficeHelp(path=str(tmp_path)))) == EXPECTED


def test_untranslated_and_unequal_paragraphs_are_no_pairs(tmp_path):
    unpacked(tmp_path, "en-US", [*ENGLISH, "Only here. And here.", "Save as PDF.", "One word has here many. "])
    unpacked(
        tmp_path,
        "es",
        [*SPANISH, "Solo aquí.", "Save as PDF.", "Una dos tres cuatro cinco seis siete ocho nueve diez once."],
    )

    assert everything(read(LibreOfficeHelp(path=str(tmp_path)))) == EXPECTED


def test_missing_packages_are_named_with_the_two_commands_that_bring_them(tmp_path):
    with pytest.raises(DataError) as caught:
        read(LibreOfficeHelp(path=str(tmp_path), target="de"))

    assert (
        "no package libreoffice-help-en-us (.deb) and no unpacked help/en-US; run `apt-get download "
        "libreoffice-help-en-us` and `apt-get download libreoffice-help-de` in a folder, and set data.path=FOLDER"
    ) in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_package_is_refused(tmp_path, share):
    for language, name in (("en-US", "en-us"), ("es", "es")):
        path = tmp_path / f"libreoffice-help-{name}_7.4.deb"
        package(path, language, ENGLISH)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    with pytest.raises(DataError, match=r"help-es_7\.4\.deb: not a complete Debian package .*; download it again"):
        read(LibreOfficeHelp(path=str(tmp_path)))


def test_a_package_with_another_compression_is_refused_with_a_way_out(tmp_path):
    for language, name in (("en-US", "en-us"), ("es", "es")):
        package(tmp_path / f"libreoffice-help-{name}_7.4.deb", language, ENGLISH, data="data.tar.zst")

    with pytest.raises(DataError, match="zstd cannot be read; unpack it with `dpkg-deb -x`"):
        read(LibreOfficeHelp(path=str(tmp_path)))


def test_a_sentence_ends_before_a_capital_letter():
    assert sentences("Use e.g. this. ¿Y esto? «Sí.» 3 cells etc. and more.") == [
        *["Use e.g. this.", "¿Y esto?", "«Sí.» 3 cells etc. and more."]
    ]


# Multi30k


def multi30k(folder, *, packed):
    counts = {"train": 30, "val": 4, "test_2016_flickr": 5}
    for name, count in counts.items():
        for language in ("de", "en"):
            content = "".join(f"{language} {name} {i}\n" for i in range(count)).encode()
            path = folder / f"{name}.{language}{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return Multi30k(path=str(folder))


@pytest.mark.parametrize("packed", [False, True])
def test_two_parallel_files_are_a_split(tmp_path, packed):
    corpus = read(multi30k(tmp_path, packed=packed))

    assert {name: len(part) for name, part in corpus.splits.items()} == {"train": 30, "validation": 4, "test": 5}
    assert corpus.splits["validation"][3] == Pair("de val 3", "en val 3")


def test_training_sources_that_are_tested_are_left_out(tmp_path):
    options = multi30k(tmp_path, packed=False)
    for language in ("de", "en"):
        with (tmp_path / f"train.{language}").open("a") as file:
            file.write(f"{language} test_2016_flickr 1!\n")

    corpus = read(options)

    assert len(corpus.splits["train"]) == 30
    assert len(corpus.splits["test"]) == 5
    assert corpus.dropped["with a source of a later split"] == 1
    assert not {key_of(pair.source) for pair in corpus.splits["train"]} & {
        key_of(pair.source) for pair in corpus.splits["test"]
    }


def test_parallel_files_that_do_not_fit_are_refused(tmp_path):
    options = multi30k(tmp_path, packed=True)
    with pytest.raises(DataError, match="both de; set them to two languages"):
        read(options.model_copy(update={"target": "de"}))
    with pytest.raises(DataError, match=r"no file train\.cs, plain or gzip"):
        read(options.model_copy(update={"target": "cs"}))
    content = (tmp_path / "val.en.gz").read_bytes()
    (tmp_path / "val.en.gz").write_bytes(content[:-12])
    with pytest.raises(DataError, match=r"val\.en\.gz: not a complete gzip file"):
        read(options)
    (tmp_path / "val.en.gz").write_bytes(gzip.compress(b"one\n"))
    with pytest.raises(DataError, match=r"val\.de\.gz: 4 lines, val\.en\.gz has 1; line n of one must be"):
        read(options)
    (tmp_path / "val.en.gz").write_bytes(gzip.compress(b"one\n\ntwo\nthree\n"))
    with pytest.raises(DataError, match=r"val\.en\.gz, line 2: the line is empty"):
        read(options)


def test_every_corpus_of_pairs_has_a_reader():
    from typing import get_args

    from src.data.pair_options import Parallel

    assert {option.model_fields["name"].default for option in get_args(Parallel)} == set(READERS)
    assert np.all([reader.version for reader in READERS.values()])
