-- What the chain tells of channels, and when it counts: deposits by depth; a log of what happened to a channel, whoever did it; answers
-- that their buyer had deleted; and how a ledger that lost commits is noticed.

-- balance is what counts. A deposit that is not deep enough for what its payer has put in lately waits in pending_atomic.
ALTER TABLE channel
  ADD COLUMN pending_atomic atomic NOT NULL DEFAULT 0,
  ADD COLUMN counted_block bigint NOT NULL DEFAULT 0,   -- while some are pending: deposits up to this block count
  ADD COLUMN depth_balances numeric(78, 0)[];           -- by configured depth; null once all of the balance is deep
CREATE INDEX channel_young ON channel (payer) WHERE depth_balances IS NOT NULL;

-- What the chain recorded of a channel, whoever sent it. Written by the follower, so with its cursor; a row whose block was reorganised
-- away stays, marked, and comes back when its transaction is mined again at the same place.
CREATE TABLE channel_log (
  tx_hash bytes32 NOT NULL,
  log_index integer NOT NULL,
  row_index integer NOT NULL DEFAULT 0,     -- in a packed claim
  channel_id bytes32 NOT NULL REFERENCES channel,
  kind text NOT NULL CHECK (kind IN ('deposit', 'claim', 'refund', 'withdraw_started', 'withdraw_cancelled', 'withdraw_finalized')),
  amount atomic NOT NULL,
  block_number bigint NOT NULL,
  block_hash bytes32 NOT NULL,
  ours boolean NOT NULL,                    -- in a transaction of this relayer
  seen_at timestamptz NOT NULL DEFAULT now(),
  gone_at timestamptz,
  PRIMARY KEY (tx_hash, log_index, row_index)
);
CREATE INDEX channel_log_channel ON channel_log (channel_id, block_number DESC, log_index DESC);
CREATE INDEX channel_log_block ON channel_log (block_number);

-- Channels that were just taken in: what happened to them before is looked up once.
ALTER TABLE channel ADD COLUMN history_wanted boolean NOT NULL DEFAULT false;
CREATE INDEX channel_history_wanted ON channel (channel_id) WHERE history_wanted;

-- How far the slow pass over all channels is.
CREATE TABLE watch_cursor (name text PRIMARY KEY, channel_id bytes32 NOT NULL);

CREATE FUNCTION channel_log_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  facts jsonb := jsonb_build_object('what', NEW.kind, 'amountAtomic', NEW.amount::text, 'transaction', hex0x(NEW.tx_hash), 'block', NEW.block_number::text, 'ours', NEW.ours);
  unclaimed numeric;
BEGIN
  PERFORM channel_part_event(CASE WHEN NEW.gone_at IS NULL THEN 'session.on_chain' ELSE 'session.off_chain' END, NEW.channel_id, facts);
  SELECT charged - total_claimed INTO unclaimed FROM channel WHERE channel_id = NEW.channel_id;
  -- The receiver's own key gave back what may be a provider's unclaimed income.
  IF NEW.kind = 'refund' AND NOT NEW.ours AND NEW.gone_at IS NULL AND unclaimed > 0 THEN
    PERFORM channel_part_event('session.alert', NEW.channel_id, facts || jsonb_build_object('reason', 'refund_by_others', 'unclaimedAtomic', unclaimed::text));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER channel_log_seen AFTER INSERT ON channel_log FOR EACH ROW EXECUTE FUNCTION channel_log_event();
CREATE TRIGGER channel_log_moved AFTER UPDATE OF gone_at ON channel_log FOR EACH ROW WHEN ((NEW.gone_at IS NULL) <> (OLD.gone_at IS NULL)) EXECUTE FUNCTION channel_log_event();

-- An answer that its buyer had deleted, so that a replay can say so.
CREATE TABLE answer_deletion (
  payment_id text PRIMARY KEY REFERENCES payment ON DELETE CASCADE,
  at timestamptz NOT NULL DEFAULT now()
);

