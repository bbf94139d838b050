-- Why:   history is sealed in a chain of blocks, so that whoever rewrites it is found out.
-- Locks: none that anybody could wait for; the tables are new.
-- Undo:  DROP TABLE seal, seal_genesis; what was published of them proves nothing any more.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- What names this history among all others, drawn once. A restored copy is the same history.
CREATE TABLE seal_genesis (
    id smallint PRIMARY KEY DEFAULT 1 CONSTRAINT seal_genesis_one CHECK (id = 1),
    history uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO seal_genesis DEFAULT VALUES;

-- A block seals the outcomes that follow the last block in the log. The first part is hashed into the block's own hash;
-- the second says which leaves are in it, so that a verifier can name the one that differs, also when its row is gone;
-- the third is where the sealer goes on, in transaction ids of this cluster.
CREATE TABLE seal (
    number bigint PRIMARY KEY CONSTRAINT seal_number_positive CHECK (number >= 1),
    version smallint NOT NULL CONSTRAINT seal_version_known CHECK (version = 1),
    first_leaf bigint NOT NULL CONSTRAINT seal_first_leaf_key UNIQUE
        CONSTRAINT seal_first_leaf_positive CHECK (first_leaf >= 0),
    leaves bigint NOT NULL CONSTRAINT seal_leaves_bounded CHECK (leaves BETWEEN 1 AND 100000),
    root bytea NOT NULL CONSTRAINT seal_root_size CHECK (octet_length(root) = 32),
    previous bytea NOT NULL CONSTRAINT seal_previous_key UNIQUE
        CONSTRAINT seal_previous_size CHECK (octet_length(previous) = 32),
    sealed_at timestamptz NOT NULL CONSTRAINT seal_sealed_at_sane CHECK (sealed_at BETWEEN '2000-01-01Z' AND '9000-01-01Z'),
    hash bytea NOT NULL CONSTRAINT seal_hash_size CHECK (octet_length(hash) = 32),

    positions bigint [] NOT NULL,
    leaf_hashes bytea NOT NULL,
    lowest_position bigint NOT NULL,
    highest_position bigint NOT NULL,

    last_xid xid8 NOT NULL,
    last_position bigint NOT NULL,

    CONSTRAINT seal_leaves_listed CHECK (cardinality(positions) = leaves AND octet_length(leaf_hashes) = 32 * leaves),
    CONSTRAINT seal_positions_range CHECK (lowest_position <= highest_position)
);
-- Hashes do not compress: trying costs, and gains nothing.
ALTER TABLE seal ALTER COLUMN leaf_hashes SET STORAGE EXTERNAL;

GRANT SELECT ON seal_genesis TO florin_app;
GRANT SELECT, INSERT ON seal TO florin_app;
