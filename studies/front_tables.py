# Copyright (c) mmnorm contributors. All rights reserved.
"""The tables of the first pages: one row per norm, one column per task.

The numbers are in percent, and without digits that no number of runs here
supports.
"""

import numpy as np

from .page import replace_marked
from .plan import ROOT, Plan
from .series import interval, series_of, tasks_of

NO_RUN = 'not trained yet'
MINI = ROOT / 'configs/mini/README.md'
# The pages of each study, and the columns of their tables.
PAGES = {
    'norms': {
        ROOT / 'README.md': {
            ('Mask R-CNN R18', 'mini COCO'): ['box AP'],
            ('Mask R-CNN R18', 'PennFudan'): ['box AP'],
            ('DeepLabV3 R18', 'mini Cityscapes'): ['mIoU'],
            ('DeepLabV3 R18', 'CamVid'): ['mIoU'],
        },
        MINI: {
            ('Mask R-CNN R18', 'mini COCO'): ['box AP', 'mask AP'],
            ('DeepLabV3 R18', 'mini Cityscapes'): ['mIoU', 'pixels right'],
        },
    },
    'family': {
        MINI: {('Mask R-CNN R18', 'mini COCO'): ['box AP', 'mask AP']},
    },
}


def front_table(
    plan: Plan, rows: dict, columns: dict[tuple[str, str], list[str]]
) -> str:
    """Return a table with a row per norm and setting that has runs.

    Args:
        plan: A plan with one number of images per step.
        rows: The results, as ``read_rows`` returns them.
        columns: The metrics to show, by network and data.
    """
    titles, cells = ['norm'], {}
    for title, task in tasks_of(plan).items():
        for metric in columns.get((task['network'], task['data']), ()):
            titles.append(f'{title}: {metric}')
            factor = 100 if metric.endswith('AP') else 1
            for one in series_of(plan, rows, task, metric):
                key = one.cell.norm, one.cell.setting
                text = in_percent(factor * one.values)
                cells.setdefault(key, {})[titles[-1]] = text
    lines = [f'| {" | ".join(titles)} |', '|---' * len(titles) + '|']
    for (norm, setting), texts in cells.items():
        values = [texts.get(title, NO_RUN) for title in titles[1:]]
        if set(values) == {NO_RUN}:
            continue
        name = norm if setting == 'default' else f'{norm}, {setting}'
        lines.append(f'| {name} | {" | ".join(values)} |')
    return '\n'.join(lines)


def in_percent(values: np.ndarray) -> str:
    """Format a mean, its interval and the number of runs."""
    mean, low, high = interval(values)
    if np.isnan(mean):
        return NO_RUN
    if np.isnan(low):
        return f'{mean:.0f} (one run)'
    return f'{mean:.0f} [{low:.0f}, {high:.0f}]'


def write_front_tables(plan: Plan, rows: dict) -> None:
    """Write the tables of a study into its pages, if it has any."""
    for path, columns in PAGES.get(plan.study, {}).items():
        text = front_table(plan, rows, columns)
        page = replace_marked(path.read_text(), plan.study, text)
        path.write_text(page)
