// The ledger's three verbs that move money, many payments to a statement. One set of groups a process; other processes have theirs, and
// Postgres orders them all.
import { createGroup, type Group } from "../../db/group.ts";
import { isLedgerRewound } from "../../db/continuity.ts";
import { isDatabaseUnavailable } from "../../db/pool.ts";
import type { Deps } from "../../deps.ts";
import { reserveWithin } from "../mandates/budget-store.ts";
import { dispatchReservations } from "../mandates/dispatch.ts";
import { dispatchCharges, dispatchSessions } from "../negotiation/dispatch.ts";
import { chargeInSessions, reserveInSessions, type SessionVerdict } from "../negotiation/ledger-store.ts";
import { dispatchPeriods } from "../subscriptions/dispatch.ts";
import { chargeByPeriod } from "../subscriptions/store.ts";
import { chargeAll, releaseAll, reserveAll, type Charge, type Charged, type Reservation } from "./store.ts";

export type LedgerGroups = {
  /** Of channels that spend under a mandate, within it. */
  reserve: Group<Reservation, SessionVerdict>;
  charge: Group<Charge, Charged | undefined>;
  release: Group<{ paymentId: string; reason: string }, boolean>;
};

export function createLedgerGroups({ db, config }: Pick<Deps, "db" | "config">): LedgerGroups {
  const { exposure, limits } = config;
  const { unbilledRunsPerMinute, storedAnswerBytes } = limits;
  const bounds = { ...exposure, unbilledRunsPerMinute, storedAnswerBytes };
  const sharesFate = (error: unknown) => isDatabaseUnavailable(error) || isLedgerRewound(error);
  return {
    reserve: dispatchSessions(
      dispatchReservations(
        createGroup((items) => reserveAll(db, items, bounds), sharesFate),
        createGroup((items) => reserveWithin(db, items, bounds), sharesFate),
      ),
      createGroup((items) => reserveInSessions(db, items, bounds), sharesFate),
    ),
    charge: dispatchCharges(
      dispatchPeriods(
        createGroup((items) => chargeAll(db, items, limits.answerTtlS), isDatabaseUnavailable),
        createGroup((items) => chargeByPeriod(db, items, limits.answerTtlS), isDatabaseUnavailable),
      ),
      createGroup((items) => chargeInSessions(db, items, limits.answerTtlS), isDatabaseUnavailable),
    ),
    release: createGroup((items) => releaseAll(db, items), isDatabaseUnavailable),
  };
}
