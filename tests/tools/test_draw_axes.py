# Copyright (c) mmnorm contributors. All rights reserved.
"""The gallery has every norm, and the pictures show what a norm averages."""

import re

import pytest
import torch

from mmnorm import layers
from mmnorm.config.apply_norm import NORMS
from tests.layers.cases import uneven_loss
from tests.paths import ROOT
from tools.dev.draw_axes import CHANNELS, FOLDER, GROUP, IMAGES, PICTURES, draw

GALLERY = (ROOT / 'docs/gallery.md').read_text()


def picture_of(norm: str) -> str:
    """Return the name of the picture in the section of a norm."""
    title = next(
        line
        for line in re.findall(r'^## .*', GALLERY, re.MULTILINE)
        if re.search(rf'\b{norm}\b', line)
    )
    section = GALLERY.partition(f'{title}\n')[2]
    return re.search(r'\(axes/([\w-]+)\.svg\)', section)[1]


@pytest.mark.parametrize('name', PICTURES)
def test_pictures_are_fresh(name):
    assert (FOLDER / f'{name}.svg').read_text() == draw(PICTURES[name])


@pytest.mark.parametrize('norm', NORMS)
def test_a_norm_reads_the_planes_that_are_colored(norm):
    torch.manual_seed(0)
    layer = getattr(layers, norm)
    groups = CHANNELS // GROUP
    takes_groups = norm in ('BCN', 'EvoNormS0', 'GN', 'MetaNorm')
    options = {'num_groups': groups} if takes_groups else {}
    if norm == 'GW':
        options = {'num_groups': CHANNELS}
    x = torch.randn(IMAGES, CHANNELS, 3, 4, dtype=torch.float64)
    y = layer(CHANNELS, **options).double()(x.requires_grad_())
    uneven_loss(y[0, 0]).backward()
    read = x.grad.abs().amax((2, 3)) > 1e-12
    sets = PICTURES[picture_of(norm)].values()
    colored = [
        [any(s(image, channel) for s in sets) for channel in range(CHANNELS)]
        for image in range(IMAGES)
    ]
    assert read.tolist() == colored


@pytest.mark.parametrize('norm', NORMS)
def test_every_norm_has_a_row_and_a_section(norm):
    (anchor,) = re.findall(rf'^\| \[{norm}\]\(#([\w-]+)\)', GALLERY, re.M)
    titles = re.findall(r'^## (.*)', GALLERY, re.MULTILINE)
    anchors = [re.sub(r'[^\w -]', '', t).lower() for t in titles]
    assert anchor in [a.replace(' ', '-') for a in anchors]
