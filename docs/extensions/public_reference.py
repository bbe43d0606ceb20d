"""The Sphinx side of the reference: the directive `public-names`, docstrings in our style, and links from code.

* `public-names` documents a part of a public module (public_names.py).
* A name in `code` that is public becomes a link to its place in the reference, in pages and in docstrings alike.
* Types that are not ours, and those of ours that are not public, stay plain text in signatures.
* At the end what the reference describes is compared with what is public; a difference is a warning.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import pkgutil
import re
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from extensions.house_docstrings import as_restructured_text
from extensions.public_names import ROOT, Section, all_public_names, public_modules, public_names, reference_sections
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)

#: What has no underscore because another floor of the house calls it, and is none of the users' business.
INNER_MEMBERS = {
    "proactor_trio.CancelScope": "close expire is_over cancel_because reason_or_unknown adopt exited parent",
    "proactor_trio.Event": "withdraw",
    "proactor_trio.MemoryReceiveChannel": "withdraw",
    "proactor_trio.MemorySendChannel": "withdraw",
    "proactor_trio.Nursery": "child_failed child_finished check_closed body_finished",
    "proactor_trio.SocketStream": "from_accepted lend lent_resource",
    "proactor_trio.lowlevel.ParkingLot": "admit withdraw",
    "proactor_trio.lowlevel.Task": "scopes scopes_up_to move update_cancel_pending pending_exception"
    " deliver_cancellation resume interrupt expire is_over operation_completed",
    "proactor_trio.AsyncFile": "lend lent_resource",
    "proactor_trio.AsyncBufferedFile": "lend lent_resource",
    "proactor_trio.AsyncTextFile": "lend lent_resource",
    "proactor_trio.SSLStream": "lend lent_resource",
    "proactor_trio.lowlevel.FdStream": "lend lent_resource",
    "proactor_trio.socket.SocketType": "lend lent_resource",
    "proactor_trio.graph.Graph": "enter execution leave",
    "proactor_trio.graph.Group": "begin end expire is_over",
    "proactor_trio.graph.Node": "asked become belongs_to deadline early_result end group has_ended host_step loan"
    " missing must_be_whole number placeholders predecessors rewind segment source successors timeout watched withdraw",
    "proactor_trio.proactor.Proactor": "submit_batch submit_chain submit_prepared prepare register cancel_up_to"
    " cancel_chain begin_behind deliver finish_from_anywhere has_message_callback message_handle links_in_kernel"
    " link_obstacle has_native has_native_multishot progress_callbacks make_direct end_hosting uncount close_within"
    " end_now end_everything own check_owner abandon submit_one is_inherited",
}

#: The same of every operation.
INNER_MEMBERS_OF_OPERATIONS = (
    "kind can_be_multishot can_be_linked can_be_refused is_close has_inner_steps table_place resource lender"
    " lent given_back is_borrowing leads_in_kernel is_asked_whole ask_whole"
)

NOTHING = "no names"

_NAME = re.compile(r"(?:proactor_trio\.)?((?:\w+\.)*\w+)(\(\))?")


class PublicNames(SphinxDirective):
    """The documentation of a part of a public module."""

    required_arguments = 1
    has_content = False
    option_spec = {  # noqa: RUF012
        "from": directives.unchanged,
        "names": directives.unchanged,
        "others": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        section = self._section()
        if not section.names:
            return [nodes.comment("", NOTHING)]
        text = ["```{eval-rst}"]
        for name in sorted(section.names, key=str.lower):
            text += _directive_for(section.module, name)
        text.append("```")
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(StringList(text, source=self.env.docname), 0, node)
        return node.children

    def _section(self) -> Section:
        folder = Path(self.env.srcdir, "reference")
        page = self.env.docname.removeprefix("reference/")
        number = self.env.temp_data["public-names"] = self.env.temp_data.get("public-names", -1) + 1
        self.env.note_dependency(str(Path(__file__).with_name("public_names.py")))
        return [section for section in reference_sections(folder) if section.page == page][number]


def _directive_for(module: str, name: str) -> list[str]:
    value = getattr(importlib.import_module(module), name)
    first = _public_by_identity().get(id(value), "")
    if first != f"{module}.{name}" and (inspect.isclass(value) or inspect.isroutine(value)):
        return [
            f".. py:{_kind(value)}:: {module}.{name}",
            "",
            f"   The same as ``{first.removeprefix(f'{ROOT}.')}``.",
            "",
        ]
    if not inspect.isclass(value):
        return _directive_for_function(module, name) if inspect.isroutine(value) else _data(module, name, value)
    text = [f".. auto{_kind(value)}:: {module}.{name}", "   :members:", "   :show-inheritance:"]
    text.append(f"   :inherited-members: {', '.join(_documented_elsewhere(value))}")
    if issubclass(value, enum.Enum) or dataclasses.is_dataclass(value):
        text.append("   :undoc-members:")
    inner = INNER_MEMBERS.get(f"{module}.{name}", "").split()
    if hasattr(value, "can_be_multishot"):
        inner += INNER_MEMBERS_OF_OPERATIONS.split()
    text.append(f"   :exclude-members: {', '.join(inner)}")
    return [*text, ""]


def _kind(value: object) -> str:
    if not inspect.isclass(value):
        return "function"
    return "exception" if issubclass(value, BaseException) else "class"


def _directive_for_function(module: str, name: str) -> list[str]:
    return [f".. autofunction:: {module}.{name}", ""]


def _data(module: str, name: str, value: object) -> list[str]:
    """A constant or the alias of a type, with the comment that stands above its definition."""
    comment = _comment_on(name) or inspect.getdoc(type(value)) or ""
    text = [f".. py:data:: {name}", f"   :module: {module}", ""]
    return [*text, *(f"   {line}" for line in as_restructured_text(comment.splitlines())), ""]


@cache
def _comment_on(name: str) -> str | None:
    package = importlib.import_module(ROOT)
    for found in pkgutil.walk_packages(package.__path__, f"{ROOT}."):
        try:
            comments = ModuleAnalyzer.for_module(found.name).find_attr_docs()
        except PycodeError:  # compiled
            continue
        if ("", name) in comments:
            return "\n".join(comments["", name])
    return None


def _documented_elsewhere(kind: type) -> list[str]:
    """The bases whose members are not repeated: what is public has a place of its own, and the rest is Python's."""
    public = _public_by_identity()
    return [base.__name__ for base in kind.__mro__[1:] if id(base) in public or not base.__module__.startswith(ROOT)]


