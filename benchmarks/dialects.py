"""How often a file's dialect and encoding are found, and how long it takes: ours beside clevercsv, the csv module's
Sniffer and charset-normalizer.

    .venv/bin/python benchmarks/dialects.py

Runs itself once more with the peers' environment, which has clevercsv. A file is right when it is read into exactly
the rows that it was made of.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "products" / "tests" / "importing" / "corpora" / "csv-spectrum"
PEERS = ROOT / "benchmarks" / ".venv" / "bin" / "python"
SEEDS = range(12)
ROWS = 30

TEXTS = {
    "German": "Lampe Tür Größe weiß Stühle für Büro Käse Öffner grün Maß Übertopf",
    "French": "lampe théière élégante fenêtre côté à reçu où chêne déjà",
    "Spanish": "lámpara pequeña niño cajón español jabón mesa también",
    "Polish": "lampka żółta krzesło dębowe półka ścienna łóżko stół",
    "Russian": "настольная лампа стул дубовый стол письменный шкаф для одежды",
    "Japanese": "デスクランプ 椅子 テーブル 木製 本棚 引き出し",
}
ENCODINGS = [
    *[(language, codec) for language in ("German", "French", "Spanish") for codec in ("cp1252", "cp850", "mac-roman")],
    ("Polish", "cp1250"),
    ("Russian", "cp1251"),
    ("Russian", "koi8-r"),
    ("Japanese", "shift_jis"),
    ("Japanese", "euc_jp"),
]


class Case(NamedTuple):
    group: str
    text: str
    rows: list[list[str]]
    """With the header, without what stands before it; empty where only the dialect's signs can be judged."""


# --- the files ---------------------------------------------------------------------------------


def spectrum() -> Iterator[Case]:
    for path in sorted((CORPUS / "csvs").glob("*.csv")):
        objects = json.loads((CORPUS / "json" / f"{path.stem}.json").read_text(encoding="utf-8"))
        rows = [list(objects[0]), *(list(each.values()) for each in objects)]
        yield Case("csv-spectrum", path.read_bytes().decode(), rows)


def generated() -> Iterator[Case]:
    for seed in SEEDS:
        for delimiter in ",;\t|":
            for known in (True, False):
                rows = table(random.Random(f"{seed}{delimiter}"), known=known)
                for group, text in variants(rows, delimiter, random.Random(seed)):
                    yield Case(group, text, rows[:4] if group == "three rows" else rows)
                two = [row[:2] for row in rows]
                yield Case("two columns", written(two, delimiter), two)
                yield Case("one column", written([row[:1] for row in rows], delimiter), [row[:1] for row in rows])


def table(chance: random.Random, *, known: bool) -> list[list[str]]:
    header = ["sku", "name", "description", "price", "made"] if known else ["Nr", "Wort", "Text", "Wert", "Zeit"]
    texts = ["Lamp, brass; 40 cm", 'Pipe 5" long', "Chair | oak", "It's a 'good' one", "Sofa", "", "two\nlines", "a: b"]
    rows = [header]
    for number in range(ROWS):
        price = f"{chance.randrange(1000)},{chance.randrange(10)}"
        rows.append(
            [f"A-{number}", chance.choice(texts), chance.choice(texts), price, f"2026-01-{1 + number % 28:02} 10:30"]
        )
    return rows


def written(rows: list[list[str]], delimiter: str, quote: str = '"', end: str = "\r\n", **options: Any) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quotechar=quote, lineterminator=end, **options).writerows(rows)
    return text.getvalue()


def variants(rows: list[list[str]], delimiter: str, chance: random.Random) -> Iterator[tuple[str, str]]:
    plain = written(rows, delimiter)
    lines = plain.splitlines(keepends=True)
    yield "plain", plain
    yield "all cells quoted", written(rows, delimiter, quoting=csv.QUOTE_ALL)
    yield "quoted with '", written(rows, delimiter, "'")
    title = chance.choice(["Products of 2026", "Report\r\nMade 2026-01-31, by the ERP", "# export; do not edit"])
    yield "title before the header", f"{title}\r\n\r\n{plain}"
    yield "sep= before the header", f"sep={delimiter}\r\n{plain}"
    yield "three rows", written(rows[:4], delimiter)
    yield "mixed line ends", "".join(line.replace("\r\n", chance.choice(["\n", "\r\n"])) for line in lines)


