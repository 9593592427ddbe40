# Copyright (c) mmnorm contributors. All rights reserved.
"""Write the text of a config that inherits another."""

import re
from typing import NamedTuple, TypeAlias

WIDTH = 79


class Comprehension(NamedTuple):
    """A list that changes the same keywords in each member of another list.

    Attributes:
        keywords: The keywords.
        name: Name of the other list.
    """

    keywords: 'dict[str, Source]'
    name: str


# An expression, the keywords of a dict(), or the members of a list.
Source: TypeAlias = 'str | dict[str, Source] | list[Source] | Comprehension'
Statement: TypeAlias = tuple[str, str, Source]  # comment, name, value


def config_text(base: str, statements: list[Statement]) -> str:
    """Return the text of a config.

    Args:
        base: The config to inherit.
        statements: The statements, in order.

    Example::

        >>> print(config_text('a.py', [('', 'optim', {'lr': '0.1'})]), end='')
        _base_ = 'a.py'
        <BLANKLINE>
        optim = dict(lr=0.1)
    """
    line = f'_base_ = {base!r}'
    if len(line) > WIDTH:  # the line breaks behind slashes
        pieces = re.findall(r'.{1,70}/|[^/]+/|[^/]+$', base)
        rows = ''.join(f'    {piece!r}\n' for piece in pieces)
        line = f'_base_ = (\n{rows})'
    lines = [line, '']
    if '_delete_' in str(statements):
        lines.append('# _delete_: nothing of the norm of the base stays.')
    for comment, name, source in statements:
        if comment:
            lines.append(f'# {comment}')
        lines.append(f'{name} = {layout(source, WIDTH - 3 - len(name))}')
    return '\n'.join(lines) + '\n'


def layout(source: Source, room: float, indent: str = '') -> str:
    """Return source as text, on one line or with one line per item.

    Args:
        source: The source.
        room: Characters that are left in the first line.
        indent: Spaces before the last line.
    """
    if isinstance(source, str):
        return source
    inner = indent + '    '
    if isinstance(source, Comprehension):
        member = {'': 'head', **source.keywords}
        text = layout(member, WIDTH - len(inner), inner)
        loop = f'for head in {source.name}'
        return f'[\n{inner}{text}\n{inner}{loop}\n{indent}]'
    if isinstance(source, dict):
        start, end = 'dict(', ')'
        items = [(f'{k}=' if k else '', v) for k, v in source.items()]
    else:
        start, end = '[', ']'
        items = [('', v) for v in source]
    line = ', '.join(k + layout(v, float('inf'), inner) for k, v in items)
    if len(start + line + end) <= room and '\n' not in line:
        return start + line + end
    lines = (
        f'{inner}{k}{layout(v, WIDTH - 1 - len(inner) - len(k), inner)},\n'
        for k, v in items
    )
    return f'{start}\n{"".join(lines)}{indent}{end}'
