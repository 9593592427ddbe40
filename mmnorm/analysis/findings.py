# Copyright (c) mmnorm contributors. All rights reserved.
"""Say in sentences what the records of some trainings show."""

import math

import numpy as np

from .norm_stats import SHARES
from .records import Records, part_of_layer, stage_of_layer

LAST = 5  # A record is of a few batches, and its numbers have noise.


def findings(runs: list[Records]) -> list[str]:
    """Return sentences about the end of some trainings.

    Args:
        runs: The records of the trainings.
    """
    ends = [(run.steps[-LAST:][0], run.steps[-1]) for run in runs]
    when = [f'steps {first} to {last}' for first, last in ends]
    if len(set(when)) > 1:
        when = [
            f'{each} of {run.name}'
            for each, run in zip(when, runs, strict=True)
        ]
    found = [
        'Each number is a mean over the layers of a stage and over the last '
        f'records: {", ".join(dict.fromkeys(when))}.'
    ]
    found += [s for key in WORDS if (s := _worst_stage(key, runs))]
    for run in runs:
        found += _shares(run)
    return found


def at_end(run: Records, key: str) -> dict[str, float]:
    """Return the mean of a number over the last records, by stage.

    Args:
        run: The records of a training.
        key: The name of the number.
    """
    means = run.grouped(key, stage_of_layer)
    return {stage: v for stage in means if (v := _last(means[stage])) >= 0}


def _percent(value: float) -> str:
    return f'{100 * value:.0f} %'


def _plain(value: float) -> str:
    return f'{value:.2f}'


def _factor(value: float) -> str:
    return f'{math.exp(min(value, 99)):.2f}'


# The start of a sentence, a number with the first training, the rest.
WORDS = {
    'dead': ('{} of the channels of {} are dead', _percent),
    'bn_mean': (
        'the means of {1} are {0} of the weight away from those of BN',
        _plain,
    ),
    'bn_std': (
        'the standard deviations of {1} differ from those of BN by a factor '
        'of {0}',
        _factor,
    ),
    'gap_mean': (
        'the running means of {1} are {0} standard deviations away from the '
        'means of the batches',
        _plain,
    ),
    'gap_std': (
        'the running standard deviations of {1} differ from those of the '
        'batches by a factor of {0}',
        _factor,
    ),
}


def _worst_stage(key: str, runs: list[Records]) -> str | None:
    ends = {run.name: at_end(run, key) for run in runs}
    values = [(v, stage) for end in ends.values() for stage, v in end.items()]
    if not values:
        return None
    highest, stage = max(values)
    if key == 'dead' and highest < 0.005:
        return (
            'At the end, less than 1 % of the channels of each stage are dead.'
        )
    text, word = WORDS[key]
    (name, first), *others = (
        (name, word(end[stage])) for name, end in ends.items() if stage in end
    )
    rest = ''.join(f', {value} with {other}' for other, value in others)
    return f'At the end, {text.format(first, stage)} with {name}{rest}.'


def _shares(run: Records) -> list[str]:
    if 'mean_in' not in run.numbers:
        return []

    def mix(kind: str, part: str) -> str:
        parts = []
        for share in SHARES:
            means = run.grouped(f'{kind}_{share}', part_of_layer)
            if part in means:
                parts.append(f'{_percent(_last(means[part]))} {share.upper()}')
        return ', '.join(parts)

    return [
        f'At the end, {run.name} takes the means of {part} from '
        f'{mix("mean", part)}, and the variances from {mix("var", part)}.'
        for part in run.grouped('mean_in', part_of_layer)
    ]


def _last(values: np.ndarray) -> float:
    known = values[-LAST:][np.isfinite(values[-LAST:])]
    return float(known.mean()) if known.size else math.nan
