-- Why:   how each command was delivered can be told, and what people did about dead letters is on record.
-- Locks: SHARE ROW EXCLUSIVE on command and dead_letter for an instant, for two foreign keys; both tables are new.
-- Undo:  end all workers of this release, which write apply_batch; then DROP TABLE dead_letter_action, apply_batch;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- A transaction that settled commands: its xid is that of their outcomes. What is not known of the message is null. It
-- is no part of the books: rows are kept for a while only, and nothing refers to them. Transaction ids begin anew in a
-- restored cluster, so a row belongs to an outcome only if decided_at is the same as well.
CREATE TABLE apply_batch (
    xid xid8 PRIMARY KEY DEFAULT pg_current_xact_id(),
    decided_at timestamptz NOT NULL,
    commands bigint NOT NULL,
    lock_wait_us bigint NOT NULL,
    worker text,
    message_id text,
    sent_by text,
    sent_at timestamptz,
    taken_at timestamptz,
    attempt bigint
);
CREATE INDEX apply_batch_decided_at ON apply_batch (decided_at);

-- What people did about a dead letter, in order. A retry is another command, with a key made of the dead letter's id and
-- number. Each further action names the one before it, which can only be a retry: nothing follows a discard. A number is
-- given once, so that two people cannot both do what they saw to be the next thing. That a retry is of the same client
-- and asks for the same is not said here: it would take an index of command on (position, client_id, ...), on the way of
-- every command, for rows that are written by hand. processor.dead_letters makes each retry from the dead letter itself.
CREATE TABLE dead_letter_action (
    position bigint NOT NULL CONSTRAINT dead_letter_action_position REFERENCES dead_letter (position),
    number bigint NOT NULL CONSTRAINT dead_letter_action_number CHECK (number >= 1),
    action text NOT NULL CONSTRAINT dead_letter_action_known CHECK (action IN ('retry', 'discard')),
    acted_by text NOT NULL CONSTRAINT dead_letter_action_by_size CHECK (char_length(acted_by) BETWEEN 1 AND 255),
    acted_at timestamptz NOT NULL,
    reason text NOT NULL CONSTRAINT dead_letter_action_reason_size CHECK (char_length(reason) BETWEEN 1 AND 255),
    retry_position bigint CONSTRAINT dead_letter_action_retry REFERENCES command (position)
        CONSTRAINT dead_letter_action_retry_key UNIQUE,
    after_number bigint GENERATED ALWAYS AS (nullif(number - 1, 0)) STORED,
    after_action text GENERATED ALWAYS AS (CASE WHEN number > 1 THEN 'retry' END) STORED,
    PRIMARY KEY (position, number),
    CONSTRAINT dead_letter_action_target UNIQUE (position, number, action),
    CONSTRAINT dead_letter_action_after FOREIGN KEY (position, after_number, after_action)
        REFERENCES dead_letter_action (position, number, action),
    -- A retry is a command of its own, accepted after the dead letter was.
    CONSTRAINT dead_letter_action_retried CHECK (
        (action = 'retry') = (retry_position IS NOT NULL) AND (retry_position IS NULL OR retry_position > position)
    )
);

GRANT SELECT, DELETE ON apply_batch TO florin_app;
GRANT INSERT (
    decided_at, commands, lock_wait_us, worker, message_id, sent_by, sent_at, taken_at, attempt
) ON apply_batch TO florin_app;
GRANT SELECT ON dead_letter_action TO florin_app;
GRANT INSERT (position, number, action, acted_by, acted_at, reason, retry_position) ON dead_letter_action TO florin_app;
