# Copyright (c) mmnorm contributors. All rights reserved.
"""The commands and configs in configs/README.md do what the page says."""

import argparse
import re
import shlex
from pathlib import Path

import pytest
from mmengine.config import Config, DictAction

from mmnorm import SN

from .zoo import RATES, ROOT, Name, build, momenta


def readme_blocks(language: str) -> list[str]:
    """Return the code blocks of the README in a language."""
    text = (ROOT / 'README.md').read_text()
    return re.findall(rf'```{language}\n(.*?)```', text, re.DOTALL)


def readme_commands() -> list[list[str]]:
    """Return the words of each command in the README."""
    (block,) = readme_blocks('shell')
    lines = block.replace('\\\n', '').splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [command for command in words if command]


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('words', readme_commands())
def test_variant_of_the_readme(words):
    at = words.index('--cfg-options')
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    options = parser.parse_args(words[at:]).cfg_options
    (config,) = (Path(w) for w in words[:at] if w.startswith('configs/'))
    cfg = Config.fromfile(ROOT.parent / config)
    # A model does not build with a wrong key; elsewhere no error would tell.
    for key in (key for key in options if not key.startswith('model.')):
        node = cfg
        for part in key.split('.'):
            node = node[int(part) if part.isdigit() else part]
    cfg.merge_from_dict(options)

    name = Name.parse(config.stem)
    is_distributed = words[0] == 'tools/dist_train.sh'
    gpus = int(words[at - 1]) if is_distributed else 1
    images = gpus * cfg.train_dataloader.batch_size
    assert cfg.auto_scale_lr.base_batch_size == images
    lr = cfg.optim_wrapper.optimizer.lr
    assert lr == pytest.approx(RATES[name.data] * images)
    loop = cfg.train_cfg
    length = loop.get('max_epochs') or loop.max_iters
    assert cfg.param_scheduler[-1].end == length
    expected = {(0.1, 8)} if name.norm == 'bcn' else set()
    assert momenta(build(cfg)) == expected


def test_configs_of_the_readme(tmp_path):
    leaf, own = readme_blocks('python')
    comment, _, text = leaf.partition('\n\n')
    path = ROOT.parent / comment.removeprefix('# ')
    assert path.read_text() == text

    (tmp_path / 'configs').symlink_to(ROOT)
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/config.py').write_text(own)
    cfg = Config.fromfile(tmp_path / 'mine/config.py')
    assert cfg.model.decode_head.num_classes == 21
    assert any(isinstance(module, SN) for module in build(cfg).modules())
