"""Queue and workers: what a command passes on its way, from the intake over Redis to its outcome."""

from grafana_foundation_sdk.models import units

from ops.dashboards.board import Board, Section, board, link_to
from ops.dashboards.panels import (
    NONE_IS_BAD,
    SLO_S,
    Column,
    Panel,
    Query,
    ago,
    mean,
    per_second,
    quantile,
    rising,
    series,
    stat,
    table,
)
from ops.dashboards.runbooks import runbook


def queue() -> Board:
    """In the order in which a command meets them."""
    return board(
        "queue",
        "Queue and workers",
        "Where commands spend their time between receipt and outcome, and who works on them.",
        Section("Now", _now()),
        Section("Intake", _intake()),
        Section("Queue", _queue()),
        Section("Workers", _workers()),
        Section("Scheduler", _scheduler()),
        Section("Processes", _processes()),
    )


def _now() -> list[Panel]:
    return [
        stat(
            "Oldest pending",
            f"Age of the oldest command without an outcome. Good below {SLO_S} s. Growing: follow the runbook.",
            "max(florin_oldest_pending_age_seconds)",
            unit=units.Seconds,
            steps=rising(SLO_S, 60),
            ranges=[(None, 0, "none waits")],
            links=[runbook("commandsstuck")],
        ),
        stat(
            "Backlog",
            "Places in line of pending commands. Long and old: start more workers.",
            "max(florin_backlog_commands)",
            steps=rising(20_000, 250_000),
            ranges=[(None, 0, "empty")],
        ),
        stat(
            "Messages in Redis",
            "Messages that wait for a worker, or are with one. Good is a few. Many, while the backlog is short: "
            "repeats of what is done already; they cost a look each.",
            'sum(max by (queue, state) (florin_queue_messages{state=~"ready|taken"}))',
            steps=rising(1_000, 10_000),
            ranges=[(None, 0, "empty")],
        ),
        stat(
            "Workers",
            "Worker processes that run, on all hosts. None: nothing is decided. Start them.",
            'sum(florin_processes{component="worker"}) or 0 * max(florin_postgres_up)',
            steps=NONE_IS_BAD,
            words={"0": "none"},
        ),
        stat(
            "Scheduler",
            "Whether somebody holds the leader's lock. 'None leads': what the queue loses is not sent again. Start "
            "one.",
            "max(florin_scheduler_leader)",
            steps=NONE_IS_BAD,
            words={"0": "none leads", "1": "leads"},
        ),
        stat(
            "Dead messages",
            "Messages that Dramatiq gave up on and keeps. Their commands were sent again by the sweeper, so no "
            "money waits; but something failed often: the workers' log says what.",
            'sum(max by (queue) (florin_queue_messages{state="dead"})) or 0 * (max(florin_redis_up) == 1)',
            steps=((None, "green"), (1, "orange")),
            words={"0": "none"},
        ),
    ]


def _intake() -> list[Panel]:
    return [
        series(
            "What reached the intake",
            "Good: accepted lies on received. Replayed: clients repeat themselves, which is safe; a flood of them "
            "is a client that gets no answers. Conflicting: a client uses one key for two requests; tell it. "
            "Overloaded: the backlog is at its limit and clients get 429; start more workers.",
            Query(per_second("florin_commands_received_total"), "received"),
            Query(per_second("florin_commands_accepted_total"), "accepted"),
            Query(per_second("florin_commands_replayed_total"), "replayed"),
            Query(per_second("florin_commands_conflicting_total"), "conflicting"),
            Query(per_second("florin_commands_overloaded_total"), "overloaded"),
            unit=units.CountsPerSecond,
            size=(8, 8),
        ),
        series(
            "Requests by status",
            "Good: 2xx. 4xx are the clients' mistakes. 5xx count against the promise that 999 in 1,000 requests "
            "are taken: is Postgres up, are connections waited for?",
            Query(per_second("florin_http_request_seconds_count", by="route, status"), "{{status}} {{route}}"),
            unit=units.RequestsPerSecond,
            is_stacked=True,
            size=(8, 8),
        ),
        series(
            "Time of a request and of its transaction",
            "Good: below 0.1 s; requests with Prefer: wait last as long as they wait, so the request's p99 may be "
            "long. The transaction's is not: above 0.5 s, look at Postgres (disk, locks, connections).",
            Query(quantile(0.99, "florin_http_request_seconds"), "request p99"),
            Query(quantile(0.5, "florin_accept_seconds"), "transaction p50"),
            Query(quantile(0.99, "florin_accept_seconds"), "transaction p99"),
            unit=units.Seconds,
            size=(8, 8),
            links=[link_to("servers", "Postgres and Redis")],
        ),
    ]


