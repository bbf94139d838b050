-- Why:   holds, reversals, adjustments, and the life of an account: frozen, closed, limited.
-- Locks: ACCESS EXCLUSIVE on command, transfer, account for an instant; no row is read or rewritten.
-- Undo:  drop hold, reversal, account_change and the new columns; put the constraints back as in 0001 and 0004.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- All at the beginning, in the order in which the intake and the workers take them.
LOCK TABLE command, outcome, transfer, account IN ACCESS EXCLUSIVE MODE;

-- The commands. What reverses or adjusts by force does so though an account has not enough.
ALTER TABLE command
ADD COLUMN hold_id uuid,
ADD COLUMN expires_at timestamptz,
ADD COLUMN reverses uuid,
ADD COLUMN force boolean,
ADD COLUMN daily_count bigint,
ADD COLUMN daily_amount_minor bigint;
ALTER TABLE command ADD CONSTRAINT command_daily_count CHECK (daily_count >= 0) NOT VALID;
ALTER TABLE command ADD CONSTRAINT command_daily_amount
CHECK (daily_amount_minor BETWEEN 0 AND 9007199254740991) NOT VALID;
-- squawk-ignore ban-drop-constraint
ALTER TABLE command DROP CONSTRAINT command_type_known;
ALTER TABLE command ADD CONSTRAINT command_type_known CHECK (
    type IN (
        'open_account', 'deposit', 'withdraw', 'transfer', 'advance', 'repay', 'write_off', 'collect',
        'place_hold', 'capture_hold', 'release_hold', 'expire_hold', 'freeze', 'unfreeze', 'close', 'set_limits',
        'reverse', 'adjust'
    )
) NOT VALID;
-- squawk-ignore ban-drop-constraint
ALTER TABLE command DROP CONSTRAINT command_shape;
ALTER TABLE command ADD CONSTRAINT command_shape CHECK (
    CASE
        -- Without an overdraft of its own, the account is given the usual one.
        WHEN type = 'open_account' THEN
            account IS NOT NULL AND num_nonnulls(from_account, to_account, amount_minor) = 0
        WHEN type IN ('transfer', 'adjust') THEN
            num_nulls(from_account, to_account, amount_minor) = 0 AND from_account <> to_account AND account IS NULL
        WHEN type IN ('write_off', 'collect', 'release_hold', 'expire_hold', 'freeze', 'unfreeze', 'close', 'set_limits')
            THEN account IS NOT NULL AND num_nonnulls(from_account, to_account, amount_minor) = 0
        WHEN type = 'capture_hold' THEN
            account IS NOT NULL AND from_account IS NULL AND account IS DISTINCT FROM to_account
        -- The accounts are those of the command that is reversed.
        WHEN type = 'reverse' THEN
            num_nonnulls(account, from_account) = 1 AND amount_minor IS NULL
            AND (from_account IS NULL OR to_account IS NOT NULL)
            AND coalesce(account, from_account) IS DISTINCT FROM to_account
        ELSE num_nulls(account, amount_minor) = 0 AND num_nonnulls(from_account, to_account) = 0
    END
    AND (type IN ('open_account', 'set_limits') OR num_nonnulls(overdraft_limit_minor, overdraft_fee_minor) = 0)
) NOT VALID;
-- squawk-ignore ban-drop-constraint
ALTER TABLE command DROP CONSTRAINT command_advance_shape;
ALTER TABLE command ADD CONSTRAINT command_advance_shape CHECK (
    (instalments IS NOT NULL) = (type = 'advance')
    AND (first_due_on IS NULL OR type = 'advance')
    AND (advance_id IS NOT NULL) = (type IN ('repay', 'write_off', 'collect'))
    AND (instalment IS NOT NULL) = (type = 'collect')
) NOT VALID;
ALTER TABLE command ADD CONSTRAINT command_hold_shape CHECK (
    (hold_id IS NOT NULL) = (type IN ('capture_hold', 'release_hold', 'expire_hold'))
    AND (expires_at IS NULL OR type = 'place_hold')
) NOT VALID;
ALTER TABLE command ADD CONSTRAINT command_correction_shape CHECK (
    (reverses IS NOT NULL) = (type = 'reverse') AND (force IS NOT NULL) = (type IN ('reverse', 'adjust'))
) NOT VALID;
ALTER TABLE command ADD CONSTRAINT command_limits_shape CHECK (
    num_nonnulls(daily_count, daily_amount_minor) = 0
    OR type = 'set_limits'
) NOT VALID;
ALTER TABLE command ADD CONSTRAINT command_limits_any CHECK (
    type <> 'set_limits'
    OR num_nonnulls(overdraft_limit_minor, overdraft_fee_minor, daily_count, daily_amount_minor) > 0
) NOT VALID;
-- Who acts on somebody else's account says why.
ALTER TABLE command ADD CONSTRAINT command_reason_given CHECK (
    CASE
        WHEN type IN ('write_off', 'freeze', 'unfreeze', 'close', 'set_limits', 'reverse', 'adjust') THEN
            reason IS NOT NULL
        WHEN type IN ('deposit', 'withdraw') THEN true
        ELSE reason IS NULL
    END
) NOT VALID;
-- What waits for its time is the scheduler's.
-- squawk-ignore ban-drop-constraint
ALTER TABLE command DROP CONSTRAINT command_collect_client;
ALTER TABLE command ADD CONSTRAINT command_collect_client
CHECK ((type IN ('collect', 'expire_hold')) = (client_id = 0)) NOT VALID;
GRANT INSERT (hold_id, expires_at, reverses, force, daily_count, daily_amount_minor) ON command TO florin_app;

