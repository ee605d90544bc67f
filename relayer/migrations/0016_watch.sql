-- What the chain tells of channels, and when it counts: deposits by depth; a log of what happened to a channel, whoever did it; answers
-- that their buyer had deleted, and how much is kept for whom; and how a ledger that lost commits is noticed.

-- balance is what counts. A deposit that is not deep enough for what its payer has put in lately waits in pending_atomic.
ALTER TABLE channel
  ADD COLUMN pending_atomic atomic NOT NULL DEFAULT 0,
  ADD COLUMN counted_block bigint NOT NULL DEFAULT 0,   -- while some are pending: deposits up to this block count
  ADD COLUMN depth_balances numeric(78, 0)[];           -- by configured depth; null once all of the balance is deep
CREATE INDEX channel_young ON channel (payer) WHERE depth_balances IS NOT NULL;
