// SQL of what the chain says of mandates and principals. A view is replaced by one of the same block or later; going back is for the
// follower after a reorganisation, and only over the very view it saw.
import type { Address, Hex } from "viem";
import { toAddress, toBytes, toHex } from "../../db/codec.ts";
import type { Queryable } from "../../db/pool.ts";
import type { MandateView } from "./chain-view.ts";

/** Mandates and principals, each with the block of its view. */
export type Seen = { mandates: Map<Hex, bigint>; principals: Map<Address, bigint> };

/** `replaced`: the block of the view that is to be replaced, when the chain went back. `followed`: read by the follower, which misses nothing from here on. */
export type Saving = { followed: boolean; replaced?: bigint | undefined };

/** @returns true when something was written. */
export async function saveView(db: Queryable, mandateId: Hex, { approved, revoked, spent, block }: MandateView, { followed, replaced }: Saving): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "mandate_view_save",
    text: `UPDATE mandate SET chain_approved = $2, chain_revoked = $3, chain_spent_atomic = $4, chain_block = $5, chain_followed = chain_followed OR $7
           WHERE mandate_id = $1 AND CASE WHEN $6::bigint IS NULL THEN chain_block <= $5 ELSE chain_block = $6 END`,
    values: [toBytes(mandateId), approved, revoked, spent, block, replaced ?? null, followed],
  });
  return rowCount === 1;
}

export async function saveEpoch(db: Queryable, principal: Address, epoch: number, block: bigint, { followed, replaced }: Saving): Promise<void> {
  await db.query({
    name: "mandate_epoch_save",
    text: `INSERT INTO mandate_account AS a (principal, epoch, chain_block, chain_followed) VALUES ($1, $2, $3, $5)
           ON CONFLICT (principal) DO UPDATE SET epoch = EXCLUDED.epoch, chain_block = EXCLUDED.chain_block, chain_followed = a.chain_followed OR EXCLUDED.chain_followed
             WHERE CASE WHEN $4::bigint IS NULL THEN a.chain_block <= EXCLUDED.chain_block ELSE a.chain_block = $4 END`,
    values: [toBytes(principal), epoch, block, replaced ?? null, followed],
  });
}

/** Of these, the registered ones and all above them: what is spent below is spent above. */
export async function registered(db: Queryable, mandateIds: readonly Hex[], principals: readonly Address[]): Promise<Seen> {
  const mandates = await db.query<MandateRow>(
    "SELECT mandate_id, chain_block FROM mandate WHERE mandate_id IN (SELECT unnest(lineage) FROM mandate WHERE mandate_id = ANY($1::bytea[]))",
    [mandateIds.map(toBytes)],
  );
  const accounts = await db.query<AccountRow>("SELECT principal, chain_block FROM mandate_account WHERE principal = ANY($1::bytea[])", [principals.map(toBytes)]);
  return seenFrom(mandates.rows, accounts.rows);
}

/** Those whose view is of a block above this one, and those that were not followed yet. */
export async function dueAbove(db: Queryable, block: bigint): Promise<Seen> {
  const mandates = await db.query<MandateRow>("SELECT mandate_id, chain_block FROM mandate WHERE chain_block > $1 UNION SELECT mandate_id, chain_block FROM mandate WHERE NOT chain_followed", [block]);
  const accounts = await db.query<AccountRow>("SELECT principal, chain_block FROM mandate_account WHERE chain_block > $1 UNION SELECT principal, chain_block FROM mandate_account WHERE NOT chain_followed", [block]);
  return seenFrom(mandates.rows, accounts.rows);
}

type MandateRow = { mandate_id: Buffer; chain_block: bigint };
type AccountRow = { principal: Buffer; chain_block: bigint };

function seenFrom(mandates: readonly MandateRow[], accounts: readonly AccountRow[]): Seen {
  return {
    mandates: new Map(mandates.map((row) => [toHex(row.mandate_id), row.chain_block])),
    principals: new Map(accounts.map((row) => [toAddress(row.principal), row.chain_block])),
  };
}