-- Is this the ledger that was here a moment ago? Stamps are written every few seconds and remembered outside: one that is missing was
-- lost, and commits with it. An epoch begins when the ledger is new, and whenever an operator says that a loss has been dealt with.
CREATE TABLE ledger_epoch (
  epoch bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  epoch_id uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
  system_identifier text,                   -- of the cluster; null where the server does not tell
  timeline text,
  began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  began_by text NOT NULL
);
CREATE TABLE ledger_stamp (
  stamp bigint PRIMARY KEY,
  mark uuid NOT NULL DEFAULT gen_random_uuid(),
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ledger_stamp_at ON ledger_stamp (at);
-- Epochs that somebody remembers and this database does not: told of once, and forgotten when sales are resumed.
CREATE TABLE ledger_lost_epoch (
  epoch_id uuid PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE ledger_stop (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  reason text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Which cluster this is, on which timeline, and how far it has written. Nulls where the server does not tell.
CREATE FUNCTION ledger_place(OUT system_identifier text, OUT timeline text, OUT flushed pg_lsn) LANGUAGE plpgsql AS $$
BEGIN
  flushed := pg_current_wal_flush_lsn();
  timeline := left(pg_walfile_name(flushed), 8);
  SELECT s.system_identifier::text INTO system_identifier FROM pg_control_system() s;
EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_function THEN
  RETURN;
END $$;

CREATE FUNCTION ledger_begin_epoch(who text) RETURNS void LANGUAGE sql AS $$
  INSERT INTO ledger_epoch (system_identifier, timeline, began_by) SELECT system_identifier, timeline, who FROM ledger_place()
$$;
SELECT ledger_begin_epoch('migration');

-- Stamps of all processes are one row of numbers; who comes second takes the other's. True when one was written: then it is on the disk,
-- and every commit before it.
CREATE FUNCTION ledger_write_stamp(every_s integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('synchronous_commit', 'on', true);
  INSERT INTO ledger_stamp (stamp)
  SELECT coalesce(max(stamp), 0) + 1 FROM ledger_stamp HAVING coalesce(max(at) < clock_timestamp() - every_s * interval '1 second', true)
  ON CONFLICT DO NOTHING;
  RETURN FOUND;
END $$;

-- While the ledger is stopped nothing is reserved on any channel; all else goes on. The trigger is off otherwise and costs nothing.
CREATE FUNCTION ledger_rewound() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the ledger lost commits: nothing is sold by channel' USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_rewound';
END $$;
CREATE TRIGGER ledger_rewound BEFORE UPDATE OF reserved ON channel FOR EACH ROW WHEN (NEW.reserved > OLD.reserved) EXECUTE FUNCTION ledger_rewound();
ALTER TABLE channel DISABLE TRIGGER ledger_rewound;

-- `remembered` is the epoch that who asks knew of, `seen` the one it found: when an operator has resumed meanwhile, it asks too late.
CREATE FUNCTION ledger_stop_sales(why text, remembered uuid DEFAULT NULL, seen uuid DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  LOCK TABLE ledger_stop IN EXCLUSIVE MODE;
  IF seen <> (SELECT epoch_id FROM ledger_epoch ORDER BY epoch DESC LIMIT 1) THEN RETURN false; END IF;
  INSERT INTO ledger_lost_epoch (epoch_id) SELECT remembered WHERE remembered IS NOT NULL AND NOT EXISTS (SELECT 1 FROM ledger_epoch WHERE epoch_id = remembered) ON CONFLICT DO NOTHING;
  INSERT INTO ledger_stop (reason) VALUES (why) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN RETURN false; END IF;
  ALTER TABLE channel ENABLE TRIGGER ledger_rewound;
  RETURN true;
END $$;
CREATE FUNCTION ledger_resume_sales(who text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  LOCK TABLE ledger_stop IN EXCLUSIVE MODE;
  DELETE FROM ledger_stop;
  IF NOT FOUND THEN RETURN false; END IF;
  PERFORM ledger_begin_epoch(who);
  ALTER TABLE channel DISABLE TRIGGER ledger_rewound;
  RETURN true;
END $$;
