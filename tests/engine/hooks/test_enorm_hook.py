# Copyright (c) mmnorm contributors. All rights reserved.
"""Equi-normalization changes the weights, and not what a model computes."""

import copy
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from mmnorm import ENormHook
from mmnorm.config.files import find_config
from mmnorm.engine.hooks.enorm_hook import losses
from tests.models import deeplab, mask_rcnn

MASK_RCNN = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'


class Plain(BaseModel):
    """A network of three convolutions, with a norm and noise behind them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(3, 8, 3)
        self.b = nn.Conv2d(8, 6, 3)
        self.c = nn.Conv2d(6, 8, 1)
        self.bn = nn.BatchNorm2d(8)
        self.d = nn.Conv2d(8, 2, 1)
        self.e = nn.Conv2d(2, 2, 1)
        self.double()

    def forward(self, inputs, data_samples=None, mode='tensor'):
        x = torch.stack(inputs).double()
        x = self.c(self.b(self.a(x).relu()).relu())
        x = self.e(self.d(self.bn(x).relu()).relu())
        noise = torch.rand(()) + np.random.rand()  # noqa: NPY002
        return {'loss': x.square().sum() * (1 + noise)}


def make_runner(model: nn.Module, wrapper=None, **options) -> SimpleNamespace:
    if wrapper is None:
        options = dict(lr=1e-3, momentum=0.9, weight_decay=1e-2) | options
        optimizer = torch.optim.SGD(model.parameters(), **options)
        wrapper = OptimWrapper(optimizer)
    logger = logging.getLogger('enorm')
    return SimpleNamespace(model=model, optim_wrapper=wrapper, logger=logger)


def batch() -> dict:
    generator = torch.Generator().manual_seed(3)
    return dict(inputs=list(torch.randn(2, 3, 7, 7, generator=generator)))


def train(runner, data, hook=None, steps=3) -> list[float]:
    """Train with the same random numbers; return the losses."""
    seen = []
    for index in range(steps):
        if hook is not None:
            hook.before_train_iter(runner, index, data)
        torch.manual_seed(index)
        np.random.seed(index)  # noqa: NPY002
        result = runner.model(
            **runner.model.data_preprocessor(copy.deepcopy(data), True),
            mode='loss',
        )
        loss, _ = runner.model.parse_losses(result)
        seen.append(loss.item())
        runner.optim_wrapper.update_params(loss)
    return seen


def reference_step(model: Plain, c: float) -> None:
    """Balance channel by channel, as the paper's formula reads."""
    for left, right in (('a', 'b'), ('b', 'c'), ('d', 'e')):
        w, v = getattr(model, left), getattr(model, right)
        for i in range(len(w.weight)):
            d = (v.weight[:, i].norm() / (c * w.weight[i].norm())).sqrt()
            with torch.no_grad():
                w.weight[i] *= d
                w.bias[i] *= d
                v.weight[:, i] /= d