-- squawk-ignore ban-drop-constraint
ALTER TABLE transfer DROP CONSTRAINT transfer_kind_known;
ALTER TABLE transfer ADD CONSTRAINT transfer_kind_known CHECK (
    kind IN (
        'deposit', 'withdrawal', 'transfer', 'overdraft_fee', 'advance', 'collection', 'repayment', 'write_off',
        'capture', 'reversal', 'adjustment'
    )
) NOT VALID;

-- The accounts. revision counts every change of the row, where version counts the transfers. forced_minor is how much
-- lower than the rules allow somebody had the balance taken who may. Of a limited day: what it has had so far.
ALTER TABLE account
ADD COLUMN revision bigint NOT NULL DEFAULT 0,
ADD COLUMN forced_minor bigint NOT NULL DEFAULT 0,
ADD COLUMN daily_count bigint,
ADD COLUMN daily_amount_minor bigint,
ADD COLUMN daily_on date,
ADD COLUMN daily_used bigint,
ADD COLUMN daily_used_minor bigint;
ALTER TABLE account ADD CONSTRAINT account_revision_positive CHECK (revision >= 0) NOT VALID;
ALTER TABLE account ADD CONSTRAINT account_forced_positive CHECK (forced_minor >= 0) NOT VALID;
ALTER TABLE account ADD CONSTRAINT account_daily CHECK (
    (daily_count IS NULL) = (daily_amount_minor IS NULL)
    AND num_nulls(daily_on, daily_used, daily_used_minor) IN (0, 3)
    AND (daily_count IS NOT NULL OR daily_on IS NULL)
    AND daily_count >= 0 AND daily_amount_minor >= 0 AND daily_used >= 0 AND daily_used_minor >= 0
) NOT VALID;
-- What is on hold is promised: the rest alone may go down to the floor.
-- squawk-ignore ban-drop-constraint
ALTER TABLE account DROP CONSTRAINT account_floor;
ALTER TABLE account ADD CONSTRAINT account_floor CHECK (
    credits_minor - debits_minor - held_minor
    >= -(overdraft_limit_minor::numeric + overdraft_fee_minor + forced_minor)
) NOT VALID;
-- What is on hold can always be taken: the total of debits has room for it.
ALTER TABLE account ADD CONSTRAINT account_held_fits
CHECK (held_minor <= 9223372036854775807 - debits_minor) NOT VALID;
-- Somebody forced just what is missing, and not a cent to be overdrawn with later.
ALTER TABLE account ADD CONSTRAINT account_forced_needed CHECK (
    forced_minor = 0
    OR forced_minor <= held_minor + debits_minor::numeric - credits_minor - overdraft_limit_minor - overdraft_fee_minor
) NOT VALID;
ALTER TABLE account ADD CONSTRAINT account_closed_empty
CHECK (status <> 'closed' OR (credits_minor = debits_minor AND held_minor = 0)) NOT VALID;
-- What customers are allowed or forbidden is nothing to the bank's own accounts.
ALTER TABLE account ADD CONSTRAINT account_system_plain CHECK (
    kind = 'customer'
    OR (status = 'open' AND revision = 0 AND held_minor = 0 AND forced_minor = 0 AND daily_count IS NULL)
) NOT VALID;
GRANT UPDATE (
    status, revision, held_minor, forced_minor, overdraft_limit_minor, overdraft_fee_minor,
    daily_count, daily_amount_minor, daily_on, daily_used, daily_used_minor
) ON account TO florin_app;
GRANT INSERT (revision) ON account TO florin_app;

