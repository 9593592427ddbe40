# Copyright (c) mmnorm contributors. All rights reserved.
"""Write the configs, metafiles and tables of the zoo, and model-index.yml.

configs/zoo.yml lists the models of each folder and the recipes of each model;
published.yml and trained.yml beside it hold results. Run this command after a
change of these files or of a recipe. With --check, the command writes nothing,
and its exit status tells whether a file is missing, different or unlisted.
"""

import argparse
import re
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml
from mmengine.config import Config

from studies.page import replace_marked

Results = dict[str, dict]  # by the name of a config
Papers = dict[str, dict]  # by the name of a collection

ROOT = Path(__file__).parents[2]
# The folder of recipes for each architecture, and the metric of each task.
BOXES = {'Object Detection': 'box AP'}
SEGMENTS = {'Semantic Segmentation': 'mIoU'}
CLASSES = {'Image Classification': 'top-1 accuracy'}
ARCHITECTURES = {
    'faster-rcnn': ('detection', BOXES),
    'mask-rcnn': ('instance', BOXES | {'Instance Segmentation': 'mask AP'}),
    'deeplabv3': ('semantic', SEGMENTS),
    'deeplabv3plus': ('semantic', SEGMENTS),
    'resnet50': ('classification', CLASSES),
    'resnet101': ('classification', CLASSES),
    'resnet110': ('classification', CLASSES),
}
DATA = {
    'coco': 'COCO',
    'cityscapes': 'Cityscapes',
    'coco-stuff164k': 'COCO-Stuff 164k',
    'voc12aug': 'Pascal VOC 2012 + Aug',
    'imagenet': 'ImageNet-1k',
    'cifar10': 'CIFAR-10',
    'cifar100': 'CIFAR-100',
}
LEAF = """\
{arithmetic}_base_ = [
    '{model}',  # network, norm
    '{recipe}',  # data, schedule
]
"""
# A recipe has a comment on its batch size and learning rate.
ARITHMETIC = re.compile(r'^# \d GPUs? x .*\n(?:#.*\n)*', re.MULTILINE)


class Leaf(NamedTuple):
    """A config of the zoo, and the paths of its model and of its recipe."""

    name: str
    folder: str
    model: str
    recipe: str
    collection: str
    metrics: dict[str, str]  # of each task

    @property
    def path(self) -> str:
        """Return the path from the root of the repository."""
        return f'{self.folder}/{self.name}.py'


@cache  # Many configs share a recipe.
def read_recipe(path: str) -> tuple[str, Config]:
    """Return the comment of a recipe on its arithmetic, and its config."""
    arithmetic = ARITHMETIC.search((ROOT / path).read_text())
    if arithmetic is None:
        sys.exit(f'{path} has no comment like "# 8 GPUs x 1 image = 8 images"')
    return arithmetic[0], Config.fromfile(ROOT / path)


def make_leaf(leaf: Leaf) -> str:
    """Return the text of a config."""
    arithmetic, cfg = read_recipe(leaf.recipe)
    text = LEAF.format(
        arithmetic=arithmetic,
        model=leaf.model.replace(leaf.folder, '.'),
        recipe=leaf.recipe.replace('configs', '..'),
    )
    if 'model_settings' in cfg:
        text += 'model = _base_.model_settings\n'
    if 'optim_settings = ' in (ROOT / leaf.model).read_text():
        text += 'optim_wrapper = _base_.optim_settings\n'
    return text


def make_row(leaf: Leaf, trained: dict[str, float]) -> dict:
    """Return what the metafile says of a config; only results have metrics."""
    _, cfg = read_recipe(leaf.recipe)
    loop = cfg.train_cfg
    length = (
        {'Epochs': loop.max_epochs}
        if 'max_epochs' in loop
        else {'Iterations': loop.max_iters}
    )
    data = DATA[re.sub(r'-\d+x\d+$', '', leaf.name.split('_')[-1])]
    metrics = [*leaf.metrics.values()]
    if trained and [*trained] != metrics:
        sys.exit(
            f'configs/trained.yml gives {", ".join(trained)} for {leaf.name}; '
            f'give {", ".join(metrics)}'
        )
    results = [
        {'Task': task, 'Dataset': data}
        | ({'Metrics': {metric: trained[metric]}} if trained else {})
        for task, metric in leaf.metrics.items()
    ]
    return {
        'Name': leaf.name,
        'In Collection': f'mmnorm {leaf.collection}',
        'Config': leaf.path,
        'Metadata': length | {'Batch Size': cfg.auto_scale_lr.base_batch_size},
        'Results': results,
    }


def make_metafile(folder: str, papers: Papers, rows: list[dict]) -> str:
    """Return the metafile of a folder, with a collection for each paper."""
    collections = [
        {
            'Name': f'mmnorm {name}',
            'Paper': paper,
            'README': f'{folder}/README.md',
        }
        for name, paper in papers.items()
    ]
    content = {'Collections': collections, 'Models': rows}
    return yaml.safe_dump(content, sort_keys=False, width=79)