@cache
def _public_by_identity() -> dict[int, str]:
    found: dict[int, str] = {}
    for module in public_modules():
        for name in public_names(module):
            found.setdefault(id(getattr(importlib.import_module(module), name)), f"{module}.{name}")
    return found


def _process_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    if what != "module":
        lines[:] = as_restructured_text(lines)


def _process_bases(app: Sphinx, name: str, obj: type, options: object, bases: list[type]) -> None:
    """Private bases are left out, with their own bases in their place."""
    public = _public_by_identity()
    shown: list[type] = []
    for base in obj.__mro__[1:]:
        if id(base) in public or not base.__module__.startswith(ROOT):
            if not any(issubclass(other, base) for other in shown):
                shown.append(base)
    bases[:] = shown or [object]


def _resolve(app: Sphinx, env: BuildEnvironment, node: nodes.Element, content: nodes.Element) -> nodes.Node | None:
    """A type in a signature: one of ours by the name under which it is public, anything else that exists as text."""
    target = node.get("reftarget", "")
    value = _imported(target)
    if value is not None and (public := _public_by_identity().get(id(value))):
        return _link(app, node.get("refdoc", ""), public, content)
    if value is not None or not target.startswith(ROOT):
        return content
    return None


def _imported(target: str) -> Any:
    module, _, attribute = target.rpartition(".")
    if not module:
        return None
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        outer = _imported(module)
        return getattr(outer, attribute, None)


def _link(app: Sphinx, page: str, full_name: str, content: nodes.Node) -> nodes.Node | None:
    place = app.env.domains["py"].objects.get(full_name)  # type: ignore[attr-defined]
    if place is None:
        return None
    return make_refnode(app.builder, page, place.docname, place.node_id, content, full_name)


def _drop_empty_sections(app: Sphinx, doctree: nodes.document) -> None:
    """A heading over nothing goes; before Sphinx makes the table of contents."""
    for comment in list(doctree.findall(nodes.comment)):
        if comment.astext() == NOTHING:
            comment.parent.parent.remove(comment.parent)


def _name_in_full(app: Sphinx, doctree: nodes.document) -> None:
    """A bare name in a signature, where several modules have one, is that of the page's own module."""
    public = set(all_public_names())
    for reference in doctree.findall(addnodes.pending_xref):
        target = reference.get("reftarget", "")
        if reference.get("refdomain") == "py" and "." not in target:
            named = [f"{module}.{target}" for module in _modules_for(app.env.docname) if f"{module}.{target}" in public]
            reference["reftarget"] = named[0] if named else target


def _modules_for(page: str) -> list[str]:
    """The public modules in the order in which a name on a page is looked for: first that of the page."""
    place = f"{ROOT}.{page.removeprefix('reference/')}"
    return sorted(public_modules(), key=lambda module: module == ROOT or not f"{module}.".startswith(f"{place}."))


def _link_code(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """`code` that is a public name, or a member of one, becomes a link."""
    modules = _modules_for(page)
    for literal in list(doctree.findall(nodes.literal)):
        found = _NAME.fullmatch(literal.astext())
        if found is None or _is_within(literal, (nodes.reference, nodes.title, nodes.term)):
            continue
        name, is_call = found.groups()
        if not is_call and not name.split(".")[-1][:1].isupper() and "." not in name:
            continue
        for module in modules:
            linked = _link(app, page, f"{module}.{name}", literal.deepcopy())
            if linked is not None:
                literal.replace_self(linked)
                break


def _is_within(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    parent = node.parent
    while parent is not None:
        if isinstance(parent, kinds):
            return True
        parent = parent.parent
    return False


def _compare(app: Sphinx, env: BuildEnvironment) -> None:
    """None missing, none extra."""
    described = {
        name
        for name, place in env.domains["py"].objects.items()  # type: ignore[attr-defined]
        if place.objtype in ("class", "exception", "function", "data") and not place.aliased
    }
    public = set(all_public_names())
    for name in sorted(public - described):
        logger.warning("%s is public, and not in the reference", name)
    for name in sorted(described - public):
        logger.warning("%s is in the reference, and not public", name)


def setup(app: Sphinx) -> dict[str, bool]:
    """For Sphinx."""
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-process-docstring", _process_docstring)
    app.connect("autodoc-process-bases", _process_bases)
    app.connect("missing-reference", _resolve)
    app.connect("doctree-read", _drop_empty_sections, priority=1)
    app.connect("doctree-read", _name_in_full)
    app.connect("doctree-resolved", _link_code)
    app.connect("env-check-consistency", _compare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
