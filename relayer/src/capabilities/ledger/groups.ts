// The ledger's three verbs that move money, many payments to a statement. One set of groups a process; other processes have theirs, and
// Postgres orders them all.
import { createGroup, type Group } from "../../db/group.ts";
import { isLedgerRewound } from "../../db/continuity.ts";
import { isDatabaseUnavailable } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { chargeAll, releaseAll, reserveAll, type Charge, type Charged, type Reservation, type Verdict } from "./store.ts";

export type LedgerGroups = {
  reserve: Group<Reservation, Verdict>;
  charge: Group<Charge, Charged | undefined>;
  release: Group<{ paymentId: string; reason: string }, boolean>;
};

export function createLedgerGroups({ db, config }: Pick<Deps, "db" | "config">): LedgerGroups {
  const { exposure, limits } = config;
  const { unbilledRunsPerMinute, storedAnswerBytes } = limits;
  const bounds = { ...exposure, unbilledRunsPerMinute, storedAnswerBytes };
  return {
    reserve: createGroup((items) => reserveAll(db, items, bounds), (error) => isDatabaseUnavailable(error) || isLedgerRewound(error)),
    charge: createGroup((items) => chargeAll(db, items, limits.answerTtlS), isDatabaseUnavailable),
    release: createGroup((items) => releaseAll(db, items), isDatabaseUnavailable),
  };
}
