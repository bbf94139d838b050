-- Why:   statements of banks and PSPs, what their lines are matched with, and what is not as it should be.
-- Locks: SHARE ROW EXCLUSIVE on transfer for an instant, for two foreign keys; every table is new.
-- Undo:  DROP TABLE reconciliation_break, statement_match, statement_line, statement_file.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- A file as it was imported: known by its bytes, so that it is never imported twice. Of its lines, some may have been
-- there already, from another file; total_minor is over all of them, credits less debits, amount_minor over the new ones.
CREATE TABLE statement_file (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256 bytea NOT NULL CONSTRAINT statement_file_sha256_key UNIQUE
        CONSTRAINT statement_file_sha256_size CHECK (octet_length(sha256) = 32),
    name text NOT NULL CONSTRAINT statement_file_name_size CHECK (char_length(name) BETWEEN 1 AND 255),
    format text NOT NULL CONSTRAINT statement_file_format_known CHECK (format IN ('csv', 'camt053', 'mt940')),
    bank_account text NOT NULL CONSTRAINT statement_file_bank_account_form
        CHECK (bank_account ~ '^[A-Za-z0-9._:-]{1,64}$'),
    currency text NOT NULL CONSTRAINT statement_file_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
    from_on date NOT NULL,
    to_on date NOT NULL,
    opening_minor bigint,
    closing_minor bigint,
    total_minor bigint NOT NULL,
    lines bigint NOT NULL CONSTRAINT statement_file_lines_positive CHECK (lines >= 0),
    new_lines bigint NOT NULL,
    amount_minor bigint NOT NULL CONSTRAINT statement_file_amount_positive CHECK (amount_minor >= 0),
    skipped bigint NOT NULL CONSTRAINT statement_file_skipped_positive CHECK (skipped >= 0),
    imported_by text NOT NULL CONSTRAINT statement_file_imported_by_size CHECK (char_length(imported_by) BETWEEN 1 AND 255),
    imported_at timestamptz NOT NULL,
    CONSTRAINT statement_file_period CHECK (from_on <= to_on),
    CONSTRAINT statement_file_balances CHECK ((opening_minor IS NULL) = (closing_minor IS NULL)),
    CONSTRAINT statement_file_new_lines CHECK (new_lines BETWEEN 0 AND lines)
);
CREATE INDEX statement_file_currency ON statement_file (currency, bank_account, from_on);

-- A line of a bank's statement, as it came. line_key tells it from every other line of the same account, so that files
-- that overlap do not double it. What became of it is not written here: a line never changes.
CREATE TABLE statement_line (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    file_id bigint NOT NULL REFERENCES statement_file (id),
    number bigint NOT NULL CONSTRAINT statement_line_number_positive CHECK (number >= 1),
    bank_account text NOT NULL,
    currency text NOT NULL CONSTRAINT statement_line_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
    line_key bytea NOT NULL CONSTRAINT statement_line_key_size CHECK (octet_length(line_key) = 32),
    booked_on date NOT NULL,
    direction text NOT NULL CONSTRAINT statement_line_direction_known CHECK (direction IN ('credit', 'debit')),
    amount_minor bigint NOT NULL CONSTRAINT statement_line_amount_positive CHECK (amount_minor > 0),
    is_reversal boolean NOT NULL,
    bank_reference text,
    reference text,
    end_to_end_id text,
    batch text,
    counterparty text,
    text text,
    CONSTRAINT statement_line_key UNIQUE (bank_account, line_key)
);
CREATE INDEX statement_line_currency ON statement_line (currency, booked_on);

