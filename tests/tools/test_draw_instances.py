# Copyright (c) mmnorm contributors. All rights reserved.
"""The pictures of the demo: one color per class, labels that can be read."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tools.dev.draw_instances import (
    COLORS,
    Instance,
    draw_rows,
    paint,
    place_labels,
)

IMAGE = (160, 120)


def boxes(centers, sizes):
    return [
        (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        for (x, y), (width, height) in zip(centers, sizes, strict=True)
    ]


def overlap(one, other):
    left, top, right, bottom = one
    return (
        left < other[2]
        and other[0] < right
        and top < other[3]
        and other[1] < bottom
    )


def test_label_with_room_is_where_it_is_wanted():
    wanted, sizes = [(40.5, 20.5), (100.5, 80.5)], [(31, 11), (21, 11)]
    assert place_labels(wanted, sizes, IMAGE) == wanted


@pytest.mark.parametrize('place', [(80, 60), (0, 0), (159, -9), (-50, 200)])
def test_labels_of_one_place_cover_neither_each_other_nor_the_border(place):
    sizes = [(40.3, 9.1), (25, 9.1), (61.7, 9.1), (40.3, 12)] * 3
    centers = place_labels([place] * len(sizes), sizes, IMAGE)
    placed = boxes(centers, sizes)
    for one, other in combinations(placed, 2):
        assert not overlap(one, other)
    for left, top, right, bottom in placed:
        assert left >= 0
        assert top >= 0
        assert right <= IMAGE[0]
        assert bottom <= IMAGE[1]


def test_second_label_goes_to_the_nearest_free_place():
    first, second = place_labels([(80, 60)] * 2, [(40, 10)] * 2, IMAGE)
    assert first == (80, 60)
    assert second in {(80, 50), (80, 70)}


def test_label_without_room_is_left_out():
    sizes = [(100, 80), (100, 80), (200, 10), (50, 20)]
    centers = place_labels([(80, 60)] * 4, sizes, IMAGE)
    assert [center is None for center in centers] == [False, True, True, False]


def square(label, left=0, text=''):
    mask = np.zeros((60, 60), bool)
    mask[20:40, left : left + 20] = True
    return Instance(mask, label, text)


def test_color_follows_the_class():
    image = np.full((60, 60, 3), 100, np.uint8)
    above = paint(image, [square(3), square(5, 30)])
    below = paint(image, [square(5, 30), square(3)])
    np.testing.assert_array_equal(above, below)
    assert not np.allclose(above[30, 10], above[30, 40])
    np.testing.assert_allclose(above[0, 0], 100 / 255)
    same = paint(image, [square(3), square(3, 30)])
    np.testing.assert_array_equal(same[30, 10], same[30, 40])


def test_no_color_is_gray():
    assert len(np.unique(COLORS, axis=0)) == 10
    assert np.ptp(COLORS, axis=1).min() > 0.2


def test_labels_of_a_figure():
    image = np.zeros((60, 60, 3), np.uint8)
    crowd = [square(i, 2 * i, f'class {i}') for i in range(4)]
    nothing = Instance(np.zeros((60, 60), bool), 0, 'nothing')
    figure = draw_rows([(image, crowd, crowd[::-1]), (image, [], [nothing])])
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    counts = []
    for axes in figure.axes:
        frame = axes.get_window_extent(renderer)
        placed = [
            text.get_bbox_patch().get_window_extent(renderer)
            for text in axes.texts
        ]
        counts.append(len(placed))
        for one, other in combinations(placed, 2):
            assert not overlap(one.extents, other.extents)
        for box in placed:
            assert box.x0 >= frame.x0
            assert box.x1 <= frame.x1
            assert box.y0 >= frame.y0
            assert box.y1 <= frame.y1
        for text in axes.texts:
            color = COLORS[int(text.get_text()[-1])]
            drawn = text.get_bbox_patch().get_facecolor()
            np.testing.assert_allclose(drawn[:3], color)
    assert counts == [4, 0, 4, 0]
    assert figure.axes[0].get_ylabel() == 'truth'
    plt.close(figure)