@pytest.mark.parametrize('c', [1, 1.2])
def test_cycle_equals_formula(c):
    model, theirs = Plain(), Plain()
    runner, twin = make_runner(model), make_runner(theirs)
    hook = ENormHook(c, last_layers=True)
    train(runner, batch(), hook, steps=1)
    train(twin, batch(), steps=1)
    reference_step(theirs, c)
    for p, q in zip(model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_momentum_scales_as_the_gradient():
    # With all the same data, momentum is the gradient of the first step.
    model = Plain()
    runner = make_runner(model, lr=0.0, weight_decay=0)
    data = batch()
    train(runner, data, ENormHook(last_layers=True), steps=1)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    model(**data, mode='loss')['loss'].backward()
    for parameter in model.parameters():
        state = runner.optim_wrapper.optimizer.state[parameter]
        torch.testing.assert_close(state['momentum_buffer'], parameter.grad)


@pytest.mark.parametrize(
    'kind', [torch.optim.Adam, torch.optim.AdamW], ids=str
)
def test_moments_of_adam_scale_as_the_gradient(kind):
    model = Plain()
    optimizer = kind(model.parameters(), lr=0.0, amsgrad=True, weight_decay=0)
    runner = make_runner(model, OptimWrapper(optimizer))
    train(runner, batch(), ENormHook(last_layers=True), steps=1)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    model(**batch(), mode='loss')['loss'].backward()
    for parameter in model.parameters():
        state, grad = optimizer.state[parameter], parameter.grad
        torch.testing.assert_close(state['exp_avg'], 0.1 * grad)
        squares = 0.001 * grad.square()
        torch.testing.assert_close(state['exp_avg_sq'], squares)
        torch.testing.assert_close(state['max_exp_avg_sq'], squares)


def test_steps_make_the_weights_smaller_and_equal():
    model = Plain()
    runner = make_runner(model, lr=0.0)

    def size() -> float:
        convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
        return sum(m.weight.square().sum().item() for m in convs)

    model.a.weight.data *= 10
    hook, sizes = ENormHook(last_layers=True), [size()]
    seen = train(runner, batch(), hook, steps=1)
    for _ in range(40):
        sizes.append(size())
        seen += train(runner, batch(), hook, steps=1)
    assert all(b < a + 1e-9 for a, b in zip(sizes, sizes[1:], strict=False))
    assert sizes[-1] < sizes[0] / 2
    assert max(seen) - min(seen) < 1e-9 * seen[0]
    for left, right in ((model.a, model.b), (model.b, model.c)):
        torch.testing.assert_close(
            left.weight.flatten(1).norm(dim=1),
            right.weight.transpose(0, 1).flatten(1).norm(dim=1),
        )


def test_last_layers_and_norms():
    hook = ENormHook()
    train(make_runner(Plain()), batch(), hook, steps=1)
    assert [*map(str, hook.pairs)] == ['a -> b', 'b -> c']
    hook = ENormHook(last_layers=True)
    train(make_runner(Plain()), batch(), hook, steps=1)
    assert [*map(str, hook.pairs)] == ['a -> b', 'b -> c', 'd -> e']


def test_search_leaves_statistics_and_random_numbers():
    model = Plain()
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(()), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    runner, data = make_runner(model), batch()
    twin = copy.deepcopy(data)
    ENormHook().before_train_iter(runner, 0, data)
    assert (torch.rand(()), np.random.rand()) == expected  # noqa: NPY002
    assert all(m.training for m in model.modules())
    torch.testing.assert_close(data, twin)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(p.grad is None for p in model.parameters())


def test_reading_that_autograd_does_not_see():
    class Detached(Plain):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            x = torch.stack(inputs).double()
            y = self.a(x).relu()
            share = self.d(torch.cat([y.detach()] * 1)).sigmoid().mean()
            return {'loss': self.c(self.b(y).relu()).square().sum() * share}

    hook = ENormHook(last_layers=True)
    train(make_runner(Detached()), batch(), hook, steps=1)
    assert [*map(str, hook.pairs)] == ['b -> c']


def test_only_steps_of_the_optimizer_balance():
    model = Plain()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    wrapper = OptimWrapper(optimizer, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 6)
    runner, hook = make_runner(model, wrapper), ENormHook()
    for index in range(4):
        before = model.a.weight.detach().clone()
        train(runner, batch(), hook, steps=1)
        changed = not torch.equal(before, model.a.weight)
        assert changed == (index % 2 == 1)
    hook.after_train(runner)
    before = model.a.weight.detach().clone()
    train(runner, batch(), steps=2)
    assert torch.equal(before, model.a.weight)


def search_of_rank(rank: int) -> tuple[list[str], int]:
    calls = []

    # The batch of the second process alone shows that b has another reader.
    class Uneven(Plain):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            calls.append(mode)
            y = self.b(self.a(torch.stack(inputs).double()).relu())
            loss = self.c(y).square().sum()
            return {'loss': loss + (y.sigmoid().sum() if rank else 0)}

    hook = ENormHook(last_layers=True)
    hook.before_train_iter(make_runner(Uneven()), 0, batch())
    return [*map(str, hook.pairs)], len(calls)


def test_processes_agree(ranks):
    # The number of runs is the same, because losses may communicate.
    assert ranks(2).run(search_of_rank) == [(['a -> b'], 2)] * 2


def test_run_of_mmengine(tmp_path):
    data = [dict(inputs=image) for image in batch()['inputs']]
    runner = Runner(
        model=Plain(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=data,
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-4, momentum=0.9)),
        custom_hooks=[dict(type='mmnorm.ENormHook')],
        default_hooks=dict(checkpoint=None, logger=None),
        experiment_name=tmp_path.name,
    )
    runner.train()
    model = runner.model
    torch.testing.assert_close(
        model.b.weight.flatten(1).norm(dim=1),
        model.c.weight.transpose(0, 1).flatten(1).norm(dim=1),
    )
    assert model.d.weight.isfinite().all()