def _queue() -> list[Panel]:
    return [
        series(
            "Messages by state",
            "Good: near zero in every state. 'ready' that grows: too few workers. 'delayed': retries that wait for "
            "their time. 'taken' that stands still: a worker hangs; its messages come back within seconds once it "
            "is killed.",
            Query("max by (queue, state) (florin_queue_messages)", "{{queue}} {{state}}"),
            size=(8, 8),
        ),
        series(
            "Wait in the queue",
            "From a message's sending to its being taken, p99. Good: below a second. More: workers are busy (start "
            "more) or gone. It compares two clocks: hosts whose clocks differ show too much or nothing.",
            Query(quantile(0.99, "florin_queue_wait_seconds", by="queue"), "{{queue}} p99"),
            unit=units.Seconds,
            size=(8, 8),
        ),
        series(
            "What went wrong on the way",
            "Good: zero. 'not announced': Redis did not take a message; the sweeper sends it. 'swept': commands "
            "that were stranded and sent again; some after a restart, none otherwise. 'retried' and 'given up': "
            "see the workers' log.",
            Query(per_second("florin_messages_unannounced_total"), "not announced"),
            Query(per_second("florin_commands_swept_total"), "swept"),
            Query(per_second("florin_message_retries_total", by="queue"), "retried {{queue}}"),
            Query(per_second("florin_messages_given_up_total", by="queue"), "given up {{queue}}"),
            unit=units.CountsPerSecond,
            size=(8, 8),
            links=[runbook("commandsstuck")],
        ),
    ]


def _workers() -> list[Panel]:
    return [
        series(
            "Settled by type",
            "Outcomes per second. Good: follows what is accepted. A type that is missing: a client stopped, or its "
            "commands wait.",
            Query(per_second("florin_commands_settled_total", by="type"), "{{type}}"),
            unit=units.CountsPerSecond,
            is_stacked=True,
        ),
        series(
            "Receipt to outcome",
            f"How long clients wait. Promised: {SLO_S} s, the dashed line. Compare the panels beneath: is it the "
            "lock, or the transaction? If neither, it is the queue.",
            Query(quantile(0.5, "florin_receipt_to_outcome_seconds"), "p50"),
            Query(quantile(0.95, "florin_receipt_to_outcome_seconds"), "p95"),
            Query(quantile(0.99, "florin_receipt_to_outcome_seconds"), "p99"),
            unit=units.Seconds,
            steps=((None, "transparent"), (SLO_S, "red")),
        ),
        series(
            "Time of a transaction and its wait for locks",
            "Good: a transaction below 0.1 s, nearly none of it waiting. Long waits: many commands on few "
            "accounts, which are decided one batch after the other, whatever the number of workers.",
            Query(quantile(0.5, "florin_apply_seconds"), "transaction p50"),
            Query(quantile(0.99, "florin_apply_seconds"), "transaction p99"),
            Query(quantile(0.99, "florin_lock_wait_seconds"), "lock wait p99"),
            unit=units.Seconds,
            size=(8, 8),
        ),
        series(
            "Commands in a batch",
            "Mean number of commands in a transaction. Good: near one when it is quiet, up to 200 under load, "
            "which is what makes it fast. Small under load: clients send one by one with pauses.",
            Query(mean("florin_apply_batch_commands"), "worker's transaction"),
            Query(mean("florin_intake_group_commands"), "intake's transaction"),
            size=(8, 8),
        ),
        series(
            "Transactions run again or cut up",
            "Good: zero, or nearly. Retries: Postgres is in trouble, or deadlocks. Isolations: one command makes "
            "its batch fail, and becomes a dead letter. Books errors: the books contradict themselves; nothing "
            "wrong is recorded. Wake somebody.",
            Query(per_second("florin_apply_retries_total"), "retries"),
            Query(per_second("florin_apply_widened_total"), "widened"),
            Query(per_second("florin_apply_isolations_total"), "isolations"),
            Query(per_second("florin_dead_letters_total"), "dead letters"),
            Query(per_second("florin_books_errors_total"), "books errors"),
            unit=units.CountsPerSecond,
            size=(8, 8),
            links=[link_to("ledger", "Ledger")],
        ),
    ]


