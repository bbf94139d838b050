-- Why:   money lent by the bank, its weekly instalments, and the commands that move them.
-- Locks: ACCESS EXCLUSIVE on command, outcome, transfer, account, api_key, client for an instant; no row is read or rewritten.
-- Undo:  drop instalment, advance and the new columns; put the constraints back as in 0001.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- All at the beginning, in the order in which the intake and the workers take them: taken one by one, they were seen to
-- meet the intake's in a deadlock.
LOCK TABLE command, outcome, transfer, account, api_key, client IN ACCESS EXCLUSIVE MODE;

-- The commands. A name that begins with @ is the bank's own client, which has no key: the scheduler.
-- squawk-ignore ban-drop-constraint
ALTER TABLE client DROP CONSTRAINT client_name_form;
ALTER TABLE client ADD CONSTRAINT client_name_form
CHECK (name ~ '^[A-Za-z0-9._:-]{1,64}$' OR (id = 0 AND name = '@scheduler')) NOT VALID;
INSERT INTO client (id, name) OVERRIDING SYSTEM VALUE VALUES (0, '@scheduler');
ALTER TABLE api_key ADD CONSTRAINT api_key_of_a_client CHECK (client_id > 0) NOT VALID;

ALTER TABLE command
ADD COLUMN instalments smallint,
ADD COLUMN first_due_on date,
ADD COLUMN advance_id uuid,
ADD COLUMN instalment smallint,
ADD COLUMN reason text;
ALTER TABLE command ADD CONSTRAINT command_instalments CHECK (instalments BETWEEN 1 AND 104) NOT VALID;
ALTER TABLE command ADD CONSTRAINT command_instalment CHECK (instalment >= 1) NOT VALID;
ALTER TABLE command ADD CONSTRAINT command_reason_size CHECK (char_length(reason) BETWEEN 1 AND 255) NOT VALID;
-- squawk-ignore ban-drop-constraint
ALTER TABLE command DROP CONSTRAINT command_type_known;
ALTER TABLE command ADD CONSTRAINT command_type_known CHECK (
    type IN ('open_account', 'deposit', 'withdraw', 'transfer', 'advance', 'repay', 'write_off', 'collect')
) NOT VALID;
-- squawk-ignore ban-drop-constraint
ALTER TABLE command DROP CONSTRAINT command_shape;
ALTER TABLE command ADD CONSTRAINT command_shape CHECK (
    CASE
        WHEN type = 'open_account' THEN
            num_nulls(account, overdraft_limit_minor, overdraft_fee_minor) = 0
            AND num_nonnulls(from_account, to_account, amount_minor) = 0
        WHEN type = 'transfer' THEN
            num_nulls(from_account, to_account, amount_minor) = 0 AND from_account <> to_account
            AND num_nonnulls(account, overdraft_limit_minor, overdraft_fee_minor) = 0
        WHEN type IN ('write_off', 'collect') THEN
            account IS NOT NULL
            AND num_nonnulls(from_account, to_account, amount_minor, overdraft_limit_minor, overdraft_fee_minor) = 0
        ELSE
            num_nulls(account, amount_minor) = 0
            AND num_nonnulls(from_account, to_account, overdraft_limit_minor, overdraft_fee_minor) = 0
    END
) NOT VALID;
ALTER TABLE command ADD CONSTRAINT command_advance_shape CHECK (
    (instalments IS NOT NULL) = (type = 'advance')
    AND (first_due_on IS NULL OR type = 'advance')
    AND (advance_id IS NOT NULL) = (type IN ('repay', 'write_off', 'collect'))
    AND (instalment IS NOT NULL) = (type = 'collect')
    AND (reason IS NOT NULL) = (type = 'write_off')
) NOT VALID;
-- Only the scheduler collects.
ALTER TABLE command ADD CONSTRAINT command_collect_client CHECK ((type = 'collect') = (client_id = 0)) NOT VALID;
GRANT INSERT (instalments, first_due_on, advance_id, instalment, reason) ON command TO florin_app;

