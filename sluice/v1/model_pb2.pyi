import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from sluice.v1 import tier_pb2 as _tier_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VariantState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VARIANT_STATE_UNSPECIFIED: _ClassVar[VariantState]
    VARIANT_STATE_LOADING: _ClassVar[VariantState]
    VARIANT_STATE_READY: _ClassVar[VariantState]
    VARIANT_STATE_UNLOADING: _ClassVar[VariantState]
VARIANT_STATE_UNSPECIFIED: VariantState
VARIANT_STATE_LOADING: VariantState
VARIANT_STATE_READY: VariantState
VARIANT_STATE_UNLOADING: VariantState

class Variant(_message.Message):
    __slots__ = ("id", "model", "tier", "task", "device", "precision", "labels", "max_tokens", "max_batch_size", "quality", "quality_by_complexity", "profile", "state", "cache_tokens", "max_generations", "max_token_bytes")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    QUALITY_BY_COMPLEXITY_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CACHE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKEN_BYTES_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    tier: _tier_pb2.Tier
    task: _tier_pb2.Task
    device: str
    precision: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    max_tokens: int
    max_batch_size: int
    quality: float
    quality_by_complexity: _containers.RepeatedScalarFieldContainer[float]
    profile: _containers.RepeatedCompositeFieldContainer[BatchTime]
    state: VariantState
    cache_tokens: int
    max_generations: int
    max_token_bytes: int
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., tier: _Optional[_Union[_tier_pb2.Tier, str]] = ..., task: _Optional[_Union[_tier_pb2.Task, str]] = ..., device: _Optional[str] = ..., precision: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., max_tokens: _Optional[int] = ..., max_batch_size: _Optional[int] = ..., quality: _Optional[float] = ..., quality_by_complexity: _Optional[_Iterable[float]] = ..., profile: _Optional[_Iterable[_Union[BatchTime, _Mapping]]] = ..., state: _Optional[_Union[VariantState, str]] = ..., cache_tokens: _Optional[int] = ..., max_generations: _Optional[int] = ..., max_token_bytes: _Optional[int] = ...) -> None: ...

class BatchTime(_message.Message):
    __slots__ = ("items", "tokens", "time", "deviation")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    DEVIATION_FIELD_NUMBER: _ClassVar[int]
    items: int
    tokens: int
    time: _duration_pb2.Duration
    deviation: _duration_pb2.Duration
    def __init__(self, items: _Optional[int] = ..., tokens: _Optional[int] = ..., time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., deviation: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
