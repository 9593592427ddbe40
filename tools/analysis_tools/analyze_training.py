# Copyright (c) mmnorm contributors. All rights reserved.
"""Plot what the norms of one training did, or those of several trainings.

A training with mmnorm.NormStatsHook records it. The plots of several
trainings have the same axes.
"""

import argparse
import csv
from pathlib import Path

from mmnorm.analysis.findings import findings
from mmnorm.analysis.inspection import (
    Inspection,
    initialized_model,
    inspect_norms,
)
from mmnorm.analysis.pictures import Picture, pictures, save_png
from mmnorm.analysis.records import (
    Records,
    RecordsError,
    read_records,
    stage_of_layer,
)
from mmnorm.analysis.report import html_report
from mmnorm.config.errors import ConfigError
from mmnorm.config.files import read_config
from mmnorm.engine.runner.launch import fail


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'work_dirs', nargs='+', metavar='WORK_DIR', help='of a training'
    )
    parser.add_argument(
        '--out', help='folder for plots; by default WORK_DIR/norm_stats'
    )
    parser.add_argument(
        '--html', metavar='FILE', help='write one HTML file about everything'
    )
    return parser.parse_args()


def read_all(work_dirs: list[str]) -> list[Records]:
    """Read the records of each training, with names that differ."""
    paths = [Path(work_dir) for work_dir in work_dirs]
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = work_dirs
    pairs = zip(paths, names, strict=True)
    return [read_records(path, name) for path, name in pairs]


def write_csv(picture: Picture, path: Path) -> None:
    """Write the numbers of a picture: a line per layer and step."""
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['run', 'step', 'stage', 'layer', *picture.keys])
        for run in picture.runs:
            for row, step in enumerate(run.steps):
                for column, layer in enumerate(run.layers):
                    values = [
                        run.numbers[key][row, column] for key in picture.keys
                    ]
                    start = [run.name, step, stage_of_layer(layer), layer]
                    writer.writerow([*start, *values])


def inspection_of(run: Records) -> Inspection | str:
    """Inspect the config of a training, or say why this cannot be done."""
    try:
        cfg = read_config(str(run.config))
        return inspect_norms(initialized_model(cfg), cfg)
    except ConfigError as error:
        return f'The norms are not known: {error}.'


def main() -> None:
    args = parse_args()
    out = Path(args.out or Path(args.work_dirs[0], 'norm_stats'))
    try:
        runs = read_all(args.work_dirs)
        out.mkdir(parents=True, exist_ok=True)
        found, drawn = findings(runs), pictures(runs)
        for picture in drawn:
            save_png(picture, out / f'{picture.name}.png')
            write_csv(picture, out / f'{picture.name}.csv')
        (out / 'findings.txt').write_text('\n'.join(found) + '\n')
        if args.html:
            inspections = [inspection_of(run) for run in runs]
            text = html_report(runs, found, drawn, inspections)
            Path(args.html).write_text(text, encoding='utf-8')
    except RecordsError as error:
        fail(str(error))
    except OSError as error:
        fail(f'{error.filename!r} cannot be written: {error.strerror}')
    print('\n'.join(found))
    print(f'plots and tables are in {out}')
    if args.html:
        print(f'the report is {args.html}')


if __name__ == '__main__':
    main()
