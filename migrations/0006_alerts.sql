-- Why:   a break that a proof finds becomes an alert, admins hear of it, and the account that it names waits for them.
-- Locks: none that anybody could wait for; every table is new.
-- Undo:  DROP TABLE held, quarantine, alert_notice, alert_change, alert; what is held has to go back to pending first.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- One for each break, for as long as it lasts: proof and subject are its identity until it is resolved. A subject that
-- breaks again opens another. Never deleted.
CREATE TABLE alert (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    proof text NOT NULL CONSTRAINT alert_proof_size CHECK (char_length(proof) BETWEEN 1 AND 64),
    subject text NOT NULL CONSTRAINT alert_subject_size CHECK (char_length(subject) BETWEEN 1 AND 500),
    account text,
    position bigint,
    severity text NOT NULL CONSTRAINT alert_severity_known CHECK (severity IN ('page', 'ticket')),
    state text NOT NULL DEFAULT 'open'
        CONSTRAINT alert_state_known CHECK (state IN ('open', 'acknowledged', 'resolved')),
    expected text NOT NULL,
    found text NOT NULL,
    since timestamptz,
    advice text NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    seen bigint NOT NULL DEFAULT 1 CONSTRAINT alert_seen_positive CHECK (seen >= 1),
    acknowledged_at timestamptz,
    acknowledged_by text,
    acknowledge_reason text,
    resolved_at timestamptz,
    resolved_by text,
    resolve_reason text,
    CONSTRAINT alert_acknowledged CHECK (
        (acknowledged_at IS NULL) = (acknowledged_by IS NULL)
        AND CASE state
            WHEN 'open' THEN acknowledged_at IS NULL
            WHEN 'acknowledged' THEN acknowledged_at IS NOT NULL
            ELSE true
        END
    ),
    -- By itself, it is resolved by nobody; by hand, for a reason.
    CONSTRAINT alert_resolved CHECK (
        (state = 'resolved') = (resolved_at IS NOT NULL)
        AND (resolved_by IS NULL OR resolved_at IS NOT NULL)
        AND (resolved_by IS NULL) = (resolve_reason IS NULL)
    )
);
CREATE UNIQUE INDEX alert_live ON alert (proof, subject) WHERE state <> 'resolved';
CREATE INDEX alert_live_account ON alert (account) WHERE state <> 'resolved';
CREATE INDEX alert_subject ON alert (proof, subject);
CREATE INDEX alert_account ON alert (account, id);

-- What became of an alert. Whoever is told of a change is given its id, so that the same news twice is known as such.
CREATE TABLE alert_change (
    id uuid PRIMARY KEY,
    alert_id bigint NOT NULL CONSTRAINT alert_change_alert REFERENCES alert (id),
    kind text NOT NULL CONSTRAINT alert_change_kind_known
        CHECK (kind IN ('opened', 'reopened', 'raised', 'acknowledged', 'resolved')),
    changed_at timestamptz NOT NULL,
    changed_by text,
    reason text
);
CREATE INDEX alert_change_alert_id ON alert_change (alert_id, changed_at);

-- The outbox: a change that somebody is to be told of. due_at is when the next attempt may begin; whoever begins one
-- moves it, so that an attempt that died is made again.
CREATE TABLE alert_notice (
    change_id uuid PRIMARY KEY CONSTRAINT alert_notice_change REFERENCES alert_change (id),
    state text NOT NULL DEFAULT 'waiting'
        CONSTRAINT alert_notice_state_known CHECK (state IN ('waiting', 'delivered', 'undelivered')),
    attempts bigint NOT NULL DEFAULT 0 CONSTRAINT alert_notice_attempts_positive CHECK (attempts >= 0),
    due_at timestamptz NOT NULL,
    -- Who has it already, each by a hash of the address: an address may hold a secret.
    delivered_to text [] NOT NULL DEFAULT '{}',
    settled_at timestamptz,
    error text,
    CONSTRAINT alert_notice_settled CHECK ((state = 'waiting') = (settled_at IS NULL))
);
CREATE INDEX alert_notice_due ON alert_notice (due_at) WHERE state = 'waiting';
CREATE INDEX alert_notice_undelivered ON alert_notice (settled_at) WHERE state = 'undelivered';

-- An account whose books are in doubt: its commands are held. The lock key stands in for the name, as in pending.
CREATE TABLE quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL CONSTRAINT quarantine_of_a_customer CHECK (account ~ '^[^@]'),
    account_key bigint NOT NULL,
    alert_id bigint NOT NULL CONSTRAINT quarantine_alert REFERENCES alert (id),
    began_at timestamptz NOT NULL,
    -- Where a release needs two admins, this is the first.
    asked_at timestamptz,
    asked_by text,
    -- What was held goes back into line in slices, lowest position first: up to here it is there.
    released_up_to bigint NOT NULL DEFAULT 0,
    released_at timestamptz,
    released_by text,
    release_reason text,
    CONSTRAINT quarantine_asked CHECK ((asked_at IS NULL) = (asked_by IS NULL)),
    CONSTRAINT quarantine_released CHECK ((released_at IS NULL) = (released_by IS NULL)),
    CONSTRAINT quarantine_by_two CHECK (asked_by <> released_by)
);
CREATE UNIQUE INDEX quarantine_live ON quarantine (account) WHERE released_at IS NULL;
CREATE INDEX quarantine_live_key ON quarantine (account_key) WHERE released_at IS NULL;
CREATE INDEX quarantine_account ON quarantine (account, id);

-- Rows of pending that were moved here when their turn came and an account of theirs was in quarantine. A command
-- without an outcome is in one of the two tables, with all of its accounts.
CREATE TABLE held (
    position bigint NOT NULL,
    account_key bigint NOT NULL,
    held_at timestamptz NOT NULL,
    PRIMARY KEY (position, account_key)
);
CREATE INDEX held_account_key ON held (account_key, position);

GRANT SELECT ON alert, alert_change, alert_notice, quarantine TO florin_app;
GRANT INSERT (
    proof, subject, account, position, severity, expected, found, since, advice, first_seen_at, last_seen_at
) ON alert TO florin_app;
GRANT UPDATE (
    severity, state, expected, found, since, advice, last_seen_at, seen,
    acknowledged_at, acknowledged_by, acknowledge_reason, resolved_at, resolved_by, resolve_reason
) ON alert TO florin_app;
GRANT INSERT ON alert_change TO florin_app;
GRANT INSERT (change_id, due_at) ON alert_notice TO florin_app;
GRANT UPDATE (state, attempts, due_at, delivered_to, settled_at, error) ON alert_notice TO florin_app;
GRANT INSERT (account, account_key, alert_id, began_at) ON quarantine TO florin_app;
GRANT UPDATE (asked_at, asked_by, released_up_to, released_at, released_by, release_reason) ON quarantine TO florin_app;
GRANT SELECT, INSERT, DELETE ON held TO florin_app;
