# Copyright (c) mmnorm contributors. All rights reserved.
"""Text that a command writes into a page; the rest is written by hand."""


def replace_marked(page: str, name: str, text: str) -> str:
    """Return the page with a new text between its markers of a name."""
    begin, end = f'<!-- {name} begin -->', f'<!-- {name} end -->'
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    return f'{before}{begin}\n\n{text}\n\n{end}{after}'
