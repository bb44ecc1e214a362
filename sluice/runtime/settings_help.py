"""A program's manual, made from its settings: what `--help` prints and what docs/operations.md holds as tables."""

from __future__ import annotations

from pydantic.fields import FieldInfo

from sluice.runtime.config import FILE_VARIABLE, Section, TelemetryConfig, second_variable, variable_of


def help_text(name: str, kind: type[Section]) -> str:
    """What `python -m services.NAME --help` prints: each key with its variable, default and meaning."""
    lines = [
        f"usage: python -m services.{name}",
        "",
        f"Runs until SIGTERM, then drains. Its settings come from the file that {FILE_VARIABLE} names (sluice.yaml",
        "without it), and each can be overridden by the environment, its value written as YAML.",
    ]
    for section, model in ((name, kind), ("telemetry", TelemetryConfig)):
        lines += ["", f"{section}:"]
        for key, field in model.model_fields.items():
            variables = " or ".join(filter(None, (variable_of(section, key), second_variable(field))))
            lines += [f"  {key}  (default: {_default(field)}; {variables})"]
            lines += [f"      {_meaning(field)}"]
    return "\n".join(lines)


def markdown_table(name: str, kind: type[Section]) -> str:
    """The same as a table of Markdown, under a heading of the third level."""
    fields = kind.model_fields.items()
    rows = "\n".join(f"| `{key}` | `{_default(field)}` | {_meaning(field)} |" for key, field in fields)
    heading = name if " " in name else f"`{name}`"
    return f"### {heading}\n\n| key | default | meaning |\n|---|---|---|\n{rows}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if isinstance(value, Section):
        return "its own defaults"
    return {"": '""', "()": "[]"}.get(str(value), str(value))


def _meaning(field: FieldInfo) -> str:
    second = second_variable(field)
    told = f"{field.description or ''} Variable {second} sets it too." if second else field.description or ""
    return " ".join(told.split())
