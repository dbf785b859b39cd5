"""Values from elsewhere, checked against a type by pydantic; JSON schemas come from the same types.

A type is a `TypedDict` whose fields pydantic understands. What does not fit becomes one sentence
with its place. Import this module only where a value is checked: pydantic takes 0.1 s to import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from typing import Annotated, Any, NotRequired, get_type_hints

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    with_config,
)
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema
from typing_extensions import TypedDict

from bench.errors import unknown
from bench.system import reading

# Of a TypedDict: whether it may have other keys as well. A part without either is as its whole.
CLOSED = with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
OPEN = with_config(ConfigDict(extra="allow", allow_inf_nan=False))
NAME = "of lower-case letters, digits, '.', '_', '+' and '-', a letter or digit first"
ALLOWED = {
    "literal_error": "be {expected}",
    "greater_than_equal": "not be below {ge}",
    "less_than_equal": "not be above {le}",
    "greater_than": "be above {gt}",
    "less_than": "be below {lt}",
    "string_pattern_mismatch": "have the form {pattern}",
    "string_unicode": "be text",
    "finite_number": "be a finite number",
    "too_short": "have {minItems} items",
    "too_long": "have {maxItems} items",
}
KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
OURS = ("path", "number")  # errors of our models, whose message is the rest of the sentence
LARGEST = 2**63 - 1
Path = Sequence[str | int]


def whole(value: Any) -> Any:
    """Return a float that is a whole number as an int, as JSON means it; all else as it is."""
    return int(value) if type(value) is float and value.is_integer() else value


def _unique(items: list[Any]) -> list[Any]:
    if (twice := reading.first_twice(items)) is not None:
        raise PydanticCustomError("twice", "occurs twice", {"item": twice})
    return items


class Unique:
    """Annotation of a list whose items must all be different."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the list with a check behind it."""
        return core_schema.no_info_after_validator_function(_unique, handler(source))

    @classmethod
    def __get_pydantic_json_schema__(
        cls, made: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the JSON schema of the list."""
        return {**handler(made), "uniqueItems": True}


Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST), BeforeValidator(whole)]
Count = Annotated[int, Field(ge=0, le=LARGEST), BeforeValidator(whole)]
Positive = Annotated[int, Field(ge=1, le=LARGEST), BeforeValidator(whole)]
One = Annotated[int, Field(ge=1, le=1), BeforeValidator(whole)]  # Literal[1] takes True for 1
Amount = Annotated[float, Field(ge=0)]
Above0 = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Share | None
Text = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", title="64 hex digits in lower case")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$", title=NAME)]


@cache
def mapping_of(kind: type) -> type:
    """Return the type of a mapping with the fields of a dataclass; a default need not be given."""
    hints = get_type_hints(kind, include_extras=True)
    keys = {
        field.name: hints[field.name]
        if field.default is field.default_factory is MISSING
        else NotRequired[hints[field.name]]
        for field in fields(kind)
    }
    made: type = TypedDict(kind.__name__, keys)  # type: ignore[misc]
    return CLOSED(made)


def plain(value: Any) -> Any:
    """Return what a plug-in states with dicts for other mappings and tuples for lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


def checked(kind: Any, value: Any, at: str = "") -> tuple[Any, str]:
    """Return what pydantic makes of a value, and the first fault: "" or "place: what is wrong".

    `at` is the place of the value itself. A whole number may become a float, or be written as one;
    nothing else is converted.
    """
    try:
        return _adapter(kind).validate_python(value, strict=True), ""
    except ValidationError as error:
        fault = _first(error.errors(include_url=False))
    path = [at, *_path(value, fault)] if at else _path(value, fault)
    sentence = _sentence(fault, _node(schema(kind), path[bool(at) :]))
    return value, f"{place(path)}: {sentence}" if path else sentence


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@cache
def schema(kind: Any) -> dict[str, Any]:
    """Return the JSON schema of a type."""
    from bench.system.json_schema import Schema  # so that checking stays quick to import

    return {"$schema": Schema.schema_dialect, **_adapter(kind).json_schema(schema_generator=Schema)}


def schema_text(kind: Any) -> str:
    """Return the JSON schema of a type as its file holds it."""
    return f"{json.dumps(schema(kind), indent=1)}\n"


def place(path: Path) -> str:
    """Return a path as text: "queries[0].box"."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _first(faults: Sequence[ErrorDetails]) -> ErrorDetails:
    """Return the first fault; beside a key that is missing, the key that is written wrongly."""
    first = faults[0]
    if first["type"] == "missing" and isinstance(first["loc"][-1], int):  # of a tuple
        return {**first, "type": "too_short", "loc": first["loc"][:-1]}
    if first["type"] != "missing":
        return first
    extra = (
        f for f in faults if f["type"] == "extra_forbidden" and f["loc"][:-1] == first["loc"][:-1]
    )
    return next(extra, first)


def _path(value: Any, fault: ErrorDetails) -> list[str | int]:
    """Return the path of what a fault is about.

    The place of a fault also names branches of unions, which are not part of the path. A key that
    is missing, too many or wrong belongs to its object.
    """
    path: list[str | int] = []
    steps = fault["loc"]
    if fault["type"] == "extra_forbidden":
        steps = steps[:-1]
    for step in steps[:-2] if steps[-1:] == ("[key]",) else steps:
        row = isinstance(step, int) and isinstance(value, list | tuple) and step < len(value)
        if row or (isinstance(value, Mapping) and step in value):
            path.append(step)
            value = value[step]
    return path


def _node(root: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the schema's facts for the value at a path, of all branches together."""
    node = _resolved(root, root)
    for step in path:
        inner = node.get("properties", {}).get(step) or node.get("additionalProperties")
        if isinstance(step, int):
            inner = [*node.get("prefixItems", ()), node.get("items")][: step + 1][-1]
        if not isinstance(inner, dict):
            return {}
        node = _resolved(root, inner)
    return node


def _resolved(root: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return a part of a schema with its references followed and its branches put together."""
    out = {key: value for key, value in node.items() if key not in ("$ref", "anyOf", "oneOf")}
    branches = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    if "$ref" in node:
        branches.append(root["$defs"][node["$ref"].rpartition("/")[2]])
    kinds: list[str] = []
    for branch in (_resolved(root, branch) for branch in branches):
        kind = branch.pop("type", [])
        kinds += [kind] if isinstance(kind, str) else kind
        out = branch | out
    return {"type": kinds} | out


def _sentence(fault: ErrorDetails, node: dict[str, Any]) -> str:
    """Return a sentence on a fault and the allowed values; `node` is the schema of the place."""
    kind, shown = fault["type"], _shown(fault["input"])
    context = {key: whole(value) for key, value in fault.get("ctx", {}).items()}
    if kind == "missing":
        return f"the key {fault['loc'][-1]!r} is missing"
    if kind == "extra_forbidden":
        return str(unknown("key", str(fault["loc"][-1]), node["properties"])).rstrip(".")
    if kind == "twice":
        return f"{_shown(context['item'])} occurs twice"
    if kind in ("too_short", "string_too_short") and context.get("min_length") == 1:
        return "must not be empty"
    if kind in OURS:
        return f"is {shown}, {fault['msg']}"
    if fault["loc"][-1:] == ("[key]",):
        node = node["propertyNames"]
    return f"must {_allowed(kind, {**node, **context})}, but is {shown}"


def _allowed(kind: str, facts: Mapping[str, Any]) -> str:
    """Return the allowed values as text; `facts` are those of the schema and of the fault."""
    if "title" in facts:
        return f"be {facts['title']}"
    if kind in ALLOWED:
        return ALLOWED[kind].format_map(facts)
    kinds = facts["type"]
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return f"be {' or '.join(KINDS[kind] for kind in dict.fromkeys(kinds))}"


def _shown(value: Any) -> str:
    """Return a value as JSON writes it; only its kind where it is long or nested."""
    if isinstance(value, list | tuple | Mapping):
        items = value.values() if isinstance(value, Mapping) else value
        if len(value) > 9 or any(isinstance(item, list | tuple | Mapping) for item in items):
            return (
                f"a mapping of {len(value)}"
                if isinstance(value, Mapping)
                else f"a list of {len(value)}"
            )
    if isinstance(value, int) and not isinstance(value, bool):
        return reading.short(value, 60)
    text = json.dumps(value[:60] if isinstance(value, str) else value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
