# Copyright (c) mmnorm contributors. All rights reserved.
"""Make the mini COCO, train Mask R-CNN with BCN, and draw the results.

All files of the demo are in work_dirs/demo.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint
from pycocotools.coco import COCO

import mmnorm  # noqa: F401  registers the layers
from studies.records import scalars

from .draw_instances import Instance, draw_rows

TOOLS = Path(__file__).parents[1]
CONFIG = 'configs/mini/mask-rcnn_r18_fpn_bcn-all_1xb1-3e_mini-coco.py'
WORK_DIR = Path('work_dirs/demo')
NUM_IMAGES = 5
MIN_SCORE = 0.3


def run(log: str, script: str, *args: str) -> None:
    """Run a tool: write its output to a log, print its training steps."""
    path = WORK_DIR / log
    command = [sys.executable, str(TOOLS / script), *args]
    with path.open('w') as file:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        for line in process.stdout:
            file.write(line)
            file.flush()
            step = re.search(r'Epoch\((\w+)\) *\[.*', line)
            if step:
                print(re.sub(r'  (base_lr|lr|data_time): \S+', '', step[0]))
    if process.wait() != 0:
        sys.exit(f'{script} failed; the reason is at the end of {path}')


def draw_curves(train: list[dict], val: list[dict], path: Path) -> None:
    """Draw the losses of the steps and the results of the epochs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    left.plot([r['step'] for r in train], [r['loss'] for r in train])
    left.set(xlabel='step', ylabel='loss', ylim=(0, None))
    for kind, label in (('bbox', 'box'), ('segm', 'mask')):
        for key, style in (('mAP', '-'), ('mAP_50', '--')):
            right.plot(
                [r['step'] for r in val],
                [r[f'coco/{kind}_{key}'] for r in val],
                style,
                marker='o',
                label=f'{label} {key.replace("mAP", "AP").replace("_", "")}',
            )
    right.set(xlabel='epoch', ylim=(0, 1), xticks=[r['step'] for r in val])
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def draw_pictures(
    cfg: Config, checkpoint: str, path: Path, labeled: bool = True
) -> None:
    """Draw validation images: the truth above, the predictions below.

    Args:
        cfg: Config of a detector.
        checkpoint: Its weights.
        path: The file to write.
        labeled: Whether each instance has the name of its class.
    """
    model = init_detector(cfg, checkpoint, device='cpu')
    dataset = cfg.val_dataloader.dataset
    root = Path(dataset.data_root)
    coco = COCO(root / dataset.ann_file)
    classes = model.dataset_meta['classes']
    # The data may have more classes than the model.
    labels = {coco.getCatIds(name)[0]: i for i, name in enumerate(classes)}
    known = dict(catIds=list(labels), iscrowd=0)
    shown = [i for i in coco.imgs if len(coco.getAnnIds(i, **known)) > 2]
    columns = []
    for image_id in shown[:NUM_IMAGES]:
        name = coco.imgs[image_id]['file_name']
        file = root / dataset.data_prefix.img / name
        truth = []
        for annotation in coco.loadAnns(coco.getAnnIds(image_id, **known)):
            label = labels[annotation['category_id']]
            mask = coco.annToMask(annotation) > 0
            truth.append(
                Instance(mask, label, classes[label] if labeled else '')
            )
        found = inference_detector(model, str(file)).pred_instances
        found = found[found.scores >= MIN_SCORE].numpy()
        predicted = [
            Instance(
                mask,
                label,
                f'{classes[label]} {score:.2f}' if labeled else '',
            )
            for mask, label, score in zip(
                found.masks, found.labels, found.scores, strict=True
            )
        ]
        columns.append((plt.imread(file), truth, predicted))
    draw_rows(columns).savefig(path, dpi=100)


def main() -> None:
    WORK_DIR.mkdir(parents=True, exist_ok=True)
    cfg = Config.fromfile(CONFIG)
    print('[1/4] the mini COCO, made of images that ship in scikit-learn')
    run('data.log', 'dataset_converters/make_mini_coco.py', cfg.data_root)
    print(f'[2/4] training {Path(CONFIG).stem}')
    run('train.log', 'train.py', CONFIG, '--work-dir', str(WORK_DIR))
    checkpoint = find_latest_checkpoint(str(WORK_DIR))
    records = scalars(WORK_DIR)
    train = [record for record in records if 'loss' in record]
    val = [record for record in records if 'coco/segm_mAP' in record]
    print(f'[3/4] testing {checkpoint}')
    test_dir = WORK_DIR / 'test'
    run('test.log', 'test.py', CONFIG, checkpoint, '--work-dir', str(test_dir))
    result = json.loads(max(test_dir.glob('*/*.json')).read_text())
    print(f'[4/4] pictures in {WORK_DIR}')
    draw_curves(train, val, WORK_DIR / 'curves.png')
    draw_pictures(cfg, checkpoint, WORK_DIR / 'pictures.png')

    seconds = np.median([r['time'] for r in train])
    print(f'\n{"":6}{"AP":>7}{"AP50":>7}     ({seconds:.2f} s a step)')
    for kind, label in (('bbox', 'box'), ('segm', 'mask')):
        ap, ap50 = (result[f'coco/{kind}_{k}'] for k in ('mAP', 'mAP_50'))
        print(f'{label:6}{ap:7.3f}{ap50:7.3f}')


if __name__ == '__main__':
    main()
