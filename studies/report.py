# Copyright (c) mmnorm contributors. All rights reserved.
"""Write the page and the plot of each study, and what other pages quote.

Each table has the mean over the seeds with a bootstrap interval of 95 %, the
differences to GN and BN of the same seeds, and every single run. A cell that
nobody has trained yet is a dash.
"""

import argparse
from collections.abc import Iterable

import numpy as np

from .front_tables import write_front_tables
from .images_table import images_table
from .page import replace_marked
from .plan import PLANS, ROOT, Plan, read_plan
from .plot import draw
from .results_file import read_rows
from .series import (
    Series,
    digits_of,
    interval,
    series_of,
    tasks_of,
    with_interval,
)

PAGE = ROOT / 'docs/evidence.md'
RESULTS = ROOT / 'studies/results'
PEERS = ('GN', 'BN')


def peers_of(one: Series, series: Iterable[Series]) -> dict[str, Series]:
    """Return the series of GN and BN under the conditions of another one.

    A setting such as a pretrained backbone is a condition, too, where the peer
    has it. A setting of BCN alone is not.
    """
    by_cell = {other.cell: other for other in series}
    cells = [
        one.cell._replace(norm=norm, setting=setting)
        for norm in PEERS
        for setting in ('default', one.cell.setting)
    ]
    # The last cell of a norm counts.
    return {cell.norm: by_cell[cell] for cell in cells if cell in by_cell}


def difference(one: Series, peer: Series | None, metric: str) -> str:
    """Format the mean difference of two series over the seeds of both."""
    if peer is None or peer.cell == one.cell:
        return ''
    both = min(len(one.values), len(peer.values))
    return with_interval(
        one.values[:both] - peer.values[:both], metric, sign='+'
    )


def table(series: list[Series], metric: str) -> str:
    """Return the table of a metric."""
    titles = ['norm', 'setting', 'images', 'lr', metric]
    titles += [f'over {peer}' for peer in PEERS] + ['runs']
    lines = [f'| {" | ".join(titles)} |', '|---' * len(titles) + '|']
    for one in series:
        cell, peers = one.cell, peers_of(one, series)
        digits = digits_of(metric)
        runs = (
            '–' if np.isnan(value) else f'{value:.{digits}f}'
            for value in one.values
        )
        columns = [
            cell.norm,
            '' if cell.setting == 'default' else cell.setting,
            str(cell.images_per_step)
            + (f' on {cell.processes}' if cell.processes > 1 else ''),
            cell.lr,
            with_interval(one.values, metric),
            *(difference(one, peers.get(peer), metric) for peer in PEERS),
            ' '.join(runs),
        ]
        lines.append(f'| {" | ".join(columns)} |')
    return '\n'.join(lines)


def report(plan: Plan, rows: dict) -> str:
    """Return the tables of a study, and how much of it is trained."""
    trained = {cell for cell, _ in rows}
    filled = sum(cell in trained for cell in plan.cells)
    parts = [f'{filled} of {len(plan.cells)} trainings are done.']
    for title, task in tasks_of(plan).items():
        for metric in task['metrics']:
            series = series_of(plan, rows, task, metric)
            parts += [f'*{title}, {metric}*', table(series, metric)]
    return '\n\n'.join(parts)


def panels(plan: Plan, rows: dict) -> dict[str, tuple[str, list[Series]]]:
    """Return the first metric of each task and its series, by title."""
    drawn = {}
    for title, task in tasks_of(plan).items():
        metric = next(iter(task['metrics']))
        drawn[title] = metric, series_of(plan, rows, task, metric)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(
        prog='python -m studies.report', description=__doc__
    )
    parser.parse_args()
    page, rows = PAGE.read_text(), read_rows(RESULTS)
    for path in sorted(PLANS.glob('*.yml')):
        plan = read_plan(path)
        text = report(plan, rows)
        (RESULTS / f'{plan.study}.md').write_text(whole_page(plan, text))
        draw(panels(plan, rows), interval, RESULTS / f'{plan.study}.png')
        if f'<!-- {plan.study} begin -->' in page:
            page = replace_marked(page, plan.study, text)
        short = f'{plan.study} in short'
        if f'<!-- {short} begin -->' in page:
            page = replace_marked(page, short, images_table(plan, rows))
        write_front_tables(plan, rows)
        print(f'{plan.study}: {text.splitlines()[0]}')
    PAGE.write_text(page)


def whole_page(plan: Plan, text: str) -> str:
    """Return the page of a study, with its report."""
    return (
        f'# {plan.study}\n\n{plan.about}\n\n'
        f'![Runs and intervals]({plan.study}.png)\n\n{text}\n'
    )


if __name__ == '__main__':
    main()
