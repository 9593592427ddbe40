# Copyright (c) mmnorm contributors. All rights reserved.
"""One command turns the records of trainings into plots and a report."""

import csv
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.analysis.trainings import SN, write_run, write_training
from tests.paths import CONFIG

TOOL = 'analysis_tools/analyze_training.py'
SHARES = dict.fromkeys(SN, 1 / 3)
CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')
FLAGS = (
    *('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic'),
    *('--no-first-run', '--disable-background-networking'),
    *('--disable-component-update', '--disable-sync'),
)
# Unfolds the page, and writes into its title what it needs and has.
MEASURE = """<script>
onload = () => {
  document.querySelectorAll('details').forEach((each) => (each.open = true));
  const images = [...document.images].filter((each) => each.naturalWidth);
  const needed = document.documentElement.scrollWidth;
  document.title = `${needed} ${innerWidth} ${images.length}`;
};
</script>"""


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text = ''
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ('meta', 'img'):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attrs for found, attrs in self.tags if found == tag]


@pytest.fixture(scope='module')
def work_dirs(tmp_path_factory) -> list[Path]:
    """Return two trainings, the second one with a config and SN."""
    folder = tmp_path_factory.mktemp('trainings')
    name = '<b>gn & mask-rcnn_r50_fpn_gn-all_8xb2-2x_coco'
    first = write_training(folder / name, 'gn')
    second = write_training(folder / 'sn', gap_mean=0.5, **SHARES)
    (config,) = second.glob('*/vis_data/config.py')
    config.write_text(
        f"_base_ = '{CONFIG}'\nmodel = dict(backbone=dict(norm_eval=True))\n"
    )
    return [first, second]


@pytest.fixture(scope='module')
def report(tool, work_dirs) -> Path:
    out = work_dirs[0].parent
    arguments = ('--out', out / 'out', '--html', out / 'report.html')
    done = tool(TOOL, *work_dirs, *arguments)
    assert done.returncode == 0, done.stderr
    # A report, and not the log of mmengine.
    assert done.stdout.startswith('Each number is a mean over the layers')
    return out / 'report.html'


def test_plots_and_tables(succeeds, work_dirs):
    text = succeeds(TOOL, *work_dirs)
    out = work_dirs[0] / 'norm_stats'
    assert f'plots and tables are in {out}' in text
    assert '6 % of the channels of roi_head.mask_head are dead with' in text
    pictures = ['bn_mean', 'bn_std', 'dead', 'gap_mean', 'shares_sn']
    assert sorted(path.stem for path in out.glob('*.png')) == pictures
    assert sorted(path.stem for path in out.glob('*.csv')) == pictures
    assert (out / 'findings.txt').read_text().strip() in text
    with (out / 'dead.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 6 * 6
    assert rows[-1] == {
        'run': 'sn',
        'step': '104',
        'stage': 'roi_head.mask_head',
        'layer': 'roi_head.mask_head.convs.0.norm',
        'dead': '0.104',
    }
    with (out / 'shares_sn.csv').open() as file:
        assert set(SN) < set(next(csv.reader(file)))


def test_trainings_in_folders_of_the_same_name(succeeds, tmp_path):
    paths = [write_training(tmp_path / name / 'run') for name in 'ab']
    text = succeeds(TOOL, *paths, '--out', tmp_path)
    assert f'with {paths[0]}, 6 % with {paths[1]}.' in text


def test_report_stands_alone(report):
    text = report.read_text()
    assert not re.search(
        r'(?:https?:)?//\w', re.sub(r'base64,[^"]+', '', text)
    )
    page = Page(text)
    assert page.open == []
    assert not page.all('script')
    assert not page.all('link')
    images = page.all('img')
    assert len(images) == 4 * 3 + 2 + 8
    for image in images:
        assert image['src'].startswith('data:image/png;base64,')
        assert image['alt']
    (viewport,) = (m for m in page.all('meta') if m.get('name') == 'viewport')
    assert viewport['content'] == 'width=device-width, initial-scale=1'
    assert page.all('html') == [{'lang': 'en'}]


def test_what_a_report_says(report):
    page = Page(report.read_text())
    text = ' '.join(page.text.split())
    assert not page.all('b')
    assert '<b>gn & mask-rcnn_r50_fpn_gn-all_8xb2-2x_coco, sn' in text
    assert 'of the channels of roi_head.mask_head are dead with' in text
    # The first training has a config without a model.
    assert 'The norms are not known: the config has no model.' in text
    sentence = '20 BCN of backbone stay in evaluation during training, and'
    assert sentence in text
    assert 'Change model.backbone.norm_eval=False.' in text
    assert '20 BCN' in text
    assert 'Shares of IN, LN and BN: sn' in text


def test_bad_work_dirs(command, tmp_path):
    def sentence(*args: object) -> str:
        ended = command(TOOL, *args)
        assert ended.status == 1
        start, sentence = ended.err.strip().split(': error: ')
        assert start == 'analyze_training.py'
        return sentence

    write_run(tmp_path / 'plain', [])
    good = write_training(tmp_path / 'good')
    assert sentence(tmp_path / 'no') == (
        f"work dir '{tmp_path / 'no'}' is not a folder"
    )
    assert 'has no records of norms' in sentence(good, tmp_path / 'plain')
    out = tmp_path / 'file'
    out.write_text('')
    assert sentence(good, '--out', out) == (
        f"'{out}' cannot be written: File exists"
    )
    html = tmp_path / 'absent' / 'report.html'
    assert sentence(good, '--html', html) == (
        f"'{html}' cannot be written: No such file or directory"
    )


@pytest.mark.skipif(CHROMIUM is None, reason='no Chromium is installed')
@pytest.mark.parametrize('size', [(390, 844), (1280, 900)])
def test_report_fits_a_screen(report, tmp_path, size):
    # A window cannot be as narrow as a phone, but a frame can.
    width, height = size
    page = tmp_path / 'page.html'
    page.write_text(report.read_text().replace('</body>', f'{MEASURE}</body>'))
    frame = tmp_path / 'frame.html'
    frame.write_text(
        f'<iframe src="page.html" width="{width}" height="{height}"></iframe>'
        '<script>onload = () => document.title = frames[0].document.title'
        '</script>'
    )
    done = subprocess.run(
        [
            CHROMIUM,
            *FLAGS,
            f'--user-data-dir={tmp_path / "profile"}',
            '--allow-file-access-from-files',
            '--virtual-time-budget=5000',
            '--dump-dom',
            frame.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    title = re.search('<title>(.*?)</title>', done.stdout)
    assert title, done.stderr
    needed, shown, images = map(int, title[1].split())
    assert needed <= shown
    assert shown == width
    assert images == 22
