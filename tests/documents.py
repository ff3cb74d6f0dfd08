"""The documents and their fenced blocks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[ ]*$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, its language and its text."""

    where: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            yield Block(f"{document.name}:{text.count(chr(10), 0, match.start()) + 1}", match[1], match[2])


def shell_lines(program: str) -> list[Any]:
    """The lines that call `program`, as test parameters; `python -m deeplab.X` counts as `deeplab X`.

    A sweep is marked slow, for each of its jobs is composed.
    """
    found = []
    for block in blocks():
        if block.language in ("bash", "sh", "console", ""):
            for line in block.text.replace("\\\n", " ").splitlines():
                line = re.sub(r"^(\S*python3?) -m deeplab\.", "deeplab ", line.strip().removeprefix("$ "))
                if re.match(rf"{program}\b", line):
                    slow = [pytest.mark.slow] if re.search(r" -m |\bsweep=", line) else []
                    found.append(pytest.param(line, id=f"{block.where} {line}", marks=slow))
    return found


def users_files() -> dict[str, str]:
    """YAML blocks with a path in a comment at their top: the files that a reader is told to write."""
    name = re.compile(r"(?:# @package \S+\n)?# (\S+\.yaml)\n")
    named = [(name.match(block.text), block) for block in blocks() if block.language == "yaml"]
    return {found[1]: block.text for found, block in named if found}
