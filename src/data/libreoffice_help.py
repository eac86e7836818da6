"""Sentences of LibreOffice's help, from Debian's packages or their unpacked files.

The pages of all languages have the same paths, and their paragraphs the same ids. Two paragraphs with one id are
divided into sentences; if they have equally many, these are pairs.
"""

from __future__ import annotations

import html
import io
import lzma
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from src.data.files import DataError, expanded
from src.data.pair_options import LibreOfficeHelp
from src.data.pairs import Corpus, Pair, by_source, kept, refuse_equal_languages, word_count

READING = 1  # part of the cache key: increment it when the same files give other pairs
INSTALLED = "/usr/share/libreoffice/help"
MOST_LONGER = 2  # times as many words on one side as on the other: the sentences are not translations

_ROOTS = ("{}", "help/{}", "usr/share/libreoffice/help/{}", "*/usr/share/libreoffice/help/{}")  # of a language
_PARAGRAPH = re.compile(r'<(p|h[1-6])\b[^>]*\bid="((?:par|hd)_id[^"]*)"[^>]*>(.*?)</\1>', re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_AFTER_END = re.compile(r"(?<=[.?!])\s+")  # white space after the end of a sentence
_OPENING = "\"'«“‘(¿¡"
_AR, _AR_HEADER = b"!<arch>\n", 60  # the format of a .deb: members with a header each


def files(options: LibreOfficeHelp) -> list[Path]:
    """Returns the package of each language, or the pages of both.

    Raises:
      DataError: both languages are the same, or one of them is missing.
    """
    refuse_equal_languages(options.source, options.target, name="libreoffice_help")
    return [path for language in (options.source, options.target) for path in _files_of(language, options)]


def read(options: LibreOfficeHelp) -> Corpus:
    """Returns the sentence pairs, divided by their sources."""
    source, target = (_paragraphs(_files_of(lang, options), lang) for lang in (options.source, options.target))
    pairs = [pair for key in source.keys() & target.keys() for pair in _sentence_pairs(source[key], target[key])]
    short, dropped = kept(sorted(pairs), max_words=options.max_words)
    return Corpus(by_source(short, origin=_origin(options)), dropped)


def _origin(options: LibreOfficeHelp) -> str:
    return options.path or INSTALLED


def package_of(language: str) -> str:
    """Returns the name of the Debian package of a language."""
    return f"libreoffice-help-{language.lower()}"


def _files_of(language: str, options: LibreOfficeHelp) -> list[Path]:
    """Returns the package (.deb) of a language, or the pages of its folder."""
    folder = expanded(_origin(options))
    if packages := sorted(folder.glob(f"{package_of(language)}_*.deb")):
        return packages[-1:]
    for root in _ROOTS:
        for place in sorted(folder.glob(root.format(language))):
            if pages := sorted((place / "text").rglob("*.html")):
                return pages
    commands = " and ".join(f"`apt-get download {package_of(name)}`" for name in (options.source, options.target))
    fix = f"run {commands} in a folder, and set data.path=FOLDER"
    raise DataError(f"{folder}: no package {package_of(language)} (.deb) and no unpacked help/{language}; {fix}")


def _paragraphs(files: list[Path], language: str) -> dict[tuple[str, str], str]:
    """Returns (path of a page, id of a paragraph) → its text."""
    pages = _packed(files[0]) if files[0].suffix == ".deb" else ((str(path), path.read_bytes()) for path in files)
    return {
        (name.rpartition(f"/{language}/text/")[2], key): _plain(content)
        for name, page in pages
        if name.endswith(".html")
        for _, key, content in _PARAGRAPH.findall(page.decode("utf-8", errors="replace"))
    }


def _packed(package: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the files in a Debian package: their paths and contents. Nothing is unpacked.

    Raises:
      DataError: it is no such package, or incomplete.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(_data_of(package)), mode="r:*") as archive:
            for member in archive:
                if (file := archive.extractfile(member)) is not None:
                    yield member.name, file.read()
    except (OSError, EOFError, ValueError, tarfile.TarError, lzma.LZMAError) as error:
        raise DataError(f"{package}: not a complete Debian package ({error}); download it again") from None


def _data_of(package: Path) -> bytes:
    """Returns the archive `data.tar.*` of a Debian package."""
    content = package.read_bytes()
    if not content.startswith(_AR):
        raise ValueError("it does not begin as an ar archive")
    place = len(_AR)
    while place < len(content):
        name, size = content[place : place + 16].decode("ascii"), int(content[place + 48 : place + 58])
        start = place + _AR_HEADER
        if start + size > len(content):
            raise ValueError(f"{size:,} bytes of {name.strip()} are expected, {len(content) - start:,} are there")
        if name.startswith("data.tar"):
            if name.rstrip(" /").endswith(".zst"):
                raise ValueError("its compression zstd cannot be read; unpack it with `dpkg-deb -x`")
            return content[start : start + size]
        place = start + size + size % 2
    raise ValueError("it has no data.tar")


def _plain(content: str) -> str:
    """Returns the text of a paragraph, without tags."""
    return " ".join(html.unescape(_TAG.sub("", content)).split())


def _sentence_pairs(source: str, target: str) -> Iterator[Pair]:
    """Yields the sentences of two paragraphs if both have equally many; none that was left untranslated."""
    left, right = sentences(source), sentences(target)
    for pair in map(Pair, left, right) if len(left) == len(right) else ():
        if _is_sentence(pair.source) and _is_sentence(pair.target) and _is_translation(pair):
            yield pair


def sentences(text: str) -> list[str]:
    """Returns the sentences of a text. A full stop before a lower-case letter ends none, as in `etc. and`."""
    found: list[str] = []
    for piece in _AFTER_END.split(text):
        if found and piece.lstrip(_OPENING)[:1].islower():
            found[-1] += f" {piece}"
        else:
            found.append(piece)
    return found


def _is_sentence(text: str) -> bool:
    return text.endswith((".", "?", "!")) and word_count(text) > 1


def _is_translation(pair: Pair) -> bool:
    counts = sorted(map(word_count, pair[:2]))
    return pair.source != pair.target and counts[1] <= MOST_LONGER * counts[0]
