"""The fleet's nouns on the wire and back."""

from __future__ import annotations

import pytest
from hypothesis import given

from sluice.control import codec as directive_wire
from sluice.control import codec as fleet_wire
from sluice.control.degradation.report import Report
from sluice.control.directive import DEFAULT_LEASE_S, Directive
from sluice.control.fleet import Fleet, Registration, Transition
from sluice.domain import variant
from sluice.domain.enums import Level, Task, Tier
from sluice.domain.variant import Variant
from sluice.v1 import degradation_pb2, governor_service_pb2, health_pb2, model_pb2
from tests.unit import strategies as some


@given(some.variants)
def test_a_variant_comes_back_as_it_went(sent: Variant) -> None:
    data = variant.to_proto(sent).SerializeToString()
    assert variant.from_proto(model_pb2.Variant.FromString(data)) == sent


@given(some.directives)
def test_a_directive_comes_back_as_it_went(sent: Directive) -> None:
    data = directive_wire.directive_to_proto(sent).SerializeToString()
    assert directive_wire.directive_from_proto(degradation_pb2.Directive.FromString(data)) == sent


@given(some.transitions)
def test_a_transition_comes_back_as_it_went_and_unknown_signals_stay_so(sent: Transition) -> None:
    data = directive_wire.transition_to_proto(sent).SerializeToString()
    assert directive_wire.transition_from_proto(degradation_pb2.Transition.FromString(data)) == sent


@given(some.reports)
def test_a_report_comes_back_as_it_went_and_what_was_not_measured_stays_so(sent: Report) -> None:
    data = fleet_wire.report_to_proto(sent).SerializeToString()
    assert fleet_wire.report_from_proto(health_pb2.HealthReport.FromString(data)) == sent


@given(some.registrations)
def test_a_registration_comes_back_as_it_went(sent: Registration) -> None:
    data = fleet_wire.registration_to_proto(sent).SerializeToString()
    assert fleet_wire.registration_from_proto(governor_service_pb2.Registration.FromString(data)) == sent


@given(some.fleets)
def test_a_fleet_comes_back_as_it_went(sent: Fleet) -> None:
    data = fleet_wire.fleet_to_proto(sent).SerializeToString()
    assert fleet_wire.fleet_from_proto(health_pb2.Fleet.FromString(data)) == sent


def test_levels_come_in_order_and_once_however_they_were_sent() -> None:
    message = degradation_pb2.Directive(degradation=degradation_pb2.Degradation(levels=[3, 1, 3, 1]))  # type: ignore[list-item]
    assert directive_wire.directive_from_proto(message).levels == (Level.OFFLOAD, Level.ADMIT)


def test_a_directive_without_a_lease_has_the_contracts() -> None:
    assert directive_wire.directive_from_proto(degradation_pb2.Directive(epoch=1)).lease_s == DEFAULT_LEASE_S


@pytest.mark.parametrize("number", [0, 4, 99])
def test_an_unknown_level_is_not_guessed(number: int) -> None:
    message = degradation_pb2.Directive(degradation=degradation_pb2.Degradation(levels=[number]))  # type: ignore[list-item]
    with pytest.raises(ValueError, match=str(number)):
        directive_wire.directive_from_proto(message)


@pytest.mark.parametrize("kind", [0, 4, 99])
def test_an_unknown_kind_of_member_is_not_guessed(kind: int) -> None:
    message = governor_service_pb2.Registration(id="a", address="a:1", kind=kind)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=str(kind)):
        fleet_wire.registration_from_proto(message)


@pytest.mark.parametrize("field", ["tier", "task", "state"])
def test_an_unknown_property_of_a_variant_is_not_guessed(field: str) -> None:
    message = variant.to_proto(Variant(id="m/light-fp32", model="m", tier=Tier.LIGHT, task=Task.TEXT_CLASSIFICATION))
    setattr(message, field, 99)
    with pytest.raises(ValueError, match="99"):
        variant.from_proto(message)


def test_an_instant_that_no_calendar_has_is_refused() -> None:
    message = health_pb2.HealthReport()
    message.measured_at.seconds = 2**60
    with pytest.raises(ValueError, match="not valid"):
        fleet_wire.report_from_proto(message)


def test_a_variants_id_names_its_model_tier_and_precision() -> None:
    assert variant.variant_id("support-intent", Tier.LIGHT, "fp32") == "support-intent/light-fp32"
