"""
What every process counts by itself: base units, no ids in labels.

What is read from rows instead, so that it is true whoever has died, is in ``exporter.figures``.
"""

import os
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from processor import sharing

if sharing.FOLDER in os.environ:
    # Before the first metric is made: each decides there and then where it is kept.
    sharing.join(os.environ[sharing.FOLDER])

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
JOB_SECONDS: Final = (0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 1_800, 7_200)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)

http_seconds = Histogram(
    "florin_http_request_seconds", "Time of one HTTP request.", ["method", "route", "status"], buckets=SECONDS
)

received = Counter(
    "florin_commands_received_total", "Well-formed commands that reached the intake, whatever became of them."
)
accepted = Counter("florin_commands_accepted_total", "Commands made durable by the intake.")
replayed = Counter("florin_commands_replayed_total", "Requests that were given their first receipt again.")
conflicting = Counter("florin_commands_conflicting_total", "Requests under a key that names another request.")
overloaded = Counter(
    "florin_commands_overloaded_total", "Commands turned away because the backlog was above its limit."
)
accept_seconds = Histogram("florin_accept_seconds", "Time of one intake transaction.", buckets=SECONDS)
group_size = Histogram("florin_intake_group_commands", "Commands that shared one intake transaction.", buckets=SIZES)
unannounced = Counter(
    "florin_messages_unannounced_total", "Messages that Redis did not take; the sweeper resends them."
)

settled = Counter(
    "florin_commands_settled_total", "Commands that were given their outcome.", ["type", "status", "reason"]
)
queue_wait_seconds = Histogram(
    "florin_queue_wait_seconds",
    "From the sending of a message to its being taken by a worker, by their clocks.",
    ["queue"],
    buckets=SECONDS,
)
message_retries = Counter(
    "florin_message_retries_total", "Messages that went back to the queue after an error.", ["queue"]
)
messages_given_up = Counter(
    "florin_messages_given_up_total",
    "Messages that failed too often; the sweeper sends what they named again.",
    ["queue"],
)
lock_wait_seconds = Histogram(
    "florin_lock_wait_seconds", "How long one apply transaction waited for its accounts.", buckets=SECONDS
)
apply_seconds = Histogram(
    "florin_apply_seconds", "Time of one apply transaction, waiting for locks included.", buckets=SECONDS
)
batch_size = Histogram("florin_apply_batch_commands", "Commands that one apply transaction decided.", buckets=SIZES)
receipt_to_outcome_seconds = Histogram(
    "florin_receipt_to_outcome_seconds", "From the receipt of a command to the commit of its outcome.", buckets=SECONDS
)
retries = Counter("florin_apply_retries_total", "Apply transactions run again after a passing error.")
widened = Counter(
    "florin_apply_widened_total", "Apply transactions that took in earlier commands, because their batch came early."
)
isolated = Counter("florin_apply_isolations_total", "Batches cut in two to find the command that makes them fail.")
dead_letters = Counter(
    "florin_dead_letters_total", "Commands given up on: recorded as failed, for a person to look at."
)
books_errors = Counter("florin_books_errors_total", "Batches not recorded because the books contradict themselves.")

incomplete_advances = Gauge(
    "florin_advances_incomplete",
    "Advances whose instalments do not add up to them.",
    multiprocess_mode="livemostrecent",
)

notices = Counter("florin_alert_notifications_total", "Attempts to tell somebody of an alert.", ["result"])
undelivered_notices = Counter(
    "florin_alert_undelivered_total", "Changes of alerts that somebody was not told of after a day of attempts."
)

swept = Counter("florin_commands_swept_total", "Stranded commands whose message was sent again.")
job_runs = Counter("florin_job_runs_total", "Runs of a scheduler job.", ["job", "result"])
job_period = Gauge(
    "florin_job_period_seconds", "How often a scheduler job is due.", ["job"], multiprocess_mode="livemostrecent"
)
job_seconds = Histogram(
    "florin_job_seconds", "Time of one run of a scheduler job, failed ones included.", ["job"], buckets=JOB_SECONDS
)
job_emitted = Counter(
    "florin_job_emitted_total", "What the runs of a scheduler job led to, as each counts it.", ["job"]
)

proof_runs = Counter(
    "florin_proof_runs_total",
    "Runs of a proof, over what is new or all there is: proven, broken or ended by an error.",
    ["proof", "scope", "result"],
)
proof_checked = Counter("florin_proof_checked_total", "Things that the runs of a proof looked at.", ["proof"])
proof_seconds = Histogram("florin_proof_seconds", "Time of one run of a proof.", ["proof"], buckets=JOB_SECONDS)

seal_exports_failed = Counter(
    "florin_seal_exports_failed_total", "Runs that could not write the file of blocks, or tell the webhook.", ["target"]
)

pool_connections = Gauge(
    "florin_pool_connections",
    "Connections to Postgres of a pool, by whether they are in use.",
    ["pool", "state"],
    multiprocess_mode="livesum",
)
pool_waiting = Gauge(
    "florin_pool_waiting_requests",
    "Requests that wait for a connection of a pool.",
    ["pool"],
    multiprocess_mode="livesum",
)
pool_requests = Counter("florin_pool_requests_total", "Requests for a connection of a pool.", ["pool"])
pool_wait_seconds = Counter(
    "florin_pool_wait_seconds_total", "Time that requests have waited for a connection of a pool.", ["pool"]
)
pool_errors = Counter(
    "florin_pool_errors_total", "Requests for a connection of a pool that were given none in time.", ["pool"]
)

processes = Gauge(
    "florin_processes", "Processes that run, by what they are.", ["component", "version"], multiprocess_mode="livesum"
)
cpu_seconds = Counter("florin_process_cpu_seconds_total", "Processor time that processes have used.", ["component"])
resident_bytes = Gauge(
    "florin_process_resident_memory_bytes", "Memory that processes hold.", ["component"], multiprocess_mode="livesum"
)