def make_tables(
    leafs: list[Leaf], rows: list[dict], published: Results, trained: Results
) -> str:
    """Return a table for each task and data set, with a row per config."""
    groups: dict[str, list[str]] = {}
    for leaf, row in zip(leafs, rows, strict=True):
        result = row['Results'][-1]
        title = f'{result["Dataset"]}, {result["Task"].lower()}, '
        title += ' / '.join(leaf.metrics.values())
        gpus, per_gpu = re.search(r'_(\d+)xb(\d+)', leaf.name).groups()
        (unit, length), _ = row['Metadata'].items()
        ours = trained.get(leaf.name, {}).values()
        ours = ' / '.join(map(str, ours)) or 'not trained yet'
        other = published.get(leaf.name)
        theirs = f'{other["result"]}, {other["source"]}' if other else ''
        groups.setdefault(title, []).append(
            f'| [{leaf.name}]({leaf.name}.py) | {gpus} x {per_gpu} '
            f'| {length} {unit.lower()} | {ours} | {theirs} |'
        )
    head = '| config | GPUs x images | length | ours | published by others |'
    rule = '|---|---|---|---|---|'
    return '\n\n'.join(
        '\n'.join([f'### {title}', '', head, rule, *lines])
        for title, lines in groups.items()
    )


def read(name: str) -> dict:
    """Return the content of a file in configs/."""
    return yaml.safe_load((ROOT / 'configs' / name).read_text())


def list_leafs(
    folder: str, papers: Papers, models: dict[str, list[str]]
) -> list[Leaf]:
    """Return the configs of a folder, whose models and recipes exist."""
    leafs = []
    for model, recipes in models.items():
        architecture, *_, norms = model.split('_')
        where, metrics = ARCHITECTURES[architecture]
        # A folder has a collection per norm, or one of its own name.
        norm = norms.split('-')[0]
        collection = norm if norm in papers else Path(folder).name
        for recipe in recipes:
            name = f'{model}_{recipe}'
            bases = (
                f'{folder}/_base_/{model}.py',
                f'configs/_base_/{where}/{recipe}.py',
            )
            for base in bases:
                if not (ROOT / base).is_file():
                    sys.exit(f'configs/zoo.yml: {name} needs {base}; write it')
            leafs.append(Leaf(name, folder, *bases, collection, metrics))
    return leafs


def make_files(trained: Results) -> dict[str, str]:
    """Return the text of every file that this command writes, by its path."""
    published = read('published.yml')
    files: dict[str, str] = {}
    names: set[str] = set()
    for key, content in read('zoo.yml').items():
        folder = f'configs/{key}'
        papers = content['papers']
        leafs = list_leafs(folder, papers, content['models'])
        if unknown := {leaf.collection for leaf in leafs} - papers.keys():
            sys.exit(
                f'configs/zoo.yml: {key} has no paper for '
                f'{", ".join(sorted(unknown))}; add its title and its URL'
            )
        names |= {leaf.name for leaf in leafs}
        files |= {leaf.path: make_leaf(leaf) for leaf in leafs}
        rows = [make_row(leaf, trained.get(leaf.name, {})) for leaf in leafs]
        meta = make_metafile(folder, papers, rows)
        files[f'{folder}/metafile.yml'] = meta
        page = f'{folder}/README.md'
        text = make_tables(leafs, rows, published, trained)
        files[page] = replace_marked((ROOT / page).read_text(), 'zoo', text)
    if unknown := (published.keys() | trained.keys()) - names:
        sys.exit(
            f'configs/zoo.yml does not list {", ".join(sorted(unknown))}, but '
            'published.yml or trained.yml has a result of it'
        )
    imports = [name for name in files if name.endswith('metafile.yml')]
    files['model-index.yml'] = yaml.safe_dump({'Import': imports})
    return files


def find_unlisted(files: dict[str, str]) -> list[str]:
    """Return the configs in folders of the zoo that zoo.yml does not list."""
    metafiles = [name for name in files if name.endswith('metafile.yml')]
    paths = {
        path.relative_to(ROOT).as_posix()
        for metafile in metafiles
        for path in (ROOT / metafile).parent.glob('*.py')
    }
    return sorted(paths - files.keys())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing')
    check = parser.parse_args().check
    files = make_files(read('trained.yml'))
    stale = [
        name
        for name, text in files.items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text() != text
    ]
    if stale and check:
        sys.exit(
            'configs/zoo.yml and the recipes ask for other text in '
            f'{", ".join(stale)}; run python -m tools.dev.write_zoo'
        )
    for name in stale:
        (ROOT / name).write_text(files[name])
        print(f'wrote {name}')
    if unlisted := find_unlisted(files):
        sys.exit(
            f'configs/zoo.yml does not list {", ".join(unlisted)}; add the '
            'config there or delete the file'
        )


if __name__ == '__main__':
    main()
