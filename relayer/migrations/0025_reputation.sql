-- Receipts on chain: which receipts hang under the root that a packed claim carried. And reports of services, and what an operator decided.

-- By content: the same receipts make the same tree, so a claim that is made again finds its tree here.
CREATE TABLE receipt_tree (
  root bytes32 PRIMARY KEY,
  leaves bytea NOT NULL CHECK (length(leaves) > 0 AND length(leaves) % 32 = 0), -- digests of the receipts, by row and then by cumulative charge
  created_at timestamptz NOT NULL DEFAULT now()
);
-- Hashes do not compress.
ALTER TABLE receipt_tree ALTER COLUMN leaves SET STORAGE EXTERNAL;

-- A row's receipts are those of its channel with a cumulative charge above receipts_from, up to receipts_to.
ALTER TABLE settlement_row
  ADD COLUMN receipts_root bytes32 REFERENCES receipt_tree,
  ADD COLUMN receipts_from atomic,
  ADD COLUMN receipts_to atomic,
  ADD CONSTRAINT settlement_row_receipts CHECK ((receipts_root IS NULL) = (receipts_to IS NULL) AND (receipts_from IS NULL) = (receipts_to IS NULL) AND receipts_from <= receipts_to AND receipts_to <= total_claimed);
CREATE INDEX settlement_row_root ON settlement_row (receipts_root) WHERE receipts_root IS NOT NULL;

-- What is published of a receipt goes by its digest.
CREATE INDEX receipt_ack_hash ON receipt_ack (receipt_hash);
