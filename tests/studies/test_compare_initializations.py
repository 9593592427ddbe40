# Copyright (c) mmnorm contributors. All rights reserved.
"""The study changes only the initialization, and its page has the table."""

import json

import pytest
from mmengine.config import Config

TOOL = 'studies.compare_initializations'


def read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_page_has_the_table_of_the_results(module):
    runs = {
        initialization: [
            read(module.RESULTS / f'{initialization}_seed-{seed}.json')
            for seed in module.SEEDS
        ]
        for initialization in module.INITIALIZATIONS
    }
    page = module.PAGE.read_text()
    text = page.partition('<!-- starts begin -->')[2]
    text = text.partition('<!-- starts end -->')[0]
    sentence = module.checkpoint_results(
        read(module.RESULTS / f'{module.BN.stem}.json')
    )
    assert text.strip() == f'{module.table(runs)}\n\n{sentence}'


def test_mean_and_range(module):
    assert module.mean_and_range([0.1, 0.4, 0.3], 2) == '0.27 (0.10 to 0.40)'


def run_of(ap: float, *losses: float) -> list[dict]:
    records = [
        {'loss': loss, 'step': 50 * step}
        for step, loss in enumerate(losses, 1)
    ]
    end = {'coco/bbox_mAP': ap, 'coco/bbox_mAP_50': 2 * ap}
    return [*records, end | {'coco/segm_mAP': ap / 2, 'step': 150}]


def test_table(module):
    runs = {
        'bn': [run_of(0.1, 3, 2, 1), run_of(0.3, 5, 4, 2)],
        'random': [run_of(0.2, 9, 8, 7)],
    }
    assert module.table(runs).splitlines()[2:] == [
        '| BN checkpoint | 0.200 (0.100 to 0.300) | 0.400 (0.200 to 0.600) '
        '| 0.100 (0.050 to 0.150) | 4.00 (3.00 to 5.00) '
        '| 1.50 (1.00 to 2.00) |',
        '| random weights | 0.200 (0.200 to 0.200) | 0.400 (0.400 to 0.400) '
        '| 0.100 (0.100 to 0.100) | 9.00 (9.00 to 9.00) '
        '| 7.00 (7.00 to 7.00) |',
    ]
    title = module.table(runs).splitlines()[0]
    assert 'loss, steps 1 to 50 | steps 101 to 150' in title


def test_runs_differ_only_in_the_initialization(module, tmp_path):
    checkpoint = tmp_path / 'bn.pth'
    loaded = module.fine_tune(1, checkpoint)
    loaded.dump(tmp_path / 'loaded.py')
    loaded = Config.fromfile(tmp_path / 'loaded.py')
    drawn = module.fine_tune(1, None)
    assert loaded.pop('load_from') == str(checkpoint)
    assert drawn.pop('load_from') is None
    assert loaded.to_dict() == drawn.to_dict()
    assert drawn.randomness.seed == 1
    assert drawn.model == Config.fromfile(module.BCN).model


def test_schedule_ends_with_the_training(module):
    cfg = module.fine_tune(0, None)
    warm_up, decay = cfg.param_scheduler
    assert cfg.train_cfg.max_iters == module.STEPS
    assert warm_up.end == decay.begin == module.STEPS / 10
    assert decay.end == module.STEPS
    assert not warm_up.by_epoch
    assert not decay.by_epoch


def test_whole_study(module, main, tmp_path, monkeypatch, capsys):
    trained = {}

    def train(config, work_dir):
        trained[work_dir] = Config.fromfile(config)
        work_dir.mkdir(exist_ok=True)
        (work_dir / 'last_checkpoint').write_text('/old/epoch_3.pth')
        return run_of(0.1 * len(trained), 3, 2, 1)

    page = tmp_path / 'page.md'
    page.write_text('<!-- starts begin -->\nold\n<!-- starts end -->\n')
    monkeypatch.setattr(module, 'train', train)
    monkeypatch.setattr(module, 'PAGE', page)
    monkeypatch.setattr(module, 'RESULTS', tmp_path / 'results')
    main('--work-dirs', tmp_path)
    bn, *others = trained
    assert bn == tmp_path / module.BN.stem
    assert {
        path.name: (cfg.randomness.seed, cfg.load_from)
        for path, cfg in trained.items()
        if path in others
    } == {
        f'{name}_seed-{seed}': (seed, start)
        for seed in module.SEEDS
        for name, start in (
            ('bn', str(bn / 'epoch_3.pth')),
            ('random', None),
        )
    }
    assert capsys.readouterr().out.strip() in page.read_text()
    assert 'old' not in page.read_text()
    names = {path.stem for path in (tmp_path / 'results').iterdir()}
    assert names == {path.name for path in trained}


def test_bn_run_without_its_checkpoint(module, tmp_path, capsys):
    with pytest.raises(SystemExit):
        module.last_checkpoint(tmp_path)
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert 'remove the folder' in error


def test_bn_run_in_a_folder_that_was_moved(module, tmp_path):
    note = tmp_path / 'last_checkpoint'
    note.write_text('/elsewhere/epoch_3.pth')
    assert module.last_checkpoint(tmp_path) == tmp_path / 'epoch_3.pth'
