# Copyright (c) mmnorm contributors. All rights reserved.
"""The rows of the measurements, and their CSV file."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One measured number of one layer, in a network with one norm.

    Attributes:
        network: Name of the network.
        norm: Name of the norm, as ``parse_variant`` reads it.
        layer: The place of the layer among those of its kind, from 1; 0 is
            the input.
        name: Name of the layer.
        channels: Number of channels of its output.
        group_size: Channels per group of IN, GN and LN, or None.
        measure: Name of the measure.
        value: The number.
    """

    network: str
    norm: str
    layer: int
    name: str
    channels: int
    group_size: int | None
    measure: str
    value: float


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows; values have six digits.

    Args:
        path: The CSV file.
        rows: The rows.
    """
    with path.open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(Row._fields)
        for row in rows:
            writer.writerow(row._replace(value=f'{row.value:.6g}'))


def read_rows(path: Path) -> list[Row]:
    """Read what :func:`write_rows` has written.

    Args:
        path: The CSV file.
    """
    with path.open(newline='') as file:
        return [
            Row(
                **{
                    **row,
                    'layer': int(row['layer']),
                    'channels': int(row['channels']),
                    'group_size': int(row['group_size'] or 0) or None,
                    'value': float(row['value']),
                }
            )
            for row in csv.DictReader(file)
        ]


def last_of_blocks(rows: list[Row]) -> list[Row]:
    """Return the last row of each norm and block.

    The layers of a block have one parent. Layers without a parent stay.

    Args:
        rows: Rows of one measure, in the order of layers per norm.
    """
    found = {}
    for row in rows:
        parent = row.name.rpartition('.')[0]
        found[row.norm, parent or row.name] = row
    return list(found.values())
