-- A transaction that waits too long is signed again: same nonce, same call, higher fees. Whichever version is mined counts.
-- chain_tx carries the newest version, or the one that was mined; here are all versions of a transaction that has several.
CREATE TABLE chain_tx_version (
  hash bytes32 PRIMARY KEY,
  tx_id bigint NOT NULL REFERENCES chain_tx,
  raw bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX chain_tx_version_tx ON chain_tx_version (tx_id, created_at);

ALTER TABLE chain_tx ADD COLUMN signed_at timestamptz NOT NULL DEFAULT clock_timestamp(); -- the newest version

-- fill: spends a nonce that is missing in the lane, so that later ones can be mined.
ALTER TABLE chain_tx DROP CONSTRAINT chain_tx_purpose_check;
ALTER TABLE chain_tx ADD CONSTRAINT chain_tx_purpose_check CHECK (purpose IN ('deposit', 'claim', 'settle', 'refund', 'cancel', 'exact', 'fill'));
