"""Route for the overview: from Prometheus if it answers, else from the exporter; not more often than is useful."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final, Literal

import httpx
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from api_min import problem
from api_min.auth import looking
from api_min.ops import from_exporter, from_prometheus
from api_min.ops.document import Overview, Span
from api_min.ops.sources import PATIENCE_S, HangingError, SourceError, new_client
from api_min.ops.verdict import Verdict, judge
from api_min.problem import ProblemError
from processor import clock
from processor.settings import Settings

router = APIRouter(prefix="/v1/ops", tags=["ops"], dependencies=[Depends(looking)])

_REMEMBERED_S: Final = 1.0
"""Ten screens on ten walls cost as much as one."""

_NEWER_WITHIN_S: Final = 1.0
"""How long Prometheus's figures wait for what the exporter of this host has read since."""
_AT_WORK_S: Final = 12.0
"""The exporter takes a sample every 5 seconds: with none for longer than this, something is wrong with it."""

_START: Final = "Start it with python -m exporter; florin up does by itself."
_HANGS: Final = "It runs but hangs, or its host does: restart it, and look at its log."

_TELLS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class OverviewDocument(Overview):
    """How things are and were, and what that comes to."""

    verdict: Verdict
    age_s: float = Field(description="How old the figures were when they were given")
    prometheus: Literal["none", "away", "answers"] = Field(
        description="Whether FLORIN_PROMETHEUS_URL is set, and answers: without it only Florin's own alerts are seen"
    )


class Overviews:
    """One per API process: asks, judges, and remembers the answer, also that there is none, for a moment."""

    def __init__(self, settings: Settings, client: httpx.AsyncClient) -> None:
        prometheus = settings.prometheus_url
        self._prometheus = prometheus.get_secret_value() if prometheus else None
        self._exporter = settings.exporter_url.get_secret_value()
        self._zone = settings.rules().zone
        self._client = client
        self._asking: dict[Span, asyncio.Lock] = {}
        self._known: dict[Span, tuple[float, bytes | str]] = {}

    async def document(self, span: Span) -> bytes:
        """The overview of the last ``span`` as JSON. Raises a ``no_figures`` problem that says what to start."""
        async with self._asking.setdefault(span, asyncio.Lock()):
            until, answer = self._known.get(span, (0.0, ""))
            if time.monotonic() >= until:
                answer = await self._ask(span)
                self._known[span] = (time.monotonic() + _REMEMBERED_S, answer)
        if isinstance(answer, str):
            raise ProblemError("no_figures", answer, headers={"Retry-After": "2", **_TELLS})
        return answer

    async def _ask(self, span: Span) -> bytes | str:
        """The JSON, or why there is none."""
        troubles = []
        if self._prometheus:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    found, newer = await asyncio.gather(
                        from_prometheus.read(self._client, self._prometheus, span, now=clock.now().timestamp()),
                        self._state(),
                    )
                # The exporter says how things are when it is asked; its samples are only how it is seen to be at work.
                if newer is not None and newer.now > clock.now().timestamp() - _AT_WORK_S:
                    found = from_prometheus.with_state(found, newer.current).model_copy(
                        update={"now": max(found.now, newer.now)}
                    )
                return self._judged(found, "answers")
            except (SourceError, TimeoutError) as error:
                troubles.append(f"Prometheus (FLORIN_PROMETHEUS_URL): {_why(error)}.")
        try:
            async with asyncio.timeout(PATIENCE_S):
                found = await from_exporter.read(self._client, self._exporter)
            return self._judged(found.last(span), "away" if self._prometheus else "none")
        except (SourceError, TimeoutError) as error:
            troubles.append(f"The exporter (FLORIN_EXPORTER_URL): {_why(error)}.")
            what = _HANGS if isinstance(error, (TimeoutError, HangingError)) else _START
        return " ".join([*troubles, what])

    async def _state(self) -> Overview | None:
        """What the exporter of this host says, if there is one and it is quick: it is newer than any scrape."""
        try:
            async with asyncio.timeout(_NEWER_WITHIN_S):
                return await from_exporter.read(self._client, self._exporter)
        except (SourceError, TimeoutError):
            return None

    def _judged(self, overview: Overview, prometheus: Literal["none", "away", "answers"]) -> bytes:
        age_s = max(0.0, clock.now().timestamp() - overview.now)
        verdict = judge(
            overview.current, settled_per_s=overview.settled_now_per_s(), age_s=age_s, waits=overview.waits()
        )
        readable = overview.for_people(self._zone)
        return (
            OverviewDocument(**dict(readable), verdict=verdict, age_s=age_s, prometheus=prometheus)
            .model_dump_json()
            .encode()
        )


@asynccontextmanager
async def overviews(settings: Settings) -> AsyncIterator[Overviews]:
    """What the route uses, for as long as the application lives."""
    async with new_client() as client:
        yield Overviews(settings, client)


@router.get(
    "/overview",
    response_model=OverviewDocument,
    responses=problem.documented("unauthenticated", "forbidden", "invalid", "no_figures"),
)
async def show(
    request: Request,
    span: Annotated[Span, Query(description="How far back; more than an hour needs Prometheus")] = "15m",
) -> Response:
    """Is money stuck? What the page `/ops` draws: how things are now, how they were, and what that comes to."""
    found: Overviews = request.app.state.overviews
    return Response(await found.document(span), media_type="application/json", headers=_TELLS)


def _why(error: Exception) -> str:
    return str(error) or f"it does not answer within {PATIENCE_S:.0f} s"
