-- Why:   the spine: clients and keys, commands and their outcomes, accounts and transfers.
-- Locks: none that anybody could wait for; every table is new.
-- Undo:  drop the tables; there is nothing in them yet.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- An upstream system. Its idempotency keys are its own.
CREATE TABLE client (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CONSTRAINT client_name_key UNIQUE
        CONSTRAINT client_name_form CHECK (name ~ '^[A-Za-z0-9._:-]{1,64}$'),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The secret half of a key is never stored; a random 256-bit secret needs no slow hash.
CREATE TABLE api_key (
    prefix text PRIMARY KEY CONSTRAINT api_key_prefix_form CHECK (prefix ~ '^[A-Za-z0-9]{8,32}$'),
    client_id bigint NOT NULL REFERENCES client (id),
    secret_sha256 bytea NOT NULL CONSTRAINT api_key_secret_size CHECK (octet_length(secret_sha256) = 32),
    scopes text [] NOT NULL CONSTRAINT api_key_scopes_known
        CHECK (scopes <@ ARRAY['commands:write', 'read', 'admin'] AND cardinality(scopes) > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

-- What a client asked, as accepted. Never changed: the application's role may only insert and read.
CREATE TABLE command (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL CONSTRAINT command_id_key UNIQUE,
    client_id bigint NOT NULL REFERENCES client (id),
    idempotency_key text NOT NULL
        CONSTRAINT command_idempotency_key_size CHECK (char_length(idempotency_key) BETWEEN 1 AND 255),
    type text NOT NULL
        CONSTRAINT command_type_known CHECK (type IN ('open_account', 'deposit', 'withdraw', 'transfer')),
    account text,
    from_account text,
    to_account text,
    amount_minor bigint
        CONSTRAINT command_amount_positive CHECK (amount_minor BETWEEN 1 AND 9007199254740991),
    currency text NOT NULL CONSTRAINT command_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
    overdraft_limit_minor bigint
        CONSTRAINT command_overdraft_limit CHECK (overdraft_limit_minor BETWEEN 0 AND 9007199254740991),
    overdraft_fee_minor bigint
        CONSTRAINT command_overdraft_fee CHECK (overdraft_fee_minor BETWEEN 0 AND 9007199254740991),
    reference text CONSTRAINT command_reference_size CHECK (char_length(reference) <= 255),
    metadata jsonb,
    accepted_at timestamptz NOT NULL,
    CONSTRAINT command_client_key UNIQUE (client_id, idempotency_key),
    CONSTRAINT command_shape CHECK (
        CASE type
            WHEN 'open_account' THEN
                account IS NOT NULL AND num_nonnulls(from_account, to_account, amount_minor) = 0
                AND num_nulls(overdraft_limit_minor, overdraft_fee_minor) = 0
            WHEN 'transfer' THEN
                account IS NULL AND num_nulls(from_account, to_account, amount_minor) = 0
                AND from_account <> to_account
                AND num_nonnulls(overdraft_limit_minor, overdraft_fee_minor) = 0
            ELSE
                num_nulls(account, amount_minor) = 0
                AND num_nonnulls(from_account, to_account, overdraft_limit_minor, overdraft_fee_minor) = 0
        END
    )
);

-- One row for each command that is not decided yet and each account that it touches. The lock key of the account
-- stands in for its name, so that a command may wait in line for an account that is not open yet.
CREATE TABLE pending (
    position bigint NOT NULL,
    account_key bigint NOT NULL,
    PRIMARY KEY (position, account_key)
) WITH (
    -- A queue in a table: it is swept often, whatever its size was a minute ago.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 200000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX pending_account_key ON pending (account_key, position);

-- The one answer to a command. xid makes the log readable without a gap (see docs/decisions), and ties the transfers to
-- the transaction of their outcome: nobody may set it.
CREATE TABLE outcome (
    position bigint PRIMARY KEY REFERENCES command (position),
    status text NOT NULL CONSTRAINT outcome_status_known CHECK (status IN ('applied', 'refused', 'failed')),
    reason text CONSTRAINT outcome_reason_form CHECK (reason ~ '^[a-z_]{1,64}$'),
    decided_at timestamptz NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT outcome_reason_unless_applied CHECK ((status = 'applied') = (reason IS NULL)),
    CONSTRAINT outcome_log UNIQUE (xid, position)
);

-- What retries could not save, with what a person needs to look at it.
CREATE TABLE dead_letter (
    position bigint PRIMARY KEY REFERENCES outcome (position),
    error text NOT NULL,
    failed_at timestamptz NOT NULL
);

-- A customer account's id is the position of the command that opened it. A system account's is made of its kind and
-- currency, so that no worker can take one for another.
CREATE TABLE account (
    id bigint PRIMARY KEY,
    name text NOT NULL CONSTRAINT account_name_key UNIQUE,
    key bigint NOT NULL,
    kind text NOT NULL CONSTRAINT account_kind_known
        CHECK (kind IN ('customer', 'settlement', 'fee_income', 'advances_receivable', 'suspense')),
    currency text NOT NULL CONSTRAINT account_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
    status text NOT NULL DEFAULT 'open' CONSTRAINT account_status_known CHECK (status IN ('open', 'frozen', 'closed')),
    version bigint NOT NULL DEFAULT 0 CONSTRAINT account_version_positive CHECK (version >= 0),
    credits_minor bigint NOT NULL DEFAULT 0 CONSTRAINT account_credits_positive CHECK (credits_minor >= 0),
    debits_minor bigint NOT NULL DEFAULT 0 CONSTRAINT account_debits_positive CHECK (debits_minor >= 0),
    held_minor bigint NOT NULL DEFAULT 0 CONSTRAINT account_held_positive CHECK (held_minor >= 0),
    overdraft_limit_minor bigint NOT NULL DEFAULT 0
        CONSTRAINT account_overdraft_limit CHECK (overdraft_limit_minor BETWEEN 0 AND 9007199254740991),
    overdraft_fee_minor bigint NOT NULL DEFAULT 0
        CONSTRAINT account_overdraft_fee CHECK (overdraft_fee_minor BETWEEN 0 AND 9007199254740991),
    opened_at timestamptz NOT NULL,
    CONSTRAINT account_id_currency UNIQUE (id, currency),
    CONSTRAINT account_id_by_kind CHECK (
        CASE
            WHEN kind = 'customer' THEN id > 0
            ELSE id = -1
            - 17576 * array_position(ARRAY['settlement', 'fee_income', 'advances_receivable', 'suspense'], kind)
            - 676 * (ascii(substr(currency, 1, 1)) - 65)
            - 26 * (ascii(substr(currency, 2, 1)) - 65)
            - (ascii(substr(currency, 3, 1)) - 65)
        END
    ),
    CONSTRAINT account_name_by_kind CHECK (
        CASE WHEN kind = 'customer' THEN name ~ '^[A-Za-z0-9._:-]{1,64}$' ELSE name = '@' || kind || ':' || currency END
    ),
    -- Only the fee may take a balance beyond the overdraft limit, and only once.
    CONSTRAINT account_floor CHECK (credits_minor - debits_minor >= -(overdraft_limit_minor + overdraft_fee_minor)),
    -- Nobody keeps totals on a system account: its balance is read from the transfers.
    CONSTRAINT account_system_total CHECK (kind = 'customer' OR (version = 0 AND credits_minor = 0 AND debits_minor = 0))
) WITH (fillfactor = 60);
CREATE INDEX account_key ON account (key);

-- Both sides of one movement of money, so that an unbalanced entry cannot be written. The version and the balance of
-- a customer account are those after this transfer; a system account has neither.
CREATE TABLE transfer (
    position bigint NOT NULL,
    leg smallint NOT NULL CONSTRAINT transfer_leg_positive CHECK (leg >= 1),
    kind text NOT NULL CONSTRAINT transfer_kind_known
        CHECK (kind IN ('deposit', 'withdrawal', 'transfer', 'overdraft_fee')),
    debit_account_id bigint NOT NULL,
    credit_account_id bigint NOT NULL,
    amount_minor bigint NOT NULL CONSTRAINT transfer_amount_positive CHECK (amount_minor > 0),
    currency text NOT NULL,
    debit_version bigint,
    debit_balance_minor bigint,
    credit_version bigint,
    credit_balance_minor bigint,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (position, leg),
    CONSTRAINT transfer_of_its_outcome FOREIGN KEY (xid, position) REFERENCES outcome (xid, position),
    CONSTRAINT transfer_two_accounts CHECK (debit_account_id <> credit_account_id),
    CONSTRAINT transfer_debit_customer CHECK (
        (debit_account_id > 0) = (debit_version IS NOT NULL) AND (debit_account_id > 0) = (debit_balance_minor IS NOT NULL)
    ),
    CONSTRAINT transfer_credit_customer CHECK (
        (credit_account_id > 0) = (credit_version IS NOT NULL)
        AND (credit_account_id > 0) = (credit_balance_minor IS NOT NULL)
    ),
    CONSTRAINT transfer_debit_account FOREIGN KEY (debit_account_id, currency) REFERENCES account (id, currency),
    CONSTRAINT transfer_credit_account FOREIGN KEY (credit_account_id, currency) REFERENCES account (id, currency)
);
-- An account's version is given once: the books of two workers cannot both be kept.
CREATE UNIQUE INDEX transfer_debit_version ON transfer (debit_account_id, debit_version) WHERE debit_version IS NOT NULL;
CREATE UNIQUE INDEX transfer_credit_version ON transfer (credit_account_id, credit_version)
WHERE credit_version IS NOT NULL;

-- The totals of a system account over every transfer of a transaction below up_to_xid.
CREATE TABLE system_checkpoint (
    account_id bigint PRIMARY KEY REFERENCES account (id),
    up_to_xid xid8 NOT NULL,
    credits_minor numeric NOT NULL,
    debits_minor numeric NOT NULL,
    made_at timestamptz NOT NULL
);
