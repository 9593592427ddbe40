# Copyright (c) mmnorm contributors. All rights reserved.
"""The short table of a study over images per step.

Each norm has a row at the learning rate that the plan lists first, and a row
at the one of its budget that is best with seed 0.
"""

from .plan import Plan
from .series import over_images, series_of, tasks_of, with_interval


def images_table(plan: Plan, rows: dict) -> str:
    """Return the tables of the first metric of each task."""
    parts = []
    for title, task in tasks_of(plan).items():
        metric = next(iter(task['metrics']))
        series = [
            one
            for one in series_of(plan, rows, task, metric)
            if one.cell.setting == 'default'
        ]
        sizes = sorted({one.cell.images_per_step for one in series})
        titles = [f'{n} image{"s" if n > 1 else ""}' for n in sizes]
        lines = [f'| norm | rate | {" | ".join(titles)} |']
        lines.append('|---' * (len(sizes) + 2) + '|')
        norms = over_images(series, lambda cell: cell.norm)
        for norm, points in norms.items():
            for which, name in enumerate(('rule', 'best')):
                cells = []
                for size in sizes:
                    if size not in points:
                        cells.append('–')
                        continue
                    one = points[size][which]
                    text = with_interval(one.values, metric)
                    if name == 'best':
                        text += f' at {one.cell.lr}'
                    cells.append(text)
                lines.append(f'| {norm} | {name} | {" | ".join(cells)} |')
        parts += [f'*{title}, {metric}*', '\n'.join(lines)]
    return '\n\n'.join(parts)
