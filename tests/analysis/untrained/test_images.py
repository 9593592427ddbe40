# Copyright (c) mmnorm contributors. All rights reserved.
import cv2
import numpy as np
import pytest
import torch

from mmnorm.analysis.untrained.images import photographs, random_crops


def test_crops_of_the_photographs_of_scikit_learn():
    crops = random_crops(photographs(), 8, 24, seed=0)
    assert crops.shape == (8, 3, 24, 24)
    assert -1 <= crops.min() < crops.max() <= 1
    assert torch.equal(crops, random_crops(photographs(), 8, 24, seed=0))
    assert not torch.equal(crops, random_crops(photographs(), 8, 24, seed=1))


def test_a_folder_of_images(tmp_path):
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 0] = 255  # blue, in OpenCV
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    (tmp_path / 'notes.txt').write_text('no image')
    (found,) = photographs(tmp_path)
    crops = random_crops([found], 2, 8, seed=0)
    mean = crops[0].mean((1, 2)).tolist()
    assert mean == pytest.approx([-1, -1, 1])


def test_a_folder_without_images(tmp_path):
    with pytest.raises(ValueError, match='has no image'):
        photographs(tmp_path)
