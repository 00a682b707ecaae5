"""Schemas of the kinds that public JSON-schema test suites hold, each bounding the length of its texts.

A small model can fill any of them within a few dozen tokens.
"""

from typing import Any

SHORT = {"type": "string", "maxLength": 8}
SMALL = {"type": "integer", "minimum": 0, "maximum": 99}
WORDS = {"enum": ["red", "green", "blue"]}


def closed(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    """An object with these properties and no other."""
    needed = list(required or properties)
    return {
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": False,
        **more,
    }


def listed(items: Any, least: int = 0, most: int = 3) -> dict[str, Any]:
    """A list of a few."""
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


PERSON = closed({"name": SHORT, "age": SMALL})
NODE = closed({"value": SMALL, "next": {"anyOf": [{"type": "null"}, {"const": 0}]}})

SCHEMAS: dict[str, Any] = {
    # types
    "null": {"type": "null"},
    "boolean": {"type": "boolean"},
    "integer": SMALL,
    "number": {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.25},
    "string": SHORT,
    "several types": {"type": ["boolean", "null"]},
    "type list in a property": closed({"a": {"type": ["boolean", "null"]}}),
    # numbers
    "exclusive bounds": {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 6},
    "negative range": {"type": "integer", "minimum": -5, "maximum": -1},
    "multiples": {"type": "integer", "minimum": 0, "maximum": 50, "multipleOf": 5},
    "one number": {"type": "integer", "minimum": 7, "maximum": 7},
    # strings
    "least and most characters": {"type": "string", "minLength": 2, "maxLength": 4},
    "no characters": {"type": "string", "maxLength": 0},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{2}$"},
    "pattern without anchors": {"type": "string", "pattern": "b", "maxLength": 5},
    "pattern that explodes elsewhere": {"type": "string", "pattern": "^(a+)+$", "maxLength": 6},
    "digits": {"type": "string", "pattern": r"^\d{3}$"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time", "maxLength": 20},
    "uuid": {"type": "string", "format": "uuid"},
    "ipv4": {"type": "string", "format": "ipv4"},
    # values
    "const": {"const": {"a": [1, "x", None]}},
    "const of a string with quotes": {"const": 'say "no"\n'},
    "enum of strings": WORDS,
    "enum of everything": {"enum": [1, "two", None, True, [3], {"four": 4}]},
    "enum beyond latin": {"enum": ["été", "Ω", "日本"]},
    # arrays
    "array": listed(SMALL),
    "array of a length": listed(WORDS, 2, 2),
    "array of arrays": listed(listed({"type": "boolean"}, 1, 2), 1, 2),
    "tuple": {"type": "array", "prefixItems": [SMALL, SHORT], "items": False, "minItems": 2},
    "tuple and rest": {"type": "array", "prefixItems": [WORDS], "items": SMALL, "minItems": 1, "maxItems": 3},
    "array of objects": listed(PERSON, 1, 2),
    "empty array": {"type": "array", "maxItems": 0},
    # objects
    "object": PERSON,
    "optional properties": closed({"a": SMALL, "b": WORDS, "c": {"type": "null"}}, "b"),
    "no properties": {"type": "object", "additionalProperties": False},
    "nested": closed({"person": PERSON, "tags": listed(WORDS, 1, 2)}),
    "names that need care": closed({'a"b': SMALL, "c d": SMALL, "é": SMALL}),
    "pattern properties": {
        "type": "object",
        "properties": {"id": SMALL},
        "patternProperties": {"^x_[a-z]{1,3}$": {"type": "boolean"}},
        "required": ["id"],
        "additionalProperties": False,
        "maxProperties": 1,
    },
    "typed other properties": {"type": "object", "properties": {"k": WORDS}, "required": ["k"], "maxProperties": 1},
    # combinations
    "anyOf": {"anyOf": [{"type": "null"}, SMALL]},
    "anyOf objects": {"anyOf": [closed({"a": SMALL}), closed({"b": WORDS})]},
    "oneOf told apart by a constant": {
        "oneOf": [
            closed({"kind": {"const": "dog"}, "barks": {"type": "boolean"}}),
            closed({"kind": {"const": "cat"}, "lives": SMALL}),
        ]
    },
    "allOf": {"allOf": [{"type": "integer", "minimum": 5}, {"maximum": 9}]},
    "allOf objects": {"allOf": [closed({"a": SMALL, "b": WORDS}), {"properties": {"a": {"minimum": 50}}}]},
    # references
    "definitions": {"$defs": {"color": WORDS}, **closed({"first": {"$ref": "#/$defs/color"}})},
    "older definitions": {"definitions": {"n": SMALL}, **listed({"$ref": "#/definitions/n"}, 1, 2)},
    "a reference through another": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "boolean"}},
        "$ref": "#/$defs/a",
    },
    # what programs send
    "pydantic": {
        "title": "Answer",
        "description": "What a model of pydantic makes",
        "$defs": {"Level": {"enum": ["low", "high"], "title": "Level", "type": "string"}},
        **closed(
            {
                "level": {"$ref": "#/$defs/Level"},
                "score": {"anyOf": [SMALL, {"type": "null"}], "default": None, "title": "Score"},
            }
        ),
    },
    "weather call": closed(
        {"name": {"const": "get_weather"}, "arguments": closed({"city": SHORT, "unit": {"enum": ["C", "F"]}})}
    ),
    "list of nodes": listed(NODE, 1, 2),
}  # fmt: skip
