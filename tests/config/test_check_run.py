# Copyright (c) mmnorm contributors. All rights reserved.
import pytest
from mmengine.config import Config

from mmnorm.config.check_run import run_error

KEYS = ('model', 'train_cfg')


@pytest.fixture
def cfg(tmp_path) -> Config:
    (tmp_path / 'ann.json').write_text('{"images": []}')
    dataset = dict(data_root=str(tmp_path), ann_file='ann.json')
    repeated = dict(type='RepeatDataset', dataset=dataset)
    pair = dict(datasets=[repeated, dict(ann_file='')])
    return Config(
        dict(
            model=dict(type='Net', norm_cfg=dict(type='BCN')),
            train_cfg=dict(max_epochs=1),
            train_dataloader=dict(dataset=pair),
            val_dataloader=None,
        )
    )


def test_run_that_can_start(cfg):
    assert run_error(cfg, KEYS, ('train', 'val')) is None


@pytest.mark.parametrize(
    ('value', 'error'),
    [
        (None, 'the config has no train_cfg'),
        (3, 'train_cfg is 3: set it to a dict'),
    ],
)
def test_missing_key(cfg, value, error):
    cfg.train_cfg = value
    assert run_error(cfg, KEYS, ()) == error
    assert run_error(cfg, ('model',), ()) is None


def test_unknown_layer(cfg):
    cfg.model.norm_cfg.type = 'BCM'
    assert "model.norm_cfg.type='BCM' is not" in run_error(cfg, KEYS, ())


@pytest.mark.parametrize(
    ('text', 'why'),
    [
        (None, "ann.json' does not exist: prepare the dataset"),
        ('', "ann.json' (0 bytes) is not a JSON object"),
        ('{"images": [', "ann.json' (12 bytes) is not a JSON object"),
        ('[1]', "ann.json' (3 bytes) is not a JSON object"),
    ],
)
def test_annotations(cfg, tmp_path, text, why):
    path = tmp_path / 'ann.json'
    path.unlink()
    if text is not None:
        path.write_text(text)
    error = run_error(cfg, KEYS, ('train',))
    assert error.startswith("train_dataloader.dataset.ann_file: '")
    assert why in error
    assert run_error(cfg, KEYS, ('val',)) is None


def test_data_without_a_list(cfg, tmp_path):
    dataset = dict(data_root=str(tmp_path / 'imagenet'), split='val')
    cfg.val_dataloader = dict(dataset=dataset)
    error = run_error(cfg, KEYS, ('val',))
    assert error == (
        f"val_dataloader.dataset.data_root: '{tmp_path}/imagenet' is not a "
        'folder: prepare the dataset, or set data_root to where it is'
    )
    (tmp_path / 'imagenet').mkdir()
    assert run_error(cfg, KEYS, ('val',)) is None
    dataset['data_root'] = 's3://bucket/imagenet'
    cfg.val_dataloader = dict(dataset=dataset)
    assert run_error(cfg, KEYS, ('val',)) is None


@pytest.mark.parametrize(
    'remote',
    [
        dict(data_root='s3://bucket/coco/'),
        dict(backend_args=dict(backend='petrel')),
        dict(data_root='', ann_file='https://host/ann.json'),
    ],
)
def test_files_on_a_server_are_not_looked_for(cfg, remote):
    (repeated, _) = cfg.train_dataloader.dataset.datasets
    repeated.dataset.ann_file = 'none.json'
    assert run_error(cfg, KEYS, ('train',)) is not None
    repeated.dataset.update(remote)
    assert run_error(cfg, KEYS, ('train',)) is None
