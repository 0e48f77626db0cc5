"""What `manage.py up` shows: the lines of all processes, and below them a bar while a file is imported."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

COLOURS = {
    "web": "green",
    "live": "cyan",
    "imports": "magenta",
    "webhooks": "bright_magenta",
    "default": "blue",
    "beat": "yellow",
    "postgres": "bright_black",
    "valkey": "bright_black",
}
PLAIN_STEP = 10
"""Per cent between two lines where there is no terminal to draw a bar on."""


class Terminal:
    """Standard output, be it a terminal or a file. Threads may share it."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)

    def write(self, line: str) -> None:
        """One line, as it is. Nobody reading any more is no reason to stop the service."""
        with contextlib.suppress(OSError, ValueError):
            name, separator, rest = line.partition(" | ")
            if not self.console.is_terminal or not separator:
                self.console.print(line, markup=False, emoji=False)
                return
            text = Text(name + separator, style=COLOURS.get(name.strip(), ""))
            self.console.print(text.append_text(Text.from_ansi(rest)))

    @contextlib.contextmanager
    def import_bar(self) -> Iterator[Callable[[dict[str, Any]], None]]:
        """Gives a function that shows an import document."""
        if not self.console.is_terminal:
            yield self._plain_steps()
            return
        columns = (
            TextColumn("[bold]Sample import"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rows]:,} rows, {task.fields[phase]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task("", total=100, rows=0, phase="queued")

            def show(document: dict[str, Any]) -> None:
                progress.update(
                    task, completed=document["percent"], rows=document["rows_read"], phase=document["phase"]
                )

            yield show

    def _plain_steps(self) -> Callable[[dict[str, Any]], None]:
        next_step = 0

        def show(document: dict[str, Any]) -> None:
            nonlocal next_step
            if document["percent"] >= next_step:
                next_step = int(document["percent"] // PLAIN_STEP + 1) * PLAIN_STEP
                self.write(f"Sample import: {document['percent']:.0f} %, {document['rows_read']:,} rows")

        return show
