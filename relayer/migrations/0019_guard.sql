-- The guard that a relayer hosts: what it has signed. Amounts are atomic token units, times unix seconds. It counts for itself, apart from
-- the ledger's budgets: a voucher is money that a seller may take, charged or not.

-- Random, made with the database, and part of every voucher key: a guard over an empty database cannot sign on channels whose vouchers it
-- has forgotten.
CREATE TABLE guard_instance (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  instance bytes32 NOT NULL
);

-- The mandates it looks after; lineage as the agent brought it, signatures and payees included.
CREATE TABLE guard_mandate (
  mandate_id bytes32 PRIMARY KEY,
  lineage jsonb NOT NULL,
  since timestamptz NOT NULL DEFAULT now()
);

-- Signed under a mandate and all below it.
CREATE TABLE guard_account (
  mandate_id bytes32 PRIMARY KEY,
  spent_atomic atomic NOT NULL DEFAULT 0,
  period bigint NOT NULL DEFAULT 0,          -- that period_spent_atomic is about
  period_spent_atomic atomic NOT NULL DEFAULT 0
) WITH (fillfactor = 60);

CREATE TABLE guard_channel (
  channel_id bytes32 PRIMARY KEY,
  mandate_id bytes32 NOT NULL REFERENCES guard_mandate,
  config jsonb NOT NULL,
  highest_atomic atomic NOT NULL DEFAULT 0,  -- highest ceiling signed
  approved_atomic atomic NOT NULL DEFAULT 0  -- sum of the prices of the calls approved
) WITH (fillfactor = 60);
CREATE INDEX guard_channel_mandate ON guard_channel (mandate_id);

-- Requests that were answered, as long as they may be asked again.
CREATE TABLE guard_answer (
  digest bytes32 PRIMARY KEY,
  expires_at bigint NOT NULL
);
CREATE INDEX guard_answer_expires ON guard_answer (expires_at);
