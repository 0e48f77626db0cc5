"""The product files that are measured: the rows of the sample, in the shapes that matter.

Django has to be set up before any of it is called.
"""

from __future__ import annotations

import csv
import mmap
import random
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

Row = tuple[str, str, str, str]
HEADER = ("sku", "name", "description", "status")
FILLER = "Comes in a box of recycled board."
SPREAD = 20
"""One in so many products of the large catalogue is in the file that is merged into it."""


def sample_rows(count: int) -> Iterator[Row]:
    """The sample's rows with a longer description: 500,000 of them are a file of 95 MB."""
    from odata import sample  # has models in it

    return ((sku, name, f"{text} {FILLER}", status) for sku, name, text, status in sample.sample_rows(count))


def plain(count: int) -> Iterator[Row]:
    """The same products without a comma in any cell, so that no cell is quoted."""
    for sku, name, description, status in sample_rows(count):
        yield sku, name.replace(",", ""), description.replace(",", ""), status


def renamed(rows: Iterator[Row]) -> Iterator[Row]:
    """The same products, every one of them with another name."""
    return ((sku, f"{name} II", description, status) for sku, name, description, status in rows)


def spread(count: int, names: str) -> Iterator[Row]:
    """Products that lie evenly all over a catalogue of `SPREAD` times as many."""
    for number, (_, name, description, status) in enumerate(sample_rows(count)):
        yield f"OD-{number * SPREAD:07d}", f"{name} {names}", description, status


def between(count: int, suffix: str) -> Iterator[Row]:
    """New products whose skus lie evenly between those of the large catalogue."""
    for number, (_, name, description, status) in enumerate(sample_rows(count)):
        yield f"OD-{number * SPREAD:07d}-{suffix}", name, description, status


KINDS: dict[str, tuple[Callable[[int], Iterator[Row]], bool]] = {
    "sorted": (sample_rows, False),
    "shuffled": (sample_rows, True),
    "plain": (plain, True),
}
"""Name of a file: its rows, and whether they are shuffled."""


def make(kind: str, count: int, path: Path) -> Path:
    """Write a file of one of the `KINDS`, the same each time; `<kind>-changed` has another name in each row."""
    rows, shuffle = KINDS[kind.removesuffix("-changed")]
    wanted = renamed(rows(count)) if kind.endswith("-changed") else rows(count)
    return write(wanted, path, shuffle=shuffle)


def write(rows: Iterator[Row], path: Path, *, shuffle: bool) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows)
    if shuffle:
        shuffle_lines(path)
    return path


def shuffle_lines(path: Path) -> None:
    """Mix the lines below the header. Needs little memory: the files of memory's own measurement are large."""
    draft = path.with_suffix(".shuffled")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text, draft.open("wb") as out:
        out.write(text.readline())
        starts = array("Q")
        while text.tell() < len(text):
            starts.append(text.tell())
            text.readline()
        random.Random(20).shuffle(starts)
        for start in starts:
            text.seek(start)
            out.write(text.readline())
    draft.replace(path)
