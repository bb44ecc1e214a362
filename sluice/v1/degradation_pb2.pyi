import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DegradationLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEGRADATION_LEVEL_UNSPECIFIED: _ClassVar[DegradationLevel]
    DEGRADATION_LEVEL_OFFLOAD: _ClassVar[DegradationLevel]
    DEGRADATION_LEVEL_LIGHTEN: _ClassVar[DegradationLevel]
    DEGRADATION_LEVEL_ADMIT: _ClassVar[DegradationLevel]

class Precision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRECISION_UNSPECIFIED: _ClassVar[Precision]
    PRECISION_FULL: _ClassVar[Precision]
    PRECISION_MIXED: _ClassVar[Precision]
    PRECISION_FP8: _ClassVar[Precision]
    PRECISION_INT4: _ClassVar[Precision]
DEGRADATION_LEVEL_UNSPECIFIED: DegradationLevel
DEGRADATION_LEVEL_OFFLOAD: DegradationLevel
DEGRADATION_LEVEL_LIGHTEN: DegradationLevel
DEGRADATION_LEVEL_ADMIT: DegradationLevel
PRECISION_UNSPECIFIED: Precision
PRECISION_FULL: Precision
PRECISION_MIXED: Precision
PRECISION_FP8: Precision
PRECISION_INT4: Precision

class Degradation(_message.Message):
    __slots__ = ("levels", "offload_share", "lighten_share", "admit_scale", "precision")
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    OFFLOAD_SHARE_FIELD_NUMBER: _ClassVar[int]
    LIGHTEN_SHARE_FIELD_NUMBER: _ClassVar[int]
    ADMIT_SCALE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    levels: _containers.RepeatedScalarFieldContainer[DegradationLevel]
    offload_share: float
    lighten_share: float
    admit_scale: float
    precision: Precision
    def __init__(self, levels: _Optional[_Iterable[_Union[DegradationLevel, str]]] = ..., offload_share: _Optional[float] = ..., lighten_share: _Optional[float] = ..., admit_scale: _Optional[float] = ..., precision: _Optional[_Union[Precision, str]] = ...) -> None: ...

class Directive(_message.Message):
    __slots__ = ("epoch", "revision", "degradation", "lease", "reason")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DEGRADATION_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    revision: int
    degradation: Degradation
    lease: _duration_pb2.Duration
    reason: str
    def __init__(self, epoch: _Optional[int] = ..., revision: _Optional[int] = ..., degradation: _Optional[_Union[Degradation, _Mapping]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class DirectiveAck(_message.Message):
    __slots__ = ("epoch", "revision")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    revision: int
    def __init__(self, epoch: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class Signals(_message.Message):
    __slots__ = ("utilization", "utilization_max", "cpu_utilization", "memory", "cpu_memory", "full_reload_ratio", "queue_delay", "standing_queue_delay", "median_timeout", "deadline_miss_ratio", "refused_ratio", "offloaded_utilization", "lowering_ratio")
    UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    UTILIZATION_MAX_FIELD_NUMBER: _ClassVar[int]
    CPU_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    CPU_MEMORY_FIELD_NUMBER: _ClassVar[int]
    FULL_RELOAD_RATIO_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DELAY_FIELD_NUMBER: _ClassVar[int]
    STANDING_QUEUE_DELAY_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MISS_RATIO_FIELD_NUMBER: _ClassVar[int]
    REFUSED_RATIO_FIELD_NUMBER: _ClassVar[int]
    OFFLOADED_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    LOWERING_RATIO_FIELD_NUMBER: _ClassVar[int]
    utilization: float
    utilization_max: float
    cpu_utilization: float
    memory: float
    cpu_memory: float
    full_reload_ratio: float
    queue_delay: _duration_pb2.Duration
    standing_queue_delay: _duration_pb2.Duration
    median_timeout: _duration_pb2.Duration
    deadline_miss_ratio: float
    refused_ratio: float
    offloaded_utilization: float
    lowering_ratio: float
    def __init__(self, utilization: _Optional[float] = ..., utilization_max: _Optional[float] = ..., cpu_utilization: _Optional[float] = ..., memory: _Optional[float] = ..., cpu_memory: _Optional[float] = ..., full_reload_ratio: _Optional[float] = ..., queue_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., standing_queue_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., median_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., deadline_miss_ratio: _Optional[float] = ..., refused_ratio: _Optional[float] = ..., offloaded_utilization: _Optional[float] = ..., lowering_ratio: _Optional[float] = ...) -> None: ...

class Transition(_message.Message):
    __slots__ = ("at", "before", "directive", "signals")
    AT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    DIRECTIVE_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    before: _containers.RepeatedScalarFieldContainer[DegradationLevel]
    directive: Directive
    signals: Signals
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., before: _Optional[_Iterable[_Union[DegradationLevel, str]]] = ..., directive: _Optional[_Union[Directive, _Mapping]] = ..., signals: _Optional[_Union[Signals, _Mapping]] = ...) -> None: ...
