"""A worker's settings: section `gpu_worker` or `cpu_worker` of the configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sluice.control.degradation.thresholds import DEFAULT_THRESHOLDS, Thresholds
from sluice.control.identity import DEFAULT_MESH, MeshName
from sluice.domain.enums import Tier
from sluice.domain.variant import check_model
from sluice.runtime.config import Address, OptionalAddress, Section
from sluice.transport.settings import Transport
from sluice.worker.execution.backend import CpuRuntime
from sluice.worker.execution.generator import GenerationLimits
from sluice.worker.execution.openai_config import OpenAIServer


def _tier(value: Any) -> Any:
    if isinstance(value, str):
        names = {tier.label: tier for tier in Tier if tier is not Tier.UNSPECIFIED}
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return names[value]
    return value


def _specified(value: Tier) -> Tier:
    if value is Tier.UNSPECIFIED:
        raise ValueError("must be a tier")
    return value


def _model(value: str) -> str:
    try:
        check_model(value)
    except ValueError as error:
        raise ValueError(str(error).removeprefix("model: ")) from None
    return value


TierName = Annotated[Tier, BeforeValidator(_tier), AfterValidator(_specified)]


class ModelEntry(Section):
    """A model to serve from the start."""

    model: Annotated[str, AfterValidator(_model)]
    """The name under which clients ask for it."""
    tier: TierName
    """The tier in which it serves: full, light or quantized."""
    checkpoint: str = ""
    """A Hugging Face checkpoint directory, or a file that `sluice quantize` made, relative to `models_root`.
    `identity` is a model that answers at once, `echo` one that writes its prompts back, for tests and benchmarks."""
    openai: OpenAIServer | None = None
    """In place of a checkpoint, the engine in another process that writes the model's texts."""
    precision: str = ""
    """As in the contract's Variant.precision. Empty: the worker's own choice, or the one that an operator orders."""
    lower_precision: Literal["", "mixed", "fp8", "int4"] = ""
    """What the same checkpoint is held in at the first step of level 2, before any copy takes over. Empty: none."""
    distilled: str = ""
    """The checkpoint of a distilled copy that takes over at level 2, in tier light and `precision`. Empty: none.
    It must have the same labels. Where CPU workers serve tier light of this model, it must be the same checkpoint."""

    @model_validator(mode="after")
    def _is_in_one_place(self) -> Self:
        if bool(self.checkpoint) is (self.openai is not None):
            raise ValueError("must have either a checkpoint or an openai server")
        return self

    @model_validator(mode="after")
    def _only_full_gives_way(self) -> Self:
        for key in ("distilled", "lower_precision"):
            if getattr(self, key) and self.openai is not None:
                raise ValueError(f"{key}: only a checkpoint gives way to something at level 2")
            if getattr(self, key) and self.tier is not Tier.FULL:
                raise ValueError(f"{key}: only a model of tier full gives way to something at level 2")
        return self


class WorkerConfig(Section):
    """Settings of both kinds of worker."""

    listen: Address = "127.0.0.1:50062"
    """Where routers call."""
    advertise: OptionalAddress = ""
    """The address that the fleet is told. Empty: `listen`, or this machine's own address if that is a wildcard."""
    id: str = Field(default="", max_length=128)
    """The worker's name in the fleet. Empty: made of its kind, its address and its start, so that no two are alike."""
    mesh: MeshName = DEFAULT_MESH
    """The mesh that it belongs to. Routers and governors of other meshes are refused."""
    governor: OptionalAddress = ""
    """The governor; of a name with several addresses, the one that directs. Empty: none."""
    autonomous: bool = True
    """Whether it changes levels by the laws while no governor is heard, from what it sees itself."""
    thresholds: Thresholds = DEFAULT_THRESHOLDS
    """Where levels come and go then: the same as the governor's."""
    transport: Transport = Transport(max_message_bytes=64 * 1024 * 1024)
    """What is borne from routers, and how it is stopped without losing their calls."""
    models_root: str = "models"
    """The directory under which all checkpoints lie; nothing outside it is ever read."""
    models: tuple[ModelEntry, ...] = ()
    """What to serve from the start."""
    credits: int = Field(default=2, ge=1, le=64)
    """Batches that each router may have here: one that is computed and one that waits for the device."""
    generation_lookahead: int = Field(default=64, ge=1, le=4096)
    """Texts that each router may have here before there is memory to write them."""
    max_generations: int = Field(default=0, ge=0, le=8192)
    """The most texts that a model writes at a time. 0: 256 on an accelerator, 16 on a CPU."""
    generation_memory: float = Field(default=0.8, gt=0, le=0.95)
    """Share of the memory that is free when a model that writes has been loaded, for what its texts are remembered by;
    a distilled copy gets a quarter of it. No text is begun for which this has no room to its end."""
    generation_compile: bool = True
    """Whether steps of a model that writes are compiled on an accelerator: twice as fast for few texts, and the first
    start of a model takes some four minutes, later ones a little more than one where `cache` was kept."""
    max_batch_size: int = Field(default=128, ge=1, le=4096)
    """The most items in a batch."""
    threads: int = Field(default=0, ge=0, le=1024)
    """Cores that one forward pass may use. 0: all that the process may."""
    engine: CpuRuntime = CpuRuntime.AUTO
    """Who computes quantized models on a CPU: openvino, onnxruntime, or auto, which is the first where it was measured
    to be faster (x86) and the second elsewhere."""
    cache: str = "~/.cache/sluice"
    """Where a worker keeps what it made for itself: int8 graphs of checkpoints that ship none, batch-time profiles,
    what torch compiles for an accelerator. Where the home directory does not exist or cannot be written, a directory of
    the user's own below the system's temporary directory takes its place."""
    profile_seconds: float = Field(default=2.0, ge=0, le=600)
    """About how long a model's batch times are measured before it first serves on this machine. 0: never."""
    distilled_budget: float = Field(default=0.05, ge=0, le=1)
    """Share of memory that distilled copies may take, all together, while their full models serve. A copy within it is
    kept in memory and takes over at once; others are loaded when they are needed."""
    memory_ceiling: float = Field(default=0.92, gt=0, le=1)
    """Share of memory up to which a full model and its copy may be held together. What would exceed it is loaded only
    when the other one is gone."""
    drain_timeout_s: float = Field(default=10, ge=0, le=600)
    """How long batches and texts may take after SIGTERM."""

    @property
    def generation(self) -> GenerationLimits:
        """What a model that writes may take."""
        return GenerationLimits(
            max_texts=self.max_generations, memory_share=self.generation_memory, compiles=self.generation_compile
        )

    @model_validator(mode="after")
    def _copies_stand_alone(self) -> Self:
        light = {entry.model for entry in self.models if entry.tier is Tier.LIGHT}
        twice = sorted(light & {entry.model for entry in self.models if entry.distilled})
        if twice:
            raise ValueError(f"models: '{twice[0]}' has a copy in `distilled` and an entry of tier light; drop one")
        return self
