// A ledger that lost what it knew of a channel, under a relayer that goes on: the relayer notices and sells nothing by channel until its
// operator has said that the loss is dealt with.
import { setTimeout as sleep } from "node:timers/promises";
import type { Hex } from "viem";
import type { Db } from "../../relayer/src/db/pool.ts";

const LONGEST_MS = 15_000;

/** Deletes the channel with all that hangs on it, waits until that is noticed, and resumes as an operator would. */
export async function loseChannel(db: Db, channelId: Hex): Promise<void> {
  const id = [Buffer.from(channelId.slice(2), "hex")];
  await db.query("WITH p AS (DELETE FROM payment WHERE channel_id = $1), r AS (DELETE FROM settlement_row WHERE channel_id = $1), l AS (DELETE FROM channel_log WHERE channel_id = $1) SELECT 1", id);
  await db.query("DELETE FROM channel WHERE channel_id = $1", id);
  for (const deadline = performance.now() + LONGEST_MS; performance.now() < deadline; await sleep(50)) {
    const { rows } = await db.query<{ resumed: boolean }>("SELECT ledger_resume_sales('the operator') AS resumed");
    if (rows[0]?.resumed === true) return;
  }
  throw new Error("the loss was not noticed");
}