-- Money on hold. Its id is the position of the command that placed it.
CREATE TABLE hold (
    id bigint PRIMARY KEY REFERENCES outcome (position),
    account_id bigint NOT NULL CONSTRAINT hold_of_a_customer CHECK (account_id > 0),
    currency text NOT NULL,
    amount_minor bigint NOT NULL CONSTRAINT hold_amount_positive CHECK (amount_minor > 0),
    expires_at timestamptz,
    -- From here on it changes, once, under the account's lock.
    state text NOT NULL CONSTRAINT hold_state_known CHECK (state IN ('held', 'captured', 'released', 'expired')),
    captured_minor bigint NOT NULL DEFAULT 0,
    settled_by bigint CONSTRAINT hold_settled_by_fkey REFERENCES outcome (position),
    -- Expiries that came to nothing: the next one has the next number, and after one that failed a day's patience.
    attempts bigint NOT NULL DEFAULT 0 CONSTRAINT hold_attempts_positive CHECK (attempts >= 0),
    failed_at timestamptz,
    CONSTRAINT hold_failed CHECK (failed_at IS NULL OR attempts > 0),
    CONSTRAINT hold_account FOREIGN KEY (account_id, currency) REFERENCES account (id, currency),
    CONSTRAINT hold_captured CHECK (
        CASE state WHEN 'captured' THEN captured_minor BETWEEN 1 AND amount_minor ELSE captured_minor = 0 END
    ),
    CONSTRAINT hold_settled CHECK ((state = 'held') = (settled_by IS NULL)),
    CONSTRAINT hold_settled_later CHECK (settled_by > id),
    CONSTRAINT hold_expired CHECK (state <> 'expired' OR expires_at IS NOT NULL)
);
CREATE INDEX hold_account_id ON hold (account_id, id);
CREATE INDEX hold_open ON hold (account_id) WHERE state = 'held';
CREATE INDEX hold_held ON hold (id) INCLUDE (currency, amount_minor) WHERE state = 'held';
CREATE INDEX hold_expires ON hold (expires_at, id) WHERE state = 'held' AND expires_at IS NOT NULL;
-- A command ends one hold.
CREATE UNIQUE INDEX hold_settled_by ON hold (settled_by) WHERE settled_by IS NOT NULL;

-- Which command was reversed by which: each at most once.
CREATE TABLE reversal (
    position bigint PRIMARY KEY REFERENCES outcome (position),
    reverses bigint NOT NULL CONSTRAINT reversal_once UNIQUE REFERENCES outcome (position),
    CONSTRAINT reversal_later CHECK (reverses < position)
);

-- What an account was allowed, from this command on: an account without a row is as it was opened. version is that of
-- the account by then: a transfer that waited for another account may be decided after what has a later position.
CREATE TABLE account_change (
    position bigint PRIMARY KEY REFERENCES outcome (position),
    account_id bigint NOT NULL REFERENCES account (id)
        CONSTRAINT account_change_of_a_customer CHECK (account_id > 0),
    version bigint NOT NULL CONSTRAINT account_change_version_positive CHECK (version >= 0),
    status text NOT NULL CONSTRAINT account_change_status_known CHECK (status IN ('open', 'frozen', 'closed')),
    overdraft_limit_minor bigint NOT NULL CONSTRAINT account_change_overdraft_limit
        CHECK (overdraft_limit_minor BETWEEN 0 AND 9007199254740991),
    overdraft_fee_minor bigint NOT NULL CONSTRAINT account_change_overdraft_fee
        CHECK (overdraft_fee_minor BETWEEN 0 AND 9007199254740991),
    daily_count bigint,
    daily_amount_minor bigint,
    CONSTRAINT account_change_daily CHECK (
        (daily_count IS NULL) = (daily_amount_minor IS NULL) AND daily_count >= 0 AND daily_amount_minor >= 0
    )
);
CREATE INDEX account_change_account ON account_change (account_id, version, position);

GRANT SELECT, INSERT ON hold, reversal, account_change TO florin_app;
GRANT UPDATE (state, captured_minor, settled_by, attempts, failed_at) ON hold TO florin_app;
