"""Our docstrings as reStructuredText.

They are plain text: paragraphs, `code` in single backticks, lines `name: what it means` for arguments and members, with
what goes on indented by four, examples indented after a colon and an empty line, and now and then a Markdown table.
"""

from __future__ import annotations

import re

_ARGUMENTS = re.compile(r"((?:\*{0,2}[a-z]\w*|[A-Z][A-Z0-9_]*)(?:, (?:\*{0,2}[a-z]\w*|[A-Z][A-Z0-9_]*))*): (.*)")
_CODE = re.compile(r"`([^`]+)`")
_CALL = r"(?:[A-Za-z]\w*\.)*[A-Za-z_]\w*\(\)"
_CLASS = r"(?:[A-Z][a-z0-9]+){2,}\w*(?:\.\w+)*"
_CALL_OR_CLASS = re.compile(rf"(?<![\w.`\"])({_CALL}|{_CLASS})(?!\w)")
_MARKUP = re.compile(r"([\\*|_`])")


def as_restructured_text(lines: list[str]) -> list[str]:
    """The docstring `lines` in reStructuredText; the first paragraph is never a list of arguments."""
    text: list[str] = []
    for number, block in enumerate(_blocks(lines)):
        if block[0].startswith("|"):
            text += _table(block)
        elif all(line.startswith("    ") for line in block if line) and number:
            text += ["::", "", *block]
        elif number:
            text += _paragraph_or_arguments(block)
        else:
            text.append(_inline(" ".join(line.strip() for line in block)))
        text.append("")
    return text


def _blocks(lines: list[str]) -> list[list[str]]:
    """Paragraphs; an indented block goes on over empty lines."""
    blocks: list[list[str]] = []
    is_new = True
    for line in lines:
        if not line.strip():
            is_new = True
        elif is_new and not (blocks and line.startswith("    ") and blocks[-1][-1].startswith("    ")):
            blocks.append([line])
            is_new = False
        else:
            blocks[-1] += [""] * is_new + [line]
            is_new = False
    return blocks


def _paragraph_or_arguments(block: list[str]) -> list[str]:
    text: list[str] = []
    prose: list[str] = []
    position = 0
    while position < len(block):
        found = _ARGUMENTS.fullmatch(block[position])
        position += 1
        if found is None:
            prose.append(block[position - 1].strip())
            continue
        if prose:
            text += [_inline(" ".join(prose)), ""]
            prose = []
        meaning = [found[2]]
        while position < len(block) and block[position].startswith("    "):
            meaning.append(block[position].strip())
            position += 1
        names = ", ".join(f"``{name}``" for name in found[1].split(", "))
        text += [names, f"    {_inline(' '.join(meaning))}", ""]
    if prose:
        text.append(_inline(" ".join(prose)))
    return text


def _table(block: list[str]) -> list[str]:
    text = [".. list-table::", "    :header-rows: 1", ""]
    for row in block:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if set("".join(cells)) <= set("-: "):
            continue
        marks = ["    * - ", *["      - "] * (len(cells) - 1)]
        text += [f"{mark}{_inline(cell)}".rstrip() for mark, cell in zip(marks, cells, strict=True)]
    return text


def _inline(text: str) -> str:
    pieces = _CODE.split(text)
    return "".join(f"``{piece}``" if number % 2 else _prose(piece) for number, piece in enumerate(pieces))


def _prose(text: str) -> str:
    """Escaped, and calls and names of classes as code, which become links where they are public."""
    pieces = _CALL_OR_CLASS.split(text)
    return "".join(_literal(piece) if number % 2 else _escaped(piece) for number, piece in enumerate(pieces))


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text)


def _literal(code: str) -> str:
    return f"\\ ``{code}``\\ "
