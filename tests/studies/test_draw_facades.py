# Copyright (c) mmnorm contributors. All rights reserved.
"""The picture is that of the model which the study of facades has kept."""

import pytest

from studies.plan import PLANS, read_plan

TOOL = 'studies.draw_facades'


def test_model_of_the_study(module, main, tmp_path, monkeypatch):
    cell, *_ = read_plan(PLANS / 'facades.yml').cells
    assert cell.norm == 'BCN'
    work_dir = tmp_path / cell.name
    work_dir.mkdir()
    weights = work_dir / 'iter_9.pth'
    weights.touch()
    (work_dir / 'last_checkpoint').write_text(str(weights))
    (work_dir / 'cell.py').write_text('model = dict(type="A")\n')
    drawn = []
    monkeypatch.setattr(
        module, 'draw_pictures', lambda *args, **kwargs: drawn.append(args)
    )
    main('--work-dirs', tmp_path)
    ((cfg, checkpoint, path),) = drawn
    assert cfg.model.type == 'A'
    assert checkpoint == str(weights)
    assert path == module.OUT


def test_no_weights(main, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main('--work-dirs', tmp_path)
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert 'python -m studies.run facades --keep' in error
