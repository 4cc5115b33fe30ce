"""Extension of Griffe: the comment behind a field of a dataclass is its description on the API page."""

from __future__ import annotations

import ast
import re
from typing import Any

from griffe import Attribute, Docstring, Extension

COMMENT = re.compile(r"  # (?!noqa|type:)(.*)$")


class FieldComments(Extension):
    """Turns `lr: float = 0.1  # of the peak` into a field with the description "of the peak"."""

    def on_attribute_instance(self, *, node: ast.AST, attr: Attribute, agent: Any, **_: Any) -> None:
        """Describe an attribute that has no docstring by the comment on its last line."""
        del agent
        if attr.docstring is not None or attr.endlineno is None:
            return
        if comment := COMMENT.search(attr.source.splitlines()[-1] if attr.source else ""):
            attr.docstring = Docstring(comment[1], lineno=attr.endlineno, endlineno=attr.endlineno, parent=attr)
