import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from sluice.v1 import inference_service_pb2 as _inference_service_pb2
from sluice.v1 import model_pb2 as _model_pb2
from sluice.v1 import tier_pb2 as _tier_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExecuteRequest(_message.Message):
    __slots__ = ("batch", "cancel", "generation")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    batch: Batch
    cancel: CancelItems
    generation: Generation
    def __init__(self, batch: _Optional[_Union[Batch, _Mapping]] = ..., cancel: _Optional[_Union[CancelItems, _Mapping]] = ..., generation: _Optional[_Union[Generation, _Mapping]] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("id", "variant", "items", "traceparent")
    ID_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    id: int
    variant: str
    items: _containers.RepeatedCompositeFieldContainer[BatchItem]
    traceparent: str
    def __init__(self, id: _Optional[int] = ..., variant: _Optional[str] = ..., items: _Optional[_Iterable[_Union[BatchItem, _Mapping]]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class BatchItem(_message.Message):
    __slots__ = ("id", "text", "timeout", "top_k", "truncate", "traceparent")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    timeout: _duration_pb2.Duration
    top_k: int
    truncate: bool
    traceparent: str
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., top_k: _Optional[int] = ..., truncate: bool = ..., traceparent: _Optional[str] = ...) -> None: ...

class Generation(_message.Message):
    __slots__ = ("id", "variant", "prompt", "timeout", "max_new_tokens", "temperature", "top_p", "top_k", "seed", "stop", "traceparent")
    ID_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    id: int
    variant: str
    prompt: str
    timeout: _duration_pb2.Duration
    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    traceparent: str
    def __init__(self, id: _Optional[int] = ..., variant: _Optional[str] = ..., prompt: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_new_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., top_k: _Optional[int] = ..., seed: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class CancelItems(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ids: _Optional[_Iterable[int]] = ...) -> None: ...

class ExecuteResponse(_message.Message):
    __slots__ = ("welcome", "credit", "result", "pieces")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    PIECES_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    credit: Credit
    result: BatchResult
    pieces: _containers.RepeatedCompositeFieldContainer[GenerationPiece]
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., result: _Optional[_Union[BatchResult, _Mapping]] = ..., pieces: _Optional[_Iterable[_Union[GenerationPiece, _Mapping]]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("worker", "variants", "draining", "boot", "mesh", "max_message_bytes")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    MESH_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    worker: str
    variants: _containers.RepeatedCompositeFieldContainer[_model_pb2.Variant]
    draining: bool
    boot: str
    mesh: str
    max_message_bytes: int
    def __init__(self, worker: _Optional[str] = ..., variants: _Optional[_Iterable[_Union[_model_pb2.Variant, _Mapping]]] = ..., draining: bool = ..., boot: _Optional[str] = ..., mesh: _Optional[str] = ..., max_message_bytes: _Optional[int] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("batches", "max_items", "max_tokens", "generations")
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    batches: int
    max_items: int
    max_tokens: int
    generations: int
    def __init__(self, batches: _Optional[int] = ..., max_items: _Optional[int] = ..., max_tokens: _Optional[int] = ..., generations: _Optional[int] = ...) -> None: ...

class GenerationPiece(_message.Message):
    __slots__ = ("id", "text", "tokens", "prompt_tokens", "finish_reason", "status")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    tokens: int
    prompt_tokens: int
    finish_reason: _inference_service_pb2.FinishReason
    status: _inference_service_pb2.ItemStatus
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ..., tokens: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., finish_reason: _Optional[_Union[_inference_service_pb2.FinishReason, str]] = ..., status: _Optional[_Union[_inference_service_pb2.ItemStatus, _Mapping]] = ...) -> None: ...

class BatchResult(_message.Message):
    __slots__ = ("batch_id", "results", "wait", "compute")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_FIELD_NUMBER: _ClassVar[int]
    batch_id: int
    results: _containers.RepeatedCompositeFieldContainer[ItemResult]
    wait: _duration_pb2.Duration
    compute: _duration_pb2.Duration
    def __init__(self, batch_id: _Optional[int] = ..., results: _Optional[_Iterable[_Union[ItemResult, _Mapping]]] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., compute: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ItemResult(_message.Message):
    __slots__ = ("id", "classification", "embedding", "status")
    ID_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    id: int
    classification: _inference_service_pb2.Classification
    embedding: _inference_service_pb2.Embedding
    status: _inference_service_pb2.ItemStatus
    def __init__(self, id: _Optional[int] = ..., classification: _Optional[_Union[_inference_service_pb2.Classification, _Mapping]] = ..., embedding: _Optional[_Union[_inference_service_pb2.Embedding, _Mapping]] = ..., status: _Optional[_Union[_inference_service_pb2.ItemStatus, _Mapping]] = ...) -> None: ...

class DescribeModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeModelsResponse(_message.Message):
    __slots__ = ("worker",)
    WORKER_FIELD_NUMBER: _ClassVar[int]
    worker: Welcome
    def __init__(self, worker: _Optional[_Union[Welcome, _Mapping]] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("model", "tier", "checkpoint", "precision")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    model: str
    tier: _tier_pb2.Tier
    checkpoint: str
    precision: str
    def __init__(self, model: _Optional[str] = ..., tier: _Optional[_Union[_tier_pb2.Tier, str]] = ..., checkpoint: _Optional[str] = ..., precision: _Optional[str] = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("variant",)
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    variant: _model_pb2.Variant
    def __init__(self, variant: _Optional[_Union[_model_pb2.Variant, _Mapping]] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("variant",)
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    variant: str
    def __init__(self, variant: _Optional[str] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
