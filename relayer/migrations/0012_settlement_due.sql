-- What can be claimed, as a queue of its own. A partial index on `channel` (charged > total_claimed) would make every charge rewrite the
-- channel's index entries; this table is touched when a channel becomes claimable and when it stops being so, not in between.
CREATE TABLE settlement_due (
  channel_id bytes32 PRIMARY KEY REFERENCES channel ON DELETE CASCADE,
  receiver address NOT NULL,
  token address NOT NULL,
  since timestamptz NOT NULL,               -- no later than the oldest charge that is not claimed
  queued_at timestamptz NOT NULL,           -- place in the queue: `since`, or later when it was looked at and left
  given_up atomic                           -- written off: what was charged then; more than that is looked at again
);
CREATE INDEX settlement_due_queue ON settlement_due (queued_at);
CREATE INDEX settlement_due_payee ON settlement_due (receiver, token, since);
DROP INDEX channel_claimable;
CREATE INDEX channel_withdrawing ON channel (channel_id) WHERE withdraw_initiated_at > 0;

CREATE FUNCTION settlement_due_add() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO settlement_due (channel_id, receiver, token, since, queued_at) VALUES (NEW.channel_id, NEW.receiver, NEW.token, now(), now())
  ON CONFLICT (channel_id) DO UPDATE SET queued_at = settlement_due.since, given_up = NULL;
  RETURN NULL;
END $$;
CREATE TRIGGER settlement_due_opened AFTER INSERT ON channel FOR EACH ROW
  WHEN (NEW.charged > NEW.total_claimed) EXECUTE FUNCTION settlement_due_add();
-- The first charge that is not claimed; or the chain moved under a channel that was set aside or written off.
CREATE TRIGGER settlement_due_added AFTER UPDATE ON channel FOR EACH ROW
  WHEN (NEW.charged > NEW.total_claimed AND (OLD.charged <= OLD.total_claimed OR NEW.total_claimed <> OLD.total_claimed
    OR NEW.balance <> OLD.balance OR NEW.withdraw_initiated_at <> OLD.withdraw_initiated_at)) EXECUTE FUNCTION settlement_due_add();

CREATE FUNCTION settlement_due_remove() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM settlement_due WHERE channel_id = NEW.channel_id;
  RETURN NULL;
END $$;
CREATE TRIGGER settlement_due_removed AFTER UPDATE ON channel FOR EACH ROW
  WHEN (NEW.charged <= NEW.total_claimed AND OLD.charged > OLD.total_claimed) EXECUTE FUNCTION settlement_due_remove();

INSERT INTO settlement_due (channel_id, receiver, token, since, queued_at)
SELECT c.channel_id, c.receiver, c.token, oldest.at, oldest.at FROM channel c
CROSS JOIN LATERAL (
  SELECT coalesce(min(coalesce(p.resolved_at, p.reserved_at)), c.created_at) AS at FROM payment p
  WHERE p.channel_id = c.channel_id AND p.state = 'charged' AND p.charged_cumulative > c.total_claimed) oldest
WHERE c.charged > c.total_claimed;

-- A refused row is tried again when the chain, or its voucher, is not what it was then; else after a pause that grows.
ALTER TABLE settlement_quarantine
  ADD COLUMN total_claimed atomic NOT NULL DEFAULT 0,
  ADD COLUMN withdraw_initiated_at bigint NOT NULL DEFAULT 0,
  ADD COLUMN attempts integer NOT NULL DEFAULT 1;
