-- Why:   linked commands are applied all or none: they stand at one place in line, and Postgres sees to the rest.
-- Locks: ACCESS EXCLUSIVE on command, pending, held for an instant; no row is read or rewritten.
-- Undo:  drop the trigger pending_link_whole, the function link_is_whole and the new columns.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- All at the beginning, in the order in which the intake and the workers take them.
LOCK TABLE command, pending, held IN ACCESS EXCLUSIVE MODE;

-- link is the id of the first of the linked commands. Their positions follow each other.
ALTER TABLE command ADD COLUMN link uuid, ADD COLUMN link_size smallint;
ALTER TABLE command ADD CONSTRAINT command_link_size
CHECK ((link IS NULL) = (link_size IS NULL) AND link_size BETWEEN 2 AND 100) NOT VALID;
-- What waits for its time is never linked: it may have an effect though it is refused.
ALTER TABLE command ADD CONSTRAINT command_link_client CHECK (link IS NULL OR client_id <> 0) NOT VALID;
GRANT INSERT (link, link_size) ON command TO florin_app;

-- The first of them stands in the lines of all their accounts, for all of them. One of its places says how many they
-- are: the trigger runs once for all.
ALTER TABLE pending ADD COLUMN link_size smallint;
ALTER TABLE held ADD COLUMN link_size smallint;

-- Whoever takes linked commands out of their lines has answered all of them in this transaction, applied or none of
-- them applied, or keeps them all. A worker that is too old to know of links cannot commit anything else.
CREATE FUNCTION link_is_whole() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    answered bigint;
    answers bigint;
    transactions bigint;
BEGIN
    SELECT count(*), count(DISTINCT status = 'applied'), count(DISTINCT xid)
    INTO answered, answers, transactions
    FROM outcome WHERE position BETWEEN OLD.position AND OLD.position + OLD.link_size - 1;
    IF answered = OLD.link_size AND answers = 1 AND transactions = 1 THEN
        RETURN NULL;
    END IF;
    IF answered = 0 AND (
        EXISTS (SELECT FROM pending WHERE position = OLD.position)
        OR EXISTS (SELECT FROM held WHERE position = OLD.position)
    ) THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'linked commands are applied all or none' USING
        ERRCODE = 'check_violation', CONSTRAINT = 'pending_link_whole', TABLE = 'pending';
END
$$;
CREATE CONSTRAINT TRIGGER pending_link_whole AFTER DELETE ON pending DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (old.link_size IS NOT NULL) EXECUTE FUNCTION link_is_whole();
