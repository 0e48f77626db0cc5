"""Finding products while somebody waits: one reading of the catalogue at most, and a bounded one.

No index holds the words of the names: any that the import has to keep costs it more than the search
is worth (benchmarks/search.py has the figures). PostgreSQL reads a million products in parallel in
less than 200 ms instead, and stops early where many match.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet
from psycopg.errors import QueryCanceled

from common.errors import InvalidInputError
from products.models import Product
from products.selection import Selection, changed_by

LISTED = 5000
"""So many products are found one by one; beyond that, what is selected is said instead of listed."""
PATIENCE_SECONDS = 2.0
"""For somebody who looks at a list."""


class NarrowSearchError(InvalidInputError):
    """The search took longer than somebody waits for it."""

    code = "search_too_wide"


@dataclass(frozen=True)
class Found:
    """What a search came to. `many`: more than `LISTED` for certain, so that nobody has to count again."""

    products: QuerySet[Product]
    many: bool


def find(selection: Selection, *, seconds: float = PATIENCE_SECONDS) -> Found:
    """The products of a selection, for a page of them and their number. Raises NarrowSearchError."""
    large_import = False
    if selection.import_id:
        # The ids of a small import are read first: the planner would take it for a large one.
        ids = list(changed_by(selection.import_id)[: LISTED + 1])
        if not ids:
            return Found(Product.objects.none(), many=False)
        large_import = len(ids) > LISTED
        if not large_import:
            selection = replace(selection, import_id="", ids=tuple(ids))
    products = selection.products()
    if not selection.reads_names_or_times:
        return Found(products, many=large_import and selection == Selection(import_id=selection.import_id))
    with at_most(seconds):
        ids = list(products.order_by().values_list("pk", flat=True)[: LISTED + 1])
    if len(ids) > LISTED:
        return Found(products, many=True)
    return Found(Product.objects.filter(pk__in=ids), many=False)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Statements of this block end after so many seconds. Raises NarrowSearchError then."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{int(seconds * 1000)}ms"])
            yield
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise NarrowSearchError(
            f"The search was given up after {seconds:g} s. Narrow it: the beginning of a sku, an attribute such as "
            "colour:red, or an import is found at once in a catalogue of any size."
        ) from None


def parse(text: str) -> Selection:
    """What somebody typed into the search: the beginning of a sku if there is one like it, else words in the
    name or sku, and `attribute:value` (quoted, where the value has spaces)."""
    text = " ".join(text.replace("\0", "").split())
    if not text:
        return Selection()
    if Selection(sku=text).products().exists():
        return Selection(sku=text)
    attributes: dict[str, str] = {}
    words: list[str] = []
    for word in _words(text):
        name, colon, value = word.partition(":")
        if colon and name and value:
            attributes[name] = value
        else:
            words.append(word)
    return Selection(search=" ".join(words), attributes=attributes)


def _words(text: str) -> Iterator[str]:
    """Split at spaces, except between double quotes, which are dropped. An open quote ends with the text."""
    word, quoted = "", False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        elif letter == " " and not quoted:
            if word:
                yield word
            word = ""
        else:
            word += letter
    if word:
        yield word
