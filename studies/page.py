# Copyright (c) mmnorm contributors. All rights reserved.
"""Text that a tool writes into a page that is otherwise written by hand."""


def replace_marked(page: str, name: str, text: str) -> str:
    """The page with another text between its two markers of that name."""
    begin, end = f'<!-- {name} begin -->', f'<!-- {name} end -->'
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    return f'{before}{begin}\n\n{text}\n\n{end}{after}'
