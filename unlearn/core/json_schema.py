"""Check JSON against a JSON Schema, of which only the keywords are known that our schemas use."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from unlearn.core.terminal import escape_control

Schema = Mapping[str, Any]
MAX_SHOWN = 60  # characters of a wrong value in a message
TYPES: dict[str, tuple[type, ...]] = {  # exact types: true and false are no integers
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}
WORDS = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a finite number",
    "null": "null",
}


class SchemaCheck:
    """A schema, prepared once to check many values.

    Args:
        schema: uses `type`, `enum`, `minimum`, `maximum`, `required`, `properties`, `additionalProperties`, `items`,
            `minItems` and `maxItems`; other keywords are ignored. Infinities and NaN are no numbers.
    """

    def __init__(self, schema: Schema) -> None:
        names = schema.get("type", list(TYPES))
        self.names: list[str] = [names] if isinstance(names, str) else list(names)
        self.types = {kind for name in self.names for kind in TYPES[name]}
        self.allowed = schema.get("enum")
        self.least, self.most = (schema.get(key, end) for key, end in _NUMBERS.items())
        self.shortest, self.longest = (schema.get(key, end) for key, end in _LENGTHS.items())
        self.required = schema.get("required", ())
        self.properties = {name: SchemaCheck(inner) for name, inner in schema.get("properties", {}).items()}
        self.others, self.items = (
            SchemaCheck(schema[key]) if key in schema else None for key in ("additionalProperties", "items")
        )
        self.is_simple = not {dict, list} & self.types  # a value has no parts

    def find_faults(self, value: Any, key: str = "") -> Iterator[str]:
        """Yield a message for each part of plain JSON that is not as expected: `key: expected X, got Y`.

        Args:
            value: plain JSON.
            key: the dotted name of the value, for the messages.
        """
        if not self._accepts(value):
            yield f"{escape_control(key) or 'the file'}: expected {self._describe()}, got {_shorten(value)}"
        elif isinstance(value, dict):
            yield from self._find_faults_in_object(value, f"{key}." if key else "")
        elif isinstance(value, list) and self.items is not None:
            if self.items.is_simple and all(map(self.items._accepts, value)):
                return  # most of a report are lists of numbers
            for number, item in enumerate(value):
                yield from self.items.find_faults(item, f"{key}.{number}")

    def _find_faults_in_object(self, value: Mapping[str, Any], prefix: str) -> Iterator[str]:
        for name in self.required:
            if name not in value:
                yield f"{prefix}{name}: expected {self.properties[name]._describe()}, got nothing"
        for name, item in value.items():
            check = self.properties.get(name, self.others)
            if check is not None:
                yield from check.find_faults(item, prefix + name)

    def _accepts(self, value: Any) -> bool:
        """Whether the value is as expected, whatever its parts are."""
        kind = type(value)
        if kind not in self.types or (self.allowed is not None and value not in self.allowed):
            return False
        if kind is int or kind is float:
            return bool(self.least <= value <= self.most)  # false for NaN
        return kind is not list or bool(self.shortest <= len(value) <= self.longest)

    def _describe(self) -> str:
        if self.allowed is not None:
            values = ["null" if value is None else str(value) for value in self.allowed]
            return f"one of {', '.join(values)}" if len(values) > 1 else values[0]
        return " or ".join(map(self._describe_type, self.names))

    def _describe_type(self, name: str) -> str:
        if name == "array" and self.shortest:
            return f"a list of {self.shortest}" + (" or more" if self.longest > self.shortest else "")
        return WORDS[name]


_NUMBERS = {"minimum": -sys.float_info.max, "maximum": sys.float_info.max}
_LENGTHS = {"minItems": 0, "maxItems": sys.maxsize}


def _shorten(value: Any) -> str:
    if value and isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return escape_control(json.dumps(value, ensure_ascii=False, default=str)[:MAX_SHOWN])
