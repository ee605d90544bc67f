// Which channels spend under a mandate is known by the database alone: a reservation that does not ask the mandate is refused there. A process
// remembers those it was told of, so that the next call goes the right way at once; calls without a mandate pay nothing for it.
import type { Hex } from "viem";
import { createBoundedCache } from "../../crypto/bounded-cache.ts";
import type { Group } from "../../db/group.ts";
import type { Reservation, Verdict } from "../ledger/store.ts";
import type { MandateVerdict } from "./budget-store.ts";
import { isUnderMandate } from "./refusals.ts";

const REMEMBERED = 100_000;

/** A channel that is bound stays bound, so what is remembered is never wrong. */
export function dispatchReservations(plain: Group<Reservation, Verdict>, within: Group<Reservation, MandateVerdict>): Group<Reservation, MandateVerdict> {
  const bound = createBoundedCache<Hex, true>(REMEMBERED);
  return (item) => {
    const { channelId } = item.payment;
    if (bound.get(channelId) === true) return within(item);
    return plain(item).catch((error: unknown) => {
      if (!isUnderMandate(error)) throw error;
      bound.set(channelId, true);
      return within(item);
    });
  };
}
