# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
import torch
from torch import nn

from mmnorm import EvoNormB0
from mmnorm.analysis.untrained import make_network, parse_variant
from mmnorm.analysis.untrained.networks import Block
from mmnorm.config.second_activations import second_activations

# The authors' lists of widths; 2 marks a stride.
VGG20 = [64, 64, 64, (64, 2), 128, 128, 128, (128, 2), 256, 256, 256, (256, 2)]
VGG20 += [256, 256, 256, (256, 2), 512, 512, 512, 512]
VGG10 = [64, (64, 2), 128, (128, 2), 256, (256, 2), 512, (512, 2), 512, 512]


def convs(network: nn.Module) -> list[nn.Conv2d]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize(
    ('name', 'layers'), [('vgg10', VGG10), ('vgg20', VGG20)]
)
def test_plain_networks_are_those_of_the_authors(name, layers):
    network = make_network(name, parse_variant('none'))
    found = [
        (c.out_channels, 2) if c.stride == (2, 2) else c.out_channels
        for c in convs(network)
    ]
    assert found == layers


def test_vgg40_has_forty_convolutions():
    assert len(convs(make_network('vgg40', parse_variant('none')))) == 40


def test_resnet56():
    network = make_network('resnet56', parse_variant('none'))
    blocks = [m for m in network if isinstance(m, Block)]
    widths = [block.conv1.out_channels for block in blocks]
    assert widths == [32] * 9 + [64] * 9 + [128] * 9
    # 55 convolutions in depth, and 2 in shortcuts.
    assert len(convs(network)) == 57
    assert network(torch.rand(1, 3, 32, 32)).shape == (1, 128, 8, 8)


def test_block_is_that_of_the_paper():
    torch.manual_seed(0)
    block = Block(4, 8, 2, parse_variant('none'))
    x = torch.randn(2, 4, 6, 6)
    inner = torch.relu(block.conv1(x))
    expected = torch.relu(block.conv2(inner) + block.shortcut[0](x))
    torch.testing.assert_close(block(x), expected)


def test_skip_init_starts_with_shortcuts_alone():
    torch.manual_seed(0)
    block = Block(8, 8, 1, parse_variant('none+ScaledWS+SkipInit'))
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(block(x), torch.relu(x))
    with pytest.raises(ValueError, match='vgg10 has none'):
        make_network('vgg10', parse_variant('none+SkipInit'))


def test_evonorm_stands_behind_the_sum():
    network = make_network('resnet20', parse_variant('EvoNormB0'))
    assert second_activations(network) is None
    norms = [m for m in network.modules() if isinstance(m, EvoNormB0)]
    assert len(norms) == 1 + 2 * 9
