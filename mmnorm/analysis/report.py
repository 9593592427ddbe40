# Copyright (c) mmnorm contributors. All rights reserved.
"""One HTML file about the norms of some trainings."""

from base64 import b64encode
from collections import Counter
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .findings import LAST, at_end
from .inspection import Inspection
from .norm_states import NormState, in_words
from .pictures import Picture, png_of
from .plots import NUMBERS
from .records import Records

COLUMNS = 3  # More plots beside each other would be too small to read.


def html_report(
    runs: list[Records],
    found: list[str],
    pictures: list[Picture],
    inspections: list[Inspection | str],
) -> str:
    """Return an HTML file that needs no other file and no network.

    Args:
        runs: The records of the trainings.
        found: Sentences about them.
        pictures: Pictures of them.
        inspections: The norms of the config of each training, or a sentence
            that says why there are none.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    sections = [
        {
            'title': picture.title,
            'columns': min(picture.columns, COLUMNS),
            'rows': _rows_of_images(picture),
            'table': _end_table(picture),
        }
        for picture in pictures
    ]
    norms = [
        {
            'name': run.name,
            'error': each if isinstance(each, str) else None,
            'mistakes': [] if isinstance(each, str) else each.mistakes,
            'table': [] if isinstance(each, str) else _norm_table(each),
        }
        for run, each in zip(runs, inspections, strict=True)
    ]
    return environment.get_template('report.html').render(
        names=', '.join(run.name for run in runs),
        found=found,
        sections=sections,
        norms=norms,
        last=LAST,
    )


def _rows_of_images(picture: Picture) -> list[list[tuple[str, str]]]:
    images = [
        (panel.alt, b64encode(png_of(panel, picture.height)).decode())
        for panel in picture.panels
    ]
    width = picture.columns
    return [images[i : i + width] for i in range(0, len(images), width)]


def _end_table(picture: Picture) -> list[dict[str, str]]:
    # A row per stage, a column per training.
    key = picture.name
    if key not in NUMBERS:
        return []
    ends = {run.name: at_end(run, key) for run in picture.runs}
    stages = dict.fromkeys(stage for end in ends.values() for stage in end)

    def text(value: float | None) -> str:
        return '-' if value is None else f'{value * NUMBERS[key].scale:.3g}'

    return [
        {
            'stage': stage,
            **{name: text(end.get(stage)) for name, end in ends.items()},
        }
        for stage in stages
    ]


def _norm_table(inspection: Inspection) -> list[dict[str, str]]:
    # Norms that differ in name and channels only are one row.
    pairs = zip(inspection.parts, inspection.states, strict=True)
    kinds = Counter(
        (part, state._replace(name='', num_channels=0))
        for part, state in pairs
    )
    return [_row(part, state, count) for (part, state), count in kinds.items()]


def _row(part: str, state: NormState, count: int) -> dict[str, str]:
    row = {'part': part, 'norms': f'{count} {state.type}'}
    for field in state._fields[3:]:
        row[field.replace('_', ' ')] = in_words(getattr(state, field))
    return row
