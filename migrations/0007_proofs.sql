-- Why:   the books prove themselves: how far each proof has come, and every run of one.
-- Locks: none that anybody could wait for; both tables are new.
-- Undo:  DROP TABLE proof_run, proof_state;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- How far a proof has come: it has looked at every outcome of a transaction below below_xid. runs counts, so that a run
-- that another one has overtaken is not written. memory is what the proof itself needs of its last run.
CREATE TABLE proof_state (
    proof text PRIMARY KEY CONSTRAINT proof_state_form CHECK (proof ~ '^[a-z_]{1,64}$'),
    runs bigint NOT NULL CONSTRAINT proof_state_runs CHECK (runs >= 1),
    below_xid xid8 NOT NULL,
    memory jsonb NOT NULL,
    ran_at timestamptz NOT NULL,
    -- The last run of all that found nothing wrong, and the last one of these over the whole of history.
    proven_at timestamptz,
    proven_full_at timestamptz,
    ran_full_at timestamptz,
    breaks bigint NOT NULL CONSTRAINT proof_state_breaks CHECK (breaks >= 0),
    CONSTRAINT proof_state_full CHECK (proven_full_at IS NULL OR (proven_at IS NOT NULL AND ran_full_at IS NOT NULL))
);

-- checked says over how many things the run went, as each proof counts them.
CREATE TABLE proof_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    proof text NOT NULL CONSTRAINT proof_run_form CHECK (proof ~ '^[a-z_]{1,64}$'),
    is_full boolean NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    checked bigint CONSTRAINT proof_run_checked CHECK (checked >= 0),
    breaks bigint CONSTRAINT proof_run_breaks CHECK (breaks >= 0),
    error text,
    CONSTRAINT proof_run_result CHECK (
        (checked IS NULL) = (error IS NOT NULL) AND (breaks IS NULL) = (error IS NOT NULL)
    )
);
CREATE INDEX proof_run_proof ON proof_run (proof, ended_at);

GRANT SELECT, INSERT, UPDATE ON proof_state TO florin_app;
-- Runs are kept for a while only, as those of jobs are.
GRANT SELECT, DELETE ON proof_run TO florin_app;
GRANT INSERT (proof, is_full, started_at, ended_at, checked, breaks, error) ON proof_run TO florin_app;
