"""Writes the types of both clients from the OpenAPI document of the server. `make sdks` runs this.

What requests send becomes dictionaries in Python (`TypedDict`), since callers write them; what answers bring becomes
dataclasses, since callers read them. In TypeScript both are interfaces. An object of several variants has the fields of
all; those that not every variant has may be missing.
"""

import json
import keyword
import sys
import textwrap
from pathlib import Path
from typing import Any

CLIENTS = Path(__file__).resolve().parent
DOCUMENT = CLIENTS.parent / "docs" / "openapi.json"
PYTHON = CLIENTS / "python" / "src" / "longrun" / "wire.py"
TYPESCRIPT = CLIENTS / "typescript" / "src" / "wire.ts"

NOTE = "Written by `make sdks` from the OpenAPI document of the server. Do not edit."
WIDTH = 118
#: What a reference to a schema begins with.
SCHEMAS = "#/components/schemas/"
#: What an object has beside its fields.
PYTHON_BASES = {"AsyncOperation": "OperationMethods"}
#: What the clients call it.
ALIASES = {"Operation": "AsyncOperation", "NewOperation": "CreateOperation"}

Schema = dict[str, Any]


def named(schema: Schema) -> str | None:
    """The name of the schema that this one refers to."""
    reference = schema.get("$ref", "")
    return reference.removeprefix(SCHEMAS) if reference.startswith(SCHEMAS) else None


def reachable(start: Any, schemas: dict[str, Schema], found: set[str]) -> set[str]:
    """The names of the schemas that are used, directly or by others."""
    if isinstance(start, list):
        for part in start:
            reachable(part, schemas, found)
    elif isinstance(start, dict):
        name = named(start)
        if name and name not in found:
            found.add(name)
            reachable(schemas[name], schemas, found)
        for part in start.values():
            reachable(part, schemas, found)
    return found


def fields_of(schema: Schema) -> list[tuple[str, Schema, bool]]:
    """Name, schema and whether it is always there."""
    variants = schema.get("oneOf", [schema])
    fields: dict[str, Schema] = {}
    for variant in variants:
        for name, field in variant.get("properties", {}).items():
            fields.setdefault(name, field)
    return [(name, field, all(name in one.get("required", []) for one in variants)) for name, field in fields.items()]


def split_null(schema: Schema) -> tuple[Schema, bool]:
    """The schema without null, and whether null is allowed."""
    kinds = schema.get("type")
    if isinstance(kinds, list):
        [kind] = [kind for kind in kinds if kind != "null"]
        return {**schema, "type": kind}, "null" in kinds
    variants = schema.get("oneOf") or schema.get("anyOf") or []
    rest = [variant for variant in variants if variant.get("type") != "null"]
    if len(rest) == 1 and len(variants) == 2:
        return rest[0], True
    return schema, False


def type_of(schema: Schema, words: dict[str, str], times: str) -> str:
    """The type of a value, in the words of a language."""
    schema, nullable = split_null(schema)
    if name := named(schema):
        text = name
    elif "enum" in schema:
        text = words["enum"](schema["enum"])  # type: ignore[operator]
    elif schema.get("type") == "array":
        text = words["array"].format(type_of(schema["items"], words, times))
    elif schema.get("type") == "object":
        extra = schema.get("additionalProperties")
        text = words["object"].format(type_of(extra, words, times) if isinstance(extra, dict) else words["any"])
    elif schema.get("format") == "date-time":
        text = times
    else:
        text = words.get(schema.get("type", "any"), words["any"])
    return text + (words["or_null"] if nullable and text != words["any"] else "")


def python_literal(values: list[str]) -> str:
    return "Literal[" + ", ".join(json.dumps(value) for value in values) + "]"


PYTHON_WORDS: dict[str, Any] = {
    "string": "str", "integer": "int", "number": "float", "boolean": "bool", "any": "Any", "array": "list[{}]",
    "object": "dict[str, {}]", "or_null": " | None", "enum": python_literal,
}  # fmt: skip
TYPESCRIPT_WORDS: dict[str, Any] = {
    "string": "string", "integer": "number", "number": "number", "boolean": "boolean", "any": "unknown",
    "array": "{}[]", "object": "Record<string, {}>", "or_null": " | null",
    "enum": lambda values: " | ".join(json.dumps(value) for value in values),
}  # fmt: skip


def described(schema: Schema) -> str:
    text = schema.get("description") or split_null(schema)[0].get("description", "")
    return " ".join(text.split())


def python_text(text: str, before: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent + before, subsequent_indent=indent + before)


def python_docstring(schema: Schema, indent: str) -> list[str]:
    text = described(schema).replace("\\", "\\\\")
    lines = textwrap.wrap(f'"""{text}', WIDTH - 3, initial_indent=indent, subsequent_indent=indent)
    return [*lines[:-1], lines[-1] + '"""']


