# Copyright (c) mmnorm contributors. All rights reserved.
"""The metafiles and tables say what the configs and results say."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from mmnorm.config.apply_norm import NORMS
from tests.paths import ROOT
from tools.dev import write_zoo

CONFIGS = ROOT / 'configs'
PUBLISHED = yaml.safe_load((CONFIGS / 'published.yml').read_text())
TRAINED = yaml.safe_load((CONFIGS / 'trained.yml').read_text())
MASK_RCNN = 'mask-rcnn_r50_fpn_bcn-all_8xb1-2x_coco'
DEEPLAB = 'deeplabv3_r50-d8_sn-all_4xb2-40k_cityscapes-512x1024'


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """Make a copy of the configs that the command writes into."""
    shutil.copytree(CONFIGS, tmp_path / 'configs')
    shutil.copy(ROOT / 'model-index.yml', tmp_path)
    monkeypatch.setattr(write_zoo, 'ROOT', tmp_path)
    return tmp_path / 'configs'


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['', *arguments])
    write_zoo.main()


def line_of(name: str, table: str) -> str:
    (line,) = (row for row in table.split('\n') if f'[{name}]' in row)
    return line


def test_configs_metafiles_and_tables_are_fresh(monkeypatch):
    run(monkeypatch, '--check')


def test_a_config_that_is_not_listed_is_found(monkeypatch, copy):
    (copy / 'bcn/old.py').write_text('')
    for arguments in ['--check'], []:
        with pytest.raises(
            SystemExit, match='does not list configs/bcn/old.py;'
        ):
            run(monkeypatch, *arguments)
    assert (copy / 'bcn/old.py').exists()  # it may be a user's


def test_what_differs_is_found_and_written(monkeypatch, copy):
    config, page = copy / f'bcn/{MASK_RCNN}.py', copy / 'bcn/README.md'
    config.unlink()
    page.write_text(page.read_text().replace('24 epochs', '12 epochs'))
    with pytest.raises(SystemExit) as exit_info:
        run(monkeypatch, '--check')
    for name in config.name, page.name:
        assert name in exit_info.value.code
    run(monkeypatch)
    assert config.read_text() == (CONFIGS / 'bcn' / config.name).read_text()
    assert page.read_text() == (CONFIGS / 'bcn/README.md').read_text()


@pytest.mark.parametrize(
    ('file', 'entry', 'why'),
    [
        (
            'zoo.yml',
            {'sn': {'papers': {}, 'models': {'mask-rcnn_sn': ['9xb1_coco']}}},
            'mask-rcnn_sn_9xb1_coco needs configs/sn/_base_/mask-rcnn_sn.py',
        ),
        (
            'zoo.yml',
            {
                'sn': {
                    'papers': {},
                    'models': {'mask-rcnn_r50_fpn_sn-all': ['8xb1-2x_coco']},
                }
            },
            'sn has no paper for sn; add its title',
        ),
        ('published.yml', {'none': {'result': 1}}, 'does not list none'),
        ('trained.yml', {'none': {'mIoU': 1}}, 'does not list none'),
        (
            'trained.yml',
            {MASK_RCNN: {'mIoU': 1}},
            f'gives mIoU for {MASK_RCNN}; give box AP, mask AP',
        ),
    ],
)
def test_mistakes_get_a_sentence(monkeypatch, copy, file, entry, why):
    content = yaml.safe_load((copy / file).read_text()) | entry
    (copy / file).write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit, match=why):
        run(monkeypatch, '--check')


def test_every_config_is_listed_once():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    listed = []
    for name in index['Import']:
        folder = (ROOT / name).parent
        readme = (folder / 'README.md').read_text()
        for model in yaml.safe_load((ROOT / name).read_text())['Models']:
            path = Path(model['Config'])
            assert path.stem == model['Name']
            assert f']({path.name})' in line_of(path.stem, readme)
            listed.append(path)
    existing = {p.relative_to(ROOT) for p in CONFIGS.glob('[!_]*/*.py')}
    mini = {p for p in existing if p.parts[1] == 'mini'}
    assert sorted(listed) == sorted(existing - mini)


def check_claims(files: dict[str, str], trained: dict[str, dict]) -> None:
    """Check that exactly the trained configs claim a result."""
    pages = [name for name in files if name.endswith('README.md')]
    assert pages
    for page in pages:
        folder = page.removesuffix('README.md')
        models = yaml.safe_load(files[f'{folder}metafile.yml'])['Models']
        for model in models:
            metrics = {}
            for result in model['Results']:
                metrics |= result.get('Metrics', {})
            values = trained.get(model['Name'], {})
            assert metrics == values
            assert 'Weights' not in model
            *_, ours, _, _ = line_of(model['Name'], files[page]).split('|')
            said = ' / '.join(map(str, values.values())) or 'not trained yet'
            assert ours.strip() == said


def test_only_a_trained_config_claims_a_result():
    names = write_zoo.make_files({})
    check_claims({n: (ROOT / n).read_text() for n in names}, TRAINED)

    trained = {
        MASK_RCNN: {'box AP': 38.5, 'mask AP': 34.5},
        DEEPLAB: {'mIoU': 77.5},
    }
    files = write_zoo.make_files(trained)
    check_claims(files, trained)
    models = yaml.safe_load(files['configs/bcn/metafile.yml'])['Models']
    (model,) = (m for m in models if m['Name'] == MASK_RCNN)
    assert [(r['Task'], r['Metrics']) for r in model['Results']] == [
        ('Object Detection', {'box AP': 38.5}),
        ('Instance Segmentation', {'mask AP': 34.5}),
    ]


@pytest.mark.parametrize('name', PUBLISHED)
def test_a_published_result_stands_beside_a_config(name):
    (config,) = CONFIGS.glob(f'*/{name}.py')
    line = line_of(name, (config.parent / 'README.md').read_text())
    entry = PUBLISHED[name]
    assert line.endswith(f'| {entry["result"]}, {entry["source"]} |')


@pytest.mark.parametrize('norm', NORMS)
def test_every_norm_has_a_detector_a_segmenter_and_a_mini_detector(norm):
    norm = norm.lower()
    # In a batch of one image, BN is IN, and SSN cannot choose between both.
    on_one_cpu = {'syncbn': 'bn', 'ssn': 'ssn-nobn'}.get(norm, norm)
    for name in (
        f'mask-rcnn_r50_fpn_{norm}-all_8xb1-2x_coco',
        f'deeplabv3_r50-d8_{norm}-all_4xb2-40k_cityscapes-512x1024',
        f'mask-rcnn_r18_fpn_{on_one_cpu}-all_1xb1-3e_mini-coco',
    ):
        assert len(list(CONFIGS.glob(f'*/{name}.py'))) == 1, name
