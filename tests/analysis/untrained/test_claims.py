# Copyright (c) mmnorm contributors. All rights reserved.
import math

import pytest

from mmnorm.analysis.untrained.claims import check_claims
from mmnorm.analysis.untrained.rows import Row, read_rows, write_rows
from mmnorm.analysis.untrained.summary import summarize

LAYERS = 20
# Per norm: the growth of the variance per layer, the similarity at the end,
# and the gradient norm of early layers.
AS_CLAIMED = {
    'BN': (1.02, 0.4, 5),
    'IN': (1.01, 0.5, 40),
    'GN-size-4': (1.01, 0.7, 20),
    'GN-size-16': (1.01, 0.8, 5),
    'LN': (1.01, 0.95, 1),
    'none+ScaledWS': (2, 0.5, 9),
    'none+ScaledWS+SkipInit': (1, 0.4, 1),
}


def rows_of(
    numbers: dict[str, tuple[float, float, float]], network: str = 'resnet56'
) -> list[Row]:
    rows = []
    for norm, (growth, similarity, gradient) in numbers.items():
        for layer in range(LAYERS + 1):
            of_layer = {
                'activation variance': growth**layer,
                'similarity': similarity * layer / LAYERS,
                'stable rank': 2.0,
                'dead channels': 0.0,
            }
            if layer:
                of_layer['gradient norm'] = gradient if layer <= 5 else 0.3
            rows += [
                Row(network, norm, layer, str(layer), 64, None, key, value)
                for key, value in of_layer.items()
            ]
    return rows


def results(
    changes: dict[str, tuple[float, float, float] | None], **options
) -> list[bool | None]:
    numbers = {**AS_CLAIMED, **changes}
    rows = rows_of({k: v for k, v in numbers.items() if v}, **options)
    return [claim.holds for claim in check_claims(rows)]


def test_numbers_as_claimed():
    assert results({}) == [True, True, True]


def test_plain_networks_have_two_claims():
    assert results({}, network='vgg20') == [True, True]


@pytest.mark.parametrize(
    ('norm', 'numbers', 'expected'),
    [
        # A norm that lets the variance grow, or weights that do not.
        ('BN', (1.4, 0.4, 5), [False, True, True]),
        ('none+ScaledWS', (1.01, 0.5, 9), [False, True, True]),
        ('none+ScaledWS+SkipInit', (2, 0.4, 1), [False, True, True]),
        # Similar images with IN, different ones with LN, a wrong order.
        ('IN', (1, 0.68, 40), [True, False, True]),
        ('LN', (1, 0.89, 1), [True, False, True]),
        ('GN-size-4', (1, 0.85, 20), [True, False, True]),
        # Small gradients with IN, a wrong order.
        ('LN', (1, 0.95, 4.5), [True, True, False]),
        ('GN-size-16', (1, 0.8, 21), [True, True, False]),
        # Norms without which a claim says nothing.
        ('none+ScaledWS', None, [None, True, True]),
        ('IN', None, [True, None, None]),
        ('LN', None, [True, None, None]),
    ],
)
def test_numbers_that_contradict_a_claim(norm, numbers, expected):
    assert results({norm: numbers}) == expected


def growth_of(variances: list[float], widths: list[int]) -> float:
    # Two layers per block, and the first one has nothing to say.
    rows = [
        Row(
            'net', 'BN', 2 * block + inner, f'{block}.act{inner}', width, *rest
        )
        for block, (value, width) in enumerate(
            zip(variances, widths, strict=True)
        )
        for inner, rest in (
            (1, (None, 'activation variance', 7.0)),
            (2, (None, 'activation variance', value)),
            (2, (None, 'similarity', 0.5)),
            (2, (None, 'stable rank', 2.0)),
            (2, (None, 'gradient norm', 2.0)),
            (2, (None, 'dead channels', 0.0)),
        )
    ]
    return summarize(rows)['BN'].growth


def test_linear_growth_is_not_exponential():
    linear = [0.3 * (n + 1) for n in range(9)]
    assert growth_of(linear, [64] * 9) == pytest.approx(0.5)
    assert growth_of(linear * 3, [32] * 9 + [64] * 9 + [128] * 9) < 1
    squares = [n**2 for n in range(1, 10)]
    assert growth_of(squares, [64] * 9) == pytest.approx(1)


def test_exponential_growth_in_a_stage_is_found():
    doubled = [2**n for n in range(9)]
    assert growth_of(doubled, [64] * 9) > 1
    # The network as a whole does not grow: each stage starts again.
    widths = [32] * 9 + [64] * 9 + [128] * 9
    assert growth_of(doubled * 3, widths) > 1
    flat = [1] * 18
    assert growth_of(flat + doubled, widths) > 1
    # Stages of two blocks say nothing.
    assert growth_of([1, 4, 1, 4, 1, 4], [1, 1, 2, 2, 3, 3]) < 1


def test_figures_name_the_norms_that_decide():
    growth, likeness, gradients = check_claims(rows_of(AS_CLAIMED))
    assert ' (none+ScaledWS) at least' in growth.figures
    assert '0.500 with IN' in likeness.figures
    assert 'ratio 40' in gradients.figures


def test_summary():
    summary = summarize(rows_of(AS_CLAIMED))['IN']
    assert summary.doublings == pytest.approx(math.log2(1.01))
    assert summary.similarity == 0.5
    assert summary.early_gradient == pytest.approx(40)
    assert summary.late_gradient == pytest.approx(0.3)


def test_rows_survive_their_file(tmp_path):
    rows = rows_of({'IN': (1.5, 0.5, math.nan)})
    rows[0] = rows[0]._replace(group_size=1)
    rows = [r for r in rows if not math.isnan(r.value)]
    write_rows(tmp_path / 'rows.csv', rows)
    found = read_rows(tmp_path / 'rows.csv')
    assert [r._replace(value=0) for r in found] == [
        r._replace(value=0) for r in rows
    ]
    for one, other in zip(found, rows, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-5)
