# Copyright (c) mmnorm contributors. All rights reserved.
"""The benchmark of folding compares models, and writes what it measured."""

import copy
import json

import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from torch import nn

from mmnorm.deploy.fold import fold
from tests.models import make_model
from tests.paths import CONFIG, ROOT

TOOL = 'benchmarks.fold_cost'
DETECTOR = 'mini/mask-rcnn_r18_fpn_bcn-ws-all_1xb1-3e_mini-coco'
SEGMENTER = 'mini/deeplabv3_r18-d8_bcn-all_1xb1-2k_mini-cityscapes'


@pytest.mark.parametrize('kind', ['trained', 'untrained'])
def test_page_has_the_table_of_the_results(module, kind):
    results = json.loads((module.RESULTS / f'{kind}.json').read_text())
    assert module.table(results) in module.PAGE.read_text()


def test_configs_of_the_untrained_models_exist(module):
    for name in module.LARGE:
        assert (ROOT / f'configs/{name}.py').is_file()


@pytest.mark.parametrize(
    ('name', 'last'),
    [
        (DETECTOR, 'roi_head.mask_head.conv_logits'),
        (SEGMENTER, 'decode_head.conv_seg'),
    ],
)
@torch.no_grad()
def test_largest_difference_is_of_the_logits(module, name, last):
    model = make_model(name).float()
    data = demo_mm_inputs(2, [[3, 64, 64]] * 2)
    if name == DETECTOR:
        data = model.data_preprocessor(data)
    else:
        data = {'inputs': torch.rand(2, 3, 64, 64)}
    folded = copy.deepcopy(model)
    folds = fold(folded, **data, mode='tensor')
    assert folds.folded
    difference, logit = module.largest_difference(model, folded, [data])
    assert 0 < difference < 1e-4 * logit
    folded.get_submodule(last).bias += 3
    difference, _ = module.largest_difference(model, folded, [data])
    assert difference == pytest.approx(3, rel=1e-3)


def test_shortest_time_is_of_the_later_rounds(module, monkeypatch):
    taken = iter([9, 1, 5, 2, 3, 4, 4, 3])  # The first round warms up.
    turns = []
    monkeypatch.setattr(
        module, 'seconds', lambda call, device: call() or next(taken)
    )
    plain, folded = nn.Identity(), nn.Identity()
    times = module.shortest_times(plain, folded, turns.append, 3)
    assert times == [3, 2]
    assert turns == [plain, folded] * 4


def test_untrained_model(module, monkeypatch):
    monkeypatch.setitem(module.REPEATS, 'untrained', 1)
    monkeypatch.setattr(module, 'SIZE', 64)
    result = module.untrained(ROOT / f'configs/{SEGMENTER}.py')
    assert result['folded'] > 0
    assert result['folded'] + result['kept'] == 27
    assert min(result['seconds']) > 0
    assert module.row('name', result).count('|') == 7


def test_trained_model(module, mini_coco, monkeypatch, tmp_path):
    monkeypatch.setitem(module.REPEATS, 'trained', 1)
    cfg = Config.fromfile(CONFIG)
    cfg.test_dataloader.dataset.data_root = f'{mini_coco}/'
    ann_file = mini_coco / 'annotations/instances_val2017.json'
    cfg.test_evaluator.ann_file = str(ann_file)
    # The weights are random, so every score is low.
    cfg.model.test_cfg.rcnn.score_thr = 0.0
    cfg.dump(tmp_path / 'config.py')
    checkpoint = tmp_path / 'epoch_1.pth'
    torch.save({'state_dict': make_model(DETECTOR).state_dict()}, checkpoint)
    result = module.trained(tmp_path / 'config.py', checkpoint)
    assert result['folded'] == 72
    assert result['difference'] < 1e-4 * result['logit']
    before, after = result['scores']
    assert before.keys() == {'coco/bbox_mAP', 'coco/segm_mAP'}
    assert after == pytest.approx(before, abs=1e-3)
    titles, _, line = module.table({'name': result}).splitlines()
    assert line.count('|') == titles.count('|')


def test_work_dirs_without_a_trained_model(main, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main('--work-dirs', tmp_path)
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert 'python -m studies.train_mini' in error
