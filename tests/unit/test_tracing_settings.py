"""What a wrong OTEL_ variable costs: spans, and nothing else."""

import pytest
from structlog.testing import capture_logs

from processor import tracing


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1")]
)
def test_a_process_starts_without_spans_when_their_settings_make_no_sense(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Payments do not stop for want of a collector's settings."""
    monkeypatch.setenv(name, value)
    with capture_logs() as logs, tracing.recording("worker", on=True), tracing.span("apply"):
        is_on = tracing.is_on()

    assert not is_on
    assert [line["event"] for line in logs] == ["tracing.off"]
