// A ledger that lost what it knew of a channel, under a relayer that goes on: the relayer notices and sells nothing by channel until its
// operator has said that the loss is dealt with.
import { setTimeout as sleep } from "node:timers/promises";
import type { Hex } from "viem";
import { inTransaction, violatedConstraint, type Db } from "../../relayer/src/db/pool.ts";

const LONGEST_MS = 15_000;

/** Deletes the channel with all that hangs on it, waits until that is noticed, and resumes as an operator would. */
export async function loseChannel(db: Db, channelId: Hex): Promise<void> {
  const id = [Buffer.from(channelId.slice(2), "hex")];
  await forget(db, id);
  for (const deadline = performance.now() + LONGEST_MS; performance.now() < deadline; await sleep(50)) {
    const { rows } = await db.query<{ resumed: boolean }>("SELECT ledger_resume_sales('the operator') AS resumed");
    if (rows[0]?.resumed === true) return;
  }
  throw new Error("the loss was not noticed");
}

/** The relayer goes on writing what it sees of the channel on the chain, so it takes the lot at once, and again when something came between. */
async function forget(db: Db, id: Buffer[]): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return await inTransaction(db, async (client) => {
        for (const table of ["payment", "settlement_row", "channel_log", "channel"]) await client.query(`DELETE FROM ${table} WHERE channel_id = $1`, id);
      });
    } catch (error) {
      if (violatedConstraint(error) === undefined || tries === 20) throw error;
    }
  }
}
