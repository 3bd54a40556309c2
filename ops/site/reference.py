"""Pages made of contracts and of the code: the HTTP API of ``openapi.yaml``, the JSON Schemas of what is
sent, what the commands say of themselves."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

WIDTH = 90  # characters of a line of help
Schema = Mapping[str, Any]
SECTION = "\n## "


def http_api(contract: Schema) -> str:
    """Every route with its parameters and answers, and the shapes that they have."""
    shapes = contract["components"]["schemas"]
    lines = [
        "# The HTTP API",
        "",
        contract["info"]["description"],
        "",
        "Amounts are integers in the currency's minor unit; instants are ISO 8601 in UTC. The same as "
        "a file: [openapi.yaml](openapi.yaml).",
    ]
    for path, methods in contract["paths"].items():
        for method, of in methods.items():
            lines += _route(f"{method.upper()} {path}", of, contract)
    lines += [SECTION + "Shapes"]
    for name, schema in shapes.items():
        lines += ["", f"### {name}", "", *_shape(schema)]
    return "\n".join(lines) + "\n"


def _route(title: str, of: Schema, contract: Schema) -> Iterator[str]:
    yield f"{SECTION}{title}"
    yield ""
    yield f"{of['summary']}. {of.get('description', '')}".strip()
    if of.get("parameters"):
        yield ""
        yield from _table("parameter", "in", "type", "")
        for each in of["parameters"]:
            name = each["name"] + (" *" if each.get("required") else "")
            yield _row(f"`{name}`", each["in"], _type(each["schema"]), each.get("description", ""))
    yield ""
    yield from _table("answer", "", "body")
    for status, answer in of["responses"].items():
        whole = _resolved(answer, contract)
        content = whole.get("content", {}).get("application/json", {}).get("schema", {})
        yield _row(status, whole["description"], _type(content) if content else "")


def commands(root: click.Group, sections: Mapping[str, Mapping[click.Command, str]]) -> str:
    """Each command as its ``--help`` says it, by what a person wants to do."""
    parent = click.Context(root, info_name="daybook", terminal_width=WIDTH, max_content_width=WIDTH)
    lines = ["# Commands", "", "As `daybook COMMAND --help` says it.", "", *_help(parent)]
    for title, of in sections.items():
        lines += [SECTION + title]
        for command in of:
            lines += _command(command, parent)
    return "\n".join(lines) + "\n"


def _command(command: click.Command, parent: click.Context) -> Iterator[str]:
    own = click.Context(command, parent, info_name=command.name)
    yield f"\n### {own.command_path}\n"
    yield from _help(own)
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        yield from _command(below, own)


def _help(of: click.Context) -> Iterator[str]:
    yield from ("```text", of.get_help(), "```")


def schemas(all_of_them: Mapping[str, Schema]) -> str:
    """What is sent to targets and to the bus, by its title."""
    titles = {name: schema["title"] for name, schema in all_of_them.items()}
    lines = [
        "# Schemas of what is sent",
        "",
        "Within `v1` fields are added, never taken away or given another meaning. As files: "
        + ", ".join(f"[{name}](schemas/v1/{name})" for name in all_of_them)
        + "; as TypeScript's types: [daybook.d.ts](schemas/v1/daybook.d.ts).",
    ]
    for schema in all_of_them.values():
        titled = _titled(schema, titles)
        lines += [SECTION + schema["title"], "", schema.get("description", ""), "", *_shape(titled)]
    return "\n".join(lines) + "\n"


def _titled(schema: Any, titles: Mapping[str, str]) -> Any:
    """The same, with what it refers to by its title in place of its file."""
    if isinstance(schema, list):
        return [_titled(each, titles) for each in schema]
    if not isinstance(schema, dict):
        return schema
    named = {"$ref": titles[schema["$ref"]]} if "$ref" in schema else {}
    return {name: _titled(each, titles) for name, each in schema.items()} | named


def _shape(schema: Schema) -> Iterator[str]:
    """A table of an object's fields; in a line what it is otherwise."""
    if "properties" not in schema:
        yield _type(schema)
        return
    yield from _table("field", "type", "")
    for name, each in schema["properties"].items():
        mark = " *" if name in schema.get("required", ()) else ""
        yield _row(f"`{name}{mark}`", _type(each), each.get("description", ""))


def _table(*titles: str) -> Iterator[str]:
    yield _row(*titles)
    yield _row(*("---" for _ in titles))


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _type(schema: Schema) -> str:
    """In words, with a link where it has a name of its own."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "oneOf" in schema or "allOf" in schema:
        return " or ".join(_type(each) for each in schema.get("oneOf", schema.get("allOf")))
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "properties" in schema:
        return "{" + ", ".join(f"`{name}`" for name in schema["properties"]) + "}"
    given = schema.get("type", "any")
    names = [given] if isinstance(given, str) else list(given)
    if "array" in names:
        return f"list of {_type(schema['items'])}"
    nullable = ["null"] if schema.get("nullable") and "null" not in names else []
    shown = f" ({schema['format']})" if "format" in schema else ""
    return " or ".join([*names, *nullable]) + shown


def _resolved(of: Schema, contract: Schema) -> Schema:
    if "$ref" not in of:
        return of
    found: Any = contract
    for part in of["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)
