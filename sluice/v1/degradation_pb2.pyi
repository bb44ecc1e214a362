import datetime

from google.protobuf import duration_pb2 as _duration_pb2
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
DEGRADATION_LEVEL_UNSPECIFIED: DegradationLevel
DEGRADATION_LEVEL_OFFLOAD: DegradationLevel
DEGRADATION_LEVEL_LIGHTEN: DegradationLevel
DEGRADATION_LEVEL_ADMIT: DegradationLevel

class Degradation(_message.Message):
    __slots__ = ("levels", "offload_share", "lighten_share", "admit_scale")
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    OFFLOAD_SHARE_FIELD_NUMBER: _ClassVar[int]
    LIGHTEN_SHARE_FIELD_NUMBER: _ClassVar[int]
    ADMIT_SCALE_FIELD_NUMBER: _ClassVar[int]
    levels: _containers.RepeatedScalarFieldContainer[DegradationLevel]
    offload_share: float
    lighten_share: float
    admit_scale: float
    def __init__(self, levels: _Optional[_Iterable[_Union[DegradationLevel, str]]] = ..., offload_share: _Optional[float] = ..., lighten_share: _Optional[float] = ..., admit_scale: _Optional[float] = ...) -> None: ...

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
