# Copyright (c) mmnorm contributors. All rights reserved.
"""Write the configs, metafiles and tables of the zoo, and model-index.yml.

A config is a model of its folder, from _base_, and a recipe: data, learning
rate and schedule, from configs/_base_. Run it after adding either. With
--check, nothing is written, and the exit status tells whether it would be.
"""

import argparse
import re
import sys
from functools import cache
from pathlib import Path

import yaml
from mmengine.config import Config

from studies.page import replace_marked

ROOT = Path(__file__).parents[2]
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
TASKS = {
    'detection': ('Object Detection',),
    'instance': ('Object Detection', 'Instance Segmentation'),
    'semantic': ('Semantic Segmentation',),
}
DATA = {
    'coco': 'COCO',
    'cityscapes': 'Cityscapes',
    'coco-stuff164k': 'COCO-Stuff 164k',
    'voc12aug': 'Pascal VOC 2012 + Aug',
}
CITYSCAPES = ('8xb1_cityscapes', '1xb1_cityscapes')
COCO = ('8xb1-2x_coco', '8xb2-2x_coco')
SEMANTIC = (
    '8xb1-40k_cityscapes-512x1024',
    '8xb1-80k_cityscapes-512x1024',
    '4xb2-40k_cityscapes-512x1024',
    '4xb2-80k_cityscapes-512x1024',
    '1xb2-160k_cityscapes-512x1024',
    '1xb2-320k_cityscapes-512x1024',
    '8xb2-80k_coco-stuff164k-512x512',
    '4xb4-40k_voc12aug-512x512',
)
# Norms whose model is another one for some batches: the batch norm of one
# image is instance norm, and estimates of few images a step have to be slow.
VARIANTS = {'_sn-': ('-nobn-', '1xb1'), '_bcn-': ('-slow-', '1xb')}
LEAF = """\
{arithmetic}_base_ = [
    './_base_/{model}.py',  # network, norm
    '../_base_/{kind}/{recipe}.py',  # data, schedule
]
"""
# The comment of a recipe on its batch size, learning rate and length.
ARITHMETIC = re.compile(r'^# \d GPUs? x .*\n(?:# [^A-Z].*\n)*', re.MULTILINE)


def recipes_of(model: str) -> tuple[str, list[str]]:
    """The kind of task a model is for, and the recipes it comes with."""
    architecture, backbone, *_ = model.split('_')
    if architecture == 'faster-rcnn':
        times = '1x' if '_gn-ws-' in model else '2x'
        return 'detection', [f'8xb2-{times}_coco']
    if architecture == 'mask-rcnn':
        kind, recipes = 'instance', [*COCO, *CITYSCAPES]
        if backbone == 'r50':
            recipes += ['1xb1-2x_coco', '1xb2-2x_coco']
            recipes += ['8xb1-scratch-6x_coco']
    else:
        kind, recipes = 'semantic', [*SEMANTIC]
        if architecture == 'deeplabv3' and backbone.startswith('r50'):
            recipes += ['8xb1-80k_cityscapes-769x769']
    for norm, (variant, batch) in VARIANTS.items():
        if norm in model:
            is_variant = variant in model
            recipes = [r for r in recipes if r.startswith(batch) == is_variant]
    return kind, recipes


@cache  # dozens of configs share a recipe
def read(kind: str, recipe: str) -> tuple[str, Config]:
    """What a recipe says of its arithmetic, and what it is."""
    path = ROOT / f'configs/_base_/{kind}/{recipe}.py'
    arithmetic = ARITHMETIC.search(path.read_text())
    if arithmetic is None:
        sys.exit(f'{path} has no comment such as "# 8 GPUs x 1 image = 8: "')
    return arithmetic[0], Config.fromfile(path)


def leaf(model: str, kind: str, recipe: str) -> str:
    """The text of a config."""
    arithmetic, cfg = read(kind, recipe)
    text = LEAF.format(
        arithmetic=arithmetic, model=model, kind=kind, recipe=recipe
    )
    if 'model_settings' in cfg:
        text += 'model = _base_.model_settings\n'
    return text


