"""Types for TypeScript of what is sent, from its JSON Schemas: ``make schemas``.

Of JSON Schema only what ``docs/schemas`` uses is known; anything else is an error.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).resolve().parents[1] / "docs" / "schemas" / "v1"
OUT = "daybook.d.ts"
HEAD = "// Made by `make schemas` from the JSON Schemas beside it.\n"
PLAIN = {"string": "string", "integer": "number", "boolean": "boolean", "null": "null"}
Schema = dict[str, Any]


def declarations(folder: Path) -> str:
    """All that the folder's schemas describe, by their titles."""
    schemas = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    titles = {each["$id"]: each["title"] for each in schemas}
    return HEAD + "".join(_declared(each, titles) for each in schemas)


def _declared(schema: Schema, titles: dict[str, str]) -> str:
    about = f"\n/** {schema['description']} */\n" if "description" in schema else "\n"
    return f"{about}export type {schema['title']} = {_type(schema, titles, 0)};\n"


def _type(schema: Schema, titles: dict[str, str], depth: int) -> str:
    if "$ref" in schema:
        return titles[schema["$ref"]]
    if "oneOf" in schema:
        return " | ".join(_type(each, titles, depth) for each in schema["oneOf"])
    if "enum" in schema:
        return " | ".join(json.dumps(each) for each in schema["enum"])
    if "type" not in schema:
        return "unknown"
    given = schema["type"]
    names = given if isinstance(given, list) else [given]
    return " | ".join(_named(each, schema, titles, depth) for each in names)


def _named(name: str, schema: Schema, titles: dict[str, str], depth: int) -> str:
    if name == "array":
        return f"Array<{_type(schema['items'], titles, depth)}>"
    if name != "object":
        return PLAIN[name]
    if "properties" in schema:
        lines = "".join(_properties(schema, titles, depth + 1))
        return f"{{\n{lines}{'  ' * depth}}}"
    return f"Record<string, {_type(schema.get('additionalProperties', {}), titles, depth)}>"


def _properties(schema: Schema, titles: dict[str, str], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, each in schema["properties"].items():
        if "description" in each:
            yield f"{indent}/** {each['description']} */\n"
        mark = "" if name in schema["required"] else "?"
        yield f"{indent}{name}{mark}: {_type(each, titles, depth)};\n"


if __name__ == "__main__":
    (SCHEMAS / OUT).write_text(declarations(SCHEMAS))
