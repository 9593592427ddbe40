# Copyright (c) mmnorm contributors. All rights reserved.
"""The CSV files of the studies: one row per cell and metric."""

import csv
import io
import os
from pathlib import Path

from .plan import Cell

MEASURED = (
    'metric',
    'value',
    'seconds',
    'memory_mb',
    'device',
    'torch',
    'commit',
)
COLUMNS = ('study', *Cell._fields, *MEASURED)


def read_rows(folder: Path) -> dict[tuple[Cell, str], dict]:
    """Return the rows of all results files by cell and metric.

    A last line that a killed process has not finished is ignored.

    Args:
        folder: The folder of the files; each study has one.
    """
    rows = {}
    for path in sorted(folder.glob('*.csv')):
        text = path.read_text()
        text = text[: text.rfind('\n') + 1]
        for row in csv.DictReader(io.StringIO(text)):
            types = Cell.__annotations__.items()
            cell = Cell(*(kind(row[name]) for name, kind in types))
            row['value'] = float(row['value'])
            rows[cell, row['metric']] = row
    return rows


def append_rows(path: Path, rows: list[dict]) -> None:
    """Append the rows of one cell in a single write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text() if path.is_file() else ''
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator='\n')
    if not text:
        writer.writeheader()
    elif not text.endswith('\n'):  # the rest of an unfinished line
        path.write_text(text[: text.rfind('\n') + 1])
    writer.writerows(rows)
    with path.open('a') as file:
        file.write(out.getvalue())
        file.flush()
        os.fsync(file.fileno())