-- A line and a transfer that are the same money, by which rule, and who said so. A row with undoes takes an earlier one
-- back; none is changed or deleted.
CREATE TABLE statement_match (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    line_id bigint NOT NULL REFERENCES statement_line (id),
    position bigint NOT NULL,
    leg smallint NOT NULL,
    amount_minor bigint NOT NULL CONSTRAINT statement_match_amount_positive CHECK (amount_minor > 0),
    rule text NOT NULL CONSTRAINT statement_match_rule_known
        CHECK (rule IN ('reference', 'amount_date_account', 'sum_by_reference', 'sum_by_account', 'by_hand')),
    made_by text NOT NULL CONSTRAINT statement_match_made_by_size CHECK (char_length(made_by) BETWEEN 1 AND 255),
    reason text CONSTRAINT statement_match_reason_size CHECK (char_length(reason) BETWEEN 1 AND 255),
    made_at timestamptz NOT NULL,
    undoes bigint REFERENCES statement_match (id) CONSTRAINT statement_match_undoes_key UNIQUE,
    CONSTRAINT statement_match_transfer FOREIGN KEY (position, leg) REFERENCES transfer (position, leg),
    -- What a person does has a reason.
    CONSTRAINT statement_match_reason_by_hand CHECK (rule <> 'by_hand' OR reason IS NOT NULL),
    CONSTRAINT statement_match_undone_by_hand CHECK (undoes IS NULL OR rule = 'by_hand')
);
CREATE INDEX statement_match_line_id ON statement_match (line_id);
CREATE INDEX statement_match_position ON statement_match (position, leg);

-- What is not as it should be: a line, a transfer or a file. It is closed when it is found no more, and kept.
CREATE TABLE reconciliation_break (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    result text NOT NULL CONSTRAINT reconciliation_break_result_known CHECK (
        result IN ('missing_in_books', 'missing_in_statement', 'amount_differs', 'duplicate', 'balance')
    ),
    line_id bigint REFERENCES statement_line (id),
    position bigint,
    leg smallint,
    file_id bigint REFERENCES statement_file (id),
    currency text NOT NULL CONSTRAINT reconciliation_break_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CONSTRAINT reconciliation_break_amount_positive CHECK (amount_minor >= 0),
    detail text NOT NULL,
    since timestamptz NOT NULL,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    CONSTRAINT reconciliation_break_transfer FOREIGN KEY (position, leg) REFERENCES transfer (position, leg),
    CONSTRAINT reconciliation_break_subject CHECK (
        (line_id IS NOT NULL) = (result IN ('missing_in_books', 'amount_differs', 'duplicate'))
        AND (position IS NOT NULL) = (result = 'missing_in_statement')
        AND (leg IS NOT NULL) = (result = 'missing_in_statement')
        AND (file_id IS NOT NULL) = (result = 'balance')
    )
);
CREATE UNIQUE INDEX reconciliation_break_line ON reconciliation_break (line_id) WHERE closed_at IS NULL;
CREATE UNIQUE INDEX reconciliation_break_transfer_open ON reconciliation_break (position, leg) WHERE closed_at IS NULL;
CREATE UNIQUE INDEX reconciliation_break_file ON reconciliation_break (file_id) WHERE closed_at IS NULL;
CREATE INDEX reconciliation_break_open ON reconciliation_break (since, id) WHERE closed_at IS NULL;

GRANT SELECT ON statement_file, statement_line, statement_match, reconciliation_break TO florin_app;
GRANT INSERT (
    sha256, name, format, bank_account, currency, from_on, to_on, opening_minor, closing_minor, total_minor, lines,
    new_lines, amount_minor, skipped, imported_by, imported_at
) ON statement_file TO florin_app;
GRANT INSERT (
    file_id, number, bank_account, currency, line_key, booked_on, direction, amount_minor, is_reversal,
    bank_reference, reference, end_to_end_id, batch, counterparty, text
) ON statement_line TO florin_app;
GRANT INSERT (line_id, position, leg, amount_minor, rule, made_by, reason, made_at, undoes)
ON statement_match TO florin_app;
GRANT INSERT (result, line_id, position, leg, file_id, currency, amount_minor, detail, since, opened_at)
ON reconciliation_break TO florin_app;
GRANT UPDATE (closed_at) ON reconciliation_break TO florin_app;
