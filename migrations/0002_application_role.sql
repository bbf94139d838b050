-- Why:   the application may add to history, and never change or delete it.
-- Locks: SHARE ROW EXCLUSIVE at most, for an instant.
-- Undo:  REVOKE ALL ON ALL TABLES IN SCHEMA public FROM florin_app.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- Roles belong to the whole cluster: another database's migration may make this one at the same moment.
DO $$
BEGIN
    CREATE ROLE florin_app NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO florin_app;
GRANT SELECT ON command, outcome, transfer, dead_letter, client, api_key TO florin_app;
-- Not position and xid: a place in line and a transaction are given, never chosen.
GRANT INSERT (
    id, client_id, idempotency_key, type, currency, account, from_account, to_account, amount_minor,
    overdraft_limit_minor, overdraft_fee_minor, reference, metadata, accepted_at
) ON command TO florin_app;
GRANT INSERT (position, status, reason, decided_at) ON outcome TO florin_app;
GRANT INSERT (
    position, leg, kind, debit_account_id, credit_account_id, amount_minor, currency,
    debit_version, debit_balance_minor, credit_version, credit_balance_minor
) ON transfer TO florin_app;
GRANT INSERT ON dead_letter TO florin_app;
GRANT INSERT (name) ON client TO florin_app;
GRANT INSERT (prefix, client_id, secret_sha256, scopes) ON api_key TO florin_app;
GRANT UPDATE (revoked_at) ON api_key TO florin_app;
GRANT SELECT, INSERT, DELETE ON pending TO florin_app;
GRANT SELECT, INSERT ON account TO florin_app;
GRANT UPDATE (version, credits_minor, debits_minor, held_minor) ON account TO florin_app;
GRANT SELECT, INSERT, UPDATE ON system_checkpoint TO florin_app;
GRANT SELECT ON schema_migration TO florin_app;
