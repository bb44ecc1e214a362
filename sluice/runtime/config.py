"""Configuration: `sluice.yaml`, overridden by the environment, into one frozen object per program.

A program has one section of the file, named after it. The variable `SLUICE_ROUTER_LISTEN` overrides the key
`listen` of section `router`; a value there is read as YAML, so lists and numbers are written as in the file. A key
that holds a string takes whatever is no YAML string as it stands, and so does each item of a list of strings: an IPv6
address needs no quotes there. A key may have a second variable with a name of its own, which the first overrides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.fields import FieldInfo

DEFAULT_FILE = "sluice.yaml"
FILE_VARIABLE = "SLUICE_CONFIG"
_SECOND_VARIABLE = "variable"
# "[::1]:50051" begins like a list of YAML.
_IPV6_ADDRESS = re.compile(r"""(?<!["'])\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\]:\d""")
SECTIONS = ("telemetry", "governor", "router", "gpu_worker", "cpu_worker")


class ConfigError(Exception):
    """A setting is wrong. The message is one line that names the key."""


def _address(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT")
    return value


def _optional_address(value: str) -> str:
    return _address(value) if value else value


Address = Annotated[str, AfterValidator(_address)]
OptionalAddress = Annotated[str, AfterValidator(_optional_address)]
"""As `Address`, or empty for none."""


class Section(BaseModel):
    """A section of the file. Unknown keys are refused, values are never changed after start."""

    # A key's docstring is its description: what --help and the operator's manual say of it.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TelemetryConfig(Section):
    """Section `telemetry`, read by every program."""

    otlp_endpoint: OptionalAddress = ""
    """Where spans go, as OTLP over gRPC. Empty: nowhere, and none are made."""
    sample_ratio: float = Field(default=1.0, ge=0, le=1)
    """Share of requests without a caller's own decision that are traced."""
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """The least severe record that is logged."""


SectionType = TypeVar("SectionType", bound=Section)


def read_file(environ: Mapping[str, str]) -> dict[str, Any]:
    """The configuration file as a mapping of sections.

    The file is the one that `SLUICE_CONFIG` names, which must exist, or else `sluice.yaml` in the working
    directory if there is one. Raises ConfigError when it cannot be read.
    """
    named = environ.get(FILE_VARIABLE, "")
    path = Path(named or DEFAULT_FILE)
    if not named and not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{FILE_VARIABLE}: cannot read {path}: {error}") from error
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        hint = "; an IPv6 address needs quotes here" if _IPV6_ADDRESS.search(text) else ""
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}{hint}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping of sections, such as 'router:'")
    unknown = sorted(str(name) for name in content if name not in SECTIONS)
    if unknown:
        raise ConfigError(f"{path}: unknown section '{unknown[0]}'; there are {', '.join(SECTIONS)}")
    return content


def load(name: str, kind: type[SectionType], *, file: Mapping[str, Any], environ: Mapping[str, str]) -> SectionType:
    """Section `name` of `file` with the environment's overrides, validated as `kind`.

    Raises ConfigError naming the first wrong key and where its value came from.
    """
    values = file.get(name) or {}
    if not isinstance(values, dict):
        raise ConfigError(f"{name}: must be a mapping of keys")
    values = dict(values)
    variables = {key: _set_variable(name, key, field, environ) for key, field in kind.model_fields.items()}
    for key, variable in variables.items():
        if variable in environ:
            values[key] = _from_variable(variable, environ[variable], kind.model_fields[key].annotation)
    try:
        return kind.model_validate(values, context=environ)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        spelled = (
            variables[key]
            if variables.get(key, "") in environ
            else ".".join(str(part) for part in (name, *first["loc"]))
        )
        problem = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{spelled}: {problem} (got {first['input']!r})") from error


def variable_of(section: str, key: str) -> str:
    """The environment's variable that overrides `key` of `section`."""
    return f"SLUICE_{section.upper()}_{key.upper()}"


def also_read_from(variable: str) -> dict[str, JsonValue]:
    """What a key's `json_schema_extra` is to be if a second `variable` of the environment sets it too."""
    return {_SECOND_VARIABLE: variable}


def second_variable(field: FieldInfo) -> str:
    """The second variable of a key, empty if it has none."""
    extra = field.json_schema_extra
    return str(extra.get(_SECOND_VARIABLE, "")) if isinstance(extra, dict) else ""


def _set_variable(section: str, key: str, field: FieldInfo, environ: Mapping[str, str]) -> str:
    first, second = variable_of(section, key), second_variable(field)
    return second if second and second in environ and first not in environ else first


def string_from_variable(text: str) -> str:
    """A string as the environment has it: a YAML string, quoted or not, else the text itself. Null is empty."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, str) else "" if value is None else text


def _from_variable(variable: str, text: str, kind: Any) -> Any:
    if kind is str:
        return string_from_variable(text)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        if _is_strings(kind) and text.count("[") == text.count("]"):
            return _strings_from_variable(text)
        raise ConfigError(f"{variable}: is not YAML (got {text!r})") from error
    return "" if value is None else value


def _is_strings(kind: Any) -> bool:
    item = next(iter(get_args(kind)), None) if get_origin(kind) in {tuple, list} else None
    return item is str or (get_origin(item) is Annotated and get_args(item)[0] is str)


def _strings_from_variable(text: str) -> list[str]:
    # A flow sequence, with items that YAML would take for sequences: [[::1]:50061, "[::1]:50062"].
    text = text.strip()
    items = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return [string_from_variable(item.strip()) for item in items.split(",") if item.strip()]
