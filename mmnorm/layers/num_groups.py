# Copyright (c) mmnorm contributors. All rights reserved.
"""How many groups a layer of so many channels has."""

MOST_GROUPS = 32


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
    most = min(MOST_GROUPS, num_features)
    auto = max(g for g in range(1, most + 1) if num_features % g == 0)
    if num_groups == 'auto':
        return auto
    if not isinstance(num_groups, int) or num_groups < 1:
        raise ValueError(
            f'norm_cfg.num_groups={num_groups!r} is neither a positive whole '
            "number nor 'auto'"
        )
    if num_features % num_groups:
        raise ValueError(
            f'norm_cfg.num_groups={num_groups} does not divide the '
            f'{num_features} channels of the layer: set it to a divisor of '
            f"{num_features}, or to 'auto' (here {auto})"
        )
    return num_groups
