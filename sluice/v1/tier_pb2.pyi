from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class Tier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIER_UNSPECIFIED: _ClassVar[Tier]
    TIER_QUANTIZED: _ClassVar[Tier]
    TIER_LIGHT: _ClassVar[Tier]
    TIER_FULL: _ClassVar[Tier]

class QueryClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUERY_CLASS_UNSPECIFIED: _ClassVar[QueryClass]
    QUERY_CLASS_SIMPLE: _ClassVar[QueryClass]
    QUERY_CLASS_COMPLEX: _ClassVar[QueryClass]
    QUERY_CLASS_REAL_TIME: _ClassVar[QueryClass]

class Task(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_UNSPECIFIED: _ClassVar[Task]
    TASK_TEXT_CLASSIFICATION: _ClassVar[Task]
    TASK_FEATURE_EXTRACTION: _ClassVar[Task]
    TASK_TEXT_GENERATION: _ClassVar[Task]
TIER_UNSPECIFIED: Tier
TIER_QUANTIZED: Tier
TIER_LIGHT: Tier
TIER_FULL: Tier
QUERY_CLASS_UNSPECIFIED: QueryClass
QUERY_CLASS_SIMPLE: QueryClass
QUERY_CLASS_COMPLEX: QueryClass
QUERY_CLASS_REAL_TIME: QueryClass
TASK_UNSPECIFIED: Task
TASK_TEXT_CLASSIFICATION: Task
TASK_FEATURE_EXTRACTION: Task
TASK_TEXT_GENERATION: Task
