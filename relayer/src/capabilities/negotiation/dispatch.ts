// Which payments are of a session is known by the database alone, unless the payer names one. A process remembers the channels it was told
// of, so that the next call goes the right way at once; calls on other channels pay nothing for it.
import type { Hex } from "viem";
import { createBoundedCache } from "../../crypto/bounded-cache.ts";
import type { Group } from "../../db/group.ts";
import type { Charge, Charged, Reservation } from "../ledger/store.ts";
import type { MandateVerdict } from "../mandates/budget-store.ts";
import type { SessionVerdict } from "./ledger-store.ts";
import { isInSession } from "./refusals.ts";

const REMEMBERED = 100_000;

/** A channel that had a session is asked about for good, so what is remembered is never wrong. */
export function dispatchSessions(plain: Group<Reservation, MandateVerdict>, inSessions: Group<Reservation, SessionVerdict>): Group<Reservation, SessionVerdict> {
  const negotiated = createBoundedCache<Hex, true>(REMEMBERED);
  return (item) => {
    const { channelId, session } = item.payment;
    if (session !== undefined || negotiated.get(channelId) === true) return inSessions(item);
    return plain(item).catch((error: unknown) => {
      if (!isInSession(error)) throw error;
      negotiated.set(channelId, true);
      return inSessions(item);
    });
  };
}

export function dispatchCharges(plain: Group<Charge, Charged | undefined>, inSessions: Group<Charge, Charged | undefined>): Group<Charge, Charged | undefined> {
  return (item) => (item.inSession === true ? inSessions(item) : plain(item));
}
