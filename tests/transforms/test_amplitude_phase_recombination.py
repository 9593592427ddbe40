# Copyright (c) mmnorm contributors. All rights reserved.
"""Amplitude-phase recombination changes images, and no label."""

import copy
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmnorm import AmplitudePhaseRecombination
from mmnorm.transforms.augmentations import AUGMENTATIONS
from tests.paths import ROOT

SHAPES = [(20, 30, 3), (33, 17, 3), (1, 1, 3), (2, 9, 1), (16, 16)]
CONFIGS = {
    'mmdet': 'mask-rcnn_r18_fpn_bn-all_1xb1-3e_mini-coco',
    'mmseg': 'deeplabv3_r18-d8_gn-all_1xb1-2k_mini-cityscapes',
}
CONVERTERS = {'mmdet': 'make_mini_coco', 'mmseg': 'make_mini_cityscapes'}


def image(*shape: int, seed: int = 0) -> np.ndarray:
    """Return an image of smooth noise."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize(shape[1::-1])
    array = np.array(picture)
    if len(shape) == 2:
        return array[..., 0]
    return array[..., : shape[2]]


def seed(number: int) -> None:
    np.random.seed(number)  # noqa: NPY002


def authors_formula(phase_of, amplitude_of) -> np.ndarray:
    one, two = np.fft.fftn(phase_of), np.fft.fftn(amplitude_of)
    mixed = np.fft.ifftn(np.abs(two) * np.exp(1j * np.angle(one)))
    return mixed.real.round().clip(0, 255)


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('index', range(len(AUGMENTATIONS)))
def test_augmented(index, shape, monkeypatch):
    x = image(*shape)
    before = x.copy()
    seen = []

    def augment(picture):
        seen.append(AUGMENTATIONS[index](picture))
        return seen[-1]

    module = sys.modules[AmplitudePhaseRecombination.__module__]
    monkeypatch.setattr(module, 'AUGMENTATIONS', (augment,))
    seed(index)
    results = AmplitudePhaseRecombination(prob=1)({'img': x, 'other': 1})
    y = results['img']
    assert (y.shape, y.dtype) == (shape, np.uint8)
    assert y.flags.c_contiguous
    assert np.array_equal(x, before)
    assert results.keys() == {'img', 'other'}
    expected = authors_formula(x, np.asarray(seen[0]).reshape(shape))
    # float32 may round a half to the other side.
    difference = np.abs(y - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_other_image():
    apr = AmplitudePhaseRecombination('other', prob=1, buffer_size=1)
    first, second = image(24, 32, 3), image(15, 20, 3, seed=1)
    assert np.array_equal(apr({'img': first})['img'], first)
    kept = first.copy()
    first[:] = 0  # later transforms may write into an image
    y = apr({'img': second})['img']
    resized = Image.fromarray(kept).resize((20, 15), Image.BILINEAR)
    expected = authors_formula(second, np.asarray(resized))
    assert np.abs(y - expected).max() <= 1
    assert not np.array_equal(y, second)
    # The buffer holds the image as it was loaded, and one image only.
    y = apr({'img': second})['img']
    assert np.abs(y.astype(int) - second).max() <= 1


def test_images_of_other_channels_are_left_out():
    apr = AmplitudePhaseRecombination('other', prob=1)
    apr({'img': image(8, 8)})
    x = image(8, 8, 3)
    assert np.array_equal(apr({'img': x})['img'], x)


def test_the_order_of_the_channels_does_not_matter():
    x = image(20, 30, 3)
    outputs = []
    for each in (x, x[..., ::-1]):
        seed(0)
        outputs.append(AmplitudePhaseRecombination(prob=1)({'img': each}))
    rgb, bgr = (y['img'].astype(int) for y in outputs)
    assert np.abs(rgb - bgr[..., ::-1]).max() <= 1


@pytest.mark.parametrize('prob', [0, 0.3, 1])
def test_share_of_changed_images(prob):
    seed(0)
    x, apr = image(8, 8, 3), AmplitudePhaseRecombination(prob=prob)
    changed = [apr({'img': x})['img'] is not x for _ in range(300)]
    assert abs(np.mean(changed) - prob) < 0.08


def test_all_augmentations_are_drawn():
    x, seen = Image.fromarray(image(40, 60, 3)), {}
    for augment in AUGMENTATIONS:
        seed(3)
        outputs = {augment(x).tobytes() for _ in range(30)}
        assert any(output != x.tobytes() for output in outputs)
        seen[augment.__name__] = len(outputs)
    fixed = {name for name, number in seen.items() if number == 1}
    assert fixed == {'autocontrast', 'equalize'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(amplitude='pair'), "amplitude='pair': set it to 'augmented'"),
        (dict(prob=2), 'prob=2: set it to a number from 0 to 1'),
        (dict(buffer_size=0), 'buffer_size=0: set it to 1 or more'),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AmplitudePhaseRecombination(**arguments)


@pytest.mark.parametrize(
    'wrong', [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8)]
)
def test_wrong_images(wrong):
    with pytest.raises(ValueError, match=r'the image has \d channels of '):
        AmplitudePhaseRecombination()({'img': wrong})


def test_repr():
    text = "AmplitudePhaseRecombination(amplitude='other', prob=0.5, buff"
    assert repr(AmplitudePhaseRecombination('other')).startswith(text)


@pytest.fixture(scope='module', params=CONFIGS)
def datasets(request, tmp_path_factory):
    """Return a function that builds the training data of a config."""
    scope, folder = request.param, tmp_path_factory.mktemp('data')
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / 'tools/dataset_converters')
        sizes = ['--train=4', '--val=2']
        patch.setattr(sys, 'argv', ['', str(folder / 'd'), *sizes])
        importlib.import_module(CONVERTERS[scope]).main()

    def build(**apr):
        return load(scope, folder / 'd', apr)

    return build


def load(scope: str, folder: Path, apr: dict):
    cfg = Config.fromfile(ROOT / f'configs/mini/{CONFIGS[scope]}.py')
    data = cfg.train_dataloader.dataset
    data.data_root = str(folder)
    if apr:
        transform = dict(type='mmnorm.AmplitudePhaseRecombination', **apr)
        # Transforms with random numbers before it draw the same ones.
        data.pipeline.insert(len(data.pipeline) - 1, transform)
    with DefaultScope.overwrite_default_scope(scope):
        return DATASETS.build(data)


def samples(dataset) -> list:
    """Return the first samples, each with the same random numbers."""
    seen = []
    for index in range(3):
        seed(index)
        torch.manual_seed(index)
        seen.append(copy.deepcopy(dataset[index]))
    return seen


@pytest.mark.parametrize('amplitude', ['augmented', 'other'])
def test_real_pipeline(datasets, amplitude):
    plain = samples(datasets())
    same = samples(datasets(amplitude=amplitude, prob=0.0))
    changed = samples(datasets(amplitude=amplitude, prob=1.0))
    for index, (x, y, z) in enumerate(zip(plain, changed, same, strict=True)):
        first_of_pair = amplitude == 'other' and index == 0
        assert x['inputs'].dtype == y['inputs'].dtype == torch.uint8
        assert torch.equal(x['inputs'], y['inputs']) == first_of_pair
        assert torch.equal(x['inputs'], z['inputs'])
        a, b = x['data_samples'], y['data_samples']
        assert a.metainfo == b.metainfo
        if 'gt_sem_seg' in a:
            assert torch.equal(a.gt_sem_seg.data, b.gt_sem_seg.data)
            continue
        a, b = a.gt_instances, b.gt_instances
        assert np.array_equal(a.masks.to_ndarray(), b.masks.to_ndarray())
        assert torch.equal(a.bboxes.tensor, b.bboxes.tensor)
        assert torch.equal(a.labels, b.labels)