def python_request(name: str, schema: Schema) -> list[str]:
    fields = []
    for field, inner, is_there in fields_of(schema):
        kind = type_of(inner, PYTHON_WORDS, "str")
        fields.append((field, kind if is_there else f"NotRequired[{kind}]", inner))
    if any(keyword.iskeyword(field) or not field.isidentifier() for field, _, _ in fields):
        inner_lines = [f'        "{field}": "{kind}",' for field, kind, _ in fields]
        text = python_text(described(schema), "# ")
        return [
            *text,
            f"{name} = TypedDict(",
            f'    "{name}",',
            "    {",
            *inner_lines,
            "    },",
            ")",
        ]
    lines = [f"class {name}(TypedDict):", *python_docstring(schema, "    ")]
    for field, kind, inner in fields:
        lines += [*python_text(described(inner), "#: ", "    "), f"    {field}: {kind}"]
    return lines


def python_answer(name: str, schema: Schema) -> list[str]:
    base = PYTHON_BASES.get(name)
    lines = [
        "@dataclass(frozen=True, kw_only=True)",
        f"class {name}({base}):" if base else f"class {name}:",
    ]
    lines += python_docstring(schema, "    ")
    for field, inner, is_there in fields_of(schema):
        if not field.isidentifier():
            continue
        kind = type_of(inner, PYTHON_WORDS, "datetime")
        if not is_there:
            kind = kind if kind.endswith(("| None", "Any")) else f"{kind} | None"
            kind += " = None"
        lines += [*python_text(described(inner), "#: ", "    "), f"    {field}: {kind}"]
    return lines


def python(schemas: dict[str, Schema], requests: set[str]) -> str:
    parts = []
    for name, schema in schemas.items():
        if "enum" in schema:
            lines = [
                *python_text(described(schema), "#: "),
                f"{name} = {python_literal(schema['enum'])}",
            ]
        else:
            lines = (python_request if name in requests else python_answer)(name, schema)
        parts.append("\n".join(lines))
    aliases = "\n".join(f"{alias} = {name}" for alias, name in ALIASES.items())
    head = (
        f'# {NOTE}\n"""What goes over the wire: answers are dataclasses, bodies of requests are dictionaries."""\n\n'
        "from __future__ import annotations\n\nfrom dataclasses import dataclass\nfrom datetime import datetime\n"
        "from typing import Any, Literal, NotRequired, TypedDict\n\nfrom ._operation import OperationMethods\n"
    )
    return "\n\n\n".join([head.rstrip("\n"), *parts, aliases]) + "\n"


def typescript_text(text: str, indent: str = "") -> list[str]:
    if len(indent) + len(text) + 7 <= WIDTH:
        return [f"{indent}/** {text} */"] if text else []
    lines = textwrap.wrap(text, WIDTH, initial_indent=f"{indent} * ", subsequent_indent=f"{indent} * ")
    return [f"{indent}/**", *lines, f"{indent} */"]


def typescript(schemas: dict[str, Schema]) -> str:
    parts = [f"// {NOTE}"]
    for name, schema in schemas.items():
        lines = typescript_text(described(schema))
        if "enum" in schema:
            lines += [
                f"export type {name} =",
                *[f"  | {json.dumps(value)}" for value in schema["enum"]],
            ]
            lines[-1] += ";"
        else:
            lines.append(f"export interface {name} {{")
            for field, inner, is_there in fields_of(schema):
                key = field if field.isidentifier() else json.dumps(field)
                kind = type_of(inner, TYPESCRIPT_WORDS, "string")
                lines += typescript_text(described(inner), "  ")
                lines.append(f"  {key}{'' if is_there else '?'}: {kind};")
            lines.append("}")
        parts.append("\n".join(lines))
    parts += [f"export type {alias} = {name};" for alias, name in ALIASES.items()]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Writes both files."""
    document = json.loads(DOCUMENT.read_text("utf-8"))
    schemas = document["components"]["schemas"]
    requests: set[str] = set()
    answers: set[str] = set()
    for path in document["paths"].values():
        for call in path.values():
            if isinstance(call, dict):
                reachable(call.get("requestBody"), schemas, requests)
                reachable(call.get("responses"), schemas, answers)
    objects = {name for name, schema in schemas.items() if "enum" not in schema}
    if both := requests & answers & objects:
        sys.exit(f"both sent and answered, which this generator has no form for: {', '.join(sorted(both))}")
    PYTHON.write_text(python(schemas, requests), "utf-8")
    TYPESCRIPT.write_text(typescript(schemas), "utf-8")


if __name__ == "__main__":
    main()
