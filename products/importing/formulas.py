"""Cells that a spreadsheet would take for a formula, and the mark that an export puts before them.

Excel, LibreOffice and Google Sheets run a cell that begins with one of `STARTS`
(https://owasp.org/www-community/attacks/CSV_Injection). An export puts one apostrophe before such a
cell, and before every cell that already reads as if it had: apostrophes, then one of `STARTS`. An import
takes one apostrophe away from exactly those. So what is exported comes back as it was, whatever it is.
"""

from __future__ import annotations

import re

MARK = "'"
STARTS = "=+\\-@\t\r\n＝＋－＠"
"""Characters that begin a formula, as within the brackets of a regular expression."""
PLAIN_NUMBER = "[+-][0-9]+([.,][0-9]+)*"
"""Numbers with a sign, which are no formulas."""

_marked = re.compile(f"{MARK}+[{STARTS}]").match
_formula = re.compile(f"(?!{PLAIN_NUMBER}$)[{STARTS}]").match

NEEDS_MARK = {
    "safe": f"^(?!{PLAIN_NUMBER}$){MARK}*[{STARTS}]",
    "raw": f"^{MARK}+[{STARTS}]",
}
"""PostgreSQL's regular expressions of the cells that get a mark: all that could be formulas, or only those from
which an import would take one away."""
MARK_OF_CELL = f"^{MARK}(?={MARK}*[{STARTS}])"
"""PostgreSQL's, of the mark that `without_mark` takes away."""


def made_safe(cell: str) -> str:
    """The cell of a file as it can be shown to a spreadsheet. An import reads the same from it as from the cell itself:
    what has a mark already keeps it, and gets no second one."""
    return MARK + cell if _formula(cell) else cell


def without_mark(cell: str) -> str:
    """What the cell says."""
    return cell[1:] if _marked(cell) else cell
