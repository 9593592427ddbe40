# Copyright (c) mmnorm contributors. All rights reserved.
"""Exported layers consist of torch's operators."""

import io

import onnxruntime
import pytest
import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from mmnorm import ConvWS
from tests.layers.cases import CHANNELS, LAYERS, make_layer
from tests.models import make_model

ANY_SIZE = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
# The others differ from one of these in training alone.
FORMS = [
    name
    for name in LAYERS
    if name
    not in (
        'BN',
        'SyncBN cumulative',
        'BRN schedule',
        'BKN predicted',
        'MABN moving',
        'BCN constant estimate',
        'BCN gradient of batch',
        'BCN gradient of image',
        'BCN one momentum',
        'BCN step',
        'BCN step constant',
        'BCN step gradient of image',
    )
]


def make_net(name: str) -> nn.Module:
    conv = ConvWS(3, CHANNELS, 3, padding=1).double()
    # An activation may overwrite the output of the norm.
    net = nn.Sequential(conv, make_layer(name), nn.ReLU(inplace=True))
    return net.float().eval()


def images() -> tuple[Tensor, Tensor]:
    """Return images to export with, and images of another number and size."""
    return torch.randn(2, 3, 8, 10), torch.randn(3, 3, 7, 6)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', LAYERS)
def test_torch_export(name):
    net, (x, other) = make_net(name), images()
    program = torch.export.export(net, (x,), dynamic_shapes=(ANY_SIZE,))
    calls = [n for n in program.graph.nodes if n.op == 'call_function']
    assert not [n for n in calls if 'autograd' in str(n.target)]
    assert_close(program.module()(other), net(other))


@pytest.mark.parametrize('name', FORMS)
def test_onnx(name):
    net, (x, other) = make_net(name), images()
    program = torch.onnx.export(
        net, (x,), dynamo=True, dynamic_shapes=(ANY_SIZE,), verbose=False
    )
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    (name,) = (node.name for node in session.get_inputs())
    (output,) = session.run(None, {name: other.numpy()})
    assert_close(torch.from_numpy(output), net(other))


@pytest.mark.parametrize('name', LAYERS)
def test_trace(name):
    net, (x, other) = make_net(name), images()
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(net, x), file)
    file.seek(0)
    assert_close(torch.jit.load(file)(other), net(other))


class Predict(nn.Module):
    """A detector that takes an image and returns boxes and scores."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = tuple(x.shape[2:])
        sample = DetDataSample(
            metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1, 1))
        )
        (output,) = self.model(x, [sample], mode='predict')
        return output.pred_instances.bboxes, output.pred_instances.scores


@pytest.mark.slow  # half a minute
@torch.no_grad()
def test_detectors_do_not_export():
    """docs/deploy.md says this, and has to change if an export succeeds."""
    name = 'mini/mask-rcnn_r18_fpn_bcn-all_1xb1-3e_mini-coco'
    model, x = Predict(make_model(name).float()), torch.rand(1, 3, 64, 96)
    with pytest.raises(Exception, match='data-dependent'):
        torch.export.export(model, (x,))
    with pytest.raises(Exception, match=r'mmdet\.core'):
        torch.onnx.export(model, (x,), dynamo=True, verbose=False)
    traced = torch.jit.trace(model, x, check_trace=False)
    with pytest.raises(RuntimeError, match='Python function call'):
        torch.jit.save(traced, io.BytesIO())
