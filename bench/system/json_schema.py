"""JSON schemas of types that pydantic understands, with the docstrings of their fields."""

from __future__ import annotations

import ast
import inspect
import itertools
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema


class Schema(GenerateJsonSchema):
    """Schemas with the docstrings of fields, and without the titles that repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """Return that no field has a title."""
        return False

    def dict_schema(self, schema: core_schema.DictSchema) -> dict[str, Any]:
        """Return the schema of a dict: a pattern of its keys holds for all of them."""
        made = super().dict_schema(schema)
        for value in made.pop("patternProperties", {}).values():
            keys = self.generate_inner(schema["keys_schema"])
            made |= {"propertyNames": keys, "additionalProperties": value}
        return made

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> dict[str, Any]:
        """Return the schema of a TypedDict."""
        made = super().typed_dict_schema(schema)
        del made["title"]
        if "description" in made:  # and so a source, unlike the mapping of a dataclass
            made["description"] = " ".join(made["description"].split())
            for name, text in _docstrings(schema["cls"]).items():
                made["properties"][name]["description"] = text
        return made


def _docstrings(kind: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: " ".join(str(text.value.value).split())
        for field, text in itertools.pairwise(tree.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
