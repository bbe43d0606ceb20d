"""Which names are public, and on which page of the reference each of them stands.

A page of `docs/reference` has sections of the form

    ```{public-names} proactor_trio
    :from: files sync.lock
    :names: wrap_file
    ```

`from` names modules below `proactor_trio` in which things are defined, packages with all that they hold; `names` names
things one by one; `others` (without a value) stands for what no other section of that module has. So whatever comes
into an `__all__` is documented without being entered here. Knows nothing of Sphinx: the tests use it, too.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = "proactor_trio"

#: Public modules that the package itself does not name in its `__all__`.
FURTHER_MODULES = (
    f"{ROOT}.backends.contract",
    f"{ROOT}.integrations.asyncio_bridge",
    f"{ROOT}.integrations.trio_bridge",
)

#: Modules with constants of the system, which are not documented one by one.
MODULES_OF_CONSTANTS = (f"{ROOT}.socket",)

_SECTION = re.compile(r"^```\{public-names\} (\S+)\n((?::\w+:.*\n)*)```$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Section:
    """What one directive of the reference documents: `names` of `module`, in the order of its `__all__`."""

    page: str
    module: str
    names: tuple[str, ...]

    def full_names(self) -> list[str]:
        return [f"{self.module}.{name}" for name in self.names]


def public_modules() -> list[str]:
    """The full names of all public modules."""
    package = importlib.import_module(ROOT)
    below = [f"{ROOT}.{name}" for name in package.__all__ if isinstance(getattr(package, name), ModuleType)]
    return [ROOT, *below, *FURTHER_MODULES]


def public_names(module: str) -> list[str]:
    """The names of a public module that the reference documents; modules and constants of the system are left out."""
    found = importlib.import_module(module)
    return [name for name in found.__all__ if not _is_left_out(module, name, getattr(found, name))]


def _is_left_out(module: str, name: str, value: Any) -> bool:
    if isinstance(value, ModuleType):
        return True
    return module in MODULES_OF_CONSTANTS and name.isupper()


def all_public_names() -> list[str]:
    """Every name that has to be in the reference, in full."""
    return [f"{module}.{name}" for module in public_modules() for name in public_names(module)]


def reference_sections(folder: Path) -> list[Section]:
    """The sections of all pages in `folder`, in order."""
    written = []
    for page in sorted(folder.rglob("*.md")):
        for module, options in _SECTION.findall(page.read_text()):
            fields = dict(re.findall(r"^:(\w+):[ ]*(.*)$", options, re.MULTILINE))
            written.append((str(page.relative_to(folder).with_suffix("")), module, fields))
    named = [(module, _selected(module, fields)) for _page, module, fields in written]
    sections = []
    for (page, module, fields), (_module, names) in zip(written, named, strict=True):
        if "others" in fields:
            taken = {name for other, chosen in named if other == module for name in chosen}
            names = [name for name in public_names(module) if name not in taken]
        sections.append(Section(page, module, tuple(names)))
    return sections


def _selected(module: str, fields: dict[str, str]) -> list[str]:
    single = fields.get("names", "").split()
    places = tuple(f"{ROOT}.{place}" for place in fields.get("from", "").split())
    chosen = [name for name in public_names(module) if name not in single and _is_defined_in(module, name, places)]
    return chosen + single


def _is_defined_in(module: str, name: str, places: tuple[str, ...]) -> bool:
    defined = getattr(getattr(importlib.import_module(module), name), "__module__", None)
    return isinstance(defined, str) and any(f"{defined}.".startswith(f"{place}.") for place in places)
