# Copyright (c) mmnorm contributors. All rights reserved.
"""Check what a ``norm_cfg`` says, where it is set, in one sentence each."""

from numbers import Integral, Real

MAX_GROUPS = 32


def check_common(num_features: int, eps: float, **flags: bool) -> None:
    """Check the arguments that every norm takes, and its switches.

    Args:
        num_features: Number of channels.
        eps: Added to a variance.
        flags: Arguments that are True or False, by name.

    Raises:
        ValueError: If one of them is not of its kind.
    """
    if not _is_whole(num_features, least=1):
        _refuse('num_features', num_features, 'a positive whole number')
    check_eps(eps)
    for name, value in flags.items():
        check_switch(name, value)


def check_switch(name: str, value: bool, cfg: str = 'norm_cfg') -> None:
    """Check an argument that is True or False.

    Args:
        name: Name of the argument.
        value: What it is set to.
        cfg: The key of the config that holds the argument.

    Raises:
        ValueError: If it is neither.
    """
    if not isinstance(value, bool):
        _refuse(name, value, 'True or False', cfg)


def check_eps(eps: float, cfg: str = 'norm_cfg') -> None:
    """Check what is added to a variance or a standard deviation.

    Args:
        eps: A number.
        cfg: The key of the config that holds the argument.

    Raises:
        ValueError: If it is no finite number of 0 or more.
    """
    if not _is_number(eps) or not 0 <= eps < float('inf'):
        _refuse('eps', eps, 'a number of 0 or more, such as 1e-5', cfg)


def check_momentum(momentum: float | None) -> None:
    """Check the share of a new batch in the running statistics.

    Args:
        momentum: A number from 0 to 1, or None.

    Raises:
        ValueError: If it is neither.
    """
    if momentum is None or (_is_number(momentum) and 0 <= momentum <= 1):
        return
    _refuse(
        'momentum',
        momentum,
        'a number from 0 to 1, the share of the new batch, or to None for '
        'the mean of all batches so far',
    )


def check_count(name: str, value: int | None, none_means: str) -> None:
    """Check an argument that is a number of processes or of images.

    Args:
        name: Name of the argument.
        value: A positive whole number, or None.
        none_means: What None stands for.

    Raises:
        ValueError: If it is neither.
    """
    if value is not None and not _is_whole(value, least=1):
        wanted = f'a positive whole number, or to None for {none_means}'
        _refuse(name, value, wanted)


def check_choice(
    name: str, value: object, choices: tuple[str | None, ...]
) -> None:
    """Check an argument that is one of a few words.

    Args:
        name: Name of the argument.
        value: What it is set to.
        choices: The words.

    Raises:
        ValueError: If it is none of them.
    """
    if value not in choices:
        _refuse(name, value, ' or '.join(map(repr, choices)))


def check_share(name: str, value: float, cfg: str = 'norm_cfg') -> None:
    """Check an argument that is a share.

    Args:
        name: Name of the argument.
        value: A number from 0 to 1.
        cfg: The key of the config that holds the argument.

    Raises:
        ValueError: If it is none.
    """
    if not _is_number(value) or not 0 <= value <= 1:
        _refuse(name, value, 'a number from 0 to 1', cfg)


def check_least(
    name: str, value: float, least: float, cfg: str = 'norm_cfg'
) -> None:
    """Check an argument that is a finite number with a lower limit.

    Args:
        name: Name of the argument.
        value: The number.
        least: The lower limit.
        cfg: The key of the config that holds the argument.

    Raises:
        ValueError: If it is no such number.
    """
    if not _is_number(value) or not least <= value < float('inf'):
        _refuse(name, value, f'a number of {least} or more', cfg)


def check_whole(name: str, value: int, least: int) -> None:
    """Check an argument that is a whole number with a lower limit.

    Args:
        name: Name of the argument.
        value: The number.
        least: The lower limit.

    Raises:
        ValueError: If it is no such number.
    """
    if not _is_whole(value, least):
        _refuse(name, value, f'a whole number of {least} or more')


def resolve_num_groups(num_groups: int | str, num_features: int) -> int:
    """Check ``num_groups``, or choose it for ``'auto'``.

    ``'auto'`` is the largest divisor of ``num_features`` not above 32, so
    it is 32 wherever 32 fits, the number of both papers.

    Args:
        num_groups: A divisor of ``num_features`` or ``'auto'``.
        num_features: Number of channels.

    Raises:
        ValueError: If ``num_groups`` is neither.

    Example::

        >>> resolve_num_groups('auto', 48)
        24
    """
    most = min(MAX_GROUPS, num_features)
    auto = max(g for g in range(1, most + 1) if num_features % g == 0)
    if num_groups == 'auto':
        return auto
    if not _is_whole(num_groups, least=1):
        _refuse('num_groups', num_groups, "a positive whole number or 'auto'")
    if num_features % num_groups:
        raise ValueError(
            f'norm_cfg.num_groups={num_groups} does not divide the '
            f'{num_features} channels of the layer: set it to a divisor of '
            f"{num_features}, or to 'auto' (here {auto})"
        )
    return int(num_groups)


def _is_whole(value: object, least: int) -> bool:
    is_bool = isinstance(value, bool)
    return isinstance(value, Integral) and not is_bool and value >= least


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _refuse(
    name: str, value: object, wanted: str, cfg: str = 'norm_cfg'
) -> None:
    raise ValueError(f'{cfg}.{name}={value!r}: set it to {wanted}')
