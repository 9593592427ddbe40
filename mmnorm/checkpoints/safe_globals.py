# Copyright (c) mmnorm contributors. All rights reserved.
"""The names that a checkpoint of mmengine may ask for, besides tensors.

A checkpoint of mmengine 0.10 holds the history of its log: numpy arrays in a
``HistoryBuffer``. Each name it needs is listed here, and none of them can run
code.
"""

import pickle

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.utils import digit_version

# Since 2.6, torch.load unpickles only the names that it knows, and can be
# told more of them.
TORCH_IS_SAFE = digit_version(torch.__version__) >= digit_version('2.6')


def method_of_mmengine(owner: type, name: str) -> object:
    """Return a method that checkpoints hold, in place of ``getattr``.

    ``HistoryBuffer`` pickles its own methods as ``getattr(HistoryBuffer,
    name)``, and the scheduler ``OneCycleLR`` pickles its formula so. This
    function stands under the name of ``getattr``, but answers for these two
    classes only.

    Raises:
        UnpicklingError: If anything else is asked for.
    """
    known = {
        HistoryBuffer: vars(HistoryBuffer),
        OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
    }
    is_class = isinstance(owner, type)
    if not is_class or name not in known.get(owner, ()):
        owner = owner.__qualname__ if is_class else type(owner).__qualname__
        raise pickle.UnpicklingError(
            f'GLOBAL {owner}.{name} is in no checkpoint of mmengine: do not '
            'trust this file'
        )
    return getattr(owner, name)


def encode_latin1(text: str, encoding: str) -> bytes:
    """Return bytes that Python 3 wrote in the protocol of Python 2."""
    return text.encode('latin1')


NUMPY_GLOBALS = {
    '_codecs.encode': encode_latin1,
    'numpy.ndarray': np.ndarray,
    'numpy.dtype': np.dtype,
    # numpy 1 and 2 write the same functions under two names.
    **{
        f'numpy.{core}.multiarray.{function.__name__}': function
        for core in ('core', '_core')
        for function, *_ in (
            np.empty(0).__reduce__(),
            np.float64().__reduce__(),
        )
    },
}
MMENGINE_GLOBALS = NUMPY_GLOBALS | {
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
    'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler': (
        OneCycleParamScheduler
    ),
    'builtins.getattr': method_of_mmengine,
}