def entry(folder: str, model: str, kind: str, recipe: str) -> dict:
    """What the metafile says of a config; results come with weights."""
    _, cfg = read(kind, recipe)
    loop = cfg.train_cfg
    length = (
        {'Epochs': loop.max_epochs}
        if 'max_epochs' in loop
        else {'Iterations': loop.max_iters}
    )
    data = DATA[re.sub(r'-\d+x\d+$', '', recipe.split('_')[-1])]
    name = f'{model}_{recipe}'
    return {
        'Name': name,
        'In Collection': f'mmnorm {folder}',
        'Config': f'configs/{folder}/{name}.py',
        'Metadata': length | {'Batch Size': cfg.auto_scale_lr.base_batch_size},
        'Results': [{'Task': t, 'Dataset': data} for t in TASKS[kind]],
    }


def metafile(folder: str, models: list[dict]) -> str:
    title, number = PAPERS[folder]
    collection = {
        'Name': f'mmnorm {folder}',
        'Paper': {'Title': title, 'URL': f'https://arxiv.org/abs/{number}'},
        'README': f'configs/{folder}/README.md',
    }
    content = {'Collections': [collection], 'Models': models}
    return yaml.safe_dump(content, sort_keys=False, width=79)


def tables(models: list[dict], published: dict[str, dict]) -> str:
    """A table for each task and data set, with a row for each config."""
    groups: dict[str, list[str]] = {}
    for model in models:
        name, metadata = model['Name'], model['Metadata']
        result = model['Results'][-1]
        is_mask = name.startswith('mask')
        measure = 'mIoU' if 'Semantic' in result['Task'] else 'box AP'
        measure += ' / mask AP' * is_mask
        training = name.split('_')[-2]
        gpus, per_gpu = training.split('-')[0].split('xb')
        length = (
            f'{metadata["Epochs"]} epochs'
            if 'Epochs' in metadata
            else f'{metadata["Iterations"]} steps'
        )
        other = published.get(name)
        theirs = f'{other["result"]}, {other["source"]}' if other else ''
        title = f'{result["Dataset"]}, {result["Task"].lower()}, {measure}'
        groups.setdefault(title, []).append(
            f'| [{name}]({name}.py) | {gpus} x {per_gpu} | {length} '
            f'| not trained yet | {theirs} |'
        )
    head = '| config | images a step | length | ours | published by others |'
    rule = '|---|---|---|---|---|'
    return '\n\n'.join(
        '\n'.join([f'### {title}', '', head, rule, *rows])
        for title, rows in groups.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing')
    check = parser.parse_args().check
    published = yaml.safe_load((ROOT / 'configs/published.yml').read_text())
    imports = [f'configs/{folder}/metafile.yml' for folder in PAPERS]
    files = {'model-index.yml': yaml.safe_dump({'Import': imports})}
    for folder in PAPERS:
        models = []
        for path in sorted((ROOT / f'configs/{folder}/_base_').glob('*.py')):
            kind, recipes = recipes_of(path.stem)
            for recipe in recipes:
                models.append(entry(folder, path.stem, kind, recipe))
                files[models[-1]['Config']] = leaf(path.stem, kind, recipe)
        files[f'configs/{folder}/metafile.yml'] = metafile(folder, models)
        page = f'configs/{folder}/README.md'
        text = tables(models, published)
        files[page] = replace_marked((ROOT / page).read_text(), 'zoo', text)
    stale = [
        name
        for name, text in files.items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text() != text
    ]
    if stale and check:
        sys.exit(
            f'{", ".join(stale)}: not what the models and recipes say; run '
            'python -m tools.dev.write_zoo'
        )
    for name in stale:
        (ROOT / name).write_text(files[name])
        print(f'wrote {name}')


if __name__ == '__main__':
    main()
