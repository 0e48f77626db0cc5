"""What finding products costs without an index of their names, and what such an index would cost imports.

    .venv/bin/python benchmarks/search.py [--products 1000000] [--rows 500000] [--repeats 3] [--only search|imports]

Milliseconds of each search as the admin makes it (`products.search`, then a page of 50), the median and the
slowest of ten; then seconds of the same imports with no such index, with each that PostgreSQL offers, and
with one that is kept aside and brought up to date after the import.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median

import database
import files
from place import Place, fresh_place
from stages import receive

RARE = "Gyroscope"
INDEX = "CREATE INDEX bench_search ON products_product USING gin ({}) {}"
WORDS = "to_tsvector('simple', name)"
INDEXES = {
    "no index": "",
    "trigrams": INDEX.format("name gin_trgm_ops", ""),
    "words": INDEX.format(WORDS, ""),
    "words, pending list of 64 MB": INDEX.format(WORDS, "WITH (gin_pending_list_limit = 65536)"),
}
ASIDE = f"""
    DROP TABLE IF EXISTS bench_names;
    CREATE TABLE bench_names (product_id bigint PRIMARY KEY, name text NOT NULL);
    CREATE INDEX ON bench_names USING gin ({WORDS})
"""
CATCH_UP = """
    INSERT INTO bench_names SELECT id, name FROM products_product
    ON CONFLICT (product_id) DO UPDATE SET name = excluded.name WHERE bench_names.name <> excluded.name
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=500_000, help="of the imported files")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["search", "imports"])
    options = parser.parse_args()
    with fresh_place() as place:
        if options.only != "imports":
            searches(place, options.products)
        if options.only != "search":
            imports(place, options.rows, options.repeats)


# --- searching ---------------------------------------------------------------------------------


def searches(place: Place, count: int) -> None:
    import products.search as search
    from products.models import Product
    from products.selection import Selection

    fill(place, count)

    def page(text: str) -> int:
        found = search.find(search.parse(text), seconds=30)
        return len(list(found.products.order_by("id")[:50]))

    def since(day: str) -> int:
        return len(list(search.find(Selection(changed_since=day), seconds=30).products.order_by("id")[:50]))

    cases: dict[str, Callable[[], int]] = {
        "the beginning of a sku": lambda: page("od-00012"),
        "a word that 9 names have": lambda: page(RARE),
        "a word that no name has": lambda: page("zeppelin"),
        "a word that 1 in 13 names has": lambda: page("kettle"),
        "two words, in either order": lambda: page("lamp oak"),
        "a word and a sku's middle": lambda: page("99999 oak"),
        "an attribute": lambda: page("colour:red"),
        "changed since tomorrow (nothing)": lambda: since("2999-01-01"),
    }
    print(f"\n{Product.objects.count():,} products; a search and a page of 50:\n")
    print("| search | found | median ms | slowest ms |\n| --- | --- | --- | --- |")
    for name, case in cases.items():
        case()
        times = []
        for _ in range(10):
            started = time.perf_counter()
            found = case()
            times.append(1000 * (time.perf_counter() - started))
        print(f"| {name} | {found} | {median(times):.0f} | {max(times):.0f} |")


def fill(place: Place, count: int) -> None:
    connection = database.connect(place.places.database_url)
    copy_in = "COPY products_product (sku, name, description, status) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
        for row in files.sample_rows(count):
            copy.write_row(row)
    step = max(1, count // 9)
    connection.execute(f"UPDATE products_product SET name = name || ' {RARE}' WHERE id %% {step} = 7 AND %s", [True])
    connection.execute("""UPDATE products_product SET attributes = '{"colour": "red"}' WHERE id % 40 = 0""")
    database.settle(connection, "products_product")


# --- importing ---------------------------------------------------------------------------------


def imports(place: Place, rows: int, repeats: int) -> None:
    connection = database.connect(place.places.database_url)
    connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    first = files.make("shuffled", rows, place.home / "first.csv")
    changed = files.make("shuffled-changed", rows, place.home / "changed.csv")
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(repeats):
        for name, ddl in INDEXES.items():
            database.empty_catalogue(connection)
            connection.execute("DROP INDEX IF EXISTS bench_search")
            if ddl:
                connection.execute(ddl)
            connection.execute(ASIDE)
            for file in (first, changed):
                database.settle(connection)
                seconds[name, file.stem].append(import_one(file))
                if name == "no index":
                    started = time.perf_counter()
                    connection.execute(CATCH_UP)
                    seconds["kept aside: to catch up afterwards", file.stem].append(time.perf_counter() - started)
    print(f"\nImports of {rows:,} rows, medians of {repeats}:\n\n| index of names | first, s | every name changed, s |")
    print("| --- | --- | --- |")
    for name in [*INDEXES, "kept aside: to catch up afterwards"]:
        print(f"| {name} | " + " | ".join(f"{median(seconds[name, file]):.1f}" for file in ("first", "changed")) + " |")


def import_one(file: Path) -> float:
    from products.importing import pipeline
    from products.models import Import

    pk = receive(file)
    started = time.perf_counter()
    pipeline.run(pk, worker="search")
    taken = time.perf_counter() - started
    assert Import.objects.get(pk=pk).state == "SUCCESS"
    return taken


if __name__ == "__main__":
    main()
