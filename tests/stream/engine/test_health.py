"""States follow from the numbers, with their reasons one by one."""

from spark3r_stream.engine.health import HealthMonitor
from spark3r_stream.wire.messages import TrackingState

GOOD = (0.5, 0.01)


def test_a_consistent_stream_tracks() -> None:
    monitor = HealthMonitor()
    assert monitor.update(0.6, None, True) is TrackingState.TRACKING
    assert all(monitor.update(0.6, GOOD, True) is TrackingState.TRACKING for _ in range(50))


def test_shift_or_falling_confidence_lowers_the_state_and_it_recovers() -> None:
    monitor = HealthMonitor()
    monitor.update(0.6, None, True)
    assert monitor.update(0.6, (8.0, 0.0), True) is TrackingState.LOW_CONFIDENCE
    assert monitor.update(0.6, (0.0, 0.3), True) is TrackingState.LOW_CONFIDENCE
    assert monitor.update(0.2, GOOD, True) is TrackingState.LOW_CONFIDENCE
    assert monitor.update(0.6, GOOD, True) is TrackingState.TRACKING


def test_whatever_is_not_tracking_has_a_reason() -> None:
    monitor = HealthMonitor()
    reasons = []
    for confidence, shift, valid in [
        (0.6, None, True),
        (0.6, (8.0, 0.0), True),
        (0.6, (90.0, 0.0), True),
        (0.2, GOOD, True),
        (float("nan"), GOOD, False),
    ]:
        monitor.update(confidence, shift, valid)
        reasons.append(monitor.reason)
    monitor.new_epoch()
    monitor.update(0.6, GOOD, True)
    reasons.append(monitor.reason)
    expected = ["", "by 8.0 degrees", "by 90.0 degrees", "confidence is 0.20, usually 0.60", "valid", "interruption"]
    assert all(part in reason for part, reason in zip(expected, reasons, strict=True))
    assert [bool(reason) for reason in reasons] == [False, True, True, True, True, True]


def test_bad_windows_in_a_row_lose_the_stream_single_ones_do_not() -> None:
    monitor = HealthMonitor()
    states = [monitor.update(0.6, (90.0, 0.0), True) for _ in range(3)]
    assert states == [TrackingState.LOW_CONFIDENCE, TrackingState.LOW_CONFIDENCE, TrackingState.LOST]
    monitor = HealthMonitor()
    for shift, valid in [((0.0, 5.0), True), (GOOD, True), (GOOD, False), (GOOD, True)] * 5:
        assert monitor.update(0.6, shift, valid) is not TrackingState.LOST


def test_not_finite_confidence_is_bad() -> None:
    monitor = HealthMonitor()
    assert [monitor.update(float("nan"), GOOD, True) for _ in range(3)][-1] is TrackingState.LOST


def test_a_new_epoch_must_prove_itself() -> None:
    monitor = HealthMonitor()
    monitor.update(0.6, None, True)
    monitor.new_epoch()
    states = [monitor.update(0.6, GOOD, True) for _ in range(3)]
    assert states == [TrackingState.LOW_CONFIDENCE, TrackingState.LOW_CONFIDENCE, TrackingState.TRACKING]
