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

-- Ratings that this relayer sent for their raters, each signature once.
CREATE TABLE rating_act (
  digest bytes32 PRIMARY KEY,
  service_id bytes32 NOT NULL,
  rater address NOT NULL,
  tx_id bigint NOT NULL REFERENCES chain_tx,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rating_act_rater ON rating_act (rater, created_at);
CREATE INDEX rating_act_at ON rating_act (created_at);

-- What somebody says against a service. Evidence is kept by its hash; only a reporter who paid the service weighs.
CREATE TABLE report (
  report_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  service_id bytes32 NOT NULL,
  reporter address NOT NULL,
  reason text NOT NULL CHECK (reason IN ('not_delivered', 'wrong_price', 'malicious', 'impersonation', 'illegal', 'other')),
  evidence bytea NOT NULL CHECK (length(evidence) <= 16384),
  evidence_hash bytes32 NOT NULL,           -- keccak256 of evidence
  paid_atomic atomic NOT NULL,              -- what the reporter had paid the service through this relayer then; 0: does not weigh
  day date NOT NULL,
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'upheld', 'rejected')),
  decision_note text,
  decided_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (service_id, reporter, day),
  CHECK ((state = 'open') = (decided_at IS NULL))
);
CREATE INDEX report_open ON report (service_id, created_at) WHERE state = 'open';
CREATE INDEX report_reporter ON report (reporter, created_at);

-- Every decision of the operator about a listing, the newest standing. Discovery shows nothing that is blocked.
CREATE TABLE listing_block (
  decision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  service_id bytes32 NOT NULL,
  blocked boolean NOT NULL,
  note text NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX listing_block_service ON listing_block (service_id, decision_id DESC);
CREATE VIEW blocked_listing AS
  SELECT service_id FROM (SELECT DISTINCT ON (service_id) service_id, blocked FROM listing_block ORDER BY service_id, decision_id DESC) newest WHERE blocked;