def _scheduler() -> list[Panel]:
    return [
        table(
            "Jobs",
            "When each job last succeeded, in its periods and in seconds, and how long it took. Good: below three "
            "periods. More: ./florin jobs list says what failed; ./florin jobs run NAME runs it now.",
            {"job": "Job"},
            Column(
                "Periods ago",
                "(time() - max by (job) (florin_job_last_success_timestamp_seconds > 0)) "
                "/ on (job) max by (job) (florin_job_period_seconds)",
                steps=rising(3, 10),
            ),
            Column("Succeeded ago", ago("florin_job_last_success_timestamp_seconds", by="job"), units.Seconds),
            Column("Every", "max by (job) (florin_job_period_seconds)", units.Seconds),
            Column("Took", "max by (job) (florin_job_last_duration_seconds)", units.Seconds),
            size=(12, 9),
            links=[runbook("job_runs")],
        ),
        series(
            "Runs that failed",
            "Good: zero. Each failed run is tried again at its next time; a job that fails each time shows as late "
            "in the table. The scheduler's log (job.failed) has the error.",
            Query(per_second("florin_job_runs_total", by="job", where='{result="error"}'), "{{job}}"),
            unit=units.CountsPerSecond,
            size=(6, 9),
            links=[runbook("job_runs")],
        ),
        series(
            "Time of a run",
            "The mean of each job's runs. Good: far below the job's period. Near it: there is more to do than the "
            "job gets done.",
            Query(mean("florin_job_seconds", by="job"), "{{job}}"),
            unit=units.Seconds,
            size=(6, 9),
        ),
    ]


def _processes() -> list[Panel]:
    return [
        series(
            "Processes",
            "How many of each run. Good: as many as were started, on one version. Two versions for longer than a "
            "deployment: it was not finished.",
            Query("sum by (component, version) (florin_processes)", "{{component}} {{version}}"),
            size=(8, 8),
        ),
        series(
            "Processors in use",
            "Processor seconds per second. Good: workers below one each. At one, a worker is at its limit: start "
            "more processes, not more threads.",
            Query(per_second("florin_process_cpu_seconds_total", by="component"), "{{component}}"),
            size=(8, 8),
        ),
        series(
            "Memory",
            "Good: flat. A steady rise over days is a leak: restart one after the other, and report it.",
            Query("sum by (component) (florin_process_resident_memory_bytes)", "{{component}}"),
            unit=units.BytesIEC,
            size=(8, 8),
        ),
        series(
            "Connections to Postgres by pool",
            "Good: idle ones are left. None idle for long, and requests that wait: more processes, or fewer slow "
            "statements.",
            Query("sum by (pool, state) (florin_pool_connections)", "{{pool}} {{state}}"),
            size=(8, 8),
            links=[link_to("servers", "Postgres and Redis")],
        ),
        series(
            "Wait for a connection",
            "Requests that wait now, and seconds waited per second. Good: zero. Steady: the pool is too small for "
            "the load, or Postgres is slow.",
            Query("sum by (pool) (florin_pool_waiting_requests)", "{{pool}} waiting"),
            Query(per_second("florin_pool_wait_seconds_total", by="pool"), "{{pool}} seconds per second"),
            size=(8, 8),
        ),
        series(
            "Connections asked for, and not given",
            "Good: no errors. An error is a request that got no connection in time: for a client, a 503.",
            Query(per_second("florin_pool_requests_total", by="pool"), "{{pool}} asked"),
            Query(per_second("florin_pool_errors_total", by="pool"), "{{pool}} not given"),
            unit=units.CountsPerSecond,
            size=(8, 8),
        ),
    ]
