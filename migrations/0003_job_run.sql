-- Why:   each run of a scheduler's job leaves a trace: when, how it ended, what it did.
-- Locks: none that anybody could wait for; the table is new.
-- Undo:  DROP TABLE job_run;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- A run without an end is under way, or its scheduler died: the next leader marks such a run as lost.
CREATE TABLE job_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text NOT NULL CONSTRAINT job_run_job_form CHECK (job ~ '^[a-z_]{1,64}$'),
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    result text CONSTRAINT job_run_result_known CHECK (result IN ('success', 'error', 'lost')),
    emitted bigint CONSTRAINT job_run_emitted_positive CHECK (emitted >= 0),
    error text,
    CONSTRAINT job_run_ended CHECK ((ended_at IS NULL) = (result IS NULL)),
    CONSTRAINT job_run_error CHECK ((error IS NOT NULL) = (result IS NOT NULL AND result = 'error')),
    CONSTRAINT job_run_emitted_by_success CHECK ((emitted IS NOT NULL) = (result IS NOT NULL AND result = 'success'))
);
CREATE INDEX job_run_job ON job_run (job, started_at DESC);
CREATE INDEX job_run_open ON job_run (started_at) WHERE ended_at IS NULL;

-- The one table of which the application may delete rows that are no queue: runs are kept for a while only.
GRANT SELECT, DELETE ON job_run TO florin_app;
GRANT INSERT (job, started_at) ON job_run TO florin_app;
GRANT UPDATE (ended_at, result, emitted, error) ON job_run TO florin_app;