def ragged() -> Iterator[Case]:
    """Single rows that lack a cell, or have one more. Cells without line ends, so that a line is a row."""
    for seed in SEEDS:
        for delimiter in ",;\t|":
            rows = table(random.Random(seed), known=seed % 2 == 0)
            rows = [[cell.replace("\n", " ") for cell in row] for row in rows]
            for at in random.Random(seed).sample(range(1, len(rows)), 4):
                rows[at] = rows[at][:-1] if at % 2 else [*rows[at], "more"]
            yield Case("ragged rows", written(rows, delimiter), rows)


# --- the ways to find it -----------------------------------------------------------------------


def ours(text: str) -> list[list[str]]:
    from products.importing.reader import open_table

    data = text.encode()
    read = open_table(io.BytesIO(data), total_bytes=len(data))
    return [read.header, *(cells for _, cells in read)]


def clever(text: str) -> list[list[str]]:
    import clevercsv

    dialect = clevercsv.Sniffer().sniff(text)
    return [row for row in clevercsv.reader(io.StringIO(text, newline=""), dialect) if row]


def sniffer(text: str) -> list[list[str]]:
    dialect = csv.Sniffer().sniff(text)
    return [row for row in csv.reader(io.StringIO(text, newline=""), dialect) if row]


def right(case: Case, find: Callable[[str], list[list[str]]]) -> bool:
    """Whether it is read right. A library knows nothing of titles: what it reads before the header is no mistake."""
    try:
        found = find(case.text)
    except Exception:
        return False
    return found[-len(case.rows) :] == case.rows


def measure(find: Callable[[str], list[list[str]]]) -> dict[str, tuple[int, int, float]]:
    """Group -> (right, all, seconds)."""
    groups: dict[str, tuple[int, int, float]] = {}
    for case in [*spectrum(), *generated(), *ragged()]:
        begin = time.perf_counter()
        good = right(case, find)
        spent = time.perf_counter() - begin
        hits, total, seconds = groups.get(case.group, (0, 0, 0.0))
        groups[case.group] = (hits + good, total + 1, seconds + spent)
    return groups


def measure_encodings(find: Callable[[bytes], str]) -> tuple[int, int, float]:
    hits = total = 0
    begin = time.perf_counter()
    for language, codec in ENCODINGS:
        for count in (3, 30, 1_000):
            chance = random.Random(f"{language}{count}")
            words = TEXTS[language].split()
            lines = (f"SKU-{n};{chance.choice(words)} {chance.choice(words)};{n}\n" for n in range(count))
            data = ("sku;name;price\n" + "".join(lines)).encode(codec)
            try:
                hits += data.decode(find(data)) == data.decode(codec)
            except (LookupError, UnicodeError):
                pass
            total += 1
    return hits, total, time.perf_counter() - begin


def our_encoding(data: bytes) -> str:
    from products.importing.detect import find_encoding

    return find_encoding(data, whole=True).codec


def normalizer(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data).best()
    return best.encoding if best else "none"


# --- the table ---------------------------------------------------------------------------------


def show() -> None:
    asked = subprocess.run([PEERS, __file__, "--clevercsv"], capture_output=True, check=True, text=True)
    ways = {"ours": measure(ours), "clevercsv": json.loads(asked.stdout), "csv.Sniffer": measure(sniffer)}
    print("| files | " + " | ".join(ways) + " |")
    print("|---|" + "---|" * len(ways))
    for group in ways["ours"]:
        cells = (f"{hits}/{total}, {seconds:.2f} s" for hits, total, seconds in (way[group] for way in ways.values()))
        print(f"| {group} | " + " | ".join(cells) + " |")
    sums = (tuple(map(sum, zip(*way.values(), strict=True))) for way in ways.values())
    print("| all | " + " | ".join(f"{hits}/{total}, {seconds:.2f} s" for hits, total, seconds in sums) + " |")
    print("\n| encodings | right | seconds |\n|---|---|---|")
    for name, find in (("ours", our_encoding), ("charset-normalizer", normalizer)):
        hits, total, seconds = measure_encodings(find)
        print(f"| {name} | {hits}/{total} | {seconds:.2f} |")


if __name__ == "__main__":
    if "--clevercsv" in sys.argv:
        print(json.dumps(measure(clever)))
    else:
        sys.path.insert(0, str(ROOT))
        os.environ["DJANGO_SETTINGS_MODULE"] = "odata.settings"
        django = importlib.import_module("django")
        django.setup()
        show()