-- The accounts: what was lent and will not come back.
-- squawk-ignore ban-drop-constraint
ALTER TABLE account DROP CONSTRAINT account_kind_known;
ALTER TABLE account ADD CONSTRAINT account_kind_known CHECK (
    kind IN ('customer', 'settlement', 'fee_income', 'advances_receivable', 'suspense', 'credit_loss')
) NOT VALID;
-- squawk-ignore ban-drop-constraint
ALTER TABLE account DROP CONSTRAINT account_id_by_kind;
ALTER TABLE account ADD CONSTRAINT account_id_by_kind CHECK (
    CASE
        WHEN kind = 'customer' THEN id > 0
        ELSE id = -1
        - 17576 * array_position(
            ARRAY['settlement', 'fee_income', 'advances_receivable', 'suspense', 'credit_loss'], kind
        )
        - 676 * (ascii(substr(currency, 1, 1)) - 65)
        - 26 * (ascii(substr(currency, 2, 1)) - 65)
        - (ascii(substr(currency, 3, 1)) - 65)
    END
) NOT VALID;
-- squawk-ignore ban-drop-constraint
ALTER TABLE transfer DROP CONSTRAINT transfer_kind_known;
ALTER TABLE transfer ADD CONSTRAINT transfer_kind_known CHECK (
    kind IN (
        'deposit', 'withdrawal', 'transfer', 'overdraft_fee', 'advance', 'collection', 'repayment', 'write_off'
    )
) NOT VALID;

-- Money lent to an account. Its id is the position of the command that granted it. What is owed is the amount, less
-- what was paid, less what was written off.
CREATE TABLE advance (
    id bigint PRIMARY KEY REFERENCES outcome (position),
    account_id bigint NOT NULL CONSTRAINT advance_to_a_customer CHECK (account_id > 0),
    currency text NOT NULL,
    amount_minor bigint NOT NULL CONSTRAINT advance_amount_positive CHECK (amount_minor > 0),
    first_due_on date NOT NULL,
    granted_at timestamptz NOT NULL,
    -- From here on it changes, under the account's lock; version counts the changes.
    version bigint NOT NULL CONSTRAINT advance_version_positive CHECK (version >= 0),
    instalments smallint NOT NULL CONSTRAINT advance_instalments_positive CHECK (instalments >= 1),
    paid_minor bigint NOT NULL CONSTRAINT advance_paid_positive CHECK (paid_minor >= 0),
    written_off_minor bigint NOT NULL,
    state text NOT NULL CONSTRAINT advance_state_known CHECK (state IN ('open', 'in_arrears', 'repaid', 'written_off')),
    CONSTRAINT advance_account FOREIGN KEY (account_id, currency) REFERENCES account (id, currency),
    CONSTRAINT advance_owed CHECK (
        CASE state
            WHEN 'repaid' THEN paid_minor = amount_minor AND written_off_minor = 0
            WHEN 'written_off' THEN paid_minor + written_off_minor = amount_minor AND written_off_minor > 0
            ELSE paid_minor < amount_minor AND written_off_minor = 0
        END
    )
);
CREATE INDEX advance_account_id ON advance (account_id, id);
CREATE INDEX advance_live ON advance (id) WHERE state IN ('open', 'in_arrears');

-- A weekly repayment: amount_minor is its share of the advance, and rolled_minor, which missed ones left to it.
-- One that is missed keeps what was paid on it; the rest is the next one's.
CREATE TABLE instalment (
    advance_id bigint NOT NULL REFERENCES advance (id),
    number smallint NOT NULL CONSTRAINT instalment_number_positive CHECK (number >= 1),
    due_on date NOT NULL,
    amount_minor bigint NOT NULL CONSTRAINT instalment_amount_positive CHECK (amount_minor > 0),
    rolled_minor bigint NOT NULL,
    paid_minor bigint NOT NULL,
    state text NOT NULL CONSTRAINT instalment_state_known
        CHECK (state IN ('scheduled', 'paid', 'missed', 'written_off')),
    settled_by bigint CONSTRAINT instalment_settled_by_fkey REFERENCES outcome (position),
    -- Collects that came to nothing: the next one has the next number, and after one that failed a day's patience.
    attempts smallint NOT NULL DEFAULT 0 CONSTRAINT instalment_attempts_positive CHECK (attempts >= 0),
    failed_at timestamptz,
    PRIMARY KEY (advance_id, number),
    CONSTRAINT instalment_rolled CHECK (rolled_minor BETWEEN 0 AND amount_minor),
    CONSTRAINT instalment_paid CHECK (
        CASE state WHEN 'paid' THEN paid_minor = amount_minor ELSE paid_minor BETWEEN 0 AND amount_minor - 1 END
    ),
    CONSTRAINT instalment_settled CHECK ((state = 'scheduled') = (settled_by IS NULL)),
    CONSTRAINT instalment_failed CHECK (failed_at IS NULL OR attempts > 0)
);
CREATE INDEX instalment_due ON instalment (due_on, advance_id, number) WHERE state = 'scheduled';

GRANT SELECT, INSERT ON advance, instalment TO florin_app;
GRANT UPDATE (version, instalments, paid_minor, written_off_minor, state) ON advance TO florin_app;
GRANT UPDATE (amount_minor, rolled_minor, paid_minor, state, settled_by, attempts, failed_at)
ON instalment TO florin_app;
