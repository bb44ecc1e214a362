import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from sluice.v1 import degradation_pb2 as _degradation_pb2
from sluice.v1 import health_pb2 as _health_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JoinRequest(_message.Message):
    __slots__ = ("registration", "report", "ack")
    REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    registration: Registration
    report: _health_pb2.HealthReport
    ack: _degradation_pb2.DirectiveAck
    def __init__(self, registration: _Optional[_Union[Registration, _Mapping]] = ..., report: _Optional[_Union[_health_pb2.HealthReport, _Mapping]] = ..., ack: _Optional[_Union[_degradation_pb2.DirectiveAck, _Mapping]] = ...) -> None: ...

class Registration(_message.Message):
    __slots__ = ("id", "kind", "address", "obeyed", "directed", "boot", "mesh")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    OBEYED_FIELD_NUMBER: _ClassVar[int]
    DIRECTED_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    MESH_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: _health_pb2.MemberKind
    address: str
    obeyed: _degradation_pb2.Directive
    directed: bool
    boot: str
    mesh: str
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[_Union[_health_pb2.MemberKind, str]] = ..., address: _Optional[str] = ..., obeyed: _Optional[_Union[_degradation_pb2.Directive, _Mapping]] = ..., directed: bool = ..., boot: _Optional[str] = ..., mesh: _Optional[str] = ...) -> None: ...

class JoinResponse(_message.Message):
    __slots__ = ("directive", "fleet", "report_interval", "mesh")
    DIRECTIVE_FIELD_NUMBER: _ClassVar[int]
    FLEET_FIELD_NUMBER: _ClassVar[int]
    REPORT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MESH_FIELD_NUMBER: _ClassVar[int]
    directive: _degradation_pb2.Directive
    fleet: _health_pb2.Fleet
    report_interval: _duration_pb2.Duration
    mesh: str
    def __init__(self, directive: _Optional[_Union[_degradation_pb2.Directive, _Mapping]] = ..., fleet: _Optional[_Union[_health_pb2.Fleet, _Mapping]] = ..., report_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., mesh: _Optional[str] = ...) -> None: ...

class WatchFleetRequest(_message.Message):
    __slots__ = ("interval", "history")
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    interval: _duration_pb2.Duration
    history: int
    def __init__(self, interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., history: _Optional[int] = ...) -> None: ...

class WatchFleetResponse(_message.Message):
    __slots__ = ("fleet", "transitions")
    FLEET_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    fleet: _health_pb2.Fleet
    transitions: _containers.RepeatedCompositeFieldContainer[_degradation_pb2.Transition]
    def __init__(self, fleet: _Optional[_Union[_health_pb2.Fleet, _Mapping]] = ..., transitions: _Optional[_Iterable[_Union[_degradation_pb2.Transition, _Mapping]]] = ...) -> None: ...

class SetDegradationRequest(_message.Message):
    __slots__ = ("degradation", "duration", "reason")
    DEGRADATION_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    degradation: _degradation_pb2.Degradation
    duration: _duration_pb2.Duration
    reason: str
    def __init__(self, degradation: _Optional[_Union[_degradation_pb2.Degradation, _Mapping]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class SetDegradationResponse(_message.Message):
    __slots__ = ("directive",)
    DIRECTIVE_FIELD_NUMBER: _ClassVar[int]
    directive: _degradation_pb2.Directive
    def __init__(self, directive: _Optional[_Union[_degradation_pb2.Directive, _Mapping]] = ...) -> None: ...
