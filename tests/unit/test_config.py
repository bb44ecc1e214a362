"""Settings: from the file and the environment into one checked object, or one line that names the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.governor.config import GovernorConfig
from services.gpu_worker.config import GpuWorkerConfig
from services.router.config import RouterConfig
from sluice.domain.enums import Precision, PrecisionMode, Tier, held_name
from sluice.runtime.config import ConfigError, Section, TelemetryConfig, load, read_file
from sluice.runtime.program import help_text
from sluice.worker.config import WorkerConfig

MODEL = {"model": "m", "tier": "light", "checkpoint": "c"}
KINDS: dict[str, type[Section]] = {
    "telemetry": TelemetryConfig,
    "router": RouterConfig,
    "governor": GovernorConfig,
    "gpu_worker": GpuWorkerConfig,
    "cpu_worker": WorkerConfig,
}


def complaint(section: str, values: Any, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(section, KINDS[section], file={section: values}, environ=environ or {})
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("router.listen", {"listen": "localhost"}),
        ("router.listen", {"listen": ":50051"}),
        ("router.listen", {"listen": "host:port"}),
        ("router.listen", {"listen": "host:65536"}),
        ("router.listen", {"listen": 50051}),
        ("router.listen", {"listen": ""}),
        ("router.governor", {"governor": "governor"}),
        ("router.workers", {"workers": "127.0.0.1:1"}),
        ("router.workers.1", {"workers": ["127.0.0.1:1", "nowhere"]}),
        ("router.max_batch_size", {"max_batch_size": 0}),
        ("router.max_batch_size", {"max_batch_size": 1.5}),
        ("router.max_batch_size", {"max_batch_size": "many"}),
        ("router.max_batch_size", {"max_batch_size": None}),
        ("router.priority_threshold", {"priority_threshold": 1.01}),
        ("router.priority_threshold", {"priority_threshold": float("nan")}),
        ("router.default_timeout_s", {"default_timeout_s": 0}),
        ("router.default_timeout_s", {"default_timeout_s": float("inf")}),
        ("router.max_batchsize", {"max_batchsize": 8}),
        ("governor.lease_s", {"lease_s": -1}),
        ("gpu_worker.device", {"device": "GPU 0"}),
        ("gpu_worker.credits", {"credits": 0}),
        ("cpu_worker.device", {"device": "cuda"}),
        ("cpu_worker.models.0.tier", {"models": [{**MODEL, "tier": "best"}]}),
        ("cpu_worker.models.0.tier", {"models": [{**MODEL, "tier": 0}]}),
        ("cpu_worker.models.1.model", {"models": [MODEL, {**MODEL, "model": ""}]}),
        ("cpu_worker.models.0", {"models": [{"model": "m", "tier": "light"}]}),
        ("cpu_worker.models.0.path", {"models": [{**MODEL, "path": "c"}]}),
        ("telemetry.log_level", {"log_level": "LOUD"}),
        ("telemetry.sample_ratio", {"sample_ratio": -0.1}),
        ("telemetry.1", {1: 2}),
    ],
)
def test_a_wrong_value_in_the_file_is_named_by_its_section_and_key(key: str, values: dict[str, Any]) -> None:
    assert complaint(key.split(".", maxsplit=1)[0], values).startswith(f"{key}: ")


def test_an_unknown_key_is_called_one_and_a_wrong_value_is_shown() -> None:
    assert complaint("router", {"max_batchsize": 8}) == "router.max_batchsize: unknown key (got 8)"
    assert "(got 'localhost')" in complaint("router", {"listen": "localhost"})


def test_a_wrong_value_of_several_lines_still_makes_one_line() -> None:
    assert "first\\nsecond" in complaint("router", {"listen": "first\nsecond"})


@pytest.mark.parametrize("values", ["text", 7, ["listen"]])
def test_a_section_that_is_no_mapping_is_named(values: object) -> None:
    assert complaint("router", values).startswith("router: ")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SLUICE_ROUTER_MAX_BATCH_SIZE", "none of it"),
        ("SLUICE_ROUTER_MAX_BATCH_SIZE", ""),
        ("SLUICE_ROUTER_LISTEN", "8080"),
        ("SLUICE_ROUTER_WORKERS", "[127.0.0.1:1, nowhere]"),
        ("SLUICE_ROUTER_WORKERS", "[127.0.0.1:1"),
        ("SLUICE_CPU_WORKER_MODELS", "[{model: m, tier: best, checkpoint: c}]"),
    ],
)
def test_a_wrong_value_in_the_environment_is_named_by_its_variable(variable: str, text: str) -> None:
    section = "cpu_worker" if "CPU" in variable else "router"
    # The file's own value is right, so blaming it would send the reader to the wrong place.
    message = complaint(section, {"listen": "127.0.0.1:1"}, {variable: text})
    assert message.startswith(f"{variable}: ")


def test_the_file_is_blamed_for_its_own_mistake_although_the_environment_sets_another_key() -> None:
    message = complaint("router", {"max_batch_size": 0}, {"SLUICE_ROUTER_LISTEN": "127.0.0.1:1"})
    assert message.startswith("router.max_batch_size: ")


def test_the_environment_overrides_the_file_and_is_read_as_yaml() -> None:
    environ = {
        "SLUICE_ROUTER_MAX_BATCH_SIZE": "16",
        "SLUICE_ROUTER_WORKERS": "[127.0.0.1:1, 127.0.0.1:2]",
        "SLUICE_ROUTER_DEFAULT_MODEL": "",
        "SLUICE_GOVERNOR_LISTEN": "127.0.0.1:9",
    }
    file = {"router": {"max_batch_size": 8, "default_model": "m", "batch_timeout_ms": 7}}
    config = load("router", RouterConfig, file=file, environ=environ)
    assert (config.max_batch_size, config.batch_timeout_ms) == (16, 7)
    assert config.workers == ("127.0.0.1:1", "127.0.0.1:2")
    assert config.default_model == ""
    assert config.listen == RouterConfig().listen


def test_variables_that_are_no_setting_of_ours_are_left_alone() -> None:
    # Kubernetes sets such variables for a service named sluice-router.
    environ = {"SLUICE_ROUTER_PORT": "tcp://10.0.0.1:50051", "SLUICE_ROUTER_SERVICE_HOST": "10.0.0.1"}
    assert load("router", RouterConfig, file={}, environ=environ) == RouterConfig()


def test_models_are_read_with_their_tiers_by_name() -> None:
    (entry,) = load("cpu_worker", WorkerConfig, file={"cpu_worker": {"models": [MODEL]}}, environ={}).models
    assert (entry.model, entry.tier, entry.checkpoint, entry.precision) == ("m", Tier.LIGHT, "c", "")


def test_settings_do_not_change_after_start() -> None:
    config = RouterConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.max_batch_size = 1


def test_the_named_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("router: {max_batch_size: 3}\n", encoding="utf-8")
    assert read_file({"SLUICE_CONFIG": str(file)}) == {"router": {"max_batch_size": 3}}


@pytest.mark.parametrize("content", [None, b"router: [", b"- a list\n", b"just text", b"\xff\xfe\x00"])
def test_a_named_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_file({"SLUICE_CONFIG": str(file)})
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_file_every_default_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_file({}) == {}
    (tmp_path / "sluice.yaml").write_text("", encoding="utf-8")
    assert read_file({}) == {}
    (tmp_path / "sluice.yaml").write_text("governor: {lease_s: 9}", encoding="utf-8")
    assert load("governor", GovernorConfig, file=read_file({}), environ={}).lease_s == 9


@pytest.mark.parametrize(
    ("file", "environ", "mode"),
    [
        ({}, {}, PrecisionMode.AUTO),
        ({"precision_mode": "fp8"}, {}, PrecisionMode.FP8),
        ({"precision_mode": "fp8"}, {"PRECISION_MODE": "mixed"}, PrecisionMode.MIXED),
        ({}, {"PRECISION_MODE": "full", "SLUICE_GPU_WORKER_PRECISION_MODE": "int4"}, PrecisionMode.INT4),
    ],
)
def test_a_key_may_have_a_second_variable_which_its_own_overrides(
    file: dict[str, str], environ: dict[str, str], mode: PrecisionMode
) -> None:
    config = load("gpu_worker", GpuWorkerConfig, file={"gpu_worker": file}, environ=environ)
    assert config.precision_mode is mode


def test_a_wrong_value_is_told_by_the_variable_that_holds_it() -> None:
    wanted = "Input should be 'full', 'mixed', 'fp8', 'int4' or 'auto' (got 'half')"
    assert complaint("gpu_worker", {}, {"PRECISION_MODE": "half"}) == f"PRECISION_MODE: {wanted}"
    own = {"PRECISION_MODE": "full", "SLUICE_GPU_WORKER_PRECISION_MODE": "half"}
    assert complaint("gpu_worker", {}, own) == f"SLUICE_GPU_WORKER_PRECISION_MODE: {wanted}"
    assert complaint("gpu_worker", {"precision_mode": "half"}) == f"gpu_worker.precision_mode: {wanted}"


def test_both_variables_are_in_the_manual() -> None:
    text = help_text("gpu_worker", GpuWorkerConfig)
    assert "precision_mode  (default: auto; SLUICE_GPU_WORKER_PRECISION_MODE or PRECISION_MODE)" in text


def test_an_operators_word_for_a_precision_is_the_variants_name() -> None:
    assert [held_name(said) for said in ("full", "fp32", "mixed", "", "nf3")] == ["fp32", "fp32", "mixed", "", "nf3"]
    assert {mode: mode.held for mode in PrecisionMode} == {
        PrecisionMode.FULL: "fp32",
        PrecisionMode.MIXED: "mixed",
        PrecisionMode.FP8: "fp8",
        PrecisionMode.INT4: "int4",
        PrecisionMode.AUTO: "",
    }
    assert [one.held for one in Precision] == ["", "fp32", "mixed", "fp8", "int4"]


IPV6_ADDRESSES = st.tuples(st.ip_addresses(v=6), st.integers(0, 65535)).map(lambda one: f"[{one[0]}]:{one[1]}")
ADDRESSES = st.one_of(IPV6_ADDRESSES, st.integers(0, 65535).map(lambda port: f"worker-1.svc:{port}"))
ADDRESS_KEYS = [
    (section, key)
    for section, kind in KINDS.items()
    for key in ("listen", "advertise", "governor", "otlp_endpoint")
    if key in kind.model_fields
]


@pytest.mark.parametrize(("section", "key"), ADDRESS_KEYS)
@given(address=ADDRESSES, quote=st.sampled_from(["", "'", '"']))
def test_every_address_can_be_set_by_the_environment(section: str, key: str, address: str, quote: str) -> None:
    environ = {f"SLUICE_{section}_{key}".upper(): f"{quote}{address}{quote}"}
    assert getattr(load(section, KINDS[section], file={}, environ=environ), key) == address


@given(st.lists(ADDRESSES, min_size=1, max_size=4), st.sampled_from(["", " "]), st.booleans())
def test_lists_of_addresses_can_be_set_by_the_environment(addresses: list[str], space: str, quoted: bool) -> None:
    items = [f'"{one}"' if quoted else one for one in addresses]
    text = f"[{f',{space}'.join(items)}]"
    assert load("router", RouterConfig, file={}, environ={"SLUICE_ROUTER_WORKERS": text}).workers == tuple(addresses)


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20))
def test_whatever_the_environment_says_is_taken_or_refused_by_name(text: str) -> None:
    for section, key in (*ADDRESS_KEYS, ("router", "workers"), ("router", "max_batch_size"), ("cpu_worker", "id")):
        variable = f"SLUICE_{section}_{key}".upper()
        refusal = ""
        try:
            load(section, KINDS[section], file={}, environ={variable: text})
        except ConfigError as error:
            refusal = str(error)
        assert not refusal or refusal.startswith(variable)


def test_an_ipv6_address_without_quotes_in_the_file_is_told_how_to_be_written(tmp_path: Path) -> None:
    file = tmp_path / "sluice.yaml"
    file.write_text("router:\n  listen: [::]:50051\n")
    with pytest.raises(ConfigError, match="an IPv6 address needs quotes here"):
        read_file({"SLUICE_CONFIG": str(file)})
