-- Several keys pay gas in parallel, one nonce lane each.

-- The most a transaction may cost, gas limit times highest fee offered: what is in flight in a lane is not there to be spent again.
ALTER TABLE chain_tx ADD COLUMN most_wei numeric(78, 0) NOT NULL DEFAULT 0;

-- What the facilitator was asked for is found by what it is, not by the lane that it went to.
CREATE INDEX chain_tx_facilitator ON chain_tx (payment_id) WHERE payment_id LIKE 'facilitator %';
