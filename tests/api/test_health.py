"""What machines ask: is it alive, and can it work."""

from tests.api.conftest import Api


def test_a_process_that_answers_is_alive(stranger: Api) -> None:
    """Whoever asks needs no key."""
    answer = stranger.http.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_stack_that_can_work_is_ready(stranger: Api) -> None:
    """Postgres with its schema, and Redis."""
    answer = stranger.http.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"postgres": "ok", "redis": "ok"})


def test_the_figures_are_not_for_the_public(stranger: Api) -> None:
    """Money totals stand where only Prometheus looks: on the exporter's port."""
    assert stranger.http.get("/metrics").status_code == 404
