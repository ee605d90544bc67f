// Negotiations as their parties read them.
import type { Static } from "typebox";
import type { Address, Hex } from "viem";
import { formatAmount } from "../../../../sdk/src/negotiation/decimal.ts";
import { toWire, type SignedMessage } from "../../../../sdk/src/negotiation/messages.ts";
import type { SessionView } from "./schemas.ts";
import { refuse, type NegotiationDeps } from "./service.ts";
import type { NegotiatedSession } from "./session-store.ts";
import { countersFor, findPolicy, openIntents, type StoredPolicy } from "./store.ts";

const MOST_SHOWN = 100;

export function sessionView(session: NegotiatedSession): Static<typeof SessionView> {
  const { sessionId, intentId, offerHash, agent, provider, service, payTo, token, pricePerRequest, budget, calls, callsTaken, callsCharged, callsFailed, charged, credit, credited, state, acceptedAt, expiresAt, channelId } = session;
  return {
    sessionId, intentId, offerHash, agent, provider, service, payTo, token, pricePerRequest: formatAmount(pricePerRequest), budget: formatAmount(budget), calls, callsLeft: calls - callsTaken, callsCharged, callsFailed,
    charged: formatAmount(charged), credit: formatAmount(credit), credited: formatAmount(credited), state, acceptedAt: acceptedAt.toISOString(), expiresAt: expiresAt.toISOString(), channelId: channelId ?? null,
  };
}

export async function intentsFor({ db }: NegotiationDeps, provider: Address): Promise<(SignedMessage & { intentHash: Hex; counters: SignedMessage[] })[]> {
  const open = await openIntents(db, provider, MOST_SHOWN);
  return Promise.all(open.map(async ({ intentHash, intent }) => ({ intentHash, ...toWire("Intent", intent), counters: (await countersFor(db, intent.message.intentId)).map((counter) => toWire("Counter", counter)) })));
}

/** @throws TallystickError 404 `policy_unknown`. */
export async function policyOf({ db }: NegotiationDeps, policyHash: Hex): Promise<StoredPolicy> {
  const found = await findPolicy(db, policyHash);
  if (found === undefined) throw refuse("policy_unknown", 404, `There is no policy ${policyHash}.`, "policyHash");
  return found;
}