def test_wrong_settings():
    with pytest.raises(ValueError, match='ENormHook.c=0: set it to a posit'):
        ENormHook(0)
    model = Plain()
    wrapper = OptimWrapperDict(a=make_runner(model).optim_wrapper)
    with pytest.raises(ValueError, match='needs one optimizer, but .*Dict'):
        train(make_runner(model, wrapper), batch(), ENormHook(), steps=1)
    optimizer = torch.optim.Adagrad(model.parameters())
    runner = make_runner(model, OptimWrapper(optimizer))
    with pytest.raises(ValueError, match="scale 'sum' of .* Adagrad: use"):
        train(runner, batch(), ENormHook(), steps=1)
    model.requires_grad_(False)
    model.e.requires_grad_(True)
    message = 'finds no two layers .*: set last_layers=True, or remove the'
    with pytest.raises(ValueError, match=message):
        ENormHook().before_train_iter(make_runner(model), 0, batch())
    with pytest.raises(ValueError, match='model trains: remove the hook'):
        hook = ENormHook(last_layers=True)
        hook.before_train_iter(make_runner(model), 0, batch())


def build(cfg: Config, scope: str) -> BaseModel:
    cfg.model.backbone.update(depth=18, init_cfg=None)
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(cfg.model)


def whole_detector() -> tuple[BaseModel, dict]:
    cfg = Config.fromfile(find_config(MASK_RCNN))
    cfg.model.neck.in_channels = [64, 128, 256, 512]
    cfg.model.rpn_head.num_convs = 2
    cfg.model.train_cfg.rpn_proposal.max_per_img = 50
    cfg.model.train_cfg.rcnn.sampler.num = 16
    _, samples = mask_rcnn()
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    return build(cfg, 'mmdet'), dict(inputs=[*images], data_samples=samples)


def whole_segmenter() -> tuple[BaseModel, dict]:
    cfg, samples = deeplab()
    plain = dict(
        type='FCNHead', num_convs=3, norm_cfg=None, concat_input=False
    )
    for name in ('decode_head', 'auxiliary_head'):
        for key in ('dilations', 'norm_cfg'):
            cfg.model[name].pop(key, None)
        cfg.model[name].update(plain)
    cfg.model.data_preprocessor.size = (64, 96)
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    return build(cfg, 'mmseg'), dict(inputs=[*images], data_samples=samples)


WHOLE = {
    'Mask R-CNN': (
        whole_detector,
        [
            'rpn_head.rpn_conv.0.conv -> rpn_head.rpn_conv.1.conv',
            'rpn_head.rpn_conv.1.conv -> rpn_head.rpn_cls, rpn_head.rpn_reg',
            'shared_fcs.0 -> shared_fcs.1',
            'shared_fcs.1 -> fc_cls, fc_reg',
            'convs.0.conv -> convs.1.conv',
            'convs.1.conv -> convs.2.conv',
            'convs.2.conv -> convs.3.conv',
            'convs.3.conv -> upsample',
            'upsample -> conv_logits',
        ],
    ),
    'FCN': (
        whole_segmenter,
        [
            f'{head}.{pair}'
            for head in ('decode_head', 'auxiliary_head')
            for pair in (
                'convs.0.conv -> convs.1.conv',
                'convs.1.conv -> convs.2.conv',
                'convs.2.conv -> conv_seg',
            )
        ],
    ),
}


@pytest.mark.parametrize('case', WHOLE)
def test_whole_model(case, caplog):
    """A step with the hook equals a step without it, for all outputs."""
    make, expected = WHOLE[case]
    model, data = make()
    runner = make_runner(model, lr=0.0)
    runner.logger.addHandler(caplog.handler)
    runner.logger.setLevel(logging.INFO)
    hook = ENormHook(c=1.1, last_layers=True)
    before = copy.deepcopy(model)
    train(runner, data, hook, steps=1)
    found = [str(pair) for pair in hook.pairs]
    for short in ('roi_head.bbox_head.', 'roi_head.mask_head.'):
        found = [text.replace(short, '') for text in found]
    if case == 'FCN':
        expected = [
            e.replace('-> ', f'-> {e.split(".")[0]}.') for e in expected
        ]
    assert found == expected
    assert f'balances {len(expected)} pairs: ' in caplog.text
    # The running statistics have moved.
    running = {k: v for k, v in model.state_dict().items() if 'running' in k}
    before.load_state_dict(running, strict=False)
    changed = 0
    for p, q in zip(before.parameters(), model.parameters(), strict=True):
        changed += not torch.equal(p, q)
    assert changed >= len(expected) + 1
    for network in (before, model):
        network.eval()
    old, new = losses(before, data), losses(model, data)
    for a, b in zip(old, new, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-5)
