import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from sluice.v1 import degradation_pb2 as _degradation_pb2
from sluice.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MemberKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEMBER_KIND_UNSPECIFIED: _ClassVar[MemberKind]
    MEMBER_KIND_ROUTER: _ClassVar[MemberKind]
    MEMBER_KIND_GPU_WORKER: _ClassVar[MemberKind]
    MEMBER_KIND_CPU_WORKER: _ClassVar[MemberKind]

class DepartureReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEPARTURE_REASON_UNSPECIFIED: _ClassVar[DepartureReason]
    DEPARTURE_REASON_LEFT: _ClassVar[DepartureReason]
    DEPARTURE_REASON_REMOVED: _ClassVar[DepartureReason]
    DEPARTURE_REASON_LOST: _ClassVar[DepartureReason]
MEMBER_KIND_UNSPECIFIED: MemberKind
MEMBER_KIND_ROUTER: MemberKind
MEMBER_KIND_GPU_WORKER: MemberKind
MEMBER_KIND_CPU_WORKER: MemberKind
DEPARTURE_REASON_UNSPECIFIED: DepartureReason
DEPARTURE_REASON_LEFT: DepartureReason
DEPARTURE_REASON_REMOVED: DepartureReason
DEPARTURE_REASON_LOST: DepartureReason

class HealthReport(_message.Message):
    __slots__ = ("measured_at", "utilization", "memory", "queue_delay", "hot_queued", "cold_queued", "inflight", "deadline_miss_ratio", "variants", "draining", "requests_per_second", "standing_queue_delay", "median_timeout", "refused_ratio", "offloaded_utilization", "full_reload_ratio", "in_force", "applied", "decides_alone", "lowering_ratio", "swap_trouble")
    MEASURED_AT_FIELD_NUMBER: _ClassVar[int]
    UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DELAY_FIELD_NUMBER: _ClassVar[int]
    HOT_QUEUED_FIELD_NUMBER: _ClassVar[int]
    COLD_QUEUED_FIELD_NUMBER: _ClassVar[int]
    INFLIGHT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MISS_RATIO_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    STANDING_QUEUE_DELAY_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_RATIO_FIELD_NUMBER: _ClassVar[int]
    OFFLOADED_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    FULL_RELOAD_RATIO_FIELD_NUMBER: _ClassVar[int]
    IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    DECIDES_ALONE_FIELD_NUMBER: _ClassVar[int]
    LOWERING_RATIO_FIELD_NUMBER: _ClassVar[int]
    SWAP_TROUBLE_FIELD_NUMBER: _ClassVar[int]
    measured_at: _timestamp_pb2.Timestamp
    utilization: float
    memory: float
    queue_delay: _duration_pb2.Duration
    hot_queued: int
    cold_queued: int
    inflight: int
    deadline_miss_ratio: float
    variants: _containers.RepeatedCompositeFieldContainer[_model_pb2.Variant]
    draining: bool
    requests_per_second: float
    standing_queue_delay: _duration_pb2.Duration
    median_timeout: _duration_pb2.Duration
    refused_ratio: float
    offloaded_utilization: float
    full_reload_ratio: float
    in_force: _degradation_pb2.Degradation
    applied: _degradation_pb2.DirectiveAck
    decides_alone: bool
    lowering_ratio: float
    swap_trouble: str
    def __init__(self, measured_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., utilization: _Optional[float] = ..., memory: _Optional[float] = ..., queue_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., hot_queued: _Optional[int] = ..., cold_queued: _Optional[int] = ..., inflight: _Optional[int] = ..., deadline_miss_ratio: _Optional[float] = ..., variants: _Optional[_Iterable[_Union[_model_pb2.Variant, _Mapping]]] = ..., draining: bool = ..., requests_per_second: _Optional[float] = ..., standing_queue_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., median_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., refused_ratio: _Optional[float] = ..., offloaded_utilization: _Optional[float] = ..., full_reload_ratio: _Optional[float] = ..., in_force: _Optional[_Union[_degradation_pb2.Degradation, _Mapping]] = ..., applied: _Optional[_Union[_degradation_pb2.DirectiveAck, _Mapping]] = ..., decides_alone: bool = ..., lowering_ratio: _Optional[float] = ..., swap_trouble: _Optional[str] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("id", "kind", "address", "report", "last_heard_at", "applied", "unacknowledged", "disobeys", "doubted", "boot")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_AT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    UNACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    DISOBEYS_FIELD_NUMBER: _ClassVar[int]
    DOUBTED_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: MemberKind
    address: str
    report: HealthReport
    last_heard_at: _timestamp_pb2.Timestamp
    applied: _degradation_pb2.DirectiveAck
    unacknowledged: _duration_pb2.Duration
    disobeys: bool
    doubted: int
    boot: str
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[_Union[MemberKind, str]] = ..., address: _Optional[str] = ..., report: _Optional[_Union[HealthReport, _Mapping]] = ..., last_heard_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., applied: _Optional[_Union[_degradation_pb2.DirectiveAck, _Mapping]] = ..., unacknowledged: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., disobeys: bool = ..., doubted: _Optional[int] = ..., boot: _Optional[str] = ...) -> None: ...

class Departure(_message.Message):
    __slots__ = ("id", "address", "boot", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    boot: str
    reason: DepartureReason
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., boot: _Optional[str] = ..., reason: _Optional[_Union[DepartureReason, str]] = ...) -> None: ...

class Fleet(_message.Message):
    __slots__ = ("epoch", "revision", "members", "directive", "signals", "departed", "parts", "part")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    DIRECTIVE_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    DEPARTED_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    revision: int
    members: _containers.RepeatedCompositeFieldContainer[Member]
    directive: _degradation_pb2.Directive
    signals: _degradation_pb2.Signals
    departed: _containers.RepeatedCompositeFieldContainer[Departure]
    parts: int
    part: int
    def __init__(self, epoch: _Optional[int] = ..., revision: _Optional[int] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., directive: _Optional[_Union[_degradation_pb2.Directive, _Mapping]] = ..., signals: _Optional[_Union[_degradation_pb2.Signals, _Mapping]] = ..., departed: _Optional[_Iterable[_Union[Departure, _Mapping]]] = ..., parts: _Optional[int] = ..., part: _Optional[int] = ...) -> None: ...
