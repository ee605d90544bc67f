// What the hosted guard keeps: the interface of sdk/src/guard/store.ts over Postgres, for several processes at once. Accounts are locked in
// the order of their ids, then the channel; what was decided on them is committed before anything is signed.
import { randomBytes } from "node:crypto";
import type { Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { EMPTY_MANDATE, type Accounts, type MandateAccount } from "../../../../sdk/src/guard/logic.ts";
import { parseConfig } from "../../../../sdk/src/guard/request.ts";
import type { Change, ChannelRecord, GuardStore, RefusalEntry, Scope } from "../../../../sdk/src/guard/store.ts";
import { parseLineage, toWireLineage, type Lineage } from "../../../../sdk/src/lineage.ts";
import { toBytes, toHex } from "../../db/codec.ts";
import { inTransaction, type Db, type Queryable } from "../../db/pool.ts";

type Row = { mandate_id: Buffer; spent_atomic: bigint; period: bigint; period_spent_atomic: bigint };

export type GuardStoreParts = { db: Db; /** After the commit. */ committed: () => void; recordRefusal: (entry: RefusalEntry) => Promise<void> };

/** The random part of every voucher key; the first process makes it. */
export async function guardInstance(db: Db): Promise<Hex> {
  await db.query("INSERT INTO guard_instance (instance) VALUES ($1) ON CONFLICT DO NOTHING", [randomBytes(32)]);
  const { rows } = await db.query<{ instance: Buffer }>("SELECT instance FROM guard_instance");
  return toHex(rows[0]!.instance);
}

export async function forgetAnswers(db: Db, beforeS: number): Promise<void> {
  await db.query("DELETE FROM guard_answer WHERE expires_at < $1", [beforeS]);
}

export function createGuardStore({ db, committed, recordRefusal }: GuardStoreParts, instance: Hex): GuardStore {
  return {
    instance,
    addLineage: (id, lineage) => addLineage(db, id, lineage),
    lineageOf: (id) => lineageOf(db, id),
    async mandateIds() {
      const { rows } = await db.query<{ mandate_id: Buffer }>("SELECT mandate_id FROM guard_mandate ORDER BY mandate_id");
      return rows.map(({ mandate_id }) => toHex(mandate_id));
    },
    async accounts(ids) {
      const { rows } = await db.query<Row>("SELECT mandate_id, spent_atomic, period, period_spent_atomic FROM guard_account WHERE mandate_id = ANY($1::bytea[])", [ids.map(toBytes)]);
      return inOrder(ids, rows);
    },
    channels: (mandateId) => channels(db, mandateId),
    async transact(scope, decide) {
      const outcome = await inTransaction(db, async (client) => {
        const accounts = await lockAccounts(client, scope);
        const { outcome, change } = decide(accounts, await answeredOf(client, scope));
        if (change !== undefined) await write(client, scope, change);
        return outcome;
      });
      committed();
      return outcome;
    },
    async recordRefusal(entry) {
      await recordRefusal(entry);
      return undefined;
    },
    async close() {},
  };
}

/** Only mandates that are registered here: that is where their number is bounded. */
async function addLineage(db: Db, id: Hex, lineage: Lineage): Promise<void> {
  const { rowCount } = await db.query(
    "INSERT INTO guard_mandate (mandate_id, lineage) SELECT mandate_id, $2 FROM mandate WHERE mandate_id = $1::bytea ON CONFLICT (mandate_id) DO NOTHING",
    [toBytes(id), JSON.stringify(toWireLineage(lineage))],
  );
  if (rowCount === 1 || (await lineageOf(db, id)) !== undefined) return;
  throw new TallystickError({ code: "mandate_not_registered", status: 403, retry: "never", field: "lineage", detail: `The mandate ${id} is not registered with this relayer: POST /api/v1/mandates comes first.` });
}

async function lineageOf(db: Db, id: Hex): Promise<Lineage | undefined> {
  const { rows } = await db.query<{ lineage: unknown }>("SELECT lineage FROM guard_mandate WHERE mandate_id = $1::bytea", [toBytes(id)]);
  return rows[0] === undefined ? undefined : parseLineage(rows[0].lineage);
}

/** The first of these mandates that is revoked, here or on chain. */
export async function revokedOf(db: Db, ids: readonly Hex[]): Promise<Hex | undefined> {
  const { rows } = await db.query<{ mandate_id: Buffer }>("SELECT mandate_id FROM mandate WHERE mandate_id = ANY($1::bytea[]) AND (revoked_at IS NOT NULL OR chain_revoked) LIMIT 1", [ids.map(toBytes)]);
  return rows[0] && toHex(rows[0].mandate_id);
}

async function channels(db: Db, mandateId: Hex): Promise<ChannelRecord[]> {
  const { rows } = await db.query<{ channel_id: Buffer; config: unknown; highest_atomic: bigint; approved_atomic: bigint }>(
    "SELECT channel_id, config, highest_atomic, approved_atomic FROM guard_channel WHERE mandate_id = $1::bytea ORDER BY channel_id",
    [toBytes(mandateId)],
  );
  return rows.map((row) => ({ channelId: toHex(row.channel_id), config: parseConfig(row.config), highest: row.highest_atomic, approved: row.approved_atomic }));
}

async function lockAccounts(client: Queryable, { ids, channelId }: Scope): Promise<Accounts> {
  const keys = [...ids].sort().map(toBytes);
  await client.query("INSERT INTO guard_account (mandate_id) SELECT * FROM unnest($1::bytea[]) ON CONFLICT DO NOTHING", [keys]);
  const { rows } = await client.query<Row>(
    "SELECT mandate_id, spent_atomic, period, period_spent_atomic FROM guard_account WHERE mandate_id = ANY($1::bytea[]) ORDER BY mandate_id FOR UPDATE",
    [keys],
  );
  // A channel of the mandate is nobody else's, so its accounts' locks guard also the row that is not there yet: a refusal leaves none.
  const channel = await client.query<{ highest_atomic: bigint; approved_atomic: bigint }>("SELECT highest_atomic, approved_atomic FROM guard_channel WHERE channel_id = $1::bytea FOR UPDATE", [toBytes(channelId)]);
  const { highest_atomic: highest, approved_atomic: approved } = channel.rows[0] ?? { highest_atomic: 0n, approved_atomic: 0n };
  return { channel: { highest, approved }, mandates: inOrder(ids, rows) };
}

function inOrder(ids: readonly Hex[], rows: readonly Row[]): MandateAccount[] {
  const byId = new Map(rows.map((row) => [toHex(row.mandate_id), { spent: row.spent_atomic, period: Number(row.period), periodSpent: row.period_spent_atomic }]));
  return ids.map((id) => byId.get(id.toLowerCase() as Hex) ?? EMPTY_MANDATE);
}

async function answeredOf(client: Queryable, { digests }: Scope): Promise<ReadonlySet<Hex>> {
  const { rows } = await client.query<{ digest: Buffer }>("SELECT digest FROM guard_answer WHERE digest = ANY($1::bytea[])", [digests.map(toBytes)]);
  return new Set(rows.map(({ digest }) => toHex(digest)));
}

/** Conditional all the same: what is signed never falls, whoever made a mistake. */
async function write(client: Queryable, { ids, channelId, config }: Scope, { channel, mandates, answered }: Change): Promise<void> {
  const moved = await client.query(
    `INSERT INTO guard_channel AS kept (channel_id, mandate_id, config, highest_atomic, approved_atomic) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (channel_id) DO UPDATE SET highest_atomic = excluded.highest_atomic, approved_atomic = excluded.approved_atomic
     WHERE kept.mandate_id = excluded.mandate_id AND kept.highest_atomic <= excluded.highest_atomic AND kept.approved_atomic <= excluded.approved_atomic`,
    [toBytes(channelId), toBytes(ids[0]!), JSON.stringify(config), channel.highest, channel.approved],
  );
  const charged = await client.query(
    `UPDATE guard_account SET spent_atomic = n.spent, period = n.period, period_spent_atomic = n.period_spent
     FROM unnest($1::bytea[], $2::numeric[], $3::bigint[], $4::numeric[]) AS n (id, spent, period, period_spent)
     WHERE guard_account.mandate_id = n.id AND guard_account.spent_atomic <= n.spent AND guard_account.period <= n.period`,
    [ids.map(toBytes), mandates.map(({ spent }) => spent), mandates.map(({ period }) => period), mandates.map(({ periodSpent }) => periodSpent)],
  );
  if (moved.rowCount !== 1 || charged.rowCount !== ids.length) throw new Error("invariant: a guard's accounts only rise");
  await client.query("INSERT INTO guard_answer (digest, expires_at) SELECT * FROM unnest($1::bytea[], $2::bigint[])", [answered.map(({ digest }) => toBytes(digest)), answered.map(({ expiresAt }) => expiresAt)]);
}
