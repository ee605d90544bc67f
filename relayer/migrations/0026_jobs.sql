-- Jobs: what was asked for and quoted here, what the chain says of those that were hired, and what is to be done about them in time.
ALTER TABLE chain_tx DROP CONSTRAINT chain_tx_purpose_check;
ALTER TABLE chain_tx ADD CONSTRAINT chain_tx_purpose_check
  CHECK (purpose IN ('deposit', 'claim', 'settle', 'refund', 'cancel', 'exact', 'fill', 'anchor', 'listing', 'job'));

CREATE TABLE job (
  job_id text PRIMARY KEY CHECK (job_id ~ '^job_[0-9a-f]{32}$'),
  posted_by address NOT NULL,               -- the client, or the agent that hires under its mandate
  client address NOT NULL,                  -- whose money it is
  client_agent address NOT NULL,            -- who acts for it in disputes; zero: nobody
  provider address,                         -- whom it is offered to; null: whoever quotes
  brief jsonb NOT NULL,
  brief_hash bytes32 NOT NULL,
  rules jsonb NOT NULL,
  deliver_within_s integer NOT NULL CHECK (deliver_within_s > 0),
  budget_atomic atomic CHECK (budget_atomic > 0), -- null: quotes are asked for
  idempotency_key text,
  body_hash bytes32 NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  open_until timestamptz NOT NULL,          -- not hired by then, it is forgotten
  withdrawn_at timestamptz,

  -- Hired here: what was signed. The transaction that hires is job_action's.
  terms jsonb,
  hired_at timestamptz,

  -- A view of the chain as of chain_block; null while the hire is not mined.
  chain_job_id atomic,
  hired_block bigint,
  chain jsonb,
  chain_block bigint,
  over boolean NOT NULL DEFAULT false,      -- paid or refunded on the chain, and nothing left to do for anybody

  -- The watcher.
  due_at timestamptz,
  leased_until timestamptz NOT NULL DEFAULT '-infinity',
  faults integer NOT NULL DEFAULT 0,        -- attempts in a row that came to nothing
  CHECK ((terms IS NULL) = (hired_at IS NULL)),
  CHECK ((chain_job_id IS NULL) = (chain IS NULL) AND (chain_job_id IS NULL) = (hired_block IS NULL))
);
CREATE UNIQUE INDEX job_idempotency ON job (posted_by, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX job_on_chain ON job (chain_job_id) WHERE chain_job_id IS NOT NULL;
CREATE INDEX job_by_client ON job (client, created_at);
CREATE INDEX job_by_poster ON job (posted_by, created_at);
CREATE INDEX job_by_provider ON job (provider, created_at);
CREATE INDEX job_open ON job (created_at) WHERE provider IS NULL AND hired_at IS NULL;
CREATE INDEX job_drafts ON job (open_until) WHERE hired_at IS NULL;
CREATE INDEX job_due ON job (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE job_quote (
  job_id text NOT NULL REFERENCES job ON DELETE CASCADE,
  provider address NOT NULL,
  budget_atomic atomic NOT NULL CHECK (budget_atomic > 0),
  deliver_within_s integer NOT NULL CHECK (deliver_within_s > 0),
  note text NOT NULL,
  valid_until timestamptz NOT NULL,
  quoted_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (job_id, provider)
);

-- One row for each thing that was to be done once on the chain: who asks for the same again gets the same transaction.
CREATE TABLE job_action (
  job_id text NOT NULL REFERENCES job,
  verb text NOT NULL,
  key text NOT NULL,                        -- what makes it this one: a digest, a round, a seat
  by address,                               -- whose wish it was; null: the watcher's
  tx_id bigint NOT NULL REFERENCES chain_tx,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (job_id, verb, key)
);
CREATE INDEX job_action_by ON job_action (by, at) WHERE by IS NOT NULL;
CREATE INDEX job_action_tx ON job_action (tx_id);

-- Deliverables, statements and their attachments by content: SHA-256 of the bytes, which are sealed.
CREATE TABLE job_file (
  job_id text NOT NULL REFERENCES job,
  sha256 bytes32 NOT NULL,
  kind text NOT NULL CHECK (kind IN ('deliverable', 'statement', 'attachment', 'log')),
  media_type text NOT NULL,
  size integer NOT NULL CHECK (size >= 0),
  sealed bytea NOT NULL,
  by address NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (job_id, sha256)
);
ALTER TABLE job_file ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- What happened, here and on the chain. Of the chain's, those of vanished blocks are deleted again.
CREATE TABLE job_event (
  event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id text NOT NULL REFERENCES job ON DELETE CASCADE,
  kind text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor address,
  others bytea[] NOT NULL DEFAULT '{}',     -- told of it beside the parties: the panel
  data jsonb NOT NULL,
  block_number bigint,
  transaction bytes32,
  log_index integer,
  CHECK ((block_number IS NULL) = (transaction IS NULL) AND (block_number IS NULL) = (log_index IS NULL))
);
CREATE UNIQUE INDEX job_event_once ON job_event (transaction, log_index) WHERE transaction IS NOT NULL;
CREATE INDEX job_event_of ON job_event (job_id, event_id);
CREATE INDEX job_event_block ON job_event (block_number) WHERE block_number IS NOT NULL;

CREATE FUNCTION job_event_told() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO event (kind, parties, data)
  SELECT 'job.' || NEW.kind, array_remove(ARRAY[j.client::bytea, j.posted_by::bytea, j.provider::bytea], NULL) || NEW.others,
    jsonb_strip_nulls(NEW.data || jsonb_build_object('jobId', NEW.job_id, 'by', hex0x(NEW.actor), 'transaction', hex0x(NEW.transaction)))
  FROM job j WHERE j.job_id = NEW.job_id;
  RETURN NULL;
END $$;
CREATE TRIGGER job_event_told AFTER INSERT ON job_event FOR EACH ROW EXECUTE FUNCTION job_event_told();

-- Endpoints that are told of the events of their owner, in order; where each stands is (told_xid, told_event), as in `event`.
CREATE TABLE webhook (
  webhook_id text PRIMARY KEY CHECK (webhook_id ~ '^whk_[0-9a-f]{32}$'),
  owner address NOT NULL,
  url text NOT NULL,
  kinds text[] NOT NULL,                    -- prefixes of kinds; empty: all
  sealed_secret bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  told_xid xid8 NOT NULL,
  told_event bigint NOT NULL,
  attempts integer NOT NULL DEFAULT 0,      -- of the event that comes next
  due_at timestamptz NOT NULL DEFAULT now(),
  leased_until timestamptz NOT NULL DEFAULT '-infinity',
  disabled_at timestamptz                   -- after too many failures in a row; enabling it goes on where it stood
);
CREATE INDEX webhook_owner ON webhook (owner);
CREATE INDEX webhook_due ON webhook (due_at) WHERE disabled_at IS NULL;

CREATE TABLE webhook_delivery (
  webhook_id text NOT NULL REFERENCES webhook ON DELETE CASCADE,
  event_xid xid8 NOT NULL,
  event_id bigint NOT NULL,
  kind text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  attempt integer NOT NULL,
  status integer,                           -- of the answer; null: there was none
  fault text,
  PRIMARY KEY (webhook_id, event_xid, event_id, attempt)
);
CREATE INDEX webhook_delivery_at ON webhook_delivery (at);
