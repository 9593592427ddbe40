# Copyright (c) mmnorm contributors. All rights reserved.
import torch

from mmnorm.checkpoints.checks import checkpoint_error, existing_error


def test_checkpoint_to_resume_needs_the_optimizer(tmp_path):
    path = str(tmp_path / 'w.pth')
    content = {'state_dict': {'w': torch.ones(2)}, 'meta': {}}
    torch.save(content, path)
    assert checkpoint_error(path) is None
    error = checkpoint_error(path, to_resume=True)
    assert 'holds only weights' in error
    assert f'--cfg-options load_from={path}' in error
    torch.save(content | {'optimizer': {}}, path)
    assert checkpoint_error(path, to_resume=True) is None


def test_addresses_are_not_checked():
    assert checkpoint_error('torchvision://resnet50') is None
    assert "'none.pth' does not exist" in checkpoint_error('none.pth')


def test_existing_file(tmp_path):
    assert existing_error(str(tmp_path / 'w.pth')) is None
    (tmp_path / 'w.pth').symlink_to('nowhere')
    assert 'is there already' in existing_error(str(tmp_path / 'w.pth'))
