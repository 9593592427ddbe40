# Copyright (c) mmnorm contributors. All rights reserved.
"""Write model-index.yml, and the metafile and table of each config folder.

The configs are the source; run it after adding one. With --check, nothing is
written, and the exit status tells whether something would be.
"""

import argparse
import sys
from pathlib import Path

import yaml
from mmengine.config import Config

ROOT = Path(__file__).parents[1]
FOLDERS = ('syncbn', 'gn', 'bcn', 'sn')
PAPERS = {
    'syncbn': ('Batch Normalization', '1502.03167'),
    'gn': ('Group Normalization', '1803.08494'),
    'bcn': (
        'Rethinking Normalization and Elimination Singularity in Neural '
        'Networks',
        '1911.09738',
    ),
    'sn': (
        'Differentiable Learning-to-Normalize via Switchable Normalization',
        '1806.10779',
    ),
}
DATA = {'coco': 'COCO', 'cityscapes': 'Cityscapes'}
BEGIN, END = '<!-- zoo begin -->', '<!-- zoo end -->'


def models_of(folder: str) -> list[dict]:
    """What the metafile says of each config; results come with weights."""
    models = []
    for path in sorted((ROOT / 'configs' / folder).glob('*.py')):
        cfg = Config.fromfile(path)
        data = DATA[cfg.data_root.strip('/').split('/')[-1]]
        tasks = ('Object Detection', 'Instance Segmentation')
        models.append(
            {
                'Name': path.stem,
                'In Collection': f'mmnorm {folder}',
                'Config': str(path.relative_to(ROOT)),
                'Metadata': {
                    'Epochs': cfg.train_cfg.max_epochs,
                    'Batch Size': cfg.auto_scale_lr.base_batch_size,
                },
                'Results': [{'Task': t, 'Dataset': data} for t in tasks],
            }
        )
    return models


def metafile(folder: str, models: list[dict]) -> str:
    title, number = PAPERS[folder]
    collection = {
        'Name': f'mmnorm {folder}',
        'Paper': {'Title': title, 'URL': f'https://arxiv.org/abs/{number}'},
        'README': f'configs/{folder}/README.md',
    }
    content = {'Collections': [collection], 'Models': models}
    return yaml.safe_dump(content, sort_keys=False, width=79)


def table(models: list[dict]) -> str:
    """Rows of config, data, images a step, epochs and results."""
    rows = ['| config | data | images a step | epochs | box AP | mask AP |']
    rows.append('|---|---|---|---|---|---|')
    for model in models:
        name, metadata = model['Name'], model['Metadata']
        gpus, per_gpu = name.split('_')[4].split('-')[0].split('xb')
        rows.append(
            f'| [{name}]({name}.py) | {model["Results"][0]["Dataset"]} '
            f'| {gpus} x {per_gpu} | {metadata["Epochs"]} '
            '| not trained yet | not trained yet |'
        )
    return '\n'.join(rows)


def readme(folder: str, models: list[dict]) -> str:
    """The hand-written page with its table renewed."""
    text = (ROOT / 'configs' / folder / 'README.md').read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f'{before}{BEGIN}\n\n{table(models)}\n\n{END}{after}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing')
    args = parser.parse_args()
    imports = [f'configs/{folder}/metafile.yml' for folder in FOLDERS]
    files = {'model-index.yml': yaml.safe_dump({'Import': imports})}
    for folder in FOLDERS:
        models = models_of(folder)
        files[f'configs/{folder}/metafile.yml'] = metafile(folder, models)
        files[f'configs/{folder}/README.md'] = readme(folder, models)
    stale = [
        name
        for name, text in files.items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text() != text
    ]
    if args.check:
        if stale:
            sys.exit(
                f'{", ".join(stale)}: not what the configs say; run '
                'python tools/write_zoo.py'
            )
        return
    for name in stale:
        (ROOT / name).write_text(files[name])
        print(f'wrote {name}')


if __name__ == '__main__':
    main()
