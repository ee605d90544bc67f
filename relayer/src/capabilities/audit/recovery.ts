// Nothing that was charged lacks an entry: a crash loses approvals that were not sealed yet, and this finds them in the payments.
import { inTransaction } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { lockRecovery, recoverNext } from "./recovery-store.ts";

/** Longer than a living process keeps an entry. */
const YOUNG_S = 15;
const BATCH = 5_000;

/** For the sweeper; any number of processes. @returns how many entries were put in. */
export async function recoverApprovals({ db, log }: Pick<Deps, "db" | "log">, youngS = YOUNG_S): Promise<number> {
  for (let total = 0; ; ) {
    const step = await inTransaction(db, async (client) => {
      const after = await lockRecovery(client);
      return after === undefined ? undefined : recoverNext(client, after, youngS, BATCH);
    });
    total += step?.recovered ?? 0;
    if (step !== undefined && step.recovered > 0) {
      log.warn({ event: EVENT.auditRecovered, payments: step.recovered }, "charged payments without an audit entry: their process died; written from the payments");
    }
    if (step === undefined || step.seen < BATCH) return total;
  }
}
