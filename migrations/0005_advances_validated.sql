-- Why:   what 0004 wrote down for new rows holds for the old ones too.
-- Locks: SHARE UPDATE EXCLUSIVE while each table is read once: reads and writes go on, but vacuum and roll_forward wait.
-- Undo:  nothing to undo.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60min';

ALTER TABLE client VALIDATE CONSTRAINT client_name_form;
ALTER TABLE api_key VALIDATE CONSTRAINT api_key_of_a_client;
ALTER TABLE account VALIDATE CONSTRAINT account_kind_known, VALIDATE CONSTRAINT account_id_by_kind;
ALTER TABLE transfer VALIDATE CONSTRAINT transfer_kind_known;
ALTER TABLE command
VALIDATE CONSTRAINT command_instalments,
VALIDATE CONSTRAINT command_instalment,
VALIDATE CONSTRAINT command_reason_size,
VALIDATE CONSTRAINT command_type_known,
VALIDATE CONSTRAINT command_shape,
VALIDATE CONSTRAINT command_advance_shape,
VALIDATE CONSTRAINT command_collect_client;
